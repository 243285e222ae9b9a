"""What tests of the core share: a core on an outbox, what it says as the far side reads it, and what it is told."""

import random
from collections.abc import Sequence
from typing import Any

from tests.agent.moments import at

from tillwatch_agent.core import (
    Connect,
    Connected,
    Core,
    CoreSettings,
    Effect,
    Publish,
    Received,
    Tick,
)
from tillwatch_agent.health import Observation
from tillwatch_agent.outbox import Outbox
from tillwatch_agent.session import Phase
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.process import EPOCH_SALT_BITS, ProcessLife, ProcessState
from tillwatch_protocol.topics import Message
from tillwatch_protocol.vocabulary import Health

TILL = "till-1"
CORE = CoreSettings(terminal_id=TILL, interval_s=60, agent_version="0.1.0", host_boot_id="boot-1")

COVER = Observation(component="pos_printer:1", health=Health.FAULT, true_codes={"cover_open": "lid"})
CLOSED = Observation(component="pos_printer:1", health=Health.OK)


def core_on(outbox: Outbox, **changes: Any) -> Core:
    return Core(
        CoreSettings(**{slot: getattr(CORE, slot) for slot in CORE.__slots__} | changes),
        outbox,
        random.Random(1),
        at(0),
    )


def connected(core: Core, seconds: float = 2) -> Core:
    (dial,) = core.handle(Tick(), at(1))
    assert isinstance(dial, Connect)
    core.handle(Connected(), at(seconds))
    assert core.phase is Phase.ONLINE
    return core


def said(effects: Sequence[Effect]) -> list[Message]:
    """Decode what was published, as the far side would."""
    published = [effect.outgoing for effect in effects if isinstance(effect, Publish)]
    return [codec.decode(outgoing.topic, outgoing.payload) for outgoing in published]


def beats(effects: Sequence[Effect]) -> list[Heartbeat]:
    return [message for message in said(effects) if isinstance(message, Heartbeat)]


def events(effects: Sequence[Effect]) -> list[str]:
    batches = [message for message in said(effects) if isinstance(message, EventBatch)]
    return [f"{event.event_seq} {event.kind}" for batch in batches for event in batch.events]


def received(message: Message, *, retained: bool = False) -> Received:
    """Have it come on the topic that it travels on."""
    row = next(topic for topic in topics.TOPICS if topic.message is type(message))
    owner = message.process if isinstance(message, ProcessState) else message.terminal_id  # type: ignore[union-attr]
    return Received(topic=row.of(owner), payload=codec.encode(message), retained=retained)


def ack(core: Core, event_seq: int, *, terminal_id: str = TILL) -> Received:
    return received(Ack(terminal_id=terminal_id, stream_id=core.outbox.stream_id, event_seq=event_seq))


def state(life: ProcessLife = ProcessLife.ONLINE, *, starts: int = 5) -> ProcessState:
    return ProcessState(process="collector.1", state=life, collector_epoch=starts << EPOCH_SALT_BITS)
