"""Evidence that kills lose nothing, double nothing and open no ticket: see `tests.live.outages`."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.bench.figures import Experiment, Figure, Progress
from tests.live.outages import Backend, Outcome, torment

SEED = 20261121
TERMINALS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One installation, and how often each of its parts is killed; a process is named by its role and its place."""

    backend: Backend
    roles: Sequence[str]
    kills: Mapping[str, int]


RUNS = (
    Run(backend="postgresql", roles=("serve",), kills={"serve.1": 30, "broker": 10, "postgresql": 5}),
    Run(
        backend="postgresql",
        roles=("ingest", "ingest", "tick", "tick"),
        kills={"ingest.1": 3, "ingest.2": 3, "tick.3": 3, "tick.4": 2, "broker": 1, "postgresql": 1},
    ),
    Run(backend="sqlite", roles=("serve",), kills={"serve.1": 5, "broker": 2}),
)


def collector_kills(progress: Progress) -> dict[str, float]:
    """Go through all runs; what is wrong in one is told."""
    outcomes = [_outcome(number, run, progress) for number, run in enumerate(RUNS)]
    return {
        "kills_events": sum(outcome.events for outcome in outcomes),
        "kills_lost": sum(outcome.lost for outcome in outcomes),
        "kills_doubled": sum(outcome.doubled for outcome in outcomes),
        "kills_tickets": sum(outcome.tickets for outcome in outcomes),
        "kills_false_tickets": sum(outcome.false_tickets for outcome in outcomes),
    }


def _outcome(number: int, run: Run, progress: Progress) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        outcome = torment(
            Path(folder),
            run.backend,
            run.roles,
            run.kills,
            terminals=TERMINALS,
            rng=Random(SEED + number),
            progress=progress,
        )
    for said in outcome.said:
        progress(0, 0, f"{run.backend}, {' + '.join(run.roles)}: {said}")
    return outcome


EXPERIMENTS = (
    Experiment(
        name="collector_kills",
        door="evidence",
        seed=SEED,
        run=collector_kills,
        figures=(
            Figure(
                name="kills_events",
                unit="events",
                aim=None,
                says=f"of {TERMINALS} terminals at 5 s, as the collector is killed 30 times, Mosquitto 10, PostgreSQL "
                "5; then two ingest, a tick and its standby in turn, and a collector on SQLite",
            ),
            Figure(name="kills_lost", unit="events", aim=0, says="of them not stored"),
            Figure(name="kills_doubled", unit="events", aim=0, says="of them stored more than once, or refused"),
            Figure(
                name="kills_tickets", unit="tickets", aim=None, says="opened meanwhile for faults that were injected"
            ),
            Figure(
                name="kills_false_tickets",
                unit="tickets",
                aim=0,
                says="opened or opened again without an injected fault behind them, or twice for one",
            ),
        ),
    ),
)
