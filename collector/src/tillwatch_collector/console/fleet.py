"""The fleet: live counters, a picture of the stores, and the list of terminals with its file.

The three live parts ask every ten seconds, from every page that is open; what they show is shared (`sharing`). A
change violates this when such a part shows anything that depends on who asks, beyond what they see of the fleet and how
they read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from markupsafe import Markup

from tillwatch_collector import exports
from tillwatch_collector.console import rendering
from tillwatch_collector.console.fleet_filter import LIFE_CYCLES, PRESENCES, SEVERITIES, STATES, Asked
from tillwatch_collector.console.pictures import bar, tiles
from tillwatch_collector.console.sharing import Made, shared, written
from tillwatch_collector.console.visit import Visit, visiting
from tillwatch_collector.domain.census import Census
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.store.census import take_census, under_way
from tillwatch_collector.store.terminal_list import TerminalList

OFFERED_KEPT = timedelta(minutes=10)
"""A brand or a version that is new may be searched for meanwhile."""

router = APIRouter(include_in_schema=False)

Seeing = Annotated[Visit, visiting(Permission.SEE)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Offered:
    """What the filters of the list offer to choose from."""

    regions: tuple[str, ...]
    merchants: tuple[tuple[str, str], ...]
    brands: tuple[str, ...]
    versions: tuple[str, ...]


@router.get("/")
def fleet(visit: Seeing) -> Response:
    """Show the fleet."""
    asked = Asked.of(visit.request.query_params)
    return visit.page(
        "fleet/page.html",
        asked=asked,
        counters=_counters(visit),
        picture=_picture(visit, asked),
        rows=_rows(visit, asked),
        offered=_offered(visit),
        states=STATES,
        presences=PRESENCES,
        severities=SEVERITIES,
        life_cycles=LIFE_CYCLES,
    )


@router.get("/live/fleet")
def live_fleet(visit: Seeing) -> Response:
    """Show the counters."""
    return rendering.kept(visit.request, visit.words, _counters(visit))


@router.get("/live/picture")
def live_picture(visit: Seeing) -> Response:
    """Show the picture."""
    asked = Asked.of(visit.request.query_params)
    return rendering.kept(visit.request, visit.words, _picture(visit, asked))


@router.get("/live/terminals")
def live_terminals(visit: Seeing) -> Response:
    """Show a page of the list."""
    asked = Asked.of(visit.request.query_params)
    return rendering.kept(visit.request, visit.words, _rows(visit, asked))


@router.get("/terminals.csv")
def terminals_csv(visit: Seeing) -> Response:
    """Hand out all terminals that the filter leaves, by their ids."""
    chosen = Asked.of(visit.request.query_params).chosen
    parts = exports.terminals_csv(visit.context.store, chosen, visit.person.within)
    headers = {"Content-Disposition": 'attachment; filename="terminals.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(_encoded(parts), media_type=exports.MEDIA_TYPE, headers=headers)


def shared_census(visit: Visit) -> Made[Census]:
    """Return how all terminals stand that the visitor sees."""
    return shared(visit, "census", lambda queries: take_census(queries.connection, queries.within))


# --- what is shown


def _counters(visit: Visit) -> Markup:
    census = shared_census(visit)

    def values() -> dict[str, Any]:
        under = shared(visit, "under way", lambda queries: under_way(queries.connection, queries.within, visit.now))
        return {
            "whole": census.value.whole,
            "counts": census.value.presences,
            "presence_bar": bar.segments(census.value.presences, tuple(map(str, PRESENCES))),
            "bar_width": bar.WIDTH,
            "severities": SEVERITIES,
            "presences": PRESENCES,
            "under_way": under.value,
            "listening": visit.context.activity().listening,
        }

    return written(visit, "fleet/counters.html", None, census.at, values)


def _picture(visit: Visit, asked: Asked) -> Markup:
    census = shared_census(visit)
    narrowed = Asked(region=asked.region, merchant=asked.merchant)
    return written(
        visit,
        "fleet/picture.html",
        narrowed,
        census.at,
        lambda: pictured(census.value, narrowed.region, narrowed.merchant),
    )


def _rows(visit: Visit, asked: Asked) -> Markup:
    made = shared(
        visit,
        ("terminals", asked),
        lambda queries: TerminalList(queries.connection, queries.within).page(asked.chosen, asked.paging),
    )
    values = {
        "terminals": made.value,
        "sort": asked.sort,
        "sort_href": lambda sort: f"/?{asked.with_(sort=sort)}",
        "page_href": lambda offset: f"/?{asked.with_(offset=offset)}",
    }
    return written(visit, "fleet/rows.html", asked, made.at, lambda: values)


def pictured(census: Census, region: str | None = None, merchant_id: str | None = None) -> dict[str, Any]:
    """Return what draws the stores of a place as tiles, region by region; where nobody entered any, by merchant."""
    part = census.of(region=region, merchant_id=merchant_id)
    without_regions = all(one.store.region is None for one in part.stores)
    zoomed = region is not None or merchant_id is not None
    return {
        "picture": tiles.picture(part.by_merchant() if without_regions else part.by_region()),
        "zoomed": zoomed,
        "zoom_key": "merchant" if without_regions else "region",
        "unplaced": 0 if zoomed else census.unplaced.terminals,
        "tile": tiles.TILE,
        "bar_width": bar.WIDTH,
    }


def _offered(visit: Visit) -> Offered:
    census = shared_census(visit).value
    brands, versions = visit.context.shared.get(
        ("offered", visit.person.within), visit.now, lambda: _brands_and_versions(visit), OFFERED_KEPT
    )
    stores = [one.store for one in census.stores]
    return Offered(
        regions=tuple(sorted({store.region for store in stores if store.region})),
        merchants=tuple(sorted({(store.merchant_id, store.merchant_name) for store in stores})),
        brands=brands,
        versions=versions,
    )


def _brands_and_versions(visit: Visit) -> tuple[tuple[str, ...], tuple[str, ...]]:
    with visit.reading() as queries:
        listed = TerminalList(queries.connection, queries.within)
        return listed.brands(), listed.versions()


def _encoded(parts: Iterator[str]) -> Iterator[bytes]:
    return (part.encode() for part in parts)
