"""The demonstration: a broker, a collector, real agents beside simulated printers, and a fleet, all on this machine.

It plays a scenario, tells what it does and what the collector makes of it, and counts at the end: whether each ticket
has a cause that was injected, and whether each event that was made is stored. Before it counts, every trouble ends,
what was cut off catches up, what was broken is proved well, and everybody stops; all of it within limits, so that it
ends whatever happens.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tillwatch_agent.errors import MachineError
from tillwatch_simulator import scenario
from tillwatch_simulator.faults import What
from tillwatch_simulator.fleet import Fleet, embedded
from tillwatch_simulator.narrator import Narrator, Record, Tell
from tillwatch_simulator.processes import Agent, Collector
from tillwatch_simulator.scenario import Scenario, Step

HOLD_SCALE = 0.05
"""A minute of the policy passes in three seconds."""
LOOK_EVERY_S = 0.5
ONLINE_TIMEOUT_S = 60.0
"""Everybody's first connection: embedded brokers take some hundred a second, processes start in a second or two."""
CATCH_UP_TIMEOUT_S = 60.0
"""What was cut off dials again within its back-off, which grows with the cut."""
PROOF_TIMEOUT_S = 30.0
"""Two heartbeats and a hold of some seconds; what flaps is held for longer, and stays open."""
STORED_TIMEOUT_S = 20.0
"""The last events are on their way when everybody has stopped."""
_ROWS_MAX = 500
"""One page of the API."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the demonstration came to."""

    heartbeats: int
    """Heard by the collector."""
    tickets_opened: int
    tickets_resolved: int
    false_tickets: int
    """Tickets without an injected cause."""
    outages_opened: int
    """Troubles of many terminals with one cause, each with one ticket."""
    events_sent: int
    events_stored: int


class Clock:
    """Seconds since the scenario began."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def now_s(self) -> float:
        """How long it has been played."""
        return time.monotonic() - self._began_s


class Stage:
    """Everything that runs, and how troubles are brought to it."""

    def __init__(self, collector: Collector, agents: dict[str, Agent], fleet: Fleet) -> None:
        self.collector = collector
        self.agents = agents
        self.fleet = fleet

    def take(self, step: Step) -> None:
        """Let a trouble begin or end."""
        injection = step.injection
        agent = self.agents.get(injection.terminal_id)
        if agent is None:
            self.fleet.follow(step)
        elif injection.what is What.DEVICE:
            change = agent.printer.set if step.begins else agent.printer.clear
            change(injection.code)
        elif not step.begins:
            agent.start()
        elif injection.what is What.DEAD:
            agent.kill()
        else:
            agent.stop()

    def check(self) -> None:
        """Raise `PartFailed` when an agent or the fleet has ended by itself; the collector shows when it is asked."""
        self.fleet.totals()
        for agent in self.agents.values():
            agent.check()

    def tickets(self) -> list[Record]:
        """List the tickets that changed last."""
        return self._rows("/api/v1/tickets", sort="-updated_at")

    def outages(self) -> list[Record]:
        """List the outages that were detected last."""
        return self._rows("/api/v1/outages", sort="-detected_at")

    def last_reason(self, ticket_id: int) -> str:
        """Say what a ticket's journal gives for its last step."""
        steps = self.collector.get(f"/api/v1/tickets/{ticket_id}/journal", limit=_ROWS_MAX)["items"]
        return str(steps[-1]["reason"])

    def counts(self) -> dict[str, Any]:
        """Count, as the collector does."""
        counts: dict[str, Any] = self.collector.get("/api/v1/fleet")
        return counts

    def all_online(self) -> bool:
        """Whether the collector hears everybody."""
        online = self.counts()["terminals_by_presence"].get("online", 0)
        return bool(online >= self.fleet.totals().terminals + len(self.agents))

    def all_proved(self) -> bool:
        """Whether no ticket waits for its proof."""
        return bool(self.counts()["tickets"]["unresolved"] == 0)

    def all_told(self) -> bool:
        """Whether everybody is connected again, and the collector has acknowledged every event so far."""
        fleet = self.fleet.totals()
        with suppress(MachineError):
            waiting = sum(agent.summary().unacknowledged for agent in self.agents.values())
            return waiting + fleet.unacknowledged == 0 and fleet.connected == fleet.terminals
        return False

    def stop(self) -> int:
        """Stop everybody but the collector; return how many events were made."""
        for agent in self.agents.values():
            agent.stop()
        self.fleet.stop()
        return self.fleet.totals().events + sum(agent.summary().event_seq_last for agent in self.agents.values())

    def _rows(self, path: str, *, sort: str) -> list[Record]:
        return list(self.collector.get(path, sort=sort, limit=_ROWS_MAX)["items"])


def run(*, played: Scenario, seed: int, duration_s: float | None, tell: Tell) -> Report:
    """Play for so long once everybody is online, or until `KeyboardInterrupt`; raises `PartFailed`."""
    with TemporaryDirectory(prefix="tillwatch-demo-") as folder, ExitStack() as stack:
        stage = _set_up(stack, Path(folder), played, seed, tell)
        clock = Clock()
        narrator = Narrator(tell, clock.now_s, scenario.inventory_of(played), stage.last_reason)
        upcoming = scenario.rounds(played, Random(seed))  # noqa: S311 - a draw, not a secret
        with suppress(KeyboardInterrupt):
            tell(f"\nThe page: {stage.collector.page}\n")
            _play(stage, narrator, clock, upcoming, duration_s)
        return _finish(stage, narrator, tell)


def _set_up(stack: ExitStack, folder: Path, played: Scenario, seed: int, tell: Tell) -> Stage:
    tell("Starting a collector with its embedded broker ...")
    collector = stack.enter_context(Collector(folder / "collector", hold_scale=HOLD_SCALE))
    tell(f"Starting {played.agents} real agents beside simulated printers, and a fleet of {played.terminals} ...")
    inventory = scenario.inventory_of(played)
    agents = {
        name: Agent(folder / name, terminal_id=name, interval_s=played.interval_s, broker_file=collector.broker_file)
        for name in inventory.agent_ids
    }
    for agent in agents.values():
        stack.enter_context(agent)
    fleet = Fleet(
        terminal_ids=inventory.terminal_ids,
        interval_s=played.interval_s,
        seed=seed,
        broker=embedded(collector.broker_file),
    )
    stage = Stage(collector, agents, stack.enter_context(fleet))
    collector.describe(inventory)
    for agent in agents.values():
        agent.ready()
    if not _wait(stage.all_online, ONLINE_TIMEOUT_S):
        tell("Not everybody is online yet; going on.")
    return stage


def _play(stage: Stage, narrator: Narrator, clock: Clock, upcoming: Iterator[Step], ends_s: float | None) -> None:
    """Take each step at its time, and look at the tickets between; without an end, go on."""
    step = next(upcoming, None)
    while ends_s is None or clock.now_s() < ends_s:
        while step and step.at_s <= clock.now_s():
            narrator.step(step, datetime.now(UTC))
            stage.take(step)
            step = next(upcoming, None)
        stage.check()
        _show(stage, narrator)
        threading.Event().wait(LOOK_EVERY_S)


def _finish(stage: Stage, narrator: Narrator, tell: Tell) -> Report:
    """End every trouble, let everybody catch up and stop, and count."""
    tell("\nThe scenario is over: what lasts ends, what was cut off catches up, and all is proved well.\n")
    for injection in narrator.lasting:
        step = Step(at_s=0.0, begins=False, injection=injection)
        narrator.step(step, datetime.now(UTC))
        stage.take(step)
    show = partial(_show, stage, narrator)
    _wait(stage.all_told, CATCH_UP_TIMEOUT_S, show)
    _wait(stage.all_proved, PROOF_TIMEOUT_S, show)
    sent = stage.stop()
    _wait(lambda: stage.counts()["events"]["stored"] >= sent, STORED_TIMEOUT_S)
    show()
    counts = stage.counts()
    return Report(
        heartbeats=counts["heartbeats_since_start"],
        tickets_opened=counts["tickets"]["opened"],
        tickets_resolved=counts["tickets"]["resolved"],
        false_tickets=len(narrator.false_tickets),
        outages_opened=narrator.outages_opened,
        events_sent=sent,
        events_stored=counts["events"]["stored"],
    )


def _show(stage: Stage, narrator: Narrator) -> None:
    narrator.look(stage.tickets(), stage.outages())


def _wait(is_so: Callable[[], bool], timeout_s: float, meanwhile: Callable[[], None] = lambda: None) -> bool:
    """Look until it is so, for so long at most."""
    ends_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() >= ends_s:
            return False
        meanwhile()
        threading.Event().wait(LOOK_EVERY_S)
    return True
