"""Routes of what was measured over time, in a form that a plot takes as it is."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tillwatch_collector.api.actor import Seen
from tillwatch_collector.api.context import Context
from tillwatch_collector.api.paging import QueryMoment, QueryText
from tillwatch_collector.api.problems import FieldError, Problem, missing
from tillwatch_collector.domain import plot
from tillwatch_collector.domain.history import HELD_S, SERIES_MAX
from tillwatch_collector.domain.plot import PlotRefused, Point, Window
from tillwatch_collector.store.plots import KnownSeries, Plots, series_view
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.views import HistoryView, PointView, SeriesHistory, SeriesView

router = APIRouter(prefix="/api/v1", tags=["history"])

SERIES_AT_ONCE_MAX = 32
"""Of one answer: more lines than a plot is readable with."""


@router.get("/terminals/{terminal_id}/series")
def list_series(context: Context, seen: Seen, terminal_id: str) -> list[SeriesView]:
    """List what is measured on a terminal, with units."""
    with context.store.reading() as connection:
        if not Queries(connection, seen).sees_terminal(terminal_id):
            raise missing("terminal", terminal_id)
        return [series_view(series) for series in Plots(connection).series(terminal_id)]


class _HistoryQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    from_at: Annotated[QueryMoment | None, Field(alias="from")] = None
    to_at: Annotated[QueryMoment | None, Field(alias="to")] = None
    step: int | None = None
    """Seconds."""
    measures: Annotated[list[QueryText], Field(max_length=SERIES_MAX)] = []


@router.get("/terminals/{terminal_id}/history")
def get_history(
    context: Context, seen: Seen, terminal_id: str, asked: Annotated[_HistoryQuery, Query()]
) -> HistoryView:
    """Show how measures went: for each step that has something the least, the mean and the greatest value.

    `from` and `to` are times with their zone, by default the last 24 hours; `step` is in seconds, by default what gives
    some 300 points. `measures` names series as `component/measure`, repeated or separated by commas; without it all of
    the terminal's come, if they are few. A step without anything is left out.
    """
    with context.store.reading() as connection:
        if not Queries(connection, seen).sees_terminal(terminal_id):
            raise missing("terminal", terminal_id)
        plots = Plots(connection)
        since = plots.samples_since()
        try:
            window = plot.window(
                from_at=asked.from_at, to_at=asked.to_at, step_s=asked.step, samples_since=since, now=context.now()
            )
            chosen = _chosen(plots.series(terminal_id), asked.measures)
            points = plots.points([series.series_id for series in chosen], window)
        except PlotRefused as error:
            wrong = FieldError(field=f"query.{error.field}", expected=error.expected, got=error.got)
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), (wrong,)) from None
    return _answer(terminal_id, window, since, {series: points[series.series_id] for series in chosen})


def _chosen(known: tuple[KnownSeries, ...], asked: list[str]) -> list[KnownSeries]:
    names = {name for some in asked for name in some.split(",") if name}
    unknown = sorted(names - {series.name for series in known})
    if unknown:
        raise missing("series", unknown[0])
    chosen = [series for series in known if series.name in names or not names]
    if len(chosen) > SERIES_AT_ONCE_MAX:
        raise PlotRefused("measures", f"at most {SERIES_AT_ONCE_MAX} series, named component/measure", len(chosen))
    return chosen


def _answer(
    terminal_id: str, window: Window, since: datetime | None, found: dict[KnownSeries, tuple[Point, ...]]
) -> HistoryView:
    return HistoryView(
        terminal_id=terminal_id,
        from_at=_time(window.from_s),
        to_at=_time(window.to_s),
        step_s=window.step_s,
        held_s=HELD_S,
        samples_since=since,
        series=tuple(
            SeriesHistory(**series_view(series).model_dump(), points=tuple(map(_point, points)))
            for series, points in found.items()
        ),
    )


def _point(point: Point) -> PointView:
    return PointView(at=_time(point.at_s), min=point.min, mean=point.mean, max=point.max, count=point.kept)


def _time(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
