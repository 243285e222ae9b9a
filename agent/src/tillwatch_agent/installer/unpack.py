"""An archive into an empty folder: only files, folders and inner links, each with a plain name and a plain mode.

No name leads out of the folder: none is absolute, goes up, appears twice, or lies below what is no folder. A link may
go up only at its beginning and not above the folder, and must arrive at something inside. Links are made last, so that
no file is written through one. Of modes only "may be executed" is kept; no owner, no time, no device.

What was written is told file by file with its digest, from the bytes that went to the disk; `proves` reads them again.

A change violates this when something outside the folder can be touched, or when more than was allowed is written.
"""

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tillwatch_agent.installer.archive import MEMBERS_MAX, FileMember, FolderMember, LinkMember, Member
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.failure import DiskFailed, InstallFailed, Refusal
from tillwatch_agent.installer.spool import RESERVE_BYTES

NAME_CHARS_MAX: Final = 400
PART_BYTES_MAX: Final = 255  # NAME_MAX of every file system in use
DEPTH_MAX: Final = 32

FILE_MODE, PROGRAM_MODE = 0o644, 0o755


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What lies in a slot, by its path below it."""

    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 in hex."""
    programs: tuple[str, ...] = ()
    """Files that may be executed."""
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How much may be written."""

    bytes_max: int
    reserve_bytes: int = RESERVE_BYTES
    """To be left free, for the till."""


def unpack(members: Iterable[Member], into: Path, disk: Disk, bounds: Bounds) -> Contents:
    """Fill an empty folder and force it to the disk; raises `InstallFailed`."""
    filling = _Filling(into, disk, bounds)
    for member in members:
        filling.take(member)
    return filling.finish()


def proves(folder: Path, contents: Contents) -> str | None:
    """Hold a folder against what was written into it; says what is different, None where nothing is. `DiskFailed`."""
    try:
        return _difference(folder, contents)
    except OSError as error:
        raise DiskFailed(Refusal.DISK_FAILED, f"{folder}: expected to read it, got: {error}") from None


class _Filling:
    """A folder that is being filled."""

    def __init__(self, into: Path, disk: Disk, bounds: Bounds) -> None:
        self._into = into
        self._disk = disk
        self._bounds = bounds
        self._left_bytes = bounds.bytes_max
        self._folders: set[str] = set()
        self._files: dict[str, str] = {}
        self._programs: list[str] = []
        self._links: dict[str, str] = {}

    def take(self, member: Member) -> None:
        parts = _plain_parts(member.name)
        match member:
            case FolderMember():
                self._make_folders(parts)
            case FileMember():
                self._fill(self._fresh(parts), member)
            case LinkMember():
                self._links[self._fresh(parts)] = _inner(member, depth=len(parts) - 1)

    def finish(self) -> Contents:
        for path, to in self._links.items():
            self._disk.place_link(self._into / path, to)
        for path in self._links:
            _expect_inside(self._into, path)
        self._disk.settle(self._into)
        return Contents(files=self._files, programs=tuple(self._programs), links=self._links)

    def _fresh(self, parts: tuple[str, ...]) -> str:
        """Make the folders above a path, and say the path, which nothing bears yet."""
        self._make_folders(parts[:-1])
        path = "/".join(parts)
        if not parts or path in self._folders or path in self._files or path in self._links:
            raise _unsafe(path, "a name that nothing bears yet")
        return path

    def _make_folders(self, parts: tuple[str, ...]) -> None:
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder in self._files or folder in self._links:
                raise _unsafe(folder, "a folder")
            if folder not in self._folders:
                if len(self._folders) >= MEMBERS_MAX:
                    said = f"expected at most {MEMBERS_MAX} folders, got more"
                    raise InstallFailed(Refusal.ARCHIVE_TOO_LARGE, said)
                self._disk.place_folder(self._into / folder)
                self._folders.add(folder)

    def _fill(self, path: str, member: FileMember) -> None:
        free = self._disk.free_bytes(self._into)
        if free < member.size_bytes + self._bounds.reserve_bytes:
            said = f"{path}: expected {member.size_bytes + self._bounds.reserve_bytes} bytes free, got {free}"
            raise DiskFailed(Refusal.DISK_FULL, said)
        digest = hashlib.sha256()
        mode = PROGRAM_MODE if member.is_executable else FILE_MODE
        self._disk.fill(self._into / path, self._measured(member, digest), mode)
        self._files[path] = digest.hexdigest()
        if member.is_executable:
            self._programs.append(path)

    def _measured(self, member: FileMember, digest: "hashlib._Hash") -> Iterator[bytes]:
        for part in member.parts:
            self._left_bytes -= len(part)
            if self._left_bytes < 0:
                said = f"expected at most {self._bounds.bytes_max} bytes unpacked, got more"
                raise InstallFailed(Refusal.ARCHIVE_TOO_LARGE, said)
            digest.update(part)
            yield part


def _plain_parts(name: str) -> tuple[str, ...]:
    """Split a name; empty for the folder itself. Raises `InstallFailed` for one that is not plain."""
    if len(name) > NAME_CHARS_MAX or not name.isprintable() or "\\" in name:
        raise _unsafe(name, f"at most {NAME_CHARS_MAX} printable characters")
    if name.startswith("/"):
        raise _unsafe(name, "a name below the slot")
    parts = tuple(name.removeprefix("./").removesuffix("/").split("/"))
    if parts in {("",), (".",)}:
        return ()
    if len(parts) > DEPTH_MAX or any(part in {"", ".", ".."} or len(part.encode()) > PART_BYTES_MAX for part in parts):
        raise _unsafe(name, "a name below the slot")
    return parts


def _inner(member: LinkMember, depth: int) -> str:
    """Say where a link leads; raises `InstallFailed` where that could be outside.

    A link that goes up only at its beginning, from a folder that is no link, arrives in a folder above its own. What
    follows goes down, through links that keep to the same rule.
    """
    if len(member.to) > NAME_CHARS_MAX or not member.to.isprintable():
        raise _unsafe(member.name, "a link to a printable name")
    parts = member.to.split("/")
    ups = next((count for count, part in enumerate(parts) if part != ".."), len(parts))
    if ups > depth or any(part in {"", ".", ".."} for part in parts[ups:]):
        raise _unsafe(member.name, f"a link to something in the slot, not to {member.to[:100]!r}")
    return member.to


def _expect_inside(folder: Path, path: str) -> None:
    """Follow a link that was made; raises `InstallFailed` unless it arrives within the folder."""
    try:
        arrives = (folder / path).resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # of links that go round
        arrives = False
    if not arrives:
        raise _unsafe(path, "a link that arrives at something in the slot")


def _unsafe(name: str, expected: str) -> InstallFailed:
    return InstallFailed(Refusal.ARCHIVE_UNSAFE, f"{name[:200]!r}: expected {expected}")


def _difference(folder: Path, contents: Contents) -> str | None:
    unseen = {*contents.files, *contents.links}
    programs = frozenset(contents.programs)
    for path in _leaves(folder):
        name = path.relative_to(folder).as_posix()
        if name not in unseen:
            return f"{name} was not there"
        unseen.discard(name)
        if name in contents.links:
            is_same = path.is_symlink() and path.readlink() == Path(contents.links[name])
        else:
            is_same = _is_file(path, contents.files[name], is_program=name in programs)
        if not is_same:
            return f"{name} is another one"
    return f"{min(unseen)} is missing" if unseen else None


def _leaves(folder: Path) -> Iterator[Path]:
    """Go through all that is no folder; raises `OSError`."""
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.is_symlink():
            yield from _leaves(inner)
        else:
            yield inner


def _is_file(path: Path, digest: str, *, is_program: bool) -> bool:
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode) or bool(mode & stat.S_IXUSR) is not is_program:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest
