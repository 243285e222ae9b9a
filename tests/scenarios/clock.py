"""Virtual time and chance: one heap of what is due, and one seed split into named streams.

Nothing in a world reads a clock or a random source of its own. What is due at the same moment happens in the order in
which it was asked for, and a stream's numbers depend on the seed and its name alone, so that adding a draw in one part
of a world changes nothing in another.
"""

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

BEGINNING = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
"""A Monday morning."""

STEPS_MAX = 20_000_000
"""A day of a hundred terminals is a tenth of it; more is something that calls for itself without end."""

Action = Callable[[], None]


@dataclass(kw_only=True, slots=True)
class Clock:
    """Runs what is due, in order, and is the only one who says what time it is."""

    now_s: float = 0.0
    steps: int = 0
    steps_max: int = STEPS_MAX
    _due: list[tuple[float, int, Action]] = field(default_factory=list)
    _asked: int = 0

    @property
    def now(self) -> datetime:
        """The true time, as the collector's clock shows it."""
        return self.at(self.now_s)

    @staticmethod
    def at(at_s: float) -> datetime:
        """The true time at a number of seconds into the world, to the microsecond that a datetime holds."""
        return BEGINNING + timedelta(seconds=at_s)

    def call_at(self, at_s: float, action: Action) -> None:
        """Do something at a moment; one that has passed is now."""
        self._asked += 1
        heapq.heappush(self._due, (max(at_s, self.now_s), self._asked, action))

    def call_in(self, delay_s: float, action: Action) -> None:
        """Do something after a while."""
        self.call_at(self.now_s + delay_s, action)

    def run_until(self, end_s: float) -> None:
        """Do everything that is due up to `end_s`, and let it become that late."""
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(self._due)
            self.steps += 1
            assert self.steps < self.steps_max, "something calls for itself without end"
            action()
        self.now_s = end_s


def chance(seed: int, name: str) -> Random:
    """Return the stream of this name; it depends on nothing else that was drawn."""
    return Random(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest())


@dataclass(kw_only=True, slots=True)
class Trace:
    """What happened, as one running hash: two runs of one seed must agree on it."""

    lines: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def note(self, at_s: float, *said: object) -> None:
        """Add one thing that happened."""
        self.lines += 1
        self._hash.update(f"{at_s:.6f} {said!r}\n".encode())

    @property
    def digest(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()
