"""Opening hours, and the time that passes in them.

Hours are weekly: weekday (`mon` to `sun`) to spans [opens, closes], `HH:MM` local, closes up to `24:00`. A holiday is a
local date with spans of its own, in the place of its weekday's; without any it is closed. Spans that meet (at midnight,
too) are one.

Local times become UTC by the zone's rules, in their order: where clocks go forward, a time that is left out is the
moment of the change (a span that lies in the gap is empty); where they go back, a time that comes twice is its first.
So a day of 24 hours is as long as it is, and no span ends before it begins.

Nothing looks further ahead than `AHEAD_DAYS`. A change violates this when two spans of one week overlap in UTC.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from tillwatch_collector.errors import HoursInvalid

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SPANS_PER_DAY_MAX = 4
HOLIDAYS_MAX = 400
"""Of one calendar: more than a year in which each day is another."""
AHEAD_DAYS = 5 * 366
"""How far is looked for open time: past the longest target on the shortest hours, and some milliseconds of work."""
DAY_MINUTES = 24 * 60
INSTANTS_KEPT = 16_384
"""Openings and closings that are remembered, some megabytes: the shops of a zone share most of theirs."""

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")

Span = tuple[datetime, datetime]
"""[opens, closes) in UTC."""
_Minutes = tuple[tuple[int, int], ...]
"""Spans of one day, in minutes of the local day."""
TextSpans = Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """When a place is open: by weekday from Monday, and on the days that differ; minutes of the local day."""

    zone: ZoneInfo
    week: tuple[_Minutes, ...]
    holidays: Mapping[date, _Minutes] = field(default_factory=dict)

    @property
    def ever_open(self) -> bool:
        """Whether it opens in an ordinary week."""
        return any(self.week)

    def on(self, day: date) -> _Minutes:
        """Return the spans of a local date."""
        return self.holidays[day] if day in self.holidays else self.week[day.weekday()]


NO_PLACES = frozenset({"localtime", "posixrules", "Factory"})
"""Of what lies among the zones: whatever the machine is set to, and what is none."""


def zone_of(name: str) -> ZoneInfo:
    """Return the zone of an IANA name; raises `ValueError` where there is none of that name."""
    with suppress(KeyError, ValueError, OSError):
        if name not in NO_PLACES:
            return ZoneInfo(name)
    raise ValueError(f"expected an IANA name such as Europe/Berlin, got {name!r}")


def parse_hours(
    opening_hours: Mapping[str, TextSpans], time_zone: str, holidays: Mapping[str, TextSpans] | None = None
) -> Hours:
    """Return the hours; raises `HoursInvalid`, which names the day, what was expected and what came."""
    try:
        zone = zone_of(time_zone)
    except ValueError as error:
        raise HoursInvalid(f"time_zone: {error}") from None
    if unknown := sorted(set(opening_hours) - set(WEEKDAYS)):
        raise HoursInvalid(f"opening_hours: expected days {', '.join(WEEKDAYS)}, got {unknown[0]!r}")
    differing = holidays or {}
    if len(differing) > HOLIDAYS_MAX:
        raise HoursInvalid(f"holidays: expected at most {HOLIDAYS_MAX} days, got {len(differing)}")
    return Hours(
        zone=zone,
        week=tuple(_parsed(f"opening_hours.{day}", opening_hours.get(day, ())) for day in WEEKDAYS),
        holidays={_date(text): _parsed(f"holidays.{text}", spans) for text, spans in differing.items()},
    )


def spans(hours: Hours, start: datetime, end: datetime) -> tuple[Span, ...]:
    """Return when it is open between two moments, cut to them, in order; what meets is one."""
    joined: list[Span] = []
    for opens, closes in _pieces(hours, start, end):
        if joined and opens <= joined[-1][1]:
            joined[-1] = joined[-1][0], closes
        else:
            joined.append((opens, closes))
    return tuple(joined)


def next_opening(hours: Hours, after: datetime) -> datetime | None:
    """Return the first moment from `after` on at which it is open; None: none that is looked for."""
    return next((opens for opens, _ in _pieces(hours, after)), None)


def open_s(hours: Hours, start: datetime, end: datetime) -> float:
    """Return how many seconds it is open between two moments; 0 where the second is not the later."""
    return sum((closes - opens).total_seconds() for opens, closes in _pieces(hours, start, end))


def after_open_s(hours: Hours, start: datetime, open_s: float) -> datetime | None:
    """Return the first moment at which it has been open for `open_s` since `start`; None: none that is looked for."""
    left = timedelta(seconds=open_s)
    if left <= timedelta():
        return start
    for opens, closes in _pieces(hours, start):
        if left <= closes - opens:
            return opens + left
        left -= closes - opens
    return None


def _pieces(hours: Hours, start: datetime, end: datetime | None = None) -> Iterator[Span]:
    """Yield the open spans of each day from `start` on, none empty, cut to `start` and `end`."""
    start = start.astimezone(UTC)
    first = start.astimezone(hours.zone).date()
    horizon = start + timedelta(days=AHEAD_DAYS)
    end = horizon if end is None else min(end.astimezone(UTC), horizon)
    # The day before, too: where a change of the clock takes place at midnight, its last moments may be the same date's.
    for days in range(-1, AHEAD_DAYS + 2):
        day = first + timedelta(days=days)
        for opens_minutes, closes_minutes in hours.on(day):
            opens = max(_instant(hours.zone, day, opens_minutes), start)
            if opens >= end:
                return
            closes = min(_instant(hours.zone, day, closes_minutes), end)
            if opens < closes:
                yield opens, closes


@lru_cache(maxsize=INSTANTS_KEPT)
def _instant(zone: ZoneInfo, day: date, minutes: int) -> datetime:
    local = datetime.combine(day, time()) + timedelta(minutes=minutes)
    instant = local.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local:
        return instant
    return _change(zone, local.replace(tzinfo=zone, fold=1).astimezone(UTC), instant)


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the second in which the clock goes forward, between a moment before it and one after."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after


def _date(text: object) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise HoursInvalid(f"holidays: expected dates such as 2026-12-25, got {text!r}") from None


def _parsed(where: str, spans: TextSpans) -> _Minutes:
    if isinstance(spans, str) or len(spans) > SPANS_PER_DAY_MAX:
        raise HoursInvalid(f"{where}: expected at most {SPANS_PER_DAY_MAX} spans, got {spans!r}")
    parsed = tuple(sorted(_span(where, span) for span in spans))
    if any(later[0] < earlier[1] for earlier, later in pairwise(parsed)):
        raise HoursInvalid(f"{where}: expected spans that do not overlap, got {spans!r}")
    return parsed


def _span(where: str, span: Sequence[str]) -> tuple[int, int]:
    if isinstance(span, str) or len(span) != 2:  # noqa: PLR2004 - opens and closes
        raise HoursInvalid(f"{where}: expected [opens, closes], got {span!r}")
    opens, closes = (_minutes(where, text) for text in span)
    if opens >= closes:
        raise HoursInvalid(f"{where}: expected to open before closing (24:00 ends a day), got {span!r}")
    return opens, closes


def _minutes(where: str, text: object) -> int:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise HoursInvalid(f"{where}: expected HH:MM up to 24:00, got {text!r}")
    return int(text[:2]) * 60 + int(text[3:])
