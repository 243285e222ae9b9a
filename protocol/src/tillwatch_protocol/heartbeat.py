"""A terminal's whole level at one moment, and its presence. The newest heartbeat is the truth.

`boot_epoch` (in the connection) and `beat_no` order the heartbeats of a stream; no wall clock does.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from tillwatch_protocol.job import JobStatus
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import (
    COMPONENTS_MAX,
    PROTOCOL_VERSION,
    Code,
    Count,
    Frozen,
    Identifier,
    Instant,
    IntervalS,
    Ordinal,
    StreamId,
    TerminalId,
    Text,
)


class Connection(Frozen):
    """One connection of one agent start of one outbox; within a stream the greater wins."""

    stream_id: StreamId
    boot_epoch: Ordinal
    """Agent start, counted in the stream."""
    connection_no: Count
    """Connection, counted in the start; 0 before the first."""

    def supersedes(self, other: "Connection") -> bool:
        """Whether this is a later connection of the same stream."""
        return self.stream_id == other.stream_id and self.order > other.order

    @property
    def order(self) -> tuple[int, int]:
        """(`boot_epoch`, `connection_no`): comparable within one stream only."""
        return self.boot_epoch, self.connection_no


class PresenceState(StrEnum):
    """What a terminal says of itself, or its will says for it."""

    ONLINE = "online"
    OFFLINE = "offline"


class PresenceReason:
    """Why a terminal is offline, by code; open."""

    STOPPING = "stopping"
    """The agent was told to stop."""
    CONNECTION_LOST = "connection_lost"
    """The broker published the last will."""


class Presence(Frozen):
    """`up/presence`: retained, and the last will. It informs; only the current connection's counts."""

    v: int = PROTOCOL_VERSION
    terminal_id: TerminalId
    state: PresenceState
    reason: Code | None = None
    connection: Connection

    @model_validator(mode="after")
    def _offline_says_why(self) -> Self:
        if self.state is PresenceState.OFFLINE and self.reason is None:
            raise ValueError("offline needs a reason")
        return self


class Heartbeat(Frozen):
    """`up/heartbeat`: all that is true of a terminal now."""

    v: int = PROTOCOL_VERSION
    terminal_id: TerminalId
    connection: Connection
    beat_no: Ordinal
    """Heartbeat, counted in the agent's start."""
    interval_s: IntervalS
    """When the next one is due; silence is measured by what the terminal itself promised."""
    event_seq_last: Count
    """The last event's number in the stream; 0 when there was none."""
    sent_at: Instant
    """The terminal's clock: evidence, never an order."""
    host_boot_id: Identifier
    """Changes when the machine restarts."""
    agent_version: Text
    collector_epoch_seen: Count = 0
    """The highest epoch a collector process has told this stream; a collector below it was restored from a backup."""
    components: Annotated[tuple[Reading, ...], Field(max_length=COMPONENTS_MAX)] = ()
    job: JobStatus | None = None

    @model_validator(mode="after")
    def _each_component_once(self) -> Self:
        if len({reading.component for reading in self.components}) != len(self.components):
            raise ValueError("a component stands twice")
        return self

    @property
    def order(self) -> tuple[int, int]:
        """(`boot_epoch`, `beat_no`): comparable within one stream only."""
        return self.connection.boot_epoch, self.beat_no
