"""Routes of maintenance: who is not told of what fails, when, and why."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict

from tillwatch_collector.api.actor import By
from tillwatch_collector.api.context import Context, WebContext
from tillwatch_collector.api.paging import PageQuery, QueryText, paging
from tillwatch_collector.api.problems import FieldError, Problem, missing
from tillwatch_collector.domain.maintenance import Maintenance, MaintenanceRefused, ReasonText, Scope
from tillwatch_collector.store.maintenance import MaintenanceFilter, MaintenanceUnknown
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.views import MaintenanceView, Page
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(prefix="/api/v1/maintenance", tags=["maintenance"])

MaintenanceId = Annotated[int, Path(ge=1, le=INTEGER_MAX)]

_OVER: dict[int | str, dict[str, Any]] = {HTTPStatus.CONFLICT.value: {"description": "it is over or was cancelled"}}


class _MaintenanceQuery(PageQuery):
    scope_kind: Scope | None = None
    scope_id: QueryText | None = None
    current: bool | None = None
    """Neither over nor cancelled."""
    active: bool | None = None
    """Muting now."""


class Cancellation(BaseModel):
    """Why a span is ended before its time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: ReasonText


@router.get("")
def list_maintenance(context: Context, asked: Annotated[_MaintenanceQuery, Query()]) -> Page[MaintenanceView]:
    """List spans; `active=true` shows those that mute now, `current=true` also those to come."""
    chosen = MaintenanceFilter(now=context.now(), **asked.model_dump(exclude={"limit", "offset", "sort"}))
    with context.store.reading() as connection:
        return Queries(connection).maintenances(chosen, paging(asked))


@router.post("", status_code=HTTPStatus.CREATED)
def add_maintenance(context: Context, maintenance: Maintenance, by: By) -> MaintenanceView:
    """Mute a terminal, a store, a merchant or all; what still fails at the end is told then."""
    try:
        with context.store.transaction() as repository:
            added = repository.maintenance.add(maintenance, actor=by.actor, now=by.now)
    except MaintenanceRefused as error:
        wrong = FieldError(field=error.field, expected=error.expected, got=error.got)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), [wrong]) from None
    return _shown(context, added)


@router.get("/{maintenance_id}")
def get_maintenance(context: Context, maintenance_id: MaintenanceId) -> MaintenanceView:
    """Show one span."""
    return _shown(context, maintenance_id)


@router.post("/{maintenance_id}/cancel", responses=_OVER)
def cancel_maintenance(
    context: Context, maintenance_id: MaintenanceId, cancellation: Cancellation, by: By
) -> MaintenanceView:
    """End a span now; what fails is told at once."""
    try:
        with context.store.transaction() as repository:
            repository.maintenance.cancel(maintenance_id, actor=by.actor, reason=cancellation.reason, now=by.now)
    except MaintenanceUnknown:
        raise missing("maintenance", maintenance_id) from None
    return _shown(context, maintenance_id)


def _shown(context: WebContext, maintenance_id: int) -> MaintenanceView:
    with context.store.reading() as connection:
        found = Queries(connection).maintenance(maintenance_id, context.now())
    if found is None:
        raise missing("maintenance", maintenance_id)
    return found
