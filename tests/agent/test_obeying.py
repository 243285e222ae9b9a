"""Commands at the agent: which is done, when its turn comes, what is answered; the pure part, and the core's."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.conftest import InMemory
from tests.agent.cores import CLOSED, COVER, TILL, beats, connected, core_on, events, received, said, state
from tests.agent.moments import at
from tests.agent.test_core_jobs import Story

from tillwatch_agent import obeying
from tillwatch_agent.core import Core, Examine, Examined, Forget, Observed, Received, RestartAgent, Stop, Tick
from tillwatch_agent.diagnosis import Confidence, Verdict
from tillwatch_agent.obeying import (
    DIAGNOSIS_S_MAX,
    RESTART_AFTER_S,
    WAITING_MAX,
    Act,
    Answer,
    Beaten,
    Begin,
    Came,
    Deed,
    Diagnosed,
    Orders,
    Passed,
)
from tillwatch_protocol.command import Command, CommandKind, CommandRefusal, CommandReport, Diagnosis
from tillwatch_protocol.event import EventBatch
from tillwatch_protocol.job import JobState
from tillwatch_protocol.process import ProcessLife

REPORT, REPROBE, DIAGNOSE, RESTART = CommandKind
NOTHING_FOUND = Diagnosis()


def came(kind: CommandKind, command_id: str = "c-1", *, lifetime_s: float = 60, is_switching: bool = False) -> Came:
    command = Command(terminal_id=TILL, command_id=command_id, kind=kind, lifetime_s=lifetime_s)
    return Came(command=command, is_switching=is_switching)


def answer(kind: CommandKind, reason: str | None = None, command_id: str = "c-1", **more: Diagnosis) -> Answer:
    return Answer(command_id=command_id, kind=kind, reason=reason, **more)


def after(*said_at: tuple[obeying.Said, float]) -> tuple[Orders, tuple[Deed, ...]]:
    """What stands, and what the last thing said led to."""
    orders = obeying.begin(-RESTART_AFTER_S)
    deeds: tuple[Deed, ...] = ()
    for happened, now_s in said_at:
        orders, deeds = obeying.step(orders, happened, now_s)
    return orders, deeds


# --- one command


@pytest.mark.parametrize(
    ("command", "deeds"),
    [
        # a heartbeat is answered when it has left
        (came(REPORT), (Act.BEAT,)),
        # what is told at once is answered at once
        (came(REPROBE), (Act.FORGET, answer(REPROBE))),
        (came(DIAGNOSE), (Begin("c-1"),)),
        # the answer is kept before the end begins
        (came(RESTART), (answer(RESTART), Act.RESTART)),
        # a job that switches would take a restart for a failure; the rest does not disturb it
        (came(RESTART, is_switching=True), (answer(RESTART, CommandRefusal.JOB_SWITCHING),)),
        (came(DIAGNOSE, is_switching=True), (Begin("c-1"),)),
    ],
)
def test_what_a_command_leads_to(command: Came, deeds: tuple[Deed, ...]) -> None:
    assert after((command, 0))[1] == deeds


def test_a_report_is_answered_by_the_heartbeat_that_leaves() -> None:
    orders, deeds = after((came(REPORT), 0), (came(REPORT, "c-2"), 1), (Beaten(), 2))
    assert deeds == (answer(REPORT), answer(REPORT, command_id="c-2"))
    assert orders.due_s() == math.inf


def test_a_report_that_found_no_heartbeat_in_its_time_is_refused() -> None:
    orders, _ = after((came(REPORT, lifetime_s=60), 0))
    assert orders.due_s() == 60
    assert obeying.step(orders, Passed(), 59.9)[1] == ()
    assert obeying.step(orders, Passed(), 60)[1] == (answer(REPORT, CommandRefusal.LIFETIME_OVER),)


def test_a_diagnosis_is_answered_with_what_it_found() -> None:
    orders, deeds = after((came(DIAGNOSE), 0), (Diagnosed(command_id="c-1", diagnosis=NOTHING_FOUND), 20))
    assert deeds == (answer(DIAGNOSE, diagnosis=NOTHING_FOUND),)
    assert orders.running is None


def test_one_diagnosis_runs_at_a_time_and_the_next_follows_while_it_lives() -> None:
    ended = Diagnosed(command_id="c-1", diagnosis=NOTHING_FOUND)
    first, second, third = came(DIAGNOSE), came(DIAGNOSE, "c-2", lifetime_s=30), came(DIAGNOSE, "c-3")
    _, deeds = after((first, 0), (second, 1), (third, 2), (ended, 20))
    assert deeds == (answer(DIAGNOSE, diagnosis=NOTHING_FOUND), Begin("c-2"))
    _, deeds = after((first, 0), (second, 1), (third, 2), (ended, 40))
    assert deeds[1:] == (answer(DIAGNOSE, CommandRefusal.LIFETIME_OVER, "c-2"), Begin("c-3"))


def test_a_diagnosis_outlives_its_lifetime_but_not_its_own_limit() -> None:
    orders, _ = after((came(DIAGNOSE, lifetime_s=5), 0), (Passed(), 6))
    assert orders.running is not None
    orders, deeds = obeying.step(orders, Passed(), DIAGNOSIS_S_MAX)
    assert deeds == (answer(DIAGNOSE, CommandRefusal.NO_RESULT),)
    assert obeying.step(orders, Diagnosed(command_id="c-1", diagnosis=NOTHING_FOUND), 61)[1] == ()


def test_no_more_than_so_many_wait() -> None:
    many = [(came(REPORT, f"c-{number}"), 0.0) for number in range(WAITING_MAX)]
    orders, deeds = after(*many, (came(DIAGNOSE, "one-more"), 0))
    assert deeds == (answer(DIAGNOSE, CommandRefusal.TOO_MANY, "one-more"),)
    assert len(orders.waiting) == WAITING_MAX


def test_an_agent_that_has_just_started_does_not_start_again() -> None:
    orders = obeying.begin(100.0)
    assert obeying.step(orders, came(RESTART), 100 + RESTART_AFTER_S - 0.1)[1] == (
        answer(RESTART, CommandRefusal.JUST_STARTED),
    )
    assert Act.RESTART in obeying.step(orders, came(RESTART), 100 + RESTART_AFTER_S)[1]


# --- any commands, in any order, at any time


@dataclass(frozen=True)
class Given:
    """What happens next, and how long after what was before."""

    what: str
    kind: CommandKind
    lifetime_s: float
    wait_s: float


GIVEN = st.builds(
    Given,
    what=st.sampled_from(["came", "came", "beaten", "diagnosed", "passed"]),
    kind=st.sampled_from(CommandKind),
    lifetime_s=st.floats(0.001, 200),
    wait_s=st.floats(0, 90),
)


@given(st.lists(GIVEN, max_size=60))
def test_each_is_answered_once_and_begun_in_its_time_and_few_are_remembered(all_given: list[Given]) -> None:
    orders, now_s = obeying.begin(0.0), 0.0
    lives_until: dict[str, float] = {}
    answered: list[str] = []
    restarts: list[float] = []
    for number, each in enumerate(all_given):
        now_s += each.wait_s
        orders, deeds = obeying.step(orders, _said(each, f"c-{number}", orders), now_s)
        if each.what == "came":
            lives_until[f"c-{number}"] = now_s + each.lifetime_s
        answered += [deed.command_id for deed in deeds if isinstance(deed, Answer)]
        assert all(now_s < lives_until[deed.command_id] for deed in deeds if isinstance(deed, Begin))
        restarts += [now_s for deed in deeds if deed is Act.RESTART]
        assert len(orders.waiting) <= WAITING_MAX
        assert orders.due_s() > now_s
    assert len(set(answered)) == len(answered)
    waiting = {order.command_id for order in (*orders.waiting, *filter(None, [orders.running]))}
    assert set(answered) | waiting == set(lives_until)
    assert all(when >= RESTART_AFTER_S for when in restarts)
    _, deeds = obeying.step(orders, Passed(), now_s + 1_000)
    assert {deed.command_id for deed in deeds if isinstance(deed, Answer)} == waiting


def _said(each: Given, command_id: str, orders: Orders) -> obeying.Said:
    match each.what:
        case "came":
            return came(each.kind, command_id, lifetime_s=each.lifetime_s)
        case "beaten":
            return Beaten()
        case "diagnosed":
            running = orders.running.command_id if orders.running else "of-another-time"
            return Diagnosed(command_id=running, diagnosis=NOTHING_FOUND)
        case _:
            return Passed()


# --- in the core


def command(kind: CommandKind, command_id: str = "c-1", *, lifetime_s: float = 60) -> Received:
    return received(Command(terminal_id=TILL, command_id=command_id, kind=kind, lifetime_s=lifetime_s))


def answers(effects: list[object]) -> list[CommandReport]:
    """The answers that leave."""
    batches = [message for message in said(effects) if isinstance(message, EventBatch)]  # type: ignore[arg-type]
    return [event.command for batch in batches for event in batch.events if event.command]


def test_a_report_is_told_and_then_answered(online: Core) -> None:
    effects = online.handle(command(REPORT), at(3))
    assert len(beats(effects)) == 1
    assert answers([*effects]) == [CommandReport(command_id="c-1", kind="report")]


def test_a_report_waits_for_a_collector_that_listens(online: Core) -> None:
    online.handle(received(state(ProcessLife.OFFLINE), retained=True), at(2.5))
    assert online.handle(command(REPORT), at(3)) == []
    effects = online.handle(received(state(ProcessLife.ONLINE), retained=True), at(10))
    assert len(beats(effects)) == 1
    assert answers([*effects]) == [CommandReport(command_id="c-1", kind="report")]


def test_a_report_that_waits_too_long_is_refused_on_the_monotonic_clock(online: Core) -> None:
    online.handle(received(state(ProcessLife.OFFLINE), retained=True), at(2.5))
    online.handle(command(REPORT, lifetime_s=2), at(3))
    assert online.next_due_s(at(3)) == 2
    online.handle(Tick(), at(4.9))
    assert online.outbox.backlog.event_seq_last == 1
    online.handle(Tick(), at(5))
    assert online.outbox.backlog.event_seq_last == 2
    effects = online.handle(received(state(ProcessLife.ONLINE), retained=True), at(30))
    assert [report.reason for report in answers([*effects])] == [CommandRefusal.LIFETIME_OVER]


def test_a_diagnosis_tells_the_way_out_and_the_components_that_fail_first(online: Core) -> None:
    online.handle(Observed((CLOSED,)), at(3))
    effects = online.handle(command(DIAGNOSE), at(4))
    assert effects == [Examine("c-1")]
    online.handle(Observed((COVER,)), at(5))
    way_out = Verdict(failing=None, confidence=Confidence.PROVED, steps=())
    (report,) = answers([*online.handle(Examined("c-1", way_out), at(6))])
    assert report.diagnosis is not None
    assert (report.kind, report.reason, report.diagnosis.confidence) == ("diagnose", None, "proved")
    (finding,) = report.diagnosis.findings
    assert (finding.name, finding.outcome, finding.codes, finding.found) == (
        "pos_printer:1",
        "fault",
        ("cover_open",),
        "lid",
    )
    assert finding.age_s == 1.0


def test_a_restart_is_answered_first_and_done_once_even_across_the_start(in_memory: InMemory) -> None:
    core = connected(core_on(in_memory()))
    effects = core.handle(command(RESTART), at(61))
    assert RestartAgent() in effects
    assert answers([*effects]) == [CommandReport(command_id="c-1", kind="restart_agent")]
    assert [message.reason for message in said(core.handle(Stop(), at(62))) if hasattr(message, "reason")] == [
        "stopping"
    ]
    again = connected(core_on(in_memory(image=core.outbox.image())))
    kept = again.outbox.backlog.event_seq_last
    assert RestartAgent() not in again.handle(command(RESTART), at(70))
    assert again.outbox.backlog.event_seq_last == kept


def test_a_reprobe_lets_the_probes_forget(online: Core) -> None:
    effects = online.handle(command(REPROBE), at(3))
    assert effects[0] == Forget()
    assert events(effects) == ["2 command_done"]


def test_who_has_stopped_obeys_nobody(online: Core) -> None:
    online.handle(Stop(), at(3))
    assert online.handle(command(RESTART), at(99)) == []


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (JobState.STAGED, None),
        (JobState.SWITCHING, CommandRefusal.JOB_SWITCHING),
        (JobState.CONFIRMING, CommandRefusal.JOB_SWITCHING),
        (JobState.SUCCEEDED, None),
    ],
)
def test_a_restart_waits_until_no_job_switches(in_memory: InMemory, state: JobState, reason: str | None) -> None:
    story = Story(in_memory())
    story.tick(after_s=RESTART_AFTER_S)
    story.until(state)
    story.effects.clear()
    effects = story.take(story.core.handle(command(RESTART), at(story.now_s)))
    assert (RestartAgent() in effects) is (reason is None)
    assert [report.reason for report in answers([*effects])] == [reason]
