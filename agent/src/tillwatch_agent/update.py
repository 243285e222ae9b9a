"""What to do next in a job: a terminal's part of a rollout, from the offer to what runs in the end.

`step` takes what came (a message, a result, a heartbeat that left, or nothing) and says what to do; the states and
their table are the protocol's (`job.JOB_TABLE`). It joins with nothing: `jobs` writes the page and keeps the order,
`worker` does what is asked.

- What is to be done next is read from the state, in `_next_work`, so that a start after any cut goes on from the page.
  What `step` returns may be carried out only when its page is on the disk: until then it has not happened.
- One job at a time. An offer that comes meanwhile is left: the collector repeats it. An offer for a job that is over, a
  word about another one, a `go` for another nonce, anything that comes twice: nothing happens.
- `go` answers the newest ask, and lives from that ask on the monotonic clock; with each heartbeat an ask that is no
  longer fresh is made anew, with a new nonce. No wall clock decides anything, so that none can do harm. What had its
  `go` and was not switched by then is taken back, and so is what another boot of the machine finds not yet activated.
- A till is asked whether it is busy before each ask, and again, and held so, at the `go`.
- What was started proves itself: the launcher says that it runs, its own health says that it is well, and some
  heartbeats left that tell its activation and digest, with every component at least as well as before (`proof`), and a
  collector has acknowledged something since. Else it is taken back.

Decided so, and it could have gone another way: `ready` is not written, since a start in between asks anew; a till that
is busy for a day on end fails its job, since its lock is held by a mistake; what cannot be fetched for the network or
the disk is tried again here, some times, and then fails with a reason that the collector does not count.

A change violates this when something is activated without a `go` that is alive, when a final state changes, or when a
release is kept that did not prove itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from pydantic import ValidationError

from tillwatch_agent import proof
from tillwatch_agent.installer.order import Cause
from tillwatch_agent.installer.order import Reason as FetchReason
from tillwatch_agent.job_record import Page, Record
from tillwatch_agent.job_standing import FETCH_REASONS, Reason, Terms, Trouble, Update, UpdateSettings
from tillwatch_agent.job_work import (
    Activate,
    Activated,
    Asked,
    Beaten,
    CleanUp,
    Commit,
    Committed,
    Doing,
    Effect,
    Failed,
    Fetch,
    Fetched,
    Guarded,
    Look,
    LookAtGuard,
    Looked,
    Restart,
    Restarted,
    Result,
    Revert,
    Reverted,
    Stage,
    Staged,
    StopFetch,
    Tidy,
)
from tillwatch_agent.moment import Moment
from tillwatch_protocol import job
from tillwatch_protocol.job import JOB_TABLE, JobInput, JobMessage, JobMessageKind, JobReport, JobState, JobStatus

RESUME_S: Final = 30.0
"""A download that a start takes up begins within this: after a power cut a whole street starts at once."""

BACK_OFF_S_MAX: Final = 3600.0

GUARD_EVERY_S: Final = 15.0
"""A sale takes a minute."""

ASK_FRESH_S: Final = 20.0
"""An ask is left as it is for so long: a `go` comes within five seconds of the heartbeat that told it."""

ASK_FOR_S: Final = 60.0
"""Then a heartbeat is due that asks anew, where the interval is longer."""

LOOK_EVERY_S: Final = 2.0
HEALTH_EVERY_S: Final = 10.0

AGAIN_S: Final = 10.0
"""What the disk or a hook refused is tried again; doubled each time for a revert."""

REVERTS_MAX: Final = 12
"""These take some hours: a disk may stay full for a while, and what is not proved must not stay."""

STARTS_MAX: Final = 5
"""Of the agent, from the switch to its end; one more, and the release is taken back, or after as many given up. The
launcher tries three."""


class Rng(Protocol):
    """Where jitter and nonces come from; `random.Random` is one."""

    def uniform(self, a: float, b: float, /) -> float:
        """Choose between `a` and `b`."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """Choose `k` bits."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What to do: write the page, then tell the reports, then carry out the effects."""

    update: Update
    effects: tuple[Effect, ...] = ()
    reports: tuple[JobReport, ...] = ()


def begin(page: Page, settings: UpdateSettings, moment: Moment, rng: Rng) -> Update:
    """Go on from a page; what is to be done comes with the first `step`."""
    record = page.job
    if record is None or record.over:
        told = frozenset({(record.state, record.reason)}) if record is not None and record.told else frozenset()
        return Update(page=page, reported=told, untidy=bool(settings.products))
    now_s = moment.monotonic_s
    if record.state in {JobState.ACCEPTED, JobState.DOWNLOADING}:
        return Update(page=page, next_at_s=now_s + rng.uniform(0, RESUME_S))
    if record.state not in {JobState.SWITCHING, JobState.CONFIRMING, JobState.ROLLING_BACK}:
        return Update(page=page)
    counted = page.model_copy(update={"job": record.model_copy(update={"starts": record.starts + 1})})
    terms = settings.products.get(record.product)
    confirms = terms is not None and record.state is JobState.CONFIRMING and not record.committing
    return Update(page=counted, since_s=now_s, ends_at_s=now_s + terms.confirm_s if terms and confirms else math.inf)


def step(
    update: Update, said: JobMessage | Result | Beaten | None, settings: UpdateSettings, moment: Moment, rng: Rng
) -> Step:
    """Take what came, or that time went by; what is late, foreign or known changes nothing."""
    turn = _Turn(update, settings, moment.monotonic_s, rng)
    match said:
        case None:
            pass
        case JobMessage():
            turn.hear(said)
        case Beaten():
            turn.beat(said)
        case _:
            turn.take(said)
    return turn.go_on()


def ask_anew(update: Update, moment: Moment, rng: Rng) -> Update:
    """Give an ask that is no longer fresh a new nonce; for the heartbeat that is about to tell it."""
    if not update.asks or moment.monotonic_s - update.asked_at_s < ASK_FRESH_S:
        return update
    return replace(update, nonce=_nonce(rng), asked_at_s=moment.monotonic_s)


def status(update: Update) -> JobStatus | None:
    """Say in a heartbeat where the newest job stands; None: there was none."""
    record = update.page.job
    if record is None:
        return None
    nonce = update.nonce if record.state is JobState.READY else None
    return JobStatus(job_id=record.job_id, state=record.state, nonce=nonce, reason=update.reason)


def due_s(update: Update) -> float:
    """Say when the next `step` has something to do if nothing comes; infinity for never."""
    record = update.page.job
    if record is None or record.over:
        waits = update.untidy or (record is not None and not record.told)
        return -math.inf if waits else math.inf
    if update.asks:
        return math.inf
    return min(update.ends_at_s, update.next_at_s if update.doing is None else math.inf)


def asks_at_s(update: Update) -> float:
    """Say when a heartbeat is wanted that asks anew; infinity for never."""
    return update.asked_at_s + ASK_FOR_S if update.asks else math.inf


class _Turn:
    """One step: what is changed, asked for and told in it."""

    def __init__(self, update: Update, settings: UpdateSettings, now_s: float, rng: Rng) -> None:
        self._update, self._settings, self._now_s, self._rng = update, settings, now_s, rng
        self._told_before = update.reported
        self._effects: list[Effect] = []
        self._reports: list[JobReport] = []

    # --- what comes

    def hear(self, message: JobMessage) -> None:
        record = self._update.page.job
        if message.kind is JobMessageKind.OFFER:
            self._offer(message)
        elif record is not None and message.job_id == record.job_id:
            if message.kind is JobMessageKind.WITHDRAW:
                self._withdraw(record)
            else:
                self._go(message)
        elif message.kind is JobMessageKind.WITHDRAW and message.job_id not in self._update.page.over:
            # It overtook its offer, which is then not to be taken.
            self._set(page=self._update.page.without(message.job_id))

    def take(self, result: Result) -> None:
        record = self._update.page.job
        if record is None or result.job_id != record.job_id or result.doing is not self._update.doing:
            return
        self._set(doing=None, next_at_s=self._now_s)
        match result:
            case Fetched():
                self._fetched(result)
            case Guarded():
                self._guarded(result)
            case Activated():
                self._write(activation_id=result.activation_id)
            case Restarted():
                self._set(restarted=True, ends_at_s=self._now_s + self._terms.start_s)
            case Looked():
                self._looked(result)
            case Reverted():
                self._reverted(result)
            case Failed():
                self._failed(result)
            case _:
                self._move(_LEADS_TO[type(result)])

    def beat(self, beaten: Beaten) -> None:
        record = self._update.page.job
        if record is None or record.over:
            return
        if record.state in {JobState.STAGED, JobState.READY}:
            self._set(before=proof.conditions(beaten.readings))
        elif record.state is JobState.CONFIRMING and not record.committing:
            self._prove(record, beaten)

    def go_on(self) -> Step:
        """Do what time and state ask for, and gather what is to be told."""
        self._give_up()
        self._begin_next()
        self._tell()
        return Step(update=self._update, effects=tuple(self._effects), reports=tuple(self._reports))

    # --- messages

    def _offer(self, message: JobMessage) -> None:
        page = self._update.page
        known = page.job
        if message.target is None or message.job_id in page.over:
            return
        if known is not None and (known.job_id == message.job_id or not known.over):
            return
        product = message.target.partition("/")[0]
        offered = _record(message.job_id, message.target, product)
        if offered is None:
            return
        left = page.without(known.job_id) if known else page
        spread_s = self._rng.uniform(0, self._settings.spread_s)
        self._update = Update(
            page=left.model_copy(update={"job": offered}), next_at_s=self._now_s + spread_s, untidy=self._update.untidy
        )
        if product in self._settings.products:
            self._move(JobInput.ACCEPT, next_at_s=self._now_s + spread_s)
        else:
            self._move(JobInput.REJECT, trouble=Trouble(Reason.PRODUCT_UNKNOWN, f"no product {product!r} is set up"))

    def _withdraw(self, record: Record) -> None:
        if (record.state, JobInput.WITHDRAW) not in JOB_TABLE:
            return  # it comes too late, or again
        if self._update.doing is Doing.FETCH:
            self._effects.append(StopFetch(job_id=record.job_id))
        self._move(JobInput.WITHDRAW)

    def _go(self, message: JobMessage) -> None:
        update = self._update
        if not update.asks or message.nonce is None or message.nonce != update.nonce or message.valid_for_s is None:
            return
        until_s = update.asked_at_s + message.valid_for_s
        if self._now_s < until_s:
            self._set(go_until_s=until_s, next_at_s=self._now_s)
        else:
            self._lapse(Trouble(Reason.GO_LAPSED, "the go came too late"))

    # --- results

    def _fetched(self, result: Fetched) -> None:
        expected, came = self._terms.installer, result.package.installer
        if came is not expected:
            said = f"{self._record.target}: expected installer {expected}, got {came}"
            self._move(JobInput.REJECT, trouble=Trouble(Reason.INSTALLER_UNKNOWN, said))
        else:
            self._move(JobInput.VERIFY, package=result.package)

    def _guarded(self, result: Guarded) -> None:
        if result.busy is not None:
            self._busy(Trouble(result.busy, result.said))
            return
        self._set(busy_since_s=math.inf)
        until_s = self._update.go_until_s
        if self._record.state is JobState.STAGED:
            self._ask()
        elif until_s is None or self._now_s >= until_s:
            self._lapse(Trouble(Reason.GO_LAPSED, "the till was idle too late"))
        else:
            self._move(
                JobInput.GO,
                before=dict(self._update.before),
                go_until_s=until_s,
                go_boot_id=self._settings.host_boot_id,
            )

    def _busy(self, trouble: Trouble) -> None:
        busy_since_s = min(self._update.busy_since_s, self._now_s)
        if self._record.state is JobState.READY:
            self._lapse(trouble)
        if self._now_s - busy_since_s >= self._terms.busy_s_max:
            self._move(JobInput.FAIL, trouble=Trouble(Reason.TILL_BUSY, f"{trouble.reason}: {trouble.said}"))
        else:
            self._set(busy_since_s=busy_since_s, trouble=trouble, next_at_s=self._now_s + GUARD_EVERY_S)

    def _ask(self) -> None:
        self._move(JobInput.ASK)
        self._set(nonce=_nonce(self._rng), asked_at_s=self._now_s, go_until_s=None)

    def _lapse(self, trouble: Trouble) -> None:
        self._move(JobInput.LAPSE)
        self._set(go_until_s=None, nonce=None, trouble=trouble)

    def _looked(self, result: Looked) -> None:
        record, runs = self._record, result.activation_id
        if record.committing:
            return
        every_s = HEALTH_EVERY_S if record.state is JobState.CONFIRMING else LOOK_EVERY_S
        self._set(next_at_s=self._now_s + every_s)
        if record.state is JobState.ROLLING_BACK:
            if runs == self._update.awaited:
                self._move(JobInput.REVERTED)
            return
        if result.given_up or (record.state is JobState.CONFIRMING and runs not in {None, record.activation_id}):
            said = f"expected activation {record.activation_id} to run, got {runs or 'none'}"
            self._move(JobInput.REVERT, trouble=Trouble(Reason.BOOT_FAILED, said))
        elif record.state is JobState.SWITCHING:
            if runs == record.activation_id:
                ends_at_s = self._now_s + self._terms.confirm_s
                self._move(JobInput.START, ends_at_s=ends_at_s)
                self._set(since_s=self._now_s)
        elif runs is None:
            self._doubt(Trouble(Reason.NOT_STARTED, "it does not run in this boot of the machine"))
        elif result.unhealthy is not None:
            self._doubt(Trouble(Reason.UNHEALTHY, result.unhealthy))
        else:
            self._set(healthy=True)

    def _doubt(self, trouble: Trouble) -> None:
        self._set(healthy=False, beats=0, trouble=trouble)

    def _prove(self, record: Record, beaten: Beaten) -> None:
        update, interval_s = self._update, self._settings.interval_s
        trouble = self._unproved(record, beaten)
        if trouble is not None or not update.healthy:
            # Probes and collectors have an interval to see what runs, before a doubt is told; and what its own health
            # says is wrong explains the rest.
            early = self._now_s - update.since_s < interval_s
            is_known = update.trouble is not None and not update.healthy
            self._set(beats=0, trouble=update.trouble if early or is_known or trouble is None else trouble)
        elif self._now_s - update.beaten_at_s >= interval_s / 2:
            self._set(beats=update.beats + 1, beaten_at_s=self._now_s, trouble=None)
            if self._update.beats >= self._terms.beats:
                self._write(committing=True)
                self._set(ends_at_s=math.inf, next_at_s=self._now_s)

    def _unproved(self, record: Record, beaten: Beaten) -> Trouble | None:
        digest = record.package.digest if record.package else None
        if not proof.tells(beaten.readings, record.product, {"activation_id": record.activation_id, "digest": digest}):
            return Trouble(Reason.UNPROVED, f"no reading tells activation {record.activation_id}")
        if beaten.acknowledged_at_s < self._update.since_s:
            return Trouble(Reason.NOT_ACKNOWLEDGED, "no collector was heard since the switch")
        harmed = proof.worse(record.before, proof.conditions(beaten.readings))
        return Trouble(Reason.COMPONENT_WORSE, harmed) if harmed else None

    def _reverted(self, result: Reverted) -> None:
        if result.activation_id is None:
            self._move(JobInput.REVERTED)
        else:
            ends_at_s = self._now_s + self._terms.start_s
            self._set(reverted=True, awaited=result.activation_id, ends_at_s=ends_at_s, trouble=None)

    def _failed(self, failed: Failed) -> None:
        trouble = Trouble(failed.reason, failed.said)
        match failed.doing:
            case Doing.FETCH:
                self._not_fetched(failed)
            case Doing.STAGE:
                self._move(JobInput.FAIL, trouble=trouble)
            case Doing.GUARD:
                self._busy(trouble)
            case Doing.ACTIVATE if failed.reason in _DISK and self._now_s < (self._record.go_until_s or -math.inf):
                self._set(trouble=trouble, next_at_s=self._now_s + AGAIN_S)
            case Doing.ACTIVATE | Doing.RESTART:
                self._move(JobInput.REVERT, trouble=trouble)
            case Doing.LOOK:
                self._set(next_at_s=self._now_s + AGAIN_S)
                if self._record.state is JobState.CONFIRMING:
                    self._doubt(trouble)
            case Doing.COMMIT:
                self._not_committed(trouble)
            case _:
                self._not_reverted(trouble)

    def _not_fetched(self, failed: Failed) -> None:
        own_clock = failed.reason == FetchReason.EXPIRED_BY_OWN_CLOCK
        if failed.cause is Cause.CONSTRAINT or failed.reason == FetchReason.REVOKED:
            self._move(JobInput.REJECT, trouble=Trouble(failed.reason, failed.said))
        elif failed.cause is Cause.TRUST and not own_clock:
            self._move(JobInput.FAIL, trouble=Trouble(f"trust_{failed.reason}", failed.said))
        else:
            tries = self._record.downloads_failed + 1
            trouble = Trouble(FETCH_REASONS.get(failed.reason, failed.reason), failed.said)
            self._write(downloads_failed=tries)
            if tries >= self._terms.downloads_max:
                self._move(JobInput.FAIL, trouble=trouble)
            else:
                self._set(trouble=trouble, next_at_s=self._now_s + self._back_off_s(tries))

    def _back_off_s(self, tries: int) -> float:
        bound_s = min(BACK_OFF_S_MAX, self._terms.back_off_s * 2.0 ** min(tries - 1, 32))
        return self._rng.uniform(bound_s / 2, bound_s)

    def _not_committed(self, trouble: Trouble) -> None:
        if trouble.reason == Reason.NOT_ON_TRIAL:
            self._move(JobInput.REVERT, trouble=trouble)
        else:
            # What proved itself is kept: once the disk takes it, or as long as it runs.
            self._set(trouble=trouble, next_at_s=self._now_s + AGAIN_S)

    def _not_reverted(self, trouble: Trouble) -> None:
        failed = self._update.reverts_failed + 1
        if failed >= REVERTS_MAX:
            said = f"{trouble.reason}: {trouble.said}"
            self._move(JobInput.FAIL, trouble=Trouble(Reason.ROLLBACK_FAILED, said))
        else:
            again_s = min(BACK_OFF_S_MAX, AGAIN_S * 2 ** (failed - 1))
            self._set(reverts_failed=failed, trouble=trouble, next_at_s=self._now_s + again_s)

    # --- time and state

    def _give_up(self) -> None:
        """End what took too long, or was begun too often."""
        record = self._update.page.job
        if record is None or record.over:
            return
        if record.product not in self._settings.products:
            self._forsake(record)
        elif record.starts > (STARTS_MAX if (record.state, JobInput.REVERT) in JOB_TABLE else 2 * STARTS_MAX):
            self._started_too_often(record)
        elif self._now_s >= self._update.ends_at_s:
            job_input, reason = _GIVEN_UP[record.state]
            self._move(job_input, trouble=self._update.trouble or Trouble(reason))

    def _started_too_often(self, record: Record) -> None:
        said = f"the agent started {record.starts} times since the switch"
        if record.state is JobState.ROLLING_BACK:
            self._move(JobInput.FAIL, trouble=Trouble(Reason.ROLLBACK_FAILED, said))
        elif not record.committing:
            self._move(JobInput.REVERT, trouble=Trouble(Reason.STARTS_MAX, said))

    def _forsake(self, record: Record) -> None:
        """End a job whose product is not set up any more; the launcher gives way to what is committed."""
        trouble = Trouble(Reason.PRODUCT_UNKNOWN, f"no product {record.product!r} is set up")
        if (record.state, JobInput.REVERT) in JOB_TABLE:
            self._move(JobInput.REVERT, trouble=trouble)
        self._move(JobInput.FAIL, trouble=trouble)

    def _begin_next(self) -> None:
        record = self._update.page.job
        if record is None or record.over:
            self._finish(record)
        elif self._update.doing is None and self._now_s >= self._update.next_at_s:
            if record.state is JobState.ACCEPTED:
                self._move(JobInput.DOWNLOAD)
            asked = self._next_work(self._record)
            if asked is not None:
                self._effects.append(asked)
                self._set(doing=asked.doing, next_at_s=self._now_s)

    def _finish(self, record: Record | None) -> None:
        """Look after a start without a job, and write that the end of one was told."""
        if self._update.untidy:
            self._effects.append(Tidy())
            self._set(untidy=False)
        if record is not None and not record.told and (record.state, record.reason) in self._told_before:
            self._write(told=True)

    def _next_work(self, record: Record) -> Asked | None:
        """Say what a state asks for; what comes of it moves the state."""
        job_id, product, package = record.job_id, record.product, record.package
        activation_id = record.activation_id
        match record.state:
            case JobState.DOWNLOADING:
                return Fetch(job_id=job_id, product=product, target=record.target)
            case JobState.VERIFIED if package:
                return Stage(job_id=job_id, product=product, target=record.target, package=package)
            case JobState.STAGED:
                return LookAtGuard(job_id=job_id, product=product, hold=False)
            case JobState.READY if self._update.go_until_s is not None:
                return LookAtGuard(job_id=job_id, product=product, hold=True)
            case JobState.SWITCHING if activation_id is None:
                is_same_boot = record.go_boot_id == self._settings.host_boot_id
                until_s = record.go_until_s if is_same_boot else None
                return Activate(job_id=job_id, product=product, until_s=until_s)
            case JobState.SWITCHING if activation_id is not None and not self._update.restarted:
                return Restart(job_id=job_id, product=product, activation_id=activation_id)
            case JobState.CONFIRMING if record.committing and activation_id is not None:
                return Commit(job_id=job_id, product=product, activation_id=activation_id)
            case JobState.ROLLING_BACK if not self._update.reverted:
                return Revert(job_id=job_id, product=product)
            case JobState.SWITCHING | JobState.CONFIRMING | JobState.ROLLING_BACK:
                return Look(job_id=job_id, product=product, asks_health=record.state is JobState.CONFIRMING)
        return None

    # --- what is changed and told

    @property
    def _record(self) -> Record:
        record = self._update.page.job
        assert record is not None  # noqa: S101 - only asked for where there is a job
        return record

    @property
    def _terms(self) -> Terms:
        return self._settings.products[self._record.product]

    def _set(self, **changes: Any) -> None:
        self._update = replace(self._update, **changes)

    def _write(self, **changes: Any) -> None:
        page = self._update.page
        self._set(page=page.model_copy(update={"job": self._record.model_copy(update=changes)}))

    def _move(
        self,
        job_input: JobInput,
        *,
        trouble: Trouble | None = None,
        next_at_s: float | None = None,
        ends_at_s: float = math.inf,
        **changes: Any,
    ) -> None:
        """Take a step of the table; why it was taken back is still said when it is."""
        state = job.step(self._record.state, job_input)
        if job_input is not JobInput.REVERTED:
            changes |= {"reason": trouble and trouble.reason, "detail": trouble and trouble.detail}
        self._write(state=state, **changes)
        self._set(trouble=None, ends_at_s=ends_at_s, next_at_s=self._now_s if next_at_s is None else next_at_s)
        if self._record.over:
            self._set(doing=None)
            self._effects.append(CleanUp(job_id=self._record.job_id))
        self._tell()

    def _tell(self) -> None:
        """Report a step, or what keeps it from being taken, once."""
        record = self._update.page.job
        if record is None:
            return
        reason, trouble = self._update.reason, self._update.trouble
        if (record.state, reason) in self._update.reported:
            return
        detail = trouble.detail if trouble else record.detail
        self._reports.append(JobReport(job_id=record.job_id, state=record.state, reason=reason, detail=detail))
        self._set(reported=self._update.reported | {(record.state, reason)})


_DISK: Final = frozenset({FetchReason.DISK_FULL, FetchReason.DISK_FAILED})
"""What may be otherwise a moment later."""

_LEADS_TO: Final[Mapping[type[Result], JobInput]] = {Staged: JobInput.STAGE, Committed: JobInput.CONFIRM}
"""What is told by a result alone."""

_GIVEN_UP: Final = {
    JobState.SWITCHING: (JobInput.REVERT, Reason.NOT_STARTED),
    JobState.CONFIRMING: (JobInput.REVERT, Reason.UNPROVED),
    JobState.ROLLING_BACK: (JobInput.FAIL, Reason.ROLLBACK_NOT_STARTED),
}
"""What a state that took too long leads to; only these have an end."""


def _record(job_id: str, target: str, product: str) -> Record | None:
    """Begin a job; None for a target that no release can have."""
    try:
        return Record(job_id=job_id, target=target, product=product, state=JobState.OFFERED)
    except ValidationError:
        return None


def _nonce(rng: Rng) -> str:
    return f"{rng.getrandbits(64):016x}"
