"""The launcher: which slot is started, how often, and what it says of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.forgetful import Blow, Extent, ForgetfulVolume, Strike
from tests.agent.packages import plain, staging, stored

from tillwatch_agent.installer import launcher
from tillwatch_agent.installer.launcher import ATTEMPTS, ATTEMPTS_MAX, CHOSEN, CURRENT, EXIT_NOTHING, Root
from tillwatch_agent.installer.slots import Running, Slots

SAY = '#!/bin/sh\necho {} $TILLWATCH_SLOT $TILLWATCH_ACTIVATION_ID $PWD "$@"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "till"
    path.mkdir()
    return path


def stage(root: Path, version: str, program: str = SAY) -> Slots:
    slots = Slots(root, ids=lambda: f"activation-{version}")
    content = plain({"bin/till": program.format(version)})
    slots.stage(stored(root.parent, content), staging(content, version))
    return slots


@pytest.fixture
def committed(root: Path) -> Slots:
    slots = stage(root, "1.0")
    slots.commit(slots.activate("1.0"))
    return slots


@pytest.fixture
def on_trial(root: Path, committed: Slots) -> Slots:
    assert committed.trial() is None
    slots = stage(root, "2.0")
    slots.activate("2.0")
    return slots


def start(root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Start what is chosen as a service does: by the file alone, in an empty environment."""
    command = [sys.executable, "-I", launcher.__file__, *options, str(root), "--", "bin/till", "-x", "--", "y"]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, check=False)


def started(root: Path, execute: Callable[..., Any] | None = None, volume: ForgetfulVolume | None = None) -> list[str]:
    """Say which slots one start tries, when `execute` says that each cannot be started."""
    tried: list[str] = []

    def cannot(*_: Any) -> None:
        tried.append(Path.cwd().name)
        raise OSError(8, "Exec format error")

    before = Path.cwd()
    try:
        assert launcher.launch(Root(root, volume, "boot"), ["bin/till"], execute=execute or cannot) == EXIT_NOTHING
    finally:
        os.chdir(before)
    return tried


# --- what is started


def test_what_is_committed_is_started_in_its_slot(root: Path, committed: Slots) -> None:
    said = start(root)
    assert said.stdout.split() == ["1.0", "a", "activation-1.0", str(root / "slots/a"), "-x", "--", "y"]
    assert said.returncode == 0
    running = committed.running()
    assert running is not None
    assert (running.activation_id, running.slot, committed.attempts()) == ("activation-1.0", "a", 0)
    assert running.host_boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_trial_is_started_three_times_and_then_gives_way(root: Path, on_trial: Slots) -> None:
    said = [start(root).stdout.split()[0] for _ in range(ATTEMPTS_MAX + 2)]
    assert said == ["2.0", "2.0", "2.0", "1.0", "1.0"]
    assert on_trial.attempts() == ATTEMPTS_MAX
    assert (root / CURRENT).readlink() == Path("slots/a")
    running = on_trial.running()
    assert running is not None
    assert running.activation_id == "activation-1.0"


def test_a_trial_that_was_committed_is_started_for_ever(root: Path, on_trial: Slots) -> None:
    start(root)
    on_trial.commit("activation-2.0")
    assert {start(root).stdout.split()[0] for _ in range(ATTEMPTS_MAX + 1)} == {"2.0"}


def test_a_trial_that_was_taken_back_is_not_started(root: Path, on_trial: Slots) -> None:
    on_trial.revert("activation-2.0")
    assert start(root).stdout.split()[0] == "1.0"


def test_another_trial_has_its_own_attempts(root: Path, on_trial: Slots) -> None:
    for _ in range(ATTEMPTS_MAX):
        start(root)
    on_trial.revert("activation-2.0")
    stage(root, "3.0").activate("3.0")
    assert start(root).stdout.split()[0] == "3.0"


@pytest.mark.usefixtures("committed")
def test_a_program_that_cannot_be_started_gives_way_at_once(root: Path) -> None:
    slots = stage(root, "2.0", program="\x7fELF nonsense")
    slots.activate("2.0")
    said = start(root)
    assert said.stdout.split()[0] == "1.0"
    assert "expected to start bin/till" in said.stderr
    assert slots.attempts() == ATTEMPTS_MAX
    running = slots.running()
    assert running is not None
    assert running.slot == "a"


@pytest.mark.usefixtures("on_trial")
def test_a_slot_that_vanished_gives_way_at_once(root: Path) -> None:
    (root / "slots/b").rename(root / "elsewhere")
    assert start(root).stdout.split()[0] == "1.0"


def test_a_trial_without_anything_behind_it_ends_in_nothing(root: Path) -> None:
    stage(root, "1.0").activate("1.0")
    for _ in range(ATTEMPTS_MAX):
        assert start(root).returncode == 0
    said = start(root)
    assert (said.returncode, said.stdout) == (EXIT_NOTHING, "")
    assert "expected something to start" in said.stderr


def test_where_nothing_was_ever_chosen_nothing_starts(root: Path) -> None:
    assert start(root).returncode == EXIT_NOTHING


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"[]",
        b'{"committed": "a"}',
        b'{"committed": {"slot": "../evil", "activation_id": "x", "digest": "y"}}',
        b'{"committed": {"slot": "a", "activation_id": 1, "digest": "y"}}',
        b'{"committed": {"slot": "a", "activation_id": "x"}}',
        b"[" * 100_000,
    ],
)
def test_where_the_choice_cannot_be_read_the_link_decides(content: bytes, root: Path) -> None:
    (root / CHOSEN).write_bytes(content)
    assert start(root).stdout.split()[:2] == ["1.0", "a"]


@pytest.mark.usefixtures("committed")
def test_a_link_that_stayed_behind_is_set_right(root: Path) -> None:
    (root / CURRENT).unlink()
    start(root)
    assert (root / CURRENT).readlink() == Path("slots/a")


@pytest.mark.usefixtures("committed")
def test_a_committed_trial_that_is_named_twice_is_not_counted(root: Path) -> None:
    said = json.loads((root / CHOSEN).read_bytes())
    said["trial"] = said["committed"]
    (root / CHOSEN).write_text(json.dumps(said))
    for _ in range(ATTEMPTS_MAX + 1):
        start(root)
    assert not (root / ATTEMPTS).exists()


@pytest.mark.usefixtures("on_trial")
@pytest.mark.parametrize("said", ['{"activation_id": "activation-2.0", "attempts": "many"}', "[]", ""])
def test_attempts_that_make_no_sense_are_not_held_against_what_is_committed(said: str, root: Path) -> None:
    (root / ATTEMPTS).write_text(said)
    assert start(root).stdout.split()[0] in {"1.0", "2.0"}


# --- a disk that does not take it


def test_a_trial_that_cannot_be_counted_is_not_started(root: Path, on_trial: Slots) -> None:
    volume = ForgetfulVolume(root.parent, Strike(at=0, blow=Blow.FULL, extent=Extent.LOST))
    assert started(root, volume=volume) == ["a"]
    assert on_trial.attempts() == 0


def test_what_is_committed_starts_on_a_full_disk(root: Path, committed: Slots) -> None:
    volume = ForgetfulVolume(root.parent, Strike(at=0, blow=Blow.FULL, extent=Extent.LOST))
    assert started(root, volume=volume) == ["a"]
    assert committed.running() is None


def test_what_started_before_is_unsaid_where_the_disk_is_full(root: Path, on_trial: Slots) -> None:
    """Else a release that crashed would pass for what runs in its place."""
    start(root)
    volume = ForgetfulVolume(root.parent, Strike(at=2, blow=Blow.FULL, extent=Extent.LOST))
    assert started(root, volume=volume) == ["a"]
    assert on_trial.running() is None


def test_what_started_is_told_before_it_starts(root: Path, on_trial: Slots) -> None:
    told: list[Running | None] = []

    def look(*_: Any) -> None:
        told.append(on_trial.running())
        raise OSError

    started(root, execute=look)
    assert [said.slot for said in told if said] == ["b", "a"]
    assert [said.host_boot_id for said in told if said] == ["boot", "boot"]


def test_a_word_of_one_slot_is_none_while_the_other_one_is_held(root: Path, on_trial: Slots) -> None:
    """The trial crashed, the committed program runs, and the disk took no word of either."""
    seen = Root(root, boot_id="boot")
    trial, committed = seen.starts()
    seen.announce(trial)
    assert on_trial.running() is not None
    seen.hold(committed)
    assert on_trial.running() is None
    seen.announce(committed)
    assert on_trial.running() is not None
    seen.let_go()


def test_a_program_holds_its_slot_as_long_as_it_lives(root: Path) -> None:
    slots = stage(root, "1.0", program="#!/bin/sh\necho {}\nread line\n")
    slots.activate("1.0")
    command = [sys.executable, "-I", launcher.__file__, str(root), "--", "bin/till"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert slots._is_held("a")
        process.communicate(b"\n")
    assert not slots._is_held("a")
    assert not slots._is_held("b")


# --- a program that confirms itself

HANG = "#!/bin/sh\nexec sleep 600\n"


def test_a_program_that_does_not_confirm_itself_is_ended(root: Path) -> None:
    stage(root, "1.0", program=HANG).activate("1.0")
    assert start(root, "--confirm-within-s", "1").returncode == -signal.SIGALRM


def test_what_is_committed_has_no_timer(root: Path) -> None:
    slots = stage(root, "1.0", program=f"#!{sys.executable}\nimport signal\nprint(signal.alarm(0))\n")
    slots.activate("1.0")
    assert int(start(root, "--confirm-within-s", "600").stdout) > 500
    slots.commit("activation-1.0")
    assert int(start(root, "--confirm-within-s", "600").stdout) == 0


@pytest.fixture
def timer() -> Iterator[None]:
    signal.alarm(600)
    yield
    signal.alarm(0)


@pytest.mark.usefixtures("timer")
def test_a_program_confirms_itself_by_one_call() -> None:
    launcher.confirmed()
    assert signal.alarm(0) == 0


# --- how it is called


@pytest.mark.parametrize(
    "arguments", [[], ["root"], ["--", "true"], ["root", "--"], ["--confirm-within-s", "x", "r", "--", "true"]]
)
def test_a_call_that_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        launcher.main(arguments)
    assert ended.value.code == 2
    assert "usage: launcher.py" in capsys.readouterr().err


@pytest.mark.usefixtures("committed")
def test_the_launcher_alone_is_enough(root: Path) -> None:
    """It is copied to where no release replaces it, and reads nothing of ours."""
    alone = root.parent / "launcher.py"
    alone.write_bytes(Path(launcher.__file__).read_bytes())
    command = [sys.executable, "-I", "-S", str(alone), str(root), "--", "bin/till"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0] == "1.0"
