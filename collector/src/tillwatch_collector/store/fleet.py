"""The fleet's facts, for choosing whom a rollout is for: inventory, presence, what each terminal shows that it runs.

One walk over the fleet, some seconds for a hundred thousand terminals: made when a rollout is planned, never while it
runs. What a terminal runs is told by its current stream's newest heartbeat, however old that is.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, select

from tillwatch_collector.domain.choosing import FleetFact
from tillwatch_collector.domain.hours import Hours, parse_hours
from tillwatch_collector.store import tables
from tillwatch_collector.store.facts import LEVEL, SIGHTING, TERMINAL
from tillwatch_collector.store.tables import table_of

STORE = table_of(tables.StoreRow)
STANDING = table_of(tables.StandingRow)

APPLICATION = "application:"
"""How the components begin that tell which version of a product runs."""
VERSION_FACT = "version"

_FACTS = (
    select(
        TERMINAL.c.terminal_id,
        TERMINAL.c.store_id,
        STORE.c.merchant_id,
        STORE.c.region,
        STORE.c.carrier,
        TERMINAL.c.brand,
        TERMINAL.c.model,
        TERMINAL.c.life_cycle,
        func.coalesce(STANDING.c.presence, "unknown").label("presence"),
        LEVEL.c.agent_version,
        LEVEL.c.components,
    )
    .select_from(
        TERMINAL.outerjoin(STORE, STORE.c.store_id == TERMINAL.c.store_id)
        .outerjoin(STANDING, STANDING.c.terminal_id == TERMINAL.c.terminal_id)
        .outerjoin(SIGHTING, SIGHTING.c.terminal_id == TERMINAL.c.terminal_id)
        .outerjoin(
            LEVEL,
            and_(LEVEL.c.terminal_id == SIGHTING.c.terminal_id, LEVEL.c.stream_id == SIGHTING.c.stream_id),
        )
    )
    .order_by(TERMINAL.c.terminal_id)
)
_HOURS = select(STORE.c.store_id, STORE.c.opening_hours, STORE.c.time_zone, STORE.c.holidays)


class Fleet:
    """What is known of all terminals and stores, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def facts(self) -> list[FleetFact]:
        """Return what is known of every terminal, by id."""
        return list(map(_fact, self._connection.execute(_FACTS).mappings()))

    def hours(self) -> dict[str, Hours]:
        """Return every store's opening hours, as they were checked when they were entered."""
        return {
            store_id: parse_hours(hours, zone, holidays)
            for store_id, hours, zone, holidays in self._connection.execute(_HOURS)
        }


def _fact(row: RowMapping) -> FleetFact:
    known = {name: row[name] for name in row if name != "components"}
    return FleetFact(**known, products=dict(_products(row["components"] or ())))


def _products(components: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for reading in components:
        version = reading.get("facts", {}).get(VERSION_FACT)
        if version is not None and reading["component"].startswith(APPLICATION):
            yield reading["component"].removeprefix(APPLICATION), version
