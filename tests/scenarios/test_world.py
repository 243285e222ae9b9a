"""Worlds in their short form; `make evidence ONLY=world_failures` runs them by the hundred."""

import os
import subprocess
import sys

import pytest
from tests.live.postgres import Server
from tests.live.shared_postgres import MIGRATED
from tests.scenarios import world

from tillwatch_collector.store.session import Store

SEEDS = range(1, 13)
TERMINALS = 10
HOURS = 3.0


@pytest.mark.parametrize("seed", SEEDS)
def test_every_rule_holds_whatever_happens(seed: int) -> None:
    world.run(seed, terminals=TERMINALS, hours=HOURS)


def test_a_seed_tells_the_same_story_in_another_process_with_other_hashes() -> None:
    command = [sys.executable, "-m", "tests.scenarios.world", "--seed", "4", "--terminals", "5", "--hours", "2.5"]
    told = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told) == 1
    assert "every rule held; trace " in told.pop()


def test_two_seeds_tell_two_stories() -> None:
    assert world.run(1, terminals=2, hours=2) != world.run(2, terminals=2, hours=2)


def test_a_world_on_postgresql_tells_the_same_story(postgresql: Server) -> None:
    """Not one message more, and in the end the same facts: a checker holds them against SQLite's."""
    store = Store.open(postgresql.create("world", template=MIGRATED))
    assert world.run(3, terminals=3, hours=1.5, store=store) == world.run(3, terminals=3, hours=1.5)
    store.close()
