"""The judgements: standings, conditions, faults, tickets and their journal.

Judge writes them, and, on tickets, what people decide.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, tuple_, update
from sqlalchemy import insert as plain_insert

from tillwatch_collector.domain.ticket import Status
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import chunked, insert, upsert
from tillwatch_collector.store.tables import OPEN_TICKET, table_of

STANDING = table_of(tables.StandingRow)
CONDITION = table_of(tables.ConditionRow)
FAULT = table_of(tables.FaultRow)
TICKET = table_of(tables.TicketRow)
JOURNAL = table_of(tables.JournalRow)

ConditionKey = tuple[str, str, str]
"""(`terminal_id`, `component`, `code`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TicketIdentity:
    """What a ticket is about; at most one open ticket has it."""

    subject_kind: str
    subject_id: str
    component: str
    code: str


class Standing(NamedTuple):
    """Judge's word on a terminal's presence."""

    terminal_id: str
    presence: str
    reason: str
    since: datetime
    clock_offset_s: float | None = None


class KeptCondition(NamedTuple):
    """A condition that is not clear."""

    terminal_id: str
    component: str
    code: str
    phase: str
    phase_since: datetime
    happened_at: datetime
    detail: str | None


class KeptTicket(NamedTuple):
    """A ticket, as an action needs it."""

    ticket_id: int
    subject_kind: str
    subject_id: str
    component: str
    code: str
    status: Status
    severity: str
    resolved_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of a ticket's journal."""

    ticket_id: int
    at: datetime
    actor: str
    action: str
    from_status: str | None
    to_status: str | None
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


class Judgements:
    """The judgements of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- standings and conditions

    def standings(self) -> list[Standing]:
        """Return every standing."""
        return [Standing(*row) for row in self._connection.execute(select(*STANDING.c))]

    def save_standings(self, standings: Sequence[Standing]) -> None:
        """Write standings."""
        upsert(self._connection, STANDING, [standing._asdict() for standing in standings])

    def conditions(self) -> list[KeptCondition]:
        """Return every condition that is not clear."""
        return [KeptCondition(*row) for row in self._connection.execute(select(*CONDITION.c))]

    def save_conditions(self, conditions: Sequence[KeptCondition], cleared: Collection[ConditionKey]) -> None:
        """Write conditions, and forget the cleared ones."""
        upsert(self._connection, CONDITION, [condition._asdict() for condition in conditions])
        key = tuple_(CONDITION.c.terminal_id, CONDITION.c.component, CONDITION.c.code)
        for some in chunked(cleared, 3):
            self._connection.execute(delete(CONDITION).where(key.in_(some)))

    # --- faults

    def begin_fault(
        self, key: ConditionKey, *, severity: str, happened_at: datetime, now: datetime, ticket_id: int | None
    ) -> None:
        """Write that a condition lasted long enough to matter."""
        terminal_id, component, code = key
        self._connection.execute(
            plain_insert(FAULT).values(
                terminal_id=terminal_id,
                component=component,
                code=code,
                severity=str(severity),
                happened_at=happened_at,
                raised_at=now,
                ticket_id=ticket_id,
            )
        )

    def end_fault(self, key: ConditionKey, now: datetime) -> None:
        """Write that it is over."""
        terminal_id, component, code = key
        this = (FAULT.c.terminal_id == terminal_id) & (FAULT.c.component == component) & (FAULT.c.code == code)
        self._connection.execute(update(FAULT).where(this, FAULT.c.cleared_at.is_(None)).values(cleared_at=now))

    # --- tickets

    def open_ticket(
        self, identity: TicketIdentity, *, status: Status, severity: str, category: str, now: datetime
    ) -> int | None:
        """Open a ticket unless one of this identity is open; None when one is. Safe under any number of writers."""
        statement = insert(self._connection, TICKET).values(
            subject_kind=identity.subject_kind,
            subject_id=identity.subject_id,
            component=identity.component,
            code=identity.code,
            status=str(status),
            severity=str(severity),
            category=category,
            opened_at=now,
            updated_at=now,
            recurrences=0,
        )
        alone = statement.on_conflict_do_nothing(
            index_elements=["subject_kind", "subject_id", "component", "code"], index_where=OPEN_TICKET
        )
        opened: int | None = self._connection.scalar(alone.returning(TICKET.c.ticket_id))
        return opened

    def open_ticket_of(self, identity: TicketIdentity) -> KeptTicket | None:
        """Return the open ticket of this identity."""
        return self._one_ticket(
            TICKET.c.subject_kind == identity.subject_kind,
            TICKET.c.subject_id == identity.subject_id,
            TICKET.c.component == identity.component,
            TICKET.c.code == identity.code,
            OPEN_TICKET,
        )

    def ticket(self, ticket_id: int) -> KeptTicket | None:
        """Return a ticket."""
        return self._one_ticket(TICKET.c.ticket_id == ticket_id)

    def resolved_tickets(self) -> list[KeptTicket]:
        """Return every ticket that waits to be closed."""
        return self._tickets(TICKET.c.status == Status.RESOLVED)

    def move_ticket(self, ticket: KeptTicket, status: Status, now: datetime) -> None:
        """Write a status that `domain.ticket.step` gave."""
        values: dict[str, Any] = {"status": str(status), "updated_at": now}
        if status is Status.RESOLVED:
            values["resolved_at"] = now
        if status in {Status.CLOSED, Status.CANCELLED}:
            values["closed_at"] = now
        if status is Status.REPORTED:
            values |= {"resolved_at": None, "recurrences": TICKET.c.recurrences + 1}
        self._connection.execute(update(TICKET).where(TICKET.c.ticket_id == ticket.ticket_id).values(values))

    def write_journal(self, entry: Entry) -> None:
        """Add a line to a ticket's journal."""
        values = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
        self._connection.execute(plain_insert(JOURNAL).values(values))

    def _one_ticket(self, *which: Any) -> KeptTicket | None:
        return next(iter(self._tickets(*which)), None)

    def _tickets(self, *which: Any) -> list[KeptTicket]:
        query = select(*(TICKET.c[name] for name in KeptTicket._fields)).where(*which).with_for_update()
        rows = self._connection.execute(query.order_by(TICKET.c.ticket_id))
        return [KeptTicket(*row)._replace(status=Status(row.status)) for row in rows]
