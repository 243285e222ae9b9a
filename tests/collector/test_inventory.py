from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select, update
from tests.collector.shell_fixtures import NOW, describe

from tillwatch_collector.domain.inventory import (
    LifeCycle,
    Merchant,
    Store,
    StoreChange,
    Terminal,
    TerminalChange,
    WatchMode,
    Weekday,
    changed,
    parse_holidays_text,
    parse_hours_text,
)
from tillwatch_collector.errors import HoursInvalid
from tillwatch_collector.store import tables
from tillwatch_collector.store.inventory import Inventory, Put, UnknownReference
from tillwatch_collector.store.session import Store as Database
from tillwatch_collector.store.tables import table_of

STORE: dict[str, Any] = {"store_id": "s-1", "merchant_id": "m-1", "name": "Bund 18", "time_zone": "Asia/Shanghai"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"store_id": "s 1"},
        {"store_id": "x" * 65},
        {"name": ""},
        {"name": "a\x00b"},  # PostgreSQL refuses it
        {"name": "two\nlines"},
        {"name": "x" * 201},
        {"address": "x" * 501},
        {"region": "x" * 65},
        {"time_zone": "Shanghai"},
        {"time_zone": "../../etc/passwd"},
        {"opening_hours": {"monday": [["08:00", "20:00"]]}},
        {"opening_hours": {"mon": [["8:00", "20:00"]]}},
        {"opening_hours": {"mon": [["20:00", "08:00"]]}},  # past midnight is two spans
        {"opening_hours": {"mon": [["08:00", "12:00"], ["11:00", "13:00"]]}},
        {"opening_hours": {"mon": [["08:00"]]}},
        {"holidays": {"2026-02-30": []}},
        {"holidays": {"25.12.2026": []}},
        {"holidays": {"1969-12-25": []}},
        {"holidays": {"2026-12-25": [["12:00", "10:00"]]}},
        {"holidays": {"2026-12-25": None}},
        {"holidays": {(date(2026, 1, 1) + timedelta(days=number)).isoformat(): [] for number in range(401)}},
        {"contract": ""},
        {"contract": "x" * 65},
        {"watch": "sometimes"},
        {"watch": "opening_hours"},  # without hours nobody would ever be watched
        {"colour": "red"},
    ],
)
def test_a_store_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Store.model_validate(STORE | wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"terminal_id": "t.1"},  # a dot is a process's
        {"terminal_id": ""},
        {"purchase_date": "31.03.2025"},
        {"purchase_date": "1743379200"},  # a number of seconds is no date
        {"purchase_date": "1969-12-31"},
        {"purchase_date": 5},
        {"life_cycle": "dead"},
        {"serial_number": "x" * 65},
    ],
)
def test_a_terminal_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Terminal.model_validate({"terminal_id": "t-1"} | wrong)


def test_a_store_may_close_at_midnight_and_open_by_parts_of_the_day() -> None:
    hours = {"fri": [["08:00", "12:00"], ["13:00", "24:00"]]}
    store = Store.model_validate(STORE | {"opening_hours": hours, "watch": "opening_hours"})
    assert store.opening_hours == {Weekday.FRI: (("08:00", "12:00"), ("13:00", "24:00"))}
    assert store.watch is WatchMode.OPENING_HOURS


def test_a_change_alters_what_it_names_and_null_clears() -> None:
    before = Terminal(terminal_id="t-1", store_id="s-1", brand="Epson", purchase_date=date(2025, 3, 31))
    after = changed(before, TerminalChange(store_id=None, life_cycle=LifeCycle.SPARE))
    assert after == Terminal(
        terminal_id="t-1", brand="Epson", purchase_date=date(2025, 3, 31), life_cycle=LifeCycle.SPARE
    )


def test_a_change_whose_result_would_be_invalid_is_refused() -> None:
    with pytest.raises(ValidationError):
        changed(Store.model_validate(STORE), StoreChange(name=None))
    with pytest.raises(ValidationError, match="expected opening_hours"):
        changed(Store.model_validate(STORE), StoreChange(watch=WatchMode.OPENING_HOURS))


def test_opening_hours_are_read_from_one_line() -> None:
    assert parse_hours_text("mon-wed=08:00-12:00, 13:00-20:00; sun=09:00-24:00") == {
        Weekday.MON: (("08:00", "12:00"), ("13:00", "20:00")),
        Weekday.TUE: (("08:00", "12:00"), ("13:00", "20:00")),
        Weekday.WED: (("08:00", "12:00"), ("13:00", "20:00")),
        Weekday.SUN: (("09:00", "24:00"),),
    }
    assert parse_hours_text("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mon", "expected days=spans"),
        ("monday=08:00-20:00", "expected days mon, tue"),
        ("mon-xyz=08:00-20:00", "expected days mon, tue"),
        ("mon=0800", "expected opens-closes"),
    ],
)
def test_opening_hours_that_cannot_be_read_are_said(text: str, said: str) -> None:
    with pytest.raises(HoursInvalid, match=said):
        parse_hours_text(text)


def test_holidays_are_read_from_one_line() -> None:
    assert parse_holidays_text("2026-12-25; 2026-12-31 10:00-12:00, 13:00-14:00;") == {
        "2026-12-25": (),
        "2026-12-31": (("10:00", "12:00"), ("13:00", "14:00")),
    }
    assert parse_holidays_text("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-12-31 10:00", "expected opens-closes"),
        ("2026-12-25; 2026-12-25 10:00-14:00", "expected each day once, got '2026-12-25' again"),
    ],
)
def test_holidays_that_cannot_be_read_are_said(text: str, said: str) -> None:
    with pytest.raises(HoursInvalid, match=said):
        parse_holidays_text(text)


# --- the repository


@pytest.fixture
def database(store: Database) -> Database:
    describe(store)
    return store


def test_what_is_put_is_found_again(database: Database) -> None:
    hours = {"mon": [["08:00", "24:00"]]}
    more = {"holidays": {"2026-12-25": [], "2026-12-31": [["10:00", "14:00"]]}, "contract": "gold"}
    store = Store.model_validate(STORE | {"store_id": "s-9", "opening_hours": hours, "watch": "opening_hours"} | more)
    terminal = Terminal(terminal_id="t-9", store_id="s-9", purchase_date=date(2025, 3, 31), life_cycle=LifeCycle.SPARE)
    with database.transaction() as repository:
        inventory = Inventory(repository.connection)
        assert inventory.put_store(store, NOW) is Put.CREATED
        assert inventory.put_terminal(terminal, NOW) is Put.CREATED
    with database.reading() as connection:
        inventory = Inventory(connection)
        assert inventory.store("s-9") == store
        assert inventory.terminal("t-9") == terminal
        assert inventory.merchant("m-1") == Merchant(merchant_id="m-1", name="Noodle House")
        assert (inventory.store("nowhere"), inventory.terminal("none"), inventory.merchant("no")) == (None, None, None)
        assert inventory.terminals_of("s-9") == ("t-9",)


def test_putting_again_says_what_changed_and_keeps_when_it_was_created(database: Database) -> None:
    later = NOW + timedelta(days=1)
    with database.transaction() as repository:
        inventory = Inventory(repository.connection)
        known = inventory.merchant("m-1")
        assert known is not None
        assert inventory.put_merchant(known, later) is Put.UNCHANGED
        assert inventory.put_merchant(Merchant(merchant_id="m-1", name="Rice House"), later) is Put.UPDATED
        created_at = repository.connection.execute(select(table_of(tables.MerchantRow).c.created_at)).scalar_one()
    assert created_at == NOW


def test_what_is_referred_to_must_be_known(database: Database) -> None:
    with database.transaction() as repository:
        inventory = Inventory(repository.connection)
        with pytest.raises(UnknownReference, match="merchant_id: expected a known one, got 'm-9'"):
            inventory.put_store(Store.model_validate(STORE | {"merchant_id": "m-9"}), NOW)
        with pytest.raises(UnknownReference, match="store_id: expected a known one, got 's-9'"):
            inventory.put_terminal(Terminal(terminal_id="t-1", store_id="s-9"), NOW)


def test_judge_looks_again_at_the_terminals_of_a_store_that_changed(database: Database) -> None:
    sighting = table_of(tables.SightingRow)
    with database.transaction() as repository:
        repository.facts.meet({"t-1", "t-2"}, NOW)
        repository.connection.execute(update(sighting).values(marked=False))
        repository.facts.mark(Inventory(repository.connection).terminals_of("s-1"))
        marked = repository.connection.scalars(select(sighting.c.terminal_id).where(sighting.c.marked)).all()
    assert list(marked) == ["t-1"]
