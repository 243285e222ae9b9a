"""Tickets, read: the list by any filter of the API's, one with all that hangs on it, the list as CSV.

What moves a ticket is in `ticket_work`.
"""

import inspect
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from tillwatch_collector.cli import ticket_work
from tillwatch_collector.cli.options import ConfigOption, JsonOption, LimitOption, SearchOption, now, opened
from tillwatch_collector.cli.output import say, say_json, say_models, say_table, warn
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import Origin, Status
from tillwatch_collector.errors import CallerError, TicketUnknown
from tillwatch_collector.exports import tickets_csv
from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging, Queries
from tillwatch_collector.store.ticket_queries import SlaState, TicketFilter
from tillwatch_collector.store.views import TicketDetail

commands = typer.Typer(
    help="Tickets: the work that faults and people's reports make.", no_args_is_help=True, rich_markup_mode=None
)
for command in ticket_work.COMMANDS:
    commands.command()(command)

_COLUMNS = (
    "ticket_id",
    "status",
    "severity",
    "sla",
    "code",
    "subject_id",
    "component",
    "store_id",
    "assignee",
    "opened_at",
    "resolve_due_at",
    "recurrences",
)


class FileInTheWay(CallerError):  # noqa: N818 - it names what is so
    """There is a file by that name."""


def _moment(said: str) -> datetime:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise typer.BadParameter(f"expected a time such as 2026-11-21T12:00:00Z, got {said!r}") from None
    if moment.tzinfo is None:
        raise typer.BadParameter(f"expected a time with its zone, such as 2026-11-21T20:00:00+08:00, got {said!r}")
    return moment.astimezone(UTC)


AllOption = Annotated[bool, typer.Option("--all", help="Closed, cancelled and merged ones, too.")]
StatusOption = Annotated[Status | None, typer.Option("--status")]
SeverityOption = Annotated[Severity | None, typer.Option("--severity")]
CategoryOption = Annotated[str | None, typer.Option("--category", help="Such as network; the policy has them.")]
OriginOption = Annotated[Origin | None, typer.Option("--origin", help="Who reported it first.")]
CodeOption = Annotated[str | None, typer.Option("--code", help="Such as paper_end.")]
TerminalOption = Annotated[str | None, typer.Option("--terminal")]
StoreOption = Annotated[str | None, typer.Option("--store")]
MerchantOption = Annotated[str | None, typer.Option("--merchant")]
RegionOption = Annotated[str | None, typer.Option("--region")]
AssigneeOption = Annotated[str | None, typer.Option("--assignee", help="Such as person:ann.")]
WatcherOption = Annotated[str | None, typer.Option("--watcher", help="Such as person:ann.")]
ParentOption = Annotated[int | None, typer.Option("--parent", min=1, help="Only the parts of this ticket.")]
AfterOption = Annotated[
    datetime | None, typer.Option("--opened-after", parser=_moment, metavar="TIME", help="With its zone.")
]
BeforeOption = Annotated[
    datetime | None, typer.Option("--opened-before", parser=_moment, metavar="TIME", help="With its zone.")
]
OlderOption = Annotated[float | None, typer.Option("--older-than-h", min=0, max=878_400, help="Hours since opened.")]
YoungerOption = Annotated[
    float | None, typer.Option("--younger-than-h", min=0, max=878_400, help="Hours since opened.")
]
SlaOption = Annotated[
    SlaState | None, typer.Option("--sla", help="How the clock stands that is worse off; due_soon: within an hour.")
]
SortOption = Annotated[
    str, typer.Option("--sort", help="A column; after a minus, the greatest first. resolve_due_at: what is due first.")
]


def _chosen(
    *,
    q: SearchOption = None,
    closed_too: AllOption = False,
    status: StatusOption = None,
    severity: SeverityOption = None,
    category: CategoryOption = None,
    origin: OriginOption = None,
    code: CodeOption = None,
    terminal: TerminalOption = None,
    store_id: StoreOption = None,
    merchant: MerchantOption = None,
    region: RegionOption = None,
    assignee: AssigneeOption = None,
    watcher: WatcherOption = None,
    parent: ParentOption = None,
    opened_after: AfterOption = None,
    opened_before: BeforeOption = None,
    older_than_h: OlderOption = None,
    younger_than_h: YoungerOption = None,
    sla: SlaOption = None,
) -> TicketFilter:
    """Choose open ones, unless all or those of one status are asked for."""
    return TicketFilter(
        now=now(),
        open=None if closed_too or status is not None else True,
        q=q,
        status=status,
        severity=severity,
        category=category,
        origin=origin,
        code=code,
        terminal_id=terminal,
        store_id=store_id,
        merchant_id=merchant,
        region=region,
        assignee=assignee,
        watcher=watcher,
        parent_id=parent,
        opened_after=opened_after,
        opened_before=opened_before,
        age_h_min=older_than_h,
        age_h_max=younger_than_h,
        sla=sla,
    )


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `chosen`, a filter, the options of every filter there is."""
    of_filter = inspect.signature(_chosen).parameters
    of_command = [one for name, one in inspect.signature(command).parameters.items() if name != "chosen"]

    @wraps(command)
    def asked(**given: Any) -> None:
        chosen = _chosen(**{name: given.pop(name) for name in of_filter})
        command(chosen, **given)

    parameters = sorted([*of_command, *of_filter.values()], key=lambda one: one.kind)
    asked.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    asked.__annotations__ = {one.name: one.annotation for one in parameters}
    return asked


@commands.command("list")
@_filtered
def list_tickets(
    chosen: TicketFilter,
    *,
    sort: SortOption = "-opened_at",
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List open tickets, the latest first.

    Examples: `ticket list --sla breached --sort resolve_due_at`; `ticket list --q paper --store s-1 --all`.
    """
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).tickets(chosen, Paging(limit=limit, sort=sort))
    say_models(_COLUMNS, page.items, as_json=as_json, total=page.total)


@commands.command()
@_filtered
def export(
    chosen: TicketFilter,
    file: Annotated[Path | None, typer.Argument(help="Where to; left out: to standard output.")] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    config: ConfigOption = None,
) -> None:
    """Write tickets as CSV in UTF-8, for a spreadsheet: the same filters as `list`, without its limit."""
    if file is not None and file.exists() and not force:
        raise FileInTheWay(f"{file}: expected a new name, got a file that is there; --force overwrites it")
    with opened(config) as store:
        parts = tickets_csv(store, chosen)
        if file is None:
            sys.stdout.writelines(parts)
            return
        with file.open("w", encoding="utf-8", newline="") as written:
            written.writelines(parts)
    warn(f"{file}: written")


@commands.command()
def show(ticket_id: int, *, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show a ticket: how its clocks stand, what may be done with it, its journal, comments and files."""
    with opened(config) as store, store.reading() as connection:
        queries = Queries(connection)
        ticket = queries.ticket(ticket_id, now())
        lately = Paging(limit=PAGE_ROWS_MAX)
        journal = queries.journal(ticket_id, lately).items
        comments = queries.comments(ticket_id, lately).items
        files = queries.attachments(ticket_id, lately).items
    if ticket is None:
        raise TicketUnknown(f"there is no ticket {ticket_id}")
    if as_json:
        # Under names of their own: `comments` and `attachments` are how many there are.
        parts = {"journal": journal, "said": comments, "files": files}
        say_json({**ticket.model_dump(), **parts})
        return
    _say_ticket(ticket)
    say_models(("at", "actor", "action", "from_status", "to_status", "reason"), journal, as_json=False)
    if comments:
        say("")
        say_models(("at", "actor", "internal", "text"), comments, as_json=False)
    if files:
        say("")
        say_models(("attachment_id", "at", "actor", "name", "media_type", "size_bytes"), files, as_json=False)


def _say_ticket(ticket: TicketDetail) -> None:
    shown: dict[str, Any] = ticket.model_dump()
    shown |= {name: ", ".join(shown[name]) or "none" for name in ("watchers", "actions")}
    say_table(("field", "value"), ((name, value) for name, value in shown.items() if value not in {None, ""}))
    say("")
