"""Fresh stores for every test of the collector, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.databases import KINDS, Databases, NewStore, stores_in
from tests.collector.shell_fixtures import Web
from tests.live.postgres import Server

from tillwatch_collector.store.session import Store


@pytest.fixture(scope="session")
def worker_databases(postgresql: Server) -> Databases:
    return Databases(postgresql)


@pytest.fixture(scope="session", params=KINDS)
def databases(request: pytest.FixtureRequest) -> Databases | None:
    """Where a test's databases are: both kinds, in turn; None is SQLite's memory."""
    return None if request.param == "sqlite" else request.getfixturevalue("worker_databases")


@pytest.fixture
def new_store(databases: Databases | None) -> Iterator[NewStore]:
    with stores_in(databases) as opened:
        yield opened


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()


@pytest.fixture
def database_url(databases: Databases | None, tmp_path: Path) -> Iterator[str]:
    """An empty database that several may open, as processes do: SQLite's is a file without a schema."""
    if databases is None:
        yield f"sqlite:///{tmp_path / 'collector.db'}"
        return
    with databases.fresh() as url:
        yield url


@pytest.fixture(scope="module")
def module_store(databases: Databases | None) -> Iterator[Store]:
    """A store for all tests of a module, which only read what one fixture wrote."""
    with stores_in(databases) as opened:
        yield opened()


@pytest.fixture
def empty(store: Store) -> Web:
    """The web part of a collector that knows nobody."""
    return Web(database=store)
