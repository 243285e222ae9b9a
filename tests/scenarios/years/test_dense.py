"""Dense worlds in their short form; `make evidence ONLY=planted_caught` plants every mistake into the long one."""

import functools

import pytest
from tests.bench.worlds import seeds_until_caught
from tests.scenarios.planted import Mistake
from tests.scenarios.years import dense
from tests.scenarios.years.planted import PLANTED

SEEDS_MAX = 3
SOON_CAUGHT = {"after an outage nobody has an interval", "routes are told of children", "off is silent"}
"""On the first day."""


def test_every_rule_holds_over_a_day_in_which_everything_happens() -> None:
    dense.run(1, days=1)


@pytest.mark.parametrize("mistake", [pytest.param(each, id=each.name) for each in PLANTED if each.name in SOON_CAUGHT])
def test_a_planted_mistake_is_caught(mistake: Mistake) -> None:
    assert seeds_until_caught(mistake, functools.partial(dense.run, days=1), SEEDS_MAX) is not None
