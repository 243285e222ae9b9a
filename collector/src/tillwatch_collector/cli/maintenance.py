"""Maintenance: mute notification for a while, or every week."""

import getpass
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from tillwatch_collector.cli.options import ConfigOption, JsonOption, LimitOption, now, opened
from tillwatch_collector.cli.output import say, say_json, say_models, warn
from tillwatch_collector.domain.maintenance import Maintenance, MaintenanceRefused, Scope
from tillwatch_collector.flows import maintenance as upholding
from tillwatch_collector.store.maintenance import MaintenanceFilter
from tillwatch_collector.store.queries import Paging, Queries

commands = typer.Typer(
    help="Maintenance: mute notification while people work.", no_args_is_help=True, rich_markup_mode=None
)

_COLUMNS = ("maintenance_id", "scope_kind", "scope_id", "starts_at", "ends_at", "when", "mutes_until", "reason")

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; whoever asks later reads it.")]


@commands.command()
def add(
    *,
    reason: ReasonOption,
    terminal: Annotated[str | None, typer.Option("--terminal", help="Mute this terminal.")] = None,
    store_id: Annotated[str | None, typer.Option("--store", help="Mute this store.")] = None,
    merchant: Annotated[str | None, typer.Option("--merchant", help="Mute this merchant.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Mute all.")] = False,
    starts_at: Annotated[str | None, typer.Option("--from", help="2026-11-21T22:00:00+01:00; now by default.")] = None,
    ends_at: Annotated[str | None, typer.Option("--to", help="With --weekly it may be left out.")] = None,
    weekly: Annotated[
        str | None,
        typer.Option("--weekly", help="mon,tue=22:00-06:00 Europe/Berlin; an earlier end is the next day's."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mute notification; what still fails at the end is told then."""
    named: list[tuple[Scope, str | None]] = [(Scope.ALL, None)] if everyone else []
    scopes = ((Scope.TERMINAL, terminal), (Scope.STORE, store_id), (Scope.MERCHANT, merchant))
    named += [(scope, name) for scope, name in scopes if name is not None]
    if len(named) != 1:
        raise MaintenanceRefused("scope", "one of --terminal, --store, --merchant and --all", len(named))
    asked = _described(*named[0], starts_at=starts_at, ends_at=ends_at, weekly=weekly, reason=reason)
    with opened(config) as store:
        with store.transaction() as repository:
            added = upholding.add(repository, asked, actor=_actor(), now=now())
        with store.reading() as connection:
            shown = Queries(connection).maintenance(added, now())
    if as_json:
        say_json(shown)
        return
    say(f"maintenance {added}")
    if shown is not None and shown.mutes_until is None:
        warn("it does not mute yet: it begins later")


@commands.command()
def cancel(maintenance_id: int, *, reason: ReasonOption, config: ConfigOption = None) -> None:
    """End a span before its time; what fails is told at once."""
    with opened(config) as store, store.transaction() as repository:
        upholding.cancel(repository, maintenance_id, actor=_actor(), reason=reason, now=now())
    say(f"maintenance {maintenance_id}: cancelled")


@commands.command("list")
def list_maintenance(
    *,
    old_too: Annotated[bool, typer.Option("--old", help="Those that are over or cancelled, too.")] = False,
    active: Annotated[bool, typer.Option("--active", help="Only those that mute now.")] = False,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List spans."""
    chosen = MaintenanceFilter(now=now(), current=None if old_too else True, active=True if active else None)
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).maintenances(chosen, Paging(limit=limit))
    say_models(_COLUMNS, page.items, as_json=as_json, total=page.total)


def _described(scope: Scope, name: str | None, *, weekly: str | None, **said: Any) -> Maintenance:
    try:
        return Maintenance.model_validate(
            {"scope_kind": scope, "scope_id": name, "weekly": _weekly(weekly) if weekly else None, **said}
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "maintenance"
        expected = first["msg"].removeprefix("Value error, ").removeprefix("expected ").removeprefix("Input should be ")
        got = "this" if isinstance(first["input"], dict) else repr(first["input"])
        raise MaintenanceRefused(field, expected, got) from None


def _weekly(text: str) -> dict[str, object]:
    when, _, zone = text.strip().partition(" ")
    days, _, times = when.partition("=")
    starts, _, ends = times.partition("-")
    if not (zone and starts and ends):
        raise MaintenanceRefused("weekly", "days=from-to zone, such as mon,tue=22:00-06:00 Europe/Berlin", repr(text))
    return {"time_zone": zone.strip(), "days": days.split(","), "from": starts, "to": ends}


def _actor() -> str:
    return f"person:{getpass.getuser()}"[:100]
