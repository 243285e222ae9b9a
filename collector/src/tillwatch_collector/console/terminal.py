"""Pages of one terminal: what is known of it now, its plots, its story, and what it is asked to do.

Live parts are pieces of the page and asked for by it; opened by themselves the plots and the story are pages, so that
they work without a script. A change violates this when a command is taken without its permission, or is not confirmed
where it stops the watching.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Response

from tillwatch_collector.api.commands import STATUS
from tillwatch_collector.api.problems import missing
from tillwatch_collector.console import terminal_page
from tillwatch_collector.console.terminal_page import SPANS
from tillwatch_collector.console.visit import Visit, visiting
from tillwatch_collector.domain.command import CommandRefused, Why
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.flows import commands
from tillwatch_collector.flows.commands import Asker
from tillwatch_collector.store.terminal_story import Cursor, TerminalStory
from tillwatch_protocol.command import CommandKind

router = APIRouter(include_in_schema=False, prefix="/terminals/{terminal_id}")

Seeing = Annotated[Visit, visiting(Permission.SEE)]
Commanding = Annotated[Visit, visiting(Permission.COMMAND)]

SPAN_DEFAULT = "day"
SKIP_MAX = 100_000
"""Entries of one moment: a till's whole outbox, many times over."""


@contextmanager
def reading(visit: Visit) -> Iterator[TerminalStory]:
    """Read as this person sees it, in one transaction."""
    with visit.reading() as queries:
        yield TerminalStory(queries.connection, queries.within)


@router.get("")
def show(visit: Seeing, terminal_id: str) -> Response:
    """Show all of a terminal."""
    with reading(visit) as story:
        values = terminal_page.page(visit, story, terminal_page.found(story, terminal_id))
    return visit.page("terminal/terminal.html", **values)


@router.get("/live")
def live(visit: Seeing, terminal_id: str) -> Response:
    """Show how it stands."""
    with reading(visit) as story:
        values = terminal_page.live(visit, terminal_page.found(story, terminal_id))
    return visit.part("terminal/live.html", **values)


@router.get("/plots")
def plots(visit: Seeing, terminal_id: str, span: str = SPAN_DEFAULT) -> Response:
    """Show its measures over a span."""
    chosen = span if span in SPANS else SPAN_DEFAULT
    with reading(visit) as story:
        values = terminal_page.plots(visit, story, terminal_page.found(story, terminal_id), chosen)
    if _is_part(visit):
        return visit.part("terminal/plots.html", **values)
    return visit.page("terminal/plots_page.html", **values)


@router.get("/timeline")
def timeline(visit: Seeing, terminal_id: str, before: str = "", skip: int = 0) -> Response:
    """Show what befell it before a moment."""
    cursor = _cursor(visit, before, skip)
    with reading(visit) as story:
        values = terminal_page.timeline(visit, story, terminal_page.found(story, terminal_id), cursor)
    if _is_part(visit):
        return visit.part("terminal/timeline.html", **values)
    return visit.page("terminal/timeline_page.html", **values)


@router.get("/commands")
def list_commands(visit: Seeing, terminal_id: str) -> Response:
    """Show what it was asked to do, and what came of it."""
    with reading(visit) as story:
        values = terminal_page.commands(visit, story, terminal_page.found(story, terminal_id))
    return visit.part("terminal/commands.html", **values)


@router.post("/commands")
def ask(visit: Commanding, terminal_id: str, kind: Annotated[CommandKind, Form()]) -> Response:
    """Ask it to do something."""
    asker = Asker(actor=visit.person.actor, may_command=visit.may(Permission.COMMAND), within=visit.person.within)
    try:
        with visit.context.store.transaction() as repository:
            commands.ask(repository, terminal_id, kind, asker, visit.now)
    except CommandRefused as error:
        if error.why is Why.TERMINAL_UNKNOWN:
            raise missing("terminal", terminal_id) from None
        return _refused(visit, terminal_id, error.why)
    return visit.back(f"/terminals/{quote(terminal_id, safe='')}", said="command_asked")


def _refused(visit: Visit, terminal_id: str, why: Why) -> Response:
    with reading(visit) as story:
        values = terminal_page.page(visit, story, terminal_page.found(story, terminal_id))
    return visit.refuse("terminal/terminal.html", HTTPStatus(STATUS[why]), **(values | {"wrong": why}))


def _is_part(visit: Visit) -> bool:
    """Whether the page asks, which has a place for it."""
    return visit.request.headers.get("hx-request") == "true"


def _cursor(visit: Visit, before: str, skip: int) -> Cursor:
    """Read from where the story is to be told; what cannot be read tells it from now."""
    try:
        at = datetime.fromisoformat(before).astimezone(UTC)
    except (ValueError, OverflowError):
        return Cursor(at=visit.now)
    return Cursor(at=at, skip=min(max(skip, 0), SKIP_MAX))
