"""Effects to messages: what leaves once a transaction is committed, and what a process says of itself.

It sends nothing: the messages are handed to whoever holds the connection.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tillwatch_collector.flows.ingest import IngestEffects
from tillwatch_protocol import codec, topics
from tillwatch_protocol.command import Command
from tillwatch_protocol.errors import PeerError
from tillwatch_protocol.job import JobMessage
from tillwatch_protocol.process import Canary, ProcessLife, ProcessState
from tillwatch_protocol.topics import Message, Topic


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message on its way out."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


def acks(effects: IngestEffects, now: datetime) -> list[Outgoing]:
    """Return the acknowledgements of a committed batch; each tells the collector's time."""
    return [_outgoing(topics.ACK, ack.terminal_id, ack.model_copy(update={"sent_at": now})) for ack in effects.acks]


def jobs(messages: Iterable[JobMessage]) -> list[Outgoing]:
    """Return what terminals are told of their jobs."""
    return [_outgoing(topics.JOBS, message.terminal_id, message) for message in messages]


def commands(messages: Iterable[Command]) -> list[Outgoing]:
    """Return what terminals are asked to do."""
    return [_outgoing(topics.COMMANDS, message.terminal_id, message) for message in messages]


def announce(process: str, collector_epoch: int) -> Outgoing:
    """Return the word that a process listens."""
    return _state(process, ProcessLife.ONLINE, collector_epoch)


def farewell(process: str, collector_epoch: int) -> Outgoing:
    """Return the word that a process listens no more; it is also its last will."""
    return _state(process, ProcessLife.OFFLINE, collector_epoch)


def denies(payload: bytes, announced: Outgoing) -> bool:
    """Whether what came on our own state's topic says offline, while we are announced: an earlier connection's will.

    Brokers publish it on a take-over, or when they find the old connection dead, after we said online again. It is
    retained, and every agent that believes it holds back what it has to say: so announce again.
    """
    try:
        said = codec.decode(announced.topic, payload)
    except PeerError:
        return False
    return isinstance(said, ProcessState) and said.state is ProcessLife.OFFLINE


def canary(process: str, start_id: str, canary_no: int) -> Outgoing:
    """Return a canary; `canary_no` is `CanaryBook.send`'s."""
    return _outgoing(topics.CANARY, process, Canary(process=process, start_id=start_id, canary_no=canary_no))


def _state(process: str, life: ProcessLife, collector_epoch: int) -> Outgoing:
    state = ProcessState(process=process, state=life, collector_epoch=collector_epoch)
    return _outgoing(topics.STATE, process, state)


def _outgoing(topic: Topic, owner: str, message: Message) -> Outgoing:
    return Outgoing(topic=topic.of(owner), payload=codec.encode(message), qos=topic.qos, retain=topic.retain)
