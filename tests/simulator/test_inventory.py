"""Where the demonstration's terminals stand."""

import json

from tillwatch_simulator.inventory import STORES, Inventory


def test_merchant_and_stores_come_before_the_terminals_that_stand_in_them() -> None:
    (_, _, merchant), *stores, (path, kind, sheet) = Inventory(("till-1", "sim-0001", "sim-0002", "sim-0003")).posts()
    assert json.loads(merchant)["name"] == "Noodle House"
    assert [json.loads(body)["name"] for _, _, body in stores] == [store.name for store in STORES]
    assert (path, kind) == ("/api/v1/terminals/import", "text/csv")
    assert sheet.splitlines() == [
        "terminal_id,store_id",
        "till-1,bund",
        "sim-0001,canton",
        "sim-0002,orchard",
        "sim-0003,bund",
    ]
