"""Evidence from worlds: how many break a rule, and how soon each planted mistake is caught."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from tests.scenarios import planted, world
from tests.scenarios.planted import Mistake
from tests.scenarios.watcher import RuleBroken
from tests.scenarios.years import dense
from tests.scenarios.years import planted as planted_in_years

SEEDS_TO_CATCH_MAX = 40
"""A mistake that forty worlds do not show is not caught."""

Progress = Callable[[str], None]
Run = Callable[[int], object]
"""Runs the world of a seed; raises `RuleBroken`."""

HOURS_WORLD: Run = functools.partial(world.run, terminals=10, hours=3.0)
DAYS_WORLD: Run = dense.run
PLANTINGS: tuple[tuple[Mistake, Run], ...] = (
    *((mistake, HOURS_WORLD) for mistake in planted.PLANTED),
    *((mistake, DAYS_WORLD) for mistake in planted_in_years.PLANTED),
)
"""Each mistake, and the worlds that are to show it."""


def world_failures(progress: Progress, *, seeds: int = 200, terminals: int = 20, hours: float = 6.0) -> int:
    """Return how many of the worlds of seeds 1, 2, .. break a rule; each says how to see it again."""
    failures = 0
    run = functools.partial(_failure, terminals=terminals, hours=hours)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for seed, said in enumerate(pool.map(run, range(1, seeds + 1)), start=1):
            failures += said is not None
            progress(said or f"worlds: {seed} of {seeds}, {failures} failed")
    return failures


def planted_caught(progress: Progress) -> tuple[int, dict[str, int]]:
    """Return how many planted mistakes break a rule, and for each the number of worlds it took."""
    seeds_to_catch: dict[str, int] = {}
    mistakes, runs = zip(*PLANTINGS, strict=True)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for mistake, seeds in zip(mistakes, pool.map(seeds_until_caught, mistakes, runs), strict=True):
            progress(f"{mistake.name}: " + (f"caught by world {seeds}" if seeds else "not caught"))
            if seeds is not None:
                seeds_to_catch[mistake.name] = seeds
    return len(seeds_to_catch), seeds_to_catch


def seeds_until_caught(mistake: Mistake, run: Run, most: int = SEEDS_TO_CATCH_MAX) -> int | None:
    """Return the first seed whose world breaks a rule while a mistake is planted."""
    return next((seed for seed in range(1, most + 1) if is_caught(mistake, run, seed)), None)


def is_caught(mistake: Mistake, run: Run, seed: int) -> bool:
    """Whether the world of a seed breaks a rule while a mistake is planted."""
    with mistake.planted():
        try:
            run(seed)
        except RuleBroken:
            return True
    return False


def _failure(seed: int, *, terminals: int, hours: float) -> str | None:
    try:
        world.run(seed, terminals=terminals, hours=hours)
    except RuleBroken as broken:
        return str(broken)
    return None
