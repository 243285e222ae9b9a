"""Rollouts in the full world: agent cores, a broker, the collector's flows, in virtual time, with harm that hides.

Each rollout is a world of its own seed (`tests.scenarios.rollouts`): 1,200 tills in sixty stores of two time zones, a
first wave of 200 while stores are closed, the other 1,000 to compare with, faults that come by themselves at a rate of
0.2 %. Some tills lose power, lines break, the collector is killed once and the broker restarts. Worlds run side by
side; in each the rules of rollouts are checked at every step. What each told is kept (`tests.bench.kept`): a run that
is cut goes on.
"""

import math
import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

from tests.bench.figures import Experiment, Figure, Progress
from tests.bench.kept import kept
from tests.scenarios.rollouts.world import Ended, run
from tests.scenarios.watcher import RuleBroken

SEED = 1
HARM_PCTS = (0, 1, 5, 20)
EACH = int(os.environ.get("ROLLOUTS_EACH", "5"))
"""Rollouts of each harm."""
EXPOSED_MAX = 80


def rollouts(progress: Progress) -> dict[str, float]:
    """Run all; returns the figures."""
    cases = [(harm_pct, seed) for seed in range(SEED, SEED + EACH) for harm_pct in HARM_PCTS]
    known = kept("world_rollouts", (run.__module__,), but=__file__)
    left = [case for case in cases if _name(*case) not in known.told]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[Ended], tuple[int, int]] = {pool.submit(run, case[1], case[0]): case for case in left}
        for done, future in enumerate(as_completed(running), start=1):
            name = _name(*running[future])
            known.take(name, _told(future))
            progress(done, len(left), f"{name}: {known.told[name]}")
    return _figures({case: known.told[_name(*case)] for case in cases})


def _name(harm_pct: int, seed: int) -> str:
    return f"harm {harm_pct} %, seed {seed}"


def _told(future: Future[Ended]) -> dict[str, Any]:
    try:
        ended = future.result()
    except RuleBroken as error:
        return {"broken": str(error)}
    return {"state": ended.state, "halted_in_first": ended.halted_in_first, "most_at_once": ended.most_at_once}


def _figures(told: Mapping[tuple[int, int], Mapping[str, Any]]) -> dict[str, float]:
    ended = {case: one for case, one in told.items() if "broken" not in one}

    def halted_pct(harm_pct: int) -> float:
        of = [one["halted_in_first"] for (harm, _), one in ended.items() if harm == harm_pct]
        return 100 * sum(of) / len(of) if of else math.nan

    return {
        "world_rollouts": len(told),
        "world_rollouts_broken": len(told) - len(ended),
        "world_rollouts_halted_20pct": halted_pct(20),
        "world_rollouts_halted_5pct": halted_pct(5),
        "world_rollouts_halted_1pct": halted_pct(1),
        "world_rollouts_false_halts": halted_pct(0),
        "world_rollouts_exposed_max": max((one["most_at_once"] for one in ended.values()), default=0),
    }


_WORLD = "of 1,200 terminals, 200 in the first wave, base rate 0.2 %, in the full world"

EXPERIMENTS = (
    Experiment(
        name="world_rollouts",
        door="evidence",
        seed=SEED,
        run=rollouts,
        options=("ROLLOUTS_EACH",),
        figures=(
            Figure(
                name="world_rollouts",
                unit="rollouts",
                aim=20,
                at_most=False,
                says=f"{_WORLD}: as many each of a release that harms 0, 1, 5 and 20 %",
            ),
            Figure(
                name="world_rollouts_halted_20pct",
                unit="%",
                aim=99,
                at_most=False,
                says="of those of a release that harms 20 %: halted in their first wave",
            ),
            Figure(
                name="world_rollouts_halted_5pct",
                unit="%",
                aim=95,
                at_most=False,
                says="of those of one that harms 5 %: halted in their first wave",
            ),
            Figure(
                name="world_rollouts_halted_1pct",
                unit="%",
                aim=None,
                says="of those of one that harms 1 %: halted in their first wave",
            ),
            Figure(
                name="world_rollouts_false_halts",
                unit="%",
                aim=0,
                says="of those of one that does no harm: halted in their first wave",
            ),
            Figure(
                name="world_rollouts_broken",
                unit="rollouts",
                aim=0,
                says="in which a till was changed outside its window, without a go, or with too many others, or in the "
                "end did not run what was written of it",
            ),
            Figure(
                name="world_rollouts_exposed_max",
                unit="terminals",
                aim=EXPOSED_MAX,
                says=f"switched at the same moment, at the most; the plan allows {EXPOSED_MAX}",
            ),
        ),
    ),
)
