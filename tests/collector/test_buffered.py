"""Events that a terminal kept while it could not send: stored with their own times, and no ticket of what is over."""

from collections.abc import Sequence
from datetime import datetime

import pytest
from tests.collector.databases import rows
from tests.collector.shop import Shop
from tests.collector.words import PRINTER, at, events, heartbeat, printer

from tillwatch_collector.store.session import Store
from tillwatch_protocol.event import Event
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import Health

HOUR_S = 3600
SENT_S = 6 * HOUR_S
"""When the line is back, and all that was kept comes at once."""


def edge(event_seq: int, kind: str, happened_s: float, code: str = "paper_end") -> Event:
    return Event(
        event_seq=event_seq,
        boot_epoch=1,
        kind=f"condition_{kind}",
        component=PRINTER,
        code=code,
        happened_at=at(happened_s),
    )


WENT_BY = (
    edge(1, "raised", 1 * HOUR_S),
    edge(2, "cleared", 2 * HOUR_S),
    edge(3, "raised", 3 * HOUR_S, "cover_open"),
    edge(4, "cleared", 3 * HOUR_S + 600, "cover_open"),
)
"""No paper for an hour, and a cover open for ten minutes: each long enough to be a fault, and over for hours."""


@pytest.fixture
def shop(store: Store) -> Shop:
    shop = Shop(store)
    shop.now_s = float(SENT_S)
    shop.judge = shop.load()
    shop.judge.listening = shop.judge.listening.broker_connected(at(shop.now_s))
    return shop


def kept(shop: Shop) -> list[tuple[object, ...]]:
    return rows(shop.store, "SELECT event_seq, kind, code, happened_at, received_at FROM event ORDER BY event_seq")


def expected(received_at: datetime) -> list[tuple[object, ...]]:
    return [(one.event_seq, one.kind, one.code, text(one.happened_at), text(received_at)) for one in WENT_BY]


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"


def beat(shop: Shop, first: int, last: int, reading: Reading) -> None:
    for number in range(first, last + 1):
        shop.take(heartbeat(number, reading, event_seq_last=len(WENT_BY)))
        shop.until(shop.now_s + 60)


@pytest.mark.parametrize(
    "order",
    [
        (0, 1, 2, 3),
        (3, 2, 1, 0),
        (0, 1, 0, 1, 2, 3, 2, 3),  # sent again, since an acknowledgement was lost
    ],
)
def test_what_was_raised_and_cleared_hours_ago_is_stored_with_its_own_times_and_makes_no_ticket(
    shop: Shop, order: Sequence[int]
) -> None:
    for number in order:
        shop.take(events(WENT_BY[number]))
    beat(shop, 1, 10, printer())
    assert kept(shop) == expected(at(SENT_S))
    assert shop.moves == []
    assert (
        rows(shop.store, "SELECT count(*) FROM fault") == rows(shop.store, "SELECT count(*) FROM condition") == [(0,)]
    )


def test_it_makes_no_ticket_either_when_its_events_come_after_the_heartbeats(shop: Shop) -> None:
    beat(shop, 1, 2, printer())
    came_at = at(shop.now_s)
    shop.take(events(*WENT_BY))
    beat(shop, 3, 6, printer())
    assert kept(shop) == expected(came_at)
    assert shop.moves == []


def test_events_alone_make_no_ticket_since_the_level_is_told_by_heartbeats(shop: Shop) -> None:
    shop.take(events(*WENT_BY[:1]))
    shop.until(shop.now_s + 120)
    assert [move for move in shop.moves if move[1][2] == "paper_end"] == []


def test_what_is_still_true_makes_one_ticket_after_its_hold_and_says_since_when(shop: Shop) -> None:
    since = at(4 * HOUR_S)
    open_still = Reading(
        component=PRINTER, health=Health.FAULT, conditions=(Condition(code="cover_open", since=since),)
    )
    shop.take(events(*WENT_BY, edge(5, "raised", 4 * HOUR_S, "cover_open")))
    began_s = shop.now_s
    beat(shop, 1, 5, open_still)
    assert [move for move, _ in shop.moves] == ["opened"]
    [(happened_at, raised_at)] = rows(shop.store, "SELECT happened_at, raised_at FROM fault")
    assert happened_at == text(since)
    # its hold of a minute counts from the first heartbeat that we heard, not from hours ago
    assert text(at(began_s + 60)) <= str(raised_at) <= text(at(began_s + 70))
