"""The thread that hears of plugs: by events, by listings where none come, and never more often than it may."""

import errno
import itertools
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agent import stand
from tests.agent.conftest import WAIT_S
from tests.agent.test_uevent import OF_KERNEL, of_udev

from tillwatch_agent.plug_watch import EVENTS_MAX, EventSource, NetlinkSource, Overrun, PlugWatch

OTHERS = b"change@/devices/virtual/net/lo\0ACTION=change\0DEVPATH=/devices/virtual/net/lo\0SUBSYSTEM=net\0"


class FakeSource:
    """A source whose messages and failures a test puts in."""

    def __init__(self) -> None:
        self.is_closed = False
        self._came: list[bytes | Exception] = []
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._reads, False)

    def put(self, *came: bytes | Exception) -> None:
        self._came += came
        os.write(self._writes, b".")

    def fileno(self) -> int:
        return self._reads

    def receive(self) -> bytes | None:
        if not self._came:
            os.read(self._reads, 1)
            return None
        came = self._came.pop(0)
        if isinstance(came, Exception):
            raise came
        return came

    def close(self) -> None:
        self.is_closed = True

    def end(self) -> None:
        os.close(self._reads)
        os.close(self._writes)


class Looks:
    """Who is called when something changed."""

    def __init__(self) -> None:
        self.count = 0
        self._made = threading.Condition()

    def __call__(self) -> None:
        with self._made:
            self.count += 1
            self._made.notify()

    def reach(self, count: int) -> None:
        with self._made:
            assert self._made.wait_for(lambda: self.count >= count, WAIT_S), f"{self.count} looks, not {count}"


@contextmanager
def watching(looks: Looks, sysfs: Path, source: Callable[[], EventSource], step_s: float = 50.0) -> Iterator[PlugWatch]:
    """Watch by a clock that goes on by `step_s` each time that it is read, so that nothing is waited for."""
    ticks = itertools.count()
    watch = PlugWatch(looks, sysfs=sysfs, source=source, clock=lambda: next(ticks) * step_s)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
        watch.join(WAIT_S)


@pytest.fixture
def source() -> Iterator[FakeSource]:
    source = FakeSource()
    yield source
    source.end()


def not_allowed() -> EventSource:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize(
    "message",
    [OF_KERNEL, of_udev(), b"what nobody can read", Overrun()],
    ids=["the kernel's", "udevd's", "unreadable", "an overrun"],
)
def test_an_event_of_usb_or_one_that_is_lost_has_all_looked_at(
    source: FakeSource, tmp_path: Path, message: bytes | Exception
) -> None:
    looks = Looks()
    with watching(looks, tmp_path, lambda: source):
        source.put(message)
        looks.reach(1)
    assert source.is_closed


def test_an_event_of_something_else_asks_for_no_look(source: FakeSource, tmp_path: Path) -> None:
    looks = Looks()
    with watching(looks, tmp_path, lambda: source):
        source.put(*[OTHERS] * (EVENTS_MAX + 1))
        source.put(OF_KERNEL)
        looks.reach(1)
    assert looks.count == 1


def test_a_swarm_of_events_is_one_look(source: FakeSource, tmp_path: Path) -> None:
    looks = Looks()
    source.put(*[OF_KERNEL] * EVENTS_MAX)
    with watching(looks, tmp_path, lambda: source, step_s=0.01):
        looks.reach(1)
    assert looks.count == 1


def test_where_events_are_not_allowed_listings_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    looks = Looks()
    with watching(looks, tmp_path, not_allowed):
        device = stand.usb_device(tmp_path, "1-1", "05e0:1701")
        looks.reach(1)
        shutil.rmtree(device)
        (tmp_path / "bus/usb/devices/1-1").unlink()
        looks.reach(2)
    assert "no event tells what is plugged in (Operation not permitted): it is listed instead" in caplog.messages


def test_where_events_never_come_listings_tell_and_it_is_said_once(
    source: FakeSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    looks = Looks()
    with watching(looks, tmp_path, lambda: source):
        stand.usb_device(tmp_path, "1-1", "05e0:1701")
        looks.reach(1)
        stand.usb_device(tmp_path, "1-2", "05e0:1701")
        looks.reach(2)
    assert caplog.messages == ["no event told of a change of what is plugged in: it is listed instead"]


def test_a_source_that_fails_is_given_up_for_listings(
    source: FakeSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    looks = Looks()
    with watching(looks, tmp_path, lambda: source):
        source.put(OSError(errno.EIO, os.strerror(errno.EIO)))
        stand.usb_device(tmp_path, "1-1", "05e0:1701")
        looks.reach(1)
    assert source.is_closed
    assert caplog.messages == ["events of what is plugged in end (Input/output error): it is listed instead"]


@pytest.mark.parametrize("is_udevd_there", [True, False])
def test_anybody_may_listen_to_the_kernel(tmp_path: Path, is_udevd_there: bool) -> None:
    control = tmp_path / "control"
    if is_udevd_there:
        control.touch()
    netlink = NetlinkSource(udev_control=control)
    try:
        assert netlink.fileno() >= 0
        assert netlink.receive() is None
    finally:
        netlink.close()
