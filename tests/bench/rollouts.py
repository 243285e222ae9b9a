"""Rollouts in the full world: agent cores, a broker, the collector's flows, in virtual time, with harm that hides.

Each rollout is a world of its own seed (`tests.scenarios.rollouts`): 1,200 tills in sixty stores of two time zones, a
first wave of 200 while stores are closed, the other 1,000 to compare with, faults that come by themselves at a rate of
0.2 %. Some tills lose power, lines break, the collector is killed once and the broker restarts. Worlds run side by
side; in each the rules of rollouts are checked at every step.
"""

import math
import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor, as_completed

from tests.bench.figures import Experiment, Figure, Progress
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
    ended: dict[tuple[int, int], Ended] = {}
    broken = 0
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[Ended], tuple[int, int]] = {pool.submit(run, case[1], case[0]): case for case in cases}
        for done, future in enumerate(as_completed(running), start=1):
            case = running[future]
            try:
                ended[case] = future.result()
            except RuleBroken as error:
                broken += 1
                progress(done, len(cases), str(error))
            else:
                progress(done, len(cases), f"harm {case[0]} %, seed {case[1]}: {ended[case].state}")
    return _figures(ended) | {"world_rollouts": len(cases), "world_rollouts_broken": broken}


def _figures(ended: dict[tuple[int, int], Ended]) -> dict[str, float]:
    def halted_pct(harm_pct: int) -> float:
        of = [one.halted_in_first for (harm, _), one in ended.items() if harm == harm_pct]
        return 100 * sum(of) / len(of) if of else math.nan

    return {
        "world_rollouts_halted_20pct": halted_pct(20),
        "world_rollouts_halted_5pct": halted_pct(5),
        "world_rollouts_halted_1pct": halted_pct(1),
        "world_rollouts_false_halts": halted_pct(0),
        "world_rollouts_exposed_max": max((one.most_at_once for one in ended.values()), default=0),
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
