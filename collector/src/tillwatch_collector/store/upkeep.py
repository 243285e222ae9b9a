"""Deleting what is over, a slice at a time: a method deletes `ROWS_MAX` rows at most, and says how many.

What goes together goes at once: a ticket with all that was written on it, a stream with all that hangs on it; of these
a slice has few. Every search is led by an index, and the oldest go first. It is harmless when two processes do it at
once. A change violates this when a slice must look at all that is kept to find little.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, or_, select, tuple_
from sqlalchemy.schema import DropTable

from tillwatch_collector.domain.person import IDLE, SESSION
from tillwatch_collector.domain.retention import Cutoffs
from tillwatch_collector.store import tables
from tillwatch_collector.store.audit import Audit
from tillwatch_collector.store.history import DUE, SAMPLE_DAY, SERIES, day_table
from tillwatch_collector.store.people import People
from tillwatch_collector.store.rollups import DAY, HOUR, HOURS_OF_DAY
from tillwatch_collector.store.tables import table_of

ROWS_MAX = 5_000
"""Of a slice: some 50 ms, in which nobody else writes on SQLite."""

TICKETS_MAX = 200
"""Of a slice, each with its journal of some ten lines, and seldom a file."""

ENDED = ("closed", "cancelled", "merged")
"""What is not open: see `tables.OPEN_TICKET`."""

STREAMS_MAX = 200
"""Of a slice; their events go before them, in slices of their own."""

EVENT = table_of(tables.EventRow)
STREAM = table_of(tables.StreamRow)
GAP = table_of(tables.EventGapRow)
LEVEL = table_of(tables.LevelRow)
PRESENCE = table_of(tables.PresenceRow)
SIGHTING = table_of(tables.SightingRow)
QUARANTINE = table_of(tables.QuarantineRow)
TICKET = table_of(tables.TicketRow)
FAULT = table_of(tables.FaultRow)
JOURNAL = table_of(tables.JournalRow)
COMMENT = table_of(tables.CommentRow)
ATTACHMENT = table_of(tables.AttachmentRow)
OUTAGE = table_of(tables.OutageRow)
SAID = table_of(tables.SaidRow)
NOTIFICATION = table_of(tables.NotificationRow)
MAINTENANCE = table_of(tables.MaintenanceRow)
ROLLOUT = table_of(tables.RolloutRow)
ROLLOUT_JOB = table_of(tables.RolloutJobRow)
ROLLOUT_JOURNAL = table_of(tables.RolloutJournalRow)
COMMAND = table_of(tables.CommandRow)

_OF_TICKETS = (FAULT, JOURNAL, COMMENT, ATTACHMENT, OUTAGE, SAID, TICKET)
"""What goes with a ticket, and it last."""


class Disposal:
    """What may be deleted in one transaction."""

    def __init__(self, connection: Connection, over: Cutoffs) -> None:
        self._connection = connection
        self._over = over

    # --- history

    def samples(self) -> int:
        """Drop the table of the oldest day that is over and rolled up; counts as one row."""
        first = SAMPLE_DAY.c.day * HOURS_OF_DAY
        due = exists().where(DUE.c.span == "hour", DUE.c.number >= first, DUE.c.number < first + HOURS_OF_DAY)
        query = select(SAMPLE_DAY.c.day).where(SAMPLE_DAY.c.day < self._over.samples_day, ~due)
        day = self._connection.scalar(query.order_by(SAMPLE_DAY.c.day).limit(1).with_for_update())
        if day is None:
            return 0
        self._connection.execute(delete(SAMPLE_DAY).where(SAMPLE_DAY.c.day == day))
        self._drop(day_table(day))
        return 1

    def hours(self) -> int:
        """Delete hourly rollups of days that are rolled up."""
        oldest_due = select(func.min(DUE.c.number)).where(DUE.c.span == "day").scalar_subquery()
        before = func.coalesce(oldest_due * HOURS_OF_DAY, self._over.hourly_hour)
        return self._delete(HOUR, HOUR.c.hour < self._over.hourly_hour, HOUR.c.hour < before, order=HOUR.c.hour)

    def days(self) -> int:
        """Delete daily rollups."""
        return self._delete(DAY, DAY.c.day < self._over.daily_day, order=DAY.c.day)

    def series(self) -> int:
        """Forget series that have no rollup left."""
        return self._delete(SERIES, SERIES.c.last_day < self._over.series_day, order=SERIES.c.last_day)

    # --- facts

    def events(self) -> int:
        """Delete events that are below the committed prefix of their stream."""
        committed = exists().where(
            STREAM.c.terminal_id == EVENT.c.terminal_id,
            STREAM.c.stream_id == EVENT.c.stream_id,
            STREAM.c.prefix_seq >= EVENT.c.event_seq,
        )
        old = EVENT.c.received_at < self._over.events_at
        return self._delete(EVENT, old, committed, order=EVENT.c.received_at)

    def streams(self, kept: int) -> int:
        """Delete streams with all that hangs on them: not among their terminal's latest, not current, long unheard."""
        keys = [tuple(row) for row in self._connection.execute(self._old_streams(kept))]
        if not keys:
            return 0
        events = self._delete_of(EVENT, EVENT.c.event_seq, keys)
        if events == ROWS_MAX:
            return events
        for table in (GAP, LEVEL, PRESENCE, STREAM):
            key = tuple_(table.c.terminal_id, table.c.stream_id)
            events += self._connection.execute(delete(table).where(key.in_(keys))).rowcount
        return events

    def tickets(self) -> int:
        """Delete tickets that ended, each with all that was written on it, unless its fault or outage still stands."""
        failing = exists().where(FAULT.c.ticket_id == TICKET.c.ticket_id, FAULT.c.cleared_at.is_(None))
        out = exists().where(OUTAGE.c.ticket_id == TICKET.c.ticket_id, OUTAGE.c.ended_at.is_(None))
        ended = (TICKET.c.status.in_(ENDED), TICKET.c.updated_at < self._over.tickets_at, ~failing, ~out)
        query = select(TICKET.c.ticket_id).where(*ended).order_by(TICKET.c.updated_at).limit(TICKETS_MAX)
        ticket_ids = list(self._connection.scalars(query.with_for_update()))
        if not ticket_ids:
            return 0
        return sum(
            self._connection.execute(delete(table).where(table.c.ticket_id.in_(ticket_ids))).rowcount
            for table in _OF_TICKETS
        )

    def faults(self) -> int:
        """Delete faults that had no ticket."""
        cleared = (FAULT.c.ticket_id.is_(None), FAULT.c.cleared_at < self._over.tickets_at)
        return self._delete(FAULT, FAULT.c.raised_at < self._over.tickets_at, *cleared, order=FAULT.c.raised_at)

    def notifications(self) -> int:
        """Delete messages that were sent, or given up."""
        over = (NOTIFICATION.c.state != "due", NOTIFICATION.c.created_at < self._over.events_at)
        return self._delete(NOTIFICATION, *over, order=NOTIFICATION.c.created_at)

    def maintenance(self) -> int:
        """Delete spans that have ended, or were cancelled; people enter them, so that there are a few hundred."""
        ended = or_(MAINTENANCE.c.ends_at < self._over.tickets_at, MAINTENANCE.c.cancelled_at < self._over.tickets_at)
        return self._delete(MAINTENANCE, ended, order=MAINTENANCE.c.maintenance_id)

    def rollouts(self) -> int:
        """Delete the rollout that ended first, in slices: its journal, its jobs, itself."""
        ended = select(ROLLOUT.c.rollout_id).where(ROLLOUT.c.ended_at < self._over.tickets_at)
        oldest = self._connection.scalar(ended.order_by(ROLLOUT.c.ended_at).limit(1))
        if oldest is None:
            return 0
        for table, order in ((ROLLOUT_JOURNAL, ROLLOUT_JOURNAL.c.journal_id), (ROLLOUT_JOB, ROLLOUT_JOB.c.job_id)):
            if rows := self._delete(table, table.c.rollout_id == oldest, order=order):
                return rows
        return self._delete(ROLLOUT, ROLLOUT.c.rollout_id == oldest, order=ROLLOUT.c.rollout_id)

    def commands(self) -> int:
        """Delete what was asked of terminals."""
        return self._delete(COMMAND, COMMAND.c.asked_at < self._over.events_at, order=COMMAND.c.asked_at)

    def sessions(self, now: datetime) -> int:
        """Delete sessions, one-time links and counts of tries that are over."""
        return People(self._connection).forget_over(
            started_before=now - SESSION, seen_before=now - IDLE, now=now, rows_max=ROWS_MAX
        )

    def audit(self, now: datetime) -> int:
        """Cut the beginning of the audit log off, with a line that says so."""
        return Audit(self._connection).cut_before(self._over.events_at, now, rows_max=ROWS_MAX)

    def quarantine(self, rows_max: int) -> int:
        """Delete messages that are over, and the oldest beyond `rows_max`; numbers are given in order."""
        number = QUARANTINE.c.quarantine_id
        newest = self._connection.scalar(select(func.max(number))) or 0
        over = or_(QUARANTINE.c.received_at < self._over.quarantine_at, number <= newest - rows_max)
        return self._delete(QUARANTINE, over, order=number)

    # --- slices

    def _drop(self, table: Table) -> None:
        """Drop a table; on SQLite without writing zeros over it, as some builds do, in twenty times the time."""
        if self._connection.dialect.name != "sqlite":
            self._connection.execute(DropTable(table, if_exists=True))
            return
        before = self._connection.exec_driver_sql("PRAGMA secure_delete").scalar()
        self._connection.exec_driver_sql("PRAGMA secure_delete = OFF")
        self._connection.execute(DropTable(table, if_exists=True))
        self._connection.exec_driver_sql(f"PRAGMA secure_delete = {before}")

    def _delete(self, table: Table, *which: ColumnElement[bool], order: ColumnElement[Any]) -> int:
        keys = list(table.primary_key)
        some = select(*keys).where(*which).order_by(order).limit(ROWS_MAX)
        return self._connection.execute(delete(table).where(tuple_(*keys).in_(some))).rowcount

    def _delete_of(self, table: Table, order: ColumnElement[Any], keys: Sequence[tuple[str, str]]) -> int:
        return self._delete(table, tuple_(table.c.terminal_id, table.c.stream_id).in_(keys), order=order)

    def _old_streams(self, kept: int) -> Any:
        """Ask for streams that are over, under the lock of their terminals, which whoever ingests takes, too."""
        many = (
            select(STREAM.c.terminal_id, func.max(STREAM.c.stream_no).label("newest"))
            .where(STREAM.c.stream_no > kept)
            .group_by(STREAM.c.terminal_id)
            .subquery("many")
        )
        heard = [
            exists().where(
                table.c.terminal_id == STREAM.c.terminal_id,
                table.c.stream_id == STREAM.c.stream_id,
                table.c.received_at >= self._over.events_at,
            )
            for table in (LEVEL, PRESENCE, EVENT)
        ]
        return (
            select(STREAM.c.terminal_id, STREAM.c.stream_id)
            .join(many, many.c.terminal_id == STREAM.c.terminal_id)
            .join(SIGHTING, SIGHTING.c.terminal_id == STREAM.c.terminal_id)
            .where(
                STREAM.c.stream_no <= many.c.newest - kept,
                STREAM.c.first_heard_at < self._over.events_at,
                SIGHTING.c.stream_id.is_distinct_from(STREAM.c.stream_id),
                *(~some for some in heard),
            )
            .order_by(STREAM.c.terminal_id, STREAM.c.stream_id)
            .limit(STREAMS_MAX)
            .with_for_update(of=SIGHTING)
        )
