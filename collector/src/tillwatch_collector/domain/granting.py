"""What a rollout does next: offers, goes, withdrawals, retries, the next wave, the end; each with its reason.

An offer lets a terminal download and stage; it may be outside the window, and is lost at times: it goes again, at most
once an interval, until the heartbeat shows the job. A `go` lets it switch: only when the rollout runs, the gate was
asked and neither halts nor doubts the infrastructure, the window is open for as long as the deadline, fewer than the
limits are exposed, and the store keeps a till that was heard lately and is not exposed itself. A terminal that is not
heard gets nothing.

What has a `go` is never withdrawn. The decisions of one look are made one after the other, so that they keep the limits
together. A change violates this when a look without a verdict, or with one of another wave, lets anything switch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tillwatch_collector.domain.gate import GateReason, Verdict, VerdictKind
from tillwatch_collector.domain.rollout import (
    BACK_OFF_S_MAX,
    BAD,
    ENDED,
    Grant,
    GrantEvent,
    Job,
    Outcome,
    Rollout,
    RolloutEvent,
    RolloutRefused,
    RolloutSettings,
    RolloutState,
    WithdrawReason,
    outcome,
    retries,
    step_grant,
)
from tillwatch_collector.domain.waves import tills_at_once
from tillwatch_collector.domain.window import Opening, WindowReason
from tillwatch_protocol.job import JobState

GO_VALID_S = 60
"""Counted by the agent from its `ready`: two round trips over a slow line, and the till is still idle."""
HEARD_INTERVALS = 2
"""Who was not heard for longer may be gone: what is sent would be answered by nobody."""
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terminal:
    """What is known of a terminal now."""

    store_id: str
    heard_at: datetime | None
    interval_s: float
    window: Opening
    """For as long as a job's deadline."""
    shows: str | None = None
    """The job, by its id on the wire, that its newest heartbeat shows."""
    busy: bool = False
    """Whether another rollout's job may be switching it."""
    taken: bool = False
    """Whether another rollout has an active job of it."""

    def heard(self, now: datetime) -> bool:
        """Whether it was heard within two of its intervals."""
        return self.heard_at is not None and now - self.heard_at <= timedelta(seconds=HEARD_INTERVALS * self.interval_s)


class Wait(StrEnum):
    """Why nothing is done for a job now."""

    PAUSED = "paused"
    NO_VERDICT = "no_verdict"
    """The gate has not been asked about the open wave."""
    INFRASTRUCTURE = "infrastructure"
    """So much went wrong on the way that nothing more is exposed, until a person answers for it."""
    NOT_HEARD = "not_heard"
    BACK_OFF = "back_off"
    TAKEN = "taken"
    """Another rollout has a job of this terminal."""
    OFFERED = "offered"
    """It was offered within its interval, and has not answered."""
    OFFERS_MAX = "offers_max"
    """So many downloads as may begin in a minute have begun."""
    PREPARING = "preparing"
    """It downloads, stages, or waits until the till is idle."""
    OUTSIDE_WINDOW = "outside_window"
    WINDOW_TOO_SHORT = "window_too_short"
    EXPOSED_MAX = "exposed_max"
    STORE_MAX = "store_max"
    STORE_LAST_TILL = "store_last_till"
    """No other till of its store was heard lately and is left alone."""
    SWITCHING = "switching"
    """It has its `go`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One thing to be done with one job."""

    event: GrantEvent
    job_id: str
    withdrawn_for: WithdrawReason | None = None
    nonce: str | None = None
    """Of a `go`."""
    not_before: datetime | None = None
    """Of a retry."""
    burns: bool = False
    """Whether a retry burns an attempt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """What a look at a rollout leads to."""

    moves: tuple[Move, ...] = ()
    waits: Mapping[str, Wait]
    """By job, of those that are not over."""
    event: RolloutEvent | None = None
    """HALT or COMPLETE; the jobs are looked at again after it."""
    opens_wave: int | None = None


def next_actions(
    rollout: Rollout,
    settings: RolloutSettings,
    jobs: Sequence[Job],
    terminals: Mapping[str, Terminal],
    *,
    verdict: Verdict | None,
    now: datetime,
) -> Next:
    """Say what is to be done at `now`.

    `terminals` holds all live ones of every store that has a job; `verdict` is the gate's word on the open wave at
    `now`, None where it could not be asked.
    """
    if rollout.state in {RolloutState.HALTED, RolloutState.ABORTED}:
        for_state = WithdrawReason.HALTED if rollout.state is RolloutState.HALTED else WithdrawReason.ABORTED
        return Next(moves=tuple(_withdrawals(jobs, terminals, for_state, now)), waits={})
    if rollout.state in ENDED or rollout.state not in {RolloutState.RUNNING, RolloutState.PAUSED}:
        return Next(waits={})
    of_wave = verdict if verdict is not None and verdict.wave == rollout.wave else None
    if of_wave is not None and of_wave.kind is VerdictKind.HALT:
        return Next(waits={}, event=RolloutEvent.HALT)
    if rollout.state is RolloutState.PAUSED:
        return Next(waits={job.job_id: Wait.PAUSED for job in jobs if not job.over and job.wave <= rollout.wave})
    if opened := _opened(rollout, of_wave):
        return opened
    return _Look(rollout, settings, jobs, terminals, now, withheld=_withheld(rollout, of_wave)).next()


def applied(job: Job, move: Move, now: datetime) -> Job:
    """Return the job after a move; raises `GrantEventIllegal` where the grant does not take it."""
    grant = step_grant(job.grant, move.event)
    if move.event is GrantEvent.OFFER:
        return replace(job, grant=grant, offered_at=job.offered_at or now, said_at=now)
    if move.event is GrantEvent.GO:
        return replace(job, grant=grant, go_at=now, go_nonce=move.nonce, said_at=now)
    if move.event is GrantEvent.LAPSE:
        return replace(job, grant=grant, go_at=None, go_nonce=None)
    if move.event is GrantEvent.WITHDRAW:
        return replace(job, grant=grant, withdrawn_for=job.withdrawn_for or move.withdrawn_for, said_at=now)
    return Job(
        job_id=job.job_id,
        terminal_id=job.terminal_id,
        wave=job.wave,
        grant=grant,
        try_no=job.try_no + 1,
        attempts=job.attempts + move.burns,
        not_before=move.not_before,
    )


def retried_by_person(job: Job, rollout: Rollout, settings: RolloutSettings, now: datetime) -> Job:
    """Return a job that a person has tried again, in the open wave; raises `RolloutRefused` where it cannot be."""
    found = outcome(job, settings.job, now)
    if rollout.state not in {RolloutState.RUNNING, RolloutState.PAUSED}:
        raise RolloutRefused(f"rollout: expected one that is running or paused, got one that is {rollout.state}")
    if found not in BAD or not job.over or job.grant is Grant.WITHDRAWN:
        raise RolloutRefused(f"job: expected one that failed, was rejected or rolled back, got one that is {found}")
    again = applied(job, Move(event=GrantEvent.RETRY, job_id=job.job_id, burns=True), now)
    return replace(again, wave=rollout.wave)


def back_off_s(settings: RolloutSettings, tries: int) -> float:
    """Return how long to wait after so many tries."""
    return min(settings.job.back_off_s * 2.0 ** min(tries - 1, 32), BACK_OFF_S_MAX)


def _withdrawals(
    jobs: Iterable[Job], terminals: Mapping[str, Terminal], why: WithdrawReason, now: datetime
) -> Iterable[Move]:
    for job in jobs:
        if job.over or job.grant is Grant.GO:
            continue
        if job.grant is not Grant.WITHDRAWN or (_shows(job, terminals) and _may_say(job, terminals, now)):
            yield Move(event=GrantEvent.WITHDRAW, job_id=job.job_id, withdrawn_for=why)


def _shows(job: Job, terminals: Mapping[str, Terminal]) -> bool:
    terminal = terminals.get(job.terminal_id)
    return terminal is not None and terminal.shows == job.wire_id


def _may_say(job: Job, terminals: Mapping[str, Terminal], now: datetime) -> bool:
    """Say whether a terminal is there to be told something, and was not told within its interval."""
    terminal = terminals.get(job.terminal_id)
    if terminal is None or not terminal.heard(now):
        return False
    return job.said_at is None or now - job.said_at >= timedelta(seconds=terminal.interval_s)


def _opened(rollout: Rollout, verdict: Verdict | None) -> Next | None:
    """Say which wave begins, or that the last is done; None: the open one goes on."""
    if rollout.wave == 0:
        return Next(waits={}, opens_wave=1)
    if verdict is None:
        return None
    last = rollout.wave >= rollout.waves
    # The last wave opens none: there a want of evidence, as when nobody is left to compare with, withholds nothing.
    answered = verdict.answerable and (last or rollout.wave in rollout.answered)
    if verdict.kind is not VerdictKind.PASS and not answered:
        return None
    if last:
        return Next(waits={}, event=RolloutEvent.COMPLETE)
    return Next(waits={}, opens_wave=rollout.wave + 1)


def _withheld(rollout: Rollout, verdict: Verdict | None) -> Wait | None:
    """Say why nothing gets its go in the open wave; None: it may."""
    if verdict is None:
        return Wait.NO_VERDICT
    doubted = GateReason.INFRASTRUCTURE in verdict.reasons and rollout.wave not in rollout.answered
    return Wait.INFRASTRUCTURE if doubted else None


class _Look:
    """One look at the jobs of a running rollout, which counts what it hands out."""

    def __init__(
        self,
        rollout: Rollout,
        settings: RolloutSettings,
        jobs: Sequence[Job],
        terminals: Mapping[str, Terminal],
        now: datetime,
        *,
        withheld: Wait | None,
    ) -> None:
        self._rollout, self._settings, self._terminals = rollout, settings, terminals
        self._now, self._withheld = now, withheld
        self._jobs = sorted(
            (job for job in jobs if 0 < job.wave <= rollout.wave), key=lambda job: (job.wave, job.job_id)
        )
        exposed = {job.terminal_id for job in jobs if job.exposed}
        self._exposed_count = len(exposed)
        self._unsafe = exposed | {terminal_id for terminal_id, terminal in terminals.items() if terminal.busy}
        """Tills that may be switching, by this rollout or another."""
        self._offered = sum(job.offered_at is not None and now - job.offered_at < MINUTE for job in jobs)
        self._of_store: dict[str, list[str]] = {}
        for terminal_id, terminal in terminals.items():
            self._of_store.setdefault(terminal.store_id, []).append(terminal_id)
        self._moves: list[Move] = []
        self._waits: dict[str, Wait] = {}

    def next(self) -> Next:
        for job in self._jobs:
            done = self._job(job)
            if isinstance(done, Wait):
                self._waits[job.job_id] = done
        return Next(moves=tuple(self._moves), waits=self._waits)

    def _job(self, job: Job) -> Wait | None:
        found = outcome(job, self._settings.job, self._now)
        if retries(job, found, self._settings.job):
            return self._retry(job, burns=found is not Outcome.INFRASTRUCTURE)
        if job.over:
            return None
        if job.grant is Grant.WITHDRAWN:
            self._moves += _withdrawals([job], self._terminals, WithdrawReason.NOT_REACHED, self._now)
            return None
        if job.grant is Grant.GO:
            return self._lapse(job) if _unused(job) else Wait.SWITCHING
        if self._out_of_reach():
            self._moves += _withdrawals([job], self._terminals, WithdrawReason.NOT_REACHED, self._now)
            return None
        return self._go(job) if job.state is JobState.READY else self._offer(job)

    def _retry(self, job: Job, *, burns: bool) -> Wait:
        not_before = self._now + timedelta(seconds=back_off_s(self._settings, job.try_no))
        self._moves.append(Move(event=GrantEvent.RETRY, job_id=job.job_id, not_before=not_before, burns=burns))
        return Wait.BACK_OFF

    def _lapse(self, job: Job) -> Wait:
        """Take an unused `go` back; what is asked with the new nonce is looked at the next time."""
        self._moves.append(Move(event=GrantEvent.LAPSE, job_id=job.job_id))
        return Wait.PREPARING

    def _out_of_reach(self) -> bool:
        opened_at = self._rollout.wave_opened_at
        return opened_at is not None and self._now - opened_at >= timedelta(seconds=self._settings.job.reach_s)

    def _offer(self, job: Job) -> Wait | None:
        terminal = self._terminals.get(job.terminal_id)
        if job.not_before is not None and self._now < job.not_before:
            return Wait.BACK_OFF
        if terminal is None or not terminal.heard(self._now):
            return Wait.NOT_HEARD
        if terminal.taken:
            return Wait.TAKEN
        if terminal.shows == job.wire_id:
            return Wait.PREPARING
        if not _may_say(job, self._terminals, self._now):
            return Wait.OFFERED
        if job.offered_at is None:
            if self._offered >= self._settings.job.offers_per_minute_max:
                return Wait.OFFERS_MAX
            self._offered += 1
        self._moves.append(Move(event=GrantEvent.OFFER, job_id=job.job_id))
        return None

    def _go(self, job: Job) -> Wait | None:
        terminal = self._terminals.get(job.terminal_id)
        if self._withheld:
            return self._withheld
        if terminal is None or not terminal.heard(self._now):
            return Wait.NOT_HEARD
        if terminal.taken:
            return Wait.TAKEN
        if job.nonce is None:
            return Wait.PREPARING
        if not terminal.window.fits:
            too_short = terminal.window.reason is WindowReason.TOO_SHORT
            return Wait.WINDOW_TOO_SHORT if too_short else Wait.OUTSIDE_WINDOW
        if self._exposed_count >= self._settings.limits.exposed_max:
            return Wait.EXPOSED_MAX
        if wait := self._store(job.terminal_id, terminal.store_id):
            return wait
        self._exposed_count += 1
        self._unsafe.add(job.terminal_id)
        self._moves.append(Move(event=GrantEvent.GO, job_id=job.job_id, nonce=job.nonce))
        return None

    def _store(self, terminal_id: str, store_id: str) -> Wait | None:
        tills = self._of_store[store_id]
        unsafe = sum(till in self._unsafe for till in tills)
        if unsafe >= tills_at_once(len(tills), self._settings.limits.per_store_max):
            return Wait.STORE_MAX
        others = [till for till in tills if till != terminal_id and till not in self._unsafe]
        if len(tills) > 1 and not any(self._terminals[till].heard(self._now) for till in others):
            return Wait.STORE_LAST_TILL
        return None


def _unused(job: Job) -> bool:
    """Say whether a `go` went unused: the agent fell back to staged, or asks with another nonce."""
    return job.state is JobState.STAGED or (job.state is JobState.READY and job.nonce != job.go_nonce)
