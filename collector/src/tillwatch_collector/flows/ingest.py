"""Messages to facts: what came from terminals is decoded, folded into the facts in one transaction, then acknowledged.

Ingest writes facts only and judges nothing; it may run any number of times over the same messages, in any order, in
several processes. A message that cannot be used goes to quarantine, scrubbed before anything of it is stored; it is
still a sign of life of the terminal whose topic it came on. When the database refuses a batch, the batch is halved
until the one message stands alone: one poisoned message costs itself, nothing else.

Retained messages inform and never decide. Of them only an agent's own word that it stopped is taken, so that a terminal
switched off while nobody listened is not missed; they are no sign of life.

A change violates this when an acknowledgement names an event that the commit does not hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from tillwatch_collector.domain import stencil
from tillwatch_collector.domain.history import Recorder
from tillwatch_collector.domain.level import Beat
from tillwatch_collector.errors import RowRefused
from tillwatch_collector.flows.fold import Fold, Letter, Refusal, Tally
from tillwatch_collector.flows.memory import Memory
from tillwatch_collector.store.facts import Facts, Quarantined
from tillwatch_collector.store.repository import Repository
from tillwatch_protocol import codec, topics
from tillwatch_protocol.errors import PeerError, TopicUnknown
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.heartbeat import Presence, PresenceReason
from tillwatch_protocol.process import Canary
from tillwatch_protocol.scrub import excerpt
from tillwatch_protocol.topics import Address, Direction


class Delivery(NamedTuple):
    """What the broker handed over."""

    topic: str
    payload: bytes
    retained: bool
    received_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestSettings:
    """Limits of ingest."""

    excerpt_chars_max: int = 1024
    """Of a quarantined payload: enough to see who writes such a thing."""
    said_chars_max: int = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What became of the messages; every message is counted under one of the kinds or as retained or quarantined."""

    messages: int = 0
    heartbeats: int = 0
    heartbeats_old: int = 0
    events: int = 0
    events_repeated: int = 0
    presences: int = 0
    canaries: int = 0
    retained: int = 0
    """Retained ones that told nothing."""
    quarantined: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestEffects:
    """What is to be done once the transaction is committed."""

    acks: tuple[Ack, ...]
    marked: frozenset[str]
    canaries: tuple[Canary, ...]
    epoch_seen_max: int
    """The greatest collector epoch that an agent says it has seen; see `domain.epoch.restored`."""
    counts: Counts


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    letters: list[Letter]
    canaries: list[Canary]
    refusals: list[Refusal]
    retained: int


def ingest(
    repository: Repository,
    batch: Sequence[Delivery],
    now: datetime,
    *,
    settings: IngestSettings | None = None,
    memory: Memory | None = None,
    recorder: Recorder | None = None,
) -> IngestEffects:
    """Take in a batch; the caller commits, tells `memory` and `recorder` how that went, and then lets the effects out.

    Without a recorder no history is kept.
    """
    settings = settings or IngestSettings()
    memory = memory or Memory(None)
    opened = _open(batch)
    if opened.letters:
        memory.begin(repository)
    keeping = _Keeping(facts=repository.facts, memory=memory, now=now)
    tallies = keeping.keep(opened.letters)
    if recorder is not None:
        for level in (level for tally in tallies for level in tally.levels):
            heartbeat, content = level.beat
            recorder.take(heartbeat.terminal_id, content.names, content.values, level.received_at)
        repository.history.write(recorder, now)
    refusals = opened.refusals + [refusal for tally in tallies for refusal in tally.refusals]
    repository.facts.quarantine([_quarantined(batch[refusal.place], refusal, settings) for refusal in refusals])
    acks = {key: prefix for tally in tallies for key, prefix in tally.acks.items()}
    return IngestEffects(
        acks=tuple(Ack(terminal_id=t, stream_id=s, event_seq=prefix) for (t, s), prefix in acks.items()),
        marked=frozenset[str]().union(*(tally.marked for tally in tallies)),
        canaries=tuple(opened.canaries),
        epoch_seen_max=max((tally.epoch_seen_max for tally in tallies), default=0),
        counts=_counted(opened, tallies, len(batch), len(refusals)),
    )


def _open(batch: Sequence[Delivery]) -> _Opened:
    letters: list[Letter] = []
    canaries: list[Canary] = []
    refusals: list[Refusal] = []
    retained = 0
    for place, delivery in enumerate(batch):
        address: Address | None = None
        try:
            address = topics.parse(delivery.topic)
            message = _read(address, delivery.payload)
        except PeerError as error:
            refusals.append(Refusal(place=place, error=type(error).__name__, said=str(error)))
            if not address or address.topic.direction is not Direction.UP or delivery.retained:
                continue
            message = None
        if isinstance(message, Canary):
            canaries.append(message)
        elif delivery.retained and not _stopped(message):
            retained += 1
        else:
            letters.append(Letter(address.owner, message, delivery.received_at, delivery.retained, place))
    return _Opened(letters=letters, canaries=canaries, refusals=refusals, retained=retained)


def _read(address: Address, payload: bytes) -> Beat | EventBatch | Presence | Canary:
    """Decode what leads to a collector; raises `PeerError`."""
    if address.topic is topics.HEARTBEAT:
        return stencil.decode(address, payload)
    message = codec.decode_at(address, payload)
    if not isinstance(message, EventBatch | Presence | Canary):
        raise TopicUnknown(f"expected a topic that leads to a collector, got {address.topic.name}")
    return message


def _stopped(message: Beat | EventBatch | Presence | None) -> bool:
    return isinstance(message, Presence) and message.reason == PresenceReason.STOPPING


@dataclass(frozen=True, kw_only=True, slots=True)
class _Keeping:
    """Folding and writing; what the database refuses is halved until the one message is found."""

    facts: Facts
    memory: Memory
    now: datetime

    def keep(self, letters: Sequence[Letter]) -> list[Tally]:
        if not letters:
            return []
        try:
            return [self._folded(letters)]
        except RowRefused as error:
            self.memory.forget()
            if len(letters) == 1:
                return self._without(letters[0], error)
            half = len(letters) // 2
            return self.keep(letters[:half]) + self.keep(letters[half:])

    def _folded(self, letters: Sequence[Letter]) -> Tally:
        with self.facts.savepoint():
            fold = Fold.read(self.facts, self.memory, letters, self.now)
            fold.take(letters)
            fold.write()
        return fold.tally

    def _without(self, letter: Letter, error: RowRefused) -> list[Tally]:
        """Keep of a message that the database refuses that its terminal lives, if it takes even that."""
        if letter.message is None:
            return []
        refusal = Refusal(place=letter.place, error=type(error).__name__, said=str(error))
        return [Tally(refusals=[refusal]), *self.keep([letter._replace(message=None)])]


def _quarantined(delivery: Delivery, refusal: Refusal, settings: IngestSettings) -> Quarantined:
    try:
        address: Address | None = topics.parse(delivery.topic)
    except PeerError:
        address = None
    return Quarantined(
        received_at=delivery.received_at,
        topic=delivery.topic if address else excerpt(delivery.topic.encode(errors="replace"), 256),
        terminal_id=address.owner if address and address.topic.direction is not Direction.OWN else None,
        error=refusal.error,
        said=excerpt(refusal.said.encode(errors="replace"), settings.said_chars_max),
        payload_sha256=sha256(delivery.payload).hexdigest(),
        payload_bytes=len(delivery.payload),
        excerpt=excerpt(delivery.payload, settings.excerpt_chars_max),
    )


def _counted(opened: _Opened, tallies: Sequence[Tally], messages: int, quarantined: int) -> Counts:
    return Counts(
        messages=messages,
        heartbeats=sum(tally.heartbeats for tally in tallies),
        heartbeats_old=sum(tally.heartbeats_old for tally in tallies),
        events=sum(tally.events for tally in tallies),
        events_repeated=sum(tally.events_repeated for tally in tallies),
        presences=sum(tally.presences for tally in tallies),
        canaries=len(opened.canaries),
        retained=opened.retained,
        quarantined=quarantined,
    )
