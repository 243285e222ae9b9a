"""A rollout in the full world: real cores on tills in memory, real flows, one seed, until its first wave is decided.

A release goes to an estate at night. Some tills lose their power meanwhile, lines break, the collector is killed once
and the broker restarts; faults come by themselves at the base rate. Run one again with

    .venv/bin/python -m tests.scenarios.rollouts.world --seed 3 --harm-pct 5
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.scenarios import checkers
from tests.scenarios.clock import chance
from tests.scenarios.model import Flaw
from tests.scenarios.rollouts import estate as estates
from tests.scenarios.rollouts.estate import CODE, COMPONENT, Estate
from tests.scenarios.rollouts.rules import NeverAllTills, rollout_rules
from tests.scenarios.story import HOUR_S, Act, Story, Turn
from tests.scenarios.watcher import RuleBroken, Watcher
from tests.scenarios.world import World

from tillwatch_collector.domain.choosing import choose, freeze, parse_query
from tillwatch_collector.domain.rollout import RolloutState, parse_settings
from tillwatch_collector.flows import rollouts
from tillwatch_collector.flows.driving import DrivingSettings
from tillwatch_collector.flows.judge import JudgeSettings
from tillwatch_collector.flows.rollouts import Draft
from tillwatch_collector.store.rollouts import KeptRollout
from tillwatch_protocol.release import InstallerKind, Release
from tillwatch_simulator.link import LinkHabits, Span
from tillwatch_simulator.releases import Signed

INTERVAL_S = 300
LOOK_EVERY_S = 600.0
"""A till's parts, beside whenever something changes; a reading is stale after three intervals."""
SETTINGS = JudgeSettings(canary_s=10.0, rollouts=DrivingSettings(look_s=20.0))
"""A `go` lives for a minute from its ask."""
DRAFTED_S = 700.0
"""Everybody has told what it runs by then."""
STEP_S = 300.0
AFTER_S = 1_800.0
"""What has its go when the first wave is decided, finishes or rolls back."""
HOURS_MAX = 9.0
BASE_PCT = 0.2
"""Of the tills that show a fault by themselves, in as long as one soaks."""
POWER_CUT_PCT = 3.0
AWAY_S = (5.0, 50.0)
"""Nobody's silence."""
AUTHOR = "person:ann"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What came of a rollout."""

    state: RolloutState
    wave: int
    verdict: dict[str, Any]
    most_at_once: int
    """Tills that were switched at the same moment."""
    digest: str

    @property
    def halted_in_first(self) -> bool:
        """Whether the gate stopped it there."""
        return self.state is RolloutState.HALTED and self.wave == 1


@dataclass(kw_only=True, eq=False)
class RolloutWorld:
    """Everything of one run."""

    seed: int
    estate: Estate
    signed: Signed
    world: World
    rollout_id: str = field(default="", init=False)

    @classmethod
    def of(cls, seed: int, signed: Signed, estate: Estate, *, troubles: bool = True) -> "RolloutWorld":
        """Set the scene."""
        story = _story(seed, estate, troubles=troubles)

        def watchers(world: World) -> Iterable[Watcher]:
            return [checkers.OneOpenTicket(world), *rollout_rules(world, estate)]

        software = estates.software(signed)
        world = World.of(seed, story, watchers, software=software, interval_s=INTERVAL_S)
        world.process.settings = SETTINGS
        for terminal in world.terminals.values():
            terminal.look_every_s = LOOK_EVERY_S
        if signed.release.harm or signed.release.fails_pct:
            world.harmful.add(f"{signed.release.product} {signed.release.version}")
        ours = cls(seed=seed, estate=estate, signed=signed, world=world)
        with world.store.transaction() as repository:
            estate.enter(repository, story.terminal_ids, world.clock.now)
        world.clock.call_at(DRAFTED_S, ours._begin)
        return ours

    def run(self) -> Ended:
        """Run until the first wave is decided, and a while longer."""
        world = self.world
        kept = None
        while (kept is None or _is_undecided(kept)) and world.clock.now_s < HOURS_MAX * HOUR_S:
            world.clock.run_until(world.clock.now_s + STEP_S)
            kept = self.kept()
        assert kept is not None
        if kept.rollout.state is RolloutState.RUNNING:
            self._abort()
        world.clock.run_until(world.clock.now_s + AFTER_S)
        world.watchers.finish()
        most = max(watcher.most for watcher in world.watchers.each if isinstance(watcher, NeverAllTills))
        return Ended(
            state=kept.rollout.state,
            wave=kept.rollout.wave,
            verdict=dict(kept.verdict or {}),
            most_at_once=most,
            digest=world.trace.digest,
        )

    def kept(self) -> KeptRollout | None:
        """Return the rollout as it stands."""
        if not self.rollout_id:
            return None
        with self.world.store.transaction() as repository:
            return repository.rollouts.get(self.rollout_id)

    def _begin(self) -> None:
        """Draft it, and let it go, as people do."""
        now, settings = self.world.clock.now, json.dumps(self.estate.plan())
        release, query = self.signed.release, parse_query(f"till<{self.signed.release.version}")
        words = Release(product=release.product, version=release.version, installer=InstallerKind.BUNDLE)
        with self.world.store.transaction() as repository:
            fleet = repository.fleet.facts()
            selection = freeze(
                choose(query, fleet, products=(release.product,)),
                fleet,
                words,
                repository.fleet.hours(),
                parse_settings(settings),
                query=query.text,
                reason="a world",
                now=now,
            )
            draft = Draft(
                name=f"seed {self.seed}",
                target=release.target,
                product=release.product,
                version=release.version,
                digest=self.signed.digest,
                selection=selection,
                settings=settings,
            )
            self.rollout_id = rollouts.draft(repository, draft, actor=AUTHOR, now=now)
            rollouts.start(repository, self.rollout_id, actor=AUTHOR, reason="as planned", now=now)

    def _abort(self) -> None:
        """End it where nothing more is to be seen: what has its go finishes."""
        with self.world.store.transaction() as repository:
            now = self.world.clock.now
            rollouts.abort(repository, self.rollout_id, actor=AUTHOR, reason="the first wave passed", now=now)


def _is_undecided(kept: KeptRollout) -> bool:
    return kept.rollout.state is RolloutState.RUNNING and kept.rollout.wave <= 1


def _story(seed: int, estate: Estate, *, troubles: bool) -> Story:
    rng = chance(seed, "estate")
    story = Story(terminals=estate.terminals, duration_s=HOURS_MAX * HOUR_S, batch_s=5.0, canary_s=10.0)
    story.flaws = dict(_flaws(rng, story, estate.soak_s))
    if not troubles:
        story.link = LinkHabits(breaks_per_hour=0)
        return story
    story.turns = list(_power_cuts(rng, story))
    away_s = rng.uniform(HOUR_S / 2, 2 * HOUR_S)
    story.collector_away = [Span(start_s=away_s, end_s=away_s + 45.0)]
    story.broker_restarts_s = [rng.uniform(HOUR_S / 2, 2 * HOUR_S)]
    return story


def _flaws(rng: Random, story: Story, soak_s: float) -> Iterable[tuple[str, list[Flaw]]]:
    """Faults that come by themselves, at the base rate, over the whole night."""
    rate = -math.log(1 - BASE_PCT / 100) / soak_s
    for terminal_id in story.terminal_ids:
        at_s = rng.expovariate(rate)
        if at_s < story.duration_s:
            yield (
                terminal_id,
                [Flaw(component=COMPONENT, code=CODE, start_s=at_s, end_s=at_s + rng.uniform(600, 3_600))],
            )


def _power_cuts(rng: Random, story: Story) -> Iterable[Turn]:
    for terminal_id in story.terminal_ids:
        if 100 * rng.random() < POWER_CUT_PCT:
            at_s = rng.uniform(DRAFTED_S, 2 * HOUR_S)
            act = rng.choice((Act.KILLED, Act.POWER_CUT))
            yield Turn(terminal_id=terminal_id, act=act, away=Span(start_s=at_s, end_s=at_s + rng.uniform(*AWAY_S)))


def run(seed: int, harm_pct: float, estate: Estate | None = None) -> Ended:
    """Run the world of this seed and harm; a broken rule says how to see it again."""
    chosen = estate or Estate()
    signed = estates.release(harm_pct, chosen.soak_s)
    try:
        return RolloutWorld.of(seed, signed, chosen).run()
    except Exception as error:
        again = f".venv/bin/python -m tests.scenarios.rollouts.world --seed {seed} --harm-pct {harm_pct:g}"
        raise RuleBroken(f"seed {seed}, harm {harm_pct:g} %: {error}\n  run again: {again}") from error


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run a rollout in the world of one seed.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--harm-pct", type=float, default=0.0)
    chosen = parser.parse_args(arguments)
    ended = run(chosen.seed, chosen.harm_pct)
    sys.stdout.write(f"seed {chosen.seed}: every rule held; {ended}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
