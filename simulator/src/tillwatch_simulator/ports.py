"""Ports that a device is reached by: a pseudo-terminal behind a stable name, or a TCP listener.

One thread per port owns the device and all descriptors; `set` and `clear` hand it a change and return when it holds. A
pulled cable takes the port away: the name vanishes, who had it open reads an I/O error, the listener is closed.

A pty keeps its exclusive mark (TIOCEXCL) for as long as its master lives, unlike a serial port, which loses it with the
last close. So this side holds no slave open, looks when nobody has it open, and makes a new pty behind the same name if
the last one left the mark: an agent that was killed finds its port again.
"""

import contextlib
import errno
import fcntl
import os
import select
import selectors
import socket
import threading
import time
import tty
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tillwatch_simulator.devices import Device
from tillwatch_simulator.errors import PartFailed

_READ_BYTES_MAX = 4096
_CLIENTS_MAX = 16
"""More than a shop has hosts at one printer; the next one is refused."""
_IDLE_POLL_S = 0.02
"""How often a pty that nobody has open is looked at; a host waits at least half a second for its first answer."""
_ANSWERS_MAX = 1024
"""Late answers of a slow device that are kept; the oldest are lost, as in a full line buffer."""
_CHANGE_TIMEOUT_S = 10.0
"""The port's thread never blocks; a change that takes this long means that the thread has died."""
_TIOCGEXCL = 0x80045440
"""Linux, asm-generic/ioctls.h: _IOR('T', 0x40, int)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    due_s: float
    data: bytes
    sink: Callable[[bytes], None]


class Port:
    """A device served by a thread of its own, from `__enter__` to `__exit__`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._selector = selectors.DefaultSelector()
        self._bell, self._bell_rope = socket.socketpair()
        self._changes: deque[tuple[Callable[[], bytes], Future[None]]] = deque()
        self._answers: deque[_Answer] = deque(maxlen=_ANSWERS_MAX)
        self._plugged = False
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="port", daemon=True)

    @property
    def address(self) -> str:
        """The port as an agent's configuration names it."""
        raise NotImplementedError

    def set(self, fault: str) -> None:
        """Let a fault begin; it holds when this returns. Raises `FaultUnknown`."""
        self._change(lambda: self._device.set(fault))

    def clear(self, fault: str) -> None:
        """Let a fault end; it has ended when this returns. Raises `FaultUnknown`."""
        self._change(lambda: self._device.clear(fault))

    def describe(self) -> str:
        """Say in one line where the device is and in what state."""
        return f"{self.address}: {self._device.describe()}"

    def __enter__(self) -> Self:
        """Make the port; raises `PartFailed`."""
        self._bell.settimeout(0)
        self._selector.register(self._bell, selectors.EVENT_READ, self._on_bell)
        try:
            self._follow_cable()
        except PartFailed:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the port away."""
        self._stopping = True
        self._bell_rope.send(b"!")
        self._thread.join()
        self._close()

    def _close(self) -> None:
        self._selector.close()
        self._bell.close()
        self._bell_rope.close()

    def _plug(self) -> None:
        raise NotImplementedError

    def _unplug(self) -> None:
        raise NotImplementedError

    def _broadcast(self, data: bytes) -> None:
        """Send what the device says unasked to whoever listens."""
        raise NotImplementedError

    def _look(self) -> float | None:
        """Do what no descriptor calls for; return after how many seconds to look again, or None."""
        return None

    def _change(self, change: Callable[[], bytes]) -> None:
        done: Future[None] = Future()
        self._changes.append((change, done))
        self._bell_rope.send(b"!")
        done.result(timeout=_CHANGE_TIMEOUT_S)

    def _serve(self) -> None:
        while not self._stopping:
            waits = [wait_s for wait_s in (self._look(), self._send_due()) if wait_s is not None]
            for key, _ in self._selector.select(min(waits, default=None)):
                key.data()
        if self._plugged:
            self._unplug()

    def _on_bell(self) -> None:
        self._bell.recv(_READ_BYTES_MAX)
        while self._changes:
            change, done = self._changes.popleft()
            try:
                unasked = change()
                self._follow_cable()
                self._answer(unasked, self._broadcast)
            except Exception as error:  # noqa: BLE001 - handed to the thread that asked for the change
                done.set_exception(error)
            else:
                done.set_result(None)

    def _follow_cable(self) -> None:
        if self._plugged and self._device.unplugged:
            self._answers.clear()
            self._unplug()
        elif not self._plugged and not self._device.unplugged:
            self._plug()
        self._plugged = not self._device.unplugged

    def _answer(self, data: bytes, sink: Callable[[bytes], None]) -> None:
        if data:
            self._answers.append(_Answer(due_s=time.monotonic() + self._device.answer_delay_s, data=data, sink=sink))

    def _send_due(self) -> float | None:
        """Send answers whose time has come, in their order; return the seconds until the next."""
        while self._answers:
            wait_s = self._answers[0].due_s - time.monotonic()
            if wait_s > 0:
                return wait_s
            answer = self._answers.popleft()
            answer.sink(answer.data)
        return None


class PtyPort(Port):
    """A raw pty; `path` is a symbolic link to it, replaced when the pty is."""

    def __init__(self, device: Device, path: Path) -> None:
        self._path = path
        self._master = -1
        self._slave_name = ""
        self._attached = False
        super().__init__(device)

    @property
    def address(self) -> str:
        """The link's path."""
        return str(self._path)

    def _plug(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self._slave_name = os.ttyname(slave)
        os.close(slave)
        try:
            self._link()
        except OSError as error:
            os.close(self._master)
            raise PartFailed(f"expected to make the link {self._path}, got: {error}") from error

    def _link(self) -> None:
        """Point the name to the pty in one step, so that it never names nothing; what is no link is not replaced."""
        if self._path.exists() and not self._path.is_symlink():
            raise FileExistsError(errno.EEXIST, "it exists and is not a link", str(self._path))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self._slave_name)
        fresh.replace(self._path)

    def _unplug(self) -> None:
        self._path.unlink(missing_ok=True)
        self._detach()
        os.close(self._master)

    def _look(self) -> float | None:
        """While nobody has the pty open, its master is always `ready`, with an error: then look from time to time."""
        if not self._plugged or self._attached:
            return None
        if self._opened():
            self._attach()
            return None
        if self._marked_exclusive() and not self._opened():
            os.close(self._master)
            self._plug()
        return _IDLE_POLL_S

    def _opened(self) -> bool:
        """Whether somebody has the slave open, or has left something to read."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        events = dict(poll.poll(0)).get(self._master, 0)
        return bool(events & select.POLLIN) or not events & select.POLLHUP

    def _marked_exclusive(self) -> bool:
        """Whether the slave bears an exclusive mark, which keeps out everyone but the superuser."""
        try:
            slave = os.open(self._slave_name, os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            return error.errno == errno.EBUSY
        try:
            return any(fcntl.ioctl(slave, _TIOCGEXCL, bytes(4)))
        finally:
            os.close(slave)

    def _attach(self) -> None:
        self._selector.register(self._master, selectors.EVENT_READ, self._on_readable)
        self._attached = True

    def _detach(self) -> None:
        if self._attached:
            self._selector.unregister(self._master)
        self._attached = False

    def _on_readable(self) -> None:
        try:
            data = os.read(self._master, _READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the slave open any more
            self._answers.clear()
            self._detach()
            return
        self._answer(self._device.receive(data), self._broadcast)

    def _broadcast(self, data: bytes) -> None:
        """Send to whoever has the pty open; what nobody reads is lost, as on a line without handshake."""
        if self._attached:
            with contextlib.suppress(OSError):
                os.write(self._master, data)


class TcpPort(Port):
    """A listener; an answer goes to the client that asked, what is unasked goes to all.

    The printer has one buffer: requests that two clients send in pieces at the same time mix there. `tcp_port` 0 takes
    a free one, and keeps it while the cable is pulled and put back.
    """

    def __init__(self, device: Device, tcp_port: int, host: str = "127.0.0.1") -> None:
        self._host = host
        self._tcp_port = tcp_port
        self._listener: socket.socket | None = None
        self._clients: set[socket.socket] = set()
        super().__init__(device)

    @property
    def address(self) -> str:
        """`tcp://host:port`."""
        return f"tcp://{self._host}:{self._tcp_port}"

    def _plug(self) -> None:
        try:
            self._listener = socket.create_server((self._host, self._tcp_port))
        except OSError as error:
            raise PartFailed(f"expected to listen on {self.address}, got: {error}") from error
        self._listener.settimeout(0)
        self._tcp_port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ, self._on_client)

    def _unplug(self) -> None:
        for client in tuple(self._clients):
            self._drop(client)
        if self._listener:
            self._selector.unregister(self._listener)
            self._listener.close()
        self._listener = None

    def _on_client(self) -> None:
        if self._listener is None:
            return
        try:
            client, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        if len(self._clients) >= _CLIENTS_MAX:
            client.close()
            return
        client.settimeout(0)
        self._clients.add(client)
        self._selector.register(client, selectors.EVENT_READ, partial(self._on_readable, client))

    def _on_readable(self, client: socket.socket) -> None:
        try:
            data = client.recv(_READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._answer(self._device.receive(data), partial(self._send, client))
        else:
            self._drop(client)

    def _broadcast(self, data: bytes) -> None:
        for client in tuple(self._clients):
            self._send(client, data)

    def _send(self, client: socket.socket, data: bytes) -> None:
        """Send to a client that is still there; one that does not read is dropped."""
        if client not in self._clients:
            return
        try:
            client.sendall(data)
        except OSError:
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client)
            client.close()
