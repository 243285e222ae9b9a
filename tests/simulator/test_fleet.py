"""A fleet on a real broker: what it sends, and how each trouble shows there."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tests.live.stack import until

from tillwatch_agent.publisher import Broker
from tillwatch_collector.broker import EmbeddedBroker, Handover
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobState
from tillwatch_protocol.process import ProcessLife, ProcessState
from tillwatch_protocol.topics import Message
from tillwatch_simulator.faults import PRINTER, What
from tillwatch_simulator.fleet import Fleet
from tillwatch_simulator.releases import Harm, Release, Signed
from tillwatch_simulator.scenario import Injection, Step
from tillwatch_simulator.updating import Between, Paces, Software

WAIT_S = 30.0
"""For anything: far more than it takes, so that only what never happens fails."""


class Collector:
    """Acknowledges whatever comes, keeps it, and lets jobs do what they ask for."""

    def __init__(self, handover: Handover) -> None:
        self.heard: list[tuple[str, Message]] = []
        self._news = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="collector.1", protocol=paho.MQTTv311)
        self._client.username_pw_set("collector.1", handover.process_password)
        self._client.on_message = self._on_message
        self._client.connect(handover.host, handover.port)
        self._client.subscribe([(f"{topics.ROOT}/t/+/up/+", 1)])
        self._client.loop_start()
        state = ProcessState(process="collector.1", state=ProcessLife.ONLINE, collector_epoch=1)
        self._client.publish(topics.STATE.of("collector.1"), codec.encode(state), qos=1, retain=True)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def until(self, is_so: Callable[[Message], bool], *, after: int = 0) -> int:
        """Wait for a message; returns how many were heard by then."""

        def found() -> int:
            places = (n for n, (_, message) in enumerate(self.heard[after:], after + 1) if is_so(message))
            return next(places, 0)

        with self._news:
            assert self._news.wait_for(found, WAIT_S), [message for _, message in self.heard[after:]]
            return found()

    def _on_message(self, client: Any, _userdata: Any, packet: paho.MQTTMessage) -> None:
        message = codec.decode(packet.topic, bytes(packet.payload))
        with self._news:
            self.heard.append((packet.topic, message))
            self._news.notify_all()
        if isinstance(message, EventBatch):
            last = message.events[-1].event_seq
            ack = Ack(terminal_id=message.terminal_id, stream_id=message.stream_id, event_seq=last)
            client.publish(topics.ACK.of(message.terminal_id), codec.encode(ack), qos=1)
        if isinstance(message, Heartbeat) and message.job is not None and message.job.nonce is not None:
            self.tell(message.terminal_id, JobMessageKind.GO, nonce=message.job.nonce, valid_for_s=60.0)

    def tell(self, terminal_id: str, kind: JobMessageKind, **more: Any) -> None:
        """Say something of the one job."""
        said = JobMessage(terminal_id=terminal_id, kind=kind, job_id="r1-1.1", **more)
        self._client.publish(topics.JOBS.of(terminal_id), codec.encode(said), qos=1)


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handover]:
    with EmbeddedBroker(port=0, process="collector.1", data_dir=tmp_path_factory.mktemp("broker")) as broker:
        yield broker.start()


@pytest.fixture
def collector(handover: Handover) -> Iterator[Collector]:
    listening = Collector(handover)
    yield listening
    listening.close()


def fleet(handover: Handover, *terminal_ids: str, software: Software | None = None) -> Fleet:
    def broker(terminal_id: str) -> Broker:
        return Broker(host=handover.host, port=handover.port, username=terminal_id, password=handover.terminal_password)

    return Fleet(terminal_ids=terminal_ids, interval_s=1, seed=1, broker=broker, software=software)


def step(terminal_id: str, what: What, *, begins: bool, code: str = "") -> Step:
    injection = Injection(terminal_id=terminal_id, what=what, from_s=0, until_s=1, component=PRINTER, code=code)
    return Step(at_s=0, begins=begins, injection=injection)


def says(terminal_id: str, kind: str, code: str | None = None) -> Callable[[Message], bool]:
    """An event of this kind."""

    def is_so(message: Message) -> bool:
        return (
            isinstance(message, EventBatch)
            and message.terminal_id == terminal_id
            and any((event.kind, event.code) == (kind, code) for event in message.events)
        )

    return is_so


def presence(terminal_id: str, state: str, reason: str | None = None) -> Callable[[Message], bool]:
    def is_so(message: Message) -> bool:
        said = json.loads(codec.encode(message))
        return (said.get("terminal_id"), said.get("state"), said.get("reason")) == (terminal_id, state, reason)

    return is_so


def beats(terminal_id: str, beat_no: int) -> Callable[[Message], bool]:
    def is_so(message: Message) -> bool:
        return isinstance(message, Heartbeat) and (message.terminal_id, message.beat_no) == (terminal_id, beat_no)

    return is_so


def test_all_start_beat_and_say_goodbye(handover: Handover, collector: Collector) -> None:
    names = [f"all-{number}" for number in range(10)]
    with fleet(handover, *names) as ours:
        for name in names:
            collector.until(says(name, "started"))
            collector.until(beats(name, 2))
        assert ours.totals().terminals == ours.totals().connected == 10
    for name in names:
        collector.until(says(name, "stopping"))
        collector.until(presence(name, "offline", "stopping"))
    totals = ours.totals()
    assert totals.events == 20
    assert totals.heartbeats >= 20


def test_a_condition_is_raised_and_cleared(handover: Handover, collector: Collector) -> None:
    with fleet(handover, "paper-1") as ours:
        collector.until(says("paper-1", "started"))
        ours.follow(step("paper-1", What.CONDITION, begins=True, code="paper_end"))
        raised = collector.until(says("paper-1", "condition_raised", "paper_end"))
        ours.follow(step("paper-1", What.CONDITION, begins=False, code="paper_end"))
        collector.until(says("paper-1", "condition_cleared", "paper_end"), after=raised)


def test_a_dead_one_leaves_its_will_and_comes_back_with_its_outbox(handover: Handover, collector: Collector) -> None:
    with fleet(handover, "dead-1") as ours:
        collector.until(says("dead-1", "started"))
        ours.follow(step("dead-1", What.DEAD, begins=True))
        died = collector.until(presence("dead-1", "offline", "connection_lost"))
        until(lambda: ours.totals().connected == 0 or None, "the dead one to see that it is offline")
        ours.follow(step("dead-1", What.DEAD, begins=False))
        collector.until(says("dead-1", "started"), after=died)
    batches = [message for _, message in collector.heard if isinstance(message, EventBatch)]
    events = [event for batch in batches if batch.terminal_id == "dead-1" for event in batch.events]
    assert {event.boot_epoch for event in events} == {1, 2}
    assert len({batch.stream_id for batch in batches if batch.terminal_id == "dead-1"}) == 1


def test_a_stopped_one_says_so_and_comes_back(handover: Handover, collector: Collector) -> None:
    with fleet(handover, "stop-1") as ours:
        collector.until(says("stop-1", "started"))
        ours.follow(step("stop-1", What.STOPPED, begins=True))
        left = collector.until(presence("stop-1", "offline", "stopping"))
        ours.follow(step("stop-1", What.STOPPED, begins=False))
        collector.until(presence("stop-1", "online"), after=left)


def test_what_happens_behind_a_cut_is_told_afterwards(handover: Handover, collector: Collector) -> None:
    with fleet(handover, "cut-1") as ours:
        collector.until(says("cut-1", "started"))
        ours.follow(step("cut-1", What.CUT, begins=True))
        gone = collector.until(presence("cut-1", "offline", "connection_lost"))
        ours.follow(step("cut-1", What.CONDITION, begins=True, code="cover_open"))
        ours.follow(step("cut-1", What.CONDITION, begins=False, code="cover_open"))
        ours.follow(step("cut-1", What.CUT, begins=False))
        raised = collector.until(says("cut-1", "condition_raised", "cover_open"), after=gone)
        collector.until(says("cut-1", "condition_cleared", "cover_open"), after=raised - 1)


def test_what_befalls_others_is_left_out(handover: Handover, collector: Collector) -> None:
    with fleet(handover, "alone-1") as ours:
        collector.until(says("alone-1", "started"))
        ours.follow(step("till-1", What.DEAD, begins=True))
        assert ours.totals().connected == 1


HARM = Harm(share_pct=100.0, from_s=20.0, until_s=20.0, component="pin_pad:counter", code="no_response")
HARMFUL = Signed(release=Release(product="till", version="2.2", harm=HARM), digest="2" * 64)
QUICK = Paces(fetch=Between(0.1, 0.2), stage=Between(0.1, 0.2), start=Between(0.1, 0.2), busy_pct=0.0)
SOFTWARE = Software(
    installed=Signed(release=Release(product="till", version="2.0"), digest="0" * 64),
    offered={HARMFUL.release.target: HARMFUL},
    spread_s=0.1,
    paces=QUICK,
)


def runs(version: str) -> Callable[[Message], bool]:
    """A heartbeat that shows this version."""

    def is_so(message: Message) -> bool:
        return isinstance(message, Heartbeat) and any(
            reading.facts.get("version") == version for reading in message.components
        )

    return is_so


def in_state(state: JobState) -> Callable[[Message], bool]:
    def is_so(message: Message) -> bool:
        return isinstance(message, Heartbeat) and message.job is not None and message.job.state is state

    return is_so


def test_a_job_is_taken_to_its_end_and_hidden_harm_shows_until_it_is_mended(
    handover: Handover, collector: Collector
) -> None:
    with fleet(handover, "job-1", software=SOFTWARE) as ours:
        collector.until(runs("2.0"))
        assert ours.switched() == []
        collector.tell("job-1", JobMessageKind.OFFER, target=HARMFUL.release.target)
        collector.until(in_state(JobState.SUCCEEDED))
        collector.until(runs("2.2"))
        assert [one.version for one in ours.switched()] == ["2.2"]
        raised = collector.until(says("job-1", "condition_raised", "no_response"))
        (harmed,) = ours.harmed()
        assert (harmed.terminal_id, harmed.component, harmed.version) == ("job-1", "pin_pad:counter", "2.2")
        ours.mend()
        collector.until(says("job-1", "condition_cleared", "no_response"), after=raised)
        assert ours.harmed() == []


def test_a_fleet_without_software_takes_no_jobs(handover: Handover, collector: Collector) -> None:
    with fleet(handover, "plain-1") as ours:
        collector.until(beats("plain-1", 1))
        collector.tell("plain-1", JobMessageKind.OFFER, target=HARMFUL.release.target)
        heard = collector.until(beats("plain-1", 3))
        last = collector.heard[heard - 1][1]
        assert isinstance(last, Heartbeat)
        assert last.job is None
        assert (ours.switched(), ours.harmed()) == ([], [])
