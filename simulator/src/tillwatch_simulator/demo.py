"""The demonstration: a broker, a collector, real agents beside simulated printers, and a fleet, all on this machine.

It plays a scenario, tells what it does and what the collector makes of it, and counts at the end: whether each ticket
has a cause that was injected, and whether each event that was made is stored. Before it counts, every trouble ends,
what was cut off catches up, what was broken is proved well, and everybody stops; all of it within limits, so that it
ends whatever happens.

A scenario with rollouts begins with the signing of their releases, and is over when the last of them is.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from tillwatch_simulator.conductor import Conductor, Rolled, newly_harmed, outside_window
from tillwatch_simulator.faults import What
from tillwatch_simulator.fleet import Fleet, Harmed, embedded
from tillwatch_simulator.inventory import Inventory
from tillwatch_simulator.narrator import Narrator, Record, Tell
from tillwatch_simulator.office import Office
from tillwatch_simulator.processes import Agent, Collector
from tillwatch_simulator.releases import Signed
from tillwatch_simulator.scenario import Injection, Scenario, Step
from tillwatch_simulator.updating import Between, Paces, Software

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
NOT_SIGNED = "0" * 64
"""Digest of what runs at first: no rollout brought it."""
PACES = Paces(fetch=Between(2.0, 6.0), stage=Between(0.5, 2.0), start=Between(1.0, 3.0))
"""A minute of a till's passes in some seconds."""
SPREAD_S = 3.0
CONFIRM_S = 60.0
"""Three heartbeats, on a machine that has much to do; what does its harm sooner is taken back."""
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
    updated: int = 0
    """Terminals that rollouts which completed brought to their release, each time one did."""
    outside_window: int = 0
    """Switches, to a release or back, while their store was open."""
    halted_wave: int | None = None
    """In which the last rollout that was halted was."""
    harmed: int = 0
    """Terminals that a release did hidden harm."""
    rollouts: tuple[Rolled, ...] = ()


class Clock:
    """Seconds since the scenario began."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def now_s(self) -> float:
        """How long it has been played."""
        return time.monotonic() - self._began_s


class Stage:
    """Everything that runs, and how troubles are brought to it."""

    def __init__(
        self, collector: Collector, agents: dict[str, Agent], fleet: Fleet, inventory: Inventory, began_at: datetime
    ) -> None:
        self.collector = collector
        self.agents = agents
        self.fleet = fleet
        self.inventory = inventory
        self.began_at = began_at
        self.known_harm: set[Harmed] = set()

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

    def new_harm(self, now_s: float) -> list[Step]:
        """Say what releases have done to terminals since the last look, as troubles that began."""
        return [
            Step(at_s=now_s, begins=True, injection=_harm(one, now_s))
            for one in newly_harmed(self.fleet.harmed(), self.known_harm)
        ]

    def outside_window(self) -> int:
        """Count the switches that were made while their store was open."""
        return outside_window(self.fleet.switched(), self.inventory, self.began_at)

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

    def unproved(self) -> int:
        """Count the tickets that wait for their proof, or for a person."""
        return int(self.counts()["tickets"]["unresolved"])

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
        narrator = Narrator(tell, clock.now_s, stage.inventory, stage.last_reason, _harmful(played))
        conductor = Conductor(stage.collector, played, narrator.line, clock.now_s)
        upcoming = scenario.rounds(played, Random(seed))  # noqa: S311 - a draw, not a secret
        with suppress(KeyboardInterrupt):
            tell(f"\nThe console: {stage.collector.invited()}")
            tell("It opens once: you choose a name and a password.\n")
            _play(stage, narrator, conductor, clock, upcoming, ends_s=duration_s)
        return _finish(stage, narrator, conductor, tell)


def _set_up(stack: ExitStack, folder: Path, played: Scenario, seed: int, tell: Tell) -> Stage:
    office = Office(folder, played.release) if played.release else None
    with ThreadPoolExecutor(1) as aside:
        signing = aside.submit(office.publish) if office else None
        stage = _started(stack, folder, played, seed, tell, office=office)
        if signing:
            tell(f"Signing {len(played.release)} releases, by the collector's own commands ...")
            signing.result()
    return stage


def _started(
    stack: ExitStack, folder: Path, played: Scenario, seed: int, tell: Tell, *, office: Office | None
) -> Stage:
    tell("Starting a collector with its embedded broker ...")
    releases = office.releases if office else None
    collector = stack.enter_context(Collector(folder / "collector", hold_scale=HOLD_SCALE, releases=releases))
    tell(f"Starting {played.agents} real agents beside simulated printers, and a fleet of {played.terminals} ...")
    inventory, began_at = scenario.inventory_of(played), datetime.now(UTC)
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
        software=_software(played, office.packed if office else ()),
    )
    stage = Stage(collector, agents, stack.enter_context(fleet), inventory, began_at)
    collector.describe(inventory, began_at)
    for agent in agents.values():
        agent.ready()
    if not _wait(stage.all_online, ONLINE_TIMEOUT_S):
        tell("Not everybody is online yet; going on.")
    return stage


def _software(played: Scenario, packed: Iterable[Signed]) -> Software | None:
    """Say what terminals run at first, and what they can be offered."""
    if played.installed is None:
        return None
    installed = Signed(release=played.installed, digest=NOT_SIGNED)
    return Software(
        installed=installed,
        offered={one.release.target: one for one in packed},
        spread_s=SPREAD_S,
        confirm_s=CONFIRM_S,
        paces=PACES,
    )


def _harmful(played: Scenario) -> frozenset[str]:
    """Name the releases in which harm hides, as a ticket about one does."""
    return frozenset(f"{one.product} {one.version}" for one in played.release if one.harm or one.fails_pct)


def _harm(one: Harmed, now_s: float) -> Injection:
    return Injection(
        terminal_id=one.terminal_id,
        what=What.CONDITION,
        from_s=now_s,
        until_s=math.inf,
        component=one.component,
        code=one.code,
    )


def _play(
    stage: Stage,
    narrator: Narrator,
    conductor: Conductor,
    clock: Clock,
    upcoming: Iterator[Step],
    *,
    ends_s: float | None,
) -> None:
    """Take each step at its time, and look at rollouts and tickets between; without an end, go on."""
    step = next(upcoming, None)
    while not conductor.is_over and (ends_s is None or clock.now_s() < ends_s):
        while step and step.at_s <= clock.now_s():
            narrator.step(step, datetime.now(UTC))
            stage.take(step)
            step = next(upcoming, None)
        stage.check()
        conductor.look()
        _show(stage, narrator, clock.now_s())
        threading.Event().wait(LOOK_EVERY_S)


def _finish(stage: Stage, narrator: Narrator, conductor: Conductor, tell: Tell) -> Report:
    """End every trouble, let everybody catch up and stop, and count."""
    tell("\nThe scenario is over: what lasts ends, what was cut off catches up, and all is proved well.\n")
    stage.fleet.mend()
    for injection in narrator.lasting:
        step = Step(at_s=0.0, begins=False, injection=injection)
        narrator.step(step, datetime.now(UTC))
        stage.take(step)
    show = partial(_show, stage, narrator)
    _wait(stage.all_told, CATCH_UP_TIMEOUT_S, show)
    halts = sum(one.halted_wave is not None for one in conductor.rolled)
    _wait(lambda: stage.unproved() <= halts, PROOF_TIMEOUT_S, show)  # a person ends the ticket of a halt
    sent = stage.stop()
    _wait(lambda: stage.counts()["events"]["stored"] >= sent, STORED_TIMEOUT_S)
    show()
    counts, rolled = stage.counts(), conductor.rolled
    return Report(
        heartbeats=counts["heartbeats_since_start"],
        tickets_opened=counts["tickets"]["opened"],
        tickets_resolved=counts["tickets"]["resolved"],
        false_tickets=len(narrator.false_tickets),
        outages_opened=narrator.outages_opened,
        events_sent=sent,
        events_stored=counts["events"]["stored"],
        updated=sum(one.updated for one in rolled if one.halted_wave is None),
        outside_window=stage.outside_window(),
        halted_wave=next((one.halted_wave for one in reversed(rolled) if one.halted_wave), None),
        harmed=len(stage.known_harm),
        rollouts=rolled,
    )


def _show(stage: Stage, narrator: Narrator, now_s: float = 0.0) -> None:
    tickets, outages = stage.tickets(), stage.outages()
    for step in stage.new_harm(now_s):
        narrator.step(step, datetime.now(UTC))
    narrator.look(tickets, outages)


def _wait(is_so: Callable[[], bool], timeout_s: float, meanwhile: Callable[[], None] = lambda: None) -> bool:
    """Look until it is so, for so long at most."""
    ends_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() >= ends_s:
            return False
        meanwhile()
        threading.Event().wait(LOOK_EVERY_S)
    return True
