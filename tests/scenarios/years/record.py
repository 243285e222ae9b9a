"""What an onlooker writes down while a world runs: who was heard when, and which tickets moved.

It also keeps the book of the naive rule: no heartbeat for three minutes, one ticket for each terminal, whatever the
hour and the cause. It looks at what came, and at nothing that the collector made of it; a restart of its own it
forgives.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.scenarios.clock import Clock
from tests.scenarios.letters import read
from tests.scenarios.watcher import Watcher

from tillwatch_collector.flows.changes import TicketChange
from tillwatch_collector.flows.ingest import Delivery
from tillwatch_collector.flows.judge import JudgeEffects
from tillwatch_protocol import topics
from tillwatch_protocol.heartbeat import Presence, PresenceState
from tillwatch_protocol.topics import Direction

NAIVE_S = 180.0
NOTED_S = 75.0
"""A gap that is longer than one heartbeat's."""


class Moved(NamedTuple):
    """A ticket that moved, and when."""

    at_s: float
    change: TicketChange


class Gap(NamedTuple):
    """A time in which nothing of a terminal came."""

    start_s: float
    end_s: float


@dataclass(kw_only=True, eq=False)
class Record(Watcher):
    """The onlooker's book."""

    clock: Clock
    moves: list[Moved] = field(default_factory=list)
    gaps: dict[str, list[Gap]] = field(default_factory=lambda: defaultdict(list))
    """By terminal, in their order."""
    naive_tickets: int = 0
    started_s: list[float] = field(default_factory=list)
    """When the collector's process was started."""
    _heard_s: dict[str, float] = field(default_factory=dict)

    def slept_until(self, terminal_id: str, heard_s: float) -> None:
        """Note that a terminal was heard all the time until then."""
        self._heard_s[terminal_id] = max(self._heard_s.get(terminal_id, heard_s), heard_s)

    def started(self) -> None:
        """Note that the process was started."""
        self.started_s.append(self.clock.now_s)

    def last_heard_s(self, terminal_id: str, silent_s: float) -> float | None:
        """Return the last proof of life before a silence that began at `silent_s`."""
        gaps = self.gaps[terminal_id]
        number = bisect_right(gaps, silent_s, key=lambda gap: gap.start_s) - 1
        return gaps[number].start_s if number >= 0 and gaps[number].end_s > silent_s else None

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """Note who was heard: what a broker says for somebody is no word of theirs."""
        for delivery in batch:
            address = topics.parse(delivery.topic)
            if address.topic.direction is Direction.UP and not delivery.retained and not _is_will(delivery):
                self._hear(address.owner, (delivery.received_at - self.clock.at(0)).total_seconds())

    def judged(self, effects: JudgeEffects) -> None:
        """Note what moved."""
        self.moves += [Moved(self.clock.now_s, change) for change in effects.tickets]

    def finish(self) -> None:
        """Count those who are gone."""
        for terminal_id in list(self._heard_s):
            self._hear(terminal_id, self.clock.now_s)

    def _hear(self, terminal_id: str, at_s: float) -> None:
        last_s = self._heard_s.get(terminal_id, math.inf)
        if at_s > last_s:
            since_s = max(last_s, *(s for s in self.started_s[-2:] if s < at_s), 0.0)
            self.naive_tickets += at_s - since_s > NAIVE_S
            if at_s - last_s > NOTED_S:
                self.gaps[terminal_id].append(Gap(last_s, at_s))
        self._heard_s[terminal_id] = max(at_s, self._heard_s.get(terminal_id, at_s))


def _is_will(delivery: Delivery) -> bool:
    if not delivery.topic.endswith("presence"):
        return False
    message = read(delivery.topic, delivery.payload)
    return isinstance(message, Presence) and message.state is PresenceState.OFFLINE
