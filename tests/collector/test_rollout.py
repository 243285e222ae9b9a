"""A rollout and its jobs: the whole product of both tables, settings that refuse, and what came of a job."""

import json
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from tests.collector.rollout_words import NOW, SETTINGS, settings

from tillwatch_collector.domain.gate import Tally
from tillwatch_collector.domain.rollout import (
    ALREADY_INSTALLED,
    ENDED,
    GRANT_TABLE,
    INFRASTRUCTURE_REASONS,
    ROLLOUT_TABLE,
    SETTINGS_BYTES_MAX,
    WAVES_MAX,
    Cloned,
    Grant,
    GrantEvent,
    GrantEventIllegal,
    Job,
    Outcome,
    Rollout,
    RolloutEvent,
    RolloutEventIllegal,
    RolloutRefused,
    RolloutSettings,
    RolloutState,
    WithdrawReason,
    answered,
    approved,
    cloned,
    outcome,
    parse_settings,
    retries,
    soaked,
    started,
    step,
    step_grant,
    tally,
)
from tillwatch_protocol.job import JobState

S, E, G, V, J, O = RolloutState, RolloutEvent, Grant, GrantEvent, JobState, Outcome  # noqa: E741 - read as a grid

ROLLOUT_EXPECTED = {
    # its author lets it go, to whoever must approve it, or at once
    (S.DRAFT, E.START): S.AWAITING_APPROVAL,
    (S.DRAFT, E.APPROVE): S.RUNNING,
    (S.AWAITING_APPROVAL, E.APPROVE): S.RUNNING,
    (S.AWAITING_APPROVAL, E.REFUSE): S.ABORTED,
    # it stops and goes on
    (S.RUNNING, E.PAUSE): S.PAUSED,
    (S.PAUSED, E.RESUME): S.RUNNING,
    (S.RUNNING, E.ANSWER): S.RUNNING,
    # the gate ends it, paused or not
    (S.RUNNING, E.HALT): S.HALTED,
    (S.PAUSED, E.HALT): S.HALTED,
    (S.RUNNING, E.COMPLETE): S.COMPLETED,
    # a person ends it from wherever it stands
    (S.DRAFT, E.ABORT): S.ABORTED,
    (S.AWAITING_APPROVAL, E.ABORT): S.ABORTED,
    (S.RUNNING, E.ABORT): S.ABORTED,
    (S.PAUSED, E.ABORT): S.ABORTED,
}

GRANT_EXPECTED = {
    # an offer may be lost, and goes again
    (G.PLANNED, V.OFFER): G.OFFERED,
    (G.OFFERED, V.OFFER): G.OFFERED,
    # one nonce has one go; it is used or lapses
    (G.OFFERED, V.GO): G.GO,
    (G.GO, V.LAPSE): G.OFFERED,
    # what has no go is withdrawn, and again where that was lost
    (G.PLANNED, V.WITHDRAW): G.WITHDRAWN,
    (G.OFFERED, V.WITHDRAW): G.WITHDRAWN,
    (G.WITHDRAWN, V.WITHDRAW): G.WITHDRAWN,
    # a try is over, another begins
    (G.OFFERED, V.RETRY): G.PLANNED,
    (G.GO, V.RETRY): G.PLANNED,
}


@pytest.mark.parametrize(("state", "event"), list(product(RolloutState, RolloutEvent)))
def test_a_rollout_takes_what_its_table_has_and_nothing_else(state: RolloutState, event: RolloutEvent) -> None:
    if (state, event) in ROLLOUT_EXPECTED:
        assert step(state, event) is ROLLOUT_EXPECTED[state, event]
    else:
        with pytest.raises(RolloutEventIllegal, match=str(state)):
            step(state, event)


@pytest.mark.parametrize(("grant", "event"), list(product(Grant, GrantEvent)))
def test_a_grant_takes_what_its_table_has_and_nothing_else(grant: Grant, event: GrantEvent) -> None:
    if (grant, event) in GRANT_EXPECTED:
        assert step_grant(grant, event) is GRANT_EXPECTED[grant, event]
    else:
        with pytest.raises(GrantEventIllegal, match=str(grant)):
            step_grant(grant, event)


def test_every_state_is_reached_and_only_an_end_is_not_left() -> None:
    assert {S.DRAFT, *ROLLOUT_TABLE.values()} == set(RolloutState)
    assert set(RolloutState) - {state for state, _ in ROLLOUT_TABLE} == ENDED
    assert {G.PLANNED, *GRANT_TABLE.values()} == set(Grant)


def rollout(state: RolloutState = S.DRAFT, **changed: Any) -> Rollout:
    return Rollout(**{"rollout_id": "r1", "state": state, "author": "person:ann", "waves": 2, **changed})


def test_where_a_second_actor_must_approve_the_author_cannot_start_it() -> None:
    waiting = started(rollout(), settings())
    assert waiting.state is S.AWAITING_APPROVAL
    with pytest.raises(RolloutRefused, match="another than the author"):
        approved(waiting, "person:ann")
    assert approved(waiting, "person:bob").state is S.RUNNING
    with pytest.raises(RolloutEventIllegal, match="does not wait"):
        approved(rollout(), "person:bob")


def test_without_approval_it_runs_at_once_but_no_rollout_is_started_twice() -> None:
    alone = settings().model_copy(update={"approval": False})
    running = started(rollout(), alone)
    assert running.state is S.RUNNING
    for state in set(RolloutState) - {S.DRAFT}:
        with pytest.raises(RolloutEventIllegal):
            started(rollout(state), alone)


def test_a_person_answers_for_the_open_wave_only_while_it_runs() -> None:
    assert answered(rollout(S.RUNNING, wave=2, answered=frozenset({1}))).answered == {1, 2}
    with pytest.raises(RolloutEventIllegal):
        answered(rollout(S.PAUSED, wave=2))


# --- settings


def test_a_plan_that_states_everything_is_taken() -> None:
    assert parse_settings(json.dumps(SETTINGS)) == RolloutSettings.model_validate(SETTINGS)


def every_key(said: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    keys = [(*above, key) for key in said]
    return keys + [
        deeper for key in said if isinstance(said[key], dict) for deeper in every_key(said[key], (*above, key))
    ]


@pytest.mark.parametrize("path", every_key(SETTINGS), ids=".".join)
@pytest.mark.parametrize("value", ["missing", None, "x", -1, [[]]])
def test_what_is_missing_or_malformed_refuses_the_plan_and_names_the_key(path: tuple[str, ...], value: object) -> None:
    said = json.loads(json.dumps(SETTINGS))
    part = said
    for key in path[:-1]:
        part = part[key]
    if value == "missing":
        del part[path[-1]]
    else:
        part[path[-1]] = value
    with pytest.raises(RolloutRefused, match=r"\.".join(path)):
        parse_settings(json.dumps(said))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "JSON"),
        ("null", "settings"),
        ("x" * (SETTINGS_BYTES_MAX + 1), "at most"),
        # numbers are numbers: what has to be guessed at was not stated
        (json.dumps({**SETTINGS, "approval": "no"}), "approval"),
        (json.dumps({**SETTINGS, "approval": 0}), "approval"),
        (json.dumps({**SETTINGS, "force": True}), "force"),
        (json.dumps({**SETTINGS, "waves": []}), "waves"),
        (json.dumps({**SETTINGS, "waves": [{"count": 1}] * (WAVES_MAX + 1)}), "waves"),
        (json.dumps({**SETTINGS, "waves": [{}]}), "either count or share_pct"),
        (json.dumps({**SETTINGS, "waves": [{"count": 1, "share_pct": 1}]}), "either count or share_pct"),
        (json.dumps({**SETTINGS, "gate": {**SETTINGS["gate"], "alpha": float("nan")}}), "gate.alpha"),
    ],
)
def test_a_plan_that_cannot_be_read_is_refused(text: str, says: str) -> None:
    with pytest.raises(RolloutRefused, match=says):
        parse_settings(text)


# --- jobs

DRIVE = settings().job
DEADLINE = timedelta(seconds=DRIVE.deadline_s)
JUST = timedelta(microseconds=1)


def job(**changed: Any) -> Job:
    return Job(**{"job_id": "j1", "terminal_id": "t1", "wave": 1, "grant": G.OFFERED, **changed})


def gone(state: JobState | None, *, after: timedelta = timedelta(minutes=5), **changed: Any) -> Job:
    """Return a job that had its go, and whose end was heard so much later."""
    ended_at = NOW + after if state in set(J) - {J.SWITCHING, J.CONFIRMING} and state else None
    return job(grant=G.GO, go_at=NOW, go_nonce="n", state=state, ended_at=ended_at, **changed)


@pytest.mark.parametrize(
    ("given", "at", "expected"),
    [
        # nothing was allowed yet, whatever it prepares
        (job(grant=G.PLANNED), timedelta(), O.WAITING),
        (job(), timedelta(), O.WAITING),
        (job(state=J.READY, nonce="n"), DEADLINE, O.WAITING),
        # the deadline runs from go; at it, silence is failure
        (gone(None), DEADLINE - JUST, O.RUNNING),
        (gone(None), DEADLINE, O.SILENT),
        (gone(J.CONFIRMING), DEADLINE, O.SILENT),
        # but for an outage that takes others, too
        (gone(J.CONFIRMING, excused=True), DEADLINE, O.INFRASTRUCTURE),
        (gone(J.CONFIRMING, excused=True), DEADLINE - JUST, O.RUNNING),
        # and but for time in which nobody listened
        (gone(None, unheard_s=60), DEADLINE, O.RUNNING),
        (gone(None, unheard_s=60), DEADLINE + timedelta(seconds=60), O.SILENT),
        # what the agent says of the end
        (gone(J.SUCCEEDED), DEADLINE, O.SUCCEEDED),
        (gone(J.SUCCEEDED, after=DEADLINE), DEADLINE, O.SUCCEEDED),
        (gone(J.SUCCEEDED, after=DEADLINE + JUST), 2 * DEADLINE, O.LATE),
        (gone(J.FAILED), timedelta(), O.FAILED),
        (gone(J.ROLLED_BACK), timedelta(), O.ROLLED_BACK),
        (gone(J.ROLLED_BACK, excused=True), timedelta(), O.INFRASTRUCTURE),
        (job(state=J.REJECTED, reason="model_unsupported"), timedelta(), O.REJECTED),
        # there was nothing to do
        (job(state=J.REJECTED, reason=ALREADY_INSTALLED), timedelta(), O.INSTALLED),
        # before go the way may be to blame, after it only an outage is
        *((job(state=J.FAILED, reason=reason), timedelta(), O.INFRASTRUCTURE) for reason in INFRASTRUCTURE_REASONS),
        (gone(J.FAILED, reason="dns_failure"), timedelta(), O.FAILED),
        # a reason that nobody knows counts against the release
        (job(state=J.FAILED, reason="gremlins"), timedelta(), O.FAILED),
        (job(state=J.FAILED), timedelta(), O.FAILED),
        # who switched without go is badly wrong
        (job(state=J.SUCCEEDED, ended_at=NOW), timedelta(), O.FAILED),
        # withdrawn, with or without the agent's word on it
        (job(grant=G.WITHDRAWN, withdrawn_for=WithdrawReason.ABORTED), timedelta(), O.CANCELLED),
        (job(grant=G.WITHDRAWN, withdrawn_for=WithdrawReason.NOT_REACHED), timedelta(), O.NOT_REACHED),
        (
            job(grant=G.WITHDRAWN, withdrawn_for=WithdrawReason.NOT_REACHED, state=J.CANCELLED),
            timedelta(),
            O.NOT_REACHED,
        ),
        (job(state=J.CANCELLED), timedelta(), O.CANCELLED),
    ],
)
def test_what_came_of_a_job(given: Job, at: timedelta, expected: Outcome) -> None:
    assert outcome(given, DRIVE, NOW + at) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # what failed before go is tried again while attempts are left
        (job(state=J.FAILED, reason="disk_full"), True),
        (job(state=J.FAILED, reason="disk_full", attempts=DRIVE.attempts_max), False),
        # what the infrastructure spoiled burns none
        (job(state=J.FAILED, reason="dns_failure", attempts=DRIVE.attempts_max), True),
        (gone(J.ROLLED_BACK, excused=True), True),
        # a terminal that has shown that it cannot run the release
        (gone(J.ROLLED_BACK), False),
        (gone(J.FAILED), False),
        (job(state=J.REJECTED), False),
        # still out there, or withdrawn
        (gone(None, excused=True), False),
        (job(grant=G.WITHDRAWN, state=J.FAILED, reason="dns_failure"), False),
        (job(), False),
        (gone(J.SUCCEEDED), False),
    ],
)
def test_which_job_the_machine_tries_again(given: Job, *, expected: bool) -> None:
    assert retries(given, outcome(given, DRIVE, NOW + DEADLINE), DRIVE) is expected


def test_a_tally_counts_each_job_once() -> None:
    jobs = [
        *(gone(state) for state in (J.SUCCEEDED, J.FAILED, J.ROLLED_BACK, None)),
        gone(J.SUCCEEDED, after=2 * DEADLINE),
        gone(None, excused=True),
        job(),
        job(state=J.REJECTED),
        job(state=J.FAILED),  # tried again
        job(grant=G.WITHDRAWN),
        job(state=J.REJECTED, reason=ALREADY_INSTALLED),
    ]
    assert tally(jobs, DRIVE, NOW + DEADLINE) == Tally(
        succeeded=2, failed=2, rolled_back=1, silent=1, infrastructure=1, running=2, outside=2
    )


def test_the_soak_is_over_when_the_last_updated_terminal_was_watched_for_long_enough() -> None:
    plan = settings(gate={"soak_s": 3600})
    first, second = gone(J.SUCCEEDED, after=timedelta()), gone(J.SUCCEEDED, after=timedelta(minutes=30))
    assert soaked([first], plan, NOW) == 0.0
    assert soaked([first, second], plan, NOW + timedelta(minutes=30)) == 0.25
    assert soaked([first, second], plan, NOW + timedelta(minutes=60)) == 0.75
    assert soaked([first, second], plan, NOW + timedelta(minutes=90)) == 1.0
    # those to come are waited for, those that failed are not
    assert soaked([first, job()], plan, NOW + timedelta(hours=9)) == 0.5
    assert soaked([first, job(state=J.FAILED)], plan, NOW + timedelta(hours=9)) == 0.5
    assert soaked([first, gone(J.ROLLED_BACK)], plan, NOW + timedelta(hours=9)) == 1.0
    assert soaked([], plan, NOW) == 1.0


def test_each_try_has_an_id_of_its_own_on_the_wire_and_what_is_silent_stays_exposed() -> None:
    assert [job(try_no=number).wire_id for number in (1, 2)] == ["j1.1", "j1.2"]
    assert gone(None).exposed
    assert gone(J.CONFIRMING).exposed
    assert not gone(J.ROLLED_BACK).exposed
    assert not job().exposed


def test_a_clone_begins_with_all_with_what_is_left_or_with_what_failed() -> None:
    jobs = [
        replace(given, terminal_id=terminal_id)
        for terminal_id, given in [
            ("late", gone(J.SUCCEEDED, after=2 * DEADLINE)),
            ("back", gone(J.ROLLED_BACK)),
            ("away", job(grant=G.WITHDRAWN, withdrawn_for=WithdrawReason.NOT_REACHED)),
            ("mute", gone(None)),
            ("done", job(state=J.REJECTED, reason=ALREADY_INSTALLED)),
        ]
    ]
    whom = {each: cloned(jobs, each, DRIVE, NOW + DEADLINE) for each in Cloned}
    assert whom == {
        Cloned.ALL: ("away", "back", "done", "late", "mute"),
        Cloned.LEFT: ("away", "back", "mute"),
        Cloned.FAILED: ("back", "mute"),
    }
