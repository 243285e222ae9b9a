"""What serial numbers say: whether the device that the inventory has for a terminal is the one that stands there.

The inventory has one serial number of a terminal: the machine's, or that of the device on its counter that matters, as
people read it from a label. So it is enough that any component tells it. Where nobody tells it, a told number that the
inventory has elsewhere says what happened; and only one that the machine itself tells, and the inventory has nowhere,
is unknown: a swap that nobody entered, or tampering (PCI DSS 4.0, 9.5.1). While a component that could tell its number
gives no usable answer, nothing is said.

A change violates this when a number that is not told, or a placeholder, makes a ticket.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tillwatch_collector.domain.inventory import LifeCycle
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import MACHINE_SELF, Health

SERIAL_FACT = "serial_number"


class Swap(StrEnum):
    """What the numbers show."""

    NOT_TOLD = "not_told"
    """Nobody tells a number that could be held against the inventory's."""
    UNHEARD = "unheard"
    """A component that may have it gives no usable answer."""
    AS_KNOWN = "as_known"
    LEARNED = "learned"
    """The inventory has none: this one is to be written there."""
    SWAPPED_WITH_SPARE = "swapped_with_spare"
    """The inventory has it as a device that was free to be put here."""
    MOVED = "moved"
    """The inventory has it as one that is in use elsewhere, or must not be used at all."""
    UNKNOWN = "unknown"


class SwapCode(StrEnum):
    """Conditions that come of it, on the terminal as a whole."""

    SERIAL_UNKNOWN = "serial_unknown"
    SERIAL_MOVED = "serial_moved"
    SWAPPED = "swapped"


CODES: dict[Swap, SwapCode] = {
    Swap.UNKNOWN: SwapCode.SERIAL_UNKNOWN,
    Swap.MOVED: SwapCode.SERIAL_MOVED,
    Swap.SWAPPED_WITH_SPARE: SwapCode.SWAPPED,
}

_BY_LIFE_CYCLE: dict[str, Swap] = {
    LifeCycle.LIVE: Swap.MOVED,
    LifeCycle.IN_REPAIR: Swap.SWAPPED_WITH_SPARE,
    LifeCycle.SPARE: Swap.SWAPPED_WITH_SPARE,
    LifeCycle.SWAPPED: Swap.SWAPPED_WITH_SPARE,
    LifeCycle.RETIRED: Swap.MOVED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """Whom the inventory has a serial number for."""

    terminal_id: str
    life_cycle: str
    store_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """The serial numbers that a terminal's components tell, the machine's first."""

    machine: str | None = None
    serials: tuple[str, ...] = ()
    complete: bool = True
    """Whether every component has spoken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SwapVerdict:
    """What the numbers show, the number that shows it, and why, in words for a ticket."""

    swap: Swap
    reason: str
    serial: str | None = None

    @property
    def code(self) -> SwapCode | None:
        """The condition that is true; the others are not, where it is decided."""
        return CODES.get(self.swap)

    @property
    def decided(self) -> bool:
        """Whether it says anything of the conditions."""
        return self.swap not in {Swap.NOT_TOLD, Swap.UNHEARD}


def told(readings: Sequence[Reading]) -> Told:
    """Gather the serial numbers that readings tell."""
    by_component = {reading.component: plain(reading.facts.get(SERIAL_FACT, "")) for reading in readings}
    machine = by_component.get(MACHINE_SELF) or None
    others = sorted({serial for serial in by_component.values() if serial} - {machine})
    return Told(
        machine=machine,
        serials=(*([machine] if machine else ()), *others),
        complete=all(
            by_component.get(reading.component) or reading.health in {Health.OK, Health.FAULT} for reading in readings
        ),
    )


def judge(terminal_id: str, entered: str | None, said: Told, known: Mapping[str, Iterable[Known]]) -> SwapVerdict:
    """Hold what a terminal tells against what was `entered` for it, and what is `known` of each number told."""
    wanted = plain(entered or "")
    if wanted and wanted in said.serials:
        return SwapVerdict(swap=Swap.AS_KNOWN, serial=wanted, reason=f"{wanted} stands where the inventory has it")
    candidates = said.serials if wanted else said.serials[:1] if said.machine else ()
    if not candidates:
        return SwapVerdict(swap=Swap.NOT_TOLD, reason="no component tells a serial number")
    if wanted and not said.complete:
        return SwapVerdict(swap=Swap.UNHEARD, reason=f"{wanted} may be that of a component that does not answer")
    for serial in candidates:
        elsewhere = [one for one in known.get(serial, ()) if one.terminal_id != terminal_id]
        if elsewhere:
            return _elsewhere(serial, elsewhere[0], wanted)
    return _nowhere(said.machine, wanted)


def _elsewhere(serial: str, owner: Known, wanted: str) -> SwapVerdict:
    swap = _BY_LIFE_CYCLE.get(owner.life_cycle, Swap.MOVED)
    place = f" of store {owner.store_id}" if owner.store_id else ""
    instead = f", in the place of {wanted}" if wanted else ""
    reason = f"{serial} stands here{instead}; the inventory has it as {owner.terminal_id}{place}, {owner.life_cycle}"
    return SwapVerdict(swap=swap, serial=serial, reason=reason)


def _nowhere(machine: str | None, wanted: str) -> SwapVerdict:
    if machine is None:
        return SwapVerdict(swap=Swap.NOT_TOLD, reason=f"{wanted} is not told, nor does the machine tell its own number")
    if not wanted:
        return SwapVerdict(swap=Swap.LEARNED, serial=machine, reason=f"{machine} is the first number told here")
    reason = f"{machine} stands here, in the place of {wanted}; the inventory has it nowhere"
    return SwapVerdict(swap=Swap.UNKNOWN, serial=machine, reason=reason)


def plain(serial: str) -> str:
    """Return a number as labels, keyboards and firmware agree on it: upper case, without spaces around it."""
    return serial.strip().upper()
