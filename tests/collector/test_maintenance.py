"""When notification is muted: in local time, over midnight and both changes of clocks, joined without a gap."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tillwatch_collector.domain import maintenance
from tillwatch_collector.domain.maintenance import (
    AHEAD_DAYS_MAX,
    SPAN_DAYS_MAX,
    Active,
    Book,
    Maintenance,
    MaintenanceRefused,
    Place,
    Scope,
    Span,
    Weekly,
    active,
    open_until,
    planned,
    week_of,
)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TILL = Place(terminal_id="till-1", store_id="s-1", merchant_id="m-1")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
"""A Saturday."""

ZONES = {
    "Europe/Berlin": ((2026, 3, 29), (2026, 10, 25)),
    "America/New_York": ((2026, 3, 8), (2026, 11, 1)),
    "America/Sao_Paulo": ((2018, 11, 4), (2018, 2, 18)),  # midnight itself was skipped, and came twice
    "Australia/Lord_Howe": ((2026, 10, 4), (2026, 4, 5)),  # by half an hour
    "Pacific/Apia": ((2011, 12, 30), (2012, 4, 1)),  # a whole day was skipped
    "Asia/Shanghai": ((2026, 3, 29), (2026, 10, 25)),  # clocks stay
}
"""Six zones, each with the days on which its clocks went forward and back."""


def utc(day: int, hour: int, minute: int = 0, *, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def once(starts_at: datetime, ends_at: datetime, *, number: int = 1, scope: Scope = Scope.ALL, name: str = "") -> Span:
    return Span(
        maintenance_id=number,
        scope=scope,
        scope_id=name,
        starts_at=starts_at,
        ends_at=ends_at,
        week=None,
        reason="new line",
    )


def weekly(
    days: Sequence[str],
    from_: str,
    to: str,
    *,
    zone: str = "Europe/Berlin",
    number: int = 1,
    starts_at: datetime = datetime(2000, 1, 1, tzinfo=UTC),
    ends_at: datetime | None = None,
) -> Span:
    said = Weekly.model_validate({"time_zone": zone, "days": days, "from": from_, "to": to})
    return Span(
        maintenance_id=number,
        scope=Scope.ALL,
        scope_id="",
        starts_at=starts_at,
        ends_at=ends_at,
        week=week_of(said),
        reason="nightly restart",
    )


def until(spans: Sequence[Span], now: datetime) -> datetime | None:
    found = active(spans, TILL, now)
    return found.until if found else None


# --- whom it mutes


@pytest.mark.parametrize(
    ("scope", "name", "muted"),
    [
        (Scope.TERMINAL, "till-1", True),
        (Scope.STORE, "s-1", True),
        (Scope.MERCHANT, "m-1", True),
        (Scope.ALL, "", True),
        (Scope.TERMINAL, "till-2", False),
        (Scope.STORE, "till-1", False),  # the same name, of something else
        (Scope.MERCHANT, "s-1", False),
    ],
)
def test_a_span_mutes_its_scope_and_nobody_else(scope: Scope, name: str, *, muted: bool) -> None:
    span = once(NOW, utc(21, 14), scope=scope, name=name)
    assert active([span], TILL, NOW) == (Active(span=span, until=utc(21, 14)) if muted else None)


def test_an_unassigned_terminal_is_muted_with_all_and_by_its_own_span_only() -> None:
    alone = Place(terminal_id="till-1")
    assert active([once(NOW, utc(21, 14), scope=Scope.STORE, name="s-1")], alone, NOW) is None
    assert active([once(NOW, utc(21, 14))], alone, NOW) is not None
    assert active([once(NOW, utc(21, 14), scope=Scope.TERMINAL, name="till-1")], alone, NOW) is not None


# --- when


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (utc(21, 11, 59), None),
        (utc(21, 12), utc(21, 14)),  # its beginning belongs to it
        (utc(21, 13, 59), utc(21, 14)),
        (utc(21, 14), None),  # its end does not
    ],
)
def test_a_span_holds_from_its_beginning_to_before_its_end(now: datetime, end: datetime | None) -> None:
    assert until([once(utc(21, 12), utc(21, 14))], now) == end


@pytest.mark.parametrize(
    ("spans", "end", "number"),
    [
        # overlapping, one within the other, adjoining, and adjoining one that adjoins
        ([once(utc(21, 11), utc(21, 13)), once(utc(21, 12, 30), utc(21, 15), number=2)], utc(21, 15), 1),
        ([once(utc(21, 11), utc(21, 15)), once(utc(21, 12), utc(21, 13), number=2)], utc(21, 15), 1),
        ([once(utc(21, 11), utc(21, 13)), once(utc(21, 13), utc(21, 14), number=2)], utc(21, 14), 1),
        (
            [
                once(utc(21, 14), utc(21, 16), number=3),
                once(utc(21, 11), utc(21, 13)),
                once(utc(21, 13), utc(21, 14), number=2),
            ],
            utc(21, 16),
            1,
        ),
        # of two that hold, the one that lasts longer is named; of two alike, the older
        ([once(utc(21, 11), utc(21, 13)), once(utc(21, 11), utc(21, 14), number=2)], utc(21, 14), 2),
        ([once(utc(21, 11), utc(21, 13), number=2), once(utc(21, 11), utc(21, 13))], utc(21, 13), 1),
        # with a minute between, the second one waits
        ([once(utc(21, 11), utc(21, 13)), once(utc(21, 13, 1), utc(21, 14), number=2)], utc(21, 13), 1),
        # a weekly one goes on where another ends: 14:00 in Berlin is 13:00
        ([once(utc(21, 11), utc(21, 13)), weekly(["sat"], "14:00", "16:00", number=2)], utc(21, 15), 1),
    ],
)
def test_spans_that_overlap_or_adjoin_are_one(spans: list[Span], end: datetime, number: int) -> None:
    found = active(spans, TILL, NOW)
    assert found is not None
    assert (found.until, found.span.maintenance_id) == (end, number)


def test_spans_of_different_scopes_join_for_who_is_in_both() -> None:
    store = once(utc(21, 11), utc(21, 13), scope=Scope.STORE, name="s-1")
    till = once(utc(21, 13), utc(21, 15), number=2, scope=Scope.TERMINAL, name="till-1")
    book = Book([store, till])
    assert book.active(TILL, NOW) == Active(span=store, until=utc(21, 15))
    assert book.active(Place(terminal_id="till-2", store_id="s-1"), NOW) == Active(span=store, until=utc(21, 13))


@pytest.mark.parametrize(
    ("span", "now", "end"),
    [
        # Berlin is one hour ahead in November; 01:00 to 03:00 on Sunday
        (weekly(["sun"], "01:00", "03:00"), utc(21, 23, 59), None),
        (weekly(["sun"], "01:00", "03:00"), utc(22, 0), utc(22, 2)),
        (weekly(["sun"], "01:00", "03:00"), utc(22, 2), None),
        # over midnight: Saturday's lasts into Sunday, and Sunday has none of its own
        (weekly(["sat"], "22:00", "06:00"), utc(21, 21), utc(22, 5)),
        (weekly(["sat"], "22:00", "06:00"), utc(22, 4), utc(22, 5)),
        (weekly(["sat"], "22:00", "06:00"), utc(22, 21), None),
        # a whole day from its time to the next day's
        (weekly(["sat"], "12:00", "12:00"), utc(22, 10), utc(22, 11)),
        # to midnight, and the next day's from midnight: one
        (weekly(["sat", "sun"], "00:00", "00:00"), utc(21, 12), utc(22, 23)),
        # night after night is not one night
        (weekly(DAYS, "22:00", "06:00"), utc(21, 21), utc(22, 5)),
        # it comes from its first day on, in its middle even, and until its last end
        (weekly(["sat"], "12:00", "15:00", starts_at=utc(21, 12)), utc(21, 11, 30), None),
        (weekly(["sat"], "12:00", "15:00", starts_at=utc(21, 12)), utc(21, 12), utc(21, 14)),
        (weekly(["sat"], "12:00", "15:00", ends_at=utc(21, 13)), utc(21, 12), utc(21, 13)),
        (weekly(["sat"], "12:00", "15:00", ends_at=utc(21, 13)), utc(21, 13), None),
        # the same local time in summer is an hour earlier
        (weekly(["sat"], "12:00", "15:00"), utc(18, 12, month=7), utc(18, 13, month=7)),
        # clocks go forward on March 29 at 02:00: the night is an hour shorter
        (weekly(["sat"], "22:00", "06:00"), utc(28, 21, month=3), utc(29, 4, month=3)),
        # and back on October 25 at 03:00: it is an hour longer
        (weekly(["sat"], "22:00", "06:00"), utc(24, 20, month=10), utc(25, 5, month=10)),
        # an end in the hour that comes twice is its second turn, a beginning its first
        (weekly(["sun"], "01:00", "02:30"), utc(25, 1, month=10), utc(25, 1, 30, month=10)),
        (weekly(["sun"], "02:30", "04:00"), utc(25, 0, 30, month=10), utc(25, 3, month=10)),
        # in the hour that is skipped, neither is lost
        (weekly(["sun"], "01:00", "02:30"), utc(29, 1, month=3), utc(29, 1, 30, month=3)),
        (weekly(["sun"], "02:30", "04:00"), utc(29, 0, 30, month=3), utc(29, 2, month=3)),
        (weekly(["sun"], "02:15", "02:45"), utc(29, 1, month=3), utc(29, 1, 45, month=3)),
    ],
)
def test_a_weekly_span_is_local_time(span: Span, now: datetime, end: datetime | None) -> None:
    assert until([span], now) == end


def test_spans_that_never_leave_a_gap_are_looked_at_again_in_90_days() -> None:
    ever = [weekly(DAYS, "00:00", "12:00"), weekly(DAYS, "12:00", "00:00", number=2)]
    assert until(ever, NOW) == NOW + timedelta(days=SPAN_DAYS_MAX)


def test_a_look_that_was_made_is_not_made_again_until_its_end() -> None:
    span = once(utc(21, 12), utc(21, 14))
    book = Book([span])
    first = book.active(TILL, utc(21, 12))
    assert book.active(Place(terminal_id="till-2"), utc(21, 13)) is first
    assert book.active(TILL, utc(21, 11)) is None
    assert book.active(TILL, utc(21, 14)) is None


# --- any spans at all, against a clock on the wall

QUARTERS = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02d}:{quarter % 4 * 15:02d}")


@st.composite
def weeks(draw: st.DrawFn, zone: str) -> tuple[frozenset[str], str, str, Span]:
    days = draw(st.frozensets(st.sampled_from(DAYS), min_size=1, max_size=6))
    from_, to = draw(QUARTERS), draw(QUARTERS)
    return days, from_, to, weekly(sorted(days, key=DAYS.index), from_, to, zone=zone)


def shows(local: datetime, days: frozenset[str], from_: str, to: str) -> bool:
    """Whether a clock on the wall shows a time inside a weekly span: what a person who reads it expects."""
    shown = f"{local:%H:%M}"
    today, yesterday = DAYS[local.weekday()], DAYS[(local.weekday() - 1) % 7]
    if from_ < to:
        return today in days and from_ <= shown < to
    return (today in days and shown >= from_) or (yesterday in days and shown < to)


@cache
def walk(zone: str, change: int) -> list[tuple[datetime, datetime, bool]]:
    """Step over a change of clocks by quarters of an hour: the moment, what the clock shows, and whether clocks stay.

    Two days from any change a span is exactly what the clock shows.
    """
    there = ZoneInfo(zone)
    starts_at = datetime.combine(date(*ZONES[zone][change]), datetime.min.time(), UTC) - timedelta(hours=72)
    moments = [starts_at + timedelta(minutes=15 * quarter) for quarter in range(144 * 4)]
    offsets = {hours: (starts_at + timedelta(hours=hours)).astimezone(there).utcoffset() for hours in range(-50, 200)}
    return [
        (now, now.astimezone(there), len({offsets[number // 4 + hours] for hours in range(-50, 51)}) == 1)
        for number, now in enumerate(moments)
    ]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("change", [0, 1], ids=["forward", "back"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_around_a_change_of_clocks_a_span_holds_whenever_the_clock_shows_a_time_in_it(
    zone: str, change: int, data: st.DataObject
) -> None:
    days, from_, to, span = data.draw(weeks(zone))
    for now, local, steady in walk(zone, change):
        holds, shown = open_until(span, now) is not None, shows(local, days, from_, to)
        assert holds or not shown, local
        assert holds is shown or not steady, local


@settings(deadline=None)
@given(data=st.data())
def test_spans_together_mute_what_each_mutes_and_end_where_none_does(data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(sorted(ZONES)))
    spans = [span for *_, span in data.draw(st.lists(weeks(zone), max_size=3))]
    for _ in range(data.draw(st.integers(0, 3))):
        starts_at = NOW + timedelta(minutes=15 * data.draw(st.integers(-200, 200)))
        spans.append(once(starts_at, starts_at + timedelta(minutes=15 * data.draw(st.integers(1, 300)))))
    now = NOW + timedelta(minutes=data.draw(st.integers(-5000, 5000)))
    found = active(spans, TILL, now)
    assert (found is not None) == any(open_until(span, now) for span in spans)
    if found is None:
        return
    assert open_until(found.span, now) is not None
    assert now < found.until <= now + timedelta(days=SPAN_DAYS_MAX)
    if found.until < now + timedelta(days=SPAN_DAYS_MAX):
        assert not any(open_until(span, found.until) for span in spans)
    between = now + (found.until - now) * data.draw(st.floats(0, 0.999))
    assert any(open_until(span, between) for span in spans)


# --- what is refused

ONCE = {"scope_kind": "store", "scope_id": "s-1", "ends_at": "2026-11-21T14:00:00Z", "reason": "new line"}
NIGHTLY = {"time_zone": "Europe/Berlin", "days": ["mon"], "from": "22:00", "to": "06:00"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scope_kind": "region"}, "Input should be 'terminal', 'store', 'merchant' or 'all'"),
        ({"scope_kind": "all"}, "expected scope_id with terminal, store and merchant, and none with all"),
        ({"scope_id": None}, "expected scope_id with terminal"),
        ({"scope_id": "s 1"}, "String should match pattern"),
        ({"ends_at": None}, "expected ends_at where it is not weekly"),
        ({"ends_at": "2026-11-21T14:00:00"}, "timezone"),
        ({"ends_at": "0001-01-01T00:00:00+14:00"}, "expected a time between the years 1 and 9999"),
        ({"reason": ""}, "at least 1 character"),
        ({"reason": "   "}, "match pattern"),
        ({"reason": "a\x00b"}, "match pattern"),
        ({"reason": "x" * 501}, "at most 500 characters"),
        ({"who": "me"}, "Extra inputs are not permitted"),
        ({"weekly": NIGHTLY | {"time_zone": "Mars/Base"}}, "expected an IANA name such as Europe/Berlin"),
        ({"weekly": NIGHTLY | {"time_zone": "../etc/passwd"}}, "expected an IANA name"),
        ({"weekly": NIGHTLY | {"days": []}}, "at least 1 item"),
        ({"weekly": NIGHTLY | {"days": ["mon", "mon"]}}, "expected each day once"),
        ({"weekly": NIGHTLY | {"from": "24:00"}}, "match pattern"),
        ({"weekly": NIGHTLY | {"to": "6:00"}}, "match pattern"),
        ({"weekly": NIGHTLY | {"days": DAYS, "to": "22:00"}}, "expected some of the week to stay unmuted"),
    ],
)
def test_a_description_that_makes_no_sense_says_why(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Maintenance.model_validate(ONCE | change)


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "refused"),
    [
        (None, NOW + timedelta(hours=2), None),
        (NOW - timedelta(days=1), NOW + timedelta(hours=2), None),  # the work began yesterday
        (None, NOW, "ends_at: expected a time after 2026-11-21T12:00:00"),
        (utc(22, 12), utc(22, 12), "ends_at: expected a time after 2026-11-22T12:00:00"),
        (utc(22, 12), utc(21, 13), "ends_at: expected a time after 2026-11-22T12:00:00"),
        (None, NOW + timedelta(days=SPAN_DAYS_MAX), None),
        (None, NOW + timedelta(days=SPAN_DAYS_MAX, seconds=1), "ends_at: expected at most 90 days after starts_at"),
        (NOW + timedelta(days=AHEAD_DAYS_MAX), NOW + timedelta(days=AHEAD_DAYS_MAX, hours=1), None),
        (NOW + timedelta(days=367), NOW + timedelta(days=368), "starts_at: expected a time in the next 366 days"),
    ],
)
def test_a_span_that_is_over_too_long_or_too_far_away_is_refused(
    starts_at: datetime | None, ends_at: datetime, refused: str | None
) -> None:
    asked = Maintenance(scope_kind=Scope.ALL, starts_at=starts_at, ends_at=ends_at, reason="new line")
    if refused is None:
        assert planned(asked, NOW).starts_at == (starts_at or NOW)
        return
    with pytest.raises(MaintenanceRefused, match=refused):
        planned(asked, NOW)


def test_a_weekly_span_may_last_for_years_and_need_not_end() -> None:
    for ends_at in (None, NOW + timedelta(days=3650)):
        asked = Maintenance(
            scope_kind=Scope.ALL, ends_at=ends_at, weekly=Weekly.model_validate(NIGHTLY), reason="restart"
        )
        assert planned(asked, NOW).ends_at == ends_at


def test_more_spans_than_anybody_joins_are_looked_at_again_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_JOINS_MAX", 2)
    chain = [once(NOW + timedelta(hours=n), NOW + timedelta(hours=n + 1), number=n + 1) for n in range(6)]
    assert until(chain, NOW) == utc(21, 15)
