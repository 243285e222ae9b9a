"""The disk as what must outlast a power cut sees it: the only writer of the journal of a job and of the slots.

A file appears under its name whole or not at all: it is written beside its place, forced to the disk, renamed, and the
rename is forced, too. The same goes for a link. What is done has happened when a method returns, whatever becomes of
the power; what raised `DiskFailed` may have happened or not, never half. The order of such steps is the caller's.

The steps below them are `launcher.Volume`, which tests replace by one that loses what was not forced.

A change violates this when a file that is not whole bears its name, or a method returns before the disk has it.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tillwatch_agent.installer import launcher
from tillwatch_agent.installer.failure import DiskFailed, Refusal
from tillwatch_agent.installer.launcher import Volume

READ_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of one file that is read whole: the list of the largest slot's files has some 4 MB."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk:
    """Writes that have happened when they return."""

    def __init__(self, volume: Volume | None = None) -> None:
        """Write by these steps; by default the operating system's."""
        self._volume = Volume() if volume is None else volume

    def read(self, path: Path) -> bytes | None:
        """Read a file whole; None where there is none. Raises `DiskFailed`, also for one that is too long."""
        with _wrapped(path):
            try:
                with path.open("rb") as file:
                    content = file.read(READ_BYTES_MAX + 1)
            except FileNotFoundError:
                return None
        if len(content) > READ_BYTES_MAX:
            raise DiskFailed(Refusal.DISK_FAILED, f"{path}: expected at most {READ_BYTES_MAX} bytes, got more")
        return content

    def write(self, path: Path, content: bytes) -> None:
        """Put a file in its place, or another in its stead, at once; raises `DiskFailed`."""
        with _wrapped(path):
            launcher.write(self._volume, path, content)

    def link(self, path: Path, to: str) -> None:
        """Let a symbolic link lead to `to` from now on, at once; raises `DiskFailed`."""
        with _wrapped(path):
            launcher.link(self._volume, path, to)

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it; one that is there is kept. Raises `DiskFailed`."""
        with _wrapped(path):
            for missing in reversed([folder for folder in (path, *path.parents) if not folder.is_dir()]):
                self._volume.make_folder(missing)
                self._volume.sync(missing.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, a link, or a folder with all that it holds; none is fine. Raises `DiskFailed`."""
        with _wrapped(path):
            if os.path.lexists(path):
                self._remove(path)
            if path.parent.is_dir():
                self._volume.sync(path.parent)

    def fill(self, path: Path, parts: Iterable[bytes], mode: int) -> None:
        """Write a file part by part under its own name, into a folder that nothing reads until `settle`.

        `parts` may raise what it likes. Raises `DiskFailed`.
        """
        with _wrapped(path):
            self._volume.create(path, b"", mode)
        for part in parts:
            with _wrapped(path):
                self._volume.append(path, part)
        with _wrapped(path):
            self._volume.sync(path)

    def place_link(self, path: Path, to: str) -> None:
        """Put a link into such a folder; raises `DiskFailed`."""
        with _wrapped(path):
            self._volume.link(to, path)

    def place_folder(self, path: Path) -> None:
        """Make a folder within such a folder; raises `DiskFailed`."""
        with _wrapped(path):
            self._volume.make_folder(path)

    def settle(self, folder: Path) -> None:
        """Force the names of all that lies in a filled folder, and its own; raises `DiskFailed`."""
        with _wrapped(folder):
            for inner, _, _ in os.walk(folder):
                self._volume.sync(Path(inner))
            self._volume.sync(folder.parent)

    def free_bytes(self, path: Path) -> int:
        """Say how much may still be written where `path` lies; raises `DiskFailed`."""
        with _wrapped(path):
            return shutil.disk_usage(path).free

    def _remove(self, path: Path) -> None:
        if not stat.S_ISDIR(path.lstat().st_mode):
            self._volume.unlink(path)
            return
        for inner in sorted(path.iterdir()):
            self._remove(inner)
        self._volume.remove_folder(path)


@contextmanager
def _wrapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = Refusal.DISK_FULL if error.errno in _FULL else Refusal.DISK_FAILED
        raise DiskFailed(reason, f"{path}: expected to read and write, got: {error.strerror or error}") from None
