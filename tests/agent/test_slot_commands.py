"""The first release comes by hand, once, into slots that are the agent's; what lies there is shown."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.agent import packages
from tests.agent.forgetful import Blow, Extent, ForgetfulVolume, Strike, Struck

from tillwatch_agent import commands, config, slot_commands
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.errors import OperatorError, OutboxBusy
from tillwatch_agent.installer import launcher
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.slots import Slots
from tillwatch_agent.outbox import Outbox
from tillwatch_agent.runtime import OUTBOX_FILE
from tillwatch_agent.slot_commands import JOB_ID, First

TILL: dict[str, Any] = {"name": "till", "installer": "bundle", "restart": ["true"], "unguarded": True}
TABLES: dict[str, Any] = {"name": "tables", "installer": "config", "unguarded": True}
ARCHIVE = packages.plain({"bin/till": "#!/bin/sh\n"})


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., AgentConfig]:
    def made(*products: dict[str, Any]) -> AgentConfig:
        urls = {"metadata_url": "https://x/m", "targets_url": "https://x/t", "trusted_root": "/r"}
        folders = [product | {"folder": str(tmp_path / product["name"])} for product in products or (TILL,)]
        document = {"terminal_id": "till-1", "state_dir": str(tmp_path), "update": urls | {"products": folders}}
        (tmp_path / "agent.toml").write_text(toml(document), encoding="utf-8")
        return config.load(tmp_path / "agent.toml")

    return made


def toml(document: dict[str, Any]) -> str:
    """Write tables on one line each; JSON's words are TOML's but for the colons."""
    return "\n".join(f"{key} = {inline(value)}" for key, value in document.items())


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(one)}" for key, one in value.items()) + "}"
    return "[" + ", ".join(map(inline, value)) + "]" if isinstance(value, list) else json.dumps(value)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return packages.stored(tmp_path, ARCHIVE, "till-2.0.tar.gz")


def of(archive: Path, /, **words: Any) -> First:
    return replace(First(product="till", archive=archive, version="2.0"), **words)


def slots(tmp_path: Path, name: str = "till") -> Slots:
    return Slots(tmp_path / name)


# --- the first release


def test_a_first_release_is_committed_as_a_rollout_of_it_would(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path
) -> None:
    committed = slot_commands.init(settings(), of(archive))
    assert (committed.slot, committed.version, committed.job_id) == ("a", "2.0", JOB_ID)
    assert committed.target == "till/till-2.0.tar.gz"
    assert slots(tmp_path).committed() == committed
    assert slots(tmp_path).trial() is None
    assert (tmp_path / "till" / launcher.CURRENT / "bin" / "till").is_file()


def test_the_same_words_again_change_nothing(settings: Callable[..., AgentConfig], archive: Path) -> None:
    committed = slot_commands.init(settings(), of(archive))
    assert slot_commands.init(settings(), of(archive)) == committed


@pytest.mark.parametrize("extent", Extent)
def test_it_goes_on_after_a_power_cut_at_any_write(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extent: Extent
) -> None:
    made, folder, cuts = settings(), tmp_path / "till", 0
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        volume = ForgetfulVolume(folder, Strike(at=cuts, blow=Blow.CUT, extent=extent))
        with monkeypatch.context() as patched:
            patched.setattr(slot_commands, "Disk", partial(Disk, volume))
            try:
                slot_commands.init(made, of(archive))
            except Struck:
                volume.restore(extent)
                cuts += 1
            else:
                break
        assert slot_commands.init(made, of(archive)).job_id == JOB_ID
        assert slots(tmp_path).trial() is None
    assert cuts > 20


def test_settings_are_read_at_once_by_whoever_reads_them(settings: Callable[..., AgentConfig], tmp_path: Path) -> None:
    file = packages.stored(tmp_path, b"x = 1\n", "tables-1.toml")
    read = tmp_path / "read"
    made = settings(TABLES | {"restart": ["touch", str(read)]})
    committed = slot_commands.init(made, of(file, product="tables"))
    running = slots(tmp_path, "tables").running()
    assert running is not None
    assert running.activation_id == committed.activation_id
    assert read.exists()


def test_settings_that_nobody_could_read_are_told_and_tried_again(
    settings: Callable[..., AgentConfig], tmp_path: Path
) -> None:
    file = packages.stored(tmp_path, b"x = 1\n", "tables-1.toml")
    first = of(file, product="tables")
    with pytest.raises(OperatorError, match="expected 0 of restart, got: exit code 1"):
        slot_commands.init(settings(TABLES | {"restart": ["false"]}), first)
    assert slots(tmp_path, "tables").running() is None
    slot_commands.init(settings(TABLES), first)
    assert slots(tmp_path, "tables").running() is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"product": "tell"}, "tell: expected a product of the configuration, which are till"),
        ({"version": "2.0-beta"}, "expected one to four numbers with dots"),
        # would never be the target of a release of this product
        ({"target": "tell/till-2.0.tar.gz"}, "--target: expected till/..."),
        ({"target": "till/../x"}, "expected the words of a release"),
        ({"archive": Path("none.tar.gz")}, "none.tar.gz: expected an archive, got: No such file or directory"),
    ],
)
def test_words_that_make_no_release_are_refused(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path, words: dict[str, Any], said: str
) -> None:
    with pytest.raises(OperatorError) as refused:
        slot_commands.init(settings(), of(archive, **words))
    assert said in str(refused.value)
    assert not (tmp_path / "till").exists()


def test_another_release_does_not_come_by_hand(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path
) -> None:
    slot_commands.init(settings(), of(archive))
    other = packages.stored(tmp_path, packages.plain({"bin/other": ""}), "till-2.1.tar.gz")
    with pytest.raises(OperatorError, match=r"expected no release of till in its slots, got 2\.0 .*by a rollout"):
        slot_commands.init(settings(), of(other, version="2.1"))


def test_what_a_job_has_on_trial_is_left_alone(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path
) -> None:
    there = slots(tmp_path)
    there.stage(archive, packages.staging(ARCHIVE))
    there.activate("r1.1")
    with pytest.raises(OperatorError, match="expected no release"):
        slot_commands.init(settings(), of(archive))


def test_nobody_works_on_the_slots_of_an_agent_that_runs(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path
) -> None:
    outbox = Outbox.open(tmp_path / OUTBOX_FILE)
    try:
        with pytest.raises(OutboxBusy, match="stop that agent first"):
            slot_commands.init(settings(), of(archive))
    finally:
        outbox.close()


def test_another_user_than_the_agents_is_told_who_it_must_be(
    settings: Callable[..., AgentConfig], archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settings()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(OperatorError, match=r"expected to be run by \S+, who owns .*, got 54321: runuser -u"):
        slot_commands.init(made, of(archive))


def test_before_the_first_run_who_is_not_root_makes_the_folder_of_its_own(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settings().model_copy(update={"state_dir": tmp_path / "none"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(OperatorError, match=r"expected state_dir, owned by the user .*: install -d -o USER"):
        slot_commands.init(made, of(archive))
    assert not made.state_dir.exists()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(OperatorError, match="expected to be run by"):  # whose it is on this machine is not faked
        slot_commands.init(made, of(archive))
    assert made.state_dir.is_dir()


@pytest.fixture
def strict_umask() -> Any:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("strict_umask")
def test_the_tills_own_user_can_enter_slots_that_the_agent_made(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path
) -> None:
    slot_commands.init(settings(), of(archive))
    folders = ["", "slots", "slots/a", "slots/a/bin"]
    assert [oct((tmp_path / "till" / folder).stat().st_mode)[-3:] for folder in folders] == ["755"] * len(folders)


# --- the launcher


def test_the_launcher_comes_to_where_no_release_replaces_it(
    settings: Callable[..., AgentConfig], tmp_path: Path
) -> None:
    path = tmp_path / "lib" / "launcher.py"
    slot_commands.bring_launcher(settings(), path)
    assert path.read_bytes() == Path(launcher.__file__).read_bytes()
    assert oct(path.stat().st_mode)[-3:] == "644"


def test_a_place_within_slots_is_none_for_the_launcher(settings: Callable[..., AgentConfig], tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"expected a place outside .*, where releases of till go"):
        slot_commands.bring_launcher(settings(), tmp_path / "till" / "launcher.py")


# --- what lies there


def test_what_lies_in_the_slots_is_shown(settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path) -> None:
    made = settings(TILL, TABLES)
    slot_commands.init(made, of(archive))
    root = launcher.Root(tmp_path / "till")
    root.announce(next(root.starts()))
    newer = packages.plain({"bin/newer": ""})
    slots(tmp_path).stage(packages.stored(tmp_path, newer), packages.staging(newer, "2.1"))
    shown = slot_commands.table(slot_commands.look(made)).splitlines()
    assert [line.split("  ")[0] for line in shown] == ["product", "till", "till", "tables"]
    assert "committed, runs" in shown[1]
    assert "2.1" in shown[2]
    assert "staged" in shown[2]
    assert "not installed" in shown[3]
    slots(tmp_path).activate("r1.1")
    assert "on trial" in slot_commands.table(slot_commands.look(made))


def test_slots_that_cannot_be_read_are_a_problem(
    settings: Callable[..., AgentConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings()
    (tmp_path / "till").mkdir()
    (tmp_path / "till" / launcher.CHOSEN).write_text("none")
    assert commands.main(["slots", "show", "--config", str(tmp_path / "agent.toml")]) == 1
    assert "expected what is committed" in capsys.readouterr().out


# --- the command line


def test_a_technician_is_told_what_was_done(
    settings: Callable[..., AgentConfig], archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings()
    chosen = ["--config", str(tmp_path / "agent.toml")]
    assert commands.main(["slots", "launcher", str(tmp_path / "launcher.py"), *chosen]) == 0
    assert commands.main(["slots", "init", "till", str(archive), "--version", "2.0", *chosen]) == 0
    assert "till 2.0 is kept in slot a; start its unit" in capsys.readouterr().out
    assert commands.main(["slots", "show", "--json", *chosen]) == 0
    (till,) = json.loads(capsys.readouterr().out)["products"]
    assert (till["product"], till["committed"]["version"], till["runs"]) == ("till", "2.0", None)
    assert commands.main(["slots", "init", "tell", str(archive), "--version", "2.0", *chosen]) == 2
    assert "expected a product of the configuration" in capsys.readouterr().err


def test_the_slots_of_a_till_without_products_are_none(tmp_path: Path, archive: Path) -> None:
    bare = config.parse({"terminal_id": "till-1", "state_dir": str(tmp_path)})
    assert slot_commands.look(bare) == []
    with pytest.raises(OperatorError, match=r"none: \[\[update.products\]\] is empty"):
        slot_commands.init(bare, of(archive))
