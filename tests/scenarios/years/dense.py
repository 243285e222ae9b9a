"""A dense world: the troubles of some days, the people, and every rule, from one seed. Run one again with

.venv/bin/python -m tests.scenarios.years.dense --seed 3
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from tests.scenarios.broker import Packet
from tests.scenarios.model import Look, Till
from tests.scenarios.watcher import RuleBroken, Watcher
from tests.scenarios.years.people import CARD, ROUTES, People
from tests.scenarios.years.rules import Rule, every_rule
from tests.scenarios.years.troubles import BISTRO, Call, Troubles, drawn
from tests.scenarios.years.truth import Truth
from tests.scenarios.years.world import YearWorld

from tillwatch_agent.health import Observation
from tillwatch_collector.domain.notification import Route
from tillwatch_collector.flows.changes import TicketChange
from tillwatch_collector.flows.ingest import Delivery
from tillwatch_collector.flows.judge import JudgeEffects, Rules
from tillwatch_collector.notifiers import Letter
from tillwatch_protocol import topics

DAYS = 3
FORGED, OVERHEARD = BISTRO.terminal_ids
"""In whose name strangers speak, and whom they repeat."""


class _Talkative(Look):
    """A look at a part that says more than it should."""

    def observation(self) -> Observation:
        plain = super().observation()
        codes: dict[str, str | None] = dict.fromkeys(plain.true_codes, f"while {CARD} was paid with")
        return replace(plain, true_codes=codes, facts={"last_receipt": CARD})


class _TalkativeTill(Till):
    def look(self, now_s: float) -> tuple[Look, ...]:
        return tuple(
            _Talkative(part=look.part, true=look.true, hidden=look.hidden, reason=look.reason)
            for look in super().look(now_s)
        )


@dataclass(kw_only=True, eq=False)
class DenseWorld(Watcher):
    """A world of years with people in it; it tells the rules what people do."""

    years: YearWorld
    troubles: Troubles
    truth: Truth
    rules: list[Rule] = field(default_factory=list)
    poison: list[bytes] = field(default_factory=list)
    heard: bytes = b"{}"
    people: People = field(init=False)

    @classmethod
    def of(cls, seed: int, troubles: Troubles, rules: Callable[["DenseWorld"], Iterable[Rule]]) -> "DenseWorld":
        """Set the scene."""
        years = YearWorld.of(seed, troubles.story)
        world = cls(years=years, troubles=troubles, truth=Truth(troubles=troubles))
        years.process.rules = Rules(routes=ROUTES)
        for terminal in years.terminals.values():
            terminal.till = _TalkativeTill(flaws=terminal.till.flaws)
        world.people = People(
            seed=seed,
            clock=years.clock,
            store=years.store,
            troubles=troubles,
            told=world,
            wake=years.process.wake,
        )
        world.rules = list(rules(world))
        years.watchers.each += [world, *world.rules]
        for at_s in troubles.poison_s:
            years.clock.call_at(at_s, world._poison)
        return world

    def run(self) -> str:
        """Run to the end; returns the trace's digest."""
        try:
            return self.years.run()
        finally:
            self.people.close()
            self.years.store.close()

    # --- what people do, and are told

    def judged(self, effects: JudgeEffects) -> None:
        """Let people begin to work on what was opened."""
        for change in effects.tickets:
            self.people.hear(change)
        if effects.tickets:
            self.people.post()

    def acted(self, change: TicketChange) -> None:
        """Tell the rules what somebody did."""
        for rule in self.rules:
            rule.acted(change)

    def called(self, call: Call, change: TicketChange) -> None:
        """Tell the rules what became of a telephone call."""
        for rule in self.rules:
            rule.called(call, change)

    def letter(self, route: Route, letter: Letter) -> None:
        """Tell the rules of a message."""
        for rule in self.rules:
            rule.letter(route, letter)

    # --- what strangers do

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """Overhear what could be said again in another's name."""
        overheard = (d for d in batch if d.topic == topics.HEARTBEAT.of(OVERHEARD) and not self.is_poison(d))
        self.heard = next((delivery.payload for delivery in overheard), self.heard)

    def is_poison(self, delivery: Delivery) -> bool:
        """Whether a stranger sent it."""
        return delivery.topic == topics.HEARTBEAT.of(FORGED) and delivery.payload in self.poison

    def _poison(self) -> None:
        """Let a stranger say in a terminal's name what nobody can read, or what another one said."""
        payload = self.heard if len(self.poison) % 2 else f'{{"note": "{CARD} {len(self.poison)}"'.encode()
        self.poison.append(payload)
        self.years.terminals[FORGED].wake(beats=2)
        packet = Packet(topic=topics.HEARTBEAT.of(FORGED), payload=payload, qos=0, retain=False)
        self.years.process.received(packet, retained=False)


def run(seed: int, *, days: int = DAYS) -> str:
    """Run the dense world of this seed; a broken rule, or a broken assertion of the code, says how to see it again."""
    world = DenseWorld.of(seed, drawn(seed, days=days), every_rule)
    try:
        return world.run()
    except AssertionError as error:
        again = f".venv/bin/python -m tests.scenarios.years.dense --seed {seed} --days {days}"
        raise RuleBroken(f"seed {seed}: {error}\n  run again: {again}") from error


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run the dense world of one seed.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--days", type=int, default=DAYS)
    chosen = parser.parse_args(arguments)
    began_s = time.process_time()
    digest = run(chosen.seed, days=chosen.days)
    took_s = time.process_time() - began_s
    sys.stdout.write(f"seed {chosen.seed}: every rule held; trace {digest}; {took_s:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
