"""Where the demonstration's terminals stand: one merchant, three stores, every terminal in one of them. Pure.

It says what a collector's API is told, in order: the merchant, its stores, and the terminals as a CSV import.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

JSON, CSV = "application/json", "text/csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """A store, by the collector's names of its fields."""

    store_id: str
    name: str
    region: str
    carrier: str
    time_zone: str


MERCHANT_ID = "noodle-house"
MERCHANT_NAME = "Noodle House"
STORES = (
    Store(store_id="bund", name="Bund 18", region="east", carrier="China Telecom", time_zone="Asia/Shanghai"),
    Store(store_id="canton", name="Canton Road", region="south", carrier="HKT", time_zone="Asia/Hong_Kong"),
    Store(store_id="orchard", name="Orchard", region="overseas", carrier="Singtel", time_zone="Asia/Singapore"),
)


@dataclass(frozen=True, slots=True)
class Inventory:
    """These terminals, dealt to the stores in turn."""

    terminal_ids: tuple[str, ...]

    def posts(self) -> Iterator[tuple[str, str, str]]:
        """Give what to POST: path, content type, body."""
        yield "/api/v1/merchants", JSON, json.dumps({"merchant_id": MERCHANT_ID, "name": MERCHANT_NAME})
        for store in STORES:
            yield "/api/v1/stores", JSON, json.dumps(asdict(store) | {"merchant_id": MERCHANT_ID})
        yield "/api/v1/terminals/import", CSV, self._sheet()

    def _sheet(self) -> str:
        rows = (
            f"{terminal_id},{STORES[number % len(STORES)].store_id}"
            for number, terminal_id in enumerate(self.terminal_ids)
        )
        return "\n".join(["terminal_id,store_id", *rows]) + "\n"
