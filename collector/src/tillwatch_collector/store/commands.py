"""Commands to terminals in one transaction: asked for, said, lapsed. Ingest writes their answers (`store.facts`)."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, update

from tillwatch_collector.domain.command import Kept, Outcome
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.store import tables, visibility
from tillwatch_collector.store.tables import table_of

COMMAND = table_of(tables.CommandRow)
_TERMINAL = table_of(tables.TerminalRow)

OPEN_AT_ONCE_MAX = 1_000
"""Looked at in one tick; the rest at the next."""

_KEPT = tuple(COMMAND.c[name] for name in Kept.__slots__)
_IS_OPEN = COMMAND.c.outcome.is_(None)
_OPEN = select(*_KEPT).where(_IS_OPEN).order_by(COMMAND.c.asked_at, COMMAND.c.command_id).limit(OPEN_AT_ONCE_MAX)
_THIS = COMMAND.c.command_id == bindparam("of_command_id")
_SAID = update(COMMAND).where(_THIS, _IS_OPEN).values(sent_at=bindparam("at"))
_LAPSED = update(COMMAND).where(_THIS, _IS_OPEN).values(outcome=Outcome.LAPSED)


class Commands:
    """The rows of commands."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hold_terminal(self, terminal_id: str, within: Within) -> bool:
        """Whether there is such a terminal for who asks; nobody else asks for a command to it until the commit."""
        seen = visibility.of_terminal(within, _TERMINAL.c.terminal_id)
        query = select(_TERMINAL.c.terminal_id).where(_TERMINAL.c.terminal_id == terminal_id, *seen).with_for_update()
        return self._connection.scalar(query) is not None

    def add(
        self, command_id: str, *, terminal_id: str, kind: str, lifetime_s: int, asked_by: str, asked_at: datetime
    ) -> None:
        """Write a command that is to be said."""
        row = {"command_id": command_id, "terminal_id": terminal_id, "kind": kind, "lifetime_s": lifetime_s}
        self._connection.execute(insert(COMMAND).values(**row, asked_by=asked_by, asked_at=asked_at))

    def waiting(self, terminal_id: str) -> int:
        """Count a terminal's commands without an answer."""
        return self._count(_IS_OPEN, COMMAND.c.terminal_id == terminal_id)

    def asked_since(self, asked_by: str, since: datetime) -> int:
        """Count what somebody has asked for."""
        return self._count(COMMAND.c.asked_at > since, COMMAND.c.asked_by == asked_by)

    def open(self) -> list[Kept]:
        """Return the commands without an answer, the oldest first."""
        return [Kept(**row) for row in self._connection.execute(_OPEN).mappings()]

    def said(self, command_ids: Collection[str], at: datetime) -> None:
        """Note when commands were said."""
        if command_ids:
            self._connection.execute(_SAID, [{"of_command_id": command_id, "at": at} for command_id in command_ids])

    def lapsed(self, command_ids: Collection[str]) -> None:
        """Note that no answer came in time."""
        if command_ids:
            self._connection.execute(_LAPSED, [{"of_command_id": command_id} for command_id in command_ids])

    def _count(self, *conditions: object) -> int:
        query = select(func.count()).select_from(COMMAND).where(*conditions)  # type: ignore[arg-type]
        return self._connection.scalar(query) or 0
