"""How fast a download may be, and how slow it must not be.

A shop's uplink carries payments: a download keeps below `bytes_per_s_max`, in small sips. Who sits in between may not
hold a terminal in a download that never ends (slow retrieval): in every window at least `bytes_per_s_min` on average
must come, or it is given up. Time in which we waited ourselves counts for nobody.

A change violates this when a download can last for ever, or when it takes more than its share.
"""

from dataclasses import dataclass, replace
from typing import Final

BYTES_PER_S_MIN: Final = 512.0
"""A GPRS modem with bad reception gives ten times as much."""

WINDOW_S: Final = 60.0
"""Longer than a modem takes to register anew."""

SIP_BYTES_MAX: Final = 64 * 1024
SIP_BYTES_MIN: Final = 1024
SIPS_PER_S: Final = 8
"""Between two sips payments have the line."""

BURST_S: Final = 1.0
"""So much of what was not used may be caught up on; after a cut nobody catches up on minutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What is asked of a download; None for no upper limit."""

    bytes_per_s_max: float | None = None
    bytes_per_s_min: float = BYTES_PER_S_MIN
    window_s: float = WINDOW_S

    def __post_init__(self) -> None:
        """Refuse limits that no download can keep."""
        most = self.bytes_per_s_max
        if self.window_s <= 0 or self.bytes_per_s_min < 0 or (most is not None and most < 2 * self.bytes_per_s_min):
            raise ValueError("expected bytes_per_s_max of at least twice bytes_per_s_min, and a window above 0")

    @property
    def sip_bytes(self) -> int:
        """How much to read at once."""
        if self.bytes_per_s_max is None:
            return SIP_BYTES_MAX
        return max(SIP_BYTES_MIN, min(SIP_BYTES_MAX, int(self.bytes_per_s_max / SIPS_PER_S)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How a download goes, on the monotonic clock."""

    limits: Limits
    credit_at_s: float
    """When what was taken so far is paid for; before it nothing more is taken."""
    window_ends_s: float
    window_bytes: int = 0


def begin(limits: Limits, now_s: float) -> Pace:
    """Begin a download, or a connection of it."""
    return Pace(limits=limits, credit_at_s=now_s, window_ends_s=now_s + limits.window_s)


def took(pace: Pace, count: int, now_s: float) -> tuple[Pace, float]:
    """Count what came; returns how long to wait before more is taken."""
    most = pace.limits.bytes_per_s_max
    counted = replace(pace, window_bytes=pace.window_bytes + count)
    if most is None:
        return counted, 0.0
    credit_at_s = max(pace.credit_at_s, now_s - BURST_S) + count / most
    return replace(counted, credit_at_s=credit_at_s), max(0.0, credit_at_s - now_s)


def waited(pace: Pace, wait_s: float) -> Pace:
    """Leave out of the window what we waited ourselves."""
    return replace(pace, window_ends_s=pace.window_ends_s + wait_s)


def look(pace: Pace, now_s: float) -> Pace | None:
    """Begin the next window when one is over; None where too little came in it."""
    if now_s < pace.window_ends_s:
        return pace
    if pace.window_bytes < pace.limits.bytes_per_s_min * pace.limits.window_s:
        return None
    return replace(pace, window_bytes=0, window_ends_s=now_s + pace.limits.window_s)
