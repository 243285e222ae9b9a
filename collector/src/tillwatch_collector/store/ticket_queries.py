"""Which tickets, and how each stands: the filter of every list of tickets, and the statement that it makes.

How a ticket's clocks stand (`SlaState`) is worked out by the statement itself, so that what a list shows and what it
is filtered by cannot differ; it is told as of the filter's `now`, from the due times that `flows.sla` has written.
Text is sought as it is written: a per cent sign is one. A change violates this when a list of tickets, its export and
its total are narrowed by anything but `TicketFilter`.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, String, Text, case, cast, exists, func, literal, null, or_, select

from tillwatch_collector.domain.ticket import FINAL, Status
from tillwatch_collector.store import tables
from tillwatch_collector.store.selection import being, containing, equal
from tillwatch_collector.store.tables import table_of

TICKET = table_of(tables.TicketRow)
STORE = table_of(tables.StoreRow)
COMMENT = table_of(tables.CommentRow)
ATTACHMENT = table_of(tables.AttachmentRow)

IS_OPEN = TICKET.c.status.in_(sorted(set(Status) - FINAL))
"""Said so that an index finds the few that are open among all that were."""
IS_RESOLVED = TICKET.c.status == "resolved"
IS_UNASSIGNED = TICKET.c.assignee.is_(None)

DUE_SOON = timedelta(hours=1)
"""Time enough to do something about it, and short enough that the list is not the whole queue."""


class SlaState(StrEnum):
    """How a promise to respond or to resolve stands."""

    OK = "ok"
    DUE_SOON = "due_soon"
    """Within the next hour."""
    BREACHED = "breached"
    """The time is over, and it is not done."""
    PAUSED = "paused"
    """Somebody else is waited for."""
    NONE = "none"
    """No clock runs: it is done, or nothing was promised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TicketFilter:
    """Which tickets; what is None does not narrow."""

    now: datetime | None = None
    """The moment as of which ages and clocks are told; without it none is told, and none may be asked for."""
    ticket_id: int | None = None
    after_ticket_id: int | None = None
    """Only those with greater numbers: the next part of an export."""
    q: str | None = None
    """In title, description, comments, code, subject or the store's name."""
    status: str | None = None
    open: bool | None = None
    """Neither closed nor cancelled nor merged."""
    resolved: bool | None = None
    """Proved, and not yet closed."""
    severity: str | None = None
    category: str | None = None
    origin: str | None = None
    code: str | None = None
    component: str | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    terminal_id: str | None = None
    store_id: str | None = None
    merchant_id: str | None = None
    region: str | None = None
    assignee: str | None = None
    unassigned: bool | None = None
    watcher: str | None = None
    parent_id: int | None = None
    opened_after: datetime | None = None
    opened_before: datetime | None = None
    age_h_min: float | None = None
    age_h_max: float | None = None
    sla: str | None = None
    """Of the clock that is worse off; a value of `SlaState`."""
    sla_respond: str | None = None
    sla_resolve: str | None = None


def tickets_query(chosen: TicketFilter) -> Select[Any]:
    """Select tickets, each with its store's name and region, and how its clocks stand."""
    respond, resolve = _clocks(chosen.now)
    columns = (
        *TICKET.c,
        STORE.c.name.label("store_name"),
        STORE.c.region,
        respond.label("sla_respond"),
        resolve.label("sla_resolve"),
        _worse(respond, resolve, chosen.now).label("sla"),
    )
    joined = TICKET.outerjoin(STORE, STORE.c.store_id == TICKET.c.store_id)
    return select(*columns).select_from(joined).where(*_conditions(chosen, respond, resolve))


def counts_query(ticket_id: int) -> Select[Any]:
    """Count what hangs on a ticket."""
    child = TICKET.alias()
    counted = {
        "comments": (COMMENT, COMMENT.c.ticket_id),
        "attachments": (ATTACHMENT, ATTACHMENT.c.ticket_id),
        "children": (child, child.c.parent_id),
    }
    return select(
        *(
            select(func.count()).select_from(table).where(of == ticket_id).scalar_subquery().label(name)
            for name, (table, of) in counted.items()
        )
    )


TICKET_SORTS: dict[str, ColumnElement[Any]] = {
    "ticket_id": TICKET.c.ticket_id,
    "opened_at": TICKET.c.opened_at,
    "updated_at": TICKET.c.updated_at,
    "status": TICKET.c.status,
    "severity": case({"info": 0, "minor": 1, "major": 2, "critical": 3}, value=TICKET.c.severity, else_=0),
    "respond_due_at": TICKET.c.respond_due_at,
    "resolve_due_at": TICKET.c.resolve_due_at,
    "store_id": TICKET.c.store_id,
    "assignee": TICKET.c.assignee,
}


def _conditions(
    chosen: TicketFilter, respond: ColumnElement[Any], resolve: ColumnElement[Any]
) -> tuple[ColumnElement[bool], ...]:
    asked: dict[ColumnElement[Any], object] = {
        **{TICKET.c[name]: getattr(chosen, name) for name in _EQUAL},
        STORE.c.region: chosen.region,
        respond: chosen.sla_respond,
        resolve: chosen.sla_resolve,
        _worse(respond, resolve, chosen.now): chosen.sla,
    }
    return (
        *equal(asked),
        *being({IS_OPEN: chosen.open, IS_RESOLVED: chosen.resolved, IS_UNASSIGNED: chosen.unassigned}),
        *_about_terminal(chosen.terminal_id),
        *_opened(chosen),
        *_watched_by(chosen.watcher),
        *_saying(chosen.q),
        *(() if chosen.after_ticket_id is None else (TICKET.c.ticket_id > chosen.after_ticket_id,)),
    )


_EQUAL = (
    "ticket_id",
    "status",
    "severity",
    "category",
    "origin",
    "code",
    "component",
    "subject_kind",
    "subject_id",
    "store_id",
    "merchant_id",
    "assignee",
    "parent_id",
)


def _about_terminal(terminal_id: str | None) -> tuple[ColumnElement[bool], ...]:
    if terminal_id is None:
        return ()
    return (TICKET.c.subject_kind == "terminal", TICKET.c.subject_id == terminal_id)


def _opened(chosen: TicketFilter) -> tuple[ColumnElement[bool], ...]:
    opened = TICKET.c.opened_at
    if chosen.now is None and {chosen.age_h_min, chosen.age_h_max} != {None}:
        raise AssertionError("an age as of no moment")
    wanted = [] if chosen.opened_after is None else [opened >= chosen.opened_after]
    wanted += [] if chosen.opened_before is None else [opened < chosen.opened_before]
    wanted += [] if chosen.age_h_min is None else [opened <= _before(chosen.now, chosen.age_h_min)]
    wanted += [] if chosen.age_h_max is None else [opened >= _before(chosen.now, chosen.age_h_max)]
    return tuple(wanted)


def _before(now: datetime | None, age_h: float) -> datetime:
    if now is None:
        raise AssertionError("an age as of no moment")
    return now - timedelta(hours=age_h)


def _watched_by(watcher: str | None) -> tuple[ColumnElement[bool], ...]:
    """Seek a member of the list in its text, which SQLite keeps escaped and PostgreSQL does not."""
    if watcher is None:
        return ()
    written = cast(TICKET.c.watchers, Text)
    forms = {json.dumps(watcher), json.dumps(watcher, ensure_ascii=False)}
    return (or_(*(written.contains(form, autoescape=True) for form in sorted(forms))),)


def _saying(q: str | None) -> tuple[ColumnElement[bool], ...]:
    if not q:
        return ()
    said = exists().where(COMMENT.c.ticket_id == TICKET.c.ticket_id, *containing(q, COMMENT.c.text))
    searched = (TICKET.c.title, TICKET.c.description, TICKET.c.code, TICKET.c.subject_id, STORE.c.name)
    return (or_(*containing(q, *searched), said),)


def _clocks(now: datetime | None) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    respond = _clock(TICKET.c.respond_due_at, TICKET.c.responded_at, now)
    return respond, _clock(TICKET.c.resolve_due_at, TICKET.c.resolved_at, now)


def _clock(due_at: ColumnElement[Any], done_at: ColumnElement[Any], now: datetime | None) -> ColumnElement[Any]:
    if now is None:
        return cast(null(), String)
    return case(
        (or_(done_at.is_not(None), ~IS_OPEN), literal(SlaState.NONE.value)),
        (TICKET.c.status == "pending", literal(SlaState.PAUSED.value)),
        (due_at.is_(None), literal(SlaState.NONE.value)),
        (due_at <= now, literal(SlaState.BREACHED.value)),
        (due_at <= now + DUE_SOON, literal(SlaState.DUE_SOON.value)),
        else_=literal(SlaState.OK.value),
    )


def _worse(respond: ColumnElement[Any], resolve: ColumnElement[Any], now: datetime | None) -> ColumnElement[Any]:
    if now is None:
        return cast(null(), String)
    by_urgency = (SlaState.BREACHED, SlaState.DUE_SOON, SlaState.OK, SlaState.PAUSED)
    either = [(or_(respond == state.value, resolve == state.value), literal(state.value)) for state in by_urgency]
    return case(*either, else_=literal(SlaState.NONE.value))
