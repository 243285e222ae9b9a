"""Conditions that come and go: where flapping begins and ends, how the hold grows, and what a restart knows of it."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.words import at

from tillwatch_collector.domain.flapping import (
    FLAP_RULE,
    KEPT_MAX,
    Flap,
    Flapping,
    FlapRule,
    clear_s,
    ends_at,
    looked,
    raised,
    rebuilt,
)

MIN = 60


def raised_at(*seconds: float) -> Flap:
    flap = Flap()
    for second in seconds:
        flap = raised(flap, at(second)).flap
    return flap


@pytest.mark.parametrize(
    ("seconds", "states"),
    [
        # two in an hour are two faults; the third shows a pattern, and the rest belong to it
        (
            (0, 10 * MIN, 20 * MIN, 30 * MIN),
            (Flapping.STEADY, Flapping.STEADY, Flapping.BEGAN, Flapping.GOES_ON),
        ),
        # three in more than an hour never do
        ((0, 31 * MIN, 61 * MIN, 92 * MIN), (Flapping.STEADY,) * 4),
        # an hour to the second is outside the window, a second less within
        ((0, 1, 60 * MIN), (Flapping.STEADY, Flapping.STEADY, Flapping.STEADY)),
        ((0, 1, 60 * MIN - 1), (Flapping.STEADY, Flapping.STEADY, Flapping.BEGAN)),
        # a loose cable, by the policy's holds at its fastest
        ((0, 90, 180, 270), (Flapping.STEADY, Flapping.STEADY, Flapping.BEGAN, Flapping.GOES_ON)),
    ],
)
def test_flapping_begins_with_the_raise_that_makes_three_in_an_hour(
    seconds: Sequence[float], states: Sequence[Flapping]
) -> None:
    flap, said = Flap(), []
    for second in seconds:
        turn = raised(flap, at(second))
        flap = turn.flap
        said.append(turn.state)
    assert tuple(said) == tuple(states)


@pytest.mark.parametrize(
    ("seconds", "state"),
    [
        (20 * MIN, Flapping.GOES_ON),
        (70 * MIN - 1, Flapping.GOES_ON),  # the last two still stand in the window
        (70 * MIN, Flapping.ENDED),  # the last one alone
        (600 * MIN, Flapping.ENDED),
    ],
)
def test_flapping_ends_when_one_raise_at_most_is_left_in_the_hour(seconds: float, state: Flapping) -> None:
    flap = raised_at(0, 10 * MIN, 20 * MIN)
    turn = looked(flap, at(seconds))
    assert (turn.state, turn.count) == (state, 3)
    assert (turn.flap.began_at is None) is (state is Flapping.ENDED)
    assert ends_at(flap) == at(70 * MIN)


def test_a_steady_condition_that_is_looked_at_forgets_what_is_old() -> None:
    flap = raised_at(0, 10 * MIN)
    assert looked(flap, at(15 * MIN)).flap == flap
    turn = looked(flap, at(65 * MIN))
    assert (turn.state, turn.flap.times, ends_at(turn.flap)) == (Flapping.STEADY, (at(10 * MIN),), None)


def test_between_the_thresholds_nothing_turns() -> None:
    flap = raised_at(0, 10 * MIN, 20 * MIN)
    two_left = looked(flap, at(65 * MIN))
    assert two_left.state is Flapping.GOES_ON
    assert raised(two_left.flap, at(66 * MIN)).state is Flapping.GOES_ON
    ended = looked(flap, at(75 * MIN)).flap
    assert raised(ended, at(76 * MIN)).state is Flapping.STEADY  # two in the window begin nothing


@pytest.mark.parametrize(
    ("raises", "policy_s", "hold_s"),
    [
        (2, 60, 60),  # steady: the policy's own
        (2, 0, 0),
        (3, 60, 120),
        (4, 60, 240),
        (5, 60, 480),
        (6, 60, 960),
        (7, 60, 1800),  # no further than half the window
        (1000, 60, 1800),
        (3, 0, 120),  # none doubled would be none
        (3, 30, 120),  # a hold below a heartbeat grows from one heartbeat
        (3, 900, 1800),
        (3, 3600, 3600),  # the policy asks for more than any growth
    ],
)
def test_the_hold_doubles_with_each_raise_of_a_flapping(raises: int, policy_s: float, hold_s: float) -> None:
    flap = raised_at(*range(raises))
    assert clear_s(flap, policy_s) == hold_s


def test_the_hold_outgrows_a_loose_cable_within_minutes() -> None:
    """A cable that swings every 120 s is never well for longer than the hold of the third raise."""
    assert clear_s(raised_at(0, 120, 240), 60) >= 120


def test_what_is_kept_is_bounded_and_the_count_goes_on() -> None:
    flap = raised_at(*range(100))
    assert (len(flap.times), flap.count, flap.times[-1]) == (KEPT_MAX, 100, at(99))


@pytest.mark.parametrize(
    ("low", "end_s"),
    [
        (0, 3600 + 1200),  # an hour without any
        (1, 3600 + 600),
        (2, 3600),
    ],
)
def test_where_it_ends_follows_from_the_lower_threshold(low: int, end_s: float) -> None:
    rule = FlapRule(low=low)
    flap = Flap()
    for second in (0, 600, 1200):
        flap = raised(flap, at(second), rule).flap
    assert ends_at(flap, rule) == at(end_s)
    assert looked(flap, at(end_s), rule).state is Flapping.ENDED
    assert looked(flap, at(end_s - 1), rule).state is Flapping.GOES_ON


@pytest.mark.parametrize(
    "changes", [{"low": 3}, {"low": -1}, {"high": KEPT_MAX + 1}, {"clear_s_max": 3600.0}, {"window_s": 60.0}]
)
def test_thresholds_that_leave_no_room_between_them_are_our_mistake(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 <= low < high"):
        replace(FLAP_RULE, **changes)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    seconds=st.lists(st.integers(0, 6 * 3600), max_size=60),
    order=st.randoms(use_true_random=False),
    after_s=st.integers(0, 7200),
)
def test_it_is_rebuilt_from_the_times_of_its_raises_in_any_order(
    seconds: list[int], order: Random, after_s: int
) -> None:
    live = Flap()
    for second in sorted(seconds):
        live = raised(looked(live, at(second)).flap, at(second)).flap
    now = at(max(seconds, default=0) + after_s)
    live = looked(live, now).flap
    shuffled = [at(second) for second in seconds]
    order.shuffle(shuffled)
    assert rebuilt(shuffled, now) == live


@settings(deadline=None)
@given(seconds=st.lists(st.integers(0, 6 * 3600), min_size=1, max_size=60).map(sorted))
def test_a_flapping_has_a_raise_in_its_window_and_a_hold_within_its_limits(seconds: list[int]) -> None:
    flap = Flap()
    for second in seconds:
        flap = raised(looked(flap, at(second)).flap, at(second)).flap
        assert 60 <= clear_s(flap, 60) <= FLAP_RULE.clear_s_max
        if flap.began_at is not None:
            end = ends_at(flap)
            assert end is not None
            assert at(second) < end <= at(second + FLAP_RULE.window_s)
            assert flap.count >= FLAP_RULE.high
