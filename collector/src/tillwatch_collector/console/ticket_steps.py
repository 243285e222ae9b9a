"""What people do with tickets in the console: the table's actions, assigning, watching, merging, comments, files.

What others did since the page was loaded is a conflict and nothing changes: the page comes back with what happened and
with everything that was typed. So it does when what was sent cannot stand, with what was wrong in the person's words.
A change violates this when something that was typed is lost.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response, UploadFile
from pydantic import BaseModel, Field

from tillwatch_collector.api.tickets.found import TicketId
from tillwatch_collector.console import ticket_page
from tillwatch_collector.console.ticket_filter import Asked
from tillwatch_collector.console.ticket_page import Draft
from tillwatch_collector.console.typed import Wrong, lines, number, wrong_text
from tillwatch_collector.console.visit import Visit, visiting
from tillwatch_collector.domain.attachment import FILE_BYTES_MAX
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.domain.ticket import ACTOR_PATTERN, Action, PendingOn, RepairMode
from tillwatch_collector.errors import CallerError, TicketActionIllegal
from tillwatch_collector.flows.tickets import COMMENT_CHARS_MAX, REASON_CHARS_MAX
from tillwatch_collector.store.views import JournalView, TicketDetail
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(include_in_schema=False, prefix="/tickets/{ticket_id}")

Working = Annotated[Visit, visiting(Permission.WORK)]
Typed = Annotated[str, Form()]
Line = Annotated[int, Field(ge=0, le=INTEGER_MAX)]


class Sent(BaseModel):
    """What every form sends that acts on what the page showed."""

    seen: Line | None = None
    """The last line of the journal that the page showed."""
    reason: str = ""


class StepSent(Sent):
    """A step of the table, and what it needs."""

    mode: str = ""
    pending_on: str = ""


class AssignSent(Sent):
    """Who is to have it."""

    assignee: str = ""
    """`me`, `kind:id`, or nobody."""
    provider: str = ""
    queue: str | None = None
    """What the queue was narrowed to from which it was sent, with its question mark: an empty field is none."""


class JoinSent(Sent):
    """The number of another ticket."""

    into: str = ""
    parent_id: str = ""


ME = "me"
MOVED = Wrong(key="wrong_moved")
LINES_MAX = 3
"""Of what happened, told to somebody of whom nobody knows what they saw."""
_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Something that somebody wants to do with a ticket."""

    visit: Visit
    ticket_id: int
    form: str
    values: Mapping[str, str] = field(default_factory=dict)
    seen: int | None = None
    """None: what others did meanwhile does not matter to it."""
    heeds: tuple[str, ...] = ()
    """Lines of the journal that matter to it beside those that moved the ticket."""

    def make(self, do: Callable[[], Any], *, said: str, onward: str | None = None) -> Response:
        """Do it, or tell why not."""
        if self.seen is not None and self._moved():
            return self.refuse(MOVED, HTTPStatus.CONFLICT)
        try:
            do()
        except TicketActionIllegal:
            return self.refuse(MOVED, HTTPStatus.CONFLICT)
        except CallerError as error:
            return self.refuse(Wrong(key="wrong_refused", said={"said": str(error)}))
        return self.visit.back(onward or f"/tickets/{self.ticket_id}", said=said)

    def refuse(self, wrong: Wrong, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> Response:
        """Show the ticket again, with what was wrong and what was typed."""
        moved = self._moved() if status is HTTPStatus.CONFLICT else ()
        draft = Draft(form=self.form, wrong=wrong, values=self.values, moved=moved)
        with ticket_page.reading(self.visit) as queue:
            ticket = ticket_page.found(queue, self.ticket_id, self.visit.now)
            values = ticket_page.page(self.visit, queue, ticket, draft=draft, whole=False)
        return self.visit.refuse("tickets/ticket.html", status, **values)

    def refuse_text(self, text: str, chars_max: int, *, needed: bool = True) -> Response | None:
        """Refuse a text that cannot be kept."""
        wrong = wrong_text(text, chars_max, needed=needed)
        return self.refuse(wrong) if wrong else None

    def visible(self) -> TicketDetail:
        """Return the ticket, or say that there is none for this person."""
        with ticket_page.reading(self.visit) as queue:
            return ticket_page.found(queue, self.ticket_id, self.visit.now)

    def _moved(self) -> tuple[JournalView, ...]:
        with ticket_page.reading(self.visit) as queue:
            moved = ticket_page.moved_since(queue, self.ticket_id, self.seen or 0, *self.heeds)
        return moved if self.seen is not None else moved[-LINES_MAX:]


# --- the table's actions


@router.post("/actions/{action}")
def take_step(visit: Working, ticket_id: TicketId, action: Action, sent: Annotated[StepSent, Form()]) -> Response:
    """Take a step of the table; `repair` needs its mode, `pend` what is waited for."""
    reason = lines(sent.reason)
    values = {"reason": reason, "mode": sent.mode, "pending_on": sent.pending_on}
    attempt = Attempt(visit=visit, ticket_id=ticket_id, form=str(action), values=values, seen=sent.seen)
    attempt.visible()
    if refused := attempt.refuse_text(reason, REASON_CHARS_MAX):
        return refused
    needed = _needed(action, sent)
    if needed is None:
        return attempt.refuse(Wrong(key="wrong_choice"))
    desk = visit.context.desk
    return attempt.make(
        lambda: desk.act(ticket_id, action, visit.author, reason=reason, **needed), said="said_ticket_moved"
    )


def _needed(action: Action, sent: StepSent) -> dict[str, Any] | None:
    """Return what an action needs beside its reason; None where nothing was chosen."""
    with suppress(ValueError):
        if action is Action.REPAIR:
            return {"mode": RepairMode(sent.mode)}
        return {"pending_on": PendingOn(sent.pending_on)} if action is Action.PEND else {}
    return None


# --- who does it, and who is told


@router.post("/assign")
def assign(
    visit: Working,
    ticket_id: TicketId,
    sent: Annotated[AssignSent, Form()],
    had: Annotated[str | None, Query()] = None,
) -> Response:
    """Give a ticket to somebody: `me`, a person, a provider, or nobody.

    From the queue, which says who `had` it when it was shown, back to where one was.
    """
    reason = lines(sent.reason)
    values = {"assignee": sent.assignee, "provider": sent.provider, "reason": reason}
    attempt = Attempt(visit=visit, ticket_id=ticket_id, form="assign", values=values, seen=sent.seen, heeds=("assign",))
    ticket = attempt.visible()
    if had is not None and had != (ticket.assignee or ""):
        return attempt.refuse(MOVED, HTTPStatus.CONFLICT)
    if refused := attempt.refuse_text(reason, REASON_CHARS_MAX, needed=False):
        return refused
    who = _who(visit, sent)
    if who and not (who.isprintable() and re.fullmatch(ACTOR_PATTERN, who)):
        return attempt.refuse(Wrong(key="wrong_assignee"))
    onward = None if sent.queue is None else f"/tickets?{Asked.of_query(sent.queue.removeprefix('?')).query}"
    desk = visit.context.desk
    return attempt.make(
        lambda: desk.assign(ticket_id, who or None, visit.author, reason=reason),
        said="said_ticket_assigned",
        onward=onward,
    )


def _who(visit: Visit, sent: AssignSent) -> str:
    if sent.provider.strip():
        return f"provider:{sent.provider.strip()}"
    return visit.person.actor if sent.assignee == ME else sent.assignee


@router.post("/watch")
def watch(visit: Working, ticket_id: TicketId, watching: Typed = "yes") -> Response:
    """Be told of a ticket, or no more."""
    attempt = Attempt(visit=visit, ticket_id=ticket_id, form="watch")
    attempt.visible()
    desk, me = visit.context.desk, visit.person.actor
    if watching == "no":
        return attempt.make(lambda: desk.unwatch(ticket_id, me, visit.author), said="said_ticket_unwatched")
    return attempt.make(lambda: desk.watch(ticket_id, me, visit.author), said="said_ticket_watched")


# --- one ticket and another


@router.get("/merge")
def look_before_merging(visit: Working, ticket_id: TicketId, into: str = "") -> Response:
    """Show the ticket into which this one would go, before it does."""
    return _look(visit, ticket_id, "merge", "into", into)


@router.post("/merge")
def merge(visit: Working, ticket_id: TicketId, sent: Annotated[JoinSent, Form()]) -> Response:
    """End a ticket that is the same as another one, and go on there."""
    other, reason = number(sent.into), lines(sent.reason)
    joining = Joining(visit=visit, ticket_id=ticket_id, how="merge", named="into", other=other, reason=reason)
    desk = visit.context.desk
    return joining.make(
        lambda: desk.merge(ticket_id, other or 0, visit.author, reason=reason),
        seen=sent.seen,
        said="said_ticket_merged",
        onward=f"/tickets/{other}",
    )


@router.get("/parent")
def look_before_joining(visit: Working, ticket_id: TicketId, parent_id: str = "") -> Response:
    """Show the ticket of which this one would be a part, before it is."""
    return _look(visit, ticket_id, "parent", "parent_id", parent_id)


@router.post("/parent")
def set_parent(visit: Working, ticket_id: TicketId, sent: Annotated[JoinSent, Form()]) -> Response:
    """Make a ticket part of a larger one; of none, where no number is given."""
    desk, seen = visit.context.desk, sent.seen
    other, reason = number(sent.parent_id), lines(sent.reason)
    if sent.parent_id.strip():
        joining = Joining(visit=visit, ticket_id=ticket_id, how="parent", named="parent_id", other=other, reason=reason)
        return joining.make(
            lambda: desk.set_parent(ticket_id, other, visit.author, reason=reason), seen=seen, said="said_ticket_parent"
        )
    attempt = Attempt(
        visit=visit, ticket_id=ticket_id, form="unparent", values={"reason": reason}, seen=seen, heeds=("set_parent",)
    )
    attempt.visible()
    if refused := attempt.refuse_text(reason, REASON_CHARS_MAX):
        return refused
    return attempt.make(
        lambda: desk.set_parent(ticket_id, None, visit.author, reason=reason), said="said_ticket_parent"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Joining:
    """A ticket that is to go on as another one, or to become part of it."""

    visit: Visit
    ticket_id: int
    how: str
    named: str
    other: int | None
    reason: str

    def make(self, do: Callable[[], Any], *, seen: int | None, said: str, onward: str | None = None) -> Response:
        """Do it, or show both again with what was wrong."""
        attempt = self._attempt(seen)
        attempt.visible()
        if unknown := _unknown(attempt, self.other):
            return unknown
        wrong = wrong_text(self.reason, REASON_CHARS_MAX)
        if wrong:
            return self.show(Draft(form=self.how, wrong=wrong, values=self._values))
        return attempt.make(do, said=said, onward=onward)

    def show(self, draft: Draft | None = None) -> Response:
        """Show both."""
        visit = self.visit
        with ticket_page.reading(visit) as queue:
            ticket = ticket_page.found(queue, self.ticket_id, visit.now)
            other = ticket_page.found(queue, self.other or 0, visit.now)
            values = ticket_page.page(visit, queue, ticket, draft=draft, whole=False)
        status = HTTPStatus.UNPROCESSABLE_ENTITY if draft else HTTPStatus.OK
        return visit.refuse("tickets/join.html", status, **values, other=other, how=self.how)

    @property
    def _values(self) -> dict[str, str]:
        return {self.named: str(self.other or ""), "reason": self.reason}

    def _attempt(self, seen: int | None) -> Attempt:
        return Attempt(visit=self.visit, ticket_id=self.ticket_id, form=self.how, values=self._values, seen=seen)


def _look(visit: Visit, ticket_id: int, how: str, named: str, typed: str) -> Response:
    attempt = Attempt(visit=visit, ticket_id=ticket_id, form=how, values={named: typed[:20]})
    attempt.visible()
    other = number(typed)
    if unknown := _unknown(attempt, other):
        return unknown
    return Joining(visit=visit, ticket_id=ticket_id, how=how, named=named, other=other, reason="").show()


def _unknown(attempt: Attempt, other: int | None) -> Response | None:
    """Refuse what is no other ticket that the person sees."""
    if other is None or other == attempt.ticket_id:
        return attempt.refuse(Wrong(key="wrong_number"))
    with ticket_page.reading(attempt.visit) as queue:
        is_seen = queue.has_ticket(other)
    return None if is_seen else attempt.refuse(Wrong(key="wrong_no_ticket", said={"ticket": other}))


# --- what is added


@router.post("/comments")
def comment(visit: Working, ticket_id: TicketId, text: Typed = "", internal: Typed = "") -> Response:
    """Say something on a ticket; what others did meanwhile makes it no less true."""
    text = lines(text)
    attempt = Attempt(visit=visit, ticket_id=ticket_id, form="comment", values={"text": text, "internal": internal})
    attempt.visible()
    if refused := attempt.refuse_text(text, COMMENT_CHARS_MAX):
        return refused
    desk = visit.context.desk
    return attempt.make(
        lambda: desk.comment(ticket_id, text, visit.author, internal=bool(internal)), said="said_ticket_commented"
    )


@router.post("/attachments")
def attach(visit: Working, ticket_id: TicketId, file: UploadFile | None = None) -> Response:
    """Add a file to a ticket: a picture, a PDF, or text in UTF-8."""
    attempt = Attempt(visit=visit, ticket_id=ticket_id, form="attach")
    attempt.visible()
    if file is None or not file.filename:
        return attempt.refuse(Wrong(key="wrong_file"))
    content = file.file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        wrong = Wrong(key="wrong_file_long", said={"most": FILE_BYTES_MAX // _MIB})
        return attempt.refuse(wrong, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    name, kind, desk = file.filename, file.content_type or "", visit.context.desk
    return attempt.make(lambda: desk.attach(ticket_id, name, kind, content, visit.author), said="said_ticket_attached")
