"""When a store is watched: always, or in its opening hours, in its own time.

Opening hours are weekly: weekday (`mon` to `sun`) to spans [opens, closes], `HH:MM` local, closes up to `24:00`. Spans
that meet (at midnight, too) are one. Local times become UTC by the zone's rules: on the two days a year when clocks
move, a shop opens and closes by its own clock; an hour that does not exist is the one after it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from tillwatch_collector.errors import HoursInvalid

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SPANS_PER_DAY_MAX = 4
DAY_MINUTES = 24 * 60

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


class Watch(StrEnum):
    """Whether silence is missed now."""

    WATCHED = "watched"
    OPENING = "opening"
    """Open for less than the grace: people are still switching things on."""
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Watching:
    """Whether a store is watched, and until when that holds; None: for ever."""

    watch: Watch
    until: datetime | None = None


ALWAYS = Watching(watch=Watch.WATCHED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """Weekly opening hours, in minutes of the local day, from Monday."""

    zone: ZoneInfo
    week: tuple[tuple[tuple[int, int], ...], ...]


def parse_hours(opening_hours: Mapping[str, Sequence[Sequence[str]]], time_zone: str) -> Hours:
    """Return the hours; raises `HoursInvalid`, which names the day, what was expected and what came."""
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise HoursInvalid(f"time_zone: expected an IANA name such as Europe/Berlin, got {time_zone!r}") from None
    if unknown := sorted(set(opening_hours) - set(WEEKDAYS)):
        raise HoursInvalid(f"opening_hours: expected days {', '.join(WEEKDAYS)}, got {unknown[0]!r}")
    return Hours(zone=zone, week=tuple(_spans(day, opening_hours.get(day, ())) for day in WEEKDAYS))


def watching(hours: Hours, now: datetime, grace_s: float) -> Watching:
    """Say whether a store with these hours is watched at `now`."""
    spans = _spans_around(hours, now.astimezone(hours.zone).date())
    for opens, closes in spans:
        if now < opens:
            return Watching(watch=Watch.CLOSED, until=opens)
        if now < closes:
            judged_at = opens + timedelta(seconds=grace_s)
            if now < judged_at:
                return Watching(watch=Watch.OPENING, until=min(judged_at, closes))
            return Watching(watch=Watch.WATCHED, until=closes)
    return Watching(watch=Watch.CLOSED)


def _spans(day: str, spans: Sequence[Sequence[str]]) -> tuple[tuple[int, int], ...]:
    if isinstance(spans, str) or len(spans) > SPANS_PER_DAY_MAX:
        raise HoursInvalid(f"opening_hours.{day}: expected at most {SPANS_PER_DAY_MAX} spans, got {spans!r}")
    parsed = tuple(sorted(_span(day, span) for span in spans))
    if any(later[0] < earlier[1] for earlier, later in pairwise(parsed)):
        raise HoursInvalid(f"opening_hours.{day}: expected spans that do not overlap, got {spans!r}")
    return parsed


def _span(day: str, span: Sequence[str]) -> tuple[int, int]:
    if isinstance(span, str) or len(span) != 2:  # noqa: PLR2004 - opens and closes
        raise HoursInvalid(f"opening_hours.{day}: expected [opens, closes], got {span!r}")
    opens, closes = (_minutes(day, text) for text in span)
    if opens >= closes:
        raise HoursInvalid(f"opening_hours.{day}: expected to open before closing (24:00 ends a day), got {span!r}")
    return opens, closes


def _minutes(day: str, text: object) -> int:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise HoursInvalid(f"opening_hours.{day}: expected HH:MM up to 24:00, got {text!r}")
    return int(text[:2]) * 60 + int(text[3:])


def _spans_around(hours: Hours, today: date) -> list[tuple[datetime, datetime]]:
    """Return the spans from yesterday (what is open over midnight) to a week from now (the next opening), joined."""
    joined: list[tuple[datetime, datetime]] = []
    for days in range(-1, 9):
        day = today + timedelta(days=days)
        for opens, closes in hours.week[day.weekday()]:
            span = _instant(hours.zone, day, opens), _instant(hours.zone, day, closes)
            if joined and span[0] <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(joined[-1][1], span[1]))
            else:
                joined.append(span)
    return joined


def _instant(zone: ZoneInfo, day: date, minutes: int) -> datetime:
    day += timedelta(days=minutes // DAY_MINUTES)
    hour, minute = divmod(minutes % DAY_MINUTES, 60)
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
