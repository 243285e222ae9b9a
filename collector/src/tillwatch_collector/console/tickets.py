"""Pages of tickets: the queue and its CSV, one ticket with its live part, its files, and the order that is printed.

A file is handed out to be saved, never to be shown: whatever it holds, a browser runs nothing of it. What changes a
ticket stands in `ticket_steps`. A change violates this when a file leaves under the media type that its sender gave it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from markupsafe import Markup

from tillwatch_collector import exports
from tillwatch_collector.api.problems import Problem, missing
from tillwatch_collector.api.tickets.found import TicketId
from tillwatch_collector.api.tickets.said import FILE_MEDIA_TYPE, AttachmentId
from tillwatch_collector.console import rendering, ticket_page
from tillwatch_collector.console.pictures.clock import Ring
from tillwatch_collector.console.sharing import Made, shared, written
from tillwatch_collector.console.ticket_filter import AGES_H, ALL, GROUPS, OPEN, STATUSES, WHOSE, Asked
from tillwatch_collector.console.ticket_page import ring_of
from tillwatch_collector.console.visit import Visit, visiting
from tillwatch_collector.domain.hours import WEEKDAYS
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.domain.person import Person
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import FINAL, Status
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging
from tillwatch_collector.store.queue import WORKED_ON, Queue
from tillwatch_collector.store.ticket_queries import SlaState, TicketFilter
from tillwatch_collector.store.tickets import Tickets
from tillwatch_collector.store.views import Page, StoreView, TicketDetail, TicketView

router = APIRouter(include_in_schema=False)

Seeing = Annotated[Visit, visiting(Permission.SEE)]

ROWS = 50
"""Of a page: what a person reads before they narrow it."""
UNFOLDED_MAX = 20
"""Parts below their larger ticket; a link leads to the rest."""
MERCHANTS_MAX = 200
"""Offered while one types; beyond that one knows the id."""
IDENTITY = ("maker", "model", "firmware", "serial", "serial_number", "operator")
"""What a component tells of itself that a technician looks for on it."""

_SORTED = {"severity": "severity", "where": "store_id", "status": "status", "clock": "resolve_due_at"} | {
    "who": "assignee",
    "since": "opened_at",
}
_COLUMNS = ("severity", "what", "where", "status", "clock", "who", "since")
_DOWN_FIRST = frozenset({"severity"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A ticket in the queue."""

    ticket: TicketView
    promise: str
    clock: Ring
    """The one that is worse off."""
    takeable: bool
    """Open, and not this person's."""
    part: bool = False
    hit: int = 0
    """Terminals, of an outage."""
    parts: int = 0
    """How many lie folded in it."""
    unfolded: bool = False
    fold: str = ""
    """The address with them unfolded, or folded."""
    more: str = ""
    """The address of all of them, where not all are below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What the database says of a page of the queue: the same to all who see the same tickets and ask alike."""

    found: Page[TicketView]
    hit: Mapping[int, int]
    parts: Mapping[int, int]
    unfolded: Page[TicketView] | None
    by_status: Mapping[str, int]
    people: tuple[Person, ...]

    @property
    def tickets(self) -> tuple[TicketView, ...]:
        """All that are shown."""
        return (*self.found.items, *(self.unfolded.items if self.unfolded else ()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A page of the queue."""

    items: tuple[Row, ...]
    total: int
    first: int
    last: int
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """How many tickets there are in a status."""

    status: str
    count: int | None
    """None: nobody counted."""
    chosen: bool
    query: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column's head."""

    name: str
    query: str | None
    """The address that sorts by it."""
    sorted: str | None


# --- the queue


@router.get("/tickets")
def show_queue(visit: Seeing) -> Response:
    """Show the queue with its filters."""
    asked = Asked.of(visit.request.query_params)
    with ticket_page.reading(visit) as queue:
        merchants = queue.merchants(Paging(limit=MERCHANTS_MAX, sort="name")).items
    answer = visit.page(
        "tickets/queue.html",
        rows=_rows(visit, asked),
        asked=asked,
        query=asked.query,
        groups=GROUPS,
        merchants=merchants,
        statuses=STATUSES,
        severities=tuple(Severity),
        slas=tuple(SlaState),
        ages=AGES_H,
        whose=WHOSE,
    )
    if visit.request.headers.get("hx-request"):
        # Without the fields that are empty: the address is a link to send.
        answer.headers["HX-Push-Url"] = f"/tickets?{asked.query}" if asked.query else "/tickets"
    return answer


@router.get("/tickets/rows")
def show_rows(visit: Seeing) -> Response:
    """Show the rows of the queue alone: its live part."""
    return rendering.kept(visit.request, visit.words, _rows(visit, Asked.of(visit.request.query_params)))


@router.get("/tickets.csv")
def export(visit: Seeing) -> Response:
    """Hand out what the queue is narrowed to as CSV, parts among them."""
    chosen = Asked.of(visit.request.query_params).chosen(visit.now, visit.person.actor)
    try:
        parts = exports.tickets_csv(visit.context.store, chosen, visit.person.within)
    except exports.ExportTooLong as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    headers = {"Content-Disposition": 'attachment; filename="tickets.csv"'}
    return StreamingResponse(_encoded(parts), media_type=exports.MEDIA_TYPE, headers=headers)


def _encoded(parts: Iterator[str]) -> Iterator[bytes]:
    return (part.encode() for part in parts)


def _rows(visit: Visit, asked: Asked) -> Markup:
    """Write the rows, or take what was just written for somebody else and no step of any ticket has outdated."""
    me, may_work = visit.person.actor, visit.may(Permission.WORK)
    chosen = asked.chosen(visit.now, me)
    with ticket_page.reading(visit) as queue:
        what = ("queue", asked, replace(chosen, now=None), queue.newest_steps())
    made = shared(visit, what, lambda queries: _read(Queue(queries.connection, queries.within), asked, chosen))
    mine = me if any(ticket.assignee == me for ticket in made.value.tickets) else None

    def values() -> dict[str, Any]:
        return {
            "asked": asked,
            "query": asked.query,
            "page": _listed(asked, made, me),
            "counts": _counts(asked, made.value),
            "groups": GROUPS,
            "columns": [_column(asked, name) for name in _COLUMNS],
            "person": ticket_page.names(visit, made.value.people),
            "zone": None,
            "may_work": may_work,
        }

    return written(visit, "tickets/rows.html", (what, may_work, mine), made.at, values)


def _read(queue: Queue, asked: Asked, chosen: TicketFilter) -> Read:
    folded = not asked.narrows
    paging = Paging(limit=ROWS, offset=(asked.page - 1) * ROWS, sort=asked.order)
    found = queue.rows(chosen, paging, folded=folded)
    ticket_ids = [ticket.ticket_id for ticket in found.items]
    parts = queue.parts(ticket_ids) if folded else {}
    every = replace(chosen, status=None, open=None, resolved=None)
    return Read(
        found=found,
        hit=queue.hit(ticket_ids),
        parts=parts,
        unfolded=_below(queue, asked.unfold, chosen.now) if asked.unfold in parts else None,
        by_status=queue.by_status(every, folded=folded),
        people=queue.people(),
    )


def _below(queue: Queue, ticket_id: int | None, now: datetime | None) -> Page[TicketView]:
    """Return the first of the open parts of a larger ticket."""
    return queue.tickets(
        TicketFilter(now=now, parent_id=ticket_id, open=True), Paging(limit=UNFOLDED_MAX, sort="-severity")
    )


def _listed(asked: Asked, made: Made[Read], me: str) -> Listed:
    read, found = made.value, made.value.found
    rows: list[Row] = []
    for ticket in found.items:
        row = _row(asked, _plain_row(ticket, made.at, me), read.parts.get(ticket.ticket_id, 0))
        row = replace(row, hit=read.hit.get(ticket.ticket_id, 0))
        rows.append(row)
        if row.unfolded and read.unfolded is not None:
            below = [replace(_plain_row(part, made.at, me), part=True) for part in read.unfolded.items]
            rows += _with_the_rest(ticket.ticket_id, below, read.unfolded.total)
    last = found.offset + len(found.items)
    return Listed(
        items=tuple(rows),
        total=found.total,
        first=found.offset + 1,
        last=last,
        before=asked.but(page=asked.page - 1) if asked.page > 1 else None,
        after=asked.but(page=asked.page + 1) if last < found.total else None,
    )


def _row(asked: Asked, row: Row, parts: int) -> Row:
    ticket_id = row.ticket.ticket_id
    unfolded = parts > 0 and asked.unfold == ticket_id
    fold = asked.but(page=asked.page, unfold=None if unfolded else ticket_id) if parts else ""
    return replace(row, parts=parts, unfolded=unfolded, fold=fold)


def _with_the_rest(ticket_id: int, rows: list[Row], total: int) -> list[Row]:
    """Say below the last of the parts that are shown where the others are."""
    if total > len(rows):
        rows[-1] = replace(rows[-1], more=Asked(parent_id=ticket_id, status=ALL).query, parts=total)
    return rows


def _plain_row(ticket: TicketView, now: datetime, me: str) -> Row:
    promise = _pressing(ticket)
    return Row(
        ticket=ticket,
        promise=promise,
        clock=ring_of(ticket, promise, now),
        takeable=ticket.status not in FINAL and ticket.assignee != me,
    )


def _pressing(ticket: TicketView) -> str:
    """Say which of both clocks is worse off; the second, where neither runs."""
    runs = ticket.sla not in {None, SlaState.NONE}
    return "respond" if runs and ticket.sla_respond is ticket.sla else "resolve"


def _counts(asked: Asked, read: Read) -> list[Counted]:
    """Count what each status would show under the same filters; what is over is many, and counted when it is shown."""
    by_status = read.by_status
    worked_on = sum(count for status, count in by_status.items() if status in WORKED_ON)
    known = {str(status): by_status.get(status, 0) for status in set(Status) - FINAL}
    known |= {OPEN: worked_on, asked.status: read.found.total}
    return [
        Counted(
            status=status,
            count=known.get(status),
            chosen=status == asked.status,
            query=asked.but(status=status, unfold=None),
        )
        for status in STATUSES
        if known.get(status) != 0 or status in {OPEN, asked.status}
    ]


def _column(asked: Asked, name: str) -> Column:
    key = _SORTED.get(name)
    if key is None:
        return Column(name=name, query=None, sorted=None)
    up, down = key, f"-{key}"
    other = {up: down, down: up}.get(asked.order, down if name in _DOWN_FIRST else up)
    now = {up: "ascending", down: "descending"}.get(asked.order)
    return Column(name=name, query=asked.but(sort=other), sorted=now)


# --- one ticket


@router.get("/tickets/{ticket_id}")
def show_ticket(visit: Seeing, ticket_id: TicketId) -> Response:
    """Show one ticket: its story, and what may be done with it."""
    is_whole = visit.request.query_params.get("journal") == "all"
    with ticket_page.reading(visit) as queue:
        ticket = ticket_page.found(queue, ticket_id, visit.now)
        values = ticket_page.page(visit, queue, ticket, whole=is_whole)
    return visit.page("tickets/ticket.html", **values)


@router.get("/tickets/{ticket_id}/live")
def show_live(visit: Seeing, ticket_id: TicketId) -> Response:
    """Show the story of a ticket alone, with whether it has moved since the page was loaded."""
    given = visit.request.query_params
    with ticket_page.reading(visit) as queue:
        ticket = ticket_page.found(queue, ticket_id, visit.now)
        values = ticket_page.live(visit, queue, ticket, whole=given.get("journal") == "all")
    values["moved_on"] = given.get("status", ticket.status) != ticket.status
    return visit.part("tickets/live.html", **values)


@router.get("/tickets/{ticket_id}/attachments/{attachment_id}")
def hand_out(visit: Seeing, ticket_id: TicketId, attachment_id: AttachmentId) -> Response:
    """Hand out a file of a ticket."""
    with ticket_page.reading(visit) as queue:
        ticket_page.found(queue, ticket_id, visit.now)
        file = Tickets(queue.connection).attachment(ticket_id, attachment_id)
    if file is None:
        raise missing("attachment", f"{attachment_id} of ticket {ticket_id}")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(file.content, media_type=FILE_MEDIA_TYPE, headers=headers)


# --- the order


@router.get("/tickets/{ticket_id}/order")
def show_order(visit: Seeing, ticket_id: TicketId) -> Response:
    """Show a ticket as an order to print: what a technician needs on site, and room for what they did there.

    Internal comments stay out: the merchant signs it.
    """
    with ticket_page.reading(visit) as queue:
        ticket = ticket_page.found(queue, ticket_id, visit.now)
        store = queue.store(ticket.store_id) if ticket.store_id else None
        values = ticket_page.story(visit, queue, ticket, zone=ZoneInfo(store.time_zone) if store else None)
        merchant = Inventory(queue.connection).merchant(ticket.merchant_id) if ticket.merchant_id else None
        journal = queue.journal(ticket_id, Paging(limit=PAGE_ROWS_MAX)).items
        comments = queue.comments(ticket_id, Paging(limit=ticket_page.COMMENTS_MAX), internal=False).items
    values |= {
        "zone_name": store.time_zone if store else str(visit.words.zone),
        "merchant": merchant,
        "hours": _hours(store),
        "identity": _identity(ticket, values["level"].components if values["level"] else ()),
        "steps": [line for line in journal if line.from_status != line.to_status and line.from_status is not None],
        "comments": comments,
    }
    return visit.page("tickets/order.html", **values)


def _hours(store: StoreView | None) -> list[dict[str, Any]]:
    """Return the days on which a store is open, in their order."""
    known = store.opening_hours if store else {}
    return [{"day": day, "spans": ["-".join(span) for span in known[day]]} for day in WEEKDAYS if known.get(day)]


def _identity(ticket: TicketDetail, components: Any) -> list[tuple[str, str]]:
    """Return what the part in question says of itself, as its newest reading tells it."""
    readings: Iterator[Mapping[str, Any]] = (one for one in components if one.get("component") == ticket.component)
    facts = next(readings, {}).get("facts") or {}
    return [(name, str(facts[name])) for name in IDENTITY if facts.get(name)]
