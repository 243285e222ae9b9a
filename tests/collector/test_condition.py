"""A condition from its first sign to its proven end: the table over its whole product, and holds as time passes."""

from collections.abc import Sequence
from itertools import product

import pytest

from tillwatch_collector.domain.condition import CONDITION_TABLE, Course, Holds, Phase, Reason, Sign, advance, step

HOLDS = Holds(raise_s=30, clear_s=60)
AT_ONCE = Holds(raise_s=0, clear_s=0)

A, N, I, W = Sign.ASSERTED, Sign.ABSENT, Sign.INDETERMINATE, Sign.WITHDRAWN  # noqa: E741 - columns of the tables below

NO_ROW = {
    # no hold runs
    (Phase.CLEAR, Sign.HELD),
    (Phase.RAISED, Sign.HELD),
}


@pytest.mark.parametrize(("phase", "sign"), list(product(Phase, Sign)))
def test_every_phase_and_sign(phase: Phase, sign: Sign) -> None:
    if (phase, sign) in NO_ROW:
        with pytest.raises(KeyError):
            step(phase, sign)
        return
    after, reason = step(phase, sign)
    assert (reason is Reason.NOTHING_NEW) == (after is phase)


def test_every_phase_can_be_reached_and_only_proof_clears_what_was_raised() -> None:
    assert {after for after, _ in CONDITION_TABLE.values()} == set(Phase)
    into_clear = {key for key, (after, _) in CONDITION_TABLE.items() if after is Phase.CLEAR}
    assert (Phase.CLEARING, Sign.HELD) in into_clear
    assert not any(phase is Phase.RAISED for phase, _ in into_clear)
    assert {sign for phase, sign in into_clear if phase is Phase.CLEARING} == {Sign.HELD}


def played(
    looks: Sequence[tuple[Sign, float, float]], holds: Holds = HOLDS
) -> tuple[Phase, list[tuple[float, Reason]]]:
    """Play looks (sign, now_s, beat_s); returns the last phase and every move with its place."""
    course, moves = Course(), []
    for sign, now_s, beat_s in looks:
        advanced = advance(course, sign, now_s=now_s, beat_s=beat_s, holds=holds)
        course = advanced.course
        moves += [(now_s, reason) for reason in advanced.moves]
    return course.phase, moves


BEGAN = (0, Reason.BEGAN)
UP = [(A, 0, 0), (A, 30, 0)]
UP_MOVES = [BEGAN, (30, Reason.RAISED)]


@pytest.mark.parametrize(
    ("looks", "phase", "moves"),
    [
        # nothing there
        ([(N, 0, 0), (I, 10, 10), (W, 20, 20)], Phase.CLEAR, []),
        # shorter than its hold: nobody is told
        ([(A, 0, 0), (A, 29, 0), (N, 30, 30)], Phase.CLEAR, [BEGAN, (30, Reason.WENT_BY)]),
        # as long as its hold; no further heartbeat is needed, since a change would have been told at once
        (UP, Phase.RAISED, UP_MOVES),
        # no word for a while: the hold does not mature, and goes on where it stood
        ([(A, 0, 0), (I, 10, 0), (I, 500, 0), (A, 600, 600)], Phase.RAISING, [BEGAN]),
        ([(A, 0, 0), (I, 10, 0), (A, 600, 600), (A, 620, 600)], Phase.RAISED, [BEGAN, (620, Reason.RAISED)]),
        # its component left the configuration before it was raised, and after
        ([(A, 0, 0), (W, 10, 10)], Phase.CLEAR, [BEGAN, (10, Reason.WENT_BY)]),
        ([*UP, (W, 40, 40)], Phase.RAISED, UP_MOVES),
        # raised, and no word: it stays
        ([*UP, (I, 40, 40)], Phase.RAISED, UP_MOVES),
        # proved gone by a heartbeat a hold after the first that denied it
        ([*UP, (N, 90, 90), (N, 150, 150)], Phase.CLEAR, [*UP_MOVES, (90, Reason.DENIED), (150, Reason.CLEARED)]),
        # time alone proves nothing
        ([*UP, (N, 90, 90), (N, 500, 90)], Phase.CLEARING, [*UP_MOVES, (90, Reason.DENIED)]),
        # a heartbeat before the hold is over proves not enough
        ([*UP, (N, 90, 90), (N, 500, 149)], Phase.CLEARING, [*UP_MOVES, (90, Reason.DENIED)]),
        # it came back
        ([*UP, (N, 90, 90), (A, 100, 100)], Phase.RAISED, [*UP_MOVES, (90, Reason.DENIED), (100, Reason.CAME_BACK)]),
        # late, silent, or no usable answer in between: the proof begins anew
        (
            [*UP, (N, 90, 90), (I, 100, 100), (N, 110, 110), (N, 150, 150), (N, 170, 170)],
            Phase.CLEAR,
            [
                *UP_MOVES,
                (90, Reason.DENIED),
                (100, Reason.PROOF_BROKEN),
                (110, Reason.DENIED),
                (170, Reason.CLEARED),
            ],
        ),
        ([*UP, (N, 90, 90), (W, 100, 100)], Phase.RAISED, [*UP_MOVES, (90, Reason.DENIED), (100, Reason.PROOF_BROKEN)]),
    ],
)
def test_the_course(looks: list[tuple[Sign, float, float]], phase: Phase, moves: list[tuple[float, Reason]]) -> None:
    assert played(looks) == (phase, moves)


def test_without_a_hold_it_is_raised_at_once_and_cleared_by_a_second_heartbeat() -> None:
    assert played([(A, 0, 0)], AT_ONCE) == (Phase.RAISED, [BEGAN, (0, Reason.RAISED)])
    once = [(A, 0, 0), (N, 5, 5), (N, 9, 5)]
    assert played(once, AT_ONCE)[0] is Phase.CLEARING
    assert played([*once, (N, 10, 10)], AT_ONCE)[0] is Phase.CLEAR


def test_a_heartbeat_heard_after_the_last_proof_of_listening_begins_where_it_was_heard() -> None:
    begun = advance(Course(), A, now_s=100, beat_s=104, holds=HOLDS)
    assert begun.due_s == 134
    paused = advance(begun.course, I, now_s=102, beat_s=104, holds=HOLDS)
    assert paused.course.paused_s == 104
    assert advance(paused.course, A, now_s=103, beat_s=104, holds=HOLDS).course.since_s == 104


@pytest.mark.parametrize(
    ("course", "sign", "due_s"),
    [
        # raising: when the hold is over
        (Course(phase=Phase.RAISING, since_s=100), A, 130),
        # raising without a word: when there is one
        (Course(phase=Phase.RAISING, since_s=100), I, None),
        # clearing: when the hold is over, if a heartbeat proves it
        (Course(phase=Phase.CLEARING, since_s=100), N, 160),
        # clearing, overdue: when the next heartbeat is heard
        (Course(phase=Phase.CLEARING, since_s=10), N, None),
        # raised: when something new comes
        (Course(phase=Phase.RAISED, since_s=100), A, None),
    ],
)
def test_where_to_look_again(course: Course, sign: Sign, due_s: float | None) -> None:
    assert advance(course, sign, now_s=110, beat_s=20, holds=HOLDS).due_s == due_s
