"""Messages of the kernel's object events: as the kernel writes them, as udevd does, and what is none."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_agent.uevent import MESSAGE_BYTES_MAX, Uevent, parse

DEVPATH = "/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4"
PROPERTIES = f"ACTION=add\0DEVPATH={DEVPATH}\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0SEQNUM=7\0".encode()
OF_KERNEL = f"add@{DEVPATH}".encode() + b"\0" + PROPERTIES
ADDED = Uevent(action="add", devpath=DEVPATH, subsystem="usb")


def of_udev(
    properties: bytes = PROPERTIES,
    *,
    magic: bytes = b"\xfe\xed\xca\xfe",
    begin: int = 40,
    length: int | None = None,
) -> bytes:
    """udevd's header of 40 bytes: two hashes and a filter stand behind what is read of it."""
    length = len(properties) if length is None else length
    return struct.pack("=8s4sIII16x", b"libudev\0", magic, 40, begin, length) + properties


@pytest.mark.parametrize("message", [OF_KERNEL, of_udev()], ids=["the kernel's", "udevd's"])
def test_a_message_says_what_happened_to_which_object(message: bytes) -> None:
    assert parse(message) == ADDED


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        b"libudev\0",  # nothing but its first word
        OF_KERNEL.removeprefix(b"add@"),  # no header of the kernel's
        of_udev(magic=b"\xde\xad\xbe\xef"),
        of_udev(begin=8),  # properties inside the header
        of_udev(length=4000),  # longer than what came
        of_udev(begin=0xFFFFFFFF),
        of_udev(b"ACTION=add\0DEVPATH=/devices/x\0"),  # of no subsystem
        of_udev(b"ACTION=\0DEVPATH=/devices/x\0SUBSYSTEM=usb\0"),
        of_udev(b"A=1\0" * 200 + PROPERTIES),  # said behind more than anybody says
        OF_KERNEL + b"\0" * MESSAGE_BYTES_MAX,
    ],
)
def test_what_is_no_message_is_none(message: bytes) -> None:
    assert parse(message) is None


@pytest.mark.parametrize(
    ("subsystem", "devpath", "is_of_usb"),
    [
        ("usb", DEVPATH, True),
        ("tty", f"{DEVPATH}/1-1.4:1.0/tty/ttyACM0", True),
        ("usbmisc", f"{DEVPATH}/1-1.4:1.0/usbmisc/lp0", True),
        ("tty", "/devices/pnp0/00:01/tty/ttyS0", False),
        ("block", f"{DEVPATH}/1-1.4:1.0/host6/block/sdb", False),  # a stick: its own device is told beside it
        ("net", "/devices/virtual/net/lo", False),
    ],
)
def test_what_may_change_a_counter_is_told_from_the_rest(subsystem: str, devpath: str, is_of_usb: bool) -> None:
    assert Uevent(action="add", devpath=devpath, subsystem=subsystem).is_of_usb is is_of_usb


@given(st.binary(max_size=256), st.binary(max_size=64))
def test_no_bytes_are_too_much_for_it(head: bytes, tail: bytes) -> None:
    for message in (head, of_udev() + tail, OF_KERNEL[: len(head)] + tail, b"libudev\0" + head):
        parse(message)
