"""Rollouts, their jobs, and their journal.

People and judge's tick both write a rollout: who reads one here to change it holds its row until the transaction ends,
several in the order of their ids. Its jobs are written under that hold. That no terminal has two active jobs, over all
rollouts, the unique index says, whatever else goes wrong. A change violates this when a job is written while another
transaction holds its rollout.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, func, insert, or_, select, text, update

from tillwatch_collector.domain.rollout import ENDED, Grant, Job, Rollout, RolloutState, WithdrawReason
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import chunked, update_each
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.job import JobState

ROLLOUT = table_of(tables.RolloutRow)
JOB = table_of(tables.RolloutJobRow)
JOURNAL = table_of(tables.RolloutJournalRow)

_DRIVEN = (RolloutState.RUNNING, RolloutState.PAUSED)
_UNSETTLED = text("NOT settled")
"""Word for word as the index has it."""


class RolloutUnknown(CallerError):  # noqa: N818 - it names what is so
    """No such rollout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRollout:
    """A rollout as it is drafted."""

    rollout_id: str
    name: str
    target: str
    product: str
    version: str
    digest: str
    query: str
    reason: str
    taken_at: datetime
    settings: str
    left_out: Sequence[tuple[str, str]]
    """Terminal and reason."""
    author: str
    waves: int
    cloned_from: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptRollout:
    """A rollout, as far as it is driven."""

    rollout: Rollout
    name: str
    target: str
    product: str
    version: str
    digest: str
    query: str
    reason: str
    settings: str
    """JSON, not checked."""
    verdict: dict[str, Any] | None = None
    """The gate's last word."""
    restored_at: datetime | None = None
    cloned_from: str | None = None
    ticket_id: int | None = None
    ended_at: datetime | None = None

    @property
    def rollout_id(self) -> str:
        """Its id."""
        return self.rollout.rollout_id

    @property
    def component(self) -> str:
        """The component by which terminals tell what runs of its product."""
        return f"application:{self.product}"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptJob:
    """A job, the facts that it was planned by, and what the last look made of it."""

    job: Job
    rollout_id: str
    store_id: str
    model: str
    region: str
    activation_before: str | None = None
    outcome: str = "waiting"
    wait: str | None = None
    active: bool = False
    settled: bool = False


class Claim(NamedTuple):
    """A job that is not settled and was offered, or has its `go`."""

    terminal_id: str
    rollout_id: str
    granted: str
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a rollout's journal."""

    rollout_id: str
    at: datetime
    actor: str
    action: str
    reason: str
    from_state: str | None = None
    to_state: str | None = None
    job_id: str | None = None
    terminal_id: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


_OF_JOB = tuple(one.name for one in fields(Job) if one.name not in {"grant", "unheard_s"})
"""Columns that bear the name of the job's own word; `unheard_s` is of the moment."""
_BESIDE = tuple(one.name for one in fields(KeptJob) if one.name != "job")
_OF_ROLLOUT = tuple(one.name for one in fields(Rollout))
_AROUND = tuple(one.name for one in fields(KeptRollout) if one.name != "rollout")
_WRITTEN = (
    "state",
    "wave",
    "wave_opened_at",
    "looks_done",
    "answered",
    "verdict",
    "restored_at",
    "ticket_id",
    "ended_at",
)

_ROLLOUTS = select(*(ROLLOUT.c[name] for name in (*_OF_ROLLOUT, *_AROUND))).order_by(ROLLOUT.c.rollout_id)
_UNSETTLED_OF_IT = select(JOB.c.rollout_id).where(_UNSETTLED, JOB.c.rollout_id == ROLLOUT.c.rollout_id).exists()
_TO_DRIVE = _ROLLOUTS.where(
    or_(
        *(ROLLOUT.c.state == str(state) for state in _DRIVEN),
        or_(*(ROLLOUT.c.state == str(state) for state in sorted(ENDED))) & _UNSETTLED_OF_IT,
    )
).with_for_update(of=ROLLOUT)
"""Asked with every tick, as is the next: made once. (A list after IN would be written anew each time.)"""
_COUNT = select(func.count()).select_from(ROLLOUT)
_JOBS = select(*(JOB.c[name] for name in ("granted", *_OF_JOB, *_BESIDE))).order_by(JOB.c.job_id)


class Rollouts:
    """The rollouts of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- rollouts

    def add(self, new: NewRollout, jobs: Sequence[KeptJob], now: datetime) -> None:
        """Keep a draft with its jobs."""
        values = {name: getattr(new, name) for name in NewRollout.__dataclass_fields__}
        values |= {"left_out": [list(pair) for pair in new.left_out], "state": str(RolloutState.DRAFT)}
        values |= {"wave": 0, "looks_done": 0, "answered": [], "created_at": now, "updated_at": now}
        self._connection.execute(insert(ROLLOUT).values(values))
        rows = [_row(kept) for kept in jobs]
        for some in chunked(rows, len(JOB.c)):
            self._connection.execute(insert(JOB), list(some))

    def get(self, rollout_id: str) -> KeptRollout:
        """Return a rollout, held; raises `RolloutUnknown`."""
        found = self._found(_ROLLOUTS.where(ROLLOUT.c.rollout_id == rollout_id))
        if not found:
            raise RolloutUnknown(f"there is no rollout {rollout_id}")
        return found[0]

    def driven(self) -> list[KeptRollout]:
        """Return those that run or are paused, and ended ones with jobs that are not settled, all held."""
        return self._held(_TO_DRIVE)

    def open_ones(self) -> list[KeptRollout]:
        """Return those that have not ended, held."""
        return self._found(_ROLLOUTS.where(ROLLOUT.c.state.not_in(tuple(map(str, ENDED)))))

    def count_open(self) -> int:
        """Count those that have not ended."""
        ended = ROLLOUT.c.state.in_(tuple(map(str, ENDED)))
        return self._connection.scalar(select(func.count()).select_from(ROLLOUT).where(~ended)) or 0

    def count(self) -> int:
        """Count all that were ever drafted, and are kept."""
        return self._connection.scalar(_COUNT) or 0

    def save(self, kept: KeptRollout, now: datetime) -> None:
        """Write where a rollout stands."""
        rollout = kept.rollout
        values = {name: getattr(rollout if name in _OF_ROLLOUT else kept, name) for name in _WRITTEN}
        values |= {"state": str(rollout.state), "answered": sorted(rollout.answered), "updated_at": now}
        self._connection.execute(update(ROLLOUT).where(ROLLOUT.c.rollout_id == kept.rollout_id).values(values))

    # --- jobs

    def jobs(self, rollout_id: str, wave_max: int | None = None) -> list[KeptJob]:
        """Return a rollout's jobs, those of waves up to `wave_max`, by id."""
        chosen = _JOBS.where(JOB.c.rollout_id == rollout_id)
        return self._jobs(chosen if wave_max is None else chosen.where(JOB.c.wave <= wave_max))

    def unsettled(self, rollout_id: str) -> list[KeptJob]:
        """Return those of a rollout's jobs that are not settled, by id."""
        return self._jobs(_JOBS.where(JOB.c.rollout_id == rollout_id, _UNSETTLED))

    def save_jobs(self, jobs: Iterable[KeptJob]) -> None:
        """Write jobs as they are; those that are active no more come first, so that their terminals are free."""
        rows = [_row(kept) for kept in sorted(jobs, key=lambda kept: (kept.active, kept.job.job_id))]
        update_each(self._connection, JOB, ("job_id",), rows)

    def claims(self) -> list[Claim]:
        """Return which terminals have a job that was offered, or has its `go`, and is not settled."""
        granted = JOB.c.granted.in_((Grant.OFFERED, Grant.GO))
        query = select(*(JOB.c[name] for name in Claim._fields)).where(_UNSETTLED, granted)
        return [Claim(*row) for row in self._connection.execute(query)]

    # --- the journal

    def write_journal(self, lines: Sequence[Line]) -> None:
        """Add lines to the journal."""
        if lines:
            rows = [{name: getattr(line, name) for name in Line.__dataclass_fields__} for line in lines]
            self._connection.execute(insert(JOURNAL), rows)

    def journal(self, rollout_id: str) -> list[Line]:
        """Return a rollout's journal in its order."""
        query = select(*(JOURNAL.c[name] for name in Line.__dataclass_fields__))
        lines = query.where(JOURNAL.c.rollout_id == rollout_id).order_by(JOURNAL.c.journal_id)
        return [Line(**line) for line in self._connection.execute(lines).mappings()]

    def _found(self, query: Select[Any]) -> list[KeptRollout]:
        return self._held(query.with_for_update(of=ROLLOUT))

    def _held(self, query: Select[Any]) -> list[KeptRollout]:
        return [_rollout(row) for row in self._connection.execute(query)]

    def _jobs(self, query: Select[Any]) -> list[KeptJob]:
        return [_job(row) for row in self._connection.execute(query)]


def _rollout(row: Row[Any]) -> KeptRollout:
    said = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    of_rollout = {name: said[name] for name in _OF_ROLLOUT}
    of_rollout |= {"state": RolloutState(said["state"]), "answered": frozenset(said["answered"])}
    return KeptRollout(rollout=Rollout(**of_rollout), **{name: said[name] for name in _AROUND})


def _job(row: Row[Any]) -> KeptJob:
    granted: str = row[0]
    rest: tuple[Any, ...] = tuple(row[1:])
    of_job = dict(zip(_OF_JOB, rest, strict=False))
    state, withdrawn_for = of_job["state"], of_job["withdrawn_for"]
    of_job["state"] = None if state is None else JobState(state)
    of_job["withdrawn_for"] = None if withdrawn_for is None else WithdrawReason(withdrawn_for)
    beside = dict(zip(_BESIDE, rest[len(_OF_JOB) :], strict=True))
    return KeptJob(job=Job(grant=Grant(granted), **of_job), **beside)


def _row(kept: KeptJob) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(kept.job, name) for name in _OF_JOB}
    row |= {name: getattr(kept, name) for name in _BESIDE}
    return row | {"granted": str(kept.job.grant)}
