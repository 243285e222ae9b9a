"""What befell one terminal: a timeline merged of all that is kept of it, and what stands beside its plots.

The timeline is told by the collector's clock, the latest first, and read in pages from a moment back: each source gives
its part of a page, so that a page costs the same however long the story is. What several sources have at one moment
keeps its order from page to page, and none of it is told twice or left out. The audit log's lines are for those who may
read it. A change violates this when a page shows something of another terminal, or what its reader may not see.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Select, select

from tillwatch_collector.domain.command import state_of
from tillwatch_collector.domain.rollout import Outcome
from tillwatch_collector.store import tables, visibility
from tillwatch_collector.store.audit import AUDIT
from tillwatch_collector.store.commands import COMMAND
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.rollout_tables import RolloutJobRow, RolloutRow
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.store.ticket_queries import TICKET
from tillwatch_protocol.event import EventKind

PAGE_MAX = 200
MARKS_MAX = 200
"""Of each kind beside a plot: more are a black bar."""
JOBS_MAX = 20

_event = table_of(tables.EventRow)
_fault = table_of(tables.FaultRow)
_journal = table_of(tables.JournalRow)
_job = table_of(RolloutJobRow)
_rollout = table_of(RolloutRow)

_TOLD_ELSEWHERE = (EventKind.COMMAND_DONE, EventKind.COMMAND_REFUSED, EventKind.JOB)
"""Events that the commands' and the jobs' own lines tell."""
_COMMANDS_ACTION = "command"
"""Lines of the audit log that the commands' own lines tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the timeline; `kind` says which of the others it has."""

    at: datetime
    kind: str
    key: str
    """Orders what happened at one moment."""
    what: str
    """A code: of the event, the condition, the action, the command, the outcome."""
    component: str | None = None
    actor: str | None = None
    detail: str | None = None
    subject: str | None = None
    """The ticket, the rollout or the command."""
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """From where back: entries at or before `at`, without the first `skip` of those at that very moment."""

    at: datetime
    skip: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelinePage:
    """A page, and where the next one begins; None: this was the last."""

    entries: tuple[Entry, ...]
    following: Cursor | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultMark:
    """A fault beside a plot."""

    component: str
    code: str
    raised_at: datetime
    cleared_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLine:
    """A release that a terminal was offered."""

    job_id: str
    rollout_id: str
    target: str
    version: str
    product: str
    offered_at: datetime | None
    go_at: datetime | None
    ended_at: datetime | None
    state: str | None
    reason: str | None
    outcome: str


class TerminalStory(Queries):
    """The story of terminals over one transaction; ask only for one that the reader sees."""

    def timeline(self, terminal_id: str, cursor: Cursor, count: int, *, audited: bool) -> TimelinePage:
        """Return a page of the timeline."""
        wanted = min(count, PAGE_MAX)
        sources = [*self._sources(terminal_id), *([self._audit(terminal_id)] if audited else [])]
        found = [self._part(source, cursor.at, wanted + cursor.skip + 1) for source in sources]
        merged = heapq.merge(*found, key=_later)
        rest = tuple(islice(_skipped(merged, cursor), wanted + 1))
        entries = rest[:wanted]
        return TimelinePage(entries=entries, following=_following(entries, cursor) if len(rest) > wanted else None)

    def faults(self, terminal_id: str, from_at: datetime, to_at: datetime) -> tuple[FaultMark, ...]:
        """Return faults that stood in a span, the latest first."""
        ends = _fault.c.cleared_at.is_(None) | (_fault.c.cleared_at >= from_at)
        columns = (_fault.c[name] for name in FaultMark.__slots__)
        query = select(*columns).where(_fault.c.terminal_id == terminal_id, _fault.c.raised_at < to_at, ends)
        rows = self._rows(query.order_by(_fault.c.raised_at.desc()).limit(MARKS_MAX))
        return tuple(FaultMark(**row) for row in rows)

    def restarts(self, terminal_id: str, from_at: datetime, to_at: datetime) -> tuple[datetime, ...]:
        """Return when its agent started, in a span, the latest first."""
        query = select(_event.c.received_at).where(
            _event.c.terminal_id == terminal_id,
            _event.c.kind == EventKind.STARTED,
            _event.c.received_at >= from_at,
            _event.c.received_at < to_at,
        )
        return tuple(self.connection.scalars(query.order_by(_event.c.received_at.desc()).limit(MARKS_MAX)))

    def upgrades(self, terminal_id: str) -> tuple[JobLine, ...]:
        """Return the jobs of a terminal that were offered, the latest first."""
        query = _jobs_query(terminal_id).where(_job.c.offered_at.is_not(None))
        rows = self._rows(query.order_by(_job.c.offered_at.desc(), _job.c.job_id).limit(JOBS_MAX))
        return tuple(JobLine(**row) for row in rows)

    # --- the timeline's sources

    def _sources(self, terminal_id: str) -> "Iterator[_Source]":
        mine = _fault.c.terminal_id == terminal_id
        faults = select(_fault)
        yield _Source(_fault.c.raised_at, (_fault.c.fault_id,), faults.where(mine), _raised)
        cleared = faults.where(mine, _fault.c.cleared_at.is_not(None))
        yield _Source(_fault.c.cleared_at, (_fault.c.fault_id,), cleared, _cleared)
        told = select(_event).where(_event.c.terminal_id == terminal_id, _event.c.kind.not_in(_TOLD_ELSEWHERE))
        yield _Source(_event.c.received_at, (_event.c.stream_id, _event.c.event_seq), told, _of_event)
        yield _Source(_journal.c.at, (_journal.c.journal_id,), self._journal_query(terminal_id), _of_journal)
        commands = select(COMMAND).where(COMMAND.c.terminal_id == terminal_id)
        yield _Source(COMMAND.c.asked_at, (COMMAND.c.command_id,), commands, _asked)
        answered = commands.where(COMMAND.c.answered_at.is_not(None))
        yield _Source(COMMAND.c.answered_at, (COMMAND.c.command_id,), answered, _answered)
        jobs = _jobs_query(terminal_id)
        for column, tell in ((_job.c.offered_at, _offered), (_job.c.go_at, _went), (_job.c.ended_at, _ended)):
            yield _Source(column, (_job.c.job_id,), jobs.where(column.is_not(None)), tell)

    def _journal_query(self, terminal_id: str) -> Select[Any]:
        seen = visibility.placed(self.within, TICKET.c.store_id, TICKET.c.merchant_id)
        columns = (*_journal.c, TICKET.c.code, TICKET.c.component)
        joined = _journal.join(TICKET, TICKET.c.ticket_id == _journal.c.ticket_id)
        about = (TICKET.c.subject_kind == "terminal", TICKET.c.subject_id == terminal_id)
        return select(*columns).select_from(joined).where(*about, *seen)

    def _audit(self, terminal_id: str) -> "_Source":
        lines = select(AUDIT).where(AUDIT.c.subject == f"terminal:{terminal_id}", AUDIT.c.action != _COMMANDS_ACTION)
        return _Source(AUDIT.c.at, (AUDIT.c.audit_no,), lines, _of_audit)

    def _part(self, source: "_Source", until: datetime, count: int) -> list[Entry]:
        """Return a source's entries at or before a moment, the latest first."""
        query = source.query.where(source.at <= until).order_by(source.at.desc(), *source.key).limit(count)
        return sorted(map(source.tell, self._rows(query)), key=_later)


@dataclass(frozen=True, slots=True)
class _Source:
    """A table's part of the timeline: its time, what orders one moment, its rows, and how they are told."""

    at: Column[Any]
    key: tuple[Column[Any], ...]
    query: Select[Any]
    tell: Callable[[Any], Entry]


def _later(entry: Entry) -> tuple[float, str, str]:
    """Order the latest first, and what happened at one moment always alike."""
    return -entry.at.timestamp(), entry.kind, entry.key


def _skipped(entries: Iterable[Entry], cursor: Cursor) -> Iterator[Entry]:
    for number, entry in enumerate(entries):
        if number >= cursor.skip or entry.at != cursor.at:
            yield entry


def _following(entries: Sequence[Entry], cursor: Cursor) -> Cursor:
    """Begin after the last entry: what it has beside it at its moment is counted, that of this page's start, too."""
    last = entries[-1].at
    beside = sum(entry.at == last for entry in entries)
    return Cursor(at=last, skip=beside + (cursor.skip if last == cursor.at else 0))


def _jobs_query(terminal_id: str) -> Select[Any]:
    own = [_job.c[name] for name in JobLine.__slots__ if name in _job.c]
    of_rollout = (_rollout.c.target, _rollout.c.version, _rollout.c.product)
    joined = _job.join(_rollout, _rollout.c.rollout_id == _job.c.rollout_id)
    return select(*own, *of_rollout).select_from(joined).where(_job.c.terminal_id == terminal_id)


def _raised(row: Mapping[str, Any]) -> Entry:
    return _of_fault(row, "fault_raised", row["raised_at"])


def _cleared(row: Mapping[str, Any]) -> Entry:
    return _of_fault(row, "fault_cleared", row["cleared_at"])


def _of_fault(row: Mapping[str, Any], kind: str, at: datetime) -> Entry:
    ticket_id = row["ticket_id"]
    return Entry(
        at=at,
        kind=kind,
        key=f"{row['fault_id']:020}",
        what=row["code"],
        component=row["component"],
        subject=None if ticket_id is None else str(ticket_id),
        more={"severity": row["severity"]},
    )


def _of_event(row: Mapping[str, Any]) -> Entry:
    return Entry(
        at=row["received_at"],
        kind="event",
        key=f"{row['stream_id']}{row['event_seq']:020}",
        what=row["kind"],
        component=row["component"],
        detail=row["detail"],
        more={"code": row["code"], "happened_at": row["happened_at"]},
    )


def _of_journal(row: Mapping[str, Any]) -> Entry:
    return Entry(
        at=row["at"],
        kind="ticket",
        key=f"{row['journal_id']:020}",
        what=row["action"],
        component=row["component"],
        actor=row["actor"],
        detail=row["reason"],
        subject=str(row["ticket_id"]),
        more={"code": row["code"], "to_status": row["to_status"]},
    )


def _asked(row: Mapping[str, Any]) -> Entry:
    return _of_command(row, "command", row["asked_at"], actor=row["asked_by"])


def _answered(row: Mapping[str, Any]) -> Entry:
    state = state_of(row["outcome"], row["sent_at"])
    return _of_command(row, "answer", row["answered_at"], more={"state": state, "reason": row["detail"]})


def _of_command(row: Mapping[str, Any], kind: str, at: datetime, **more: Any) -> Entry:
    return Entry(at=at, kind=kind, key=row["command_id"], what=row["kind"], subject=row["command_id"], **more)


def _offered(row: Mapping[str, Any]) -> Entry:
    return _of_job(row, "job_offered", row["offered_at"])


def _went(row: Mapping[str, Any]) -> Entry:
    return _of_job(row, "job_went", row["go_at"])


def _ended(row: Mapping[str, Any]) -> Entry:
    return _of_job(row, "job_ended", row["ended_at"], reason=row["reason"])


def _of_job(row: Mapping[str, Any], kind: str, at: datetime, reason: str | None = None) -> Entry:
    return Entry(
        at=at,
        kind=kind,
        key=row["job_id"],
        what=row["outcome"] if kind == "job_ended" else Outcome.WAITING,
        component=f"application:{row['product']}",
        subject=row["rollout_id"],
        more={"version": row["version"], "reason": reason},
    )


def _of_audit(row: Mapping[str, Any]) -> Entry:
    return Entry(at=row["at"], kind="audit", key=f"{row['audit_no']:020}", what=row["action"], actor=row["actor"])
