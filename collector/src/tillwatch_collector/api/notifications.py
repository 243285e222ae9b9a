"""Routes of what was said to whom: messages as they were sent, are due, or were given up."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from tillwatch_collector.api.context import Reading
from tillwatch_collector.api.paging import PageQuery, QueryText, paging
from tillwatch_collector.api.problems import missing
from tillwatch_collector.domain.delivery import State
from tillwatch_collector.store.notification_queries import NotificationFilter
from tillwatch_collector.store.views import NotificationDetail, NotificationView, Page
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(prefix="/api/v1/notifications", tags=["notifications"])

Number = Field(ge=1, le=INTEGER_MAX)


class _NotificationsQuery(PageQuery):
    route: QueryText | None = None
    state: State | None = None
    ticket_id: Annotated[int, Number] | None = None


@router.get("")
def list_notifications(reading: Reading, asked: Annotated[_NotificationsQuery, Query()]) -> Page[NotificationView]:
    """List messages; `sort=-created_at` shows the latest first, `ticket_id` those that tell of a ticket."""
    chosen = NotificationFilter(route=asked.route, state=asked.state, ticket_id=asked.ticket_id)
    return reading.notifications(chosen, paging(asked))


@router.get("/{notification_id}")
def get_notification(
    reading: Reading, notification_id: Annotated[int, Path(ge=1, le=INTEGER_MAX)]
) -> NotificationDetail:
    """Show one message with all that it tells."""
    found = reading.notification(notification_id)
    if found is None:
        raise missing("notification", notification_id)
    return found
