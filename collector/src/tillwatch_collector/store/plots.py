"""What a plot reads: samples where the steps are fine, hours and days where they are not.

What is not rolled up yet is read from what it will be made of: an hour that is due from its samples, a day that is due
from its hours; so the newest point is there, and a late sample shows at once. A change violates this when a plot waits
for a rollup.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Column, Connection, Table, bindparam, func, select

from tillwatch_collector.domain import plot
from tillwatch_collector.domain.measures import unit_of
from tillwatch_collector.domain.plot import DAY_S, HOUR_S, Piece, PlotRefused, Point, Window
from tillwatch_collector.store.history import DUE, SAMPLE_DAY, SERIES, day_table
from tillwatch_collector.store.rollups import DAY, HOUR, HOURS_OF_DAY
from tillwatch_collector.store.statements import THESE, these
from tillwatch_collector.store.views import SeriesView

ROWS_MAX = 200_000
"""Read for one plot: half a second."""

_OF_SERIES: BindParameter[Any] = bindparam("of_series", expanding=True)

Pieces = dict[int, list[Piece]]
"""By `series_id`."""


class KnownSeries(NamedTuple):
    """A series and its number."""

    series_id: int
    component: str
    measure: str

    @property
    def name(self) -> str:
        """As a request names it."""
        return f"{self.component}/{self.measure}"

    @property
    def unit(self) -> str:
        """As a plot shows it."""
        return unit_of(self.measure).symbol


class Plots:
    """The read model of history over one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def series(self, terminal_id: str) -> tuple[KnownSeries, ...]:
        """Return a terminal's series, by name."""
        query = select(SERIES.c.series_id, SERIES.c.component, SERIES.c.measure)
        query = query.where(SERIES.c.terminal_id == terminal_id).order_by(SERIES.c.component, SERIES.c.measure)
        return tuple(KnownSeries._make(row) for row in self._connection.execute(query))

    def samples_since(self) -> datetime | None:
        """Return the beginning of the first day that has samples, when there is something older that has none."""
        day = self._connection.scalar(select(func.min(SAMPLE_DAY.c.day)))
        hour = self._connection.scalar(select(func.min(HOUR.c.hour)))
        if day is None or hour is None or hour >= day * HOURS_OF_DAY:
            return None
        return datetime.fromtimestamp(day * DAY_S, UTC)

    def points(self, series_ids: Sequence[int], asked: Window) -> dict[int, tuple[Point, ...]]:
        """Return the points of each series; raises `PlotRefused` when it would read too much."""
        if self._connection.dialect.name == "postgresql":
            # Before it has counted a new table it would rather walk through all of it.
            self._connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        hours = range(asked.from_s // HOUR_S, -(-asked.to_s // HOUR_S))
        if asked.step_s < HOUR_S:
            found = self._samples(series_ids, hours, asked)
        elif asked.step_s < DAY_S:
            found = self._hours(series_ids, hours, asked)
        else:
            found = self._days(series_ids, range(asked.from_s // DAY_S, asked.to_s // DAY_S), asked)
        return {series_id: plot.points(found.get(series_id, ()), asked) for series_id in series_ids}

    def _days(self, series_ids: Sequence[int], days: range, asked: Window) -> Pieces:
        open_hours = self._due("hour", range(days.start * HOURS_OF_DAY, days.stop * HOURS_OF_DAY))
        due = self._due("day", days) | {hour // HOURS_OF_DAY for hour in open_hours}
        hours = [day * HOURS_OF_DAY + hour for day in sorted(due) for hour in range(HOURS_OF_DAY)]
        found = self._rollups(DAY, DAY.c.day, DAY_S, series_ids, [day for day in days if day not in due])
        return _joined(found, self._hours(series_ids, hours, asked))

    def _hours(self, series_ids: Sequence[int], hours: Sequence[int], asked: Window) -> Pieces:
        due = self._due("hour", range(min(hours, default=0), max(hours, default=-1) + 1)) & set(hours)
        found = self._rollups(HOUR, HOUR.c.hour, HOUR_S, series_ids, [hour for hour in hours if hour not in due])
        return _joined(found, self._samples(series_ids, sorted(due), asked))

    def _due(self, span: str, numbers: range) -> set[int]:
        query = select(DUE.c.number).where(
            DUE.c.span == span, DUE.c.number >= numbers.start, DUE.c.number < numbers.stop
        )
        return set(self._connection.scalars(query))

    def _rollups(
        self, table: Table, number: Column[Any], span_s: int, series_ids: Sequence[int], numbers: Sequence[int]
    ) -> Pieces:
        _expect_few(len(series_ids) * len(numbers))
        query = select(table).where(number.in_(THESE), table.c.series_id.in_(_OF_SERIES))
        found: Pieces = defaultdict(list)
        for some in these(numbers):
            rows = self._connection.execute(query, {**some, "of_series": series_ids})
            for at, series_id, held_s, count, least, greatest, mean in rows:
                found[series_id].append(Piece(at * span_s, held_s, count, least, greatest, mean))
        return found

    def _samples(self, series_ids: Sequence[int], hours: Iterable[int], asked: Window) -> Pieces:
        by_day: dict[int, list[int]] = defaultdict(list)
        for hour in hours:
            by_day[hour // HOURS_OF_DAY].append(hour % HOURS_OF_DAY)
        kept = select(SAMPLE_DAY.c.day).where(SAMPLE_DAY.c.day >= min(by_day, default=0)).order_by(SAMPLE_DAY.c.day)
        found: dict[int, list[tuple[int, float]]] = defaultdict(list)
        room = ROWS_MAX
        for day in self._connection.scalars(kept).all():
            if day in by_day:
                room -= self._samples_of_day(found, day, by_day[day], series_ids, room)
                _expect_few(ROWS_MAX - room)
        return {series_id: plot.pieces(sorted(samples), asked.step_s) for series_id, samples in found.items()}

    def _samples_of_day(
        self,
        found: dict[int, list[tuple[int, float]]],
        day: int,
        hours: list[int],
        series_ids: Sequence[int],
        room: int,
    ) -> int:
        table = day_table(day)
        query = select(table.c.hour, table.c.second, table.c.series_id, table.c.value)
        query = query.where(table.c.hour.in_(hours), table.c.series_id.in_(series_ids)).limit(room + 1)
        rows = self._connection.execute(query).all()
        for hour, second, series_id, value in rows:
            found[series_id].append((day * DAY_S + hour * HOUR_S + second, value))
        return len(rows)


def series_view(series: KnownSeries) -> SeriesView:
    """Return a series as it is shown."""
    return SeriesView(component=series.component, measure=series.measure, unit=series.unit)


def _joined(one: Pieces, other: Pieces) -> Pieces:
    return {key: [*one.get(key, ()), *other.get(key, ())] for key in one.keys() | other.keys()}


def _expect_few(rows: int) -> None:
    if rows > ROWS_MAX:
        raise PlotRefused("from", "a shorter span, fewer measures or a coarser step", f"more than {ROWS_MAX} rows")
