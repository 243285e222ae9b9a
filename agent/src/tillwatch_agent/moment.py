"""A moment as decisions take it: monotonic seconds to measure by, wall time to write down."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Now, given by whoever has a clock. `at` is aware and may jump; nothing is measured by it."""

    monotonic_s: float
    at: datetime
