"""Heartbeats by their stencil: taken in is what reading in full says, and nothing that it refuses."""

import json
import random
from typing import Any

import pytest
from tests.protocol.examples import heartbeat, mutated

from tillwatch_collector.domain import stencil
from tillwatch_collector.domain.level import Beat, beat_of
from tillwatch_protocol import codec, topics
from tillwatch_protocol.errors import PeerError
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.job import JobState, JobStatus
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.topics import Address
from tillwatch_protocol.vocabulary import Health, PowerState

ADDRESS = topics.parse(topics.HEARTBEAT.of("till-7"))


def machine(**measures: float) -> Reading:
    return Reading(component="machine:self", health=Health.OK, measures=measures, age_s=0.25)


def printer(**changes: Any) -> Reading:
    return Reading(component="pos_printer:kitchen", health=Health.OK, power_state=PowerState.ONLINE, **changes)


def payload(*components: Reading, **changes: Any) -> bytes:
    return codec.encode(heartbeat(components=components, **{"job": None} | changes))


PLAIN = payload(printer(facts={"model": "TM-T88III", "share": "9 %"}), machine(cpu_pct=3.5, rsrp_dbm=-71, uptime_s=7))


def by_stencil(sent: bytes) -> Beat | None:
    return stencil._by_stencil(ADDRESS, sent)


def in_full(address: Address, sent: bytes) -> Beat:
    decoded = codec.decode_at(address, sent)
    assert isinstance(decoded, Heartbeat)
    return beat_of(decoded)


def said(beat: Beat) -> tuple[Any, ...]:
    """What is taken in; a text by what it says, since a number may be written in more than one way."""
    text, judged, names, values = beat.content
    return beat.heartbeat.model_copy(update={"components": ()}), json.loads(text), judged, names, values


def outcome(decode: Any, sent: bytes) -> Any:
    try:
        return said(decode(ADDRESS, sent))
    except PeerError as error:
        return type(error), str(error)


FITTING = [
    # as it was
    pytest.param(PLAIN, id="the same"),
    # measures: negative, none behind the point, what was whole is no longer, nothing at all
    pytest.param(PLAIN.replace(b"3.5", b"-12"), id="other values"),
    pytest.param(PLAIN.replace(b"-71", b"0").replace(b'":7', b'":7.25'), id="other kinds of numbers"),
    # what is of the moment
    pytest.param(PLAIN.replace(b'"age_s":0.25', b'"age_s":86400'), id="another age"),
    # who speaks, and when
    pytest.param(payload(machine(cpu_pct=1), beat_no=99, sent_at=heartbeat().sent_at), id="another beat"),
    # a job behind them
    pytest.param(payload(machine(cpu_pct=1), job=JobStatus(job_id="j", state=JobState.STAGED)), id="job"),
    # nothing is measured, nothing is attached
    pytest.param(payload(printer()), id="no measures"),
    pytest.param(payload(), id="no readings"),
    # readings twice, of which the last ones count
    pytest.param(PLAIN.replace(b',"components"', b',"components":[],"components"'), id="readings twice"),
    pytest.param(PLAIN.replace(b'"components"', b'"components":[] ,"components"'), id="readings twice, spaced"),
    # what a newer agent says beside: numbers too
    pytest.param(PLAIN.replace(b'"age_s":0.25', b'"age_s":0.25,"wear":17'), id="a field unheard of"),
    # a condition, and a text with a card number in it, which is not kept
    pytest.param(
        payload(
            printer(conditions=(Condition(code="paper_end", since=heartbeat().sent_at, detail="4111111111111111"),))
        ),
        id="a condition",
    ),
]


@pytest.mark.parametrize("sent", FITTING)
def test_what_fits_a_stencil_says_what_reading_in_full_says(sent: bytes) -> None:
    for _ in range(2):
        beat = by_stencil(sent)
        assert beat is not None
        assert said(beat) == said(in_full(ADDRESS, sent))
        assert beat.heartbeat.components == ()


UNFIT = [
    # a job before the readings, where ours has it behind them; and something unheard of there
    pytest.param(PLAIN.replace(b'"beat_no"', b'"job":null,"beat_no"'), id="job before"),
    pytest.param(PLAIN[:-1] + b',"mood":"fair"}', id="field behind"),
    # numbers that are not where a stencil has its holes, or that it has no room for
    pytest.param(PLAIN.replace(b'"cpu_pct":3.5', b'"cpu_pct": 3.5'), id="space"),
    pytest.param(PLAIN.replace(b"3.5", b"35e-1"), id="exponent"),
    pytest.param(PLAIN.replace(b"3.5", b"1234567890123456"), id="many digits"),
    # a number that is part of a text
    pytest.param(PLAIN.replace(b"TM-T88III", b'\\":5,'), id="text"),
    pytest.param(PLAIN.replace(b"TM-T88III", b"\\u0022:5,"), id="text, written otherwise"),
    # what looks like readings, of something else
    pytest.param(PLAIN.replace(b'"beat_no"', b'"seen":{"v":1,"components":[]},"beat_no"'), id="nested"),
    # other readings before the first member
    pytest.param(b'{"components":[],' + PLAIN[1:].partition(b',"components"')[0] + b"}", id="readings first"),
    # more text than is kept
    pytest.param(payload(printer(facts={f"f{n}": "x" * 400 for n in range(11)})), id="long"),
    # refused in full, too
    pytest.param(PLAIN.replace(b"3.5", b"03.5"), id="zero before"),
    pytest.param(PLAIN.replace(b"3.5", b"NaN"), id="no number"),
    pytest.param(PLAIN.replace(b'"age_s":0.25', b'"age_s":-1'), id="age below zero"),
    pytest.param(PLAIN.replace(b'"age_s":0.25', b'"age_s":315360001'), id="age of eleven years"),
    pytest.param(PLAIN.replace(b"pos_printer:kitchen", b"machine:self"), id="component twice"),
    pytest.param(PLAIN.replace(b'"health":"ok"', b'"health":"absent"'), id="no reason"),
    pytest.param(PLAIN.replace(b"till-7", b"till-8"), id="of another"),
    pytest.param(PLAIN.replace(b'{"v":1', b'{"v":9'), id="version"),
    pytest.param(PLAIN.replace(b'"beat_no":', b'"beat_no":-'), id="head refused"),
    pytest.param(PLAIN[:-1], id="cut off"),
    pytest.param(PLAIN + b"}", id="more behind"),
    pytest.param(b"{}", id="empty"),
    pytest.param(PLAIN[:-2] + b" " * 70_000 + b"]}", id="too large"),
    pytest.param(PLAIN.replace(b'"agent_version":"', b'"agent_version":"' + b" " * 66_000), id="too large before"),
]


@pytest.mark.parametrize("sent", UNFIT)
def test_what_fits_no_stencil_is_read_in_full(sent: bytes) -> None:
    stencil.decode(ADDRESS, PLAIN)
    assert by_stencil(sent) is None
    assert outcome(stencil.decode, sent) == outcome(in_full, sent)


@pytest.mark.parametrize("seed", range(8))
def test_mutated_heartbeats_end_as_they_do_in_full(seed: int) -> None:
    rng = random.Random(seed)
    originals = [*(case.values[0] for case in FITTING), codec.encode(heartbeat())]
    for _ in range(400):
        sent = mutated(rng.choice(originals), rng)  # type: ignore[arg-type]
        for _ in range(2):
            assert outcome(stencil.decode, sent) == outcome(in_full, sent), sent


def test_what_is_kept_does_not_depend_on_what_came_before() -> None:
    first = stencil.decode(ADDRESS, PLAIN)
    for sent in (PLAIN.replace(b"3.5", b"4.5"), payload(machine(cpu_pct=1)), PLAIN.replace(b"3.5", b"3.50")):
        stencil.decode(ADDRESS, sent)
    assert stencil.decode(ADDRESS, PLAIN) == first
    stencil._stencil.cache_clear()
    assert stencil.decode(ADDRESS, PLAIN) == first


def test_stencils_have_a_bound() -> None:
    assert stencil._stencil.cache_info().maxsize == stencil.STENCILS_MAX
