"""Which rollouts, jobs and steps, and what a list shows of them.

How many came to what is counted from the outcomes that the last look wrote, so that a list, its totals and a bar that
moves cannot differ. A change violates this when what is shown of a job is judged anew where it is read.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, func, select

from tillwatch_collector.domain.rollout import BAD, ENDED, UPDATED
from tillwatch_collector.store import tables
from tillwatch_collector.store.rollout_views import WaveView
from tillwatch_collector.store.selection import being, containing, equal
from tillwatch_collector.store.tables import table_of

ROLLOUT = table_of(tables.RolloutRow)
JOB = table_of(tables.RolloutJobRow)
STEP = table_of(tables.RolloutJournalRow)

ROLLOUT_SORTS: dict[str, ColumnElement[Any]] = {
    "rollout_id": ROLLOUT.c.rollout_id,
    "created_at": ROLLOUT.c.created_at,
    "updated_at": ROLLOUT.c.updated_at,
    "state": ROLLOUT.c.state,
    "target": ROLLOUT.c.target,
}
JOB_SORTS: dict[str, ColumnElement[Any]] = {
    "job_id": JOB.c.job_id,
    "terminal_id": JOB.c.terminal_id,
    "store_id": JOB.c.store_id,
    "wave": JOB.c.wave,
    "outcome": JOB.c.outcome,
}
STEP_SORTS: dict[str, ColumnElement[Any]] = {"journal_id": STEP.c.journal_id}


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutFilter:
    """Which rollouts; what is None does not narrow."""

    rollout_id: str | None = None
    state: str | None = None
    open: bool | None = None
    """Neither halted nor completed nor aborted."""
    target: str | None = None
    product: str | None = None
    q: str | None = None
    """In name, target, query or reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Which jobs of a rollout; what is None does not narrow."""

    terminal_id: str | None = None
    store_id: str | None = None
    wave: int | None = None
    outcome: str | None = None
    state: str | None = None
    wait: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFilter:
    """Which steps of a rollout; what is None does not narrow."""

    action: str | None = None
    terminal_id: str | None = None
    of_jobs: bool | None = None
    """Of its jobs; or of the rollout itself."""


def rollouts_query(chosen: RolloutFilter) -> Select[Any]:
    """Build the query of a list of rollouts, each with how many of its terminals came to what."""
    counted = select(func.count()).select_from(JOB).where(JOB.c.rollout_id == ROLLOUT.c.rollout_id)
    counts = {
        "terminals": counted,
        "updated": counted.where(JOB.c.outcome.in_(sorted(UPDATED))),
        "bad": counted.where(JOB.c.outcome.in_(sorted(BAD))),
    }
    wanted: dict[ColumnElement[Any], object] = {
        ROLLOUT.c.rollout_id: chosen.rollout_id,
        ROLLOUT.c.state: chosen.state,
        ROLLOUT.c.target: chosen.target,
        ROLLOUT.c.product: chosen.product,
    }
    return select(
        *ROLLOUT.c, *(count.correlate(ROLLOUT).scalar_subquery().label(name) for name, count in counts.items())
    ).where(
        *equal(wanted),
        *being({ROLLOUT.c.state.not_in(sorted(ENDED)): chosen.open}),
        *containing(chosen.q, ROLLOUT.c.name, ROLLOUT.c.target, ROLLOUT.c.query, ROLLOUT.c.reason),
    )


def progress_query(rollout_id: str) -> Select[Any]:
    """Build the query of what came of a rollout's jobs: by wave, outcome and wait, how many."""
    by = (JOB.c.wave, JOB.c.outcome, JOB.c.wait)
    return select(*by, func.count().label("terminals")).where(JOB.c.rollout_id == rollout_id).group_by(*by)


def waves_of(counted: Iterable[RowMapping]) -> tuple[WaveView, ...]:
    """Return how far each wave is, from what `progress_query` found."""
    outcomes: dict[int, Counter[str]] = {}
    waits: dict[int, Counter[str]] = {}
    for row in counted:
        outcomes.setdefault(row["wave"], Counter())[row["outcome"]] += row["terminals"]
        if row["wait"] is not None:
            waits.setdefault(row["wave"], Counter())[row["wait"]] += row["terminals"]
    return tuple(
        WaveView(
            wave=wave,
            terminals=came.total(),
            outcomes=dict(sorted(came.items())),
            waits=dict(sorted(waits.get(wave, Counter()).items())),
        )
        for wave, came in sorted(outcomes.items())
    )


def jobs_query(rollout_id: str, chosen: JobFilter) -> Select[Any]:
    """Build the query of a list of jobs."""
    wanted: dict[ColumnElement[Any], object] = {
        JOB.c.terminal_id: chosen.terminal_id,
        JOB.c.store_id: chosen.store_id,
        JOB.c.wave: chosen.wave,
        JOB.c.outcome: chosen.outcome,
        JOB.c.state: chosen.state,
        JOB.c.wait: chosen.wait,
    }
    return select(JOB).where(JOB.c.rollout_id == rollout_id, *equal(wanted))


def steps_query(rollout_id: str, chosen: StepFilter) -> Select[Any]:
    """Build the query of a rollout's journal."""
    wanted: dict[ColumnElement[Any], object] = {
        STEP.c.action: chosen.action,
        STEP.c.terminal_id: chosen.terminal_id,
    }
    of_jobs = being({STEP.c.job_id.is_not(None): chosen.of_jobs})
    return select(STEP).where(STEP.c.rollout_id == rollout_id, *equal(wanted), *of_jobs)
