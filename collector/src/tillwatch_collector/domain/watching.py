"""When a store is watched: always, or in its opening hours, as `domain.hours` has them.

A change violates this when a shop that is closed, on a holiday too, is missed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tillwatch_collector.domain.hours import Hours, next_opening, spans

BACK = timedelta(days=1)
"""Longer than any grace: what has been open for longer is not opening."""
AHEAD = timedelta(days=8)
"""Who closes no sooner is looked at again then."""


class Watch(StrEnum):
    """Whether silence is missed now."""

    WATCHED = "watched"
    OPENING = "opening"
    """Open for less than the grace: people are still switching things on."""
    CLOSING = "closing"
    """About to close: people may be switching things off."""
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Watching:
    """Whether a store is watched, and until when that holds; None: for ever."""

    watch: Watch
    until: datetime | None = None


ALWAYS = Watching(watch=Watch.WATCHED)


def watching(hours: Hours, now: datetime, opening_grace_s: float, closing_grace_s: float = 0.0) -> Watching:
    """Say whether a store with these hours is watched at `now`: between the graces after opening and before closing."""
    for opens, closes in spans(hours, now - BACK, now + AHEAD):
        if now < opens:
            return Watching(watch=Watch.CLOSED, until=opens)
        if now < closes:
            judged_at = min(opens + timedelta(seconds=opening_grace_s), closes)
            spared_at = max(closes - timedelta(seconds=closing_grace_s), judged_at)
            if now < judged_at:
                return Watching(watch=Watch.OPENING, until=judged_at)
            if now < spared_at:
                return Watching(watch=Watch.WATCHED, until=spared_at)
            return Watching(watch=Watch.CLOSING, until=closes)
    return Watching(watch=Watch.CLOSED, until=next_opening(hours, now))
