"""How far a terminal's clock is ahead: late heartbeats do not move it, a clock that was set does, either way."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.words import START, at

from tillwatch_collector.domain.clock_offset import (
    BEATS_MAX,
    ERROR_S_LONE,
    ERROR_S_MIN,
    STEP_S,
    Clock,
    Estimate,
    Reason,
    corrected,
    heard,
    remembered,
)


def after(*beats: tuple[float, float], clock: Clock | None = None, first_s: float = 0) -> Clock:
    """Hear heartbeats a minute apart, each (how far its clock is ahead, how long it took), in seconds."""
    clock = clock or Clock()
    for number, (ahead_s, delay_s) in enumerate(beats):
        sent_s = first_s + 60 * number
        clock = heard(clock, at(sent_s + ahead_s), at(sent_s + delay_s))
    return clock


def offset_s(clock: Clock) -> float | None:
    return clock.estimate.offset_s if clock.estimate else None


@pytest.mark.parametrize(
    ("beats", "offset", "reason"),
    [
        ([], None, Reason.FIRST),
        ([(0, 0.2)], -0.2, Reason.FIRST),
        # the quickest is the nearest, wherever it stands
        ([(0, 2), (0, 0.1), (0, 1)], -0.1, Reason.WITHIN),
        ([(0, 2), (0, 1), (0, 0.1)], -0.1, Reason.NEARER),
        ([(300, 2), (300, 0.1), (300, 1)], 299.9, Reason.WITHIN),
        ([(-7200, 0.5)] * 3, -7200.5, Reason.WITHIN),
        # one late heartbeat moves nothing, nor do two that were held up together and came at once
        ([(0, 0.1), (0, 40)], -0.1, Reason.DOUBTED),
        ([(0, 0.1), (0, 100), (0, 40)], -0.1, Reason.DOUBTED),
        ([(0, 0.1), (0, 40), (0, 0.2)], -0.1, Reason.WITHIN),
        ([(0, 0.1), (0, 40), (0, 0.2), (0, 40)], -0.1, Reason.DOUBTED),
        # set forward: at once
        ([(0, 0.1), (3600, 0.1)], 3599.9, Reason.SET_FORWARD),
        # set back: with the second heartbeat, late by a little each
        ([(3600, 0.1), (0, 0.1)], 3599.9, Reason.DOUBTED),
        ([(3600, 0.1), (0, 2.5), (0, 0.1)], -0.1, Reason.SET_BACK),
        # forward and back again, as a person who corrects the date does
        ([(0, 0.1), (86400, 0.1), (0, 0.1), (0, 0.1)], -0.1, Reason.SET_BACK),
        # set back twice, the second time while it was doubted
        ([(0, 0.1), (-60, 0.1), (-600, 0.1), (-600, 0.1)], -600.1, Reason.SET_BACK),
        # a lone late one is followed by a set clock
        ([(0, 0.1), (0, 40), (100, 0.1)], 99.9, Reason.SET_FORWARD),
    ],
)
def test_the_estimate_follows_the_clock_and_not_the_delay(
    beats: Sequence[tuple[float, float]], offset: float | None, reason: Reason
) -> None:
    clock = after(*beats)
    assert offset_s(clock) == offset
    assert clock.reason is reason


def test_a_quick_heartbeat_is_forgotten_after_eight() -> None:
    clock = after((0, 0), *[(0, 1.0)] * (BEATS_MAX - 1))
    assert offset_s(clock) == 0
    clock = after((0, 1.0), clock=clock, first_s=6000)
    assert offset_s(clock) == -1
    assert len(clock.leads_s) == BEATS_MAX


def test_a_slow_drift_is_followed_without_a_step() -> None:
    clock = after(*((-0.05 * number, 0.1) for number in range(100)))
    assert offset_s(clock) == pytest.approx(-0.05 * (100 - BEATS_MAX) - 0.1)
    assert clock.reason is Reason.WITHIN


def test_the_same_heartbeat_again_changes_nothing() -> None:
    clock = after((0, 0.1), (-3600, 0.1))
    again = heard(clock, at(60 - 3600), at(500))
    assert (again.leads_s, again.doubted_s, again.reason) == (clock.leads_s, clock.doubted_s, Reason.SAME_BEAT)
    assert heard(again, at(120 - 3600), at(120.1)).reason is Reason.SET_BACK


def test_what_was_kept_over_a_restart_is_where_it_begins() -> None:
    assert remembered(None) == Clock()
    clock = after((300, 2), clock=remembered(299.9))
    assert offset_s(clock) == 299.9
    assert offset_s(after((0, 0.1), (0, 0.1), clock=remembered(299.9))) == -0.1


@pytest.mark.parametrize(
    ("beats", "error"),
    [
        ([(0, 0.1)], ERROR_S_LONE),  # it may have been late
        ([(0, 0.1)] * 3, ERROR_S_MIN),
        ([(0, 0.1), (0, 4.1), (0, 4.1)], 4.0),  # on a slow link the quickest may be slow, too
    ],
)
def test_the_error_is_as_large_as_the_delays_differ(beats: Sequence[tuple[float, float]], error: float) -> None:
    estimate = after(*beats).estimate
    assert estimate is not None
    assert estimate.error_s == error


@pytest.mark.parametrize(
    ("at_time", "estimate", "ours"),
    [
        (START, None, START),
        (START, Estimate(offset_s=0.8, error_s=1.0), START),  # within the error: as good as it is
        (START, Estimate(offset_s=3600, error_s=1.0), START - timedelta(hours=1)),
        (START, Estimate(offset_s=-3600, error_s=1.0), START + timedelta(hours=1)),
        (datetime(1, 1, 1, tzinfo=UTC), Estimate(offset_s=3600, error_s=1.0), datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_of_the_terminal_are_put_on_our_clock(
    at_time: datetime, estimate: Estimate | None, ours: datetime
) -> None:
    assert corrected(at_time, estimate) == ours


DELAYS = st.floats(0, 2.5)


@settings(deadline=None)
@given(ahead_s=st.floats(-1e6, 1e6), delays=st.lists(DELAYS, min_size=2, max_size=20))
def test_the_estimate_is_never_above_the_offset_and_never_further_below_than_the_quickest_of_the_last_eight(
    ahead_s: float, delays: list[float]
) -> None:
    estimate = after(*((ahead_s, delay_s) for delay_s in delays)).estimate
    assert estimate is not None
    assert -0.01 <= ahead_s - estimate.offset_s <= min(delays[-BEATS_MAX:]) + 0.01


@settings(deadline=None)
@given(
    before=st.lists(DELAYS, min_size=1, max_size=20),
    step_s=st.floats(2 * STEP_S, 1e6),
    sign=st.sampled_from([1, -1]),
    later=st.lists(DELAYS, min_size=2, max_size=4),
)
def test_a_clock_that_is_set_is_followed_within_two_heartbeats(
    before: list[float], step_s: float, sign: int, later: list[float]
) -> None:
    clock = after(*((0.0, delay_s) for delay_s in before))
    first_s = 60 * len(before)
    followed = offset_s(after(*((sign * step_s, delay_s) for delay_s in later), clock=clock, first_s=first_s))
    assert followed is not None
    assert abs(followed - sign * step_s) <= min(later) + 0.01
