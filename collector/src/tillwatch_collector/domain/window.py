"""When a terminal may be changed, in its store's own time.

A window is the time in which a store is closed (or open, or the hours that a plan names), less its margins, less what
lies around the settlement cut-offs, less the blackout dates. A store that never closes has no closed time: it is
changed only in the hours that the plan names for such stores. A store whose hours nobody has entered is never changed
by them.

Margins are real time; hours, cut-offs and dates are local. Where a change of clocks skips or repeats a time, what is
kept free is taken at its widest: a cut-off that comes twice is kept free from the first to the second.

A change violates this when a window is open where hours, margins, a cut-off or a blackout would close it, or when what
is not known opens one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tillwatch_collector.domain.hours import Hours, Span, parse_hours, spans
from tillwatch_collector.domain.inventory import Day, OpeningHours
from tillwatch_collector.errors import HoursInvalid

BACK = timedelta(days=2)
"""Longer than any margin: a closed time that began before is past its margin."""
AHEAD_DAYS = (8, 100)
"""How far is looked: a week and a day first, then past a season's blackout."""
MARGIN_S_MAX = 12 * 3600
"""Together no more than a day: no shop is closed for longer every night."""
CUT_OFFS_MAX = 8
"""Acquirers that settle a day, and some."""
BLACKOUTS_MAX = 50

MarginS = Annotated[float, Field(ge=0, le=MARGIN_S_MAX)]
LocalTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WindowMode(StrEnum):
    """What a window is made of."""

    CLOSED = "closed"
    """The time in which the store is closed."""
    OPEN = "open"
    """The time in which it is open: somebody is there to help."""
    HOURS = "hours"
    """The plan's own hours, whatever the store's are."""


class Blackout(_Value):
    """Local dates on which nothing is changed, both included."""

    first: Day
    last: Day

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"expected last not before first, got {self.first} to {self.last}")
        return self


class WindowSettings(_Value):
    """What a plan says of windows; every part is stated, so that none is forgotten."""

    mode: WindowMode
    after_s: MarginS
    """From the beginning of the closed (or open, or named) time: people are still leaving, or switching on."""
    before_s: MarginS
    """Before its end: there must be time to mend what went wrong."""
    settlement_at: Annotated[tuple[LocalTime, ...], Field(max_length=CUT_OFFS_MAX)]
    """Local times of the settlement cut-offs; empty: the store settles at no fixed time."""
    settlement_margin_s: MarginS
    """Kept free before and after each cut-off."""
    blackouts: Annotated[tuple[Blackout, ...], Field(max_length=BLACKOUTS_MAX)]
    hours: OpeningHours | None = None
    """Weekly hours: the whole window in mode `hours`, a further bound in the others."""
    never_closed_hours: OpeningHours | None = None
    """The window of a store that never closes, in mode `closed`; without it such a store is not changed."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for name, stated in (("hours", self.hours), ("never_closed_hours", self.never_closed_hours)):
            if stated is None:
                continue
            try:
                ever = _weekly(stated, "UTC").ever_open
            except HoursInvalid as error:
                raise ValueError(f"{name}: {error}") from None
            if not ever:
                raise ValueError(f"{name}: expected a span on at least one day of the week")
        if self.mode is WindowMode.HOURS and self.hours is None:
            raise ValueError("hours: expected weekly hours where mode is hours")
        return self


class WindowReason(StrEnum):
    """Why a window is open, or not."""

    OPEN = "open"
    TOO_SHORT = "too_short"
    """It is open, but closes before a change would be over."""
    OUTSIDE_HOURS = "outside_hours"
    """The store is in the other part of its day, or in a margin, or the named hours are over."""
    SETTLEMENT = "settlement"
    BLACKOUT = "blackout"
    HOURS_UNKNOWN = "hours_unknown"
    """Nobody has entered the store's hours."""
    NEVER_CLOSES = "never_closes"
    """It is open around the clock, and the plan names no hours for such stores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """How a window stands."""

    reason: WindowReason
    until: datetime | None
    """When that ends: an open window's end, else the beginning of the next that is long enough; None: none within
    `AHEAD_DAYS`."""

    @property
    def fits(self) -> bool:
        """Whether a change may begin."""
        return self.reason is WindowReason.OPEN


def look(settings: WindowSettings, store: Hours, now: datetime, duration_s: float) -> Opening:
    """Say whether a change that takes so long may begin at `now`, and if not, from when on."""
    if unknown := _unknown(settings, store):
        return Opening(reason=unknown, until=None)
    duration = timedelta(seconds=duration_s)
    reason = WindowReason.OUTSIDE_HOURS
    for ahead_days in AHEAD_DAYS:
        end = now + timedelta(days=ahead_days)
        found = openings(settings, store, now - BACK, end)
        current = next((span for span in found if span[0] <= now < span[1]), None)
        if current and now + duration <= current[1]:
            return Opening(reason=WindowReason.OPEN, until=current[1])
        reason = WindowReason.TOO_SHORT if current else _closed_by(settings, store, now)
        later = next((opens for opens, closes in found if opens > now and opens + duration <= closes), None)
        if later is not None:
            return Opening(reason=reason, until=later)
    return Opening(reason=reason, until=None)


def holds(opening: Opening, now: datetime, duration_s: float) -> bool:
    """Say whether what was found for the same window and duration is still so later on; if not, look again."""
    if opening.until is None:
        return False
    return now + timedelta(seconds=duration_s if opening.fits else 0) <= opening.until and now != opening.until


def openings(settings: WindowSettings, store: Hours, start: datetime, end: datetime) -> tuple[Span, ...]:
    """Return the windows between two moments, cut to them, in order; none where what they rest on is not known."""
    if _unknown(settings, store):
        return ()
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    # Wider by what a margin may reach, so that none is measured from where the look began.
    free = _hours_of(settings, store, start - BACK, end + BACK)
    free = _without(free, _settlements(settings, store.zone, start - BACK, end + BACK))
    free = _without(free, _blackouts(settings, store.zone))
    return tuple(_common(free, [(start, end)]))


def _unknown(settings: WindowSettings, store: Hours) -> WindowReason | None:
    if settings.mode is WindowMode.HOURS:
        return None
    if not store.ever_open:
        return WindowReason.HOURS_UNKNOWN
    if _never_closes(settings, store) and settings.never_closed_hours is None:
        return WindowReason.NEVER_CLOSES
    return None


def _never_closes(settings: WindowSettings, store: Hours) -> bool:
    return settings.mode is WindowMode.CLOSED and all(_all_day(day) for day in store.week)


def _all_day(day: Sequence[tuple[int, int]]) -> bool:
    joined = all(earlier[1] == later[0] for earlier, later in pairwise(day))
    return bool(day) and joined and (day[0][0], day[-1][1]) == (0, 24 * 60)


def _hours_of(settings: WindowSettings, store: Hours, start: datetime, end: datetime) -> list[Span]:
    named = None if settings.hours is None else spans(_weekly(settings.hours, store.zone.key), start, end)
    if _never_closes(settings, store):
        own = spans(_weekly(settings.never_closed_hours or {}, store.zone.key), start, end)
    elif settings.mode is WindowMode.CLOSED:
        own = tuple(_without([(start, end)], spans(store, start, end)))
    elif settings.mode is WindowMode.OPEN:
        own = spans(store, start, end)
    else:
        own = named or ()
    after, before = timedelta(seconds=settings.after_s), timedelta(seconds=settings.before_s)
    kept = [(opens + after, closes - before) for opens, closes in own if opens + after < closes - before]
    return kept if named is None else _common(kept, named)


def _closed_by(settings: WindowSettings, store: Hours, now: datetime) -> WindowReason:
    """Say what closes the window at `now`; the rarest first."""
    if _covers(_blackouts(settings, store.zone), now):
        return WindowReason.BLACKOUT
    if _covers(_settlements(settings, store.zone, now - BACK, now + BACK), now):
        return WindowReason.SETTLEMENT
    return WindowReason.OUTSIDE_HOURS


def _settlements(settings: WindowSettings, zone: ZoneInfo, start: datetime, end: datetime) -> list[Span]:
    margin = timedelta(seconds=settings.settlement_margin_s)
    first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    days = [first + timedelta(days=number) for number in range(-1, (last - first).days + 2)]
    around = [_instants(zone, day, at) for day in days for at in settings.settlement_at]
    return sorted((min(pair) - margin, max(pair) + margin) for pair in around)


def _blackouts(settings: WindowSettings, zone: ZoneInfo) -> list[Span]:
    return sorted(
        (min(_instants(zone, out.first, "00:00")), max(_instants(zone, out.last + timedelta(days=1), "00:00")))
        for out in settings.blackouts
    )


def _instants(zone: ZoneInfo, day: date, at: str) -> tuple[datetime, datetime]:
    """Return when the clock shows this time: twice the same, but in an hour that is skipped or repeated."""
    shown = datetime.combine(day, time.fromisoformat(at), tzinfo=zone)
    return shown.astimezone(UTC), shown.replace(fold=1).astimezone(UTC)


def _weekly(stated: OpeningHours, time_zone: str) -> Hours:
    return parse_hours({str(day): text for day, text in stated.items()}, time_zone)


def _covers(these: Iterable[Span], now: datetime) -> bool:
    return any(opens <= now < closes for opens, closes in these)


def _without(these: Sequence[Span], those: Sequence[Span]) -> list[Span]:
    """Return what is left of `these` outside `those`, which are in the order of their beginnings."""
    left: list[Span] = []
    for opens, closes in these:
        begins = opens
        for taken_from, taken_to in those:
            if taken_from >= closes:
                break
            if begins < taken_from:
                left.append((begins, taken_from))
            begins = max(begins, taken_to)
        if begins < closes:
            left.append((begins, closes))
    return left


def _common(these: Sequence[Span], those: Sequence[Span]) -> list[Span]:
    return [
        (max(one[0], other[0]), min(one[1], other[1]))
        for one in these
        for other in those
        if max(one[0], other[0]) < min(one[1], other[1])
    ]
