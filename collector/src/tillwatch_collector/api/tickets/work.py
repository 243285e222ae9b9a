"""Routes that make and move tickets. Each answers with the ticket as it is then.

What an action needs beside its reason stands in its body; an action that the ticket's status does not take is a
conflict, and the answer names those that it does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tillwatch_collector.api.actor import By, Seen
from tillwatch_collector.api.context import Context, WebContext
from tillwatch_collector.api.narrowing import expect_tickets
from tillwatch_collector.api.problems import FieldError, Problem
from tillwatch_collector.api.tickets.found import TicketId, shown
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import (
    ACTOR_PATTERN,
    NO_COMPONENT,
    REPORTED_CODE,
    Action,
    Origin,
    PendingOn,
    RepairMode,
)
from tillwatch_collector.errors import TicketActionIllegal
from tillwatch_collector.flows.changes import Move
from tillwatch_collector.flows.tickets import (
    CONTACT_CHARS_MAX,
    DESCRIPTION_CHARS_MAX,
    REASON_CHARS_MAX,
    TITLE_CHARS_MAX,
    Report,
)
from tillwatch_collector.store.inventory import UnknownReference
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.views import TicketDetail
from tillwatch_protocol.vocabulary import INTEGER_MAX, Code, Component, Identifier

router = APIRouter(prefix="/tickets")

LINE = r"^[^\x00-\x1f\x7f]*$"
LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
"""Tabs and new lines, and no other control characters."""

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_CHARS_MAX, pattern=LINES)
]
"""Why; it stands in the journal."""
ActorName = Annotated[str, Field(max_length=100, pattern=ACTOR_PATTERN)]
"""`kind:id`, such as `person:ann` or `provider:acme`."""
OtherTicketId = Annotated[int, Field(ge=1, le=INTEGER_MAX)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- reports


class ReportBody(_Body):
    """What a person tells of a terminal, or of a store."""

    origin: Literal[Origin.PHONE, Origin.WEB]
    terminal_id: Identifier | None = None
    store_id: Identifier | None = None
    """Either a terminal or a store."""
    component: Component | Literal[""] = NO_COMPONENT
    """Empty: of the whole, or nobody knows."""
    code: Code = REPORTED_CODE
    severity: Severity | None = None
    """By default what the policy says of the code."""
    title: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_CHARS_MAX, pattern=LINE)
    ]
    description: Annotated[str, Field(max_length=DESCRIPTION_CHARS_MAX, pattern=LINES)] = ""
    contact: Annotated[str, Field(max_length=CONTACT_CHARS_MAX, pattern=LINE)] | None = None
    """Whom to call, and when."""

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.terminal_id is None) is (self.store_id is None):
            raise ValueError("expected either terminal_id or store_id")
        return self

    def report(self) -> Report:
        """Return it as the flow takes it."""
        kind = "store" if self.terminal_id is None else "terminal"
        return Report(
            origin=self.origin,
            subject_kind=kind,
            subject_id=self.terminal_id or self.store_id or "",
            component=self.component,
            code=self.code,
            severity=self.severity,
            title=self.title,
            description=self.description,
            contact=self.contact,
        )


@router.post(
    "", status_code=HTTPStatus.CREATED, responses={HTTPStatus.OK.value: {"description": "it met one that is open"}}
)
def report_ticket(context: Context, by: By, seen: Seen, told: ReportBody, response: Response) -> TicketDetail:
    """Report what is wrong: opens a ticket, or is noted on the open one that is about the same.

    Sent twice it is noted twice and opens nothing: no key is needed to make it safe.
    """
    _expect_subject(context, seen, told)
    try:
        change = context.desk.report(told.report(), by)
    except UnknownReference as error:
        raise UnknownReference("store_id" if told.terminal_id is None else "terminal_id", error.got) from None
    if change.move is not Move.OPENED:
        response.status_code = HTTPStatus.OK
    response.headers["Location"] = f"/api/v1/tickets/{change.ticket_id}"
    return _after(context, change.ticket_id)


# --- steps


class ReasonBody(_Body):
    """Why it is done."""

    reason: Reason


class RepairBody(ReasonBody):
    """How it is mended."""

    mode: RepairMode


class PendBody(ReasonBody):
    """What it waits for."""

    pending_on: PendingOn


class MergeBody(ReasonBody):
    """Into which it goes."""

    into: OtherTicketId


class ParentBody(ReasonBody):
    """What it is part of; null: of nothing."""

    parent_id: OtherTicketId | None


class AssignBody(_Body):
    """Who does it; null: nobody."""

    assignee: ActorName | None
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX, pattern=LINES)] = ""


class WatchBody(_Body):
    """Who is to be told of it; left out: who asks."""

    watcher: ActorName | None = None


Plain = Literal[Action.DIAGNOSE, Action.RESUME, Action.VERIFY, Action.CLOSE, Action.CANCEL, Action.REOPEN]


@router.post("/{ticket_id}/actions/repair")
def repair_ticket(context: Context, by: By, ticket_id: TicketId, body: RepairBody) -> TicketDetail:
    """Begin the repair: `remote`, `on_site` or `sent_in`."""
    with _taking(context, ticket_id, Action.REPAIR):
        context.desk.act(ticket_id, Action.REPAIR, by, reason=body.reason, mode=body.mode)
    return _after(context, ticket_id)


@router.post("/{ticket_id}/actions/pend")
def pend_ticket(context: Context, by: By, ticket_id: TicketId, body: PendBody) -> TicketDetail:
    """Wait for `parts`, the `merchant` or the `provider`: its clocks stand meanwhile."""
    with _taking(context, ticket_id, Action.PEND):
        context.desk.act(ticket_id, Action.PEND, by, reason=body.reason, pending_on=body.pending_on)
    return _after(context, ticket_id)


@router.post("/{ticket_id}/actions/merge")
def merge_ticket(context: Context, by: By, seen: Seen, ticket_id: TicketId, body: MergeBody) -> TicketDetail:
    """End a ticket that is the same as another one, and goes on there."""
    expect_tickets(context, seen, body.into)
    with _taking(context, ticket_id, Action.MERGE):
        context.desk.merge(ticket_id, body.into, by, reason=body.reason)
    return _after(context, ticket_id)


@router.post("/{ticket_id}/actions/parent")
def set_parent(context: Context, by: By, seen: Seen, ticket_id: TicketId, body: ParentBody) -> TicketDetail:
    """Make a ticket part of a larger one, or of none."""
    expect_tickets(context, seen, body.parent_id)
    with _taking(context, ticket_id, "parent"):
        context.desk.set_parent(ticket_id, body.parent_id, by, reason=body.reason)
    return _after(context, ticket_id)


@router.post("/{ticket_id}/actions/assign")
def assign_ticket(context: Context, by: By, ticket_id: TicketId, body: AssignBody) -> TicketDetail:
    """Give a ticket to somebody, or to nobody."""
    with _taking(context, ticket_id, "assign"):
        context.desk.assign(ticket_id, body.assignee, by, reason=body.reason)
    return _after(context, ticket_id)


@router.post("/{ticket_id}/actions/watch")
def watch_ticket(context: Context, by: By, ticket_id: TicketId, body: WatchBody) -> TicketDetail:
    """Let somebody be told of a ticket."""
    context.desk.watch(ticket_id, body.watcher or by.actor, by)
    return _after(context, ticket_id)


@router.post("/{ticket_id}/actions/unwatch")
def unwatch_ticket(context: Context, by: By, ticket_id: TicketId, body: WatchBody) -> TicketDetail:
    """Tell somebody no more of a ticket."""
    context.desk.unwatch(ticket_id, body.watcher or by.actor, by)
    return _after(context, ticket_id)


@router.post("/{ticket_id}/actions/{action}")
def take_step(context: Context, by: By, ticket_id: TicketId, action: Plain, body: ReasonBody) -> TicketDetail:
    """Diagnose, resume, verify, close, cancel or reopen a ticket."""
    with _taking(context, ticket_id, action):
        context.desk.act(ticket_id, action, by, reason=body.reason)
    return _after(context, ticket_id)


@contextmanager
def _taking(context: WebContext, ticket_id: int, action: str) -> Iterator[None]:
    """Say which actions a ticket takes where it does not take this one."""
    try:
        yield
    except TicketActionIllegal as error:
        takes = ", ".join(_after(context, ticket_id).actions)
        wrong = FieldError(field="action", expected=f"one of {takes}" if takes else "none, it is final", got=action)
        raise Problem(HTTPStatus.CONFLICT, str(error), (wrong,)) from None


def _expect_subject(context: WebContext, seen: Within, told: ReportBody) -> None:
    """Say of a subject that is not seen what is said of an unknown one."""
    if seen.everywhere:
        return
    with context.store.reading() as connection:
        queries = Queries(connection, seen)
        field, name = ("terminal_id", told.terminal_id) if told.terminal_id else ("store_id", told.store_id or "")
        if not (queries.sees_terminal(name) if told.terminal_id else queries.sees_store(name)):
            raise UnknownReference(field, name)


def _after(context: WebContext, ticket_id: int) -> TicketDetail:
    with context.store.reading() as connection:
        return shown(context, Queries(connection), ticket_id)
