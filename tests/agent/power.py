"""A till whose power is cut: a job from its offer to its end in virtual time, struck at one of its durable writes.

The agent's machine, journal, worker and slots, and the launcher, are the real ones, on a disk that forgets
(`forgetful`); programs are words in a file, and a collector grants what it is asked for. A process is killed, the power
is cut, the disk fails once or stays full for a while; whatever ends is started again as a service manager does.

What must hold is counted as breaches: something committed starts within four tries, the job comes to one end, what runs
and is committed in the end is what that end says, and nothing is activated twice or started again once taken back.
"""

import io
import itertools
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.agent.forgetful import Blow, Extent, ForgetfulVolume, Strike, Struck
from tests.agent.moments import MORNING
from tests.agent.packages import plain, staging, stored

from tillwatch_agent.installer import launcher
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.failure import InstallFailed
from tillwatch_agent.installer.guard import NoGuard
from tillwatch_agent.installer.hooks import Hook, Outcome
from tillwatch_agent.installer.launcher import Root
from tillwatch_agent.installer.slots import Slots
from tillwatch_agent.job_record import Package, Record
from tillwatch_agent.job_standing import Terms, UpdateSettings
from tillwatch_agent.job_work import Beaten, CleanUp, Effect, Fetch, Fetched, Result, StopFetch, Tidy
from tillwatch_agent.jobs import Jobs
from tillwatch_agent.moment import Moment
from tillwatch_agent.worker import Product, Worker
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobState, JobStatus
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.release import InstallerKind
from tillwatch_protocol.vocabulary import Health, PowerState

JOB = "job-2.1"
TARGET = "till/till-2.0.tar.gz"
TERMINAL = "till-1"
INTERVAL_S = 60.0
VALID_FOR_S = 60.0

FULL_S = 300.0
"""A disk that is full is emptied by somebody after so long."""

GIVEN_UP_S = 12 * 3600.0
"""A job that has not ended by then never will."""

STARTS_MAX = 4
"""Three of what is on trial, and then what is committed."""

START_S = 5.0
"""Until a service manager starts what ended."""

TURN_S = 0.01
BEATS_MAX = 400
"""Of one life: more than any job takes."""

OLD, GOOD, SICK, CRASH = "old", "good", "sick", "crash"
"""What programs are."""

RESTART, HEALTH = Hook(arguments=("restart",)), Hook(arguments=("health",))


class Story(StrEnum):
    """What is installed, and how it turns out."""

    UPGRADE = "upgrade"
    ROLLBACK = "rollback"
    """It starts and is never well."""
    CRASH = "crash"
    """It ends as soon as it is started."""
    AGENT = "agent upgrade"
    AGENT_ROLLBACK = "agent rollback"
    """It starts, and no collector answers it."""
    AGENT_CRASH = "agent crash"

    @property
    def is_agent(self) -> bool:
        return self in {Story.AGENT, Story.AGENT_ROLLBACK, Story.AGENT_CRASH}

    @property
    def program(self) -> str:
        """What the new release is."""
        if self in {Story.CRASH, Story.AGENT_CRASH}:
            return CRASH
        return GOOD if self in {Story.UPGRADE, Story.AGENT} else SICK


class Breach(StrEnum):
    """What must never be."""

    BRICKED = "bricked"
    DOUBLE_EFFECT = "double effect"
    WRONG_END = "wrong end"
    """None, or another one than what runs says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How it turned out."""

    state: JobState | None
    steps: int
    """Of durable writes, in all."""
    breaches: tuple[tuple[Breach, str], ...]

    def count(self, breach: Breach) -> int:
        """Say how often something was that must never be."""
        return sum(found is breach for found, _ in self.breaches)


class Started(BaseException):
    """The launcher became a program."""


class Ended(BaseException):
    """The agent's process ended, so that its launcher starts what is chosen."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """The journal's page."""

    disk: Disk
    path: Path

    def read(self) -> bytes | None:
        return self.disk.read(self.path)

    def write(self, content: bytes) -> None:
        self.disk.write(self.path, content)


class Till:
    """One machine, its agent and one product."""

    def __init__(self, folder: Path, story: Story, *strikes: Strike) -> None:
        """Have version 1 committed and version 2 fetched; what is struck comes after."""
        base = folder / "disk"
        base.mkdir()
        self._story = story
        self._volume = ForgetfulVolume(base)
        self._disk = Disk(self._volume)
        self._root = base / "till"
        self._page = PageFile(self._disk, base / "job.json")
        self._slots = Slots(self._root, self._disk, ids=map("activation-{}".format, itertools.count(1)).__next__)
        self._now_s = 0.0
        self._boot = 1
        self._runs = ""
        """The program that runs; empty: none."""
        self._launched: Root | None = None
        self._full_until_s: float | None = None
        self._state: JobState | None = None
        self._is_over = False
        self._trials: Counter[str] = Counter()
        """Starts of version 2 while it was on trial, by activation."""
        self._breaches: list[tuple[Breach, str]] = []
        self._package = self._install(folder)
        self._volume.begin(*strikes)

    def run(self) -> Ending:
        """Go through the job to its end; then cut the power once more, and look again."""
        self._survive(self._start_product)
        while not self._is_over and self._now_s < GIVEN_UP_S:
            self._survive(self._live)
        if not self._is_over:
            self._breach(Breach.WRONG_END, f"it has no end, but stands at {self._state}")
        self._judge()
        steps = self._volume.steps
        self._survive(lambda: self._cut(Extent.LOST))
        self._survive(lambda: self._live(beats_max=3))
        self._judge()
        self._end_program()
        return Ending(state=self._state, steps=steps, breaches=tuple(self._breaches))

    # --- what the machine does

    def _survive(self, live: Callable[[], None]) -> None:
        """Let a process live; where it ends, the service manager starts the next one."""
        try:
            live()
        except Ended:
            self._survive(self._start_product)
        except Struck as struck:
            strike = struck.strike
            if strike.blow is Blow.CUT:
                self._survive(lambda: self._cut(strike.extent))
            elif self._story.is_agent:
                self._survive(self._start_product)

    def _cut(self, extent: Extent) -> None:
        self._volume.restore(extent)
        self._boot += 1
        self._end_program()
        self._start_product()

    def _start_product(self) -> None:
        """Start it as often as it ends by itself, as a service manager does; a start that was struck does not count."""
        starts = 0
        while starts < STARTS_MAX:
            try:
                self._launch()
            except Struck as struck:
                if struck.strike.blow is Blow.CUT:
                    raise
                continue
            starts += 1
            if self._runs:
                return
        self._breach(Breach.BRICKED, f"nothing runs after {starts} starts")

    def _launch(self) -> None:
        self._end_program()
        self._launched = Root(self._root, self._volume, str(self._boot))
        before = Path.cwd()
        try:
            with redirect_stderr(io.StringIO()):
                launcher.launch(self._launched, ["till"], execute=self._become)
        except Started as started:
            self._runs = str(started)
            if self._runs == CRASH:
                self._end_program()
        finally:
            os.chdir(before)

    def _end_program(self) -> None:
        self._runs = ""
        if self._launched is not None:
            self._launched.let_go()

    def _become(self, _name: str, _command: list[str], environment: dict[str, str]) -> None:
        """Take a program's place; it lies in the folder that the launcher went to."""
        program = Path("till").read_text(encoding="ascii")
        activation_id = environment["TILLWATCH_ACTIVATION_ID"]
        if program != OLD:
            self._note_start(activation_id)
        raise Started(program)

    def _note_start(self, activation_id: str) -> None:
        try:
            done, trial = self._slots.of_job(JOB), self._slots.trial()
        except InstallFailed as failure:
            self._breach(Breach.WRONG_END, str(failure))
            return
        if done is None or done.activation_id != activation_id:
            self._breach(Breach.DOUBLE_EFFECT, f"{activation_id} started though it was taken back")
        elif trial is not None:
            self._trials[activation_id] += 1

    def _run_hook(self, hook: Hook, _words: Mapping[str, str] | None) -> Outcome:
        if hook is RESTART:
            self._start_product()
        return Outcome(exit_code=0 if self._runs in {OLD, GOOD} else 1, said="")

    def _end_process(self) -> None:
        raise Ended

    # --- what the agent does

    def _live(self, beats_max: int = BEATS_MAX) -> None:
        """Live one life of the agent: to the end of the job, or of one that has none for some heartbeats."""
        self._now_s += START_S
        boot_id, kind = str(self._boot), InstallerKind.AGENT if self._story.is_agent else InstallerKind.BUNDLE
        settings = UpdateSettings(
            interval_s=INTERVAL_S, host_boot_id=boot_id, products={"till": Terms(installer=kind)}, spread_s=0
        )
        hooks = {} if self._story.is_agent else {"restart": RESTART, "health": HEALTH}
        worker = Worker(
            {"till": Product(kind=kind, slots=self._slots, guard=NoGuard(), **hooks)},
            host_boot_id=boot_id,
            now_s=lambda: self._now_s,
            end_process=self._end_process,
            run_hook=self._run_hook,
        )
        jobs = Jobs(settings, self._page, random.Random(1), self._moment)
        came: list[JobMessage | Result] = []
        beat_at_s, beats = self._now_s, 0
        while beats < beats_max:
            self._look_at_disk()
            said: JobMessage | Result | Beaten | None = None
            if came:
                said = came.pop(0)
            elif self._now_s >= beat_at_s:
                jobs.ask_anew(self._moment)
                came += self._told(jobs.status())
                said, beat_at_s, beats = self._beaten(), self._now_s + INTERVAL_S, beats + 1
            outcome = jobs.handle(said, self._moment)
            for effect in outcome.effects:
                result = self._carry_out(worker, effect)
                came += [result] if result is not None else []
            record = jobs.standing.page.job
            if record is not None:
                self._look_at_end(record)
                if self._is_over and beats_max == BEATS_MAX:
                    return
            if not came:
                self._now_s = max(self._now_s + TURN_S, min(jobs.due_s(), beat_at_s))

    def _carry_out(self, worker: Worker, effect: Effect) -> Result | None:
        match effect:
            case Fetch():
                return Fetched(job_id=effect.job_id, package=self._package)
            case StopFetch():
                return None
            case CleanUp():
                worker.let_go()
                return None
            case Tidy():
                with suppress(InstallFailed):
                    worker.tidy()
                return None
        return worker.do(effect)

    def _beaten(self) -> Beaten:
        running = self._slots.running()
        facts = {} if running is None else {"activation_id": running.activation_id, "digest": running.digest}
        health = Health.OK if self._runs and running and running.host_boot_id == str(self._boot) else Health.FAULT
        reading = Reading(component="application:till", health=health, power_state=PowerState.ONLINE, facts=facts)
        return Beaten(readings=(reading,), acknowledged_at_s=self._now_s if self._is_heard else -math.inf)

    # --- what the collector does

    def _told(self, status: JobStatus | None) -> list[JobMessage]:
        """Hear a heartbeat, and grant what it asks for."""
        if not self._is_heard:
            return []
        if status is None:
            return [JobMessage(terminal_id=TERMINAL, kind=JobMessageKind.OFFER, job_id=JOB, target=TARGET)]
        if status.state is JobState.READY:
            go = JobMessageKind.GO
            return [JobMessage(terminal_id=TERMINAL, kind=go, job_id=JOB, nonce=status.nonce, valid_for_s=VALID_FOR_S)]
        return []

    @property
    def _is_heard(self) -> bool:
        """Whether the agent and the collector hear each other: an agent whose release is bad reaches nobody."""
        return not self._story.is_agent or self._runs in {OLD, GOOD}

    # --- the rest

    @property
    def _moment(self) -> Moment:
        return Moment(monotonic_s=self._now_s, at=MORNING)

    def _install(self, folder: Path) -> Package:
        """Commit version 1, and have version 2 downloaded."""
        old, new = plain({"till": OLD, "lib/old": "1"}), plain({"till": self._story.program, "lib/new": "2" * 5000})
        self._disk.make_folder(self._root)
        self._slots.stage(stored(folder, old, "old"), staging(old, "1.0"))
        self._slots.commit(self._slots.activate("job-1"))
        release = staging(new, "2.0")
        kind = InstallerKind.AGENT if self._story.is_agent else InstallerKind.BUNDLE
        path = stored(folder, new, "new")
        return Package(archive=str(path), digest=release.digest, version="2.0", installer=kind)

    def _look_at_disk(self) -> None:
        """Empty a disk that has been full for a while."""
        if not self._volume.is_full:
            return
        self._full_until_s = self._full_until_s or self._now_s + FULL_S
        if self._now_s >= self._full_until_s:
            self._volume.is_full = False

    def _look_at_end(self, record: Record) -> None:
        """Look whether the job is over, and stays so; an end counts once it was told."""
        if self._is_over and record.state is not self._state:
            self._breach(Breach.DOUBLE_EFFECT, f"{self._state} became {record.state}")
        self._state = record.state
        self._is_over = self._is_over or record.told

    def _judge(self) -> None:
        state = self._state
        is_new = state is JobState.SUCCEEDED
        if is_new and self._story.program != GOOD:
            self._breach(Breach.WRONG_END, "a bad release was kept")
        try:
            committed, trial = self._slots.committed(), self._slots.trial()
        except InstallFailed as failure:
            self._breach(Breach.WRONG_END, str(failure))
            return
        if committed is None or trial is not None or committed.version != ("2.0" if is_new else "1.0"):
            self._breach(Breach.WRONG_END, f"{state}, but {committed} is committed and {trial} on trial")
        if self._runs != (GOOD if is_new else OLD):
            self._breach(Breach.WRONG_END, f"{state}, but {self._runs!r} runs")
        if len(self._trials) > 1:
            self._breach(Breach.DOUBLE_EFFECT, f"activated {len(self._trials)} times")
        if max(self._trials.values(), default=0) > launcher.ATTEMPTS_MAX:
            self._breach(Breach.DOUBLE_EFFECT, f"started on trial {max(self._trials.values())} times")

    def _breach(self, breach: Breach, said: str) -> None:
        self._breaches.append((breach, said))
