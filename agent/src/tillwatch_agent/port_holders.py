"""Whether a program has a port open: told only where it is sure.

What has a node open stands in /proc, under each process that does. To see all of them takes the rights over every
process, as root has them, and the machine's own process namespace: from within a container the others are not there,
and with `hidepid` or systemd's `ProtectProc` those of other users are not. The agent's own unit lacks those rights, so
that beside most tills this is `UNTOLD` for a serial line. A printer's node (usblp) needs no such look: it opens for one
only.

A change violates this when it says `NOBODY` though a process that it could not see may have the port.
"""

import stat
from enum import StrEnum
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
ROUNDS_MAX: Final = 5
"""Who is started while we look is looked at as well; a machine that starts more all the time is not told."""
_MACHINES_OWN: Final = "pid:[4026531836]"
"""The first process namespace: PROC_PID_INIT_INO (Linux, include/linux/proc_ns.h)."""


class Held(StrEnum):
    """Who has a port open."""

    NOBODY = "nobody"
    SOMEBODY = "somebody"
    UNTOLD = "untold"


def look(node: Path, proc: Path = PROC) -> Held:
    """Say who has a node open, ourselves included."""
    try:
        device = _device(node)
        if device is None or str((proc / "self/ns/pid").readlink()) != _MACHINES_OWN:
            return Held.UNTOLD
        _names(proc / "1/fd")  # where that can be read, all can be, and none is hidden
        seen: set[str] = set()
        for _ in range(ROUNDS_MAX):
            fresh = {name for name in _names(proc) if name.isdecimal()} - seen
            if not fresh:
                return Held.NOBODY
            if any(_has(proc / process / "fd", device) for process in fresh):
                return Held.SOMEBODY
            seen |= fresh
    except OSError:
        pass
    return Held.UNTOLD


def _has(descriptors: Path, device: int) -> bool:
    """Whether a process has the device open; one that has ended has not. Raises `PermissionError`."""
    try:
        return any(_device(descriptors / name) == device for name in _names(descriptors))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def _device(path: Path) -> int | None:
    """Give the number of a character device; None of what is none, or is gone. Raises `PermissionError`."""
    try:
        found = path.stat()
    except PermissionError:
        raise
    except OSError:
        return None
    return found.st_rdev if stat.S_ISCHR(found.st_mode) else None
