"""Time in which silence means something.

A process sends itself canaries through the broker. One that returns proves that what was sent when it was sent was
heard; between two that returned close enough together we listened. All other time is blind and counts toward nobody's
silence: the listened time stands still. After a new connection all timers start anew: a new `generation` begins, and
nothing heard before it is old.

Positions are seconds of listened time since the process started. They stop at the sending of the last canary that
returned, so `listened_s` lags behind the clock by a canary's interval and its way; it never goes back. When the clock
does, listening begins anew.

A change violates this when a terminal's silence can grow while no canary returns.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime

from tillwatch_protocol.process import Canary

STRETCHES_MAX = 256
"""Remembered stretches between gaps; what was heard before them counts as heard where they begin: less silence."""

CANARIES_AWAY_MAX = 1000
"""Canaries that have not returned: over an hour of them at 5 s; an older one has nothing to prove."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Time listened to without a gap."""

    began_at: datetime
    ended_at: datetime
    began_s: float

    @property
    def ended_s(self) -> float:
        """The position of its end."""
        return self.began_s + (self.ended_at - self.began_at).total_seconds()


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """What was listened to; two canaries prove the time between them when they were sent within `gap_max_s`."""

    gap_max_s: float
    generation: int = 0
    anew_at: datetime | None = None
    """When the present connection began; None while there is none."""
    anew_s: float = 0.0
    stretches: tuple[Stretch, ...] = ()
    """Of this generation."""

    @property
    def last(self) -> Stretch | None:
        """The stretch that the newest proof ends."""
        return self.stretches[-1] if self.stretches else None

    @property
    def listened_s(self) -> float:
        """How much time was listened to so far."""
        return self.stretches[-1].ended_s if self.stretches else self.anew_s

    @property
    def unbroken_s(self) -> float:
        """Since which position we listen without a gap."""
        return self.stretches[-1].began_s if self.stretches else self.anew_s

    def broker_connected(self, now: datetime) -> "Listening":
        """Begin a generation."""
        return Listening(gap_max_s=self.gap_max_s, generation=self.generation + 1, anew_at=now, anew_s=self.listened_s)

    def broker_lost(self, now: datetime) -> "Listening":  # noqa: ARG002 - inputs of one shape
        """Listen to nothing until the next connection."""
        return replace(self, anew_at=None)

    def canary_returned(self, sent_at: datetime, now: datetime) -> "Listening":
        """Count the time that a canary, sent at `sent_at` on this connection, proves."""
        if self.anew_at is None:
            return self
        last = self.last
        if now < (last.ended_at if last else self.anew_at):
            return self.broker_connected(now)
        joins = last is not None and (sent_at - last.ended_at).total_seconds() <= self.gap_max_s
        return self.proven(last.ended_at if last and joins else sent_at, sent_at)

    def proven(self, began_at: datetime, ended_at: datetime) -> "Listening":
        """Count a stretch that was listened to without a gap; what of it lies before this generation counts nothing."""
        if self.anew_at is None:
            return self
        last = self.last
        began_at = max(began_at, self.anew_at)
        if ended_at < began_at or (last and ended_at <= last.ended_at):
            return self
        if last and began_at <= last.ended_at:
            return replace(self, stretches=(*self.stretches[:-1], replace(last, ended_at=ended_at)))
        begun = Stretch(began_at=began_at, ended_at=ended_at, began_s=self.listened_s)
        return replace(self, stretches=(*self.stretches, begun)[-STRETCHES_MAX:])

    def heard_since_anew(self, at: datetime) -> bool:
        """Whether a moment lies in this generation."""
        return self.anew_at is not None and at >= self.anew_at

    def position_s(self, at: datetime) -> float:
        """Return the position of a moment: in a gap the gap's, after the last proof beyond `listened_s`."""
        begun = next((stretch for stretch in reversed(self.stretches) if stretch.began_at <= at), None)
        if begun is None:
            return self.stretches[0].began_s if self.stretches else self.anew_s
        length_s = (at - begun.began_at).total_seconds()
        if begun is self.stretches[-1]:
            return begun.began_s + length_s
        return min(begun.began_s + length_s, begun.ended_s)


class CanaryBook:
    """The canaries of one process's life that are on their way; not thread-safe."""

    def __init__(self, start_id: str) -> None:
        self.start_id = start_id
        self._canary_no = 0
        self._away: OrderedDict[int, datetime] = OrderedDict()

    def send(self, now: datetime) -> int:
        """Return the number of the next canary."""
        self._canary_no += 1
        self._away[self._canary_no] = now
        if len(self._away) > CANARIES_AWAY_MAX:
            self._away.popitem(last=False)
        return self._canary_no

    def returned(self, canary: Canary) -> datetime | None:
        """Return when a canary was sent; None for one of another life, or one that came back before."""
        return self._away.pop(canary.canary_no, None) if canary.start_id == self.start_id else None
