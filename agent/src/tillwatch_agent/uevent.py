"""Messages of the kernel's object events (NETLINK_KOBJECT_UEVENT), as the kernel and as udevd send them. Pure.

The kernel's begins with `action@devpath` (lib/kobject_uevent.c); udevd's, sent once its rules are done, with `libudev`,
the magic feedcafe, and a header that says where its properties lie (systemd, sd-device/device-monitor.c). After that
both are `KEY=value`, each ended by a NUL.

Only a process with CAP_NET_ADMIN can send there, and a message decides nothing: it says that something is to be looked
at. So who sent it is not asked, and what cannot be read is None, which is to be taken as "something changed".

A change violates this when what a message says of a device is believed without a look at the device.
"""

import struct
from dataclasses import dataclass
from typing import Final

MESSAGE_BYTES_MAX = 8192
"""udevd's own buffer; the kernel's messages end at 2048 (UEVENT_BUFFER_SIZE) and a line."""
PROPERTIES_MAX = 128
"""Twice what the kernel gives room for (UEVENT_NUM_ENVP)."""

_UDEV_PREFIX: Final = b"libudev\0"
_UDEV_MAGIC = 0xFEEDCAFE
_UDEV_HEADER: Final = struct.Struct("=8s4s3I")
"""Prefix, magic in network order, bytes of the header, where the properties begin, their bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Uevent:
    """Something happened to one object of the kernel; `devpath` begins below /sys."""

    action: str
    devpath: str
    subsystem: str

    @property
    def is_of_usb(self) -> bool:
        """Whether it is a USB device's, or a node's that belongs to one."""
        return self.subsystem == "usb" or (self.subsystem in _NODES and "/usb" in self.devpath)


_NODES: Final = frozenset({"tty", "usb-serial", "usbmisc", "printer"})
"""Subsystems of the nodes that a device is spoken to by."""


def parse(message: bytes) -> Uevent | None:
    """Read one message; None where it is none, or is longer than any."""
    if len(message) > MESSAGE_BYTES_MAX:
        return None
    body = _of_udev(message) if message.startswith(_UDEV_PREFIX) else _of_kernel(message)
    if body is None:
        return None
    fields = body.split(b"\0", PROPERTIES_MAX)[:PROPERTIES_MAX]
    known = dict(_pair(field) for field in fields if b"=" in field)
    action, devpath, subsystem = (known.get(key) for key in ("ACTION", "DEVPATH", "SUBSYSTEM"))
    if not (action and devpath and subsystem):
        return None
    return Uevent(action=action, devpath=devpath, subsystem=subsystem)


def _of_kernel(message: bytes) -> bytes | None:
    head, _, body = message.partition(b"\0")
    return body if b"@/" in head else None


def _of_udev(message: bytes) -> bytes | None:
    if len(message) < _UDEV_HEADER.size:
        return None
    _, magic, _, begin, length = _UDEV_HEADER.unpack_from(message)
    is_whole = begin >= _UDEV_HEADER.size and begin + length <= len(message)
    is_udevs = int.from_bytes(magic, "big") == _UDEV_MAGIC
    return message[begin : begin + length] if is_whole and is_udevs else None


def _pair(field: bytes) -> tuple[str, str]:
    key, _, value = field.decode("utf-8", errors="replace").partition("=")
    return key, value
