"""Power cuts, kills and full disks in a job: a small part of the matrix that `make evidence` goes through whole."""

import random
from pathlib import Path

import pytest
from tests.agent.forgetful import Blow, Extent, ForgetfulVolume, Strike, Struck
from tests.agent.power import Breach, Story, Till

from tillwatch_agent.installer import launcher
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.failure import DiskFailed, Refusal
from tillwatch_agent.installer.launcher import Root, Volume
from tillwatch_protocol.job import JobState

ENDS = {
    Story.UPGRADE: JobState.SUCCEEDED,
    Story.ROLLBACK: JobState.ROLLED_BACK,
    Story.CRASH: JobState.ROLLED_BACK,
    Story.AGENT: JobState.SUCCEEDED,
    Story.AGENT_ROLLBACK: JobState.ROLLED_BACK,
    Story.AGENT_CRASH: JobState.ROLLED_BACK,
}


@pytest.mark.parametrize("story", Story)
def test_a_job_that_nothing_strikes_ends_as_its_release_deserves(story: Story, tmp_path: Path) -> None:
    ending = Till(tmp_path, story).run()
    assert (ending.state, ending.breaches) == (ENDS[story], ())


@pytest.mark.parametrize("blow", Blow)
@pytest.mark.parametrize("story", Story)
def test_a_job_that_is_struck_ends_and_something_runs(story: Story, blow: Blow, tmp_path: Path) -> None:
    rng = random.Random(f"{story} {blow}")
    for number in range(6):
        strike = Strike(at=rng.randrange(75), blow=blow, extent=rng.choice(list(Extent)))
        folder = tmp_path / str(number)
        folder.mkdir()
        assert Till(folder, story, strike).run().breaches == (), strike


@pytest.mark.parametrize("extent", [Extent.LOST, Extent.TORN])
def test_what_is_committed_is_forced_again_where_the_disk_failed_at_it(extent: Extent, tmp_path: Path) -> None:
    """What reads as committed after a failure may not have reached the disk; a power cut would take it back."""
    steps = Till(_made(tmp_path / "steps"), Story.AGENT).run().steps
    for at in range(steps - 12, steps):
        strike = Strike(at=at, blow=Blow.ERROR, extent=extent)
        assert Till(_made(tmp_path / str(at)), Story.AGENT, strike).run().breaches == (), strike


# --- mistakes that it must see


def test_a_write_that_is_not_forced_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(volume: Volume, path: Path, content: bytes) -> None:
        partial = path.with_name("partial")
        volume.create(partial, content, 0o644)
        volume.replace(partial, path)

    monkeypatch.setattr(launcher, "write", write)
    assert Till(tmp_path, Story.UPGRADE).run().count(Breach.WRONG_END) > 0


def test_attempts_that_are_not_counted_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Root, "_count", lambda *_: True)
    assert Till(tmp_path, Story.CRASH).run().count(Breach.BRICKED) > 0


def test_a_release_that_is_started_once_taken_back_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "link", lambda *_: None)
    right = launcher._read

    def read(path: Path) -> dict[str, object]:
        said = right(path)
        return {"trial": said["reverted"]} if said.get("reverted") else said

    monkeypatch.setattr(launcher, "_read", read)
    assert Till(tmp_path, Story.ROLLBACK).run().count(Breach.DOUBLE_EFFECT) > 0


# --- the disk that forgets, and the one that does not


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("extent", Extent)
@pytest.mark.parametrize("at", range(4))
def test_a_file_is_there_whole_or_as_it_was(at: int, extent: Extent, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    volume = ForgetfulVolume(tmp_path, Strike(at=at, blow=Blow.CUT, extent=extent))
    with pytest.raises(Struck):
        Disk(volume).write(path, b"afterwards")
    volume.restore(extent)
    assert path.read_bytes() in {b"before", b"afterwards"}
    Disk(volume).write(path, b"at last")
    volume.restore(Extent.LOST)
    assert path.read_bytes() == b"at last"


@pytest.mark.parametrize("extent", Extent)
@pytest.mark.parametrize("at", range(3))
def test_a_link_leads_somewhere_at_every_moment(at: int, extent: Extent, tmp_path: Path) -> None:
    path = tmp_path / "current"
    disk = Disk(ForgetfulVolume(tmp_path))
    disk.link(path, "a")
    volume = ForgetfulVolume(tmp_path, Strike(at=at, blow=Blow.CUT, extent=extent))
    with pytest.raises(Struck):
        Disk(volume).link(path, "b")
    volume.restore(extent)
    assert str(path.readlink()) in {"a", "b"}
    Disk(volume).link(path, "c")
    volume.restore(Extent.LOST)
    assert str(path.readlink()) == "c"


def test_a_tree_is_made_and_removed_for_good(tmp_path: Path) -> None:
    volume = ForgetfulVolume(tmp_path)
    disk = Disk(volume)
    disk.make_folder(tmp_path / "a/b/c")
    disk.fill(tmp_path / "a/b/c/file", iter([b"one", b"two"]), 0o600)
    disk.place_link(tmp_path / "a/b/link", "c/file")
    disk.settle(tmp_path / "a/b")
    volume.restore(Extent.LOST)
    assert (tmp_path / "a/b/link").read_bytes() == b"onetwo"
    disk.remove(tmp_path / "a")
    disk.remove(tmp_path / "a")
    volume.restore(Extent.LOST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("blow", "reason"), [(Blow.FULL, Refusal.DISK_FULL), (Blow.ERROR, Refusal.DISK_FAILED)])
def test_what_the_disk_refuses_is_said(blow: Blow, reason: Refusal, tmp_path: Path) -> None:
    disk = Disk(ForgetfulVolume(tmp_path, Strike(at=0, blow=blow, extent=Extent.LOST)))
    with pytest.raises(DiskFailed) as failed:
        disk.write(tmp_path / "file", b"")
    assert failed.value.reason is reason


def test_a_file_that_is_too_long_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tillwatch_agent.installer.disk.READ_BYTES_MAX", 3)
    (tmp_path / "file").write_bytes(b"long")
    with pytest.raises(DiskFailed, match="expected at most 3 bytes"):
        Disk().read(tmp_path / "file")


def test_the_real_disk_does_the_same(tmp_path: Path) -> None:
    disk = Disk()
    disk.make_folder(tmp_path / "a/b")
    disk.write(tmp_path / "a/file", b"1")
    disk.write(tmp_path / "a/file", b"2")
    disk.fill(tmp_path / "a/b/big", iter([b"x" * 100_000] * 3), 0o640)
    disk.link(tmp_path / "a/current", "b")
    disk.link(tmp_path / "a/current", "c")
    disk.settle(tmp_path / "a/b")
    assert disk.read(tmp_path / "a/file") == b"2"
    assert disk.read(tmp_path / "missing") is None
    assert (tmp_path / "a/b/big").stat().st_size == 300_000
    assert str((tmp_path / "a/current").readlink()) == "c"
    assert disk.free_bytes(tmp_path) > 0
    disk.remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
