"""The way from a terminal to those it must reach, as a chain of links, by what its newest heartbeat says.

A link is whole, broken, or not proved. Not proved is what lies behind a break, what nobody asked, and everything where
the way out is not looked at, or was not looked at lately: silence is never drawn as well. From the first break on the
chain is broken; acquirers and the broker hang at its end side by side. The codes are those of the way out's stretches
in the order in which they are passed. A change violates this when a link is drawn whole that no reading judged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import NETWORK_UPLINK, Health, Kind
from tillwatch_protocol.vocabulary import ConditionCode as Code


class State(StrEnum):
    """How a link is drawn."""

    WHOLE = "whole"
    BROKEN = "broken"
    UNPROVED = "unproved"


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One link: `name` is a stretch's, `acquirer` or `broker`; `subject` says which, where there are several."""

    name: str
    state: State
    subject: str | None = None
    code: str | None = None
    """What breaks it, or why it is not proved."""
    detail: str | None = None
    took_ms: float | None = None
    is_first_break: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """The way out, and what hangs at its end."""

    links: tuple[Link, ...]
    ends: tuple[Link, ...]

    @property
    def first_break(self) -> Link | None:
        """The link at which somebody should look."""
        return next((link for link in (*self.links, *self.ends) if link.is_first_break), None)


_STRETCHES: Sequence[tuple[str, str, str | None]] = (
    ("carrier", Code.LINK_DOWN, None),
    ("address", Code.NO_ADDRESS, None),
    ("route", Code.NO_ROUTE, None),
    ("gateway", Code.GATEWAY_UNREACHABLE, "gateway_ms"),
    ("names", Code.DNS_FAILURE, "dns_ms"),
    ("wan", Code.WAN_UNREACHABLE, "wan_ms"),
    ("portal", Code.CAPTIVE_PORTAL, "portal_ms"),
)
"""Name, the code that breaks it, and the measure of how long it took."""

_UNREGISTERED = (
    Code.NOT_REGISTERED,
    Code.REGISTRATION_DENIED,
    Code.SIM_ABSENT,
    Code.SIM_LOCKED,
    Code.SIM_FAILURE,
)
_PHASES = ("reply_ms", "tls_ms", "tcp_ms")
"""Of an acquirer, the last first: what was come to."""

_BROKER: Mapping[str, State] = {"online": State.WHOLE, "late": State.WHOLE, "silent": State.BROKEN}
"""By the collector's word on a terminal's presence; of one that is off, or not known, nothing is proved."""


def chain(readings: Iterable[Reading], presence: str) -> Chain:
    """Draw the chain of a terminal's newest heartbeat."""
    by_name = {reading.component: reading for reading in readings}
    links = _way_out(by_name)
    acquirers = [one for name, one in sorted(by_name.items()) if name.startswith(f"{Kind.ACQUIRER}:")]
    return _marked(Chain(links=tuple(links), ends=(*map(_acquirer, acquirers), _broker(presence))))


def told(findings: Iterable[Mapping[str, Any]]) -> Chain | None:
    """Draw what a diagnosis found of the way out, as its event has it; None where it says nothing of it."""
    links = tuple(_found(one) for one in findings if one["name"] in _OUTCOMES_OF)
    return _marked(Chain(links=links, ends=())) if links else None


def _found(finding: Mapping[str, Any]) -> Link:
    codes = finding.get("codes") or (None,)
    return Link(
        name="carrier" if finding["name"] == "link" else finding["name"],
        state=_OUTCOMES.get(finding["outcome"], State.UNPROVED),
        code=codes[0],
        detail=finding.get("found"),
        took_ms=finding.get("took_ms"),
    )


_OUTCOMES = {"passed": State.WHOLE, "failed": State.BROKEN}
_OUTCOMES_OF = frozenset({"registration", "link", "address", "route", "gateway", "names", "wan", "portal"})
"""Stretches by the names that agents give them."""


def _way_out(by_name: Mapping[str, Reading]) -> Iterator[Link]:
    uplink = by_name.get(NETWORK_UPLINK)
    yield _interface(uplink)
    modem = next((one for name, one in sorted(by_name.items()) if name.startswith(f"{Kind.MODEM}:")), None)
    if modem is not None or _held(uplink, Code.NOT_REGISTERED):
        yield _registration(uplink, modem)
    for name, code, measure in _STRETCHES:
        yield _stretch(uplink, name, code, measure)


def _interface(uplink: Reading | None) -> Link:
    name = uplink.facts.get("interface") if uplink else None
    if name is None:
        return _unproved("interface", uplink)
    return Link(name="interface", state=State.WHOLE, detail=name)


def _registration(uplink: Reading | None, modem: Reading | None) -> Link:
    for code in _UNREGISTERED:
        for reading in (modem, uplink):
            if held := _held(reading, code):
                return Link(name="registration", state=State.BROKEN, code=code, detail=held.detail)
    if modem is not None and modem.health is Health.OK:
        return Link(name="registration", state=State.WHOLE, detail=modem.facts.get("operator"))
    return _unproved("registration", modem)


def _stretch(uplink: Reading | None, name: str, code: str, measure: str | None) -> Link:
    if uplink is None:
        return _unproved(name, None)
    if held := _held(uplink, code):
        return Link(name=name, state=State.BROKEN, code=code, detail=held.detail)
    if not uplink.judges(code):
        return _unproved(name, uplink)
    detail = uplink.facts.get("gateway") if name == "gateway" else None
    return Link(name=name, state=State.WHOLE, detail=detail, took_ms=uplink.measures.get(measure or ""))


def _acquirer(reading: Reading) -> Link:
    name = reading.component.partition(":")[2]
    breaking = next(iter(reading.conditions), None)
    if reading.health is Health.FAULT and breaking is not None:
        return Link(name="acquirer", subject=name, state=State.BROKEN, code=breaking.code, detail=breaking.detail)
    if reading.health is not Health.OK:
        return replace(_unproved("acquirer", reading), subject=name)
    took_ms = [reading.measures[phase] for phase in _PHASES if phase in reading.measures]
    return Link(name="acquirer", subject=name, state=State.WHOLE, took_ms=sum(took_ms) if took_ms else None)


def _broker(presence: str) -> Link:
    state = _BROKER.get(presence, State.UNPROVED)
    return Link(name="broker", state=state, code=Code.SILENT if state is State.BROKEN else None)


def _marked(drawn: Chain) -> Chain:
    """Mark where it breaks first; what hangs at the end breaks by itself only when the way there is not broken."""
    for place, link in enumerate(drawn.links):
        if link.state is State.BROKEN:
            marked = replace(link, is_first_break=True)
            return replace(drawn, links=(*drawn.links[:place], marked, *drawn.links[place + 1 :]))
    ends = (replace(link, is_first_break=link.state is State.BROKEN) for link in drawn.ends)
    return replace(drawn, ends=tuple(ends))


def _unproved(name: str, reading: Reading | None) -> Link:
    return Link(name=name, state=State.UNPROVED, code=reading.reason if reading else None)


def _held(reading: Reading | None, code: str) -> Condition | None:
    return next((one for one in reading.conditions if one.code == code), None) if reading else None
