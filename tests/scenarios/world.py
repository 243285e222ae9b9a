"""The whole system in virtual time: agent cores, links, a broker, collector flows on a real database, one seed.

A world runs its story to the end in one thread and in no real time at all; watchers see everything, and raise
`RuleBroken` where a rule does not hold. The same seed gives the same trace, to the last message. Run one again with

    .venv/bin/python -m tests.scenarios.world --seed 17
"""

import argparse
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from sqlalchemy import Connection
from tests.scenarios.broker import Broker, Packet
from tests.scenarios.checkers import all_checkers
from tests.scenarios.clock import Clock, Trace, chance
from tests.scenarios.model import Till, clock_flaws
from tests.scenarios.process import Process
from tests.scenarios.story import Act, Story, Turn, drawn
from tests.scenarios.terminal import Terminal
from tests.scenarios.watcher import RuleBroken, Watcher, Watchers

from tillwatch_collector import policies
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.flows.ingest import Delivery
from tillwatch_collector.flows.judge import JudgeEffects
from tillwatch_collector.store.session import Store
from tillwatch_simulator.link import Link
from tillwatch_simulator.updating import Software

TERMINALS = 20
HOURS = 6.0
QUIET_HOURS = 0.75
"""Longer than every hold, back-off and patience together."""


@dataclass(kw_only=True, eq=False)
class World:
    """Everything of one run; scenarios reach in and do what stories cannot tell."""

    seed: int
    story: Story
    clock: Clock
    trace: Trace
    broker: Broker
    store: Store
    policy: Policy
    terminals: dict[str, Terminal]
    process: Process
    watchers: Watchers
    shared: set[str] = field(default_factory=set)
    """Terminals that have a twin under their name."""
    restored: bool = False
    """Whether the store came from a backup."""
    harmful: set[str] = field(default_factory=set)
    """Releases that do harm, as a ticket about one names it."""

    @classmethod
    def of(
        cls,
        seed: int,
        story: Story,
        checkers: Callable[["World"], Iterable[Watcher]] | None = None,
        store: Store | None = None,
        *,
        software: Software | None = None,
        interval_s: int = 60,
    ) -> "World":
        """Set the scene; nothing has happened yet. Without a store it is SQLite's in memory."""
        clock, trace, store, policy = Clock(), Trace(), store or Store.in_memory(), policies.load(None)
        broker = Broker(clock=clock, chance=chance(seed, "broker"), habits=story.broker)
        watchers = Watchers(Tracer(clock, trace))
        machines = partial(_terminal, seed, story=story, broker=broker, watchers=watchers)
        terminals = {name: machines(name, software=software, interval_s=interval_s) for name in story.terminal_ids}
        process = Process(
            clock=clock,
            broker=broker,
            chance=chance(seed, "collector"),
            store=store,
            policy=policy,
            story=story,
            watcher=watchers,
        )
        world = cls(
            seed=seed,
            story=story,
            clock=clock,
            trace=trace,
            broker=broker,
            store=store,
            policy=policy,
            terminals=terminals,
            process=process,
            watchers=watchers,
        )
        watchers.each += (checkers or all_checkers)(world)
        world._schedule()
        return world

    def run(self) -> str:
        """Run to the end, let the checkers have their last word, return the trace's digest."""
        self.clock.run_until(self.story.duration_s)
        self.watchers.finish()
        return self.trace.digest

    def backup(self) -> bytes:
        """Return what a backup of the store holds now."""
        with self.store.reading() as connection:
            return _sqlite(connection).serialize()

    def restore(self, image: bytes) -> None:
        """Put a backup in the place of the store, while no process runs."""
        assert self.process.life is None
        self.store.close()
        self.store = self.process.store = Store.in_memory()
        with self.store.reading() as connection:
            driven = _sqlite(connection)
            driven.rollback()
            driven.deserialize(image)

    def blind_since(self, at_s: float) -> bool:
        """Whether the collector heard nothing for a while since then: what it knows is older than it seems."""
        story = self.story
        return any(blind.span.end_s > at_s for blind in story.blind if blind.span.start_s < self.clock.now_s)

    def _schedule(self) -> None:
        call_at, story = self.clock.call_at, self.story
        call_at(0.0, self.process.start)
        for away in story.collector_away:
            call_at(away.start_s, self.process.kill)
            call_at(away.end_s, self.process.start)
        for at_s in story.broker_restarts_s:
            call_at(at_s, self.broker.restart)
        for terminal_id, terminal in self.terminals.items():
            self._schedule_terminal(terminal_id, terminal)
        for turn in story.turns:
            self._schedule_turn(turn)

    def _schedule_terminal(self, terminal_id: str, terminal: Terminal) -> None:
        self.clock.call_at(chance(self.seed, f"start:{terminal_id}").uniform(0, 30), terminal.start)
        delays = chance(self.seed, f"poll:{terminal_id}")
        for edge_s in terminal.till.edges_s():
            self.clock.call_at(edge_s + delays.uniform(0, terminal.poll_s), terminal.look)
        for at_s, off_s in self.story.clock_steps.get(terminal_id, ()):
            self.clock.call_at(at_s, lambda off_s=off_s: terminal.set_wall(off_s))  # type: ignore[misc]

    def _schedule_turn(self, turn: Turn) -> None:
        terminal = self.terminals[turn.terminal_id]
        ends = {
            Act.KILLED: terminal.kill,
            Act.POWER_CUT: terminal.cut_power,
            Act.STOPPED: terminal.stop,
            Act.DEAD: terminal.cut_power,
            Act.OUTBOX_LOST: terminal.lose_outbox,
        }
        self.clock.call_at(turn.away.start_s, ends[turn.act])
        if turn.act is Act.DEAD:
            return
        if turn.act is Act.POWER_CUT:
            self.clock.call_at(turn.away.end_s, terminal.boot)
        self.clock.call_at(turn.away.end_s, terminal.start)


class Tracer(Watcher):
    """Writes down what leaves and what is decided."""

    def __init__(self, clock: Clock, trace: Trace) -> None:
        self._clock, self._trace = clock, trace

    def sending(self, terminal: Terminal, packet: Packet) -> None:
        """Note what an agent sends."""
        self._trace.note(self._clock.now_s, terminal.terminal_id, packet)

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """Note what a batch held, in its order."""
        self._trace.note(self._clock.now_s, [(delivery.topic, delivery.payload) for delivery in batch])

    def judged(self, effects: JudgeEffects) -> None:
        """Note what changed."""
        if effects.tickets or effects.presences:
            self._trace.note(self._clock.now_s, effects)


def _sqlite(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)


def _terminal(
    seed: int,
    terminal_id: str,
    *,
    story: Story,
    broker: Broker,
    watchers: Watchers,
    software: Software | None,
    interval_s: int,
) -> Terminal:
    return Terminal(
        terminal_id=terminal_id,
        clock=broker.clock,
        broker=broker,
        chance=chance(seed, f"terminal:{terminal_id}"),
        link=Link(
            habits=story.link,
            chance=chance(seed, f"link:{terminal_id}"),
            outages=tuple(story.outages.get(terminal_id, ())),
        ),
        till=Till(flaws=[*story.flaws.get(terminal_id, ()), *clock_flaws(story.clock_steps.get(terminal_id, ()))]),
        watcher=watchers,
        interval_s=interval_s,
        software=software,
        events_max=story.events_max,
    )


def run(seed: int, *, terminals: int = TERMINALS, hours: float = HOURS, store: Store | None = None) -> str:
    """Run the world of this seed; a broken rule says how to see it again."""
    story = drawn(seed, terminals=terminals, hours=hours, quiet_hours=QUIET_HOURS)
    try:
        return World.of(seed, story, store=store).run()
    except Exception as error:
        again = f".venv/bin/python -m tests.scenarios.world --seed {seed} --terminals {terminals} --hours {hours}"
        raise RuleBroken(f"seed {seed}: {error}\n  run again: {again}") from error


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run the world of one seed.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--terminals", type=int, default=TERMINALS)
    parser.add_argument("--hours", type=float, default=HOURS)
    chosen = parser.parse_args(arguments)
    digest = run(chosen.seed, terminals=chosen.terminals, hours=chosen.hours)
    sys.stdout.write(f"seed {chosen.seed}: every rule held; trace {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
