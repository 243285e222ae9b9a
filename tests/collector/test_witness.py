"""What a heartbeat is worth as a witness on a job: row by row."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from tests.collector.rollout_words import NOW, settings

from tillwatch_collector.domain.rollout import (
    ALREADY_INSTALLED,
    Grant,
    Job,
    Outcome,
    WithdrawReason,
    outcome,
)
from tillwatch_collector.domain.witness import (
    DOUBT,
    UNPROVED,
    Running,
    Sought,
    Told,
    believed,
    is_active,
    is_settled,
    running,
)
from tillwatch_protocol.job import JOB_FINAL, JobState, JobStatus
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.scrub import scrubbed
from tillwatch_protocol.vocabulary import Health

G, J, O = Grant, JobState, Outcome  # noqa: E741 - read as a grid
JOBS = settings().job
DIGEST = "ab" * 32
SOUGHT = Sought(digest=DIGEST, activation_before="a1", restored=False)
RESTORED = replace(SOUGHT, restored=True)
PROOF = Running(digest=DIGEST, activation_id="a2")
LATER = NOW + timedelta(seconds=100)
DEADLINE = NOW + timedelta(seconds=JOBS.deadline_s)

PLANNED = Job(job_id="j1", terminal_id="t1", wave=1)
OFFERED = replace(PLANNED, grant=G.OFFERED, offered_at=NOW, said_at=NOW)
GONE = replace(OFFERED, grant=G.GO, go_at=NOW, go_nonce="n1", state=J.READY, nonce="n1")
WITHDRAWN = replace(OFFERED, grant=G.WITHDRAWN, withdrawn_for=WithdrawReason.HALTED)


def told(state: JobState, job_id: str = "j1.1", *, shown: Running = PROOF, at: datetime = LATER, **more: Any) -> Told:
    return Told(status=JobStatus(job_id=job_id, state=state, **more), at=at, running=shown)


def after(job: Job, said: Told, sought: Sought = SOUGHT, now: datetime = LATER) -> Job:
    return believed(job, said, sought, JOBS, now)


@pytest.mark.parametrize(("job", "state"), list(product((OFFERED, GONE, WITHDRAWN), JobState)))
def test_what_the_agent_says_of_a_try_is_taken_as_it_is_but_for_a_success(job: Job, state: JobState) -> None:
    found = after(job, told(state, nonce="n2", reason="so"), now=LATER + DOUBT)
    assert found.state is state
    assert found.ended_at == (LATER if state in JOB_FINAL else None)
    if state is not J.SUCCEEDED:
        assert (found.nonce, found.reason) == ("n2", "so")


@pytest.mark.parametrize(
    ("job", "said"),
    [
        # another job, another try, another rollout's
        (OFFERED, told(J.READY, "j2.1")),
        (OFFERED, told(J.READY, "j1.2")),
        (OFFERED, told(J.READY, "j1")),
        # nothing was offered yet
        (PLANNED, told(J.STAGED)),
        # it has ended: final states are final
        (replace(GONE, state=J.ROLLED_BACK, ended_at=NOW), told(J.SUCCEEDED)),
    ],
)
def test_what_is_no_word_on_this_try_changes_nothing(job: Job, said: Told) -> None:
    assert after(job, said) == job


@pytest.mark.parametrize(
    ("shown", "sought", "now", "state", "reason"),
    [
        # it runs what it should, under another activation
        (PROOF, SOUGHT, LATER, J.SUCCEEDED, None),
        (PROOF, replace(SOUGHT, activation_before=None), LATER, J.SUCCEEDED, None),
        # it runs something else, says nothing, or was not activated since: it has until its deadline
        (replace(PROOF, digest="cd" * 32), SOUGHT, LATER, J.CONFIRMING, UNPROVED),
        (Running(), SOUGHT, LATER, J.CONFIRMING, UNPROVED),
        (replace(PROOF, activation_id="a1"), SOUGHT, LATER, J.CONFIRMING, UNPROVED),
        (replace(PROOF, activation_id=None), SOUGHT, LATER, J.CONFIRMING, UNPROVED),
        (Running(), SOUGHT, DEADLINE - timedelta(seconds=1), J.CONFIRMING, UNPROVED),
        # and then it has failed
        (Running(), SOUGHT, DEADLINE, J.FAILED, UNPROVED),
        # a proof that comes late is one
        (PROOF, SOUGHT, DEADLINE + timedelta(days=1), J.SUCCEEDED, None),
    ],
)
def test_a_success_counts_when_it_shows(
    shown: Running, sought: Sought, now: datetime, state: JobState, reason: str | None
) -> None:
    found = after(GONE, told(J.SUCCEEDED, shown=shown), sought, now)
    assert (found.state, found.reason) == (state, reason)
    assert (found.ended_at is None) is (state is J.CONFIRMING)


def test_a_digest_that_was_masked_on_its_way_is_known_all_the_same() -> None:
    digest = "4111111111111111" + "a" * 48
    shown = Running(digest=scrubbed(digest), activation_id="a2")
    assert shown.digest != digest
    assert after(GONE, told(J.SUCCEEDED, shown=shown), replace(SOUGHT, digest=digest)).state is J.SUCCEEDED


@pytest.mark.parametrize("state", [J.SUCCEEDED, J.ROLLED_BACK, J.SWITCHING])
def test_a_switch_that_nobody_allowed_is_doubted_for_a_while_and_then_believed(state: JobState) -> None:
    """A database that was restored learns so within seconds; else something is badly wrong."""
    assert after(OFFERED, told(state)) == OFFERED
    found = after(OFFERED, told(state), now=LATER + DOUBT)
    assert found.state is state
    if state is J.SUCCEEDED:
        assert outcome(found, JOBS, LATER + DOUBT) is O.FAILED


@pytest.mark.parametrize(
    ("shown", "reason", "came"),
    [
        # it runs the release: there was nothing to do
        (PROOF, ALREADY_INSTALLED, O.INSTALLED),
        # it does not: it refused
        (Running(), UNPROVED, O.REJECTED),
    ],
)
def test_what_is_installed_already_counts_where_it_shows(shown: Running, reason: str, came: Outcome) -> None:
    found = after(OFFERED, told(J.REJECTED, reason=ALREADY_INSTALLED, shown=shown))
    assert (found.reason, outcome(found, JOBS, LATER)) == (reason, came)


# --- a database that was restored from a backup


@pytest.mark.parametrize(
    ("job", "said", "expected"),
    [
        # the offer was made in the time that is lost
        (PLANNED, told(J.STAGED), {"grant": G.OFFERED, "state": J.STAGED, "offered_at": LATER}),
        # so was the go
        (OFFERED, told(J.SWITCHING), {"grant": G.GO, "state": J.SWITCHING, "go_at": LATER}),
        (PLANNED, told(J.SUCCEEDED), {"grant": G.GO, "state": J.SUCCEEDED, "go_at": LATER, "ended_at": LATER}),
        (PLANNED, told(J.ROLLED_BACK), {"grant": G.GO, "state": J.ROLLED_BACK}),
        # so was another try
        (OFFERED, told(J.VERIFIED, "j1.3"), {"grant": G.OFFERED, "try_no": 3, "state": J.VERIFIED}),
        (replace(GONE, state=J.FAILED), told(J.SUCCEEDED, "j1.2"), {"grant": G.GO, "try_no": 2, "state": J.SUCCEEDED}),
        # what is known is not taken back
        (GONE, told(J.CONFIRMING), {"grant": G.GO, "go_at": NOW, "state": J.CONFIRMING}),
        (replace(OFFERED, try_no=2), told(J.SUCCEEDED), {"grant": G.OFFERED, "try_no": 2, "state": None}),
        (WITHDRAWN, told(J.SUCCEEDED), {"grant": G.WITHDRAWN, "state": None}),
        # another job is another job
        (PLANNED, told(J.SUCCEEDED, "j2.1"), {"grant": G.PLANNED, "state": None}),
        (PLANNED, told(J.SUCCEEDED, "j1.x"), {"grant": G.PLANNED, "state": None}),
    ],
)
def test_a_restored_database_takes_on_what_its_terminals_have_done(
    job: Job, said: Told, expected: dict[str, Any]
) -> None:
    found = after(job, said, RESTORED)
    assert {name: getattr(found, name) for name in expected} == expected


# --- when a job keeps others away, and when nothing more is due


@pytest.mark.parametrize(("grant", "came"), list(product(Grant, Outcome)))
def test_a_job_keeps_others_from_its_terminal_while_it_may_still_come(grant: Grant, came: Outcome) -> None:
    expected = grant in {G.OFFERED, G.GO} and came in {O.WAITING, O.RUNNING}
    assert is_active(replace(PLANNED, grant=grant), came) is expected


SOON, LONG_AFTER = NOW + timedelta(seconds=1), NOW + timedelta(days=2)


@pytest.mark.parametrize(
    ("job", "ended", "missing_since", "expected"),
    [
        # what runs is not settled, heard or not
        (PLANNED, False, LONG_AFTER, False),
        (OFFERED, False, LONG_AFTER, False),
        (GONE, False, None, False),
        # a try that ended, unless it is tried again
        (replace(GONE, state=J.SUCCEEDED, ended_at=NOW), False, None, True),
        (replace(OFFERED, state=J.FAILED, reason="disk_full"), False, None, False),
        (replace(OFFERED, state=J.FAILED, reason="disk_full"), True, None, True),
        (replace(WITHDRAWN, state=J.CANCELLED), False, None, True),
        # what was withdrawn: at once where it was never offered, else when its terminal has it no more
        (replace(WITHDRAWN, offered_at=None), False, None, True),
        (WITHDRAWN, True, None, False),
        (WITHDRAWN, True, NOW, False),
        (WITHDRAWN, True, SOON, True),
        # who fell silent after its go, and comes back without the job
        (GONE, True, DEADLINE, False),
        (GONE, True, DEADLINE + timedelta(seconds=1), True),
    ],
)
def test_a_job_is_settled_when_nothing_more_can_come_of_it(
    job: Job, ended: bool, missing_since: datetime | None, expected: bool
) -> None:
    came = outcome(job, JOBS, NOW)
    assert is_settled(job, came, JOBS, ended=ended, missing_since=missing_since) is expected


def test_what_runs_is_read_from_the_products_own_component() -> None:
    facts = {"digest": DIGEST, "activation_id": "a2"}
    other = Reading(component="application:kiosk", health=Health.OK, facts={"digest": "cd"})
    own = Reading(component="application:till", health=Health.OK, facts=facts)
    assert running([other, own], "application:till") == PROOF
    assert running([other], "application:till") == Running()
