"""Which window a plot gets, and that pieces become the same points however they come."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_collector.domain.history import HELD_S
from tillwatch_collector.domain.plot import (
    DAY_S,
    HOUR_S,
    POINTS_MAX,
    Piece,
    PlotRefused,
    Window,
    pieces,
    points,
    window,
)

NOW = datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC)

STEPS = (1, 60, 300, 1_800, HOUR_S, 2 * HOUR_S, 12 * HOUR_S, DAY_S, 7 * DAY_S)


def asked(
    from_at: datetime | None = None,
    to_at: datetime | None = None,
    step_s: int | None = None,
    samples_since: datetime | None = None,
) -> Window:
    return window(from_at=from_at, to_at=to_at, step_s=step_s, samples_since=samples_since, now=NOW)


def test_without_a_word_it_is_the_last_day_at_the_rate_of_frames() -> None:
    assert asked() == Window(
        from_s=int(datetime(2026, 11, 20, 12, 30, tzinfo=UTC).timestamp()),
        to_s=int(datetime(2026, 11, 21, 12, 35, tzinfo=UTC).timestamp()),
        step_s=300,
    )


@pytest.mark.parametrize(
    ("span", "step_s"),
    [
        (timedelta(minutes=5), 1),
        (timedelta(hours=1), 30),
        (timedelta(hours=6), 300),
        (timedelta(days=7), HOUR_S),
        (timedelta(days=30), 3 * HOUR_S),
        (timedelta(days=300), DAY_S),
        (timedelta(days=900), 3 * DAY_S),
        (timedelta(days=9_000), 30 * DAY_S),
    ],
)
def test_the_step_that_nobody_asked_for_gives_some_three_hundred_points(span: timedelta, step_s: int) -> None:
    assert asked(NOW - span).step_s == step_s


def test_before_the_first_sample_the_step_is_an_hour_at_least() -> None:
    begin = NOW - timedelta(hours=6)
    assert asked(begin, samples_since=begin - timedelta(hours=1)).step_s == 300
    assert asked(begin, samples_since=begin + timedelta(hours=1)).step_s == HOUR_S


@pytest.mark.parametrize("step_s", [0, -60, 7, 4_000, 5_400, 5 * HOUR_S, 36 * HOUR_S])
def test_a_step_begins_where_the_clock_does(step_s: int) -> None:
    with pytest.raises(PlotRefused, match="step: expected seconds that divide an hour"):
        asked(step_s=step_s)


def test_too_many_points_are_refused_with_the_step_that_would_do() -> None:
    with pytest.raises(PlotRefused, match=r"step: expected at least 44 seconds, .* got 30"):
        asked(step_s=30)
    assert (asked(step_s=60).to_s - asked(step_s=60).from_s) // 60 <= POINTS_MAX


@pytest.mark.parametrize("begin", [NOW, NOW + timedelta(seconds=1)])
def test_a_span_ends_after_it_begins(begin: datetime) -> None:
    with pytest.raises(PlotRefused, match="from: expected a time before"):
        asked(begin, NOW)


def test_the_first_day_of_all_can_be_asked_for() -> None:
    assert asked(to_at=datetime(1, 1, 1, 5, tzinfo=UTC), step_s=HOUR_S).step_s == HOUR_S


moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(moments, st.timedeltas(timedelta(seconds=1), timedelta(days=4_000)), st.sampled_from([None, *STEPS]))
def test_a_window_is_what_was_asked_widened_to_whole_steps(
    begin: datetime, span: timedelta, step_s: int | None
) -> None:
    try:
        found = asked(begin, begin + span, step_s)
    except PlotRefused:
        assert step_s is not None
        assert span / timedelta(seconds=step_s) > POINTS_MAX - 2
        return
    assert found.from_s % found.step_s == found.to_s % found.step_s == 0
    assert begin.timestamp() - found.step_s < found.from_s <= begin.timestamp()
    assert (begin + span).timestamp() <= found.to_s < (begin + span).timestamp() + found.step_s
    assert (found.to_s - found.from_s) // found.step_s <= POINTS_MAX


# --- pieces and points


def test_a_value_holds_until_the_next_for_its_time_within_its_step() -> None:
    samples = [(0, 1.0), (100, 2.0), (250, 3.0), (900, 4.0), (3_599, 5.0)]
    assert [piece.held_s for piece in pieces(samples, 300)] == [100, 150, 50, 300, 1]
    assert [piece.held_s for piece in pieces(samples, HOUR_S)] == [100, 150, HELD_S, HELD_S, 1]
    assert [piece.held_s for piece in pieces(samples, DAY_S)] == [100, 150, HELD_S, HELD_S, 1]  # hours are made so, too
    assert pieces([], 300) == []


def test_the_same_second_twice_weighs_once() -> None:
    found = points(pieces([(0, 10.0), (0, 20.0)], 300), Window(from_s=0, to_s=300, step_s=300))
    assert [(point.kept, point.mean) for point in found] == [(2, 20.0)]


some_pieces = st.lists(
    st.builds(
        lambda at_s, held_s, value, spread: Piece(at_s, held_s, 1, value - spread, value + spread, value),
        st.integers(0, 20 * HOUR_S),
        st.integers(1, HELD_S),
        st.floats(-1e9, 1e9),
        st.floats(0, 1e6),
    ),
    max_size=40,
)


@given(some_pieces, st.sampled_from(STEPS[:6]), st.integers(0, 5), st.integers(1, 9), st.randoms(use_true_random=False))
def test_points_lie_in_their_window_and_do_not_depend_on_order(
    found: Sequence[Piece], step_s: int, first: int, count: int, chance: random.Random
) -> None:
    within = Window(from_s=first * step_s, to_s=(first + count) * step_s, step_s=step_s)
    result = points(found, within)
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert points(shuffled, within) == result
    times = [point.at_s for point in result]
    assert times == sorted(set(times))
    assert all(within.from_s <= at_s < within.to_s and at_s % step_s == 0 for at_s in times)
    assert all(point.min <= point.mean <= point.max for point in result)
    assert sum(point.kept for point in result) == sum(within.from_s <= piece.at_s < within.to_s for piece in found)
