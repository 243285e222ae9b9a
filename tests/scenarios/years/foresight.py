"""What judge has set itself to do, and for whom it is calm: read from its memory, which only a world may do.

A change violates this when a tick before `due` changes something, and nothing came since the last one.
"""

import math
from dataclasses import dataclass

from tillwatch_collector.domain.condition import Phase
from tillwatch_collector.domain.presence import State
from tillwatch_collector.flows.judge import Judge


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """When judge will do something by itself, at the earliest."""

    listened_s: float
    """On the axis of listened time."""
    at_s: float
    """On the clock, in seconds since 1970."""


def due(judge: Judge) -> Due:
    """Return the earliest of its deadlines: of terminals, of outages, of what they are made of, of tickets."""
    outages = judge._outages
    listened = (judge._looks.earliest(), outages.due_s, outages._patterns._stales.earliest())
    clock = (judge._turns.earliest(), judge._closings.earliest())
    return Due(listened_s=_first(*listened), at_s=_first(*clock))


def calm(judge: Judge, terminal_id: str) -> bool:
    """Whether more heartbeats like the last one change nothing of a terminal; what flaps may end by itself."""
    terminal = judge._terminals.get(terminal_id)
    if terminal is None or terminal.state != State.ONLINE or terminal.unread or terminal.muted:
        return False
    if terminal.followed.keys() & terminal.flaps.keys():
        return False
    return all(followed.course.phase is Phase.RAISED and not followed.owed for followed in terminal.followed.values())


def turning(judge: Judge, now_s: float) -> list[str]:
    """Return whom judge looks at because the clock says so, in seconds since 1970: a shop opens, a maintenance ends."""
    return [terminal_id for terminal_id, due_s in judge._turns._due.items() if due_s <= now_s]


def suspend(judge: Judge, terminal_id: str) -> float:
    """Keep judge from looking at a terminal; returns the deadline that it had."""
    deadline = judge._looks._due.get(terminal_id, math.inf)
    judge._looks.arm(terminal_id, math.inf)
    return deadline


def resume(judge: Judge, terminal_id: str, deadline: float) -> None:
    """Have judge look at a terminal again."""
    judge._looks.arm(terminal_id, deadline)


def _first(*dues: float | None) -> float:
    return min((due for due in dues if due is not None), default=math.inf)
