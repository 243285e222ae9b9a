"""What the only ingesting process remembers of its terminals between batches, so that it need not read them again.

Two thousand heartbeats of known terminals are then compared in memory, and only written. A transaction that fails takes
all that is remembered with it: it is read anew.

Memory is sound while nobody else writes facts. A fence in the database says so: who ingests alone raises its number and
looks at it in every transaction; who ingests beside others, or removes facts, takes it away from whoever has it. A
process that finds its fence gone forgets all and takes it again: two that take it from each other in turn are slow, and
right.

A change violates this when a batch is folded into something remembered that another process has written since.
"""

from typing import TYPE_CHECKING

from tillwatch_collector.domain.identity import Sighting
from tillwatch_collector.store.facts import StreamFacts
from tillwatch_collector.store.repository import Repository

if TYPE_CHECKING:
    from tillwatch_collector.domain.level import LevelHead
    from tillwatch_collector.store.facts import StreamKey

TERMINALS_MAX = 100_000
"""Some 1.5 KB each; who has more runs several ingesting processes, which remember nothing."""

FENCE = "ingest"
SHARED = "shared"
"""Who holds the fence while several ingest: nobody in particular, and so nobody may remember."""


class Memory:
    """The facts of terminals, as the last commit left them; not thread-safe."""

    def __init__(self, holder: str | None, terminals_max: int = TERMINALS_MAX) -> None:
        """Remember for `holder`, the process; None remembers nothing beyond a transaction."""
        self.sightings: dict[str, Sighting] = {}
        self.streams: dict[str, dict[str, StreamFacts]] = {}
        """By terminal, then by stream: all streams of a terminal, or none."""
        self.heads: dict[StreamKey, LevelHead] = {}
        self._holder = holder
        self._terminals_max = terminals_max
        self._fencing_no: int | None = None

    def begin(self, repository: Repository) -> None:
        """Begin a transaction: what is remembered is what the database holds, or nothing."""
        if self._holder is None:
            repository.fence_off(FENCE, SHARED)
        elif self._fencing_no is None:
            self._fencing_no = repository.fence_in(FENCE, self._holder)
        elif not repository.fenced_in(FENCE, self._fencing_no):
            self.forget()
            self._fencing_no = repository.fence_in(FENCE, self._holder)

    def keep(self, terminal_id: str, sighting: Sighting, streams: dict[str, StreamFacts]) -> None:
        """Remember a terminal; its heads are put into `heads` beside."""
        self.sightings[terminal_id] = sighting
        self.streams[terminal_id] = streams

    def committed(self) -> None:
        """End a transaction; what may not be remembered, or is too much, is forgotten."""
        if self._holder is None or len(self.sightings) > self._terminals_max:
            self.forget()

    def rolled_back(self) -> None:
        """Forget all: whether the fence was still ours is unknown, too."""
        self._fencing_no = None
        self.forget()

    def forget(self) -> None:
        """Forget all terminals."""
        self.sightings.clear()
        self.streams.clear()
        self.heads.clear()
