"""Heartbeats by their stencil: what was read once of a text is not read again in a text that differs by its numbers.

From one heartbeat to the next of a terminal that is well, the readings differ in the values of their measures and in
their ages, and nowhere else; between terminals of one make they often differ no more. So the text of the readings is
cut at these numbers. What is left is a stencil: read in full once, with other numbers in its holes, and kept with what
it says. Of the next heartbeat that fits it only the numbers are looked at.

What a stencil says is proved, not assumed. It is read twice, with different numbers in each: which of them is a
measure, which an age, and that nothing else depends on any of them, is then seen. Where something does (a number inside
a text), where more follows than a job, or where a number is too long for a float to hold it, there is no stencil, and
the payload is decoded in full, as it is when anything is wrong with it.

A change violates this when what is kept of a heartbeat depends on anything but its payload: on which others came before
it, for one. Or when a payload is taken in by its stencil that `codec.decode_at` refuses.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from tillwatch_collector.domain.level import Beat, Content, beat_of, content_of
from tillwatch_protocol import codec
from tillwatch_protocol.errors import PeerError
from tillwatch_protocol.job import JobStatus
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.topics import Address
from tillwatch_protocol.vocabulary import AGE_S_MAX, COMPONENTS_MAX, PAYLOAD_BYTES_MAX

if TYPE_CHECKING:
    from tillwatch_protocol.heartbeat import Heartbeat

STENCILS_MAX = 32_768
"""Some 4 KB each: one for a terminal whose devices tell their serial numbers, one for a hundred of the others. Beyond
it the one not used for longest is forgotten, and costs as much as three heartbeats in full when it comes again."""

TEXT_BYTES_MAX = 4_096
"""Of readings: a full counter's. What is longer is decoded in full each time, so that what is kept has a bound."""

_BEFORE = b',"components":'
_NUMBER = re.compile(rb'":(-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,17})?)(?=[,}])')
"""The number that follows a name, as JSON has it; without an exponent and so short that a float holds it."""


class Stencil(NamedTuple):
    """What is true of every heartbeat with this text around its numbers."""

    content: Content
    """Without values; its text has a hole for each."""
    measures: Sequence[int]
    """Which of the numbers they are, in the order of the names and of the holes."""
    ages: Sequence[int]
    job: JobStatus | None


class _End(BaseModel):
    """How a heartbeat ends, if it does with its readings, or with its job behind them."""

    model_config = ConfigDict(strict=True, extra="forbid")
    components: Annotated[tuple[Reading, ...], Field(max_length=COMPONENTS_MAX)]
    job: JobStatus | None = None


_AT_THE_END = frozenset(_End.model_fields)


def decode(address: Address, payload: bytes) -> Beat:
    """Turn a heartbeat's payload into what is taken in of it; raises the `PeerError` of `codec.decode_at`."""
    beat = _by_stencil(address, payload)
    return beat or beat_of(cast("Heartbeat", codec.decode_at(address, payload)))


def _by_stencil(address: Address, payload: bytes) -> Beat | None:
    """Decode what stands before the readings, and of them the numbers; None where that does not do."""
    before, _, text = payload.partition(_BEFORE)
    if len(text) > TEXT_BYTES_MAX or len(payload) > PAYLOAD_BYTES_MAX:
        return None
    cut = _NUMBER.split(text)
    stencil = _stencil(tuple(cut[::2]))
    if stencil is None:
        return None
    try:
        # Both halves are whole: an object whose last member ends here, and a member that an object could end with.
        heartbeat = cast("Heartbeat", codec.decode_at(address, before + b"}"))
    except PeerError:
        return None
    numbers = cut[1::2]
    values = from_json(b"[%b]" % b",".join(numbers))
    ages = [values[place] for place in stencil.ages]
    if min(ages, default=0) < 0 or max(ages, default=0) > AGE_S_MAX:
        return None
    if not heartbeat.model_fields_set.isdisjoint(_AT_THE_END):
        return None
    (text, judged, names, _), places, _, job = stencil
    text %= tuple([numbers[place] for place in places])
    return Beat(
        heartbeat.model_copy(update={"job": job}) if job else heartbeat,
        Content(text, judged, names, [values[place] for place in places]),
    )


@lru_cache(maxsize=STENCILS_MAX)
def _stencil(pieces: tuple[bytes, ...]) -> Stencil | None:
    """Return what the pieces around the numbers say, if they say it whatever the numbers are."""
    one, another = _filled(pieces, 1), _filled(pieces, 1 + len(pieces))
    return one if one == another else None


def _filled(pieces: tuple[bytes, ...], first: int) -> Stencil | None:
    """Read the pieces with numbers between them, counted from `first`."""
    numbers = [b'":%d' % number for number in range(first, first + len(pieces) - 1)]
    text = b"".join(part for pair in zip(pieces, [*numbers, b""], strict=True) for part in pair)
    try:
        end = _End.model_validate_json(b'{"components":' + text)
    except ValidationError:
        return None
    components = end.components
    if len({reading.component for reading in components}) != len(components):
        return None
    content = content_of(components)
    cut = _NUMBER.split(content.text)
    if [float(number) for number in cut[1::2]] != content.values:
        return None
    return Stencil(
        content._replace(text=b'":%b'.join(part.replace(b"%", b"%%") for part in cut[::2]), values=()),
        measures=[int(value) - first for value in content.values],
        ages=[int(reading.age_s) - first for reading in components if "age_s" in reading.model_fields_set],
        job=end.job,
    )
