"""An older schema becomes this one, and what the migrations make is what the tables say."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from tillwatch_collector.store import migrations, session
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table


def schema(store: Store) -> set[tuple[str, str]]:
    query = text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE 'alembic_%'")
    with store.reading() as connection:
        return {(name, " ".join(sql.replace('"', "").split())) for name, sql in connection.execute(query)}


def test_migrations_end_in_the_tables(tmp_path: Path, store: Store) -> None:
    url = f"sqlite:///{tmp_path}/tillwatch.db"
    session.migrate(url)
    migrated = Store.open(url)
    with migrated.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    assert {name for name, _ in schema(migrated)} == {name for name, _ in schema(store)}
    indexes = {(name, sql) for name, sql in schema(store) if "INDEX" in sql}
    assert {(name, sql) for name, sql in schema(migrated) if "INDEX" in sql} == indexes
    migrated.close()


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tillwatch.db"
    session.migrate(url)
    migrated = Store.open(url)
    before = schema(migrated)
    migrated.migrate()
    assert schema(migrated) == before
    migrated.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tillwatch.db"
    in_the_way = Store.open(url)
    with in_the_way.transaction() as repository:
        repository.connection.execute(text("CREATE TABLE ticket (x)"))
    with pytest.raises(Exception, match="table ticket already exists"):
        in_the_way.migrate()
    assert {name for name, _ in schema(in_the_way)} == {"ticket"}
    in_the_way.close()


def test_migrations_are_part_of_the_package() -> None:
    folder = Path(str(migrations.__file__)).parent
    assert {"env.py", "script.py.mako", "versions"} <= {path.name for path in folder.iterdir()}
