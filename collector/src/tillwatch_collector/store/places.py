"""A store or a merchant by itself, and what the devices of some terminals say: for the pages about places."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, select

from tillwatch_collector.domain.permission import Within
from tillwatch_collector.store import tables, visibility
from tillwatch_collector.store.statements import THESE
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.store.views import MerchantView, StoreView, View

_MERCHANT = table_of(tables.MerchantRow)
_STORE = table_of(tables.StoreRow)
_SIGHTING = table_of(tables.SightingRow)
_LEVEL = table_of(tables.LevelRow)

_COMPONENTS = (
    select(_LEVEL.c.terminal_id, _LEVEL.c.components)
    .join(_SIGHTING, and_(_SIGHTING.c.terminal_id == _LEVEL.c.terminal_id, _SIGHTING.c.stream_id == _LEVEL.c.stream_id))
    .where(_LEVEL.c.terminal_id.in_(THESE))
)


class PartSeen(View):
    """What one component of a terminal last said."""

    component: str
    health: str
    codes: tuple[str, ...]
    """Its conditions."""


class Places:
    """The places that somebody sees, over one transaction."""

    def __init__(self, connection: Connection, within: Within) -> None:
        self._connection = connection
        self._within = within

    def store(self, store_id: str) -> StoreView | None:
        """Return a store; None: there is none that may be seen."""
        seen = visibility.placed(self._within, _STORE.c.store_id, _STORE.c.merchant_id)
        query = select(_STORE).where(_STORE.c.store_id == store_id, *seen)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else StoreView.model_validate(dict(row))

    def merchant(self, merchant_id: str) -> MerchantView | None:
        """Return a merchant; None: there is none of whom anything may be seen."""
        seen = visibility.of_merchant(self._within, _MERCHANT.c.merchant_id)
        query = select(_MERCHANT).where(_MERCHANT.c.merchant_id == merchant_id, *seen)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else MerchantView.model_validate(dict(row))

    def parts(self, terminal_ids: Sequence[str]) -> Mapping[str, tuple[PartSeen, ...]]:
        """Return the components of terminals as their newest heartbeats tell them; of terminals that may be seen."""
        rows = self._connection.execute(_COMPONENTS, {"these": list(terminal_ids)})
        return {terminal_id: tuple(map(_part, components)) for terminal_id, components in rows}


def _part(reading: Mapping[str, Any]) -> PartSeen:
    codes = tuple(condition["code"] for condition in reading.get("conditions") or ())
    return PartSeen(component=reading["component"], health=reading["health"], codes=codes)
