"""Which numbers of a heartbeat become samples, and that nothing a terminal sends makes the recorder grow."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from tests.collector.words import START, at

from tillwatch_collector.domain.history import (
    FRAME_S,
    LAYOUTS_MAX,
    NOTED_MAX,
    REFUSED,
    SERIES_MAX,
    UNRESOLVED,
    Recorder,
)
from tillwatch_collector.domain.measures import unit_of

TILL = "till-1"


Said = tuple[tuple[str, ...], list[float]]
"""Names and values, as a recorder takes them."""


def machine(**measures: float) -> Said:
    return measured({"machine:self": measures})


def measured(components: Mapping[str, Mapping[str, float]]) -> Said:
    """What components measured, by their name."""
    names = [name for component, measures in components.items() for name in (component, *measures)]
    return tuple(names), [value for measures in components.values() for value in measures.values()]


def samples(recorder: Recorder) -> list[tuple[str, float]]:
    """Return what was kept since the last commit, by measure."""
    return [
        (book.layout.series[place][1], values[place]) for book, _, places, values in recorder.kept for place in places
    ]


def taken(recorder: Recorder, seconds: float, **measures: float) -> list[tuple[str, float]]:
    """Take a heartbeat, commit it, and return what was kept of it."""
    recorder.take(TILL, *machine(**measures), at(seconds))
    found = samples(recorder)
    recorder.committed()
    return found


# --- what is kept


def test_the_first_heartbeat_is_kept_whole() -> None:
    assert taken(Recorder(), 0, cpu_pct=20, uptime_s=7) == [("cpu_pct", 20), ("uptime_s", 7)]


def test_what_has_no_measures_is_nothing() -> None:
    recorder = Recorder()
    recorder.take(TILL, (), [], START)
    assert (recorder.kept, recorder.taken) == ([], 0)


@pytest.mark.parametrize(
    ("measure", "kept", "same", "news"),
    [
        ("disk_free_pct", 50, 51, 51.1),  # a point
        ("disk_free_pct", 50, 49, 48.9),  # either way
        ("dns_ms", 100, 125, 126),  # a tenth
        ("dns_ms", 2, 4, 4.1),  # but at least 1 ms
        ("dns_ms", 0, 2, 2.1),
        ("answer_s", 20, 22, 22.1),  # a time, however long its unit
        ("cpu_celsius", -3, -2, -1.5),
        ("rsrp_dbm", -90, -92, -93),
        ("snr_db", 10, 12, 12.5),
        ("supply_mv", 5000, 4900, 4890),
        ("memory_bytes", 1000, 1050, 1051),
        ("pages_per_s", 10, 11, 11.5),  # not a time: the longer ending counts
        ("uptime_s", 100, 10_000_000, 99),  # a counter that fell: the machine started again
        ("printed_total", 100, 10_000_000, 99),
        ("carrier_changes", 5, 5, 6),  # a number without a unit: a hundredth
        ("carrier_changes", 1000, 1010, 1011),
        ("carrier_changes", 0, 0, 1),
    ],
)
def test_a_change_beyond_its_units_deadband_is_kept(measure: str, kept: float, same: float, news: float) -> None:
    recorder = Recorder()
    taken(recorder, 0, **{measure: kept})
    assert taken(recorder, 10, **{measure: same}) == []
    assert taken(recorder, 20, **{measure: news}) == [(measure, news)]


def test_a_change_is_one_from_what_was_kept_not_from_what_was_said() -> None:
    recorder = Recorder()
    taken(recorder, 0, cpu_pct=20)
    assert [taken(recorder, 10 * step, cpu_pct=20 + step * 0.4) for step in (1, 2, 3)] == [[], [], [("cpu_pct", 21.2)]]


def test_only_what_changed_is_kept_between_frames() -> None:
    recorder = Recorder()
    taken(recorder, 0, cpu_pct=20, disk_free_pct=60)
    assert taken(recorder, 60, cpu_pct=90, disk_free_pct=60) == [("cpu_pct", 90)]
    assert taken(recorder, 120, cpu_pct=90, disk_free_pct=60) == []


def test_every_five_minutes_the_whole_is_kept() -> None:
    recorder = Recorder()
    frames = [seconds for seconds in range(0, 3_600, 60) if len(taken(recorder, seconds, cpu_pct=20, dns_ms=3)) == 2]
    assert frames == list(range(0, 3_600, FRAME_S))


def test_a_heartbeat_a_little_early_does_not_put_the_frame_off() -> None:
    recorder = Recorder()
    taken(recorder, 0.9, cpu_pct=20)
    assert taken(recorder, 299.2, cpu_pct=20) == [("cpu_pct", 20)]


def test_a_clock_that_was_set_back_begins_a_frame() -> None:
    recorder = Recorder()
    taken(recorder, 0, cpu_pct=20)
    assert taken(recorder, -7_200, cpu_pct=20) == [("cpu_pct", 20)]


def test_a_second_has_one_sample_and_the_change_is_kept_with_the_next() -> None:
    recorder = Recorder()
    taken(recorder, 0.1, cpu_pct=20)
    assert taken(recorder, 0.9, cpu_pct=90) == []
    assert taken(recorder, 1.1, cpu_pct=90) == [("cpu_pct", 90)]


# --- transactions


def test_what_was_rolled_back_is_kept_again() -> None:
    recorder = Recorder()
    taken(recorder, 0, cpu_pct=20)
    recorder.take(TILL, *machine(cpu_pct=50), at(60))
    recorder.rolled_back()
    assert recorder.kept == []
    assert taken(recorder, 60, cpu_pct=50) == [("cpu_pct", 50)]


def test_a_heartbeat_that_is_taken_twice_before_the_commit_is_kept_once() -> None:
    recorder = Recorder()
    for _ in range(2):
        recorder.take(TILL, *machine(cpu_pct=20), START)
    assert samples(recorder) == [("cpu_pct", 20)]


def test_several_heartbeats_of_one_transaction_follow_each_other() -> None:
    recorder = Recorder()
    for seconds, value in ((0, 20), (10, 20.5), (20, 30), (30, 30)):
        recorder.take(TILL, *machine(cpu_pct=value), at(seconds))
    assert samples(recorder) == [("cpu_pct", 20), ("cpu_pct", 30)]
    assert recorder.taken == 2


def test_numbers_of_series_that_were_rolled_back_are_not_believed() -> None:
    recorder = Recorder()
    recorder.take(TILL, *machine(cpu_pct=20), START)
    recorder.kept[0].book.numbers[0] = 7
    recorder.rolled_back()
    recorder.take(TILL, *machine(cpu_pct=20), START)
    assert list(recorder.kept[0].book.numbers) == [UNRESOLVED]


def test_numbers_of_series_survive_another_order_of_names() -> None:
    recorder = Recorder()
    recorder.take(TILL, *machine(cpu_pct=20, dns_ms=3), START)
    recorder.kept[0].book.numbers[:] = type(recorder.kept[0].book.numbers)("q", (7, 8))
    recorder.committed()
    recorder.take(TILL, *machine(tls_ms=1, dns_ms=3, cpu_pct=20), at(10))
    book = recorder.kept[0].book
    assert dict(zip(book.layout.series, book.numbers, strict=True)) == {
        ("machine:self", "tls_ms"): UNRESOLVED,
        ("machine:self", "dns_ms"): 8,
        ("machine:self", "cpu_pct"): 7,
    }
    assert [(found.terminal_id, place) for found, place in recorder.unresolved()] == [(TILL, 0)]


def test_what_stands_ready_is_sure_after_the_commit_only() -> None:
    recorder = Recorder()
    recorder.preparing.add("day 1")
    recorder.rolled_back()
    assert recorder.prepared == set()
    recorder.preparing.add("day 2")
    recorder.committed()
    assert recorder.prepared == {"day 2"}
    recorder.rolled_back()  # perhaps the day's table was dropped: it is asked for again
    assert recorder.prepared == set()


# --- limits


def test_of_one_heartbeat_no_more_series_are_looked_at_than_a_terminal_may_have() -> None:
    recorder = Recorder()
    many = {f"m{number}": 1.0 for number in range(SERIES_MAX + 50)}
    assert len(taken(recorder, 0, **many)) == SERIES_MAX
    assert len(taken(recorder, 60, **(many | {"m0": 2.0, f"m{SERIES_MAX}": 2.0}))) == 1


def test_the_terminal_kept_longest_ago_is_forgotten_and_begins_with_a_frame() -> None:
    recorder = Recorder(terminals_max=2)
    for seconds, name in enumerate(("a", "b", "a", "c")):
        recorder.take(name, *machine(cpu_pct=float(seconds * 10)), at(seconds))
        recorder.committed()
    for name, kept in (("a", 0), ("c", 0), ("b", 1)):
        recorder.take(name, *machine(cpu_pct=20 if name == "a" else 30 if name == "c" else 10), at(9))
        assert len(recorder.kept) == kept, name


def test_names_that_are_shared_no_more_are_dropped() -> None:
    recorder = Recorder(terminals_max=1)
    for number in range(LAYOUTS_MAX + 10):
        recorder.take(TILL, *machine(**{f"m{number}": 1.0}), at(number))
        recorder.committed()
    assert len(recorder._layouts) <= LAYOUTS_MAX


def test_of_days_and_hours_that_stand_ready_not_many_are_remembered() -> None:
    recorder = Recorder()
    for number in range(NOTED_MAX * 3):
        recorder.preparing.add(f"hour {number}")
        recorder.committed()
    assert len(recorder.prepared) <= NOTED_MAX + 1


def test_what_is_refused_stays_refused_and_asks_for_nothing() -> None:
    recorder = Recorder()
    recorder.take(TILL, *machine(cpu_pct=20), START)
    recorder.kept[0].book.numbers[0] = REFUSED
    recorder.committed()
    recorder.take(TILL, *machine(cpu_pct=90), at(10))
    assert list(recorder.unresolved()) == []


def test_two_terminals_of_one_equipment_share_their_names() -> None:
    recorder = Recorder()
    recorder.take("a", *machine(cpu_pct=20), START)
    recorder.take("b", *machine(cpu_pct=30), START)
    assert recorder.kept[0].book.layout is recorder.kept[1].book.layout


def test_times_are_whole_seconds_of_the_collector() -> None:
    recorder = Recorder()
    moment: datetime = START + timedelta(seconds=0.999)
    recorder.take(TILL, *machine(cpu_pct=20), moment)
    assert recorder.kept[0].at_s == int(START.timestamp())


def test_units_are_told_by_the_longest_ending() -> None:
    symbols = {name: unit_of(name).symbol for name in ("tls_ms", "pages_per_s", "uptime_s", "carrier_changes")}
    assert symbols == {"tls_ms": "ms", "pages_per_s": "/s", "uptime_s": "s", "carrier_changes": ""}
