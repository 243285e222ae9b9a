"""A database with something in every table, and all that is in it, alike on SQLite and on PostgreSQL."""

import json
import random
from datetime import date, timedelta
from typing import Any

import sqlalchemy
from sqlalchemy import (
    JSON,
    Boolean,
    Date,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    UniqueConstraint,
    insert,
    select,
)
from tests.collector.shell_fixtures import NOW

from tillwatch_collector.store.columns import Utc
from tillwatch_collector.store.history import day_table, make_day_table
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table

TODAY = 20_778
ROWS = 3
"""Of each table."""
READ_BY_A_RESTORE = {"rollout": {"state": "completed"}}
"""What is not only carried over."""


def filled(store: Store) -> Store:
    """Fill a database: rows in every table, and two days of samples."""
    store.migrate()
    with store.transaction() as repository:
        fill(repository.connection, Table.metadata)
        for day in (TODAY - 1, TODAY):
            make_day_table(repository.connection, day)
            samples = [{"hour": 7, "series_id": 1, "second": no, "value": no / 3} for no in range(ROWS)]
            repository.connection.execute(insert(day_table(day)), samples)
    return store


def fill(connection: sqlalchemy.Connection, metadata: MetaData) -> None:
    rng = random.Random(1)
    inspector = sqlalchemy.inspect(connection)
    there = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name in there:
            known = {column["name"] for column in inspector.get_columns(table.name)}  # fewer in an older schema
            columns = [column for column in table.c if column.name in known]
            as_it_is = sqlalchemy.table(table.name, *(sqlalchemy.column(c.name, c.type) for c in columns))
            for no in range(1, ROWS + 1):
                row = {column.name: value(column, no, rng) for column in columns}
                connection.execute(insert(as_it_is).values(row | READ_BY_A_RESTORE.get(table.name, {})))


def value(column: sqlalchemy.Column[Any], no: int, rng: random.Random) -> Any:
    """Return something that the column takes: keys by number, and where it may be none, sometimes that."""
    key = column.primary_key or bool(column.foreign_keys) or _tells_rows_apart(column)
    if not key and column.nullable and rng.random() < 0.4:
        return sqlalchemy.null()
    if isinstance(column.type, Utc):
        return NOW + timedelta(seconds=no, microseconds=rng.choice((0, 1, 999_999)))
    if isinstance(column.type, LargeBinary):
        return rng.choice((b"", bytes(range(256)), b"\xfb\xff\xfe" * no))
    if isinstance(column.type, Date):
        return date(2025, 3, no)
    if isinstance(column.type, JSON):
        return rng.choice(({"ä": [no, None]}, [], [1.5, "x"], None))
    if isinstance(column.type, Boolean):
        return rng.random() < 0.5
    if isinstance(column.type, Float):
        return rng.choice((no / 3, 0.1, 1e300))
    if isinstance(column.type, SmallInteger):
        return no
    if isinstance(column.type, Integer):
        return no if key else rng.randrange(1 << 30)
    return f"{no}{column.name}"[:4] if key else rng.choice(("", "纸尽 \\ \" ' \t", f"x{no}"))


def _tells_rows_apart(column: sqlalchemy.Column[Any]) -> bool:
    """Whether it is part of what no two rows of its table share."""
    sets = [rule.columns for rule in column.table.constraints if isinstance(rule, UniqueConstraint)]
    return any(column.name in some for some in (*sets, *(i.columns for i in column.table.indexes if i.unique)))


def contents(store: Store) -> dict[str, list[str]]:
    """Every row of every table, in an order and a form that both databases share."""
    with store.reading() as connection:
        found = {}
        there = [day_table(day) for day in (TODAY - 1, TODAY)] + Table.metadata.sorted_tables
        for table in there:
            rows = [dict(row) for row in connection.execute(select(table)).mappings()]
            found[table.name] = sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)
        return found
