"""What terminals say, built short: deliveries as a broker hands them over, for the tests of the collector."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tillwatch_collector.flows.ingest import Delivery
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Event, EventBatch, SeqRange
from tillwatch_protocol.heartbeat import Connection, Heartbeat, Presence, PresenceState
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.topics import Message, Topic
from tillwatch_protocol.vocabulary import Health

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PRINTER = "pos_printer:kitchen"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def stream(letter: str = "a") -> str:
    return letter * 32


def printer(*codes: str, health: Health | None = None, undetermined: Sequence[str] = (), **more: Any) -> Reading:
    """Build a reading of the kitchen's printer with these conditions."""
    return Reading(
        component=PRINTER,
        health=health or (Health.FAULT if codes else Health.OK),
        reason="asked_in_vain" if health in {Health.UNKNOWN, Health.ABSENT} else None,
        conditions=tuple(Condition(code=code, since=START) for code in codes),
        undetermined=tuple(undetermined),
        **more,
    )


def heartbeat(
    beat_no: int = 1,
    *components: Reading,
    terminal_id: str = "till-1",
    stream_id: str = "a",
    boot_epoch: int = 1,
    connection_no: int = 1,
    interval_s: int = 60,
    event_seq_last: int = 0,
    host_boot_id: str = "boot-1",
    collector_epoch_seen: int = 0,
) -> Heartbeat:
    return Heartbeat(
        terminal_id=terminal_id,
        connection=Connection(stream_id=stream(stream_id), boot_epoch=boot_epoch, connection_no=connection_no),
        beat_no=beat_no,
        interval_s=interval_s,
        event_seq_last=event_seq_last,
        sent_at=START,
        host_boot_id=host_boot_id,
        agent_version="0.1.0",
        collector_epoch_seen=collector_epoch_seen,
        components=components,
    )


def presence(
    state: PresenceState = PresenceState.ONLINE,
    reason: str | None = None,
    *,
    terminal_id: str = "till-1",
    stream_id: str = "a",
    boot_epoch: int = 1,
    connection_no: int = 1,
) -> Presence:
    connection = Connection(stream_id=stream(stream_id), boot_epoch=boot_epoch, connection_no=connection_no)
    return Presence(terminal_id=terminal_id, state=state, reason=reason, connection=connection)


def offline(reason: str = "connection_lost", **where: Any) -> Presence:
    return presence(PresenceState.OFFLINE, reason, **where)


def event(event_seq: int, *, detail: str | None = None, dropped: Sequence[tuple[int, int]] = ()) -> Event:
    return Event(
        event_seq=event_seq,
        boot_epoch=1,
        kind="dropped" if dropped else "started",
        happened_at=at(event_seq),
        detail=detail,
        dropped=tuple(SeqRange(first=first, last=last) for first, last in dropped),
    )


def events(*some: Event | int, oldest_seq: int = 1, terminal_id: str = "till-1", stream_id: str = "a") -> EventBatch:
    return EventBatch(
        terminal_id=terminal_id,
        stream_id=stream(stream_id),
        oldest_seq=oldest_seq,
        events=tuple(one if isinstance(one, Event) else event(one) for one in some),
    )


def delivered(message: Message, after_s: float = 0, *, retained: bool = False) -> Delivery:
    """Return the message as it comes from the broker."""
    owner = message.process if hasattr(message, "process") else message.terminal_id
    return Delivery(
        topic=_topic(message).of(owner), payload=codec.encode(message), retained=retained, received_at=at(after_s)
    )


def raw(payload: bytes, after_s: float = 0, *, topic: str = "tillwatch/v1/t/till-1/up/heartbeat") -> Delivery:
    return Delivery(topic=topic, payload=payload, retained=False, received_at=at(after_s))


def _topic(message: Message) -> Topic:
    return next(topic for topic in topics.TOPICS if topic.message is type(message))
