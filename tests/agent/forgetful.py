"""A disk that forgets: the steps of durable writes on a real folder, and what of them survives.

`ForgetfulVolume` carries out each step in the folder, so that whoever reads sees what a running machine sees, and keeps
beside it what the disk has for certain: a file's content since it was last forced, a folder's names since that was. A
`Strike` hits one step, by its number. After a power cut `restore` leaves in the folder what survived of the rest:

- lost: nothing that was not forced;
- torn: the names, but of contents that were not forced only half (a file system that writes its journal before data);
- kept: everything, as a disk may have written it anyway.

A kill ends the process in the middle of a step and loses nothing else; an error is told once; a full disk stays full
until somebody makes room.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tillwatch_agent.installer.launcher import Volume


class Blow(StrEnum):
    """What strikes."""

    KILL = "kill"
    CUT = "power cut"
    ERROR = "error"
    FULL = "disk full"


class Extent(StrEnum):
    """What becomes of the step that is struck, and after a power cut of all that was not forced."""

    LOST = "lost"
    TORN = "torn"
    KEPT = "kept"


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """What strikes which step; steps count from 0."""

    at: int
    blow: Blow
    extent: Extent


class Struck(BaseException):
    """The process ends here: no handler of errors sees it."""

    def __init__(self, strike: Strike) -> None:
        super().__init__(strike)
        self.strike = strike


@dataclass
class File:
    """A file's content, as a reader sees it and as the disk has it."""

    mode: int
    content: bytes = b""
    forced: bytes = b""

    def survives(self, extent: Extent) -> bytes:
        if extent is Extent.LOST:
            return self.forced
        if extent is Extent.KEPT or self.content == self.forced:
            return self.content
        return self.content[: len(self.content) // 2]


@dataclass
class Link:
    """A symbolic link."""

    to: str


@dataclass
class Folder:
    """A folder's names, as a reader sees them and as the disk has them."""

    names: "dict[str, Node]" = field(default_factory=dict)
    forced: "dict[str, Node]" = field(default_factory=dict)


Node = File | Link | Folder


class ForgetfulVolume(Volume):
    """Steps on a folder that is empty at first, or holds what `settled` made of it."""

    def __init__(self, path: Path, *strikes: Strike) -> None:
        self.path = path
        self.steps = 0
        """Taken, or tried, so far."""
        self.is_full = False
        """Until somebody makes room."""
        self._strikes = {strike.at: strike for strike in strikes}
        self._root = _seen(path)

    def create(self, path: Path, content: bytes, mode: int) -> None:
        self._step(path, "create", content, mode)

    def append(self, path: Path, content: bytes) -> None:
        self._step(path, "append", content)

    def sync(self, path: Path) -> None:
        self._step(path, "sync")

    def replace(self, path: Path, onto: Path) -> None:
        self._step(path, "replace", onto)

    def link(self, to: str, path: Path) -> None:
        self._step(path, "link", to)

    def make_folder(self, path: Path) -> None:
        self._step(path, "make_folder")

    def unlink(self, path: Path) -> None:
        self._step(path, "unlink")

    def remove_folder(self, path: Path) -> None:
        self._step(path, "remove_folder")

    def begin(self, *strikes: Strike) -> None:
        """Count the steps from here, and strike these."""
        self._strikes, self.steps = {strike.at: strike for strike in strikes}, 0

    def restore(self, extent: Extent) -> None:
        """Leave in the folder what a power cut left on the disk."""
        _empty(self.path)
        _lay(self.path, self._root, extent)
        self._root = _seen(self.path)

    def _step(self, path: Path, name: str, *arguments: Any) -> None:
        strike = self._strikes.get(self.steps)
        self.steps += 1
        if strike is not None:
            self._struck(strike, path, name, arguments)
        elif self.is_full and name in _GROWING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        else:
            self._carry_out(path, name, arguments)

    def _struck(self, strike: Strike, path: Path, name: str, arguments: tuple[Any, ...]) -> None:
        if strike.extent is Extent.KEPT or (strike.blow is Blow.CUT and name != "sync"):
            # When the power goes, what was asked of the kernel before has been asked; what survives `restore` says.
            self._carry_out(path, name, arguments)
        elif strike.extent is Extent.TORN and name in {"create", "append"}:
            content, *others = arguments
            self._carry_out(path, name, (content[: len(content) // 2], *others))
        if strike.blow in {Blow.KILL, Blow.CUT}:
            raise Struck(strike)
        self.is_full = strike.blow is Blow.FULL
        number = errno.ENOSPC if self.is_full else errno.EIO
        raise OSError(number, os.strerror(number), str(path))

    def _carry_out(self, path: Path, name: str, arguments: tuple[Any, ...]) -> None:
        """Do it in the folder first: what the system refuses has not happened."""
        if name != "sync":
            _STEPS[name](self, *_in_order(name, path, arguments))
        names = self._folder(path.parent).names if path != self.path else {}
        match name, arguments:
            case "create", (content, mode):
                file = names.setdefault(path.name, File(mode))
                assert isinstance(file, File)
                file.content = content
            case "append", (content,):
                file = names[path.name]
                assert isinstance(file, File)
                file.content += content
            case "sync", _:
                _force(self._node(path))
            case "replace", (onto,):
                self._folder(onto.parent).names[onto.name] = names.pop(path.name)
            case "link", (to,):
                names[path.name] = Link(to)
            case "make_folder", _:
                names[path.name] = Folder()
            case _:
                del names[path.name]

    def _node(self, path: Path) -> Node:
        node: Node = self._root
        for part in path.relative_to(self.path).parts:
            assert isinstance(node, Folder), f"{path}: expected folders above"
            node = node.names[part]
        return node

    def _folder(self, path: Path) -> Folder:
        folder = self._node(path)
        assert isinstance(folder, Folder)
        return folder


_GROWING = {"create", "append", "link", "make_folder"}

_STEPS: dict[str, Callable[..., None]] = {
    "create": Volume.create,
    "append": Volume.append,
    "replace": Volume.replace,
    "link": Volume.link,
    "make_folder": Volume.make_folder,
    "unlink": Volume.unlink,
    "remove_folder": Volume.remove_folder,
}


def _in_order(name: str, path: Path, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*arguments, path) if name == "link" else (path, *arguments)


def _force(node: Node) -> None:
    if isinstance(node, File):
        node.forced = node.content
    elif isinstance(node, Folder):
        node.forced = dict(node.names)


def _seen(path: Path) -> Folder:
    """Take a folder as it is for what the disk has."""
    names: dict[str, Node] = {}
    for inner in path.iterdir():
        mode = inner.lstat().st_mode
        if stat.S_ISLNK(mode):
            names[inner.name] = Link(str(inner.readlink()))
        elif stat.S_ISDIR(mode):
            names[inner.name] = _seen(inner)
        else:
            content = inner.read_bytes()
            names[inner.name] = File(stat.S_IMODE(mode), content, content)
    return Folder(names, dict(names))


def _empty(path: Path) -> None:
    for inner in path.iterdir():
        if inner.is_dir() and not inner.is_symlink():
            shutil.rmtree(inner)
        else:
            inner.unlink()


def _lay(path: Path, folder: Folder, extent: Extent) -> None:
    for name, node in (folder.forced if extent is Extent.LOST else folder.names).items():
        inner = path / name
        match node:
            case File():
                inner.write_bytes(node.survives(extent))
                inner.chmod(node.mode)
            case Link():
                inner.symlink_to(node.to)
            case Folder():
                inner.mkdir()
                _lay(inner, node, extent)
