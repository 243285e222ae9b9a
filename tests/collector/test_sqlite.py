"""What is special of SQLite: one file, one writer, and a database in memory."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tillwatch_collector.errors import StoreUnavailable
from tillwatch_collector.store import session
from tillwatch_collector.store.session import Store


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/tillwatch.db"
    session.migrate(url)
    opened = Store.open(url)
    yield opened
    opened.close()


def test_it_is_for_one_process(file_store: Store) -> None:
    assert file_store.one_process


def test_what_was_committed_lies_on_the_disk(file_store: Store) -> None:
    with file_store.reading() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")
        ]
        assert pragmas == ["wal", 2]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_in_memory_a_transaction_inside_another_of_its_thread_is_refused() -> None:
    store = Store.in_memory()
    with store.transaction(), pytest.raises(AssertionError, match="inside another"), store.reading():
        pass


def test_a_database_that_another_process_holds_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_store: Store
) -> None:
    monkeypatch.setattr(session, "BUSY_TIMEOUT_S", 0)
    impatient = Store.open(f"sqlite:///{tmp_path}/tillwatch.db")
    other = sqlite3.connect(tmp_path / "tillwatch.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="database is locked"), impatient.transaction():
        pass
    other.close()
    impatient.close()
    with file_store.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM epoch")).scalar_one() == 0
