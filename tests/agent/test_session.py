"""The session: the whole product of phases and turns, back-off, heartbeats, holding back, and coming back."""

import math
import random
from dataclasses import replace

import pytest
from tests.agent.moments import at

from tillwatch_agent.errors import SessionInputIllegal
from tillwatch_agent.session import (
    ANSWER_WITHIN_S,
    BACK_OFF_MAX_S,
    BEATS_BURST,
    BEATS_PER_INTERVAL,
    HELD_INTERVALS_MAX,
    PROCESSES_MAX,
    STABLE_AFTER_S,
    TABLE,
    Heard,
    Input,
    Nudge,
    Output,
    Phase,
    Session,
    Turn,
    begin,
    step,
)
from tillwatch_protocol.process import ProcessLife, ProcessState

WELCOME = (Output.SUBSCRIBE, Output.ANNOUNCE, Output.REWIND, Output.BEAT)
ANSWER = (Output.ANNOUNCE, Output.REWIND, Output.BEAT)


class Longest:
    """An rng that always waits as long as it may."""

    def uniform(self, _a: float, b: float, /) -> float:
        return b


def stepped(session: Session, said: Input, seconds: float) -> tuple[Session, tuple[Output, ...]]:
    return step(session, said, at(seconds), Longest())


def begun() -> Session:
    """Begun at 0 with its phase at 20 s of a minute."""
    return begin(interval_s=60, phase_s=20, moment=at(0), rng=Longest())


def online(seconds: float = 1) -> Session:
    session, _ = stepped(begun(), Nudge.TICK, 1)
    session, outputs = stepped(session, Turn.CONNECTED, seconds)
    assert outputs == WELCOME
    return session


def heard(
    life: ProcessLife = ProcessLife.ONLINE, *, epoch: int = 5, process: str = "collector.1", retained: bool = False
) -> Heard:
    return Heard(state=ProcessState(process=process, state=life, collector_epoch=epoch), retained=retained)


# --- the table


@pytest.mark.parametrize("turn", Turn)
@pytest.mark.parametrize("phase", Phase)
def test_every_phase_takes_every_turn_or_refuses_it_and_changes_nothing(phase: Phase, turn: Turn) -> None:
    before = replace(begun(), phase=phase)
    if (phase, turn) in TABLE:
        after, outputs = stepped(before, turn, 5)
        assert (after.phase, outputs) == TABLE[phase, turn]
    else:
        with pytest.raises(SessionInputIllegal, match=f"{phase} takes .*; got {turn}"):
            stepped(before, turn, 5)


def test_every_phase_is_reached() -> None:
    assert {phase for phase, _ in TABLE.values()} == set(Phase)


def test_a_stopped_session_does_nothing_more() -> None:
    session, _ = stepped(online(), Turn.STOP, 2)
    assert stepped(session, Nudge.TICK, 1_000) == (session, ())
    assert session.due_s() == math.inf


# --- connecting


def test_it_dials_when_the_first_jitter_is_over_and_counts_its_connections() -> None:
    session = begun()
    assert session.due_s() == 1
    assert stepped(session, Nudge.TICK, 0.9) == (session, ())
    session, outputs = stepped(session, Nudge.TICK, 1)
    assert (outputs, session.phase, session.connection_no) == ((Output.DIAL,), Phase.CONNECTING, 1)
    assert session.due_s() == math.inf
    session, _ = stepped(session, Turn.FAILED, 2)
    session, _ = stepped(session, Nudge.TICK, session.due_s())
    assert session.connection_no == 2


def test_back_off_doubles_to_its_limit() -> None:
    session, now_s, waits = begun(), 0.0, []
    for _ in range(10):
        now_s = session.due_s()
        session, _ = stepped(session, Nudge.TICK, now_s)
        session, _ = stepped(session, Turn.FAILED, now_s)
        waits.append(session.due_s() - now_s)
    assert waits == [1, 2, 4, 8, 16, 32, 64, BACK_OFF_MAX_S, BACK_OFF_MAX_S, BACK_OFF_MAX_S]


def test_back_off_is_spread_over_its_whole_width() -> None:
    failed, _ = stepped(replace(begun(), phase=Phase.CONNECTING, failures=20), Turn.FAILED, 0)
    assert failed.due_s() == BACK_OFF_MAX_S
    rng = random.Random(7)
    connecting = replace(begun(), phase=Phase.CONNECTING, failures=20)
    waits = [step(connecting, Turn.FAILED, at(0), rng)[0].due_s() for _ in range(200)]
    assert min(waits) < 0.05 * BACK_OFF_MAX_S
    assert max(waits) > 0.95 * BACK_OFF_MAX_S


@pytest.mark.parametrize(
    ("interval_s", "longest_s"),
    [
        (60, BACK_OFF_MAX_S),  # the default: two minutes either way
        (5, 10),  # who is missed after three intervals does not sleep for a minute
        (3600, BACK_OFF_MAX_S),  # who speaks seldom is still found again soon
    ],
)
def test_nobody_sleeps_longer_than_two_of_its_own_intervals(interval_s: float, longest_s: float) -> None:
    connecting = replace(begun(), phase=Phase.CONNECTING, failures=20, interval_s=interval_s)
    assert stepped(connecting, Turn.FAILED, 0)[0].due_s() == longest_s


@pytest.mark.parametrize(
    ("lasted_s", "wait_s"),
    [
        (STABLE_AFTER_S - 0.1, 8),  # a broker that accepts and drops is not stable
        (STABLE_AFTER_S, 1),
    ],
)
def test_only_a_connection_that_lasted_forgets_the_failures(lasted_s: float, wait_s: float) -> None:
    session = replace(online(seconds=100), failures=3)
    session, _ = stepped(session, Turn.LOST, 100 + lasted_s)
    assert session.due_s() == pytest.approx(100 + lasted_s + wait_s)


# --- heartbeats


def test_heartbeats_come_at_the_phase() -> None:
    session, beats = online(), []
    for _ in range(3):
        due_s = session.due_s()
        assert stepped(session, Nudge.TICK, due_s - 0.1) == (session, ())
        session, outputs = stepped(session, Nudge.TICK, due_s)
        assert outputs == (Output.BEAT,)
        beats.append(due_s)
    assert beats == [20, 80, 140]


def test_a_change_is_told_at_once_and_the_phase_is_kept() -> None:
    session, outputs = stepped(online(), Nudge.CHANGED, 5)
    assert outputs == (Output.BEAT,)
    assert session.due_s() == 20


def test_flapping_cannot_flood() -> None:
    session, beats = online(), 0
    for tenth in range(600):  # a change every 0.1 s, for a minute
        session, outputs = stepped(session, Nudge.CHANGED, 100 + tenth / 10)
        beats += outputs == (Output.BEAT,)
    assert beats <= BEATS_BURST + BEATS_PER_INTERVAL + 1


def test_the_last_change_of_a_flood_is_told_when_there_is_room() -> None:
    session = online()
    for _ in range(BEATS_BURST):
        session, outputs = stepped(session, Nudge.CHANGED, 2)
        assert outputs == (Output.BEAT,)
    session, outputs = stepped(session, Nudge.CHANGED, 2)
    assert outputs == ()
    assert session.due_s() == 2 + 60 / BEATS_PER_INTERVAL
    session, outputs = stepped(session, Nudge.TICK, session.due_s())
    assert outputs == (Output.BEAT,)


def test_a_change_while_offline_is_told_by_the_first_heartbeat() -> None:
    session, outputs = stepped(begun(), Nudge.CHANGED, 0.5)
    assert outputs == ()
    session, _ = stepped(session, Nudge.TICK, 1)
    session, outputs = stepped(session, Turn.CONNECTED, 2)
    assert outputs == WELCOME
    assert not session.beat_wanted


# --- processes


@pytest.mark.parametrize(
    ("said", "sends"),
    [
        ((), True),  # no state is known: somebody may listen
        ((heard(),), True),
        ((heard(ProcessLife.OFFLINE),), False),
        ((heard(ProcessLife.OFFLINE), heard(process="collector.2")), True),
        ((heard(ProcessLife.OFFLINE), heard(ProcessLife.OFFLINE, process="collector.2")), False),
        ((heard(ProcessLife.OFFLINE), heard()), True),
    ],
)
def test_it_sends_unless_every_known_process_is_offline(said: tuple[Heard, ...], *, sends: bool) -> None:
    session = online()
    for word in said:
        session, _ = stepped(session, word, 2)
    assert session.sends is sends


def test_what_is_held_back_is_told_when_a_process_is_back() -> None:
    session, _ = stepped(online(), heard(ProcessLife.OFFLINE, retained=True), 2)
    session, outputs = stepped(session, Nudge.CHANGED, 3)
    assert outputs == ()
    session, outputs = stepped(session, Nudge.TICK, 20)
    assert outputs == ()
    assert session.due_s() == 80  # a held heartbeat is not asked for in between
    session, outputs = stepped(session, heard(), 21)  # the same epoch: only its connection was away
    assert outputs == (Output.BEAT,)


def test_a_lost_word_that_a_process_is_back_holds_nothing_for_more_than_two_intervals() -> None:
    session, _ = stepped(online(), heard(ProcessLife.OFFLINE), 2)
    session, _ = stepped(session, Nudge.TICK, 100)
    session, _ = stepped(session, heard(ProcessLife.OFFLINE), 110)  # said again, and no later for it
    assert session.due_s() == 2 + 60 * HELD_INTERVALS_MAX
    session, outputs = stepped(session, Nudge.TICK, session.due_s())
    assert outputs == (Output.BEAT,)
    assert session.sends


def test_knowledge_of_processes_dies_with_the_connection() -> None:
    session, _ = stepped(online(), heard(ProcessLife.OFFLINE), 2)
    session, _ = stepped(session, Turn.LOST, 3)
    session, _ = stepped(session, Nudge.TICK, session.due_s())
    session, _ = stepped(session, Turn.CONNECTED, 10)
    assert session.sends


@pytest.mark.parametrize(
    ("before", "said", "answers"),
    [
        (None, heard(retained=True), False),  # it was there when we announced ourselves
        (None, heard(), True),  # it came after us
        (heard(retained=True), heard(), False),
        (heard(retained=True), heard(epoch=6), True),
        (heard(retained=True), heard(epoch=4), True),  # restored from a backup
        (heard(retained=True), heard(ProcessLife.OFFLINE, epoch=6), False),
        (heard(ProcessLife.OFFLINE, retained=True), heard(epoch=6), True),
        (heard(retained=True), heard(process="collector.2"), True),
        (heard(retained=True), heard(process="collector.2", retained=True), False),
    ],
)
def test_a_new_epoch_is_answered_with_all_there_is(before: Heard | None, said: Heard, *, answers: bool) -> None:
    session = online()
    if before:
        session, _ = stepped(session, before, 2)
    session, _ = stepped(session, said, 3)
    assert (session.answer_at_s < math.inf) is answers
    if answers:
        assert session.due_s() == 3 + ANSWER_WITHIN_S
        session, outputs = stepped(session, Nudge.TICK, 3 + ANSWER_WITHIN_S)
        assert outputs == ANSWER
        assert session.answer_at_s == math.inf


def test_a_fleet_with_a_short_interval_answers_within_a_tenth_of_it() -> None:
    session, _ = stepped(replace(online(), interval_s=5, beat_at_s=100), heard(), 3)
    assert session.due_s() == 3.5


def test_two_new_processes_are_answered_once() -> None:
    session, _ = stepped(online(), heard(), 3)
    session, _ = stepped(session, heard(process="collector.2"), 4)
    assert session.due_s() == 3 + ANSWER_WITHIN_S


def test_a_process_that_goes_offline_holds_back_what_waits() -> None:
    session, _ = stepped(online(), heard(retained=True), 2)
    session, outputs = stepped(session, heard(ProcessLife.OFFLINE), 3)
    session, outputs = stepped(session, Nudge.CHANGED, 4)
    assert outputs == ()


def test_processes_beyond_the_limit_are_answered_but_not_remembered() -> None:
    session = online()
    for number in range(PROCESSES_MAX + 5):
        session, _ = stepped(session, heard(process=f"collector.{number}", retained=True), 2)
    assert len(session.processes) == PROCESSES_MAX
    session, _ = stepped(session, heard(process="collector.999"), 3)
    assert session.answer_at_s < math.inf


def test_a_state_heard_while_offline_counts_for_nothing() -> None:
    session = begun()
    assert stepped(session, heard(), 0.5) == (session, ())
