"""Transactions, the lease, and rule 3: at most one open ticket per identity under any number of writers."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import event, text
from tests.collector.words import at

from tillwatch_collector.domain.policy import Rule
from tillwatch_collector.domain.ticket import Action, TicketIdentity
from tillwatch_collector.errors import RowRefused
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.tickets import Why
from tillwatch_collector.policies import load
from tillwatch_collector.store import session, statements
from tillwatch_collector.store.judgements import Standing
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

RULE: Rule = load().default
WRITERS = 8


@pytest.fixture
def on_disk(database_url: str) -> Iterator[Store]:
    """A store that others may open, too."""
    session.migrate(database_url)
    opened = Store.open(database_url)
    yield opened
    opened.close()


@pytest.fixture(params=["private", "shared"])
def any_store(request: pytest.FixtureRequest, store: Store, on_disk: Store) -> Store:
    return store if request.param == "private" else on_disk


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


def test_a_reader_sees_one_snapshot_while_a_writer_writes(on_disk: Store) -> None:
    with on_disk.reading() as connection:
        query = text("SELECT count(*) FROM epoch")
        assert connection.execute(query).scalar_one() == 0
        with on_disk.transaction() as repository:
            repository.raise_epoch(7, at(0))
        assert connection.execute(query).scalar_one() == 0
    assert count(on_disk, "epoch") == 1


def test_threads_share_one_database_and_wait_for_each_other(store: Store) -> None:
    def raise_once(number: int) -> None:
        with store.transaction() as repository:
            repository.raise_epoch(repository.epoch() + number, at(0))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(raise_once, [1] * 50))
    with store.transaction() as repository:
        assert repository.epoch() == 50


def raise_epoch_and_fail(repository: Repository) -> None:
    with repository.facts.savepoint():
        repository.raise_epoch(7, at(0))
        repository.judgements.save_standings([Standing("till-2", "online", None, at(0))])  # type: ignore[arg-type]


def test_a_row_that_the_database_refuses_undoes_its_savepoint_only(any_store: Store) -> None:
    standing = Standing("till-1", "online", "heard", at(0))
    with any_store.transaction() as repository:
        repository.judgements.save_standings([standing])
        repository.raise_epoch(6, at(0))
        with pytest.raises(RowRefused, match=r"(?i)not.null"):
            raise_epoch_and_fail(repository)
    with any_store.transaction() as repository:
        assert repository.epoch() == 6
        assert repository.judgements.standings() == [standing]


def test_a_row_that_the_database_refuses_outside_a_savepoint_ends_the_transaction(store: Store) -> None:
    with pytest.raises(RowRefused, match=r"(?i)not.null"), store.transaction() as repository:
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


A_LONG_PAST = (
    """INSERT INTO sighting (terminal_id, heard_at, stream_switches, marked)
    SELECT 'old-' || n, now(), 0, false FROM generate_series(1, 2000) AS n""",
    """INSERT INTO ticket
    (subject_kind, subject_id, component, code, status, severity, category, opened_at, updated_at, recurrences,
     origin, title, description, watchers, repair, escalation_step)
    SELECT 'terminal', 'old-' || n, 'agent:self', 'silent', 'closed', 'critical', 'agent', now(), now(), 0,
    'machine', '', '', '[]', 'complex', 0
    FROM generate_series(1, 2000) AS n""",
    "ANALYZE sighting",
    "ANALYZE ticket",
)
"""Rows that nothing is to be looked for in: PostgreSQL reads a short table whole, or by any index."""


def test_marked_terminals_and_open_tickets_are_found_by_their_index(store: Store) -> None:
    seen: list[tuple[str, Any]] = []
    with store.transaction() as repository:
        connection = repository.connection
        event.listen(connection, "before_cursor_execute", lambda *call: seen.append((call[2], call[3])))
        repository.looks.take_marked(5)
        repository.tickets.open_of(identity())
        explain = "EXPLAIN QUERY PLAN" if store.one_process else "EXPLAIN"
        if not store.one_process:
            for statement in A_LONG_PAST:
                connection.exec_driver_sql(statement)
        for index, (statement, values) in zip(("ix_sighting_marked", "uq_ticket_open"), list(seen), strict=False):
            plan = connection.exec_driver_sql(f"{explain} {statement}", values).fetchall()
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
        first = tickets.open_or_recur(repository, identity(), RULE, WHY, at(0))
        again = tickets.open_or_recur(repository, identity(), RULE, WHY, at(1))
        tickets.act(repository, first.ticket_id, Action.CLOSE, actor="person:ann", reason="done", now=at(2))
        anew = tickets.open_or_recur(repository, identity(), RULE, WHY, at(3))
    assert again.ticket_id == first.ticket_id
    assert [first.move, again.move, anew.move] == ["opened", "recurred", "opened"]
    assert anew.ticket_id != first.ticket_id


def test_any_number_of_writers_end_with_one_open_ticket_each(database_url: str, on_disk: Store) -> None:
    """Each writer has a store of its own, as a process has: nothing but the database holds them apart."""
    ready = threading.Barrier(WRITERS)

    def write(_: int) -> None:
        own = Store.open(database_url)
        ready.wait()
        for turn in range(10):
            with own.transaction() as repository:
                tickets.open_or_recur(repository, identity(turn % 5), RULE, WHY, at(turn))
        own.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    assert count(on_disk, "ticket") == 5
    assert count(on_disk, "journal") == WRITERS * 10
    with on_disk.reading() as connection:
        assert connection.execute(text("SELECT sum(recurrences) FROM ticket")).scalar_one() == WRITERS * 10 - 5
