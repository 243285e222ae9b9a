"""Who is told what of tickets: routes by merchant, store, region, severity, category and time of day.

A route remembers, of each ticket, the last word that it was told. It is told what that word does not say yet: that a
ticket opened, came back after its end, hurts more, or was escalated; and its end, when it knows of the ticket. So
recurrences of an open ticket, replays and flaps are not told, and nobody hears the end of what he never heard of. Who
would be told of a child of an open parent is told of the parent, once; an outage is told to whom it reaches, and to
more as it spreads. What is dropped outside a route's hours the route does not know; what is held until they begin, it
does.

Routes are one versioned TOML file. No secret stands in it: targets name the environment variable or the file that holds
theirs. An error names the key, what was expected, and what came. A change violates this when a route is told the same
twice while nothing happened in between.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tillwatch_collector.domain import mistakes
from tillwatch_collector.domain.hours import Hours, next_opening, parse_hours
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.errors import HoursInvalid, RoutesInvalid

ROUTES_VERSION = 1
ROUTES_BYTES_MAX = 256 * 1024
ROUTES_MAX = 100
"""Each is held against each change; a company with a route for every region has fewer."""

SEVERITIES = tuple(reversed(Severity))
"""From the least to the worst."""


class Said(StrEnum):
    """What a route is told of a ticket."""

    OPENED = "opened"
    REOPENED = "reopened"
    RAISED = "raised"
    """It hurts more than when it was last told of."""
    ESCALATED = "escalated"
    """A step of the contract was taken."""
    REMINDED = "reminded"
    """It is still open."""
    RESOLVED = "resolved"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    MERGED = "merged"


ENDINGS = frozenset({Said.RESOLVED, Said.CLOSED, Said.CANCELLED, Said.MERGED})

ANEW = frozenset({Said.REOPENED, Said.RAISED, Said.ESCALATED})
"""What is news of a ticket whose end was told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """What was said of a ticket, and how bad it was then; its text is what is kept."""

    said: Said
    severity: Severity
    escalation_step: int = 0

    @property
    def open(self) -> bool:
        """Whether who heard it takes the ticket for open."""
        return self.said not in ENDINGS

    @property
    def text(self) -> str:
        """As it is kept: `opened:major:0`."""
        return f"{self.said}:{self.severity}:{self.escalation_step}"

    @classmethod
    def of(cls, text: str) -> Self:
        """Read what `text` wrote."""
        said, severity, escalation_step = text.split(":")
        return cls(said=Said(said), severity=Severity(severity), escalation_step=int(escalation_step))


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a terminal stands, or what of that is known."""

    merchant_id: str | None = None
    store_id: str | None = None
    region: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """What routes match on, and messages show, of a ticket as it stands."""

    ticket_id: int
    subject_kind: str
    subject_id: str
    component: str
    code: str
    severity: Severity
    category: str
    opened_at: datetime
    unresolved: bool = True
    """Neither resolved nor at its end."""
    title: str = ""
    escalation_step: int = 0
    place: Place = Place()
    store_name: str | None = None
    reaches: frozenset[Place] = frozenset()
    """Of an outage: where the terminals stand that it has hit so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A ticket that moved."""

    ticket: Ticket
    said: Said | None
    """What its move would be called; None: a move that is news only where it made the ticket hurt more."""
    parent: Ticket | None = None
    """Its unresolved parent."""
    escalates_to: str | None = None
    """The route that the step of escalation names: it is told, too, whatever it matches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing that a message tells."""

    ticket_id: int
    word: Word


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """What one route is to be told, and when at the latest it is sent."""

    route: str
    due_at: datetime
    items: tuple[Item, ...]


class Outside(StrEnum):
    """What becomes of news outside a route's hours."""

    LATER = "later"
    """Held until the hours begin; all that was held is one message."""
    DROP = "drop"


class Language(StrEnum):
    """What a route's people read."""

    EN = "en"
    ZH_CN = "zh-CN"


Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(max_length=1_000)]
"""Empty: any."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Target(_Table):
    """Where a route's messages go: an apprise URL that is kept elsewhere, or a webhook of ours with its secret."""

    url_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = None
    """The environment variable that holds the apprise URL."""
    url_file: Path | None = None
    """The file that holds it."""
    webhook: Annotated[str, Field(max_length=500)] | None = None
    secret_file: Path | None = None
    """The file with the secret that signs what is posted to the webhook."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(way is not None for way in (self.url_env, self.url_file, self.webhook)) != 1:
            raise ValueError("expected one of url_env, url_file and webhook")
        if (self.webhook is None) is not (self.secret_file is None):
            raise ValueError("expected secret_file beside webhook, and there only")
        if self.webhook is not None:
            _check_webhook(self.webhook)
        return self


class When(_Table):
    """Hours in which a route is told, in its own time zone."""

    hours: dict[str, list[list[str]]]
    """Weekday (`mon` to `sun`) to its spans, as a store's opening hours."""
    holidays: dict[str, list[list[str]]] = Field(default_factory=dict)
    """Local date to the spans of that day, in the place of its weekday's; none: not told."""
    outside: Outside = Outside.LATER


class Route(_Table):
    """Who is told what, when, how, and where."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
    severity: Severity = Severity.MINOR
    """At least."""
    merchants: Names = ()
    stores: Names = ()
    regions: Names = ()
    categories: Names = ()
    subject_kinds: Names = ()
    moves: frozenset[Said] = frozenset(Said)
    time_zone: str = "UTC"
    """IANA name: of its hours, and of the times in its messages."""
    when: Literal["always"] | When = "always"
    group_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """How long the first news of a message waits for company."""
    repeat_s: Annotated[float, Field(ge=600, le=30 * 86_400)] | None = None
    """How often it is reminded of what is still open; None: never."""
    language: Language = Language.EN
    target: Target

    @model_validator(mode="after")
    def _hours_make_sense(self) -> Self:
        try:
            hours = self._hours
        except HoursInvalid as error:
            raise ValueError(str(error)) from None
        if not hours.ever_open:
            raise ValueError("when.hours: expected a span on some day of the week, got none")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """Whose clock its messages show."""
        return self._hours.zone

    def matches(self, ticket: Ticket) -> bool:
        """Whether a ticket concerns it; an outage does where it reaches into its places."""
        return (
            rank(ticket.severity) >= rank(self.severity)
            and _among(ticket.category, self.categories)
            and _among(ticket.subject_kind, self.subject_kinds)
            and any(self._covers(place) for place in (ticket.place, *ticket.reaches))
        )

    def due_at(self, now: datetime) -> datetime | None:
        """Return when news of `now` is sent; None: it is dropped."""
        grouped_at = now + timedelta(seconds=self.group_s)
        if self.when == "always":
            return grouped_at
        opens_at = next_opening(self._hours, now)
        if opens_at is None or opens_at <= now:
            return grouped_at
        return max(opens_at, grouped_at) if self.when.outside is Outside.LATER else None

    def _covers(self, place: Place) -> bool:
        return (
            _among(place.merchant_id, self.merchants)
            and _among(place.store_id, self.stores)
            and _among(place.region, self.regions)
        )

    @cached_property
    def _hours(self) -> Hours:
        if self.when == "always":
            return parse_hours({"mon": [["00:00", "24:00"]]}, self.time_zone)
        return parse_hours(self.when.hours, self.time_zone, self.when.holidays)


class Routes(BaseModel):
    """All routes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=ROUTES_VERSION, le=ROUTES_VERSION)]
    route: Annotated[tuple[Route, ...], Field(max_length=ROUTES_MAX)] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [route.name for route in self.route]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected routes of different names, got {twice[0]!r} twice")
        return self

    def find(self, name: str) -> Route | None:
        """Return the route of a name."""
        return next((route for route in self.route if route.name == name), None)


def rank(severity: Severity) -> int:
    """Order severities: the worse, the greater."""
    return SEVERITIES.index(severity)


def parse_routes(text: str) -> Routes:
    """Return the routes that a file says; raises `RoutesInvalid`."""
    if len(text) > ROUTES_BYTES_MAX:
        raise RoutesInvalid(f"expected at most {ROUTES_BYTES_MAX} characters, got {len(text)}")
    try:
        said: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RoutesInvalid(f"expected TOML, got {error}") from None
    try:
        return Routes.model_validate(said)
    except ValidationError as error:
        raise RoutesInvalid(mistakes.told(error, "the file", secret=_SECRET)) from None


@dataclass(kw_only=True, slots=True)
class _Plan:
    """What each route knows while changes are gone through, and what it is to be told."""

    knows: dict[tuple[str, int], Word]
    items: dict[str, list[Item]] = field(default_factory=dict)

    def tell(self, route: Route, ticket_id: int, word: Word) -> None:
        self.knows[route.name, ticket_id] = word
        self.items.setdefault(route.name, []).append(Item(ticket_id=ticket_id, word=word))


def plan(
    changes: Sequence[Change], knows: Mapping[tuple[str, int], Word], routes: Routes, now: datetime
) -> tuple[Telling, ...]:
    """Say what is to be written, by route: `knows` is the last word by (route, `ticket_id`), parents' among them."""
    planned = _Plan(knows=dict(knows))
    tellings = []
    for route in sorted(routes.route, key=lambda route: route.name):
        due_at = route.due_at(now)
        if due_at is None:
            continue
        for change in changes:
            _consider(planned, route, change)
        if items := planned.items.get(route.name):
            tellings.append(Telling(route=route.name, due_at=due_at, items=tuple(items)))
    return tuple(tellings)


def reminder(knows: Word, ticket: Ticket) -> Word | None:
    """Return the word that reminds of a ticket; None where it is no longer to be worked on."""
    if not (knows.open and ticket.unresolved):
        return None
    return Word(said=Said.REMINDED, severity=ticket.severity, escalation_step=ticket.escalation_step)


def _consider(planned: _Plan, route: Route, change: Change) -> None:
    ticket = change.ticket
    knows = planned.knows.get((route.name, ticket.ticket_id))
    concerned = route.name == change.escalates_to or route.matches(ticket)
    said = _news(change.said, ticket, knows, concerned=concerned)
    if said is None:
        return
    if change.parent is not None and said not in ENDINGS:
        ticket = change.parent
        knows = planned.knows.get((route.name, ticket.ticket_id))
        said = _news(Said.REOPENED if knows else Said.OPENED, ticket, knows, concerned=True)
    if said in route.moves:
        word = Word(said=said, severity=ticket.severity, escalation_step=ticket.escalation_step)
        planned.tell(route, ticket.ticket_id, word)


def _news(said: Said | None, ticket: Ticket, knows: Word | None, *, concerned: bool) -> Said | None:
    """Return what of a move is news to who heard `knows` last; None: nothing."""
    if said in ENDINGS:
        return said if knows is not None and knows.open else None
    if not ticket.unresolved:
        return None
    if knows is None:
        return (said or (Said.OPENED if ticket.reaches else None)) if concerned else None
    if not knows.open:
        return said if said in ANEW and concerned else None
    if ticket.escalation_step > knows.escalation_step and said is Said.ESCALATED:
        return said
    return Said.RAISED if rank(ticket.severity) > rank(knows.severity) else None


def _among(name: str | None, names: tuple[str, ...]) -> bool:
    return not names or name in names


def _check_webhook(url: str) -> None:
    expected = "webhook: expected https://HOST/PATH or http://HOST/PATH"
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(expected)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"https", "http"} and parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError(expected) from None
    if not usable:
        raise ValueError(expected)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("webhook: expected neither a user's name nor a password nor a # in it")


_SECRET = frozenset({"target"})
"""What came there may be a URL with its secret in it."""
