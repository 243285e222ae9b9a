"""Each planted mistake breaks a rule within a few small worlds: what the checkers are worth."""

import pytest
from tests.bench.worlds import seeds_until_caught
from tests.scenarios.planted import PLANTED

TERMINALS = 10
HOURS = 3.0
SEEDS_MAX = 20


@pytest.mark.parametrize("number", range(len(PLANTED)), ids=[mistake.name for mistake in PLANTED])
def test_a_planted_mistake_is_caught(number: int) -> None:
    assert seeds_until_caught(number, terminals=TERMINALS, hours=HOURS, most=SEEDS_MAX) is not None
