"""What can befall a terminal, how the readings of a simulated one show it, and which tickets it may bring.

A trouble is known because it was injected, so a ticket that no trouble explains is false: `tickets_of` is the only
judgement of that. How long a trouble must last before it is worth a ticket is the collector's policy, not known here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tillwatch_agent.diagnosis import Confidence, Outcome, Step, Untested, Verdict
from tillwatch_agent.evidence import Domain
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import (
    AGENT_SELF,
    AVAILABILITY_CODES,
    MACHINE_SELF,
    NETWORK_UPLINK,
    ConditionCode,
    Health,
    Kind,
    PowerState,
)
from tillwatch_simulator.devices.escpos import Fault

PRINTER = f"{Kind.POS_PRINTER}:receipt"
PIN_PAD = f"{Kind.PIN_PAD}:counter"
COMPONENTS = (PRINTER, PIN_PAD, NETWORK_UPLINK, MACHINE_SELF)
"""What a simulated terminal has; the printer beside a real agent of the demonstration bears the same name."""


class Chance(Protocol):
    """Where the numbers come from: `random.Random`, seeded by the caller."""

    def uniform(self, a: float, b: float) -> float:
        """Return a number between both."""
        ...


class What(StrEnum):
    """What befalls a terminal."""

    CONDITION = "condition"
    """A condition of one component is true, on a simulated terminal."""
    DEVICE = "device"
    """The simulated printer beside a real agent has a fault."""
    DEAD = "dead"
    """It ends without a word, as by a power cut."""
    STOPPED = "stopped"
    """It is told to stop, and says so."""
    CUT = "cut"
    """Its connection is lost, and no other can be made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TicketIdentity:
    """What makes a ticket the same ticket."""

    terminal_id: str
    component: str
    code: str


_C = ConditionCode

SYMPTOMS: dict[str, tuple[str, ...]] = {
    Fault.COVER_OPEN: (_C.COVER_OPEN,),
    Fault.PAPER_END: (_C.PAPER_END, _C.PAPER_NEAR_END),  # a roll passes its near end on the way
    Fault.PAPER_NEAR_END: (_C.PAPER_NEAR_END,),
    Fault.CUTTER_ERROR: (_C.CUTTER_ERROR,),
    Fault.UNRECOVERABLE_ERROR: (_C.UNRECOVERABLE_ERROR,),
    Fault.RECOVERABLE_ERROR: (_C.RECOVERABLE_ERROR,),
    Fault.HEAD_HOT: (_C.HEAD_HOT,),
    Fault.DRAWER_OPEN: (),  # of the drawer, where one is configured; what is open by design is no fault
    Fault.FEED_BUTTON: (_C.OFFLINE,),
    Fault.SILENT: (_C.NO_RESPONSE,),
    Fault.GARBLED: (_C.GARBLED_RESPONSE, _C.NO_RESPONSE),
    Fault.SLOW: (_C.NO_RESPONSE, _C.GARBLED_RESPONSE),  # too late for one question, and in the way of the next
    Fault.UNPLUGGED: (_C.NOT_ATTACHED, _C.NO_RESPONSE),  # no node; or the cable went in the middle of a look
}
"""Which conditions an agent may see of each fault of a printer."""


def tickets_of(what: What, terminal_id: str, component: str = PRINTER, code: str = "") -> frozenset[TicketIdentity]:
    """Name every ticket that this trouble may bring; `code` is a condition's, or a device fault's name."""
    where, codes = {
        What.CONDITION: (component, (code,)),
        What.DEVICE: (component, SYMPTOMS.get(code, ())),
        What.DEAD: (AGENT_SELF, (_C.SILENT,)),
        What.STOPPED: (AGENT_SELF, ()),
        What.CUT: (AGENT_SELF, (_C.SILENT,)),
    }[what]
    return frozenset(TicketIdentity(terminal_id=terminal_id, component=where, code=one) for one in codes)


def way_out(looks: Iterable[Observation]) -> Verdict | None:
    """Tell what a diagnosis proves of the way out by what is true of the uplink; None where there is none."""
    uplink = next((look for look in looks if look.component == NETWORK_UPLINK), None)
    if uplink is None:
        return None
    domains = [domain for domain in Domain if domain is not Domain.REGISTRATION]
    failing = next((domain for domain in domains if domain.value in uplink.true_codes), None)
    reached = domains if failing is None else domains[: domains.index(failing)]
    steps = (_step(domain, failing, passed=domain in reached) for domain in domains)
    return Verdict(failing=failing, confidence=Confidence.PROVED, steps=tuple(steps))


def _step(domain: Domain, failing: Domain | None, *, passed: bool) -> Step:
    if passed:
        return Step(domain=domain, outcome=Outcome.PASSED)
    if domain is failing:
        return Step(domain=domain, outcome=Outcome.FAILED)
    return Step(domain=domain, outcome=Outcome.UNTESTED, why=Untested.BEHIND_FAILURE)


_WARNINGS = frozenset({_C.PAPER_NEAR_END, _C.DRAWER_OPEN, _C.CERTIFICATE_EXPIRING})
"""True of a component that works."""


@dataclass(kw_only=True, slots=True)
class Till:
    """The parts of one simulated terminal; each look shows what is set, among measures that wander a little."""

    terminal_id: str
    chance: Chance
    conditions: set[tuple[str, str]] = field(default_factory=set)
    """(component, code) of what is true now."""
    _busy: float = field(init=False)
    _disk_free: float = field(init=False)

    def __post_init__(self) -> None:
        """Draw what is this till's own: some are busier, some fuller."""
        self._busy = self.chance.uniform(3, 30)
        self._disk_free = self.chance.uniform(25, 80)

    def observe(self, harm: tuple[str, str] | None = None) -> tuple[Observation, ...]:
        """Look at every component; `harm` is one more (component, code) that is true now."""
        true = self.conditions if harm is None else self.conditions | {harm}
        return tuple(self._look(component, true) for component in COMPONENTS)

    def _look(self, component: str, true: set[tuple[str, str]]) -> Observation:
        codes = sorted(code for where, code in true if where == component)
        unavailable = [code for code in codes if code in AVAILABILITY_CODES]
        if unavailable:
            return _unavailable(component, unavailable[0])
        failing = [code for code in codes if code not in _WARNINGS]
        return Observation(
            component=component,
            health=Health.FAULT if failing else Health.OK,
            power_state=PowerState.OFFLINE if failing else PowerState.ONLINE,
            true_codes=dict.fromkeys(codes),
            measures=self._measures(component),
        )

    def _measures(self, component: str) -> dict[str, float | int]:
        match component:
            case "machine:self":
                return {
                    "cpu_pct": self._near(self._busy),
                    "memory_available_pct": self._near(45.0),
                    "disk_free_pct": round(self._disk_free, 1),
                }
            case "network:uplink":
                return {"gateway_ms": self._near(1.5), "dns_ms": self._near(12.0)}
            case _:
                return {"answer_ms": self._near(4.0)}

    def _near(self, middle: float) -> float:
        return round(self.chance.uniform(0.8 * middle, 1.2 * middle), 1)


def _unavailable(component: str, code: str) -> Observation:
    detached = code == _C.NOT_ATTACHED
    return Observation(
        component=component,
        health=Health.ABSENT if detached else Health.UNKNOWN,
        reason=code,
        power_state=PowerState.OFF if detached else PowerState.OFF_OFFLINE,
        true_codes={code: None},
    )
