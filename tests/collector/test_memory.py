"""What an ingesting process remembers: never more than the database holds, nothing that another has written since."""

import random
from collections.abc import Sequence

import pytest
from tests.collector.databases import NewStore, rows
from tests.collector.words import at, delivered, event, events, heartbeat, offline, presence, printer, raw
from tests.scenarios.dump import difference, facts_of

from tillwatch_collector.flows.ingest import Delivery, IngestEffects, ingest
from tillwatch_collector.flows.memory import Memory
from tillwatch_collector.store.session import Store
from tillwatch_protocol.event import Event


class Process:
    """One that ingests: alone, and then it remembers; or beside others."""

    def __init__(self, store: Store, name: str | None, terminals_max: int = 100) -> None:
        self.store = store
        self.memory = Memory(name, terminals_max)

    def take(self, *batch: Delivery) -> IngestEffects:
        with self.store.transaction() as repository:
            effects = ingest(repository, batch, at(0), memory=self.memory)
        self.memory.committed()
        return effects

    def fail(self, *batch: Delivery) -> None:
        """Take a batch in, and have the commit not come about."""
        with pytest.raises(ConnectionError):
            self._break_off(batch)
        self.memory.rolled_back()

    def _break_off(self, batch: Sequence[Delivery]) -> None:
        with self.store.transaction() as repository:
            ingest(repository, batch, at(0), memory=self.memory)
            raise ConnectionError


def message(rng: random.Random) -> Delivery:
    """What three terminals may say, in any order, some of it twice, some of it not to be understood."""
    till, outbox, number = f"till-{rng.randint(1, 3)}", rng.choice("ab"), rng.randint(1, 12)
    return rng.choice(
        [
            delivered(heartbeat(number, printer(), terminal_id=till, stream_id=outbox)),
            delivered(heartbeat(number, printer("paper_end"), terminal_id=till, stream_id=outbox)),
            delivered(events(*_run(number), terminal_id=till, stream_id=outbox)),
            delivered(presence(terminal_id=till, stream_id=outbox, connection_no=number)),
            delivered(offline(terminal_id=till, stream_id=outbox, connection_no=number)),
            raw(b"{", topic=f"tillwatch/v1/t/{till}/up/heartbeat"),
        ]
    )


def _run(first: int) -> Sequence[Event]:
    return [event(number) for number in range(first, first + 3)]


PROCESSES = [
    # one that remembers: what a small shop runs
    pytest.param(["alone"], id="alone"),
    # two that ingest beside each other remember nothing
    pytest.param([None, None], id="shared"),
    # one that believes it is alone, and another that came: the fence goes back and forth
    pytest.param(["alone", None], id="one of each"),
    pytest.param(["alone", "another"], id="two alone"),
]


@pytest.mark.parametrize("names", PROCESSES)
@pytest.mark.parametrize("seed", range(3))
def test_whoever_remembers_ends_where_one_who_reads_everything_does(
    new_store: NewStore, names: list[str | None], seed: int
) -> None:
    rng = random.Random(seed)
    said = [message(rng) for _ in range(60)]
    reader, shared = Process(new_store(), None), new_store()
    processes = [Process(shared, name) for name in names]
    while said:
        batch, said = said[: rng.randint(1, 8)], said[8:]
        reader.take(*batch)
        process = rng.choice(processes)
        if rng.random() < 0.2:
            process.fail(*batch)
        process.take(*batch)
    assert difference(facts_of(reader.store), facts_of(shared)) is None


def test_what_was_not_committed_is_not_remembered(store: Store) -> None:
    process = Process(store, "alone")
    process.take(delivered(heartbeat(1)))
    process.fail(delivered(heartbeat(9)))
    assert process.take(delivered(heartbeat(5))).counts.heartbeats == 1
    assert rows(store, "SELECT beat_no FROM level") == [(5,)]


def test_a_terminal_met_in_a_batch_that_failed_is_met_again(store: Store) -> None:
    process = Process(store, "alone")
    process.fail(delivered(heartbeat(1)))
    process.take(delivered(heartbeat(1)))
    assert rows(store, "SELECT terminal_id FROM sighting") == [("till-1",)]


def test_what_another_process_wrote_is_read(store: Store) -> None:
    first, second = Process(store, "alone"), Process(store, None)
    first.take(delivered(events(1, 2)))
    second.take(delivered(events(3, 4)))
    [ack] = first.take(delivered(events(5))).acks
    assert ack.event_seq == 5


def test_known_terminals_are_not_read_again_while_one_ingests_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(store, "alone")
    process.take(delivered(heartbeat(1)))
    monkeypatch.setattr("tillwatch_collector.store.facts.Facts.streams", lambda *_: pytest.fail("read again"))
    process.take(delivered(heartbeat(2)))


def test_memory_has_a_limit(store: Store) -> None:
    process = Process(store, "alone", terminals_max=2)
    for number in range(5):
        process.take(delivered(heartbeat(1, terminal_id=f"till-{number}")))
        assert len(process.memory.sightings) <= 2


def test_an_event_that_was_removed_by_age_is_not_stored_anew(store: Store) -> None:
    process = Process(store, "alone")
    process.take(delivered(events(1, 2, 3)))
    with store.transaction() as repository:
        repository.connection.exec_driver_sql("DELETE FROM event WHERE event_seq < 3")
    effects = process.take(delivered(events(1, 2, 3)))
    assert (effects.counts.events, effects.counts.events_repeated) == (0, 3)
    assert rows(store, "SELECT event_seq FROM event") == [(3,)]
