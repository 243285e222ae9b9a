"""Alembic's environment: one connection, handed over by `store.session`, with its transaction already begun.

A new revision is written by Alembic's `revision --autogenerate`, then read and corrected by hand.
"""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection
from sqlmodel import AutoString

from tillwatch_collector.store.columns import BigId, Json, Utc
from tillwatch_collector.store.tables import Table


def _render(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """Write our own types by their names, and plain ones for SQLModel's."""
    if kind != "type":
        return False
    if isinstance(item, AutoString):
        return f"sa.String(length={item.length})"
    named = {"Utc()": isinstance(item, Utc), "Json": item is Json, "BigId": item is BigId}
    return next((name for name, it_is in named.items() if it_is), False)


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        compare_type=True,
        render_item=_render,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


_run(context.config.attributes["connection"])
