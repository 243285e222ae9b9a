"""USB devices by vendor and product id, read from sysfs: who is attached, and which device node is whose.

What it means is `plugging`'s. Nothing is opened and nothing is written.

Names such as ttyUSB0 go to whoever comes first after a plug or a boot; ids do not. Attributes vanish at any moment
while a device goes: what cannot be read is not there.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tillwatch_agent import plugging
from tillwatch_agent.health import Observation
from tillwatch_agent.plugging import Listing, Memory, UsbDevice, UsbIds, Wanted

SYSFS: Final = Path("/sys")
DEVICES_MAX = 1024
"""More than eight host controllers can hold; a directory that says more is not sysfs."""

_HUB_CLASS: Final = "09"
"""bDeviceClass of a hub (USB 2.0, 11.23.1)."""


def attached(sysfs: Path = SYSFS) -> tuple[UsbDevice, ...]:
    """List every attached device, in the order of their sockets; hubs among them."""
    return tuple(device for directory in _entries(sysfs / "bus/usb/devices") if (device := _device(directory)))


def listing(sysfs: Path = SYSFS) -> Listing:
    """List in short what is attached: each device's socket, and its number on the bus."""
    entries = (entry for entry in _entries(sysfs / "bus/usb/devices") if ":" not in entry.name)
    return frozenset((entry.name, _read(entry / "devnum")) for entry in entries)


def nodes(
    ids: UsbIds, subsystem: str, sysfs: Path = SYSFS, dev: Path = Path("/dev"), *, location: str | None = None
) -> tuple[Path, ...]:
    """List the device nodes of a subsystem (`tty`, `usbmisc`) that belong to a device with these ids, and there."""
    found = []
    for entry in _entries(sysfs / "class" / subsystem):
        device = _owner(entry)
        name = _devname(entry)
        if device and name and plugging.is_match(device.ids, ids) and location in {None, device.location}:
            found.append(dev / name)
    return tuple(found)


def owner(node: Path, sysfs: Path = SYSFS) -> UsbDevice | None:
    """Find the device that a node belongs to, whatever link it is named by; None where it is no USB device's."""
    name = node.resolve().name
    return next((device for kind in ("tty", "usbmisc") if (device := _owner(sysfs / "class" / kind / name))), None)


def location_of(controller: str, ports: str, sysfs: Path = SYSFS) -> str | None:
    """Name a socket as sysfs does that is known by its controller; None where no such controller is here.

    A controller has one bus for each speed; a till's devices sit on the slow one, which has the lower number.
    """
    roots = (entry for entry in _entries(sysfs / "bus/usb/devices") if entry.name.startswith("usb"))
    buses = (int(root.name[3:]) for root in roots if root.name[3:].isdecimal() and _parent(root) == controller)
    bus = min(buses, default=None)
    return None if bus is None else f"{bus}-{ports}"


class UsbProbe:
    """Whether one configured device is attached; `others` are configured as well."""

    hangs_on_plug = True

    def __init__(self, *, wanted: Wanted, poll_s: float, others: Iterable[Wanted] = (), sysfs: Path = SYSFS) -> None:
        self.name = wanted.component
        self.poll_s = poll_s
        self._wanted = wanted
        self._others = tuple(others)
        self._sysfs = sysfs
        self._memory: Memory | None = None

    def poll(self) -> tuple[Observation, ...]:
        """Look once; never raises for what a device does."""
        seen, self._memory = plugging.look(self._wanted, attached(self._sysfs), self._memory, self._others)
        return (seen,)

    def forget(self) -> None:
        """Drop where it was, and how often it came."""
        self._memory = None

    def close(self) -> None:
        """Nothing is held."""


def _owner(entry: Path) -> UsbDevice | None:
    """Find the device above a class entry: the first directory on the way up that has ids."""
    try:
        start = (entry / "device").resolve(strict=True)
    except OSError:
        return None
    return next((device for directory in (start, *start.parents) if (device := _device(directory))), None)


def _parent(entry: Path) -> str:
    try:
        return entry.resolve(strict=True).parent.name
    except OSError:
        return ""


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
        device_no=_number(_read(directory / "devnum")),
        is_hub=_read(directory / "bDeviceClass") == _HUB_CLASS,
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


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
