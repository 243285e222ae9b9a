"""What is really so at a terminal: its parts, their flaws, and what a look at them shows.

A flaw is true of a part from `start_s` to `end_s`; some hide others, as real devices do: nothing is known of the paper
while the cover is open (Epson TM-T88 manual, p. 44), a printer that does not answer says nothing of its drawer, and an
acquirer cannot be judged when the uplink is down. The reference for the checkers is what a look showed, never what hid.

A clock is looked at by the agent itself, by the collector's time: its flaws are what the story sets it to.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tillwatch_agent.clock import RIGHT_S, WRONG_S
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import AVAILABILITY_CODES, MACHINE_CLOCK, ConditionCode, Health, PowerState


@dataclass(frozen=True, kw_only=True, slots=True)
class Flaw:
    """One thing wrong with one part for a while."""

    component: str
    code: str
    start_s: float
    end_s: float = math.inf

    def holds(self, now_s: float) -> bool:
        return self.start_s <= now_s < self.end_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part: what can be wrong with it, and what then hides the rest."""

    component: str
    flaws: tuple[str, ...]
    speechless: tuple[str, ...] = ()
    """Flaws that leave a look without a usable answer."""
    hides: tuple[tuple[str, str], ...] = ()
    """(flaw, what cannot be judged while it is true)."""
    behind: str | None = None
    """The part that this one is asked through."""
    behind_reason: str = ConditionCode.NO_RESPONSE


C = ConditionCode
PRINTER = Part(
    component="pos_printer:kitchen",
    flaws=(C.PAPER_END, C.COVER_OPEN, C.CUTTER_ERROR, C.NO_RESPONSE, C.PORT_BUSY),
    speechless=(C.NO_RESPONSE, C.PORT_BUSY),
    hides=((C.COVER_OPEN, C.PAPER_END),),
)
DRAWER = Part(component="cash_drawer:1", flaws=(), behind=PRINTER.component)
SCANNER = Part(component="scanner:1", flaws=(C.NOT_ATTACHED,), speechless=(C.NOT_ATTACHED,))
UPLINK = Part(component="network:uplink", flaws=(C.DNS_FAILURE,))
ACQUIRER = Part(
    component="acquirer:visa",
    flaws=(C.TLS_FAILURE, C.TCP_REFUSED),
    behind=UPLINK.component,
    behind_reason="uplink_down",
)
MACHINE = Part(component="machine:self", flaws=(C.DISK_LOW,))
PARTS = (PRINTER, DRAWER, SCANNER, UPLINK, ACQUIRER, MACHINE)


CLOCK = (MACHINE_CLOCK, C.CLOCK_WRONG)
TOLD_LATE_S = 30.0
"""How long the word of the collector's time is under way at most; a right clock seems to be so far ahead."""


def clock_flaws(steps: Sequence[tuple[float, float]]) -> Iterator[Flaw]:
    """From (when, seconds off from then on): when the clock can be called wrong."""
    for (at_s, off_s), (end_s, _) in pairwise([*steps, (math.inf, 0.0)]):
        if may_be_wrong(off_s):
            yield Flaw(component=CLOCK[0], code=CLOCK[1], start_s=at_s, end_s=end_s)


def may_be_wrong(off_s: float) -> bool:
    """Whether an agent may call it so."""
    return not -RIGHT_S <= off_s <= RIGHT_S - TOLD_LATE_S


def must_be_wrong(off_s: float) -> bool:
    """Whether an agent that was told the time has to."""
    return not -WRONG_S - TOLD_LATE_S <= off_s <= WRONG_S


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a look at one part shows: codes that are true, and codes that it cannot judge."""

    part: Part
    true: frozenset[str]
    hidden: frozenset[str]
    reason: str | None = None
    """Why there was no usable answer."""

    def observation(self) -> Observation:
        """Say it as a probe does."""
        return Observation(
            component=self.part.component,
            health=self._health(),
            reason=self.reason,
            power_state=PowerState.OFF_OFFLINE if self.reason else PowerState.ONLINE,
            true_codes=dict.fromkeys(sorted(self.true)),
            undetermined=self.hidden,
        )

    def _health(self) -> Health:
        if self.reason == ConditionCode.NOT_ATTACHED:
            return Health.ABSENT
        if self.reason is not None:
            return Health.UNKNOWN
        return Health.FAULT if self.true else Health.OK


@dataclass(kw_only=True, slots=True)
class Till:
    """The parts of one terminal and everything that is ever wrong with them."""

    flaws: list[Flaw] = field(default_factory=list)

    def edges_s(self) -> list[float]:
        """When anything changes."""
        return sorted({at_s for flaw in self.flaws for at_s in (flaw.start_s, flaw.end_s) if at_s < math.inf})

    def look(self, now_s: float) -> tuple[Look, ...]:
        """Look at every part."""
        now_true = [flaw for flaw in self.flaws if flaw.holds(now_s)]
        looks: dict[str, Look] = {}
        for part in PARTS:
            true = {flaw.code for flaw in now_true if flaw.component == part.component}
            behind = looks[part.behind] if part.behind else None
            looks[part.component] = _shown(part, true, behind)
        return tuple(looks.values())

    def wrong(self, component: str, code: str) -> Iterable[Flaw]:
        """Every flaw of this name, in no order."""
        return (flaw for flaw in self.flaws if (flaw.component, flaw.code) == (component, code))


def _shown(part: Part, true: set[str], behind: Look | None) -> Look:
    if behind is not None and (behind.reason or (part is ACQUIRER and behind.true)):
        return Look(part=part, true=frozenset(), hidden=frozenset(part.flaws), reason=part.behind_reason)
    speechless = [code for code in part.speechless if code in true]
    if speechless:
        hidden = frozenset(part.flaws) - AVAILABILITY_CODES
        return Look(part=part, true=frozenset(speechless[:1]), hidden=hidden, reason=speechless[0])
    hidden = frozenset(what for flaw, what in part.hides if flaw in true)
    return Look(part=part, true=frozenset(true) - hidden, hidden=hidden)
