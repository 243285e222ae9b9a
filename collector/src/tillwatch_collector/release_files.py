"""The files of a release repository, by the names under which they are served; nothing is known here of keys.

`metadata/1.root.json`, `metadata/7.targets.json`, `metadata/timestamp.json`; for the target `till/till-2.1.0.tar.gz`
`targets/till/<sha256>.till-2.1.0.tar.gz`: what bears a version or a digest never changes, and every cache may keep it.

A change violates this when a name of another form, or a link, leads to a file.
"""

import hashlib
import os
import re
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tillwatch_collector import files
from tillwatch_collector.errors import CallerError
from tillwatch_protocol.release import RELEASE_BYTES_MAX, InstallerKind

METADATA: Final = "metadata"
TARGETS: Final = "targets"
TIMESTAMP: Final = "timestamp.json"

COPY_BYTES: Final = 1024 * 1024

_METADATA_NAME = re.compile(r"timestamp\.json|([1-9][0-9]{0,8})\.(root|targets|snapshot)\.json")
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
_TARGET_NAME = re.compile(rf"(?:{_PART}/){{1,2}}([0-9a-f]{{64}})\.{_PART}")


class FileUnusable(CallerError):  # noqa: N818 - it names what is so
    """A release's file is missing, too long, or not what was signed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A file that may be handed out."""

    path: Path
    bytes: int
    modified_s: float
    etag: str
    """The digest where the name bears one: the same on every machine that serves it."""
    lasts: bool
    """Whether what this name leads to never changes."""


def metadata_file(folder: Path, name: str) -> Served | None:
    """Find published metadata by its name; None where there is none of that name."""
    if not _METADATA_NAME.fullmatch(name):
        return None
    return _served(folder / METADATA / name, None, lasts=name != TIMESTAMP)


def target_file(folder: Path, name: str) -> Served | None:
    """Find a target's file by its name with digest; None where there is none of that name."""
    found = _TARGET_NAME.fullmatch(name)
    return _served(folder / TARGETS / name, found[1], lasts=True) if found else None


def prefixed(target: str, digest: str) -> str:
    """Name a target's file (specification 7.1: consistent targets)."""
    where, _, name = target.rpartition("/")
    return f"{where}/{digest}.{name}"


def versions(folder: Path, role: str) -> list[int]:
    """List the published versions of a role, in their order."""
    found = (_METADATA_NAME.fullmatch(path.name) for path in (folder / METADATA).glob(f"*.{role}.json"))
    return sorted(int(match[1]) for match in found if match)


def take_in(file: Path, folder: Path, target: str) -> tuple[int, str]:
    """Copy a file to its place among the targets; returns its length and SHA-256. Raises `FileUnusable`."""
    try:
        with file.open("rb") as source:
            if not stat.S_ISREG(file.stat().st_mode):
                raise FileUnusable(f"{file}: expected a file")
            return _copy(source, folder, target)
    except OSError as error:
        raise FileUnusable(f"{file}: expected a file that can be copied to {folder}, got: {error.strerror}") from None


def expect_packed(file: Path, installer: InstallerKind) -> None:
    """Raise `FileUnusable` unless a terminal can unpack a file as its name and kind of installer say."""
    packings = {".tar.gz": tarfile.is_tarfile, ".tgz": tarfile.is_tarfile, ".zip": zipfile.is_zipfile}
    opens = next((opens for ending, opens in packings.items() if file.name.endswith(ending)), None)
    if opens is None and installer is not InstallerKind.CONFIG:
        raise FileUnusable(f"{file}: expected an archive for installer {installer}, its name ending in .tar.gz or .zip")
    try:
        packed = opens is None or opens(file)
    except OSError as error:
        raise FileUnusable(f"{file}: expected a file that can be read, got: {error.strerror}") from None
    if not packed:
        raise FileUnusable(f"{file}: expected an archive, as its name says, got something else")


def carry(source: Path, folder: Path, target: str, digest: str) -> None:
    """Copy a target's file from another repository, unless it is there; raises `FileUnusable`."""
    name = prefixed(target, digest)
    if (folder / TARGETS / name).exists():
        return
    _, came = take_in(source / TARGETS / name, folder, target)
    if came != digest:
        (folder / TARGETS / prefixed(target, came)).unlink()
        raise FileUnusable(f"{source / TARGETS / name}: expected the content that was signed, got another")


def expect_there(folder: Path, target: str, length: int, digest: str) -> None:
    """Raise `FileUnusable` unless a target's file is there, whole and as it was signed."""
    path = folder / TARGETS / prefixed(target, digest)
    try:
        with path.open("rb") as file:
            came, found = path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileUnusable(f"{target}: expected its file in {path.parent}, got: {error.strerror}") from None
    if (came, found) != (length, digest):
        raise FileUnusable(f"{path}: expected {length} bytes with digest {digest[:12]}, got {came} with {found[:12]}")


def _copy(source: BinaryIO, folder: Path, target: str) -> tuple[int, str]:
    """Copy and digest in one pass: what is signed is what was copied, whatever becomes of the source meanwhile."""
    where = folder / TARGETS / Path(target).parent
    where.mkdir(mode=0o755, parents=True, exist_ok=True)
    partial = where / ".partial"
    digest, length = hashlib.sha256(), 0
    try:
        with partial.open("wb") as copy:
            while chunk := source.read(COPY_BYTES):
                length += len(chunk)
                if length > RELEASE_BYTES_MAX:
                    raise FileUnusable(f"{target}: expected at most {RELEASE_BYTES_MAX} bytes, got more")
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        if not length:
            raise FileUnusable(f"{target}: expected a file with content, got an empty one")
        partial.chmod(0o644)
        partial.replace(folder / TARGETS / prefixed(target, digest.hexdigest()))
    finally:
        partial.unlink(missing_ok=True)
    files.sync_folder(where)
    return length, digest.hexdigest()


def _served(path: Path, digest: str | None, *, lasts: bool) -> Served | None:
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    if digest is None:  # metadata is small: its content tells whether it is the same
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Served(path=path, bytes=status.st_size, modified_s=status.st_mtime, etag=f'"{digest}"', lasts=lasts)
