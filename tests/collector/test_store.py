"""Transactions, the lease, and rule 3: at most one open ticket per identity under any number of writers."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import event, text
from tests.collector.words import at

from tillwatch_collector.domain.policy import Rule
from tillwatch_collector.domain.ticket import Action
from tillwatch_collector.errors import RowRefused, StoreUnavailable
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.tickets import Why
from tillwatch_collector.policies import load
from tillwatch_collector.store import session, statements
from tillwatch_collector.store.judgements import Standing, TicketIdentity
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

RULE: Rule = load().default
WRITERS = 8


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/tillwatch.db"
    session.migrate(url)
    opened = Store.open(url)
    yield opened
    opened.close()


@pytest.fixture(params=["memory", "file"])
def any_store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue("store" if request.param == "memory" else "file_store")
    return found


def count(store: Store, table: str) -> int:
    with store.reading() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_transaction_commits_at_its_end(any_store: Store) -> None:
    with any_store.transaction() as repository:
        repository.raise_epoch(7, at(0))
    with any_store.transaction() as repository:
        assert repository.epoch() == 7


def test_a_transaction_that_raises_leaves_nothing(any_store: Store) -> None:
    def fail() -> None:
        with any_store.transaction() as repository:
            repository.raise_epoch(7, at(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with any_store.transaction() as repository:
        assert repository.epoch() == 0


def test_a_reader_sees_one_snapshot_while_a_writer_writes(file_store: Store) -> None:
    with file_store.reading() as connection:
        query = text("SELECT count(*) FROM epoch")
        assert connection.execute(query).scalar_one() == 0
        with file_store.transaction() as repository:
            repository.raise_epoch(7, at(0))
        assert connection.execute(query).scalar_one() == 0
    assert count(file_store, "epoch") == 1


def test_what_was_committed_lies_on_the_disk(file_store: Store) -> None:
    with file_store.reading() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")
        ]
        assert pragmas == ["wal", 2]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_in_memory_threads_share_one_database_and_wait_for_each_other(store: Store) -> None:
    def raise_once(number: int) -> None:
        with store.transaction() as repository:
            repository.raise_epoch(repository.epoch() + number, at(0))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(raise_once, [1] * 50))
    with store.transaction() as repository:
        assert repository.epoch() == 50


def test_in_memory_a_transaction_inside_another_of_its_thread_is_refused(store: Store) -> None:
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
    assert count(file_store, "epoch") == 0


def raise_epoch_and_fail(repository: Repository) -> None:
    with repository.facts.savepoint():
        repository.raise_epoch(7, at(0))
        repository.judgements.save_standings([Standing("till-2", "online", None, at(0))])  # type: ignore[arg-type]


def test_a_row_that_the_database_refuses_undoes_its_savepoint_only(any_store: Store) -> None:
    standing = Standing("till-1", "online", "heard", at(0))
    with any_store.transaction() as repository:
        repository.judgements.save_standings([standing])
        repository.raise_epoch(6, at(0))
        with pytest.raises(RowRefused, match="NOT NULL"):
            raise_epoch_and_fail(repository)
    with any_store.transaction() as repository:
        assert repository.epoch() == 6
        assert repository.judgements.standings() == [standing]


def test_a_row_that_the_database_refuses_outside_a_savepoint_ends_the_transaction(store: Store) -> None:
    with pytest.raises(RowRefused, match="NOT NULL"), store.transaction() as repository:
        repository.judgements.save_standings([Standing("till-1", "online", None, at(0))])  # type: ignore[arg-type]
    assert count(store, "standing") == 0


def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="expected an aware time"), store.transaction() as repository:
        repository.raise_epoch(7, datetime(2026, 11, 21))  # noqa: DTZ001 - the mistake


def test_long_lists_go_in_pieces(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(statements, "VARIABLES_MAX", 4)
    assert [len(some) for some in statements.chunked(range(10))] == [4, 4, 2]
    assert [len(some) for some in statements.chunked(range(10), 2)] == [2, 2, 2, 2, 2]
    names = [f"till-{number}" for number in range(11)]
    with store.transaction() as repository:
        assert sorted(repository.facts.meet(names, at(0))) == sorted(names)
        assert len(repository.looks.look(names)) == 11


def test_marked_terminals_and_open_tickets_are_found_by_their_index(store: Store) -> None:
    statements_seen: list[str] = []
    with store.transaction() as repository:
        event.listen(
            repository.connection.engine, "before_cursor_execute", lambda *seen: statements_seen.append(seen[2])
        )
        repository.looks.take_marked(5)
        repository.judgements.open_ticket_of(identity())
    with store.reading() as connection:
        for statement, index in zip(statements_seen, ("ix_sighting_marked", "uq_ticket_open"), strict=False):
            values = ("x",) * statement.count("?")
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            assert index in str(plan), statement


# --- the lease


def test_one_holds_the_lease_until_it_is_over(store: Store) -> None:
    with store.transaction() as repository:
        first = repository.take_lease("tick", "collector.1", at(0), at(15))
        assert repository.take_lease("tick", "collector.2", at(14), at(29)) is None
        second = repository.take_lease("tick", "collector.2", at(15), at(30))
    assert (first, second) == (1, 2)


def test_a_process_that_comes_back_takes_its_own_lease_over_and_shuts_its_old_self_out(store: Store) -> None:
    with store.transaction() as repository:
        old = repository.take_lease("tick", "collector.1", at(0), at(15))
        new = repository.take_lease("tick", "collector.1", at(1), at(16))
        assert old is not None
        assert new is not None
        assert not repository.keep_lease("tick", old, at(20))
        assert repository.keep_lease("tick", new, at(20))
        assert repository.take_lease("tick", "collector.2", at(19), at(40)) is None


# --- rule 3


def identity(number: int = 0) -> TicketIdentity:
    return TicketIdentity(subject_kind="terminal", subject_id=f"till-{number}", component="agent:self", code="silent")


WHY = Why(actor="machine:judge", reason="a test", evidence={})


def test_an_open_ticket_is_in_the_way_of_a_second_one_and_a_closed_one_is_not(store: Store) -> None:
    with store.transaction() as repository:
        first = tickets.open_or_recur(repository.judgements, identity(), RULE, WHY, at(0))
        again = tickets.open_or_recur(repository.judgements, identity(), RULE, WHY, at(1))
        tickets.act(repository, first.ticket_id, Action.CLOSE, actor="person:ann", reason="done", now=at(2))
        anew = tickets.open_or_recur(repository.judgements, identity(), RULE, WHY, at(3))
    assert again.ticket_id == first.ticket_id
    assert [first.move, again.move, anew.move] == ["opened", "recurred", "opened"]
    assert anew.ticket_id != first.ticket_id


def test_any_number_of_writers_end_with_one_open_ticket_each(tmp_path: Path, file_store: Store) -> None:
    """Each writer has a store of its own, as a process has: nothing but the database holds them apart."""
    ready = threading.Barrier(WRITERS)

    def write(_: int) -> None:
        own = Store.open(f"sqlite:///{tmp_path}/tillwatch.db")
        ready.wait()
        for turn in range(10):
            with own.transaction() as repository:
                tickets.open_or_recur(repository.judgements, identity(turn % 5), RULE, WHY, at(turn))
        own.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    assert count(file_store, "ticket") == 5
    assert count(file_store, "journal") == WRITERS * 10
    with file_store.reading() as connection:
        assert connection.execute(text("SELECT sum(recurrences) FROM ticket")).scalar_one() == WRITERS * 10 - 5
