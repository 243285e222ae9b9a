"""Maintenance spans: kept by people, read by judge; never removed while they mute, never altered but to cancel them.

Whom a span is for must be known (`UnknownReference`). What is current is read whole; `stamp` says whether that is
needed, so that a tick asks for one row and not for thousands.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Select, and_, bindparam, func, or_, select, update
from sqlalchemy import insert as plain_insert

from tillwatch_collector.domain.maintenance import (
    CURRENT_MAX,
    Maintenance,
    MaintenanceRefused,
    Scope,
    Span,
    Weekly,
    open_until,
    planned,
    week_of,
)
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store import tables
from tillwatch_collector.store.inventory import UnknownReference
from tillwatch_collector.store.selection import equal
from tillwatch_collector.store.tables import table_of

MAINTENANCE = table_of(tables.MaintenanceRow)
_NAMED = {
    Scope.TERMINAL: table_of(tables.TerminalRow).c.terminal_id,
    Scope.STORE: table_of(tables.StoreRow).c.store_id,
    Scope.MERCHANT: table_of(tables.MerchantRow).c.merchant_id,
}

MAINTENANCE_SORTS: dict[str, ColumnElement[Any]] = {
    name: MAINTENANCE.c[name] for name in ("maintenance_id", "starts_at", "scope_kind", "scope_id")
}

MaintenanceStamp = tuple[int, int]
"""How many spans there are, and how many were cancelled: neither ever falls but by upkeep, which removes the old."""


class MaintenanceUnknown(CallerError):  # noqa: N818 - it names what is so
    """No such span."""


class MaintenanceOver(CallerError):  # noqa: N818
    """The span is over or was cancelled: there is nothing to cancel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaintenanceFilter:
    """Which spans; what is None does not narrow."""

    now: datetime
    maintenance_id: int | None = None
    scope_kind: str | None = None
    scope_id: str | None = None
    current: bool | None = None
    """Neither over nor cancelled."""
    active: bool | None = None
    """Muting at `now`."""


class Maintenances:
    """The spans of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, maintenance: Maintenance, *, actor: str, now: datetime) -> int:
        """Keep a span; returns its number. Raises `MaintenanceRefused` and `UnknownReference`."""
        kept = planned(maintenance, now)
        self._expect_known(kept)
        if self._count_current(now) >= CURRENT_MAX:
            raise MaintenanceRefused("scope_kind", f"at most {CURRENT_MAX} spans that are not over", "one more")
        values = kept.model_dump(exclude={"weekly", "scope_id"}) | {
            "scope_id": kept.scope_id or "",
            "weekly": kept.weekly.model_dump(mode="json", by_alias=True) if kept.weekly else None,
            "created_by": actor,
            "created_at": now,
        }
        added: int = self._connection.execute(
            plain_insert(MAINTENANCE).values(values).returning(MAINTENANCE.c.maintenance_id)
        ).scalar_one()
        return added

    def cancel(self, maintenance_id: int, *, actor: str, reason: str, now: datetime) -> None:
        """End a span before its time; raises `MaintenanceUnknown` and `MaintenanceOver`."""
        this = MAINTENANCE.c.maintenance_id == maintenance_id
        values = {"cancelled_at": now, "cancelled_by": actor, "cancel_reason": reason}
        done = self._connection.execute(update(MAINTENANCE).where(this, is_current(now)).values(values))
        if done.rowcount == 1:
            return
        if self._connection.scalar(select(func.count()).select_from(MAINTENANCE).where(this)):
            raise MaintenanceOver(f"expected a span that is not over, got {maintenance_id}")
        raise MaintenanceUnknown(f"there is no maintenance {maintenance_id}")

    def current(self, now: datetime) -> tuple[Span, ...]:
        """Return the spans that mute now or later."""
        return current_spans(self._connection, now)

    def stamp(self) -> MaintenanceStamp:
        """Tell whether spans were added or cancelled since another stamp: then it differs."""
        added, cancelled = self._connection.execute(_STAMP).one()
        return int(added), int(cancelled)

    def _expect_known(self, maintenance: Maintenance) -> None:
        if maintenance.scope_id is None:
            return
        column = _NAMED[maintenance.scope_kind]
        if self._connection.scalar(select(column).where(column == maintenance.scope_id)) is None:
            raise UnknownReference("scope_id", maintenance.scope_id)

    def _count_current(self, now: datetime) -> int:
        return self._connection.scalar(select(func.count()).select_from(MAINTENANCE).where(is_current(now))) or 0


def maintenances_query(connection: Connection, chosen: MaintenanceFilter) -> Select[Any]:
    """Build the statement of a list; which weekly ones mute now no database can say, so they are named to it."""
    columns = {**MAINTENANCE.c, "scope_id": func.nullif(MAINTENANCE.c.scope_id, "").label("scope_id")}
    query = select(*columns.values()).where(
        *equal(
            {
                MAINTENANCE.c.maintenance_id: chosen.maintenance_id,
                MAINTENANCE.c.scope_kind: chosen.scope_kind,
                MAINTENANCE.c.scope_id: chosen.scope_id,
            }
        )
    )
    if chosen.current is not None:
        query = query.where(is_current(chosen.now) if chosen.current else ~is_current(chosen.now))
    if chosen.active is not None:
        spans = current_spans(connection, chosen.now)
        muting = MAINTENANCE.c.maintenance_id.in_([one.maintenance_id for one in spans if open_until(one, chosen.now)])
        query = query.where(muting if chosen.active else ~muting)
    return query


def current_spans(connection: Connection, now: datetime) -> tuple[Span, ...]:
    """Return the spans that mute now or later, the first first."""
    return tuple(_span(row) for row in connection.execute(_CURRENT, {"now": now}))


def is_current(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Neither over nor cancelled."""
    lasts = or_(MAINTENANCE.c.ends_at.is_(None), MAINTENANCE.c.ends_at > now)
    return and_(MAINTENANCE.c.cancelled_at.is_(None), lasts)


def mutes_until(kept: Any, now: datetime) -> datetime | None:
    """Return until when a span mutes by itself, where it does; `kept` is a row of the table, or its view."""
    return None if kept.cancelled_at is not None else open_until(_span(kept), now)


def _span(row: Any) -> Span:
    return Span(
        maintenance_id=row.maintenance_id,
        scope=Scope(row.scope_kind),
        scope_id=row.scope_id or "",
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        week=week_of(Weekly.model_validate(row.weekly)) if row.weekly else None,
        reason=row.reason,
    )


# Asked with every tick: made once.
_STAMP = select(func.coalesce(func.max(MAINTENANCE.c.maintenance_id), 0), func.count(MAINTENANCE.c.cancelled_at))
_CURRENT = select(MAINTENANCE).where(is_current(bindparam("now"))).order_by(MAINTENANCE.c.maintenance_id)
