"""The worker: slots, guard and the till's own programs, each asked as often as power is cut."""

import hashlib
import io
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tillwatch_agent.installer import launcher
from tillwatch_agent.installer.guard import Busy, Idle, NoGuard, Verdict
from tillwatch_agent.installer.hooks import Hook
from tillwatch_agent.installer.launcher import Root
from tillwatch_agent.installer.slots import Slots, Staging
from tillwatch_agent.job_record import Package
from tillwatch_agent.job_work import (
    Activate,
    Activated,
    Asked,
    Commit,
    Committed,
    Doing,
    Failed,
    Fetch,
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
from tillwatch_agent.worker import Product, Worker, running_now
from tillwatch_protocol.release import InstallerKind

BOOT = "boot-1"
ALWAYS = Hook(arguments=(sys.executable, "-c", ""))
NEVER = Hook(arguments=(sys.executable, "-c", "print('no unit of that name'); raise SystemExit(5)"))


class SaleGuard(NoGuard):
    """A till that is busy when a test says so, and that knows whether it is held."""

    def __init__(self) -> None:
        self.busy = False
        self.is_held = False

    def look(self) -> Verdict:
        return Busy("sale_open", "a sale") if self.busy else Idle()

    @contextmanager
    def held(self) -> Iterator[Verdict]:
        self.is_held = not self.busy
        try:
            yield self.look()
        finally:
            self.is_held = False


@dataclass
class Till:
    """A till's product on this disk, its launcher as a supervisor would run it, and what it is asked."""

    folder: Path
    kind: InstallerKind = InstallerKind.BUNDLE
    restart: Hook | None = None
    health: Hook | None = None
    now_s: float = 100.0
    ended: int = 0
    guard: SaleGuard = field(default_factory=SaleGuard)

    def __post_init__(self) -> None:
        self.slots = Slots(self.folder / "till")
        (self.folder / "till").mkdir(exist_ok=True)
        product = Product(kind=self.kind, slots=self.slots, guard=self.guard, restart=self.restart, health=self.health)
        self.product = product
        self.worker = Worker({"till": product}, host_boot_id=BOOT, now_s=lambda: self.now_s, end_process=self._end)

    def _end(self) -> None:
        self.ended += 1

    def archive(self, version: str) -> Package:
        path = self.folder / f"till-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            content = f"echo {version}\n".encode()
            member = tarfile.TarInfo("run.sh")
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Package(archive=str(path), digest=digest, version=version, installer=self.kind)

    def install(self, version: str, job_id: str) -> str:
        """Have a release committed, and run."""
        package = self.archive(version)
        staging = Staging(
            target=f"till/till-{version}.tar.gz",
            product="till",
            version=version,
            digest=package.digest,
            kind=self.kind,
        )
        self.slots.stage(Path(package.archive), staging)
        activation_id = self.slots.activate(job_id)
        self.launch()
        self.slots.commit(activation_id)
        return activation_id

    def launch(self, boot_id: str = BOOT) -> None:
        """Start it as its launcher does."""
        root = Root(self.folder / "till", boot_id=boot_id)
        for start in root.starts():
            root.announce(start)
            return

    def stage(self, version: str = "2.1.0", job_id: str = "j-1") -> Result | None:
        target = f"till/till-{version}.tar.gz"
        return self.do(Stage(job_id=job_id, product="till", target=target, package=self.archive(version)))

    def activate(self, job_id: str = "j-1", until_s: float | None = 200.0) -> Result | None:
        return self.do(Activate(job_id=job_id, product="till", until_s=until_s))

    def on_trial(self) -> str:
        """Have the release of job j-1 on trial; returns its activation."""
        assert isinstance(self.stage(), Staged)
        activated = self.activate()
        assert isinstance(activated, Activated)
        return activated.activation_id

    def do(self, asked: Asked) -> Result | None:
        return self.worker.do(asked)


@pytest.fixture
def till(tmp_path: Path) -> Till:
    return Till(tmp_path, restart=ALWAYS)


LOOK = Look(job_id="j-1", product="till", asks_health=True)
REVERT = Revert(job_id="j-1", product="till")


def restart(activation_id: str) -> Restart:
    return Restart(job_id="j-1", product="till", activation_id=activation_id)


# --- switching


def test_a_release_is_staged_activated_started_and_kept(till: Till) -> None:
    before = till.install("2.0.0", "j-0")
    activation_id = till.on_trial()
    assert till.do(LOOK) == Looked(job_id="j-1", activation_id=before)
    assert till.do(restart(activation_id)) == Restarted(job_id="j-1")
    till.launch()
    assert till.do(LOOK) == Looked(job_id="j-1", activation_id=activation_id)
    assert till.do(Commit(job_id="j-1", product="till", activation_id=activation_id)) == Committed(job_id="j-1")
    committed = till.slots.committed()
    assert committed is not None
    assert (committed.version, committed.activation_id) == ("2.1.0", activation_id)


def test_what_is_asked_again_does_nothing_more(till: Till) -> None:
    till.install("2.0.0", "j-0")
    activation_id = till.on_trial()
    assert till.activate() == Activated(job_id="j-1", activation_id=activation_id)
    commit = Commit(job_id="j-1", product="till", activation_id=activation_id)
    assert [till.do(commit), till.do(commit)] == [Committed(job_id="j-1")] * 2
    assert till.activate() == Activated(job_id="j-1", activation_id=activation_id)


@pytest.mark.parametrize("until_s", [None, 100.0])
def test_nothing_is_activated_without_a_go_that_lives(till: Till, until_s: float | None) -> None:
    assert isinstance(till.stage(), Staged)
    result = till.activate(until_s=until_s)
    assert isinstance(result, Failed)
    assert (result.doing, result.reason) == (Doing.ACTIVATE, "go_lapsed")
    assert till.slots.trial() is None


def test_what_was_activated_before_a_cut_counts_after_it(till: Till) -> None:
    activation_id = till.on_trial()
    assert till.activate(until_s=None) == Activated(job_id="j-1", activation_id=activation_id)


def test_what_the_slots_refuse_is_answered_with_their_reason(till: Till) -> None:
    result = till.activate()
    assert isinstance(result, Failed)
    assert result.reason == "not_staged"
    with pytest.raises(AssertionError, match="fetched elsewhere"):
        till.do(Fetch(job_id="j-1", product="till", target="till/x"))


def test_what_runs_already_is_not_started_again(till: Till) -> None:
    till = Till(till.folder, restart=NEVER)
    activation_id = till.on_trial()
    till.launch()
    assert till.do(restart(activation_id)) == Restarted(job_id="j-1")


def test_a_restart_that_fails_says_why(till: Till) -> None:
    till = Till(till.folder, restart=NEVER)
    result = till.do(restart(till.on_trial()))
    assert isinstance(result, Failed)
    assert (result.reason, result.said) == ("hook_failed", "no unit of that name")


def test_what_its_launcher_gave_up_is_not_started_again(till: Till) -> None:
    before = till.install("2.0.0", "j-0")
    activation_id = till.on_trial()
    for _ in range(launcher.ATTEMPTS_MAX + 1):
        till.launch()
    assert till.do(restart(activation_id)) == Restarted(job_id="j-1")
    assert till.do(LOOK) == Looked(job_id="j-1", activation_id=before, given_up=True)


def test_what_was_started_in_another_boot_does_not_run(till: Till) -> None:
    till.on_trial()
    till.launch(boot_id="boot-0")
    assert till.do(LOOK) == Looked(job_id="j-1")


def test_a_product_says_itself_how_it_is(till: Till) -> None:
    ill = Till(till.folder, health=NEVER)
    result = ill.do(LOOK)
    assert isinstance(result, Looked)
    assert result.unhealthy == "no unit of that name"
    unasked = ill.do(Look(job_id="j-1", product="till", asks_health=False))
    assert isinstance(unasked, Looked)
    assert unasked.unhealthy is None


# --- a busy till


def test_a_till_is_held_idle_from_the_go_to_the_end_of_the_restart(till: Till) -> None:
    assert isinstance(till.stage(), Staged)
    look = LookAtGuard(job_id="j-1", product="till", hold=False)
    assert till.do(look) == Guarded(job_id="j-1")
    assert not till.guard.is_held
    till.do(LookAtGuard(job_id="j-1", product="till", hold=True))
    held = [till.guard.is_held]
    activated = till.activate()
    assert isinstance(activated, Activated)
    held.append(till.guard.is_held)
    till.do(restart(activated.activation_id))
    assert [*held, till.guard.is_held] == [True, True, False]


def test_a_till_is_let_go_when_something_else_is_asked(till: Till) -> None:
    till.do(LookAtGuard(job_id="j-1", product="till", hold=True))
    till.do(LOOK)
    assert not till.guard.is_held
    till.do(LookAtGuard(job_id="j-1", product="till", hold=True))
    till.worker.let_go()
    assert not till.guard.is_held


@pytest.mark.parametrize("hold", [True, False])
def test_a_busy_till_says_why(till: Till, hold: bool) -> None:
    till.guard.busy = True
    asked = LookAtGuard(job_id="j-1", product="till", hold=hold)
    assert till.do(asked) == Guarded(job_id="j-1", busy="sale_open", said="a sale")


# --- taking back


def test_what_was_started_is_taken_back_and_the_committed_one_started(till: Till) -> None:
    before = till.install("2.0.0", "j-0")
    till.on_trial()
    till.launch()
    assert till.do(REVERT) == Reverted(job_id="j-1", activation_id=before)
    till.launch()
    assert till.do(REVERT) == Reverted(job_id="j-1")
    result = till.activate()
    assert isinstance(result, Failed)
    assert result.reason == "already_reverted"


def test_what_was_never_started_needs_no_restart(till: Till) -> None:
    till = Till(till.folder, restart=NEVER)
    till.install("2.0.0", "j-0")
    till.on_trial()
    assert till.do(REVERT) == Reverted(job_id="j-1")
    assert till.slots.trial() is None


def test_a_revert_leaves_what_another_job_put_on_trial(till: Till) -> None:
    till.on_trial()
    assert till.do(Revert(job_id="j-2", product="till")) == Reverted(job_id="j-2")
    assert till.slots.trial() is not None


def test_a_first_release_that_is_taken_back_leaves_nothing(till: Till) -> None:
    till.on_trial()
    till.launch()
    assert till.do(REVERT) == Reverted(job_id="j-1")
    assert not (till.folder / "till" / "current").is_symlink()


def test_a_restart_that_fails_after_a_revert_says_why(till: Till) -> None:
    till = Till(till.folder, restart=NEVER)
    till.install("2.0.0", "j-0")
    till.on_trial()
    till.launch()
    result = till.do(REVERT)
    assert isinstance(result, Failed)
    assert (result.doing, result.reason) == (Doing.REVERT, "hook_failed")


def test_what_is_on_trial_in_nobodys_name_is_taken_back(till: Till) -> None:
    before = till.install("2.0.0", "j-0")
    till.worker.tidy()
    till.on_trial()
    till.launch()
    told = till.folder / "told"
    again = Till(till.folder, restart=Hook(arguments=(sys.executable, "-c", f"open({str(told)!r}, 'w')")))
    again.worker.tidy()
    assert told.exists()
    assert till.slots.trial() is None
    committed = till.slots.committed()
    assert committed is not None
    assert committed.activation_id == before


# --- the agent itself, and settings


def test_the_agents_own_release_runs_when_the_process_ends(till: Till) -> None:
    agent = Till(till.folder, kind=InstallerKind.AGENT)
    before = agent.install("2.0.0", "j-0")
    activation_id = agent.on_trial()
    assert agent.do(restart(activation_id)) is None
    assert agent.ended == 1
    agent.launch()
    assert agent.do(restart(activation_id)) == Restarted(job_id="j-1")
    assert agent.do(REVERT) is None
    assert agent.ended == 2
    agent.launch()
    assert agent.do(REVERT) == Reverted(job_id="j-1")
    assert agent.ended == 2
    assert agent.slots.committed() is not None
    running = agent.slots.running()
    assert running is not None
    assert running.activation_id == before


def test_an_agent_on_trial_in_nobodys_name_ends_itself(till: Till) -> None:
    agent = Till(till.folder, kind=InstallerKind.AGENT)
    agent.install("2.0.0", "j-0")
    agent.on_trial()
    agent.launch()
    agent.worker.tidy()
    assert agent.ended == 1


def test_the_kept_agent_stops_its_launchers_timer(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[bool] = []
    monkeypatch.setattr(launcher, "confirmed", lambda: stopped.append(True))
    agent = Till(till.folder, kind=InstallerKind.AGENT)
    agent.do(Commit(job_id="j-1", product="till", activation_id=agent.on_trial()))
    assert stopped == [True]


def test_what_is_kept_runs_again_where_its_launcher_had_to_start_something_else(till: Till) -> None:
    """A trial that cannot be counted, on a full disk say, is not started; kept, it needs no counting."""
    agent = Till(till.folder, kind=InstallerKind.AGENT)
    agent.install("2.0.0", "j-0")
    commit = Commit(job_id="j-1", product="till", activation_id=agent.on_trial())
    assert agent.do(commit) is None
    assert agent.ended == 1
    agent.launch()
    assert agent.do(commit) == Committed(job_id="j-1")
    product = Till(till.folder, restart=NEVER)
    product.slots.commit(commit.activation_id)
    product.launch("boot-0")
    refused = product.do(commit)
    assert isinstance(refused, Failed)
    assert refused.reason == "hook_failed"


@pytest.mark.parametrize("hook", [None, ALWAYS])
def test_settings_run_once_their_reader_was_told(till: Till, hook: Hook | None) -> None:
    settings = Till(till.folder, kind=InstallerKind.CONFIG, restart=hook)
    activation_id = settings.on_trial()
    assert running_now(settings.product, BOOT) is None
    assert settings.do(restart(activation_id)) == Restarted(job_id="j-1")
    running = running_now(settings.product, "boot-2")  # what is read is read anew by every boot
    assert running is not None
    assert running.activation_id == activation_id
    assert settings.do(REVERT) == Reverted(job_id="j-1")
