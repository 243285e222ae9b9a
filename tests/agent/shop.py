"""What a test of a shared port stands on: a share over a pty whose other end the test plays, and a till beside it."""

import contextlib
import os
import termios
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.agent.conftest import until

from tillwatch_agent import config, share
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.ports import Port, SerialPort
from tillwatch_agent.probes import DeviceProbe, build
from tillwatch_agent.share import Share, SharedPort

OPEN = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK


def configured(folder: Path, port: str | None = None, **printer: object) -> AgentConfig:
    """One printer that is shared as `receipt`."""
    line = {"name": "receipt", "port": port or str(folder / "printer"), "share": str(folder / "receipt"), **printer}
    document = {"terminal_id": "t", "printer": [line], "network": {"enabled": False}, "machine": {"enabled": False}}
    return config.parse(document)


@contextlib.contextmanager
def sharing(settings: AgentConfig, port: Port | None = None) -> Iterator[tuple[Share, DeviceProbe]]:
    """Share in this process, without a guard; by another port, if one is given."""
    printer = settings.printer[0]
    shared = share.share_of(printer)
    if port is not None:
        shared.port = port
    probe = build(settings, {printer.components[0]: SharedPort(shared, name="p", allowed=shared._allowed)})[0]
    assert isinstance(probe, DeviceProbe)
    shared.start()
    try:
        yield shared, probe
    finally:
        shared.stop()


def served(shared: Share) -> None:
    until(lambda: shared.trouble is None, "the port to be shared")


class Till:
    """The till's software, by the path it was given."""

    def __init__(self, path: Path) -> None:
        until(path.exists, "the path")
        self.fd = os.open(path, OPEN)

    def write(self, data: bytes) -> int:
        """Write as much as goes at once."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0

    def write_all(self, data: bytes) -> None:
        left = [data]

        def goes() -> bool:
            left[0] = left[0][self.write(left[0]) :]
            return not left[0]

        until(goes, "the till's bytes to be taken")

    def read(self, count: int) -> bytes:
        """Wait for so many bytes."""
        got = [b""]

        def came() -> bool:
            with contextlib.suppress(BlockingIOError):
                got[0] += os.read(self.fd, count)
            return len(got[0]) >= count

        until(came, f"{count} bytes for the till")
        return got[0]

    def set(self, change: Callable[[list[int]], None]) -> None:
        """Change its line."""
        attributes = termios.tcgetattr(self.fd)
        change(attributes)
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)

    def is_hung_up(self) -> bool:
        try:
            os.write(self.fd, b"")
            return os.read(self.fd, 1) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        os.close(self.fd)


class Line:
    """The printer's end of a line that is a pty; what comes is read by hand."""

    def __init__(self, path: Path) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self._slave = slave
        path.unlink(missing_ok=True)
        path.symlink_to(os.ttyname(slave))
        self.heard = b""

    def hear(self) -> bytes:
        """Read what has come by now; returns all that ever came."""
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 65_536):
                self.heard += data
        return self.heard

    def hears(self, data: bytes) -> None:
        until(lambda: self.hear() == data, f"{data[:16]!r} at the printer, not {self.heard[-16:]!r}")

    def say(self, data: bytes) -> None:
        os.write(self.master, data)

    def settings(self) -> list[int]:
        return termios.tcgetattr(self.master)[:6]

    def close(self) -> None:
        for fd in (self._slave, self.master):
            with contextlib.suppress(OSError):
                os.close(fd)


class Failing(SerialPort):
    """A serial line whose device vanishes at the n-th use, and is there again after."""

    left: int

    def _used(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.close()  # what is asked of it next fails as a real one's does

    def take(self) -> bytes:
        self._used()
        return super().take()

    def pass_on(self, data: bytes) -> int:
        self._used()
        return super().pass_on(data)

    def unsent(self) -> int:
        self._used()
        return super().unsent()
