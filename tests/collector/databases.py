"""Fresh stores for tests, of either kind: in memory on SQLite, databases of a shared server on PostgreSQL.

Making a PostgreSQL database takes some 75 ms, emptying one 2 ms: so the databases are emptied and used again. One
in which a test left more than rows and tables, or something that runs, is made anew.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import text
from tests.live.postgres import Server
from tests.live.shared_postgres import MIGRATED

from tillwatch_collector.store.schema import VERSION_TABLE
from tillwatch_collector.store.session import Store

KINDS = ("sqlite", "postgresql")

NewStore = Callable[[], Store]
"""Opens a store that is empty, and is closed at the end of the test."""


class Databases:
    """The PostgreSQL databases of one worker."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        self._schemas: dict[str, frozenset[str]] = {}
        """Of each database, when it was made."""
        self._free: list[str] = []

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Lend the URL of an empty database with the schema of this version."""
        name = self._free.pop() if self._free else f"{self._worker}_{len(self._schemas) + 1}"
        if not (name in self._schemas and self._emptied(name)):
            self._server.drop(name)
            self._server.create(name, template=MIGRATED)
            with self._connected(name) as connection:
                self._schemas[name] = _schema(connection)
        yield self._server.url(name)
        self._free.append(name)

    @contextmanager
    def bare(self) -> Iterator[str]:
        """Lend the URL of a database without a schema."""
        name = f"{self._worker}_bare"
        yield self._server.create(name)
        self._server.drop(name)

    def _emptied(self, name: str) -> bool:
        with self._connected(name) as connection:
            try:
                connection.execute(_emptying(connection, self._schemas[name]))
            except psycopg.errors.LockNotAvailable:
                return False
            return _schema(connection) == self._schemas[name]

    @contextmanager
    def _connected(self, name: str) -> Iterator[psycopg.Connection]:
        # For what a test left running: a second. Without the checks of keys tables can be emptied in any order.
        options = "-c lock_timeout=1s -c session_replication_role=replica"
        with psycopg.connect(self._server.url(name), autocommit=True, options=options) as connection:
            yield connection


@contextmanager
def stores_in(databases: Databases | None) -> Iterator[NewStore]:
    """Give a test as many empty stores as it wants; without databases they are SQLite's, in memory."""
    with ExitStack() as stack:

        def opened() -> Store:
            store = Store.open(stack.enter_context(databases.fresh())) if databases else Store.in_memory()
            stack.callback(store.close)
            return store

        yield opened


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    """Return what a query in plain SQL finds: times and JSON as SQLite tells them, in text."""
    with store.reading() as connection:
        return [tuple(map(_plain, row)) for row in connection.execute(text(query))]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def _schema(connection: psycopg.Connection) -> frozenset[str]:
    """Name what a test may leave in a database beside rows."""
    found = connection.execute("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    rules = connection.execute("SELECT conname FROM pg_constraint UNION SELECT tgname FROM pg_trigger")
    return frozenset(str(row[0]) for row in (*found, *rules))


def _emptying(connection: psycopg.Connection, schema: frozenset[str]) -> sql.Composed:
    """Build what empties the tables, drops those that are not of the schema, and lets numbers begin at 1 again."""
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    sequences = connection.execute("SELECT sequencename FROM pg_sequences").fetchall()
    return sql.SQL("; ").join(
        [
            sql.SQL("DELETE FROM {}" if table in schema else "DROP TABLE {}").format(sql.Identifier(table))
            for (table,) in tables
            if table != VERSION_TABLE
        ]
        + [sql.SQL("SELECT setval({}, 1, false)").format(sql.Literal(sequence)) for (sequence,) in sequences]
    )
