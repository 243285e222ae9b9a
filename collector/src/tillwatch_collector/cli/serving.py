"""Running the collector: `serve`, its roles alone, and `migrate`."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tillwatch_collector import app, roster
from tillwatch_collector.broker import HANDOVER_FILE
from tillwatch_collector.cli.options import ConfigOption, opened, settings
from tillwatch_collector.cli.output import say, warn
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.people import welcome_link
from tillwatch_collector.roles import DUTIES, Role
from tillwatch_collector.store.session import Store

LogOption = Annotated[
    str, typer.Option("--log-level", help="debug, info, warning or error.", metavar="LEVEL", show_default=True)
]


def serve(config: ConfigOption = None, log_level: LogOption = "info") -> None:
    """Run the collector, all of it in one process.

    It takes in, judges, and serves pages and API until it is told to stop.

    Without a [broker] in the settings a small one is started for trying out; terminals find its address in
    embedded-broker.json in the data directory, and their password alone in embedded-broker.password. The page's address
    is printed, and is in serve.json.
    """
    _log_at(log_level)
    used = settings(config)
    app.serve(used, lambda address: _announce(used, address))


def ingest(config: ConfigOption = None, log_level: LogOption = "info") -> None:
    """Run one role alone: take in a share of what terminals send.

    Any number may run beside each other over one PostgreSQL and one broker with shared subscriptions; each needs a
    process name (and a certificate) of its own, such as ingest.2. On the address in [web] it serves /healthz, /readyz
    and /metrics alone.
    """
    _run_apart(Role.INGEST, config, log_level)


def tick(config: ConfigOption = None, log_level: LogOption = "info") -> None:
    """Run one role alone: judge, and open and resolve tickets.

    One of those that run does it; the others stand by and take over within some 15 seconds. Each needs a process name
    (and a certificate) of its own, such as tick.2. On the address in [web] it serves /healthz, /readyz and /metrics
    alone.
    """
    _run_apart(Role.TICK, config, log_level)


def web(config: ConfigOption = None, log_level: LogOption = "info") -> None:
    """Run one role alone: serve pages and API. Any number may; they need PostgreSQL, and no broker."""
    _run_apart(Role.WEB, config, log_level)


def migrate(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema, as `serve` does."""
    with opened(config):
        say("the database is up to date")


def _run_apart(role: Role, config: Path | None, log_level: str) -> None:
    _log_at(log_level)
    used = settings(config)
    process = app.process_named(used, role)
    app.run(used, role, lambda address: _announce_apart(used, role, process, address))


def _log_at(level: str) -> None:
    names = logging.getLevelNamesMapping()
    if level.upper() not in names:
        raise typer.BadParameter(f"expected debug, info, warning or error, got {level!r}", param_hint="--log-level")
    logging.basicConfig(level=names[level.upper()], format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _announce(used: CollectorConfig, address: str) -> None:
    say(f"listening on {address}")
    if used.broker is None:
        warn(f"no [broker] is set: an embedded one runs for trying out, see {used.data_dir / HANDOVER_FILE}")
    _invite_first(used, address)


def _announce_apart(used: CollectorConfig, role: Role, process: str, address: str) -> None:
    say(f"{process} listening on {address}")
    if DUTIES[role].pages:
        _invite_first(used, address)


def _invite_first(used: CollectorConfig, address: str) -> None:
    """Say how the first person comes in, while there is no admin."""
    store = Store.open(used.database_url_used)
    try:
        invited = roster.first_link(store, datetime.now(UTC))
    finally:
        store.close()
    if invited is not None:
        say(f"nobody can sign in yet: open {welcome_link(used.notify.base_url or address, invited.key)}")
        warn("whoever opens it becomes the first admin; it opens once, within 24 hours, until the next start")
