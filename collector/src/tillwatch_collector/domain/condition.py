"""A condition from its first sign to its proven end: clear, raising, raised, clearing.

Two kinds of position in the listened time (`domain.listening`) drive it: where we are, and where the last heartbeat was
heard. What is asserted matures as time is listened to, while the terminal is online. What is denied matures only on
heartbeats: from the first that denied it to a later one, at least the hold apart, without anything else between. While
a terminal is late or silent, or its component gives no usable answer, nothing matures; and a clearing begins anew.

A change violates this when a condition is cleared by the absence of news.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """Where a condition stands."""

    CLEAR = "clear"
    RAISING = "raising"
    RAISED = "raised"
    CLEARING = "clearing"


class Sign(StrEnum):
    """What is known of a condition at one look."""

    ASSERTED = "asserted"
    ABSENT = "absent"
    """A reading judged it, and it is not so."""
    INDETERMINATE = "indeterminate"
    """No usable word on it."""
    WITHDRAWN = "withdrawn"
    """Nobody can speak of it any more: the component left the configuration, or the terminal is not missed."""
    HELD = "held"
    """Its hold is over."""


class Reason(StrEnum):
    """Why a condition moved, or did not."""

    BEGAN = "began"
    RAISED = "raised"
    WENT_BY = "went_by"
    """It ended before its hold: nobody was told."""
    DENIED = "denied"
    CAME_BACK = "came_back"
    PROOF_BROKEN = "proof_broken"
    CLEARED = "cleared"
    NOTHING_NEW = "nothing_new"


P, S = Phase, Sign

CONDITION_TABLE: dict[tuple[Phase, Sign], tuple[Phase, Reason]] = {
    (P.CLEAR, S.ASSERTED): (P.RAISING, Reason.BEGAN),
    (P.CLEAR, S.ABSENT): (P.CLEAR, Reason.NOTHING_NEW),
    (P.CLEAR, S.INDETERMINATE): (P.CLEAR, Reason.NOTHING_NEW),
    (P.CLEAR, S.WITHDRAWN): (P.CLEAR, Reason.NOTHING_NEW),
    # (CLEAR, HELD): no hold runs
    (P.RAISING, S.ASSERTED): (P.RAISING, Reason.NOTHING_NEW),
    (P.RAISING, S.ABSENT): (P.CLEAR, Reason.WENT_BY),
    (P.RAISING, S.INDETERMINATE): (P.RAISING, Reason.NOTHING_NEW),
    (P.RAISING, S.WITHDRAWN): (P.CLEAR, Reason.WENT_BY),
    (P.RAISING, S.HELD): (P.RAISED, Reason.RAISED),
    (P.RAISED, S.ASSERTED): (P.RAISED, Reason.NOTHING_NEW),
    (P.RAISED, S.ABSENT): (P.CLEARING, Reason.DENIED),
    (P.RAISED, S.INDETERMINATE): (P.RAISED, Reason.NOTHING_NEW),
    (P.RAISED, S.WITHDRAWN): (P.RAISED, Reason.NOTHING_NEW),
    # (RAISED, HELD): no hold runs
    (P.CLEARING, S.ASSERTED): (P.RAISED, Reason.CAME_BACK),
    (P.CLEARING, S.ABSENT): (P.CLEARING, Reason.NOTHING_NEW),
    (P.CLEARING, S.INDETERMINATE): (P.RAISED, Reason.PROOF_BROKEN),
    (P.CLEARING, S.WITHDRAWN): (P.RAISED, Reason.PROOF_BROKEN),
    (P.CLEARING, S.HELD): (P.CLEAR, Reason.CLEARED),
}


def step(phase: Phase, sign: Sign) -> tuple[Phase, Reason]:
    """Return the next phase and why; HELD where no hold runs is our own mistake and raises `KeyError`."""
    return CONDITION_TABLE[phase, sign]


@dataclass(frozen=True, kw_only=True, slots=True)
class Holds:
    """How long a sign must last, in seconds of listened time."""

    raise_s: float
    clear_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """A condition's phase, and from which position its hold counts."""

    phase: Phase = Phase.CLEAR
    since_s: float = 0.0
    paused_s: float | None = None
    """Where a raising hold stopped to mature."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """The course after one look, each move that it made, and the position at which to look again."""

    course: Course
    moves: tuple[Reason, ...]
    due_s: float | None


def advance(course: Course, sign: Sign, *, now_s: float, beat_s: float, holds: Holds) -> Advance:
    """Take in what one look at `now_s` showed; `beat_s` is where the heartbeat was heard that the sign rests on."""
    phase, reason = step(course.phase, sign)
    after = replace(course, phase=phase)
    if phase is not course.phase:
        after = Course(phase=phase, since_s=beat_s)
    elif phase is Phase.RAISING:
        after = _paused(after, now_s) if sign is Sign.INDETERMINATE else _resumed(after, now_s)
    moves = () if reason is Reason.NOTHING_NEW else (reason,)
    if _held(after, sign, now_s, beat_s, holds):
        phase, reason = step(after.phase, Sign.HELD)
        return Advance(course=Course(phase=phase, since_s=now_s), moves=(*moves, reason), due_s=None)
    return Advance(course=after, moves=moves, due_s=_due(after, now_s, holds))


def _held(course: Course, sign: Sign, now_s: float, beat_s: float, holds: Holds) -> bool:
    if course.phase is Phase.RAISING and sign is Sign.ASSERTED:
        return max(now_s, beat_s) - course.since_s >= holds.raise_s
    if course.phase is Phase.CLEARING:
        return beat_s > course.since_s and beat_s - course.since_s >= holds.clear_s
    return False


def _due(course: Course, now_s: float, holds: Holds) -> float | None:
    """Return where the hold is over; a clearing that waits for its next heartbeat has no such place."""
    if course.phase is Phase.RAISING and course.paused_s is None:
        return course.since_s + holds.raise_s
    if course.phase is Phase.CLEARING and course.since_s + holds.clear_s > now_s:
        return course.since_s + holds.clear_s
    return None


def _paused(course: Course, now_s: float) -> Course:
    return course if course.paused_s is not None else replace(course, paused_s=max(now_s, course.since_s))


def _resumed(course: Course, now_s: float) -> Course:
    if course.paused_s is None:
        return course
    lasted_s = max(0.0, now_s - course.paused_s)
    return replace(course, since_s=course.since_s + lasted_s, paused_s=None)
