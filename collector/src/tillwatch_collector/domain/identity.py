"""Who is heard, and when two are heard under one name.

Counted are two things that one outbox on one machine never does: heartbeats that are news from a stream that had
already given way to another (a new stream is made once, and an old one does not come back), and two boots of the
machine within one start of the agent. Each alone can be a late message or a repaired disk; `SWITCHES` of them, none
more than `SPAN_INTERVALS` after the one before, are two agents that speak in turn.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

SWITCHES = 4
SPAN_INTERVALS = 10


class Sighting(NamedTuple):
    """When a terminal was last heard, and by which stream it speaks."""

    heard_at: datetime
    stream_id: str | None = None
    """The stream of the last heartbeat that was news."""
    stream_switches: int = 0
    switched_at: datetime | None = None


def heard(sighting: Sighting | None, at: datetime) -> Sighting:
    """Note that something came, at the collector's time `at`."""
    if sighting is None:
        return Sighting(heard_at=at)
    return sighting if sighting.heard_at >= at else Sighting(at, *sighting[1:])


def switched(sighting: Sighting, at: datetime, interval_s: int) -> Sighting:
    """Count one sign of a second speaker."""
    lately = shared_lately(sighting.switched_at, at, interval_s)
    return sighting._replace(stream_switches=sighting.stream_switches + 1 if lately else 1, switched_at=at)


def shared_lately(switched_at: datetime | None, now: datetime, interval_s: int) -> bool:
    """Whether the last sign is recent enough to go on counting."""
    return switched_at is not None and now - switched_at <= timedelta(seconds=SPAN_INTERVALS * interval_s)


def shared(sighting: Sighting, now: datetime, interval_s: int) -> bool:
    """Whether two speak under this name."""
    return sighting.stream_switches >= SWITCHES and shared_lately(sighting.switched_at, now, interval_s)
