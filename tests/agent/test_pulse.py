"""Latency, jitter and loss by hand-made samples, and what may be asked of a metered line."""

import pytest

from tillwatch_agent.pulse import BYTES_MAX, BYTES_PER_S_MAX, Allowance, measured, spend


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        # nothing was asked: nothing is told
        ([], {}),
        # all lost: there is no time to tell
        ([None, None], {"w_samples": 2, "w_loss_pct": 100.0}),
        # one answer has no change
        ([12.0], {"w_samples": 1, "w_loss_pct": 0.0, "w_ms": 12.0}),
        # what was lost is no change either
        ([10.0, None, 14.0, 13.0], {"w_samples": 4, "w_loss_pct": 25.0, "w_ms": 13.0, "w_jitter_ms": 2.5}),
    ],
)
def test_a_pulse_is_told_with_its_number_of_samples(samples: list[float | None], told: dict[str, float | int]) -> None:
    assert measured("w", samples) == told


def test_no_more_is_asked_than_the_allowance_holds() -> None:
    allowance, may = spend(Allowance(as_of_s=100.0), int(BYTES_MAX), 100.0)
    assert (allowance.held_bytes, may) == (0, True)
    assert spend(allowance, 1, 100.0) == (allowance, False)
    assert spend(allowance, 2 * int(BYTES_PER_S_MAX), 102.0)[1]


def test_an_allowance_does_not_grow_past_its_limit_nor_backwards() -> None:
    rested, _ = spend(Allowance(as_of_s=0.0), 0, 1e6)
    assert rested.held_bytes == BYTES_MAX
    earlier, _ = spend(Allowance(held_bytes=5.0, as_of_s=10.0), 0, 9.0)
    assert (earlier.held_bytes, earlier.as_of_s) == (5.0, 10.0)


def test_any_train_of_asking_stays_below_the_rate() -> None:
    allowance, asked = Allowance(as_of_s=0.0), 0
    for tick in range(7200):
        allowance, may = spend(allowance, 7000, tick / 2)
        asked += 7000 * may
    assert asked <= BYTES_MAX + 3600 * BYTES_PER_S_MAX
