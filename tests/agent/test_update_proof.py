"""The machine of a job from its `go` on: what is switched proves itself, or is taken back, across any starts."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from tests.agent.job_words import (
    ACTIVATION,
    BEFORE,
    DIGEST,
    JOB,
    PACKAGE,
    PRINTER,
    RECORD,
    RUNNING,
    SETTINGS,
    TERMS,
    Machine,
    at_state,
    broken,
    failed,
    go,
    kinds,
    offer,
    rolling_back,
    withdraw,
)
from tests.agent.moments import at

from tillwatch_agent import update
from tillwatch_agent.installer.order import Cause
from tillwatch_agent.job_record import Page
from tillwatch_agent.job_standing import Reason
from tillwatch_agent.job_work import (
    Activate,
    Beaten,
    Commit,
    Doing,
    Failed,
    Fetched,
    Guarded,
    Look,
    Looked,
    Restart,
    Result,
    Revert,
    Reverted,
    Staged,
    StopFetch,
    Tidy,
)
from tillwatch_agent.update import REVERTS_MAX, STARTS_MAX
from tillwatch_protocol.job import JOB_FINAL, JOB_TABLE, JobMessage, JobState
from tillwatch_protocol.vocabulary import Health

S = JobState


# --- switching


def test_the_go_is_on_the_page_before_anything_is_activated() -> None:
    machine = at_state(S.READY)
    asked_at_s = machine.update.asked_at_s
    machine.say(go(machine.update.nonce))
    (activate,) = machine.answer()
    assert machine.record is not None
    assert (machine.state, machine.record.go_until_s, machine.record.go_boot_id) == (
        S.SWITCHING,
        asked_at_s + 60,
        "boot-1",
    )
    assert activate == Activate(job_id=JOB, product="till", until_s=asked_at_s + 60)
    (restart,) = machine.answer()
    assert machine.record.activation_id == ACTIVATION
    assert isinstance(restart, Restart)


def test_a_disk_that_fails_for_a_moment_is_asked_again_while_the_go_lives() -> None:
    machine = at_state(S.SWITCHING)
    machine.answer(failed(machine, "disk_full"))
    assert machine.state is S.SWITCHING
    assert kinds(machine.wait()) == ["Activate"]
    machine.now_s += 60
    machine.answer(failed(machine, "disk_full"))
    assert machine.told[-1] == (S.ROLLING_BACK, "disk_full")


NOT_SWITCHED = {
    # what was staged is not what lies there
    "changed": (Activate, "staged_changed"),
    # the process was ended between the page and the slots, for longer than the go lives
    "too late": (Activate, Reason.GO_LAPSED),
    # the till's software cannot be restarted
    "hook": (Restart, "hook_failed"),
}


@pytest.mark.parametrize(("asked", "reason"), NOT_SWITCHED.values(), ids=NOT_SWITCHED)
def test_what_cannot_be_switched_is_taken_back(asked: type, reason: str) -> None:
    machine = at_state(S.SWITCHING)
    while not isinstance(machine.effects[-1], asked):
        machine.answer()
    machine.answer(failed(machine, reason))
    assert machine.told[-1] == (S.ROLLING_BACK, reason)
    assert machine.effects[-1] == Revert(job_id=JOB, product="till")
    machine.answer(Reverted(job_id=JOB))
    assert machine.told[-1] == (S.ROLLED_BACK, reason)


def test_what_never_starts_is_taken_back() -> None:
    machine = at_state(S.SWITCHING)
    while machine.state is S.SWITCHING:
        if isinstance(machine.effects[-1], Look) and machine.update.doing is Doing.LOOK:
            machine.answer(Looked(job_id=JOB, activation_id=BEFORE))
        elif machine.update.doing is not None:
            machine.answer()
        else:
            machine.wait()
    assert machine.told[-1] == (S.ROLLING_BACK, Reason.NOT_STARTED)


def test_what_its_launcher_gave_up_is_taken_back() -> None:
    machine = at_state(S.SWITCHING)
    machine.answer()
    machine.answer()
    machine.answer(Looked(job_id=JOB, activation_id=BEFORE, given_up=True))
    assert machine.told[-1] == (S.ROLLING_BACK, Reason.BOOT_FAILED)


def test_a_look_that_fails_is_taken_again() -> None:
    machine = at_state(S.SWITCHING)
    machine.answer()
    machine.answer()
    machine.answer(failed(machine, "disk_failed"))
    assert machine.state is S.SWITCHING
    assert kinds(machine.wait()) == ["Look"]


# --- proving itself


def confirming() -> Machine:
    machine = at_state(S.CONFIRMING)
    machine.answer()
    assert machine.update.healthy
    return machine


def test_some_heartbeats_half_an_interval_apart_prove_it() -> None:
    machine = confirming()
    machine.beat()
    machine.say(Beaten(readings=(PRINTER, RUNNING), acknowledged_at_s=machine.now_s), after_s=29)
    assert machine.update.beats == 1
    machine.beat()
    assert machine.state is S.CONFIRMING
    machine.beat()
    assert machine.record is not None
    assert machine.record.committing


UNPROVED = {
    # nothing tells what runs
    "no reading": ((PRINTER,), Reason.UNPROVED),
    # what runs is another activation of the same release
    "another activation": (
        (PRINTER, RUNNING.model_copy(update={"facts": {"activation_id": BEFORE, "digest": DIGEST}})),
        Reason.UNPROVED,
    ),
    # or other bytes
    "another digest": (
        (PRINTER, RUNNING.model_copy(update={"facts": {"activation_id": ACTIVATION, "digest": "e" * 64}})),
        Reason.UNPROVED,
    ),
    # or it is not well
    "not well": ((PRINTER, RUNNING.model_copy(update={"health": Health.FAULT})), Reason.UNPROVED),
    # a device fails that did not fail before
    "worse": ((broken("pos_printer:1", "no_response"), RUNNING), Reason.COMPONENT_WORSE),
    # or is not heard of any more
    "lost": ((RUNNING,), Reason.COMPONENT_WORSE),
}


@pytest.mark.parametrize(("readings", "reason"), UNPROVED.values(), ids=UNPROVED)
def test_what_does_not_prove_itself_is_taken_back(readings: tuple[Any, ...], reason: str) -> None:
    machine = confirming()
    machine.beat()
    machine.beat(*readings)
    assert (machine.update.beats, machine.told[-1]) == (0, (S.CONFIRMING, reason))
    machine.now_s += TERMS.confirm_s
    machine.say()
    assert machine.told[-1] == (S.ROLLING_BACK, reason)


def test_what_no_collector_has_heard_is_taken_back() -> None:
    machine = confirming()
    machine.beat(acknowledged=False)
    assert machine.told[-1] == (S.CONFIRMING, Reason.NOT_ACKNOWLEDGED)


def test_paper_that_ends_meanwhile_is_nobodys_fault() -> None:
    machine = confirming()
    for _ in range(3):
        machine.beat(broken("pos_printer:1", "paper_end", "cover_open"), RUNNING)
    assert machine.record is not None
    assert machine.record.committing


def test_what_was_broken_before_may_stay_so() -> None:
    machine = Machine()
    machine.until(S.READY)
    machine.beat(broken("pos_printer:1", "no_response"))
    machine.say(go(machine.update.nonce))
    machine.until(S.CONFIRMING)
    machine.answer()
    for _ in range(3):
        machine.beat(broken("pos_printer:1", "no_response"), RUNNING)
    assert machine.record is not None
    assert machine.record.committing


def test_a_product_that_is_not_well_begins_its_proof_anew() -> None:
    machine = confirming()
    machine.beat()
    machine.beat()
    machine.say()
    machine.answer(Looked(job_id=JOB, activation_id=ACTIVATION, unhealthy="no card reader"))
    assert (machine.update.beats, machine.told[-1]) == (0, (S.CONFIRMING, Reason.UNHEALTHY))
    assert machine.reports[-1].detail == "no card reader"
    machine.beat()
    assert machine.update.beats == 0


def test_a_product_that_was_not_asked_yet_has_not_proved_itself() -> None:
    machine = at_state(S.CONFIRMING)
    machine.beat()
    assert machine.update.beats == 0
    assert machine.told[-1] == (S.CONFIRMING, None)


def test_a_doubt_of_the_first_interval_is_not_told() -> None:
    machine = confirming()
    told = []
    for _ in range(2):
        machine.say(Beaten(readings=(PRINTER,), acknowledged_at_s=0.0), after_s=30)
        told.append(machine.told[-1])
    assert told == [(S.CONFIRMING, None), (S.CONFIRMING, Reason.UNPROVED)]


LOST = {
    # the till's software crashed, and its launcher gave way
    "another runs": (Looked(job_id=JOB, activation_id=BEFORE), S.ROLLING_BACK, Reason.BOOT_FAILED),
    "given up": (Looked(job_id=JOB, given_up=True), S.ROLLING_BACK, Reason.BOOT_FAILED),
    # the machine booted, and nothing was started yet
    "nothing runs": (Looked(job_id=JOB), S.CONFIRMING, Reason.NOT_STARTED),
}


@pytest.mark.parametrize(("looked", "state", "reason"), LOST.values(), ids=LOST)
def test_what_stops_running_meanwhile(looked: Looked, state: JobState, reason: str) -> None:
    machine = confirming()
    machine.wait()
    machine.answer(looked)
    assert machine.told[-1] == (state, reason)


def test_a_health_that_cannot_be_asked_is_a_doubt() -> None:
    machine = confirming()
    machine.wait()
    machine.answer(failed(machine, "disk_failed"))
    assert (machine.state, machine.told[-1]) == (S.CONFIRMING, (S.CONFIRMING, "disk_failed"))


def test_no_heartbeat_at_all_is_no_proof() -> None:
    machine = confirming()
    machine.now_s += TERMS.confirm_s
    machine.say()
    assert machine.told[-1] == (S.ROLLING_BACK, Reason.UNPROVED)


def committing() -> Machine:
    machine = confirming()
    for _ in range(3):
        machine.beat()
    machine.answer()  # a look that was on its way
    assert isinstance(machine.effects[-1], Commit)
    return machine


def test_what_proved_itself_is_kept_once_the_disk_takes_it() -> None:
    machine = committing()
    machine.answer(failed(machine, "disk_full"))
    machine.say(after_s=TERMS.confirm_s)
    machine.beat(broken("pos_printer:1", "no_response"), RUNNING)
    assert isinstance(machine.effects[-1], Commit)
    again = machine.restart()
    assert kinds(again.say()) == ["Commit"]
    again.answer()
    assert again.state is S.SUCCEEDED


def test_what_proved_itself_and_is_gone_is_taken_back() -> None:
    machine = committing()
    machine.answer(failed(machine, Reason.NOT_ON_TRIAL))
    assert machine.told[-1] == (S.ROLLING_BACK, Reason.NOT_ON_TRIAL)


# --- rolling back


def test_the_committed_release_must_start_again() -> None:
    machine = rolling_back()
    machine.answer()
    assert isinstance(machine.effects[-1], Look)
    machine.answer(Looked(job_id=JOB, activation_id=ACTIVATION))
    assert machine.state is S.ROLLING_BACK
    machine.wait()
    machine.answer(Looked(job_id=JOB, activation_id=BEFORE))
    assert machine.told[-1] == (S.ROLLED_BACK, "staged_changed")


def test_a_committed_release_that_does_not_start_either_fails_the_job() -> None:
    machine = rolling_back()
    machine.answer()
    while machine.state is S.ROLLING_BACK:
        if machine.update.doing is not None:
            machine.answer(Looked(job_id=JOB))
        else:
            machine.wait()
    assert machine.told[-1] == (S.FAILED, Reason.ROLLBACK_NOT_STARTED)


def test_a_revert_is_tried_again_and_then_fails_the_job() -> None:
    machine = rolling_back()
    for number in range(1, REVERTS_MAX):
        machine.answer(failed(machine, "hook_failed"))
        wait_s = min(update.BACK_OFF_S_MAX, update.AGAIN_S * 2 ** (number - 1))
        assert update.due_s(machine.update) - machine.now_s == pytest.approx(wait_s)
        assert kinds(machine.wait()) == ["Revert"]
    machine.answer(failed(machine, "hook_failed", said="no unit"))
    assert machine.told[-1] == (S.FAILED, Reason.ROLLBACK_FAILED)
    assert machine.reports[-1].detail == "hook_failed: no unit"


# --- starts in between

RESUMED = {
    # state, what is asked first; a download is spread over a while
    S.ACCEPTED: "Fetch",
    S.DOWNLOADING: "Fetch",
    S.VERIFIED: "Stage",
    S.STAGED: "LookAtGuard",
    S.READY: "LookAtGuard",  # the ask ended with the start
    S.SWITCHING: "Activate",
    S.CONFIRMING: "Look",
}


@pytest.mark.parametrize(("state", "asked"), RESUMED.items())
def test_a_start_goes_on_where_the_last_one_was_cut(state: JobState, asked: str) -> None:
    again = at_state(state).restart()
    again.say()
    if not again.effects:
        again.wait()
    assert kinds(again.effects) == [asked]
    again.until(S.SUCCEEDED)


def test_a_start_tells_again_where_it_goes_on() -> None:
    again = at_state(S.STAGED).restart()
    again.say()
    assert again.told == [(S.STAGED, None)]


def test_a_start_in_a_rollback_takes_back_again() -> None:
    again = rolling_back().restart()
    assert kinds(again.say()) == ["Revert"]
    again.answer()
    again.answer(Looked(job_id=JOB, activation_id=BEFORE))
    assert again.told[-1] == (S.ROLLED_BACK, "staged_changed")


def test_a_switch_that_another_boot_finds_is_not_begun() -> None:
    other_boot = replace(SETTINGS, host_boot_id="boot-2")
    again = at_state(S.SWITCHING).restart(settings=other_boot)
    assert again.say() == [Activate(job_id=JOB, product="till", until_s=None)]
    same = at_state(S.SWITCHING)
    assert same.record is not None
    assert same.restart().say() == [Activate(job_id=JOB, product="till", until_s=same.record.go_until_s)]


def test_what_was_activated_is_told_to_run_by_the_next_start() -> None:
    machine = at_state(S.SWITCHING)
    machine.answer()
    assert kinds(machine.restart().say()) == ["Restart"]


@pytest.mark.parametrize("state", [S.SWITCHING, S.CONFIRMING])
def test_a_release_with_which_the_agent_starts_too_often_is_taken_back(state: JobState) -> None:
    machine = at_state(state)
    for _ in range(STARTS_MAX):
        machine = machine.restart()
        machine.say()
        assert machine.state is state
    machine = machine.restart()
    machine.say()
    assert machine.told == [(S.ROLLING_BACK, Reason.STARTS_MAX)]
    for _ in range(STARTS_MAX - 1):
        machine = machine.restart()
        machine.say()
        assert machine.state is S.ROLLING_BACK
    machine = machine.restart()
    machine.say()
    assert machine.told[-1] == (S.FAILED, Reason.ROLLBACK_FAILED)


def test_what_is_kept_is_kept_however_often_the_agent_starts() -> None:
    machine = committing()
    for _ in range(STARTS_MAX + 2):
        machine = machine.restart()
        assert kinds(machine.say()) == ["Commit"]


@pytest.mark.parametrize(("state", "ended"), [(S.STAGED, S.FAILED), (S.SWITCHING, S.FAILED), (S.CONFIRMING, S.FAILED)])
def test_a_job_whose_product_is_not_set_up_any_more_ends(state: JobState, ended: JobState) -> None:
    again = at_state(state).restart(settings=replace(SETTINGS, products={}))
    again.say()
    assert again.told[-1] == (ended, Reason.PRODUCT_UNKNOWN)


def test_the_end_of_a_job_is_told_once_across_starts() -> None:
    machine = at_state(S.SUCCEEDED)
    cut = machine.restart()  # before the page says that it was told
    cut.say()
    assert cut.told == [(S.SUCCEEDED, None)]
    assert update.due_s(cut.update) == -math.inf
    cut.say()
    again = cut.restart()
    again.say()
    assert again.told == []
    assert update.due_s(again.update) == math.inf


def test_a_start_without_a_job_tidies_up_once() -> None:
    machine = Machine()
    machine.update = update.begin(Page(), SETTINGS, at(0), machine.rng)
    assert update.due_s(machine.update) == -math.inf
    assert machine.say() == [Tidy()]
    assert update.due_s(machine.update) == math.inf
    assert machine.say() == []
    without = replace(SETTINGS, products={})
    assert update.due_s(update.begin(Page(), without, at(0), machine.rng)) == math.inf


def test_a_start_after_a_job_tidies_up_too() -> None:
    again = at_state(S.SUCCEEDED).restart()
    assert again.say() == [Tidy()]


# --- what is late, foreign or impossible


def test_a_result_that_nobody_waits_for_changes_nothing() -> None:
    machine = at_state(S.VERIFIED)
    before = machine.update
    for late in (Fetched(job_id=JOB, package=PACKAGE), Staged(job_id="r9.1"), Guarded(job_id=JOB)):
        assert machine.say(late) == []
        assert machine.update == before
    assert Machine(settings=replace(SETTINGS, products={})).say(Staged(job_id=JOB)) == []


def test_a_fetch_that_ends_after_its_job_changes_nothing() -> None:
    machine = at_state(S.DOWNLOADING)
    machine.say(withdraw())
    assert StopFetch(job_id=JOB) in machine.effects
    machine.say(Failed(job_id=JOB, doing=Doing.FETCH, reason="told", cause=Cause.CANCELLED))
    assert machine.state is S.CANCELLED


def test_a_heartbeat_without_a_job_changes_nothing() -> None:
    machine = Machine(settings=replace(SETTINGS, products={}))
    machine.beat()
    assert machine.record is None
    ended = at_state(S.SUCCEEDED)
    ended.say()
    before = ended.update
    ended.beat()
    assert ended.update == before


EVERYTHING: list[JobMessage | Result | Beaten | None] = [
    offer(),
    offer("r2-t1.1"),
    withdraw(),
    withdraw("r3-t1.1"),
    go("0" * 16),
    None,
    Fetched(job_id=JOB, package=PACKAGE),
    Staged(job_id=JOB),
    Guarded(job_id=JOB),
    Guarded(job_id=JOB, busy="sale_open"),
    Looked(job_id=JOB, activation_id=ACTIVATION),
    Looked(job_id=JOB, given_up=True),
    Reverted(job_id=JOB),
    Beaten(readings=(PRINTER, RUNNING), acknowledged_at_s=math.inf),
    *(Failed(job_id=JOB, doing=doing, reason="disk_full") for doing in Doing),
]


@pytest.mark.parametrize("doing", [None, *Doing])
@pytest.mark.parametrize("state", list(S))
def test_whatever_comes_in_whatever_state_takes_a_step_of_the_table_or_none(
    state: JobState, doing: Doing | None
) -> None:
    record = RECORD.model_copy(update={"state": state, "package": PACKAGE, "activation_id": ACTIVATION})
    for said, go_until_s in itertools.product(EVERYTHING, (None, 2000.0)):
        if state is S.OFFERED:  # never stands
            continue
        machine = Machine(page=Page(job=record))
        possible = _is_possible(state, doing, go_until_s)
        machine.update = replace(machine.update, doing=doing, go_until_s=go_until_s, next_at_s=1000.0)
        if not possible and said is not None and getattr(said, "doing", None) is doing:
            continue  # an answer to what this state never asks
        machine.say(said)
        same_job = machine.record is not None and machine.record.job_id == JOB
        if same_job:
            assert machine.state is state or _leads(state, machine.state), (state, said, machine.state)
        else:
            assert state in JOB_FINAL


ASKED_IN = {
    S.DOWNLOADING: {Doing.FETCH},
    S.VERIFIED: {Doing.STAGE},
    S.STAGED: {Doing.GUARD},
    S.READY: {Doing.GUARD},
    S.SWITCHING: {Doing.ACTIVATE, Doing.RESTART, Doing.LOOK},
    S.CONFIRMING: {Doing.LOOK, Doing.COMMIT},
    S.ROLLING_BACK: {Doing.REVERT, Doing.LOOK},
}


def _is_possible(state: JobState, doing: Doing | None, go_until_s: float | None) -> bool:
    if state is S.READY and go_until_s is None:
        return doing is None
    return doing is None or doing in ASKED_IN.get(state, set())


def _leads(state: JobState, to: JobState) -> bool:
    """Whether some steps of the table lead there."""
    reached, grown = {state}, True
    while grown:
        more = {after for (before, _), after in JOB_TABLE.items() if before in reached} - reached
        reached |= more
        grown = bool(more)
    return to in reached
