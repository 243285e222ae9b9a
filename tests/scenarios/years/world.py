"""Years of a fleet in virtual time, from one seed: real cores, real flows, a store in memory, and no quiet time.

What a terminal does while nothing changes is skipped (`sleeper`), and so is what its collector does (`rounds`); with
`skips=False` every heartbeat, canary and tick is there, and the end is the same to the byte. Run one again with

    .venv/bin/python -m tests.scenarios.years.world --seed 3 --days 30
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.scenarios.broker import Broker, Habits, Packet
from tests.scenarios.clock import Clock, Trace, chance
from tests.scenarios.model import Till, clock_flaws
from tests.scenarios.process import Life
from tests.scenarios.story import Story
from tests.scenarios.watcher import Watcher, Watchers
from tests.scenarios.world import Tracer
from tests.scenarios.years import fleet, foresight
from tests.scenarios.years.grid import APART_S, BESIDE_S, STEP_S, EvenLink
from tests.scenarios.years.record import Record
from tests.scenarios.years.rounds import CANARY_S, ROUND_S, Rounds
from tests.scenarios.years.sleeper import Sleeper
from tests.scenarios.years.story import DAY_S, Cause, End, Kind, Run, YearStory, drawn

from tillwatch_collector import policies
from tillwatch_collector.domain.inventory import LifeCycle
from tillwatch_collector.domain.maintenance import Maintenance, Scope
from tillwatch_collector.flows.inventory import put_terminal
from tillwatch_collector.flows.judge import JudgeSettings
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store
from tillwatch_simulator.link import LinkHabits

LINES = LinkHabits(latency_s=32 * STEP_S, breaks_per_hour=0.02, half_open_share=0.5)
"""A break every other day: DSL lines that are dialled anew, cells that are left."""
STEPS_MAX = 2_000_000_000
PERSON = "person:ann"
ENTERED_S = 1800.0
"""How long before it begins, and after it ended, people enter something."""
SETTINGS = JudgeSettings(canary_s=CANARY_S, idle_look_s=3600.0)
"""Who is looked at for no other reason is looked at hourly: nights are long."""


@dataclass(kw_only=True, eq=False)
class YearWorld:
    """Everything of one run."""

    story: YearStory
    skips: bool
    clock: Clock
    trace: Trace
    broker: Broker
    store: Store
    terminals: dict[str, Sleeper]
    process: Rounds
    watchers: Watchers
    record: Record
    deadlines: dict[str, float]

    @classmethod
    def of(
        cls, seed: int, story: YearStory, *, skips: bool = True, settings: JudgeSettings | None = None
    ) -> "YearWorld":
        """Set the scene."""
        clock, trace, store = Clock(steps_max=STEPS_MAX), Trace(), Store.in_memory()
        broker = Broker(clock=clock, chance=chance(seed, "broker"), habits=Habits())
        record = Record(clock=clock)
        watchers = Watchers(Tracer(clock, trace), record)
        process = Rounds(
            clock=clock,
            broker=broker,
            chance=chance(seed, "collector"),
            store=store,
            policy=policies.load(None),
            story=Story(canary_s=CANARY_S, batch_s=ROUND_S, blind=story.blind),
            watcher=watchers,
            skips=skips,
        )
        process.settings = settings or SETTINGS
        terminals = {name: _terminal(seed, name, story, broker, watchers) for name in story.terminal_ids}
        with store.transaction() as repository:
            fleet.enter(repository, story.shops, clock.now)
        world = cls(
            story=story,
            skips=skips,
            clock=clock,
            trace=trace,
            broker=broker,
            store=store,
            terminals=terminals,
            process=process,
            watchers=watchers,
            record=record,
            deadlines={},
        )
        world._schedule()
        return world

    def run(self) -> str:
        """Run to the end; returns the trace's digest."""
        self.run_until_day(self.story.days)
        self.finish()
        return self.trace.digest

    def run_until_day(self, day: int) -> None:
        """Run to the end of a day, the first being 1."""
        self.clock.run_until(day * DAY_S + BESIDE_S)

    def finish(self) -> None:
        """Let everyone have their last word."""
        self.process.wake()
        self.watchers.finish()

    # --- quiet time

    def _let_sleep(self, life: Life) -> None:
        for terminal_id, terminal in self.terminals.items():
            if not terminal.asleep and terminal.steady and foresight.calm(life.judge, terminal_id):
                self.deadlines[terminal_id] = foresight.suspend(life.judge, terminal_id)
                terminal.sleep()

    def _wake_looked_at(self, life: Life, at_s: float) -> None:
        for terminal_id in foresight.turning(life.judge, self.clock.at(at_s).timestamp()):
            self.terminals[terminal_id].wake()

    def _woken(self, terminal: Sleeper) -> None:
        """Have judge look at it again as it would have."""
        deadline = self.deadlines.pop(terminal.terminal_id)
        if self.process.life is not None:
            foresight.resume(self.process.life.judge, terminal.terminal_id, deadline)
            self.process.expect()

    def _hear_late(self, terminal: Sleeper, packet: Packet, arrived_s: float) -> None:
        self.record.slept_until(terminal.terminal_id, arrived_s)
        self.process.hear_late(packet, arrived_s)

    def _wake_terminals(self) -> None:
        for terminal in self.terminals.values():
            terminal.wake(beats=2)

    # --- the story

    def _start(self) -> None:
        self.record.started()
        self.process.start()

    def _schedule(self) -> None:
        call_at, process = self.clock.call_at, self.process
        process.wake_terminals = self._wake_terminals
        process.round_begins, process.round_ended = self._wake_looked_at, self._let_sleep
        call_at(BESIDE_S + APART_S, self._start)
        for cause in self.story.of(Kind.BROKER, Kind.COLLECTOR, Kind.BLIND):
            self._schedule_trouble(cause)
        for cause in self.story.of(Kind.REPAIR, Kind.MAINTENANCE):
            self._schedule_people(cause)
        for terminal_id, terminal in self.terminals.items():
            terminal.late, terminal.woken = self._hear_late, self._woken
            for run in self.story.runs[terminal_id]:
                self._schedule_run(terminal, run)
            delays = chance(0, f"poll:{terminal_id}")
            for edge_s in terminal.till.edges_s():
                call_at(edge_s, terminal.wake)
                call_at(edge_s + math.floor(delays.uniform(0, terminal.poll_s)), terminal.look)
            for at_s, off_s in self.story.clock_steps[terminal_id]:
                call_at(at_s, lambda terminal=terminal, off_s=off_s: terminal.set_wall(off_s))  # type: ignore[misc]

    def _schedule_trouble(self, cause: Cause) -> None:
        start_s, end_s = cause.span.start_s, cause.span.end_s
        if cause.kind is Kind.COLLECTOR:
            self.clock.call_at(start_s, self.process.kill)
            self.clock.call_at(end_s + APART_S, self._start)
            return
        self.clock.call_at(start_s, lambda: self.process.wake(end_s))
        if cause.kind is Kind.BROKER:
            down_s = end_s - start_s
            self.clock.call_at(start_s, lambda: self.broker.take_habits(Habits(down_s=(down_s, down_s))))
            self.clock.call_at(start_s, self.broker.restart)

    def _schedule_people(self, cause: Cause) -> None:
        """Let people enter what they know before: who is sent in, and where something is done."""
        start_s, end_s = cause.span.start_s, cause.span.end_s
        if cause.kind is Kind.MAINTENANCE:
            self.clock.call_at(start_s - ENTERED_S, lambda: self._maintain(cause))
            self.clock.call_at(start_s, lambda: self._look_at(cause.terminals))
            return
        (terminal_id,) = cause.terminals
        self.clock.call_at(start_s - ENTERED_S, lambda: self._turn(terminal_id, LifeCycle.IN_REPAIR))
        self.clock.call_at(end_s + ENTERED_S, lambda: self._turn(terminal_id, LifeCycle.LIVE))

    def _maintain(self, cause: Cause) -> None:
        maintenance = Maintenance(
            scope_kind=Scope.STORE,
            scope_id=cause.node[1],
            starts_at=self.clock.at(cause.span.start_s),
            ends_at=self.clock.at(cause.span.end_s),
            reason="stocktaking",
        )
        with self.store.transaction() as repository:
            repository.maintenance.add(maintenance, actor=PERSON, now=self.clock.now)

    def _look_at(self, terminal_ids: Sequence[str]) -> None:
        """Have judge look at some now: else it would find out with its next idle look, whenever that is."""
        for terminal_id in terminal_ids:
            self.terminals[terminal_id].wake()
        with self.store.transaction() as repository:
            repository.facts.mark(terminal_ids)
        self.process.nudge()

    def _turn(self, terminal_id: str, life_cycle: LifeCycle) -> None:
        self.process.wake()
        with self.store.transaction() as repository:
            known = Inventory(repository.connection).terminal(terminal_id)
            assert known is not None
            # As people enter it: judge is to look at it at once, not when it happens to.
            turned = known.model_copy(update={"life_cycle": life_cycle})
            put_terminal(repository, turned, actor=PERSON, now=self.clock.now)

    def _schedule_run(self, terminal: Sleeper, run: Run) -> None:
        ends: dict[End, Callable[[], None]] = {
            End.CUT: terminal.cut_power,
            End.STOPPED: terminal.stop,
            End.KILLED: terminal.kill,
        }
        if run.fresh:
            self.clock.call_at(run.span.start_s, terminal.replace)
        if run.boots:
            self.clock.call_at(run.span.start_s, terminal.boot)
        self.clock.call_at(run.span.start_s, terminal.start)
        if run.span.end_s < math.inf:
            self.clock.call_at(run.span.end_s, ends[run.end])


def _terminal(seed: int, terminal_id: str, story: YearStory, broker: Broker, watcher: Watcher) -> Sleeper:
    return Sleeper(
        terminal_id=terminal_id,
        clock=broker.clock,
        broker=broker,
        chance=chance(seed, f"terminal:{terminal_id}"),
        link=EvenLink(
            habits=LINES, chance=chance(seed, f"link:{terminal_id}"), outages=tuple(story.outages[terminal_id])
        ),
        till=Till(flaws=[*story.flaws[terminal_id], *clock_flaws(story.clock_steps[terminal_id])]),
        watcher=watcher,
    )


def run(
    seed: int,
    *,
    days: int,
    skips: bool = True,
    shops: tuple[fleet.Shop, ...] = fleet.SHOPS,
    often: float = 1.0,
    settings: JudgeSettings | None = None,
) -> YearWorld:
    """Run the years of this seed."""
    world = YearWorld.of(seed, drawn(seed, days=days, shops=shops, often=often), skips=skips, settings=settings)
    world.run()
    return world


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run the fleet's days of one seed.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--shops", type=int, default=len(fleet.SHOPS))
    parser.add_argument("--often", type=float, default=1.0)
    parser.add_argument("--every-heartbeat", action="store_true", help="skip nothing")
    chosen = parser.parse_args(arguments)
    began_s = time.process_time()
    world = run(
        chosen.seed,
        days=chosen.days,
        skips=not chosen.every_heartbeat,
        shops=fleet.SHOPS[-chosen.shops :],
        often=chosen.often,
    )
    took_s = time.process_time() - began_s
    terminal_days = chosen.days * len(world.terminals)
    sys.stdout.write(
        f"seed {chosen.seed}: trace {world.trace.digest}\n{took_s:.1f} s for {terminal_days} terminal-days"
        f" ({terminal_days / took_s:.1f} a second); {world.clock.steps} steps, {world.process.rounds} rounds\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
