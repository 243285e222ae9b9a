"""How often somebody may try to sign in, by steps of time."""

from datetime import UTC, datetime, timedelta

import pytest

from tillwatch_collector.domain.throttle import LIMITS, Counted, Limit, given_back, of_address, tried

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
THREE = Limit(at_once=3, every_s=60)


def after(tries: int, *, every_s: float = 0) -> list[bool]:
    """Try so often, so far apart; whether each was allowed."""
    back_at, allowed = None, []
    for number in range(tries):
        verdict = tried(THREE, back_at, NOW + timedelta(seconds=number * every_s))
        back_at = verdict.back_at
        allowed.append(verdict.allowed)
    return allowed


def test_so_many_at_once_and_then_none() -> None:
    assert after(5) == [True, True, True, False, False]


def test_whoever_tries_no_oftener_than_tries_come_back_is_never_refused() -> None:
    assert all(after(50, every_s=60))


@pytest.mark.parametrize(
    ("waited_s", "tries"),
    [
        (59, 0),  # not one is back yet
        (60, 1),
        (119, 1),
        (120, 2),
        (180, 3),  # all are
        (86_400, 3),  # and never more than all
    ],
)
def test_tries_come_back_one_by_one(waited_s: float, tries: int) -> None:
    back_at = None
    for _ in range(3):
        back_at = tried(THREE, back_at, NOW).back_at
    later, found = NOW + timedelta(seconds=waited_s), 0
    while (verdict := tried(THREE, back_at, later)).allowed:
        back_at, found = verdict.back_at, found + 1
    assert found == tries


def test_a_refusal_says_how_long_to_wait_and_costs_nothing() -> None:
    back_at = None
    for _ in range(3):
        back_at = tried(THREE, back_at, NOW).back_at
    refused = tried(THREE, back_at, NOW + timedelta(seconds=20))
    assert (refused.allowed, refused.wait_s) == (False, 40)
    again = tried(THREE, refused.back_at, NOW + timedelta(seconds=60))
    assert again.allowed


def test_a_try_that_turned_out_right_is_given_back() -> None:
    back_at = None
    for _ in range(20):
        verdict = tried(THREE, back_at, NOW)
        assert verdict.allowed
        back_at = given_back(THREE, verdict.back_at)


def test_a_clock_that_was_put_back_gives_nothing_away() -> None:
    back_at = None
    for _ in range(3):
        back_at = tried(THREE, back_at, NOW).back_at
    assert not tried(THREE, back_at, NOW - timedelta(hours=1)).allowed


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),  # whoever has one has the network
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),  # the same machine by another socket
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),  # a proxy may say anything
        ("", ""),
    ],
)
def test_an_address_stands_for_its_network(address: str, counted_as: str) -> None:
    assert of_address(address) == counted_as


def test_what_is_counted_is_locked_in_one_order() -> None:
    assert tuple(Counted) == (Counted.ADDRESS, Counted.LOGIN)


@pytest.mark.parametrize(("counted", "a_day_max"), [(Counted.LOGIN, 300), (Counted.ADDRESS, 5_000)])
def test_the_limits_leave_a_guesser_little(counted: Counted, a_day_max: int) -> None:
    limit = LIMITS[counted]
    assert limit.at_once + 86_400 / limit.every_s <= a_day_max
