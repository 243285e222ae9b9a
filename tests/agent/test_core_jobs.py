"""The core and its job: what it hears of it, what the heartbeat and the events say, and what it lets do."""

import random
from collections.abc import Sequence

import pytest
from tests.agent.conftest import InMemory
from tests.agent.cores import CORE, TILL, ack, beats, connected, events, received, said
from tests.agent.job_words import ACTIVATION, DIGEST, JOB, SETTINGS, TARGET, go, offer, well, withdraw
from tests.agent.moments import at

from tillwatch_agent.core import ConnectionLost, Core, Effect, Observed, Tick, Work, Worked
from tillwatch_agent.health import Observation
from tillwatch_agent.installer.order import Cause
from tillwatch_agent.job_work import Activate, Asked, Doing, Failed, Fetch, Restart, StopFetch, Tidy
from tillwatch_agent.jobs import Jobs, MemoryStore
from tillwatch_agent.outbox import Outbox
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.job import JobMessage, JobState, JobStatus
from tillwatch_protocol.vocabulary import Health

S = JobState

PRINTER = Observation(component="pos_printer:1", health=Health.OK)
RUNS = Observation(
    component="application:till", health=Health.OK, facts={"activation_id": ACTIVATION, "digest": DIGEST}
)


class Story:
    """One terminal, online, and a collector that answers it."""

    def __init__(self, outbox: Outbox, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.outbox = outbox
        self.effects: list[Effect] = []
        self.core = self.started(at_s=0)
        self.now_s = 2.0
        self.take(self.core.handle(Tick(), at(0)))  # it tidies up
        connected(self.core)
        self.tick()
        self.effects.clear()

    def started(self, *, at_s: float) -> Core:
        jobs = Jobs(SETTINGS, self.store, random.Random(1), at(at_s))
        return Core(CORE, self.outbox, random.Random(1), at(at_s), jobs)

    def hear(self, message: JobMessage | Ack) -> list[Effect]:
        return self.take(self.core.handle(received(message), at(self.now_s)))

    def take(self, effects: Sequence[Effect]) -> list[Effect]:
        self.effects += effects
        return list(effects)

    def tick(self, after_s: float = 0.0) -> list[Effect]:
        self.now_s += after_s
        return self.take(self.core.handle(Tick(), at(self.now_s)))

    def see(self, *observations: Observation) -> list[Effect]:
        return self.take(self.core.handle(Observed(observations), at(self.now_s)))

    def work(self) -> list[Effect]:
        """Do what was asked last, well."""
        asked = next(e.effect for e in reversed(self.effects) if isinstance(e, Work) and isinstance(e.effect, Asked))
        return self.take(self.core.handle(Worked(well(asked)), at(self.now_s)))

    def acknowledge(self) -> None:
        self.take(self.core.handle(ack(self.core, self.core.outbox.backlog.event_seq_last), at(self.now_s)))

    def until(self, state: JobState) -> None:
        """Let all go well, until the job is there; a collector acknowledges, a printer and a probe are looked at."""
        if self.status is None:
            self.hear(offer())
        for _ in range(200):
            status = self.status
            assert status is not None
            if status.state is state:
                return
            self.see(PRINTER, RUNS)
            self.acknowledge()
            assert self.core.jobs is not None
            if status.state is S.READY and self.core.jobs.standing.asks:
                self.hear(go(status.nonce))
            elif self.core.jobs.standing.doing is not None:
                self.work()
            else:
                self.tick(after_s=10)
        raise AssertionError(f"never {state}: {self.status}")

    @property
    def status(self) -> JobStatus | None:
        assert self.core.jobs is not None
        return self.core.jobs.status()

    @property
    def told(self) -> list[str]:
        """The steps of the job, as events told them."""
        batches = [message for message in said(self.effects) if isinstance(message, EventBatch)]
        return [event.job.state for batch in batches for event in batch.events if event.job]


@pytest.fixture
def story(in_memory: InMemory) -> Story:
    return Story(in_memory())


def asked_of(effects: Sequence[Effect]) -> list[str]:
    return [type(effect.effect).__name__ for effect in effects if isinstance(effect, Work)]


def test_an_offer_is_told_at_once_by_heartbeat_and_event(story: Story) -> None:
    effects = story.hear(offer())
    (beat,) = beats(effects)
    assert beat.job == JobStatus(job_id=JOB, state=S.ACCEPTED)
    assert events(effects) == ["2 job"]


def test_a_job_goes_its_way_and_each_step_is_an_event(story: Story) -> None:
    story.until(S.SUCCEEDED)
    assert story.told == [
        S.ACCEPTED,
        S.DOWNLOADING,
        S.VERIFIED,
        S.STAGED,
        S.READY,
        S.SWITCHING,
        S.CONFIRMING,
        S.SUCCEEDED,
    ]
    assert beats(story.effects)[-1].job == JobStatus(job_id=JOB, state=S.SUCCEEDED)
    story.see(PRINTER, RUNS)
    (newest,) = beats(story.tick(after_s=60))
    assert newest.job == JobStatus(job_id=JOB, state=S.SUCCEEDED)
    assert newest.components[0].facts["activation_id"] == ACTIVATION


def test_what_must_not_be_done_twice_comes_after_its_page(story: Story) -> None:
    story.until(S.READY)
    assert story.status is not None
    story.hear(go(story.status.nonce))
    effects = story.work()
    assert [type(e.effect) for e in effects if isinstance(e, Work)] == [Activate]
    assert story.store.content is not None
    assert b'"switching"' in story.store.content


def test_each_heartbeat_asks_with_another_nonce(story: Story) -> None:
    story.until(S.READY)
    nonces = set()
    for _ in range(4):
        story.see(PRINTER)
        story.acknowledge()
        nonces |= {beat.job.nonce for beat in beats(story.tick(after_s=60)) if beat.job}
    assert len(nonces) == 4
    assert story.status is not None
    story.hear(go(story.status.nonce))
    assert asked_of(story.effects)[-1] == "LookAtGuard"


def test_an_ask_that_became_old_has_a_heartbeat_of_its_own(in_memory: InMemory) -> None:
    story = Story(in_memory())
    story.until(S.READY)
    assert story.core.jobs is not None
    asked_at_s = story.core.jobs.standing.asked_at_s
    assert story.core.next_due_s(at(asked_at_s + 1)) <= 59


def test_a_withdrawal_stops_the_download(story: Story) -> None:
    story.until(S.DOWNLOADING)
    effects = story.hear(withdraw())
    assert StopFetch(job_id=JOB) in [effect.effect for effect in effects if isinstance(effect, Work)]
    (beat,) = beats(effects)
    assert beat.job == JobStatus(job_id=JOB, state=S.CANCELLED)


def test_the_collectors_time_goes_with_what_is_to_be_done(story: Story) -> None:
    told = Ack(terminal_id=TILL, stream_id=story.outbox.stream_id, event_seq=0, sent_at=at(3600).at)
    story.hear(told)
    story.until(S.DOWNLOADING)
    fetch = next(e for e in story.effects if isinstance(e, Work) and isinstance(e.effect, Fetch))
    assert fetch.told_at == at(3600 + story.now_s - 2).at


def test_a_message_for_another_terminal_is_left(story: Story) -> None:
    foreign = offer().model_copy(update={"terminal_id": "till-2"})
    assert story.hear(foreign) == []
    assert story.status is None


def test_a_job_goes_on_without_a_connection_and_is_told_when_there_is_one(story: Story) -> None:
    story.until(S.DOWNLOADING)
    story.take(story.core.handle(ConnectionLost(), at(story.now_s)))
    story.effects = [effect for effect in story.effects if isinstance(effect, Work)]
    story.work()
    story.work()
    assert said(story.effects) == []
    assert story.status is not None
    assert story.status.state is S.STAGED
    story.tick(after_s=5)
    connected_again = story.core.phase
    assert connected_again != "online"


def test_it_never_spins_while_it_waits_for_its_go_without_a_connection(story: Story) -> None:
    story.until(S.READY)
    story.take(story.core.handle(ConnectionLost(), at(story.now_s)))
    for _ in range(5):
        story.tick(after_s=100)
    story.tick()
    assert story.core.next_due_s(at(story.now_s)) > 0 or story.core.phase == "connecting"


def test_a_start_goes_on_with_its_job(story: Story) -> None:
    story.until(S.SWITCHING)
    story.work()
    story.core = story.started(at_s=story.now_s)
    assert asked_of(story.core.handle(Tick(), at(story.now_s))) == ["Restart"]
    assert story.status is not None
    assert story.status.state is S.SWITCHING


def test_a_start_without_a_job_tidies_up_once(in_memory: InMemory) -> None:
    core = Core(CORE, in_memory(), random.Random(1), at(0), Jobs(SETTINGS, MemoryStore(), random.Random(1), at(0)))
    assert core.next_due_s(at(0)) == 0
    first = core.handle(Tick(), at(0))
    assert Work(Tidy(), None) in first
    assert asked_of(core.handle(Tick(), at(0))) == []


def test_reports_that_find_no_room_are_left_to_the_level(in_memory: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    story = Story(in_memory(events_max=4))  # two reports at most
    story.until(S.DOWNLOADING)
    story.core.outbox.backlog.rewind()
    for _ in range(2):
        story.work()
    assert "left out" in caplog.text
    assert story.status is not None
    assert story.status.state is S.STAGED
    failed = Failed(job_id=JOB, doing=Doing.GUARD, reason="disk_failed", cause=Cause.STORAGE)
    story.take(story.core.handle(Worked(failed), at(story.now_s)))
    assert story.status.reason == "disk_failed"


def test_a_restart_of_the_agent_is_asked_for_like_any_other(story: Story) -> None:
    story.until(S.SWITCHING)
    effects = story.work()
    assert Restart(job_id=JOB, product="till", activation_id=ACTIVATION) in [
        effect.effect for effect in effects if isinstance(effect, Work)
    ]
    assert TARGET.startswith("till/")
