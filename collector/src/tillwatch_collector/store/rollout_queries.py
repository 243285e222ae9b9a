"""Which rollouts, jobs and steps, and what a list shows of them.

How many came to what is counted from the outcomes that the last look wrote, so that a list, its totals and a bar that
moves cannot differ. A change violates this when what is shown of a job is judged anew where it is read.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, exists, func, or_, select

from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.domain.rollout import BAD, ENDED, UPDATED, Outcome
from tillwatch_collector.store import tables, visibility
from tillwatch_collector.store.rollout_views import CauseView, WaveView
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

CAUSES_MAX = 50
"""Agents have some forty codes; what a terminal makes up must not fill a page."""


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
    reason: str | None = None
    """By the agent's code."""
    state: str | None = None
    wait: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFilter:
    """Which steps of a rollout; what is None does not narrow."""

    action: str | None = None
    terminal_id: str | None = None
    of_jobs: bool | None = None
    """Of its jobs; or of the rollout itself."""


def rollouts_seen(within: Within) -> visibility.Conditions:
    """Narrow rollouts to those in which a terminal that is seen has a part."""
    if within.everywhere:
        return ()
    return (exists().where(JOB.c.rollout_id == ROLLOUT.c.rollout_id, *visibility.in_store(within, JOB.c.store_id)),)


def rollouts_query(chosen: RolloutFilter, within: Within = EVERYWHERE) -> Select[Any]:
    """Build the query of a list of rollouts, each with how many of its terminals came to what."""
    seen = visibility.in_store(within, JOB.c.store_id)
    counted = select(func.count()).select_from(JOB).where(JOB.c.rollout_id == ROLLOUT.c.rollout_id, *seen)
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
        *rollouts_seen(within),
    )


def progress_query(rollout_id: str, within: Within = EVERYWHERE) -> Select[Any]:
    """Build the query of what came of a rollout's jobs: by wave, outcome and wait, how many."""
    by = (JOB.c.wave, JOB.c.outcome, JOB.c.wait)
    seen = visibility.in_store(within, JOB.c.store_id)
    return select(*by, func.count().label("terminals")).where(JOB.c.rollout_id == rollout_id, *seen).group_by(*by)


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


def causes(connection: Connection, rollout_id: str, within: Within = EVERYWHERE) -> tuple[CauseView, ...]:
    """Return why terminals of a rollout failed, refused, rolled back, fell silent or were spoiled, the most first."""
    by, count = (JOB.c.outcome, JOB.c.reason, JOB.c.state), func.count().label("terminals")
    query = (
        select(*by, count, func.min(JOB.c.terminal_id).label("first"))
        .where(JOB.c.rollout_id == rollout_id, JOB.c.outcome.in_(sorted({*BAD, Outcome.INFRASTRUCTURE})))
        .where(*visibility.in_store(within, JOB.c.store_id))
        .group_by(*by)
        .order_by(count.desc(), *by)
        .limit(CAUSES_MAX)
    )
    return tuple(CauseView.model_validate(dict(row)) for row in connection.execute(query).mappings())


def jobs_query(rollout_id: str, chosen: JobFilter, within: Within = EVERYWHERE) -> Select[Any]:
    """Build the query of a list of jobs."""
    wanted: dict[ColumnElement[Any], object] = {
        JOB.c.terminal_id: chosen.terminal_id,
        JOB.c.store_id: chosen.store_id,
        JOB.c.wave: chosen.wave,
        JOB.c.outcome: chosen.outcome,
        JOB.c.reason: chosen.reason,
        JOB.c.state: chosen.state,
        JOB.c.wait: chosen.wait,
    }
    seen = visibility.in_store(within, JOB.c.store_id)
    return select(JOB).where(JOB.c.rollout_id == rollout_id, *equal(wanted), *seen)


def steps_query(rollout_id: str, chosen: StepFilter, within: Within = EVERYWHERE) -> Select[Any]:
    """Build the query of a rollout's journal."""
    wanted: dict[ColumnElement[Any], object] = {
        STEP.c.action: chosen.action,
        STEP.c.terminal_id: chosen.terminal_id,
    }
    of_jobs = being({STEP.c.job_id.is_not(None): chosen.of_jobs})
    return select(STEP).where(
        STEP.c.rollout_id == rollout_id, *equal(wanted), *of_jobs, *_steps_seen(rollout_id, within)
    )


def _steps_seen(rollout_id: str, within: Within) -> visibility.Conditions:
    """Narrow steps to those of jobs that are seen, and those of a rollout that is."""
    if within.everywhere:
        return ()
    seen = select(JOB.c.job_id).where(JOB.c.rollout_id == rollout_id, *visibility.in_store(within, JOB.c.store_id))
    return (or_(STEP.c.job_id.in_(seen), and_(STEP.c.job_id.is_(None), exists(seen))),)
