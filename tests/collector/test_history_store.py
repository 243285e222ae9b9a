"""Samples, rollups and plots on the databases themselves, held against sums done by hand."""

import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect
from tests.collector.databases import rows
from tests.collector.test_history import machine

from tillwatch_collector.domain.history import HELD_S, REFUSED, SERIES_MAX, Recorder
from tillwatch_collector.domain.plot import DAY_S, HOUR_S, PlotRefused, Window
from tillwatch_collector.store import plots, rollups, session
from tillwatch_collector.store.history import ROLLUP_AFTER_S, day_table
from tillwatch_collector.store.plots import Plots
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.rollups import Rollups
from tillwatch_collector.store.session import Store

DAY = datetime(2026, 11, 21, tzinfo=UTC)
TABLE = "sample_20261121"
TILL = "till-1"

Said = tuple[datetime, str, dict[str, float]]
"""When, which terminal, its measures."""


def record(
    store: Store, said: Iterable[Said], recorder: Recorder | None = None, *, now: datetime | None = None
) -> None:
    """Take heartbeats in one transaction, as ingest does."""
    recorder = recorder or Recorder()
    last = DAY
    for moment, terminal_id, measures in said:
        recorder.take(terminal_id, *machine(**measures), moment)
        last = moment
    with store.transaction() as repository:
        repository.history.write(recorder, now or last)
    recorder.committed()


def at(seconds: float) -> datetime:
    return DAY + timedelta(seconds=seconds)


def roll_all(store: Store, now: datetime) -> int:
    """Roll up what there is; returns how many slices it took."""
    slices = 0
    while True:
        with store.transaction() as repository:
            found = Rollups(repository.connection)
            if found.roll_hour(now) is None and found.roll_day(now) is None:
                return slices
        slices += 1


def kept_by_series(store: Store, table: str = TABLE) -> dict[int, list[tuple[int, float]]]:
    """Return a day's samples: (second of the day, value) by series."""
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for hour, second, series_id, value in rows(
        store, f"SELECT hour, second, series_id, value FROM {table} ORDER BY hour, second"
    ):
        found[series_id].append((hour * HOUR_S + second, value))
    return found


# --- samples


def test_samples_lie_in_the_table_of_their_utc_day(store: Store) -> None:
    record(store, [(at(DAY_S - 1), TILL, {"cpu_pct": 20}), (at(DAY_S), TILL, {"cpu_pct": 60})])
    assert rows(store, f"SELECT hour, second, value FROM {TABLE}") == [(23, 3599, 20.0)]
    assert rows(store, "SELECT hour, second, value FROM sample_20261122") == [(0, 0, 60.0)]
    assert rows(store, "SELECT day FROM sample_day ORDER BY day") == [(20778,), (20779,)]


def test_where_nothing_was_kept_nothing_is_prepared(store: Store) -> None:
    record(store, [])
    assert rows(store, "SELECT count(*) FROM sample_day") == [(0,)]


def test_a_series_has_one_number_whoever_asks(store: Store) -> None:
    for seconds in (0, 400):
        record(store, [(at(seconds), "b", {"dns_ms": 3, "cpu_pct": 20}), (at(seconds), "a", {"cpu_pct": 1})])
    series = rows(store, "SELECT series_id, terminal_id, component, measure FROM series ORDER BY series_id")
    assert [row[1:] for row in series] == [
        ("a", "machine:self", "cpu_pct"),
        ("b", "machine:self", "cpu_pct"),
        ("b", "machine:self", "dns_ms"),
    ]
    assert {number: len(kept) for number, kept in kept_by_series(store).items()} == {row[0]: 2 for row in series}


def test_a_terminal_that_makes_up_names_fills_its_limit_and_no_more(store: Store) -> None:
    recorder = Recorder()
    for beat in range(4):
        measures = {f"m{beat}_{number}": 1.0 for number in range(100)}
        record(store, [(at(beat), TILL, measures), (at(beat), "other", {"cpu_pct": 20})], recorder)
    assert rows(store, f"SELECT count(*) FROM series WHERE terminal_id = '{TILL}'") == [(SERIES_MAX,)]
    assert rows(store, f"SELECT count(*) FROM {TABLE}") == [(SERIES_MAX + 1,)]
    record(store, [(at(10), TILL, {"late": 1.0, "m0_1": 9.0})], recorder)
    assert rows(store, f"SELECT count(*) FROM {TABLE}") == [(SERIES_MAX + 2,)]  # what is known goes on
    assert recorder._books[TILL].numbers[0] == REFUSED


def test_a_transaction_that_is_rolled_back_leaves_neither_rows_nor_belief(store: Store) -> None:
    recorder = Recorder()

    def fail(repository: Repository) -> None:
        repository.history.write(recorder, DAY)
        raise ZeroDivisionError

    recorder.take(TILL, *machine(cpu_pct=20), DAY)
    with pytest.raises(ZeroDivisionError), store.transaction() as repository:
        fail(repository)
    recorder.rolled_back()
    assert rows(store, "SELECT count(*) FROM series") == [(0,)]
    record(store, [(DAY, TILL, {"cpu_pct": 20})], recorder)
    assert rows(store, f"SELECT value FROM {TABLE}") == [(20.0,)]
    assert rows(store, "SELECT span, number FROM rollup_due") == [("hour", 20778 * 24)]


def test_a_days_table_that_went_is_made_again_when_a_clock_goes_back(store: Store) -> None:
    recorder = Recorder()
    record(store, [(DAY, TILL, {"cpu_pct": 20})], recorder)
    with store.transaction() as repository:
        repository.connection.exec_driver_sql(f"DROP TABLE {TABLE}")
        repository.connection.exec_driver_sql("DELETE FROM sample_day")
    recorder.take(TILL, *machine(cpu_pct=90), at(60))
    with pytest.raises(Exception, match="sample"), store.transaction() as repository:
        repository.history.write(recorder, at(60))
    recorder.rolled_back()
    record(store, [(at(61), TILL, {"cpu_pct": 90})], recorder)
    assert rows(store, f"SELECT value FROM {TABLE}") == [(90.0,)]


def test_several_processes_begin_a_day_and_a_series_at_once(database_url: str) -> None:
    session.migrate(database_url)
    stores = [Store.open(database_url) for _ in range(4)]
    begin = threading.Barrier(len(stores))

    def write(number: int) -> None:
        begin.wait()
        record(stores[number], [(at(number), TILL, {"cpu_pct": 20, "dns_ms": number + 1})])

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(write, range(len(stores))))
    assert rows(stores[0], f"SELECT count(*), count(DISTINCT series_id) FROM {TABLE}") == [(8, 2)]
    assert rows(stores[0], "SELECT count(*) FROM series") == [(2,)]
    for store in stores:
        store.close()


def test_large_whole_numbers_are_taken(store: Store) -> None:
    record(store, [(DAY, TILL, {"memory_bytes": 2**63 - 1, "low": -(2**63) + 1, "tiny": 5e-324})])
    assert sorted(row[0] for row in rows(store, f"SELECT value FROM {TABLE}")) == [-(2.0**63), 5e-324, 2.0**63]


def test_the_tables_of_days_are_alike_to_whoever_looks(store: Store) -> None:
    record(store, [(DAY, TILL, {"cpu_pct": 20})])
    with store.reading() as connection:
        columns = {column["name"] for column in inspect(connection).get_columns(TABLE)}
    assert columns == {column.name for column in day_table(20778).c} == {"hour", "second", "series_id", "value"}


# --- rollups


def brute(samples: Sequence[tuple[int, float]], length_s: int) -> tuple[int, int, float, float, float]:
    """Sum one span's samples (second, value) by hand: every second asks which value held in it."""
    weights: dict[int, int] = defaultdict(int)
    for second in range(length_s):
        before = [place for place, (at_s, _) in enumerate(samples) if at_s <= second]
        if before and second - samples[before[-1]][0] < HELD_S:
            weights[before[-1]] += 1
    held_s = sum(weights.values())
    mean = sum(samples[place][1] * weight for place, weight in weights.items()) / held_s
    values = [value for _, value in samples]
    return held_s, len(samples), min(values), max(values), mean


def seeded(seed: int, *, days: int = 1) -> list[Said]:
    """A few terminals that speak, with gaps, over some hours of each day."""
    rng = random.Random(seed)
    said: list[Said] = []
    for day in range(days):
        for hour in rng.sample(range(24), 4):
            seconds = sorted(rng.sample(range(HOUR_S), rng.randint(1, 12)))
            said += [
                (
                    at(day * DAY_S + hour * HOUR_S + second),
                    f"till-{rng.randrange(3)}",
                    {"cpu_pct": rng.uniform(0, 100), "dns_ms": float(rng.randrange(500))},
                )
                for second in seconds
            ]
    return sorted(said, key=lambda one: one[0])


@pytest.mark.parametrize("seed", range(4))
def test_an_hours_rollup_is_the_sum_by_hand(store: Store, seed: int) -> None:
    record(store, seeded(seed))
    roll_all(store, at(DAY_S + HOUR_S))
    by_hour: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
    for series_id, samples in kept_by_series(store).items():
        for second, value in samples:
            by_hour[20778 * 24 + second // HOUR_S, series_id].append((second % HOUR_S, value))
    found = {
        (hour, series_id): rest
        for hour, series_id, *rest in rows(
            store, 'SELECT hour, series_id, held_s, count, "min", "max", mean FROM rollup_hour'
        )
    }
    assert found.keys() == by_hour.keys()
    for key, samples in by_hour.items():
        assert found[key] == pytest.approx(brute(samples, HOUR_S)), (seed, key)


@pytest.mark.parametrize("seed", range(4))
def test_a_days_rollup_is_its_hours_by_weight(store: Store, seed: int) -> None:
    record(store, seeded(seed, days=2))
    roll_all(store, at(3 * DAY_S))
    hours = rows(store, 'SELECT hour / 24, series_id, held_s, count, "min", "max", mean FROM rollup_hour')
    days: dict[tuple[int, int], list[tuple[float, ...]]] = defaultdict(list)
    for day, series_id, *rest in hours:
        days[day, series_id].append(tuple(rest))
    found = rows(store, 'SELECT day, series_id, held_s, count, "min", "max", mean FROM rollup_day')
    assert len(found) == len(days)
    for day, series_id, *rest in found:
        of = days[day, series_id]
        held_s = sum(hour[0] for hour in of)
        mean = sum(hour[4] * hour[0] for hour in of) / held_s
        least, greatest = min(hour[2] for hour in of), max(hour[3] for hour in of)
        assert rest == pytest.approx([held_s, sum(hour[1] for hour in of), least, greatest, mean]), seed
    assert rows(store, "SELECT count(*) FROM rollup_due") == [(0,)]


def test_slices_of_any_size_end_alike(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, seeded(7, days=2))
    roll_all(store, at(3 * DAY_S))
    query = "SELECT * FROM {} ORDER BY 1, 2"
    whole = [rows(store, query.format(table)) for table in ("rollup_hour", "rollup_day")]
    with store.transaction() as repository:
        for table in ("rollup_hour", "rollup_day"):
            repository.connection.exec_driver_sql(f"DELETE FROM {table}")
        for hour in {row[0] for row in whole[0]}:
            repository.connection.exec_driver_sql(f"INSERT INTO rollup_due VALUES ('hour', {hour}, 0)")
    monkeypatch.setattr(rollups, "SAMPLES_MAX", 5)
    monkeypatch.setattr(rollups, "SERIES_OF_DAY_MAX", 2)
    assert roll_all(store, at(3 * DAY_S)) > len(whole[0]) / 6
    assert [rows(store, query.format(table)) for table in ("rollup_hour", "rollup_day")] == whole


def test_an_hour_is_rolled_up_after_its_end_and_a_margin(store: Store) -> None:
    record(store, [(at(10), TILL, {"cpu_pct": 20})])
    assert roll_all(store, at(HOUR_S + ROLLUP_AFTER_S - 1)) == 0
    assert roll_all(store, at(HOUR_S + ROLLUP_AFTER_S)) == 1
    assert rows(store, "SELECT span FROM rollup_due") == [("day",)]


def test_a_late_sample_rolls_its_hour_and_its_day_up_anew(store: Store) -> None:
    recorder = Recorder()
    record(store, [(at(10), TILL, {"cpu_pct": 20})], recorder)
    roll_all(store, at(2 * DAY_S))
    assert rows(store, 'SELECT count, "max" FROM rollup_day') == [(1, 20.0)]
    record(store, [(at(60), TILL, {"cpu_pct": 80})], recorder, now=at(2 * DAY_S))
    with store.transaction() as repository:
        assert Rollups(repository.connection).waiting(at(2 * DAY_S)) == 1
    roll_all(store, at(2 * DAY_S))
    assert rows(store, 'SELECT count, "max" FROM rollup_hour') == [(2, 80.0)]
    assert rows(store, 'SELECT count, "max" FROM rollup_day') == [(2, 80.0)]


def test_an_hour_whose_samples_went_is_let_go(store: Store) -> None:
    with store.transaction() as repository:
        repository.connection.exec_driver_sql("INSERT INTO rollup_due VALUES ('hour', 100, 0)")
    assert roll_all(store, DAY) == 1
    assert rows(store, "SELECT count(*) FROM rollup_due") == [(0,)]


def test_a_series_says_now_and_then_that_it_lives(store: Store) -> None:
    record(store, [(DAY, TILL, {"cpu_pct": 20})])
    for days, told in ((20, 20778), (31, 20809), (40, 20809)):
        record(store, [(at(days * DAY_S), TILL, {"cpu_pct": 20})])
        roll_all(store, at((days + 2) * DAY_S))
        assert rows(store, "SELECT last_day FROM series") == [(told,)]


# --- plots


def window(first_s: int, last_s: int, step_s: int) -> Window:
    start = int(DAY.timestamp())
    return Window(from_s=start + first_s, to_s=start + last_s, step_s=step_s)


def plotted(store: Store, asked: Window) -> list[tuple[float, ...]]:
    """Return the points of the only series, counted from the day's start."""
    with store.reading() as connection:
        found = Plots(connection)
        (series,) = found.series(TILL)
        points = found.points([series.series_id], asked)[series.series_id]
    return [(at_s - int(DAY.timestamp()), *rest) for at_s, *rest in points]


def test_a_plot_shows_what_was_kept_and_gaps_as_gaps(store: Store) -> None:
    record(store, [(at(seconds), TILL, {"cpu_pct": float(seconds / 30)}) for seconds in (0, 60, 150, 1_200)])
    assert plotted(store, window(0, 1_800, 300)) == [
        (0, 3, 0.0, pytest.approx((0 * 60 + 2 * 90 + 5 * 150) / 300), 5.0),
        (1_200, 1, 40.0, 40.0, 40.0),
    ]


@pytest.mark.parametrize("rolled_up_h", [0, 20, 30, 80])
def test_a_plot_is_the_same_before_and_after_rollups(store: Store, rolled_up_h: int) -> None:
    said = [(at(h * HOUR_S + m * 60), TILL, {"cpu_pct": float(h)}) for h in range(60) for m in (0, 20, 40)]
    record(store, said, now=at(0))
    windows = [window(0, 4 * DAY_S, step_s) for step_s in (60, 300, HOUR_S, 6 * HOUR_S, DAY_S, 2 * DAY_S)]
    before = [plotted(store, asked) for asked in windows]
    roll_all(store, at(rolled_up_h * HOUR_S + 1_000))
    for points, asked in zip(before, windows, strict=True):
        assert sum(point[1] for point in points) == len(said)
        assert plotted(store, asked) == [pytest.approx(point) for point in points]


def test_no_window_shows_a_point_outside_itself(store: Store) -> None:
    rng = random.Random(5)
    seconds = sorted(rng.sample(range(3 * DAY_S), 300))
    record(store, [(at(second), TILL, {"cpu_pct": float(second * 2)}) for second in seconds])
    roll_all(store, at(2 * DAY_S))
    for _ in range(60):
        step_s = rng.choice((60, 300, 900, HOUR_S, 6 * HOUR_S, DAY_S))
        first = rng.randrange(0, 4 * DAY_S // step_s) * step_s
        last = first + rng.randint(1, 40) * step_s
        found = plotted(store, window(first, last, step_s))
        assert all(first <= at_s < last and at_s % step_s == 0 for at_s, *_ in found)
        kept = [second for second in seconds if first <= second < last]
        assert sum(point[1] for point in found) == len(kept)
        assert [point[0] for point in found] == sorted({second // step_s * step_s for second in kept})


def test_a_plot_that_would_read_too_much_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, [(at(minute * 300), TILL, {"cpu_pct": 20}) for minute in range(20)])
    monkeypatch.setattr(plots, "ROWS_MAX", 19)
    for step_s in (300, HOUR_S):  # too many samples; too many hours
        with pytest.raises(PlotRefused, match="a shorter span"):
            plotted(store, window(0, DAY_S, step_s))


def test_rollups_are_found_by_their_key(tmp_path: Path) -> None:
    """On SQLite, where the planner is told nothing: a plot of a series never walks over the others."""
    url = f"sqlite:///{tmp_path}/tillwatch.db"
    session.migrate(url)
    store = Store.open(url)
    record(store, [(DAY, TILL, {"cpu_pct": 20})])
    looks = {
        "rollup_hour": "SELECT * FROM rollup_hour WHERE hour IN (1, 2, 3) AND series_id IN (4, 5)",
        TABLE: f"SELECT * FROM {TABLE} WHERE hour IN (1, 2) AND series_id IN (4, 5)",
    }
    for table, query in looks.items():
        (plan,) = (row[3] for row in rows(store, f"EXPLAIN QUERY PLAN {query}"))
        assert plan == f"SEARCH {table} USING PRIMARY KEY (hour=? AND series_id=?)"
    store.close()
