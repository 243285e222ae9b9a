"""Tickets: list, show, close, cancel."""

import getpass
from typing import Annotated, Any

import typer

from tillwatch_collector.cli.options import ConfigOption, JsonOption, LimitOption, now, opened
from tillwatch_collector.cli.output import say, say_json, say_models, say_table
from tillwatch_collector.domain.ticket import Action
from tillwatch_collector.errors import TicketUnknown
from tillwatch_collector.flows.tickets import act
from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging, Queries, TicketFilter

commands = typer.Typer(help="Tickets: the work that faults make.", no_args_is_help=True, rich_markup_mode=None)

_COLUMNS = (
    "ticket_id",
    "status",
    "severity",
    "code",
    "subject_id",
    "component",
    "store_id",
    "opened_at",
    "recurrences",
)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stands in the journal.")]


@commands.command("list")
def list_tickets(
    *,
    closed_too: Annotated[bool, typer.Option("--all", help="Closed and cancelled ones, too.")] = False,
    status: Annotated[str | None, typer.Option("--status")] = None,
    severity: Annotated[str | None, typer.Option("--severity")] = None,
    code: Annotated[str | None, typer.Option("--code")] = None,
    terminal: Annotated[str | None, typer.Option("--terminal")] = None,
    store_id: Annotated[str | None, typer.Option("--store")] = None,
    sort: Annotated[str, typer.Option("--sort", help="A column; after a minus, the greatest first.")] = "-opened_at",
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tickets, the latest first."""
    chosen = TicketFilter(
        open=None if closed_too else True,
        status=status,
        severity=severity,
        code=code,
        subject_id=terminal,
        store_id=store_id,
    )
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).tickets(chosen, Paging(limit=limit, sort=sort))
    say_models(_COLUMNS, page.items, as_json=as_json, total=page.total)


@commands.command()
def show(ticket_id: int, *, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show a ticket and its journal."""
    with opened(config) as store, store.reading() as connection:
        queries = Queries(connection)
        ticket = queries.ticket(ticket_id)
        journal = queries.journal(ticket_id, Paging(limit=PAGE_ROWS_MAX)).items
    if ticket is None:
        raise TicketUnknown(f"there is no ticket {ticket_id}")
    if as_json:
        say_json({**ticket.model_dump(), "journal": journal})
        return
    fields: dict[str, Any] = ticket.model_dump()
    say_table(("field", "value"), ((name, value) for name, value in fields.items() if value is not None))
    say("")
    say_models(("at", "actor", "action", "from_status", "to_status", "reason"), journal, as_json=False)


@commands.command()
def close(ticket_id: int, *, reason: ReasonOption, config: ConfigOption = None) -> None:
    """Say that the work of a ticket is done."""
    _act(ticket_id, Action.CLOSE, reason, config)


@commands.command()
def cancel(ticket_id: int, *, reason: ReasonOption, config: ConfigOption = None) -> None:
    """Say that there was nothing to do."""
    _act(ticket_id, Action.CANCEL, reason, config)


def _act(ticket_id: int, action: Action, reason: str, config: ConfigOption) -> None:
    with opened(config) as store, store.transaction() as repository:
        act(repository, ticket_id, action, actor=f"person:{getpass.getuser()}"[:100], reason=reason, now=now())
    say(f"ticket {ticket_id}: {action}")
