"""Where the demonstration's terminals stand, and when their stores are open."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tillwatch_simulator.inventory import Inventory, Merchant, Place, Store

BEGAN = datetime(2026, 11, 21, 3, 15, 30, tzinfo=UTC)
NOODLE = Merchant(
    merchant_id="noodle",
    name="Noodle House",
    store=(
        Store(store_id="bund", name="Bund 18", region="east", carrier="CityNet", time_zone="Asia/Shanghai"),
        Store(store_id="canton", name="Canton Road", carrier="HKT"),
    ),
)
WOK = Merchant(
    merchant_id="wok",
    name="Wok",
    store=(Store(store_id="wok-1", name="Wok 1", carrier="CityNet", terminals=2, model="A920"),),
)
OURS = Inventory(
    merchants=(NOODLE, WOK),
    agent_ids=("till-1",),
    terminal_ids=("sim-0001", "sim-0002", "sim-0003", "sim-0004", "sim-0005"),
)


def test_a_merchant_and_its_stores_come_before_the_terminals_that_stand_in_them() -> None:
    (_, _, merchant), (_, _, store), *_, (path, kind, sheet) = OURS.posts(BEGAN)
    assert json.loads(merchant) == {"merchant_id": "noodle", "name": "Noodle House"}
    assert json.loads(store) == {
        "store_id": "bund",
        "merchant_id": "noodle",
        "name": "Bund 18",
        "region": "east",
        "carrier": "CityNet",
        "time_zone": "Asia/Shanghai",
        "opening_hours": {},
    }
    assert (path, kind) == ("/api/v1/terminals/import", "text/csv")
    assert sheet.splitlines() == [
        "terminal_id,store_id,model",
        "sim-0001,wok-1,A920",  # a store that says how many it has is dealt first
        "sim-0002,wok-1,A920",
        "till-1,bund,",  # the others share the rest in turn, and the agents
        "sim-0003,canton,",
        "sim-0004,bund,",
        "sim-0005,canton,",
    ]


def test_a_place_names_who_stands_in_it() -> None:
    assert OURS.within(Place("store", "canton")) == {"sim-0003", "sim-0005"}
    assert OURS.within(Place("carrier", "CityNet")) == {"sim-0001", "sim-0002", "till-1", "sim-0004"}
    assert OURS.within(Place("merchant", "wok")) == {"sim-0001", "sim-0002"}
    assert OURS.within(Place("region", "east")) == {"till-1", "sim-0004"}
    assert OURS.within(Place("region", "west")) == frozenset()
    assert OURS.within(Place("fleet", "fleet")) == {*OURS.agent_ids, *OURS.terminal_ids}


def test_who_finds_no_store_stands_nowhere() -> None:
    full = Inventory(merchants=(WOK,), agent_ids=("till-1",), terminal_ids=("sim-0001", "sim-0002", "sim-0003"))
    assert full.places.keys() == {"sim-0001", "sim-0002"}
    assert list(Inventory(terminal_ids=("sim-0001",)).posts(BEGAN)) == []


@pytest.mark.parametrize(
    ("closes_in_s", "time_zone", "spans"),
    [
        # at the next full minute
        (0.0, "UTC", ((0, 196), (1096, 1440))),
        # an hour ago, in Shanghai at 11:15:30
        (-3_600.0, "Asia/Shanghai", ((76, 616),)),
        # to the minute: not a minute later
        (30.0, "UTC", ((0, 196), (1096, 1440))),
        # at midnight exactly, which is the end of a day
        (44.5 * 60, "Asia/Tokyo", ((240, 780),)),
        (-(3 * 3_600 + 15.5 * 60), "UTC", ((900, 1440),)),
    ],
)
def test_a_store_that_closes_soon_is_open_for_nine_hours_before(
    closes_in_s: float, time_zone: str, spans: tuple[tuple[int, int], ...]
) -> None:
    store = Store(store_id="s", name="S", time_zone=time_zone, closes_in_s=closes_in_s)
    assert store.spans(BEGAN) == spans
    closes_at = BEGAN + timedelta(seconds=closes_in_s)
    assert store.is_open(closes_at - timedelta(minutes=1), BEGAN)
    assert store.is_open(closes_at - timedelta(hours=8), BEGAN)
    assert not store.is_open(closes_at + timedelta(minutes=1), BEGAN)
    assert not store.is_open(closes_at + timedelta(hours=14), BEGAN)


def test_hours_are_told_as_the_collector_takes_them() -> None:
    late = Store(store_id="s", name="S", closes_in_s=0.0)
    told = Inventory(merchants=(Merchant(merchant_id="m", name="M", store=(late,)),)).posts(BEGAN)
    hours = json.loads(list(told)[1][2])["opening_hours"]
    assert hours["sun"] == [["00:00", "03:16"], ["18:16", "24:00"]]
    assert len(hours) == 7


def test_a_store_without_hours_is_not_known_to_be_open() -> None:
    assert not Store(store_id="s", name="S").is_open(BEGAN, BEGAN)


def test_the_store_of_a_terminal_is_found() -> None:
    assert {name: store.store_id for name, store in OURS.stores.items()}["sim-0004"] == "bund"
