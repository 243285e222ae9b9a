"""Shops that open and close, as judge watches them: who is off at night is not missed, who is dead at opening is.

The grace ends at a quarter past; what is proved to have been listened to goes beyond it one step, five minutes, later.
"""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.collector.shop import Street, silent
from tests.collector.words import PRINTER, START

from tillwatch_collector.store.session import Store

BERLIN = ZoneInfo("Europe/Berlin")
H = 3600
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOURS = {day: [["08:00", "20:00"]] for day in DAYS}


def berlin(day: str, time: str) -> float:
    """Return a local time as seconds from START."""
    moment = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=BERLIN)
    return (moment - START) / timedelta(seconds=1)


def local(text: Any) -> str:
    """Return what a row says of a time as a Berlin clock shows it."""
    return f"{datetime.fromisoformat(f'{text}+00:00').astimezone(BERLIN):%Y-%m-%d %H:%M}"


def shop(store: Store, day: str, time: str, *, tills: int = 3, **place: Any) -> Street:
    """Open a shop in Berlin on every day from eight to eight; it is this time there, five minutes later."""
    kept = {"watch": "opening_hours", "time_zone": "Europe/Berlin", "opening_hours": HOURS} | place
    return Street(store, {"s": tills}, step_s=300, interval_s=300, place=kept, now_s=berlin(day, time))


def to(street: Street, day: str, time: str) -> None:
    street.live(berlin(day, time) - street.now_s)


def opened(street: Street) -> list[tuple[str, str]]:
    rows = street.rows("SELECT subject_id, opened_at FROM ticket ORDER BY 1")
    return [(str(subject_id), local(opened_at)) for subject_id, opened_at in rows]


def test_who_is_switched_off_in_the_last_minutes_and_on_in_the_first_is_not_missed(store: Store) -> None:
    street = shop(store, "2026-11-23", "19:00")
    to(street, "2026-11-23", "19:40")
    street.dead = set(street.tills)
    to(street, "2026-11-24", "08:10")
    assert street.moves == []
    assert ("s-00", "off", "closing") in street.states
    assert ("s-00", "off", "closed") in street.states
    assert street.states[-1][1:] == ("off", "opening")
    street.dead = set()
    to(street, "2026-11-24", "09:00")
    assert street.moves == []
    assert street.states[-1][1:] == ("online", "heard")


def test_who_is_dead_at_opening_is_told_of_when_the_grace_is_over(store: Store) -> None:
    street = shop(store, "2026-11-23", "19:00")
    to(street, "2026-11-23", "20:30")
    street.dead = set(street.tills)
    to(street, "2026-11-24", "08:05")
    street.dead = {"s-01"}
    to(street, "2026-11-24", "12:00")
    assert opened(street) == [("s-01", "2026-11-24 08:20")]


def test_who_is_switched_on_while_the_observer_is_blind_is_not_missed_when_the_grace_is_over(store: Store) -> None:
    street = shop(store, "2026-11-23", "19:00")
    to(street, "2026-11-23", "20:30")
    street.dead = set(street.tills)
    to(street, "2026-11-24", "08:00")
    street.dead = {"s-01"}
    street.live(1200, listening=False)
    assert street.moves == []
    street.live(2 * H)
    assert [subject_id for subject_id, _ in opened(street)] == ["s-01"]


def test_a_store_that_is_dead_at_opening_is_one_ticket(store: Store) -> None:
    street = shop(store, "2026-11-23", "19:00", tills=6)
    to(street, "2026-11-23", "20:30")
    street.dead = set(street.tills)
    to(street, "2026-11-24", "12:00")
    assert opened(street) == [("s", "2026-11-24 08:20")]


def test_a_ticket_of_before_closing_stays_and_nothing_else_opens_at_night(store: Store) -> None:
    street = shop(store, "2026-11-23", "18:00")
    street.dead = {"s-00"}
    to(street, "2026-11-23", "19:00")
    assert street.moves == [("opened", silent("s-00"))]
    street.complain({"s-01"}, "paper_end", PRINTER)
    to(street, "2026-11-23", "20:30")
    street.dead = set(street.tills)
    to(street, "2026-11-24", "08:10")
    assert street.moves == [("opened", silent("s-00")), ("opened", ("s-01", PRINTER, "paper_end"))]
    street.dead, street.says = {"s-00"}, {}
    to(street, "2026-11-24", "10:00")
    assert street.open_tickets == [silent("s-00")]
    assert street.rows("SELECT count(*) FROM journal WHERE action = 'recur'") == [(0,)]
    street.dead = set()
    to(street, "2026-11-24", "10:10")
    assert street.open_tickets == []


def test_a_restart_at_night_misses_nobody_and_forgets_nobody(store: Store) -> None:
    street = shop(store, "2026-11-23", "19:00")
    to(street, "2026-11-23", "20:30")
    street.dead = set(street.tills)
    to(street, "2026-11-24", "03:00")
    street.restart()
    to(street, "2026-11-24", "08:05")
    assert street.moves == []
    street.dead = {"s-02"}
    to(street, "2026-11-24", "12:00")
    assert opened(street) == [("s-02", "2026-11-24 08:20")]


def test_a_night_in_which_nobody_listened_puts_off_nothing(store: Store) -> None:
    street = shop(store, "2026-11-23", "19:00")
    to(street, "2026-11-23", "20:30")
    street.dead = set(street.tills)
    street.live(900)
    street.live(6 * H, listening=False)
    to(street, "2026-11-24", "08:05")
    street.dead = {"s-02"}
    to(street, "2026-11-24", "12:00")
    assert opened(street) == [("s-02", "2026-11-24 08:20")]


def test_a_holiday_is_a_night(store: Store) -> None:
    holidays = {"2026-12-25": [], "2026-12-26": [["10:00", "14:00"]]}
    street = shop(store, "2026-12-24", "19:00", holidays=holidays)
    to(street, "2026-12-24", "20:30")
    street.dead = set(street.tills)
    to(street, "2026-12-26", "10:10")
    assert street.moves == []
    street.dead = {"s-00"}
    to(street, "2026-12-26", "13:00")
    # a day of its own hours, and of its own opening
    assert opened(street) == [("s-00", "2026-12-26 10:20")]


@pytest.mark.parametrize(
    ("eve", "day"),
    [
        pytest.param("2027-03-27", "2027-03-28", id="the clock goes forward at two"),
        pytest.param("2027-10-30", "2027-10-31", id="the clock goes back at three"),
    ],
)
def test_the_night_in_which_clocks_change_ends_when_the_shop_opens_by_its_own(store: Store, eve: str, day: str) -> None:
    street = shop(store, eve, "19:30")
    to(street, eve, "20:30")
    street.dead = set(street.tills)
    to(street, day, "08:10")
    assert street.moves == []
    street.dead = {"s-00"}
    to(street, day, "09:00")
    assert opened(street) == [("s-00", f"{day} 08:20")]


def test_hours_that_are_changed_count_at_once(store: Store) -> None:
    street = shop(store, "2026-11-23", "20:30")
    street.dead = set(street.tills)
    street.live(H)
    assert street.moves == []
    street.watch_always("s")
    street.live(300)
    assert {subject_id for subject_id, *_ in street.open_tickets} == set(street.tills)
