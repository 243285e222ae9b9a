"""What tests of jobs share: one machine of a job with its clock, and results as a good till would give them."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.agent.moments import at

from tillwatch_agent import update
from tillwatch_agent.installer.order import Cause
from tillwatch_agent.job_record import Package, Page, Record
from tillwatch_agent.job_standing import Terms, UpdateSettings
from tillwatch_agent.job_work import (
    Activate,
    Activated,
    Asked,
    Beaten,
    Commit,
    Committed,
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
)
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobReport, JobState
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.release import InstallerKind
from tillwatch_protocol.vocabulary import Health

E = TypeVar("E")

TERMINAL = "till-1"
JOB = "r1-t1.1"
TARGET = "till/till-2.1.0.tar.gz"
DIGEST = "d" * 64
ACTIVATION = "a" * 32
BEFORE = "b" * 32
PACKAGE = Package(archive="/x/till.tar.gz", digest=DIGEST, version="2.1.0", installer=InstallerKind.BUNDLE)
TERMS = Terms(installer=InstallerKind.BUNDLE)
SETTINGS = UpdateSettings(interval_s=60, host_boot_id="boot-1", products={"till": TERMS}, spread_s=100)
RECORD = Record(job_id=JOB, target=TARGET, product="till", state=JobState.ACCEPTED)

PRINTER = Reading(component="pos_printer:1", health=Health.OK)
RUNNING = Reading(component="application:till", health=Health.OK, facts={"activation_id": ACTIVATION, "digest": DIGEST})


def offer(job_id: str = JOB, target: str | None = TARGET) -> JobMessage:
    return JobMessage(terminal_id=TERMINAL, kind=JobMessageKind.OFFER, job_id=job_id, target=target)


def withdraw(job_id: str = JOB) -> JobMessage:
    return JobMessage(terminal_id=TERMINAL, kind=JobMessageKind.WITHDRAW, job_id=job_id)


def go(nonce: str | None, job_id: str = JOB, valid_for_s: float | None = 60.0) -> JobMessage:
    kind = JobMessageKind.GO
    return JobMessage(terminal_id=TERMINAL, kind=kind, job_id=job_id, nonce=nonce, valid_for_s=valid_for_s)


def broken(component: str, *codes: str) -> Reading:
    conditions = tuple(Condition(code=code, since=at(0).at) for code in codes)
    return Reading(component=component, health=Health.FAULT, conditions=conditions)


def well(asked: Asked) -> Result:
    """Answer as a till does on which all goes well."""
    job_id = asked.job_id
    match asked:
        case Fetch():
            return Fetched(job_id=job_id, package=PACKAGE)
        case Stage():
            return Staged(job_id=job_id)
        case LookAtGuard():
            return Guarded(job_id=job_id)
        case Activate():
            return Activated(job_id=job_id, activation_id=ACTIVATION)
        case Restart():
            return Restarted(job_id=job_id)
        case Look():
            return Looked(job_id=job_id, activation_id=ACTIVATION)
        case Commit():
            return Committed(job_id=job_id)
        case Revert():
            return Reverted(job_id=job_id, activation_id=BEFORE)


@dataclass
class Machine:
    """One machine of a job; `say` hands something in at `now_s`, and keeps what is asked and told."""

    settings: UpdateSettings = SETTINGS
    page: Page = field(default_factory=Page)
    now_s: float = 1000.0
    seed: int = 1
    effects: list[Effect] = field(default_factory=list)
    reports: list[JobReport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.update = update.begin(self.page, self.settings, at(self.now_s), self.rng)
        if self.record is None:
            self.say()  # it tidies up
            self.effects.clear()

    def say(self, said: JobMessage | Result | Beaten | None = None, *, after_s: float = 0.0) -> list[Effect]:
        self.now_s += after_s
        stepped = update.step(self.update, said, self.settings, at(self.now_s), self.rng)
        self.update = stepped.update
        self.effects += stepped.effects
        self.reports += stepped.reports
        return list(stepped.effects)

    def wait(self) -> list[Effect]:
        """Let time go by until something is due."""
        due_s = update.due_s(self.update)
        return self.say(after_s=max(due_s - self.now_s, 0.0))

    def asked(self, kind: type[E]) -> E:
        """Return what was asked last, which is of this kind."""
        last = self.effects[-1]
        assert isinstance(last, kind), self.effects
        return last

    def answer(self, result: Result | None = None) -> list[Effect]:
        """Answer what was asked last; by default well."""
        asked = self.effects[-1]
        assert isinstance(asked, Asked), self.effects
        return self.say(result or well(asked))

    def beat(self, *readings: Reading, acknowledged: bool = True) -> list[Effect]:
        """Let a heartbeat leave, an interval after the last one."""
        self.now_s += self.settings.interval_s
        self.update = update.ask_anew(self.update, at(self.now_s), self.rng)
        acknowledged_at_s = self.now_s - 1 if acknowledged else 0.0
        return self.say(Beaten(readings=readings or (PRINTER, RUNNING), acknowledged_at_s=acknowledged_at_s))

    def until(self, state: JobState) -> None:
        """Go on as all goes well, until the job is there."""
        if self.record is None:
            self.say(offer())
        for _ in range(100):
            if self.state is state:
                return
            if self.update.asks:
                self.beat(PRINTER)
                self.say(go(self.update.nonce))
            elif self.state is JobState.CONFIRMING and self.update.healthy and self.update.doing is None:
                self.beat()
                self.say()
            elif self.update.doing is not None:
                self.answer()
            else:
                self.wait()
        raise AssertionError(f"never {state}: {self.state}")

    def restart(self, *, settings: UpdateSettings | None = None, **changes: Any) -> "Machine":
        """Start the agent anew from the page that is stored."""
        page = self.update.page
        if page.job is not None and page.job.state is JobState.READY:
            page = page.model_copy(update={"job": page.job.model_copy(update={"state": JobState.STAGED})})
        return Machine(settings=settings or self.settings, page=page, now_s=self.now_s, **changes)

    @property
    def record(self) -> Record | None:
        return self.update.page.job

    @property
    def state(self) -> JobState:
        assert self.record is not None
        return self.record.state

    @property
    def told(self) -> list[tuple[JobState, str | None]]:
        return [(report.state, report.reason) for report in self.reports]


def kinds(effects: Iterable[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def failed(machine: Machine, reason: str, *, cause: Cause | None = None, said: str = "words") -> Failed:
    """Say that what was asked last failed."""
    assert machine.update.doing is not None
    return Failed(job_id=JOB, doing=machine.update.doing, reason=reason, said=said, cause=cause)


def at_state(state: JobState) -> Machine:
    """A machine on which all went well up to there."""
    machine = rolling_back() if state is JobState.ROLLING_BACK else Machine()
    machine.until(state)
    return machine


def rolling_back() -> Machine:
    """A machine on which what was staged could not be activated."""
    machine = at_state(JobState.SWITCHING)
    machine.answer(failed(machine, "staged_changed"))
    assert machine.state is JobState.ROLLING_BACK
    return machine
