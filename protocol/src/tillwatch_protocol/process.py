"""What a collector process says of itself: its state, with the epoch that agents remember, and its canary."""

from enum import StrEnum
from typing import Final

from tillwatch_protocol.vocabulary import PROTOCOL_VERSION, Count, Frozen, Identifier, Ordinal, ProcessName

EPOCH_SALT_BITS: Final = 20
"""Of an epoch the lowest: two databases that went apart have counted their starts alike, the salt tells them apart. One
in a million that it does not."""


def start_count(collector_epoch: int) -> int:
    """Return how many starts an epoch counts; epochs are compared by it alone."""
    return collector_epoch >> EPOCH_SALT_BITS


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
