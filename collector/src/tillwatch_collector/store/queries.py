"""What the API and the console read. Every list is a page with a limit and the total; every sort ends in the key.

Whoever asks sees what stands `within` their merchants and stores, in lists, totals and counts alike; what they do not
see is not found. Nothing here writes, and nothing here decides.
A change violates this when a statement is carried out without the conditions of `visibility` for what it shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    RowMapping,
    Select,
    Table,
    Text,
    and_,
    cast,
    func,
    not_,
    select,
)

from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.domain.rollout import RolloutState
from tillwatch_collector.domain.rollout import actions_of as rollout_actions
from tillwatch_collector.domain.ticket import Status, actions_of
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store import tables, views, visibility
from tillwatch_collector.store.maintenance import (
    MAINTENANCE,
    MAINTENANCE_SORTS,
    MaintenanceFilter,
    maintenances_query,
    mutes_until,
)
from tillwatch_collector.store.notification_queries import (
    NOTIFICATION_SORTS,
    NotificationFilter,
    items_query,
    notifications_query,
)
from tillwatch_collector.store.outage_queries import (
    CHILD_SORTS,
    OUTAGE,
    OUTAGE_SORTS,
    OutageFilter,
    children_query,
    outages_query,
)
from tillwatch_collector.store.rollout_queries import (
    JOB_SORTS,
    ROLLOUT,
    ROLLOUT_SORTS,
    STEP_SORTS,
    JobFilter,
    RolloutFilter,
    StepFilter,
    jobs_query,
    progress_query,
    rollouts_query,
    rollouts_seen,
    steps_query,
    waves_of,
)
from tillwatch_collector.store.rollout_views import (
    JobView,
    LeftOutView,
    RolloutDetail,
    RolloutJournalView,
    RolloutView,
)
from tillwatch_collector.store.selection import being, containing, equal
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.store.ticket_queries import (
    IS_OPEN,
    IS_RESOLVED,
    TICKET,
    TICKET_SORTS,
    TicketFilter,
    counts_query,
    tickets_query,
)
from tillwatch_collector.store.views import Page, View

PAGE_ROWS_MAX = 500
"""A screen is 50; a script that wants all asks in turn."""

_merchant = table_of(tables.MerchantRow)
_store = table_of(tables.StoreRow)
_terminal = table_of(tables.TerminalRow)
_stream = table_of(tables.StreamRow)
_event = table_of(tables.EventRow)
_gap = table_of(tables.EventGapRow)
_level = table_of(tables.LevelRow)
_sighting = table_of(tables.SightingRow)
_quarantine = table_of(tables.QuarantineRow)
_standing = table_of(tables.StandingRow)
_condition = table_of(tables.ConditionRow)
_journal = table_of(tables.JournalRow)
_comment = table_of(tables.CommentRow)
_attachment = table_of(tables.AttachmentRow)

_presence = func.coalesce(_standing.c.presence, "unknown")

ProvedT = TypeVar("ProvedT", views.JournalView, views.OutageView)
ViewT = TypeVar("ViewT", bound=View)


class SortUnknown(CallerError):  # noqa: N818 - it names what is so
    """A list cannot be sorted by that."""

    def __init__(self, sort: str, known: Sequence[str]) -> None:
        super().__init__(f"sort: expected one of {', '.join(known)}, or the same after a minus, got {sort!r}")
        self.sort = sort
        self.known = tuple(known)


@dataclass(frozen=True, kw_only=True, slots=True)
class Paging:
    """Which part of a list, in which order."""

    limit: int = 50
    offset: int = 0
    sort: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TerminalFilter:
    """Which terminals; what is None does not narrow."""

    terminal_id: str | None = None
    store_id: str | None = None
    merchant_id: str | None = None
    region: str | None = None
    presence: str | None = None
    life_cycle: str | None = None
    assigned: bool | None = None
    q: str | None = None


class Queries:
    """Read models over one transaction, as one person or program sees them."""

    def __init__(self, connection: Connection, within: Within = EVERYWHERE) -> None:
        self.within = within
        self.connection = connection

    def merchants(self, paging: Paging, *, q: str | None = None) -> Page[views.MerchantView]:
        """List merchants."""
        seen = visibility.of_merchant(self.within, _merchant.c.merchant_id)
        query = select(_merchant).where(*containing(q, _merchant.c.merchant_id, _merchant.c.name), *seen)
        return self._page(views.MerchantView, query, paging, _MERCHANT_SORTS)

    def stores(
        self, paging: Paging, *, merchant_id: str | None = None, region: str | None = None, q: str | None = None
    ) -> Page[views.StoreView]:
        """List stores."""
        query = select(_store).where(
            *equal({_store.c.merchant_id: merchant_id, _store.c.region: region}),
            *containing(q, _store.c.store_id, _store.c.name, _store.c.address),
            *self._stores_seen,
        )
        return self._page(views.StoreView, query, paging, _STORE_SORTS)

    def terminals(self, chosen: TerminalFilter, paging: Paging) -> Page[views.TerminalView]:
        """List terminals."""
        query = _terminals_query(chosen).where(*self._terminals_seen)
        return self._page(views.TerminalView, query, paging, _TERMINAL_SORTS)

    def sees_merchant(self, merchant_id: str) -> bool:
        """Whether there is such a merchant, for who asks."""
        seen = visibility.of_merchant(self.within, _merchant.c.merchant_id)
        return self._is(_merchant, _merchant.c.merchant_id == merchant_id, *seen)

    def sees_store(self, store_id: str) -> bool:
        """Whether there is such a store, for who asks."""
        return self._is(_store, _store.c.store_id == store_id, *self._stores_seen)

    def sees_terminal(self, terminal_id: str) -> bool:
        """Whether there is such a terminal, for who asks."""
        seen = visibility.of_terminal(self.within, _terminal.c.terminal_id)
        return self._is(_terminal, _terminal.c.terminal_id == terminal_id, *seen)

    def terminal(self, terminal_id: str) -> views.TerminalDetail | None:
        """Tell all of one terminal."""
        found = self._rows(_terminals_query(TerminalFilter(terminal_id=terminal_id)).where(*self._terminals_seen))
        if not found:
            return None
        mine = TicketFilter(subject_kind="terminal", subject_id=terminal_id, open=True)
        return views.TerminalDetail(
            **found[0],
            level=self._current_level(terminal_id),
            conditions=self._conditions(terminal_id),
            streams=self._streams(terminal_id),
            tickets=self.tickets(mine, Paging(limit=PAGE_ROWS_MAX)).items,
        )

    def tickets(self, chosen: TicketFilter, paging: Paging) -> Page[views.TicketView]:
        """List tickets."""
        return self._page(views.TicketView, self._tickets_query(chosen), paging, TICKET_SORTS)

    def tickets_after(self, chosen: TicketFilter, count: int) -> tuple[views.TicketView, ...]:
        """Return the first of the chosen tickets by number: a part of an export."""
        query = self._tickets_query(chosen).order_by(TICKET.c.ticket_id).limit(count)
        return tuple(views.TicketView.model_validate(row) for row in self._rows(query))

    def count_tickets(self, chosen: TicketFilter) -> int:
        """Count the chosen tickets."""
        return self._count(select(func.count()).select_from(self._tickets_query(chosen).subquery()))

    def has_ticket(self, ticket_id: int) -> bool:
        """Whether there is such a ticket, for who asks."""
        return self._is(TICKET, TICKET.c.ticket_id == ticket_id, *self._tickets_seen)

    def ticket(self, ticket_id: int, now: datetime | None = None) -> views.TicketDetail | None:
        """Show one ticket and what hangs on it; with `now`, how its clocks stand."""
        found = self._rows(self._tickets_query(TicketFilter(ticket_id=ticket_id, now=now)))
        if not found:
            return None
        (counts,) = self._rows(counts_query(ticket_id))
        return views.TicketDetail(**found[0], **counts, actions=actions_of(Status(found[0]["status"])))

    def journal(self, ticket_id: int, paging: Paging) -> Page[views.JournalView]:
        """List what happened to a ticket, the first first."""
        query = select(_journal).where(_journal.c.ticket_id == ticket_id, *self._of_ticket(_journal))
        return self._proved(self._page(views.JournalView, query, paging, _JOURNAL_SORTS))

    def comments(self, ticket_id: int, paging: Paging, *, internal: bool | None = None) -> Page[views.CommentView]:
        """List what people said on a ticket, the first first."""
        is_internal = being({_comment.c.internal: internal})
        query = select(_comment).where(_comment.c.ticket_id == ticket_id, *is_internal, *self._of_ticket(_comment))
        return self._page(views.CommentView, query, paging, _COMMENT_SORTS)

    def attachments(self, ticket_id: int, paging: Paging) -> Page[views.AttachmentView]:
        """List the files of a ticket, without their content."""
        shown = (column for column in _attachment.c if column is not _attachment.c.content)
        query = select(*shown).where(_attachment.c.ticket_id == ticket_id, *self._of_ticket(_attachment))
        return self._page(views.AttachmentView, query, paging, _ATTACHMENT_SORTS)

    def maintenances(self, chosen: MaintenanceFilter, paging: Paging) -> Page[views.MaintenanceView]:
        """List spans in which notification is muted, with how they stand at the filter's `now`."""
        seen = visibility.of_place(self.within, MAINTENANCE.c.scope_kind, MAINTENANCE.c.scope_id)
        query = maintenances_query(self.connection, chosen).where(*seen)
        page = self._page(views.MaintenanceView, query, paging, MAINTENANCE_SORTS)
        shown = (one.model_copy(update={"mutes_until": mutes_until(one, chosen.now)}) for one in page.items)
        return page.model_copy(update={"items": tuple(shown)})

    def maintenance(self, maintenance_id: int, now: datetime) -> views.MaintenanceView | None:
        """Show one span."""
        found = self.maintenances(MaintenanceFilter(now=now, maintenance_id=maintenance_id), Paging(limit=1))
        return next(iter(found.items), None)

    def events(self, terminal_id: str, paging: Paging, *, code: str | None = None) -> Page[views.EventView]:
        """List a terminal's events, the latest first."""
        seen = visibility.of_terminal(self.within, _event.c.terminal_id)
        query = select(_event).where(_event.c.terminal_id == terminal_id, *equal({_event.c.code: code}), *seen)
        return self._page(views.EventView, query, paging, _EVENT_SORTS)

    def quarantine(self, paging: Paging, *, terminal_id: str | None = None) -> Page[views.QuarantineView]:
        """List messages that could not be used, the latest first."""
        seen = visibility.of_terminal(self.within, _quarantine.c.terminal_id)
        query = select(_quarantine).where(*equal({_quarantine.c.terminal_id: terminal_id}), *seen)
        return self._page(views.QuarantineView, query, paging, _QUARANTINE_SORTS)

    def notifications(self, chosen: NotificationFilter, paging: Paging) -> Page[views.NotificationView]:
        """List messages to routes."""
        query = notifications_query(chosen).where(*visibility.nowhere(self.within))
        return self._page(views.NotificationView, query, paging, NOTIFICATION_SORTS)

    def notification(self, notification_id: int) -> views.NotificationDetail | None:
        """Find one message, and all that it tells."""
        query = notifications_query(NotificationFilter(notification_id=notification_id))
        found = self._rows(query.where(*visibility.nowhere(self.within)))
        if not found:
            return None
        items = self.connection.execute(items_query(notification_id)).scalar_one()
        return views.NotificationDetail(**found[0], items=items)

    def outages(self, chosen: OutageFilter, paging: Paging) -> Page[views.OutageView]:
        """List outages."""
        query = outages_query(chosen).where(*self._outages_seen)
        return self._proved(self._page(views.OutageView, query, paging, OUTAGE_SORTS))

    def outage(self, outage_id: int) -> views.OutageView | None:
        """Find one outage."""
        found = self.outages(OutageFilter(outage_id=outage_id), Paging(limit=1)).items
        return found[0] if found else None

    def outage_children(self, outage_id: int, paging: Paging) -> Page[views.OutageChildView]:
        """List the terminals that an outage has hit."""
        query = children_query(outage_id).where(*visibility.in_store(self.within, _terminal.c.store_id))
        return self._page(views.OutageChildView, query, paging, CHILD_SORTS)

    def rollouts(self, chosen: RolloutFilter, paging: Paging) -> Page[RolloutView]:
        """List rollouts."""
        return self._page(RolloutView, rollouts_query(chosen, self.within), paging, ROLLOUT_SORTS)

    def rollout(self, rollout_id: str) -> RolloutDetail | None:
        """Show one rollout, its plan, and how far its waves are."""
        found = self._rows(rollouts_query(RolloutFilter(rollout_id=rollout_id), self.within))
        if not found:
            return None
        row = {**found[0], "left_out": len(self._left_out_seen(found[0]["left_out"]))}
        progress = waves_of(self._rows(progress_query(rollout_id, self.within)))
        return RolloutDetail(**row, progress=progress, actions=rollout_actions(RolloutState(row["state"])))

    def has_rollout(self, rollout_id: str) -> bool:
        """Whether there is such a rollout, for who asks."""
        return self._is(ROLLOUT, ROLLOUT.c.rollout_id == rollout_id, *rollouts_seen(self.within))

    def left_out(self, rollout_id: str, paging: Paging) -> Page[LeftOutView]:
        """List who was selected for a rollout and is in none of its waves, by id."""
        query = select(ROLLOUT.c.left_out).where(ROLLOUT.c.rollout_id == rollout_id, *rollouts_seen(self.within))
        known = self._left_out_seen(self.connection.scalar(query) or [])
        page = known[paging.offset : paging.offset + paging.limit]
        shown = tuple(LeftOutView(terminal_id=terminal_id, reason=reason) for terminal_id, reason in page)
        return Page[LeftOutView](items=shown, total=len(known), limit=paging.limit, offset=paging.offset)

    def jobs(self, rollout_id: str, chosen: JobFilter, paging: Paging) -> Page[JobView]:
        """List a rollout's jobs."""
        return self._page(JobView, jobs_query(rollout_id, chosen, self.within), paging, JOB_SORTS)

    def rollout_journal(self, rollout_id: str, chosen: StepFilter, paging: Paging) -> Page[RolloutJournalView]:
        """List what happened to a rollout and its jobs, the first first."""
        return self._page(RolloutJournalView, steps_query(rollout_id, chosen, self.within), paging, STEP_SORTS)

    def fleet(self) -> views.FleetView:
        """Count everything."""
        presences = select(_presence, func.count()).select_from(_terminals_with_standing())
        by_presence = self._counts(presences.where(*self._terminals_seen).group_by(_presence))
        severities = select(TICKET.c.severity, func.count()).where(IS_OPEN, *self._tickets_seen)
        by_severity = self._counts(severities.group_by(TICKET.c.severity))
        return views.FleetView(
            terminals=sum(by_presence.values()),
            terminals_unassigned=self._count_of(
                _terminal, _terminal.c.store_id.is_(None), *visibility.nowhere(self.within)
            ),
            terminals_by_presence=by_presence,
            open_tickets_by_severity=by_severity,
            tickets=views.TicketCounts(
                opened=self._tickets_where(),
                resolved=self._tickets_where(TICKET.c.resolved_at.is_not(None)),
                open=sum(by_severity.values()),
                unresolved=self._tickets_where(IS_OPEN, not_(IS_RESOLVED)),
            ),
            events=self._event_counts(),
            quarantined=self._count_of(_quarantine, *visibility.of_terminal(self.within, _quarantine.c.terminal_id)),
        )

    @property
    def _stores_seen(self) -> visibility.Conditions:
        return visibility.placed(self.within, _store.c.store_id, _store.c.merchant_id)

    @property
    def _terminals_seen(self) -> visibility.Conditions:
        return visibility.in_store(self.within, _terminal.c.store_id)

    @property
    def _tickets_seen(self) -> visibility.Conditions:
        return visibility.placed(self.within, TICKET.c.store_id, TICKET.c.merchant_id)

    @property
    def _outages_seen(self) -> visibility.Conditions:
        return visibility.of_place(self.within, OUTAGE.c.node_kind, OUTAGE.c.node_id)

    def _tickets_query(self, chosen: TicketFilter) -> Select[Any]:
        return tickets_query(chosen).where(*self._tickets_seen)

    def _of_ticket(self, table: Table) -> visibility.Conditions:
        """Narrow what hangs on a ticket to the tickets that are seen."""
        if self.within.everywhere:
            return ()
        return (table.c.ticket_id.in_(select(TICKET.c.ticket_id).where(*self._tickets_seen)),)

    def _left_out_seen(self, left_out: Sequence[Any]) -> list[Any]:
        """Narrow whom a rollout leaves out, which is kept as a list."""
        if self.within.everywhere:
            return list(left_out)
        query = select(_terminal.c.terminal_id).where(*visibility.of_terminal(self.within, _terminal.c.terminal_id))
        seen = set(self.connection.scalars(query))
        return [one for one in left_out if one[0] in seen]

    def _tickets_where(self, *conditions: ColumnElement[bool]) -> int:
        return self._count_of(TICKET, *conditions, *self._tickets_seen)

    def _event_counts(self) -> views.EventCounts:
        """Count by the streams' accounts, a row for each outbox, and not by the events, which are far more."""
        streams = visibility.of_terminal(self.within, _stream.c.terminal_id)
        of_gaps = visibility.of_terminal(self.within, _gap.c.terminal_id)
        width = func.sum(_gap.c.last_seq - _gap.c.first_seq + 1)
        gaps = self._counts(select(_gap.c.kind, width).where(*of_gaps).group_by(_gap.c.kind))
        lost, dropped = gaps.get("lost", 0), gaps.get("dropped", 0)
        below = self._count(select(func.coalesce(func.sum(_stream.c.prefix_seq), 0)).where(*streams))
        is_ragged = cast(_stream.c.accounted, Text) != "[]"
        ragged = self.connection.scalars(select(_stream.c.accounted).where(is_ragged, *streams))
        above = sum(last - first + 1 for accounted in ragged for first, last in accounted)
        return views.EventCounts(stored=int(below) + above - lost - dropped, lost=lost, dropped=dropped)

    def _current_level(self, terminal_id: str) -> views.LevelView | None:
        query = (
            select(_level)
            .join(
                _sighting,
                and_(_sighting.c.terminal_id == _level.c.terminal_id, _sighting.c.stream_id == _level.c.stream_id),
            )
            .where(_level.c.terminal_id == terminal_id)
        )
        found = self._rows(query)
        return views.LevelView.model_validate(found[0]) if found else None

    def _conditions(self, terminal_id: str) -> tuple[views.ConditionView, ...]:
        query = (
            select(_condition)
            .where(_condition.c.terminal_id == terminal_id)
            .order_by(_condition.c.component, _condition.c.code)
        )
        return tuple(views.ConditionView.model_validate(row) for row in self._rows(query))

    def _streams(self, terminal_id: str) -> tuple[views.StreamView, ...]:
        query = select(_stream).where(_stream.c.terminal_id == terminal_id).order_by(_stream.c.stream_no)
        stored = self._counts(
            select(_event.c.stream_id, func.count())
            .where(_event.c.terminal_id == terminal_id)
            .group_by(_event.c.stream_id)
        )
        lost, dropped = self._gaps(terminal_id, "lost"), self._gaps(terminal_id, "dropped")
        return tuple(
            views.StreamView(
                **_only(row, "stream_id", "stream_no", "first_heard_at", "event_seq_last", "prefix_seq"),
                stored=stored.get(row["stream_id"], 0),
                lost=lost.get(row["stream_id"], 0),
                dropped=dropped.get(row["stream_id"], 0),
            )
            for row in self._rows(query)
        )

    def _gaps(self, terminal_id: str, kind: str) -> dict[str, int]:
        return self._counts(
            select(_gap.c.stream_id, func.sum(_gap.c.last_seq - _gap.c.first_seq + 1))
            .where(_gap.c.terminal_id == terminal_id, _gap.c.kind == kind)
            .group_by(_gap.c.stream_id)
        )

    def _proved(self, page: Page[ProvedT]) -> Page[ProvedT]:
        """Leave out of the evidence what it says of places that are not seen."""
        if self.within.everywhere:
            return page
        shown = (
            one.model_copy(update={"evidence": visibility.evidence(self.within, one.evidence)}) for one in page.items
        )
        return page.model_copy(update={"items": tuple(shown)})

    def _page(
        self, view: type[ViewT], query: Select[Any], paging: Paging, sorts: Mapping[str, ColumnElement[Any]]
    ) -> Page[ViewT]:
        """Cut a page out of a query; the first of `sorts` is the key, and the order unless another is asked."""
        limit = min(paging.limit, PAGE_ROWS_MAX)
        cut = query.order_by(*_order(paging.sort, sorts)).limit(limit).offset(paging.offset)
        return Page[ViewT](
            items=tuple(view.model_validate(dict(row)) for row in self._rows(cut)),
            total=self._count(select(func.count()).select_from(query.order_by(None).subquery())),
            limit=limit,
            offset=paging.offset,
        )

    def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        return self.connection.execute(query).mappings().all()

    def _count(self, query: Select[int]) -> int:
        return self.connection.execute(query).scalar_one()

    def _count_of(self, table: FromClause, *conditions: ColumnElement[bool]) -> int:
        return self._count(select(func.count()).select_from(table).where(*conditions))

    def _is(self, table: FromClause, *conditions: ColumnElement[bool]) -> bool:
        return self._count_of(table, *conditions) > 0

    def _counts(self, query: Select[Any, Any]) -> dict[str, int]:
        return {str(key): int(count) for key, count in self.connection.execute(query)}


_MERCHANT_SORTS: dict[str, ColumnElement[Any]] = {"merchant_id": _merchant.c.merchant_id, "name": _merchant.c.name}
_STORE_SORTS: dict[str, ColumnElement[Any]] = {
    "store_id": _store.c.store_id,
    "name": _store.c.name,
    "region": _store.c.region,
}
_TERMINAL_SORTS: dict[str, ColumnElement[Any]] = {
    "terminal_id": _terminal.c.terminal_id,
    "heard_at": _sighting.c.heard_at,
    "presence": _presence,
    "presence_since": _standing.c.since,
    "store_id": _terminal.c.store_id,
}
_MAY_BE_NULL = frozenset(
    {
        _store.c.region,
        _sighting.c.heard_at,
        _standing.c.since,
        _terminal.c.store_id,
        TICKET.c.store_id,
        TICKET.c.assignee,
    }
)
"""Sorted alike by both databases when told where nothing goes; the others keep the use of their indexes."""
_NEVER_FIRST = frozenset({TICKET.c.respond_due_at, TICKET.c.resolve_due_at})
"""What is due first, and what is due last, are both asked for; what is not due is neither."""
_JOURNAL_SORTS: dict[str, ColumnElement[Any]] = {"journal_id": _journal.c.journal_id}
_COMMENT_SORTS: dict[str, ColumnElement[Any]] = {"comment_id": _comment.c.comment_id}
_ATTACHMENT_SORTS: dict[str, ColumnElement[Any]] = {
    "attachment_id": _attachment.c.attachment_id,
    "name": _attachment.c.name,
}
_EVENT_SORTS: dict[str, ColumnElement[Any]] = {
    "event_seq": _event.c.event_seq,
    "received_at": _event.c.received_at,
    "happened_at": _event.c.happened_at,
}
_QUARANTINE_SORTS: dict[str, ColumnElement[Any]] = {
    "quarantine_id": _quarantine.c.quarantine_id,
    "received_at": _quarantine.c.received_at,
}


def _terminals_with_standing() -> FromClause:
    return _terminal.outerjoin(_standing, _standing.c.terminal_id == _terminal.c.terminal_id)


def _terminals_query(chosen: TerminalFilter) -> Select[Any]:
    open_tickets = (
        select(func.count())
        .select_from(TICKET)
        .where(IS_OPEN, TICKET.c.subject_kind == "terminal", TICKET.c.subject_id == _terminal.c.terminal_id)
        .scalar_subquery()
    )
    joined = (
        _terminals_with_standing()
        .outerjoin(_sighting, _sighting.c.terminal_id == _terminal.c.terminal_id)
        .outerjoin(_store, _store.c.store_id == _terminal.c.store_id)
    )
    columns = (
        *_terminal.c,
        _store.c.name.label("store_name"),
        _store.c.merchant_id,
        _store.c.region,
        _presence.label("presence"),
        _standing.c.reason.label("presence_reason"),
        _standing.c.since.label("presence_since"),
        _sighting.c.heard_at,
        open_tickets.label("open_tickets"),
    )
    return select(*columns).select_from(joined).where(*_terminal_conditions(chosen))


def _terminal_conditions(chosen: TerminalFilter) -> tuple[ColumnElement[bool], ...]:
    asked: dict[ColumnElement[Any], object] = {
        _terminal.c.terminal_id: chosen.terminal_id,
        _terminal.c.store_id: chosen.store_id,
        _store.c.merchant_id: chosen.merchant_id,
        _store.c.region: chosen.region,
        _presence: chosen.presence,
        _terminal.c.life_cycle: chosen.life_cycle,
    }
    searched = (_terminal.c.terminal_id, _terminal.c.serial_number, _terminal.c.brand, _terminal.c.model, _store.c.name)
    assigned = being({_terminal.c.store_id.is_not(None): chosen.assigned})
    return (*equal(asked), *containing(chosen.q, *searched), *assigned)


def _order(sort: str | None, sorts: Mapping[str, ColumnElement[Any]]) -> tuple[ColumnElement[Any], ...]:
    key = next(iter(sorts))
    wanted = sort or key
    name = wanted.removeprefix("-")
    if name not in sorts:
        raise SortUnknown(wanted, tuple(sorts))
    down = wanted.startswith("-")
    chosen = (sorts[name],) if name == key else (sorts[name], sorts[key])
    return tuple(_directed(column, down=down) for column in chosen)


def _directed(column: ColumnElement[Any], *, down: bool) -> ColumnElement[Any]:
    if column in _NEVER_FIRST:
        return (column.desc() if down else column.asc()).nulls_last()
    if column not in _MAY_BE_NULL:
        return column.desc() if down else column.asc()
    return column.desc().nulls_last() if down else column.asc().nulls_first()


def _only(row: RowMapping, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}
