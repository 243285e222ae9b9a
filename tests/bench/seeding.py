"""Fill an empty database with a large fleet, and a few terminals with a month of measures.

    python -m tests.bench.seeding sqlite:////tmp/fleet.db --terminals 50000 --stores 5000 --seed 1

The same seed, size and moment make the same rows on both databases. A database that holds anything is refused. The rows
are `tests.bench.seeded_fleet`'s, and go in as the database takes them, past the flows that usually write them.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from typing import Any

import sqlalchemy
from sqlalchemy import JSON, Connection, func, insert, select
from tests.bench.frames import walk
from tests.bench.seeded_fleet import Row, SeededFleet, Size, terminal_of

from tillwatch_collector.errors import OperatorError
from tillwatch_collector.store import bulk, tables
from tillwatch_collector.store.columns import Utc
from tillwatch_collector.store.history import day_table, make_day_table
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table, table_of

MEASURES = (
    ("network:uplink", "gateway_ms"),
    ("network:uplink", "dns_ms"),
    ("acquirer:main", "tls_ms"),
    ("machine:self", "cpu_pct"),
    ("machine:self", "memory_available_pct"),
    ("machine:self", "disk_free_pct"),
)
MEASURED = 5
"""Terminals that have a month of measures."""
DAYS = 30
STEP_S = 300
HOUR_S, DAY_S = 3_600, 86_400
ROWS_AT_ONCE = 20_000

Said = Callable[[str], None]


class NotEmpty(OperatorError):  # noqa: N818 - it names what is so
    """The database holds something already."""


def seed(store: Store, size: Size, number: int, now: datetime, said: Said = lambda _: None) -> None:
    """Fill a database that is migrated and empty; raises `NotEmpty`."""
    with store.transaction() as repository:
        connection = repository.connection
        _expect_empty(connection)
        fleet = SeededFleet(size=size, seed=number, now=now)
        for row_class, rows in fleet.rows.items():
            said(f"{len(rows):,} rows of {table_of(row_class).name}")
            put(connection, row_class, rows)
        said(f"a month of measures of {min(MEASURED, size.terminals)} terminals")
        _history(connection, min(MEASURED, size.terminals), number, now)
        _number_on(connection)
        connection.exec_driver_sql("ANALYZE")


def put(connection: Connection, row_class: type[Table], rows: list[Row]) -> None:
    """Insert rows; a column that a row does not name takes its default, a number that none of them names the next."""
    table = table_of(row_class)
    named = {name for row in rows for name in row}
    columns = [column for column in table.c if column.name in named or not column.primary_key]
    names = tuple(column.name for column in columns)
    defaults = {column.name: _default(column) for column in columns}
    convert = [_converter(connection, column) for column in columns]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        whole = (defaults | row for row in rows[start : start + ROWS_AT_ONCE])
        tuples = [tuple(make(row[name]) for name, make in zip(names, convert, strict=True)) for row in whole]
        bulk.insert_missing(connection, table, names, tuples)


def _expect_empty(connection: Connection) -> None:
    for table in Table.metadata.sorted_tables:
        if connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise NotEmpty(f"expected an empty database, got one with rows in {table.name}")


def _converter(connection: Connection, column: sqlalchemy.Column[object]) -> Callable[[object], object]:
    """Return what makes a value as the driver takes it."""
    if isinstance(column.type, Utc):
        return bulk.as_time(connection)  # type: ignore[return-value]
    if isinstance(column.type, JSON):
        return lambda value: None if value is None else json.dumps(value)
    if isinstance(column.type, sqlalchemy.Date):
        return lambda value: None if value is None else str(value)
    return lambda value: value


def _default(column: sqlalchemy.Column[Any]) -> object:
    default: Any = column.default
    if default is None:
        return None
    return default.arg(None) if default.is_callable else default.arg


def _history(connection: Connection, terminals: int, number: int, now: datetime) -> None:
    """A sample every five minutes of each series, and its hours and days."""
    series = [
        (no, terminal_of(terminal), *measure)
        for no, (terminal, measure) in enumerate(product(range(terminals), MEASURES), start=1)
    ]
    values = [value for row in walk(random.Random(number)) for value in row]
    last, today = int(now.timestamp()) // STEP_S * STEP_S, int(now.timestamp()) // DAY_S
    put(
        connection,
        tables.SeriesRow,
        [
            {"series_id": no, "terminal_id": terminal_id, "component": component, "measure": measure, "last_day": today}
            for no, terminal_id, component, measure in series
        ],
    )
    for day in range(today - DAYS, today + 1):
        seconds = [second for second in range(day * DAY_S, (day + 1) * DAY_S, STEP_S) if second <= last]
        samples = [
            (second, no, values[(no * 977 + second // STEP_S) % len(values)]) for no, *_ in series for second in seconds
        ]
        put(connection, tables.SampleDayRow, [{"day": day}])
        make_day_table(connection, day)
        connection.execute(insert(day_table(day)), [_sample(*one) for one in samples])
        _roll(connection, tables.HourRow, "hour", HOUR_S, samples)
        _roll(connection, tables.DayRow, "day", DAY_S, samples)


def _sample(second: int, series_id: int, value: float) -> Row:
    hour, rest = divmod(second % DAY_S, HOUR_S)
    return {"hour": hour, "series_id": series_id, "second": rest, "value": value}


def _roll(
    connection: Connection, row_class: type[Table], name: str, span_s: int, samples: list[tuple[int, int, float]]
) -> None:
    spans: dict[tuple[int, int], list[float]] = {}
    for second, series_id, value in samples:
        spans.setdefault((second // span_s, series_id), []).append(value)
    rows = [
        {
            name: span,
            "series_id": series_id,
            "held_s": len(values) * STEP_S,
            "count": len(values),
            "min": min(values),
            "max": max(values),
            "mean": sum(values) / len(values),
        }
        for (span, series_id), values in spans.items()
    ]
    put(connection, row_class, rows)


def _number_on(connection: Connection) -> None:
    """Let the database number tickets and series on from the last."""
    if connection.dialect.name == "postgresql":
        for table, key in (("ticket", "ticket_id"), ("series", "series_id")):
            greatest = f"(SELECT coalesce(max({key}), 1) FROM {table})"
            connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table}', '{key}'), {greatest})")


def main() -> int:
    options = _options()
    store = Store.open(options.url)
    try:
        store.migrate()
        size = Size(terminals=options.terminals, stores=options.stores)
        seed(store, size, options.seed, options.now, said=lambda what: _tell(f"  {what}"))
    except NotEmpty as error:
        _tell(str(error))
        return 2
    finally:
        store.close()
    return 0


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.seeding", description=__doc__)
    parser.add_argument("url", help="of the database, as `database_url` in collector.toml")
    parser.add_argument("--terminals", type=int, default=50_000)
    parser.add_argument("--stores", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--now", type=_moment, default=datetime.now(UTC), help="the day that is shown; by default today"
    )
    return parser.parse_args()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


if __name__ == "__main__":
    sys.exit(main())
