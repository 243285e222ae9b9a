"""The fleet counted, as somebody sees it: how each terminal stands, by store; and what is under way.

All statements of a census read one snapshot, so that the numbers of a page agree with each other. Terminals that are
online and well are counted by an index, never looked at; the others are read one by one. The state of a terminal
(`STATE`) is worked out here and in the list of terminals alike. Faults that stand, open tickets and jobs under way are
few, and each has an index of its own that holds them alone.

A change violates this when the work of a count grows with what is over: old faults, closed tickets, past jobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, or_, select, true

from tillwatch_collector.domain.census import Census, CountRow, State, StoreName, count
from tillwatch_collector.domain.maintenance import Scope, open_until
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.domain.presence import State as Presence
from tillwatch_collector.store import tables, visibility
from tillwatch_collector.store.maintenance import current_spans
from tillwatch_collector.store.tables import OPEN_TICKET, table_of

_MERCHANT = table_of(tables.MerchantRow)
STORE = table_of(tables.StoreRow)
TERMINAL = table_of(tables.TerminalRow)
STANDING = table_of(tables.StandingRow)
_FAULT = table_of(tables.FaultRow)
_TICKET = table_of(tables.TicketRow)
_OUTAGE = table_of(tables.OutageRow)
_JOB = table_of(tables.RolloutJobRow)

_RANKS = {"critical": 4, "major": 3, "minor": 2}
_STANDS = _FAULT.c.cleared_at.is_(None)

WORST = (
    select(
        _FAULT.c.terminal_id,
        func.max(case(_RANKS, value=_FAULT.c.severity, else_=1)).label("rank"),
    )
    .where(_STANDS)
    .group_by(_FAULT.c.terminal_id)
    .subquery("worst")
)
"""The worst of each terminal's faults that stand."""

PRESENCE = func.coalesce(STANDING.c.presence, Presence.UNKNOWN.value)

STATE = case(
    (PRESENCE.in_((Presence.SILENT.value, Presence.OFF.value, Presence.UNKNOWN.value)), PRESENCE),
    *((WORST.c.rank == rank, severity) for severity, rank in _RANKS.items()),
    (PRESENCE.in_((Presence.LATE.value,)), State.LATE.value),
    else_=State.WELL.value,
)
"""How a terminal stands, as `domain.census.State`; over terminals joined with `STANDING` and `WORST`."""

STOOD = TERMINAL.outerjoin(STANDING, STANDING.c.terminal_id == TERMINAL.c.terminal_id).outerjoin(
    WORST, WORST.c.terminal_id == TERMINAL.c.terminal_id
)

_STOOD = select(TERMINAL.c.store_id, STATE)
_NOT_ONLINE = tuple(presence.value for presence in Presence if presence is not Presence.ONLINE)
_NOT_WELL = (
    # whom judge does not call online
    _STOOD.select_from(
        STANDING.join(TERMINAL, TERMINAL.c.terminal_id == STANDING.c.terminal_id).outerjoin(
            WORST, WORST.c.terminal_id == STANDING.c.terminal_id
        )
    ).where(STANDING.c.presence.in_(_NOT_ONLINE)),
    # who is online and has a fault
    _STOOD.select_from(
        WORST.join(STANDING, STANDING.c.terminal_id == WORST.c.terminal_id).join(
            TERMINAL, TERMINAL.c.terminal_id == WORST.c.terminal_id
        )
    ).where(STANDING.c.presence == Presence.ONLINE.value),
)
"""Everyone whom judge has looked at but those who are online and well: few, and found by an index, which all 50,000 are
not."""
_NOT_LOOKED_AT = _STOOD.select_from(STOOD).where(STANDING.c.terminal_id.is_(None))


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderWay:
    """What is counted beside how terminals stand."""

    faults_by_severity: Mapping[str, int]
    """Those that stand."""
    tickets_by_severity: Mapping[str, int]
    """Those that are open and not resolved."""
    outages: int
    in_maintenance: int
    """Terminals whose notification is muted."""
    updating: int
    """Terminals that have been offered a release, or switch to it."""


def take_census(connection: Connection, within: Within) -> Census:
    """Count how all terminals stand that somebody sees."""
    seen = visibility.in_store(within, TERMINAL.c.store_id)
    everyone = select(TERMINAL.c.store_id, func.count()).where(*seen).group_by(TERMINAL.c.store_id)
    stores = (
        select(STORE.c.store_id, STORE.c.name, STORE.c.merchant_id, _MERCHANT.c.name, STORE.c.region)
        .join(_MERCHANT, _MERCHANT.c.merchant_id == STORE.c.merchant_id)
        .where(*visibility.placed(within, STORE.c.store_id, STORE.c.merchant_id))
    )
    terminals: dict[str | None, int] = dict(connection.execute(everyone).all())
    looked_at = select(STANDING.c.presence, func.count()).where(*visibility.of_terminal(within, STANDING.c.terminal_id))
    presences = _counts(connection, looked_at.group_by(STANDING.c.presence))
    is_anyone_missed = sum(terminals.values()) != sum(presences.values())
    queries = (*_NOT_WELL, _NOT_LOOKED_AT) if is_anyone_missed else _NOT_WELL
    not_well = [row for query in queries for row in connection.execute(query.where(*seen)).all()]
    rows = [CountRow(store_id, State(state), 1) for store_id, state in not_well]
    for store_id, _ in not_well:
        terminals[store_id] -= 1
    rows += [CountRow(store_id, State.WELL, number) for store_id, number in terminals.items() if number]
    return count(rows, map(StoreName._make, connection.execute(stores).all()), presences)


def under_way(connection: Connection, within: Within, now: datetime) -> UnderWay:
    """Count what stands, what is open, and what is being done."""
    faults = select(_FAULT.c.severity, func.count()).where(
        _STANDS, *visibility.of_terminal(within, _FAULT.c.terminal_id)
    )
    tickets = select(_TICKET.c.severity, func.count()).where(
        OPEN_TICKET,
        _TICKET.c.status != "resolved",
        *visibility.placed(within, _TICKET.c.store_id, _TICKET.c.merchant_id),
    )
    outages = select(func.count()).where(
        _OUTAGE.c.ended_at.is_(None), *visibility.of_place(within, _OUTAGE.c.node_kind, _OUTAGE.c.node_id)
    )
    updating = select(func.count()).where(_JOB.c.active, *visibility.of_terminal(within, _JOB.c.terminal_id))
    return UnderWay(
        faults_by_severity=_counts(connection, faults.group_by(_FAULT.c.severity)),
        tickets_by_severity=_counts(connection, tickets.group_by(_TICKET.c.severity)),
        outages=connection.execute(outages).scalar_one(),
        in_maintenance=_in_maintenance(connection, within, now),
        updating=connection.execute(updating).scalar_one(),
    )


def _counts(connection: Connection, query: Select[Any]) -> dict[str, int]:
    return {str(key): int(number) for key, number in connection.execute(query)}


def _in_maintenance(connection: Connection, within: Within, now: datetime) -> int:
    """Count the terminals of the spans that mute now; which weekly ones do, no database can say."""
    named: dict[Scope, list[str]] = {scope: [] for scope in Scope}
    for span in current_spans(connection, now):
        if open_until(span, now) is not None:
            named[span.scope].append(span.scope_id)
    if not any(named.values()):
        return 0
    of_merchants = select(STORE.c.store_id).where(STORE.c.merchant_id.in_(named[Scope.MERCHANT]))
    muted = or_(
        TERMINAL.c.terminal_id.in_(named[Scope.TERMINAL]),
        TERMINAL.c.store_id.in_(named[Scope.STORE]),
        TERMINAL.c.store_id.in_(of_merchants),
    )
    chosen = and_(true() if named[Scope.ALL] else muted, *visibility.in_store(within, TERMINAL.c.store_id))
    return connection.execute(select(func.count()).select_from(TERMINAL).where(chosen)).scalar_one()
