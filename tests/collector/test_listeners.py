"""Several listeners as one: what they prove together, and what a change among them begins anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.words import at

from tillwatch_collector.domain.listeners import Circle, Listener, combine, hear
from tillwatch_collector.domain.listening import Listening

START = Circle(looked_at=at(0))
NEVER = Listening(gap_max_s=15)

Told = tuple[float | None, float | None]
"""From where to where a process's canaries returned."""


def listener(name: str, told: Told, *, connected_s: float = 1, start_id: str = "life-1") -> Listener:
    begun, ended = (None if moment is None else at(moment) for moment in told)
    return Listener(process=name, start_id=start_id, connected_at=at(connected_s), proven_from=begun, proven_at=ended)


def looked(listening: Listening, circle: Circle, now_s: float, *listeners: Listener) -> tuple[Listening, Circle]:
    return combine(listening, circle, listeners, at(now_s))


@pytest.mark.parametrize(
    ("told", "listened_s"),
    [
        # one alone
        ([(2, 12)], 10),
        # the time that both prove
        ([(2, 12), (4, 14)], 8),
        # one is stuck: it holds all still
        ([(2, 3), (2, 500)], 1),
        # one has not proved anything yet
        ([(2, 12), (None, None)], 0),
        # one was deaf until after the other's last proof
        ([(2, 12), (13, 14)], 0),
        # one has heard since before we looked: only what lies in this generation counts
        ([(-900, 12)], 11),
    ],
)
def test_time_counts_that_all_of_them_prove(told: list[Told], listened_s: float) -> None:
    listeners = [listener(f"ingest.{number}", one) for number, one in enumerate(told)]
    listening, _ = looked(NEVER, START, 15, *listeners)
    assert listening.listened_s == listened_s


def test_without_anyone_nothing_is_heard() -> None:
    listening, circle = looked(NEVER, START, 5)
    assert (listening.anew_at, circle.members) == (None, frozenset())
    there, circle = looked(listening, circle, 20, listener("ingest.1", (2, 12)))
    gone, _ = looked(there, circle, 25)
    assert gone.anew_at is None
    assert gone.listened_s == there.listened_s


@pytest.mark.parametrize(
    ("after", "anew_s"),
    [
        # nothing changed
        ([("ingest.1", 1, "life-1"), ("ingest.2", 1, "life-1")], 1),
        # one is gone: who knows what was on its way
        ([("ingest.1", 1, "life-1")], 60),
        # one more came, at 55
        ([("ingest.1", 1, "life-1"), ("ingest.2", 1, "life-1"), ("ingest.3", 55, "life-1")], 55),
        # one connected again
        ([("ingest.1", 1, "life-1"), ("ingest.2", 58, "life-1")], 58),
        # one was started again
        ([("ingest.1", 1, "life-1"), ("ingest.2", 58, "life-2")], 58),
        # one came and another went: the later of both is not known
        ([("ingest.1", 1, "life-1"), ("ingest.3", 40, "life-1")], 60),
        # one whose clock is ahead of ours connected
        ([("ingest.1", 1, "life-1"), ("ingest.2", 63, "life-1")], 60),
    ],
)
def test_any_change_among_them_starts_all_timers_anew(after: list[tuple[str, float, str]], anew_s: float) -> None:
    before = (listener("ingest.1", (2, 40)), listener("ingest.2", (2, 40)))
    listening, circle = looked(NEVER, START, 50, *before)
    now = [listener(name, (2, 40), connected_s=since, start_id=life) for name, since, life in after]
    again, _ = looked(listening, circle, 60, *now)
    assert again.anew_at == at(anew_s)
    assert again.listened_s == listening.listened_s


def test_who_takes_over_counts_from_its_own_beginning() -> None:
    listening, circle = looked(NEVER, Circle(looked_at=at(500)), 501, listener("ingest.1", (2, 499)))
    assert (listening.anew_at, listening.listened_s) == (at(501), 0)
    listening, _ = looked(listening, circle, 506, listener("ingest.1", (2, 504)))
    assert listening.listened_s == 3


def test_a_gap_of_one_is_a_gap_of_all_and_begins_nothing_anew() -> None:
    steady = [listener("ingest.2", (2, moment)) for moment in (20, 60, 100)]
    listening, circle = looked(NEVER, START, 21, listener("ingest.1", (2, 20)), steady[0])
    listening, circle = looked(listening, circle, 61, listener("ingest.1", (50, 60)), steady[1])
    assert (listening.listened_s, listening.anew_at) == (18 + 10, at(1))
    listening, circle = looked(listening, circle, 101, listener("ingest.1", (50, 100)), steady[2])
    assert listening.listened_s == 18 + 50
    assert listening.position_s(at(35)) == 18


def test_a_jam_that_ends_was_listened_to_if_every_canary_came() -> None:
    listening, circle = looked(NEVER, START, 6, listener("ingest.1", (2, 5)))
    listening, _ = looked(listening, circle, 300, listener("ingest.1", (2, 299)))
    assert listening.listened_s == 297


moments = st.floats(0, 100)
processes = st.dictionaries(
    st.sampled_from(["a.1", "b.1", "c.1"]), st.tuples(moments, moments, st.sampled_from([1.0, 2.0])), max_size=3
)


@given(st.lists(processes, max_size=12))
def test_listened_time_never_goes_back_and_never_outruns_anyones_proof(
    looks: list[dict[str, tuple[float, ...]]],
) -> None:
    listening, circle = NEVER, START
    for number, look in enumerate(looks):
        listeners = [
            listener(name, (min(one, other), max(one, other)), connected_s=connected_s)
            for name, (one, other, connected_s) in look.items()
        ]
        before = listening
        listening, circle = looked(listening, circle, 100 + number, *listeners)
        assert before.listened_s <= listening.listened_s
        grown_to = listening.last.ended_at if listening.last and listening.listened_s > before.listened_s else None
        assert grown_to is None or all(one.proven_at and grown_to <= one.proven_at for one in listeners)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # nobody
        ([], False),
        # one with a young proof
        ([(2, 95)], True),
        # one whose canaries stopped
        ([(2, 95), (2, 40)], False),
        # one that connected long ago, and no canary came back
        ([(2, 95), (None, None)], False),
    ],
)
def test_whether_they_hear_now(told: list[Told], expected: bool) -> None:
    listeners = [listener(f"ingest.{number}", one) for number, one in enumerate(told)]
    now = at(100)
    assert hear(listeners, now, 20) is expected
