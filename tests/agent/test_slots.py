"""Two slots: what is staged, on trial, committed and taken back, and that everything may be asked again."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent import packages
from tests.agent.packages import file, plain, staging, stored

from tillwatch_agent.installer.failure import DiskFailed, InstallFailed, Refusal
from tillwatch_agent.installer.launcher import ATTEMPTS, ATTEMPTS_MAX, CHOSEN, RUNNING
from tillwatch_agent.installer.slots import Running, Slots, Staging, new_activation_id
from tillwatch_protocol.release import InstallerKind

V1 = plain({"bin/till": "one"})
V2 = plain({"bin/till": "two"})
V3 = plain({"bin/till": "three"})


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(tmp_path / "till", ids=map("activation-{}".format, itertools.count(1)).__next__)


@pytest.fixture
def stage(slots: Slots, tmp_path: Path) -> Callable[[bytes, str], None]:
    def staged(content: bytes, version: str) -> None:
        slots.stage(stored(tmp_path, content), staging(content, version))

    return staged


Stage = Callable[[bytes, str], None]


def installed(slots: Slots, stage: Stage, content: bytes, version: str) -> str:
    """Bring a release to be committed, as the job that is called like its version."""
    stage(content, version)
    activation_id = slots.activate(version)
    slots.commit(activation_id)
    return activation_id


@pytest.fixture
def first(slots: Slots, stage: Stage) -> Slots:
    """Have a first release committed."""
    installed(slots, stage, V1, "1.0")
    return slots


def read(tmp_path: Path) -> str:
    """Read what the link leads to."""
    return (tmp_path / "till" / "current" / "bin" / "till").read_text()


def refusal(of: Callable[[], object]) -> Refusal:
    with pytest.raises(InstallFailed) as refused:
        of()
    return refused.value.reason


# --- the way through


def test_nothing_is_there_at_first(slots: Slots, tmp_path: Path) -> None:
    assert (slots.committed(), slots.trial(), slots.staged(), slots.running(), slots.attempts()) == (None,) * 4 + (0,)
    assert not (tmp_path / "till").exists()


def test_a_first_release_goes_into_the_first_slot(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    stage(V1, "1.0")
    lying = slots.staged()
    assert lying is not None
    assert (lying.slot, lying.version, lying.activation_id) == ("a", "1.0", None)
    assert lying.digest == staging(V1).digest
    activation_id = slots.activate("job-1")
    trial = slots.trial()
    assert trial is not None
    assert (trial.activation_id, trial.job_id, trial.version) == (activation_id, "job-1", "1.0")
    assert (slots.committed(), slots.staged()) == (None, None)
    assert read(tmp_path) == "one"
    slots.commit(activation_id)
    assert (slots.committed(), slots.trial()) == (trial, None)


def test_releases_take_turns_in_the_slots(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    for content, version, slot in ((V1, "1.0", "a"), (V2, "2.0", "b"), (V3, "3.0", "a")):
        activation_id = installed(slots, stage, content, version)
        committed = slots.committed()
        assert committed is not None
        assert (committed.slot, committed.version, committed.activation_id) == (slot, version, activation_id)
    assert read(tmp_path) == "three"
    assert (tmp_path / "till/slots/b/bin/till").read_text() == "two"


def test_a_trial_that_is_taken_back_leaves_what_was_committed(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    first = installed(slots, stage, V1, "1.0")
    stage(V2, "2.0")
    second = slots.activate("2.0")
    assert read(tmp_path) == "two"
    slots.revert(second)
    committed = slots.committed()
    assert committed is not None
    assert committed.activation_id == first
    assert (slots.trial(), read(tmp_path)) == (None, "one")


def test_a_first_release_that_is_taken_back_leaves_nothing(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    stage(V1, "1.0")
    slots.revert(slots.activate("1.0"))
    assert (slots.committed(), slots.trial()) == (None, None)
    assert not (tmp_path / "till/current").is_symlink()


def test_what_was_taken_back_may_be_tried_by_another_job_without_unpacking(slots: Slots, stage: Stage) -> None:
    installed(slots, stage, V1, "1.0")
    stage(V2, "2.0")
    first = slots.activate("job.1")
    slots.revert(first)
    assert slots.activate("job.2") != first


def test_settings_and_tables_come_as_a_single_file(slots: Slots, tmp_path: Path) -> None:
    content = b"[prices]\n"
    slots.stage(stored(tmp_path, content), staging(content, target="till/prices-2.toml", kind=InstallerKind.CONFIG))
    activation_id = slots.activate("job-1")
    assert (tmp_path / "till/current/prices-2.toml").read_bytes() == content
    slots.declare_running(activation_id, "boot-1")
    running = slots.running()
    assert running == Running(
        activation_id=activation_id, digest=staging(content).digest, slot="a", host_boot_id="boot-1"
    )
    slots.commit(activation_id)
    slots.declare_running(activation_id, "boot-2")
    assert slots.running() != running


def test_activations_are_told_apart_by_128_random_bits() -> None:
    assert len(new_activation_id()) == 32
    assert new_activation_id() != new_activation_id()


# --- asked again


def test_staging_again_does_not_unpack_again(stage: Stage, tmp_path: Path) -> None:
    stage(V1, "1.0")
    before = (tmp_path / "till/slots/a/bin/till").stat().st_ino
    stage(V1, "1.0")
    assert (tmp_path / "till/slots/a/bin/till").stat().st_ino == before


def test_staging_another_one_takes_its_place(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    stage(plain({"bin/till": "one", "left": "over"}), "1.0")
    stage(V2, "2.0")
    assert sorted(path.name for path in (tmp_path / "till/slots/a").iterdir()) == ["bin"]
    lying = slots.staged()
    assert lying is not None
    assert lying.version == "2.0"


def test_staging_again_repairs_what_was_changed(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    stage(V1, "1.0")
    (tmp_path / "till/slots/a/bin/till").write_text("evil")
    stage(V1, "1.0")
    slots.activate("1.0")
    assert read(tmp_path) == "one"


def test_a_job_has_one_activation_however_often_it_asks(slots: Slots, stage: Stage) -> None:
    installed(slots, stage, V1, "1.0")
    stage(V2, "2.0")
    activation_id = slots.activate("2.0")
    assert slots.activate("2.0") == activation_id
    slots.commit(activation_id)
    slots.commit(activation_id)
    assert slots.activate("2.0") == activation_id
    committed = slots.committed()
    assert committed is not None
    assert committed.activation_id == activation_id


def test_taking_back_twice_takes_back_once(slots: Slots, stage: Stage) -> None:
    first = installed(slots, stage, V1, "1.0")
    stage(V2, "2.0")
    second = slots.activate("2.0")
    slots.revert(second)
    slots.revert(second)
    slots.revert("of another life")
    committed = slots.committed()
    assert committed is not None
    assert committed.activation_id == first


@pytest.mark.parametrize("again", ["activate", "commit", "revert"])
def test_a_link_that_stayed_behind_is_set_right(again: str, slots: Slots, stage: Stage, tmp_path: Path) -> None:
    """Power was cut between the choice and the link."""
    installed(slots, stage, V1, "1.0")
    stage(V2, "2.0")
    activation_id = slots.activate("2.0")
    link = tmp_path / "till/current"
    link.unlink()
    link.symlink_to("slots/b" if again == "revert" else "slots/a")
    getattr(slots, again)("2.0" if again == "activate" else activation_id)
    assert read(tmp_path) == ("one" if again == "revert" else "two")


# --- refused


def test_nothing_can_be_staged_beside_a_trial(slots: Slots, stage: Stage) -> None:
    stage(V1, "1.0")
    slots.activate("1.0")
    assert refusal(lambda: stage(V2, "2.0")) is Refusal.TRIAL_OPEN
    assert refusal(lambda: slots.activate("2.0")) is Refusal.TRIAL_OPEN


def test_a_job_that_was_taken_back_is_not_done_again(slots: Slots, stage: Stage) -> None:
    stage(V1, "1.0")
    slots.revert(slots.activate("1.0"))
    stage(V1, "1.0")
    assert refusal(lambda: slots.activate("1.0")) is Refusal.REVERTED


def test_what_was_committed_is_not_taken_back(slots: Slots, stage: Stage) -> None:
    activation_id = installed(slots, stage, V1, "1.0")
    assert refusal(lambda: slots.revert(activation_id)) is Refusal.COMMITTED


@pytest.mark.parametrize("is_taken_back", [False, True])
def test_what_is_not_on_trial_is_not_committed(is_taken_back: bool, slots: Slots, stage: Stage) -> None:
    installed(slots, stage, V1, "1.0")
    stage(V2, "2.0")
    activation_id = slots.activate("2.0") if is_taken_back else "unknown"
    slots.revert(activation_id)
    assert refusal(lambda: slots.commit(activation_id)) is Refusal.NOT_ON_TRIAL
    assert refusal(lambda: slots.declare_running(activation_id, "boot")) is Refusal.NOT_ON_TRIAL


def test_an_empty_slot_is_not_activated(slots: Slots, stage: Stage) -> None:
    assert refusal(lambda: slots.activate("1.0")) is Refusal.NOT_STAGED
    installed(slots, stage, V1, "1.0")
    assert refusal(lambda: slots.activate("2.0")) is Refusal.NOT_STAGED


def test_what_changed_since_it_was_staged_is_not_activated(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    installed(slots, stage, V1, "1.0")
    stage(V2, "2.0")
    (tmp_path / "till/slots/b/bin/till").write_text("evil")
    assert refusal(lambda: slots.activate("2.0")) is Refusal.STAGED_CHANGED
    assert (slots.trial(), read(tmp_path)) == (None, "one")


def test_a_slot_that_vanished_is_not_activated(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    stage(V1, "1.0")
    (tmp_path / "till/slots/a").rename(tmp_path / "elsewhere")
    assert refusal(lambda: slots.activate("1.0")) is Refusal.STAGED_CHANGED


@pytest.mark.parametrize(
    ("content", "release", "reason"),
    [
        # other bytes than those that were signed
        (V1, staging(V2), Refusal.ARCHIVE_MISMATCH),
        # more than the release says
        (V1, staging(V1, installed_bytes=2), Refusal.ARCHIVE_TOO_LARGE),
        # more than an archive of its size has
        (packages.tar(file("x", bytes(2_000_000))), None, Refusal.ARCHIVE_TOO_LARGE),
        (packages.tar(file("../x")), None, Refusal.ARCHIVE_UNSAFE),
        (b"no archive", None, Refusal.ARCHIVE_UNREADABLE),
        # a single file cannot be a program's folder
        (b"#!/bin/sh", staging(b"#!/bin/sh", target="till/till.sh"), Refusal.ARCHIVE_UNREADABLE),
    ],
)
def test_what_cannot_be_staged_leaves_nothing_behind(
    content: bytes, release: Staging | None, reason: Refusal, first: Slots, tmp_path: Path
) -> None:
    slots = first
    assert refusal(lambda: slots.stage(stored(tmp_path, content), release or staging(content))) is reason
    assert slots.staged() is None
    assert sorted(path.name for path in (tmp_path / "till/slots").iterdir()) == ["a", "a.json"]
    assert read(tmp_path) == "one"


def test_an_archive_that_is_not_there_is_the_disk_s_fault(slots: Slots, tmp_path: Path) -> None:
    with pytest.raises(DiskFailed, match="expected to read it"):
        slots.stage(tmp_path / "missing", staging(V1))


# --- what others wrote


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"[]", b'{"committed": {"slot": "a"}}'])
def test_a_choice_that_cannot_be_read_stops_everything(
    content: bytes, slots: Slots, stage: Stage, tmp_path: Path
) -> None:
    installed(slots, stage, V1, "1.0")
    (tmp_path / "till" / CHOSEN).write_bytes(content)
    for ask in (slots.committed, slots.staged, lambda: slots.activate("x"), lambda: slots.revert("x")):
        assert refusal(ask) is Refusal.STATE_UNREADABLE
    assert read(tmp_path) == "one"


def test_a_list_that_cannot_be_read_makes_a_slot_empty(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    stage(V1, "1.0")
    (tmp_path / "till/slots/a.json").write_bytes(b"{")
    assert slots.staged() is None
    stage(V1, "1.0")
    assert slots.staged() is not None


def test_words_of_a_later_version_are_left_out(slots: Slots, stage: Stage, tmp_path: Path) -> None:
    activation_id = installed(slots, stage, V1, "1.0")
    path = tmp_path / "till" / CHOSEN
    said = json.loads(path.read_bytes())
    said["later"], said["committed"]["later"] = 1, {"more": True}
    path.write_text(json.dumps(said))
    committed = slots.committed()
    assert committed is not None
    assert committed.activation_id == activation_id


@pytest.mark.parametrize(
    ("content", "attempts"),
    [
        ('{"activation_id": "activation-1", "attempts": 2}', 2),
        ('{"activation_id": "activation-1", "attempts": 3, "later": 1}', ATTEMPTS_MAX),
        ('{"activation_id": "activation-0", "attempts": 2}', 0),
        ("{", 0),
    ],
)
def test_attempts_are_those_of_the_trial(
    content: str, attempts: int, slots: Slots, stage: Stage, tmp_path: Path
) -> None:
    stage(V1, "1.0")
    activation_id = slots.activate("1.0")
    (tmp_path / "till" / ATTEMPTS).write_text(content)
    assert slots.attempts() == attempts
    slots.commit(activation_id)
    assert slots.attempts() == 0


@pytest.mark.parametrize("content", ["", "{}", '{"activation_id": 1}'])
def test_what_runs_is_unknown_where_nobody_says_it_clearly(content: str, slots: Slots, tmp_path: Path) -> None:
    (tmp_path / "till").mkdir()
    (tmp_path / "till" / RUNNING).write_text(content)
    assert slots.running() is None
