"""Many rows by one statement of the driver's own: for the few tables that every heartbeat touches.

`statements` builds every other write with SQLAlchemy, which looks at each value of each row; over the rows of two
thousand heartbeats that costs more than the database. Here a row is a tuple in the order of `columns`, its values as
the driver takes them: times by `as_time`, JSON as text. SQLite runs a statement over the rows; into PostgreSQL they are
copied, to a table of the session's own, and go from there in one statement (arrays as parameters cost six times the
time in the driver).

A change violates this when the two databases end with different rows.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

Row = tuple[Any, ...]


def as_time(connection: Connection) -> Callable[[datetime | None], Any]:
    """Return what makes a bound value of an aware time: as `columns.Utc` stores it."""
    return _sqlite_time if connection.dialect.name == "sqlite" else _as_it_is


def update(
    connection: Connection, table: Table, keys: tuple[str, ...], columns: tuple[str, ...], rows: Sequence[Row]
) -> int:
    """Give rows that are there new values; `columns` end with the `keys`. Returns how many rows there were."""
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql(_sqlite_update(table, keys, columns), list(rows)).rowcount
    _copy(connection, table, columns, rows)
    return connection.exec_driver_sql(_postgresql_update(table, keys, columns)).rowcount


def insert_missing(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert the rows that are not there."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"{_sqlite_insert(table, columns)} ON CONFLICT DO NOTHING", list(rows))
    else:
        _copy(connection, table, columns, rows)
        connection.exec_driver_sql(f"{_postgresql_insert(table, columns)} ON CONFLICT DO NOTHING")


def upsert(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert rows, or give the ones that are there the new values; no key may stand twice."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_sqlite_upsert(table, columns), list(rows))
    else:
        _copy(connection, table, columns, rows)
        connection.exec_driver_sql(_postgresql_upsert(table, columns))


def _sqlite_time(at: datetime | None) -> str | None:
    if at is None:
        return None
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(" ", "microseconds")[:26]


def _as_it_is(at: datetime | None) -> datetime | None:
    return at


@cache
def _sqlite_update(table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    changed = ", ".join(f"{name} = ?" for name in columns if name not in keys)
    return f"UPDATE {table.name} SET {changed} WHERE {' AND '.join(f'{name} = ?' for name in keys)}"  # noqa: S608 - names of ours


@cache
def _sqlite_insert(table: Table, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of ours


@cache
def _sqlite_upsert(table: Table, columns: tuple[str, ...]) -> str:
    return f"{_sqlite_insert(table, columns)} {_on_conflict(table, columns)}"


@cache
def _postgresql_update(table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    changed = ", ".join(f"{name} = new.{name}" for name in columns if name not in keys)
    same = " AND ".join(f"{table.name}.{name} = new.{name}" for name in keys)
    return f"UPDATE {table.name} SET {changed} FROM {_copied(table, columns)} AS new WHERE {same}"  # noqa: S608 - names of ours


@cache
def _postgresql_insert(table: Table, columns: tuple[str, ...]) -> str:
    names = ", ".join(columns)
    return f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {_copied(table, columns)}"  # noqa: S608 - names of ours


@cache
def _postgresql_upsert(table: Table, columns: tuple[str, ...]) -> str:
    return f"{_postgresql_insert(table, columns)} {_on_conflict(table, columns)}"


def _on_conflict(table: Table, columns: tuple[str, ...]) -> str:
    keys = [column.name for column in table.primary_key]
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed}"


def _copy(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Copy rows to the session's own table of these columns, which is empty when a transaction begins."""
    copied, names = _copied(table, columns), ", ".join(columns)
    shaped = f"ON COMMIT DELETE ROWS AS SELECT {names} FROM {table.name} WITH NO DATA"  # noqa: S608 - names of ours
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE IF NOT EXISTS {copied} {shaped}")
    used: dict[str, object] = connection.info.setdefault("tillwatch_copied", {})
    if used.get(copied) is connection.get_transaction():
        connection.exec_driver_sql(f"DELETE FROM {copied}")  # noqa: S608 - a name of ours
    used[copied] = connection.get_transaction()
    driver: Any = connection.connection.driver_connection
    statement = f"COPY {copied} ({names}) FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _wrapped(connection, statement, error) from error


def _wrapped(connection: Connection, statement: str, error: Exception) -> BaseException:
    """Wrap an error of the driver as SQLAlchemy would have, so that it ends where all others do."""
    dialect = connection.dialect
    return DBAPIError.instance(statement, None, error, dialect.loaded_dbapi.Error, dialect=dialect)


@cache
def _copied(table: Table, columns: tuple[str, ...]) -> str:
    """Name the session's own table of these columns."""
    return f"{table.name}_{blake2b(' '.join(columns).encode(), digest_size=4).hexdigest()}"
