"""Rollouts over real agents, a real broker with TLS and a real collector, while they are killed, cut and restored."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from tests.live import tills
from tests.live.rollouts import ROLLOUT_S, UPDATED, Blow, Chain, astray, drawn, torment, wrongs
from tests.live.stack import until
from tests.live.tills import FACTORY

pytestmark = pytest.mark.timeout(900)

TILLS = 8
GOOD, SICK, CRASHING = "2.0.0", "3.0.0", "4.0.0"
SEED = 20261121


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with Chain(tmp_path, TILLS, postgresql=False).running() as chain:
        yield chain


@pytest.fixture
def chain_on_postgresql(tmp_path: Path) -> Iterator[Chain]:
    with Chain(tmp_path, TILLS).running() as chain:
        yield chain


@pytest.fixture
def impatient_chain(tmp_path: Path) -> Iterator[Chain]:
    """One whose releases must prove themselves soon."""
    with Chain(tmp_path, TILLS, postgresql=False, confirm_s=40).running() as chain:
        yield chain


def silently(_done: int, _of: int, _what: str) -> None:
    """Show nothing."""


def test_whatever_falls_a_good_release_reaches_every_till_once(chain_on_postgresql: Chain) -> None:
    chain = chain_on_postgresql
    chain.offer(GOOD, tills.release(GOOD))
    rollout_id = chain.roll_out(GOOD)
    blows = dict.fromkeys(Blow, 1) | {Blow.AGENT: 6, Blow.POWER: 3, Blow.LINE: 3}
    turns = drawn(list(chain.tills), blows, 40.0, Random(SEED))
    assert torment(chain, rollout_id, turns, silently) == "completed"
    assert wrongs(chain, rollout_id, GOOD) == []


def test_what_does_not_do_well_is_taken_back_and_ends_in_its_first_wave(impatient_chain: Chain) -> None:
    chain = impatient_chain
    for version, content in (
        (SICK, tills.release(SICK, well=False)),
        (CRASHING, tills.release(CRASHING, crashes=True)),
    ):
        chain.offer(version, content)
        rollout_id = chain.roll_out(version)
        assert torment(chain, rollout_id, [], silently) == "halted"
        chain.settle(rollout_id)
        outcomes = [job["outcome"] for job in chain.jobs(rollout_id).values()]
        assert "rolled_back" in outcomes
        assert not UPDATED & set(outcomes)
        tried = [name for name, till in chain.tills.items() if version in {one.version for one in till.starts}]
        assert 1 <= len(tried) <= 2, "no more than the first wave"
        assert [said for till in chain.tills.values() for said in astray(till, FACTORY, SICK, CRASHING)] == []
        (ticket,) = chain.collector.tickets(subject_kind="release", subject_id=f"till {version}")
        assert ticket["code"] == "rollout_halted"


def test_agents_replace_themselves_and_one_that_does_not_run_gives_way(impatient_chain: Chain) -> None:
    chain = impatient_chain
    chain.offer(GOOD, tills.agent_release(GOOD), tills.AGENT)
    assert torment(chain, chain.roll_out(GOOD, tills.AGENT), [], silently) == "completed"
    assert _agents(chain) == {GOOD}
    chain.offer(CRASHING, tills.agent_release(CRASHING, runs=False), tills.AGENT)
    rollout_id = chain.roll_out(CRASHING, tills.AGENT)
    assert torment(chain, rollout_id, [], silently) == "halted"
    chain.settle(rollout_id)
    assert _agents(chain) == {GOOD}
    reasons = {job["reason"] for job in chain.jobs(rollout_id).values() if job["outcome"] == "rolled_back"}
    assert reasons == {"boot_failed"}


@pytest.mark.parametrize("way", ["by the command", "by hand"])
def test_a_collector_restored_in_the_midst_pauses_and_commands_nothing_twice(
    chain: Chain, tmp_path: Path, way: str
) -> None:
    """The first wave is switching when the backup is made; half of all tills are updated when it is put back."""
    chain.offer(GOOD, tills.release(GOOD))
    rollout_id = chain.roll_out(GOOD)
    until(lambda: _with(chain, rollout_id, "state", "confirming"), "the first to switch", ROLLOUT_S)
    put_back = _by_command(chain, tmp_path) if way == "by the command" else _by_hand(chain, tmp_path)
    updated = "half of them to be updated"
    until(lambda: len(_with(chain, rollout_id, "outcome", "succeeded")) >= TILLS // 2, updated, ROLLOUT_S)
    open_wave = chain.rollout(rollout_id)["wave"]
    later = {name: chain.tills[name].starts for name, job in chain.jobs(rollout_id).items() if job["wave"] > open_wave}
    assert later, "a wave that has not begun"
    chain.collector.process.stop()
    put_back()
    chain.collector.start()

    until(lambda: chain.rollout(rollout_id)["state"] == "paused" or None, "the rollout to be paused")
    (paused,) = [line for line in chain.journal(rollout_id) if line["action"] == "pause"]
    assert "backup" in paused["reason"]
    until(lambda: chain.collector.tickets(code="restored_from_backup"), "one ticket that says so")
    chain.settle(rollout_id)
    for name, starts in later.items():
        assert chain.tills[name].starts == starts, f"{name}: nothing that had no go gets one"
    for till in chain.tills.values():
        assert len({one.activation_id for one in till.starts if one.version == GOOD}) <= 1, "nothing is done again"

    chain.act(rollout_id, "resume")
    assert torment(chain, rollout_id, [], silently) == "completed"
    assert [said for till in chain.tills.values() for said in astray(till, GOOD)] == []


def _by_command(chain: Chain, folder: Path) -> Callable[[], object]:
    file = str(folder / "backup.gz")
    chain.collector.command("backup", file, "--json")
    return lambda: chain.collector.command("restore", file, "--replace", "--json")


def _by_hand(chain: Chain, folder: Path) -> Callable[[], object]:
    """Copy the database's files: nobody notes that they are old, until an agent tells of a later epoch.

    Epochs count starts, so that there must be one more after the copy than will be after it is put back.
    """
    files, kept = chain.collector.data, folder / "kept"
    chain.collector.process.stop()
    kept.mkdir()
    for file in files.glob("collector.db*"):
        shutil.copy(file, kept)
    for _ in range(2):
        chain.collector.process.stop()
        chain.collector.start()

    def put_back() -> None:
        for file in files.glob("collector.db*"):
            file.unlink()
        for file in kept.iterdir():
            shutil.copy(file, files)

    return put_back


def _agents(chain: Chain) -> set[str]:
    """Which versions of the agent are kept and run, over all tills; what is on trial is none."""
    found = set()
    for till in chain.tills.values():
        committed, running = till.agents_slots.committed(), till.agents_slots.running()
        is_well = committed and running and running.activation_id == committed.activation_id
        found.add(committed.version if committed and is_well and not till.agents_slots.trial() else till.name)
    return found


def _with(chain: Chain, rollout_id: str, key: str, value: str) -> list[str]:
    return [name for name, job in chain.jobs(rollout_id).items() if job[key] == value]
