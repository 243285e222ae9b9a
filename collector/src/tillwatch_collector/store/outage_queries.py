"""Which outages, and what a list shows of them and of their terminals.

The terminals of an outage are those with a fault that belongs to its ticket since it began, and those whose own ticket
is part of it. A change violates this when a list of outages and its total are narrowed by anything but `OutageFilter`.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, union

from tillwatch_collector.store import tables
from tillwatch_collector.store.selection import being, equal
from tillwatch_collector.store.tables import table_of

OUTAGE = table_of(tables.OutageRow)
TICKET = table_of(tables.TicketRow)
FAULT = table_of(tables.FaultRow)
TERMINAL = table_of(tables.TerminalRow)
STANDING = table_of(tables.StandingRow)

OUTAGE_SORTS: dict[str, ColumnElement[Any]] = {
    "outage_id": OUTAGE.c.outage_id,
    "began_at": OUTAGE.c.began_at,
    "detected_at": OUTAGE.c.detected_at,
    "terminals_hit": OUTAGE.c.terminals_hit,
}
CHILD_SORTS: dict[str, ColumnElement[Any]] = {"terminal_id": TERMINAL.c.terminal_id}

_of_this = (FAULT.c.component == OUTAGE.c.component) & (FAULT.c.code == OUTAGE.c.code)
_theirs = or_(OUTAGE.c.ended_at.is_(None), FAULT.c.raised_at <= OUTAGE.c.ended_at)
_linked = and_(FAULT.c.ticket_id == OUTAGE.c.ticket_id, FAULT.c.raised_at >= OUTAGE.c.began_at, _of_this, _theirs)


_is_part = and_(
    TICKET.c.parent_id == OUTAGE.c.ticket_id,
    TICKET.c.subject_kind == "terminal",
    TICKET.c.component == OUTAGE.c.component,
    TICKET.c.code == OUTAGE.c.code,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutageFilter:
    """Which outages; what is None does not narrow."""

    outage_id: int | None = None
    open: bool | None = None
    """Not ended."""
    node_kind: str | None = None
    node_id: str | None = None
    ticket_id: int | None = None


def outages_query(chosen: OutageFilter) -> Select[Any]:
    """Build the query of a list of outages."""
    children = select(func.count(FAULT.c.terminal_id.distinct())).select_from(FAULT).where(_linked)
    wanted: dict[ColumnElement[Any], object] = {
        OUTAGE.c.outage_id: chosen.outage_id,
        OUTAGE.c.node_kind: chosen.node_kind,
        OUTAGE.c.node_id: chosen.node_id,
        OUTAGE.c.ticket_id: chosen.ticket_id,
    }
    return (
        select(
            *OUTAGE.c,
            TICKET.c.status.label("ticket_status"),
            TICKET.c.severity,
            children.correlate(OUTAGE).scalar_subquery().label("faults"),
            children.where(FAULT.c.cleared_at.is_(None)).correlate(OUTAGE).scalar_subquery().label("faults_standing"),
        )
        .join(TICKET, TICKET.c.ticket_id == OUTAGE.c.ticket_id)
        .where(*equal(wanted), *being({OUTAGE.c.ended_at.is_(None): chosen.open}))
    )


def children_query(outage_id: int) -> Select[Any]:
    """Build the query of an outage's terminals: each with its last fault of it, and its own ticket."""
    this = OUTAGE.c.outage_id == outage_id
    of_terminal = FAULT.c.terminal_id
    faults = select(of_terminal, func.max(FAULT.c.fault_id).label("fault_id")).join(OUTAGE, _linked).where(this)
    last = faults.group_by(of_terminal).subquery("last_fault")
    subject = TICKET.c.subject_id.label("terminal_id")
    parts = select(subject, func.max(TICKET.c.ticket_id).label("ticket_id")).join(OUTAGE, _is_part).where(this)
    part = parts.group_by(TICKET.c.subject_id).subquery("part")
    who = union(select(last.c.terminal_id), select(part.c.terminal_id)).subquery("who")
    joined = (
        TERMINAL.join(who, who.c.terminal_id == TERMINAL.c.terminal_id)
        .outerjoin(last, last.c.terminal_id == TERMINAL.c.terminal_id)
        .outerjoin(FAULT, FAULT.c.fault_id == last.c.fault_id)
        .outerjoin(part, part.c.terminal_id == TERMINAL.c.terminal_id)
        .outerjoin(TICKET, TICKET.c.ticket_id == part.c.ticket_id)
        .outerjoin(STANDING, STANDING.c.terminal_id == TERMINAL.c.terminal_id)
    )
    return select(
        TERMINAL.c.terminal_id,
        TERMINAL.c.store_id,
        STANDING.c.presence,
        FAULT.c.raised_at,
        FAULT.c.cleared_at,
        TICKET.c.ticket_id.label("own_ticket_id"),
        TICKET.c.status.label("own_ticket_status"),
    ).select_from(joined)
