"""The machine of a job: from the offer to what runs in the end, whatever comes in between."""

import itertools
import math
from dataclasses import replace

import pytest
from tests.agent.job_words import (
    ACTIVATION,
    JOB,
    PACKAGE,
    PRINTER,
    SETTINGS,
    TARGET,
    TERMS,
    Machine,
    at_state,
    failed,
    go,
    kinds,
    offer,
    withdraw,
)
from tests.agent.moments import at

from tillwatch_agent import update
from tillwatch_agent.installer.order import Cause
from tillwatch_agent.installer.order import Reason as FetchReason
from tillwatch_agent.job_standing import Reason
from tillwatch_agent.job_work import (
    CleanUp,
    Commit,
    Fetch,
    Fetched,
    Guarded,
    Look,
    LookAtGuard,
    Restart,
    Stage,
)
from tillwatch_agent.update import ASK_FOR_S, ASK_FRESH_S, GUARD_EVERY_S
from tillwatch_protocol.job import JOB_FINAL, JobMessage, JobState
from tillwatch_protocol.release import InstallerKind

S = JobState


# --- the way through


def test_a_job_goes_from_its_offer_to_success() -> None:
    machine = Machine()
    machine.until(S.SUCCEEDED)
    asked = [name for name, _ in itertools.groupby(kinds(machine.effects))]
    assert asked == [
        "Fetch",
        "Stage",
        "LookAtGuard",
        "Activate",
        "Restart",
        "Look",
        "Commit",
        "CleanUp",
    ]
    assert machine.told == [
        (S.ACCEPTED, None),
        (S.DOWNLOADING, None),
        (S.VERIFIED, None),
        (S.STAGED, None),
        (S.READY, None),
        (S.SWITCHING, None),
        (S.CONFIRMING, None),
        (S.SUCCEEDED, None),
    ]


def test_what_is_asked_names_the_job_and_what_it_is_about() -> None:
    machine = Machine()
    machine.until(S.SUCCEEDED)
    by_kind = {type(effect): effect for effect in machine.effects}
    assert by_kind[Fetch] == Fetch(job_id=JOB, product="till", target=TARGET)
    assert by_kind[Stage] == Stage(job_id=JOB, product="till", target=TARGET, package=PACKAGE)
    assert by_kind[LookAtGuard] == LookAtGuard(job_id=JOB, product="till", hold=True)
    assert by_kind[Restart] == Restart(job_id=JOB, product="till", activation_id=ACTIVATION)
    assert by_kind[Commit] == Commit(job_id=JOB, product="till", activation_id=ACTIVATION)
    assert by_kind[Look] == Look(job_id=JOB, product="till", asks_health=True)


def test_a_download_begins_spread_over_time() -> None:
    begins = set()
    for seed in range(20):
        machine = Machine(seed=seed)
        assert machine.say(offer()) == []
        begins.add(round(update.due_s(machine.update) - machine.now_s))
        assert kinds(machine.wait()) == ["Fetch"]
    assert len(begins) > 10
    assert all(0 <= waits_s <= SETTINGS.spread_s for waits_s in begins)


def test_the_heartbeat_says_where_the_newest_job_stands() -> None:
    machine = Machine()
    assert update.status(machine.update) is None
    machine.until(S.READY)
    status = update.status(machine.update)
    assert status is not None
    assert (status.job_id, status.state, status.reason) == (JOB, S.READY, None)
    assert status.nonce == machine.update.nonce
    machine.until(S.SUCCEEDED)
    ended = update.status(machine.update)
    assert ended is not None
    assert (ended.state, ended.nonce) == (S.SUCCEEDED, None)


# --- offers, withdrawals, words about others


@pytest.mark.parametrize("state", [state for state in S if state not in JOB_FINAL and state is not S.OFFERED])
def test_another_offer_is_left_while_a_job_runs(state: JobState) -> None:
    machine = at_state(state)
    before = machine.update
    assert machine.say(offer("r2-t1.1")) == []
    assert machine.update.page == before.page


def test_an_offer_that_comes_again_changes_nothing() -> None:
    for state in (S.ACCEPTED, S.STAGED, S.SUCCEEDED):
        machine = at_state(state)
        machine.say()
        before = machine.update
        assert machine.say(offer()) == []
        assert machine.update == before


def test_a_job_that_is_over_gives_way_to_the_next_and_is_never_taken_again() -> None:
    machine = at_state(S.SUCCEEDED)
    machine.say(offer("r1-t1.2"))
    assert machine.record is not None
    assert (machine.record.job_id, machine.state) == ("r1-t1.2", S.ACCEPTED)
    machine.say(withdraw("r1-t1.2"))
    assert machine.state is S.CANCELLED
    machine.say(offer(JOB))  # a captured message, said again
    assert machine.record.job_id == "r1-t1.2"
    assert machine.restart().update.page.over == (JOB,)


def test_only_the_newest_jobs_are_remembered() -> None:
    machine = Machine()
    for number in range(70):
        machine.say(withdraw(f"j-{number}"))
    assert machine.update.page.over == tuple(f"j-{number}" for number in range(6, 70))
    machine.say(withdraw("j-69"))
    assert len(machine.update.page.over) == 64


def test_a_withdrawal_that_overtakes_its_offer_is_remembered() -> None:
    machine = Machine()
    assert machine.say(withdraw()) == []
    assert machine.say(offer()) == []
    assert machine.record is None


@pytest.mark.parametrize("message", [offer(target=None), offer(target="Till/x"), offer(target="x-/../y")])
def test_an_offer_of_nothing_is_left(message: JobMessage) -> None:
    machine = Machine()
    machine.say(message)
    assert machine.record is None


def test_an_offer_of_a_product_that_is_not_set_up_is_rejected() -> None:
    machine = Machine()
    machine.say(offer(target="scale/scale-1.0.tar.gz"))
    assert machine.told == [(S.REJECTED, Reason.PRODUCT_UNKNOWN)]


@pytest.mark.parametrize("state", [S.ACCEPTED, S.DOWNLOADING, S.VERIFIED, S.STAGED, S.READY])
def test_what_has_no_go_can_be_withdrawn(state: JobState) -> None:
    machine = at_state(state)
    machine.effects.clear()
    machine.say(withdraw())
    assert machine.state is S.CANCELLED
    expected = ["StopFetch", "CleanUp"] if state is S.DOWNLOADING else ["CleanUp"]
    assert kinds(machine.effects) == expected


@pytest.mark.parametrize("state", [S.SWITCHING, S.CONFIRMING, S.ROLLING_BACK, S.SUCCEEDED])
def test_what_has_its_go_finishes_whatever_is_withdrawn(state: JobState) -> None:
    machine = at_state(state)
    assert machine.say(withdraw()) == []
    assert machine.state is state


def test_a_withdrawal_stops_a_go_that_was_not_used_yet() -> None:
    machine = at_state(S.READY)
    assert machine.say(go(machine.update.nonce)) == [LookAtGuard(job_id=JOB, product="till", hold=True)]
    machine.say(withdraw())
    assert machine.state is S.CANCELLED
    assert machine.say(Guarded(job_id=JOB)) == []
    assert machine.state is S.CANCELLED


# --- go


def test_a_go_is_for_the_newest_ask_alone() -> None:
    machine = at_state(S.READY)
    first = machine.update.nonce
    machine.beat(PRINTER)
    assert machine.update.nonce != first
    for foreign in (go(first), go(None), go("0" * 16), go(machine.update.nonce, valid_for_s=None), go(first, "r9.1")):
        assert machine.say(foreign) == []
        assert machine.state is S.READY


@pytest.mark.parametrize("state", [S.ACCEPTED, S.DOWNLOADING, S.STAGED, S.CONFIRMING, S.SUCCEEDED])
def test_a_go_that_nobody_asked_for_is_left(state: JobState) -> None:
    machine = at_state(state)
    nonce = machine.update.nonce or "0" * 16
    before = machine.update
    assert [effect for effect in machine.say(go(nonce)) if not isinstance(effect, Look)] == []
    assert machine.update.page.job == before.page.job or state is S.SUCCEEDED


def test_a_go_lives_from_its_ask() -> None:
    machine = at_state(S.READY)
    machine.now_s = machine.update.asked_at_s + 59.9
    assert kinds(machine.say(go(machine.update.nonce))) == ["LookAtGuard"]
    late = at_state(S.READY)
    late.now_s = late.update.asked_at_s + 60
    late.say(go(late.update.nonce))
    assert (late.state, late.told[-1]) == (S.STAGED, (S.STAGED, Reason.GO_LAPSED))
    late.answer()
    assert late.state is S.READY


def test_a_go_that_comes_twice_switches_once() -> None:
    machine = at_state(S.READY)
    message = go(machine.update.nonce)
    machine.say(message)
    assert machine.say(message) == []
    machine.answer()
    assert machine.state is S.SWITCHING
    assert machine.say(message) == []


def test_an_ask_is_made_anew_when_it_is_no_longer_fresh() -> None:
    machine = at_state(S.READY)
    first = machine.update.nonce
    asked_at_s = machine.update.asked_at_s
    early = update.ask_anew(machine.update, at(asked_at_s + ASK_FRESH_S - 1), machine.rng)
    assert early.nonce == first
    later = update.ask_anew(machine.update, at(asked_at_s + ASK_FRESH_S), machine.rng)
    assert later.nonce != first
    assert update.asks_at_s(machine.update) == asked_at_s + ASK_FOR_S
    assert update.due_s(machine.update) == math.inf
    machine.say(go(first))
    assert update.asks_at_s(machine.update) == math.inf


def test_no_wall_clock_decides_anything() -> None:
    machine = Machine()
    machine.until(S.READY)
    moments = [at(machine.now_s), at(machine.now_s)]
    moments[1] = replace(moments[1], at=moments[1].at.replace(year=1970))
    after = [update.step(machine.update, go(machine.update.nonce), SETTINGS, moment, machine.rng) for moment in moments]
    assert after[0] == after[1]


# --- a busy till


def test_a_busy_till_is_asked_again_and_says_why() -> None:
    machine = at_state(S.STAGED)
    assert machine.say(Guarded(job_id=JOB, busy="sale_open", said="a sale")) == []
    status = update.status(machine.update)
    assert status is not None
    assert (status.state, status.reason) == (S.STAGED, "sale_open")
    assert machine.reports[-1].detail == "a sale"
    assert update.due_s(machine.update) == machine.now_s + GUARD_EVERY_S
    assert kinds(machine.wait()) == ["LookAtGuard"]
    machine.answer()
    assert machine.state is S.READY


def test_a_till_that_is_busy_at_the_go_lets_it_lapse() -> None:
    machine = at_state(S.READY)
    machine.say(go(machine.update.nonce))
    machine.answer(Guarded(job_id=JOB, busy="sale_open"))
    assert (machine.state, machine.told[-1]) == (S.STAGED, (S.STAGED, "sale_open"))
    machine.wait()
    assert machine.asked(LookAtGuard).hold is False
    machine.answer()
    assert machine.state is S.READY


def test_a_till_that_is_idle_too_late_lets_the_go_lapse() -> None:
    machine = at_state(S.READY)
    machine.say(go(machine.update.nonce))
    machine.now_s += 61
    machine.answer()
    assert (machine.state, machine.told[-1]) == (S.STAGED, (S.STAGED, Reason.GO_LAPSED))


def test_a_till_that_is_busy_for_too_long_on_end_fails_its_job() -> None:
    machine = at_state(S.STAGED)
    hours = replace(TERMS, busy_s_max=3600.0)
    machine.settings = replace(SETTINGS, products={"till": hours})
    while machine.state is S.STAGED:
        if machine.update.doing is None:
            machine.wait()
        machine.answer(Guarded(job_id=JOB, busy="sale_open", said="the lock"))
    assert machine.told[-1] == (S.FAILED, Reason.TILL_BUSY)
    assert machine.reports[-1].detail == "sale_open: the lock"


def test_a_guard_that_fails_is_a_busy_till() -> None:
    machine = at_state(S.STAGED)
    machine.answer(failed(machine, "disk_failed"))
    assert (machine.state, machine.told[-1]) == (S.STAGED, (S.STAGED, "disk_failed"))


# --- downloads

NOT_FETCHED = {
    # the way to the repository: tried again, then failed in words that the collector does not count
    "no network": (FetchReason.UNREACHABLE, Cause.NETWORK, S.DOWNLOADING, "metadata_unreachable"),
    "cut": (FetchReason.CUT, Cause.NETWORK, S.DOWNLOADING, "download_interrupted"),
    "slow": (FetchReason.SLOW, Cause.NETWORK, S.DOWNLOADING, "download_slow"),
    "tls": (FetchReason.TLS, Cause.NETWORK, S.DOWNLOADING, "tls_failure"),
    "5xx": (FetchReason.REFUSED, Cause.NETWORK, S.DOWNLOADING, "http_5xx"),
    "another one fetches": (FetchReason.BUSY, Cause.STORAGE, S.DOWNLOADING, "download_interrupted"),
    "killed": (FetchReason.CUT, None, S.DOWNLOADING, "download_interrupted"),
    # the disk, which somebody may empty
    "disk full": (FetchReason.DISK_FULL, Cause.STORAGE, S.DOWNLOADING, "disk_full"),
    # the clock: asked again when the time is told
    "own clock": (FetchReason.EXPIRED_BY_OWN_CLOCK, Cause.TRUST, S.DOWNLOADING, "clock_unknown"),
    # the repository's people
    "unsigned": (FetchReason.UNSIGNED, Cause.TRUST, S.FAILED, "trust_unsigned"),
    "expired": (FetchReason.EXPIRED, Cause.TRUST, S.FAILED, "trust_expired"),
    "mismatch": (FetchReason.MISMATCH, Cause.TRUST, S.FAILED, "trust_mismatch"),
    # none for this terminal
    "revoked": (FetchReason.REVOKED, Cause.TRUST, S.REJECTED, "revoked"),
    "unfit": (FetchReason.UNFIT, Cause.CONSTRAINT, S.REJECTED, "unfit"),
    "installed": (Reason.ALREADY_INSTALLED, Cause.CONSTRAINT, S.REJECTED, "already_installed"),
}


@pytest.mark.parametrize(("reason", "cause", "state", "told"), NOT_FETCHED.values(), ids=NOT_FETCHED)
def test_what_cannot_be_fetched(reason: str, cause: Cause | None, state: JobState, told: str) -> None:
    machine = at_state(S.DOWNLOADING)
    machine.answer(failed(machine, reason, cause=cause))
    assert (machine.state, machine.told[-1]) == (state, (state, told))


def test_a_download_is_tried_again_ever_later_and_then_fails() -> None:
    machine = at_state(S.DOWNLOADING)
    waits = []
    while machine.state is S.DOWNLOADING:
        machine.answer(failed(machine, FetchReason.CUT, cause=Cause.NETWORK))
        if machine.state is S.DOWNLOADING:
            waits.append(update.due_s(machine.update) - machine.now_s)
            assert machine.wait() == [Fetch(job_id=JOB, product="till", target=TARGET)]
    assert len(waits) == TERMS.downloads_max - 1
    for number, wait_s in enumerate(waits):
        assert TERMS.back_off_s * 2**number / 2 <= wait_s <= TERMS.back_off_s * 2**number
    assert machine.told[-1] == (S.FAILED, "download_interrupted")


def test_downloads_that_failed_are_counted_across_starts() -> None:
    machine = at_state(S.DOWNLOADING)
    machine.answer(failed(machine, FetchReason.CUT, cause=Cause.NETWORK))
    again = machine.restart()
    assert again.record is not None
    assert again.record.downloads_failed == 1
    assert again.say() == []
    assert 0 <= update.due_s(again.update) - again.now_s <= update.RESUME_S
    assert kinds(again.wait()) == ["Fetch"]


def test_a_release_of_another_installer_is_rejected() -> None:
    machine = at_state(S.DOWNLOADING)
    other = PACKAGE.model_copy(update={"installer": InstallerKind.CONFIG})
    machine.answer(Fetched(job_id=JOB, package=other))
    assert machine.told[-1] == (S.REJECTED, Reason.INSTALLER_UNKNOWN)


def test_what_cannot_be_staged_fails() -> None:
    machine = at_state(S.VERIFIED)
    machine.answer(failed(machine, "archive_unsafe"))
    assert machine.told[-1] == (S.FAILED, "archive_unsafe")
    assert machine.effects[-1] == CleanUp(job_id=JOB)
