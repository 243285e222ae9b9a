"""Moments of one made-up day, told by their seconds."""

from datetime import UTC, datetime, timedelta

from tillwatch_agent.moment import Moment

MORNING = datetime(2026, 11, 21, 8, tzinfo=UTC)


def at(seconds: float) -> Moment:
    """So many seconds after the morning began, on both clocks."""
    return Moment(monotonic_s=seconds, at=MORNING + timedelta(seconds=seconds))
