"""What the gate does with releases of hidden harm, beside two rules that are in use; at gate level, on drawn outcomes.

Each rollout has three waves, of 200, 400 and 800 terminals, and always 1,000 controls. Of the updated terminals a share
shows an attributable fault in its soak, which their agents report as success; besides, terminals of both kinds show
faults at the base rate. Times of faults are spread evenly over the soak, which all terminals begin together. One in two
hundred updates fails, and the agent says so.

hawkBit's rule (`ThresholdRolloutGroupErrorCondition`): halted when failed / all of the group is strictly more than the
threshold. The rule of AWS IoT Jobs (`AbortCriteria`): halted when failed / executed is at least the threshold, once
enough have executed. Neither looks at what a terminal does after it reported success, so a harm that is not reported
is nothing to them; a second harm, of terminals that fall silent after their `go`, they may see: AWS when a timeout is
configured, which counts as failed, hawkBit not, since only what a terminal reports is an error. Since they do not see
faults, what they do is the same at every base rate, and is published at the first.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.figures import Experiment, Figure, Progress

from tillwatch_collector.domain.exact import Arm
from tillwatch_collector.domain.gate import (
    Evidence,
    GateSettings,
    Primary,
    Stratum,
    Tally,
    VerdictKind,
    judge,
)

SEED = 20261121
ROLLOUTS = 2_000
WAVES = (200, 400, 800)
CONTROLS = 1_000
HARM_PCTS = (0, 1, 5, 20)
BASE_PCTS = (0.2, 1, 3)
SILENT_PCT = 20
FAILED_PCT = 0.5
THRESHOLD_PCT = 10
EXECUTED_MIN = 20

SETTINGS = GateSettings(
    soak_s=86_400,
    failure_pct=THRESHOLD_PCT,
    executed_min=EXECUTED_MIN,
    infrastructure_pct=THRESHOLD_PCT,
    primary=Primary.ATTRIBUTABLE_FAULT,
    alpha=0.01,
    looks=4,
    controls_min=CONTROLS,
    covered_pct=100,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What came of one wave: counts, and the shares of the soak after which terminals showed a fault."""

    size: int
    failed: int
    silent: int
    updated: tuple[float, ...]
    controls: tuple[float, ...]

    @property
    def succeeded(self) -> int:
        return self.size - self.failed - self.silent


Rule = Callable[[int, Drawn], bool]
"""Whether a wave, by its number, is halted."""


def ours(number: int, drawn: Drawn) -> bool:
    looks_done = 0
    for look in range(1, SETTINGS.looks + 1):
        soaked = look / SETTINGS.looks
        evidence = Evidence(
            wave=number,
            tally=Tally(succeeded=drawn.succeeded, failed=drawn.failed, silent=drawn.silent),
            soaked=soaked,
            strata=(_stratum(drawn, soaked),),
            looks_done=looks_done,
        )
        verdict = judge(evidence, SETTINGS)
        if verdict.kind is VerdictKind.HALT:
            return True
        looks_done = verdict.looks_done
    return False


def _stratum(drawn: Drawn, soaked: float) -> Stratum:
    shown, controls_shown = (sum(at <= soaked for at in times) for times in (drawn.updated, drawn.controls))
    return Stratum(
        model="m",
        region="r",
        hours="h",
        updated=Arm(n=drawn.succeeded, shown=shown),
        control=Arm(n=CONTROLS, shown=controls_shown),
    )


def hawkbit(number: int, drawn: Drawn) -> bool:
    del number
    return 100 * drawn.failed > THRESHOLD_PCT * drawn.size


def aws(number: int, drawn: Drawn) -> bool:
    del number
    bad, executed = drawn.failed + drawn.silent, drawn.size
    return executed >= EXECUTED_MIN and 100 * bad >= THRESHOLD_PCT * executed


RULES: dict[str, Rule] = {"": ours, "_hawkbit": hawkbit, "_aws": aws}


def draw(rng: random.Random, size: int, harm_pct: float, base_pct: float, silent_pct: float) -> Drawn:
    failed = silent = 0
    updated: list[float] = []
    for _ in range(size):
        if rng.random() < silent_pct / 100:
            silent += 1
        elif rng.random() < FAILED_PCT / 100:
            failed += 1
        elif rng.random() < harm_pct / 100 or rng.random() < base_pct / 100:
            updated.append(rng.random())
    controls = [rng.random() for _ in range(CONTROLS) if rng.random() < base_pct / 100]
    return Drawn(size=size, failed=failed, silent=silent, updated=tuple(updated), controls=tuple(controls))


def halts(harm_pct: float, base_pct: float, silent_pct: float = 0, *, rollouts: int = ROLLOUTS) -> dict[str, int]:
    """Return by rule how many rollouts were halted: harmful ones in the first wave, harmless ones in any.

    Every rule sees the same rollouts.
    """
    halted = dict.fromkeys(RULES, 0)
    waves = WAVES[:1] if harm_pct or silent_pct else WAVES
    for seed in range(rollouts):
        rng = random.Random(f"{SEED}/{harm_pct}/{base_pct}/{silent_pct}/{seed}")
        drawn = [draw(rng, size, harm_pct, base_pct, silent_pct) for size in waves]
        for suffix, rule in RULES.items():
            halted[suffix] += any(rule(number, wave) for number, wave in enumerate(drawn, start=1))
    return halted


def gates(progress: Progress) -> dict[str, float]:
    """Run all; returns the figures."""
    values: dict[str, float] = {}
    cases = [(base_pct, harm_pct) for base_pct in BASE_PCTS for harm_pct in HARM_PCTS]
    for done, (base_pct, harm_pct) in enumerate(cases):
        progress(done, len(cases) + 1, f"{ROLLOUTS} rollouts, {harm_pct} % harm, base rate {base_pct} %")
        for suffix, halted in halts(harm_pct, base_pct).items():
            values[_name(harm_pct, base_pct, suffix)] = 100 * halted / ROLLOUTS
    progress(len(cases), len(cases) + 1, f"{ROLLOUTS} rollouts, {SILENT_PCT} % silent")
    for suffix, halted in halts(0, BASE_PCTS[0], SILENT_PCT).items():
        values[f"gate_silent_halted_wave1_{SILENT_PCT}pct{suffix}"] = 100 * halted / ROLLOUTS
    return values


def _name(harm_pct: float, base_pct: float, suffix: str) -> str:
    base = "" if base_pct == BASE_PCTS[0] else f"_base{base_pct:g}pct"
    stem = f"gate_halted_wave1_{harm_pct:g}pct" if harm_pct else "gate_false_halts_pct"
    return f"{stem}{base}{suffix}"


_AIMS = {
    "gate_halted_wave1_20pct": (99.0, False),
    "gate_halted_wave1_5pct": (95.0, False),
    "gate_false_halts_pct": (1.0, True),
    "gate_silent_halted_wave1_20pct": (99.0, False),
}
_OF_RULE = {"": "", "_hawkbit": "; by hawkBit's rule", "_aws": "; by the rule of AWS IoT Jobs"}


def _figure(name: str, says: str) -> Figure:
    aim, at_most = _AIMS.get(name, (None, True))
    return Figure(name=name, unit="%", says=says, aim=aim, at_most=at_most)


def _figures() -> tuple[Figure, ...]:
    figures: list[Figure] = []
    for base_pct in BASE_PCTS:
        for harm_pct in sorted(HARM_PCTS, reverse=True):
            for suffix, rule in _OF_RULE.items():
                if suffix and base_pct != BASE_PCTS[0]:
                    continue
                what = f"harming {harm_pct} %: halted in the first wave" if harm_pct else "harmless: halted in any wave"
                says = f"of {ROLLOUTS:,} rollouts of a release, {what}; base rate {base_pct} %{rule}"
                figures.append(_figure(_name(harm_pct, base_pct, suffix), says))
    for suffix, rule in _OF_RULE.items():
        says = f"of {ROLLOUTS:,} releases that silence {SILENT_PCT} %: halted in the first wave{rule}"
        figures.append(_figure(f"gate_silent_halted_wave1_{SILENT_PCT}pct{suffix}", says))
    return tuple(figures)


EXPERIMENTS = (Experiment(name="gates", door="evidence", seed=SEED, run=gates, figures=_figures()),)
