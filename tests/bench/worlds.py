"""Evidence from worlds: how many break a rule, and how soon each planted mistake is caught."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from tests.scenarios import world
from tests.scenarios.planted import PLANTED
from tests.scenarios.watcher import RuleBroken

SEEDS_TO_CATCH_MAX = 40
"""A mistake that forty worlds do not show is not caught."""

Progress = Callable[[str], None]


def world_failures(progress: Progress, *, seeds: int = 200, terminals: int = 20, hours: float = 6.0) -> int:
    """Return how many of the worlds of seeds 1, 2, .. break a rule; each says how to see it again."""
    failures = 0
    run = functools.partial(_failure, terminals=terminals, hours=hours)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for seed, said in enumerate(pool.map(run, range(1, seeds + 1)), start=1):
            failures += said is not None
            progress(said or f"worlds: {seed} of {seeds}, {failures} failed")
    return failures


def planted_caught(progress: Progress, *, terminals: int = 20, hours: float = 6.0) -> tuple[int, dict[str, int]]:
    """Return how many planted mistakes break a rule, and for each the number of worlds it took."""
    seeds_to_catch: dict[str, int] = {}
    catch = functools.partial(seeds_until_caught, terminals=terminals, hours=hours)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for mistake, seeds in zip(PLANTED, pool.map(catch, range(len(PLANTED))), strict=True):
            progress(f"{mistake.name}: " + (f"caught by world {seeds}" if seeds else "not caught"))
            if seeds is not None:
                seeds_to_catch[mistake.name] = seeds
    return len(seeds_to_catch), seeds_to_catch


def seeds_until_caught(number: int, *, terminals: int, hours: float, most: int = SEEDS_TO_CATCH_MAX) -> int | None:
    """Return the first seed whose world breaks a rule while the mistake of this number is planted."""
    with PLANTED[number].planted():
        for seed in range(1, most + 1):
            if _failure(seed, terminals=terminals, hours=hours) is not None:
                return seed
    return None


def _failure(seed: int, *, terminals: int, hours: float) -> str | None:
    try:
        world.run(seed, terminals=terminals, hours=hours)
    except RuleBroken as broken:
        return str(broken)
    return None
