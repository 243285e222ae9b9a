"""Routes of the whole: counts, and messages that could not be used."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from tillwatch_collector.api.context import Context, Reading
from tillwatch_collector.api.paging import PageQuery, QueryText, SortText, paging
from tillwatch_collector.store.views import FleetView, Page, QuarantineView

router = APIRouter(prefix="/api/v1", tags=["fleet"])


class FleetNow(FleetView):
    """What the database knows, and what this process has counted since its start."""

    started_at: datetime
    heartbeats_since_start: int
    listening: bool
    """Whether the collector hears; while it does not, nobody is called silent."""


@router.get("/fleet")
def get_fleet(context: Context, reading: Reading) -> FleetNow:
    """Count terminals, tickets and events."""
    activity = context.activity()
    return FleetNow(
        **reading.fleet().model_dump(),
        started_at=activity.started_at,
        heartbeats_since_start=activity.heartbeats,
        listening=activity.listening,
    )


class _QuarantineQuery(PageQuery):
    sort: SortText | None = "-quarantine_id"
    terminal_id: QueryText | None = None


@router.get("/quarantine")
def list_quarantine(reading: Reading, asked: Annotated[_QuarantineQuery, Query()]) -> Page[QuarantineView]:
    """List messages that could not be used, the latest first, with what was wrong and their scrubbed beginning."""
    return reading.quarantine(paging(asked), terminal_id=asked.terminal_id)
