"""The kill matrix: a job struck at each of its durable writes, in each way, once; and some struck twice, by seed.

Journal, slots and launcher are the real ones; see `tests.agent.power` for what a till in virtual time must keep.
"""

import itertools
import logging
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.agent.forgetful import Blow, Extent, Strike
from tests.agent.power import Breach, Ending, Story, Till
from tests.bench.figures import Experiment, Figure, Progress

SEED = 20261122
TWICE = 1_000
"""Jobs that are struck twice."""

Case = tuple[Story, tuple[Strike, ...]]


def kill_matrix(progress: Progress) -> dict[str, float]:
    """Go through all cases; what broke in one is told."""
    steps = {story: _ending((story, ())).steps for story in Story}
    once, twice = list(_once(steps)), list(_twice(steps, random.Random(SEED)))
    found: Counter[Breach] = Counter()
    with ProcessPoolExecutor(initializer=_be_quiet) as pool:
        for done, (case, ending) in enumerate(pool.map(_told, once + twice, chunksize=20), start=1):
            found.update({breach for breach, _ in ending.breaches})
            progress(done, len(once) + len(twice), f"{case[0]}: {ending.breaches}" if ending.breaches else "strikes")
    return {
        "kill_points": len(once),
        "kill_bricked": found[Breach.BRICKED],
        "kill_double_effects": found[Breach.DOUBLE_EFFECT],
        "kill_wrong_ends": found[Breach.WRONG_END],
    }


def _once(steps: dict[Story, int]) -> Iterator[Case]:
    for story, of in steps.items():
        for at, blow, extent in itertools.product(range(of), Blow, Extent):
            yield story, (Strike(at=at, blow=blow, extent=extent),)


def _twice(steps: dict[Story, int], rng: random.Random) -> Iterator[Case]:
    """Let the second strike fall into what the first one led to."""
    for _ in range(TWICE):
        story = rng.choice(list(Story))
        first = rng.randrange(steps[story])
        ats = (first, first + rng.randint(1, 40))
        yield story, tuple(Strike(at=at, blow=rng.choice(list(Blow)), extent=rng.choice(list(Extent))) for at in ats)


def _told(case: Case) -> tuple[Case, Ending]:
    return case, _ending(case)


def _ending(case: Case) -> Ending:
    story, strikes = case
    with tempfile.TemporaryDirectory() as folder:
        return Till(Path(folder), story, *strikes).run()


def _be_quiet() -> None:
    """Keep what is provoked on purpose out of the progress, and leave some of the machine to others."""
    logging.disable(logging.ERROR)
    os.nice(5)


EXPERIMENTS = (
    Experiment(
        name="kill_matrix",
        door="evidence",
        seed=SEED,
        run=kill_matrix,
        figures=(
            Figure(
                name="kill_points",
                unit="strikes",
                aim=None,
                says="every durable write of a job (upgrade, rollback, crash at start; also of the agent itself) x "
                f"lost, torn, kept x kill, power cut, error, disk full; {TWICE:,} jobs struck twice come on top",
            ),
            Figure(
                name="kill_bricked",
                unit="jobs",
                aim=0,
                says="of them in which nothing that works started within four tries",
            ),
            Figure(
                name="kill_double_effects",
                unit="jobs",
                aim=0,
                says="of them in which a release was activated twice, started once taken back, or had two ends",
            ),
            Figure(
                name="kill_wrong_ends",
                unit="jobs",
                aim=0,
                says="of them that did not end, or in which something else runs or is committed than the end says",
            ),
        ),
    ),
)
