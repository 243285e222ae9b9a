"""Where the demonstration's terminals stand."""

import json

from tillwatch_simulator.inventory import Inventory, Merchant, Place, Store

NOODLE = Merchant(
    merchant_id="noodle",
    name="Noodle House",
    store=(
        Store(store_id="bund", name="Bund 18", region="east", carrier="CityNet", time_zone="Asia/Shanghai"),
        Store(store_id="canton", name="Canton Road", carrier="HKT"),
    ),
)
WOK = Merchant(
    merchant_id="wok", name="Wok", store=(Store(store_id="wok-1", name="Wok 1", carrier="CityNet", terminals=2),)
)
OURS = Inventory(
    merchants=(NOODLE, WOK),
    agent_ids=("till-1",),
    terminal_ids=("sim-0001", "sim-0002", "sim-0003", "sim-0004", "sim-0005"),
)


def test_a_merchant_and_its_stores_come_before_the_terminals_that_stand_in_them() -> None:
    (_, _, merchant), (_, _, store), *_, (path, kind, sheet) = OURS.posts()
    assert json.loads(merchant) == {"merchant_id": "noodle", "name": "Noodle House"}
    assert json.loads(store) == {
        "store_id": "bund",
        "merchant_id": "noodle",
        "name": "Bund 18",
        "region": "east",
        "carrier": "CityNet",
        "time_zone": "Asia/Shanghai",
    }
    assert (path, kind) == ("/api/v1/terminals/import", "text/csv")
    assert sheet.splitlines() == [
        "terminal_id,store_id",
        "sim-0001,wok-1",  # a store that says how many it has is dealt first
        "sim-0002,wok-1",
        "till-1,bund",  # the others share the rest in turn, and the agents
        "sim-0003,canton",
        "sim-0004,bund",
        "sim-0005,canton",
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
    assert list(Inventory(terminal_ids=("sim-0001",)).posts()) == []
