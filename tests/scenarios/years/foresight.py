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
    outages = judge._outages  # noqa: SLF001
    listened = (judge._looks.earliest(), outages.due_s, outages._patterns._stales.earliest())  # noqa: SLF001
    clock = (judge._turns.earliest(), judge._closings.earliest())  # noqa: SLF001
    return Due(listened_s=_first(*listened), at_s=_first(*clock))


def calm(judge: Judge, terminal_id: str) -> bool:
    """Whether more heartbeats like the last one change nothing of a terminal; what flaps may end by itself."""
    terminal = judge._terminals.get(terminal_id)  # noqa: SLF001
    if terminal is None or terminal.state != State.ONLINE or terminal.unread or terminal.followed.keys() & terminal.flaps:
        return False
    return all(
        followed.course.phase is Phase.RAISED and not followed.owed for followed in terminal.followed.values()
    )


def suspend(judge: Judge, terminal_id: str) -> float:
    """Keep judge from looking at a terminal; returns the deadline that it had."""
    deadline = judge._looks._due.get(terminal_id, math.inf)  # noqa: SLF001
    judge._looks.arm(terminal_id, math.inf)  # noqa: SLF001
    return deadline


def resume(judge: Judge, terminal_id: str, deadline: float) -> None:
    """Have judge look at a terminal again."""
    judge._looks.arm(terminal_id, deadline)  # noqa: SLF001


def _first(*dues: float | None) -> float:
    return min((due for due in dues if due is not None), default=math.inf)
