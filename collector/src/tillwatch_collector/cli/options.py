"""Options that many commands share, and the database that they work on."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tillwatch_collector import config
from tillwatch_collector.cli.output import warn
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.desk import Author
from tillwatch_collector.domain.ticket import check_actor
from tillwatch_collector.errors import OperatorError
from tillwatch_collector.store.queries import PAGE_ROWS_MAX
from tillwatch_collector.store.session import Store

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="TILLWATCH_CONFIG", help="The settings, a TOML file. TILLWATCH_* variables go above it."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=PAGE_ROWS_MAX, help="Rows to show.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stands in the journal.")]
ByOption = Annotated[
    str | None, typer.Option("--by", metavar="KIND:ID", help="Who does it, such as person:ann; by default you.")
]
SearchOption = Annotated[str | None, typer.Option("--q", help="Only what contains this text.")]


class DatabaseMissing(OperatorError):  # noqa: N818 - it names what is so
    """Nobody has said where the database is, and it is not where it would be by default."""


def settings(path: Path | None) -> CollectorConfig:
    """Read the settings; raises `ConfigError`."""
    for name in config.unknown_variables():
        warn(f"warning: {name} is no setting of the collector")
    return config.load(path)


@contextmanager
def opened(path: Path | None) -> Iterator[Store]:
    """Open the database of the settings, its schema brought up to date."""
    used = settings(path)
    if path is None:
        expect_there(used)
    used.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store.open(used.database_url_used)
    try:
        store.migrate()
        yield store
    finally:
        store.close()


def expect_there(used: CollectorConfig) -> None:
    """Make no new database where a forgotten --config is likelier: its tokens would open nothing."""
    named = {"data_dir", "database_url"} & used.model_fields_set
    if not named and not used.database_file.exists():
        raise DatabaseMissing(
            f"data_dir: expected the database of a collector in {used.data_dir.absolute()}, found none: "
            f"say with --config (or TILLWATCH_CONFIG) which settings your collector has"
        )


def now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def author(by: str | None) -> Author:
    """Say who does something now: who is named, or whoever runs the command; raises `TicketRefused`."""
    actor = by or f"person:{'-'.join(getpass.getuser().split())}"[:80]
    check_actor("--by", actor)
    return Author(actor=actor, now=now())
