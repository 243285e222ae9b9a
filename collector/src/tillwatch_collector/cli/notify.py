"""Notification: check the routes, try one, read what was said to whom."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tillwatch_collector import routing, slas
from tillwatch_collector.cli.options import ConfigOption, JsonOption, LimitOption, now, opened, settings
from tillwatch_collector.cli.output import say, say_json, say_models, say_table, warn
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.domain.delivery import State, Verdict
from tillwatch_collector.domain.message import Message
from tillwatch_collector.domain.notification import Change, Place, Route, Routes, Said, Ticket, plan
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.sla import SlaBook
from tillwatch_collector.errors import CollectorError, RouteUnknown
from tillwatch_collector.notifiers import Letter, Notifier
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.notification_queries import NotificationFilter
from tillwatch_collector.store.queries import Paging, Queries

commands = typer.Typer(help="Notification: who is told of tickets.", no_args_is_help=True, rich_markup_mode=None)

_COLUMNS = ("notification_id", "route", "state", "created_at", "due_at", "attempts", "title", "error")

MomentOption = Annotated[
    datetime | None,
    typer.Option("--at", formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], help="A time in UTC; by default now."),
]


class NotDelivered(CollectorError):  # noqa: N818 - it names what is so
    """A test message did not arrive."""


@commands.command()
def check(
    *,
    severity: Annotated[Severity, typer.Option("--severity", help="Of the made-up ticket.")] = Severity.CRITICAL,
    category: Annotated[str, typer.Option("--category", help="Of the made-up ticket.")] = "network",
    store_id: Annotated[str | None, typer.Option("--store", help="Where it would open; by default nowhere.")] = None,
    at: MomentOption = None,
    config: ConfigOption = None,
) -> None:
    """Validate the routes with their URLs and secrets, and show who would be told of a ticket that opened."""
    used = settings(config)
    routes = routing.load(used.notify.routes_file)
    notifier = Notifier()
    for route in routes.route:
        notifier.check_url(route)
    moment = at.replace(tzinfo=UTC) if at else now()
    ticket = Ticket(
        ticket_id=1,
        subject_kind="terminal",
        subject_id="made-up",
        component="agent:self",
        code="silent",
        severity=severity,
        category=category,
        opened_at=moment,
        place=_place(store_id, config),
    )
    told = {telling.route: telling.due_at for telling in plan(_opened(ticket), {}, routes, moment)}
    rows = [(route.name, _target(route), _verdict(route, ticket, told)) for route in routes.route]
    say_table(("route", "target", "told"), rows)
    for contract, name in _named_in_vain(routes, slas.load(used.sla.file)):
        warn(f"warning: contract {contract} escalates to {name}, and there is no such route")


@commands.command("test")
def send_test(name: Annotated[str, typer.Argument(metavar="ROUTE")], *, config: ConfigOption = None) -> None:
    """Send one message to a route now."""
    used = settings(config)
    route = _route(routing.load(used.notify.routes_file), name)
    outcome = Notifier().send(route, _letter(route, used), now())
    if outcome.verdict is not Verdict.DELIVERED:
        raise NotDelivered(f"route {name}: expected the message to be taken, got: {outcome.error}")
    say(f"route {name}: delivered")


@commands.command()
def log(
    *,
    route: Annotated[str | None, typer.Option("--route")] = None,
    state: Annotated[State | None, typer.Option("--state")] = None,
    ticket_id: Annotated[int | None, typer.Option("--ticket", help="What was said of this ticket.")] = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was said to whom, the latest first."""
    chosen = NotificationFilter(route=route, state=state, ticket_id=ticket_id)
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).notifications(chosen, Paging(limit=limit, sort="-notification_id"))
    if as_json:
        say_json(page.items)
        return
    say_models(_COLUMNS, page.items, as_json=False, total=page.total)


def _named_in_vain(routes: Routes, book: SlaBook) -> list[tuple[str, str]]:
    """Return the contracts that escalate to a route that there is not, each with its name."""
    named = {(name, step.to) for name, contract in book.contract.items() for step in contract.escalation if step.to}
    return sorted((contract, to) for contract, to in named if routes.find(to) is None)


def _opened(ticket: Ticket) -> tuple[Change, ...]:
    return (Change(ticket=ticket, said=Said.OPENED),)


def _place(store_id: str | None, config: Path | None) -> Place:
    if store_id is None:
        return Place()
    with opened(config) as store, store.transaction() as repository:
        found = Inventory(repository.connection).store(store_id)
    if found is None:
        raise typer.BadParameter(f"expected a store, got {store_id!r}", param_hint="--store")
    return Place(merchant_id=found.merchant_id, store_id=store_id, region=found.region)


def _verdict(route: Route, ticket: Ticket, told: dict[str, datetime]) -> str:
    if route.name in told:
        return f"at {told[route.name].astimezone(route.zone):%Y-%m-%d %H:%M:%S} ({route.time_zone})"
    return "no: outside its hours" if route.matches(ticket) and Said.OPENED in route.moves else "no: not its concern"


def _target(route: Route) -> str:
    target = route.target
    return target.webhook or (f"${target.url_env}" if target.url_env else str(target.url_file))


def _route(routes: Routes, name: str) -> Route:
    found = routes.find(name)
    if found is None:
        known = ", ".join(route.name for route in routes.route) or "none: see [notify] routes_file"
        raise RouteUnknown(f"expected one of the routes ({known}), got {name!r}")
    return found


def _letter(route: Route, used: CollectorConfig) -> Letter:
    style = routing.styles(Routes(version=1, route=(route,)), used.notify.base_url)[route.name]
    message = Message(title=style.say("test_title"), body=style.say("test_body", route=route.name))
    return Letter(delivery_id=0, route=route.name, message=message, created_at=now())
