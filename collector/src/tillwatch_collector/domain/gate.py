"""The decision between two waves: pass, hold or halt, with its reasons and numbers.

Three things are judged, apart from each other:

- **Failures**: what failed, rolled back, or was silent after its `go`, against what was executed. At or above the limit
  the rollout halts. The divisor is never less than `executed_min`: few results neither halt by chance nor have to wait
  when they alone would already be too many.
- **Infrastructure**: what an outage or the way to the collector spoiled is no failure of the release. But too much of
  it holds: a release that takes the network down would look the same.
- **Harm**: of the updated terminals those that show what the plan declared beforehand (`primary`), against comparable
  terminals that are not updated: same model, same region, watched in the same hours. An exact one-sided test
  (`domain.exact`), at `looks` moments of each wave, when so large a share of the soak of its terminals is over.

Of `alpha`, wave w may spend the share 1 / (w (w + 1)): half in the first, and all waves together, however many, no more
than the whole. So a release that does no harm is halted with a probability of at most `alpha` in its whole rollout.

With too few controls the gate holds: what cannot be compared is not passed. Such a look is not spent, so it is made
when there are enough. A change violates this when missing evidence passes, or when a look is made twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tillwatch_collector.domain.exact import Arm, excess_p, spent

STRATA_MAX = 500
"""Models times regions times hours of one wave; of more, the smallest count as not compared."""
LOOKS_MAX = 12
SOAK_S_MAX = 30 * 86_400
"""What shows later than in a month is not a rollout's to find."""
ALPHA_MAX = 0.05
"""One release of twenty that is stopped for nothing teaches people to ignore the gate."""

_HAIR = 1e-9
"""What sums of shares may lack of a whole."""

Pct = Annotated[float, Field(gt=0, le=100)]


class Primary(StrEnum):
    """What counts as harm: one measure, declared before the first terminal is updated."""

    ATTRIBUTABLE_FAULT = "attributable_fault"
    """The terminal showed at least one fault that an upgrade may be blamed for."""
    ATTRIBUTABLE_MAJOR_FAULT = "attributable_major_fault"
    """At least one of severity major or critical."""


class GateSettings(BaseModel):
    """What the gate judges by; every part is stated, so that none is forgotten."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    soak_s: Annotated[float, Field(gt=0, le=SOAK_S_MAX)]
    """How long an updated terminal is watched; harm may take its time."""
    failure_pct: Pct
    """At so many of the executed, or more, the rollout halts."""
    executed_min: Annotated[int, Field(ge=1, le=100_000)]
    """With fewer the gate holds."""
    infrastructure_pct: Pct
    """At so many of all results, or more, the gate holds."""
    primary: Primary
    alpha: Annotated[float, Field(gt=0, le=ALPHA_MAX)]
    looks: Annotated[int, Field(ge=1, le=LOOKS_MAX)]
    """In each wave; the last when all of its terminals have soaked."""
    controls_min: Annotated[int, Field(ge=1, le=1_000_000)]
    """Comparable terminals that are not updated; with fewer the gate holds."""
    covered_pct: Pct
    """So many of the updated terminals, or more, must have comparable ones."""


class VerdictKind(StrEnum):
    """What the gate decides."""

    PASS = "pass"  # noqa: S105 - a verdict
    HOLD = "hold"
    """Nothing further is exposed, until the reasons are gone or a person lets it go on without the evidence."""
    HALT = "halt"
    """The rollout is over."""


class GateReason(StrEnum):
    """Why."""

    PASSED = "passed"
    FAILURES = "failures"
    HARM = "harm"
    RUNNING = "running"
    """Some of the wave's jobs are not over."""
    SOAKING = "soaking"
    """Some of its terminals have not been watched for long enough."""
    TOO_FEW_EXECUTED = "too_few_executed"
    INFRASTRUCTURE = "infrastructure"
    TOO_FEW_CONTROLS = "too_few_controls"
    NOT_COMPARABLE = "not_comparable"
    """Too many updated terminals have nothing like them that is not updated."""


HALTING = frozenset({GateReason.FAILURES, GateReason.HARM})
WANT_OF_EVIDENCE = frozenset(
    {
        GateReason.TOO_FEW_EXECUTED,
        GateReason.INFRASTRUCTURE,
        GateReason.TOO_FEW_CONTROLS,
        GateReason.NOT_COMPARABLE,
    }
)
"""Reasons that waiting may not end: a person may answer for them, with a reason. For no others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What came of a wave's jobs."""

    succeeded: int = 0
    """Those that were late, too."""
    failed: int = 0
    """Rejected ones, too: a release that terminals refuse is no good one."""
    rolled_back: int = 0
    silent: int = 0
    """Had their `go`, and were not heard of by the deadline."""
    infrastructure: int = 0
    running: int = 0
    """Not over, or still to be tried."""
    outside: int = 0
    """Never reached, withdrawn before their `go`, or found to run the release already."""

    @property
    def bad(self) -> int:
        """What counts against the release."""
        return self.failed + self.rolled_back + self.silent

    @property
    def executed(self) -> int:
        """What bears witness on the release."""
        return self.succeeded + self.bad


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """Terminals that compare: updated ones, and ones that are not, watched in the same hours."""

    model: str
    region: str
    hours: str
    """Which hours: a label of the span in which both were watched."""
    updated: Arm
    control: Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that the gate looks at."""

    wave: int
    """From 1."""
    tally: Tally
    soaked: float
    """Of the soak that the wave's updated terminals need, the share that is over; 1 when none has any left."""
    strata: tuple[Stratum, ...]
    looks_done: int
    """In this wave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the gate decided on a wave, why, by which numbers, and the looks that are used up with it."""

    wave: int
    kind: VerdictKind
    reasons: tuple[GateReason, ...]
    numbers: Mapping[str, float]
    looks_done: int

    @property
    def answerable(self) -> bool:
        """Whether a person may answer for going on: it holds for want of evidence alone."""
        return self.kind is VerdictKind.HOLD and set(self.reasons) <= WANT_OF_EVIDENCE


@dataclass(frozen=True, kw_only=True, slots=True)
class _Harm:
    """What one look at harm found."""

    reasons: tuple[GateReason, ...]
    numbers: Mapping[str, float]
    looks_done: int


def judge(evidence: Evidence, settings: GateSettings) -> Verdict:
    """Say whether the next wave may begin."""
    harm = _harm(evidence, settings)
    reasons = (*_outcomes(evidence, settings), *harm.reasons)
    halting = tuple(reason for reason in reasons if reason in HALTING)
    kind = VerdictKind.HALT if halting else VerdictKind.HOLD if reasons else VerdictKind.PASS
    return Verdict(
        wave=evidence.wave,
        kind=kind,
        reasons=halting or reasons or (GateReason.PASSED,),
        numbers={**_counted(evidence, settings), **harm.numbers},
        looks_done=harm.looks_done,
    )


def level(settings: GateSettings, wave: int, looks_done: int, looks_due: int) -> float:
    """Return the level of a look: what the spending function gives from the looks done to the look that is due."""
    of_wave = settings.alpha / (wave * (wave + 1))
    return spent(of_wave, looks_due / settings.looks) - spent(of_wave, looks_done / settings.looks)


def looks_due(soaked: float, settings: GateSettings) -> int:
    """Return how many looks at harm a wave should have had when so large a share of its soak is over."""
    return min(settings.looks, int(soaked * settings.looks + _HAIR))


def _outcomes(evidence: Evidence, settings: GateSettings) -> list[GateReason]:
    tally = evidence.tally
    results = tally.executed + tally.infrastructure
    met = {
        GateReason.FAILURES: 100 * tally.bad >= settings.failure_pct * max(tally.executed, settings.executed_min),
        GateReason.RUNNING: tally.running > 0,
        GateReason.SOAKING: evidence.soaked < 1 - _HAIR,
        GateReason.TOO_FEW_EXECUTED: tally.executed < settings.executed_min,
        GateReason.INFRASTRUCTURE: 100 * tally.infrastructure
        >= settings.infrastructure_pct * max(results, settings.executed_min),
    }
    return [reason for reason, is_met in met.items() if is_met]


def _counted(evidence: Evidence, settings: GateSettings) -> dict[str, float]:
    tally = evidence.tally
    return {
        "executed": tally.executed,
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "rolled_back": tally.rolled_back,
        "silent": tally.silent,
        "infrastructure": tally.infrastructure,
        "running": tally.running,
        "outside": tally.outside,
        "bad_pct": 100 * tally.bad / max(tally.executed, settings.executed_min),
        "soaked_pct": 100 * evidence.soaked,
    }


def _harm(evidence: Evidence, settings: GateSettings) -> _Harm:
    compared, numbers = _compared(evidence.strata)
    due = looks_due(evidence.soaked, settings)
    if due <= evidence.looks_done:
        return _Harm(reasons=(), numbers=numbers, looks_done=evidence.looks_done)
    if missing := _not_enough(numbers, settings):
        return _Harm(reasons=missing, numbers=numbers, looks_done=evidence.looks_done)
    p = excess_p([(stratum.updated, stratum.control) for stratum in compared])
    bound = level(settings, evidence.wave, evidence.looks_done, due)
    return _Harm(
        reasons=(GateReason.HARM,) if p <= bound else (),
        numbers={**numbers, "look": due, "p": p, "level": bound},
        looks_done=due,
    )


def _compared(strata: Sequence[Stratum]) -> tuple[list[Stratum], dict[str, float]]:
    """Return the strata that have both arms, the greatest first, and how many terminals that makes."""
    both = [stratum for stratum in strata if stratum.updated.n and stratum.control.n]
    compared = sorted(both, key=lambda stratum: (-stratum.updated.n, stratum.model, stratum.region, stratum.hours))
    del compared[STRATA_MAX:]
    updated = sum(stratum.updated.n for stratum in strata)
    covered = sum(stratum.updated.n for stratum in compared)
    return compared, {
        "updated": covered,
        "updated_harmed": sum(stratum.updated.shown for stratum in compared),
        "controls": sum(stratum.control.n for stratum in compared),
        "controls_harmed": sum(stratum.control.shown for stratum in compared),
        "covered_pct": 100 * covered / updated if updated else 0.0,
    }


def _not_enough(numbers: Mapping[str, float], settings: GateSettings) -> tuple[GateReason, ...]:
    missing = {
        GateReason.TOO_FEW_CONTROLS: numbers["controls"] < settings.controls_min,
        GateReason.NOT_COMPARABLE: numbers["covered_pct"] < settings.covered_pct,
    }
    return tuple(reason for reason, is_met in missing.items() if is_met)
