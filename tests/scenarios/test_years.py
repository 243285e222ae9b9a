"""Worlds of years in their short form: skipping quiet time changes nothing; the verdict finds what is wrong."""

import math
from datetime import UTC, datetime

import pytest
from tests.bench.years import poisson_upper, quantile
from tests.scenarios import dump
from tests.scenarios.clock import BEGINNING
from tests.scenarios.years import fleet, world
from tests.scenarios.years.record import Moved
from tests.scenarios.years.spans import joined, within, without
from tests.scenarios.years.story import Kind, drawn
from tests.scenarios.years.verdict import verdict
from tests.scenarios.years.world import YearWorld

from tillwatch_collector.flows.changes import Move, TicketChange
from tillwatch_simulator.link import Span

SMALL = tuple(shop for shop in fleet.SHOPS if shop.store_id in {"bre1", "ham1"})
"""Six terminals: a kiosk's, and a bistro's that closes for the afternoon; five are enough for an outage."""
OFTEN = 60.0


def test_a_world_that_skips_quiet_time_ends_as_one_that_does_not() -> None:
    ends = []
    for skips in (True, False):
        ran = world.run(5, days=1, shops=SMALL, often=OFTEN, skips=skips)
        ends.append(dump.facts_of(ran.store) | dump.judgements_of(ran.store))
    assert dump.difference(*ends) is None
    assert ends[0]["fault"]


@pytest.fixture(scope="module")
def fortnight() -> YearWorld:
    """Two weeks of ten terminals."""
    return world.run(1, days=14, shops=fleet.SHOPS[-3:], often=5.0)


def test_a_seed_tells_the_same_story_again(fortnight: YearWorld) -> None:
    assert world.run(1, days=14, shops=fleet.SHOPS[-3:], often=5.0).trace.digest == fortnight.trace.digest


def test_a_fortnight_has_no_false_ticket_and_misses_no_fault(fortnight: YearWorld) -> None:
    found = verdict(fortnight)
    assert found.missed == []
    assert found.night_tickets == []
    assert found.observer_tickets == []
    assert found.expected > 0
    assert found.naive_tickets > found.tickets


def test_a_ticket_without_a_cause_is_false(fortnight: YearWorld) -> None:
    quiet_s = next(s for s in range(7200, 14 * 86_400, 3600) if not _anything(fortnight, "bre1-1", s))
    before = len(verdict(fortnight).false_tickets)
    fortnight.record.moves.append(Moved(float(quiet_s), _silent("bre1-1")))
    assert len(verdict(fortnight).false_tickets) == before + 1
    fortnight.record.moves.pop()


def test_a_fault_that_nobody_wrote_down_is_missed(fortnight: YearWorld) -> None:
    with fortnight.store.transaction() as repository:
        repository.connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM fault")
        repository.connection.exec_driver_sql("DELETE FROM fault")
    found = verdict(fortnight)
    with fortnight.store.transaction() as repository:
        repository.connection.exec_driver_sql("INSERT INTO fault SELECT * FROM kept")
        repository.connection.exec_driver_sql("DROP TABLE kept")
    assert len(found.missed) == found.expected > 0


def test_shops_open_by_their_own_clock_when_it_changes() -> None:
    shop = next(shop for shop in fleet.SHOPS if shop.store_id == "ber2")
    opens = [_at(start_s) for start_s, _ in shop.open_spans(365)]
    hours = {at.date().isoformat(): at.hour for at in opens}
    assert (hours["2027-03-27"], hours["2027-03-30"]) == (8, 7)  # 9:00 in Berlin, before and after the clocks change
    assert "2026-12-25" not in hours


def test_a_story_is_drawn_from_its_seed_alone() -> None:
    assert drawn(3, days=60) == drawn(3, days=60)
    assert drawn(3, days=60) != drawn(4, days=60)


def test_every_kind_of_trouble_comes_within_a_year() -> None:
    kinds = {cause.kind for seed in (1, 2) for cause in drawn(seed, days=365).causes}
    assert kinds == set(Kind)


def test_spans_are_joined_and_taken_away() -> None:
    spans = [Span(start_s=start_s, end_s=end_s) for start_s, end_s in ((0, 10), (5, 20), (30, 40))]
    assert joined(spans) == [Span(start_s=0, end_s=20), Span(start_s=30, end_s=40)]
    hole = [Span(start_s=15, end_s=35)]
    assert list(without(joined(spans), hole)) == [Span(start_s=0, end_s=15), Span(start_s=35, end_s=40)]
    assert list(within(joined(spans), hole)) == [Span(start_s=15, end_s=20), Span(start_s=30, end_s=35)]


@pytest.mark.parametrize(
    ("count", "bound"),
    [
        (0, 2.996),  # the rule of three
        (1, 4.744),
        (10, 16.962),
    ],
)
def test_the_bound_is_the_exact_one(count: int, bound: float) -> None:
    assert poisson_upper(count) == pytest.approx(bound, abs=1e-3)


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0
    assert math.isnan(quantile([], 0.5))


def _anything(ran: YearWorld, terminal_id: str, at_s: float) -> bool:
    return any(
        cause.span.start_s < at_s + 900 and cause.span.end_s > at_s - 900
        for cause in ran.story.causes
        if terminal_id in cause.terminals or not cause.terminals
    )


def _silent(terminal_id: str) -> TicketChange:
    return TicketChange(
        ticket_id=1, move=Move.OPENED, subject_kind="terminal", subject_id=terminal_id, component="agent:self",
        code="silent", severity="critical", status="reported", title="", store_id=None, merchant_id=None,
        parent_id=None,
    )  # fmt: skip


def _at(at_s: float) -> datetime:
    return datetime.fromtimestamp(BEGINNING.timestamp() + at_s, UTC)
