"""What a collector process says of itself: its state, with the epoch that agents remember, and its canary."""

from enum import StrEnum

from tillwatch_protocol.vocabulary import PROTOCOL_VERSION, Count, Frozen, Identifier, Ordinal, ProcessName


class ProcessLife(StrEnum):
    """Whether a collector process listens."""

    ONLINE = "online"
    OFFLINE = "offline"


class ProcessState(Frozen):
    """`c/{process}/state`: retained, and the process's last will."""

    v: int = PROTOCOL_VERSION
    process: ProcessName
    state: ProcessLife
    collector_epoch: Ordinal
    """Raised at every start; agents that see a new one announce themselves and send their events again."""


class Canary(Frozen):
    """`c/{process}/canary`: what a process sends to itself; its return proves that it could hear when it was sent."""

    v: int = PROTOCOL_VERSION
    process: ProcessName
    start_id: Identifier
    """Made at the process's start: a canary of an earlier life proves nothing."""
    canary_no: Count
