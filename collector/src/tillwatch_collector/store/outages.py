"""Outages, and the faults that are theirs; judge alone writes them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, insert, or_, select, update

from tillwatch_collector.domain.outage import Placed
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import chunked
from tillwatch_collector.store.tables import OPEN_TICKET, table_of

OUTAGE = table_of(tables.OutageRow)
FAULT = table_of(tables.FaultRow)
TICKET = table_of(tables.TicketRow)
TERMINAL = table_of(tables.TerminalRow)
STORE = table_of(tables.StoreRow)
SIGHTING = table_of(tables.SightingRow)
LEVEL = table_of(tables.LevelRow)

_OF_OUTAGES = select(OUTAGE.c.ticket_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewOutage:
    """What is known of an outage when its pattern is seen, or seen to be wider."""

    node_kind: str
    node_id: str
    component: str
    code: str
    ticket_id: int
    began_at: datetime
    terminals_hit: int
    terminals_total: int
    evidence: dict[str, Any]


class KeptOutage(NamedTuple):
    """An outage that has not ended."""

    outage_id: int
    node_kind: str
    node_id: str
    component: str
    code: str
    ticket_id: int
    began_at: datetime
    terminals_hit: int
    terminals_total: int


class ParentTicket(NamedTuple):
    """What people made of an outage's ticket."""

    outage_id: int
    status: str
    merged_into_id: int | None


class LinkedFault(NamedTuple):
    """A fault that stands and belongs to an outage's ticket."""

    terminal_id: str
    component: str
    code: str
    ticket_id: int


class Stood(NamedTuple):
    """Where a terminal that was heard lies, and how often it beats."""

    terminal_id: str
    placed: Placed
    interval_s: int | None


_PLACED = select(
    SIGHTING.c.terminal_id,
    LEVEL.c.interval_s,
    TERMINAL.c.store_id,
    STORE.c.merchant_id,
    STORE.c.region,
    STORE.c.carrier,
    LEVEL.c.agent_version,
).select_from(
    SIGHTING.join(TERMINAL, TERMINAL.c.terminal_id == SIGHTING.c.terminal_id)
    .outerjoin(STORE, STORE.c.store_id == TERMINAL.c.store_id)
    .outerjoin(LEVEL, and_(LEVEL.c.terminal_id == SIGHTING.c.terminal_id, LEVEL.c.stream_id == SIGHTING.c.stream_id))
)
_PARENTS = (
    select(OUTAGE.c.outage_id, TICKET.c.status, TICKET.c.merged_into_id)
    .join(TICKET, TICKET.c.ticket_id == OUTAGE.c.ticket_id)
    .where(OUTAGE.c.ended_at.is_(None), TICKET.c.status.in_(("closed", "cancelled", "merged")))
)
_END = update(OUTAGE).where(OUTAGE.c.outage_id == bindparam("of_id")).values(ended_at=bindparam("at"))


class OutageRows:
    """The outages of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- outages

    def begin(self, new: NewOutage, now: datetime) -> int:
        """Write an outage; return its number."""
        statement = insert(OUTAGE).values(**_values(new), detected_at=now).returning(OUTAGE.c.outage_id)
        outage_id: int = self._connection.execute(statement).scalar_one()
        return outage_id

    def widen(self, outage_id: int, wider: NewOutage) -> None:
        """Write that an outage reaches further than was thought; it began when its first terminal was last well."""
        began_at = self._connection.scalar(select(OUTAGE.c.began_at).where(OUTAGE.c.outage_id == outage_id))
        values = _values(wider) | {"began_at": min(wider.began_at, began_at or wider.began_at)}
        self._connection.execute(update(OUTAGE).where(OUTAGE.c.outage_id == outage_id).values(values))

    def count(self, outage_id: int, terminals_hit: int) -> None:
        """Write how many terminals an outage has hit."""
        self._connection.execute(
            update(OUTAGE).where(OUTAGE.c.outage_id == outage_id).values(terminals_hit=terminals_hit)
        )

    def end(self, outage_id: int, now: datetime) -> None:
        """Write that an outage is over."""
        self._connection.execute(_END, {"of_id": outage_id, "at": now})

    def go_on_as(self, outage_id: int, ticket_id: int) -> None:
        """Write which ticket tells of an outage that has not ended."""
        self._connection.execute(update(OUTAGE).where(OUTAGE.c.outage_id == outage_id).values(ticket_id=ticket_id))

    def open_ones(self) -> list[KeptOutage]:
        """Return the outages that have not ended, the oldest first."""
        query = select(*(OUTAGE.c[name] for name in KeptOutage._fields)).where(OUTAGE.c.ended_at.is_(None))
        return [KeptOutage(*row) for row in self._connection.execute(query.order_by(OUTAGE.c.outage_id))]

    def parents_left(self) -> list[ParentTicket]:
        """Return the tickets of outages that have not ended, which somebody closed, cancelled or merged."""
        return [ParentTicket(*row) for row in self._connection.execute(_PARENTS)]

    # --- terminals and their faults

    def places(self) -> list[Stood]:
        """Return where each terminal lies that was ever heard."""
        return [
            Stood(terminal_id, Placed(*placed), interval_s)
            for terminal_id, interval_s, *placed in self._connection.execute(_PLACED)
        ]

    def linked_faults(self) -> list[LinkedFault]:
        """Return the faults that stand and belong to an outage whose ticket no person has ended."""
        query = (
            select(FAULT.c.terminal_id, FAULT.c.component, FAULT.c.code, FAULT.c.ticket_id)
            .join(TICKET, TICKET.c.ticket_id == FAULT.c.ticket_id)
            .where(FAULT.c.cleared_at.is_(None), FAULT.c.ticket_id.in_(_OF_OUTAGES), OPEN_TICKET)
        )
        return [LinkedFault(*row) for row in self._connection.execute(query)]

    def owned(self) -> set[tuple[str, tuple[str, str]]]:
        """Return whose faults stand and have a ticket of their own, with component and code."""
        columns = FAULT.c.terminal_id, FAULT.c.component, FAULT.c.code
        own = FAULT.c.ticket_id.is_not(None) & FAULT.c.ticket_id.not_in(_OF_OUTAGES)
        rows = self._connection.execute(select(*columns).where(FAULT.c.cleared_at.is_(None), own))
        return {(terminal_id, (component, code)) for terminal_id, component, code in rows}

    def link(self, terminal_ids: Collection[str], component: str, code: str, ticket_id: int) -> None:
        """Give an outage's ticket the faults of these terminals that stand and have none, or another outage's."""
        for some in chunked(terminal_ids):
            theirs = update(FAULT).where(*_unowned(some, component, code))
            self._connection.execute(theirs.values(ticket_id=ticket_id))

    def unowned(self, terminal_ids: Collection[str], component: str, code: str) -> set[str]:
        """Return those of these terminals whose fault stands without a ticket of their own."""
        return {
            terminal_id
            for some in chunked(terminal_ids)
            for terminal_id in self._connection.scalars(
                select(FAULT.c.terminal_id).where(*_unowned(some, component, code))
            )
        }

    def own_tickets(self, terminal_ids: Collection[str], component: str, code: str) -> list[int]:
        """Return the open tickets of these terminals for this symptom that are part of nothing, and have no parts."""
        return [
            ticket_id
            for some in chunked(terminal_ids)
            for ticket_id in self._connection.scalars(_own_tickets(some, component, code))
        ]


def _values(new: NewOutage) -> dict[str, Any]:
    return {name: getattr(new, name) for name in NewOutage.__dataclass_fields__}


def _unowned(terminal_ids: Sequence[str], component: str, code: str) -> tuple[ColumnElement[bool], ...]:
    return (
        FAULT.c.terminal_id.in_(terminal_ids),
        FAULT.c.component == component,
        FAULT.c.code == code,
        FAULT.c.cleared_at.is_(None),
        or_(FAULT.c.ticket_id.is_(None), FAULT.c.ticket_id.in_(_OF_OUTAGES)),
    )


def _own_tickets(terminal_ids: Sequence[str], component: str, code: str) -> Select[Any]:
    part = TICKET.alias("part")
    parts = select(part.c.ticket_id).where(part.c.parent_id == TICKET.c.ticket_id)
    return (
        select(TICKET.c.ticket_id)
        .where(
            TICKET.c.subject_kind == "terminal",
            TICKET.c.subject_id.in_(terminal_ids),
            TICKET.c.component == component,
            TICKET.c.code == code,
            TICKET.c.parent_id.is_(None),
            TICKET.c.status.not_in(("closed", "cancelled", "merged", "resolved")),
            ~parts.exists(),
        )
        .order_by(TICKET.c.ticket_id)
    )
