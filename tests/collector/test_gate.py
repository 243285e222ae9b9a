"""The gate: three things apart, exact tests, looks that are made once, and want of evidence that never passes."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as running
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.collector.rollout_words import SETTINGS

from tillwatch_collector.domain import gate
from tillwatch_collector.domain.exact import NEGLIGIBLE, Arm, excess_p, spent
from tillwatch_collector.domain.gate import (
    WANT_OF_EVIDENCE,
    Evidence,
    GateReason,
    GateSettings,
    Stratum,
    Tally,
    VerdictKind,
    judge,
    level,
)

K, R = VerdictKind, GateReason
GATE: dict[str, Any] = {**SETTINGS["gate"], "failure_pct": 10, "executed_min": 20, "controls_min": 100}
LIMITS = GateSettings.model_validate(GATE)


def arm(shown: int, n: int) -> Arm:
    return Arm(n=n, shown=shown)


def stratum(harmed: int = 0, of: int = 50, controls_harmed: int = 1, controls: int = 500, model: str = "m1") -> Stratum:
    return Stratum(
        model=model, region="north", hours="night", updated=arm(harmed, of), control=arm(controls_harmed, controls)
    )


def evidence(**changed: Any) -> Evidence:
    good: dict[str, Any] = {
        "wave": 1,
        "tally": Tally(succeeded=50),
        "soaked": 1.0,
        "strata": (stratum(),),
        "looks_done": 0,
    }
    return Evidence(**{**good, **changed})


@pytest.mark.parametrize(
    ("changed", "kind", "reasons"),
    [
        ({}, K.PASS, (R.PASSED,)),
        # failed, rolled back and silent count alike, and at the limit it halts
        ({"tally": Tally(succeeded=46, failed=4)}, K.PASS, (R.PASSED,)),
        ({"tally": Tally(succeeded=45, failed=5)}, K.HALT, (R.FAILURES,)),
        ({"tally": Tally(succeeded=45, rolled_back=5)}, K.HALT, (R.FAILURES,)),
        ({"tally": Tally(succeeded=45, silent=5)}, K.HALT, (R.FAILURES,)),
        ({"tally": Tally(succeeded=45, failed=2, rolled_back=2, silent=1)}, K.HALT, (R.FAILURES,)),
        # of a few, too many: two are a tenth of the twenty that would be needed, one is not
        ({"tally": Tally(failed=2, running=48), "soaked": 0.0}, K.HALT, (R.FAILURES,)),
        ({"tally": Tally(failed=1, running=49), "soaked": 0.0}, K.HOLD, (R.RUNNING, R.SOAKING, R.TOO_FEW_EXECUTED)),
        # with fewer than are needed nothing passes; those outside the gate are nobody's witness
        ({"tally": Tally(succeeded=19)}, K.HOLD, (R.TOO_FEW_EXECUTED,)),
        ({"tally": Tally(succeeded=19, outside=500)}, K.HOLD, (R.TOO_FEW_EXECUTED,)),
        ({"tally": Tally(succeeded=20)}, K.PASS, (R.PASSED,)),
        # the infrastructure is no fault of the release, but much of it holds
        ({"tally": Tally(succeeded=26, infrastructure=25)}, K.PASS, (R.PASSED,)),
        ({"tally": Tally(succeeded=25, infrastructure=25)}, K.HOLD, (R.INFRASTRUCTURE,)),
        (
            {"tally": Tally(infrastructure=9), "strata": ()},
            K.HOLD,
            (R.TOO_FEW_EXECUTED, R.TOO_FEW_CONTROLS, R.NOT_COMPARABLE),
        ),
        # what is not over, or not watched for long enough
        ({"tally": Tally(succeeded=50, running=1)}, K.HOLD, (R.RUNNING,)),
        ({"soaked": 0.99}, K.HOLD, (R.SOAKING,)),
        # harm: more than the controls show
        ({"strata": (stratum(4),)}, K.HALT, (R.HARM,)),
        ({"strata": (stratum(1),)}, K.PASS, (R.PASSED,)),
        # as much as the controls show is no harm, however much that is
        ({"strata": (stratum(15, controls_harmed=150),)}, K.PASS, (R.PASSED,)),
        # in the middle of the soak, too
        ({"strata": (stratum(12),), "soaked": 0.5}, K.HALT, (R.HARM,)),
        # but not before the first look
        ({"strata": (stratum(12),), "soaked": 0.49}, K.HOLD, (R.SOAKING,)),
        # too few controls, or none like them
        ({"strata": (stratum(controls=99),)}, K.HOLD, (R.TOO_FEW_CONTROLS,)),
        ({"strata": (stratum(controls=100),)}, K.PASS, (R.PASSED,)),
        ({"strata": ()}, K.HOLD, (R.TOO_FEW_CONTROLS, R.NOT_COMPARABLE)),
        (
            {"strata": (stratum(of=44), stratum(of=6, controls=0, controls_harmed=0, model="m2"))},
            K.HOLD,
            (R.NOT_COMPARABLE,),
        ),
        ({"strata": (stratum(of=45), stratum(of=5, controls=0, controls_harmed=0, model="m2"))}, K.PASS, (R.PASSED,)),
        # both: the reasons to halt come alone
        ({"tally": Tally(succeeded=40, failed=10), "strata": (stratum(12),)}, K.HALT, (R.FAILURES, R.HARM)),
        # a look that was made is not made again
        ({"strata": (stratum(12),), "looks_done": 2}, K.PASS, (R.PASSED,)),
        ({"strata": (stratum(12),), "looks_done": 1, "soaked": 0.9}, K.HOLD, (R.SOAKING,)),
    ],
)
def test_the_gate_passes_holds_or_halts_with_its_reasons(
    changed: dict[str, Any], kind: VerdictKind, reasons: tuple[GateReason, ...]
) -> None:
    verdict = judge(evidence(**changed), LIMITS)
    assert (verdict.kind, verdict.reasons) == (kind, reasons)
    assert verdict.answerable == (kind is K.HOLD and set(reasons) <= WANT_OF_EVIDENCE)


def test_a_verdict_has_the_numbers_it_rests_on() -> None:
    tally = Tally(succeeded=40, failed=1, rolled_back=1, silent=1, infrastructure=2, running=3, outside=4)
    numbers = judge(evidence(tally=tally, strata=(stratum(2),)), LIMITS).numbers
    counts = {"executed": 43, "succeeded": 40, "failed": 1, "rolled_back": 1, "silent": 1, "infrastructure": 2}
    assert counts | {"running": 3, "outside": 4} == {name: numbers[name] for name in [*counts, "running", "outside"]}
    assert numbers["bad_pct"] == pytest.approx(100 * 3 / 43)
    assert (numbers["updated"], numbers["updated_harmed"]) == (50, 2)
    assert (numbers["controls"], numbers["controls_harmed"]) == (500, 1)
    assert numbers["look"] == LIMITS.looks
    assert numbers["p"] > numbers["level"] > 0


def test_a_look_that_was_passed_over_hands_its_share_to_the_next_and_one_without_controls_is_not_spent() -> None:
    first = judge(evidence(soaked=0.5), LIMITS)
    assert first.looks_done == 1
    last = judge(evidence(looks_done=1), LIMITS)
    assert last.looks_done == 2
    both = judge(evidence(), LIMITS)
    assert both.numbers["level"] == pytest.approx(first.numbers["level"] + last.numbers["level"])
    assert judge(evidence(strata=(stratum(controls=99),)), LIMITS).looks_done == 0
    assert "p" not in judge(evidence(looks_done=2), LIMITS).numbers


@pytest.mark.parametrize("looks", [1, 4, gate.LOOKS_MAX])
def test_all_looks_of_all_waves_together_spend_no_more_than_alpha(looks: int) -> None:
    limits = GateSettings.model_validate({**GATE, "looks": looks})
    total = math.fsum(level(limits, wave, look, look + 1) for wave in range(1, 101) for look in range(looks))
    assert limits.alpha * 0.98 < total <= limits.alpha
    assert math.fsum(level(limits, 1, look, look + 1) for look in range(looks)) == pytest.approx(limits.alpha / 2)


def test_of_more_strata_than_are_compared_the_smallest_count_as_not_comparable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "STRATA_MAX", 2)
    strata = tuple(stratum(of=n, model=f"m{n}") for n in (30, 10, 60))
    verdict = judge(evidence(strata=strata), LIMITS)
    assert verdict.numbers["covered_pct"] == 90
    harmed_in_the_smallest = (*strata[:1], stratum(10, of=10, model="m10"), *strata[2:])
    assert judge(evidence(strata=harmed_in_the_smallest), LIMITS).kind is K.PASS


@pytest.mark.parametrize("left_out", sorted(GATE))
def test_nothing_of_the_gate_has_a_default(left_out: str) -> None:
    with pytest.raises(ValidationError, match=left_out):
        GateSettings.model_validate({key: value for key, value in GATE.items() if key != left_out})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("failure_pct", 0),
        ("failure_pct", 101),
        ("alpha", 0),
        ("alpha", gate.ALPHA_MAX + 0.01),
        ("alpha", float("nan")),
        ("looks", gate.LOOKS_MAX + 1),
        ("controls_min", 0),
        ("executed_min", 0),
        ("soak_s", 0),
        ("soak_s", float("inf")),
        ("primary", "revenue"),
        ("threshold", 3),
    ],
)
def test_a_limit_that_limits_nothing_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        GateSettings.model_validate({**GATE, key: value})


# --- the tests of shares


def by_counting(one: Arm, other: Arm) -> Fraction:
    shown = one.shown + other.shown
    ways = [math.comb(one.n, k) * math.comb(other.n, shown - k) for k in range(one.shown, min(one.n, shown) + 1)]
    return Fraction(sum(ways), math.comb(one.n + other.n, shown))


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [
        # Fisher's lady, who told 3 of 4 cups: 17 in 70
        (arm(3, 4), arm(1, 4), 17 / 70),
        (arm(4, 4), arm(0, 4), 1 / 70),
        # nothing shown, or nothing more than nothing to show
        (arm(0, 200), arm(0, 1000), 1.0),
        (arm(0, 200), arm(5, 1000), 1.0),
        (arm(4, 4), arm(4, 4), 1.0),
    ],
)
def test_one_table_is_fishers(one: Arm, other: Arm, p: float) -> None:
    assert excess_p([(one, other)]) == pytest.approx(p)


arms = st.integers(1, 60).flatmap(lambda n: st.builds(Arm, n=st.just(n), shown=st.integers(0, n)))


@running(max_examples=100, deadline=None)
@given(one=arms, other=arms)
def test_one_table_is_what_counting_all_ways_gives(one: Arm, other: Arm) -> None:
    assert excess_p([(one, other)]) == pytest.approx(float(by_counting(one, other)))


@running(max_examples=60, deadline=None)
@given(strata=st.lists(st.tuples(arms, arms), max_size=3))
def test_over_strata_it_does_not_matter_in_which_order_they_come_and_harm_makes_it_less_probable(
    strata: list[tuple[Arm, Arm]],
) -> None:
    p = excess_p(strata)
    assert 0 <= p <= 1
    assert excess_p(strata[::-1]) == pytest.approx(p)
    for place, (one, other) in enumerate(strata):
        if one.shown < one.n and other.shown:
            worse = (replace(one, shown=one.shown + 1), replace(other, shown=other.shown - 1))
            assert excess_p([*strata[:place], worse, *strata[place + 1 :]]) <= p + 1e-12


def test_strata_with_different_shares_are_not_mixed() -> None:
    # Of a model that fails often more are updated: poured together it looks like harm, model by model it is none.
    often, seldom = (arm(80, 100), arm(80, 100)), (arm(1, 10), arm(90, 900))
    assert excess_p([often, seldom]) > 0.4
    assert excess_p([(arm(81, 110), arm(170, 1000))]) < 1e-6


@running(max_examples=40, deadline=None)
@given(strata=st.lists(st.tuples(arms, arms), min_size=2, max_size=2))
def test_two_strata_are_what_counting_all_ways_of_both_gives(strata: list[tuple[Arm, Arm]]) -> None:
    chances = [[float(p) for p in each_way(one, other)] for one, other in strata]
    seen = sum(one.shown for one, _ in strata)
    expected = sum(p * q for i, p in enumerate(chances[0]) for j, q in enumerate(chances[1]) if i + j >= seen)
    assert excess_p(strata) == pytest.approx(min(1.0, expected), abs=1e-12)


def each_way(one: Arm, other: Arm) -> list[Fraction]:
    shown = one.shown + other.shown
    whole = math.comb(one.n + other.n, shown)
    return [Fraction(math.comb(one.n, k) * math.comb(other.n, shown - k), whole) for k in range(min(one.n, shown) + 1)]


def test_what_is_left_out_as_negligible_makes_no_result_too_small() -> None:
    table = arm(200, 200), arm(0, 10_000)
    assert by_counting(*table) < NEGLIGIBLE < excess_p([table] * 30) < 1e-15
    assert excess_p([(arm(0, 200), arm(200, 10_000))] * 30) == pytest.approx(1.0)


def test_an_arm_that_shows_more_than_it_has_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        arm(3, 2)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        # 2 (1 - Phi(2.807034 / sqrt(t))) for a level of 0.005, by tables of the normal distribution
        (0.0, 0.0),
        (0.25, 1.98e-8),
        (0.5, 7.19e-5),
        (1.0, 0.005),
        (1.5, 0.005),
    ],
)
def test_little_is_spent_early_and_all_at_the_end(share: float, expected: float) -> None:
    assert spent(0.005, share) == pytest.approx(expected, rel=0.01)
