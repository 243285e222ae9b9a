"""A merchant's report, taken down by whoever took the call: find the terminal or the store, see what is open, tell.

Which open ticket a report would be noted on is shown before it is sent, and stands in the form: when that has changed
meanwhile, nothing is sent, and the form comes back with what is so now. A change violates this when a report meets a
ticket that its sender was not shown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Form, Response
from pydantic import BaseModel

from tillwatch_collector.api.problems import missing
from tillwatch_collector.api.tickets.work import LINE
from tillwatch_collector.console import ticket_page
from tillwatch_collector.console.ticket_page import Draft
from tillwatch_collector.console.typed import Wrong, lines, wrong_text
from tillwatch_collector.console.visit import Visit, visiting
from tillwatch_collector.domain.meeting import met_by_report
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import NO_COMPONENT, REPORTED_CODE, Origin, Status
from tillwatch_collector.flows.changes import Move
from tillwatch_collector.flows.tickets import CONTACT_CHARS_MAX, DESCRIPTION_CHARS_MAX, TITLE_CHARS_MAX, Report
from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging, TerminalFilter
from tillwatch_collector.store.queue import Queue
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_collector.store.views import TicketView

router = APIRouter(include_in_schema=False)

Working = Annotated[Visit, visiting(Permission.WORK)]

FOUND_MAX = 10
"""Terminals, and stores: beyond that one types more of the name."""
QUERY_CHARS_MAX = 200
ORIGINS = (Origin.PHONE, Origin.WEB)

COMPONENT_CHARS_MAX = 97
_COMPONENT = re.compile(r"[a-z][a-z0-9_]{0,47}:[A-Za-z0-9_-]{1,48}")


class Meetable(NamedTuple):
    """An open ticket, as far as a report may be about the same."""

    ticket_id: int
    component: str
    code: str
    status: Status
    severity: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What a report is about, as the form shows it."""

    kind: str
    subject_id: str
    name: str
    told: str
    components: tuple[str, ...]
    tickets: tuple[TicketView, ...]
    """The open ones."""

    def met(self, component: str) -> TicketView | None:
        """Return the open ticket on which a report would be noted."""
        known = [
            Meetable(one.ticket_id, one.component, one.code, Status(one.status), one.severity) for one in self.tickets
        ]
        found = met_by_report(component, REPORTED_CODE, known)
        return next((one for one in self.tickets if found and one.ticket_id == found.ticket_id), None)


@router.get("/report")
def ask(visit: Working) -> Response:
    """Show the search, what it found, or the form for what was chosen."""
    given = visit.request.query_params
    q = "".join(character for character in given.get("q", "") if character.isprintable()).strip()[:QUERY_CHARS_MAX]
    with ticket_page.reading(visit) as queue:
        subject = _subject(visit, queue, given)
        values = _form(visit, queue, subject, component=given.get("component", NO_COMPONENT)[:COMPONENT_CHARS_MAX])
        if q and subject is None:
            values["terminals"] = queue.terminals(TerminalFilter(q=q), Paging(limit=FOUND_MAX)).items
            values["stores"] = queue.stores(Paging(limit=FOUND_MAX), q=q).items
    return visit.page("tickets/report.html", **values | {"q": q})


@router.get("/report/meets")
def tell_what_it_meets(visit: Working) -> Response:
    """Show on which open ticket a report of a part would be noted."""
    given = visit.request.query_params
    with ticket_page.reading(visit) as queue:
        subject = _subject(visit, queue, given)
        values = _form(visit, queue, subject, component=given.get("component", NO_COMPONENT)[:COMPONENT_CHARS_MAX])
    return visit.part("tickets/meets.html", **values)


class ReportSent(BaseModel):
    """The form."""

    terminal_id: str = ""
    store_id: str = ""
    component: str = NO_COMPONENT
    meets: str = ""
    """The number of the open ticket that was shown."""
    origin: str = ""
    title: str = ""
    description: str = ""
    contact: str = ""
    severity: str = ""


@router.post("/report")
def take_down(visit: Working, sent: Annotated[ReportSent, Form()]) -> Response:
    """Send a report: it opens a ticket, or is noted on the open one that was shown."""
    values = sent.model_dump(include={"component", "origin", "title", "contact", "severity"})
    values["description"] = lines(sent.description)
    with ticket_page.reading(visit) as queue:
        subject = _subject(visit, queue, {"terminal_id": sent.terminal_id, "store_id": sent.store_id})
        if subject is None:
            raise missing("subject", "of no name")
        met = subject.met(sent.component)
        wrong = _wrong(values)
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        if wrong is None and sent.meets != (str(met.ticket_id) if met else ""):
            wrong, status = Wrong(key="wrong_met" if met else "wrong_met_no_more"), HTTPStatus.CONFLICT
        if wrong is not None:
            draft = Draft(form="report", wrong=wrong, values=values)
            shown = _form(visit, queue, subject, component=sent.component, draft=draft)
            return visit.refuse("tickets/report.html", status, **shown)
    return _send(visit, subject, values)


def _send(visit: Visit, subject: Subject, values: Mapping[str, str]) -> Response:
    told = Report(
        origin=Origin(values["origin"]),
        subject_kind=subject.kind,
        subject_id=subject.subject_id,
        component=values["component"],
        severity=Severity(values["severity"]) if values["severity"] else None,
        title=values["title"],
        description=values["description"],
        contact=values["contact"] or None,
    )
    change = visit.context.desk.report(told, visit.author)
    with visit.reading() as queries:
        is_seen = queries.has_ticket(change.ticket_id)
    said = "said_report_opened" if change.move is Move.OPENED else "said_report_met"
    return visit.back(f"/tickets/{change.ticket_id}" if is_seen else "/tickets", said=said)


def _wrong(values: Mapping[str, str]) -> Wrong | None:
    """Say what of a report cannot stand."""
    limits = (("title", TITLE_CHARS_MAX), ("description", DESCRIPTION_CHARS_MAX), ("contact", CONTACT_CHARS_MAX))
    for name, chars_max in limits:
        if wrong := wrong_text(values[name], chars_max, needed=name == "title"):
            return wrong
    if not all(re.fullmatch(LINE, values[name].strip()) for name in ("title", "contact")):
        return Wrong(key="wrong_text_control")
    is_chosen = (
        values["origin"] in ORIGINS
        and values["severity"] in {"", *Severity}
        and (values["component"] == NO_COMPONENT or _COMPONENT.fullmatch(values["component"]))
    )
    return None if is_chosen else Wrong(key="wrong_choice")


def _subject(visit: Visit, queue: Queue, given: Mapping[str, str]) -> Subject | None:
    """Return what was chosen; None where nothing was. What the person does not see is not found."""
    if terminal_id := given.get("terminal_id"):
        return _terminal(visit, queue, terminal_id)
    return _store(visit, queue, store_id) if (store_id := given.get("store_id")) else None


def _terminal(visit: Visit, queue: Queue, terminal_id: str) -> Subject:
    standing = queue.standing(terminal_id)
    if standing is None:
        raise missing("terminal", terminal_id)
    one, level = standing.terminal, standing.level
    told = (one.brand, one.model, one.store_name, visit.words.word("presences", one.presence))
    return Subject(
        kind="terminal",
        subject_id=terminal_id,
        name=terminal_id,
        told=" · ".join(filter(None, told)),
        components=tuple(str(reading["component"]) for reading in level.components) if level else (),
        tickets=_open_tickets(visit, queue, "terminal", terminal_id),
    )


def _store(visit: Visit, queue: Queue, store_id: str) -> Subject:
    store = queue.store(store_id)
    if store is None:
        raise missing("store", store_id)
    return Subject(
        kind="store",
        subject_id=store_id,
        name=store.name,
        told=" · ".join(filter(None, (store.address, store.region))),
        components=(),
        tickets=_open_tickets(visit, queue, "store", store_id),
    )


def _open_tickets(visit: Visit, queue: Queue, kind: str, subject_id: str) -> tuple[TicketView, ...]:
    chosen = TicketFilter(now=visit.now, subject_kind=kind, subject_id=subject_id, open=True)
    return queue.tickets(chosen, Paging(limit=PAGE_ROWS_MAX, sort="-severity")).items


def _form(
    visit: Visit, queue: Queue, subject: Subject | None, *, component: str, draft: Draft | None = None
) -> dict[str, Any]:
    """Return what the form shows."""
    nobody: Sequence[Any] = ()
    return {
        "q": "",
        "draft": draft,
        "subject": subject,
        "chosen": component,
        "met": subject.met(component) if subject else None,
        "open_tickets": subject.tickets if subject else nobody,
        "components": subject.components if subject else nobody,
        "terminals": nobody,
        "stores": nobody,
        "severities": tuple(Severity),
        "person": ticket_page.names(visit, queue.people()),
        "zone": None,
    }
