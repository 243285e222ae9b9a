"""What is read of commands: who asked a terminal for what, and what it answered."""

from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from tillwatch_collector.domain.command import State, state_of
from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.store import tables, visibility
from tillwatch_collector.store.commands import COMMAND
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.store.views import CommandView, Page

_event = table_of(tables.EventRow)


class CommandQueries:
    """The read model of commands, as one person or program sees them."""

    def __init__(self, connection: Connection, within: Within = EVERYWHERE) -> None:
        self._connection = connection
        self._within = within

    def list(self, terminal_id: str, *, limit: int, offset: int = 0) -> Page[CommandView]:
        """List a terminal's commands, the latest first."""
        query = self._query(terminal_id)
        cut = query.order_by(COMMAND.c.asked_at.desc(), COMMAND.c.command_id).limit(limit).offset(offset)
        total = self._connection.scalar(select(func.count()).select_from(query.subquery())) or 0
        return Page[CommandView](items=self._shown(cut), total=total, limit=limit, offset=offset)

    def one(self, terminal_id: str, command_id: str) -> CommandView | None:
        """Show one command."""
        return next(iter(self._shown(self._query(terminal_id).where(COMMAND.c.command_id == command_id))), None)

    def _query(self, terminal_id: str) -> Select[Any]:
        answered = and_(
            _event.c.terminal_id == COMMAND.c.terminal_id,
            _event.c.stream_id == COMMAND.c.stream_id,
            _event.c.event_seq == COMMAND.c.event_seq,
        )
        seen = visibility.of_terminal(self._within, COMMAND.c.terminal_id)
        joined = COMMAND.outerjoin(_event, answered)
        query = select(COMMAND, _event.c.command.label("answer")).select_from(joined)
        return query.where(COMMAND.c.terminal_id == terminal_id, *seen)

    def _shown(self, query: Select[Any]) -> tuple[CommandView, ...]:
        return tuple(_view(dict(row)) for row in self._connection.execute(query).mappings())


def _view(row: dict[str, Any]) -> CommandView:
    state = state_of(row.pop("outcome"), row["sent_at"])
    answer = row.pop("answer") or {}
    reason = row.pop("detail") if state is State.REFUSED else None
    return CommandView.model_validate({**row, "state": state, "reason": reason, "diagnosis": answer.get("diagnosis")})
