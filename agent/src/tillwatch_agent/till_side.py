"""The till's side of a shared port: a pseudo-terminal behind a path that stays.

The path is a symbolic link that we own. It leads to the pseudo-terminal while we serve, and to the port itself when we
do not: beside it stands another link, its name and `.direct`, which always leads to the port itself, so that whoever
finds us gone need know nothing else (`share_guard`).

- **Who opens the path can do with it what he can with the port**: it has the port's group, which may read and write.
- **Open and closed are told apart without looking again and again.** Nobody but the till has the slave open; its first
  byte and its close wake who waits for `fileno` with EPOLLET; its open by itself does not, and need not.
- **Line settings are read and not enforced.** A pseudo-terminal has 8 data bits and no parity, whatever is asked of it
  (drivers/tty/pty.c); speed, stop bits, RTS/CTS and XON/XOFF are as the till set them.
- **What nobody reads is lost**, as on a line: what comes while nobody has it open, or when its reader sleeps.

A pseudo-terminal keeps the exclusive mark (TIOCEXCL) of a till that went away, where a serial line loses it with the
last close; it is then replaced by another.
"""

import contextlib
import errno
import fcntl
import os
import re
import select
import termios
import tty
from pathlib import Path
from typing import Final

from tillwatch_agent.ports import LineSettings, PortAbsent, PortRefused

READ_BYTES_MAX: Final = 4096
MODE: Final = 0o660
DIRECT: Final = ".direct"
_PTS: Final = "/dev/pts/"
_TIOCGEXCL: Final = 0x80045440
"""Linux, asm-generic/ioctls.h: _IOR('T', 0x40, int)."""
_SPEEDS: Final = {getattr(termios, name): int(name[1:]) for name in dir(termios) if re.fullmatch(r"B[1-9][0-9]*", name)}
_IFLAG, _CFLAG, _OSPEED = 0, 2, 5


class TillSide:
    """One pseudo-terminal and its link; see the module."""

    def __init__(self, link: Path, line: LineSettings) -> None:
        """Prepare it: `line` is what it has until a till sets it."""
        self._link = link
        self._line = line
        self._master = -1
        self._slave_name = ""

    @property
    def is_offered(self) -> bool:
        """Whether there is a pseudo-terminal."""
        return self._master >= 0

    @property
    def has_link(self) -> bool:
        """Whether the link leads to our pseudo-terminal."""
        try:
            return self.is_offered and str(self._link.readlink()) == self._slave_name
        except OSError:
            return False

    def lead_here(self) -> str:
        """Let the link lead to our pseudo-terminal again; says where it led, or nothing. Raises `OSError`."""
        led = str(self._link.readlink()) if self._link.is_symlink() else ""
        lead(self._link, self._slave_name)
        return led

    @property
    def is_open(self) -> bool:
        """Whether somebody has it open, or has left something to read."""
        if self._master < 0:
            return False
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        events = dict(poll.poll(0)).get(self._master, 0)
        return bool(events & select.POLLIN) or not events & select.POLLHUP

    def offer(self, group: int | None) -> None:
        """Make a pseudo-terminal, for a group beside ourselves, and let the link lead to it; raises `PortRefused`.

        One that there was is hung up when the link leads to the other.
        """
        master, slave = os.openpty()
        try:
            os.set_blocking(master, False)
            tty.setraw(slave)
            self._set(slave)
            if group is not None:
                os.fchown(slave, -1, group)
            os.fchmod(slave, MODE)
            lead(self._link, os.ttyname(slave))
        except OSError as error:
            os.close(master)
            raise PortRefused(f"{self._link}: expected to offer it to the till, got: {error.strerror}") from error
        else:
            self.withdraw()
            self._master, self._slave_name = master, os.ttyname(slave)
        finally:
            os.close(slave)

    def withdraw(self) -> None:
        """Hang up: who has it open reads the end, and an error when it writes. The link is left as it is."""
        master, self._master = self._master, -1
        if master >= 0:
            os.close(master)

    def forget(self) -> bool:
        """After a till went away: forget what it did not read; says whether its mark keeps others out."""
        try:
            slave = os.open(self._slave_name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return error.errno == errno.EBUSY
        try:
            termios.tcflush(slave, termios.TCIFLUSH)
            return any(fcntl.ioctl(slave, _TIOCGEXCL, bytes(4)))
        finally:
            os.close(slave)

    def fileno(self) -> int:
        """Give the descriptor to who waits for it."""
        return self._master

    def read(self, bytes_max: int) -> bytes | None:
        """Take what the till wrote; nothing if there is nothing, None if nobody has it open."""
        try:
            return os.read(self._master, min(bytes_max, READ_BYTES_MAX))
        except BlockingIOError:
            return b""
        except OSError:  # EIO: nobody has the slave open
            return None

    def write(self, data: bytes) -> None:
        """Hand the till what the printer said."""
        if data and self.is_open:
            with contextlib.suppress(OSError):
                os.write(self._master, data)

    def settings(self) -> tuple[LineSettings, bool]:
        """Read what the till has set of its line, and whether it obeys XON/XOFF."""
        attributes = termios.tcgetattr(self._master)
        control = attributes[_CFLAG]
        line = LineSettings(
            baud_rate=_SPEEDS.get(attributes[_OSPEED], self._line.baud_rate),
            stop_bits=2 if control & termios.CSTOPB else 1,
            has_hardware_flow=bool(control & termios.CRTSCTS),
        )
        return line, bool(attributes[_IFLAG] & termios.IXON)

    def _set(self, slave: int) -> None:
        attributes = termios.tcgetattr(slave)
        speeds = {speed: code for code, speed in _SPEEDS.items()}
        attributes[_OSPEED - 1] = attributes[_OSPEED] = speeds.get(self._line.baud_rate, termios.B9600)
        attributes[_CFLAG] |= termios.CSTOPB if self._line.stop_bits > 1 else 0
        termios.tcsetattr(slave, termios.TCSANOW, attributes)


def lead(link: Path, target: str) -> None:
    """Let a link lead elsewhere in one step; what is no link is not replaced. Raises `OSError`."""
    if os.path.lexists(link) and not link.is_symlink():
        raise FileExistsError(errno.EEXIST, "it exists and is not a link", str(link))
    fresh = link.with_name(f".{link.name}.fresh")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def note_direct(link: Path, node: Path) -> None:
    """Keep where the port itself is, for whoever finds us gone; raises `PortAbsent`."""
    try:
        lead(direct_of(link), str(node))
    except OSError as error:
        said = f"{link}: expected a folder for it that can be written, got: {error.strerror}"
        raise PortAbsent(said) from error


def direct_of(link: Path) -> Path:
    """Name the link that always leads to the port itself."""
    return link.with_name(link.name + DIRECT)


def leads_to_port(link: Path) -> bool:
    """Whether the path was given away: it leads to the port itself, so that a till may have that open."""
    try:
        return not str(link.readlink()).startswith(_PTS)
    except OSError:
        return False
