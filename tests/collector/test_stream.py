"""The account of a stream: what is stored, dropped, lost, and how far without a hole."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_collector.domain import ranges
from tillwatch_collector.domain.ranges import Ranges
from tillwatch_collector.domain.stream import RANGES_ABOVE_PREFIX_MAX, StreamLedger, record

Said = tuple[tuple[int, ...], Ranges, int]
"""Stored numbers, declared ranges, oldest_seq: what one message says."""

numbers = st.sets(st.integers(1, 30), max_size=12)
ranges_of_numbers = numbers.map(ranges.of)


def told(*messages: Said) -> StreamLedger:
    ledger = StreamLedger()
    for stored, dropped, oldest_seq in messages:
        ledger = record(ledger, stored=stored, dropped=dropped, oldest_seq=oldest_seq)
    return ledger


@given(numbers, numbers)
def test_ranges_are_sets(one: set[int], other: set[int]) -> None:
    both = ranges.union(ranges.of(one), ranges.of(other))
    rest = ranges.minus(ranges.of(one), ranges.of(other))
    assert both == ranges.of(one | other)
    assert rest == ranges.of(one - other)
    assert ranges.size(both) == len(one | other)
    assert all(ranges.holds(both, number) == (number in one | other) for number in range(32))


@pytest.mark.parametrize(
    ("messages", "prefix_seq", "accounted", "dropped", "lost"),
    [
        # nothing came
        ([], 0, (), (), ()),
        # in order
        ([((1, 2), (), 1), ((3,), (), 1)], 3, (), (), ()),
        # a hole: the prefix waits before it
        ([((1, 4, 5), (), 1)], 1, ((4, 5),), (), ()),
        # the hole is filled
        ([((1, 4, 5), (), 1), ((2, 3), (), 1)], 5, (), (), ()),
        # dropped ones are accounted for
        ([((1,), (), 1), ((5,), ((2, 4),), 5)], 5, (), ((2, 4),), ()),
        # below the oldest, and neither here nor declared: lost
        ([((7, 8), (), 7)], 8, (), (), ((1, 6),)),
        # a late event comes out of lost
        ([((7,), (), 7), ((3,), (), 1)], 7, (), (), ((1, 2), (4, 6))),
        # a late declaration comes out of lost
        ([((7,), (), 7), ((8,), ((1, 4),), 7)], 8, (), ((1, 4),), ((5, 6),)),
        # an event that was declared dropped and comes after all is stored
        ([((5,), ((1, 4),), 5), ((2,), (), 1)], 5, (), ((1, 1), (3, 4)), ()),
        # the oldest never goes back
        ([((7,), (), 7), ((8,), (), 2)], 8, (), (), ((1, 6),)),
    ],
)
def test_the_account(messages: list[Said], prefix_seq: int, accounted: Ranges, dropped: Ranges, lost: Ranges) -> None:
    for order in permutations(messages):
        ledger = told(*order)
        assert (ledger.prefix_seq, ledger.accounted) == (prefix_seq, accounted)
        assert (ledger.dropped, ledger.lost) == (dropped, lost)


@given(st.lists(st.tuples(numbers.map(tuple), ranges_of_numbers, st.integers(1, 30)), max_size=6), st.randoms())
def test_any_order_and_any_repetition_end_in_the_same_account(messages: list[Said], rng: object) -> None:
    again = messages + messages[: len(messages) // 2]
    rng.shuffle(again)  # type: ignore[attr-defined]
    ledger = told(*again)
    assert ledger == told(*messages)
    assert ranges.union(ledger.stored, ledger.dropped, ledger.lost) == ledger.known
    assert ranges.size(ledger.stored) + ranges.size(ledger.dropped) + ranges.size(ledger.lost) == ranges.size(
        ledger.known
    )


def test_an_account_in_more_pieces_than_an_outbox_makes_is_ragged() -> None:
    pieces = RANGES_ABOVE_PREFIX_MAX
    assert not record(StreamLedger(), stored=range(2, 2 * pieces + 1, 2)).ragged
    assert record(StreamLedger(), stored=range(2, 2 * pieces + 3, 2)).ragged


def test_the_last_number_is_the_greatest_that_was_said() -> None:
    assert record(StreamLedger(), stored=(3,), event_seq_last=9).event_seq_last == 9
    assert record(StreamLedger(event_seq_last=12), stored=(3,), event_seq_last=9).event_seq_last == 12
    assert record(StreamLedger(), stored=(3,)).event_seq_last == 3
