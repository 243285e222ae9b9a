"""All rows of a database, out of one snapshot and into an empty schema, alike on SQLite and on PostgreSQL.

Rows travel as plain values (times as ISO 8601 in UTC, JSON as its text, files as base64url), so that what came out of
one database goes into the other: a backup is also the road from SQLite to PostgreSQL. Tables are read as they are,
whatever their revision; going back in, the schema is made at the backup's revision, filled, and then brought up to this
version's.

Putting back is one transaction: a file that turns out unusable, or a crash, changes nothing. A change violates this
when a table that the collector writes is left out, or when something is committed before the last row is in.
"""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Inspector,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    cast,
    delete,
    event,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy import Table as SqlTable
from sqlalchemy.engine.interfaces import ReflectedColumn

from tillwatch_collector.errors import CallerError, OperatorError, StoreUnavailable
from tillwatch_collector.store import bulk, schema, tables
from tillwatch_collector.store.archive import Archive, BackupUnusable, Manifest, TableShape
from tillwatch_collector.store.columns import Utc
from tillwatch_collector.store.history import make_day_table
from tillwatch_collector.store.people import ATTEMPT, INVITATION, SESSION
from tillwatch_collector.store.processes import PROCESS, Processes
from tillwatch_collector.store.repository import EPOCH, LEASE

ROWS_AT_ONCE = 5_000
"""Where the cost of a statement is shared by enough rows; more would only hold more of them in memory."""

FILES_AT_ONCE = 8
"""Of a table that holds files, of some megabytes each."""

_DAY_TABLE = re.compile(r"sample_(\d{4})(\d{2})(\d{2})")
"""One day's samples: such tables are made as days come, by `history` and not by migrations."""

Advanced = Callable[[int], None]
"""Told of rows that are done, for a progress bar."""

Reader = Callable[[Any], Any]


class DatabaseNotEmpty(CallerError):  # noqa: N818 - it names what is so
    """There is something that a restore would replace, and nobody said that it may."""


class DatabaseInUse(OperatorError):  # noqa: N818
    """A collector works on the database."""


class DatabaseEmpty(CallerError):  # noqa: N818
    """There is nothing to back up."""


class BackupTooNew(OperatorError):  # noqa: N818
    """The backup was made by a later version."""


# --- out


def describe(connection: Connection, *, made_at: datetime, version: str) -> Manifest:
    """Say what a backup out of this snapshot will hold; raises `DatabaseEmpty`, or `StoreUnavailable` when damaged."""
    schema.take_time(connection)
    revision = schema.revision_of(connection)
    if revision is None:
        raise DatabaseEmpty("expected the database of a collector, got one in which none has ever started")
    _expect_sound(connection)
    kept = _tables(connection)
    return Manifest(
        made_at=made_at,
        version=version,
        schema_revision=revision,
        collector_epoch=connection.scalar(select(EPOCH.c.collector_epoch)) or 0,
        tables=tuple(
            TableShape(
                name=table.name,
                columns=tuple(table.c.keys()),
                rows=connection.scalar(select(func.count()).select_from(table)) or 0,
            )
            for table in kept
        ),
    )


def rows(connection: Connection, advanced: Advanced) -> Iterator[Sequence[Any]]:
    """Yield the rows of all tables in the order of `describe`, out of the same snapshot."""
    for table in _tables(connection):
        statement = select(*(cast(column, Text) if isinstance(column.type, JSON) else column for column in table.c))
        found = connection.execute(statement, execution_options={"yield_per": _at_once(table)})
        for some in found.partitions():
            yield from map(tuple, some)
            advanced(len(some))


# --- in


def put_back(connection: Connection, archive: Archive, now: datetime, *, replace: bool, advanced: Advanced) -> None:
    """Make the database what the backup holds, in the transaction that stands.

    Raises `BackupTooNew`, `DatabaseInUse`, `DatabaseNotEmpty` or `BackupUnusable`; then nothing may be committed.
    """
    manifest = archive.manifest
    if not schema.known(manifest.schema_revision):
        raise BackupTooNew(
            f"the backup was made by version {manifest.version}, whose schema ({manifest.schema_revision}) this "
            f"version does not know: install that version or a later one"
        )
    schema.stand_in_line(connection)
    schema.upgrade(connection)
    _expect_unused(connection, now)
    if not replace:
        _expect_empty(connection)
    _clear(connection)
    schema.upgrade(connection, manifest.schema_revision)
    _make_days(connection, manifest)
    _fill(connection, archive, advanced)
    schema.upgrade(connection)
    _let_go(connection, now)


def _expect_unused(connection: Connection, now: datetime) -> None:
    """Refuse while a process shows itself; on SQLite the lock of the data directory says it sooner, and for certain."""
    if connection.dialect.name != "postgresql":
        return
    processes = Processes(connection)
    clock = processes.clock() or now
    running = [process for process in processes.all() if process.expires_at > clock]
    if running:
        last = max(process.expires_at for process in running)
        raise DatabaseInUse(
            f"expected no process to run on this database, got {', '.join(process.process for process in running)}: "
            f"stop them all; a process that was killed counts until {last:%H:%M:%S} UTC"
        )


def _expect_empty(connection: Connection) -> None:
    for table in _tables(connection):
        if connection.execute(select(table).limit(1)).first() is not None:
            raise DatabaseNotEmpty(
                f"expected an empty database, got one with rows in table {table.name}: --replace puts the backup in "
                f"their place, and they are gone"
            )


def _clear(connection: Connection) -> None:
    metadata = MetaData()
    metadata.reflect(connection, only=[*_names(connection), schema.VERSION_TABLE])
    metadata.drop_all(connection)


def _let_go(connection: Connection, now: datetime) -> None:
    """Forget who ran when the backup was made, and who was signed in.

    A holder of the lease could otherwise go on with its number, and a session or a link that has ended since would open
    again.
    """
    for table in (PROCESS, SESSION, INVITATION, ATTEMPT):
        connection.execute(delete(table))
    connection.execute(update(LEASE).values(fencing_no=LEASE.c.fencing_no + 1, expires_at=now))


def _make_days(connection: Connection, manifest: Manifest) -> None:
    for shape in manifest.tables:
        if found := _DAY_TABLE.fullmatch(shape.name):
            make_day_table(connection, (date(*map(int, found.groups())) - date(1970, 1, 1)).days)


def _fill(connection: Connection, archive: Archive, advanced: Advanced) -> None:
    there: dict[str, SqlTable] = {table.name: table for table in _tables(connection)}
    for shape, values in archive.tables():
        table = there.get(shape.name)
        if table is None or set(shape.columns) != set(table.c.keys()):
            raise BackupUnusable(f"table {shape.name}: expected one that schema {archive.manifest.schema_revision} has")
        readers = [_reader(connection, table.c[name].type) for name in shape.columns]
        while some := list(islice(values, _at_once(table))):
            bulk.insert_missing(connection, table, shape.columns, [_read(row, readers) for row in some])
            advanced(len(some))
        _renumber(connection, table)


def _read(row: list[Any], readers: list[Reader]) -> tuple[Any, ...]:
    return tuple(None if value is None else read(value) for value, read in zip(row, readers, strict=True))


def _reader(connection: Connection, kind: object) -> Reader:
    """Return what makes of a column's value in the file what the driver takes."""
    if isinstance(kind, Utc):
        as_time = bulk.as_time(connection)
        return lambda value: as_time(datetime.fromisoformat(value))
    if isinstance(kind, LargeBinary):
        return base64.urlsafe_b64decode
    if isinstance(kind, String) and connection.dialect.name == "postgresql":
        # SQLite keeps a NUL in a text, PostgreSQL does not: the sign for what cannot be shown stands in its place.
        return lambda value: value.replace("\0", "\ufffd")
    return lambda value: value


def _renumber(connection: Connection, table: SqlTable) -> None:
    """Let a table's numbers go on after its greatest: on PostgreSQL they are counted apart."""
    key = list(table.primary_key)
    if connection.dialect.name != "postgresql" or len(key) != 1 or not isinstance(key[0].type, Integer):
        return
    name = connection.dialect.identifier_preparer.format_table(table)
    sequence = connection.scalar(select(func.pg_get_serial_sequence(name, key[0].name)))
    greatest = connection.scalar(select(func.max(key[0])))
    if sequence is not None and greatest is not None:
        connection.execute(select(func.setval(sequence, greatest)))


# --- tables as they are


def _at_once(table: SqlTable) -> int:
    """How many rows of a table are held in memory at once."""
    return FILES_AT_ONCE if any(isinstance(column.type, LargeBinary) for column in table.c) else ROWS_AT_ONCE


def _names(connection: Connection) -> list[str]:
    """Name the collector's tables; others' may stand beside them in a PostgreSQL database."""
    there = inspect(connection).get_table_names()
    return [name for name in there if name in tables.Table.metadata.tables or _DAY_TABLE.fullmatch(name)]


def _tables(connection: Connection) -> list[SqlTable]:
    """Return the collector's tables, referenced ones first, their times aware on both databases."""
    metadata = MetaData()
    event.listen(metadata, "column_reflect", _with_our_types)
    metadata.reflect(connection, only=_names(connection))
    return metadata.sorted_tables


def _with_our_types(inspector: Inspector, _table: object, column: ReflectedColumn) -> None:
    if isinstance(column["type"], DateTime):
        column["type"] = Utc()
    elif isinstance(column["type"], JSON) and inspector.dialect.name == "sqlite":
        column["type"] = Text()  # which it is there, and stays as it was written


def _expect_sound(connection: Connection) -> None:
    """Keep no backup of a file that is damaged: the last good one would go for it."""
    if connection.dialect.name == "sqlite":
        said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if said != "ok":
            raise StoreUnavailable(f"the database is damaged: {said}; restore the last backup into a new file")
