"""Whether a program has a port open, by a /proc that the test makes."""

from pathlib import Path

import pytest

from tillwatch_agent import port_holders
from tillwatch_agent.port_holders import Held, look

NODE = Path("/dev/null")
OWN = "pid:[4026531836]"


def proc(folder: Path, *, namespace: str = OWN, **processes: str) -> Path:
    """One process for each argument, `p<number>`, that has one file open."""
    (folder / "self" / "ns").mkdir(parents=True)
    (folder / "self" / "ns" / "pid").symlink_to(namespace)
    for name, opened in {"p1": "/dev/zero", **processes}.items():
        descriptors = folder / name.removeprefix("p") / "fd"
        descriptors.mkdir(parents=True)
        (descriptors / "3").symlink_to(opened)
    return folder


def test_who_has_it_open_is_found_under_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(NODE)
    assert look(NODE, proc(tmp_path / "proc", p7=str(tmp_path / "alias"))) is Held.SOMEBODY


def test_where_everything_can_be_seen_nobody_is_nobody(tmp_path: Path) -> None:
    folder = proc(tmp_path / "proc", p7="/dev/zero", p8="socket:[1]")
    (folder / "9").mkdir()  # it has ended since
    assert look(NODE, folder) is Held.NOBODY


def test_within_a_container_it_is_not_told(tmp_path: Path) -> None:
    assert look(NODE, proc(tmp_path / "proc", namespace="pid:[4026532999]")) is Held.UNTOLD


def test_where_the_first_process_is_hidden_it_is_not_told(tmp_path: Path) -> None:
    folder = proc(tmp_path / "proc")
    (folder / "1").rename(folder / "2")
    assert look(NODE, folder) is Held.UNTOLD


def test_what_is_no_device_is_not_told(tmp_path: Path) -> None:
    assert look(tmp_path, proc(tmp_path / "proc")) is Held.UNTOLD
    assert look(tmp_path / "gone", tmp_path / "proc") is Held.UNTOLD


def test_a_process_that_may_not_be_looked_into_may_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = proc(tmp_path / "proc", p7="/dev/zero")
    device = port_holders._device

    def refused(path: Path) -> int | None:
        if "7" in path.parts:
            raise PermissionError
        return device(path)

    monkeypatch.setattr(port_holders, "_device", refused)
    assert look(NODE, folder) is Held.UNTOLD


def test_a_machine_that_starts_more_all_the_time_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = proc(tmp_path / "proc")
    numbers = iter(range(100, 200))
    device = port_holders._device

    def forking(path: Path) -> int | None:
        if path.name == "3":
            proc_of = folder / str(next(numbers)) / "fd"
            proc_of.mkdir(parents=True)
            (proc_of / "3").symlink_to("/dev/zero")
        return device(path)

    monkeypatch.setattr(port_holders, "_device", forking)
    assert look(NODE, folder) is Held.UNTOLD
