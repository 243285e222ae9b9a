"""Years of a fleet in virtual time: how soon silence is found, and what is told without a cause.

Each world is fifty terminals over a year (`tests.scenarios.years`); worlds run side by side. One in fifty is run again
for a month, and must tell the same. `YEARS=1000` asks for more of them.

What each world told is kept beside the figures, under its seed and a digest of every module that took part: a long run
that is cut goes on, and what the same code told once is not run again. `YEARS_ANEW=1` trusts nothing that is kept.
"""

import hashlib
import json
import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.figures import RESULTS, Experiment, Figure, Progress
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
KEPT = RESULTS / "years.json"
ROOT = RESULTS.parents[1]

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
    worlds = math.ceil(terminal_years / TERMINALS)
    again = list(range(1, worlds + 1, AGAIN_EVERY))
    kept = Kept(KEPT, code_digest(), anew=bool(os.environ.get("YEARS_ANEW")))
    jobs = [(seed, DAYS) for seed in range(1, worlds + 1) if seed not in kept.worlds]
    jobs += [(seed, AGAIN_DAYS) for seed in again if seed not in kept.again]
    _side_by_side(jobs, kept, progress)
    found = Verdict()
    for seed in range(1, worlds + 1):
        found.add(kept.worlds[seed].verdict)
    return _figures(found) | {"years_differing": sum(kept.again[seed] != kept.worlds[seed].digest for seed in again)}


class Kept:
    """What worlds told, as the same code told it before."""

    def __init__(self, path: Path, code: str, *, anew: bool = False) -> None:
        self.worlds: dict[int, Told] = {}
        self.again: dict[int, str] = {}
        """Digest of the first month, of those that ran twice."""
        self._path, self._code = path, code
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() and not anew else {}
        if known.get("code") == code:
            self.worlds = {
                int(seed): Told(Verdict(**one["verdict"]), one["digest"]) for seed, one in known["worlds"].items()
            }
            self.again = {int(seed): digest for seed, digest in known["again"].items()}

    def take(self, seed: int, days: int, told: Told) -> None:
        """Keep one more."""
        if days == DAYS:
            told.verdict.detected_s = [round(seconds, 1) for seconds in told.verdict.detected_s]
            self.worlds[seed] = told
        else:
            self.again[seed] = told.digest
        worlds = {
            str(seed): {"verdict": asdict(one.verdict), "digest": one.digest}
            for seed, one in sorted(self.worlds.items())
        }
        again = {str(seed): digest for seed, digest in sorted(self.again.items())}
        content = json.dumps({"code": self._code, "worlds": worlds, "again": again}, indent=None)
        self._path.write_text(content.replace('}, "', '},\n"') + "\n", encoding="utf-8")


def code_digest() -> str:
    """Digest every module of ours that a world loads, and the policy that is judged by."""
    # By itself: in this process other experiments have loaded theirs.
    loaded = subprocess.run([sys.executable, "-c", _LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {file for line in loaded.stdout.splitlines() if (file := Path(line)).is_relative_to(ROOT)}
    digest = hashlib.sha256()
    for file in sorted({*ours, *ROOT.glob("collector/src/*/policy.toml")} - {Path(__file__)}):
        if ".venv" not in file.parts:
            digest.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


_LOADED = (
    "import sys, tests.scenarios.years.verdict, tests.scenarios.years.world\n"
    "print(*(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)), sep='\\n')"
)


def _side_by_side(jobs: Sequence[tuple[int, int]], kept: Kept, progress: Progress) -> None:
    done = multiprocessing.Array("d", max(1, len(jobs)))
    of = sum(days for _, days in jobs)
    with ProcessPoolExecutor(max_workers=os.cpu_count(), initializer=_share, initargs=(done,)) as pool:
        running = {pool.submit(_world, place, *job): job for place, job in enumerate(jobs)}
        left: set[Future[Told]] = set(running)
        while left:
            ended, left = wait(left, timeout=POLL_S)
            for future in ended:
                kept.take(*running[future], future.result())
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
