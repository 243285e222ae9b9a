"""Exact tests of two shares, and how an error probability is spent over many looks at growing evidence.

Fisher's test (1922) for one table of two arms: given how many of both arms together show a thing, the number among the
`n` of the first is hypergeometric when the arms do not differ. Over strata the conditional distribution of the sum is
the convolution of theirs (Gart 1970, "Point and interval estimation of the common odds ratio in the combination of 2x2
tables with fixed marginals", Biometrika 57:471), so that strata with different shares are never mixed. Nothing is
approximated: the test is as safe at two faults as at two thousand. What is less probable than `NEGLIGIBLE` is not
carried from stratum to stratum; it is added to the result, which so is never too small.

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

NEGLIGIBLE = 1e-18
"""Below any level that a look could have in practice; with it a hundred strata take a part of a second."""

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
    seen, sums = 0, _Chances(least=0, of=[1.0])
    for one, other in strata:
        seen += one.shown
        sums = _convolved(sums, _hypergeometric(one.n, other.n, one.shown + other.shown))
    return min(1.0, sums.left_out + math.fsum(sums.of[max(0, seen - sums.least) :]))


def spent(level: float, share: float) -> float:
    """Return how much of a level may be spent when this share of the evidence is in, from 0 to 1."""
    if share <= 0:
        return 0.0
    z = -_NORMAL.inv_cdf(level / 2)
    return math.erfc(z / math.sqrt(2 * min(share, 1.0)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chances:
    """How probable each number is, from the least on, and how probable those that are left out are together."""

    least: int
    of: list[float]
    left_out: float = 0.0


def _hypergeometric(n: int, others: int, shown: int) -> _Chances:
    least, most = max(0, shown - others), min(n, shown)
    whole = _log_choose(n + others, shown)
    chances = [math.exp(_log_choose(n, k) + _log_choose(others, shown - k) - whole) for k in range(least, most + 1)]
    return _carried(_Chances(least=least, of=chances))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _convolved(one: _Chances, other: _Chances) -> _Chances:
    sums = [0.0] * (len(one.of) + len(other.of) - 1)
    for i, a in enumerate(one.of):
        for j, b in enumerate(other.of, start=i):
            sums[j] += a * b
    return _carried(_Chances(least=one.least + other.least, of=sums, left_out=one.left_out + other.left_out))


def _carried(chances: _Chances) -> _Chances:
    """Leave out both ends as far as they are negligible."""
    kept = [place for place, chance in enumerate(chances.of) if chance >= NEGLIGIBLE]
    first, last = kept[0], kept[-1] + 1
    return _Chances(
        least=chances.least + first,
        of=chances.of[first:last],
        left_out=chances.left_out + math.fsum(chances.of[:first]) + math.fsum(chances.of[last:]),
    )
