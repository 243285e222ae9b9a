"""A moment as decisions take it: monotonic seconds to measure by, wall time to write down."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tillwatch_protocol.vocabulary import EARLIEST, LATEST


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Now, given by whoever has a clock. `at` is aware and may jump; nothing is measured by it."""

    monotonic_s: float
    at: datetime


def tellable(at: datetime) -> datetime:
    """Give the nearest time that the wire has room for: a clock may have been set to anything."""
    return min(max(at, EARLIEST), LATEST - timedelta(seconds=1))
