"""What is plugged in: which attached USB device is whose, what came in its place, and when to look. Pure.

A device is known by its ids, by its serial number where one is configured, and by the socket that it sits in where one
is configured: of two alike without serial numbers nothing else tells them apart. Its name (ttyUSB0) and its number on
the bus are given anew at each plug and tell nothing: a device that comes back under others is the same.

- **Presence is all that is judged**: attached is `ok` and `online` (it draws power and enumerated), not attached is
  `absent` and UnifiedPOS's `off`, which is "off or detached". Whether it works is a driver's to say.
- **What sits in its place is told.** A device that is nobody's in the socket that is configured, or in which the device
  was seen last, is `unknown_device`; one that another component is known by is not, nor is a hub.
- **Listings decide, events hurry.** An event says that a listing is due, never what is attached: a lost, doubled or
  late one changes nothing but the time of the look. Events come in swarms, so that a look waits until they settle, and
  never longer than `SETTLE_S_MAX`. Where no event comes though the listing changed, nobody tells: sysfs is then listed
  often.

A change violates this when a reading depends on an event, or when two components can be the same device.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState


@dataclass(frozen=True, kw_only=True, slots=True)
class UsbIds:
    """What a device is known by: four lower-case hexadecimal digits each, as in sysfs; and which one of many."""

    vendor_id: str
    product_id: str
    serial_number: str | None = None

    def __str__(self) -> str:
        return f"{self.vendor_id}:{self.product_id}" + (f" number {self.serial_number}" if self.serial_number else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class UsbDevice:
    """One attached device; `location` is `<bus>-<port.port>`, the socket it sits in."""

    ids: UsbIds
    location: str
    manufacturer: str | None = None
    product: str | None = None
    device_no: int | None = None
    """Its number on the bus, given anew each time that it enumerates."""
    is_hub: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.manufacturer, self.product, f"({self.ids})")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One configured device."""

    component: str
    ids: UsbIds
    socket: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What earlier looks at one device taught."""

    socket: str
    """Where it was seen last."""
    device_no: int | None
    is_attached: bool = True
    reattached_count: int = 0


def is_match(has: UsbIds, wanted: UsbIds) -> bool:
    """Whether a device is one that is asked for; a serial number counts where one is asked for."""
    same_model = (has.vendor_id, has.product_id) == (wanted.vendor_id, wanted.product_id)
    return same_model and wanted.serial_number in {None, has.serial_number}


def is_wanted(device: UsbDevice, wanted: Wanted) -> bool:
    """Whether an attached device is a configured one."""
    return is_match(device.ids, wanted.ids) and wanted.socket in {None, device.location}


def are_told_apart(one: Wanted, other: Wanted) -> bool:
    """Whether no device can be both."""
    if not (is_match(one.ids, other.ids) or is_match(other.ids, one.ids)):
        return True
    return bool(one.socket and other.socket and one.socket != other.socket)


def look(
    wanted: Wanted, listing: Sequence[UsbDevice], memory: Memory | None, others: Iterable[Wanted] = ()
) -> tuple[Observation, Memory | None]:
    """Say of one device whether it is attached, by all that are; `others` are configured as well."""
    found = [device for device in listing if is_wanted(device, wanted)]
    if not found:
        gone = replace(memory, is_attached=False) if memory else None
        return _missing(wanted, listing, memory, others), gone
    device = next((each for each in found if memory and each.location == memory.socket), found[0])
    known = _remembered(device, memory)
    return _present(wanted.component, device, known), known


def sitting_in(place: str | None, listing: Iterable[UsbDevice], others: Iterable[Wanted]) -> UsbDevice | None:
    """Find what sits in the place of a device that is gone, if it is nobody's; a hub may have the device behind it."""
    sitting = next((device for device in listing if device.location == place and not device.is_hub), None)
    return None if sitting is None or any(is_wanted(sitting, other) for other in others) else sitting


def unknown_device(component: str, expected: UsbIds, sitting: UsbDevice) -> Observation:
    """Say of a configured component that it is not there, and what is in its place."""
    said = f"expected {expected} in socket {sitting.location}, got {sitting}"
    return _absent(component, ConditionCode.UNKNOWN_DEVICE, said, sitting.location)


def not_attached(component: str, detail: str, *, socket: str | None = None) -> Observation:
    """Say of a configured component that it is not there, and where it was seen last."""
    return _absent(component, ConditionCode.NOT_ATTACHED, detail, socket)


def _remembered(device: UsbDevice, memory: Memory | None) -> Memory:
    count = memory.reattached_count if memory else 0
    is_as_before = memory is None or (
        memory.is_attached and (memory.socket, memory.device_no) == (device.location, device.device_no)
    )
    return Memory(
        socket=device.location, device_no=device.device_no, reattached_count=count if is_as_before else count + 1
    )


def _present(component: str, device: UsbDevice, known: Memory) -> Observation:
    facts = {
        "usb_ids": f"{device.ids.vendor_id}:{device.ids.product_id}",
        "location": device.location,
        "maker": device.manufacturer,
        "model": device.product,
        "serial_number": device.ids.serial_number,
    }
    return Observation(
        component=component,
        health=Health.OK,
        power_state=PowerState.ONLINE,
        measures={"reattached_count": known.reattached_count},
        facts={fact: value for fact, value in facts.items() if value},
    )


def _missing(
    wanted: Wanted, listing: Sequence[UsbDevice], memory: Memory | None, others: Iterable[Wanted]
) -> Observation:
    place = wanted.socket or (memory.socket if memory else None)
    if sitting := sitting_in(place, listing, others):
        return unknown_device(wanted.component, wanted.ids, sitting)
    said = f"no USB device {wanted.ids}" + (f" in socket {wanted.socket}" if wanted.socket else "")
    if elsewhere := [device.location for device in listing if is_match(device.ids, wanted.ids)]:
        said += f"; such a one sits in {', '.join(elsewhere)}"
    return not_attached(wanted.component, said, socket=place)


def _absent(component: str, code: str, detail: str, socket: str | None) -> Observation:
    return Observation(
        component=component,
        health=Health.ABSENT,
        reason=code,
        power_state=PowerState.OFF,
        true_codes={code: detail},
        facts={"location": socket} if socket else {},
    )


SETTLE_S: Final = 0.2
"""A device that is plugged in tells of itself, its interfaces and its nodes, each some milliseconds after another."""
SETTLE_S_MAX: Final = 1.0
"""A contact that bounces without end is looked at all the same."""
GAP_S: Final = 1.0
"""Between two looks that events ask for: each look may open every port of the counter."""

Listing = frozenset[tuple[str, str | None]]
"""What is attached, in short: each device's socket and its number on the bus."""


class ToldBy(StrEnum):
    """How a change of what is plugged in comes to be known."""

    EVENTS = "events"
    LISTINGS = "listings"


LISTED_S: Final = {ToldBy.EVENTS: 30.0, ToldBy.LISTINGS: 2.0}
"""From listing to listing: beside events, whose loss it finds; and by itself, where a counter's ten devices take one a
millisecond."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """When what is plugged in is to be listed, and when all that hangs on a plug is to be looked at."""

    told_by: ToldBy
    listing: Listing
    list_at_s: float
    changed_at_s: tuple[float, float] | None = None
    """When the first and the newest change came that nobody has looked at."""
    looked_at_s: float = -math.inf

    @property
    def look_at_s(self) -> float:
        """When a look is due; infinity while nothing changed."""
        if self.changed_at_s is None:
            return math.inf
        first_s, newest_s = self.changed_at_s
        return max(min(newest_s + SETTLE_S, first_s + SETTLE_S_MAX), self.looked_at_s + GAP_S)

    @property
    def due_s(self) -> float:
        """When there is anything to do."""
        return min(self.list_at_s, self.look_at_s)


def begin(told_by: ToldBy, listing: Listing, now_s: float) -> Attention:
    """Begin with what is attached."""
    return Attention(told_by=told_by, listing=listing, list_at_s=now_s + LISTED_S[told_by])


def heard(attention: Attention, now_s: float) -> Attention:
    """Take an event, or word that some were lost: a look is due once they settle."""
    first_s = attention.changed_at_s[0] if attention.changed_at_s else now_s
    return replace(attention, told_by=ToldBy.EVENTS, changed_at_s=(first_s, now_s))


def deafened(attention: Attention, now_s: float) -> Attention:
    """Take word that no event will come any more."""
    return replace(attention, told_by=ToldBy.LISTINGS, list_at_s=now_s)


def listed(attention: Attention, listing: Listing, now_s: float) -> Attention:
    """Take a listing; one that changed while no event came shows that none comes."""
    is_untold = listing != attention.listing and attention.changed_at_s is None
    told_by = ToldBy.LISTINGS if is_untold else attention.told_by
    return replace(
        attention,
        told_by=told_by,
        listing=listing,
        list_at_s=now_s + LISTED_S[told_by],
        changed_at_s=(now_s, now_s) if is_untold else attention.changed_at_s,
    )


def looked(attention: Attention, listing: Listing, now_s: float) -> Attention:
    """Take note that a look is made, and of what is attached then."""
    return replace(
        attention,
        listing=listing,
        list_at_s=now_s + LISTED_S[attention.told_by],
        changed_at_s=None,
        looked_at_s=now_s,
    )
