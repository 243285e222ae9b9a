"""What a plot of a terminal's history asks for, and how pieces of it become points.

A window is a span cut into steps that begin where the clock does: a step divides an hour, or is some hours that divide
a day, or whole days, all in UTC. What was asked is widened to whole steps, so that every point covers all of its step.
A step in which nothing was kept has no point: nothing is interpolated, and a line is to be drawn only between points
that lie no further apart than `HELD_S` or one step.

Pieces are samples, hours or days; a mean weighs each by how long it held (`store.rollups` says how long that is). A
change violates this when a point lies outside its window, or the same pieces in another order make other points.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from tillwatch_collector.domain.history import HELD_S
from tillwatch_collector.errors import CallerError

HOUR_S, DAY_S = 3_600, 86_400

POINTS_MAX = 2_000
"""Of one series: more than a wide screen has pixels."""

POINTS_AIM = 300
"""Of one series where no step is asked for: a day at the rate of frames."""

SPAN_DEFAULT = timedelta(hours=24)

_STEPS_S = (1, 2, 5, 10, 30, 60, 300, 600, 900, 1_800, HOUR_S, 7_200, 10_800, 21_600, 43_200, DAY_S)
"""Chosen from where no step is asked for; beyond them whole days."""


class PlotRefused(CallerError):  # noqa: N818 - it names what is so
    """What was asked cannot be plotted; names the parameter."""

    def __init__(self, field: str, expected: str, got: object) -> None:
        super().__init__(f"{field}: expected {expected}, got {got}")
        self.field = field
        self.expected = expected
        self.got = str(got)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """From `from_s` up to, and without, `to_s`, in steps; counted from 1970, both on a step."""

    from_s: int
    to_s: int
    step_s: int


class Piece(NamedTuple):
    """What is known of a series from `at_s` on, for `held_s`."""

    at_s: int
    held_s: int
    kept: int
    """How many samples."""
    min: float
    max: float
    mean: float


class Point(NamedTuple):
    """A step in which something was kept; `at_s` is its beginning."""

    at_s: int
    kept: int
    min: float
    mean: float
    max: float


def window(
    *,
    from_at: datetime | None,
    to_at: datetime | None,
    step_s: int | None,
    samples_since: datetime | None,
    now: datetime,
) -> Window:
    """Return the window that is asked for; raises `PlotRefused`.

    Before `samples_since` there are no samples, and a step that is not asked for is not finer than an hour.
    """
    end = to_at or now
    begin = from_at or max(end, datetime.min.replace(tzinfo=UTC) + SPAN_DEFAULT) - SPAN_DEFAULT
    if begin >= end:
        raise PlotRefused("from", f"a time before {end.isoformat()}", begin.isoformat())
    first_s, last_s = begin.timestamp(), end.timestamp()
    finest_s = HOUR_S if samples_since is not None and begin < samples_since else 1
    step = _step(last_s - first_s, finest_s) if step_s is None else _expect_step(step_s)
    from_s, to_s = int(first_s // step) * step, -int(-last_s // step) * step
    if (to_s - from_s) // step > POINTS_MAX:
        least = f"at least {-int(-(last_s - first_s) // POINTS_MAX)} seconds, or a shorter span"
        raise PlotRefused("step", f"{least}, for at most {POINTS_MAX} points", step)
    return Window(from_s=from_s, to_s=to_s, step_s=step)


def pieces(samples: Sequence[tuple[int, float]], step_s: int) -> list[Piece]:
    """Return what samples (`at_s`, value) in order of time say: each holds until the next, its hour's or step's end."""
    clip_s = min(step_s, HOUR_S)
    following = [later for (_, _), (later, _) in pairwise(samples)] + [samples[-1][0] + HELD_S] if samples else []
    return [
        Piece(at_s, min(later, at_s + HELD_S, (at_s // clip_s + 1) * clip_s) - at_s, 1, value, value, value)
        for (at_s, value), later in zip(samples, following, strict=True)
    ]


def points(found: Iterable[Piece], asked: Window) -> tuple[Point, ...]:
    """Put pieces together, step by step."""
    steps: dict[int, list[Piece]] = defaultdict(list)
    for piece in found:
        if asked.from_s <= piece.at_s < asked.to_s:
            steps[piece.at_s // asked.step_s].append(piece)
    return tuple(_point(number * asked.step_s, steps[number]) for number in sorted(steps))


def _point(at_s: int, found: Sequence[Piece]) -> Point:
    held_s = sum(piece.held_s for piece in found)
    least, greatest = min(piece.min for piece in found), max(piece.max for piece in found)
    mean = sum(piece.mean * (piece.held_s / held_s) for piece in sorted(found))
    return Point(
        at_s=at_s,
        kept=sum(piece.kept for piece in found),
        min=least,
        mean=min(max(mean, least), greatest),
        max=greatest,
    )


def _step(span_s: float, finest_s: int) -> int:
    wanted_s = max(span_s / POINTS_AIM, finest_s)
    days = -int(-wanted_s // DAY_S)
    return next((step for step in _STEPS_S if step >= wanted_s), days * DAY_S)


def _expect_step(step_s: int) -> int:
    divides = step_s > 0 and (
        HOUR_S % step_s == 0 or (step_s % HOUR_S == 0 and DAY_S % step_s == 0) or step_s % DAY_S == 0
    )
    if not divides:
        expected = "seconds that divide an hour, or hours that divide a day, or whole days"
        raise PlotRefused("step", expected, step_s)
    return step_s
