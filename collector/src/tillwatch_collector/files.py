"""Files written whole or not at all, keys that never replace another, and lists that grow by whole lines.

What was written is on the disk when the call returns. A change violates this when a reader can see half a file, or
take half a line for a whole one.
"""

import os
from pathlib import Path

OTHERS_MAY = 0o077
"""Bits of a mode by which somebody beside the owner may read, write or enter."""

LINE_BYTES_MAX = 64 * 1024
"""Of a line that is added: far more than one of ours has."""


def replace(path: Path, content: bytes, mode: int, *, owner: tuple[int, int] | None = None) -> None:
    """Put a file in place of whatever was there; `owner` is a user's and a group's number. Raises `OSError`."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        _write_new(partial, content, mode, owner)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_new_key(path: Path, content: bytes) -> None:
    """Write a file for its owner alone; raises `FileExistsError` rather than replace one."""
    _write_new(path, content, 0o600, None)
    sync_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file that is there, in place of one that was left unfinished; raises `OSError`."""
    with path.open("r+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LINE_BYTES_MAX))
        unfinished = file.read().rpartition(b"\n")[2]
        file.seek(-len(unfinished), os.SEEK_END)
        file.write(line + b"\n")
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _write_new(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut; raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
