"""What is known of the time beside what this machine's clock says, and by which of both a certificate is judged.

A till whose clock lost its battery boots in 1970, where no certificate is valid yet; it must still come to be told the
time. A wall clock below the floor is surely behind. The floor is the later of the build and the last time that a
collector told, as far as it was stored. Below it:

- The broker's chain and name are judged as ever, by the operator's own authority; its times by nobody.
- Every acknowledgement tells the collector's time. From then on the time is known, by the monotonic clock; the
  connection is made anew, and the end of the certificate is judged by what was told.

Decided so, and it could have gone another way:

- What was told judges for a day. A collector whose own clock was wrong would lock out for ever whoever believed it.
- Only the end of a certificate is judged by what was told. It is never later than the true time (messages take a while,
  and the monotonic clock rests while the machine sleeps), so that what has ended by it has ended; what has not begun by
  it may well have.
- A certificate that has not begun by the wall clock says that the clock is behind: the floor rises above it for a
  while. A machine without a battery boots where it stopped, and comes in like this after a change of certificates.
- A clock that is ahead is judged as it stands: nobody who is locked out by it can be told otherwise.

A change violates this when a terminal is locked out because its clock is behind, when chain or name are not judged, or
when a certificate that has ended is taken by a terminal that knows the time.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from tillwatch_agent.floor import BUILT_AT
from tillwatch_agent.health import Observation
from tillwatch_agent.moment import Moment
from tillwatch_protocol.vocabulary import MACHINE_CLOCK, ConditionCode, Health, PowerState

WRONG_S = 120.0
"""An acknowledgement is on its way for a minute at most, or keep-alive ends the connection: that much a right clock may
seem to be ahead. What a till needs the time for, certificates and receipts, bears two minutes."""

RIGHT_S = 60.0
"""Below it a clock is right again: less than what makes it wrong, so that one that hovers does not turn."""

TOLD_FOR: Final = timedelta(days=1)
"""How long what was told judges certificates: a till that is locked out by a collector's mistake is back in a day."""

BEHIND_FOR: Final = timedelta(hours=1)
"""How far the floor rises above a clock that a certificate shows to be behind: to be told the time takes seconds."""

STORED_EVERY: Final = timedelta(hours=1)
"""A power cut makes the floor forget this much; flash bears 24 small writes a day."""


class JudgedBy(StrEnum):
    """Whose time judges the broker's certificate."""

    WALL = "wall"
    """This machine's, by TLS itself."""
    TOLD = "told"
    """The collector's, after the handshake."""
    NOBODY = "nobody"
    """The machine's is wrong, and no other is known yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    """By whose time, and what it is; `at` only where the publisher must judge itself."""

    by: JudgedBy
    at: datetime | None = None


BY_WALL: Final = Judging(by=JudgedBy.WALL)
BY_NOBODY: Final = Judging(by=JudgedBy.NOBODY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a collector said the time was, and when that was heard on the monotonic clock."""

    sent_at: datetime
    monotonic_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """What is known of the time in one start of the agent."""

    floor: datetime
    told: Told | None = None


def begin(stored_at: datetime | None) -> Clock:
    """Know at a start what was stored; None before any collector told the time."""
    return Clock(floor=max(BUILT_AT, stored_at) if stored_at else BUILT_AT)


def tell(clock: Clock, sent_at: datetime | None, moment: Moment) -> Clock:
    """Take a collector's time; a collector that is older than this agent has a wrong clock itself, and tells nothing.

    The floor stays where it was at the start: a collector that is far ahead for once must not make right clocks wrong.
    """
    if sent_at is None or sent_at < BUILT_AT:
        return clock
    return replace(clock, told=Told(sent_at=sent_at, monotonic_s=moment.monotonic_s))


def came_too_early(clock: Clock, moment: Moment) -> Clock:
    """Learn from a certificate that has not begun that the wall clock is behind."""
    return replace(clock, floor=max(clock.floor, moment.at + BEHIND_FOR))


def time_at(clock: Clock, moment: Moment) -> datetime | None:
    """Say what time it is, as far as a collector told; never later than it is."""
    if clock.told is None:
        return None
    return clock.told.sent_at + timedelta(seconds=moment.monotonic_s - clock.told.monotonic_s)


def judging(clock: Clock, moment: Moment) -> Judging:
    """Decide whose time judges the certificate of a connection that begins now."""
    if moment.at >= clock.floor:
        return BY_WALL
    known = time_at(clock, moment)
    if known is None or clock.told is None or known - clock.told.sent_at > TOLD_FOR:
        return BY_NOBODY
    return Judging(by=JudgedBy.TOLD, at=known)


def look(clock: Clock, moment: Moment, *, was_wrong: bool) -> Observation | None:
    """Hold the wall clock against the collector's time; nothing is known before a collector told it."""
    known = time_at(clock, moment)
    if known is None:
        return None
    off_s = (moment.at - known).total_seconds()
    is_wrong = abs(off_s) > (RIGHT_S if was_wrong else WRONG_S)
    return Observation(
        component=MACHINE_CLOCK,
        health=Health.FAULT if is_wrong else Health.OK,
        power_state=PowerState.ONLINE,
        true_codes={ConditionCode.CLOCK_WRONG: _said(off_s)} if is_wrong else {},
    )


def is_worth_storing(stored_at: datetime | None, sent_at: datetime) -> bool:
    """Whether the stored time is too old, or lies so far ahead that it was a mistake."""
    return stored_at is None or abs(sent_at - stored_at) >= STORED_EVERY


def _said(off_s: float) -> str:
    """Say how wrong it is, so coarsely that it does not change with every look."""
    way = "ahead" if off_s > 0 else "behind"
    for unit, unit_s in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if abs(off_s) >= 2 * unit_s:
            return f"{abs(off_s) / unit_s:.0f} {unit} {way}"
    return f"{abs(off_s):.0f} seconds {way}"
