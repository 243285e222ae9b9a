"""Who is to be looked at when: one deadline per key, the earliest first. Moving one costs nothing until it is due."""

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")


class Deadlines(Generic[K]):
    """Deadlines on any axis that only grows."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[K]:
        return iter(self._due)

    def arm(self, key: K, due: float) -> None:
        """Set the deadline of a key, in place of the one it had."""
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))
        if len(self._heap) > 4 * len(self._due) + 64:
            self._heap = [(due, place, key) for place, (key, due) in enumerate(self._due.items())]
            heapq.heapify(self._heap)

    def earliest(self) -> float | None:
        """Return the earliest deadline; None when there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float, count_max: int) -> list[K]:
        """Return the keys whose deadline has come, the earliest first, and disarm them."""
        taken: list[K] = []
        while self._heap and self._heap[0][0] <= now and len(taken) < count_max:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                taken.append(key)
        return taken
