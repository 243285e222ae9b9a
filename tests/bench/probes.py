"""Terminals that measure how long the way takes: from an event to its acknowledgement, from a fault to its ticket.

An acknowledgement leaves after the commit, so the time to it holds the commit's. A ticket counts when another
connection to the database sees it. Both clocks are this process's own.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import text

from tillwatch_collector.store.session import Store
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Ack, Event, EventBatch
from tillwatch_protocol.heartbeat import Connection, Heartbeat
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.topics import Message
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

EVENTS_PER_S = 50
FAULTS_PER_S = 20
SPEAKERS = 100
"""Terminals that send events by turns, so that each acknowledgement is of one event."""

INTERVAL_S = 300
"""Of the terminals that fail: not missed while they wait for their fault."""

WAIT_S = 30.0
"""For the last answers."""

PRINTER = "pos_printer:receipt"
_LOOK_S = 0.005


class Probes:
    """A connection for all probing terminals."""

    def __init__(self, host: str, port: int) -> None:
        self.acknowledged_ms: list[float] = []
        self._sent_s: dict[tuple[str, int], float] = {}
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="probes", protocol=paho.MQTTv311)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect(host, port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S), "the broker grants no subscription"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def announce(self, faults: int) -> None:
        """Let the terminals that will fail be known as healthy."""
        for number in range(faults):
            self._publish(topics.HEARTBEAT.of(_failing(number)), _heartbeat(number, beat_no=1, is_open=False))

    def speak(self, seconds: float) -> None:
        """Send events for so long; the times to their acknowledgements gather in `acknowledged_ms`."""
        for count in _paced(EVENTS_PER_S, seconds):
            speaker, event_seq = f"probe-{count % SPEAKERS:04d}", count // SPEAKERS + 1
            event = Event(event_seq=event_seq, boot_epoch=1, kind="probe", happened_at=datetime.now(UTC))
            stream_id = f"{count % SPEAKERS + 1:032x}"
            batch = EventBatch(terminal_id=speaker, stream_id=stream_id, oldest_seq=event_seq, events=(event,))
            self._sent_s[speaker, event_seq] = time.monotonic()
            self._publish(topics.EVENTS.of(speaker), batch, qos=1)
        _wait(lambda: not self._sent_s)

    @property
    def unanswered(self) -> int:
        return len(self._sent_s)

    def fail(self, store: Store, seconds: float) -> list[float]:
        """Let terminals fail for so long; return the milliseconds until each one's ticket was seen."""
        failed_s: dict[str, float] = {}
        tickets = _Tickets(store)
        over = threading.Event()
        watcher = threading.Thread(target=tickets.watch, args=(over,), name="tickets")
        watcher.start()
        for number in _paced(FAULTS_PER_S, seconds):
            failed_s[_failing(number)] = time.monotonic()
            self._publish(topics.HEARTBEAT.of(_failing(number)), _heartbeat(number, beat_no=2, is_open=True))
        _wait(lambda: failed_s.keys() <= tickets.seen_s.keys())
        over.set()
        watcher.join()
        return [(tickets.seen_s.get(name, math.inf) - at_s) * 1000 for name, at_s in failed_s.items()]

    def _publish(self, topic: str, message: Message, qos: int = 0) -> None:
        self._client.publish(topic, codec.encode(message), qos=qos)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(topics.ACK.filter, 1)

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed.set()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        now_s = time.monotonic()
        ack = codec.decode(message.topic, bytes(message.payload))
        assert isinstance(ack, Ack)
        event_seq = ack.event_seq
        while (sent_s := self._sent_s.pop((ack.terminal_id, event_seq), None)) is not None:
            self.acknowledged_ms.append((now_s - sent_s) * 1000)
            event_seq -= 1


class _Tickets:
    """When each terminal's ticket was first seen."""

    def __init__(self, store: Store) -> None:
        self.seen_s: dict[str, float] = {}
        self._store = store

    def watch(self, over: threading.Event) -> None:
        newer = text("SELECT ticket_id, subject_id FROM ticket WHERE ticket_id > :last")
        last = 0
        while not over.wait(_LOOK_S):
            with self._store.reading() as connection:
                found = connection.execute(newer, {"last": last}).all()
            now_s = time.monotonic()
            for ticket_id, subject_id in found:
                self.seen_s.setdefault(subject_id, now_s)
                last = max(last, ticket_id)


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which this share of them lies, by nearest rank."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def _failing(number: int) -> str:
    return f"failing-{number:06d}"


def _heartbeat(number: int, *, beat_no: int, is_open: bool) -> Heartbeat:
    now = datetime.now(UTC)
    printer = Reading(
        component=PRINTER,
        health=Health.FAULT if is_open else Health.OK,
        power_state=PowerState.ONLINE,
        conditions=(Condition(code=ConditionCode.COVER_OPEN, since=now),) if is_open else (),
    )
    return Heartbeat(
        terminal_id=_failing(number),
        connection=Connection(stream_id=f"{number + 1:032x}", boot_epoch=1, connection_no=1),
        beat_no=beat_no,
        interval_s=INTERVAL_S,
        event_seq_last=0,
        sent_at=now,
        host_boot_id=_failing(number),
        agent_version="0.1.0",
        components=(printer,),
    )


def _paced(per_s: float, seconds: float) -> Iterator[int]:
    began_s = time.monotonic()
    for count in itertools.takewhile(lambda count: count < per_s * seconds, itertools.count()):
        time.sleep(max(began_s + count / per_s - time.monotonic(), 0))
        yield count


def _wait(done: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not done() and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
