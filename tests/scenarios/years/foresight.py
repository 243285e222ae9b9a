"""What judge has set itself to do, and for whom it is calm: read from its memory, which only a world may do.

A change violates this when a tick before `due` changes something, and nothing came since the last one.
"""

import heapq
import math
from dataclasses import dataclass
from typing import TypeVar

from tillwatch_collector.domain.condition import Phase
from tillwatch_collector.domain.deadlines import Deadlines
from tillwatch_collector.domain.presence import State
from tillwatch_collector.flows.judge import Judge

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """When judge will do something by itself, at the earliest."""

    listened_s: float
    """On the axis of listened time."""
    at_s: float
    """On the clock, in seconds since 1970."""


def due(judge: Judge) -> Due:
    """Return the earliest of its deadlines."""
    return Due(listened_s=_earliest(judge._looks), at_s=_earliest(judge._closings))  # noqa: SLF001


def calm(judge: Judge, terminal_id: str) -> bool:
    """Whether more heartbeats like the last one change nothing of a terminal."""
    terminal = judge._terminals.get(terminal_id)  # noqa: SLF001
    if terminal is None or terminal.state != State.ONLINE or terminal.unread:
        return False
    return all(followed.course.phase is Phase.RAISED for followed in terminal.followed.values())


def suspend(judge: Judge, terminal_id: str) -> float:
    """Keep judge from looking at a terminal; returns the deadline that it had."""
    deadline = judge._looks._due.get(terminal_id, math.inf)  # noqa: SLF001
    judge._looks.arm(terminal_id, math.inf)  # noqa: SLF001
    return deadline


def resume(judge: Judge, terminal_id: str, deadline: float) -> None:
    """Have judge look at a terminal again."""
    judge._looks.arm(terminal_id, deadline)  # noqa: SLF001


def _earliest(deadlines: Deadlines[K]) -> float:
    """Return the first deadline that still stands; what was moved is dropped, as `take_due` does."""
    heap, standing = deadlines._heap, deadlines._due  # noqa: SLF001
    while heap and standing.get(heap[0][2]) != heap[0][0]:
        heapq.heappop(heap)
    return heap[0][0] if heap else math.inf
