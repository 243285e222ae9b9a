"""Each planted mistake breaks a rule within a few small worlds: what the checkers are worth."""

import pytest
from tests.bench.worlds import HOURS_WORLD, seeds_until_caught
from tests.scenarios.planted import PLANTED, Mistake

SEEDS_MAX = 20


@pytest.mark.parametrize("mistake", PLANTED, ids=[mistake.name for mistake in PLANTED])
def test_a_planted_mistake_is_caught(mistake: Mistake) -> None:
    assert seeds_until_caught(mistake, HOURS_WORLD, SEEDS_MAX) is not None
