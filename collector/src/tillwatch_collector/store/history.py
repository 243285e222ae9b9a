"""Samples: written with the heartbeats they came from, in the same transaction, into one table for each UTC day.

A day's table is made by whoever writes into it first: the row in `sample_day` is the lock, so that of several processes
one makes it and the others wait for that commit. It is dropped whole when its day is over (`store.upkeep`).

Inside a table the hour comes first, then the series. What is written at one time lies together, within the last hour's
part of the table, however many series there are; a plot of a day is twenty-four short looks; and a rollup reads one
piece. SQLite keeps the row in its key and refuses the same second twice. PostgreSQL has a heap in the order of arrival
and an index without uniqueness, whose equal keys are stored once: a third of the bytes of a unique one, and the same
second twice, from two ingesting processes that changed turns, weighs nothing in a rollup.

Every hour that is written into is noted as due to be rolled up, in the same transaction. A change violates this when a
sample is committed whose hour nobody will roll up.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import Column, Connection, Double, Index, Integer, MetaData, SmallInteger, Table, select
from sqlalchemy.schema import CreateIndex, CreateTable

from tillwatch_collector.domain.history import REFUSED, SERIES_MAX, UNRESOLVED, Book, Kept, Recorder, SeriesName
from tillwatch_collector.errors import StoreUnavailable
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import THESE, insert, insert_missing, these
from tillwatch_collector.store.tables import table_of

DAY_S, HOUR_S = 86_400, 3_600

ROLLUP_AFTER_S = 300
"""After an hour's end, before it is rolled up: longer than a transaction takes, and two processes' clocks differ. What
is written into an hour later than this is noted anew."""

SERIES = table_of(tables.SeriesRow)
SAMPLE_DAY = table_of(tables.SampleDayRow)
DUE = table_of(tables.RollupDueRow)

_SERIES_OF = select(SERIES.c.terminal_id, SERIES.c.component, SERIES.c.measure, SERIES.c.series_id).where(
    SERIES.c.terminal_id.in_(THESE)
)
_SQLITE_SERIES = (
    "INSERT INTO series (terminal_id, component, measure, last_day) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_POSTGRESQL_SERIES = (
    "INSERT INTO series (terminal_id, component, measure, last_day)"
    " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[]) ON CONFLICT DO NOTHING"
)

SampleRow = tuple[int, int, int, float]
"""(`hour`, `series_id`, `second`, `value`)."""


@lru_cache(maxsize=64)
def day_table(day: int) -> Table:
    """Return the table of a day's samples; `day` counts from 1970."""
    return Table(
        f"sample_{date(1970, 1, 1) + timedelta(days=day):%Y%m%d}",
        MetaData(),
        Column("hour", SmallInteger, primary_key=True, autoincrement=False),
        Column("series_id", Integer, primary_key=True, autoincrement=False),
        Column("second", SmallInteger, primary_key=True, autoincrement=False),
        Column("value", Double, nullable=False),
        sqlite_with_rowid=False,
    )


def make_day_table(connection: Connection, day: int) -> None:
    """Make the table of a day whose row in `sample_day` is new."""
    table = day_table(day)
    if connection.dialect.name == "sqlite":
        connection.execute(CreateTable(table))
        return
    # Narrow columns side by side, or each would be padded to four bytes.
    order = (table.c.hour, table.c.second, table.c.series_id, table.c.value)
    plain = Table(table.name, MetaData(), *(Column(column.name, column.type, nullable=False) for column in order))
    connection.execute(CreateTable(plain))
    connection.execute(CreateIndex(Index(f"ix_{table.name}", plain.c.hour, plain.c.series_id)))


class History:
    """The samples of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sqlite = connection.dialect.name == "sqlite"

    def write(self, recorder: Recorder, now: datetime) -> int:
        """Write what the recorder took; returns how many samples. It is sure when the caller has committed."""
        if not recorder.kept:
            return 0
        self._number(recorder, int(now.timestamp()) // DAY_S)
        written = 0
        for day, rows in _by_day(recorder.kept).items():
            self._prepare(recorder, day, {row[0] for row in rows}, int(now.timestamp()))
            self._insert(day, rows)
            written += len(rows)
        return written

    # --- numbers of series

    def _number(self, recorder: Recorder, today: int) -> None:
        """Give every series that was kept its number; beyond a terminal's limit it gets none."""
        wanted: dict[str, list[tuple[Book, int]]] = defaultdict(list)
        for book, place in recorder.unresolved():
            wanted[book.terminal_id].append((book, place))
        if not wanted:
            return
        known = self._known(wanted)
        new = [
            (terminal_id, component, measure, today)
            for terminal_id in sorted(wanted)
            for component, measure in _admitted(wanted[terminal_id], known[terminal_id])
        ]
        if new:
            self._insert_series(new)
            known |= self._known({row[0] for row in new})
        for terminal_id, places in wanted.items():
            for book, place in places:
                book.numbers[place] = known[terminal_id].get(book.layout.series[place], REFUSED)

    def _known(self, terminal_ids: Iterable[str]) -> dict[str, dict[SeriesName, int]]:
        found: dict[str, dict[SeriesName, int]] = defaultdict(dict)
        for some in these(sorted(terminal_ids)):
            for terminal_id, component, measure, series_id in self._connection.execute(_SERIES_OF, some):
                found[terminal_id][component, measure] = series_id
        return found

    def _insert_series(self, rows: Sequence[tuple[str, str, str, int]]) -> None:
        if self._sqlite:
            self._connection.exec_driver_sql(_SQLITE_SERIES, list(rows))
        else:
            columns: tuple[Any, ...] = tuple(map(list, zip(*rows, strict=True)))
            self._connection.exec_driver_sql(_POSTGRESQL_SERIES, columns)

    # --- days and hours

    def _prepare(self, recorder: Recorder, day: int, hours: set[int], now_s: int) -> None:
        """See that the day has its table, and that its hours will be rolled up."""
        ready = recorder.prepared | recorder.preparing
        if f"day {day}" not in ready:
            self._make_day(day)
            recorder.preparing.add(f"day {day}")
        for number in (day * 24 + hour for hour in sorted(hours)):
            if (number + 1) * HOUR_S + ROLLUP_AFTER_S <= now_s:
                note_due(self._connection, "hour", number)
            elif f"hour {number}" not in ready:
                insert_missing(self._connection, DUE, [{"span": "hour", "number": number, "after_series_id": 0}])
                recorder.preparing.add(f"hour {number}")

    def _make_day(self, day: int) -> None:
        row = insert(self._connection, SAMPLE_DAY).values(day=day).on_conflict_do_nothing()
        if self._connection.scalar(row.returning(SAMPLE_DAY.c.day)) is not None:
            make_day_table(self._connection, day)

    # --- samples

    def _insert(self, day: int, rows: list[SampleRow]) -> None:
        columns = f"{day_table(day).name} (hour, series_id, second, value)"
        if self._sqlite:
            # In the order of the key: neighbours are written into one page.
            statement = f"INSERT OR IGNORE INTO {columns} VALUES (?, ?, ?, ?)"  # noqa: S608 - a date
            self._connection.exec_driver_sql(statement, sorted(rows))
        else:
            self._copy(columns, "".join([f"{h}\t{n}\t{s}\t{value!r}\n" for h, n, s, value in rows]))

    def _copy(self, columns: str, lines: str) -> None:
        """Hand over all rows as one text: a fourth of the CPU of an insert."""
        try:
            with self._connection.connection.cursor() as cursor, cursor.copy(f"COPY {columns} FROM STDIN") as copy:  # type: ignore[attr-defined]
                copy.write(lines)
        except psycopg.Error as error:
            raise StoreUnavailable(f"the database does not take samples: {type(error).__name__}") from error


def note_due(connection: Connection, span: str, number: int) -> None:
    """Note that an hour or a day is to be rolled up from its beginning; waits for whoever is at it."""
    row = insert(connection, DUE).values(span=span, number=number, after_series_id=0)
    connection.execute(row.on_conflict_do_update(index_elements=["span", "number"], set_={"after_series_id": 0}))


def _admitted(places: Iterable[tuple[Book, int]], known: dict[SeriesName, int]) -> list[SeriesName]:
    """Choose of a terminal's new series those that its limit has room for."""
    new = {book.layout.series[place] for book, place in places} - set(known)
    return sorted(new)[: max(0, SERIES_MAX - len(known))]


def _by_day(kept: Iterable[Kept]) -> dict[int, list[SampleRow]]:
    found: dict[int, list[SampleRow]] = defaultdict(list)
    for book, at_s, places, values in kept:
        day, second_of_day = divmod(at_s, DAY_S)
        hour, second = divmod(second_of_day, HOUR_S)
        numbers, rows = book.numbers, found[day]
        rows += [(hour, numbers[place], second, values[place]) for place in places if numbers[place] > UNRESOLVED]
    return {day: rows for day, rows in found.items() if rows}
