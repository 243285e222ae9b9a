"""What the service desk reads beside the lists of tickets: its queue, and what stands behind one ticket.

In the queue a part lies folded in its larger ticket while that one is open and seen by who asks, so that an outage is
one row and not a hundred. A change violates this when a ticket is neither a row nor folded into one.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, or_, select

from tillwatch_collector.domain.person import Person
from tillwatch_collector.domain.ticket import FINAL, Status
from tillwatch_collector.store import tables, visibility
from tillwatch_collector.store.outage_queries import OUTAGE
from tillwatch_collector.store.people import People
from tillwatch_collector.store.queries import Paging, Queries, TerminalFilter
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.store.ticket_queries import IS_OPEN, TICKET, TICKET_SORTS, TicketFilter
from tillwatch_collector.store.views import ConditionView, LevelView, Page, StoreView, TerminalView, TicketView

_store = table_of(tables.StoreRow)
_journal = table_of(tables.JournalRow)
WORKED_ON = sorted(set(Status) - FINAL - {Status.RESOLVED})
"""Where work goes on."""

NEWEST_STEPS = 20
"""More than are under way at the same moment."""

_larger = TICKET.alias("larger")


class Standing(NamedTuple):
    """A terminal as it is now."""

    terminal: TerminalView
    conditions: tuple[ConditionView, ...]
    level: LevelView | None


class Queue(Queries):
    """Read models of the service desk over one transaction."""

    def rows(self, chosen: TicketFilter, paging: Paging, *, folded: bool) -> Page[TicketView]:
        """List tickets, parts folded in their larger ones or one by one."""
        return self._page(TicketView, self._queue_query(chosen, folded=folded), paging, TICKET_SORTS)

    def by_status(self, chosen: TicketFilter, *, folded: bool) -> dict[str, int]:
        """Count the same rows by status, as far as they are open; `chosen` names no status."""
        rows = self._queue_query(chosen, folded=folded).where(IS_OPEN).subquery()
        return self._counts(select(rows.c.status, func.count()).group_by(rows.c.status))

    def parts(self, ticket_ids: Collection[int]) -> dict[int, int]:
        """Count the open parts of tickets; those that have none are left out."""
        query = select(TICKET.c.parent_id, func.count()).where(TICKET.c.parent_id.in_(ticket_ids), IS_OPEN)
        counted = self.connection.execute(query.where(*self._tickets_seen).group_by(TICKET.c.parent_id))
        return {int(parent_id): int(count) for parent_id, count in counted}

    def newest_steps(self) -> tuple[int, ...]:
        """Return the newest lines of all journals: they differ once anything was done to any ticket.

        Not the newest one alone: PostgreSQL gives numbers out before it commits, and a smaller one may follow.
        """
        query = select(_journal.c.journal_id).order_by(_journal.c.journal_id.desc()).limit(NEWEST_STEPS)
        return tuple(self.connection.scalars(query))

    def hit(self, ticket_ids: Collection[int]) -> dict[int, int]:
        """Count the terminals that the outages of tickets hit; those that have none are left out."""
        query = select(OUTAGE.c.ticket_id, func.max(OUTAGE.c.terminals_hit)).where(OUTAGE.c.ticket_id.in_(ticket_ids))
        return {
            int(ticket_id): int(hit) for ticket_id, hit in self.connection.execute(query.group_by(OUTAGE.c.ticket_id))
        }

    def standing(self, terminal_id: str) -> Standing | None:
        """Tell of a terminal what a ticket about it needs."""
        found = self.terminals(TerminalFilter(terminal_id=terminal_id), Paging(limit=1)).items
        if not found:
            return None
        return Standing(found[0], self._conditions(terminal_id), self._current_level(terminal_id))

    def store(self, store_id: str) -> StoreView | None:
        """Find one store."""
        found = self._rows(select(_store).where(_store.c.store_id == store_id, *self._stores_seen))
        return StoreView.model_validate(dict(found[0])) if found else None

    def people(self) -> tuple[Person, ...]:
        """List everybody who signs in, by id: journals name them."""
        return People(self.connection).all()

    def _queue_query(self, chosen: TicketFilter, *, folded: bool) -> Select[Any]:
        return self._tickets_query(chosen).where(*(self._unfolded if folded else ()))

    @property
    def _unfolded(self) -> tuple[ColumnElement[bool]]:
        """Leave out what is part of an open ticket that is a row itself."""
        seen = visibility.placed(self.within, _larger.c.store_id, _larger.c.merchant_id)
        is_open = _larger.c.status.in_(WORKED_ON)
        rows = select(_larger.c.ticket_id).where(is_open, _larger.c.parent_id.is_(None), *seen)
        return (or_(TICKET.c.parent_id.is_(None), TICKET.c.parent_id.not_in(rows)),)
