"""What history takes in the database: hours of a fleet's heartbeats in virtual time, through ingest and upkeep.

Counted are the tables of samples, series and rollups with their indexes, after all hours have been rolled up, over the
heartbeats that made them. The fleet beats once a minute, as agents do by default; its measures wander as in `frames`.
"""

import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text
from tests.bench.figures import Experiment, Figure, Progress
from tests.bench.frames import FleetFrames, instant, is_troubled, unpacked
from tests.live.postgres import Postgres

from tillwatch_collector.domain.history import Recorder
from tillwatch_collector.domain.retention import Retention
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.flows.memory import Memory
from tillwatch_collector.flows.upkeep import Upkeep
from tillwatch_collector.store.session import Store

SEED = 20261121
TERMINALS = tuple(number for number in range(302) if not is_troubled(number))
HOURS = 4
INTERVAL_S = 60
BEGAN = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)

UPKEEP_STEPS_MAX = 10_000

FOR_EVER = Retention(
    samples_days=9_999,
    hourly_days=9_999,
    daily_days=9_999,
    events_days=9_999,
    tickets_days=9_999,
    quarantine_days=9_999,
    quarantine_rows_max=1,
    streams_kept=1,
)

_IS_HISTORY = "LIKE 'series' OR {0} LIKE 'sample%' OR {0} LIKE 'rollup%'"
_BYTES = {
    "sqlite": (
        "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name "
        + _IS_HISTORY.format("tbl_name")
        + ")"
    ),
    "postgresql": (
        "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE relname "
        + _IS_HISTORY.format("relname")
    ),
}


def history(progress: Progress) -> dict[str, float]:
    """Fill a database of each kind; the larger one counts."""
    kept = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Postgres(folder / "postgresql"))
        for url in (f"sqlite:///{folder / 'history.db'}", server.create("history")):
            store = Store.open(url)
            stack.callback(store.close)
            store.migrate()
            beats = _fill(store, progress)
            with store.reading() as connection:
                kept.append(connection.execute(text(_BYTES[connection.dialect.name])).scalar_one() / beats)
    return {"history_bytes_per_heartbeat": round(float(max(kept)), 1)}


def _fill(store: Store, progress: Progress) -> int:
    """Beat for hours, and let upkeep come to its end; how many heartbeats there were."""
    frames, memory, recorder = FleetFrames(SEED, INTERVAL_S), Memory("bench"), Recorder()
    beats = HOURS * 3600 // INTERVAL_S
    for beat in range(beats):
        now = BEGAN + timedelta(seconds=beat * INTERVAL_S)
        batch = [_delivery(frames.quiet(number, beat, instant(now)), now) for number in TERMINALS]
        with store.transaction() as repository:
            ingest(repository, batch, now, memory=memory, recorder=recorder)
        memory.committed()
        recorder.committed()
        progress(beat + 1, beats, "minutes of a fleet's history")
    _keep_up(store, BEGAN + timedelta(hours=HOURS + 1))
    return beats * len(TERMINALS)


def _keep_up(store: Store, now: datetime) -> None:
    upkeep = Upkeep(FOR_EVER)
    for _ in range(UPKEEP_STEPS_MAX):
        with store.transaction() as repository:
            if upkeep.step(repository, now, 0.0).chore is None:
                return
    raise AssertionError(f"upkeep found no end in {UPKEEP_STEPS_MAX} steps")


def _delivery(frame: bytes, now: datetime) -> Delivery:
    topic, payload = unpacked(frame)
    return Delivery(topic=topic, payload=payload, retained=False, received_at=now)


EXPERIMENTS = (
    Experiment(
        name="history",
        door="bench",
        seed=SEED,
        run=history,
        figures=(
            Figure(
                name="history_bytes_per_heartbeat",
                unit="B",
                aim=None,
                says="what a heartbeat with ten wandering measures leaves in the larger database, indexes included",
            ),
        ),
    ),
)
