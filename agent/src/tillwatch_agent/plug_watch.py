"""Hears of what is plugged in and out, and has it looked at at once: a thread that lives as long as the agent.

The kernel tells by netlink (NETLINK_KOBJECT_UEVENT), to anybody: udevd's word is taken where udevd runs, as nodes have
their rights and links by then, else the kernel's own. Where neither can be heard, or nothing comes though sysfs
changed, as in a container, sysfs is listed every two seconds instead. When and why stands in `plugging`; a look itself
is each probe's. An overrun of the socket is an event like any other: what was lost is in the listing.

A change violates this when what an event says reaches a probe.
"""

import contextlib
import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from tillwatch_agent import plugging, uevent, usb
from tillwatch_agent.plugging import Attention, ToldBy

NETLINK_KOBJECT_UEVENT: Final = 15
"""linux/netlink.h; Python has no name for it."""
GROUP_KERNEL, GROUP_UDEV = 1, 2
"""Multicast groups: the kernel's own, and udevd's (systemd, sd-device/device-monitor.c)."""
UDEV_CONTROL: Final = Path("/run/udev/control")
"""Is there where udevd runs."""

BUFFER_BYTES: Final = 256 * 1024
"""Some two hundred events: a whole counter that is switched on; what goes beyond is an overrun."""
TURN_S: Final = 1.0
"""A stop waits so long for a thread that only listens."""
EVENTS_MAX: Final = 256
"""Events read in one turn; a source that goes on for longer is left for the next."""

_log = logging.getLogger(__name__)


class Overrun(Exception):  # noqa: N818 - it names what happened
    """Events were lost."""


class EventSource(Protocol):
    """Where events come from; `OSError` where none can come any more."""

    def fileno(self) -> int:
        """Give what becomes readable with an event."""

    def receive(self) -> bytes | None:
        """Take one message, without waiting; None when none is there. Raises `Overrun`."""

    def close(self) -> None:
        """Hear no more."""


class NetlinkSource:
    """Events by netlink; raises `OSError` where that is not allowed."""

    def __init__(self, *, udev_control: Path = UDEV_CONTROL) -> None:
        group = GROUP_UDEV if udev_control.exists() else GROUP_KERNEL
        with contextlib.ExitStack() as undo:
            netlink = undo.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT))
            netlink.setblocking(False)  # noqa: FBT003 - the socket library's own signature
            netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            netlink.bind((0, group))
            undo.pop_all()
        self._netlink = netlink

    def fileno(self) -> int:
        """Give the socket's descriptor."""
        return self._netlink.fileno()

    def receive(self) -> bytes | None:
        """Take one message, and a byte more than it may have."""
        try:
            return self._netlink.recv(uevent.MESSAGE_BYTES_MAX + 1)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise Overrun from error
            raise

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()


class PlugWatch(threading.Thread):
    """Calls `changed` soon after something was plugged in or out, and seldom; from its own thread."""

    def __init__(
        self,
        changed: Callable[[], None],
        *,
        sysfs: Path = usb.SYSFS,
        source: Callable[[], EventSource] = NetlinkSource,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="plugs", daemon=True)
        self._changed = changed
        self._sysfs = sysfs
        self._open = source
        self._clock = clock
        self._ended = threading.Event()
        self._first = usb.listing(sysfs)
        """Taken by whoever makes it: what is plugged in from then on is a change."""

    def stop(self) -> None:
        """End within `TURN_S`; from any thread."""
        self._ended.set()

    def run(self) -> None:
        """Listen until told to stop."""
        source = self._opened()
        told_by = ToldBy.EVENTS if source else ToldBy.LISTINGS
        attention = plugging.begin(told_by, self._first, self._clock())
        while not self._ended.is_set():
            if self._waited(source, attention.due_s - self._clock()) and source:
                attention, source = self._heard(attention, source)
            attention = self._turned(attention)
        if source:
            source.close()

    def _opened(self) -> EventSource | None:
        try:
            return self._open()
        except OSError as error:
            _log.info("no event tells what is plugged in (%s): it is listed instead", error.strerror)
            return None

    def _waited(self, source: EventSource | None, timeout_s: float) -> bool:
        """Wait for an event, or until something is due or the end may have come; whether an event came."""
        wait_s = min(max(timeout_s, 0.0), TURN_S)
        if source is None:
            return self._ended.wait(wait_s)
        return bool(select.select([source.fileno()], [], [], wait_s)[0])

    def _heard(self, attention: Attention, source: EventSource) -> tuple[Attention, EventSource | None]:
        """Take what came; a source that fails is given up."""
        try:
            return (plugging.heard(attention, self._clock()) if _is_told(source) else attention), source
        except OSError as error:
            _log.warning("events of what is plugged in end (%s): it is listed instead", error.strerror)
            source.close()
            return plugging.deafened(attention, self._clock()), None

    def _turned(self, attention: Attention) -> Attention:
        """Do what is due: list, or have all that hangs on a plug looked at."""
        now_s = self._clock()
        if now_s >= attention.list_at_s:
            told_by = attention.told_by
            attention = plugging.listed(attention, usb.listing(self._sysfs), now_s)
            if attention.told_by is not told_by:
                _log.info("no event told of a change of what is plugged in: it is listed instead")
        if now_s >= attention.look_at_s:
            attention = plugging.looked(attention, usb.listing(self._sysfs), now_s)
            self._changed()
        return attention


def _is_told(source: EventSource) -> bool:
    """Take all messages that are there; whether one of them, or one that was lost, may be of USB."""
    is_told = False
    for _ in range(EVENTS_MAX):
        try:
            message = source.receive()
        except Overrun:
            is_told = True
            continue
        if message is None:
            break
        event = uevent.parse(message)
        is_told = is_told or event is None or event.is_of_usb
    return is_told
