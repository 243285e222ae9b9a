"""Opening hours in a store's own time, midnight and both changes of the clock among them."""

from datetime import UTC, datetime

import pytest

from tillwatch_collector.domain.watching import SPANS_PER_DAY_MAX, Watch, Watching, parse_hours, watching
from tillwatch_collector.errors import HoursInvalid

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


@pytest.mark.parametrize(
    ("opening_hours", "zone", "said"),
    [
        # zones that do not exist, and one that is a path
        ({}, "Mars/Olympus", "time_zone: expected an IANA name such as Europe/Berlin, got 'Mars/Olympus'"),
        ({}, "", "time_zone"),
        ({}, "../etc/passwd", "time_zone"),
        # a day that does not exist
        ({"funday": []}, "UTC", "expected days mon, .*, got 'funday'"),
        # spans that are none
        ({"mon": "09:00"}, "UTC", "opening_hours.mon: expected at most"),
        ({"mon": [["09:00", "10:00"]] * (SPANS_PER_DAY_MAX + 1)}, "UTC", "opening_hours.mon: expected at most 4 spans"),
        ({"mon": ["09:00"]}, "UTC", r"opening_hours.mon: expected \[opens, closes\], got '09:00'"),
        ({"mon": [["09:00"]]}, "UTC", "opens, closes"),
        # times that are none
        ({"mon": [["9:00", "10:00"]]}, "UTC", "opening_hours.mon: expected HH:MM up to 24:00, got '9:00'"),
        ({"mon": [["09:00", "24:01"]]}, "UTC", "got '24:01'"),
        ({"mon": [[9, 10]]}, "UTC", "got 9"),
        # closing before opening, and overlapping
        ({"mon": [["18:00", "02:00"]]}, "UTC", r"expected to open before closing \(24:00 ends a day\)"),
        ({"mon": [["09:00", "12:00"], ["11:00", "18:00"]]}, "UTC", "expected spans that do not overlap"),
    ],
)
def test_hours_that_make_no_sense_are_refused(opening_hours: dict[str, object], zone: str, said: str) -> None:
    with pytest.raises(HoursInvalid, match=said):
        parse_hours(opening_hours, zone)  # type: ignore[arg-type]
