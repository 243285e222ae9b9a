"""How far a terminal's clock is ahead of ours, from when its heartbeats say they were sent and when they came.

A heartbeat takes time and never comes before it is sent: `sent - received` is the offset less the delay, so the
greatest of the last few is the nearest to it. A heartbeat above that shows at once that the clock was set forward. One
below it may only be late; two in a row, below it by more than a delay and by the same, show that the clock was set
back. A link that becomes slow by as much, and stays so, looks the same: the estimate is then wrong by the delay until
the first quick heartbeat.

A change violates this when one late heartbeat moves the estimate.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median

BEATS_MAX = 8
"""At one a minute a clock that runs wrong by 100 ppm is off by 50 ms over them; one quick one among them is likely."""

STEP_S = 5.0
"""More than an ordinary heartbeat's way through network and queues varies (3 s, `presence.GRACE_S_MAX`)."""

ERROR_S_MIN = 1.0
"""The quickest way over a mobile network, and our own batches, take up to this, and no heartbeat shows it."""

ERROR_S_LONE = 60.0
"""Of one heartbeat alone, which may be as late as a link keeps it: an interval."""


class Reason(StrEnum):
    """Why the estimate is what it is."""

    FIRST = "first"
    SAME_BEAT = "same_beat"
    """It was taken in before."""
    WITHIN = "within"
    """No further than the last ones: it was slower than the quickest of them."""
    NEARER = "nearer"
    """The quickest so far."""
    DOUBTED = "doubted"
    """Far below: late, or the clock was set back; the next one says."""
    SET_FORWARD = "set_forward"
    SET_BACK = "set_back"


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """What the last heartbeats say of a terminal's clock, in seconds that it is ahead, the newest last."""

    leads_s: tuple[float, ...] = ()
    doubted_s: float | None = None
    """Of the newest heartbeat, where it is far below the others."""
    sent_at: datetime | None = None
    """Of the newest heartbeat."""
    reason: Reason = Reason.FIRST

    @property
    def estimate(self) -> "Estimate | None":
        """How far it is ahead; None before the first heartbeat."""
        if not self.leads_s:
            return None
        offset_s = max(self.leads_s)
        spread_s = offset_s - median(self.leads_s)
        error_s = ERROR_S_LONE if len(self.leads_s) == 1 else max(ERROR_S_MIN, spread_s)
        return Estimate(offset_s=round(offset_s, 3), error_s=round(error_s, 3))


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """How far a clock is ahead of ours (behind: below 0), and how wrong that may be."""

    offset_s: float
    error_s: float


def heard(clock: Clock, sent_at: datetime, received_at: datetime) -> Clock:
    """Take in a heartbeat; the same one again changes nothing."""
    if sent_at == clock.sent_at:
        return Clock(leads_s=clock.leads_s, doubted_s=clock.doubted_s, sent_at=sent_at, reason=Reason.SAME_BEAT)
    lead_s = (sent_at - received_at).total_seconds()
    leads_s, doubted_s, reason = _taken(clock, lead_s)
    return Clock(leads_s=leads_s, doubted_s=doubted_s, sent_at=sent_at, reason=reason)


def remembered(offset_s: float | None) -> Clock:
    """Return the clock of a terminal whose offset was kept, and its heartbeats were not."""
    return Clock() if offset_s is None else Clock(leads_s=(offset_s,))


def corrected(at: datetime, estimate: Estimate | None) -> datetime:
    """Return a time of the terminal's clock on ours; within the error, and beyond the calendar, it stays."""
    if estimate is None or abs(estimate.offset_s) <= estimate.error_s:
        return at
    try:
        return at - timedelta(seconds=estimate.offset_s)
    except OverflowError:
        return at


def _taken(clock: Clock, lead_s: float) -> tuple[tuple[float, ...], float | None, Reason]:
    if not clock.leads_s:
        return (lead_s,), None, Reason.FIRST
    best_s = max(clock.leads_s)
    if lead_s > best_s + STEP_S:
        return (lead_s,), None, Reason.SET_FORWARD
    if lead_s >= best_s - STEP_S:
        reason = Reason.NEARER if lead_s > best_s else Reason.WITHIN
        return (*clock.leads_s, lead_s)[-BEATS_MAX:], None, reason
    if clock.doubted_s is not None and abs(lead_s - clock.doubted_s) <= STEP_S:
        return (clock.doubted_s, lead_s), None, Reason.SET_BACK
    return clock.leads_s, lead_s, Reason.DOUBTED
