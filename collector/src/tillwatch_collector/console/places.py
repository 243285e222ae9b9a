"""A store, a merchant, and the regions: how they stand, and what is known and under way there.

How a store's terminals stand is read when its page is; what a merchant's page and the list of regions count is the
fleet's own census, so that the same number never stands twice with two values. A change violates this when a page says
anything of a place that its visitor does not see.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response

from tillwatch_collector.api.problems import missing
from tillwatch_collector.console.fleet import Seeing, pictured, shared_census
from tillwatch_collector.console.pictures import bar
from tillwatch_collector.console.visit import Visit
from tillwatch_collector.domain.census import WORST_FIRST, State
from tillwatch_collector.domain.hours import WEEKDAYS, next_opening, parse_hours, spans
from tillwatch_collector.domain.maintenance import Scope
from tillwatch_collector.store.maintenance import MaintenanceFilter
from tillwatch_collector.store.outage_queries import OutageFilter
from tillwatch_collector.store.places import PartSeen, Places
from tillwatch_collector.store.queries import Paging, Queries
from tillwatch_collector.store.terminal_list import ListedTerminal, ListFilter, TerminalList
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_collector.store.views import MaintenanceView, OutageView, StoreView
from tillwatch_protocol.vocabulary import Identifier

TERMINALS_MAX = 100
"""Of one store, the worst first; the list has all."""
TICKETS_MAX = 25
OUTAGES_MAX = 10
MAINTENANCES_MAX = 10
STORES_MAX = 100
"""Rows of a merchant's page, one page of many."""
REGIONS_MAX = 500
OFFSET_DIGITS_MAX = 7

UPLINK = "network:uplink"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """When a store is open, as of now."""

    open: bool
    until: datetime | None
    """It closes then, or opens; None: neither is in sight."""
    week: tuple[tuple[str, str], ...]
    """Weekday and its times."""
    zone: ZoneInfo
    """The store's: its times are told in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """A terminal, its components that are not well, and how many are."""

    terminal: ListedTerminal
    ill: tuple[PartSeen, ...]
    well: int


@router.get("/stores/{store_id}")
def store(store_id: Identifier, visit: Seeing) -> Response:
    """Show a store."""
    return visit.page("places/store.html", **_store(visit, store_id))


@router.get("/stores/{store_id}/live")
def live_store(store_id: Identifier, visit: Seeing) -> Response:
    """Show what of a store changes by itself."""
    return visit.part("places/store_live.html", **_store(visit, store_id))


@router.get("/merchants/{merchant_id}")
def merchant(merchant_id: Identifier, visit: Seeing) -> Response:
    """Show a merchant and its stores."""
    with visit.reading() as queries:
        found = Places(queries.connection, queries.within).merchant(merchant_id)
    if found is None:
        raise missing("merchant", merchant_id)
    census = shared_census(visit).value
    part = census.of(merchant_id=merchant_id)
    offset = _offset(visit)
    return visit.page(
        "places/merchant.html",
        merchant=found,
        part=part,
        shown=part.stores[offset : offset + STORES_MAX],
        page={"total": len(part.stores), "limit": STORES_MAX, "offset": offset},
        page_href=lambda offset: f"?offset={offset}",
        states=bar.segments(part.whole.states, WORST_FIRST),
        all_states=WORST_FIRST,
        **pictured(census, merchant_id=merchant_id),
    )


@router.get("/regions")
def regions(visit: Seeing) -> Response:
    """Show the regions, the most troubled first."""
    census = shared_census(visit).value
    groups = census.by_region()
    return visit.page(
        "places/regions.html",
        groups=groups[:REGIONS_MAX],
        left_out=max(0, len(groups) - REGIONS_MAX),
        unplaced=census.unplaced,
        whole=census.whole,
        bars=[bar.segments(group.tally.states, WORST_FIRST) for group in groups[:REGIONS_MAX]],
        bar_width=bar.WIDTH,
    )


# --- a store


def _store(visit: Visit, store_id: str) -> dict[str, Any]:
    with visit.reading() as queries:
        places = Places(queries.connection, queries.within)
        found = places.store(store_id)
        if found is None:
            raise missing("store", store_id)
        owner = places.merchant(found.merchant_id)
        chosen, paging = ListFilter(store_id=store_id), Paging(limit=TERMINALS_MAX)
        terminals = TerminalList(queries.connection, queries.within).page(chosen, paging)
        parts = places.parts([one.terminal_id for one in terminals.items])
        return {
            "store": found,
            "merchant_name": found.merchant_id if owner is None else owner.name,
            "total": terminals.total,
            "glances": tuple(_glance(one, parts.get(one.terminal_id, ())) for one in terminals.items),
            "states": bar.segments(_states(terminals.items), WORST_FIRST),
            "uplinks_ill": _uplinks_ill(parts.values()),
            "opening": _opening(found, visit.now),
            "tickets": queries.tickets(
                TicketFilter(store_id=store_id, open=True, resolved=False, now=visit.now),
                Paging(limit=TICKETS_MAX, sort="-severity"),
            ),
            "outages": _outages(queries, found),
            "maintenances": tuple(_maintenances(queries, found, visit.now)),
            "bar_width": bar.WIDTH,
        }


def _glance(terminal: ListedTerminal, parts: tuple[PartSeen, ...]) -> Glance:
    ill = tuple(part for part in parts if part.health != "ok")
    return Glance(terminal=terminal, ill=ill, well=len(parts) - len(ill))


def _states(terminals: tuple[ListedTerminal, ...]) -> dict[State, int]:
    counts: dict[State, int] = {}
    for one in terminals:
        counts[one.state] = counts.get(one.state, 0) + 1
    return counts


def _uplinks_ill(parts: Any) -> int:
    return sum(part.component == UPLINK and part.health != "ok" for part in chain.from_iterable(parts))


def _outages(queries: Queries, store: StoreView) -> tuple[OutageView, ...]:
    """Return the outages that stand there: its own, and those of what it belongs to, where they may be seen."""
    nodes = (
        ("store", store.store_id),
        ("merchant", store.merchant_id),
        ("carrier", store.carrier),
        ("region", store.region),
    )
    return tuple(
        outage
        for kind, name in nodes
        if name is not None
        for outage in queries.outages(
            OutageFilter(open=True, node_kind=kind, node_id=name), Paging(limit=OUTAGES_MAX)
        ).items
    )


def _maintenances(queries: Queries, store: StoreView, now: datetime) -> Iterator[MaintenanceView]:
    """Yield the spans that are not over: its own and its merchant's; those of all terminals are the fleet's."""
    for kind, name in ((Scope.STORE, store.store_id), (Scope.MERCHANT, store.merchant_id)):
        chosen = MaintenanceFilter(now=now, current=True, scope_kind=kind.value, scope_id=name)
        yield from queries.maintenances(chosen, Paging(limit=MAINTENANCES_MAX, sort="starts_at")).items


def _opening(store: StoreView, now: datetime) -> Opening | None:
    """Return when it is open; None: nobody has entered it."""
    if not store.opening_hours:
        return None
    hours = parse_hours(store.opening_hours, store.time_zone, store.holidays)
    today = spans(hours, now, now + timedelta(days=1))
    is_open = bool(today) and today[0][0] <= now
    return Opening(
        open=is_open,
        until=today[0][1] if is_open else next_opening(hours, now),
        week=tuple((day, _times(store.opening_hours[day])) for day in WEEKDAYS if day in store.opening_hours),
        zone=hours.zone,
    )


def _times(times: list[list[str]]) -> str:
    return ", ".join(f"{opens}-{closes}" for opens, closes in times)


def _offset(visit: Visit) -> int:
    given = visit.request.query_params.get("offset", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) <= OFFSET_DIGITS_MAX else 0
