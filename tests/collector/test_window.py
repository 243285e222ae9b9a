"""When a terminal may be changed: hours, margins, cut-offs, blackouts, both changes of the clock, open all day."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tillwatch_collector.domain.hours import WEEKDAYS, Hours, parse_hours, spans
from tillwatch_collector.domain.window import (
    AHEAD_DAYS,
    BLACKOUTS_MAX,
    CUT_OFFS_MAX,
    MARGIN_S_MAX,
    Opening,
    WindowReason,
    WindowSettings,
    holds,
    look,
    openings,
)

H = 3600
R = WindowReason
SHOP = parse_hours({day: [["09:00", "20:00"]] for day in WEEKDAYS[:6]}, "Europe/Berlin")
KIOSK = parse_hours({day: [["00:00", "12:00"], ["12:00", "24:00"]] for day in WEEKDAYS}, "Europe/Berlin")
UNKNOWN = parse_hours({}, "Europe/Berlin")

NIGHT: dict[str, Any] = {
    "mode": "closed",
    "after_s": H,
    "before_s": 2 * H,
    "settlement_at": [],
    "settlement_margin_s": 900,
    "blackouts": [],
}


def window(**changed: Any) -> WindowSettings:
    return WindowSettings.model_validate({**NIGHT, **changed})


def utc(day: int, hour: int, minute: int = 0, *, month: int = 11) -> datetime:
    """Return a moment of 2026; November 20 is a Friday, and Berlin is one hour ahead."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stated", "store", "now", "reason", "until"),
    [
        # the shop closes at 19:00 UTC and opens at 08:00: an hour after the one, two before the other
        ({}, SHOP, utc(20, 12), R.OUTSIDE_HOURS, utc(20, 20)),
        ({}, SHOP, utc(20, 19, 59), R.OUTSIDE_HOURS, utc(20, 20)),
        ({}, SHOP, utc(20, 20), R.OPEN, utc(21, 6)),
        # a change that takes an hour begins at 05:00 at the latest
        ({}, SHOP, utc(21, 5), R.OPEN, utc(21, 6)),
        ({}, SHOP, utc(21, 5, 1), R.TOO_SHORT, utc(21, 20)),
        ({}, SHOP, utc(21, 6), R.OUTSIDE_HOURS, utc(21, 20)),
        # over the Sunday it stays closed
        ({}, SHOP, utc(22, 12), R.OPEN, utc(23, 6)),
        # in the hours, where somebody is there to help
        ({"mode": "open"}, SHOP, utc(20, 8, 30), R.OUTSIDE_HOURS, utc(20, 9)),
        ({"mode": "open"}, SHOP, utc(20, 9), R.OPEN, utc(20, 17)),
        # in hours of the plan's own, whatever the store's, and where they are not known
        ({"mode": "hours", "hours": {"sat": [["01:00", "06:00"]]}}, SHOP, utc(20, 12), R.OUTSIDE_HOURS, utc(21, 1)),
        ({"mode": "hours", "hours": {"sat": [["01:00", "06:00"]]}}, UNKNOWN, utc(21, 1), R.OPEN, utc(21, 3)),
        # named hours bound the closed time, and have no margins of their own then
        ({"hours": {"sat": [["01:00", "03:00"]]}}, SHOP, utc(20, 22), R.OUTSIDE_HOURS, utc(21, 0)),
        ({"hours": {"sat": [["01:00", "03:00"]]}}, SHOP, utc(21, 0), R.OPEN, utc(21, 2)),
        # around the cut-off at 02:00 UTC a quarter of an hour is kept free
        ({"settlement_at": ["03:00"]}, SHOP, utc(20, 20), R.OPEN, utc(21, 1, 45)),
        ({"settlement_at": ["03:00"]}, SHOP, utc(21, 1), R.TOO_SHORT, utc(21, 2, 15)),
        ({"settlement_at": ["03:00"]}, SHOP, utc(21, 1, 45), R.SETTLEMENT, utc(21, 2, 15)),
        ({"settlement_at": ["03:00"]}, SHOP, utc(21, 2, 15), R.OPEN, utc(21, 6)),
        # local dates on which nothing is changed
        ({"blackouts": [{"first": "2026-11-20", "last": "2026-11-20"}]}, SHOP, utc(20, 20), R.BLACKOUT, utc(20, 23)),
        ({"blackouts": [{"first": "2026-11-21", "last": "2026-11-22"}]}, SHOP, utc(20, 20), R.OPEN, utc(20, 23)),
        ({"blackouts": [{"first": "2026-11-21", "last": "2026-11-22"}]}, SHOP, utc(20, 23), R.BLACKOUT, utc(22, 23)),
        # a season's blackout is looked past, a year's is not
        (
            {"blackouts": [{"first": "2026-11-20", "last": "2027-01-06"}]},
            SHOP,
            utc(20, 20),
            R.BLACKOUT,
            "2027-01-06T23",
        ),
        ({"blackouts": [{"first": "2026-11-20", "last": "2027-11-20"}]}, SHOP, utc(20, 20), R.BLACKOUT, None),
        # who never closes is changed in the hours that the plan names for such stores, or not at all
        ({}, KIOSK, utc(20, 3), R.NEVER_CLOSES, None),
        ({"never_closed_hours": {"mon": [["02:00", "06:00"]]}}, KIOSK, utc(20, 3), R.OUTSIDE_HOURS, utc(23, 2)),
        ({"never_closed_hours": {"mon": [["02:00", "06:00"]]}}, KIOSK, utc(23, 2), R.OPEN, utc(23, 3)),
        # whose hours nobody has entered, is never closed for certain
        ({}, UNKNOWN, utc(20, 3), R.HOURS_UNKNOWN, None),
        ({"mode": "open"}, UNKNOWN, utc(20, 3), R.HOURS_UNKNOWN, None),
    ],
)
def test_a_window_says_whether_a_change_of_an_hour_may_begin(
    stated: dict[str, Any], store: Hours, now: datetime, reason: WindowReason, until: datetime | str | None
) -> None:
    if isinstance(until, str):
        until = datetime.fromisoformat(until).replace(tzinfo=UTC)
    found = look(window(**stated), store, now, H)
    assert found == Opening(reason=reason, until=until)
    assert found.fits == (reason is R.OPEN)


def test_what_was_found_holds_until_a_change_would_not_fit_any_more_or_one_fits_again() -> None:
    closed = look(window(), SHOP, utc(20, 12), H)
    assert [holds(closed, at, H) for at in (utc(20, 19, 59), utc(20, 20))] == [True, False]
    opened = look(window(), SHOP, utc(20, 20), H)
    assert [holds(opened, at, H) for at in (utc(21, 5), utc(21, 5, 1), utc(21, 6))] == [True, False, False]
    assert not holds(opened, utc(21, 6), 0)
    assert not holds(look(window(), KIOSK, utc(20, 3), H), utc(20, 3), H)


def test_a_change_that_fits_in_no_window_has_no_next_one() -> None:
    assert look(window(hours={"sat": [["01:00", "03:00"]]}), SHOP, utc(21, 0), 3 * H) == Opening(
        reason=R.TOO_SHORT, until=None
    )


def test_an_end_that_is_further_than_is_looked_is_where_the_look_ends() -> None:
    now = utc(20, 3)
    assert look(window(mode="open"), KIOSK, now, H).until == now + timedelta(days=AHEAD_DAYS[0])
    assert openings(window(), KIOSK, now, now + timedelta(days=1)) == ()


@pytest.mark.parametrize(
    ("settlement_at", "day", "month", "kept_free"),
    [
        # clocks go forward from 02:00 to 03:00 on March 29: a cut-off that there is not is kept free at its widest
        ("02:30", 29, 3, (utc(29, 0, 15, month=3), utc(29, 1, 45, month=3))),
        # back from 03:00 to 02:00 on October 25: it comes twice, and is kept free from the first to the second
        ("02:30", 25, 10, (utc(25, 0, 15, month=10), utc(25, 1, 45, month=10))),
        # on any other night
        ("02:30", 18, 10, (utc(18, 0, 15, month=10), utc(18, 0, 45, month=10))),
    ],
)
def test_a_cut_off_is_kept_free_over_both_changes_of_the_clock(
    settlement_at: str, day: int, month: int, kept_free: tuple[datetime, datetime]
) -> None:
    sunday = utc(day, 0, month=month)
    found = openings(window(settlement_at=[settlement_at]), SHOP, sunday, sunday + timedelta(hours=4))
    assert found == ((sunday, kept_free[0]), (kept_free[1], sunday + timedelta(hours=4)))


@pytest.mark.parametrize(
    ("month", "day", "hours"),
    [
        # from Saturday 21:00 to Monday 07:00 local, less an hour in spring, and one more in autumn
        (3, 28, 33),
        (10, 24, 35),
        (11, 21, 34),
    ],
)
def test_margins_are_real_time_and_the_night_of_a_change_is_as_long_as_it_is(month: int, day: int, hours: int) -> None:
    saturday = utc(day, 12, month=month)
    (night,) = openings(window(), SHOP, saturday, saturday + timedelta(days=2))
    local = [at.astimezone(ZoneInfo("Europe/Berlin")).strftime("%a %H:%M") for at in night]
    assert local == ["Sat 21:00", "Mon 07:00"]
    assert night[1] - night[0] == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("stated", "field"),
    [
        # nothing has a default
        *(({name: None}, name) for name in NIGHT),
        ({"mode": "whenever"}, "mode"),
        ({"after_s": -1}, "after_s"),
        ({"before_s": MARGIN_S_MAX + 1}, "before_s"),
        ({"after_s": float("nan")}, "after_s"),
        ({"settlement_at": ["24:00"]}, "settlement_at"),
        ({"settlement_at": ["03:00"] * (CUT_OFFS_MAX + 1)}, "settlement_at"),
        ({"blackouts": [{"first": "2026-12-31", "last": "2026-12-20"}]}, "blackouts"),
        ({"blackouts": [{"first": "2026-12-20", "last": "2026-12-20"}] * (BLACKOUTS_MAX + 1)}, "blackouts"),
        ({"hours": {"mon": []}}, "hours"),
        ({"hours": {"mon": [["05:00", "01:00"]]}}, "hours"),
        ({"never_closed_hours": {}}, "never_closed_hours"),
        ({"mode": "hours"}, "hours"),
        ({"margin": 3}, "margin"),
    ],
)
def test_a_window_that_is_not_wholly_stated_is_refused(stated: dict[str, Any], field: str) -> None:
    left = {key: value for key, value in {**NIGHT, **stated}.items() if value is not None}
    with pytest.raises(ValidationError, match=field):
        WindowSettings.model_validate(left)


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo"]


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 1)),  # noqa: DTZ001 - made aware below
    margins_s=st.tuples(st.integers(0, 3 * H), st.integers(0, 3 * H)),
    cut_off=st.sampled_from(["00:00", "02:30", "23:59"]),
    mode=st.sampled_from(["closed", "open"]),
)
def test_an_open_window_touches_nothing_that_closes_it(
    zone: str, start: datetime, margins_s: tuple[int, int], cut_off: str, mode: str
) -> None:
    after_s, before_s = margins_s
    start = start.replace(tzinfo=UTC)
    shop = parse_hours({day: [["08:00", "20:00"]] for day in WEEKDAYS[:6]}, zone)
    stated = window(mode=mode, after_s=after_s, before_s=before_s, settlement_at=[cut_off])
    end = start + timedelta(days=8)
    found = openings(stated, shop, start, end)
    wide = spans(shop, start - timedelta(days=5), end + timedelta(days=5))
    edges = [edge for span in wide for edge in span]
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(found))
    for opens, closes in found:
        assert start <= opens < closes <= end
        inside = any(one < closes and opens < other for one, other in wide)
        assert inside == (mode == "open")
        past = max(edge for edge in edges if edge <= opens)
        coming = min(edge for edge in edges if edge >= closes)
        assert opens - past >= timedelta(seconds=after_s) or opens == start
        assert coming - closes >= timedelta(seconds=before_s) or closes == end
        shown = {
            (opens + part * (closes - opens) / 8).astimezone(ZoneInfo(zone)).strftime("%H:%M") for part in range(8)
        }
        assert cut_off not in shown
