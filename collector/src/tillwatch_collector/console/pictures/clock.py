"""How a promise stands, as a ring that closes while its time goes: the ring's numbers, and the seconds that are left.

What is shown is time as people live it, from the opening to the moment when it is due; the contract's own calendar is
in that moment already. A ring that is done, paused or over says so by its sign as well as by its colour, which are the
template's. A change violates this when a ring is full before its time is over.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

LENGTH = 100
"""Of the whole ring: the template sets it as the circle's `pathLength`."""


class Sign(StrEnum):
    """What stands in the ring: how a clock stands (`store.ticket_queries.SlaState`), or that it is done."""

    OK = "ok"
    DUE_SOON = "due_soon"
    BREACHED = "breached"
    PAUSED = "paused"
    DONE = "done"
    ENDED = "ended"
    """The ticket ended before that was done."""
    NONE = "none"
    """Nothing is promised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ring:
    """A clock as it is drawn."""

    sign: Sign
    gone: int
    """Of `LENGTH`."""
    left_s: float | None
    """Until it is due; less than 0 once it is over, None where nothing runs."""
    due_at: datetime | None


def ring(
    state: str | None,
    *,
    opened_at: datetime,
    due_at: datetime | None,
    done_at: datetime | None,
    has_ended: bool = False,
    now: datetime,
) -> Ring:
    """Draw a clock that began at `opened_at`, of a ticket of which nothing is left to be done where it `has_ended`."""
    if done_at is not None:
        return Ring(sign=Sign.DONE, gone=LENGTH, left_s=None, due_at=None)
    if state == Sign.PAUSED:
        return Ring(sign=Sign.PAUSED, gone=0, left_s=None, due_at=None)
    if state in {None, Sign.NONE} or due_at is None:
        return Ring(sign=Sign.ENDED if has_ended else Sign.NONE, gone=0, left_s=None, due_at=None)
    left_s = (due_at - now).total_seconds()
    return Ring(sign=Sign(state), gone=_gone(opened_at, due_at, left_s), left_s=left_s, due_at=due_at)


def _gone(opened_at: datetime, due_at: datetime, left_s: float) -> int:
    if left_s <= 0:
        return LENGTH
    whole_s = max(left_s, (due_at - opened_at).total_seconds())
    return min(LENGTH - 1, int(LENGTH * (1 - left_s / whole_s)))
