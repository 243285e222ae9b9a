"""Heartbeats: when one is due, and how much of it fits."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.moments import MORNING

from tillwatch_agent import heartbeat
from tillwatch_protocol import codec, topics
from tillwatch_protocol.heartbeat import Connection, Heartbeat
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import COMPONENTS_MAX, CONDITIONS_MAX, FACTS_MAX, MEASURES_MAX, Health


def test_the_phase_is_the_same_in_every_start() -> None:
    assert heartbeat.phase_s("till-1", 60) == pytest.approx(12.1350049539)


def test_the_phases_of_a_fleet_are_spread_evenly() -> None:
    tenths = Counter(int(heartbeat.phase_s(f"till-{n}", 60) // 6) for n in range(10_000))
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) < 1.2 * min(tenths.values())


@pytest.mark.parametrize(
    ("now_s", "beat_s"),
    [
        (0, 18),  # the first after the machine's start
        (17.9, 18),
        (18, 78),  # never this very moment
        (77, 78),
        (100_000, 100_038),
    ],
)
def test_the_next_beat_lies_at_the_phase(now_s: float, beat_s: float) -> None:
    assert heartbeat.next_beat_s(now_s, 18, 60) == beat_s


@given(st.floats(0, 1e9), st.floats(0, 1), st.integers(1, 86_400))
def test_the_next_beat_is_later_and_within_the_interval(now_s: float, share: float, interval_s: int) -> None:
    beat_s = heartbeat.next_beat_s(now_s, share * interval_s, interval_s)
    assert now_s < beat_s <= now_s + interval_s * 1.001
    assert heartbeat.next_beat_s(beat_s, share * interval_s, interval_s) > beat_s


def beat_of(components: int, *, facts: int, measures: int, conditions: int, text: str) -> Heartbeat:
    readings = tuple(
        Reading(
            component=f"scanner:{number}",
            health=Health.FAULT,
            conditions=tuple(
                Condition(code=f"a_code_almost_as_long_as_it_may_be_{n}", since=MORNING, detail=text)
                for n in range(conditions)
            ),
            measures={f"measure_{n}": 12345678 for n in range(measures)},
            facts={f"fact_{n}": text for n in range(facts)},
        )
        for number in range(components)
    )
    return Heartbeat(
        terminal_id="till-1",
        connection=Connection(stream_id="0" * 32, boot_epoch=1, connection_no=1),
        beat_no=1,
        interval_s=60,
        event_seq_last=0,
        sent_at=MORNING,
        host_boot_id="boot",
        agent_version="1",
        components=readings,
    )


@pytest.mark.parametrize(
    ("beat", "components", "measures", "facts"),
    [
        # a till: everything
        (beat_of(10, facts=5, measures=5, conditions=2, text="TM-T88"), 10, 5, 5),
        # texts go first
        (beat_of(10, facts=FACTS_MAX, measures=5, conditions=2, text="x" * 500), 10, 5, 0),
        # then measures
        (beat_of(60, facts=FACTS_MAX, measures=MEASURES_MAX, conditions=2, text="x" * 500), 60, 0, 0),
        # at last components: still proof of life
        (beat_of(COMPONENTS_MAX, facts=0, measures=0, conditions=CONDITIONS_MAX, text="x" * 500), 0, 0, 0),
    ],
)
def test_a_heartbeat_too_large_says_less_rather_than_nothing(
    beat: Heartbeat, components: int, measures: int, facts: int
) -> None:
    sent = codec.decode(topics.HEARTBEAT.of("till-1"), heartbeat.encode(beat))
    assert isinstance(sent, Heartbeat)
    assert len(sent.components) == components
    assert all(len(r.measures) == measures and len(r.facts) == facts for r in sent.components)
    assert sent.order == beat.order
