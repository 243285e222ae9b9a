"""Commands to terminals, as the collector follows them: who may ask for how many, when one is said, when it is over.

A command waits until judge's next tick says it, and is said again while its lifetime lasts and no answer came: a
terminal that was away for a moment hears it then, and does it at most once, since it remembers what it was told. A
restart is said once: an agent whose disk is broken remembers nothing. What had no answer in time has lapsed; an answer
that comes later still counts, since it says what was done.

A change violates this when a command is said after its lifetime, or a restart is said twice.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tillwatch_collector.errors import CallerError
from tillwatch_protocol.command import CommandKind

LIFETIME_S = 60
"""Whoever asks sits in front of it; what a terminal does ten minutes later surprises."""
LIFETIME_S_MAX = 600

ANSWER_S = 120
"""From the end of the lifetime to the last moment of an answer: a diagnosis takes one minute, and what tells of it may
go twice."""

SAID_AGAIN_S = 15
"""A terminal that lost its connection is back sooner than this, most times."""

WAITING_MAX = 4
"""Of one terminal: an agent keeps twice as many."""

SPAN_S = 60
ASKED_MAX = 30
"""By one person or program in `SPAN_S`: faster than anybody reads answers."""


class Outcome(StrEnum):
    """What came of a command."""

    DONE = "done"
    REFUSED = "refused"
    LAPSED = "lapsed"


class State(StrEnum):
    """Where a command stands, as it is shown."""

    WAITING = "waiting"
    """It has not been said yet."""
    SENT = "sent"
    DONE = "done"
    REFUSED = "refused"
    LAPSED = "lapsed"


class Why(StrEnum):
    """Why a command is not taken."""

    NOT_ALLOWED = "not_allowed"
    TERMINAL_UNKNOWN = "terminal_unknown"
    TOO_MANY_WAITING = "too_many_waiting"
    TOO_OFTEN = "too_often"


class CommandRefused(CallerError):  # noqa: N818 - it names what is so
    """A command is not taken; nothing changed."""

    def __init__(self, why: Why, said: str) -> None:
        super().__init__(said)
        self.why = why


class Next(StrEnum):
    """What is to be done with a command that has no answer."""

    SAY = "say"
    WAIT = "wait"
    LAPSE = "lapse"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A command without an answer."""

    command_id: str
    terminal_id: str
    kind: str
    lifetime_s: int
    asked_at: datetime
    sent_at: datetime | None
    """When it was last said."""

    def left_s(self, now: datetime) -> float:
        """Return what is left of its lifetime."""
        return self.lifetime_s - (now - self.asked_at).total_seconds()


def check(*, terminal_id: str, waiting: int, asked_lately: int) -> None:
    """Raise `CommandRefused` when one more is too many."""
    if waiting >= WAITING_MAX:
        said = f"{terminal_id}: expected at most {WAITING_MAX} commands to wait, and {waiting} do; wait for an answer"
        raise CommandRefused(Why.TOO_MANY_WAITING, said)
    if asked_lately >= ASKED_MAX:
        said = f"expected at most {ASKED_MAX} commands by one in {SPAN_S} s; wait a minute"
        raise CommandRefused(Why.TOO_OFTEN, said)


def next_of(kept: Kept, now: datetime) -> Next:
    """Say what is to be done with a command that has no answer yet."""
    if now >= kept.asked_at + timedelta(seconds=kept.lifetime_s + ANSWER_S):
        return Next.LAPSE
    if kept.left_s(now) <= 0:
        return Next.WAIT
    if kept.sent_at is None:
        return Next.SAY
    is_repeated = kept.kind != CommandKind.RESTART_AGENT
    is_old = (now - kept.sent_at).total_seconds() >= SAID_AGAIN_S
    return Next.SAY if is_repeated and is_old else Next.WAIT


def state_of(outcome: str | None, sent_at: datetime | None) -> State:
    """Return where a command stands."""
    if outcome is not None:
        return State(outcome)
    return State.WAITING if sent_at is None else State.SENT
