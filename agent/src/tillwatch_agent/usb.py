"""USB devices by vendor and product id, read from sysfs: who is attached, and which device node is whose.

Presence is all that is judged here: a device that is attached is `ok` and `online` (it draws power and enumerated); one
that is not is `absent`, `not_attached`, and UnifiedPOS's `off`, which is "off or detached". Whether it works is a
driver's to say. Nothing is opened and nothing is written.

Names such as ttyUSB0 go to whoever comes first after a plug or a boot; ids do not. Attributes vanish at any moment
while a device goes: what cannot be read is not there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

SYSFS: Final = Path("/sys")
DEVICES_MAX = 1024
"""More than eight host controllers can hold; a directory that says more is not sysfs."""


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
    manufacturer: str | None
    product: str | None


def find(ids: UsbIds, sysfs: Path = SYSFS) -> tuple[UsbDevice, ...]:
    """Find every attached device with these ids (and this serial number, if one is asked for)."""
    return tuple(device for device in attached(sysfs) if _is_match(device.ids, ids))


def attached(sysfs: Path = SYSFS) -> tuple[UsbDevice, ...]:
    """List every attached device, in the order of their sockets; hubs among them."""
    return tuple(device for directory in _entries(sysfs / "bus/usb/devices") if (device := _device(directory)))


def nodes(ids: UsbIds, subsystem: str, sysfs: Path = SYSFS, dev: Path = Path("/dev")) -> tuple[Path, ...]:
    """List the device nodes of a subsystem (`tty`, `usbmisc`) that belong to a device with these ids."""
    found = []
    for entry in _entries(sysfs / "class" / subsystem):
        device = _owner(entry)
        name = _devname(entry)
        if device and name and _is_match(device.ids, ids):
            found.append(dev / name)
    return tuple(found)


class UsbProbe:
    """Whether one configured device is attached."""

    def __init__(self, *, component: str, ids: UsbIds, poll_s: float, sysfs: Path = SYSFS) -> None:
        self.name = component
        self.poll_s = poll_s
        self._ids = ids
        self._sysfs = sysfs

    def poll(self) -> tuple[Observation, ...]:
        """Look once; never raises for what a device does."""
        found = find(self._ids, self._sysfs)
        return (_present(self.name, found[0]) if found else not_attached(self.name, f"no USB device {self._ids}"),)

    def forget(self) -> None:
        """Nothing is learned of a device that is only looked for."""

    def close(self) -> None:
        """Nothing is held."""


def not_attached(component: str, detail: str) -> Observation:
    """Say of a configured component that it is not there."""
    return Observation(
        component=component,
        health=Health.ABSENT,
        reason=ConditionCode.NOT_ATTACHED,
        power_state=PowerState.OFF,
        true_codes={ConditionCode.NOT_ATTACHED: detail},
    )


def _present(component: str, device: UsbDevice) -> Observation:
    known = {
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
        facts={fact: value for fact, value in known.items() if value},
    )


def _is_match(has: UsbIds, wanted: UsbIds) -> bool:
    same_model = (has.vendor_id, has.product_id) == (wanted.vendor_id, wanted.product_id)
    return same_model and wanted.serial_number in {None, has.serial_number}


def _owner(entry: Path) -> UsbDevice | None:
    """Find the device above a class entry: the first directory on the way up that has ids."""
    try:
        start = (entry / "device").resolve(strict=True)
    except OSError:
        return None
    return next((device for directory in (start, *start.parents) if (device := _device(directory))), None)


def _devname(entry: Path) -> str | None:
    lines = (_read(entry / "uevent") or "").splitlines()
    return next((line.removeprefix("DEVNAME=") for line in lines if line.startswith("DEVNAME=")), None)


def _device(directory: Path) -> UsbDevice | None:
    vendor_id, product_id = _read(directory / "idVendor"), _read(directory / "idProduct")
    if not vendor_id or not product_id:
        return None
    return UsbDevice(
        ids=UsbIds(
            vendor_id=vendor_id.lower(), product_id=product_id.lower(), serial_number=_read(directory / "serial")
        ),
        location=directory.name,
        manufacturer=_read(directory / "manufacturer"),
        product=_read(directory / "product"),
    )


def _entries(directory: Path) -> Iterator[Path]:
    try:
        names = sorted(directory.iterdir())
    except OSError:
        names = []
    return iter(names[:DEVICES_MAX])


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
