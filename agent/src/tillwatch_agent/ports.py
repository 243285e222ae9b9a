"""Ports: a serial line, a USB printer's node, a TCP connection, behind the same few verbs. The only `serial` import.

- **Only allow-listed bytes leave.** A port is built with the byte strings it may carry; `write` refuses all else, in
  one place for every kind. What a till's own software writes, where a port is shared with it, goes by `pass_on`.
- **A port is had alone or not at all.** A serial line is locked (`flock`) and marked (TIOCEXCL); usblp and most
  printers' TCP ports serve one at a time by themselves. Someone else's port raises `PortBusy`; nothing is written.
- **A port is had for one look.** The till's own software needs it more often and more urgently than we do, so it is
  opened, asked and closed at each poll, never held, unless it is shared (`share`). What was not sent is discarded
  first, so that no close waits.
- **Names are looked up anew at each open**: links under /dev/serial/by-id and by-path, and nodes by vendor and product
  id, so that a device that comes back under another number is found. Where ids are configured, a node of another device
  is never opened, whatever its name.
- **Every wait ends.** Connecting, writing and reading take their limits from below or from the caller.

A pseudo-terminal has no modem lines: asking for them gives ENOTTY, which means "not there", never "not ready".
"""

import contextlib
import errno
import fcntl
import math
import os
import re
import select
import socket
import sys
import termios
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import serial

from tillwatch_agent import resolver, usb
from tillwatch_agent.config import LineConfig, Parity
from tillwatch_agent.drivers import Attachment
from tillwatch_agent.errors import DeviceError, OwnError

CONNECT_TIMEOUT_S = 2.0
"""A printer is on the same local network; one that takes longer is not there."""
WRITE_TIMEOUT_S = 1.0
"""Three bytes at 1200 baud take 25 ms; longer means that the other side holds us off."""
READ_BYTES_MAX = 4096
ANSWER_BYTES_MAX = 64 * 1024
"""No driver waits for more than some kilobytes; what goes on past this is noise, whatever the driver says of it."""
DRAINED_BYTES_MAX = 64 * 1024
"""A line that still talks after this much is not going to be quiet."""
DRAIN_READS_MAX = 1024
"""As the bytes; it ends a drain of a node that is always readable and has nothing."""

NOT_A_LINE: Final = "it is not a serial line"
"""What is said of a path that opens and has no line's parameters: a file, /dev/null."""

_NOT_TOLD: Final = frozenset({errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP})
"""Of a node that does not count what it has not sent."""

_PARITIES: Final = {
    Parity.NONE: serial.PARITY_NONE,
    Parity.EVEN: serial.PARITY_EVEN,
    Parity.ODD: serial.PARITY_ODD,
}


class PortError(DeviceError):
    """A port cannot be used now; the message says what was tried and what came."""


class PortBusy(PortError):  # noqa: N818 - the tree reads as a list of faults
    """Somebody else has it."""


class PortRefused(PortError):  # noqa: N818 - as above
    """The system does not let us: permissions."""


class PortAbsent(PortError):  # noqa: N818 - as above
    """There is no such node, or none that is told apart from others."""


class PortUnreachable(PortError):  # noqa: N818 - as above
    """Nothing accepts a connection there."""


class PortLost(PortError):  # noqa: N818 - as above
    """It was open and went away, or takes nothing more."""


class TurnMissed(PortBusy):
    """The till's software was using the port that we share with it for as long as was waited; it can be asked again."""


class ForbiddenBytes(OwnError):  # noqa: N818 - as above
    """Bytes outside the driver's allow-list were about to be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LineSettings:
    """What a till's software may change of a serial line that is shared with it."""

    baud_rate: int
    stop_bits: int
    has_hardware_flow: bool
    """RTS/CTS."""


class Port(ABC):
    """A way to one device. `open` and the rest raise `PortError`; only `close` never does."""

    attachment: Attachment
    node: Path | None = None
    """What it was opened at last, where it is a node of this machine."""
    opens_for_one: ClassVar[bool] = False
    """Whether the system itself opens it for one only, so that whoever opens it took it from nobody."""
    _ends_when_empty: ClassVar[bool] = True
    """Whether being readable with nothing to read means that the other side hung up."""

    def __init__(self, *, name: str, allowed: Container[bytes]) -> None:
        self.name = name
        self._allowed = allowed
        self._written_at_s = -math.inf

    @abstractmethod
    def open(self) -> None:
        """Take the port, alone."""

    @abstractmethod
    def close(self) -> None:
        """Give it back; harmless when it is not open."""

    def write(self, request: bytes) -> None:
        """Send one request, if it is one of those this port may carry."""
        if request not in self._allowed:
            raise ForbiddenBytes(f"{self.name}: expected an allowed request, got {request[:16].hex(' ')}")
        self._send(request)
        self._written_at_s = time.monotonic()

    def read(self, timeout_s: float) -> bytes:
        """Take what has come, waiting at most `timeout_s` for the first byte; nothing if nothing came."""
        if not select.select([self._fileno()], [], [], max(timeout_s, 0.0))[0]:
            return b""
        return self._receive()

    def drain(self, late_s: float = 0.0) -> int:
        """Throw away what has come, and what comes until `late_s` after the last write; returns how many bytes."""
        until_s = self._written_at_s + late_s
        drained = 0
        for _ in range(DRAIN_READS_MAX):
            data = self.read(until_s - time.monotonic())
            drained += len(data)
            if drained >= DRAINED_BYTES_MAX or (not data and time.monotonic() >= until_s):
                break
        return drained

    def ask(self, request: bytes, is_answered: Callable[[bytes], bool], timeout_s: float, settle_s: float) -> bytes:
        """Write a request and gather what comes until it is answered or time is up, and what comes just after."""
        self.write(request)
        deadline_s = time.monotonic() + timeout_s
        received = b""
        while len(received) < ANSWER_BYTES_MAX and not is_answered(received):
            data = self.read(deadline_s - time.monotonic())
            if not data:
                return received
            received += data
        return received + self.read(settle_s)

    def take(self) -> bytes:
        """Take what has come, without waiting; raises `PortLost`."""
        return self._receive()

    def pass_on(self, data: bytes) -> int:
        """Send what a till's software wrote, as much as is taken without waiting; returns how many bytes."""
        try:
            return os.write(self._fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PortLost(f"{self.name}: {error.strerror}") from error

    def unsent(self) -> int:
        """Count what was written and has not left this machine, as far as the system tells; raises `PortLost`."""
        try:
            counted = fcntl.ioctl(self._fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError as error:
            if error.errno in _NOT_TOLD:
                return 0
            raise PortLost(f"{self.name}: {error.strerror}") from error
        return int.from_bytes(counted, sys.byteorder)

    def set_line(self, line: LineSettings) -> None:  # noqa: B027 - most ports have no line
        """Give a serial line other settings; what is no serial line has none."""

    def found(self) -> Path | None:
        """Find the node that it would be opened at now, None where there is none; raises `PortAbsent`."""
        return None

    def fileno(self) -> int:
        """Give the open descriptor to who waits for it; raises `PortLost`."""
        return self._fileno()

    @abstractmethod
    def _fileno(self) -> int:
        """Give the open descriptor, which never blocks, or raise `PortLost`."""

    def _send(self, data: bytes) -> None:
        fd = self._fileno()
        deadline_s = time.monotonic() + WRITE_TIMEOUT_S
        while data:
            if not select.select([], [fd], [], max(deadline_s - time.monotonic(), 0.0))[1]:
                raise PortLost(f"{self.name}: it took no bytes for {WRITE_TIMEOUT_S} s")
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise PortLost(f"{self.name}: {error.strerror}") from error

    def _receive(self) -> bytes:
        try:
            data = os.read(self._fileno(), READ_BYTES_MAX)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PortLost(f"{self.name}: {error.strerror}") from error
        if not data and self._ends_when_empty:
            raise PortLost(f"{self.name}: the other side hung up")
        return data


class SerialPort(Port):
    """A serial line by pyserial: 8 data bits, no flow control of ours, since a status request is to pass a busy line.

    Reading and writing go past pyserial's own waits, which set the line's parameters anew at each change of a timeout.
    """

    def __init__(
        self,
        *,
        name: str,
        allowed: Container[bytes],
        locate: Callable[[], Path],
        baud_rate: int = 9600,
        parity: Parity = Parity.NONE,
        stop_bits: int = 1,
    ) -> None:
        super().__init__(name=name, allowed=allowed)
        self.attachment = Attachment.SERIAL
        self._locate = locate
        self._line = serial.Serial(
            baudrate=baud_rate,
            parity=_PARITIES[parity],
            stopbits=stop_bits,
            timeout=0,
            write_timeout=WRITE_TIMEOUT_S,
            exclusive=True,
        )

    def open(self) -> None:
        """Resolve the name, lock the line, mark it exclusive."""
        self.node = path = self._locate()
        self.attachment = Attachment.USB if path.resolve().name.startswith("ttyACM") else Attachment.SERIAL
        self._line.port = str(path)
        try:
            self._line.open()
            fcntl.ioctl(self._line.fileno(), termios.TIOCEXCL)
        except (OSError, termios.error) as error:
            self.close()
            raise _refusal(error, str(path)) from error

    def close(self) -> None:
        """Discard what was not sent, take the mark off, close."""
        if not self._line.is_open:
            return
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(self._line.fileno(), termios.TCOFLUSH)
            fcntl.ioctl(self._line.fileno(), termios.TIOCNXCL)
        with contextlib.suppress(OSError):
            self._line.close()

    def found(self) -> Path | None:
        """Resolve the name."""
        return self._locate()

    def set_line(self, line: LineSettings) -> None:
        """Change speed, stop bits and RTS/CTS at once; raises `PortLost`."""
        try:
            self._line.baudrate = line.baud_rate
            self._line.stopbits = line.stop_bits
            self._line.rtscts = line.has_hardware_flow
        except (OSError, ValueError, termios.error) as error:
            raise PortLost(f"{self.name}: expected a line that takes {line}, got: {error}") from error

    def _fileno(self) -> int:
        return _open_fd(self._line.fileno if self._line.is_open else None, self.name)


class UsbPrinterPort(Port):
    """A printer's own node, /dev/usb/lp*: the kernel (usblp) lets one in at a time, EBUSY else.

    The class's own status (LPGETSTATUS) is not asked: it may sit in a control transfer for 5 s, and some receipt
    printers answer a constant "all well" (drivers/usb/class/usblp.c; Transact EPIC3000, p. 249).
    """

    attachment = Attachment.USB
    opens_for_one = True
    _ends_when_empty = False

    def __init__(self, *, name: str, allowed: Container[bytes], locate: Callable[[], Path]) -> None:
        super().__init__(name=name, allowed=allowed)
        self._locate = locate
        self._fd: int | None = None

    def open(self) -> None:
        """Resolve the name and open it, both ways and without waiting."""
        self.node = path = self._locate()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _refusal(error, str(path)) from error

    def close(self) -> None:
        """Close; what was not sent is cancelled by the kernel."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _fileno(self) -> int:
        fd = self._fd
        return _open_fd(None if fd is None else lambda: fd, self.name)


class TcpPort(Port):
    """A printer's raw TCP port (9100 by custom)."""

    attachment = Attachment.TCP

    def __init__(self, *, name: str, allowed: Container[bytes], host: str, tcp_port: int) -> None:
        super().__init__(name=name, allowed=allowed)
        self._host = host
        self._tcp_port = tcp_port
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Look the name up and connect, each within its limit."""
        found = resolver.resolve(self._host, CONNECT_TIMEOUT_S)
        if not found.addresses:
            raise PortUnreachable(f"{self.name}: the name {self._host!r} has no address ({found.lookup})")
        try:
            self._socket = socket.create_connection((found.addresses[0], self._tcp_port), CONNECT_TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)  # noqa: FBT003 - the socket library's own signature
            self._written_at_s = -math.inf  # what was asked over an earlier connection is answered there
        except OSError as error:
            self.close()
            raise PortUnreachable(f"{self.name}: {error.strerror or 'timed out'}") from error

    def close(self) -> None:
        """Hang up."""
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def _fileno(self) -> int:
        return _open_fd(self._socket.fileno if self._socket else None, self.name)


def for_bytes(line: LineConfig, allowed: Container[bytes]) -> Port:
    """Build the port that a device's configuration names, for what is said in plain bytes; opens nothing."""
    if tcp := re.fullmatch(r"tcp://(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:/]+)):(?P<port>\d+)", line.port):
        host = tcp["v6"] or tcp["host"]
        return TcpPort(name=line.port, allowed=allowed, host=host, tcp_port=int(tcp["port"]))
    if line.port.startswith("/dev/usb/"):
        return UsbPrinterPort(name=line.port, allowed=allowed, locate=lambda: locate(line, "usbmisc"))
    return SerialPort(
        name=line.port,
        allowed=allowed,
        locate=lambda: locate(line, "tty"),
        baud_rate=line.baud_rate,
        parity=line.parity,
        stop_bits=line.stop_bits,
    )


def locate(line: LineConfig, subsystem: str, sysfs: Path = usb.SYSFS) -> Path:
    """Find the node to open now: the configured one, or where ids are configured the one that has them.

    Raises `PortAbsent` where no node has the ids, or several have and the configured path is none of them.
    """
    path = Path(line.port)
    ids = line.usb_ids
    if ids is None:
        return path
    owned = usb.nodes(ids, subsystem, sysfs, location=line.socket)
    resolved = path.resolve()
    match [node for node in owned if node.resolve() == resolved] or list(owned):
        case [node]:
            return node
        case []:
            place = f" in socket {line.socket}" if line.socket else ""
            raise PortAbsent(f"{line.port}: no {subsystem} node belongs to USB device {ids}{place}")
        case many:
            names = ", ".join(map(str, many))
            raise PortAbsent(f"{line.port}: several nodes belong to {ids} ({names}); name one by its socket")


def seen() -> tuple[str, ...]:
    """List the serial ports of this machine, each with what it is, for advice.

    pyserial's listing raises TypeError when a device's attributes vanish while it reads them (3.5 catches ValueError
    only); then nothing is listed.
    """
    from serial.tools import list_ports  # noqa: PLC0415 - for a person's advice alone

    try:
        found = sorted(list_ports.comports())
    except (TypeError, OSError):
        return ()
    return tuple(f"{port.device} ({port.description})" for port in found if port.vid is not None)


def _refusal(error: Exception, path: str) -> PortError:
    number = _errno(error)
    said = f"{path}: {os.strerror(number)}" if number else f"{path}: {error}"
    if number == errno.ENOTTY:
        return PortAbsent(f"{path}: {NOT_A_LINE}")
    if number in {errno.EAGAIN, errno.EBUSY, errno.EWOULDBLOCK}:
        return PortBusy(said)
    if number in {errno.EACCES, errno.EPERM}:
        return PortRefused(said)
    return PortAbsent(said)


def _errno(error: BaseException | None) -> int | None:
    """Find the system's number; pyserial tells some in words only, and keeps the error behind them."""
    if error is None:
        return None
    number = error.args[0] if error.args and isinstance(error.args[0], int) else getattr(error, "errno", None)
    return number or _errno(error.__context__)


def _open_fd(fileno: Callable[[], int] | None, name: str) -> int:
    if fileno is None:
        raise PortLost(f"{name}: it is not open")
    return fileno()
