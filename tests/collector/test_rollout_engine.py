"""Words on jobs leave after their commit, and what cannot leave comes again."""

import pytest
from tests.collector.estate import Estate
from tests.collector.test_app import World
from tests.collector.words import at

from tillwatch_collector import app, intake
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.errors import StoreUnavailable
from tillwatch_collector.flows import dispatch
from tillwatch_collector.store.session import Store
from tillwatch_protocol import codec, topics
from tillwatch_protocol.job import JobMessage, JobMessageKind

STORES = {"north": 4, "south": 4, "west": 4, "east": 4, "mid": 4}
WAVE = 4
LOOK_S = 5.0


class Driven(World):
    """An engine over stores of which one rollout runs."""

    def __init__(self, store: Store) -> None:
        self.estate = Estate(store, STORES)
        self.rollout_id = self.estate.run()
        super().__init__(store)
        self.passed_s = (at(self.estate.now_s) - self.now).total_seconds()
        self.connect()

    def look(self) -> None:
        """Let a look at the rollouts come."""
        self.rounds(int(LOOK_S), 1.0)

    def offers(self) -> list[JobMessage]:
        sent = [one for one in self.link.published if one.topic.endswith("/dn/jobs")]
        return [JobMessage.model_validate_json(one.payload) for one in sent]


@pytest.fixture
def world(store: Store, monkeypatch: pytest.MonkeyPatch) -> Driven:
    monkeypatch.setattr(intake, "BATCH_WAIT_S", 0.0)
    return Driven(store)


def test_offers_leave_once_the_tick_is_committed(world: Driven) -> None:
    world.look()
    world.look()
    offers = world.offers()
    assert {offer.kind for offer in offers} == {JobMessageKind.OFFER}
    assert len({offer.terminal_id for offer in offers}) == len(offers) == WAVE
    assert world.count("tillwatch_job_messages_total", kind="offer") == WAVE


def test_nothing_leaves_of_a_tick_that_is_not_kept(world: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    world.look()
    with monkeypatch.context() as broken:
        broken.setattr("tillwatch_collector.flows.judge.Judge._tell", _failing)
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                world.rounds(1)
            world.passed_s += 1
    assert world.offers() == []
    world.look()
    assert len(world.offers()) == WAVE


def _failing(*_: object) -> None:
    raise StoreUnavailable("the disk is full")


def test_what_cannot_leave_is_counted_and_comes_again(world: Driven) -> None:
    world.look()
    world.link.clogged = True
    world.look()
    assert world.count("tillwatch_job_messages_dropped_total", kind="offer") == WAVE
    world.link.clogged = False
    world.passed_s += 60
    world.estate.now_s += 70
    world.estate.hear(world.estate.tills)
    world.look()
    assert len(world.offers()) == WAVE


def test_a_word_on_a_job_is_kept_nowhere_by_the_broker() -> None:
    word = JobMessage(terminal_id="t-1", kind=JobMessageKind.WITHDRAW, job_id="r1-000001.1")
    [outgoing] = dispatch.jobs([word])
    assert (outgoing.topic, outgoing.qos, outgoing.retain) == (topics.JOBS.of("t-1"), 1, False)
    assert codec.decode(outgoing.topic, outgoing.payload) == word


def test_how_often_rollouts_are_looked_at_is_a_setting() -> None:
    config = CollectorConfig.model_validate({"rollouts": {"look_s": 0.5}})
    assert app._judge_settings(config, "collector.1").rollouts.look_s == 0.5
    assert CollectorConfig().rollouts.look_s == LOOK_S
