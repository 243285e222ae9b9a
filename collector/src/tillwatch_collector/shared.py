"""What many ask for at the same time, worked out once and kept for some seconds.

Fifty open pages that ask every ten seconds must not cost fifty times one. Of those who come when an answer is too old,
one works out the next; the others get the old one meanwhile, or wait where it is far too old. What is asked must name,
in its key, all that the answer depends on: above all, what somebody sees of the fleet.

A change violates this when two people who see different parts of the fleet can get one answer.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

KEPT = timedelta(seconds=5)
"""Half of the time after which a page asks again."""
LENT = timedelta(seconds=30)
"""How old an answer may be that is handed out while somebody works out the next."""
KEYS_MAX = 400
"""Answers at once: each may be 100 KiB. Beyond it the one that was not asked for longest goes."""

T = TypeVar("T")


@dataclass(slots=True)
class _Answer:
    working: threading.Lock = field(default_factory=threading.Lock)
    made_at: datetime | None = None
    value: Any = None

    def fresh(self, now: datetime, kept: timedelta) -> bool:
        """Whether it still holds; after a clock was set back, it does not."""
        return self.made_at is not None and timedelta(0) <= now - self.made_at < kept


class Shared:
    """Answers by what was asked; any thread may ask."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, now: datetime, make: Callable[[], T], kept: timedelta = KEPT) -> T:
        """Return the answer to `key`, at most so old; `make` works it out, and may raise, then nothing is kept."""
        answer = self._answer(key)
        if answer.fresh(now, kept):
            return answer.value  # type: ignore[no-any-return]
        if not answer.working.acquire(blocking=not answer.fresh(now, max(LENT, kept))):
            return answer.value  # type: ignore[no-any-return]
        try:
            if not answer.fresh(now, kept):
                answer.value = make()
                answer.made_at = now
            return answer.value  # type: ignore[no-any-return]
        finally:
            answer.working.release()

    def _answer(self, key: Hashable) -> _Answer:
        with self._lock:
            answer = self._answers.setdefault(key, _Answer())
            self._answers.move_to_end(key)
            while len(self._answers) > self._keys_max:
                self._answers.popitem(last=False)
            return answer
