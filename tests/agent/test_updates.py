"""The threads of a job: the fetching program is heard and ended, and what goes wrong is an answer."""

import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.agent import till_release
from tests.agent.conftest import WAIT_S, until
from tests.agent.job_words import ACTIVATION, JOB
from tests.agent.release_site import NOW, Asked, Repository, Site

from tillwatch_agent import config, updates
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.failure import DiskFailed
from tillwatch_agent.installer.guard import CommandGuard, LockGuard, NoGuard
from tillwatch_agent.installer.order import Cause
from tillwatch_agent.job_standing import Reason
from tillwatch_agent.job_work import (
    Activate,
    Activated,
    CleanUp,
    Doing,
    Effect,
    Failed,
    Fetch,
    Fetched,
    Look,
    Looked,
    Result,
    Stage,
    Staged,
    StopFetch,
    Tidy,
)
from tillwatch_agent.updates import JOB_FILE, UPDATE_FOLDER, JobFile, ProductProbe, Source, Updates
from tillwatch_agent.worker import Product
from tillwatch_protocol.release import InstallerKind
from tillwatch_protocol.vocabulary import Health

TARGET = till_release.target_of("2.1.0")
FETCH = Fetch(job_id=JOB, product="till", target=TARGET)


@pytest.fixture
def repository() -> Repository:
    repository = Repository()
    till_release.add(repository, "2.1.0")
    return repository


class Till:
    """A till's threads, and what they answer."""

    def __init__(self, folder: Path, site: Site, repository: Repository, **product: Any) -> None:
        table = till_release.update_table(folder, site, repository, **product)
        self.config = config.parse({"terminal_id": "till-1", "state_dir": str(folder / "state"), "update": table})
        self.source = Source(
            config=self.config.update, folder=self.config.state_dir / UPDATE_FOLDER, agent_version="0.1.0"
        )
        self.products = updates.products(self.config.update, Disk())
        self.answers: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self.ended = threading.Event()
        self.updates: Updates = updates.begin(
            self.source,
            self.products,
            host_boot_id="boot-1",
            now_s=time.monotonic,
            put=self.answers.put,
            end_process=self.ended.set,
        )

    @property
    def product(self) -> Product:
        return self.products["till"]

    def do(self, effect: Effect) -> Result:
        self.updates.carry_out(effect, NOW)
        return self.answers.get(timeout=WAIT_S)

    def fetched(self) -> Fetched:
        result = self.do(FETCH)
        assert isinstance(result, Fetched), result
        return result

    def archives(self) -> list[Path]:
        return list(self.source.downloads.glob("*"))


@pytest.fixture
def till(tmp_path: Path, site: Site, repository: Repository) -> Till:
    return Till(tmp_path, site, repository)


# --- fetching


def test_the_fetching_program_brings_a_release_and_its_words(till: Till) -> None:
    package = till.fetched().package
    assert Path(package.archive).read_bytes() == till_release.packed("2.1.0")
    assert (package.version, package.installer, package.installed_bytes) == ("2.1.0", InstallerKind.BUNDLE, 10_000)


def test_what_it_says_of_a_failure_is_the_answer(till: Till, site: Site) -> None:
    site.files.clear()
    result = till.do(FETCH)
    assert isinstance(result, Failed)
    assert (result.doing, result.cause, result.reason) == (Doing.FETCH, Cause.TRUST, "missing")


def test_a_release_that_is_none_for_this_terminal(till: Till, repository: Repository) -> None:
    till_release.add(repository, "2.1.0", models=["POS-900"])
    result = till.do(FETCH)
    assert isinstance(result, Failed)
    assert (result.cause, result.reason) == (Cause.CONSTRAINT, "unfit")


def test_what_is_installed_is_not_fetched_again(till: Till) -> None:
    package = till.fetched().package
    till.do(Stage(job_id=JOB, product="till", target=TARGET, package=package))
    till.product.slots.commit(till.product.slots.activate(JOB))
    result = till.do(FETCH)
    assert isinstance(result, Failed)
    assert (result.cause, result.reason) == (Cause.CONSTRAINT, Reason.ALREADY_INSTALLED)


def test_slots_that_cannot_be_read_are_an_answer(till: Till) -> None:
    root = till.config.update.products[0].folder
    root.mkdir()
    (root / "chosen.json").write_text("no")
    result = till.do(FETCH)
    assert isinstance(result, Failed)
    assert result.reason == "slot_state_unreadable"


def waiting(asked: Asked) -> None:
    """Answer with a head, and then with nothing."""
    asked.head(200, 10_000)
    asked.site.stopping.wait(WAIT_S)


def test_a_fetch_that_is_not_wanted_any_more_is_ended(till: Till, site: Site) -> None:
    site.tricks["/metadata/timestamp.json"] = [waiting]
    till.updates.carry_out(FETCH, NOW)
    until(lambda: bool(site.ranges_of("/metadata/timestamp.json")), "the child to ask")
    till.updates.carry_out(StopFetch(job_id=JOB), None)
    result = till.answers.get(timeout=WAIT_S)
    assert isinstance(result, Failed)
    assert (result.cause, result.reason) == (Cause.CANCELLED, "told")
    till.updates.stop()  # there is nothing left to end


def test_a_fetch_that_is_stopped_before_it_began_is_ended(till: Till) -> None:
    till.updates.carry_out(FETCH, NOW)
    till.updates.stop()
    assert isinstance(till.answers.get(timeout=WAIT_S), Failed)


def test_a_child_that_is_killed_is_an_answer(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = f"import os, signal; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    monkeypatch.setattr(updates, "command", lambda _order: [sys.executable, "-c", dying])
    result = till.do(FETCH)
    assert isinstance(result, Failed)
    assert (result.cause, result.reason) == (None, "cut")


NO_RELEASE = '{"news": "fetched", "path": "/x", "total_bytes": 1, "digests": {}, "release": {}, "was_there": false}'
SAID = {
    # a word that this agent does not know
    "unknown reason": ('{"news": "failed", "cause": "network", "reason": "mood", "said": ""}', 3, "cut"),
    # words of a release that it does not understand
    "no release": (NO_RELEASE, 0, "not_understood"),
    # nothing, and well
    "nothing": ("", 0, "cut"),
}


@pytest.mark.parametrize(("line", "exit_code", "reason"), SAID.values(), ids=SAID)
def test_a_child_that_says_what_nobody_understands(
    till: Till, monkeypatch: pytest.MonkeyPatch, line: str, exit_code: int, reason: str
) -> None:
    saying = f"print({line!r}); raise SystemExit({exit_code})"
    monkeypatch.setattr(updates, "command", lambda _order: [sys.executable, "-c", saying])
    result = till.do(FETCH)
    assert isinstance(result, Failed)
    assert result.reason == reason


def test_a_child_that_cannot_be_started_is_an_answer(
    till: Till, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(updates, "command", lambda _order: [str(till.source.folder / "nothing")])
    result = till.do(FETCH)
    assert isinstance(result, Failed)
    assert result.reason == Reason.AGENT_FAILED
    assert "fetch failed" in caplog.text


def test_a_file_that_was_signed_by_another_digest_is_hashed(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = till.config.state_dir / "x"
    archive.parent.mkdir()
    archive.write_bytes(b"")
    line = (
        f'{{"news": "fetched", "path": "{archive}", "total_bytes": 0, "digests": {{"sha512": ""}}, "release": '
        '{"product": "till", "version": "1", "installer": "bundle"}, "was_there": false}'
    )
    monkeypatch.setattr(updates, "command", lambda _order: [sys.executable, "-c", f"print({line!r})"])
    assert till.fetched().package.digest.startswith("e3b0c44298fc1c14")  # of nothing


# --- the thread of a job


def test_a_job_is_worked_at_in_order_and_its_thread_ends_with_it(till: Till) -> None:
    others = threading.enumerate()
    package = till.fetched().package
    assert till.do(Stage(job_id=JOB, product="till", target=TARGET, package=package)) == Staged(job_id=JOB)
    activated = till.do(Activate(job_id=JOB, product="till", until_s=time.monotonic() + WAIT_S))
    assert isinstance(activated, Activated)
    assert till.archives()
    till.updates.carry_out(CleanUp(job_id=JOB), None)
    until(lambda: set(threading.enumerate()) <= set(others), "all threads of the job to end")
    assert till.archives() == []


def test_the_next_job_waits_for_what_the_last_one_still_does(till: Till) -> None:
    package = till.fetched().package
    till.updates.carry_out(Stage(job_id=JOB, product="till", target=TARGET, package=package), None)
    till.updates.carry_out(CleanUp(job_id=JOB), None)
    till.updates.carry_out(Look(job_id="j-2", product="till", asks_health=False), None)
    assert isinstance(till.answers.get(timeout=WAIT_S), Staged)
    assert till.answers.get(timeout=WAIT_S) == Looked(job_id="j-2")


def test_a_mistake_of_ours_is_an_answer(till: Till, caplog: pytest.LogCaptureFixture) -> None:
    result = till.do(Look(job_id=JOB, product="nothing", asks_health=False))
    assert isinstance(result, Failed)
    assert (result.doing, result.reason) == (Doing.LOOK, Reason.AGENT_FAILED)
    assert "look failed" in caplog.text


def test_a_start_without_a_job_leaves_nothing_of_an_earlier_one(till: Till) -> None:
    package = till.fetched().package
    till.do(Stage(job_id=JOB, product="till", target=TARGET, package=package))
    till.product.slots.activate(JOB)
    till.updates.carry_out(Tidy(), None)
    until(lambda: till.product.slots.trial() is None, "the trial to be taken back")
    assert till.archives() == []


def test_what_cannot_be_tidied_up_is_left(till: Till, caplog: pytest.LogCaptureFixture) -> None:
    (till.source.downloads / "a folder").mkdir(parents=True)
    till.updates.carry_out(Tidy(), None)
    until(lambda: "is left" in caplog.text, "a word of it")


# --- what runs


def test_a_product_tells_what_runs(till: Till) -> None:
    probe = ProductProbe("till", till.product, "boot-1")
    (absent,) = probe.poll()
    assert (absent.component, absent.health, absent.reason) == ("application:till", Health.ABSENT, "not_installed")
    package = till.fetched().package
    till.do(Stage(job_id=JOB, product="till", target=TARGET, package=package))
    activation_id = till.product.slots.activate(JOB)
    (staged,) = probe.poll()
    assert (staged.health, staged.reason) == (Health.UNKNOWN, Reason.NOT_STARTED)
    till.product.slots.declare_running(activation_id, "boot-1")
    (running,) = probe.poll()
    assert running.health is Health.OK
    assert running.facts == {
        "version": "2.1.0",
        "digest": package.digest,
        "activation_id": activation_id,
        "target": TARGET,
        "slot": "a",
    }
    (elsewhere,) = ProductProbe("till", till.product, "boot-2").poll()
    assert elsewhere.reason == Reason.NOT_STARTED
    probe.forget()
    probe.close()


def test_a_product_whose_slots_cannot_be_read_is_unknown(till: Till) -> None:
    root = till.config.update.products[0].folder
    root.mkdir()
    (root / "chosen.json").write_text("no")
    (unknown,) = ProductProbe("till", till.product, "boot-1").poll()
    assert (unknown.health, unknown.reason) == (Health.UNKNOWN, "slot_state_unreadable")


# --- set-up


def test_the_page_of_a_job_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    file = JobFile(tmp_path / UPDATE_FOLDER / JOB_FILE, Disk())
    assert file.read() is None
    file.write(b"{}")
    assert file.read() == b"{}"
    assert [path.name for path in (tmp_path / UPDATE_FOLDER).iterdir()] == [JOB_FILE]
    if os.getuid():
        (tmp_path / UPDATE_FOLDER).chmod(0o500)
        with pytest.raises(DiskFailed):
            file.write(b"")


def set_up(**product: Any) -> AgentConfig:
    till = {"name": "till", "installer": "bundle", "folder": "/opt/till", "restart": ["true"]} | product
    update = {
        "metadata_url": "https://x/m",
        "targets_url": "https://x/t",
        "trusted_root": "/r",
        "products": [till],
    }
    return config.parse({"terminal_id": "till-1", "update": update})


@pytest.mark.parametrize(
    ("product", "kind"),
    [
        ({"guard_lock": "/run/sale.lock"}, LockGuard),
        ({"guard_command": ["till-is-idle"]}, CommandGuard),
        ({"unguarded": True}, NoGuard),
    ],
)
def test_a_product_has_the_guard_that_is_set_up(product: dict[str, Any], kind: type) -> None:
    (made,) = updates.products(set_up(**product).update, Disk()).values()
    assert isinstance(made.guard, kind)
    assert made.restart is not None
    assert made.health is None


def test_the_machine_is_told_what_is_set_up() -> None:
    told = updates.settings(set_up(unguarded=True, heartbeats=5, confirm_s=1000.0), "boot-1")
    assert (told.interval_s, told.host_boot_id, told.spread_s) == (60, "boot-1", 300.0)
    terms = told.products["till"]
    assert (terms.beats, terms.confirm_s, terms.installer) == (5, 1000.0, InstallerKind.BUNDLE)
    assert ACTIVATION
