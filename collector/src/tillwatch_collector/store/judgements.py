"""The judgements: standings, conditions and faults; judge alone writes them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, tuple_, update

from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import chunked, upsert
from tillwatch_collector.store.tables import table_of

STANDING = table_of(tables.StandingRow)
CONDITION = table_of(tables.ConditionRow)
FAULT = table_of(tables.FaultRow)

ConditionKey = tuple[str, str, str]
"""(`terminal_id`, `component`, `code`)."""


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
            insert(FAULT).values(
                terminal_id=terminal_id,
                component=component,
                code=code,
                severity=str(severity),
                happened_at=happened_at,
                raised_at=now,
                ticket_id=ticket_id,
            )
        )

    def link_fault(self, key: ConditionKey, ticket_id: int) -> None:
        """Write which ticket a fault that stands belongs to."""
        terminal_id, component, code = key
        this = (FAULT.c.terminal_id == terminal_id) & (FAULT.c.component == component) & (FAULT.c.code == code)
        self._connection.execute(update(FAULT).where(this, FAULT.c.cleared_at.is_(None)).values(ticket_id=ticket_id))

    def unticketed(self) -> set[ConditionKey]:
        """Return the faults that stand and have no ticket."""
        columns = FAULT.c.terminal_id, FAULT.c.component, FAULT.c.code
        rows = self._connection.execute(
            select(*columns).where(FAULT.c.cleared_at.is_(None), FAULT.c.ticket_id.is_(None))
        )
        return {(terminal_id, component, code) for terminal_id, component, code in rows}

    def raises_since(self, since: datetime) -> list[tuple[ConditionKey, datetime]]:
        """Return the faults that were raised since then."""
        columns = FAULT.c.terminal_id, FAULT.c.component, FAULT.c.code, FAULT.c.raised_at
        rows = self._connection.execute(select(*columns).where(FAULT.c.raised_at >= since).order_by(FAULT.c.raised_at))
        return [((terminal_id, component, code), raised_at) for terminal_id, component, code, raised_at in rows]

    def end_fault(self, key: ConditionKey, now: datetime) -> None:
        """Write that it is over."""
        terminal_id, component, code = key
        this = (FAULT.c.terminal_id == terminal_id) & (FAULT.c.component == component) & (FAULT.c.code == code)
        self._connection.execute(update(FAULT).where(this, FAULT.c.cleared_at.is_(None)).values(cleared_at=now))
