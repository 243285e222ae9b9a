"""Plots by exact numbers: where points stand, where lines break, what the axes say, what befell meanwhile."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tillwatch_collector.console.pictures import plot
from tillwatch_collector.console.pictures.plot import HEIGHT, LINES_MAX, ROWS, WIDTH, Befell, Frame, Sample, Series

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_S = int(NOON.timestamp())
HOUR = Frame(from_s=NOON_S, to_s=NOON_S + 3_600, step_s=60, held_s=600)
SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")


def sample(after_s: int, value: float, *, least: float | None = None, greatest: float | None = None) -> Sample:
    least, greatest = value if least is None else least, value if greatest is None else greatest
    return Sample(at_s=NOON_S + after_s, min=least, mean=value, max=greatest)


def drawn(*samples: Sample, frame: Frame = HOUR) -> plot.Plot:
    return plot.plot([Series(name="gateway_ms", samples=samples)], frame, (), UTC)


# --- lines


def test_a_point_stands_in_the_middle_of_its_step_and_at_its_height() -> None:
    (line,) = drawn(sample(0, 0.0), sample(600, 10.0), sample(1_200, 2.5)).lines
    assert [stretch.points for stretch in line.stretches] == [((6.0, 160.0), (126.0, 0.0), (246.0, 120.0))]
    assert line.last == 2.5


def test_the_band_goes_around_from_the_least_to_the_greatest() -> None:
    (line,) = drawn(sample(0, 5.0, least=0.0, greatest=10.0), sample(60, 5.0, least=2.5, greatest=7.5)).lines
    assert line.stretches[0].band == ((6.0, 0.0), (18.0, 40.0), (18.0, 120.0), (6.0, 160.0))


@pytest.mark.parametrize(
    ("after_s", "stretches"),
    [
        # a value holds as long as the collector takes it to
        (600, [2]),
        # what lies between is a gap, and stays one
        (601, [1, 1]),
        (3_000, [1, 1]),
    ],
)
def test_gaps_stay_gaps(after_s: int, stretches: list[int]) -> None:
    (line,) = drawn(sample(0, 1.0), sample(after_s, 1.0)).lines
    assert [len(stretch.points) for stretch in line.stretches] == stretches


def test_steps_longer_than_a_value_holds_are_joined_to_the_next() -> None:
    month = Frame(from_s=NOON_S, to_s=NOON_S + 30 * 86_400, step_s=21_600, held_s=600)
    (line,) = drawn(sample(0, 1.0), sample(21_600, 1.0), sample(3 * 21_600, 1.0), frame=month).lines
    assert [len(stretch.points) for stretch in line.stretches] == [2, 1]


def test_nothing_is_drawn_of_nothing() -> None:
    empty = drawn()
    assert empty.is_empty
    assert [tick.value for tick in empty.values] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert not drawn(sample(0, 1.0)).is_empty


def test_lines_beyond_what_is_told_apart_are_left_out() -> None:
    many = [Series(name=f"m{number}", samples=()) for number in range(LINES_MAX + 3)]
    lines = plot.plot(many, HOUR, (), UTC).lines
    assert [line.number for line in lines] == [1, 2, 3, 4, 5, 6]


# --- the value axis


@pytest.mark.parametrize(
    ("least", "greatest", "ticks"),
    [
        (0.0, 10.0, [0.0, 2.5, 5.0, 7.5, 10.0]),
        # what is never negative begins at 0
        (80.0, 95.0, [0.0, 25.0, 50.0, 75.0, 100.0]),
        # a signal lies below 0
        (-112.0, -97.0, [-115.0, -110.0, -105.0, -100.0, -95.0]),
        (0.0, 0.0013, [0.0, 0.0005, 0.001, 0.0015]),
        # a flat line has room above it
        (0.0, 0.0, [0.0, 0.25]),
        (-80.0, -80.0, [-80.0, -60.0]),
        (-5.0, 5.0, [-5.0, -2.5, 0.0, 2.5, 5.0]),
    ],
)
def test_the_value_axis_ends_at_round_numbers(least: float, greatest: float, ticks: list[float]) -> None:
    values = drawn(sample(0, least), sample(60, greatest)).values
    assert [tick.value for tick in values] == ticks
    assert (values[0].y, values[-1].y) == (HEIGHT, 0.0)


# --- the time axis


@pytest.mark.parametrize(
    ("begin", "span", "zone", "labels"),
    [
        (NOON, timedelta(hours=1), SHANGHAI, ["20:00", "20:10", "20:20", "20:30", "20:40", "20:50", "21:00"]),
        (
            NOON,
            timedelta(days=1),
            SHANGHAI,
            ["21:00", "00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00"],
        ),
        # India's clocks stand half an hour apart from the others
        (
            NOON,
            timedelta(hours=1),
            ZoneInfo("Asia/Kolkata"),
            ["17:30", "17:40", "17:50", "18:00", "18:10", "18:20", "18:30"],
        ),
        (
            NOON,
            timedelta(days=7),
            SHANGHAI,
            ["11-22", "11-23", "11-24", "11-25", "11-26", "11-27", "11-28"],
        ),
        # a month has a tick every few days, at midnight
        (NOON, timedelta(days=30), BERLIN, ["11-24", "11-28", "12-02", "12-06", "12-10", "12-14", "12-18"]),
    ],
)
def test_the_time_axis_has_round_local_times(
    begin: datetime, span: timedelta, zone: ZoneInfo, labels: list[str]
) -> None:
    from_s = int(begin.timestamp())
    frame = Frame(from_s=from_s, to_s=from_s + int(span.total_seconds()), step_s=60, held_s=600)
    ticks = plot.time_ticks(frame, zone)
    assert [tick.label for tick in ticks] == labels
    assert all(0 <= tick.x <= WIDTH for tick in ticks)


def test_an_hour_that_is_skipped_has_no_tick() -> None:
    midnight = datetime(2026, 3, 28, 23, tzinfo=UTC)  # in Berlin clocks go from 02:00 to 03:00 that night
    from_s = int(midnight.timestamp())
    frame = Frame(from_s=from_s, to_s=from_s + 6 * 3_600, step_s=60, held_s=600)
    assert [tick.label for tick in plot.time_ticks(frame, BERLIN)] == [
        "00:00",
        "01:00",
        "03:00",
        "04:00",
        "05:00",
        "06:00",
        "07:00",
    ]


# --- what befell


def befell(after_s: float, until_s: float | None = None, *, is_open: bool = False, kind: str = "fault") -> Befell:
    until = None if until_s is None else NOON + timedelta(seconds=until_s)
    return Befell(kind=kind, at=NOON + timedelta(seconds=after_s), until=until, is_open=is_open, said="it")


@pytest.mark.parametrize(
    ("one", "placed"),
    [
        (befell(900, 1_800), [(180.0, 180.0)]),
        # a moment has no width
        (befell(1_800), [(360.0, 0.0)]),
        # what has not ended reaches to the end; what began before begins at the beginning
        (befell(1_800, is_open=True), [(360.0, 360.0)]),
        (befell(-900, 900), [(0.0, 180.0)]),
        # what was over before, or begins after, is not here
        (befell(-900, -1), []),
        (befell(-900), []),
        (befell(3_601, is_open=True), []),
    ],
)
def test_what_befell_is_cut_to_the_frame(one: Befell, placed: list[tuple[float, float]]) -> None:
    assert [(mark.x, mark.width) for mark in plot.marks([one], HOUR)] == placed


# --- in figures


def test_in_figures_each_part_of_the_span_has_its_mean_or_says_that_there_is_none() -> None:
    series = Series(name="a", samples=(sample(0, 1.0), sample(60, 3.0), sample(3_540, 7.0)))
    rows = plot.rows([series], HOUR)
    assert len(rows) == ROWS
    assert (rows[0].at, rows[0].means) == (NOON, (2.0,))
    assert (rows[1].at, rows[1].means) == (NOON + timedelta(seconds=150), (None,))
    assert rows[-1].means == (7.0,)


# --- anything


VALUES = st.floats(allow_nan=False, allow_infinity=False)


@example([(0, 0.0, 0.0, 4.896165727310997e-128)], UTC)
@example([(0, 4.896165727310997e-128, 4.896165727310997e-128, 4.896165727310997e-128)], UTC)
@example([(0, 5e-324, 0.0, 0.0)], UTC)
@given(
    st.lists(st.tuples(st.integers(0, 3_599), VALUES, VALUES, VALUES), max_size=40, unique_by=lambda one: one[0]),
    st.sampled_from([UTC, SHANGHAI, BERLIN]),
)
def test_whatever_was_measured_stands_within_the_picture(
    told: list[tuple[int, float, float, float]], zone: ZoneInfo
) -> None:
    samples = [
        Sample(at_s=NOON_S + after_s, min=min(values), mean=sorted(values)[1], max=max(values))
        for after_s, *values in sorted(told)
    ]
    picture = drawn(*samples)
    assert 2 <= len(picture.values) <= plot.TICKS_MAX + 2
    assert [tick.value for tick in picture.values] == sorted({tick.value for tick in picture.values})
    (line,) = picture.lines
    assert sum(len(stretch.points) for stretch in line.stretches) == len(samples)
    for stretch in line.stretches:
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in (*stretch.points, *stretch.band))
        across = [x for x, _ in stretch.points]
        assert across == sorted(across)
    assert plot.time_ticks(HOUR, zone)
