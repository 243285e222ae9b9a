"""The transactions around everything that is kept.

One writer at a time: on SQLite a lock in the process, and `BEGIN IMMEDIATE` against other processes (the command line).
A transaction commits when its block ends and rolls back when it raises; nothing below a flow commits. Readers have a
connection of their own and see one snapshot.

SQLite is opened in WAL with `synchronous=FULL`: what was acknowledged after a commit is deleted by its sender, and
under NORMAL a power cut may take such a commit back. It costs one flush a batch. A change violates this when an
acknowledgement can leave before its commit lies on the disk.

In memory (`sqlite://`) everyone shares one connection, so readers wait for the writer.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError

from tillwatch_collector.errors import OperatorError, RowRefused, StoreUnavailable
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.tables import Table

BUSY_TIMEOUT_S = 15
"""How long a writer waits for another process: longer than any batch or import holds the database."""

_WRITING = "tillwatch_writing"


_DRIVERS = frozenset({"sqlite", "sqlite+pysqlite"})


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

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at `url`; its schema is as it is, see `migrate`. Raises `DatabaseUrlUnusable`."""
        parsed = usable_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        in_memory = sqlite and parsed.database in {None, "", ":memory:"}
        options: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {"pool_pre_ping": not sqlite}
        if sqlite:
            options["connect_args"] = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_S}
        engine = create_engine(parsed, **options)
        if sqlite:
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
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._begun(writing=True) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

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
                begun = connection.execution_options(**{_WRITING: writing})
                with self._alone_in_thread(), begun.begin():
                    yield begun
            if writing:
                self.writing_fails = False
        except (IntegrityError, DataError) as error:
            raise RowRefused(f"the database refuses a row: {error.orig}") from error
        except DBAPIError as error:
            self.writing_fails = self.writing_fails or writing
            raise StoreUnavailable(f"the database does not do its work: {error.orig}") from error

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
        raise DatabaseUrlUnusable("database_url: expected a URL such as sqlite:////path/to/file.db") from None
    if parsed.get_backend_name() in {"postgresql", "postgres"}:
        raise DatabaseUrlUnusable(
            "database_url: expected SQLite, such as sqlite:////path/to/file.db, got PostgreSQL, which follows in a "
            "coming version by the URL alone"
        )
    if parsed.drivername not in _DRIVERS or parsed != URL.create(parsed.drivername, database=parsed.database):
        raise DatabaseUrlUnusable("database_url: expected SQLite, such as sqlite:////path/to/file.db, got another URL")
    return parsed


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
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
