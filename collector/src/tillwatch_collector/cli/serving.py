"""Running the collector: `serve`, its roles alone, and `migrate`."""

import logging
from typing import Annotated

import typer

from tillwatch_collector import app
from tillwatch_collector.cli.options import ConfigOption, opened, settings
from tillwatch_collector.cli.output import say, warn
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.errors import OperatorError
from tillwatch_collector.store.inventory import Tokens
from tillwatch_collector.store.session import Store

LogOption = Annotated[
    str, typer.Option("--log-level", help="debug, info, warning or error.", metavar="LEVEL", show_default=True)
]


class RolesApartUnsupported(OperatorError):  # noqa: N818 - it names what is so
    """Separate roles need a database that many processes write."""


def serve(config: ConfigOption = None, log_level: LogOption = "info") -> None:
    """Run the collector: take in, judge, and serve pages and API, in one process until it is told to stop.

    Without a [broker] in the settings a small one is started for trying out; terminals find its address and password in
    embedded-broker.json in the data directory. The page's address is printed, and is in serve.json.
    """
    _log_at(log_level)
    used = settings(config)
    app.serve(used, lambda address: _announce(used, config, address))


def ingest(config: ConfigOption = None) -> None:
    """Run only the taking in (needs PostgreSQL)."""
    _refuse_apart("ingest", settings(config))


def tick(config: ConfigOption = None) -> None:
    """Run only the judging (needs PostgreSQL)."""
    _refuse_apart("tick", settings(config))


def web(config: ConfigOption = None) -> None:
    """Run only pages and API (needs PostgreSQL)."""
    _refuse_apart("web", settings(config))


def migrate(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema; `serve` does it too."""
    with opened(config):
        say("the database is up to date")


def _refuse_apart(role: str, used: CollectorConfig) -> None:
    if used.database_url_used.startswith("sqlite"):
        raise RolesApartUnsupported(
            f"{role} alone: expected PostgreSQL, got SQLite, which one process writes: set database_url to "
            f"postgresql+psycopg://..., or run `tillwatch-collector serve`, which does all"
        )
    raise RolesApartUnsupported(
        f"{role} alone: this version runs all roles in one process: `tillwatch-collector serve`"
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
        warn(f"no [broker] is set: an embedded one runs for trying out, see {used.data_dir}/embedded-broker.json")
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
