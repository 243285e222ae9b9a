"""Outages: list, show."""

from typing import Annotated

import typer

from tillwatch_collector.cli.options import ConfigOption, JsonOption, LimitOption, opened
from tillwatch_collector.cli.output import say, say_json, say_models, say_table
from tillwatch_collector.domain.outage import NodeKind
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store.outage_queries import OutageFilter
from tillwatch_collector.store.queries import Paging, Queries

commands = typer.Typer(
    help="Outages: one cause that silences or harms many terminals.", no_args_is_help=True, rich_markup_mode=None
)

_COLUMNS = (
    "outage_id",
    "node_kind",
    "node_id",
    "code",
    "terminals_hit",
    "terminals_total",
    "faults_standing",
    "ticket_id",
    "detected_at",
    "ended_at",
)
_CHILD_COLUMNS = ("terminal_id", "store_id", "presence", "raised_at", "cleared_at", "own_ticket_id")


class OutageUnknown(CallerError):  # noqa: N818 - it names what is so
    """There is no such outage."""


@commands.command("list")
def list_outages(
    *,
    ended_too: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    node_kind: Annotated[NodeKind | None, typer.Option("--kind", help="Of this kind of place.")] = None,
    node_id: Annotated[str | None, typer.Option("--node", help="Of this place.")] = None,
    sort: Annotated[str, typer.Option("--sort", help="A column; after a minus, the greatest first.")] = "-detected_at",
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List outages, the latest first."""
    chosen = OutageFilter(open=None if ended_too else True, node_kind=node_kind, node_id=node_id)
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).outages(chosen, Paging(limit=limit, sort=sort))
    say_models(_COLUMNS, page.items, as_json=as_json, total=page.total)


@commands.command()
def show(outage_id: int, *, limit: LimitOption = 50, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show an outage, what it rests on, and the terminals that it has hit."""
    with opened(config) as store, store.reading() as connection:
        queries = Queries(connection)
        outage = queries.outage(outage_id)
        children = queries.outage_children(outage_id, Paging(limit=limit))
    if outage is None:
        raise OutageUnknown(f"there is no outage {outage_id}")
    if as_json:
        say_json({**outage.model_dump(), "terminals": children.items})
        return
    fields = outage.model_dump(exclude={"evidence"})
    say_table(("field", "value"), ((name, value) for name, value in fields.items() if value is not None))
    say("")
    say_models(_CHILD_COLUMNS, children.items, as_json=False, total=children.total)
