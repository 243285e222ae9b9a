"""One batch over the facts: read once, folded message by message in memory, written once.

Nothing here asks the database about a single message. Folding is deterministic and knows no order but the messages' own
(`domain.level`, `domain.stream`), so that batches may be cut, repeated and shuffled at will.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, Self

from tillwatch_collector.domain import epoch, ranges
from tillwatch_collector.domain.identity import SWITCHES, Sighting, heard, switched
from tillwatch_collector.domain.level import (
    Beat,
    LevelHead,
    PresenceHead,
    event_digest,
    level_head,
    presence_head,
)
from tillwatch_collector.domain.presence import grace_s
from tillwatch_collector.domain.ranges import Ranges
from tillwatch_collector.domain.stream import RANGES_ABOVE_PREFIX_MAX, StreamLedger, record
from tillwatch_collector.flows.memory import Memory
from tillwatch_collector.store.facts import (
    EventKey,
    Facts,
    NewEvent,
    NewLevel,
    NewPresence,
    StreamFacts,
    StreamKey,
)
from tillwatch_protocol.event import Event, EventBatch, EventKind
from tillwatch_protocol.heartbeat import Heartbeat, Presence, PresenceState
from tillwatch_protocol.scrub import scrubbed


class Letter(NamedTuple):
    """A message of a terminal; without one, only the sign of life that a refused message still is."""

    terminal_id: str
    message: Beat | EventBatch | Presence | None
    received_at: datetime
    retained: bool
    """Then it is no sign of life."""
    place: int
    """Where it stands in the batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a message, or a part of it, cannot be used."""

    place: int
    error: str
    said: str


@dataclass(kw_only=True, slots=True)
class Tally:
    """What a fold did, and what is to be said after the commit."""

    heartbeats: int = 0
    heartbeats_old: int = 0
    events: int = 0
    events_repeated: int = 0
    presences: int = 0
    levels: list[NewLevel] = field(default_factory=list)
    """The newest heartbeats that were written."""
    marked: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    """Heard again after so long that judge may have missed them."""
    acks: dict[StreamKey, int] = field(default_factory=dict)
    epoch_seen_max: int = 0
    refusals: list[Refusal] = field(default_factory=list)


class Fold:
    """The facts of a batch's terminals, in memory."""

    def __init__(self, facts: Facts, memory: Memory, now: datetime) -> None:
        self._facts = facts
        self._memory = memory
        self._now = now
        self._sightings: dict[str, Sighting] = {}
        self._streams: dict[str, dict[str, StreamFacts]] = {}
        self._streams_changed: dict[StreamKey, StreamFacts] = {}
        self._gaps: dict[StreamKey, dict[str, Ranges]] = {}
        self._heads: dict[StreamKey, LevelHead] = {}
        self._levels: dict[StreamKey, NewLevel] = {}
        self._presence_heads: dict[StreamKey, PresenceHead] = {}
        self._presences: dict[StreamKey, NewPresence] = {}
        self._digests: dict[EventKey, str] = {}
        self._events: list[NewEvent] = []
        self.tally = Tally()

    @classmethod
    def read(cls, facts: Facts, memory: Memory, letters: Sequence[Letter], now: datetime) -> Self:
        """Read what the letters' terminals have, as far as it is not remembered."""
        fold = cls(facts, memory, now)
        heard_from = {letter.terminal_id for letter in letters if not letter.retained}
        fold._recall(heard_from, min(letter.received_at for letter in letters))
        fold._presence_heads = facts.presences(
            {letter.terminal_id for letter in letters if isinstance(letter.message, Presence)}
        )
        fold._read_events([letter.message for letter in letters if isinstance(letter.message, EventBatch)])
        return fold

    def _recall(self, terminal_ids: set[str], first_at: datetime) -> None:
        memory = self._memory
        unknown = {terminal_id for terminal_id in terminal_ids if terminal_id not in memory.sightings}
        if unknown:
            met = self._facts.meet(unknown, first_at)
            streams: dict[str, dict[str, StreamFacts]] = {terminal_id: {} for terminal_id in unknown}
            for (terminal_id, stream_id), (stream, head) in self._facts.streams(unknown).items():
                streams[terminal_id][stream_id] = stream
                if head is not None:
                    memory.heads[terminal_id, stream_id] = head
            for terminal_id, sighting in met.items():
                memory.keep(terminal_id, sighting, streams[terminal_id])
        for terminal_id in terminal_ids:
            self._sightings[terminal_id] = memory.sightings[terminal_id]
            self._streams[terminal_id] = memory.streams[terminal_id]

    def _read_events(self, batches: Sequence[EventBatch]) -> None:
        """Read the gaps of the streams, and the digests of those events that are here already."""
        touched = {(batch.terminal_id, batch.stream_id) for batch in batches}
        found = self._facts.gaps(touched)
        self._gaps = {key: found.get(key, {}) for key in touched}
        for key, kinds in self._gaps.items():
            stream = self._streams[key[0]].get(key[1])
            if stream is not None:
                ledger = replace(stream.ledger, dropped=kinds.get("dropped", ()), lost=kinds.get("lost", ()))
                self._put(key, replace(stream, ledger=ledger))
        here = {key: stream.ledger.stored for key in touched if (stream := self._streams[key[0]].get(key[1]))}
        self._digests = self._facts.digests(
            {
                (batch.terminal_id, batch.stream_id, event.event_seq)
                for batch in batches
                for event in batch.events
                if ranges.holds(here.get((batch.terminal_id, batch.stream_id), ()), event.event_seq)
            }
        )

    def take(self, letters: Iterable[Letter]) -> None:
        """Fold the letters in."""
        for letter in letters:
            if not letter.retained:
                self._hear(letter.terminal_id, letter.received_at)
            match letter.message:
                case Beat() as beat:
                    self._beat(beat, letter.received_at)
                case EventBatch() as batch:
                    self._record(batch, letter)
                case Presence() as presence:
                    self._announce(presence, letter.received_at)
                case None:
                    pass

    def write(self) -> None:
        """Write what changed, and remember it."""
        facts, memory = self._facts, self._memory
        facts.save_sightings(self._sightings, self.tally.marked)
        self.tally.marked |= facts.mark_missed(self.tally.late - self.tally.marked)
        facts.save_streams(dict(sorted(self._streams_changed.items())))
        self.tally.levels = list(self._levels.values())
        facts.save_levels(self.tally.levels)
        facts.save_events(self._events)
        facts.save_presences(self._presences)
        facts.save_gaps(self._gaps, {key: _gaps(self._streams[key[0]][key[1]].ledger) for key in self._gaps})
        memory.heads.update(self._heads)
        for terminal_id, sighting in self._sightings.items():
            memory.keep(terminal_id, sighting, self._streams[terminal_id])

    def _hear(self, terminal_id: str, at: datetime) -> None:
        """Whoever is new is looked at, and who may have been missed by now, if judge has noticed."""
        before = self._sightings[terminal_id]
        if before.stream_id is None:
            self.tally.marked.add(terminal_id)
        elif (at - before.heard_at).total_seconds() > self._patience_s(before, terminal_id):
            self.tally.late.add(terminal_id)
        self._sightings[terminal_id] = heard(before, at)

    def _patience_s(self, sighting: Sighting, terminal_id: str) -> float:
        """How long judge waits for a terminal before it may have missed it."""
        head = self._head((terminal_id, sighting.stream_id or ""))
        return head.interval_s + grace_s(head.interval_s) if head else 0.0

    def _head(self, key: StreamKey) -> LevelHead | None:
        return self._heads.get(key) or self._memory.heads.get(key)

    def _announce(self, presence: Presence, received_at: datetime) -> None:
        key = (presence.terminal_id, presence.connection.stream_id)
        head = presence_head(presence)
        known = self._presence_heads.get(key)
        self.tally.presences += 1
        if known is None or head.order > known.order:
            self._presence_heads[key] = head
            self._presences[key] = NewPresence(head, received_at)
            self.tally.marked.add(presence.terminal_id)
        if presence.state is PresenceState.ONLINE:
            # Whoever connects is answered, with or without events: the acknowledgement tells it the time.
            stream = self._streams[key[0]].get(key[1])
            self.tally.acks[key] = stream.ledger.prefix_seq if stream else 0

    def _beat(self, beat: Beat, received_at: datetime) -> None:
        heartbeat = beat.heartbeat
        key = (heartbeat.terminal_id, heartbeat.connection.stream_id)
        stream = self._stream(key, received_at)
        if heartbeat.event_seq_last > stream.ledger.event_seq_last:
            self._account(key, replace(stream.ledger, event_seq_last=heartbeat.event_seq_last))
        elif heartbeat.event_seq_last < stream.ledger.prefix_seq:
            # An outbox that has given fewer numbers than are here is an old copy of itself, and should know.
            self.tally.acks[key] = stream.ledger.prefix_seq
        if epoch.plausible(heartbeat.collector_epoch_seen):
            self.tally.epoch_seen_max = max(self.tally.epoch_seen_max, heartbeat.collector_epoch_seen)
        known = self._head(key)
        if known is not None and heartbeat.order < (known.boot_epoch, known.beat_no):
            self.tally.heartbeats_old += 1
            self._compare_boots(heartbeat, known, received_at)
            return
        head = level_head(heartbeat, beat.content)
        if known is not None:
            self._compare_boots(heartbeat, known, received_at)
            if head.order <= known.order:
                self.tally.heartbeats_old += 1
                return
        self._renew(key, beat, head, known, received_at)

    def _renew(
        self, key: StreamKey, beat: Beat, head: LevelHead, known: LevelHead | None, received_at: datetime
    ) -> None:
        """Take a heartbeat that is news as its stream's level, and its stream as the terminal's."""
        heartbeat = beat.heartbeat
        self.tally.heartbeats += 1
        stored = self._memory.heads.get(key)
        changed = stored is None or stored.digest != head.digest
        self._heads[key] = head
        self._levels[key] = NewLevel(beat, head, received_at, changed)
        if known is None or known.judged_digest != head.judged_digest:
            self.tally.marked.add(heartbeat.terminal_id)
        sighting = self._sightings[heartbeat.terminal_id]
        if sighting.stream_id == key[1]:
            return
        self.tally.marked.add(heartbeat.terminal_id)
        self._sightings[heartbeat.terminal_id] = sighting._replace(stream_id=key[1])
        if known is not None:
            self._count_switch(heartbeat, received_at)

    def _compare_boots(self, heartbeat: Heartbeat, known: LevelHead, received_at: datetime) -> None:
        """One start of an agent lies within one boot of its machine."""
        if heartbeat.connection.boot_epoch == known.boot_epoch and heartbeat.host_boot_id != known.host_boot_id:
            self._count_switch(heartbeat, received_at)

    def _count_switch(self, heartbeat: Heartbeat, received_at: datetime) -> None:
        sighting = switched(self._sightings[heartbeat.terminal_id], received_at, heartbeat.interval_s)
        self._sightings[heartbeat.terminal_id] = sighting
        if sighting.stream_switches >= SWITCHES:
            self.tally.marked.add(heartbeat.terminal_id)

    def _record(self, batch: EventBatch, letter: Letter) -> None:
        key = (batch.terminal_id, batch.stream_id)
        before = self._stream(key, letter.received_at).ledger
        new: list[NewEvent] = []
        refusals: list[Refusal] = []
        here = before.stored
        for event in batch.events:
            digest = event_digest(event)
            stored = self._digests.get((*key, event.event_seq))
            if stored is None and not ranges.holds(here, event.event_seq):
                detail = scrubbed(event.detail) if event.detail else event.detail
                key_of, answer = (*key, event.event_seq), _answer(event)
                new.append(NewEvent(key_of, event, detail, digest, letter.received_at, answer))
            elif stored is not None and stored != digest:
                said = f"event {event.event_seq} is stored with other content ({stored}); got {digest}"
                refusals.append(Refusal(place=letter.place, error="EventConflict", said=said))
        after = _recorded(before, batch, [item.event for item in new])
        if after.ragged:
            said = f"expected at most {RANGES_ABOVE_PREFIX_MAX} pieces above event {before.prefix_seq}"
            self.tally.refusals.append(Refusal(place=letter.place, error="StreamRagged", said=said))
            return
        self._events += new
        self._digests |= {item.key: item.digest for item in new}
        self.tally.events += len(new)
        self.tally.events_repeated += len(batch.events) - len(new) - len(refusals)
        self.tally.refusals += refusals[:1]
        self._account(key, after)
        self.tally.acks[key] = after.prefix_seq

    def _stream(self, key: StreamKey, at: datetime) -> StreamFacts:
        terminal_id, stream_id = key
        stream = self._streams[terminal_id].get(stream_id)
        if stream is None:
            number = max((known.stream_no for known in self._streams[terminal_id].values()), default=0) + 1
            stream = StreamFacts(stream_no=number, first_heard_at=at)
            self._put(key, stream)
            self._streams_changed[key] = stream
        return stream

    def _account(self, key: StreamKey, ledger: StreamLedger) -> None:
        stream = self._streams[key[0]][key[1]]
        if ledger != stream.ledger:
            stream = replace(stream, ledger=ledger)
            self._put(key, stream)
            self._streams_changed[key] = stream

    def _put(self, key: StreamKey, stream: StreamFacts) -> None:
        """Take a stream in; the dictionary that is remembered stays as it was until the fold is written."""
        self._streams[key[0]] = {**self._streams[key[0]], key[1]: stream}


def _recorded(ledger: StreamLedger, batch: EventBatch, new: Sequence[Event]) -> StreamLedger:
    return record(
        ledger,
        stored=[event.event_seq for event in new],
        dropped=ranges.union(*(tuple((gap.first, gap.last) for gap in event.dropped) for event in new)),
        oldest_seq=batch.oldest_seq,
        event_seq_last=batch.events[-1].event_seq,
    )


def _gaps(ledger: StreamLedger) -> dict[str, Ranges]:
    return {"dropped": ledger.dropped, "lost": ledger.lost}


def _answer(event: Event) -> dict[str, Any] | None:
    """Return what an event says of a command, its texts scrubbed; only an answer says anything."""
    if event.command is None or event.kind not in {EventKind.COMMAND_DONE, EventKind.COMMAND_REFUSED}:
        return None
    said = event.command.model_dump(mode="json", exclude_none=True)
    for finding in said.get("diagnosis", {}).get("findings", ()):
        if "found" in finding:
            finding["found"] = scrubbed(finding["found"])
    return said
