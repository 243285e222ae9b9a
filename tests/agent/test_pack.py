"""An archive of the agent holds all that it needs, and nothing of the machine that made it."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.agent import own_release

from tillwatch_agent import pack
from tillwatch_agent.errors import OperatorError
from tillwatch_agent.pack import Till

OTHER = Till(python=(3, 99), machine="aarch64", interpreter=sys.executable)


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    """The agent alone, which needs nothing."""
    lib = tmp_path / "lib"
    install(lib, "tillwatch-agent", "1.2.0")
    (lib / "tillwatch_agent").mkdir()
    (lib / "tillwatch_agent" / "__init__.py").touch()
    (lib / "tillwatch_agent" / "__main__.py").write_text("def main() -> int:\n    print(__file__)\n    return 3\n")
    return lib


def install(lib: Path, name: str, version: str, *needs: str) -> None:
    folder = lib / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", *lines, "", ""]))
    (folder / "direct_url.json").write_text("{}")


def names(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


def unpacked(path: Path, into: Path) -> Path:
    with tarfile.open(path) as archive:
        archive.extractall(into, filter="data")
    return into / pack.PROGRAM


def test_an_archive_starts_by_itself_and_leaves_its_slot_as_it_was(lib: Path, tmp_path: Path) -> None:
    packed = pack.pack(lib, tmp_path, own_release.HERE)
    program = unpacked(packed.path, tmp_path / "slot")
    before = sorted((tmp_path / "slot").rglob("*"))
    done = subprocess.run([str(program)], env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout.strip() == str(tmp_path / "slot" / "lib" / "tillwatch_agent" / "__main__.py")
    assert sorted((tmp_path / "slot").rglob("*")) == before
    assert sum(path.stat().st_size for path in before if path.is_file()) == packed.installed_bytes


def test_another_python_is_refused_in_words(lib: Path, tmp_path: Path) -> None:
    packed = pack.pack(lib, tmp_path, OTHER)
    assert packed.path.name == "tillwatch-agent-1.2.0-py3.99-aarch64.tar.gz"
    program = unpacked(packed.path, tmp_path / "slot")
    done = subprocess.run([str(program)], env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected Python 3.99, got 3." in done.stderr


def test_modules_are_compiled_for_the_python_at_hand_alone(lib: Path, tmp_path: Path) -> None:
    (lib / "tillwatch_agent" / "template.py").write_text("this is {{ none }} of Python's\n")
    here = names(pack.pack(lib, tmp_path, own_release.HERE).path)
    assert len([name for name in here if name.endswith(".pyc")]) == 2
    assert "lib/tillwatch_agent/template.py" in here
    assert [name for name in names(pack.pack(lib, tmp_path, OTHER).path) if "__pycache__" in name] == []


def test_nothing_of_the_machine_that_made_it_is_inside(lib: Path, tmp_path: Path) -> None:
    (lib / "bin").mkdir()
    (lib / "bin" / "tillwatch-agent").write_text(f"#!{sys.executable}\n")
    packed = pack.pack(lib, tmp_path, Till())
    assert [name for name in names(packed.path) if "bin/" in name or "direct_url" in name] == []
    with tarfile.open(packed.path) as archive:
        assert {(member.mtime, member.uid, member.uname) for member in archive.getmembers()} == {(0, 0, "")}
    slot = unpacked(packed.path, tmp_path / "slot").parent
    saying = [path for path in slot.rglob("*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()]
    assert saying == []


def test_the_same_folder_makes_the_same_archive(lib: Path, tmp_path: Path) -> None:
    assert pack.pack(lib, tmp_path / "1", OTHER).digest == pack.pack(lib, tmp_path / "2", OTHER).digest


@pytest.mark.parametrize(
    ("needs", "lacking"),
    [
        (["Some_Thing>=1"], "some-thing"),
        (["given[fast]"], "speed"),
        (['none; extra == "other"', "given"], None),
        # what only some machines need is left to whoever installs
        (['windows; os_name == "nt"'], None),
    ],
)
def test_what_is_required_must_be_there(tmp_path: Path, needs: list[str], lacking: str | None) -> None:
    lib = tmp_path / "lib"
    install(lib, "tillwatch-agent", "1.2.0", *needs)
    install(lib, "given", "1.0", "speed>=2; extra == 'fast'")
    if lacking is None:
        assert pack.pack(lib, tmp_path, OTHER).version == "1.2.0"
        return
    with pytest.raises(OperatorError, match=f"expected {lacking} to be installed there, got none"):
        pack.pack(lib, tmp_path, OTHER)


def test_a_package_that_lies_elsewhere_is_refused(lib: Path, tmp_path: Path) -> None:
    (lib / "_editable_impl_tillwatch_agent.pth").write_text(str(tmp_path))
    with pytest.raises(OperatorError, match=r"expected packages that lie in .* themselves"):
        pack.pack(lib, tmp_path, OTHER)


def test_whoever_makes_it_is_told_how_it_becomes_a_release(
    lib: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack.main([str(lib), "--out", str(tmp_path), "--python", "3.99", "--machine", "aarch64"]) == 0
    path, digest, command = capsys.readouterr().out.splitlines()
    assert Path(path).is_file()
    assert len(digest.removeprefix("sha256 ")) == 64
    assert command.startswith(f"tillwatch-collector release add {path} --product agent --version 1.2.0")
    assert pack.main([str(tmp_path / "none")]) == 2
    assert "expected tillwatch-agent to be installed there" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(lib: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="expected to write it"):
        pack.pack(lib, tmp_path / "file", OTHER)


@pytest.mark.parametrize("said", ["3", "x.y", "3.11.7"])
def test_a_python_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        pack.main(["lib", "--python", said])
    assert ended.value.code == 2
