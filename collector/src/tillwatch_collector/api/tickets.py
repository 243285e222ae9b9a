"""Routes of tickets and their journals."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from tillwatch_collector.api.context import Reading
from tillwatch_collector.api.paging import PageQuery, QueryMoment, QueryText, paging
from tillwatch_collector.api.problems import missing
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import Status
from tillwatch_collector.store.queries import TicketFilter
from tillwatch_collector.store.views import JournalView, Page, TicketView
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(prefix="/api/v1/tickets", tags=["tickets"])

TicketId = Annotated[int, Path(ge=1, le=INTEGER_MAX)]


class _TicketsQuery(PageQuery):
    status: Status | None = None
    open: bool | None = None
    resolved: bool | None = None
    severity: Severity | None = None
    code: QueryText | None = None
    component: QueryText | None = None
    subject_kind: QueryText | None = None
    subject_id: QueryText | None = None
    store_id: QueryText | None = None
    opened_after: QueryMoment | None = None
    opened_before: QueryMoment | None = None


@router.get("")
def list_tickets(reading: Reading, asked: Annotated[_TicketsQuery, Query()]) -> Page[TicketView]:
    """List tickets; `sort=-opened_at` shows the latest first."""
    chosen = TicketFilter(**asked.model_dump(exclude={"limit", "offset", "sort"}))
    return reading.tickets(chosen, paging(asked))


@router.get("/{ticket_id}")
def get_ticket(reading: Reading, ticket_id: TicketId) -> TicketView:
    """Show one ticket."""
    found = reading.ticket(ticket_id)
    if found is None:
        raise missing("ticket", ticket_id)
    return found


@router.get("/{ticket_id}/journal")
def get_journal(reading: Reading, ticket_id: TicketId, asked: Annotated[PageQuery, Query()]) -> Page[JournalView]:
    """List what happened to a ticket: each change with who, why and on what evidence."""
    if reading.ticket(ticket_id) is None:
        raise missing("ticket", ticket_id)
    return reading.journal(ticket_id, paging(asked))
