"""Where terminals stand: merchants, their stores, and who stands in which. Pure.

A scenario says it, and a collector's API is told it, in order: merchants, stores, and the terminals as a CSV import.
Stores that say how many terminals they have take them in the order of the file; the others share the rest in turn, and
the real agents.

A store that says in how many seconds it closes is open for nine hours before, every day, in its own time: so a
scenario that needs closed stores may be played at any time of day.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from tillwatch_protocol.vocabulary import Identifier

MERCHANTS_MAX = 100
STORES_MAX = 1_000
"""Of one merchant; each is one request to the collector."""
STORE_TERMINALS_MAX = 1_000

OPEN_MINUTES = 9 * 60
DAY_MINUTES = 24 * 60
CLOSES_IN_S_MAX = 12 * 3_600
"""Whoever closes later, or closed longer ago, opens again in between."""
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

JSON, CSV = "application/json", "text/csv"

Name = Annotated[str, Field(min_length=1, max_length=64)]


class PlaceKind(StrEnum):
    """What holds terminals, by the collector's names."""

    STORE = "store"
    MERCHANT = "merchant"
    CARRIER = "carrier"
    REGION = "region"


class Place(NamedTuple):
    """What a cause may lie in; a kind that `PlaceKind` does not know, as the fleet or a broker, holds everybody."""

    kind: str
    place_id: str


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Store(_Table):
    """A store, by the collector's names of its fields."""

    store_id: Identifier
    name: Name
    region: Name | None = None
    carrier: Name | None = None
    time_zone: Name = "UTC"
    terminals: Annotated[int | None, Field(ge=1, le=STORE_TERMINALS_MAX)] = None
    """How many simulated ones stand in it; None: its share of those that are left."""
    model: Name | None = None
    """Of its terminals."""
    closes_in_s: Annotated[float | None, Field(ge=-CLOSES_IN_S_MAX, le=CLOSES_IN_S_MAX)] = None
    """After the beginning, to the next full minute; less than 0: it has closed. None: nobody knows its hours."""

    def spans(self, began_at: datetime) -> tuple[tuple[int, int], ...]:
        """Say when it is open each day, in minutes of its own day; empty where nobody knows."""
        if self.closes_in_s is None:
            return ()
        closes = _minute_of(began_at + timedelta(seconds=self.closes_in_s + 59.999), self.time_zone) or DAY_MINUTES
        opens = closes - OPEN_MINUTES
        return ((opens, closes),) if opens >= 0 else ((0, closes), (opens + DAY_MINUTES, DAY_MINUTES))

    def is_open(self, at: datetime, began_at: datetime) -> bool:
        """Whether it is known to be open at a moment."""
        minute = _minute_of(at, self.time_zone)
        return any(opens <= minute < closes for opens, closes in self.spans(began_at))


class Merchant(_Table):
    """Who owns stores."""

    merchant_id: Identifier
    name: Name
    store: Annotated[tuple[Store, ...], Field(strict=False, min_length=1, max_length=STORES_MAX)]


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Agents and simulated terminals, dealt to the stores. There are as many as the stores say, or more."""

    merchants: tuple[Merchant, ...] = ()
    agent_ids: tuple[str, ...] = ()
    terminal_ids: tuple[str, ...] = ()

    @cached_property
    def places(self) -> dict[str, frozenset[Place]]:
        """Name the places of each terminal; who stands nowhere has none."""
        lies_in = {
            store.store_id: frozenset(_places(merchant, store))
            for merchant in self.merchants
            for store in merchant.store
        }
        return {terminal_id: lies_in[store_id] for terminal_id, store_id in self._dealt}

    def within(self, place: Place) -> frozenset[str]:
        """Name the terminals of a place."""
        if place.kind not in set(PlaceKind):
            return frozenset((*self.agent_ids, *self.terminal_ids))
        return frozenset(terminal_id for terminal_id, places in self.places.items() if place in places)

    @cached_property
    def stores(self) -> dict[str, Store]:
        """Name the store of each terminal."""
        known = {store.store_id: store for merchant in self.merchants for store in merchant.store}
        return {terminal_id: known[store_id] for terminal_id, store_id in self._dealt}

    def posts(self, began_at: datetime) -> Iterator[tuple[str, str, str]]:
        """Give what to POST: path, content type, body."""
        for merchant in self.merchants:
            yield "/api/v1/merchants", JSON, json.dumps({"merchant_id": merchant.merchant_id, "name": merchant.name})
            for store in merchant.store:
                told = store.model_dump(exclude={"terminals", "model", "closes_in_s"})
                told |= {"merchant_id": merchant.merchant_id, "opening_hours": _week(store.spans(began_at))}
                yield "/api/v1/stores", JSON, json.dumps(told)
        if self._dealt:
            rows = (f"{name},{store.store_id},{store.model or ''}" for name, store in self.stores.items())
            yield "/api/v1/terminals/import", CSV, "\n".join(["terminal_id,store_id,model", *rows]) + "\n"

    @cached_property
    def _dealt(self) -> tuple[tuple[str, str], ...]:
        """Pair terminals with stores."""
        stores = [store for merchant in self.merchants for store in merchant.store]
        counted = [store.store_id for store in stores for _ in range(store.terminals or 0)]
        sharing = [store.store_id for store in stores if store.terminals is None]
        rest = (*self.agent_ids, *self.terminal_ids[len(counted) :]) if sharing else ()
        shared = ((terminal_id, sharing[number % len(sharing)]) for number, terminal_id in enumerate(rest))
        return (*zip(self.terminal_ids, counted, strict=False), *shared)


def _places(merchant: Merchant, store: Store) -> Iterator[Place]:
    yield Place(PlaceKind.STORE, store.store_id)
    yield Place(PlaceKind.MERCHANT, merchant.merchant_id)
    for kind, place_id in ((PlaceKind.CARRIER, store.carrier), (PlaceKind.REGION, store.region)):
        if place_id:
            yield Place(kind, place_id)


def _minute_of(at: datetime, time_zone: str) -> int:
    local = at.astimezone(ZoneInfo(time_zone))
    return 60 * local.hour + local.minute


def _week(spans: tuple[tuple[int, int], ...]) -> dict[str, list[list[str]]]:
    """Say the same spans of every day as the collector takes them."""
    said = [[f"{minute // 60:02}:{minute % 60:02}" for minute in span] for span in spans]
    return dict.fromkeys(WEEKDAYS, said) if said else {}
