"""The line between the network's thread and the engine's: bounded, handed over in batches.

Few put, one takes. Putting costs a look and an append; a lock is taken only to wake who sleeps: the taker until
there is a first message and then until a whole batch waits, who puts until there is room again. A full line makes the
network's thread wait, and so holds the broker back.

A change violates this when one side can sleep while the other has what it waits for: each says that it sleeps before it
looks for the last time, and each looks for a sleeper after it has acted.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """At most `messages_max` messages in their order, and more only of what others put at the same moment."""

    def __init__(self, messages_max: int) -> None:
        self.messages_max = messages_max
        self._line: deque[T] = deque()
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._wanted = 0
        """How many messages the taker sleeps for; 0 while it is awake."""
        self._crowd = 0
        """How many sleep for room."""
        self._taken_s = time.monotonic()

    def __len__(self) -> int:
        return len(self._line)

    @property
    def unattended_s(self) -> float:
        """How long nobody came to take."""
        return time.monotonic() - self._taken_s

    def put(self, item: T, timeout_s: float = 0.0) -> bool:
        """Add a message at the end; False when there was no room for so long."""
        return self.put_all((item,), timeout_s) == 1

    def put_all(self, items: Sequence[T], timeout_s: float = 0.0) -> int:
        """Add the first of these at the end, as many as there is room for once there is any; return how many."""
        if len(self._line) >= self.messages_max and not self._wait_for_room(timeout_s):
            return 0
        room = max(self.messages_max - len(self._line), 1)
        self._line.extend(items if len(items) <= room else items[:room])
        if 0 < self._wanted <= len(self._line):
            with self._lock:
                self._arrival.notify()
        return min(len(items), room)

    def take(self, count_max: int, wait_s: float, company_s: float = 0.0) -> list[T]:
        """Take from the front: wait `wait_s` for a first message, then `company_s` for as many as may be taken."""
        self._taken_s = time.monotonic()
        count_max = min(count_max, self.messages_max)
        if self._sleep_until(1, wait_s):
            self._sleep_until(count_max, company_s)
        taken = [self._line.popleft() for _ in range(min(count_max, len(self._line)))]
        if self._crowd:
            with self._lock:
                self._room.notify_all()
        self._taken_s = time.monotonic()
        return taken

    def _sleep_until(self, count: int, timeout_s: float) -> bool:
        if len(self._line) >= count or timeout_s <= 0:
            return len(self._line) >= count
        with self._lock:
            self._wanted = count
            arrived = self._arrival.wait_for(lambda: len(self._line) >= count, timeout_s)
            self._wanted = 0
        return arrived

    def _wait_for_room(self, timeout_s: float) -> bool:
        with self._lock:
            self._crowd += 1
            found = self._room.wait_for(lambda: len(self._line) < self.messages_max, timeout_s)
            self._crowd -= 1
        return found
