"""All experiments, in the order in which their figures are published."""

import itertools
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import (
    agent_all,
    agents,
    diagnosing,
    downloads,
    failing,
    fuzz,
    gates,
    history,
    ingesting,
    killing,
    live_rollout,
    pages,
    power,
    reconnecting,
    rollouts,
    speed,
    storming,
    teeing,
    ticketing,
    worlds,
    years,
)
from tests.bench.figures import Experiment, Figure, Progress
from tests.live.kills import kill_agent
from tests.live.stack import Collector


def agent_kills(progress: Progress) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, Collector(Path(folder) / "collector") as collector:
        outcome = kill_agent(collector, Path(folder), kills=100, rng=random.Random(SEED), progress=progress)
    return {
        "agent_kills_events": outcome.events,
        "agent_kills_lost": outcome.lost,
        "agent_kills_doubled": outcome.doubled,
    }


def ingest_fuzz(progress: Progress) -> dict[str, float]:
    outcome = fuzz.fuzz_ingest(100_000, SEED, progress)
    return {"ingest_fuzz_crashes": outcome.crashes, "ingest_fuzz_quarantined": outcome.quarantined}


def world(progress: Progress) -> dict[str, float]:
    failures = worlds.world_failures(_counted(progress, WORLDS), seeds=WORLDS)
    return {"world_failures": failures}


def planted(progress: Progress) -> dict[str, float]:
    caught, seeds_to_catch = worlds.planted_caught(_counted(progress, PLANTED))
    return {"planted_caught": caught, "planted_seeds_max": max(seeds_to_catch.values(), default=0)}


def _counted(progress: Progress, of: int) -> Callable[[str], None]:
    """Turn what the worlds say, once for each, into steps; what a person must see stays on the screen."""
    done = itertools.count(1)

    def said(what: str) -> None:
        progress(next(done), of, what)

    return said


WORLDS = 30
PLANTED = len(worlds.PLANTINGS)
PLANTED_AIM = 25
SEED = 20261121

EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        name="agent_kills",
        door="evidence",
        seed=SEED,
        run=agent_kills,
        figures=(
            Figure(
                name="agent_kills_events",
                unit="events",
                aim=None,
                says="events of an agent killed 100 times while conditions change",
            ),
            Figure(name="agent_kills_lost", unit="events", aim=0, says="of them not stored"),
            Figure(name="agent_kills_doubled", unit="events", aim=0, says="of them stored more than once"),
        ),
    ),
    *killing.EXPERIMENTS,
    *ticketing.EXPERIMENTS,
    *storming.EXPERIMENTS,
    Experiment(
        name="world",
        door="evidence",
        seed=1,
        run=world,
        figures=(
            Figure(
                name="world_failures",
                unit="worlds",
                aim=0,
                says=f"of {WORLDS} worlds of 20 terminals and 6 h in virtual time: those in which a rule broke",
            ),
        ),
    ),
    Experiment(
        name="planted",
        door="evidence",
        seed=1,
        run=planted,
        figures=(
            Figure(
                name="planted_caught",
                unit="mistakes",
                aim=PLANTED_AIM,
                at_most=False,
                says=f"of {PLANTED} planted mistakes: those that worlds of hours, or of days with people, catch",
            ),
            Figure(name="planted_seeds_max", unit="worlds", aim=None, says="worlds until the last of them was caught"),
        ),
    ),
    *years.EXPERIMENTS,
    *gates.EXPERIMENTS,
    *rollouts.EXPERIMENTS,
    *power.EXPERIMENTS,
    *downloads.EXPERIMENTS,
    *live_rollout.EXPERIMENTS,
    *failing.EXPERIMENTS,
    *diagnosing.EXPERIMENTS,
    Experiment(
        name="ingest_fuzz",
        door="evidence",
        seed=SEED,
        run=ingest_fuzz,
        figures=(
            Figure(
                name="ingest_fuzz_crashes",
                unit="batches",
                aim=0,
                says="of 100,000 mutated payloads: batches that failed or left a message unaccounted for",
            ),
            Figure(
                name="ingest_fuzz_quarantined",
                unit="payloads",
                aim=None,
                says="of them quarantined; the others were stored or ignored as old",
            ),
        ),
    ),
    *speed.EXPERIMENTS,
    *ingesting.EXPERIMENTS,
    *history.EXPERIMENTS,
    *agents.EXPERIMENTS,
    *teeing.EXPERIMENTS,
    *agent_all.EXPERIMENTS,
    *reconnecting.EXPERIMENTS,
    *pages.EXPERIMENTS,
)
