"""The newest job joined with its page: nothing leaves before the disk has it, and a start goes on from there."""

import logging
import math
import random
from dataclasses import dataclass, field

import pytest
from tests.agent.job_words import JOB, PACKAGE, PRINTER, RECORD, SETTINGS, go, offer, well, withdraw
from tests.agent.moments import at

from tillwatch_agent import job_record
from tillwatch_agent.errors import JournalUnreadable
from tillwatch_agent.installer.failure import DiskFailed, Refusal
from tillwatch_agent.job_record import Page
from tillwatch_agent.job_work import Asked, Beaten, Fetch, Fetched, LookAtGuard, Stage, Tidy
from tillwatch_agent.jobs import WRITE_AGAIN_S, Jobs, MemoryStore, Outcome
from tillwatch_protocol.job import JobState
from tillwatch_protocol.release import InstallerKind

S = JobState


@dataclass
class Flash(MemoryStore):
    """A disk that a test fills."""

    content: bytes | None = None
    full: bool = False
    unreadable: bool = False
    written: list[bytes] = field(default_factory=list)

    def read(self) -> bytes | None:
        if self.unreadable:
            raise DiskFailed(Refusal.DISK_FAILED, "bad block")
        return self.content

    def write(self, content: bytes) -> None:
        if self.full:
            raise DiskFailed(Refusal.DISK_FULL, "no room")
        self.written.append(content)
        super().write(content)


def jobs_on(store: MemoryStore, *, seconds: float = 0.0) -> Jobs:
    jobs = Jobs(SETTINGS, store, random.Random(1), at(seconds))
    jobs.handle(None, at(seconds))
    return jobs


def state_of(jobs: Jobs) -> JobState | None:
    status = jobs.status()
    return status.state if status else None


def at_ready(store: MemoryStore) -> Jobs:
    """Go on until it asks, at second 200."""
    jobs = jobs_on(store)
    jobs.handle(offer(), at(0))
    outcome = jobs.handle(None, at(200))
    while state_of(jobs) is not S.READY:
        (asked,) = outcome.effects
        assert isinstance(asked, Asked)
        outcome = jobs.handle(well(asked), at(200))
    return jobs


# --- the page


def test_a_page_is_read_as_it_was_written() -> None:
    record = RECORD.model_copy(
        update={"package": PACKAGE, "before": {"pos_printer:1": ("no_response",)}, "go_until_s": 12.5}
    )
    page = Page(job=record, over=("r0.1",))
    assert job_record.read(job_record.written(page)) == page
    assert job_record.read(job_record.written(Page())) == Page()


def test_a_page_of_a_newer_agent_is_read_as_far_as_it_is_understood() -> None:
    text = job_record.written(Page(job=RECORD)).decode()
    newer = text.replace('"v":1', '"v":2,"mood":"good"').replace('"told":false', '"told":false,"colour":"red"')
    assert job_record.read(newer.encode()).job == RECORD


@pytest.mark.parametrize("stored", [b"", b"\0" * 100, b"[]", b'{"job": {"job_id": "x"}}', b'{"job": '])
def test_a_page_that_is_none_is_told_as_such(stored: bytes) -> None:
    with pytest.raises(JournalUnreadable):
        job_record.read(stored)


def test_a_package_knows_its_installer_after_a_start() -> None:
    again = job_record.read(job_record.written(Page(job=RECORD.model_copy(update={"package": PACKAGE}))))
    assert again.job is not None
    assert again.job.package is not None
    assert again.job.package.installer is InstallerKind.BUNDLE


# --- what is written before what is done


def test_each_step_is_on_the_disk_before_its_effect_leaves() -> None:
    store = Flash()
    jobs = jobs_on(store)
    jobs.handle(offer(), at(0))
    outcome = jobs.handle(None, at(200))
    assert [type(effect) for effect in outcome.effects] == [Fetch]
    assert store.content is not None
    stored = job_record.read(store.content).job
    assert stored is not None
    assert stored.state is S.DOWNLOADING


def test_what_the_disk_does_not_take_has_not_happened() -> None:
    store = Flash(full=True)
    jobs = jobs_on(store)
    assert jobs.handle(offer(), at(0)) == Outcome()
    assert jobs.status() is None
    assert jobs.due_s() == math.inf  # the collector offers it again
    store.full = False
    assert jobs.handle(offer(), at(WRITE_AGAIN_S - 1)) == Outcome()
    jobs.handle(offer(), at(WRITE_AGAIN_S))
    assert state_of(jobs) is S.ACCEPTED


def test_a_result_that_the_disk_did_not_take_is_handed_in_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Flash()
    jobs = jobs_on(store)
    jobs.handle(offer(), at(0))
    jobs.handle(None, at(200))
    store.full = True
    fetched = Fetched(job_id=JOB, package=PACKAGE)
    assert jobs.handle(fetched, at(300)).effects == ()
    assert jobs.handle(None, at(310)).effects == ()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]  # the first failure alone
    assert jobs.due_s() == 320
    store.full = False
    (stage,) = jobs.handle(None, at(320)).effects
    assert isinstance(stage, Stage)
    assert state_of(jobs) is S.VERIFIED


def test_what_comes_with_a_late_result_is_taken_after_it() -> None:
    store = Flash()
    jobs = jobs_on(store)
    jobs.handle(offer(), at(0))
    jobs.handle(None, at(200))
    store.full = True
    jobs.handle(Fetched(job_id=JOB, package=PACKAGE), at(300))
    jobs.handle(withdraw(), at(310))
    store.full = False
    outcome = jobs.handle(withdraw(), at(320))
    assert [type(effect).__name__ for effect in outcome.effects] == ["Stage", "CleanUp"]
    assert [report.state for report in outcome.reports] == [S.VERIFIED, S.CANCELLED]
    assert outcome.turned


def test_asking_writes_nothing_and_a_start_asks_anew() -> None:
    store = Flash()
    jobs = at_ready(store)
    assert job_record.read(store.written[-1]).job == jobs_on(MemoryStore(store.content)).standing.page.job
    before = len(store.written)
    jobs.ask_anew(at(230))
    jobs.handle(Beaten(readings=(PRINTER,), acknowledged_at_s=0.0), at(230))
    assert len(store.written) == before
    again = Jobs(SETTINGS, store, random.Random(2), at(300))
    (asked,) = again.handle(None, at(300)).effects
    assert isinstance(asked, LookAtGuard)
    assert state_of(again) is S.STAGED


# --- what the core asks


def test_a_heartbeat_is_wanted_once_for_an_ask_that_became_old() -> None:
    jobs = at_ready(Flash())
    assert jobs.due_s() == 260
    assert not jobs.wants_beat(at(259))
    assert jobs.wants_beat(at(260))
    assert not jobs.wants_beat(at(261))
    assert jobs.due_s() == math.inf
    jobs.ask_anew(at(261))
    assert jobs.due_s() == 321


def test_it_says_whether_the_heartbeat_changed() -> None:
    jobs = jobs_on(Flash())
    assert jobs.handle(offer(), at(0)).turned
    assert not jobs.handle(offer(), at(1)).turned
    assert jobs.is_open
    assert jobs.handle(withdraw(), at(2)).turned
    assert not jobs.is_open


def test_a_go_is_turned_down_by_a_full_disk_until_its_page_is_written() -> None:
    store = Flash()
    jobs = at_ready(store)
    status = jobs.status()
    assert status is not None
    (guard,) = jobs.handle(go(status.nonce), at(201)).effects
    assert isinstance(guard, LookAtGuard)
    store.full = True
    assert jobs.handle(well(guard), at(202)).effects == ()
    assert state_of(jobs) is S.READY
    store.full = False
    assert [type(effect).__name__ for effect in jobs.handle(None, at(212)).effects] == ["Activate"]


@pytest.mark.parametrize("store", [Flash(unreadable=True), Flash(content=b"\0" * 64)])
def test_a_page_that_cannot_be_read_is_forgotten(store: Flash, caplog: pytest.LogCaptureFixture) -> None:
    jobs = Jobs(SETTINGS, store, random.Random(1), at(0))
    assert jobs.status() is None
    assert jobs.handle(None, at(0)).effects == (Tidy(),)
    assert "forgotten" in caplog.text
