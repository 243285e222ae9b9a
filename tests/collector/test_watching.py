"""When a store is watched: in its hours, after the grace, over midnight, across changes of the clock and holidays."""

from datetime import UTC, datetime

import pytest

from tillwatch_collector.domain.hours import parse_hours
from tillwatch_collector.domain.watching import AHEAD, Watch, Watching, watching

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SHOP = parse_hours({day: [["09:00", "18:00"]] for day in DAYS[:6]}, "Europe/Berlin")
BAR = parse_hours({"fri": [["18:00", "24:00"]], "sat": [["00:00", "03:00"], ["18:00", "24:00"]]}, "Europe/Berlin")
KIOSK = parse_hours({day: [["00:00", "24:00"]] for day in DAYS}, "Asia/Shanghai")
GRACE_S = 900


def utc(day: int, hour: int, minute: int = 0, *, month: int = 11) -> datetime:
    """Return a moment of 2026; November 21 is a Saturday, and Berlin is one hour ahead."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "now", "watch", "until"),
    [
        # before opening, while people switch on, open, and closed again
        (SHOP, utc(20, 7), Watch.CLOSED, utc(20, 8)),
        (SHOP, utc(20, 8), Watch.OPENING, utc(20, 8, 15)),
        (SHOP, utc(20, 8, 15), Watch.WATCHED, utc(20, 17)),
        (SHOP, utc(20, 17), Watch.CLOSED, utc(21, 8)),
        # over the Sunday
        (SHOP, utc(21, 17), Watch.CLOSED, utc(23, 8)),
        # over midnight there is no second opening
        (BAR, utc(20, 23, 5), Watch.WATCHED, utc(21, 2)),
        (BAR, utc(21, 2), Watch.CLOSED, utc(21, 17)),
        # the next opening is almost a week away
        (BAR, utc(21, 23), Watch.CLOSED, utc(27, 17)),
        # clocks go forward on March 29, 2026: 09:00 is an hour earlier in UTC
        (SHOP, utc(28, 8, month=3), Watch.OPENING, utc(28, 8, 15, month=3)),
        (SHOP, utc(30, 7, month=3), Watch.OPENING, utc(30, 7, 15, month=3)),
        # and back on October 25
        (SHOP, utc(24, 7, month=10), Watch.OPENING, utc(24, 7, 15, month=10)),
        (SHOP, utc(26, 7, month=10), Watch.CLOSED, utc(26, 8, month=10)),
    ],
)
def test_when_a_store_is_watched(hours: object, now: datetime, watch: Watch, until: datetime) -> None:
    assert watching(hours, now, GRACE_S) == Watching(watch=watch, until=until)  # type: ignore[arg-type]


def test_a_night_in_which_clocks_change_is_as_long_as_it_is() -> None:
    night = parse_hours({"sun": [["01:00", "04:00"]]}, "Europe/Berlin")
    assert watching(night, utc(29, 0, 30, month=3), 0) == Watching(watch=Watch.WATCHED, until=utc(29, 2, month=3))
    assert watching(night, utc(25, 0, 30, month=10), 0) == Watching(watch=Watch.WATCHED, until=utc(25, 3, month=10))


def test_who_never_closes_is_always_watched_and_who_never_opens_never() -> None:
    assert watching(KIOSK, utc(20, 16), GRACE_S).watch is Watch.WATCHED
    assert watching(parse_hours({}, "UTC"), utc(20, 12), GRACE_S) == Watching(watch=Watch.CLOSED)


def test_a_grace_longer_than_the_day_ends_with_it() -> None:
    short = parse_hours({"fri": [["12:00", "12:10"]]}, "UTC")
    assert watching(short, utc(20, 12), GRACE_S) == Watching(watch=Watch.OPENING, until=utc(20, 12, 10))


def test_a_holiday_is_no_opening_and_the_one_after_it_may_be_far() -> None:
    days: dict[str, list[list[str]]] = {f"2026-12-{day:02}": [] for day in range(10, 32)} | {
        "2026-12-24": [["09:00", "12:00"]]
    }
    week = {day: [["09:00", "18:00"]] for day in DAYS[:6]}
    shop = parse_hours(week, "Europe/Berlin", days)
    assert watching(shop, utc(9, 12, month=12), 0) == Watching(watch=Watch.WATCHED, until=utc(9, 17, month=12))
    assert watching(shop, utc(10, 12, month=12), 0) == Watching(watch=Watch.CLOSED, until=utc(24, 8, month=12))
    assert watching(shop, utc(24, 9, month=12), 0) == Watching(watch=Watch.WATCHED, until=utc(24, 11, month=12))


def test_who_never_closes_is_looked_at_again() -> None:
    assert watching(KIOSK, utc(20, 16), GRACE_S).until == utc(20, 16) + AHEAD


def test_before_closing_nobody_is_missed_and_a_short_day_is_not_watched_at_all() -> None:
    shop = parse_hours({"mon": [["08:00", "18:00"]], "tue": [["08:00", "08:20"]]}, "UTC")
    monday, tuesday = utc(23, 17, 50), utc(24, 8, 17)
    assert watching(shop, utc(23, 12), 900, 900) == Watching(watch=Watch.WATCHED, until=utc(23, 17, 45))
    assert watching(shop, monday, 900, 900) == Watching(watch=Watch.CLOSING, until=utc(23, 18))
    assert watching(shop, tuesday, 900, 900) == Watching(watch=Watch.CLOSING, until=utc(24, 8, 20))
