"""What a service contract promises, and how a ticket stands to it.

A book of contracts is one versioned TOML file: by severity and repair class how soon somebody takes a ticket in hand
(`respond_s`) and how soon it is done (`resolve_s`), in seconds of the contract's calendar, and who is told as they run
out. A calendar is `always`, `store` (the store's own opening hours and holidays), or one that the book names.

Two clocks run from the ticket's opening, and both are worked out from its journal alone, so that they come out the same
whenever and however often it is done, and anew when a calendar changes. They stand while the ticket is pending, and
while it is resolved; a reopened one goes on counting. Responding is done by the first step of a person or a provider
that takes it in hand; resolving when it is resolved or closed. A change violates this when a due time depends on one
that was worked out before.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tillwatch_collector.domain import hours, mistakes
from tillwatch_collector.domain.hours import Hours, parse_hours
from tillwatch_collector.domain.policy import Repair, Severity
from tillwatch_collector.domain.ticket import Status
from tillwatch_collector.errors import HoursInvalid, SlaInvalid

SLA_VERSION = 1
SLA_BYTES_MAX = 256 * 1024
"""A contract is half a kilobyte, a calendar with a year's holidays one: hundreds of both."""
STEPS_MAX = 10
"""Of one contract's escalation: who is told ten times is not told."""
OF_ALWAYS = "always"
OF_STORE = "store"

MACHINE = "machine:"
"""How actors begin who take nothing in hand."""
ASSIGN = "assign"
"""What the journal calls an assignment."""

PAUSED = frozenset({Status.PENDING})
DONE = frozenset({Status.RESOLVED, Status.CLOSED})
MOOT = frozenset({Status.CANCELLED, Status.MERGED})
"""Nothing is to be resolved any more, here at least."""

_STANDING = PAUSED | DONE | MOOT
"""Statuses in which no clock runs."""

TargetS = Annotated[float, Field(gt=0, le=366 * 86_400)]
"""In the contract's calendar: of a shop that is open for a quarter of the week a year is four."""
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
TextHours = dict[str, tuple[tuple[str, str], ...]]


# --- the book


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Target(_Value):
    """How soon; what is left out is not promised."""

    respond_s: TargetS | None = None
    resolve_s: TargetS | None = None


class Promised(StrEnum):
    """What a clock counts towards."""

    RESPOND = "respond"
    RESOLVE = "resolve"


class EscalationStep(_Value):
    """Who is told once a share of the time is gone."""

    clock: Promised
    share: Annotated[float, Field(gt=0, le=10)]
    """1: when it is over."""
    to: Name | None = None
    """A route of notification that is told beside those that the ticket concerns."""


class Calendar(_Value):
    """Hours of the service desk, or of whoever else a contract counts by."""

    time_zone: str
    opening_hours: TextHours
    holidays: TextHours = Field(default_factory=dict)

    @model_validator(mode="after")
    def _opens(self) -> Self:
        try:
            ever_open = self.hours.ever_open
        except HoursInvalid as error:
            raise ValueError(str(error)) from None
        if not ever_open:
            raise ValueError("expected opening_hours on at least one day of the week")
        return self

    @cached_property
    def hours(self) -> Hours:
        """The same, understood."""
        return parse_hours(self.opening_hours, self.time_zone, self.holidays)


class Contract(_Value):
    """What is promised to a store."""

    calendar: Name
    target: dict[Severity, dict[Repair, Target]] = Field(default_factory=dict)
    escalation: Annotated[tuple[EscalationStep, ...], Field(max_length=STEPS_MAX)] = ()
    """In the order in which they are taken; one that was passed over is not caught up on."""

    def targets(self, severity: str, repair: str) -> Target:
        """Return what is promised for such a ticket."""
        return self.target.get(Severity(severity), {}).get(Repair(repair), Target())


class SlaBook(_Value):
    """All contracts and calendars."""

    version: Annotated[int, Field(ge=SLA_VERSION, le=SLA_VERSION)]
    default: Name
    """The contract of a store that names none, and of what stands at no store."""
    calendar: dict[Name, Calendar] = Field(default_factory=dict)
    contract: dict[Name, Contract]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if reserved := {OF_ALWAYS, OF_STORE} & self.calendar.keys():
            raise ValueError(f"calendar: expected names other than always and store, got {min(reserved)}")
        if self.default not in self.contract:
            raise ValueError(f"default: expected one of the contracts {', '.join(self.contract)}, got {self.default}")
        known = {OF_ALWAYS, OF_STORE, *self.calendar}
        for name, contract in self.contract.items():
            if contract.calendar not in known:
                expected = ", ".join(sorted(known))
                raise ValueError(f"contract.{name}.calendar: expected one of {expected}, got {contract.calendar}")
        return self

    def contract_of(self, name: str | None) -> Contract:
        """Return a store's contract; the default one, too, for a name that this book does not know."""
        return self.contract.get(name or self.default, self.contract[self.default])

    def calendar_of(self, contract: Contract, store: Hours | None) -> Hours | None:
        """Return the hours that a contract counts; None: all of them.

        A store whose hours nobody has entered counts as always open, and so does what stands at no store.
        """
        if contract.calendar == OF_STORE:
            return store if store is not None and store.ever_open else None
        return None if contract.calendar == OF_ALWAYS else self.calendar[contract.calendar].hours


def parse_sla(text: str) -> SlaBook:
    """Return the book that a file says; raises `SlaInvalid`, which names the key, what was expected and what came."""
    if len(text) > SLA_BYTES_MAX:
        raise SlaInvalid(f"expected at most {SLA_BYTES_MAX} characters, got {len(text)}")
    try:
        return SlaBook.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SlaInvalid(f"expected TOML, got {error}") from None
    except ValidationError as error:
        raise SlaInvalid(mistakes.told(error, "the file")) from None


# --- the clocks


class ClockState(StrEnum):
    """How a clock stands."""

    RUNNING = "running"
    PAUSED = "paused"
    MET = "met"
    BREACHED = "breached"
    NONE = "none"


class ClockReason(StrEnum):
    """Why it stands so."""

    COUNTING = "counting"
    PENDING = "pending"
    """It waits for what the service desk cannot hasten."""
    IN_TIME = "in_time"
    LATE = "late"
    """Done, or ended, after its time."""
    OVERDUE = "overdue"
    """Still to be done, after its time."""
    NO_TARGET = "no_target"
    TOO_FAR = "too_far"
    """So much time of the calendar does not pass in the years that are looked at."""
    ENDED = "ended"
    """The ticket ended before it was due, and it was not done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A line of a ticket's journal, as far as clocks need it."""

    at: datetime
    actor: str
    action: str
    from_status: str | None
    to_status: str | None

    @property
    def takes_in_hand(self) -> bool:
        """Whether by it a person, or a provider, took the ticket in hand."""
        if self.actor.startswith(MACHINE):
            return False
        moved = self.to_status != self.from_status and self.to_status not in {None, Status.REPORTED}
        return moved or self.action == ASSIGN


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """When a clock ran; the end of the last run is open while it runs."""

    runs: tuple[tuple[datetime, datetime | None], ...]
    calendar: Hours | None

    def used_s(self, now: datetime) -> float:
        """Return how much of the calendar's time is gone."""
        return sum(self._between_s(start, end or now) for start, end in self.runs)

    def passes(self, time_s: float) -> datetime | None:
        """Return when that much of the calendar's time is gone; None: it stands before, or is not looked so far."""
        left_s = time_s
        for start, end in self.runs:
            used_s = None if end is None else self._between_s(start, end)
            if used_s is None or left_s <= used_s:
                return self._after(start, left_s)
            left_s -= used_s
        return None

    def until(self, done_at: datetime | None) -> "Course":
        """Return the same, ended at a moment."""
        if done_at is None:
            return self
        runs = tuple((start, min(end or done_at, done_at)) for start, end in self.runs if start < done_at)
        return Course(runs=runs, calendar=self.calendar)

    def _between_s(self, start: datetime, end: datetime) -> float:
        if self.calendar is None:
            return max(0.0, (end - start).total_seconds())
        return hours.open_s(self.calendar, start, end)

    def _after(self, start: datetime, time_s: float) -> datetime | None:
        if self.calendar is None:
            return start + timedelta(seconds=time_s)
        return hours.after_open_s(self.calendar, start, time_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """How a ticket stands to one promise."""

    state: ClockState
    reason: ClockReason
    course: Course
    target_s: float | None
    used_s: float
    due_at: datetime | None
    """When its time was, or will be, over; None while nobody can say."""

    @property
    def remaining_s(self) -> float | None:
        """Seconds of the calendar's time that are left; less than 0 once it is over."""
        return None if self.target_s is None else self.target_s - self.used_s

    @property
    def to_do(self) -> bool:
        """Whether what is promised is still to be done."""
        return self.state in {ClockState.RUNNING, ClockState.PAUSED} or self.reason is ClockReason.OVERDUE

    @property
    def presses_at(self) -> datetime | None:
        """When it is due, while it is still to be done; that moment stays when it is over, pending or not."""
        return self.due_at if self.to_do else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Clocks:
    """Both clocks of a ticket."""

    respond: Clock
    resolve: Clock

    def of(self, promised: Promised) -> Clock:
        """Return one of them."""
        return self.respond if promised is Promised.RESPOND else self.resolve


def responded_at(steps: Sequence[Step]) -> datetime | None:
    """Return when a person or a provider first took the ticket in hand."""
    return next((step.at for step in steps if step.takes_in_hand), None)


def deadlines(
    opened_at: datetime, steps: Sequence[Step], target: Target, calendar: Hours | None, now: datetime
) -> Clocks:
    """Say how a ticket stands to its contract, from its journal in its order."""
    status, course = _course(opened_at, steps, calendar)
    taken_at = responded_at(steps)
    return Clocks(
        respond=_clock(course.until(taken_at), target.respond_s, status, now, done=taken_at is not None),
        resolve=_clock(course, target.resolve_s, status, now, done=status in DONE),
    )


def _course(opened_at: datetime, steps: Sequence[Step], calendar: Hours | None) -> tuple[str, Course]:
    """Return where the ticket stands, and when no status kept its clocks."""
    runs: list[tuple[datetime, datetime | None]] = []
    status, since = str(Status.REPORTED), opened_at
    for step in steps:
        if step.to_status is None or step.to_status == status:
            continue
        if status not in _STANDING:
            runs.append((since, step.at))
        status, since = step.to_status, step.at
    if status not in _STANDING:
        runs.append((since, None))
    return status, Course(runs=tuple(runs), calendar=calendar)


def _clock(course: Course, target_s: float | None, status: str, now: datetime, *, done: bool) -> Clock:
    due_at = None if target_s is None else course.passes(target_s)
    state, reason = _judged(target_s, due_at, status, now, done=done)
    return Clock(state=state, reason=reason, course=course, target_s=target_s, used_s=course.used_s(now), due_at=due_at)


def _judged(
    target_s: float | None, due_at: datetime | None, status: str, now: datetime, *, done: bool
) -> tuple[ClockState, ClockReason]:
    if target_s is None:
        return ClockState.NONE, ClockReason.NO_TARGET
    over = due_at is not None and due_at <= now
    if done or status in DONE | MOOT:
        if over:
            return ClockState.BREACHED, ClockReason.LATE
        return (ClockState.MET, ClockReason.IN_TIME) if done else (ClockState.NONE, ClockReason.ENDED)
    if over:
        return ClockState.BREACHED, ClockReason.OVERDUE
    if status in PAUSED:
        return ClockState.PAUSED, ClockReason.PENDING
    return (ClockState.NONE, ClockReason.TOO_FAR) if due_at is None else (ClockState.RUNNING, ClockReason.COUNTING)


# --- escalation


@dataclass(frozen=True, kw_only=True, slots=True)
class Escalation:
    """What is to be told now, and when there may be more to tell."""

    step: EscalationStep | None
    """The furthest one that has come; None: none that was not taken."""
    taken: int
    """How many of the contract's steps are taken with it."""
    next_at: datetime | None


def escalation(steps: Sequence[EscalationStep], clocks: Clocks, taken: int, now: datetime) -> Escalation:
    """Say which step of a contract has come, of those that were not `taken`."""
    coming = [(number, _moment(step, clocks)) for number, step in enumerate(steps, start=1) if number > taken]
    known = [(number, at) for number, at in coming if at is not None]
    furthest = max((number for number, at in known if at <= now), default=taken)
    return Escalation(
        step=steps[furthest - 1] if furthest > taken else None,
        taken=furthest,
        next_at=min((at for number, at in known if number > furthest), default=None),
    )


def _moment(step: EscalationStep, clocks: Clocks) -> datetime | None:
    clock = clocks.of(step.clock)
    if clock.target_s is None or not clock.to_do:
        return None
    return clock.course.passes(clock.target_s * step.share)
