"""Options that many commands share, and the database that they work on."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tillwatch_collector import config
from tillwatch_collector.cli.output import warn
from tillwatch_collector.config import CollectorConfig
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
SearchOption = Annotated[str | None, typer.Option("--q", help="Only what contains this text.")]


def settings(path: Path | None) -> CollectorConfig:
    """Read the settings; raises `ConfigError`."""
    for name in config.unknown_variables():
        warn(f"warning: {name} is no setting of the collector")
    return config.load(path)


@contextmanager
def opened(path: Path | None) -> Iterator[Store]:
    """Open the database of the settings, its schema brought up to date."""
    used = settings(path)
    used.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store.open(used.database_url_used)
    try:
        store.migrate()
        yield store
    finally:
        store.close()


def now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)
