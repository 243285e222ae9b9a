"""Running the collector: `serve`, its roles alone, and `migrate`."""

import logging
from typing import Annotated, NoReturn

import typer

from tillwatch_collector import app
from tillwatch_collector.broker import HANDOVER_FILE
from tillwatch_collector.cli.options import ConfigOption, opened, settings
from tillwatch_collector.cli.output import say, warn
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.errors import OperatorError
from tillwatch_collector.store.inventory import Tokens
from tillwatch_collector.store.session import Store, usable_url

LogOption = Annotated[
    str, typer.Option("--log-level", help="debug, info, warning or error.", metavar="LEVEL", show_default=True)
]


class RolesApartUnsupported(OperatorError):  # noqa: N818 - it names what is so
    """Separate roles need a database that many processes write."""


def serve(config: ConfigOption = None, log_level: LogOption = "info") -> None:
    """Run the collector, all of it in one process.

    It takes in, judges, and serves pages and API until it is told to stop.

    Without a [broker] in the settings a small one is started for trying out; terminals find its address in
    embedded-broker.json in the data directory, and their password alone in embedded-broker.password. The page's address
    is printed, and is in serve.json.
    """
    _log_at(log_level)
    used = settings(config)
    app.serve(used, lambda address: _announce(used, config, address))


def ingest(config: ConfigOption = None) -> None:
    """Not in this version, where `serve` takes in, too."""
    _refuse_apart("ingest", settings(config))


def tick(config: ConfigOption = None) -> None:
    """Not in this version, where `serve` judges, too."""
    _refuse_apart("tick", settings(config))


def web(config: ConfigOption = None) -> None:
    """Not in this version, where `serve` has the pages, too."""
    _refuse_apart("web", settings(config))


def migrate(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema, as `serve` does."""
    with opened(config):
        say("the database is up to date")


def _refuse_apart(role: str, used: CollectorConfig) -> NoReturn:
    usable_url(used.database_url_used)
    raise RolesApartUnsupported(
        f"{role} alone: expected PostgreSQL, got SQLite, which one process writes: this version runs all roles in one "
        f"`tillwatch-collector serve`; PostgreSQL follows in a coming one"
    )


def _log_at(level: str) -> None:
    names = logging.getLevelNamesMapping()
    if level.upper() not in names:
        raise typer.BadParameter(f"expected debug, info, warning or error, got {level!r}", param_hint="--log-level")
    logging.basicConfig(level=names[level.upper()], format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _announce(used: CollectorConfig, config: object, address: str) -> None:
    say(f"listening on {address}")
    if used.broker is None:
        warn(f"no [broker] is set: an embedded one runs for trying out, see {used.data_dir / HANDOVER_FILE}")
    if not _has_token(used):
        with_config = f" --config {config}" if config else ""
        warn(f"no token yet: tillwatch-collector token create --name me --scope read{with_config}")
        warn(f"then open {address}/?token=...")


def _has_token(used: CollectorConfig) -> bool:
    store = Store.open(used.database_url_used)
    try:
        with store.reading() as connection:
            return bool(Tokens(connection).all())
    finally:
        store.close()
