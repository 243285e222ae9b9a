"""Whether the till is busy: a file that its software locks during a sale, or a command that says so.

Only a clear answer is `Idle`. A lock file that is missing, a command that fails, hangs or cannot be started are `Busy`
with their reasons: what guards a sale and cannot be read lets nothing happen.

A lock of either kind counts, flock(2) or fcntl(2), whichever the till's software takes. `held` keeps the file locked
by flock while the release is switched, so that software which asks for it waits with the next sale.

A change violates this when anything but a clear answer lets a till be switched.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tillwatch_agent.installer import hooks
from tillwatch_agent.installer.hooks import Hook

SALE: Final = "sale_open"
"""The till's software holds its lock, or its command said no."""
MISSING: Final = "guard_missing"
"""The lock file or the command is not there."""
FAILED: Final = "guard_failed"
"""The file cannot be locked, or the command was late."""

EXIT_BUSY: Final = 1
"""By which a command says that the till is busy; 0 says that it is idle, and others that the command failed."""

_HELD: Final = frozenset({errno.EWOULDBLOCK, errno.EACCES})


@dataclass(frozen=True, kw_only=True, slots=True)
class Idle:
    """Nothing is going on at the till."""


@dataclass(frozen=True, slots=True)
class Busy:
    """It must not be switched now: a code, and a line for people."""

    reason: str
    said: str


Verdict = Idle | Busy


class Guard(Protocol):
    """Says whether the till is busy."""

    def look(self) -> Verdict:
        """Look once."""

    def held(self) -> AbstractContextManager[Verdict]:
        """Look, and keep it so while the context lasts, as far as this guard can."""


class LockGuard:
    """A file that the till's software locks while it must not be disturbed."""

    def __init__(self, path: Path) -> None:
        """Look at this file; it is never made here."""
        self._path = path

    def look(self) -> Verdict:
        """Look once."""
        with self.held() as verdict:
            return verdict

    @contextmanager
    def held(self) -> Iterator[Verdict]:
        """Look, and hold the file's lock while the context lasts where it was free."""
        try:
            # A FIFO must not keep us waiting for its other end.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            reason = MISSING if error.errno == errno.ENOENT else FAILED
            yield Busy(reason, f"{self._path}: expected a lock file, got: {error.strerror}")
            return
        try:
            yield self._locked(descriptor)
        finally:
            os.close(descriptor)

    def _locked(self, descriptor: int) -> Verdict:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return Busy(FAILED, f"{self._path}: expected a file")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A shared one, since the file is open for reading only; it meets every exclusive one.
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return Busy(SALE, f"{self._path} is locked")
            return Busy(FAILED, f"{self._path}: expected to lock it, got: {error.strerror}")
        return Idle()


class CommandGuard:
    """A command that ends with 0 when the till is idle, and with 1 and a line of why when it is not."""

    def __init__(self, hook: Hook) -> None:
        """Ask by this hook."""
        self._hook = hook

    def look(self) -> Verdict:
        """Ask once."""
        outcome = hooks.run(self._hook)
        if outcome.is_well:
            return Idle()
        if outcome.exit_code == EXIT_BUSY:
            return Busy(SALE, outcome.said)
        return Busy(MISSING if outcome.is_missing else FAILED, outcome.said)

    @contextmanager
    def held(self) -> Iterator[Verdict]:
        """Ask once; a command cannot keep the till idle."""
        yield self.look()


class NoGuard:
    """For a product whose switch disturbs no sale, such as the agent itself."""

    def look(self) -> Verdict:
        """Say that nothing is disturbed."""
        return Idle()

    @contextmanager
    def held(self) -> Iterator[Verdict]:
        """Say so."""
        yield Idle()
