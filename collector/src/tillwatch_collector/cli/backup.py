"""Backups: out of the database of a collector that may run, and back while none does."""

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from tillwatch_collector import app, policies
from tillwatch_collector.cli.options import ConfigOption, JsonOption, expect_there, now, settings
from tillwatch_collector.cli.output import say, say_json, say_table, warn
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.errors import CallerError
from tillwatch_collector.flows.restoring import note_restored
from tillwatch_collector.store import archive
from tillwatch_collector.store import backup as rows_of
from tillwatch_collector.store.archive import Archive, Manifest
from tillwatch_collector.store.session import Store
from tillwatch_protocol.process import EPOCH_SALT_BITS

KEPT_MAX = 10_000

LEFT_AFTER = timedelta(days=1)
"""Longer than any backup takes: what is unfinished then was killed."""


class BackupExists(CallerError):  # noqa: N818 - it names what is so
    """There is a file by that name."""


def backup(
    file: Annotated[Path, typer.Argument(help="Where to; in a directory the file is named by the time.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=1, max=KEPT_MAX, help="Of a directory's backups, keep only so many newest."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all of the database into one file, while the collector runs.

    The file is one moment's state of SQLite or PostgreSQL, can be restored into either, and appears only when it is
    complete. It holds hashes of tokens and all that is known of the fleet: its mode is 0600. Keys and certificates are
    not in it.
    """
    made_at = now()
    path = file / archive.name_at(made_at) if file.is_dir() else file
    if keep is not None and not file.is_dir():
        raise typer.BadParameter(f"expected a directory to keep backups in, got {file}", param_hint="--keep")
    if path.exists() and not force:
        raise BackupExists(f"{path}: expected a new name, got a file that is there; --force overwrites it")
    used = _settings(config)
    with _opened(used) as store, store.reading() as connection:
        manifest = rows_of.describe(connection, made_at=made_at, version=version("tillwatch-collector"))
        with typer.progressbar(length=manifest.rows, label="backing up", file=sys.stderr) as progress:
            archive.write(path, manifest, rows_of.rows(connection, progress.update))
    removed = _thin_out(file, keep, made_at) if keep is not None else []
    if as_json:
        say_json({"file": str(path), **_described(manifest), "removed": [str(old) for old in removed]})
        return
    say(f"{path}: {manifest.rows} rows of {len(manifest.tables)} tables, {path.stat().st_size} bytes")


def restore(
    file: Path,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of what the database holds, which is then gone.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file, and say what it holds.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back, while no collector runs on the database.

    All or nothing: the file is checked first, and what fails changes nothing. The collector's epoch rises, so that all
    agents send again what they still have; what they had handed over after the backup is recorded as lost, and one
    ticket says so. Tokens that were revoked after the backup are valid again: see `token list`.
    """
    used = _settings(config)
    kept = archive.opened(file)
    if dry_run:
        _say_holds(kept.manifest, as_json=as_json)
        return
    policy = policies.load(used.judge.policy_file)
    with _alone(used) as store, _progress(kept) as advanced, store.transaction() as repository:
        at = now()
        rows_of.put_back(repository.connection, kept, at, replace=replace, advanced=advanced)
        restored = note_restored(
            repository, policy, made_at=kept.manifest.made_at, salt=secrets.randbits(EPOCH_SALT_BITS), now=at
        )
    ticket_id = restored.ticket.ticket_id if restored.ticket else None
    if as_json:
        say_json({**_described(kept.manifest), "epoch_now": restored.collector_epoch, "ticket_id": ticket_id})
        return
    say(f"{kept.manifest.rows} rows of {kept.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC are back")
    if ticket_id is not None:
        say(f"ticket {ticket_id} says so")
    warn("tokens revoked and people disabled since the backup may come in again: see `token list` and `person list`")


def _settings(path: Path | None) -> CollectorConfig:
    used = settings(path)
    if path is None:
        expect_there(used)
    return used


@contextmanager
def _opened(used: CollectorConfig) -> Iterator[Store]:
    """Open the database as it is: a backup before an upgrade must not upgrade it."""
    store = Store.open(used.database_url_used)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _alone(used: CollectorConfig) -> Iterator[Store]:
    """Open the database while no collector of this data directory runs, and keep one from starting."""
    with app.data_dir_held(used.data_dir), _opened(used) as store:
        yield store


@contextmanager
def _progress(kept: Archive) -> Iterator[rows_of.Advanced]:
    with typer.progressbar(length=kept.manifest.rows, label="restoring", file=sys.stderr) as progress:
        yield progress.update


def _thin_out(folder: Path, keep: int, now: datetime) -> list[Path]:
    """Remove the oldest of the backups that were named by their time, and what broken-off ones left behind.

    Whatever else is there is somebody's own.
    """
    named = sorted(path for path in folder.iterdir() if archive.NAMED_BY_TIME.fullmatch(path.name))
    before_s = (now - LEFT_AFTER).timestamp()
    left = [path for path in folder.glob(".tillwatch-*.partial") if path.stat().st_mtime < before_s]
    for path in (*named[:-keep], *left):
        path.unlink(missing_ok=True)
    return named[:-keep]


def _say_holds(manifest: Manifest, *, as_json: bool) -> None:
    if as_json:
        say_json(_described(manifest))
        return
    say_table(("table", "rows"), ((table.name, table.rows) for table in manifest.tables))
    say(
        f"whole; made {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC by {manifest.version}, schema {manifest.schema_revision}"
    )


def _described(manifest: Manifest) -> dict[str, object]:
    """Describe a backup for scripts, each table by its number of rows."""
    return {**manifest.model_dump(exclude={"tables"}), "tables": {table.name: table.rows for table in manifest.tables}}
