"""Latency, jitter and loss from a stated number of samples, and how many bytes a network may be asked for. Pure.

A sample is the time of one answer, or None for none. Few samples say little, so their number is always told beside
what was made of them: of five, one lost is 20 %.

What asking costs is counted before it is asked: a shop's line may be metered, and carries payments. An `Allowance`
grows with time up to a limit, and what it does not hold is not asked; at a first look it is full.

A change violates this when a figure is told without its number of samples, or when anything is asked unpaid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, median
from typing import Final

BYTES_PER_S_MAX: Final = 2048.0
"""On average, in both directions together: 5 GB a year at the very most, a tenth of that at the usual pace."""

BYTES_MAX: Final = 60 * BYTES_PER_S_MAX
"""What may be saved up: a minute's, so that the first look at sixteen acquirers is a whole one."""


def measured(name: str, samples: Sequence[float | None]) -> dict[str, float | int]:
    """Give `<name>_ms` (median), `_jitter_ms` (mean change from answer to answer), `_loss_pct`, `_samples`."""
    if not samples:
        return {}
    answers = [sample for sample in samples if sample is not None]
    told: dict[str, float | int] = {
        f"{name}_samples": len(samples),
        f"{name}_loss_pct": round(100 * (len(samples) - len(answers)) / len(samples), 1),
    }
    if answers:
        told[f"{name}_ms"] = round(median(answers), 1)
    if len(answers) > 1:
        told[f"{name}_jitter_ms"] = round(fmean(abs(later - earlier) for earlier, later in pairwise(answers)), 1)
    return told


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """Bytes that may be asked for, as of a moment of the monotonic clock."""

    held_bytes: float = BYTES_MAX
    as_of_s: float


def spend(allowance: Allowance, cost_bytes: int, now_s: float) -> tuple[Allowance, bool]:
    """Take a cost from what is held by now; False, and nothing is taken, when it does not hold that much."""
    grown = allowance.held_bytes + BYTES_PER_S_MAX * max(now_s - allowance.as_of_s, 0.0)
    held = replace(allowance, held_bytes=min(grown, BYTES_MAX), as_of_s=max(now_s, allowance.as_of_s))
    if held.held_bytes < cost_bytes:
        return held, False
    return replace(held, held_bytes=held.held_bytes - cost_bytes), True
