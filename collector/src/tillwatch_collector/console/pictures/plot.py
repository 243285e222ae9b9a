"""Measures over time as lines: where points stand, where lines break, what the axes say, and what befell meanwhile.

A line joins points that lie no further apart than a value is known to hold; what lies between is a gap, and stays one.
Around a line stands the band from the least to the greatest value of each step. The value axis ends at round numbers
and has few ticks; the time axis has its ticks at round local times of the store. Faults are spans on the same axis,
upgrades and restarts are moments. Everything here is a number in the units of the picture; templates draw.

A change violates this when a gap is bridged, a point lies outside the picture, or a tick is no round local time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

WIDTH, HEIGHT = 720, 160
"""Of the field in which lines are drawn; labels stand around it."""

TICKS_MAX = 5
"""Of values: more are not read."""
LINES_MAX = 6
"""In one picture; more are not told apart."""
ROWS = 24
"""Of the table beside a picture: whoever reads it hears it row by row."""

_HOUR_S, _DAY_S = 3_600, 86_400
_STEPS_S = (600, 1_800, _HOUR_S, 3 * _HOUR_S, 6 * _HOUR_S, 12 * _HOUR_S)
_TIMES_AIM = 8
"""Ticks of time at most, about."""
_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
_GREATEST = 1e15
"""A value beyond it is a mistake or an attack, and is drawn at the edge."""
_NOTHING = 1e-9
"""Below it all of them are drawn as nothing: no mark of a scale tells them apart."""
_FLAT = 1e-9
"""A swing below this share of its value is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What was kept of a step, from `at_s` on (counted from 1970)."""

    at_s: int
    min: float
    mean: float
    max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The span that is shown, in steps; `held_s` is how long a value holds."""

    from_s: int
    to_s: int
    step_s: int
    held_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A measure and its samples, in order of time."""

    name: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A part of a line without a gap: `points` are (x, y) from left to right, `band` goes once around."""

    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A series as it is drawn; `number` tells it from others, from 1."""

    name: str
    number: int
    stretches: tuple[Stretch, ...]
    last: float | None
    """Its newest value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTick:
    """A round value, and its height."""

    value: float
    y: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeTick:
    """A round local time, and where it stands."""

    at: datetime
    x: float
    is_day: bool
    """Its label is a day, else a time of day."""

    @property
    def label(self) -> str:
        """Write it in figures, alike in every language."""
        return self.at.strftime("%m-%d" if self.is_day else "%H:%M")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Something that befell: from `x`, `width` wide; a moment has none."""

    kind: str
    x: float
    width: float
    at: datetime
    said: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Befell:
    """Something that befell, in time; `until` is None for a moment, and for what has not ended, `is_open`."""

    kind: str
    at: datetime
    said: str
    until: datetime | None = None
    is_open: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """One picture."""

    lines: tuple[Line, ...]
    values: tuple[ValueTick, ...]
    times: tuple[TimeTick, ...]
    marks: tuple[Mark, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was kept in this span."""
        return not any(line.stretches for line in self.lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A span of a frame, in figures: of each series its mean, None where nothing was kept."""

    at: datetime
    means: tuple[float | None, ...]


def plot(series: Sequence[Series], frame: Frame, befell: Iterable[Befell], zone: tzinfo) -> Plot:
    """Draw series of one unit in one frame; those beyond `LINES_MAX` are left out."""
    shown = [_bounded(one) for one in series[:LINES_MAX]]
    values = _value_ticks([sample for one in shown for sample in one.samples])
    heights = _Heights(least=values[0], greatest=values[-1])
    return Plot(
        lines=tuple(_line(one, number, frame, heights) for number, one in enumerate(shown, start=1)),
        values=tuple(ValueTick(value=value, y=heights.of(value)) for value in values),
        times=time_ticks(frame, zone),
        marks=marks(befell, frame),
    )


def rows(series: Sequence[Series], frame: Frame) -> tuple[Row, ...]:
    """Tell series in figures, a few spans of the frame each with its means; a span without anything is told so."""
    width_s = (frame.to_s - frame.from_s) / ROWS
    return tuple(
        Row(
            at=datetime.fromtimestamp(frame.from_s + number * width_s, UTC),
            means=tuple(_mean(one.samples, frame, number, width_s) for one in series[:LINES_MAX]),
        )
        for number in range(ROWS)
    )


def _mean(samples: Sequence[Sample], frame: Frame, number: int, width_s: float) -> float | None:
    means = [one.mean for one in samples if int((one.at_s - frame.from_s) // width_s) == number]
    return sum(means) / len(means) if means else None


def time_ticks(frame: Frame, zone: tzinfo) -> tuple[TimeTick, ...]:
    """Return the round local times of a frame."""
    span_s = frame.to_s - frame.from_s
    step_s = next((step for step in _STEPS_S if span_s / step <= _TIMES_AIM), None)
    begin = datetime.fromtimestamp(frame.from_s, UTC).astimezone(zone).date()
    end = datetime.fromtimestamp(frame.to_s, UTC).astimezone(zone).date()
    if step_s is None:
        apart = max(1, math.ceil(span_s / _DAY_S / _TIMES_AIM))
        walls = [datetime.combine(day, time()) for day in _days(begin, end, apart)]
    else:
        per_day = _DAY_S // step_s
        walls = [
            datetime.combine(day, time()) + timedelta(seconds=number * step_s)
            for day in _days(begin, end, 1)
            for number in range(per_day)
        ]
    moments = (moment for wall in walls if (moment := _moment(wall, zone)) is not None)
    return tuple(
        TimeTick(at=moment, x=_x(moment.timestamp(), frame), is_day=step_s is None)
        for moment in moments
        if frame.from_s <= moment.timestamp() <= frame.to_s
    )


def marks(befell: Iterable[Befell], frame: Frame) -> tuple[Mark, ...]:
    """Place what befell within a frame, each cut to it."""
    placed = (_mark(one, frame) for one in befell)
    return tuple(sorted((mark for mark in placed if mark is not None), key=lambda mark: (mark.x, mark.kind)))


def _mark(one: Befell, frame: Frame) -> Mark | None:
    from_s = one.at.timestamp()
    until_s = frame.to_s if one.is_open else one.until.timestamp() if one.until else from_s
    if until_s < frame.from_s or from_s > frame.to_s:
        return None
    left, right = _x(max(from_s, frame.from_s), frame), _x(min(until_s, frame.to_s), frame)
    return Mark(kind=one.kind, x=left, width=round(right - left, 1), at=one.at, said=one.said)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heights:
    """Which value stands how high: the least at the bottom."""

    least: float
    greatest: float

    def of(self, value: float) -> float:
        return round(HEIGHT * (1 - (value - self.least) / (self.greatest - self.least)), 1)


def _line(series: Series, number: int, frame: Frame, heights: _Heights) -> Line:
    stretches = tuple(_stretch(part, frame, heights) for part in _unbroken(series.samples, frame))
    last = series.samples[-1].mean if series.samples else None
    return Line(name=series.name, number=number, stretches=stretches, last=last)


def _unbroken(samples: Sequence[Sample], frame: Frame) -> list[list[Sample]]:
    """Cut where values no longer hold."""
    reach_s = max(frame.held_s, frame.step_s)
    parts: list[list[Sample]] = []
    for sample in samples:
        if parts and sample.at_s - parts[-1][-1].at_s <= reach_s:
            parts[-1].append(sample)
        else:
            parts.append([sample])
    return parts


def _stretch(samples: Sequence[Sample], frame: Frame, heights: _Heights) -> Stretch:
    """Place a part of a line; each point stands in the middle of its step."""
    across = [_x(sample.at_s + frame.step_s / 2, frame) for sample in samples]
    upper = [(x, heights.of(sample.max)) for x, sample in zip(across, samples, strict=True)]
    lower = [(x, heights.of(sample.min)) for x, sample in zip(across, samples, strict=True)]
    return Stretch(
        points=tuple((x, heights.of(sample.mean)) for x, sample in zip(across, samples, strict=True)),
        band=(*upper, *reversed(lower)),
    )


def _x(at_s: float, frame: Frame) -> float:
    share = (at_s - frame.from_s) / (frame.to_s - frame.from_s)
    return round(WIDTH * min(max(share, 0.0), 1.0), 1)


def _bounded(series: Series) -> Series:
    samples = (
        Sample(at_s=one.at_s, min=_drawable(one.min), mean=_drawable(one.mean), max=_drawable(one.max))
        for one in series.samples
    )
    return Series(name=series.name, samples=tuple(samples))


def _drawable(value: float) -> float:
    return max(-_GREATEST, min(value, _GREATEST))


def _value_ticks(samples: Sequence[Sample]) -> list[float]:
    """Return round values around all samples, two at least; where none is below 0, from 0 on."""
    least = min(0.0, min((sample.min for sample in samples), default=0.0))
    greatest = max((sample.max for sample in samples), default=1.0)
    span, size = greatest - least, max(abs(least), abs(greatest))
    if size < _NOTHING:
        span = size = 1.0
    step = _round_step(span if span > _FLAT * size else size)
    first = math.floor(least / step)
    last = max(math.ceil(greatest / step), first + 1)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _round_step(span: float) -> float:
    """Return the smallest round step of which a span needs no more than the ticks allow."""
    wanted = span / (TICKS_MAX - 1)
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(factor * power for factor in _ROUND if factor * power >= wanted * (1 - 1e-9))


def _days(begin: date, end: date, apart: int) -> Iterable[date]:
    """Return days, the same ones however the frame moves within them."""
    first = begin.toordinal() - begin.toordinal() % apart
    return (date.fromordinal(number) for number in range(max(first, 1), end.toordinal() + 1, apart))


def _moment(wall: datetime, zone: tzinfo) -> datetime | None:
    """Return when a clock on the wall shows a time; None where it is skipped that day."""
    moment = wall.replace(tzinfo=zone)
    return moment if moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall else None
