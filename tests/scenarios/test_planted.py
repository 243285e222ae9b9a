"""Each planted mistake breaks a rule in a small world: what the checkers are worth.

Where stories change, `make evidence ONLY=planted_caught` tells by which world each is caught now.
"""

import pytest
from tests.bench.worlds import HOURS_WORLD, is_caught
from tests.scenarios.planted import PLANTED, Mistake


@pytest.mark.parametrize("mistake", PLANTED, ids=[mistake.name for mistake in PLANTED])
def test_a_planted_mistake_is_caught(mistake: Mistake) -> None:
    assert is_caught(mistake, HOURS_WORLD, mistake.seed)
