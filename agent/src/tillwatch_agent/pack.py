"""Makes a release of the agent itself: what was installed into a folder becomes an archive that starts by itself.

`python -m tillwatch_agent.pack LIB` is for whoever makes releases; no till needs it. The archive holds

    tillwatch-agent     the program: this Python, what lies in lib, and nothing else of the machine's Python packages
    lib/                the agent, the protocol and all that they need, compiled where the Python at hand is the till's

What is to be in `lib` is chosen by whoever fills it (`make agent-release`: the hashed requirements of the agent alone).
An archive is for one version of Python and one kind of machine, since some of its parts are compiled; its name says so,
and the program refuses another Python in words. Nothing is written into a slot when it runs.

A change violates this when an archive leaves out what the agent requires, or holds a path of the machine that made it.
"""

import argparse
import gzip
import hashlib
import importlib.util
import io
import platform
import py_compile
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from tillwatch_agent.errors import OperatorError

DISTRIBUTION: Final = "tillwatch-agent"
PROGRAM: Final = "tillwatch-agent"
LIB: Final = "lib"

INTERPRETER: Final = "/usr/bin/python3"
"""Where a till's system has it."""

_PYTHON: Final = sys.version_info[:2]
_MACHINE: Final = platform.machine()

_LEFT_OUT: Final = {"__pycache__", "direct_url.json", "uv_cache.json", ".lock"}
"""Words about the machine that filled the folder."""
_PROGRAMS: Final = "bin"
"""Where installers put the programs of packages: none is needed, and each names that machine's Python."""

_PROGRAM: Final = """\
#!{interpreter} -ISB
import sys
from pathlib import Path

if sys.version_info[:2] != ({major}, {minor}):
    sys.exit("tillwatch-agent: expected Python {major}.{minor}, got %d.%d" % sys.version_info[:2])
sys.path.insert(0, str(Path(__file__).resolve().parent / "{lib}"))

from tillwatch_agent.__main__ import main

sys.exit(main())
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Till:
    """What an archive is for."""

    python: tuple[int, int] = _PYTHON
    machine: str = _MACHINE
    interpreter: str = INTERPRETER


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """An archive that was made."""

    path: Path
    version: str
    machine: str
    digest: str
    """SHA-256 in hex."""
    installed_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Make an archive and say how it becomes a release; returns an exit code."""
    asked = _parser().parse_args(arguments)
    try:
        packed = pack(
            asked.lib, asked.out, Till(python=asked.python, machine=asked.machine, interpreter=asked.interpreter)
        )
    except OperatorError as error:
        sys.stderr.write(f"tillwatch_agent.pack: {error}\n")
        return 2
    add = f"release add {packed.path} --product agent --version {packed.version} --installer agent"
    words = f"--machine {packed.machine} --installed-bytes {packed.installed_bytes}"
    sys.stdout.write(f"{packed.path}\nsha256 {packed.digest}\ntillwatch-collector {add} {words}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tillwatch_agent.pack", description="Make a release of the agent.")
    parser.add_argument(
        "lib", type=Path, metavar="LIB", help="a folder with the agent and all that it needs, installed"
    )
    parser.add_argument("--out", type=Path, default=Path("dist"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--python", type=_python, default=_PYTHON, metavar="X.Y", help="the till's; default: this one")
    parser.add_argument("--machine", default=_MACHINE, help="the till's; default: %(default)s")
    parser.add_argument("--interpreter", default=INTERPRETER, metavar="PATH", help="default: %(default)s")
    return parser


def _python(said: str) -> tuple[int, int]:
    """Read `3.11`; raises `ValueError`."""
    major, minor = map(int, said.split("."))
    return major, minor


def pack(lib: Path, out: Path, till: Till) -> Packed:
    """Make an archive of what is installed in `lib`, in the folder `out`; raises `OperatorError`."""
    version = _version(lib)
    python = ".".join(map(str, till.python))
    path = out / f"{DISTRIBUTION}-{version}-py{python}-{till.machine}.tar.gz"
    major, minor = till.python
    program = _PROGRAM.format(interpreter=till.interpreter, major=major, minor=minor, lib=LIB).encode()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (
            path.open("wb") as file,
            gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packer,
            tarfile.open(fileobj=packer, mode="w") as archive,
        ):
            installed_bytes = _add(archive, PROGRAM, program, 0o755)
            for name, content in _members(lib, compiles=till.python == _PYTHON):
                installed_bytes += _add(archive, f"{LIB}/{name}", content, 0o644)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise OperatorError(f"{path}: expected to write it, got: {error.strerror or error}") from None
    return Packed(path=path, version=version, machine=till.machine, digest=digest, installed_bytes=installed_bytes)


def required(one: metadata.Distribution, extras: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """Say what a distribution needs on every machine: names as indexes compare them, each with its own extras."""
    met = {"", *(f'extra == "{extra}"' for extra in extras)}
    for line in one.requires or ():
        what, _, condition = line.partition(";")
        if condition.strip().replace("'", '"') in met:
            name, given = _REQUIREMENT.findall(what.strip())[0]
            yield canonical(name), frozenset(re.findall(r"[\w.-]+", given))


def canonical(name: str) -> str:
    """Write a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


_REQUIREMENT: Final = re.compile(r"^([\w.-]+)\s*(\[[^\]]*\])?")


def _version(lib: Path) -> str:
    """Say which agent is installed in a folder, with all that it needs; raises `OperatorError`."""
    leading = next(lib.glob("*.pth"), None)
    if leading is not None:
        raise OperatorError(f"{leading}: expected packages that lie in {lib} themselves, not links to other folders")
    there = {canonical(one.name): one for one in metadata.distributions(path=[str(lib)])}
    wanted = [(DISTRIBUTION, frozenset[str]())]
    seen = set(wanted)
    for name, extras in wanted:
        if name not in there:
            raise OperatorError(f"{lib}: expected {name} to be installed there, got none")
        further = set(required(there[name], extras)) - seen
        wanted += sorted(further, key=lambda one: one[0])
        seen |= further
    return there[DISTRIBUTION].version


def _members(lib: Path, *, compiles: bool) -> Iterator[tuple[str, bytes]]:
    """Go through what belongs into an archive, in order; each module is followed by its compiled form."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "compiled"
        for path in sorted(lib.rglob("*")):
            within = path.relative_to(lib)
            if not path.is_file() or within.parts[0] == _PROGRAMS or _LEFT_OUT & set(within.parts):
                continue
            yield within.as_posix(), path.read_bytes()
            if compiles and path.suffix == ".py" and _compiled(path, within, compiled):
                cached = Path(importlib.util.cache_from_source(str(within)))
                yield cached.as_posix(), compiled.read_bytes()


def _compiled(path: Path, within: Path, into: Path) -> bool:
    """Compile a module, not to be held against its source again: that is hashed with the slot."""
    try:
        py_compile.compile(
            str(path),
            cfile=str(into),
            dfile=f"{LIB}/{within.as_posix()}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except py_compile.PyCompileError:
        return False  # a package's template or a module of another Python, which nothing here imports
    return True


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> int:
    """Add a file that says nothing of who made it when; returns its length."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))
    return len(content)


if __name__ == "__main__":
    sys.exit(main())
