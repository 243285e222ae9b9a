"""What judge reads of the facts: whom to look at, and all there is to see of a terminal, for many terminals at once."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, text, tuple_, update

from tillwatch_collector.domain.level import readings_of
from tillwatch_collector.store import tables
from tillwatch_collector.store.facts import LEVEL, PRESENCE, SIGHTING, TERMINAL, StreamKey
from tillwatch_collector.store.statements import THESE, Among, these
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.reading import Reading

STORE = table_of(tables.StoreRow)


class Look(NamedTuple):
    """All that judge needs of one terminal, its readings apart; level and presence are of its current stream."""

    terminal_id: str
    life_cycle: str
    serial_number: str | None
    """What the inventory says that stands there."""
    store_id: str | None
    watch: str | None
    merchant_id: str | None
    region: str | None
    carrier: str | None
    heard_at: datetime
    stream_id: str | None
    stream_switches: int
    switched_at: datetime | None
    boot_epoch: int | None
    beat_no: int | None
    connection_no: int | None
    interval_s: int | None
    agent_version: str | None
    level_sent_at: datetime | None
    level_received_at: datetime | None
    judged_digest: str | None
    presence_boot_epoch: int | None
    presence_connection_no: int | None
    presence_state: str | None
    presence_reason: str | None
    presence_received_at: datetime | None

    @property
    def connection(self) -> tuple[int, int] | None:
        """The connection of the newest heartbeat."""
        if self.boot_epoch is None or self.connection_no is None:
            return None
        return self.boot_epoch, self.connection_no

    @property
    def presence_connection(self) -> tuple[int, int] | None:
        """The connection of the newest presence."""
        if self.presence_boot_epoch is None or self.presence_connection_no is None:
            return None
        return self.presence_boot_epoch, self.presence_connection_no

    @property
    def content(self) -> tuple[str | None, ...]:
        """What changes when its readings, or its place and its number in the inventory, say something else to judge."""
        return (*self[1:8], self.stream_id, self.judged_digest)

    @property
    def beat(self) -> str:
        """The newest heartbeat, as evidence names it; empty when there is none."""
        return "" if self.beat_no is None else f"{self.boot_epoch}.{self.beat_no}"


def _same_stream(table: Any) -> Any:
    return (table.c.terminal_id == SIGHTING.c.terminal_id) & (table.c.stream_id == SIGHTING.c.stream_id)


_LOOK = (
    select(
        SIGHTING.c.terminal_id,
        TERMINAL.c.life_cycle,
        TERMINAL.c.serial_number,
        TERMINAL.c.store_id,
        STORE.c.watch,
        STORE.c.merchant_id,
        STORE.c.region,
        STORE.c.carrier,
        SIGHTING.c.heard_at,
        SIGHTING.c.stream_id,
        SIGHTING.c.stream_switches,
        SIGHTING.c.switched_at,
        LEVEL.c.boot_epoch,
        LEVEL.c.beat_no,
        LEVEL.c.connection_no,
        LEVEL.c.interval_s,
        LEVEL.c.agent_version,
        LEVEL.c.sent_at,
        LEVEL.c.received_at,
        LEVEL.c.judged_digest,
        PRESENCE.c.boot_epoch,
        PRESENCE.c.connection_no,
        PRESENCE.c.state,
        PRESENCE.c.reason,
        PRESENCE.c.received_at,
    )
    .select_from(
        SIGHTING.join(TERMINAL, TERMINAL.c.terminal_id == SIGHTING.c.terminal_id)
        .outerjoin(STORE, STORE.c.store_id == TERMINAL.c.store_id)
        .outerjoin(LEVEL, _same_stream(LEVEL))
        .outerjoin(PRESENCE, _same_stream(PRESENCE))
    )
    .where(Among(SIGHTING.c.terminal_id))
)
_HEARD = select(SIGHTING.c.terminal_id, SIGHTING.c.heard_at).where(Among(SIGHTING.c.terminal_id))
_READINGS = select(LEVEL.c.terminal_id, LEVEL.c.components).where(
    tuple_(LEVEL.c.terminal_id, LEVEL.c.stream_id).in_(THESE)
)
_HOURS = select(STORE.c.store_id, STORE.c.opening_hours, STORE.c.time_zone, STORE.c.holidays).where(
    STORE.c.store_id.in_(THESE)
)
# Word for word as the index has it: "marked = 1", as SQLAlchemy would write it for SQLite, is a walk over the fleet.
# Rows that an ingesting process holds are left to the next tick: nobody waits, and no two wait for each other.
_MARKED = (
    select(SIGHTING.c.terminal_id)
    .where(text("sighting.marked"))
    .order_by(SIGHTING.c.terminal_id)
    .limit(bindparam("count_max"))
    .with_for_update(skip_locked=True)
    .cte("taken")
)
_TAKE_MARKED = (
    update(SIGHTING)
    .where(SIGHTING.c.terminal_id.in_(select(_MARKED.c.terminal_id)))
    .values(marked=False)
    .returning(SIGHTING.c.terminal_id)
)


class Looks:
    """The facts of one transaction, as judge reads them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take_marked(self, count_max: int) -> list[str]:
        """Return marked terminals and take their marks away."""
        return sorted(self._connection.scalars(_TAKE_MARKED, {"count_max": count_max}))

    def heard(self, terminal_ids: Collection[str]) -> list[tuple[str, datetime]]:
        """Return when these terminals were last heard."""
        return [
            (terminal_id, heard_at)
            for some in these(terminal_ids)
            for terminal_id, heard_at in self._connection.execute(_HEARD, some)
        ]

    def heard_terminals(self) -> list[str]:
        """Return every terminal that was ever heard."""
        return list(self._connection.scalars(select(SIGHTING.c.terminal_id).order_by(SIGHTING.c.terminal_id)))

    def look(self, terminal_ids: Collection[str]) -> list[Look]:
        """Return what judge needs of these terminals, in their order by id: by characters, however a database sorts.

        In this order they are held, by judge and by who merges tickets (`tickets.subjects_of`).
        """
        looks = [
            Look._make(row) for some in these(sorted(terminal_ids)) for row in self._connection.execute(_LOOK, some)
        ]
        return sorted(looks, key=lambda look: look.terminal_id)

    def readings(self, keys: Collection[StreamKey]) -> dict[str, tuple[Reading, ...]]:
        """Return the readings of these levels, by terminal."""
        return {
            terminal_id: readings_of(components)
            for some in these(keys, 2)
            for terminal_id, components in self._connection.execute(_READINGS, some)
        }

    def hours(self, store_ids: Collection[str]) -> dict[str, tuple[dict[str, Any], str, dict[str, Any]]]:
        """Return the stores' opening hours, time zones and holidays, as `domain.hours.parse_hours` takes them."""
        return {
            store_id: (hours, zone, holidays)
            for some in these(store_ids)
            for store_id, hours, zone, holidays in self._connection.execute(_HOURS, some)
        }
