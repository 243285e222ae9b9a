"""When several processes that hear a part each have together heard everything.

A broker gives each message of a shared subscription to one of the processes. So a moment was listened to when every
process that has a share proves it: the time that counts is the part that all their unbroken stretches have in common.
A process that is stuck holds listened time still for all, since the broker goes on handing it its share. Whenever the
set of connections changes, all timers start anew: nobody knows what was on its way to one that is gone.

Times are those of the processes' own clocks, as `heard_at` is; they may differ by a small part of a heartbeat's
interval. A process whose clock is further from the database's takes nothing in (`flows.processes`).

A change violates this when a terminal's silence can grow while one process that has a share proves nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from tillwatch_collector.domain.listening import Listening

Member = tuple[str, str, datetime]
"""(`process`, `start_id`, `connected_at`): one connection of one start of one process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """What one connected process says of its hearing."""

    process: str
    start_id: str
    connected_at: datetime
    proven_from: datetime | None = None
    """Where its unbroken stretch begins; None before the first canary returned."""
    proven_at: datetime | None = None
    """The sending of the last canary that returned."""

    @property
    def member(self) -> Member:
        """The connection that it speaks of."""
        return self.process, self.start_id, self.connected_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Circle:
    """Who was heard through when it was last looked at."""

    looked_at: datetime
    members: frozenset[Member] = frozenset()


def combine(
    listening: Listening, before: Circle, listeners: Collection[Listener], now: datetime
) -> tuple[Listening, Circle]:
    """Go on listening through these; returns what was listened to, and the circle for the next look."""
    circle = Circle(looked_at=now, members=frozenset(listener.member for listener in listeners))
    if not circle.members:
        return listening.broker_lost(now), circle
    if circle.members != before.members or listening.anew_at is None:
        listening = listening.broker_connected(_anew_at(before, circle))
    return _proven(listening, listeners), circle


def _anew_at(before: Circle, circle: Circle) -> datetime:
    """When the newest connection was made, if that is the change; of one that is gone only the look is known."""
    newest = max(connected_at for _, _, connected_at in circle.members)
    return min(newest, circle.looked_at) if newest > before.looked_at else circle.looked_at


def _proven(listening: Listening, listeners: Collection[Listener]) -> Listening:
    begun = [listener.proven_from for listener in listeners if listener.proven_from is not None]
    ended = [listener.proven_at for listener in listeners if listener.proven_at is not None]
    if len(begun) < len(listeners) or len(ended) < len(listeners):
        return listening
    return listening.proven(max(begun), min(ended))


def hear(listeners: Collection[Listener], now: datetime, unproven_s_max: float) -> bool:
    """Whether there are listeners, and each has a proof that is not too old."""
    proofs = [listener.proven_at or listener.connected_at for listener in listeners]
    return bool(proofs) and all((now - proof).total_seconds() < unproven_s_max for proof in proofs)
