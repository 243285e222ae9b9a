"""The facts: what came from terminals, read and written in bulk. Ingest writes them, judge reads them.

No query per message: every method takes a whole batch. `meet` locks the sighting of each terminal of the batch (in one
order), so that several ingesting processes on PostgreSQL stand in line per terminal, and no fact is folded into an old
one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, exists, insert, select, tuple_, update

from tillwatch_collector.domain.command import Outcome
from tillwatch_collector.domain.identity import Sighting
from tillwatch_collector.domain.level import Beat, LevelHead, PresenceHead
from tillwatch_collector.domain.presence import State
from tillwatch_collector.domain.ranges import Ranges, union
from tillwatch_collector.domain.stream import StreamLedger
from tillwatch_collector.store import bulk, tables
from tillwatch_collector.store.faults import REFUSALS, refused
from tillwatch_collector.store.statements import THESE, Among, chunked, insert_missing, these, upsert
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.event import Event, EventKind

StreamKey = tuple[str, str]
"""(`terminal_id`, `stream_id`)."""
EventKey = tuple[str, str, int]

TERMINAL = table_of(tables.TerminalRow)
STREAM = table_of(tables.StreamRow)
EVENT = table_of(tables.EventRow)
COMMAND = table_of(tables.CommandRow)
GAP = table_of(tables.EventGapRow)
LEVEL = table_of(tables.LevelRow)
PRESENCE = table_of(tables.PresenceRow)
SIGHTING = table_of(tables.SightingRow)
QUARANTINE = table_of(tables.QuarantineRow)
STANDING = table_of(tables.StandingRow)

_SIGHTING_NAMES = Sighting._fields
_PRESENCE_NAMES = PresenceHead._fields
_HEAD_NAMES = LevelHead._fields

_STREAM_WIDTH = len(STREAM.c)
_LEVEL_KEYS = ("terminal_id", "stream_id")
_TOUCHED_NAMES = (
    "boot_epoch", "beat_no", "connection_no", "interval_s", "event_seq_last", "collector_epoch_seen", "sent_at",
    "received_at", "judged_digest", *_LEVEL_KEYS,
)  # fmt: skip
_LEVEL_NAMES = ("host_boot_id", "agent_version", "components", "job", "digest", *_TOUCHED_NAMES)

_LOCK_SIGHTINGS = (
    select(SIGHTING.c.terminal_id, *(SIGHTING.c[name] for name in _SIGHTING_NAMES))
    .where(Among(SIGHTING.c.terminal_id))
    .order_by(SIGHTING.c.terminal_id)
    .with_for_update()
)
_KNOWN = select(SIGHTING.c.terminal_id).where(Among(SIGHTING.c.terminal_id))
_STREAMS = (
    select(*STREAM.c, *(LEVEL.c[name] for name in _HEAD_NAMES))
    .outerjoin_from(
        STREAM, LEVEL, (STREAM.c.terminal_id == LEVEL.c.terminal_id) & (STREAM.c.stream_id == LEVEL.c.stream_id)
    )
    .where(Among(STREAM.c.terminal_id))
)
_PRESENCES = select(
    PRESENCE.c.terminal_id, PRESENCE.c.stream_id, *(PRESENCE.c[name] for name in _PRESENCE_NAMES)
).where(Among(PRESENCE.c.terminal_id))
_GAPS = select(GAP.c.terminal_id, GAP.c.stream_id, GAP.c.kind, GAP.c.first_seq, GAP.c.last_seq).where(
    tuple_(GAP.c.terminal_id, GAP.c.stream_id).in_(THESE)
)
_DIGESTS = select(EVENT.c.terminal_id, EVENT.c.stream_id, EVENT.c.event_seq, EVENT.c.digest).where(
    tuple_(EVENT.c.terminal_id, EVENT.c.stream_id, EVENT.c.event_seq).in_(THESE)
)
_TO_MARK = (
    select(SIGHTING.c.terminal_id)
    .where(Among(SIGHTING.c.terminal_id))
    .order_by(SIGHTING.c.terminal_id)
    .with_for_update()
    .cte("to_mark")
)
_ANSWER = update(COMMAND).where(
    COMMAND.c.command_id == bindparam("of_command_id"), COMMAND.c.terminal_id == bindparam("of_terminal_id")
)
"""Whoever asked finds the answer; one to a command that this database does not know changes nothing."""
_MARK = update(SIGHTING).where(SIGHTING.c.terminal_id.in_(select(_TO_MARK.c.terminal_id))).values(marked=True)
_MARK_MISSED = _MARK.where(
    ~exists().where(STANDING.c.terminal_id == SIGHTING.c.terminal_id, STANDING.c.presence == State.ONLINE)
).returning(SIGHTING.c.terminal_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamFacts:
    """A stream as the collector holds it; its ranges of dropped and lost events are read apart, by `gaps`."""

    stream_no: int
    ledger: StreamLedger = field(default_factory=StreamLedger)
    first_heard_at: datetime


class NewLevel(NamedTuple):
    """A heartbeat to keep, with its head."""

    beat: Beat
    head: LevelHead
    received_at: datetime
    changed: bool
    """Whether the content differs from what the row holds."""


class NewEvent(NamedTuple):
    """An event to keep."""

    key: EventKey
    event: Event
    detail: str | None
    digest: str
    received_at: datetime
    command: dict[str, Any] | None = None
    """What it says of a command, scrubbed."""


class NewPresence(NamedTuple):
    """A presence to keep."""

    head: PresenceHead
    received_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """A message that could not be used."""

    received_at: datetime
    topic: str
    terminal_id: str | None
    error: str
    said: str
    payload_sha256: str
    payload_bytes: int
    excerpt: str


class Facts:
    """The facts of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block wrote when it raises; a row that the database refuses raises `RowRefused`."""
        try:
            with self._connection.begin_nested():
                yield
        except REFUSALS as error:
            raise refused(error) from error

    # --- what ingest reads

    def meet(self, terminal_ids: Collection[str], now: datetime) -> dict[str, Sighting]:
        """Return the terminals' sightings, locked; a terminal never heard of is kept, unassigned and marked."""
        new = sorted(set(terminal_ids) - self._known(terminal_ids))
        if new:
            # Before any lock: who held an old one while waiting for a new one would be waited for in turn.
            unassigned = [{"terminal_id": name, "life_cycle": "live", "created_at": now} for name in new]
            insert_missing(self._connection, TERMINAL, unassigned)
            unheard = {"heard_at": now, "stream_switches": 0, "marked": True}
            insert_missing(self._connection, SIGHTING, [{"terminal_id": name, **unheard} for name in new])
        return self._sightings(terminal_ids)

    def _known(self, terminal_ids: Collection[str]) -> set[str]:
        return {name for some in these(terminal_ids) for name in self._connection.scalars(_KNOWN, some)}

    def _sightings(self, terminal_ids: Collection[str]) -> dict[str, Sighting]:
        return {
            row[0]: Sighting._make(row[1:])
            for some in these(sorted(terminal_ids))
            for row in self._connection.execute(_LOCK_SIGHTINGS, some)
        }

    def streams(self, terminal_ids: Collection[str]) -> dict[StreamKey, tuple[StreamFacts, LevelHead | None]]:
        """Return every stream of the terminals, with the head of its level."""
        return {
            (row[0], row[1]): (_stream_facts(row), _head(row))
            for some in these(terminal_ids)
            for row in self._connection.execute(_STREAMS, some)
        }

    def gaps(self, keys: Collection[StreamKey]) -> dict[StreamKey, dict[str, Ranges]]:
        """Return the streams' ranges of `dropped` and of `lost` events."""
        found: dict[StreamKey, dict[str, Ranges]] = {}
        for some in these(keys, 2):
            for terminal_id, stream_id, kind, first, last in self._connection.execute(_GAPS, some):
                kinds = found.setdefault((terminal_id, stream_id), {})
                kinds[kind] = union(kinds.get(kind, ()), ((first, last),))
        return found

    def digests(self, keys: Collection[EventKey]) -> dict[EventKey, str]:
        """Return the digests of those of these events that are stored."""
        return {
            (row[0], row[1], row[2]): row[3]
            for some in these(keys, 3)
            for row in self._connection.execute(_DIGESTS, some)
        }

    def presences(self, terminal_ids: Collection[str]) -> dict[StreamKey, PresenceHead]:
        """Return the newest presence of every stream of the terminals."""
        return {
            (row[0], row[1]): PresenceHead._make(row[2:])
            for some in these(terminal_ids)
            for row in self._connection.execute(_PRESENCES, some)
        }

    # --- what ingest writes

    def save_sightings(self, sightings: dict[str, Sighting], marked: Collection[str]) -> None:
        """Write sightings that `meet` returned and ingest changed; a mark is set, never taken away."""
        at = bulk.as_time(self._connection)
        rows = [
            (at(seen.heard_at), seen.stream_id, seen.stream_switches, at(seen.switched_at), terminal_id)
            for terminal_id, seen in sorted(sightings.items())
        ]
        bulk.update(self._connection, SIGHTING, ("terminal_id",), (*_SIGHTING_NAMES, "terminal_id"), rows)
        self.mark(marked)

    def save_streams(self, streams: dict[StreamKey, StreamFacts]) -> None:
        """Write streams and what is accounted for in them."""
        upsert(
            self._connection,
            STREAM,
            [
                {
                    "terminal_id": terminal_id,
                    "stream_id": stream_id,
                    "stream_no": facts.stream_no,
                    "prefix_seq": facts.ledger.prefix_seq,
                    "accounted": [list(part) for part in facts.ledger.accounted],
                    "oldest_seq": facts.ledger.oldest_seq,
                    "event_seq_last": facts.ledger.event_seq_last,
                    "first_heard_at": facts.first_heard_at,
                }
                for (terminal_id, stream_id), facts in streams.items()
            ],
        )

    def save_gaps(self, before: dict[StreamKey, dict[str, Ranges]], now: dict[StreamKey, dict[str, Ranges]]) -> None:
        """Make the rows of dropped and lost ranges what they are now."""
        old = {(*key, kind, *part) for key, kinds in before.items() for kind, parts in kinds.items() for part in parts}
        new = {(*key, kind, *part) for key, kinds in now.items() for kind, parts in kinds.items() for part in parts}
        key = (GAP.c.terminal_id, GAP.c.stream_id, GAP.c.kind, GAP.c.first_seq)
        for some in chunked(sorted(row[:4] for row in old - new), 4):
            self._connection.execute(delete(GAP).where(tuple_(*key).in_(some)))
        if rows := sorted(new - old):
            names = ("terminal_id", "stream_id", "kind", "first_seq", "last_seq")
            self._connection.execute(insert(GAP), [dict(zip(names, row, strict=True)) for row in rows])

    def save_levels(self, levels: Collection[NewLevel]) -> None:
        """Write the newest heartbeats: of an unchanged content only the few bytes that tell its time."""
        at = bulk.as_time(self._connection)
        touched = [_touched_row(level, at) for level in levels if not level.changed]
        bulk.update(self._connection, LEVEL, _LEVEL_KEYS, _TOUCHED_NAMES, touched)
        changed = [_level_row(level, at) for level in levels if level.changed]
        bulk.upsert(self._connection, LEVEL, _LEVEL_NAMES, changed)

    def save_events(self, events: Collection[NewEvent]) -> None:
        """Write events that are not stored."""
        if events:
            self._connection.execute(insert(EVENT), [_event_row(event) for event in events])
        if answers := [_answer_row(event) for event in events if event.command]:
            self._connection.execute(_ANSWER, answers)

    def save_presences(self, presences: dict[StreamKey, NewPresence]) -> None:
        """Write the newest presences."""
        upsert(
            self._connection,
            PRESENCE,
            [
                {
                    "terminal_id": terminal_id,
                    "stream_id": stream_id,
                    "boot_epoch": head.boot_epoch,
                    "connection_no": head.connection_no,
                    "state": str(head.state),
                    "reason": head.reason,
                    "received_at": received_at,
                }
                for (terminal_id, stream_id), (head, received_at) in presences.items()
            ],
        )

    def quarantine(self, messages: Sequence[Quarantined]) -> None:
        """Keep what is known of messages that could not be used."""
        names = tuple(Quarantined.__dataclass_fields__)
        if messages:
            rows = [{name: getattr(message, name) for name in names} for message in messages]
            self._connection.execute(insert(QUARANTINE), rows)

    # --- what wakes judge

    def mark(self, terminal_ids: Collection[str]) -> None:
        """Have judge look at these terminals again: their level, their store or their life cycle changed."""
        for some in these(sorted(terminal_ids)):
            self._connection.execute(_MARK, some)

    def mark_missed(self, terminal_ids: Collection[str]) -> set[str]:
        """Have judge look at those of them again that it holds for anything but online; returns them.

        Of the others it has not noticed that they were late: to look at them would cost most when all are, because we
        are. Whom it misses in this moment it looks at again by itself (`flows.sitting`, `AGAIN_INTERVALS`).
        """
        return {
            terminal_id
            for some in these(sorted(terminal_ids))
            for terminal_id in self._connection.scalars(_MARK_MISSED, some)
        }


def _stream_facts(row: Any) -> StreamFacts:
    _, _, stream_no, prefix_seq, accounted, oldest_seq, event_seq_last, first_heard_at = row[:_STREAM_WIDTH]
    return StreamFacts(
        stream_no=stream_no,
        ledger=StreamLedger(
            prefix_seq=prefix_seq,
            accounted=tuple((first, last) for first, last in accounted),
            oldest_seq=oldest_seq,
            event_seq_last=event_seq_last,
        ),
        first_heard_at=first_heard_at,
    )


def _head(row: Any) -> LevelHead | None:
    return LevelHead._make(row[_STREAM_WIDTH:]) if row[_STREAM_WIDTH] else None


def _touched_row(level: NewLevel, at: Callable[[datetime], Any]) -> bulk.Row:
    heartbeat, head = level.beat.heartbeat, level.head
    return (
        head.boot_epoch,
        head.beat_no,
        head.connection_no,
        head.interval_s,
        head.event_seq_last,
        heartbeat.collector_epoch_seen,
        at(head.sent_at),
        at(level.received_at),
        head.judged_digest,
        heartbeat.terminal_id,
        heartbeat.connection.stream_id,
    )


def _level_row(level: NewLevel, at: Callable[[datetime], Any]) -> bulk.Row:
    heartbeat, content = level.beat
    job = heartbeat.job.model_dump_json(exclude_none=True) if heartbeat.job else None
    return (
        level.head.host_boot_id,
        heartbeat.agent_version,
        content.text.decode(),
        job,
        level.head.digest,
        *_touched_row(level, at),
    )


def _event_row(new: NewEvent) -> dict[str, Any]:
    event = new.event
    terminal_id, stream_id, event_seq = new.key
    return {
        "terminal_id": terminal_id,
        "stream_id": stream_id,
        "event_seq": event_seq,
        "boot_epoch": event.boot_epoch,
        "kind": event.kind,
        "component": event.component,
        "code": event.code,
        "detail": new.detail,
        "job": event.job.model_dump(mode="json", exclude_none=True) if event.job else None,
        "command": new.command,
        "happened_at": event.happened_at,
        "received_at": new.received_at,
        "digest": new.digest,
    }


def _answer_row(new: NewEvent) -> dict[str, Any]:
    terminal_id, stream_id, event_seq = new.key
    said = new.command or {}
    return {
        "of_command_id": said["command_id"],
        "of_terminal_id": terminal_id,
        "stream_id": stream_id,
        "event_seq": event_seq,
        "answered_at": new.received_at,
        "outcome": Outcome.DONE if new.event.kind == EventKind.COMMAND_DONE else Outcome.REFUSED,
        "detail": said.get("reason"),
    }
