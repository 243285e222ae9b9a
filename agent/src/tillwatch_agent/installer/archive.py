"""What an archive holds, one member after the other: gzipped tar, zip, or a single file.

Reading is bounded: by the bytes that a member says it has, by what may lie between two members (names and attributes,
which both libraries read whole), and by the number of members. What a member is called, and where it may go, is left to
`unpack`; nothing is written here.

A change violates this when an archive of some kilobytes can take memory or time without a limit.
"""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, BinaryIO, Final

from tillwatch_agent.installer.failure import DiskFailed, InstallFailed, Refusal

MEMBERS_MAX: Final = 20_000
"""A Python with all that a till's software needs has some ten thousand files."""

BETWEEN_BYTES_MAX: Final = 1024 * 1024
"""Between two members of a tar: long names and attributes have some hundred bytes."""

INDEX_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a zip's directory, which is read at once."""

PART_BYTES: Final = 64 * 1024

LINK_BYTES_MAX: Final = 1024


class Packing(StrEnum):
    """How a release is packed."""

    TAR = "tar"
    ZIP = "zip"
    FILE = "file"
    """Not at all: it is the file itself."""


_ENDINGS: Final = {".tar.gz": Packing.TAR, ".tgz": Packing.TAR, ".zip": Packing.ZIP}


def packing_of(target: str) -> Packing:
    """Tell by a target's name how it is packed."""
    return next((packing for ending, packing in _ENDINGS.items() if target.endswith(ending)), Packing.FILE)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileMember:
    """A file; its parts are to be read before the next member is asked for."""

    name: str
    size_bytes: int
    """As the archive says."""
    is_executable: bool
    parts: Iterator[bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderMember:
    """A folder."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkMember:
    """A symbolic link."""

    name: str
    to: str


Member = FileMember | FolderMember | LinkMember


def members(archive: BinaryIO, packing: Packing, name: str) -> Iterator[Member]:
    """Read an archive from its beginning; `name` is a single file's. Raises `InstallFailed`."""
    archive.seek(0)
    if packing is Packing.FILE:
        size_bytes = archive.seek(0, 2)
        archive.seek(0)
        yield FileMember(name=name, size_bytes=size_bytes, is_executable=False, parts=_parts(archive))
        return
    with _readable():
        for count, member in enumerate(_READERS[packing](archive), start=1):
            if count > MEMBERS_MAX:
                raise InstallFailed(Refusal.ARCHIVE_TOO_LARGE, f"expected at most {MEMBERS_MAX} members, got more")
            yield member


def _tar(archive: BinaryIO) -> Iterator[Member]:
    with gzip.GzipFile(fileobj=archive) as unzipped:
        metered = _Metered(unzipped)
        with tarfile.open(fileobj=metered, mode="r|") as tar:
            while (found := tar.next()) is not None:
                yield _tar_member(tar, found, metered)
                metered.allow(BETWEEN_BYTES_MAX)


def _tar_member(tar: tarfile.TarFile, found: tarfile.TarInfo, metered: "_Metered") -> Member:
    if found.isdir():
        return FolderMember(name=found.name)
    if found.issym():
        return LinkMember(name=found.name, to=found.linkname)
    if not found.isreg() or found.issparse():
        raise _no_place(found.name)
    metered.allow(found.size + BETWEEN_BYTES_MAX)
    content = tar.extractfile(found)
    assert content is not None  # noqa: S101 - it is a file
    return FileMember(
        name=found.name, size_bytes=found.size, is_executable=bool(found.mode & 0o111), parts=_parts(content)
    )


def _zip(archive: BinaryIO) -> Iterator[Member]:
    with zipfile.ZipFile(_InSips(archive)) as unzipped:
        for found in unzipped.infolist():
            yield _zip_member(unzipped, found)


def _zip_member(unzipped: zipfile.ZipFile, found: zipfile.ZipInfo) -> Member:
    mode = found.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if found.is_dir():
        return FolderMember(name=found.filename)
    if kind == stat.S_IFLNK:
        with unzipped.open(found) as content:
            to = content.read(LINK_BYTES_MAX + 1)
        return LinkMember(name=found.filename, to=to.decode())
    if kind not in {0, stat.S_IFREG}:
        raise _no_place(found.filename)
    parts = _zip_parts(unzipped, found)
    return FileMember(name=found.filename, size_bytes=found.file_size, is_executable=bool(mode & 0o111), parts=parts)


def _zip_parts(unzipped: zipfile.ZipFile, found: zipfile.ZipInfo) -> Iterator[bytes]:
    with _readable(), unzipped.open(found) as content:
        yield from _parts(content)


_READERS: Final = {Packing.TAR: _tar, Packing.ZIP: _zip}


def _parts(content: IO[bytes]) -> Iterator[bytes]:
    with _readable():
        while part := content.read(PART_BYTES):
            yield part


class _Metered(io.RawIOBase):
    """A stream that gives no more than it was allowed to."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        super().__init__()
        self._stream = stream
        self._left_bytes = BETWEEN_BYTES_MAX

    def allow(self, count: int) -> None:
        """Give at most so much from here on."""
        self._left_bytes = count

    def read(self, count: int = -1) -> bytes:
        content = self._stream.read(count)
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            said = f"expected at most {BETWEEN_BYTES_MAX} bytes between two members, got more"
            raise InstallFailed(Refusal.ARCHIVE_TOO_LARGE, said)
        return content


class _InSips:
    """A file of which nobody reads much at once."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek = file.seek
        self.tell = file.tell
        self._file = file

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        content = self._file.read(count if 0 <= count <= INDEX_BYTES_MAX else INDEX_BYTES_MAX + 1)
        if len(content) > INDEX_BYTES_MAX:
            raise InstallFailed(Refusal.ARCHIVE_TOO_LARGE, f"expected to read at most {INDEX_BYTES_MAX} bytes at once")
        return content


def _no_place(name: str) -> InstallFailed:
    said = f"{name[:200]!r}: expected a file, a folder or a symbolic link"
    return InstallFailed(Refusal.ARCHIVE_UNSAFE, said)


@contextmanager
def _readable() -> Iterator[None]:
    """Tell an archive that the libraries cannot read from a disk that cannot be read."""
    try:
        yield
    except _UNREADABLE as error:
        raise InstallFailed(Refusal.ARCHIVE_UNREADABLE, f"expected an archive, got: {error}"[:500]) from None
    except OSError as error:
        raise DiskFailed(Refusal.DISK_FAILED, f"expected to read the archive, got: {error}") from None


_UNREADABLE: Final = (
    gzip.BadGzipFile,  # an OSError, and none of the disk's
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,  # a zip that is encrypted, or packed in a way that Python does not know
    ValueError,
    OverflowError,
)
