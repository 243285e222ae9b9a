"""The list of terminals that a person looks through: filtered, sorted and paged by the database, fast on 50,000.

Three steps: the ids of the page, over the tables alone that the filter and the order need; how many there are in all,
likewise (in the same statement where a search reads much); then everything that is shown of the fifty. A change
violates this when what is shown of a terminal is joined to all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    FromClause,
    RowMapping,
    Select,
    and_,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.sql.visitors import iterate

from tillwatch_collector.domain.census import WORST_FIRST, State
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.store import tables, visibility
from tillwatch_collector.store.census import PRESENCE, STANDING, STATE, STORE, TERMINAL, WORST
from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging, SortUnknown
from tillwatch_collector.store.selection import being, containing, equal
from tillwatch_collector.store.statements import THESE
from tillwatch_collector.store.tables import OPEN_TICKET, table_of
from tillwatch_collector.store.views import Page, View

_SIGHTING = table_of(tables.SightingRow)
_LEVEL = table_of(tables.LevelRow)
_FAULT = table_of(tables.FaultRow)
_TICKET = table_of(tables.TicketRow)

DEFAULT_SORT = "state"

OFFERED_MAX = 200
"""Brands or versions that a filter offers: more is for the search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListFilter:
    """Which terminals; what is None does not narrow."""

    q: str | None = None
    """In id, serial number, brand, model, or the store's id or name."""
    terminal_id: str | None = None
    store_id: str | None = None
    merchant_id: str | None = None
    region: str | None = None
    presence: str | None = None
    state: str | None = None
    """A value of `domain.census.State`."""
    severity: str | None = None
    """Of a fault that stands."""
    life_cycle: str | None = None
    brand: str | None = None
    version: str | None = None
    """Of the agent, as its newest heartbeat says."""
    assigned: bool | None = None
    """Whether it stands in a store."""

    @property
    def searching(self) -> bool:
        """Whether much must be read to tell who is chosen: once, for the page and for how many there are."""
        return self.q is not None or self.version is not None


class FaultSeen(View):
    """A fault that stands."""

    component: str
    code: str
    severity: str
    raised_at: datetime
    ticket_id: int | None


class ListedTerminal(View):
    """A terminal in the list."""

    terminal_id: str
    state: State
    presence: str
    presence_since: datetime | None
    heard_at: datetime | None
    store_id: str | None
    store_name: str | None
    merchant_id: str | None
    region: str | None
    brand: str | None
    model: str | None
    serial_number: str | None
    life_cycle: str
    agent_version: str | None
    open_tickets: int
    faults: tuple[FaultSeen, ...] = ()
    """Those that stand, the worst first."""


class TerminalList:
    """The terminals that somebody sees, over one transaction."""

    def __init__(self, connection: Connection, within: Within) -> None:
        self._connection = connection
        self._within = within

    def page(self, chosen: ListFilter, paging: Paging) -> Page[ListedTerminal]:
        """Return a page of those that are chosen; raises `SortUnknown`."""
        limit = min(paging.limit, PAGE_ROWS_MAX)
        ids = self._ids(chosen, _order(paging.sort or DEFAULT_SORT)).limit(limit).offset(paging.offset)
        if chosen.searching:
            found = self._connection.execute(ids.add_columns(func.count().over())).all()
            names, total = [name for name, _ in found], found[0][1] if found else None
        else:
            names, total = list(self._connection.scalars(ids)), None
        return Page[ListedTerminal](
            items=self._shown(names),
            total=self.count(chosen) if total is None else total,
            limit=limit,
            offset=paging.offset,
        )

    def count(self, chosen: ListFilter) -> int:
        """Count those that are chosen."""
        conditions = self._conditions(chosen)
        query = select(func.count()).select_from(_joined(conditions)).where(*conditions)
        return self._connection.execute(query).scalar_one()

    def after(self, chosen: ListFilter, terminal_id: str, count: int) -> tuple[ListedTerminal, ...]:
        """Return the first of those that are chosen and come after one, by id: a part of an export."""
        ids = self._ids(chosen, (TERMINAL.c.terminal_id,)).where(TERMINAL.c.terminal_id > terminal_id).limit(count)
        return self._shown(list(self._connection.scalars(ids)))

    def brands(self) -> tuple[str, ...]:
        """Return the brands that there are, for the filter to offer."""
        return self._distinct(TERMINAL.c.brand, TERMINAL)

    def versions(self) -> tuple[str, ...]:
        """Return the versions of agents that there are, for the filter to offer."""
        return self._distinct(
            _LEVEL.c.agent_version, TERMINAL.join(_LEVEL, _LEVEL.c.terminal_id == TERMINAL.c.terminal_id)
        )

    def _distinct(self, column: ColumnElement[Any], source: FromClause) -> tuple[str, ...]:
        seen = visibility.in_store(self._within, TERMINAL.c.store_id)
        query = select(column).select_from(source).where(column.is_not(None), *seen).distinct()
        return tuple(sorted(self._connection.scalars(query.limit(OFFERED_MAX))))

    def _ids(self, chosen: ListFilter, order: Sequence[ColumnElement[Any]]) -> Select[Any]:
        conditions = self._conditions(chosen)
        joined = _joined((*conditions, *order))
        return select(TERMINAL.c.terminal_id).select_from(joined).where(*conditions).order_by(*order)

    def _conditions(self, chosen: ListFilter) -> tuple[ColumnElement[bool], ...]:
        asked: dict[ColumnElement[Any], object] = {
            TERMINAL.c.terminal_id: chosen.terminal_id,
            TERMINAL.c.store_id: chosen.store_id,
            STORE.c.merchant_id: chosen.merchant_id,
            STORE.c.region: chosen.region,
            PRESENCE: chosen.presence,
            STATE: chosen.state,
            TERMINAL.c.life_cycle: chosen.life_cycle,
            TERMINAL.c.brand: chosen.brand,
        }
        return (
            *equal(asked),
            *being({TERMINAL.c.store_id.is_not(None): chosen.assigned}),
            *_saying(chosen.q),
            *_failing(chosen.severity),
            *_running(chosen.version),
            *visibility.in_store(self._within, TERMINAL.c.store_id),
        )

    def _shown(self, terminal_ids: list[str]) -> tuple[ListedTerminal, ...]:
        """Return what is shown of these, in their order."""
        if not terminal_ids:
            return ()
        rows = {
            row["terminal_id"]: row for row in self._connection.execute(_DETAILS, {"these": terminal_ids}).mappings()
        }
        faults = self._faults(terminal_ids)
        return tuple(_row(rows[name], faults.get(name, ())) for name in terminal_ids)

    def _faults(self, terminal_ids: list[str]) -> Mapping[str, Sequence[FaultSeen]]:
        found: dict[str, list[FaultSeen]] = {}
        for row in self._connection.execute(_FAULTS, {"these": terminal_ids}).mappings():
            found.setdefault(row["terminal_id"], []).append(FaultSeen.model_validate(dict(row)))
        return found


def _joined(clauses: Iterable[ColumnElement[Any]]) -> FromClause:
    """Join to the terminals what these ask about, and nothing else."""
    asked = {element.table for clause in clauses for element in iterate(clause) if isinstance(element, ColumnClause)}
    joined: FromClause = TERMINAL
    for table, found in _JOINS.items():
        if table in asked:
            joined = joined.outerjoin(table, found)
    return joined


def _order(sort: str) -> tuple[ColumnElement[Any], ...]:
    name = sort.removeprefix("-")
    if name not in _SORTS:
        raise SortUnknown(sort, tuple(_SORTS))
    down, key = sort.startswith("-"), TERMINAL.c.terminal_id
    if name == "terminal_id":
        return (key.desc() if down else key.asc(),)
    column = _SORTS[name].desc() if down else _SORTS[name].asc()
    return (column.nulls_last() if name in _MAY_BE_NULL else column, key)


def _saying(q: str | None) -> tuple[ColumnElement[bool], ...]:
    """Seek a text in a terminal and in its store; stores are far fewer, so they are sought by themselves."""
    if not q:
        return ()
    stores = select(STORE.c.store_id).where(*containing(q, STORE.c.store_id, STORE.c.name))
    mine = containing(q, TERMINAL.c.terminal_id, TERMINAL.c.serial_number, TERMINAL.c.brand, TERMINAL.c.model)
    return (or_(*mine, TERMINAL.c.store_id.in_(stores)),)


def _failing(severity: str | None) -> tuple[ColumnElement[bool], ...]:
    if severity is None:
        return ()
    failing = select(_FAULT.c.terminal_id).where(_FAULT.c.cleared_at.is_(None), _FAULT.c.severity == severity)
    return (TERMINAL.c.terminal_id.in_(failing),)


def _running(version: str | None) -> tuple[ColumnElement[bool], ...]:
    if version is None:
        return ()
    running = select(_LEVEL.c.terminal_id).join(_SIGHTING, _IS_CURRENT).where(_LEVEL.c.agent_version == version)
    return (TERMINAL.c.terminal_id.in_(running),)


def _row(row: RowMapping, faults: Sequence[FaultSeen]) -> ListedTerminal:
    return ListedTerminal(**row, faults=tuple(faults))


_RANK = case({state.value: rank for rank, state in enumerate(WORST_FIRST)}, value=STATE, else_=len(WORST_FIRST))
_SEVERITY_RANK = case({"critical": 0, "major": 1, "minor": 2}, value=_FAULT.c.severity, else_=3)

_SORTS: Mapping[str, ColumnElement[Any]] = {
    "terminal_id": TERMINAL.c.terminal_id,
    "state": _RANK,
    "store": STORE.c.name,
    "region": STORE.c.region,
    "heard_at": _SIGHTING.c.heard_at,
    "brand": TERMINAL.c.brand,
}
SORTS = tuple(_SORTS)
_MAY_BE_NULL = frozenset(SORTS) - {"terminal_id", "state"}
"""Told where nothing goes, both databases sort alike."""

_JOINS: Mapping[FromClause, ColumnElement[bool]] = {
    STANDING: STANDING.c.terminal_id == TERMINAL.c.terminal_id,
    WORST: WORST.c.terminal_id == TERMINAL.c.terminal_id,
    STORE: STORE.c.store_id == TERMINAL.c.store_id,
    _SIGHTING: _SIGHTING.c.terminal_id == TERMINAL.c.terminal_id,
}
"""How that is found from a terminal which a filter or an order may ask about."""

_IS_CURRENT = and_(_SIGHTING.c.terminal_id == _LEVEL.c.terminal_id, _SIGHTING.c.stream_id == _LEVEL.c.stream_id)

_OPEN_TICKETS = (
    select(func.count())
    .select_from(_TICKET)
    .where(
        OPEN_TICKET,
        _TICKET.c.status != "resolved",
        _TICKET.c.subject_kind == "terminal",
        _TICKET.c.subject_id == TERMINAL.c.terminal_id,
    )
    .scalar_subquery()
)
"""As many as are to be worked on: the fleet's counter counts alike."""
_DETAILS = (
    select(
        *(TERMINAL.c[name] for name in ("terminal_id", "store_id", "brand", "model", "serial_number", "life_cycle")),
        STORE.c.name.label("store_name"),
        STORE.c.merchant_id,
        STORE.c.region,
        PRESENCE.label("presence"),
        STATE.label("state"),
        STANDING.c.since.label("presence_since"),
        _SIGHTING.c.heard_at,
        _LEVEL.c.agent_version,
        _OPEN_TICKETS.label("open_tickets"),
    )
    .select_from(
        TERMINAL.outerjoin(STANDING, _JOINS[STANDING])
        .outerjoin(WORST, _JOINS[WORST])
        .outerjoin(STORE, _JOINS[STORE])
        .outerjoin(_SIGHTING, _JOINS[_SIGHTING])
        .outerjoin(_LEVEL, _IS_CURRENT)
    )
    .where(TERMINAL.c.terminal_id.in_(THESE))
)
_FAULTS = (
    select(*(_FAULT.c[name] for name in ("terminal_id", "component", "code", "severity", "raised_at", "ticket_id")))
    .where(_FAULT.c.terminal_id.in_(THESE), _FAULT.c.cleared_at.is_(None))
    .order_by(_SEVERITY_RANK, _FAULT.c.raised_at)
)
