"""Windows of stores: looked for once while they hold, and again when hours or plan change."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.collector.estate import ALWAYS, Estate, plan
from tests.collector.words import START

from tillwatch_collector.domain import window
from tillwatch_collector.domain.rollout import RolloutSettings, parse_settings
from tillwatch_collector.domain.window import Opening, WindowReason
from tillwatch_collector.flows import windows
from tillwatch_collector.flows.windows import Windows
from tillwatch_collector.store import tables
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of

PLAN = parse_settings(plan(window={"mode": "closed", "hours": None}))
OTHER = parse_settings(plan(window={"mode": "open", "hours": None}))
BY_DAY = {day: [["08:00", "20:00"]] for day in ALWAYS}


class Counted:
    """Looks for windows, and counts how often."""

    def __init__(self) -> None:
        self.looks = 0
        self._look = window.look

    def __call__(self, *stated: Any) -> Opening:
        self.looks += 1
        return self._look(*stated)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    looking = Counted()
    monkeypatch.setattr(window, "look", looking)
    return looking


@pytest.fixture
def street(store: Store) -> Store:
    Estate(store, {"s1": 1, "s2": 1}, place={"opening_hours": BY_DAY})
    return store


def look(store: Store, found: Windows, now: datetime, settings: RolloutSettings = PLAN) -> dict[str | None, Opening]:
    with store.transaction() as repository:
        return found.of(repository, "r1", settings, {"s1", "s2"}, now)


def open_at(store: Store, hours: dict[str, Any]) -> None:
    row = table_of(tables.StoreRow)
    with store.transaction() as repository:
        repository.connection.execute(row.update().values(opening_hours=hours))


def test_a_window_is_looked_for_once_while_it_holds(street: Store, counted: Counted) -> None:
    found = Windows()
    for minutes in (0, 1, 60, 7 * 60):
        openings = look(street, found, START + timedelta(minutes=minutes))
        assert {opening.reason for opening in openings.values()} == {WindowReason.OUTSIDE_HOURS}
    assert counted.looks == 2
    # closed from 20:00 on
    assert look(street, found, START + timedelta(hours=8))["s1"].fits
    assert counted.looks == 4


def test_it_is_looked_for_again_when_hours_or_the_plan_change(street: Store, counted: Counted) -> None:
    found = Windows()
    assert not look(street, found, START)["s1"].fits
    assert look(street, found, START, OTHER)["s1"].fits
    open_at(street, {"mon": [["08:00", "20:00"]]})
    assert look(street, found, START)["s1"].fits
    assert counted.looks == 6


def test_hours_that_make_no_sense_open_nothing(street: Store) -> None:
    open_at(street, {"mon": "whenever"})
    assert look(street, Windows(), START)["s1"] == Opening(reason=WindowReason.HOURS_UNKNOWN, until=None)


def test_what_is_remembered_has_a_limit(street: Store, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "REMEMBERED_MAX", 1)
    found = Windows()
    look(street, found, START)
    look(street, found, START)
    assert counted.looks == 4
