"""Opening hours in a store's own time: holidays, midnight, and both changes of the clock in six zones."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch_collector.domain.hours import (
    AHEAD_DAYS,
    HOLIDAYS_MAX,
    SPANS_PER_DAY_MAX,
    WEEKDAYS,
    Hours,
    after_open_s,
    next_opening,
    open_s,
    parse_hours,
    spans,
)
from tillwatch_collector.errors import HoursInvalid

H = 3600
WEEK = timedelta(days=7)
SHOP = parse_hours({day: [["09:00", "18:00"]] for day in WEEKDAYS[:6]}, "Europe/Berlin")
ROUND_THE_CLOCK = {day: [["00:00", "24:00"]] for day in WEEKDAYS}

CHANGES = [
    # zone, clock goes forward, clock goes back, by how much: of 2026, in UTC
    ("Europe/Berlin", "2026-03-29T01:00", "2026-10-25T01:00", H),
    ("America/New_York", "2026-03-08T07:00", "2026-11-01T06:00", H),
    # in the south summer is at the turn of the year
    ("Australia/Sydney", "2026-10-03T16:00", "2026-04-04T16:00", H),
    # by half an hour
    ("Australia/Lord_Howe", "2026-10-03T15:30", "2026-04-04T15:00", H // 2),
    # at midnight: a day begins at 01:00, and the evening before comes twice
    ("America/Santiago", "2026-09-06T04:00", "2026-04-05T03:00", H),
    ("Africa/Cairo", "2026-04-23T22:00", "2026-10-29T21:00", H),
]
CALM = "Asia/Shanghai"
"""Whose clock never changes."""


def utc(day: int, hour: int, minute: int = 0, *, month: int = 11) -> datetime:
    """Return a moment of 2026; November 21 is a Saturday, and Berlin is one hour ahead."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(("zone", "forward", "back", "by_s"), CHANGES)
def test_the_changes_of_the_table_are_those_of_the_zones(zone: str, forward: str, back: str, by_s: int) -> None:
    for text, sign in ((forward, 1), (back, -1)):
        at, before = moment(text), moment(text) - timedelta(seconds=1)
        offsets = [at.astimezone(ZoneInfo(zone)).utcoffset(), before.astimezone(ZoneInfo(zone)).utcoffset()]
        assert offsets[0] is not None
        assert offsets[1] is not None
        assert (offsets[0] - offsets[1]).total_seconds() == sign * by_s


@pytest.mark.parametrize(("zone", "forward", "back", "by_s"), CHANGES)
def test_who_never_closes_is_open_for_each_second_of_both_changes(
    zone: str, forward: str, back: str, by_s: int
) -> None:
    del by_s
    never_closed = parse_hours(ROUND_THE_CLOCK, zone)
    for text in (forward, back):
        start, end = moment(text) - timedelta(days=3), moment(text) + timedelta(days=3)
        assert spans(never_closed, start, end) == ((start, end),)


@pytest.mark.parametrize(("zone", "forward", "back", "by_s"), CHANGES)
def test_a_local_day_is_shorter_or_longer_by_the_change(zone: str, forward: str, back: str, by_s: int) -> None:
    for text, sign in ((forward, -1), (back, 1)):
        # At midnight the change belongs to the day that it begins, or to the evening that comes twice.
        on = (moment(text) + timedelta(seconds=1 if sign < 0 else -1)).astimezone(ZoneInfo(zone)).date()
        that_day = Hours(zone=ZoneInfo(zone), week=((),) * 7, holidays={on: ((0, 24 * 60),)})
        assert open_s(that_day, moment(text) - WEEK, moment(text) + WEEK) == 24 * H + sign * by_s


@pytest.mark.parametrize(
    ("span", "month", "day", "opens", "closes"),
    [
        # Berlin, forward at 02:00 to 03:00 on March 29: around it an hour is missing
        (("01:00", "04:00"), 3, 29, utc(29, 0, month=3), utc(29, 2, month=3)),
        # what begins, or ends, in the hour that there is not begins, or ends, with the change
        (("02:30", "04:00"), 3, 29, utc(29, 1, month=3), utc(29, 2, month=3)),
        (("01:00", "02:30"), 3, 29, utc(29, 0, month=3), utc(29, 1, month=3)),
        # back at 03:00 to 02:00 on October 25: around it is one more, and a time that comes twice is its first
        (("01:00", "04:00"), 10, 25, utc(24, 23, month=10), utc(25, 3, month=10)),
        (("02:30", "04:00"), 10, 25, utc(25, 0, 30, month=10), utc(25, 3, month=10)),
        (("01:00", "02:30"), 10, 25, utc(24, 23, month=10), utc(25, 0, 30, month=10)),
        (("02:15", "02:45"), 10, 25, utc(25, 0, 15, month=10), utc(25, 0, 45, month=10)),
    ],
)
def test_spans_at_the_changes_of_the_clock(
    span: tuple[str, str], month: int, day: int, opens: datetime, closes: datetime
) -> None:
    night = parse_hours({"sun": [span]}, "Europe/Berlin")
    start = utc(day, 0, month=month) - timedelta(days=1)
    assert spans(night, start, start + timedelta(days=3)) == ((opens, closes),)


def test_a_span_in_the_time_that_is_left_out_is_empty_and_the_one_after_it_is_whole() -> None:
    night = parse_hours({"sun": [["02:10", "02:50"], ["02:50", "03:30"]]}, "Europe/Berlin")
    around = utc(28, 0, month=3), utc(30, 0, month=3)
    assert spans(night, *around) == ((utc(29, 1, month=3), utc(29, 1, 30, month=3)),)
    half_an_hour = parse_hours({"sun": [["02:00", "02:30"]]}, "Australia/Lord_Howe")
    assert spans(half_an_hour, utc(3, 0, month=10), utc(5, 0, month=10)) == ()


def test_a_day_that_a_zone_left_out_has_no_hours() -> None:
    apia = parse_hours(ROUND_THE_CLOCK, "Pacific/Apia")
    start, end = datetime(2011, 12, 29, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)
    assert spans(apia, start, end) == ((start, end),)
    friday = parse_hours({"fri": [["00:00", "24:00"]]}, "Pacific/Apia")
    assert spans(friday, start, end) == ()  # December 30


def test_spans_are_cut_to_what_is_asked_and_what_meets_is_one() -> None:
    bar = parse_hours({"fri": [["18:00", "24:00"]], "sat": [["00:00", "03:00"], ["18:00", "24:00"]]}, "Europe/Berlin")
    assert spans(bar, utc(20, 18), utc(21, 18)) == ((utc(20, 18), utc(21, 2)), (utc(21, 17), utc(21, 18)))
    assert spans(bar, utc(20, 18), utc(20, 18)) == ()
    assert spans(bar, utc(21, 18), utc(20, 18)) == ()


def test_a_holiday_has_its_own_hours_in_the_place_of_its_weekdays() -> None:
    holidays = {"2026-11-20": [], "2026-11-21": [["10:00", "12:00"]], "2026-11-22": [["12:00", "13:00"]]}
    shop = parse_hours({day: [["09:00", "18:00"]] for day in WEEKDAYS[:6]}, "Europe/Berlin", holidays)
    assert spans(shop, utc(19, 12), utc(23, 9)) == (
        (utc(19, 12), utc(19, 17)),
        # closed on a Friday, open for less on a Saturday, open on a Sunday
        (utc(21, 9), utc(21, 11)),
        (utc(22, 11), utc(22, 12)),
        (utc(23, 8), utc(23, 9)),
    )
    assert next_opening(shop, utc(19, 18)) == utc(21, 9)


@pytest.mark.parametrize(
    ("start", "time_s", "due"),
    [
        # no time: at once, open or not
        (utc(20, 3), 0, utc(20, 3)),
        # inside a day, and all of it to its last second
        (utc(20, 9), 2 * H, utc(20, 11)),
        (utc(20, 9), 8 * H, utc(20, 17)),
        # what is over is from the next day
        (utc(20, 9), 8 * H + 1, utc(21, 8) + timedelta(seconds=1)),
        # from before opening, and over the Sunday
        (utc(20, 3), H, utc(20, 9)),
        (utc(21, 16), 2 * H, utc(23, 9)),
    ],
)
def test_when_so_much_time_has_passed_in_the_hours(start: datetime, time_s: float, due: datetime) -> None:
    assert after_open_s(SHOP, start, time_s) == due


def test_hours_that_never_open_pass_no_time_and_nobody_looks_for_ever() -> None:
    closed = parse_hours({"mon": []}, "UTC")
    assert not closed.ever_open
    assert SHOP.ever_open
    assert after_open_s(closed, utc(20, 0), 1) is None
    assert next_opening(closed, utc(20, 0)) is None
    assert open_s(closed, utc(20, 0), utc(20, 0) + timedelta(days=100_000)) == 0
    always = parse_hours(ROUND_THE_CLOCK, "UTC")
    assert open_s(always, utc(20, 0), utc(20, 0) + timedelta(days=100_000)) == AHEAD_DAYS * 24 * H
    assert after_open_s(always, utc(20, 0), AHEAD_DAYS * 24 * H + 1) is None


@pytest.mark.parametrize(
    ("opening_hours", "zone", "holidays", "said"),
    [
        # zones that do not exist, and one that is a path
        # whatever the collector's machine is set to is no place
        ({}, "localtime", {}, "time_zone: expected an IANA name such as Europe/Berlin, got 'localtime'"),
        ({}, "Mars/Olympus", {}, "time_zone: expected an IANA name such as Europe/Berlin, got 'Mars/Olympus'"),
        ({}, "", {}, "time_zone"),
        ({}, "../etc/passwd", {}, "time_zone"),
        # a day that does not exist
        ({"funday": []}, "UTC", {}, "expected days mon, .*, got 'funday'"),
        # spans that are none
        ({"mon": "09:00"}, "UTC", {}, "opening_hours.mon: expected at most"),
        ({"mon": [["09:00", "10:00"]] * (SPANS_PER_DAY_MAX + 1)}, "UTC", {}, "opening_hours.mon: expected at most 4"),
        ({"mon": ["09:00"]}, "UTC", {}, r"opening_hours.mon: expected \[opens, closes\], got '09:00'"),
        ({"mon": [["09:00"]]}, "UTC", {}, "opens, closes"),
        # times that are none
        ({"mon": [["9:00", "10:00"]]}, "UTC", {}, "opening_hours.mon: expected HH:MM up to 24:00, got '9:00'"),
        ({"mon": [["09:00", "24:01"]]}, "UTC", {}, "got '24:01'"),
        ({"mon": [[9, 10]]}, "UTC", {}, "got 9"),
        # closing before opening, and overlapping
        ({"mon": [["18:00", "02:00"]]}, "UTC", {}, r"expected to open before closing \(24:00 ends a day\)"),
        ({"mon": [["09:00", "12:00"], ["11:00", "18:00"]]}, "UTC", {}, "expected spans that do not overlap"),
        # holidays that are none, with wrong spans, and too many
        ({}, "UTC", {"2026-02-30": []}, "holidays: expected dates such as 2026-12-25, got '2026-02-30'"),
        ({}, "UTC", {"christmas": []}, "got 'christmas'"),
        ({}, "UTC", {"2026-12-25": [["12:00", "10:00"]]}, "holidays.2026-12-25: expected to open before closing"),
        (
            {},
            "UTC",
            {(date(2026, 1, 1) + timedelta(days=number)).isoformat(): [] for number in range(HOLIDAYS_MAX + 1)},
            "holidays: expected at most 400 days, got 401",
        ),
    ],
)
def test_hours_that_make_no_sense_are_refused(
    opening_hours: dict[str, object], zone: str, holidays: dict[str, object], said: str
) -> None:
    with pytest.raises(HoursInvalid, match=said):
        parse_hours(opening_hours, zone, holidays)  # type: ignore[arg-type]


# --- properties, around both changes in every zone

MINUTES = st.integers(min_value=0, max_value=96).map(lambda quarter: quarter * 15)
DAY = st.lists(MINUTES, max_size=2 * SPANS_PER_DAY_MAX, unique=True).map(
    lambda minutes: tuple(pairwise(sorted(minutes)))[::2]
)
NEAR = st.tuples(st.sampled_from([*CHANGES, (CALM, *CHANGES[0][1:])]), st.booleans()).map(
    lambda drawn: (drawn[0][0], moment(drawn[0][2] if drawn[1] else drawn[0][1]))
)
"""A zone, and a change: its own, or, where there is none, another's."""


@st.composite
def calendars(draw: st.DrawFn) -> tuple[Hours, datetime]:
    """Draw hours, a holiday among them, in a zone whose clock changes at the moment that comes with them."""
    zone, change = draw(NEAR)
    on = change.astimezone(ZoneInfo(zone)).date() + timedelta(days=draw(st.integers(-1, 1)))
    week = tuple(draw(st.lists(DAY, min_size=7, max_size=7)))
    return Hours(zone=ZoneInfo(zone), week=week, holidays=draw(st.dictionaries(st.just(on), DAY))), change


@given(calendars())
@settings(max_examples=60, deadline=None)
def test_it_is_open_when_the_clock_on_the_wall_says_so(drawn: tuple[Hours, datetime]) -> None:
    calendar, change = drawn
    start = change - timedelta(days=2)
    open_then = spans(calendar, start, change + timedelta(days=2))
    assert all(opens < closes for opens, closes in open_then)
    assert all(earlier[1] < later[0] for earlier, later in pairwise(open_then))
    for quarter in range(4 * 24 * 4):
        at = start + timedelta(minutes=15 * quarter)
        wall = at.astimezone(calendar.zone)
        if wall.fold:
            continue  # what comes twice opens and closes by its first
        minutes = wall.hour * 60 + wall.minute
        expected = any(opens <= minutes < closes for opens, closes in calendar.on(wall.date()))
        assert any(opens <= at < closes for opens, closes in open_then) is expected, (at, wall)


@given(calendars(), st.integers(-3 * 86_400, 86_400), st.integers(0, 3 * 86_400))
@settings(max_examples=150, deadline=None)
def test_so_much_open_time_leads_to_where_so_much_has_passed(
    drawn: tuple[Hours, datetime], offset_s: int, time_s: int
) -> None:
    calendar, change = drawn
    start = change + timedelta(seconds=offset_s)
    due = after_open_s(calendar, start, time_s)
    if due is None:
        assert not any(calendar.week)
        return
    assert open_s(calendar, start, due) == time_s
    if time_s:
        assert open_s(calendar, start, due - timedelta(seconds=1)) == time_s - 1  # and at no moment before


@given(calendars(), st.integers(-3 * 86_400, 86_400), st.integers(0, 2 * 86_400), st.integers(0, 2 * 86_400))
@settings(max_examples=100, deadline=None)
def test_open_time_adds_up(drawn: tuple[Hours, datetime], offset_s: int, first_s: int, second_s: int) -> None:
    calendar, change = drawn
    start = change + timedelta(seconds=offset_s)
    middle = start + timedelta(seconds=first_s)
    end = middle + timedelta(seconds=second_s)
    whole = open_s(calendar, start, end)
    assert whole == open_s(calendar, start, middle) + open_s(calendar, middle, end)
    assert whole == sum((closes - opens).total_seconds() for opens, closes in spans(calendar, start, end))
    assert 0 <= whole <= first_s + second_s


def test_the_day_of_a_time_is_that_of_the_zone() -> None:
    """Late in the evening of one day it may be the morning of the next where the shop is."""
    tokyo = parse_hours({"sat": [["08:00", "09:00"]]}, "Asia/Tokyo")
    friday = datetime.combine(date(2026, 11, 20), time(23), tzinfo=UTC)
    assert spans(tokyo, friday, friday + timedelta(hours=2)) == ((friday, friday + timedelta(hours=1)),)
