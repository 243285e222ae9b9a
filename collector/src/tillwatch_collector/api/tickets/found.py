"""Routes that find tickets: the list, one with what hangs on it, its journal, its parts, and the list as CSV."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from tillwatch_collector import exports
from tillwatch_collector.api.actor import Seen
from tillwatch_collector.api.context import Context, Reading, WebContext
from tillwatch_collector.api.paging import PageQuery, QueryMoment, QueryText, paging
from tillwatch_collector.api.problems import Problem, missing
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import Origin, Status
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.ticket_queries import SlaState, TicketFilter
from tillwatch_collector.store.views import JournalView, Page, TicketDetail, TicketView
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter()

TicketId = Annotated[int, Path(ge=1, le=INTEGER_MAX)]

AGE_H_MAX = 100 * 366 * 24
"""A century: no ticket is older, and the time before it is still one."""
AgeHours = Annotated[float, Field(ge=0, le=AGE_H_MAX, allow_inf_nan=False)]


class TicketsWanted(BaseModel):
    """Which tickets; what is left out does not narrow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    q: QueryText | None = None
    """In title, description, comments, code, subject or the store's name."""
    status: Status | None = None
    open: bool | None = None
    resolved: bool | None = None
    severity: Severity | None = None
    category: QueryText | None = None
    origin: Origin | None = None
    code: QueryText | None = None
    component: QueryText | None = None
    subject_kind: QueryText | None = None
    subject_id: QueryText | None = None
    terminal_id: QueryText | None = None
    store_id: QueryText | None = None
    merchant_id: QueryText | None = None
    region: QueryText | None = None
    assignee: QueryText | None = None
    watcher: QueryText | None = None
    parent_id: Annotated[int, Field(ge=1, le=INTEGER_MAX)] | None = None
    opened_after: QueryMoment | None = None
    opened_before: QueryMoment | None = None
    age_h_min: AgeHours | None = None
    age_h_max: AgeHours | None = None
    sla: SlaState | None = None
    """Of the clock that is worse off."""
    sla_respond: SlaState | None = None
    sla_resolve: SlaState | None = None


class _TicketsQuery(TicketsWanted, PageQuery):
    pass


@router.get("/tickets")
def list_tickets(context: Context, reading: Reading, asked: Annotated[_TicketsQuery, Query()]) -> Page[TicketView]:
    """List tickets; `sort=-opened_at` shows the latest first, `sort=resolve_due_at` what is due first.

    `q` searches title, description, comments, code, subject and the store's name. Ages are in hours since a ticket was
    opened. `sla` is how the clock stands that is worse off: `breached`, `due_soon` (within an hour), `ok`, `paused`
    (somebody is waited for) or `none` (no clock runs).
    """
    return reading.tickets(_chosen(context, asked), paging(asked))


_CSV: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK.value: {
        "description": "a line of names, and one for each ticket",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }
}


class _CsvResponse(StreamingResponse):
    media_type = exports.MEDIA_TYPE


@router.get("/tickets.csv", response_class=_CsvResponse, responses=_CSV)
def export_tickets(context: Context, asked: Annotated[TicketsWanted, Query()], seen: Seen) -> _CsvResponse:
    """Hand out the tickets of a filter as CSV in UTF-8, by their numbers, with the columns of the list.

    A cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    try:
        parts = exports.tickets_csv(context.store, _chosen(context, asked), seen)
    except exports.ExportTooLong as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    return _CsvResponse(_encoded(parts), headers={"Content-Disposition": 'attachment; filename="tickets.csv"'})


def _encoded(parts: Iterator[str]) -> Iterator[bytes]:
    return (part.encode() for part in parts)


@router.get("/tickets/{ticket_id}")
def get_ticket(context: Context, reading: Reading, ticket_id: TicketId) -> TicketDetail:
    """Show one ticket: how its clocks stand, what hangs on it, and which actions its status takes."""
    return shown(context, reading, ticket_id)


@router.get("/tickets/{ticket_id}/journal")
def get_journal(reading: Reading, ticket_id: TicketId, asked: Annotated[PageQuery, Query()]) -> Page[JournalView]:
    """List what happened to a ticket: each change with who, why and on what evidence."""
    expect_ticket(reading, ticket_id)
    return reading.journal(ticket_id, paging(asked))


@router.get("/tickets/{ticket_id}/children")
def list_children(
    context: Context, reading: Reading, ticket_id: TicketId, asked: Annotated[PageQuery, Query()]
) -> Page[TicketView]:
    """List the tickets that are part of one: of an outage, those of its terminals."""
    expect_ticket(reading, ticket_id)
    return reading.tickets(TicketFilter(now=context.now(), parent_id=ticket_id), paging(asked))


def shown(context: WebContext, reading: Queries, ticket_id: int) -> TicketDetail:
    """Return a ticket as it is shown, or say that there is none."""
    found = reading.ticket(ticket_id, context.now())
    if found is None:
        raise missing("ticket", ticket_id)
    return found


def expect_ticket(reading: Queries, ticket_id: int) -> None:
    """Say that there is no such ticket, unless there is."""
    if not reading.has_ticket(ticket_id):
        raise missing("ticket", ticket_id)


def _chosen(context: WebContext, asked: TicketsWanted) -> TicketFilter:
    wanted = {name: getattr(asked, name) for name in TicketsWanted.model_fields}
    return TicketFilter(now=context.now(), **wanted)
