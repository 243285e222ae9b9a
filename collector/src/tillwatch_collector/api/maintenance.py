"""Routes of maintenance: who is not told of what fails, when, and why."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict

from tillwatch_collector.api.actor import By, Seen
from tillwatch_collector.api.context import Context, Reading, WebContext
from tillwatch_collector.api.paging import PageQuery, QueryText, paging
from tillwatch_collector.api.problems import FieldError, Problem, missing
from tillwatch_collector.domain.maintenance import Maintenance, MaintenanceRefused, ReasonText, Scope
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.flows import maintenance as upholding
from tillwatch_collector.store.inventory import UnknownReference
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
def list_maintenance(
    context: Context, reading: Reading, asked: Annotated[_MaintenanceQuery, Query()]
) -> Page[MaintenanceView]:
    """List spans; `active=true` shows those that mute now, `current=true` also those to come."""
    chosen = MaintenanceFilter(now=context.now(), **asked.model_dump(exclude={"limit", "offset", "sort"}))
    return reading.maintenances(chosen, paging(asked))


@router.post("", status_code=HTTPStatus.CREATED)
def add_maintenance(context: Context, maintenance: Maintenance, by: By, seen: Seen) -> MaintenanceView:
    """Mute a terminal, a store, a merchant or all; what still fails at the end is told then."""
    _expect_scope(context, seen, maintenance)
    try:
        with context.store.transaction() as repository:
            added = upholding.add(repository, maintenance, actor=by.actor, now=by.now)
    except MaintenanceRefused as error:
        wrong = FieldError(field=error.field, expected=error.expected, got=error.got)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), [wrong]) from None
    return _shown(context, added, seen)


@router.get("/{maintenance_id}")
def get_maintenance(context: Context, maintenance_id: MaintenanceId, seen: Seen) -> MaintenanceView:
    """Show one span."""
    return _shown(context, maintenance_id, seen)


@router.post("/{maintenance_id}/cancel", responses=_OVER)
def cancel_maintenance(
    context: Context, maintenance_id: MaintenanceId, cancellation: Cancellation, by: By, seen: Seen
) -> MaintenanceView:
    """End a span now; what fails is told at once."""
    _shown(context, maintenance_id, seen)
    try:
        with context.store.transaction() as repository:
            upholding.cancel(repository, maintenance_id, actor=by.actor, reason=cancellation.reason, now=by.now)
    except MaintenanceUnknown:
        raise missing("maintenance", maintenance_id) from None
    return _shown(context, maintenance_id, seen)


def _expect_scope(context: WebContext, seen: Within, maintenance: Maintenance) -> None:
    """Say of a scope that is not seen what is said of an unknown one; all of the fleet is seen by nobody narrowed."""
    if seen.everywhere:
        return
    named = maintenance.scope_id or ""
    with context.store.reading() as connection:
        queries = Queries(connection, seen)
        sees = {
            Scope.TERMINAL: queries.sees_terminal(named),
            Scope.STORE: queries.sees_store(named),
            Scope.MERCHANT: named in seen.merchant_ids,
            Scope.ALL: False,
        }
        if not sees[maintenance.scope_kind]:
            raise UnknownReference("scope_id", named)


def _shown(context: WebContext, maintenance_id: int, seen: Within) -> MaintenanceView:
    with context.store.reading() as connection:
        found = Queries(connection, seen).maintenance(maintenance_id, context.now())
    if found is None:
        raise missing("maintenance", maintenance_id)
    return found
