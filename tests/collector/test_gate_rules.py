"""The gate beside two rules that are in use, on drawn rollouts: what each of them sees."""

import pytest
from tests.bench.gates import EXPERIMENTS, Drawn, Rule, aws, halts, hawkbit, ours


def wave(*, failed: int = 0, silent: int = 0, harmed: int = 0, size: int = 200) -> Drawn:
    return Drawn(size=size, failed=failed, silent=silent, updated=(0.1,) * harmed, controls=(0.1, 0.9))


@pytest.mark.parametrize(
    ("rule", "drawn", "halted"),
    [
        # hawkBit: strictly more than the threshold, of the whole group, and only what was reported
        (hawkbit, wave(failed=20), False),
        (hawkbit, wave(failed=21), True),
        (hawkbit, wave(silent=200), False),
        # AWS: at the threshold, a timeout included, once enough have executed
        (aws, wave(failed=19), False),
        (aws, wave(failed=20), True),
        (aws, wave(silent=20), True),
        (aws, wave(failed=19, size=19), False),
        # neither sees what comes after a success
        (hawkbit, wave(harmed=200), False),
        (aws, wave(harmed=200), False),
        # ours sees all three
        (ours, wave(failed=20), True),
        (ours, wave(silent=20), True),
        (ours, wave(harmed=10), True),
        (ours, wave(harmed=1), False),
    ],
)
def test_what_each_rule_halts_for(rule: Rule, drawn: Drawn, *, halted: bool) -> None:
    assert rule(1, drawn) is halted


def test_all_rules_see_the_same_rollouts_and_a_seed_gives_them_again() -> None:
    found = halts(20, 0.2, rollouts=5)
    assert found == halts(20, 0.2, rollouts=5) == {"": 5, "_hawkbit": 0, "_aws": 0}
    assert halts(0, 0.2, 20, rollouts=5) == {"": 5, "_hawkbit": 0, "_aws": 5}


def test_each_figure_has_a_name_of_its_own() -> None:
    names = [figure.name for experiment in EXPERIMENTS for figure in experiment.figures]
    assert len(set(names)) == len(names)
    assert {"gate_halted_wave1_20pct", "gate_halted_wave1_5pct_base3pct", "gate_false_halts_pct_aws"} <= set(names)
