"""What a terminal's heartbeat is worth as a witness on its job: what is believed of it, and when nothing more is due.

The agent owns the state of a try, so what it says of it is taken as it is, but for its success. That counts when the
same heartbeat shows the release's digest running, under an activation that is not the one from before the `go`. An
agent that says `succeeded` and does not show it yet is still confirming; at its deadline it has failed, `unproved`.

A try that has ended is not heard any more: final states are final. What is said of another try, or of another job, is
no word on this one. One exception: a rollout that was found in a database restored from a backup is behind its
terminals. It takes on later tries than it knows, and a `go` that it does not know of, since somebody gave them.

A change violates this when a success is believed that the running digest does not show, or when a terminal is told to
do again what it says it has done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tillwatch_collector.domain.rollout import (
    ALREADY_INSTALLED,
    TO_COME,
    Grant,
    Job,
    JobSettings,
    Outcome,
    retries,
)
from tillwatch_protocol.job import JOB_FINAL, JobState, JobStatus
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.scrub import scrubbed

UNPROVED = "unproved"
"""The agent says that it succeeded, or that there was nothing to do, and what runs does not show it."""
DIGEST_FACT = "digest"
ACTIVATION_FACT = "activation_id"

DOUBT = timedelta(seconds=60)
"""How long the end of a switch that nobody allowed is doubted: a database that was restored from a backup learns that
it was from the same heartbeats, within a second or two."""

_SWITCHED = frozenset(
    {JobState.SWITCHING, JobState.CONFIRMING, JobState.ROLLING_BACK, JobState.SUCCEEDED, JobState.ROLLED_BACK}
)
"""States to which a `go` leads, and nothing else does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What a terminal shows that runs of a product; None: it does not say."""

    digest: str | None = None
    activation_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a terminal's newest heartbeat says."""

    status: JobStatus
    at: datetime
    """When it was heard."""
    running: Running = Running()
    """Of the job's product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sought:
    """What a job's success must show."""

    digest: str
    """Of the release, as it was drafted."""
    activation_before: str | None
    """Before the `go`; None: it was not known."""
    restored: bool
    """Whether the rollout may be behind its terminals."""


def running(readings: Sequence[Reading], component: str) -> Running:
    """Return what a heartbeat shows that runs."""
    for reading in readings:
        if reading.component == component:
            return Running(digest=reading.facts.get(DIGEST_FACT), activation_id=reading.facts.get(ACTIVATION_FACT))
    return Running()


def believed(job: Job, told: Told, sought: Sought, settings: JobSettings, now: datetime) -> Job:
    """Return the job as it is after a heartbeat."""
    known = _caught_up(job, told) if sought.restored else job
    status = told.status
    if known.over or known.grant is Grant.PLANNED or status.job_id != known.wire_id:
        return known
    if known.go_at is None and status.state in _SWITCHED and now - told.at < DOUBT:
        return known
    if status.state is JobState.SUCCEEDED:
        return _succeeded(known, told, sought, settings, now)
    reason = status.reason
    if status.state is JobState.REJECTED and reason == ALREADY_INSTALLED and not _same(told.running, sought):
        reason = UNPROVED
    ended_at = told.at if status.state in JOB_FINAL else None
    return replace(known, state=status.state, reason=reason, nonce=status.nonce, ended_at=ended_at)


def is_active(job: Job, found: Outcome) -> bool:
    """Say whether a job keeps other rollouts from its terminal."""
    return job.grant in {Grant.OFFERED, Grant.GO} and found in TO_COME


def is_settled(job: Job, found: Outcome, settings: JobSettings, *, ended: bool, missing_since: datetime | None) -> bool:
    """Say whether nothing more is to be heard of a job, or said to its terminal.

    `ended` says whether its rollout is over; `missing_since` is when its terminal was last heard, where its newest
    heartbeat does not show this job.
    """
    if job.over:
        return ended or job.grant is Grant.WITHDRAWN or not retries(job, found, settings)
    if job.grant is Grant.WITHDRAWN:
        return job.offered_at is None or _after(missing_since, job.said_at)
    if job.grant is Grant.GO and job.go_at is not None:
        return _after(missing_since, job.go_at + timedelta(seconds=settings.deadline_s))
    return False


def _after(heard_at: datetime | None, then: datetime | None) -> bool:
    return heard_at is not None and then is not None and heard_at > then


def _succeeded(job: Job, told: Told, sought: Sought, settings: JobSettings, now: datetime) -> Job:
    """Believe a success that shows; wait for the proof until the deadline."""
    if job.go_at is None or _proved(told.running, sought):
        return replace(job, state=JobState.SUCCEEDED, reason=None, nonce=None, ended_at=told.at)
    if now < job.go_at + timedelta(seconds=settings.deadline_s):
        return replace(job, state=JobState.CONFIRMING, reason=UNPROVED, nonce=None)
    return replace(job, state=JobState.FAILED, reason=UNPROVED, nonce=None, ended_at=now)


def _proved(shown: Running, sought: Sought) -> bool:
    return _same(shown, sought) and shown.activation_id not in {None, sought.activation_before}


def _same(shown: Running, sought: Sought) -> bool:
    """Say whether the digest is the release's; on its way it may have been masked as what a card number looks like."""
    return shown.digest in {sought.digest, scrubbed(sought.digest)}


def _caught_up(job: Job, told: Told) -> Job:
    """Return a job as it must have gone on, by what its terminal says of it."""
    job_id, _, number = told.status.job_id.rpartition(".")
    if job_id != job.job_id or not number.isdecimal() or int(number) < job.try_no or job.grant is Grant.WITHDRAWN:
        return job
    if int(number) > job.try_no:
        job = Job(
            job_id=job.job_id,
            terminal_id=job.terminal_id,
            wave=job.wave,
            try_no=int(number),
            attempts=job.attempts,
            grant=Grant.OFFERED,
            offered_at=told.at,
            said_at=told.at,
        )
    if job.grant is Grant.PLANNED:
        job = replace(job, grant=Grant.OFFERED, offered_at=told.at, said_at=told.at)
    if job.grant is Grant.OFFERED and not job.over and told.status.state in _SWITCHED:
        job = replace(job, grant=Grant.GO, go_at=told.at, go_nonce=told.status.nonce)
    return job
