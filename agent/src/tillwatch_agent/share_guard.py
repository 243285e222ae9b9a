"""The guard of shared ports: when the agent is gone, the till's path leads to the port itself.

A small process of its own that needs nothing but the standard library, since it is to outlive whatever ends the agent,
SIGKILL too. It waits until its standard input ends, which happens when the agent does, and looks after each path that
it was given: one whose pseudo-terminal is dead, or that is not there, is made to lead where its `.direct` leads. A path
that leads to a living one belongs to an agent that was started meanwhile, and is left alone; one that a till
has marked as its own (TIOCEXCL) lives as well.

    python3 -I -S share_guard.py PATH...   < /dev/null    # once, for a service manager's clean-up

A change violates this when a path can be left leading to a pseudo-terminal that belongs to somebody else.
"""

import contextlib
import errno
import os
import signal
import sys

_PTS = "/dev/pts/"
_READ_BYTES_MAX = 4096


def main(paths: list[str]) -> int:
    """Wait, and look after the paths; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a service manager says so to all at once: the agent is the one to end
    while os.read(sys.stdin.fileno(), _READ_BYTES_MAX):
        pass
    for path in paths:
        with contextlib.suppress(OSError):
            release(path)
    return 0


def release(path: str) -> None:
    """Let a path lead to the port itself, unless it leads to a pseudo-terminal that is served; raises `OSError`."""
    direct = os.readlink(path + ".direct")  # noqa: PTH115 - pathlib alone would double what this process costs
    if is_served(path):
        return
    fresh = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.guard")  # noqa: PTH118, PTH119, PTH120 - as above
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)  # noqa: PTH108 - as above
    os.symlink(direct, fresh)  # noqa: PTH211 - as above
    os.replace(fresh, path)  # noqa: PTH105 - as above


def is_served(path: str) -> bool:
    """Whether a path leads to a pseudo-terminal that somebody serves."""
    try:
        target = os.readlink(path)  # noqa: PTH115 - as above
        if not target.startswith(_PTS):
            return False
        os.close(os.open(target, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.EBUSY
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
