"""The line between two threads: order, bounds, batches, and that nobody sleeps through what it waits for."""

import threading
import time

from tillwatch_collector.inbox import Inbox

PATIENCE_S = 30.0


def test_what_is_put_first_is_taken_first_and_only_so_much_at_once() -> None:
    inbox: Inbox[int] = Inbox(10)
    assert all(inbox.put(number) for number in range(5))
    assert inbox.take(3, PATIENCE_S) == [0, 1, 2]
    assert inbox.take(3, PATIENCE_S) == [3, 4]
    assert inbox.take(3, 0.0) == []


def test_a_full_line_takes_no_more() -> None:
    inbox: Inbox[int] = Inbox(2)
    assert [inbox.put(number) for number in range(3)] == [True, True, False]
    assert inbox.take(5, 0.0) == [0, 1]
    assert inbox.put(3)


def test_of_many_put_at_once_those_are_taken_that_there_is_room_for() -> None:
    inbox: Inbox[int] = Inbox(3)
    assert inbox.put_all([0, 1]) == 2
    assert inbox.put_all([2, 3, 4]) == 1
    assert inbox.put_all([3, 4]) == 0
    assert inbox.take(5, 0.0) == [0, 1, 2]
    assert inbox.put_all([3, 4]) == 2


def test_a_first_message_wakes_who_waits_for_it() -> None:
    inbox: Inbox[str] = Inbox(2)
    threading.Timer(0.05, lambda: inbox.put("first")).start()
    assert inbox.take(1, PATIENCE_S) == ["first"]


def test_a_batch_that_is_full_is_not_waited_for_longer() -> None:
    inbox: Inbox[int] = Inbox(100)
    feeder = threading.Thread(target=lambda: [inbox.put(number) for number in range(50)])
    feeder.start()
    assert inbox.take(50, PATIENCE_S, PATIENCE_S) == list(range(50))
    feeder.join()


def test_a_batch_larger_than_the_line_is_what_the_line_holds() -> None:
    inbox: Inbox[int] = Inbox(2)
    assert inbox.put(1)
    assert inbox.put(2)
    assert inbox.take(2_000, PATIENCE_S, PATIENCE_S) == [1, 2]


def test_room_wakes_all_who_wait_for_it() -> None:
    inbox: Inbox[int] = Inbox(1)
    assert inbox.put(0)
    done: list[bool] = []
    waiting = [threading.Thread(target=lambda: done.append(inbox.put(1, PATIENCE_S))) for _ in range(2)]
    for thread in waiting:
        thread.start()
    taken: list[int] = []
    while len(taken) < 3:
        taken += inbox.take(1, PATIENCE_S)
    for thread in waiting:
        thread.join(PATIENCE_S)
    assert (taken, done) == ([0, 1, 1], [True, True])


def test_two_threads_lose_and_reorder_nothing() -> None:
    inbox: Inbox[int] = Inbox(7)
    count = 20_000

    def feed() -> None:
        for number in range(count):
            while not inbox.put(number, PATIENCE_S):
                pass

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    taken: list[int] = []
    while len(taken) < count:
        taken += inbox.take(5, PATIENCE_S, 0.001)
    assert taken == list(range(count))


def test_it_knows_for_how_long_nobody_came() -> None:
    inbox: Inbox[int] = Inbox(1)
    before_s = inbox.unattended_s
    deadline_s = time.monotonic() + PATIENCE_S
    while inbox.unattended_s <= before_s and time.monotonic() < deadline_s:
        pass
    lonely_s = inbox.unattended_s
    assert lonely_s > before_s
    inbox.take(1, 0.0)
    assert inbox.unattended_s < lonely_s
