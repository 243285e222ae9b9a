"""One valid message of each topic, and strategies that make many: what other tests start from."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tillwatch_protocol import topics
from tillwatch_protocol.command import Command, CommandKind, CommandReport
from tillwatch_protocol.event import Ack, Event, EventBatch, EventKind, SeqRange
from tillwatch_protocol.heartbeat import Connection, Heartbeat, Presence, PresenceState
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobReport, JobState, JobStatus
from tillwatch_protocol.process import Canary, ProcessLife, ProcessState
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.topics import Message
from tillwatch_protocol.vocabulary import Health, PowerState

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
STREAM = "0123456789abcdef" * 2
CONNECTION = Connection(stream_id=STREAM, boot_epoch=3, connection_no=2)


def heartbeat(**changes: Any) -> Heartbeat:
    values: dict[str, Any] = {
        "terminal_id": "till-7",
        "connection": CONNECTION,
        "beat_no": 41,
        "interval_s": 60,
        "event_seq_last": 12,
        "sent_at": AT,
        "host_boot_id": "3f1c9a",
        "agent_version": "0.1.0",
        "collector_epoch_seen": 5,
        "components": (
            Reading(
                component="pos_printer:kitchen",
                health=Health.FAULT,
                power_state=PowerState.ONLINE,
                conditions=(Condition(code="cover_open", since=AT, detail="lid"),),
                undetermined=("paper_end",),
                facts={"model": "TM-T88III"},
            ),
            Reading(component="network:uplink", health=Health.OK, measures={"tls_ms": 41.5, "disk_free_pct": 7}),
        ),
        "job": JobStatus(job_id="job-1", state=JobState.STAGED),
    }
    return Heartbeat(**(values | changes))


def event(event_seq: int, **changes: Any) -> Event:
    values: dict[str, Any] = {
        "event_seq": event_seq,
        "boot_epoch": 3,
        "kind": EventKind.CONDITION_RAISED,
        "happened_at": AT,
        "component": "pos_printer:kitchen",
        "code": "cover_open",
    }
    return Event(**(values | changes))


def batch(*events: Event, oldest_seq: int = 1) -> EventBatch:
    return EventBatch(terminal_id="till-7", stream_id=STREAM, oldest_seq=oldest_seq, events=events)


EXAMPLES: dict[str, Message] = {
    topics.PRESENCE.of("till-7"): Presence(
        terminal_id="till-7", state=PresenceState.OFFLINE, reason="stopping", connection=CONNECTION
    ),
    topics.HEARTBEAT.of("till-7"): heartbeat(),
    topics.EVENTS.of("till-7"): batch(
        event(5),
        event(6, kind=EventKind.DROPPED, component=None, code=None, dropped=(SeqRange(first=1, last=4),)),
        event(7, kind=EventKind.JOB, job=JobReport(job_id="job-1", state=JobState.READY, nonce="n1")),
        event(9, kind="something_new"),
        event(10, kind=EventKind.COMMAND_DONE, command=CommandReport(command_id="c-1", kind="report")),
        oldest_seq=5,
    ),
    topics.ACK.of("till-7"): Ack(terminal_id="till-7", stream_id=STREAM, event_seq=7, sent_at=AT),
    topics.JOBS.of("till-7"): JobMessage(
        terminal_id="till-7", kind=JobMessageKind.GO, job_id="job-1", nonce="n1", valid_for_s=30.0
    ),
    topics.COMMANDS.of("till-7"): Command(
        terminal_id="till-7", command_id="c-1", kind=CommandKind.REPORT, lifetime_s=60.0
    ),
    topics.STATE.of("collector.1"): ProcessState(process="collector.1", state=ProcessLife.ONLINE, collector_epoch=6),
    topics.CANARY.of("collector.1"): Canary(process="collector.1", start_id="s1", canary_no=17),
}


SPITE = (
    b"\x00", b'"\\u0000"', b"NaN", b"-Infinity", b"1e400", b"9" * 400, b"[" * 3000, b'{"v":' * 500, b"\xff\xfe",
    b"\\ud800", b"null", b"true", b"{}", b"[]", b'"v":2,', b'"terminal_id":"other",', b"4111 1111 1111 1111", b"-1",
    b"18446744073709551616",
)  # fmt: skip
WORDS = (
    b"terminal_id", b"connection", b"event_seq", b"components", b"ok", b"fault", b"online", b"2026-11-21T08:00:00Z",
    b"till-7", b"0123456789abcdef", b"1", b"5", b"condition_raised", b"dropped", b"oldest_seq", b"stream_id",
)  # fmt: skip


def mutated(payload: bytes, rng: random.Random) -> bytes:
    """A payload as a broken or hostile sender may have made it: from one flipped bit to another message's half."""
    for _ in range(rng.randint(1, 3)):
        payload = rng.choice(MUTATIONS)(payload, rng.randrange(len(payload) + 1), rng)
    return payload


def _flip_a_bit(payload: bytes, at: int, rng: random.Random) -> bytes:
    return payload[:at] + bytes(byte ^ (1 << rng.randrange(8)) for byte in payload[at : at + 1]) + payload[at + 1 :]


def _change_a_digit(payload: bytes, at: int, rng: random.Random) -> bytes:
    digit = next((where for where in range(at, len(payload)) if payload[where] in b"0123456789"), None)
    return payload if digit is None else payload[:digit] + b"%d" % rng.randrange(10) + payload[digit + 1 :]


MUTATIONS: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    _flip_a_bit,
    _change_a_digit,
    lambda payload, at, rng: payload[:at] + payload[at + rng.randint(1, 40) :],
    lambda payload, at, rng: payload[:at] + rng.randbytes(rng.randint(1, 8)) + payload[at:],
    lambda payload, at, rng: payload[:at] + rng.choice(SPITE) + payload[at:],
    lambda payload, at, _: payload[:at],
    lambda payload, at, _: payload + payload[at : at + 200],
    lambda payload, _, rng: payload.replace(rng.choice(WORDS), rng.choice(WORDS), 1),
    lambda payload, _, rng: payload.replace(b'"', rng.choice(SPITE), rng.randint(1, 2)),
)
