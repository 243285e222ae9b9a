"""What went silent together names the part that failed: device, cable, hub, power, or how it is set up. Pure.

One printer that is gone is its cable or its power, which nothing here can tell apart; all that hang on one hub are the
hub; lines of several kinds at once are the counter's power. A device whose own USB function is there has power, so that
its silence is its own. Culprits are told as a set, the likeliest first, and never narrower than what was seen allows.

A change violates this when a part that answers is suspected, or a hub is while something on it answers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tillwatch_agent.drivers import Attachment
from tillwatch_agent.health import Observation
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import FACTS_MAX, ConditionCode

TOGETHER_MIN: Final = 2
"""From so many on, that they went silent together says something."""
NAMES_MAX: Final = 8
"""Names of those that went silent together; a counter that lost its power has more, and nobody reads them."""


class Culprit(StrEnum):
    """What may have failed."""

    DEVICE = "device"
    CABLE = "cable"
    HUB = "hub"
    POWER = "power"
    SHOP_NETWORK = "shop_network"
    SETTINGS = "settings"
    OTHER_PROGRAM = "other_program"
    RIGHTS = "rights"


class Seen(StrEnum):
    """What a look at a part gave, as far as it matters here."""

    ANSWERS = "answers"
    GONE = "gone"
    SILENT = "silent"
    GARBLED = "garbled"
    BUSY = "busy"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """How one configured device hangs on the machine, as far as its configuration says."""

    component: str
    attachment: Attachment
    socket: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One device: how it hangs on the machine, and what it did."""

    component: str
    attachment: Attachment
    seen: Seen
    socket: str | None = None
    """The USB socket that it, or its adapter, sits in, as `<bus>-<port.port>`; None where that is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Who is suspected of a part's silence, the likeliest first, and what shares it."""

    component: str
    culprits: tuple[Culprit, ...]
    together_with: tuple[str, ...] = ()


_ALONE: Final = {
    (Seen.GONE, Attachment.USB): (Culprit.CABLE, Culprit.POWER, Culprit.DEVICE),
    (Seen.GONE, Attachment.SERIAL): (Culprit.CABLE, Culprit.DEVICE),  # the adapter is what is gone
    (Seen.GONE, Attachment.TCP): (Culprit.SETTINGS,),
    (Seen.SILENT, Attachment.USB): (Culprit.DEVICE,),
    (Seen.SILENT, Attachment.SERIAL): (Culprit.POWER, Culprit.CABLE, Culprit.SETTINGS, Culprit.DEVICE),
    (Seen.SILENT, Attachment.TCP): (Culprit.POWER, Culprit.CABLE, Culprit.SETTINGS, Culprit.DEVICE),
}
"""A part by itself."""

_BY_WORD: Final = {
    Seen.GARBLED: (Culprit.SETTINGS, Culprit.DEVICE),
    Seen.BUSY: (Culprit.OTHER_PROGRAM,),
    Seen.REFUSED: (Culprit.RIGHTS,),
}
"""What says by itself who it is."""

_SEEN: Final = {
    ConditionCode.NOT_ATTACHED: Seen.GONE,
    ConditionCode.UNKNOWN_DEVICE: Seen.GONE,
    ConditionCode.NO_RESPONSE: Seen.SILENT,
    ConditionCode.GARBLED_RESPONSE: Seen.GARBLED,
    ConditionCode.PORT_BUSY: Seen.BUSY,
    ConditionCode.PORT_REFUSED: Seen.REFUSED,
}

_BY_PATH: Final = re.compile(r"/by-path/(?:\S+-)?(\S+)-usb(?:v[0-9])?-0:([0-9.]+):")


def seen_in(look: Observation | Reading) -> Seen:
    """Read a look; whatever is not about the line is an answer."""
    return _SEEN.get(look.reason or "", Seen.ANSWERS)


def parts(lines: Iterable[Line], looks: Iterable[Observation | Reading]) -> tuple[Part, ...]:
    """Put the looks beside the lines; where a device sits, or sat when it was seen last, is its look's to say."""
    by_name: Mapping[str, Observation | Reading] = {look.component: look for look in looks}
    return tuple(
        Part(
            component=line.component,
            attachment=line.attachment,
            seen=seen_in(look),
            socket=look.facts.get("location") or line.socket,
        )
        for line in lines
        if (look := by_name.get(line.component))
    )


def told(lines: Iterable[Line], readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """Add to the reading of each part that does not answer, as facts, who is suspected and what shares it."""
    findings = {finding.component: finding for finding in suspect(parts(lines, readings))}
    return tuple(_told(reading, findings.get(reading.component)) for reading in readings)


def _told(reading: Reading, finding: Finding | None) -> Reading:
    if finding is None:
        return reading
    facts = {"suspected": ", ".join(finding.culprits)}
    if finding.together_with:
        facts["together_with"] = ", ".join(finding.together_with[:NAMES_MAX])
    has_room = len(reading.facts) + len(facts) <= FACTS_MAX
    return reading.model_copy(update={"facts": reading.facts | facts}) if has_room else reading


def socket_of(port: str) -> tuple[str, str] | None:
    """Read controller and ports out of a link under /dev/serial/by-path, which names what is gone (60-serial.rules)."""
    found = _BY_PATH.search(port)
    return (found.group(1), found.group(2)) if found else None


def suspect(parts: Iterable[Part]) -> tuple[Finding, ...]:
    """Name who may have failed, for every part that does not answer."""
    parts = tuple(parts)
    return tuple(_finding(part, parts) for part in parts if part.seen is not Seen.ANSWERS)


def _finding(part: Part, parts: Sequence[Part]) -> Finding:
    if part.seen in _BY_WORD:
        return Finding(component=part.component, culprits=_BY_WORD[part.seen])
    for group, culprits in _groups(part, parts):
        if len(group) >= TOGETHER_MIN and all(_is_down(each) for each in group):
            others = tuple(each.component for each in group if each is not part)
            return Finding(component=part.component, culprits=culprits, together_with=others)
    return Finding(component=part.component, culprits=_ALONE[part.seen, part.attachment])


def _groups(part: Part, parts: Sequence[Part]) -> Iterable[tuple[tuple[Part, ...], tuple[Culprit, ...]]]:
    """Give those that would have gone silent with a part, each with its cause, from the widest cause to the nearest."""
    lines = tuple(each for each in parts if each.seen not in _BY_WORD)
    if len({each.attachment for each in lines}) >= TOGETHER_MIN:
        yield lines, (Culprit.POWER,)
    alike = tuple(each for each in lines if each.attachment is part.attachment)
    match part.attachment:
        case Attachment.TCP:
            yield alike, (Culprit.SHOP_NETWORK, Culprit.POWER)
        case Attachment.SERIAL if part.seen is Seen.SILENT:
            yield tuple(each for each in alike if each.seen is not Seen.GONE), (Culprit.POWER,)
        case _ if part.seen is Seen.GONE:
            yield from ((_below(hub, parts), (Culprit.HUB, Culprit.CABLE, Culprit.POWER)) for hub in _hubs(part))
        case _:
            return


def _is_down(part: Part) -> bool:
    return part.seen in {Seen.GONE, Seen.SILENT}


def _hubs(part: Part) -> tuple[str, ...]:
    """List the hubs above a part, the outermost first; the root hub, which is the machine's own, is none."""
    ports = (part.socket or "").split(".")
    return tuple(".".join(ports[:depth]) for depth in range(1, len(ports)))


def _below(hub: str, parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part.socket and part.socket.startswith(f"{hub}."))
