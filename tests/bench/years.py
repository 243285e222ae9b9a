"""Years of a fleet in virtual time: how soon silence is found, and what is told without a cause.

Each world is fifty terminals over a year (`tests.scenarios.years`); worlds run side by side. One in fifty is run again
for a month, and must tell the same. `YEARS=1000` asks for more of them.

What each world told is kept (`tests.bench.kept`): a long run that is cut goes on.
"""

import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.figures import Experiment, Figure, Progress
from tests.bench.kept import Kept, kept
from tests.scenarios import dump
from tests.scenarios.years import fleet
from tests.scenarios.years.story import drawn
from tests.scenarios.years.verdict import Verdict, verdict
from tests.scenarios.years.world import YearWorld

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import SynchronizedArray

TERMINALS = sum(shop.terminals for shop in fleet.SHOPS)
DAYS = 365
YEARS = 100
AGAIN_EVERY = 50
"""One seed in so many is run twice: two in a hundred."""
AGAIN_DAYS = 30
POLL_S = 5.0

DETECTION_AIM_S = 190.0
FALSE_AIM = 0.01
CONFIDENCE = 0.95

_days_done: "SynchronizedArray[float]"


class Told(NamedTuple):
    """What came of one world."""

    verdict: Verdict
    digest: str
    """Of its first month."""


def years(progress: Progress, terminal_years: int) -> dict[str, float]:
    """Run worlds until they are so many terminal-years; returns their figures."""
    seeds = range(1, math.ceil(terminal_years / TERMINALS) + 1)
    again = seeds[::AGAIN_EVERY]
    known = kept("years", ("tests.scenarios.years.verdict", "tests.scenarios.years.world"), but=__file__)
    jobs = [(seed, DAYS) for seed in seeds] + [(seed, AGAIN_DAYS) for seed in again]
    _side_by_side([job for job in jobs if _name(*job) not in known.told], known, progress)
    found = Verdict()
    for seed in seeds:
        found.add(Verdict(**known.told[_name(seed, DAYS)]["verdict"]))
    months = ([known.told[_name(seed, days)]["digest"] for days in (DAYS, AGAIN_DAYS)] for seed in again)
    return _figures(found) | {"years_differing": sum(first != second for first, second in months)}


def _name(seed: int, days: int) -> str:
    return f"seed {seed}, {days} days"


def _side_by_side(jobs: Sequence[tuple[int, int]], known: Kept, progress: Progress) -> None:
    done = multiprocessing.Array("d", max(1, len(jobs)))
    of = sum(days for _, days in jobs)
    with ProcessPoolExecutor(max_workers=os.cpu_count(), initializer=_share, initargs=(done,)) as pool:
        running = {pool.submit(_world, place, *job): job for place, job in enumerate(jobs)}
        left: set[Future[Told]] = set(running)
        while left:
            ended, left = wait(left, timeout=POLL_S)
            for future in ended:
                told = future.result()
                told.verdict.detected_s = [round(seconds, 1) for seconds in told.verdict.detected_s]
                known.take(_name(*running[future]), {"verdict": asdict(told.verdict), "digest": told.digest})
            days = math.fsum(done[place] for place in range(len(jobs)))
            progress(int(days), of, f"{days * TERMINALS / DAYS:.0f} terminal-years")


def _share(done: "SynchronizedArray[float]") -> None:
    global _days_done  # noqa: PLW0603 - what a pool hands to its processes stays there
    _days_done = done


def _world(place: int, seed: int, days: int) -> Told:
    story = drawn(seed, days=DAYS)
    world = YearWorld.of(seed, story)
    digest = ""
    for day in range(1, days + 1):
        world.run_until_day(day)
        _days_done[place] = float(day)
        if day == AGAIN_DAYS:
            digest = world.trace.digest
    if days < DAYS:
        return Told(Verdict(), digest)
    world.finish()
    told = Told(verdict(world), digest)
    world.store.close()
    return told


def _figures(found: Verdict) -> dict[str, float]:
    detected_s = sorted(found.detected_s)
    return {
        "terminal_years": found.terminal_years,
        "detection_p50_s": quantile(detected_s, 0.5),
        "detection_p99_s": quantile(detected_s, 0.99),
        "false_tickets_per_terminal_year_upper95": poisson_upper(len(found.false_tickets)) / found.terminal_years,
        "observer_tickets": len(found.observer_tickets),
        "outage_parents": max(found.parents, default=math.nan),
        "outages_without_parent": sum(parents == 0 for parents in found.parents),
        "flap_tickets": max(found.flap_tickets, default=math.nan),
        "missed_faults": len(found.missed),
        "night_tickets": len(found.night_tickets),
        "short_tickets_per_terminal_year": len(found.short_tickets) / found.terminal_years,
        "tickets_per_terminal_year": found.tickets / found.terminal_years,
        "tickets_spared_pct": 100 * (1 - found.tickets / found.naive_tickets),
    }


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share does not exceed."""
    return ascending[math.ceil(share * len(ascending)) - 1] if ascending else math.nan


def poisson_upper(count: int, confidence: float = CONFIDENCE) -> float:
    """Return the greatest mean that is not refuted by `count` events: the exact one-sided bound (Garwood 1936)."""
    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(100):
        mean = (low + high) / 2
        low, high = (mean, high) if _poisson_cdf(count, mean) > 1 - confidence else (low, mean)
    return high


def _poisson_cdf(count: int, mean: float) -> float:
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


# --- skipping is exact

SKIPPING = tuple((seed, int(os.environ.get("SKIPPING_DAYS", "4"))) for seed in (1, 2))
"""Seeds and days, of the last three shops: ten terminals. Every heartbeat of nineteen days, a terminal-year in both, is
twenty minutes' work."""
SKIPPING_SHOPS = fleet.SHOPS[-3:]
SKIPPING_OFTEN = 10.0


def skipping(progress: Progress) -> dict[str, float]:
    """Return how many worlds end otherwise when every heartbeat, canary and tick is there."""
    jobs = [(seed, days, skips) for seed, days in SKIPPING for skips in (True, False)]
    ends: dict[tuple[int, bool], dict[str, list[str]]] = {}
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, (job, end) in enumerate(zip(jobs, pool.map(_end, jobs), strict=True), start=1):
            ends[job[0], job[2]] = end
            progress(done, len(jobs), "worlds, with and without skipping")
    differing = sum(dump.difference(ends[seed, True], ends[seed, False]) is not None for seed, _ in SKIPPING)
    terminals = sum(shop.terminals for shop in SKIPPING_SHOPS)
    return {
        "skipping_differs": differing,
        "skipping_terminal_years": sum(days for _, days in SKIPPING) * terminals / DAYS,
    }


def _end(job: tuple[int, int, bool]) -> dict[str, list[str]]:
    seed, days, skips = job
    story = drawn(seed, days=days, shops=SKIPPING_SHOPS, often=SKIPPING_OFTEN)
    world = YearWorld.of(seed, story, skips=skips)
    world.run()
    return dump.facts_of(world.store) | dump.judgements_of(world.store)


def _year_figures() -> tuple[Figure, ...]:
    def figure(name: str, unit: str, aim: float | None, says: str, *, at_most: bool = True) -> Figure:
        return Figure(name=name, unit=unit, aim=aim, says=says, at_most=at_most)

    return (
        figure(
            "terminal_years", "years", YEARS, "in virtual time: fifty terminals a world, a year each", at_most=False
        ),
        figure("detection_p50_s", "s", None, "from a terminal's last proof of life in watched time to its fault"),
        figure("detection_p99_s", "s", DETECTION_AIM_S, "the slowest hundredth of them; three intervals are 180 s"),
        figure(
            "false_tickets_per_terminal_year_upper95",
            "tickets",
            FALSE_AIM,
            "tickets that nothing of the story explains: the upper bound at 95 % (exact, Poisson)",
        ),
        figure("observer_tickets", "tickets", 0, "of them those that the collector's or broker's own trouble made"),
        figure("outage_parents", "tickets", 1, "parents of one common cause, at the most"),
        figure("outages_without_parent", "outages", 0, "common causes that silenced five and more and made no parent"),
        figure("flap_tickets", "tickets", 1, "tickets of one loose contact over its hours, at the most"),
        figure("missed_faults", "faults", 0, "longer than hold and one interval, to be seen and told, and not found"),
        figure("night_tickets", "tickets", 0, "about terminals that people switch off outside the hours"),
        figure(
            "short_tickets_per_terminal_year",
            "tickets",
            None,
            "of the false ones those about a line that broke and was back before three intervals were over",
        ),
        figure("tickets_per_terminal_year", "tickets", None, "that people are told of, for every cause there is"),
        figure(
            "tickets_spared_pct",
            "%",
            None,
            "against one ticket for each terminal without a heartbeat for 3 minutes, and each time a part fails",
        ),
        figure("years_differing", "worlds", 0, "of those that ran twice: they told something else"),
    )


EXPERIMENTS = (
    Experiment(
        name="years",
        door="evidence",
        seed=1,
        run=lambda progress: years(progress, int(os.environ.get("YEARS", YEARS))),
        options=("YEARS",),
        figures=_year_figures(),
    ),
    Experiment(
        name="skipping",
        door="evidence",
        seed=1,
        run=skipping,
        options=("SKIPPING_DAYS",),
        figures=(
            Figure(
                name="skipping_differs",
                unit="worlds",
                aim=0,
                says="worlds that end otherwise when no heartbeat, canary or tick is skipped, to the byte",
            ),
            Figure(
                name="skipping_terminal_years",
                unit="years",
                aim=1,
                at_most=False,
                says="in those worlds (SKIPPING_DAYS=19 makes it one)",
            ),
        ),
    ),
)
