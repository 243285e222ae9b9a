"""Exact tests of two shares, and how an error probability is spent over many looks at growing evidence.

Fisher's test (1922) for one table of two arms: given how many of both arms together show a thing, the number among the
`n` of the first is hypergeometric when the arms do not differ. Over strata the conditional distribution of the sum is
the convolution of theirs (Gart 1970, "Point and interval estimation of the common odds ratio in the combination of 2x2
tables with fixed marginals", Biometrika 57:471), so that strata with different shares are never mixed. Nothing is
approximated: the test is as safe at two faults as at two thousand.

Spending is of the O'Brien-Fleming type (Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials",
Biometrika 70:659): of a level `a` there is spent until the share `t` of the evidence is in

    spent(a, t) = 2 (1 - Phi(z / sqrt(t))),  z the upper a/2 quantile of the normal distribution.

A look may use what was not spent before. Each increment is the level of a test of its own, so that by Boole's
inequality all looks together err no more often than `a`, however they depend on each other; the boundaries of Lan and
DeMets would be a little wider. A change violates this when the levels of all looks sum to more than `a`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """How many were watched, and how many of them showed it."""

    n: int
    shown: int

    def __post_init__(self) -> None:
        assert 0 <= self.shown <= self.n, f"{self.shown} of {self.n}"  # noqa: S101 - our own mistake


def excess_p(strata: Sequence[tuple[Arm, Arm]]) -> float:
    """Return how probable at least as many in the first arms are if no stratum's arms differ; one-sided, 1 for none."""
    seen, low, sums = 0, 0, [1.0]
    for one, other in strata:
        first, chances = _hypergeometric(one.n, other.n, one.shown + other.shown)
        seen, low, sums = seen + one.shown, low + first, _convolved(sums, chances)
    return min(1.0, math.fsum(sums[seen - low :]))


def spent(level: float, share: float) -> float:
    """Return how much of a level may be spent when this share of the evidence is in, from 0 to 1."""
    if share <= 0:
        return 0.0
    z = -_NORMAL.inv_cdf(level / 2)
    return math.erfc(z / math.sqrt(2 * min(share, 1.0)))


def _hypergeometric(n: int, others: int, shown: int) -> tuple[int, list[float]]:
    """Return the least possible number among the first `n`, and the chances from it up to the greatest."""
    low, high = max(0, shown - others), min(n, shown)
    whole = _log_choose(n + others, shown)
    return low, [math.exp(_log_choose(n, k) + _log_choose(others, shown - k) - whole) for k in range(low, high + 1)]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _convolved(one: list[float], other: list[float]) -> list[float]:
    sums = [0.0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            sums[i + j] += a * b
    return sums
