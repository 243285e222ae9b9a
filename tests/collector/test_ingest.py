"""Messages to facts: what is stored, in any order and any number, and what becomes of the rest."""

import json
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from tests.collector.databases import Databases, NewStore, rows, stores_in
from tests.collector.words import at, delivered, event, events, heartbeat, offline, presence, printer, raw, stream
from tests.scenarios.dump import facts_of

from tillwatch_collector.domain.stream import RANGES_ABOVE_PREFIX_MAX
from tillwatch_collector.flows import dispatch
from tillwatch_collector.flows.ingest import Delivery, IngestEffects, ingest
from tillwatch_collector.store.judgements import Standing
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Ack
from tillwatch_protocol.job import JobReport, JobState, JobStatus
from tillwatch_protocol.process import Canary, ProcessLife, ProcessState
from tillwatch_protocol.topics import Message
from tillwatch_protocol.vocabulary import Health


def take(store: Store, *batch: Delivery | Message, after_s: float = 0) -> IngestEffects:
    deliveries = [one if isinstance(one, Delivery) else delivered(one, after_s) for one in batch]
    with store.transaction() as repository:
        return ingest(repository, deliveries, at(after_s))


def levels(store: Store) -> list[tuple[Any, ...]]:
    return rows(store, "SELECT boot_epoch, beat_no FROM level ORDER BY stream_id")


def acks(effects: IngestEffects) -> list[int]:
    return [ack.event_seq for ack in effects.acks]


def marks(store: Store) -> list[str]:
    with store.transaction() as repository:
        return repository.looks.take_marked(100)


# --- heartbeats


@pytest.mark.parametrize("order", list(permutations([(1, 1), (1, 2), (2, 1)])))
def test_the_newest_heartbeat_is_the_level_in_any_order(store: Store, order: Sequence[tuple[int, int]]) -> None:
    for boot_epoch, beat_no in order:
        take(store, heartbeat(beat_no, boot_epoch=boot_epoch))
    assert levels(store) == [(2, 1)]


def test_the_newest_heartbeat_of_a_batch_is_the_level(store: Store) -> None:
    counts = take(store, heartbeat(2), heartbeat(3), heartbeat(1), heartbeat(3)).counts
    assert levels(store) == [(1, 3)]
    assert (counts.heartbeats, counts.heartbeats_old) == (2, 2)


def test_copies_of_one_outbox_end_in_the_same_level_in_any_order(new_store: NewStore) -> None:
    dumps = []
    for order in permutations([heartbeat(1, printer()), heartbeat(1, printer("paper_end")), heartbeat(1)]):
        store = new_store()
        take(store, *order)
        dumps.append(facts_of(store))
    assert all(dump == dumps[0] for dump in dumps)


def test_a_heartbeat_is_kept_whole_and_its_age_is_not(store: Store) -> None:
    job = JobStatus(job_id="job-1", state=JobState.STAGED)
    reading = printer("paper_end", measures={"cuts": 3}, age_s=1.5)
    take(store, heartbeat(1, reading, event_seq_last=9).model_copy(update={"job": job}))
    [(components, kept_job, version)] = rows(store, "SELECT components, job, agent_version FROM level")
    assert json.loads(components)[0]["measures"] == {"cuts": 3}
    assert "age_s" not in components
    assert (json.loads(kept_job), version) == ({"job_id": "job-1", "state": "staged"}, "0.1.0")
    assert rows(store, "SELECT event_seq_last FROM stream") == [(9,)]


def test_an_unchanged_heartbeat_moves_the_time_and_changes_nothing_else(store: Store) -> None:
    take(store, heartbeat(1, printer(age_s=1)))
    before = rows(store, "SELECT components, digest FROM level")
    effects = take(store, heartbeat(2, printer(age_s=2)), after_s=60)
    assert rows(store, "SELECT components, digest FROM level") == before
    assert levels(store) == [(1, 2)]
    assert rows(store, "SELECT heard_at, received_at FROM level, sighting")[0] == ("2026-11-21 12:01:00.000000",) * 2
    assert effects.marked == frozenset()


@pytest.mark.parametrize(
    "second",
    [
        # a condition, a health, what can be judged
        pytest.param(heartbeat(2, printer("paper_end")), id="condition"),
        pytest.param(heartbeat(2, printer(undetermined=["paper_end"])), id="undetermined"),
        # a component came or went
        pytest.param(heartbeat(2), id="component"),
        # another connection, another promise, another stream
        pytest.param(heartbeat(2, printer(), connection_no=2), id="connection"),
        pytest.param(heartbeat(2, printer(), interval_s=30), id="interval"),
        pytest.param(heartbeat(1, printer(), stream_id="b"), id="stream"),
    ],
)
def test_what_judge_looks_at_marks_the_terminal(store: Store, second: Message) -> None:
    assert take(store, heartbeat(1, printer())).marked == {"till-1"}
    assert marks(store) == ["till-1"]
    assert take(store, heartbeat(2, printer(measures={"cuts": 4})), after_s=1).marked == frozenset()
    assert marks(store) == []
    effects = take(store, second if second.beat_no == 1 else second.model_copy(update={"beat_no": 3}), after_s=2)  # type: ignore[union-attr]
    assert effects.marked == {"till-1"}
    assert marks(store) == ["till-1"]


def test_who_may_have_been_missed_is_marked_when_it_is_heard(store: Store) -> None:
    take(store, heartbeat(1), after_s=0)
    assert take(store, heartbeat(2), after_s=60).marked == frozenset()
    assert take(store, heartbeat(3), after_s=123).marked == frozenset(), "within the grace nobody is missed"
    assert take(store, heartbeat(4), after_s=187).marked == {"till-1"}


@pytest.mark.parametrize(
    ("judged", "looked_at"), [("online", False), ("late", True), ("silent", True), ("off", True), ("unknown", True)]
)
def test_of_those_who_were_late_judge_looks_at_whom_it_missed(store: Store, judged: str, looked_at: bool) -> None:
    """When all are late, because we are, to look at each would keep us behind."""
    take(store, heartbeat(1))
    with store.transaction() as repository:
        repository.judgements.save_standings([Standing("till-1", judged, "heard", at(0))])
        repository.looks.take_marked(100)
    take(store, heartbeat(2), after_s=600)
    assert marks(store) == (["till-1"] if looked_at else [])


def test_a_terminal_nobody_knows_is_kept_unassigned(store: Store) -> None:
    take(store, heartbeat(1))
    assert rows(store, "SELECT terminal_id, store_id, life_cycle FROM terminal") == [("till-1", None, "live")]


def test_a_stream_is_numbered_in_the_order_of_its_first_message(store: Store) -> None:
    take(store, heartbeat(1), heartbeat(1, stream_id="b"))
    take(store, events(1, stream_id="c"))
    assert rows(store, "SELECT stream_id, stream_no FROM stream ORDER BY 2") == [
        (stream("a"), 1),
        (stream("b"), 2),
        (stream("c"), 3),
    ]


@pytest.mark.parametrize(
    ("messages", "switches"),
    [
        # a new stream is normal
        ([heartbeat(1), heartbeat(1, stream_id="b")], 0),
        # an old one that comes back is not
        ([heartbeat(1), heartbeat(1, stream_id="b"), heartbeat(2)], 1),
        # a late heartbeat that is no news says nothing
        ([heartbeat(2), heartbeat(1, stream_id="b"), heartbeat(1)], 0),
        # two that speak in turn
        ([heartbeat(n, stream_id=s) for n in (1, 2, 3) for s in "ab"], 4),
        # two machines within one start of one agent
        ([heartbeat(1), heartbeat(2, host_boot_id="boot-2"), heartbeat(1), heartbeat(3)], 3),
        # the machine started again, and the agent with it
        ([heartbeat(1), heartbeat(1, boot_epoch=2, host_boot_id="boot-2")], 0),
    ],
)
def test_signs_of_a_second_speaker_are_counted(store: Store, messages: list[Message], switches: int) -> None:
    for number, message in enumerate(messages):
        take(store, message, after_s=number)
    assert rows(store, "SELECT stream_switches FROM sighting") == [(switches,)]


def test_an_outbox_that_is_an_old_copy_is_told_what_is_here(store: Store) -> None:
    take(store, events(1, 2, 3, 4))
    assert acks(take(store, heartbeat(1, event_seq_last=2))) == [4]
    assert acks(take(store, heartbeat(2, event_seq_last=4))) == []


def test_the_greatest_epoch_seen_is_handed_on_and_nonsense_is_not(store: Store) -> None:
    seen = [heartbeat(n, collector_epoch_seen=epoch) for n, epoch in enumerate([7, 9, 8, 2**63 - 1], 1)]
    assert take(store, *seen).epoch_seen_max == 9


# --- events


def test_events_are_stored_once_and_acknowledged_again(store: Store) -> None:
    first = take(store, events(1, 2))
    again = take(store, events(1, 2), events(2, 3))
    assert rows(store, "SELECT event_seq FROM event ORDER BY 1") == [(1,), (2,), (3,)]
    assert (acks(first), acks(again)) == ([2], [3])
    assert (again.counts.events, again.counts.events_repeated) == (1, 3)


def test_an_acknowledgement_ends_before_the_first_hole(store: Store) -> None:
    assert acks(take(store, events(1, 3, 4))) == [1]
    assert acks(take(store, events(6))) == [1]
    assert acks(take(store, events(2))) == [4]


def test_one_acknowledgement_for_each_stream_of_a_batch(store: Store) -> None:
    effects = take(store, events(1), events(2), events(1, stream_id="b"), events(1, terminal_id="till-2"))
    assert effects.acks == (
        Ack(terminal_id="till-1", stream_id=stream("a"), event_seq=2),
        Ack(terminal_id="till-1", stream_id=stream("b"), event_seq=1),
        Ack(terminal_id="till-2", stream_id=stream("a"), event_seq=1),
    )
    [first, *_] = dispatch.acks(effects, at(5))
    assert (first.topic, first.qos, first.retain) == ("tillwatch/v1/t/till-1/dn/ack", 1, False)
    assert codec.decode(first.topic, first.payload) == effects.acks[0].model_copy(update={"sent_at": at(5)})


GAPS = "SELECT kind, first_seq, last_seq FROM event_gap ORDER BY 1, 2"


def test_what_an_outbox_can_send_no_more_is_lost_and_the_prefix_moves_on(store: Store) -> None:
    assert acks(take(store, events(7, 8, oldest_seq=7))) == [8]
    assert rows(store, GAPS) == [("lost", 1, 6)]


def test_late_events_and_late_declarations_come_out_of_lost(store: Store) -> None:
    take(store, events(9, oldest_seq=9))
    take(store, events(3))
    assert rows(store, GAPS) == [("lost", 1, 2), ("lost", 4, 8)]
    take(store, events(event(10, dropped=[(4, 5), (8, 8)])))
    assert rows(store, GAPS) == [("dropped", 4, 5), ("dropped", 8, 8), ("lost", 1, 2), ("lost", 6, 7)]
    take(store, events(4))
    assert rows(store, GAPS)[0] == ("dropped", 5, 5)


def test_the_same_number_with_another_content_is_kept_apart_and_overwrites_nothing(store: Store) -> None:
    take(store, events(event(1, detail="first")))
    effects = take(store, events(event(1, detail="second"), 2))
    assert rows(store, "SELECT event_seq, detail FROM event ORDER BY 1") == [(1, "first"), (2, None)]
    [(error, said)] = rows(store, "SELECT error, said FROM quarantine")
    assert error == "EventConflict"
    assert said.startswith("event 1 is stored with other content")
    assert (acks(effects), effects.counts.quarantined) == ([2], 1)


def test_two_contents_of_one_number_in_one_batch(store: Store) -> None:
    effects = take(store, events(event(1, detail="first")), events(event(1, detail="second")))
    assert rows(store, "SELECT detail FROM event") == [("first",)]
    assert effects.counts.quarantined == 1


def test_a_stream_in_more_pieces_than_an_outbox_makes_is_refused(store: Store) -> None:
    pieces = RANGES_ABOVE_PREFIX_MAX + 1
    some = [events(2 * number) for number in range(1, pieces + 1)]
    effects = take(store, *some)
    assert rows(store, "SELECT count(*) FROM event") == [(pieces - 1,)]
    assert rows(store, "SELECT error FROM quarantine") == [("StreamRagged",)]
    assert effects.counts.quarantined == 1
    assert acks(take(store, events(1))) == [2]


def test_an_event_keeps_its_job(store: Store) -> None:
    report = JobReport(job_id="job-1", state=JobState.STAGED, detail="half way")
    take(store, events(event(1).model_copy(update={"kind": "job", "job": report})))
    assert "half way" in rows(store, "SELECT job FROM event")[0][0]


# --- presence


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        # on one connection offline is the last word
        ([presence(), offline()], (1, 1, "offline", "connection_lost")),
        # the newer connection counts, whatever the old one's will says
        ([offline(), presence(connection_no=2)], (1, 2, "online", None)),
        ([offline(connection_no=9), presence(boot_epoch=2)], (2, 1, "online", None)),
        # the agent's own word beats its will's
        ([offline("stopping"), offline()], (1, 1, "offline", "stopping")),
    ],
)
def test_the_newest_presence_of_a_stream(new_store: NewStore, messages: list[Message], kept: tuple[Any, ...]) -> None:
    for order in permutations(messages):
        store = new_store()
        for message in order:
            take(store, message)
        assert rows(store, "SELECT boot_epoch, connection_no, state, reason FROM presence") == [kept]


def test_a_presence_that_is_news_marks_the_terminal(store: Store) -> None:
    take(store, heartbeat(1))
    assert take(store, offline()).marked == {"till-1"}
    marks(store)
    assert take(store, offline(), presence()).marked == frozenset()


def test_whoever_connects_is_answered_with_or_without_events(store: Store) -> None:
    assert acks(take(store, presence())) == [0]
    take(store, events(1, 2, 4))
    assert acks(take(store, presence(connection_no=2))) == [2]
    assert acks(take(store, presence(connection_no=1))) == [2]
    # what comes in the same batch counts, in either order
    assert acks(take(store, events(3), presence(connection_no=3))) == [4]
    assert acks(take(store, presence(connection_no=4), events(5))) == [5]
    assert rows(store, "SELECT count(*) FROM stream") == [(1,)]


def test_whoever_leaves_is_not_answered(store: Store) -> None:
    assert acks(take(store, offline())) == []


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(heartbeat(1), id="heartbeat"),
        pytest.param(events(1), id="events"),
        pytest.param(presence(), id="online"),
        pytest.param(offline(), id="an old will"),
    ],
)
def test_a_retained_message_is_no_sign_of_life_and_decides_nothing(store: Store, message: Message) -> None:
    effects = take(store, delivered(message, retained=True))
    assert (effects.counts.retained, effects.acks, effects.marked) == (1, (), frozenset())
    assert {name: len(lines) for name, lines in facts_of(store).items() if lines} == {}


def test_a_retained_word_that_it_stopped_is_kept_and_is_no_sign_of_life(store: Store) -> None:
    take(store, heartbeat(1), after_s=0)
    marks(store)
    effects = take(store, delivered(offline("stopping"), 100, retained=True))
    assert rows(store, "SELECT reason FROM presence") == [("stopping",)]
    assert rows(store, "SELECT heard_at FROM sighting") == [("2026-11-21 12:00:00.000000",)]
    assert effects.marked == {"till-1"}
    assert marks(store) == ["till-1"]


# --- what cannot be used


@pytest.mark.parametrize(
    ("delivery", "error", "terminal_id"),
    [
        (raw(b"{"), "PayloadMalformed", "till-1"),
        (raw(b""), "PayloadMalformed", "till-1"),
        (raw(b"\xff\xfe\x00"), "PayloadMalformed", "till-1"),
        (raw(b'{"v": 9}'), "VersionUnsupported", "till-1"),
        (raw(b"x" * 70_000), "PayloadTooLarge", "till-1"),
        (raw(codec.encode(heartbeat(1, terminal_id="till-2"))), "IdentityMismatch", "till-1"),
        # what goes down is nobody's to send up
        (delivered(Ack(terminal_id="till-1", stream_id=stream(), event_seq=1)), "TopicUnknown", "till-1"),
        (raw(b"{}", topic="tillwatch/v1/t/till-1/up/gossip"), "TopicUnknown", None),
        (raw(b"{}", topic="elsewhere"), "TopicUnknown", None),
    ],
)
def test_what_cannot_be_used_goes_to_quarantine(
    store: Store, delivery: Delivery, error: str, terminal_id: str | None
) -> None:
    effects = take(store, delivery)
    kept = rows(store, "SELECT error, terminal_id, payload_bytes, topic FROM quarantine")
    assert kept == [(error, terminal_id, len(delivery.payload), delivery.topic)]
    assert effects.counts.quarantined == 1
    alive = terminal_id is not None and "/up/" in delivery.topic
    assert rows(store, "SELECT terminal_id FROM sighting") == ([(terminal_id,)] if alive else [])


def test_another_process_state_is_not_for_us(store: Store) -> None:
    state = ProcessState(process="collector.2", state=ProcessLife.ONLINE, collector_epoch=1)
    assert take(store, state).counts.quarantined == 1
    assert rows(store, "SELECT terminal_id FROM quarantine") == [(None,)]


def test_a_card_number_reaches_no_row(store: Store) -> None:
    card = "4111111111111111"
    reading = printer("paper_end")
    condition = reading.conditions[0].model_copy(update={"detail": f"paid with {card}"})
    quiet = printer("cover_open").conditions[0]
    take(
        store,
        raw(b'{"terminal_id": "' + card.encode() + b'", "track": ";4111111111111111=2912?"}'),
        raw(card.encode(), topic=f"tillwatch/{card}"),
        events(event(1, detail=f"card {card} refused")),
        heartbeat(1, reading.model_copy(update={"conditions": (condition, quiet), "facts": {"last_line": card}})),
    )
    with store.reading() as connection:
        kept = [row for table in Table.metadata.sorted_tables for row in connection.execute(select(table))]
    dump = "\n".join(map(str, kept))
    assert card not in dump
    assert dump.count("411111****1111") >= 6


def poison(store: Store, table: str, column: str, value: str) -> None:
    """Have the database refuse rows with this value."""
    if store.one_process:
        statement = f"CREATE TRIGGER poison BEFORE INSERT ON {table} WHEN NEW.{column} = '{value}'"
        statement += " BEGIN SELECT RAISE(ABORT, 'does not like it'); END"
    else:
        statement = f"""ALTER TABLE {table} ADD CONSTRAINT "does not like it" CHECK ({column} <> '{value}')"""
    with store.transaction() as repository:
        repository.connection.execute(text(statement))


def test_one_poisoned_message_costs_itself_and_nothing_else(store: Store) -> None:
    poison(store, "event", "detail", "poison")
    names = [f"till-{number}" for number in range(20)]
    batch = [events(event(1, detail="poison" if n == "till-13" else None), terminal_id=n) for n in names]
    effects = take(store, *batch, heartbeat(1))
    assert len(effects.acks) == 19
    assert rows(store, "SELECT count(*) FROM event") == [(19,)]
    [(error, terminal_id, said)] = rows(store, "SELECT error, terminal_id, said FROM quarantine")
    assert (error, terminal_id) == ("RowRefused", "till-13")
    assert "does not like it" in said
    assert "till-13" not in said
    assert ("till-13",) in rows(store, "SELECT terminal_id FROM sighting")


def test_even_a_sign_of_life_may_be_refused(store: Store) -> None:
    poison(store, "terminal", "terminal_id", "till-1")
    effects = take(store, raw(b"{"), heartbeat(1))
    assert effects.counts.quarantined == 2
    assert rows(store, "SELECT count(*) FROM sighting") == [(0,)]


# --- canaries, and the empty batch


def test_canaries_are_handed_on(store: Store) -> None:
    sent = dispatch.canary("collector.1", "life-1", 3)
    effects = take(store, Delivery(topic=sent.topic, payload=sent.payload, retained=False, received_at=at(0)))
    assert effects.canaries == (Canary(process="collector.1", start_id="life-1", canary_no=3),)


def test_nothing_in_nothing_out(store: Store) -> None:
    effects = take(store)
    assert (effects.acks, effects.marked, effects.epoch_seen_max, effects.counts.messages) == ((), frozenset(), 0, 0)


@pytest.mark.parametrize(
    ("outgoing", "topic", "state"),
    [
        (dispatch.announce("collector.1", 7), topics.STATE, ProcessLife.ONLINE),
        (dispatch.farewell("collector.1", 7), topics.STATE, ProcessLife.OFFLINE),
    ],
)
def test_what_a_process_says_of_itself(outgoing: dispatch.Outgoing, topic: topics.Topic, state: ProcessLife) -> None:
    assert (outgoing.topic, outgoing.qos, outgoing.retain) == (topic.of("collector.1"), 1, True)
    said = codec.decode(outgoing.topic, outgoing.payload)
    assert said == ProcessState(process="collector.1", state=state, collector_epoch=7)


# --- rule 5: any order and any repetition

streams = st.sampled_from("ab")
orders = {"boot_epoch": st.integers(1, 2), "connection_no": st.integers(1, 2), "stream_id": streams}
readings = st.sampled_from([(), (printer(),), (printer("paper_end"),), (printer(health=Health.UNKNOWN),)])
heartbeats = st.builds(
    lambda beat_no, some, **where: heartbeat(beat_no, *some, **where),
    st.integers(1, 4),
    readings,
    event_seq_last=st.integers(0, 12),
    **orders,
)
presences = st.one_of(
    st.builds(presence, **orders),
    st.builds(offline, st.sampled_from(["stopping", "connection_lost", "other"]), **orders),
)


@st.composite
def event_batches(draw: st.DrawFn) -> Message:
    """Events as one content per number has it; every fourth declares what was dropped before it."""
    seqs = sorted(draw(st.sets(st.integers(1, 12), min_size=1, max_size=5)))
    oldest_seq = draw(st.integers(1, seqs[0]))
    some = [event(seq, dropped=[(seq - 3, seq - 2)] if seq % 4 == 0 else ()) for seq in seqs]
    return events(*some, oldest_seq=oldest_seq, stream_id=draw(streams))


deliveries = st.one_of(
    st.builds(delivered, st.one_of(heartbeats, event_batches(), presences)),
    st.builds(delivered, presences, retained=st.just(value=True)),
)


@given(st.lists(deliveries, min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_any_order_and_any_repetition_end_in_the_same_facts(
    databases: Databases | None, messages: list[Delivery], rng: Any
) -> None:
    again = messages + rng.sample(messages, len(messages) // 2)
    rng.shuffle(again)
    with stores_in(databases) as new_store:
        one, other = new_store(), new_store()
        take(one, *messages)
        while again:
            take(other, *[again.pop() for _ in range(min(len(again), rng.randint(1, 5)))])
        assert facts_of(one) == facts_of(other)
