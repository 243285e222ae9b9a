"""Tickets under several writers, in any order and at once: journals tell the rows, and rule 3 holds."""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.collector.ticket_words import (
    ANN,
    BOB,
    OTHER_TILL,
    PIN_PAD,
    PRINTER,
    SHOP,
    TILL,
    WHY,
    act,
    assert_journals_tell_the_tickets,
    fault,
    opened_shop,
    proof,
    report,
    tickets_of,
)
from tests.collector.words import at

from tillwatch_collector.domain.ticket import FINAL, PERSONS_ACTIONS, Action, Status
from tillwatch_collector.errors import CallerError
from tillwatch_collector.flows import tickets
from tillwatch_collector.store import session
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

TILLS = (TILL, OTHER_TILL)
COMPONENTS = (PRINTER, PIN_PAD)
SEVERITIES = ("critical", "major", "minor")

Step = Callable[[Repository], Any]


# --- in any order


class TicketsInAnyOrder(RuleBasedStateMachine):
    """Two writers, each with a store of its own over one file, as processes have."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        url = f"sqlite:///{self.folder}/collector.db"
        session.migrate(url)
        self.writers = (Store.open(url), Store.open(url))
        self.turn = 0
        self.ended: dict[int, str] = {}

    @initialize()
    def open_the_shop(self) -> None:
        opened_shop(self.writers[0])

    def done(self, step: Step) -> None:
        """Let the writers take turns; what is refused must have changed nothing."""
        self.turn += 1
        store = self.writers[self.turn % 2]
        before = tickets_of(store)
        try:
            with store.transaction() as repository:
                step(repository)
        except CallerError:
            assert tickets_of(store) == before

    def any_ticket(self, number: int) -> int:
        found = tickets_of(self.writers[0])
        return found[number % len(found)]["ticket_id"] if found else 1

    @rule(till=st.sampled_from(TILLS), component=st.sampled_from(COMPONENTS), severity=st.sampled_from(SEVERITIES))
    def raise_a_fault(self, till: str, component: str, severity: str) -> None:
        self.done(lambda repository: fault(repository, component, till=till, severity=severity, after_s=self.turn))

    @rule(till=st.sampled_from(TILLS), component=st.sampled_from(COMPONENTS))
    def prove_it_gone(self, till: str, component: str) -> None:
        self.done(lambda repository: proof(repository, component, till=till, after_s=self.turn))

    @rule(till=st.sampled_from(TILLS), component=st.sampled_from(("", *COMPONENTS)))
    def report_it(self, till: str, component: str) -> None:
        self.done(lambda repository: report(repository, component, subject_id=till, after_s=self.turn))

    @rule(number=st.integers(0, 30), action=st.sampled_from(sorted(PERSONS_ACTIONS)))
    def do(self, number: int, action: Action) -> None:
        ticket_id = self.any_ticket(number)
        self.done(lambda repository: act(repository, ticket_id, action, after_s=self.turn))

    @rule(number=st.integers(0, 30))
    def wait_long(self, number: int) -> None:
        ticket_id = self.any_ticket(number)
        self.done(lambda repository: tickets.expire(repository, ticket_id, WHY, at(self.turn)))

    @rule(number=st.integers(0, 30), other=st.integers(0, 30))
    def merge_two(self, number: int, other: int) -> None:
        one, into = self.any_ticket(number), self.any_ticket(other)
        said: dict[str, Any] = {"actor": ANN, "reason": "the same", "now": at(self.turn)}
        self.done(lambda repository: tickets.merge(repository, one, into, **said))

    @rule(number=st.integers(0, 30), other=st.none() | st.integers(0, 30))
    def make_it_a_part(self, number: int, other: int | None) -> None:
        one, parent = self.any_ticket(number), None if other is None else self.any_ticket(other)
        said: dict[str, Any] = {"actor": BOB, "reason": "part of it", "now": at(self.turn)}
        self.done(lambda repository: tickets.set_parent(repository, one, parent, **said))

    @invariant()
    def journals_tell_the_tickets(self) -> None:
        assert_journals_tell_the_tickets(self.writers[0])

    @invariant()
    def what_is_final_stays_final(self) -> None:
        for ticket in tickets_of(self.writers[0]):
            if ticket["status"] in FINAL:
                assert self.ended.setdefault(ticket["ticket_id"], ticket["status"]) == ticket["status"]
            else:
                assert ticket["ticket_id"] not in self.ended

    @invariant()
    def rows_say_what_their_status_means(self) -> None:
        found = {ticket["ticket_id"]: ticket for ticket in tickets_of(self.writers[0])}
        for ticket in found.values():
            status = Status(ticket["status"])
            assert (ticket["pending_on"] is not None) is (status is Status.PENDING)
            assert (ticket["closed_at"] is not None) is (status in FINAL)
            assert (ticket["merged_into_id"] is not None) is (status is Status.MERGED)
            assert ticket["resolved_at"] is not None or status is not Status.RESOLVED
            parent = found.get(ticket["parent_id"])
            assert parent is None or parent["parent_id"] is None

    @invariant()
    def no_fault_that_stands_is_behind_a_resolved_ticket(self) -> None:
        standing = "SELECT ticket_id FROM fault WHERE cleared_at IS NULL"
        resolved = f"SELECT ticket_id FROM ticket WHERE status = 'resolved' AND ticket_id IN ({standing})"
        with self.writers[0].reading() as connection:
            assert connection.exec_driver_sql(resolved).all() == []

    def teardown(self) -> None:
        for store in self.writers:
            store.close()
        shutil.rmtree(self.folder)


TestTicketsInAnyOrder = TicketsInAnyOrder.TestCase
TestTicketsInAnyOrder.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


# --- at once


@pytest.fixture
def shop(database_url: str) -> Iterator[Store]:
    session.migrate(database_url)
    store = Store.open(database_url)
    yield opened_shop(store)
    store.close()


def at_once(url: str, *steps: Callable[[Store], Any]) -> list[Any]:
    """Let each step run in a thread and a store of its own, all beginning together."""
    ready = threading.Barrier(len(steps))

    def run(step: Callable[[Store], Any]) -> Any:
        own = Store.open(url)
        try:
            ready.wait()
            return step(own)
        finally:
            own.close()

    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(run, steps))


def in_a_transaction(step: Step) -> Callable[[Store], Any]:
    def run(store: Store) -> Any:
        with store.transaction() as repository:
            return step(repository)

    return run


@pytest.mark.parametrize("component", ["", PRINTER])
def test_a_report_and_a_fault_at_once_are_one_ticket(database_url: str, shop: Store, component: str) -> None:
    writers = [in_a_transaction(fault), in_a_transaction(lambda repository: report(repository, component))] * 3
    changes = at_once(database_url, *writers)
    assert len({change.ticket_id for change in changes}) == 1
    (row,) = tickets_of(shop)
    assert row["code"] == "paper_end"
    assert_journals_tell_the_tickets(shop)


def test_the_last_one_who_merges_finds_the_other_ended(database_url: str, shop: Store) -> None:
    with shop.transaction() as repository:
        one, other = fault(repository).ticket_id, fault(repository, till=OTHER_TILL).ticket_id

    def merging(ticket_id: int, into_id: int) -> Callable[[Store], str]:
        def run(store: Store) -> str:
            try:
                with store.transaction() as repository:
                    tickets.merge(repository, ticket_id, into_id, actor=ANN, reason="the same", now=at(1))
            except CallerError:
                return "refused"
            return "merged"

        return run

    said = at_once(database_url, merging(one, other), merging(other, one))
    assert sorted(said) == ["merged", "refused"]
    assert sorted(row["status"] for row in tickets_of(shop)) == ["merged", "reported"]


def test_writers_that_do_everything_at_once_keep_every_rule(database_url: str, shop: Store) -> None:
    def busy(seed: int) -> Callable[[Store], None]:
        def run(store: Store) -> None:
            rng = Random(seed)
            for _ in range(25):
                try:
                    with store.transaction() as repository:
                        _anything(repository, rng)
                except CallerError:
                    continue

        return run

    at_once(database_url, *(busy(seed) for seed in range(4)))
    found = tickets_of(shop)
    assert found
    assert {row["store_id"] for row in found} == {SHOP}
    assert_journals_tell_the_tickets(shop)


def _anything(repository: Repository, rng: Random) -> None:
    till, component = rng.choice(TILLS), rng.choice(COMPONENTS)
    one, other = rng.randrange(1, 12), rng.randrange(1, 12)
    steps: list[Callable[[], Any]] = [
        lambda: fault(repository, component, till=till),
        lambda: proof(repository, component, till=till),
        lambda: report(repository, rng.choice(("", component)), subject_id=till),
        lambda: act(repository, one, rng.choice(sorted(PERSONS_ACTIONS))),
        lambda: tickets.merge(repository, one, other, actor=ANN, reason="the same", now=at(0)),
        lambda: tickets.set_parent(repository, one, other, actor=ANN, reason="part", now=at(0)),
        lambda: tickets.watch(repository, one, f"person:{rng.randrange(9)}", actor=ANN, now=at(0)),
        lambda: tickets.comment(repository, one, "hello", actor=ANN, now=at(0)),
    ]
    rng.choice(steps)()
