"""Routes of commands to terminals: ask for one, see what came of it."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from tillwatch_collector.api.actor import By
from tillwatch_collector.api.context import Context, WebContext
from tillwatch_collector.api.problems import Problem, missing
from tillwatch_collector.domain.command import LIFETIME_S, LIFETIME_S_MAX, CommandRefused, Why
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.flows import commands
from tillwatch_collector.flows.commands import Asker
from tillwatch_collector.store.command_queries import CommandQueries
from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Queries
from tillwatch_collector.store.views import CommandView, Page
from tillwatch_protocol.command import CommandKind

router = APIRouter(prefix="/api/v1/terminals/{terminal_id}/commands", tags=["commands"])

STATUS = {
    Why.NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    Why.TERMINAL_UNKNOWN: HTTPStatus.NOT_FOUND,
    Why.TOO_MANY_WAITING: HTTPStatus.CONFLICT,
    Why.TOO_OFTEN: HTTPStatus.TOO_MANY_REQUESTS,
}

_REFUSED: dict[int | str, dict[str, Any]] = {
    HTTPStatus.CONFLICT.value: {"description": "too many wait for this terminal"},
    HTTPStatus.TOO_MANY_REQUESTS.value: {"description": "too many were asked for within a minute"},
}


class CommandAsked(BaseModel):
    """What a terminal is asked to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: CommandKind
    lifetime_s: Annotated[int, Field(ge=1, le=LIFETIME_S_MAX)] = LIFETIME_S
    """How long it may be begun."""


class _CommandsQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)] = 50
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0


@router.post("", status_code=HTTPStatus.CREATED, responses=_REFUSED)
def ask_for_command(context: Context, request: Request, terminal_id: str, asked: CommandAsked, by: By) -> CommandView:
    """Ask a terminal to do something: it is said within a second or two, and its answer shows here."""
    asker = Asker(actor=by.actor, within=_within(request))
    try:
        with context.store.transaction() as repository:
            command_id = commands.ask(repository, terminal_id, asked.kind, asker, by.now, lifetime_s=asked.lifetime_s)
    except CommandRefused as error:
        raise Problem(STATUS[error.why], str(error)) from None
    return _shown(context, request, terminal_id, command_id)


@router.get("")
def list_commands(
    context: Context, request: Request, terminal_id: str, asked: Annotated[_CommandsQuery, Query()]
) -> Page[CommandView]:
    """List what a terminal was asked to do, the latest first."""
    with context.store.reading() as connection:
        if not Queries(connection, _within(request)).sees_terminal(terminal_id):
            raise missing("terminal", terminal_id)
        found = CommandQueries(connection, _within(request))
        return found.list(terminal_id, limit=asked.limit, offset=asked.offset)


@router.get("/{command_id}")
def get_command(context: Context, request: Request, terminal_id: str, command_id: str) -> CommandView:
    """Show one command, and what a diagnosis found."""
    return _shown(context, request, terminal_id, command_id)


def _shown(context: WebContext, request: Request, terminal_id: str, command_id: str) -> CommandView:
    with context.store.reading() as connection:
        found = CommandQueries(connection, _within(request)).one(terminal_id, command_id)
    if found is None:
        raise missing("command", command_id)
    return found


def _within(request: Request) -> Within:
    within: Within = request.state.principal.within
    return within
