"""The demonstration: a broker, a collector, real agents beside simulated printers, and a fleet, all on this machine.

It plays a scenario, tells what it does and what the collector makes of it, and counts at the end: whether each ticket
has a cause that was injected, and whether each event that was made is stored. Before it counts, every trouble ends,
what was cut off catches up, and everybody stops; all of it within limits, so that it ends whatever happens.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tillwatch_agent.errors import MachineError
from tillwatch_simulator import scenario
from tillwatch_simulator.faults import TicketIdentity, What
from tillwatch_simulator.fleet import Fleet, embedded
from tillwatch_simulator.inventory import Inventory
from tillwatch_simulator.processes import Agent, Collector
from tillwatch_simulator.scenario import Injection, Scenario, Step

HOLD_SCALE = 0.05
"""A minute of the policy passes in three seconds."""
LOOK_EVERY_S = 0.5
ONLINE_TIMEOUT_S = 60.0
"""Everybody's first connection: embedded brokers take some hundred a second, processes start in a second or two."""
CATCH_UP_TIMEOUT_S = 60.0
"""What was cut off dials again within its back-off, which grows with the cut."""
STORED_TIMEOUT_S = 20.0
"""The last events are on their way when everybody has stopped."""
_TICKETS_MAX = 500
"""One page of the API."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the demonstration came to."""

    heartbeats: int
    """Heard by the collector."""
    tickets_opened: int
    tickets_resolved: int
    false_tickets: int
    """Tickets without an injected cause."""
    events_sent: int
    events_stored: int


class Clock:
    """Seconds since the scenario began."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def now_s(self) -> float:
        """How long it has been played."""
        return time.monotonic() - self._began_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """A trouble that was injected, and when it began and ended, on the wall clock that tickets are dated by."""

    injection: Injection
    began_at: datetime
    ended_at: datetime | None = None


class Narrator:
    """Tells what is injected and what becomes of it, in lines that stand under each other."""

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._causes: list[Cause] = []
        self._known: dict[int, tuple[str, int]] = {}
        self.false_tickets: set[int] = set()

    @property
    def lasting(self) -> tuple[Injection, ...]:
        """What has begun and not ended."""
        return tuple(cause.injection for cause in self._causes if cause.ended_at is None)

    def step(self, step: Step) -> None:
        """Tell that a trouble begins or ends, and remember it."""
        injection, now = step.injection, datetime.now(UTC)
        if step.begins:
            self._causes.append(Cause(injection=injection, began_at=now))
        else:
            self._causes = [
                Cause(injection=injection, began_at=cause.began_at, ended_at=now)
                if cause.injection == injection and cause.ended_at is None
                else cause
                for cause in self._causes
            ]
        self._line(injection.terminal_id, scenario.narrated(step), "")

    def tickets(self, tickets: list[dict[str, Any]]) -> None:
        """Tell what has changed since the last look."""
        for ticket in sorted(tickets, key=lambda one: str(one["updated_at"])):
            state = (str(ticket["status"]), int(ticket["recurrences"]))
            if self._known.get(ticket["ticket_id"]) != state:
                self._ticket(ticket, is_new=ticket["ticket_id"] not in self._known)
                self._known[ticket["ticket_id"]] = state

    def _ticket(self, ticket: dict[str, Any], *, is_new: bool) -> None:
        cause = self._cause(ticket)
        what = f"{ticket['component']} {ticket['code']}"
        if cause is None and is_new:
            self.false_tickets.add(ticket["ticket_id"])
            what += "  FALSE: nothing was injected that explains it"
        resolved_at = ticket["resolved_at"]
        if resolved_at and cause and cause.ended_at:
            after = f", {_seconds(cause.ended_at, resolved_at)} after its end"
        elif is_new and cause:
            after = f", {_seconds(cause.began_at, ticket['opened_at'])} after its beginning"
        else:
            after = ""
        said = "opened" if is_new and not resolved_at else str(ticket["status"])
        self._line(ticket["subject_id"], f"ticket {ticket['ticket_id']} {said}", f"{what}{after}")

    def _cause(self, ticket: dict[str, Any]) -> Cause | None:
        """Find the newest trouble that may have brought it."""
        identity = TicketIdentity(terminal_id=ticket["subject_id"], component=ticket["component"], code=ticket["code"])
        return next((cause for cause in reversed(self._causes) if identity in cause.injection.tickets), None)

    def _line(self, subject: str, said: str, detail: str) -> None:
        self._tell(f"{self._clock.now_s():7.1f} s  {subject:<10} {said:<38} {detail}".rstrip())


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

    def tickets(self) -> list[dict[str, Any]]:
        """List the tickets that changed last."""
        page = self.collector.get("/api/v1/tickets", sort="-updated_at", limit=_TICKETS_MAX)
        return list(page["items"])

    def counts(self) -> dict[str, Any]:
        """Count, as the collector does."""
        counts: dict[str, Any] = self.collector.get("/api/v1/fleet")
        return counts

    def all_online(self) -> bool:
        """Whether the collector hears everybody."""
        online = self.counts()["terminals_by_presence"].get("online", 0)
        return bool(online >= self.fleet.totals().terminals + len(self.agents))

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


def run(*, played: Scenario, seed: int, duration_s: float | None, tell: Tell) -> Report:
    """Play until the duration is over, or until `KeyboardInterrupt`; raises `PartFailed`."""
    ends_s = None if duration_s is None else time.monotonic() + duration_s
    with TemporaryDirectory(prefix="tillwatch-demo-") as folder, ExitStack() as stack:
        stage = _set_up(stack, Path(folder), played, seed, tell)
        clock = Clock()
        narrator = Narrator(tell, clock)
        upcoming = scenario.rounds(played, Random(seed))  # noqa: S311 - a draw, not a secret
        left_s = None if ends_s is None else ends_s - time.monotonic()
        with suppress(KeyboardInterrupt):
            tell(f"\nThe page: {stage.collector.page}\n")
            _play(stage, narrator, clock, upcoming, left_s)
        return _finish(stage, narrator, tell)


def _set_up(stack: ExitStack, folder: Path, played: Scenario, seed: int, tell: Tell) -> Stage:
    tell("Starting a collector with its embedded broker ...")
    collector = stack.enter_context(Collector(folder / "collector", hold_scale=HOLD_SCALE))
    tell(f"Starting {played.agents} real agents beside simulated printers, and a fleet of {played.terminals} ...")
    names = [scenario.agent_id(number) for number in range(1, played.agents + 1)]
    simulated = [scenario.terminal_id(number) for number in range(1, played.terminals + 1)]
    agents = {
        name: Agent(folder / name, terminal_id=name, interval_s=played.interval_s, broker_file=collector.broker_file)
        for name in names
    }
    for agent in agents.values():
        stack.enter_context(agent)
    fleet = Fleet(
        terminal_ids=simulated,
        interval_s=played.interval_s,
        seed=seed,
        broker=embedded(collector.broker_file),
    )
    stage = Stage(collector, agents, stack.enter_context(fleet))
    collector.describe(Inventory((*names, *simulated)))
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
            narrator.step(step)
            stage.take(step)
            step = next(upcoming, None)
        stage.check()
        narrator.tickets(stage.tickets())
        threading.Event().wait(LOOK_EVERY_S)


def _finish(stage: Stage, narrator: Narrator, tell: Tell) -> Report:
    """End every trouble, let everybody catch up and stop, and count."""
    tell("\nThe scenario is over: what lasts ends, what was cut off catches up, everybody stops.\n")
    for injection in narrator.lasting:
        step = Step(at_s=0.0, begins=False, injection=injection)
        narrator.step(step)
        stage.take(step)
    _wait(stage.all_told, CATCH_UP_TIMEOUT_S)
    sent = stage.stop()
    _wait(lambda: stage.counts()["events"]["stored"] >= sent, STORED_TIMEOUT_S)
    narrator.tickets(stage.tickets())
    counts = stage.counts()
    return Report(
        heartbeats=counts["heartbeats_since_start"],
        tickets_opened=counts["tickets"]["opened"],
        tickets_resolved=counts["tickets"]["resolved"],
        false_tickets=len(narrator.false_tickets),
        events_sent=sent,
        events_stored=counts["events"]["stored"],
    )


def _wait(is_so: Callable[[], bool], timeout_s: float) -> bool:
    """Look until it is so, for so long at most."""
    ends_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() >= ends_s:
            return False
        threading.Event().wait(LOOK_EVERY_S)
    return True


def _seconds(since: datetime, until: str) -> str:
    return f"{(datetime.fromisoformat(until) - since).total_seconds():.1f} s"
