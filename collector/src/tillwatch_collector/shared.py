"""What many ask for at the same time, worked out once and kept for some seconds.

Fifty open pages that ask every ten seconds must not cost fifty times one, and none of them should wait for what takes
long over a large fleet. Whoever comes when an answer is too old gets it still, while the next one is worked out ahead,
by one; where it is far too old, they wait. What is worked out ahead rests on nothing old: what it asks for in turn is
worked out before it. What is asked must name, in its key, all that the answer depends on: above all, what somebody sees
of the fleet.

A change violates this when two people who see different parts of the fleet can get one answer.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

KEPT = timedelta(seconds=10)
"""A page asks again after that time."""
LENT = timedelta(seconds=20)
"""How old an answer may be that is handed out while the next one is worked out: a page that asks again never waits."""
KEYS_MAX = 400
"""Answers at once: each may be 100 KiB. Beyond it the one that was not asked for longest goes."""

T = TypeVar("T")


@dataclass(slots=True)
class _Answer:
    working: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever works it out, never by who only means to: an answer may ask for another one."""
    is_next_asked: bool = False
    """Whether somebody already has the next one worked out ahead."""
    made_at: datetime | None = None
    value: Any = None

    def fresh(self, now: datetime, kept: timedelta) -> bool:
        """Whether it still holds; after a clock was set back, it does not."""
        return self.made_at is not None and timedelta(0) <= now - self.made_at < kept


class Shared:
    """Answers by what was asked; any thread may ask."""

    def __init__(self, keys_max: int = KEYS_MAX, ahead: Executor | None = None) -> None:
        self._keys_max = keys_max
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._ahead = ahead or ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        self._here = threading.local()

    def get(self, key: Hashable, now: datetime, make: Callable[[], T], kept: timedelta = KEPT) -> T:
        """Return the answer to `key`; `make` works it out, in any thread, and may raise, then nothing is kept."""
        answer = self._answer(key)
        if answer.fresh(now, kept):
            return answer.value  # type: ignore[no-any-return]
        if answer.fresh(now, max(LENT, kept)) and not getattr(self._here, "is_ahead", False):
            last: T = answer.value
            self._have_next(answer, now, make, kept)
            return last
        return self._work(answer, now, make, kept)

    def _have_next(self, answer: _Answer, now: datetime, make: Callable[[], object], kept: timedelta) -> None:
        with self._lock:
            if answer.is_next_asked:
                return
            answer.is_next_asked = True
        self._ahead.submit(self._work_ahead, answer, now, make, kept)

    def _work_ahead(self, answer: _Answer, now: datetime, make: Callable[[], object], kept: timedelta) -> None:
        """Work out the next answer while nobody waits; where that fails, whoever has to wait is told."""
        self._here.is_ahead = True
        try:
            self._work(answer, now, make, kept)
        finally:
            self._here.is_ahead = False
            answer.is_next_asked = False

    def _work(self, answer: _Answer, now: datetime, make: Callable[[], T], kept: timedelta) -> T:
        """Work out an answer, unless another just did."""
        with answer.working:
            if not answer.fresh(now, kept):
                answer.value = make()
                answer.made_at = now
            return answer.value  # type: ignore[no-any-return]

    def _answer(self, key: Hashable) -> _Answer:
        with self._lock:
            answer = self._answers.setdefault(key, _Answer())
            self._answers.move_to_end(key)
            while len(self._answers) > self._keys_max:
                self._answers.popitem(last=False)
            return answer
