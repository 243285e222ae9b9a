"""What of a terminal's events is accounted for: stored, declared dropped, or recorded lost; and how far without a hole.

Per stream, of the numbers 1 to the last that the terminal has given:
- stored: the event is here. It wins over the other two, whenever it comes.
- dropped: the agent declared that it had no room for it.
- lost: below `oldest_seq`, the oldest that the outbox can still send, and neither of the above.

The result is a function of the set of messages that came: each step is set algebra, so that order and duplication
cannot matter. The prefix is the end of the hole-free beginning, and what is acknowledged. A change violates this when
two orders of the same messages end in different ledgers.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tillwatch_collector.domain import ranges
from tillwatch_collector.domain.ranges import Ranges

RANGES_ABOVE_PREFIX_MAX = 128
"""An honest outbox sends from its oldest, 20 in flight, and declares at most 64 ranges in one event: what stands in
more pieces above the prefix was not sent by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamLedger:
    """The account of one stream. `accounted` lies above the prefix; `dropped` and `lost` reach over all numbers."""

    prefix_seq: int = 0
    accounted: Ranges = ()
    dropped: Ranges = ()
    lost: Ranges = ()
    oldest_seq: int = 1
    event_seq_last: int = 0

    @property
    def known(self) -> Ranges:
        """Every number that is accounted for."""
        return ranges.union(((1, self.prefix_seq),) if self.prefix_seq else (), self.accounted)

    @property
    def stored(self) -> Ranges:
        """Every number whose event is here."""
        return ranges.minus(self.known, ranges.union(self.dropped, self.lost))

    @property
    def ragged(self) -> bool:
        """Whether it stands in more pieces than an honest outbox makes."""
        return len(self.accounted) > RANGES_ABOVE_PREFIX_MAX


def record(
    ledger: StreamLedger, *, stored: Iterable[int], dropped: Ranges = (), oldest_seq: int = 1, event_seq_last: int = 0
) -> StreamLedger:
    """Take in events that are now stored, ranges declared dropped, and what the outbox can still send."""
    here = ranges.union(ledger.stored, ranges.of(stored))
    oldest = max(ledger.oldest_seq, oldest_seq)
    gone = ranges.minus(ranges.union(ledger.dropped, dropped), here)
    below = ((1, oldest - 1),) if oldest > 1 else ()
    lost = ranges.minus(ranges.minus(below, here), gone)
    known = ranges.union(here, gone, lost)
    reaches = bool(known) and known[0][0] == 1
    return StreamLedger(
        prefix_seq=known[0][1] if reaches else 0,
        accounted=known[1:] if reaches else known,
        dropped=gone,
        lost=lost,
        oldest_seq=oldest,
        event_seq_last=max(ledger.event_seq_last, event_seq_last, here[-1][1] if here else 0),
    )
