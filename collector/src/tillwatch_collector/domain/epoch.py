"""The collector's epoch: a number that grows at every start, and how a restored database is recognised.

`start_count << 20 | salt`: two databases that went apart have counted alike, the salt tells them apart. Agents repeat
the highest epoch they have seen; who is told one that is not its own, and whose count is not below its own, was
restored from a backup (or is a second collector on the same broker).
"""

from tillwatch_protocol.process import EPOCH_SALT_BITS, start_count

_START_COUNT_MAX = 2**32
"""No collector starts four billion times: a terminal that says so must not push the epoch towards its limit."""


def next_epoch(last: int, salt: int) -> int:
    """Return the epoch after `last` (0 before the first); `salt` is random, of `EPOCH_SALT_BITS`."""
    if not 0 <= salt < 1 << EPOCH_SALT_BITS:
        raise ValueError(f"expected a salt of {EPOCH_SALT_BITS} bits, got {salt}")
    return start_count(last) + 1 << EPOCH_SALT_BITS | salt


def plausible(told: int) -> bool:
    """Whether any collector can have counted so far."""
    return start_count(told) < _START_COUNT_MAX


def restored(own: int, told: int) -> bool:
    """Whether a collector of epoch `own`, told that agents have seen `told`, was restored from a backup."""
    return told != own and plausible(told) and start_count(told) >= start_count(own)
