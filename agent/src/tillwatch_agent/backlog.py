"""What the outbox keeps, drops, sends and lets go: its index in memory, and every decision about it.

The index knows of each event its number, what it weighs and whether it may be dropped; the table has the rest. A change
is planned first (`plan_append`, `judge`), committed by the outbox, and only then taken over (`apply`, `release`): after
a crash the table alone builds the same index.

Numbers are dense from 1. When the outbox is full, the oldest events go, a tenth of it at a time, but never job reports;
one event declares every range that was dropped and is not acknowledged yet. A declaration that is itself unacknowledged
when the next is due is merged into it, its own number with its ranges, so that there is never more than one, and its
place is always free. It is sent before all others: an acknowledgement moves past a hole only when the collector knows
of it.

Nothing leaves for being sent: only `dn/ack` of the own stream lets go. A change violates this when stored + held +
declared is not 1..last at any moment, for any order of calls.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice, takewhile

from tillwatch_agent.errors import JobReportsFull
from tillwatch_protocol.command import CommandReport
from tillwatch_protocol.event import Event, EventKind, SeqRange
from tillwatch_protocol.job import JobReport
from tillwatch_protocol.vocabulary import DROPPED_RANGES_MAX, EVENTS_IN_FLIGHT_MAX

EVENTS_MAX = 10_000
"""Some weeks of a till that nobody answers; with events of at most a few kB, at most some 15 MB of disk."""

EVENTS_MAX_MIN = 4
"""Room for an event, a report and a declaration, so that dropping always makes progress."""

JOB_REPORTS_MAX = DROPPED_RANGES_MAX - 4
"""A job ends within 40 persisted steps. When all else is dropped around the reports, the ranges still fit one event."""

RESEND_AFTER_S = 10.0
"""A collector commits and acknowledges within 100 ms; ten seconds mean that batch or acknowledgement was lost."""

RESEND_AFTER_S_MAX = 300.0
"""Where doubling ends: a collector that comes back announces itself, so that a rare question costs no time."""

UNANSWERED_MAX = 4
"""Times that events go again (10, 20, 40, 80 s) before the connection itself is in doubt: a broker can forget a
subscription, and then everything leaves and nothing comes back."""

BATCH_BYTES_MAX = 56 * 1024
"""Events in one payload, leaving room in the wire's 64 KiB for what stands around them."""


class Verdict(StrEnum):
    """What an acknowledgement means."""

    FOREIGN = "foreign"
    """For another stream: of the outbox that was here before, or of a twin."""
    KNOWN = "known"
    """Nothing new: a duplicate, or one that was overtaken."""
    RELEASED = "released"
    """Events may go."""
    FORKED = "forked"
    """The collector has numbers that were never sent from here: this outbox is an older copy of its stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What the index knows of an event."""

    event_seq: int
    kind: str
    payload_bytes: int
    dropped: tuple[SeqRange, ...] = ()

    @classmethod
    def of(cls, event: Event, payload_bytes: int) -> "Entry":
        """Index an event."""
        return cls(event_seq=event.event_seq, kind=event.kind, payload_bytes=payload_bytes, dropped=event.dropped)


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """An event before it has its number."""

    kind: str
    happened_at: datetime
    component: str | None = None
    code: str | None = None
    detail: str | None = None
    dropped: tuple[SeqRange, ...] = ()
    job: JobReport | None = None
    command: CommandReport | None = None

    def numbered(self, event_seq: int, boot_epoch: int) -> Event:
        """Make it an event."""
        return Event(
            event_seq=event_seq,
            boot_epoch=boot_epoch,
            kind=self.kind,
            happened_at=self.happened_at,
            component=self.component,
            code=self.code,
            detail=self.detail,
            dropped=self.dropped,
            job=self.job,
            command=self.command,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AppendPlan:
    """What an append does: `drop` leaves, then a declaration, if any, takes `first_seq`, and what is new follows."""

    first_seq: int
    drop: tuple[int, ...] = ()
    declare: tuple[SeqRange, ...] = ()

    def events(self, happenings: Sequence[Happening], boot_epoch: int) -> tuple[Event, ...]:
        """Give the numbers planned."""
        declaring = Happening(kind=EventKind.DROPPED, happened_at=happenings[0].happened_at, dropped=self.declare)
        entering = [declaring, *happenings] if self.declare else happenings
        return tuple(entered.numbered(number, boot_epoch) for number, entered in enumerate(entering, self.first_seq))


class Backlog:
    """The index of one outbox. Not for more than one thread."""

    def __init__(
        self,
        *,
        entries: Iterable[Entry] = (),
        event_seq_last: int = 0,
        acknowledged_seq: int = 0,
        events_max: int = EVENTS_MAX,
    ) -> None:
        """Build it from the table's rows, in ascending order."""
        if events_max < EVENTS_MAX_MIN:
            raise ValueError(f"expected events_max of at least {EVENTS_MAX_MIN}, got {events_max}")
        self.event_seq_last = event_seq_last
        self.acknowledged_seq = acknowledged_seq
        self._events_max = events_max
        self._entries: dict[int, Entry] = {}
        self._reports = 0
        self._declaration: Entry | None = None
        self._sent_last = event_seq_last
        """The highest number that the collector can have: what lay here at the start may have been sent before it."""
        self._in_flight: set[int] = set()
        self._resend_after_s = RESEND_AFTER_S
        self._resend_at_s = math.inf
        self._unanswered = 0
        for entry in entries:
            self._keep(entry)

    def __len__(self) -> int:
        """How many events are unacknowledged."""
        return len(self._entries)

    @property
    def in_vain(self) -> bool:
        """Whether events went again so often without an answer that the connection is in doubt."""
        return self._unanswered >= UNANSWERED_MAX

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers held, ascending."""
        return tuple(self._entries)

    @property
    def oldest_seq(self) -> int:
        """The lowest number held; the next one when nothing is."""
        return next(iter(self._entries), self.event_seq_last + 1)

    @property
    def dropped(self) -> tuple[SeqRange, ...]:
        """The ranges that are dropped, declared and not acknowledged."""
        return _above(self.acknowledged_seq, self._declaration.dropped) if self._declaration else ()

    def plan_append(self, kinds: Sequence[str]) -> AppendPlan:
        """Decide how new events of these kinds enter; raises `JobReportsFull`."""
        reports_max = min(JOB_REPORTS_MAX, self._events_max // 2)
        if EventKind.JOB in kinds and self._reports + kinds.count(EventKind.JOB) > reports_max:
            raise JobReportsFull(f"expected at most {reports_max} unacknowledged job reports, have {self._reports}")
        held = len(self._entries) - (self._declaration is not None)
        if held + len(kinds) < self._events_max:
            return AppendPlan(first_seq=self.event_seq_last + 1)
        return self._plan_drop(max(self._events_max // 10, held + len(kinds) - self._events_max + 1))

    def apply(self, plan: AppendPlan, added: Iterable[Entry]) -> None:
        """Take over a plan that was committed, with the events it added."""
        self._forget(plan.drop)
        for entry in added:
            self._keep(entry)
            self.event_seq_last = entry.event_seq

    def judge(self, event_seq: int) -> Verdict:
        """Judge an acknowledgement for the own stream."""
        if event_seq > self._sent_last:
            return Verdict.FORKED
        return Verdict.RELEASED if event_seq >= self.oldest_seq and self._entries else Verdict.KNOWN

    def release(self, event_seq: int, now_s: float) -> None:
        """Let go what a committed acknowledgement covers; progress begins the patience anew."""
        self._forget(list(takewhile(lambda number: number <= event_seq, self._entries)))
        self.acknowledged_seq = max(self.acknowledged_seq, event_seq)
        self._resend_after_s = RESEND_AFTER_S
        self._resend_at_s = now_s + self._resend_after_s if self._in_flight else math.inf
        self._unanswered = 0

    def rewind(self) -> None:
        """Forget what is in flight: a new connection or a new collector has none of it."""
        self._in_flight.clear()
        self._resend_after_s = RESEND_AFTER_S
        self._resend_at_s = math.inf
        self._unanswered = 0

    def due_s(self) -> float:
        """When `take` has something again if nothing else happens; infinity for never."""
        return -math.inf if self._next(1) else self._resend_at_s

    def take(self, now_s: float) -> tuple[tuple[int, ...], ...]:
        """Choose what to send now, in batches that fit a payload; what is in flight too long goes again."""
        if now_s >= self._resend_at_s:
            self._in_flight.clear()
            self._unanswered += 1
            self._resend_after_s = min(self._resend_after_s * 2, RESEND_AFTER_S_MAX)
            self._resend_at_s = math.inf
        chosen = self._next(EVENTS_IN_FLIGHT_MAX - len(self._in_flight))
        if chosen and self._resend_at_s == math.inf:
            self._resend_at_s = now_s + self._resend_after_s
        self._in_flight.update(chosen)
        self._sent_last = max(self._sent_last, *chosen, 0)
        return self._batches(sorted(chosen))

    def _next(self, most: int) -> list[int]:
        if most <= 0 or len(self._in_flight) >= EVENTS_IN_FLIGHT_MAX or len(self._in_flight) == len(self._entries):
            return []
        declared = self._declaration.event_seq if self._declaration else None
        first = [declared] if declared and declared not in self._in_flight else []
        waiting = (number for number in self._entries if number not in self._in_flight and number not in first)
        return first + list(islice(waiting, most - len(first)))

    def _batches(self, numbers: list[int]) -> tuple[tuple[int, ...], ...]:
        batches: list[tuple[int, ...]] = []
        weight = BATCH_BYTES_MAX
        for number in numbers:
            payload_bytes = self._entries[number].payload_bytes
            if weight + payload_bytes > BATCH_BYTES_MAX:
                batches.append(())
                weight = 0
            batches[-1] += (number,)
            weight += payload_bytes
        return tuple(batches)

    def _plan_drop(self, count: int) -> AppendPlan:
        """Drop the oldest, and the standing declaration with them; more while the ranges are too many for one event."""
        droppable = [e.event_seq for e in self._entries.values() if e.kind not in {EventKind.JOB, EventKind.DROPPED}]
        if not droppable:
            return AppendPlan(first_seq=self.event_seq_last + 1)
        standing = [self._declaration.event_seq] if self._declaration else []
        while True:
            gone = [*droppable[:count], *standing]
            ranges = coalesced([*self.dropped, *map(_single, gone)])
            if len(ranges) <= DROPPED_RANGES_MAX:
                return AppendPlan(first_seq=self.event_seq_last + 1, drop=tuple(gone), declare=ranges)
            # Ends: when all is dropped, only the job reports stand between ranges, and those are fewer.
            count += max(self._events_max // 10, 1)

    def _keep(self, entry: Entry) -> None:
        self._entries[entry.event_seq] = entry
        self._reports += entry.kind == EventKind.JOB
        if entry.kind == EventKind.DROPPED:
            self._declaration = entry

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            entry = self._entries.pop(number)
            self._in_flight.discard(number)
            self._reports -= entry.kind == EventKind.JOB
            if entry is self._declaration:
                self._declaration = None


def renumbered(events: Sequence[Event], dropped: Sequence[SeqRange]) -> tuple[Event, ...]:
    """Move unacknowledged events to a new stream: dense from 1, in the first start counted there.

    What the old stream declared as dropped keeps its count: the new stream's first numbers are declared in its place.
    """
    lost = sum(gap.last - gap.first + 1 for gap in dropped)
    declared = (SeqRange(first=1, last=lost),) if lost else ()
    kept = [event for event in events if event.kind != EventKind.DROPPED or lost]
    return tuple(
        event.model_copy(
            update={
                "event_seq": lost + position,
                "boot_epoch": 1,
                "dropped": declared if event.kind == EventKind.DROPPED else (),
            }
        )
        for position, event in enumerate(kept, start=1)
    )


def coalesced(ranges: Iterable[SeqRange]) -> tuple[SeqRange, ...]:
    """Join ranges that touch or overlap; ascending."""
    joined: list[SeqRange] = []
    for gap in sorted(ranges, key=lambda gap: gap.first):
        if joined and gap.first <= joined[-1].last + 1:
            joined[-1] = SeqRange(first=joined[-1].first, last=max(gap.last, joined[-1].last))
        else:
            joined.append(gap)
    return tuple(joined)


def _above(acknowledged_seq: int, ranges: Iterable[SeqRange]) -> tuple[SeqRange, ...]:
    return tuple(
        SeqRange(first=max(gap.first, acknowledged_seq + 1), last=gap.last)
        for gap in ranges
        if gap.last > acknowledged_seq
    )


def _single(number: int) -> SeqRange:
    return SeqRange(first=number, last=number)
