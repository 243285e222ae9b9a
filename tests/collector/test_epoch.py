"""The collector's epoch, over starts and restored backups."""

import pytest
from tests.collector.words import at

from tillwatch_collector.domain.epoch import next_epoch, plausible, restored
from tillwatch_collector.flows import epochs
from tillwatch_collector.store.session import Store
from tillwatch_protocol.process import EPOCH_SALT_BITS


def epoch(start_count: int, salt: int = 0) -> int:
    return start_count << EPOCH_SALT_BITS | salt


def test_every_start_counts_one_further() -> None:
    assert next_epoch(0, 7) == epoch(1, 7)
    assert next_epoch(epoch(1, 7), 3) == epoch(2, 3)


@pytest.mark.parametrize("salt", [-1, 1 << EPOCH_SALT_BITS])
def test_a_salt_of_another_size_is_refused(salt: int) -> None:
    with pytest.raises(ValueError, match="expected a salt of 20 bits"):
        next_epoch(0, salt)


@pytest.mark.parametrize(
    ("own", "told", "expected"),
    [
        # our own
        (epoch(5, 1), epoch(5, 1), False),
        # never heard of any
        (epoch(5, 1), 0, False),
        # one of our earlier starts
        (epoch(5, 1), epoch(4, 9), False),
        # we were restored, and have started as often as before
        (epoch(5, 1), epoch(5, 2), True),
        (epoch(5, 2), epoch(5, 1), True),
        # we were restored from an older backup
        (epoch(5, 1), epoch(9, 0), True),
        # nobody has started so often
        (epoch(5, 1), 2**63 - 1, False),
    ],
)
def test_who_is_told_an_epoch_not_its_own_and_not_below_was_restored(own: int, told: int, expected: bool) -> None:
    assert restored(own, told) is expected


def test_an_implausible_epoch_cannot_push_ours_to_its_limit() -> None:
    greatest = next(told for told in (2**52, 2**52 - 1) if plausible(told))
    assert next_epoch(greatest, 0) < 2**63


def test_epochs_live_in_the_store(store: Store) -> None:
    with store.transaction() as repository:
        first = epochs.begin(repository, 1, at(0))
    with store.transaction() as repository:
        second = epochs.begin(repository, 2, at(1))
        assert repository.epoch() == second == epoch(2, 2)
    with store.transaction() as repository:
        above = epochs.rise_above(repository, epoch(40), 3, at(2))
    assert first < second < above == epoch(41, 3)
