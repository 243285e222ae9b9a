"""The agent's durable queue of events that the collector has not acknowledged: the table behind `backlog`.

SQLite in WAL mode with `synchronous=FULL`: what `append` returns has survived a power cut. Every change is one
transaction, committed before the index takes it over; one that fails raises `OutboxFailed` and changes nothing. One
process at a time holds the outbox, by `flock` on a file beside it (on the database itself, closing any descriptor of it
would drop SQLite's own locks). A file that cannot be read is set aside and a new stream begins: the collector never
compares streams.

Beside the events the file keeps what must survive a start: the stream, the count of starts, the highest collector
epoch, the time that a collector told, and the commands done. A file of an earlier version is brought up to date where
it stands. `:memory:` holds nothing past the process; its `image` opens again as a disk would after a crash.
"""

import fcntl
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from pydantic import ValidationError

from tillwatch_agent.backlog import EVENTS_MAX, Backlog, Entry, Happening, Verdict, renumbered
from tillwatch_agent.errors import MachineError, OutboxBusy, OutboxCorrupt, OutboxFailed
from tillwatch_protocol.event import Event
from tillwatch_protocol.process import start_count

MEMORY = ":memory:"

BUSY_TIMEOUT_S = 5.0
"""Only `summary` and `stored_time` ever read beside us, for milliseconds."""

CORRUPT_KEPT_MAX = 3
"""Files set aside: enough to learn from, too few to fill a till's disk."""

COMMANDS_KEPT_MAX = 1_000
"""Commands remembered as done: at one a minute, more than half a day; QoS 1 repeats within seconds."""

_SCHEMA_VERSION = 2
_SCHEMA = (
    """CREATE TABLE stream (
        only INTEGER PRIMARY KEY CHECK (only = 1), stream_id TEXT NOT NULL, boot_epoch INTEGER NOT NULL,
        event_seq_last INTEGER NOT NULL, acknowledged_seq INTEGER NOT NULL, collector_epoch_seen INTEGER NOT NULL,
        told_s INTEGER)""",
    "CREATE TABLE event (event_seq INTEGER PRIMARY KEY, payload TEXT NOT NULL)",
    "CREATE TABLE command (position INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE)",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_UPGRADES = {1: ("ALTER TABLE stream ADD COLUMN told_s INTEGER", "PRAGMA user_version = 2")}
"""What brings a file of each earlier version to the next one."""

_UNREADABLE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""Primary result codes of a file that is not ours: malformed, no database, without our tables."""

_logger = logging.getLogger(__name__)


def new_stream_id() -> str:
    """128 random bits: no two outboxes ever share a stream, unless one is a copy."""
    return secrets.token_hex(16)


class Outbox:
    """An open outbox. Not for more than one thread at a time.

    `backlog` is its index: ask it what to send; change it through the outbox only.
    """

    def __init__(
        self, connection: sqlite3.Connection, lock: IO[str] | None, *, events_max: int, ids: Callable[[], str]
    ) -> None:
        """Begin a start on a database of ours; `open` makes one."""
        self._connection = connection
        self._lock = lock
        self._events_max = events_max
        self._ids = ids
        with self._transaction():
            self._prepare()
            row = self._row("SELECT stream_id, boot_epoch, collector_epoch_seen, told_s FROM stream")
            self.backlog = self._indexed()
        self.stream_id: str = row[0]
        self.boot_epoch: int = row[1]
        self.collector_epoch_seen: int = row[2]
        self.told_at: datetime | None = _time(row[3])
        """A collector's time, some time ago; None before any told it."""

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        events_max: int = EVENTS_MAX,
        ids: Callable[[], str] = new_stream_id,
        image: bytes | None = None,
    ) -> Self:
        """Open the outbox at `path`, or make it; `image`, for `:memory:` only, is what a disk would hold.

        Raises `OutboxBusy` when another process holds it, `OutboxFailed` when it cannot be written.
        """
        if str(path) == MEMORY:
            return cls._begun(MEMORY, None, events_max=events_max, ids=ids, image=image)
        file = Path(path)
        with ExitStack() as unless_open:
            lock = unless_open.enter_context(_locked(file))
            try:
                outbox = cls._begun(str(file), lock, events_max=events_max, ids=ids)
            except OutboxCorrupt as corrupt:
                _logger.warning("outbox set aside as %s, a new stream begins: %s", _set_aside(file), corrupt)
                outbox = cls._begun(str(file), lock, events_max=events_max, ids=ids)
            unless_open.pop_all()
        return outbox

    @classmethod
    def _begun(
        cls,
        path: str,
        lock: IO[str] | None,
        *,
        events_max: int,
        ids: Callable[[], str],
        image: bytes | None = None,
    ) -> Self:
        with ExitStack() as unless_begun:
            connection = unless_begun.enter_context(closing(_connected(path)))
            with _wrapped():
                _set_up(connection, image)
            outbox = cls(connection, lock, events_max=events_max, ids=ids)
            unless_begun.pop_all()
        return outbox

    def append(self, happenings: Sequence[Happening]) -> tuple[Event, ...]:
        """Append events in one commit, with the declaration of what had to go; raises `OutboxFailed`."""
        plan = self.backlog.plan_append([happening.kind for happening in happenings])
        events = plan.events(happenings, self.boot_epoch)
        payloads = [_payload(event) for event in events]
        with self._transaction() as transaction:
            transaction.executemany("DELETE FROM event WHERE event_seq = ?", [(number,) for number in plan.drop])
            self._insert(events, payloads)
            transaction.execute("UPDATE stream SET event_seq_last = ?", (events[-1].event_seq,))
        self.backlog.apply(plan, map(_entry, events, payloads))
        return events

    def read(self, numbers: Sequence[int]) -> tuple[Event, ...]:
        """Fetch events by number, ascending."""
        marks = ",".join("?" * len(numbers))
        query = f"SELECT payload FROM event WHERE event_seq IN ({marks}) ORDER BY event_seq"  # noqa: S608 - only marks
        with _wrapped():
            rows = self._connection.execute(query, tuple(numbers)).fetchall()
        return tuple(_event(payload) for (payload,) in rows)

    def acknowledge(self, stream_id: str, event_seq: int, now_s: float) -> Verdict:
        """Let go what the collector has committed; an acknowledgement from beyond our numbers begins a new stream."""
        if stream_id != self.stream_id:
            return Verdict.FOREIGN
        verdict = self.backlog.judge(event_seq)
        if verdict is Verdict.RELEASED:
            with self._transaction() as transaction:
                transaction.execute("DELETE FROM event WHERE event_seq <= ?", (event_seq,))
                transaction.execute("UPDATE stream SET acknowledged_seq = ?", (event_seq,))
            self.backlog.release(event_seq, now_s)
        elif verdict is Verdict.FORKED:
            self.begin_new_stream()
        return verdict

    def begin_new_stream(self) -> None:
        """Leave the stream to its twin: what is unacknowledged moves to a new one, its count of starts begins at 1."""
        events = renumbered(self.read(self.backlog.numbers), self.backlog.dropped)
        payloads = [_payload(event) for event in events]
        stream_id, last = self._ids(), events[-1].event_seq if events else 0
        with self._transaction() as transaction:
            transaction.execute("DELETE FROM event")
            self._insert(events, payloads)
            transaction.execute(
                "UPDATE stream SET stream_id = ?, boot_epoch = 1, event_seq_last = ?, acknowledged_seq = 0",
                (stream_id, last),
            )
        self.stream_id, self.boot_epoch = stream_id, 1
        self.backlog = Backlog(entries=map(_entry, events, payloads), event_seq_last=last, events_max=self._events_max)

    def see_epoch(self, collector_epoch: int) -> None:
        """Remember the highest collector epoch: one that comes back lower was restored from a backup.

        So was one that has counted as many starts under another salt: the first of them is remembered, and told.
        """
        if start_count(collector_epoch) > start_count(self.collector_epoch_seen):
            with self._transaction() as transaction:
                transaction.execute("UPDATE stream SET collector_epoch_seen = ?", (collector_epoch,))
            self.collector_epoch_seen = collector_epoch

    def store_time(self, told_at: datetime) -> None:
        """Remember to the second what time a collector told; `clock.is_worth_storing` says when."""
        told_s = int(told_at.timestamp())
        with self._transaction() as transaction:
            transaction.execute("UPDATE stream SET told_s = ?", (told_s,))
        self.told_at = _time(told_s)

    def mark_done(self, command_id: str) -> bool:
        """Remember a command before it is done; false if it was: at most once, also across a crash."""
        with self._transaction() as transaction:
            new = transaction.execute("INSERT OR IGNORE INTO command (command_id) VALUES (?)", (command_id,)).rowcount
            transaction.execute(
                "DELETE FROM command WHERE position <= (SELECT max(position) FROM command) - ?", (COMMANDS_KEPT_MAX,)
            )
        return new == 1

    def image(self) -> bytes:
        """Take what a disk would hold now, of an outbox in `:memory:`."""
        return self._connection.serialize()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
        if self._lock:
            self._lock.close()

    def _prepare(self) -> None:
        version = self._row("PRAGMA user_version")[0]
        if version == 0:
            for statement in _SCHEMA:
                self._connection.execute(statement)
            self._connection.execute("INSERT INTO stream VALUES (1, ?, 0, 0, 0, 0, NULL)", (self._ids(),))
        elif version == _SCHEMA_VERSION or version in _UPGRADES:
            for earlier in range(version, _SCHEMA_VERSION):
                for statement in _UPGRADES[earlier]:
                    self._connection.execute(statement)
        else:
            raise OutboxCorrupt(f"expected an outbox of version {_SCHEMA_VERSION} at most, got {version}")
        self._connection.execute("UPDATE stream SET boot_epoch = boot_epoch + 1")

    def _indexed(self) -> Backlog:
        last, acknowledged = self._row("SELECT event_seq_last, acknowledged_seq FROM stream")
        rows = self._connection.execute("SELECT payload FROM event ORDER BY event_seq").fetchall()
        entries = (_entry(_event(payload), payload) for (payload,) in rows)
        return Backlog(entries=entries, event_seq_last=last, acknowledged_seq=acknowledged, events_max=self._events_max)

    def _insert(self, events: Sequence[Event], payloads: Sequence[str]) -> None:
        rows = [(event.event_seq, payload) for event, payload in zip(events, payloads, strict=True)]
        self._connection.executemany("INSERT INTO event VALUES (?, ?)", rows)

    def _row(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._connection.execute(query).fetchone()
        if row is None:
            raise OutboxCorrupt(f"expected a row from {query!r}, got none")
        return row

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _wrapped():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a tool sees of an outbox from outside."""

    stream_id: str
    boot_epoch: int
    event_seq_last: int
    unacknowledged: int


def summary(path: Path | str) -> Summary:
    """Look at an outbox without holding it; raises `OutboxFailed` or `OutboxCorrupt`."""
    query = "SELECT stream_id, boot_epoch, event_seq_last, (SELECT count(*) FROM event) FROM stream"
    with _wrapped(), closing(_read_only(path)) as connection:
        row = connection.execute(query).fetchone()
    if row is None:
        raise OutboxCorrupt("expected a stream, got none")
    return Summary(stream_id=row[0], boot_epoch=row[1], event_seq_last=row[2], unacknowledged=row[3])


def stored_time(path: Path | str) -> datetime | None:
    """Look up what time a collector told, without holding the outbox; raises `OutboxFailed` or `OutboxCorrupt`."""
    with _wrapped(), closing(_read_only(path)) as connection:
        row = connection.execute("SELECT told_s FROM stream").fetchone()
    return _time(row[0]) if row else None


def _time(told_s: int | None) -> datetime | None:
    return None if told_s is None else datetime.fromtimestamp(told_s, UTC)


def _read_only(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)


def _connected(path: str) -> sqlite3.Connection:
    with _wrapped():
        return sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def _set_up(connection: sqlite3.Connection, image: bytes | None) -> None:
    if image is not None:
        connection.deserialize(image)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise OutboxCorrupt(f"expected a sound file, got {verdict}")


def _locked(path: Path) -> IO[str]:
    """Hold the outbox for this process; the lock ends with it, however it ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise OutboxFailed(f"expected to write in {path.parent}, got {error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read(32).strip() or "unknown"
        lock.close()
        raise OutboxBusy(
            f"expected to be alone on {path}, but process {holder} holds it; stop that agent first"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _set_aside(path: Path) -> Path:
    """Rename an unreadable file with what belongs to it, keep the newest few, and say where it went."""
    aside = sorted(path.parent.glob(f"{path.name}.corrupt-*[0-9]"), key=_aside_no)
    target = path.with_name(f"{path.name}.corrupt-{_aside_no(aside[-1]) + 1 if aside else 1}")
    for ending in ("", "-wal", "-shm"):
        file = path.with_name(path.name + ending)
        if file.exists():
            file.rename(target.with_name(target.name + ending))
    for old in aside[: max(len(aside) + 1 - CORRUPT_KEPT_MAX, 0)]:
        for ending in ("", "-wal", "-shm"):
            old.with_name(old.name + ending).unlink(missing_ok=True)
    return target


def _aside_no(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


@contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # A few errors of Python's own wrapper carry no code: they are ours, not the file's.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
        kind: type[MachineError] = OutboxCorrupt if code in _UNREADABLE else OutboxFailed
        raise kind(f"expected the outbox to be sound and writable, got {error}") from None


def _payload(event: Event) -> str:
    return event.model_dump_json(exclude_none=True)


def _event(payload: str) -> Event:
    try:
        return Event.model_validate_json(payload)
    except ValidationError as error:
        raise OutboxCorrupt(f"expected an event, got {error.errors()[0]['msg']}") from None


def _entry(event: Event, payload: str) -> Entry:
    return Entry.of(event, payload_bytes=len(payload.encode()))
