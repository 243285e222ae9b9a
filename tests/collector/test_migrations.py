"""An older schema becomes this one, and what the migrations make is what the tables say."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from tests.collector.databases import Databases

from tillwatch_collector.errors import StoreUnavailable
from tillwatch_collector.store import migrations, session
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table

STARTING = 8
"""Processes that start at once."""

_SQLITE = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE 'alembic_%'"
_POSTGRESQL = """
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%'
UNION SELECT table_name || '.' || column_name,
concat_ws(' ', data_type, character_maximum_length, is_nullable, is_identity, column_default)
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
"""


@pytest.fixture
def bare_url(databases: Databases | None, tmp_path: Path) -> Iterator[str]:
    """A database without a schema."""
    if databases is None:
        yield f"sqlite:///{tmp_path}/tillwatch.db"
        return
    with databases.bare() as url:
        yield url


@pytest.fixture
def bare(bare_url: str) -> Iterator[Store]:
    opened = Store.open(bare_url)
    yield opened
    opened.close()


def schema(store: Store) -> set[tuple[str, str]]:
    with store.reading() as connection:
        found = connection.execute(text(_SQLITE if store.one_process else _POSTGRESQL))
        return {(name, " ".join(sql.replace('"', "").split())) for name, sql in found}


def test_migrations_end_in_the_tables(bare: Store) -> None:
    bare.migrate()
    with bare.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_migrations_end_in_what_the_tables_would_make_of_themselves(bare: Store, store: Store) -> None:
    """`compare_metadata` does not see the condition of an index, nor the width of a text."""
    if store.one_process:
        bare.migrate()
        made, migrated = schema(store), schema(bare)
        assert {name for name, _ in migrated} == {name for name, _ in made}
        indexes = {(name, sql) for name, sql in made if "INDEX" in sql}
        assert {(name, sql) for name, sql in migrated if "INDEX" in sql} == indexes
    else:
        with bare.transaction() as repository:
            Table.metadata.create_all(repository.connection)
        assert schema(store) == schema(bare)


def test_migrating_twice_changes_nothing(bare: Store) -> None:
    bare.migrate()
    before = schema(bare)
    bare.migrate()
    assert schema(bare) == before


def test_processes_that_start_at_once_migrate_one_after_the_other(bare_url: str, bare: Store) -> None:
    with ThreadPoolExecutor(STARTING) as pool:
        list(pool.map(session.migrate, [bare_url] * STARTING))
    before = schema(bare)
    bare.migrate()
    assert schema(bare) == before


def test_processes_that_make_a_file_at_once_all_find_it_ready(tmp_path: Path) -> None:
    """The moment is short, so it is met several times."""
    start = Barrier(STARTING)

    def opened(url: str) -> str:
        with closing(Store.open(url)) as store:
            start.wait()
            with store.reading() as reading:
                return str(reading.execute(text("PRAGMA journal_mode")).scalar_one())

    with ThreadPoolExecutor(STARTING) as pool:
        for number in range(30):
            assert set(pool.map(opened, [f"sqlite:///{tmp_path}/{number}.db"] * STARTING)) == {"wal"}


def test_a_migration_that_fails_leaves_nothing_behind(bare: Store) -> None:
    with bare.transaction() as repository:
        repository.connection.execute(text("CREATE TABLE ticket (x INTEGER)"))
    before = schema(bare)
    with pytest.raises(StoreUnavailable, match=r'"?ticket"? already exists'):
        bare.migrate()
    assert schema(bare) == before


def test_migrations_are_part_of_the_package() -> None:
    folder = Path(str(migrations.__file__)).parent
    assert {"env.py", "script.py.mako", "versions"} <= {path.name for path in folder.iterdir()}
