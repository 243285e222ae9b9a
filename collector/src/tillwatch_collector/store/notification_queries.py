"""Which messages, and what a list shows of them: not what they tell of one by one, which may be thousands."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Text, cast, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from tillwatch_collector.store import tables
from tillwatch_collector.store.selection import equal
from tillwatch_collector.store.tables import table_of

NOTIFICATION = table_of(tables.NotificationRow)

NOTIFICATION_SORTS: dict[str, ColumnElement[Any]] = {
    "notification_id": NOTIFICATION.c.notification_id,
    "created_at": NOTIFICATION.c.created_at,
    "due_at": NOTIFICATION.c.due_at,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NotificationFilter:
    """Which messages; what is None does not narrow."""

    notification_id: int | None = None
    route: str | None = None
    state: str | None = None
    ticket_id: int | None = None
    """Those that tell of it."""


class Length(FunctionElement[int]):
    """How many things a JSON list has."""

    type = Integer()
    inherit_cache = True


@compiles(Length)
def _length_of_text(length: Length, compiler: SQLCompiler, **context: Any) -> str:
    return f"json_array_length({compiler.process(length.clauses, **context)})"


@compiles(Length, "postgresql")
def _length_of_jsonb(length: Length, compiler: SQLCompiler, **context: Any) -> str:
    return f"jsonb_array_length({compiler.process(length.clauses, **context)})"


def notifications_query(chosen: NotificationFilter) -> Select[Any]:
    """Build the query of a list of messages."""
    columns = [column for column in NOTIFICATION.c if column.name != "items"]
    wanted: dict[ColumnElement[Any], object] = {
        NOTIFICATION.c.notification_id: chosen.notification_id,
        NOTIFICATION.c.route: chosen.route,
        NOTIFICATION.c.state: chosen.state,
    }
    query = select(*columns, Length(NOTIFICATION.c["items"]).label("items_total")).where(*equal(wanted))
    return query if chosen.ticket_id is None else query.where(_tells_of(chosen.ticket_id))


def items_query(notification_id: int) -> Select[Any]:
    """Build the query of what one message tells."""
    return select(NOTIFICATION.c["items"]).where(NOTIFICATION.c.notification_id == notification_id)


def _tells_of(ticket_id: int) -> ColumnElement[bool]:
    """Seek a ticket in the text of the list: both databases write it alike, up to the order of the keys."""
    said = cast(NOTIFICATION.c["items"], Text)
    return or_(*(said.contains(f'"ticket_id": {ticket_id}{end}', autoescape=True) for end in ",}"))
