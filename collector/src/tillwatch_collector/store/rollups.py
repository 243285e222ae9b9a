"""Samples to hours, hours to days: a slice at a time, as often as needed, always to the same end.

`rollup_due` is the whole plan: whoever writes a sample notes its hour (`store.history`), a finished hour notes its day,
a finished day goes from the list. A slice reads one piece of one hour and upserts; how far it came stands in the row,
so that a process that ends anywhere goes on there. Who writes into an hour that was rolled up notes it anew, from its
beginning. The row is locked while a slice is made: a writer that is late waits, and is not overlooked.

A mean weighs each value by how long it held: until the next sample of its series in the hour, the hour's end, or
`HELD_S`, whichever comes first. What was kept in the hour before has no say; a terminal that speaks keeps a frame
every five minutes. Days are made of hours by the same weights. A change violates this when two orders of slices, or a
repeated one, end in different rollups.
"""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    bindparam,
    case,
    delete,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from tillwatch_collector.domain.history import HELD_S
from tillwatch_collector.store import tables
from tillwatch_collector.store.history import (
    DUE,
    HOUR_S,
    ROLLUP_AFTER_S,
    SAMPLE_DAY,
    SERIES,
    day_table,
    note_due,
)
from tillwatch_collector.store.tables import table_of

HOURS_OF_DAY = 24

SAMPLES_MAX = 10_000
"""In a slice: some 800 series with a frame every five minutes; 30 ms, in which nobody else writes on SQLite."""

SERIES_OF_DAY_MAX = 1_000
"""In a slice of a day, with twenty-four rows each."""

LAST_DAY_EVERY_D = 30
"""How far a series' `last_day` may lag: it says when a series is forgotten, after years, and costs a write."""

HOUR = table_of(tables.HourRow)
DAY = table_of(tables.DayRow)


class _Due(NamedTuple):
    number: int
    after_series_id: int


class Rollups:
    """The rollups of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def waiting(self, now: datetime) -> int:
        """Count the hours that are over and not rolled up."""
        over = select(func.count()).select_from(DUE).where(DUE.c.span == "hour", DUE.c.number < _hours_over(now))
        return self._connection.scalar(over) or 0

    def roll_hour(self, now: datetime) -> int | None:
        """Roll up a slice of the oldest hour that is due; returns how many rows, None when none is due."""
        due = self._oldest("hour", DUE.c.number < _hours_over(now))
        if due is None:
            return None
        day, hour = divmod(due.number, HOURS_OF_DAY)
        if self._connection.scalar(select(SAMPLE_DAY.c.day).where(SAMPLE_DAY.c.day == day)) is None:
            self._finish("hour", due.number)
            return 0
        samples = day_table(day)
        last = self._connection.scalar(_last_of_slice(samples, hour, due.after_series_id))
        upper = () if last is None else (samples.c.series_id <= last,)
        here = (samples.c.hour == hour, samples.c.series_id > due.after_series_id, *upper)
        rows = self._put(HOUR, _of_hour(samples, due.number, here))
        if last is None:
            self._finish("hour", due.number)
            note_due(self._connection, "day", day)
        else:
            self._advance("hour", due.number, last)
        return rows

    def roll_day(self, now: datetime) -> int | None:
        """Roll up a slice of the oldest day that is over and has its hours; returns how many rows, None without one."""
        hours = DUE.alias()
        first = DUE.c.number * HOURS_OF_DAY
        open_hours = exists().where(
            hours.c.span == "hour", hours.c.number >= first, hours.c.number < first + HOURS_OF_DAY
        )
        over = DUE.c.number < _hours_over(now) // HOURS_OF_DAY
        due = self._oldest("day", over, ~open_hours)
        if due is None:
            return None
        last = self._connection.scalar(
            select(SERIES.c.series_id)
            .where(SERIES.c.series_id > due.after_series_id)
            .order_by(SERIES.c.series_id)
            .offset(SERIES_OF_DAY_MAX - 1)
            .limit(1)
        )
        upper = () if last is None else (HOUR.c.series_id <= last,)
        first_hour = due.number * HOURS_OF_DAY
        here = (
            HOUR.c.hour.in_(range(first_hour, first_hour + HOURS_OF_DAY)),
            HOUR.c.series_id > due.after_series_id,
            *upper,
        )
        rows = self._put(DAY, _of_day(due.number, here))
        self._touch_series(due, last)
        if last is None:
            self._finish("day", due.number)
        else:
            self._advance("day", due.number, last)
        return rows

    # --- the plan

    def _oldest(self, span: str, *which: ColumnElement[bool]) -> _Due | None:
        query = select(DUE.c.number, DUE.c.after_series_id).where(DUE.c.span == span, *which)
        row = self._connection.execute(query.order_by(DUE.c.number).limit(1).with_for_update()).first()
        return _Due(*row) if row else None

    def _advance(self, span: str, number: int, after_series_id: int) -> None:
        this = (DUE.c.span == span, DUE.c.number == number)
        self._connection.execute(update(DUE).where(*this).values(after_series_id=after_series_id))

    def _finish(self, span: str, number: int) -> None:
        self._connection.execute(delete(DUE).where(DUE.c.span == span, DUE.c.number == number))

    # --- the rows

    def _put(self, table: Table, query: Select[Any]) -> int:
        insert = (sqlite if self._connection.dialect.name == "sqlite" else postgresql).insert(table)
        names = [column.name for column in table.c]
        into = insert.from_select(names, query)
        keys = [column.name for column in table.primary_key]
        values = {name: into.excluded[name] for name in names if name not in keys}
        upsert = into.on_conflict_do_update(index_elements=keys, set_=values)
        return self._connection.execute(upsert, execution_options={"preserve_rowcount": True}).rowcount

    def _touch_series(self, due: _Due, last: int | None) -> None:
        """Say of the slice's series that the day has something of them."""
        upper = () if last is None else (DAY.c.series_id <= last,)
        seen = select(DAY.c.series_id).where(DAY.c.day == due.number, DAY.c.series_id > due.after_series_id, *upper)
        lagging = SERIES.c.last_day < due.number - LAST_DAY_EVERY_D
        self._connection.execute(
            update(SERIES).where(lagging, SERIES.c.series_id.in_(seen)).values(last_day=due.number)
        )


def _hours_over(now: datetime) -> int:
    """Return the first hour that may not be rolled up yet."""
    return (int(now.timestamp()) - ROLLUP_AFTER_S) // HOUR_S


def _last_of_slice(samples: Table, hour: int, after: int) -> Select[Any]:
    """Ask for the last series of the slice, which is taken whole; none, when the slice reaches to the end."""
    here = (samples.c.hour == hour, samples.c.series_id > after)
    return select(samples.c.series_id).where(*here).order_by(samples.c.series_id).offset(SAMPLES_MAX).limit(1)


def _of_hour(samples: Table, number: int, here: tuple[ColumnElement[bool], ...]) -> Select[Any]:
    following = func.lead(samples.c.second, 1, HOUR_S).over(partition_by=samples.c.series_id, order_by=samples.c.second)
    passed = following - samples.c.second
    held = select(
        samples.c.series_id, samples.c.value, case((passed > HELD_S, HELD_S), else_=passed).label("held_s")
    ).where(*here)
    found = held.subquery("held")
    mean = func.sum(found.c.value * found.c.held_s) / func.sum(found.c.held_s)
    return select(
        bindparam("number", number, HOUR.c.hour.type),
        found.c.series_id,
        func.sum(found.c.held_s),
        func.count(),
        func.min(found.c.value),
        func.max(found.c.value),
        mean,
    ).group_by(found.c.series_id)


def _of_day(number: int, here: tuple[ColumnElement[bool], ...]) -> Select[Any]:
    hours: FromClause = HOUR
    return (
        select(
            bindparam("number", number, DAY.c.day.type),
            hours.c.series_id,
            func.sum(hours.c.held_s),
            func.sum(hours.c.count),
            func.min(hours.c.min),
            func.max(hours.c.max),
            func.sum(hours.c.mean * hours.c.held_s) / func.sum(hours.c.held_s),
        )
        .where(*here)
        .group_by(hours.c.series_id)
    )
