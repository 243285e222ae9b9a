"""When notification is muted: spans, once or every week, of a terminal, a store, a merchant, or of all.

A span mutes what is told, never what is judged: what still fails at its end is told then. Spans of one place that
overlap or adjoin are one, so that nothing is told between them. A weekly span is local time. Where a change of clocks
skips or repeats the hour in which it begins or ends, it is taken at its widest, so that it is open whenever the clock
shows a time inside it: on that day it is longer by that hour, never shorter.

A change violates this when a span is open without an end: one has an end, a weekly one leaves part of the week free.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from tillwatch_collector.domain.hours import zone_of
from tillwatch_collector.domain.inventory import Weekday
from tillwatch_collector.errors import CallerError
from tillwatch_protocol.vocabulary import Identifier

SPAN_DAYS_MAX = 90
"""A terminal that is out of use for longer is in repair or a spare: that is its life cycle's to say."""

AHEAD_DAYS_MAX = 366
"""A start further away is a mistyped year."""

CURRENT_MAX = 10_000
"""Spans that are not over: one for each store of a large estate."""

DAY_MINUTES = 24 * 60
_DAYS = tuple(Weekday)
_JOINS_MAX = 1_000
"""Spans joined at one look: 90 days of one at noon and one at midnight are a fifth of it."""


class MaintenanceRefused(CallerError):  # noqa: N818 - it names what is so
    """A span cannot be kept; says which field, what was expected and what came."""

    def __init__(self, field: str, expected: str, got: object) -> None:
        self.field = field
        self.expected = expected
        self.got = got.isoformat() if isinstance(got, datetime) else str(got)
        super().__init__(f"{field}: expected {expected}, got {self.got}")


class Scope(StrEnum):
    """Whom a span is for."""

    TERMINAL = "terminal"
    STORE = "store"
    MERCHANT = "merchant"
    ALL = "all"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from None


def _zone_name(name: str) -> str:
    zone_of(name)
    return name


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
ZoneName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_zone_name)]
DayTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""`HH:MM`; midnight is `00:00`, as a beginning and as an end."""
ReasonText = Annotated[
    str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$")
]


class Weekly(BaseModel):
    """Days and times that come every week; `to` not after `from` lies in the next day."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    time_zone: ZoneName
    days: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=len(_DAYS))]
    """Those on which it begins."""
    from_: Annotated[DayTime, Field(alias="from")]
    to: DayTime

    @model_validator(mode="after")
    def _leaves_time(self) -> Self:
        if len(set(self.days)) != len(self.days):
            raise ValueError("expected each day once")
        if self.from_ == self.to and len(self.days) == len(_DAYS):
            raise ValueError("expected some of the week to stay unmuted")
        return self


class Maintenance(BaseModel):
    """A span as people describe it: once from `starts_at` to `ends_at`, or `weekly` between them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope_kind: Scope
    scope_id: Identifier | None = None
    """None for all."""
    starts_at: Moment | None = None
    """None: now."""
    ends_at: Moment | None = None
    """None: a weekly one comes until it is cancelled."""
    weekly: Weekly | None = None
    reason: ReasonText

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.scope_id is None) != (self.scope_kind is Scope.ALL):
            raise ValueError("expected scope_id with terminal, store and merchant, and none with all")
        if self.ends_at is None and self.weekly is None:
            raise ValueError("expected ends_at where it is not weekly")
        return self


def planned(maintenance: Maintenance, now: datetime) -> Maintenance:
    """Return the span with its beginning; raises `MaintenanceRefused` where its times make no sense at `now`."""
    starts_at, ends_at = maintenance.starts_at or now, maintenance.ends_at
    if starts_at - now > timedelta(days=AHEAD_DAYS_MAX):
        raise MaintenanceRefused("starts_at", f"a time in the next {AHEAD_DAYS_MAX} days", starts_at)
    if ends_at is not None and ends_at <= max(starts_at, now):
        raise MaintenanceRefused("ends_at", f"a time after {max(starts_at, now).isoformat()}", ends_at)
    if ends_at is not None and maintenance.weekly is None and ends_at - starts_at > timedelta(days=SPAN_DAYS_MAX):
        expected = f"at most {SPAN_DAYS_MAX} days after starts_at (what is out of use for longer has a life cycle)"
        raise MaintenanceRefused("ends_at", expected, ends_at)
    return maintenance.model_copy(update={"starts_at": starts_at})


@dataclass(frozen=True, kw_only=True, slots=True)
class Week:
    """A weekly span in minutes of its local day."""

    zone: ZoneInfo
    days: frozenset[int]
    """As `date.weekday` counts them."""
    from_minutes: int
    to_minutes: int
    """Beyond 1440 in the next day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A span that was kept, ready to be looked up."""

    maintenance_id: int
    scope: Scope
    scope_id: str
    starts_at: datetime
    ends_at: datetime | None
    week: Week | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a terminal stands; an outage of a store or a merchant has no terminal."""

    terminal_id: str | None = None
    store_id: str | None = None
    merchant_id: str | None = None

    @property
    def keys(self) -> tuple[tuple[Scope, str], ...]:
        """The scopes that hold it."""
        named = ((Scope.TERMINAL, self.terminal_id), (Scope.STORE, self.store_id), (Scope.MERCHANT, self.merchant_id))
        return (*((scope, name) for scope, name in named if name is not None), (Scope.ALL, ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class Active:
    """What mutes a place, and until when it stays muted, by this span and those that join it.

    `until` is at most 90 days away: then is the time to look again.
    """

    span: Span
    until: datetime


def week_of(weekly: Weekly) -> Week:
    """Make a weekly description ready to be looked up."""
    from_minutes, to_minutes = _minutes(weekly.from_), _minutes(weekly.to)
    return Week(
        zone=zone_of(weekly.time_zone),
        days=frozenset(_DAYS.index(day) for day in weekly.days),
        from_minutes=from_minutes,
        to_minutes=to_minutes if to_minutes > from_minutes else to_minutes + DAY_MINUTES,
    )


def active(spans: Iterable[Span], place: Place, now: datetime) -> Active | None:
    """Say whether a place is muted at `now`: by the span that lasts longest, until all that join it are over."""
    return Book(spans).active(place, now)


class Book:
    """Spans by their scope: what mutes a terminal is found without walking over other terminals' spans."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        by_scope: dict[tuple[Scope, str], list[Span]] = {}
        for span in spans:
            by_scope.setdefault((span.scope, span.scope_id), []).append(span)
        self._by_scope: Mapping[tuple[Scope, str], list[Span]] = by_scope
        self._found: dict[tuple[tuple[Scope, str], ...], tuple[datetime, Active]] = {}
        """What was found, and at what time, for the scopes that have spans: a merchant's terminals share it."""

    def active(self, place: Place, now: datetime) -> Active | None:
        """Say whether a place is muted at `now`."""
        keys = tuple(key for key in place.keys if key in self._by_scope)
        if not keys:
            return None
        if (known := self._found.get(keys)) and known[0] <= now < known[1].until:
            return known[1]
        found = self._look(keys, now)
        if found is not None:
            self._found[keys] = now, found
        return found

    def _look(self, keys: tuple[tuple[Scope, str], ...], now: datetime) -> Active | None:
        spans = [span for key in keys for span in self._by_scope[key]]
        covering = [(end, -span.maintenance_id, span) for span in spans if (end := open_until(span, now)) is not None]
        if not covering:
            return None
        until, _, longest = max(covering, key=lambda found: found[:2])
        return Active(span=longest, until=_joined(spans, until, now + timedelta(days=SPAN_DAYS_MAX)))


def _joined(spans: list[Span], until: datetime, latest: datetime) -> datetime:
    """Return where the last of the spans ends that overlap or adjoin, one by one."""
    for _ in range(_JOINS_MAX):
        further = max((end for span in spans if (end := open_until(span, until)) is not None), default=until)
        if further <= until or until >= latest:
            break
        until = further
    return min(until, latest)


def open_until(span: Span, now: datetime) -> datetime | None:
    """Return until when a span that is open at `now` stays so by itself; None when it is not open."""
    if now < span.starts_at or (span.ends_at is not None and now >= span.ends_at):
        return None
    if span.week is None:
        return span.ends_at
    end = _week_end(span.week, now)
    return end if end is None or span.ends_at is None else min(end, span.ends_at)


def _week_end(week: Week, now: datetime) -> datetime | None:
    today = now.astimezone(week.zone).date()
    # From yesterday, which may last over midnight, to tomorrow: where midnight itself is skipped, it begins today.
    for days in (-1, 0, 1):
        day = today + timedelta(days=days)
        if day.weekday() in week.days:
            starts, ends = (
                min(_instants(week.zone, day, week.from_minutes)),
                max(_instants(week.zone, day, week.to_minutes)),
            )
            if starts <= now < ends:
                return ends
    return None


def _instants(zone: ZoneInfo, day: date, minutes: int) -> tuple[datetime, datetime]:
    """Return when the clock shows this time: twice the same, but in an hour that is skipped or repeated."""
    day += timedelta(days=minutes // DAY_MINUTES)
    hour, minute = divmod(minutes % DAY_MINUTES, 60)
    shown = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    return shown.astimezone(UTC), shown.replace(fold=1).astimezone(UTC)


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
