"""A rollout and its jobs as values: where they stand, what moves them, and what came of each.

Two machines, one table each. The rollout goes from draft to one of three ends; a halted one does not go on: what is
left goes as a clone, which is looked at and approved anew. The grant is the collector's side of a job: what the
terminal was allowed, never what it did. What it did is the agent's to say (`tillwatch_protocol.job`), and `outcome`
reads both.

A job is one terminal's part. It may be tried several times; each try has an id of its own on the wire, so that no late
word of one is taken for another's. A try that the infrastructure spoiled burns no attempt; one that switched and rolled
back is not tried again by the machine: the terminal has shown that it cannot run the release.

A change violates this when a state is assigned without `step`, or when a terminal that was allowed to switch and is not
heard of counts as anything but silent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tillwatch_collector.domain import mistakes
from tillwatch_collector.domain.gate import GateSettings, Tally
from tillwatch_collector.domain.window import WindowSettings
from tillwatch_collector.errors import CallerError
from tillwatch_protocol.errors import OwnError
from tillwatch_protocol.job import JOB_FINAL, JobState

SETTINGS_BYTES_MAX = 64 * 1024
"""A plan with two years of blackouts is a tenth of it."""
WAVES_MAX = 100
"""A year of nights has more; who watches a hundred waves watches none."""
DAY_S = 86_400
BACK_OFF_S_MAX = DAY_S
"""What a back-off doubles to: some time of every day a store's line is good."""


class RolloutRefused(CallerError):  # noqa: N818 - it names what is so
    """A plan cannot be used; says the key, what was expected and what came."""


class RolloutEventIllegal(CallerError):  # noqa: N818
    """The rollout's state does not take the event; nothing changed."""


class GrantEventIllegal(OwnError):  # noqa: N818
    """A grant does not take the event; nothing changed."""


# --- the rollout


class RolloutState(StrEnum):
    """Where a rollout stands."""

    DRAFT = "draft"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    PAUSED = "paused"
    """Nothing is offered and nothing gets its go; what has one finishes."""
    HALTED = "halted"
    """The gate ended it: what has no go is withdrawn."""
    COMPLETED = "completed"
    ABORTED = "aborted"
    """A person ended it: what has no go is withdrawn."""


class RolloutEvent(StrEnum):
    """What moves a rollout."""

    START = "start"
    """Its author lets it go: to whoever must approve it, or at once."""
    APPROVE = "approve"
    REFUSE = "refuse"
    PAUSE = "pause"
    """A person, a setting that cannot be read, or a collector that was restored from a backup."""
    RESUME = "resume"
    ANSWER = "answer"
    """A person answers for opening the next wave without the evidence that the gate holds for."""
    HALT = "halt"
    COMPLETE = "complete"
    ABORT = "abort"


ENDED = frozenset({RolloutState.HALTED, RolloutState.COMPLETED, RolloutState.ABORTED})
"""States that no event leaves."""

S, E = RolloutState, RolloutEvent

ROLLOUT_TABLE: dict[tuple[RolloutState, RolloutEvent], RolloutState] = {
    # START from DRAFT leads to RUNNING where no approval is needed: `started` says which.
    (S.DRAFT, E.START): S.AWAITING_APPROVAL,
    (S.DRAFT, E.APPROVE): S.RUNNING,
    # (DRAFT, REFUSE): a draft is changed or aborted
    # (DRAFT, PAUSE), (DRAFT, RESUME), (DRAFT, ANSWER), (DRAFT, HALT), (DRAFT, COMPLETE): nothing runs
    (S.DRAFT, E.ABORT): S.ABORTED,
    #
    # (AWAITING_APPROVAL, START): it was
    (S.AWAITING_APPROVAL, E.APPROVE): S.RUNNING,
    # What was refused is not changed under the eyes of who refused it: a clone is another plan.
    (S.AWAITING_APPROVAL, E.REFUSE): S.ABORTED,
    # (AWAITING_APPROVAL, PAUSE), (.., RESUME), (.., ANSWER), (.., HALT), (.., COMPLETE): nothing runs
    (S.AWAITING_APPROVAL, E.ABORT): S.ABORTED,
    #
    # (RUNNING, START), (RUNNING, APPROVE): it was
    # (RUNNING, REFUSE): who approved it, aborts it
    (S.RUNNING, E.PAUSE): S.PAUSED,
    # (RUNNING, RESUME): it runs
    (S.RUNNING, E.ANSWER): S.RUNNING,
    (S.RUNNING, E.HALT): S.HALTED,
    (S.RUNNING, E.COMPLETE): S.COMPLETED,
    (S.RUNNING, E.ABORT): S.ABORTED,
    #
    # (PAUSED, START), (PAUSED, APPROVE): it was
    # (PAUSED, REFUSE): who approved it, aborts it
    # (PAUSED, PAUSE): it is
    (S.PAUSED, E.RESUME): S.RUNNING,
    # (PAUSED, ANSWER): what is paused opens no wave; it is resumed first
    # What had its go when it was paused reports on, and may show that the release is bad.
    (S.PAUSED, E.HALT): S.HALTED,
    # (PAUSED, COMPLETE): who paused it, ends its pause
    (S.PAUSED, E.ABORT): S.ABORTED,
    #
    # (HALTED, *), (COMPLETED, *), (ABORTED, *): final
}


def step(state: RolloutState, event: RolloutEvent) -> RolloutState:
    """Return the next state; raises `RolloutEventIllegal` and changes nothing when the table has no row."""
    try:
        return ROLLOUT_TABLE[state, event]
    except KeyError:
        allowed = ", ".join(sorted(e for s, e in ROLLOUT_TABLE if s is state)) or "nothing, it is over"
        raise RolloutEventIllegal(f"a rollout that is {state} takes {allowed}; got {event}") from None


_PEOPLES = (E.START, E.APPROVE, E.REFUSE, E.PAUSE, E.RESUME, E.ANSWER, E.ABORT)
RETRY, CLONE = "retry", "clone"
"""What people do with jobs of a rollout, and with its plan; no event of its own."""


def actions_of(state: RolloutState) -> tuple[str, ...]:
    """Return what people may do with a rollout in this state."""
    # A draft that needs no approval is started all the same: `started` approves it.
    events = [e for e in _PEOPLES if (state, e) in ROLLOUT_TABLE and (state, e) != (S.DRAFT, E.APPROVE)]
    retries_too = [RETRY] if state in {S.RUNNING, S.PAUSED} else []
    return (*events, *retries_too, CLONE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """A rollout as far as decisions need it."""

    rollout_id: str
    state: RolloutState
    author: str
    """`kind:id` of who wrote the plan."""
    waves: int
    """How many are planned."""
    wave: int = 0
    """The one that is open; 0: none yet."""
    wave_opened_at: datetime | None = None
    looks_done: int = 0
    """Of the gate, in the open wave."""
    answered: frozenset[int] = frozenset()
    """Waves for whose missing evidence a person answered."""


def started(rollout: Rollout, settings: "RolloutSettings") -> Rollout:
    """Return the rollout as its author lets it go: it waits where a second actor must approve, else it runs."""
    event = RolloutEvent.START if settings.approval else RolloutEvent.APPROVE
    if rollout.state is not RolloutState.DRAFT:
        event = RolloutEvent.START
    return replace(rollout, state=step(rollout.state, event))


def approved(rollout: Rollout, actor: str) -> Rollout:
    """Return the rollout as somebody else lets it run; raises `RolloutRefused` where it is the author."""
    if rollout.state is not RolloutState.AWAITING_APPROVAL:
        raise RolloutEventIllegal(f"a rollout that is {rollout.state} does not wait for approval")
    if actor == rollout.author:
        raise RolloutRefused(f"actor: expected another than the author {rollout.author}, got {actor}")
    return replace(rollout, state=step(rollout.state, RolloutEvent.APPROVE))


def answered(rollout: Rollout) -> Rollout:
    """Return the rollout with a person's answer for the missing evidence of the open wave."""
    return replace(rollout, state=step(rollout.state, RolloutEvent.ANSWER), answered=rollout.answered | {rollout.wave})


# --- its settings


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WaveSize(_Value):
    """How many terminals one wave takes: a count, or a share of the selection, rounded up."""

    count: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    share_pct: Annotated[float, Field(gt=0, le=100)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.count is None) == (self.share_pct is None):
            raise ValueError("expected either count or share_pct")
        return self


class Limits(_Value):
    """How many may be between their `go` and their end at once."""

    exposed_max: Annotated[int, Field(ge=1, le=100_000)]
    per_store_max: Annotated[int, Field(ge=1, le=1_000)]
    """Of one store; where it has more than one till, one is always left alone."""


class JobSettings(_Value):
    """How one terminal's part is driven."""

    deadline_s: Annotated[float, Field(gt=0, le=DAY_S)]
    """From `go` to its end; the window must still be open for as long."""
    reach_s: Annotated[float, Field(gt=0, le=60 * DAY_S)]
    """From the opening of the wave; who had no `go` by then was not reached, and stands outside the gate."""
    attempts_max: Annotated[int, Field(ge=1, le=10)]
    back_off_s: Annotated[float, Field(gt=0, le=BACK_OFF_S_MAX)]
    """After the first failed try; it doubles with each."""
    offers_per_minute_max: Annotated[int, Field(ge=1, le=100_000)]
    """First offers, each of which begins a download."""


class RolloutSettings(_Value):
    """A whole plan, without its selection. Nothing that makes a rollout safe has a default: what is not stated, or
    cannot be read, refuses it."""  # noqa: D205, D209 - one thought

    waves: Annotated[tuple[WaveSize, ...], Field(min_length=1, max_length=WAVES_MAX)]
    """In order; the last repeats until none is left."""
    limits: Limits
    window: WindowSettings
    gate: GateSettings
    job: JobSettings
    approval: bool
    """Whether somebody other than the author must let it run."""


def parse_settings(text: str) -> RolloutSettings:
    """Return the settings that a JSON text says; raises `RolloutRefused`, also for what was valid once."""
    if len(text) > SETTINGS_BYTES_MAX:
        raise RolloutRefused(f"settings: expected at most {SETTINGS_BYTES_MAX} characters, got {len(text)}")
    try:
        return RolloutSettings.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise RolloutRefused(mistakes.told(error, "settings")) from None


# --- one terminal's part


class Grant(StrEnum):
    """What the collector allowed a job."""

    PLANNED = "planned"
    OFFERED = "offered"
    """It may download and stage."""
    GO = "go"
    """It may switch."""
    WITHDRAWN = "withdrawn"


class GrantEvent(StrEnum):
    """What moves a grant."""

    OFFER = "offer"
    GO = "go"
    LAPSE = "lapse"
    """The agent fell back to staged, or asks with another nonce: its `go` was not used, and cannot be any more."""
    WITHDRAW = "withdraw"
    RETRY = "retry"
    """The try is over; another one begins."""


G, V = Grant, GrantEvent

GRANT_TABLE: dict[tuple[Grant, GrantEvent], Grant] = {
    (G.PLANNED, V.OFFER): G.OFFERED,
    # (PLANNED, GO), (PLANNED, LAPSE): nothing was offered
    (G.PLANNED, V.WITHDRAW): G.WITHDRAWN,
    # (PLANNED, RETRY): it was not tried
    # Offered again: an offer may be lost.
    (G.OFFERED, V.OFFER): G.OFFERED,
    (G.OFFERED, V.GO): G.GO,
    # (OFFERED, LAPSE): it had no go
    (G.OFFERED, V.WITHDRAW): G.WITHDRAWN,
    (G.OFFERED, V.RETRY): G.PLANNED,
    # (GO, OFFER): what may switch needs no offer
    # (GO, GO): one nonce has one go; another one lapses first
    (G.GO, V.LAPSE): G.OFFERED,
    # (GO, WITHDRAW): it may be switching: it finishes or rolls back
    (G.GO, V.RETRY): G.PLANNED,
    #
    # (WITHDRAWN, OFFER), (WITHDRAWN, GO), (WITHDRAWN, LAPSE): it is over
    # Withdrawn again: the word may be lost.
    (G.WITHDRAWN, V.WITHDRAW): G.WITHDRAWN,
    # (WITHDRAWN, RETRY): it was not reached in its wave; a clone takes it up
}


def step_grant(grant: Grant, event: GrantEvent) -> Grant:
    """Return the next grant; raises `GrantEventIllegal` and changes nothing when the table has no row."""
    try:
        return GRANT_TABLE[grant, event]
    except KeyError:
        raise GrantEventIllegal(f"a job that is {grant} does not take {event}") from None


class WithdrawReason(StrEnum):
    """Why a job is withdrawn."""

    HALTED = "halted"
    ABORTED = "aborted"
    NOT_REACHED = "not_reached"
    """It had no `go` in its wave's time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One terminal's part of a rollout, as last known."""

    job_id: str
    terminal_id: str
    wave: int
    grant: Grant = Grant.PLANNED
    try_no: int = 1
    attempts: int = 1
    """Tries that count; those that the infrastructure spoiled do not."""
    offered_at: datetime | None = None
    """First, in this try."""
    said_at: datetime | None = None
    """When the collector last sent something about it."""
    go_at: datetime | None = None
    go_nonce: str | None = None
    not_before: datetime | None = None
    """Of a try that backs off."""
    state: JobState | None = None
    """What the agent says of this try, the newest by its stream's own order; None: nothing yet."""
    reason: str | None = None
    nonce: str | None = None
    """With which it asked for `go`."""
    ended_at: datetime | None = None
    """When the collector heard that this try is over."""
    withdrawn_for: WithdrawReason | None = None
    excused: bool = False
    """Whether an outage that is not the release's explains what came of it: terminals that are not updated are silent
    with it. What decides this must not excuse updated terminals alone."""
    unheard_s: float = 0.0
    """Of the time since its `go`, how much nobody listened to: that counts toward nobody's silence."""

    @property
    def wire_id(self) -> str:
        """The id of this try on the wire."""
        return f"{self.job_id}.{self.try_no}"

    @property
    def over(self) -> bool:
        """Whether the agent has ended this try."""
        return self.state in JOB_FINAL

    @property
    def exposed(self) -> bool:
        """Whether it may have switched, and has not ended; a silent one stays exposed."""
        return self.grant is Grant.GO and not self.over


INFRASTRUCTURE_REASONS = frozenset(
    {
        "clock_unknown",
        "collector_unreachable",
        "connection_lost",
        "dns_failure",
        "download_interrupted",
        "download_slow",
        "http_429",
        "http_5xx",
        "metadata_unreachable",
        "power_lost",
        "till_busy",
        "tls_failure",
    }
)
"""Reasons of an agent whose try failed before its `go` for what is no fault of the release. Any other counts against
it, an unknown one too."""


ALREADY_INSTALLED = "already_installed"
"""Reason of an agent that runs the release already: somebody installed it since the selection was frozen."""


class Outcome(StrEnum):
    """What came of a job, by the collector's judgement."""

    WAITING = "waiting"
    """It has no `go`."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    LATE = "late"
    """It succeeded after its deadline."""
    FAILED = "failed"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    SILENT = "silent"
    INFRASTRUCTURE = "infrastructure"
    NOT_REACHED = "not_reached"
    CANCELLED = "cancelled"
    INSTALLED = "installed"
    """It ran the release before it was tried."""


BAD = frozenset({Outcome.FAILED, Outcome.REJECTED, Outcome.ROLLED_BACK, Outcome.SILENT})
UPDATED = frozenset({Outcome.SUCCEEDED, Outcome.LATE})
TO_COME = frozenset({Outcome.WAITING, Outcome.RUNNING})
_ENDS: Mapping[JobState, Outcome] = {
    JobState.SUCCEEDED: Outcome.SUCCEEDED,
    JobState.FAILED: Outcome.FAILED,
    JobState.REJECTED: Outcome.REJECTED,
    JobState.ROLLED_BACK: Outcome.ROLLED_BACK,
    JobState.CANCELLED: Outcome.CANCELLED,
}


def outcome(job: Job, settings: JobSettings, now: datetime) -> Outcome:
    """Say what came of a job's present try."""
    if job.state is not None and job.state in _ENDS:
        return _ended(job, _ENDS[job.state], settings)
    if job.grant is Grant.WITHDRAWN:
        return _withdrawn(job)
    if job.go_at is None:
        return Outcome.WAITING
    if now < job.go_at + timedelta(seconds=settings.deadline_s + job.unheard_s):
        return Outcome.RUNNING
    return Outcome.INFRASTRUCTURE if job.excused else Outcome.SILENT


def _ended(job: Job, end: Outcome, settings: JobSettings) -> Outcome:
    if end is Outcome.SUCCEEDED:
        if job.go_at is None or job.ended_at is None:
            return Outcome.FAILED  # It switched without a go: whatever it runs, something is badly wrong.
        late = job.ended_at > job.go_at + timedelta(seconds=settings.deadline_s)
        return Outcome.LATE if late else Outcome.SUCCEEDED
    if end is Outcome.CANCELLED:
        return _withdrawn(job)
    if end is Outcome.REJECTED and job.reason == ALREADY_INSTALLED:
        return Outcome.INSTALLED
    spoiled = job.excused or (job.go_at is None and job.reason in INFRASTRUCTURE_REASONS)
    return Outcome.INFRASTRUCTURE if spoiled else end


def _withdrawn(job: Job) -> Outcome:
    return Outcome.NOT_REACHED if job.withdrawn_for is WithdrawReason.NOT_REACHED else Outcome.CANCELLED


def tally(jobs: Iterable[Job], settings: JobSettings, now: datetime) -> Tally:
    """Count what came of jobs, for the gate; one that will be tried again is still running, and nothing else."""
    counts = dict.fromkeys(Outcome, 0)
    for job in jobs:
        found = outcome(job, settings, now)
        counts[Outcome.RUNNING if retries(job, found, settings) else found] += 1
    return Tally(
        succeeded=counts[Outcome.SUCCEEDED] + counts[Outcome.LATE],
        failed=counts[Outcome.FAILED] + counts[Outcome.REJECTED],
        rolled_back=counts[Outcome.ROLLED_BACK],
        silent=counts[Outcome.SILENT],
        infrastructure=counts[Outcome.INFRASTRUCTURE],
        running=counts[Outcome.WAITING] + counts[Outcome.RUNNING],
        outside=counts[Outcome.NOT_REACHED] + counts[Outcome.CANCELLED] + counts[Outcome.INSTALLED],
    )


def soaked(jobs: Iterable[Job], settings: RolloutSettings, now: datetime) -> float:
    """Return the share of the soak that is over, of all terminals that are, or may still be, updated; 1 for none."""
    passed_s, terminals = 0.0, 0
    for job in jobs:
        found = outcome(job, settings.job, now)
        if found in UPDATED and job.ended_at is not None:
            passed_s += min(settings.gate.soak_s, max(0.0, (now - job.ended_at).total_seconds()))
        terminals += found in UPDATED or found in TO_COME or retries(job, found, settings.job)
    return passed_s / (settings.gate.soak_s * terminals) if terminals else 1.0


def retries(job: Job, found: Outcome, settings: JobSettings) -> bool:
    """Say whether the machine tries a job again: what the infrastructure spoiled, and what failed before its `go`."""
    if found is Outcome.INFRASTRUCTURE:
        return job.over and job.grant is not Grant.WITHDRAWN
    return found is Outcome.FAILED and job.grant is Grant.OFFERED and job.attempts < settings.attempts_max


class Cloned(StrEnum):
    """Whom a clone of a rollout is for."""

    ALL = "all"
    LEFT = "left"
    """All that were not updated."""
    FAILED = "failed"
    """Those that were tried, and failed, rolled back or fell silent."""


def cloned(jobs: Iterable[Job], whom: Cloned, settings: JobSettings, now: datetime) -> tuple[str, ...]:
    """Return the terminals that a clone begins with, in order."""
    found = {job.terminal_id: outcome(job, settings, now) for job in jobs}
    if whom is Cloned.ALL:
        chosen = set(found)
    elif whom is Cloned.LEFT:
        chosen = {terminal_id for terminal_id, end in found.items() if end not in UPDATED | {Outcome.INSTALLED}}
    else:
        chosen = {terminal_id for terminal_id, end in found.items() if end in BAD}
    return tuple(sorted(chosen))
