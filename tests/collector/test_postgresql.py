"""What is special of PostgreSQL: many writers at once, a server that dies, and what it says."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import text
from tests.collector.databases import Databases, rows
from tests.collector.shell_fixtures import Web
from tests.collector.words import at, delivered, events, heartbeat, printer
from tests.live.postgres import Postgres, Server
from tests.live.stack import until

from tillwatch_collector.domain.policy import Rule
from tillwatch_collector.domain.ticket import Action, TicketIdentity
from tillwatch_collector.errors import RowRefused, StoreUnavailable, StoreUnreachable
from tillwatch_collector.flows import epochs, tickets
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.flows.memory import Memory
from tillwatch_collector.flows.tickets import Why
from tillwatch_collector.policies import load
from tillwatch_collector.store import bulk, session
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.judgements import Standing
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table
from tillwatch_collector.tokens import Scope

RULE: Rule = load().default
WRITERS = 4
TURNS = 25


@pytest.fixture
def url(worker_databases: Databases) -> Iterator[str]:
    with worker_databases.fresh() as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    yield opened
    opened.close()


def at_once(url: str, *writers: Callable[[Store], Any]) -> list[Any]:
    """Let writers go at the same moment, each with a store of its own, as processes have."""
    ready = threading.Barrier(len(writers))

    def run(writer: Callable[[Store], Any]) -> Any:
        own = Store.open(url)
        try:
            with own.transaction() as repository:
                repository.connection.execute(text("SELECT 1"))
            ready.wait()
            return writer(own)
        finally:
            own.close()

    with ThreadPoolExecutor(len(writers)) as pool:
        return list(pool.map(run, writers))


def shown(store: Store, setting: str, *, reading: bool = False) -> Any:
    with store.transaction() as repository, store.reading() as connection:
        return (connection if reading else repository.connection).execute(text(f"SHOW {setting}")).scalar_one()


# --- how it is used


@pytest.mark.parametrize(
    ("setting", "writer", "reader"),
    [
        ("transaction_isolation", "read committed", "repeatable read"),
        ("transaction_read_only", "off", "on"),
        ("synchronous_commit", "on", "on"),
        ("lock_timeout", "15s", "15s"),
        ("statement_timeout", "1min", "1min"),
        ("idle_in_transaction_session_timeout", "1min", "1min"),
        ("application_name", "tillwatch", "tillwatch"),
    ],
)
def test_a_transaction_is_bounded(store: Store, setting: str, writer: str, reader: str) -> None:
    assert shown(store, setting) == writer
    assert shown(store, setting, reading=True) == reader


def test_it_is_for_many_processes(store: Store) -> None:
    assert not store.one_process


def test_a_commit_lies_on_the_disk_even_where_the_server_would_not_wait(
    postgresql: Server, worker_databases: Databases
) -> None:
    with worker_databases.bare() as url:
        name = sql.Identifier(url.rpartition("/")[2])
        postgresql.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        store = Store.open(url)
        assert shown(store, "synchronous_commit") == "on"
        store.close()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_the_url_says_what_it_wants_otherwise(url: str, scheme: str) -> None:
    store = Store.open(f"{scheme}:{url.partition(':')[2]}?application_name=mine")
    assert shown(store, "application_name") == "mine"
    store.close()


def test_connections_are_bounded_and_whoever_waits_too_long_for_one_is_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.01}.items():
        monkeypatch.setitem(session._POOL, name, value)
    store = Store.open(url)
    with store.transaction(), pytest.raises(StoreUnavailable, match="limit"), store.reading():
        pass
    with store.reading():
        pass
    store.close()


def test_a_writer_waits_for_a_row_no_longer_than_its_time(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(session._SESSION_MS, "lock_timeout", 20)
    impatient = Store.open(url)
    with store.transaction() as holding:
        holding.epoch()
        with pytest.raises(StoreUnavailable, match="lock timeout"), impatient.transaction() as repository:
            repository.epoch()
    impatient.close()


# --- what it says


@pytest.mark.parametrize(
    ("presence", "said"),
    [
        ("x" * 17, "too long"),
        ("nul\x00", "NUL"),
        (None, "not-null"),
    ],
)
def test_a_row_that_it_refuses_is_not_repeated(store: Store, presence: Any, said: str) -> None:
    with pytest.raises(RowRefused, match=said) as refused, store.transaction() as repository:
        repository.judgements.save_standings([Standing("secret-1", presence, "heard", at(0))])
    assert "secret-1" not in str(refused.value)
    assert "DETAIL" not in str(refused.value)


def test_many_rows_by_one_statement_are_not_cut_to_fit(store: Store) -> None:
    columns = ("terminal_id", "presence", "reason", "since")
    table, row = Table.metadata.tables["standing"], ("till-1", "x" * 17, "heard", at(0))
    with pytest.raises(RowRefused, match="too long"), store.transaction() as repository:
        bulk.upsert(repository.connection, table, columns, [row])


def test_a_path_that_it_cannot_hold_is_the_callers_fault(store: Store) -> None:
    answer = Web(database=store).client(Scope.READ).get("/api/v1/terminals/a%00b")
    assert answer.status_code == 422
    assert "NUL" in answer.json()["detail"]


# --- several at once


def test_two_that_meet_a_terminal_know_one(url: str, store: Store) -> None:
    """Each hears it on a stream of its own, among others in any order: one row, two numbers, nobody gives way."""
    names = [f"till-{number}" for number in range(40)]

    def hear(letter: str) -> Callable[[Store], None]:
        def take(own: Store) -> None:
            rng = Random(letter)
            for turn in range(TURNS):
                chosen = rng.sample(names, 10)
                with own.transaction() as repository:
                    ingest(repository, [beat(name, letter, turn + 1) for name in chosen], at(turn))

        return take

    at_once(url, hear("a"), hear("b"), hear("c"))
    assert rows(store, "SELECT count(*) FROM terminal") == rows(store, "SELECT count(*) FROM sighting") == [(40,)]
    numbers = "SELECT terminal_id FROM stream GROUP BY terminal_id HAVING count(*) <> max(stream_no)"
    assert rows(store, numbers) == []


def beat(terminal_id: str, letter: str, number: int) -> Delivery:
    codes = () if number % 2 else ("paper_end",)
    return delivered(heartbeat(number, printer(*codes), terminal_id=terminal_id, stream_id=letter), number)


def test_a_mark_set_while_judge_takes_marks_is_not_lost(url: str, store: Store) -> None:
    names = [f"till-{number}" for number in range(60)]
    taken: list[str] = []
    done = threading.Event()

    def hear(own: Store) -> None:
        for turn in range(TURNS):
            with own.transaction() as repository:
                ingest(repository, [beat(name, "a", turn + 1) for name in reversed(names)], at(turn))
        done.set()

    def describe(own: Store) -> None:
        rng = Random(1)
        while not done.is_set():
            with own.transaction() as repository:
                repository.facts.mark(rng.sample(names, 20))

    def judge(own: Store) -> None:
        while not done.is_set():
            take(own)

    def take(own: Store) -> None:
        with own.transaction() as repository:
            taken.extend(repository.looks.take_marked(25))

    at_once(url, hear, describe, judge)
    while before := len(taken):
        take(store)
        if len(taken) == before:
            break
    assert set(taken) == set(names)
    assert rows(store, "SELECT count(*) FROM sighting WHERE marked") == [(0,)]


def test_marks_that_another_holds_are_left_for_later(url: str, store: Store) -> None:
    other = Store.open(url)
    with store.transaction() as repository:
        repository.facts.meet({"till-1", "till-2"}, at(0))
    with store.transaction() as holding:
        holding.facts.meet({"till-1"}, at(0))
        with other.transaction() as judging:
            assert judging.looks.take_marked(10) == ["till-2"]
    with other.transaction() as judging:
        assert judging.looks.take_marked(10) == ["till-1"]
    other.close()


def test_one_of_many_takes_the_lease(url: str) -> None:
    def take(own: Store) -> int | None:
        with own.transaction() as repository:
            return repository.take_lease("tick", f"collector.{id(own)}", at(0), at(15))

    taken = at_once(url, *[take] * WRITERS)
    assert sorted(filter(None, taken)) == [1]


def test_a_lease_that_is_kept_is_not_taken_before_the_commit(url: str, store: Store) -> None:
    """Fencing: what was written under a lease is committed before another can have it."""
    other = Store.open(url)
    with store.transaction() as repository:
        number = repository.take_lease("tick", "collector.1", at(0), at(15)) or 0
    taken: list[int | None] = []

    def take() -> None:
        with other.transaction() as repository:
            taken.append(repository.take_lease("tick", "collector.2", at(20), at(35)))

    taker = threading.Thread(target=take)
    with store.transaction() as repository:
        assert repository.keep_lease("tick", number, at(30))
        taker.start()
        waits_for_a_lock(store)
        assert taken == []
    taker.join()
    assert taken == [None]
    other.close()


def waits_for_a_lock(store: Store) -> None:
    """Wait until some transaction waits for another."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    until(lambda: rows(store, waiting) != [(0,)], "a transaction to wait")


def test_processes_that_start_at_once_have_each_its_own_epoch(url: str, store: Store) -> None:
    def begin(own: Store) -> int:
        with own.transaction() as repository:
            return epochs.begin(repository, 7, at(0))

    begun = at_once(url, *[begin] * WRITERS)
    assert len(set(begun)) == WRITERS
    with store.transaction() as repository:
        assert repository.epoch() == max(begun)


IDENTITY = TicketIdentity(subject_kind="terminal", subject_id="till-1", component="agent:self", code="silent")
WHY = Why(actor="machine:judge", reason="a test", evidence={})


def open_or_recur(repository: Repository) -> tickets.TicketChange:
    return tickets.open_or_recur(repository, IDENTITY, RULE, WHY, at(0))


def test_a_ticket_that_is_closed_while_it_recurs_is_opened_anew(url: str, store: Store) -> None:
    def recur(own: Store) -> None:
        for _ in range(TURNS):
            with own.transaction() as repository:
                open_or_recur(repository)

    def close(own: Store) -> None:
        for _ in range(TURNS):
            with own.transaction() as repository:
                there = repository.tickets.open_of(IDENTITY)
                if there is not None:
                    tickets.act(repository, there.ticket_id, Action.CLOSE, actor="person:ann", reason="done", now=at(0))

    at_once(url, recur, recur, close, close)
    assert rows(store, "SELECT count(*) <= 1 FROM ticket WHERE status <> 'closed'") == [(True,)]
    assert rows(store, "SELECT count(*) FROM journal WHERE action IN ('open', 'recur')") == [(2 * TURNS,)]


def test_who_remembers_terminals_waits_for_those_that_began_to_write_beside_others(url: str, store: Store) -> None:
    alone, beside = Memory("collector.1"), Memory(None)
    other = Store.open(url)
    known: list[int] = []

    def take(own: Store, memory: Memory, number: int) -> None:
        with own.transaction() as repository:
            effects = ingest(repository, [delivered(events(number))], at(0), memory=memory)
        memory.committed()
        known.extend(ack.event_seq for ack in effects.acks)

    take(store, beside, 1)
    taker = threading.Thread(target=take, args=(other, alone, 2))
    with store.transaction() as repository:
        beside.begin(repository)
        taker.start()
        waits_for_a_lock(store)
        ingest(repository, [delivered(events(3))], at(0), memory=beside)
    taker.join()
    assert known == [1, 3]
    other.close()


def test_what_two_people_change_of_one_terminal_is_both_there(url: str, store: Store) -> None:
    def change(field: str) -> Callable[[Store], None]:
        def write(own: Store) -> None:
            for turn in range(TURNS):
                with own.transaction() as repository:
                    inventory = Inventory(repository.connection)
                    before = inventory.terminal("till-1")
                    assert before is not None
                    inventory.put_terminal(before.model_copy(update={field: f"{field} {turn}"}), at(0))

        return write

    with store.transaction() as repository:
        repository.facts.meet({"till-1"}, at(0))
    at_once(url, change("brand"), change("model"))
    assert rows(store, "SELECT brand, model FROM terminal") == [(f"brand {TURNS - 1}", f"model {TURNS - 1}")]


# --- a server that dies


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgresql")) as server:
        session.migrate(server.create("tillwatch"))
        yield server


@pytest.fixture
def mortal(own_server: Postgres) -> Iterator[Store]:
    """A store whose server may be killed; it is up again for the next."""
    opened = Store.open(own_server.url("tillwatch"))
    yield opened
    opened.close()
    if not own_server.running:
        own_server.start()


def dies_in_the_middle(server: Postgres, repository: Repository, epoch: int) -> None:
    repository.raise_epoch(epoch, at(0))
    server.kill()
    repository.epoch()


def dies_in_a_savepoint(server: Postgres, repository: Repository, epoch: int) -> None:
    with repository.facts.savepoint():
        repository.raise_epoch(epoch, at(0))
        server.kill()
        repository.epoch()


def dies_at_the_commit(server: Postgres, repository: Repository, epoch: int) -> None:
    repository.raise_epoch(epoch, at(0))
    server.kill()


@pytest.mark.parametrize("dies", [dies_in_the_middle, dies_in_a_savepoint, dies_at_the_commit])
def test_a_transaction_whose_server_dies_is_unavailable_and_the_next_one_after_its_return_works(
    own_server: Postgres, mortal: Store, dies: Callable[[Postgres, Repository, int], None]
) -> None:
    with mortal.transaction() as repository:
        before = repository.epoch()
    with pytest.raises(StoreUnavailable), mortal.transaction() as repository:
        dies(own_server, repository, before + 1)
    assert mortal.writing_fails
    with pytest.raises(StoreUnreachable, match="Connection refused"), mortal.reading():
        pass
    own_server.start()
    with mortal.transaction() as repository:
        assert repository.epoch() == before
    assert not mortal.writing_fails


def test_connections_that_died_while_nobody_used_them_are_not_handed_out(own_server: Postgres, mortal: Store) -> None:
    with mortal.transaction(), mortal.reading():
        pass
    own_server.kill()
    own_server.start()
    with mortal.transaction() as repository, mortal.reading():
        repository.epoch()


def test_a_reader_whose_connection_an_administrator_ends_is_unavailable(own_server: Postgres, mortal: Store) -> None:
    ended = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tillwatch'")

    def read() -> None:
        with mortal.reading() as connection:
            own_server.execute(ended)
            connection.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable):
        read()
    with mortal.reading() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_caller_is_not_told_where_a_database_is_that_cannot_be_reached(own_server: Postgres, mortal: Store) -> None:
    client = Web(database=mortal).client(Scope.READ)
    own_server.kill()
    answer = client.get("/api/v1/fleet")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the database cannot be reached; try again"
