"""Many ask, one works: for some seconds."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tillwatch_collector.shared import KEPT, KEYS_MAX, LENT, Shared

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Work:
    """Counts how often it is done."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> int:
        self.done += 1
        return self.done


class AtOnce(Executor):
    """Works out ahead what is handed to it, before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except ValueError as error:
            done.set_exception(error)
        return done


def test_an_answer_is_kept_for_its_time_and_lent_while_the_next_is_worked_out() -> None:
    shared, work = Shared(ahead=AtOnce()), Work()
    assert shared.get("a", NOW, work) == 1
    assert shared.get("a", NOW + KEPT - timedelta(microseconds=1), work) == 1
    assert work.done == 1
    assert shared.get("a", NOW + KEPT, work) == 1
    assert work.done == 2
    assert shared.get("a", NOW + KEPT, work) == 2


def test_an_answer_that_is_far_too_old_is_not_lent() -> None:
    shared, work = Shared(ahead=AtOnce()), Work()
    assert [shared.get("a", NOW + at, work) for at in (timedelta(0), LENT)] == [1, 2]


def test_what_is_worked_out_ahead_rests_on_nothing_old() -> None:
    shared, inner = Shared(ahead=AtOnce()), Work()

    def asked(now: datetime) -> str:
        return shared.get("outer", now, lambda: f"of {shared.get('inner', now, inner)}")

    assert asked(NOW) == "of 1"
    assert asked(NOW + KEPT) == "of 1"
    assert asked(NOW + KEPT) == "of 2"


def test_what_cannot_be_worked_out_ahead_is_asked_for_again_and_then_told() -> None:
    shared, work = Shared(ahead=AtOnce()), Work()

    def fail() -> int:
        raise ValueError("no")

    assert shared.get("a", NOW, work) == 1
    assert shared.get("a", NOW + KEPT, fail) == 1
    with pytest.raises(ValueError, match="no"):
        shared.get("a", NOW + LENT, fail)
    assert shared.get("a", NOW + LENT, work) == 2


def test_another_question_has_another_answer() -> None:
    shared, work = Shared(), Work()
    assert [shared.get(key, NOW, work) for key in ("a", "b", "a")] == [1, 2, 1]


def test_an_answer_can_be_kept_for_longer() -> None:
    shared, work = Shared(), Work()
    kept = timedelta(minutes=10)
    assert [shared.get("a", NOW + timedelta(minutes=at), work, kept) for at in (0, 9, 10)] == [1, 1, 2]


def test_after_the_clock_was_set_back_it_is_worked_out_anew() -> None:
    shared, work = Shared(), Work()
    shared.get("a", NOW, work)
    assert shared.get("a", NOW - timedelta(seconds=1), work) == 2


def test_what_fails_is_not_kept() -> None:
    shared, work = Shared(), Work()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        shared.get("a", NOW, fail)
    assert shared.get("a", NOW, work) == 1


def test_the_answer_that_was_not_asked_for_longest_goes_first() -> None:
    shared, work = Shared(keys_max=2), Work()
    for key in ("a", "b", "a", "c"):
        shared.get(key, NOW, work)
    assert shared.get("a", NOW, work) == 1
    assert shared.get("b", NOW, work) == 4
    assert KEYS_MAX > 2


class Slow:
    """Works in a thread of its own, until it is let go."""

    def __init__(self, shared: Shared, at: datetime) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.got: list[str] = []
        self.thread = threading.Thread(target=lambda: self.got.append(shared.get("a", at, self)))
        self.thread.start()
        assert self.begun.wait(10)

    def __call__(self) -> str:
        self.begun.set()
        assert self.go.wait(10)
        return "next"

    def finish(self) -> None:
        self.go.set()
        self.thread.join(10)


def test_whoever_comes_while_one_works_gets_the_last_answer() -> None:
    shared = Shared()
    shared.get("a", NOW, lambda: "last")
    slow = Slow(shared, NOW + KEPT)
    assert shared.get("a", NOW + KEPT, lambda: "mine") == "last"
    slow.finish()
    assert slow.got == ["last"]
    assert shared.get("a", NOW + LENT, lambda: "mine") in {"next", "mine"}


def test_whoever_comes_while_one_works_waits_where_the_last_answer_is_far_too_old() -> None:
    shared = Shared()
    shared.get("a", NOW, lambda: "last")
    slow = Slow(shared, NOW + LENT)
    got: list[str] = []
    waiting = threading.Thread(target=lambda: got.append(shared.get("a", NOW + LENT, lambda: "mine")))
    waiting.start()
    slow.finish()
    waiting.join(10)
    assert got == ["next"]


def test_answers_that_rest_on_each_other_do_not_wait_for_each_other() -> None:
    ahead = ThreadPoolExecutor(max_workers=1)
    shared, inner, go = Shared(ahead=ahead), Work(), threading.Event()

    def outer(now: datetime) -> str:
        return shared.get("outer", now, lambda: f"of {shared.get('inner', now, inner)}")

    assert outer(NOW) == "of 1"
    ahead.submit(go.wait, 10)  # both stand in the queue before either is worked out
    assert outer(NOW + KEPT) == "of 1"
    assert shared.get("inner", NOW + KEPT, inner) == 1
    go.set()
    ahead.shutdown(wait=True)
    assert outer(NOW + KEPT) == "of 2"
    assert inner.done == 2
