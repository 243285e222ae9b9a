"""The link keeps order within a connection, loses suffixes at a break, and opens nothing inside an outage."""

import math
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from tillwatch_simulator.link import Connection, Link, LinkHabits, Span

QUIET = LinkHabits(breaks_per_hour=0)
ROUGH = LinkHabits(breaks_per_hour=30, late_share=1.0)


def opened(habits: LinkHabits, seed: int = 1, outages: tuple[Span, ...] = (), at_s: float = 0.0) -> Connection:
    connection = Link(habits=habits, chance=Random(seed), outages=outages).open(at_s)
    assert connection is not None
    return connection


def test_a_quiet_connection_delivers_everything_in_the_order_it_was_sent() -> None:
    up = opened(QUIET).up
    arrivals = [up.send(0.001 * n) for n in range(500)]
    times = [at_s for at_s in arrivals if at_s is not None]
    assert len(times) == 500
    assert times == sorted(times)
    assert all(at_s > 0.001 * n for n, at_s in enumerate(times))


@given(seed=st.integers(0, 10_000), gap_s=st.floats(0.01, 30))
@example(seed=7672, gap_s=0.03125)  # the one after the first that is lost would have been quicker
def test_a_break_loses_a_suffix_and_what_arrives_keeps_its_order(seed: int, gap_s: float) -> None:
    connection = opened(ROUGH, seed)
    for way in (connection.up, connection.down):
        arrivals = [way.send(gap_s * n) for n in range(400)]
        lost = [n for n, at_s in enumerate(arrivals) if at_s is None]
        times = [at_s for at_s in arrivals if at_s is not None]
        assert times == sorted(times)
        assert lost == list(range(400 - len(lost), 400))


@given(seed=st.integers(0, 10_000))
def test_nobody_learns_of_a_break_before_it_and_nothing_sent_after_it_arrives(seed: int) -> None:
    connection = opened(ROUGH, seed)
    fate = connection.fate
    assert fate.stuck_at_s <= fate.breaks_at_s <= min(fate.client_learns_at_s, fate.broker_learns_at_s)
    assert fate.client_learns_at_s <= fate.breaks_at_s + 2 * ROUGH.keepalive_s
    assert fate.broker_learns_at_s <= fate.breaks_at_s + 1.5 * ROUGH.keepalive_s
    assert connection.up.send(fate.breaks_at_s) is None


def test_what_was_stuck_may_arrive_after_the_break() -> None:
    late = [
        at_s
        for seed in range(50)
        if (connection := opened(ROUGH, seed)).fate.late_up
        if (at_s := connection.up.send(connection.fate.breaks_at_s - 1e-6)) is not None
        if at_s > connection.fate.breaks_at_s
    ]
    assert late


def test_an_outage_breaks_what_is_open_and_opens_nothing_until_it_ends() -> None:
    outage = Span(start_s=100, end_s=200)
    assert opened(QUIET, outages=(outage,)).fate.breaks_at_s == 100
    link = Link(habits=QUIET, chance=Random(1), outages=(outage,))
    assert link.open(100) is None
    assert link.open(199.9) is None
    after = link.open(200)
    assert after is not None
    assert after.fate.breaks_at_s == math.inf


def test_nothing_breaks_by_itself_after_the_last_moment_for_it() -> None:
    calm = LinkHabits(breaks_per_hour=30, breaks_until_s=60)
    fates = [opened(calm, seed, at_s=30).fate for seed in range(100)]
    assert {fate.breaks_at_s < 60 or fate.breaks_at_s == math.inf for fate in fates} == {True}
    assert any(fate.breaks_at_s < 60 for fate in fates)


def test_the_same_seed_gives_the_same_link() -> None:
    assert opened(ROUGH, 7).fate == opened(ROUGH, 7).fate
    assert opened(ROUGH, 7).fate != opened(ROUGH, 8).fate
