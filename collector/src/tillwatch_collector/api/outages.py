"""Routes of outages: one cause that silences or harms many terminals, and whom it has hit."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from tillwatch_collector.api.context import Reading
from tillwatch_collector.api.paging import PageQuery, QueryText, paging
from tillwatch_collector.api.problems import missing
from tillwatch_collector.domain.outage import NodeKind
from tillwatch_collector.store.outage_queries import OutageFilter
from tillwatch_collector.store.views import OutageChildView, OutageView, Page
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(prefix="/api/v1/outages", tags=["outages"])

OutageId = Annotated[int, Path(ge=1, le=INTEGER_MAX)]


class _OutagesQuery(PageQuery):
    open: bool | None = None
    node_kind: NodeKind | None = None
    node_id: QueryText | None = None


@router.get("")
def list_outages(reading: Reading, asked: Annotated[_OutagesQuery, Query()]) -> Page[OutageView]:
    """List outages; `open=true` those that have not ended, `sort=-detected_at` the latest first."""
    chosen = OutageFilter(open=asked.open, node_kind=asked.node_kind, node_id=asked.node_id)
    return reading.outages(chosen, paging(asked))


@router.get("/{outage_id}")
def get_outage(reading: Reading, outage_id: OutageId) -> OutageView:
    """Show one outage with its evidence."""
    found = reading.outage(outage_id)
    if found is None:
        raise missing("outage", outage_id)
    return found


@router.get("/{outage_id}/terminals")
def list_children(reading: Reading, outage_id: OutageId, asked: Annotated[PageQuery, Query()]) -> Page[OutageChildView]:
    """List the terminals that an outage has hit, with whether each is back, and its own ticket if it has one."""
    if reading.outage(outage_id) is None:
        raise missing("outage", outage_id)
    return reading.outage_children(outage_id, paging(asked))
