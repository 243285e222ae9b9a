"""The fleet that benches are run over: the same from the same seed, and as flows could have left it."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from tests.bench.seeded_fleet import SeededFleet, Size
from tests.bench.seeding import NotEmpty, seed

from tillwatch_collector.domain.permission import EVERYWHERE
from tillwatch_collector.flows.judge import Judge, JudgeSettings
from tillwatch_collector.policies import load
from tillwatch_collector.store import tables
from tillwatch_collector.store.census import take_census, under_way
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SIZE = Size(terminals=400, stores=40, cut_off_share=0.05, failing_share=0.1)


def test_the_same_seed_makes_the_same_rows_and_another_one_others() -> None:
    one, again, other = (SeededFleet(size=SIZE, seed=number, now=NOW).rows for number in (1, 1, 2))
    assert one == again
    assert one != other


@pytest.fixture
def seeded(store: Store) -> Store:
    seed(store, SIZE, 1, NOW)
    return store


def test_every_terminal_is_there_and_some_of_each_kind_of_trouble(seeded: Store) -> None:
    with seeded.reading() as connection:
        census = take_census(connection, EVERYWHERE)
        counted = under_way(connection, EVERYWHERE, NOW)
    assert (census.whole.terminals, len(census.stores)) == (SIZE.terminals, SIZE.stores)
    assert {"silent", "off", "well", "critical", "major", "minor"} <= set(census.whole.states)
    assert counted.outages == 2
    assert min(counted.in_maintenance, counted.updating, *counted.faults_by_severity.values()) > 0


def test_judge_goes_on_from_it(seeded: Store) -> None:
    with seeded.transaction() as repository:
        judge = Judge.load(repository, load(), JudgeSettings(), NOW)
        judge.tick(repository, NOW)


def test_the_next_ticket_gets_the_next_number(seeded: Store) -> None:
    ticket = table_of(tables.TicketRow)
    with seeded.transaction() as repository:
        last = repository.connection.scalar(select(func.max(ticket.c.ticket_id)))
        row = dict(
            repository.connection.execute(select(ticket).where(ticket.c.status == "closed")).mappings().first() or {}
        )
        del row["ticket_id"]
        added = repository.connection.execute(ticket.insert().values(row).returning(ticket.c.ticket_id)).scalar_one()
    assert added == (last or 0) + 1


def test_a_database_that_holds_anything_is_refused(seeded: Store) -> None:
    with pytest.raises(NotEmpty, match="expected an empty database, got one with rows in"):
        seed(seeded, SIZE, 1, NOW)
