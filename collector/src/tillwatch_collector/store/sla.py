"""What due times are worked out from, for many tickets at once, and where they are kept.

A ticket whose step, or whose store's calendar, changes is marked: its `clocks_due_at` has come. Whoever works due times
out takes marked tickets and locks them; those that another transaction holds are left to the next time, so that nobody
waits here. A change violates this when a ticket costs a query of its own.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, or_, select, true, update

from tillwatch_collector.domain.sla import ASSIGN, Step
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import THESE, these, update_each
from tillwatch_collector.store.tables import OPEN_TICKET, table_of

STORE = table_of(tables.StoreRow)
TICKET = table_of(tables.TicketRow)
JOURNAL = table_of(tables.JournalRow)


class ClockedTicket(NamedTuple):
    """A ticket, as its clocks and a change of it need it."""

    ticket_id: int
    subject_kind: str
    subject_id: str
    component: str
    code: str
    status: str
    severity: str
    repair: str
    title: str
    store_id: str | None
    merchant_id: str | None
    parent_id: int | None
    opened_at: datetime
    escalation_step: int


class StoreTerms(NamedTuple):
    """What a store's contract counts by."""

    contract: str | None
    opening_hours: dict[str, Any]
    time_zone: str
    holidays: dict[str, Any]


class KeptDueTimes(NamedTuple):
    """What is kept of a ticket's clocks."""

    ticket_id: int
    responded_at: datetime | None
    respond_due_at: datetime | None
    resolve_due_at: datetime | None
    escalation_step: int
    clocks_due_at: datetime | None


_CLOCKED = select(*(TICKET.c[name] for name in ClockedTicket._fields))
_THESE_TICKETS = _CLOCKED.where(TICKET.c.ticket_id.in_(THESE)).order_by(TICKET.c.ticket_id).with_for_update()
_DUE = (
    _CLOCKED.where(TICKET.c.clocks_due_at <= bindparam("now"))
    .order_by(TICKET.c.clocks_due_at, TICKET.c.ticket_id)
    .limit(bindparam("count_max"))
    .with_for_update(skip_locked=True)
)
_JOURNAL = (
    select(JOURNAL.c.ticket_id, *(JOURNAL.c[name] for name in Step.__dataclass_fields__))
    .where(
        JOURNAL.c.ticket_id.in_(THESE),
        or_(JOURNAL.c.from_status.is_distinct_from(JOURNAL.c.to_status), JOURNAL.c.action == ASSIGN),
    )
    .order_by(JOURNAL.c.journal_id)
)
_TERMS = select(STORE.c.store_id, *(STORE.c[name] for name in StoreTerms._fields)).where(STORE.c.store_id.in_(THESE))


class SlaRows:
    """Tickets' clocks in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def mark_store(self, store_id: str, now: datetime) -> None:
        """Have the due times of a store's open tickets worked out anew."""
        self._mark(TICKET.c.store_id == store_id, now)

    def mark_all(self, now: datetime) -> None:
        """Have the due times of all open tickets worked out anew."""
        self._mark(true(), now)

    def due(self, now: datetime, count_max: int) -> list[ClockedTicket]:
        """Return tickets that are marked, or have come to a step of escalation, the longest waiting first."""
        return self._tickets(_DUE, {"now": now, "count_max": count_max})

    def tickets(self, ticket_ids: Collection[int]) -> list[ClockedTicket]:
        """Return these tickets in their order."""
        return [ticket for some in these(sorted(ticket_ids)) for ticket in self._tickets(_THESE_TICKETS, some)]

    def steps(self, ticket_ids: Collection[int]) -> dict[int, list[Step]]:
        """Return of these tickets' journals what clocks look at, in its order."""
        found: dict[int, list[Step]] = defaultdict(list)
        for some in these(ticket_ids):
            for ticket_id, *step in self._connection.execute(_JOURNAL, some):
                at, actor, action, before, after = step
                found[ticket_id].append(Step(at=at, actor=actor, action=action, from_status=before, to_status=after))
        return found

    def terms(self, store_ids: Collection[str]) -> dict[str, StoreTerms]:
        """Return what these stores' contracts count by."""
        return {
            store_id: StoreTerms(*terms)
            for some in these(store_ids)
            for store_id, *terms in self._connection.execute(_TERMS, some)
        }

    def contracts_named(self) -> list[str]:
        """Name every contract that a store has."""
        query = select(STORE.c.contract).where(STORE.c.contract.is_not(None)).distinct().order_by(STORE.c.contract)
        return list(self._connection.scalars(query))

    def keep(self, due_times: Sequence[KeptDueTimes]) -> None:
        """Write what was worked out."""
        update_each(self._connection, TICKET, ("ticket_id",), [kept._asdict() for kept in due_times])

    def _mark(self, which: ColumnElement[bool], now: datetime) -> None:
        self._connection.execute(update(TICKET).where(which, OPEN_TICKET).values(clocks_due_at=now))

    def _tickets(self, query: Select[Any], parameters: dict[str, Any]) -> list[ClockedTicket]:
        return [ClockedTicket._make(row) for row in self._connection.execute(query, parameters)]
