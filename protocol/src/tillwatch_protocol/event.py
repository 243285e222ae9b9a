"""Edges with the time they happened: raised, cleared, started, stopping, job steps, answers, dropped ranges.

An event is kept by the agent until the collector has acknowledged it. `event_seq` is dense in its stream, from 1; a
number that was given and then dropped for want of room is declared by a later event. Kinds are open: an unknown kind is
stored.
"""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from tillwatch_protocol.command import CommandReport
from tillwatch_protocol.job import JobReport
from tillwatch_protocol.vocabulary import (
    DROPPED_RANGES_MAX,
    EVENTS_IN_FLIGHT_MAX,
    PROTOCOL_VERSION,
    Code,
    Component,
    Frozen,
    Instant,
    Ordinal,
    StreamId,
    TerminalId,
    Text,
)


class EventKind:
    """Event kinds in use."""

    STARTED = "started"
    STOPPING = "stopping"
    CONDITION_RAISED = "condition_raised"
    CONDITION_CLEARED = "condition_cleared"
    DROPPED = "dropped"
    JOB = "job"
    COMMAND_DONE = "command_done"
    COMMAND_REFUSED = "command_refused"


_ANSWERS = frozenset({EventKind.COMMAND_DONE, EventKind.COMMAND_REFUSED})


class SeqRange(Frozen):
    """Event numbers from `first` to `last`, both included."""

    first: Ordinal
    last: Ordinal

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"range ends at {self.last} before it begins at {self.first}")
        return self


class Event(Frozen):
    """One edge. `happened_at` is the terminal's clock."""

    event_seq: Ordinal
    boot_epoch: Ordinal
    kind: Code
    happened_at: Instant
    component: Component | None = None
    code: Code | None = None
    detail: Text | None = None
    dropped: Annotated[tuple[SeqRange, ...], Field(max_length=DROPPED_RANGES_MAX)] = ()
    job: JobReport | None = None
    command: CommandReport | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in {EventKind.CONDITION_RAISED, EventKind.CONDITION_CLEARED} and not (
            self.component and self.code
        ):
            raise ValueError(f"{self.kind} needs a component and a code")
        if self.kind == EventKind.DROPPED and not self.dropped:
            raise ValueError("dropped needs its ranges")
        if self.kind == EventKind.JOB and self.job is None:
            raise ValueError("job needs its report")
        if self.kind in _ANSWERS and self.command is None:
            raise ValueError(f"{self.kind} needs its report")
        if any(gap.last >= self.event_seq for gap in self.dropped):
            raise ValueError("an event declares only numbers below its own as dropped")
        return self


class EventBatch(Frozen):
    """`up/events`: some events of the outbox, in order, with the oldest number that the outbox can still send."""

    v: int = PROTOCOL_VERSION
    terminal_id: TerminalId
    stream_id: StreamId
    oldest_seq: Ordinal
    """Below it the outbox holds nothing: what a collector lacks there will never come."""
    events: Annotated[tuple[Event, ...], Field(min_length=1, max_length=EVENTS_IN_FLIGHT_MAX)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        numbers = [event.event_seq for event in self.events]
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise ValueError("events are not in ascending order of event_seq")
        if numbers[0] < self.oldest_seq:
            raise ValueError(f"event {numbers[0]} is below oldest_seq {self.oldest_seq}")
        return self


class Ack(Frozen):
    """`dn/ack`: the end of the hole-free prefix of a stream that the collector has committed."""

    v: int = PROTOCOL_VERSION
    terminal_id: TerminalId
    stream_id: StreamId
    event_seq: Annotated[int, Field(ge=0, le=2**63 - 1)]
    sent_at: Instant | None = None
    """The collector's clock, by which a terminal judges its own; a collector of an earlier version does not tell it."""
