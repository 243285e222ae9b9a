"""The transactions around everything that is kept.

A transaction commits when its block ends and rolls back when it raises; nothing below a flow commits. Readers have a
connection of their own and see one snapshot. A database that cannot be reached, that sacrifices the transaction for
another one, or that dies at the commit raises `StoreUnavailable`: nobody knows then whether it was kept, and what is
done again must end in the same rows. The next transaction finds a connection that works, once there is one.

SQLite has one writer at a time: a lock in the process, and `BEGIN IMMEDIATE` against other processes (the command
line). It is opened in WAL with `synchronous=FULL`: what was acknowledged after a commit is deleted by its sender, and
under NORMAL a power cut may take such a commit back. It costs one flush a batch. In memory (`sqlite://`) everyone
shares one connection, so readers wait for the writer.

PostgreSQL has as many writers as there are, in READ COMMITTED: each statement sees what is committed, and rows that are
read to be changed are locked, everywhere in the order of their keys. `synchronous_commit` is turned on where the
server has it off. Migrations stand in line, so that processes may start together.

A change violates this when an acknowledgement can leave before its commit lies on the disk.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from tillwatch_collector.errors import OperatorError
from tillwatch_collector.store import schema
from tillwatch_collector.store.faults import REFUSALS, refused, unavailable
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.tables import Table

BUSY_TIMEOUT_S = 15
"""How long a writer waits for another process: longer than any batch or import holds the database, or a row."""

_WRITING = "tillwatch_writing"

_SQLITE = frozenset({"sqlite", "sqlite+pysqlite"})
_POSTGRESQL = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_EXPECTED = "expected a URL such as sqlite:////path/to/file.db or postgresql://user:password@host:5432/name"

_POOL: dict[str, Any] = {
    # The engine, the judge's tick, and a page or two at once; beyond that for a burst of pages. Six processes fit into
    # the 100 connections that PostgreSQL has by default.
    "pool_size": 5,
    "max_overflow": 10,
    "pool_timeout": BUSY_TIMEOUT_S,
    # A connection that died while nobody used it is found before it is handed out.
    "pool_pre_ping": True,
}
_CONNECTING = {
    "application_name": "tillwatch",
    # A server that is there answers at once; the engine comes again.
    "connect_timeout": 5,
    # A server whose machine is gone says nothing more: it is given up after 25 s idle, 15 s with something unanswered.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""Settings of libpq; those that the URL names stay as they are."""

_SESSION_MS = {
    # Beyond any batch, tick or page; without it one mistaken query holds a connection for ever.
    "statement_timeout": 60_000,
    "lock_timeout": BUSY_TIMEOUT_S * 1_000,
    # A process that was stopped in its middle holds locks that all others wait for.
    "idle_in_transaction_session_timeout": 60_000,
}
_SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class DatabaseUrlUnusable(OperatorError):  # noqa: N818 - it names what is so
    """No database that this version runs on; the message repeats nothing of the URL, which may hold a password."""


class Store:
    """An open database."""

    def __init__(self, engine: Engine, *, shared_connection: bool) -> None:
        self._engine = engine
        self._shared = shared_connection
        self._lock = threading.RLock()
        self._in_transaction = False
        self.writing_fails = False
        """Whether the database did not do its work for the latest transaction that was to write."""
        self._sqlite = engine.dialect.name == "sqlite"

    @property
    def one_process(self) -> bool:
        """Whether only one process at a time may work on it, as on SQLite: then roles cannot run apart."""
        return self._sqlite

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at `url`; its schema is as it is, see `migrate`. Raises `DatabaseUrlUnusable`."""
        parsed = usable_url(url)
        if parsed.get_backend_name() != "sqlite":
            engine = create_engine(parsed, connect_args=_connecting(parsed), use_native_hstore=False, **_POOL)
            # Pairs as `IN (VALUES ...)` are joined; written out, each row is held against each of thousands of pairs.
            engine.dialect.tuple_in_values = True
            event.listen(engine, "connect", _prepare_postgresql)
            return cls(engine, shared_connection=False)
        in_memory = parsed.database in {None, "", ":memory:"}
        shared: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {}
        engine = create_engine(parsed, connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S}, **shared)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return cls(engine, shared_connection=in_memory)

    @classmethod
    def in_memory(cls) -> Self:
        """Open an empty database in memory with its tables made: for tests and worlds."""
        store = cls.open("sqlite://")
        with store.transaction() as repository:
            Table.metadata.create_all(repository.connection)
        return store

    def migrate(self) -> None:
        """Bring the schema to this version's."""
        with self._begun(writing=True) as connection:
            schema.stand_in_line(connection)
            schema.upgrade(connection)

    @contextmanager
    def transaction(self) -> Iterator[Repository]:
        """Write: commits when the block ends, rolls back when it raises; raises `StoreError`."""
        with self._begun(writing=True) as connection:
            yield Repository(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one snapshot, for the read models."""
        with self._begun(writing=False) as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _begun(self, *, writing: bool) -> Iterator[Connection]:
        alone = self._sqlite and (writing or self._shared)
        try:
            with self._lock if alone else nullcontext(), self._engine.connect() as connection:
                begun = connection.execution_options(**self._options(writing=writing))
                with self._alone_in_thread(), begun.begin():
                    yield begun
            if writing:
                self.writing_fails = False
        except REFUSALS as error:
            raise refused(error) from error
        except (DBAPIError, PoolExhausted) as error:
            self.writing_fails = self.writing_fails or writing
            raise unavailable(error) from error

    def _options(self, *, writing: bool) -> dict[str, Any]:
        return {_WRITING: writing} | ({} if self._sqlite or writing else _SNAPSHOT)

    @contextmanager
    def _alone_in_thread(self) -> Iterator[None]:
        """Refuse a transaction inside one of the same thread: on one connection it would be the same one."""
        if not self._shared:
            yield
            return
        if self._in_transaction:
            raise AssertionError("a transaction inside another of the same thread")
        self._in_transaction = True
        try:
            yield
        finally:
            self._in_transaction = False


def usable_url(url: str) -> URL:
    """Parse the URL of a database that this version runs on; raises `DatabaseUrlUnusable`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlUnusable(f"database_url: {_EXPECTED}") from None
    if parsed.drivername in _POSTGRESQL:
        return _postgresql_url(parsed)
    if parsed.drivername not in _SQLITE or parsed != URL.create(parsed.drivername, database=parsed.database):
        raise DatabaseUrlUnusable(f"database_url: {_EXPECTED}, got another URL")
    return parsed


def _postgresql_url(parsed: URL) -> URL:
    if not parsed.database:
        raise DatabaseUrlUnusable(f"database_url: {_EXPECTED}, got one without the name of a database")
    if set("@/") & set(parsed.database):
        # Else a piece of the password would be taken for a host, and said in an error.
        raise DatabaseUrlUnusable(
            f"database_url: {_EXPECTED}, got a name of a database with @ or / in it: in a user's name and a password "
            f"these are written %40 and %2F"
        )
    try:
        make_conninfo("", **_flat(parsed))
    except psycopg.ProgrammingError:
        known = "https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS"
        raise DatabaseUrlUnusable(
            f"database_url: expected parameters of PostgreSQL after the question mark ({known}), got another one"
        ) from None
    return parsed.set(drivername="postgresql+psycopg")


def _flat(parsed: URL) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value[-1] for name, value in parsed.query.items()}


def _connecting(parsed: URL) -> dict[str, Any]:
    return {name: value for name, value in _CONNECTING.items() if name not in parsed.query}


def migrate(url: str) -> None:
    """Bring the database at `url` to this version's schema."""
    store = Store.open(url)
    try:
        store.migrate()
    finally:
        store.close()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Transactions are ours to begin (the driver would begin them late, and not at all for DDL)."""
    connection.isolation_level = None
    _turn_to_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    """Turn a new file to WAL, which it stays for good.

    Of several who turn one at once SQLite refuses some as `database is locked`, whatever their timeout: they stand in
    line at its folder.
    """
    _, _, path = connection.execute("PRAGMA database_list").fetchone()
    if not path:
        return
    # Nothing is read outside the line: who reads a file that is not yet WAL is in the way of who turns it.
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        os.close(folder)


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _prepare_postgresql(connection: Any, _record: object) -> None:
    """Bound what a connection may take, and have its commits on the disk before they count as done."""
    bounds = "; ".join(f"SET {name} = {value}" for name, value in _SESSION_MS.items())
    durable = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    connection.execute(f"{bounds}; {durable}")
    connection.commit()
