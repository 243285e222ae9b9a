"""Releases of the agent itself, from what this environment holds: no index is asked."""

import importlib.util
import io
import json
import shutil
import sys
import tarfile
from importlib import metadata
from pathlib import Path

from tests.agent import packages

from tillwatch_agent import pack
from tillwatch_agent.pack import DISTRIBUTION, Packed, Till

UNIT = Path(__file__).parents[2] / "agent" / "deploy" / "systemd" / "tillwatch-agent.service"
HERE = Till(interpreter=sys.executable)


def fill(lib: Path) -> Path:
    """Install the agent and all that it needs into a folder, as an installer of packages would."""
    wanted = [(DISTRIBUTION, frozenset[str]())]
    for name, extras in wanted:
        one = metadata.distribution(name)
        wanted += [further for further in pack.required(one, extras) if further not in wanted]
        copy(one, lib)
    return lib


def copy(one: metadata.Distribution, lib: Path) -> None:
    origin = json.loads(one.read_text("direct_url.json") or "{}")
    is_editable = origin.get("dir_info", {}).get("editable", False)
    for file in one.files or ():
        if ".." in file.parts or (is_editable and not file.parts[0].endswith(".dist-info")):
            continue
        (lib / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.locate(), lib / file)
    if is_editable:
        module = one.name.replace("-", "_")
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, lib / module, ignore=shutil.ignore_patterns("__pycache__"))


def renamed(packed: Packed, version: str, out: Path) -> Path:
    """Make another version of a release: the same, but for what it calls itself."""
    with tarfile.open(packed.path) as archive:
        adds = [
            packages.file(member.name, content(archive, member, packed.version, version), member.mode)
            for member in archive.getmembers()
        ]
    path = out / packed.path.name.replace(packed.version, version)
    path.write_bytes(packages.tar(*adds))
    return path


def content(archive: tarfile.TarFile, member: tarfile.TarInfo, version: str, other: str) -> bytes:
    file = archive.extractfile(member)
    assert isinstance(file, io.BufferedReader)
    said = file.read()
    is_name = "/tillwatch_agent-" in member.name and member.name.endswith("/METADATA")
    return said.replace(f"Version: {version}\n".encode(), f"Version: {other}\n".encode(), 1) if is_name else said
