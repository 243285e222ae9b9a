"""A counter's USB as a program sees it that is started under umockdev: its /sys, its /dev and udev's events are ours.

A process of its own owns the testbed, by umockdev's C library; what is started with `environment` lives in it. Devices
are laid out as Linux has them: the device in its socket, an interface, and below it a node where there is one.
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import parts

ROOT = "/devices/pci0000:00/0000:00:14.0/usb1"


@dataclass(frozen=True, kw_only=True)
class Plug:
    """One device: where it sits, who it says it is, which number it got, and the node it is spoken to by."""

    socket: str
    ids: str
    device_no: int = 7
    serial: str | None = None
    node: str | None = None
    """Below /dev: ttyACM0, usb/lp0. A plain file stands for it, which takes what is written and answers nothing."""
    device_class: str = "00"

    @property
    def path(self) -> str:
        """Its place in sysfs: below each hub on the way."""
        ports = self.socket.split(".")
        ways = [".".join(ports[:depth]) for depth in range(1, len(ports) + 1)]
        return "/".join([ROOT, *ways])

    @property
    def nodes(self) -> tuple[str, ...]:
        """What hangs below it, the innermost first."""
        interface = f"{self.path}/{self.socket}:1.0"
        return (*([self._node_path] if self.node else []), interface, self.path)

    @property
    def _node_path(self) -> str:
        name = (self.node or "").rpartition("/")[2]
        return f"{self.path}/{self.socket}:1.0/{self._subsystem}/{name}"

    @property
    def _subsystem(self) -> str:
        return "tty" if (self.node or "").startswith("tty") else "usbmisc"

    def described(self) -> str:
        """Describe it all in umockdev's own words (umockdev(7), "file format")."""
        vendor_id, product_id = self.ids.split(":")
        known = {
            "idVendor": vendor_id,
            "idProduct": product_id,
            "devnum": str(self.device_no),
            "bDeviceClass": self.device_class,
            "product": "Model",
            "serial": self.serial,
        }
        attributes = "".join(f"A: {name}={value}\\n\n" for name, value in known.items() if value)
        interface = f"{self.path}/{self.socket}:1.0"
        told = f"P: {self.path}\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\n{attributes}\n"
        told += f"P: {interface}\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_interface\nA: bInterfaceNumber=00\\n\n\n"
        if self.node:
            told += (
                f"P: {self._node_path}\nE: SUBSYSTEM={self._subsystem}\nE: DEVNAME=/dev/{self.node}\n"
                f"L: device=../../../{self.socket}:1.0\n\n"
            )
        return told


class UsbCounter:
    """What is plugged in."""

    def __init__(self) -> None:
        self._preload = parts.umockdev()
        self._owner = subprocess.Popen(
            ["umockdev-wrapper", sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        self.root = self._answer()

    @property
    def environment(self) -> dict[str, str]:
        """What a program is to be started with to live here."""
        return {"LD_PRELOAD": self._preload, "UMOCKDEV_DIR": self.root}

    def plug(self, device: Plug) -> None:
        """Plug a device in; udev tells of each of its parts."""
        if device.node:
            node = self._node(device.node)
            node.parent.mkdir(parents=True, exist_ok=True)
            node.touch()
        self._tell(plug=device.described())

    def unplug(self, device: Plug, *, untold: bool = False) -> None:
        """Pull a device out; where it is `untold`, no event says so."""
        if device.node:
            self._node(device.node).unlink()
        for path in device.nodes:
            self._tell(unplug=f"/sys{path}", untold=untold)

    def written_to(self, node: str) -> bytes:
        """Give what was written to a node."""
        return self._node(node).read_bytes()

    def close(self) -> None:
        """Take the testbed down."""
        self._owner.communicate()

    def _node(self, name: str) -> Path:
        return Path(self.root) / "dev" / name

    def _tell(self, **order: str | bool) -> None:
        assert self._owner.stdin is not None
        self._owner.stdin.write(json.dumps(order) + "\n")
        self._owner.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._owner.stdout is not None
        return self._owner.stdout.readline().strip()


@contextmanager
def usb_counter() -> Iterator[UsbCounter]:
    """Lend a counter; nothing is plugged in."""
    counter = UsbCounter()
    try:
        yield counter
    finally:
        counter.close()


def own() -> None:
    """Own a testbed, and do as told on standard input; the sender of events reads the testbed as /sys itself."""
    library = ctypes.CDLL("libumockdev.so.0")
    library.umockdev_testbed_new.restype = ctypes.c_void_p
    library.umockdev_testbed_get_root_dir.restype = ctypes.c_char_p
    testbed = ctypes.c_void_p(library.umockdev_testbed_new())
    say(library.umockdev_testbed_get_root_dir(testbed).decode())
    for line in sys.stdin:
        order = json.loads(line)
        if told := order.get("plug"):
            failed = ctypes.c_void_p()
            done = library.umockdev_testbed_add_from_string(testbed, told.encode(), ctypes.byref(failed))
            say("done" if done else "refused")
            continue
        at = order["unplug"].encode()
        if not order["untold"]:
            library.umockdev_testbed_uevent(testbed, at, b"remove")
        library.umockdev_testbed_remove_device(testbed, at)
        say("done")
    ctypes.CDLL("libgobject-2.0.so.0").g_object_unref(testbed)


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    own()
