"""Many simulated terminals in one process, each with the agent's real core and its own connection to the broker.

One thread owns all cores; one loop of the agent's publisher serves all connections. A terminal's outbox lies in memory,
and what a disk would hold of it outlives its kills. What is drawn comes from the seed; only the identity of an outbox
is truly random, since two runs of one seed are two lives: a collector must not take the second for the first.

With `software` terminals take jobs, through the agent's real machine; what a job asks is done in memory (`updating`).
"""

import heapq
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from tillwatch_agent.core import (
    Connect,
    ConnectFailed,
    ConnectionLost,
    Core,
    CoreSettings,
    Disconnect,
    Effect,
    Examine,
    Examined,
    Forget,
    Input,
    Observed,
    Publish,
    RestartAgent,
    Stop,
    Subscribe,
    Tick,
    Work,
    Worked,
)
from tillwatch_agent.health import Observation
from tillwatch_agent.jobs import Jobs, MemoryStore
from tillwatch_agent.moment import Moment
from tillwatch_agent.outbox import MEMORY, Outbox
from tillwatch_agent.publisher import CONNECT_TIMEOUT_S, Broker, Loop, Publisher
from tillwatch_agent.session import Phase
from tillwatch_protocol import topics
from tillwatch_simulator.errors import PartFailed
from tillwatch_simulator.faults import Till, What, way_out
from tillwatch_simulator.scenario import Injection, Step
from tillwatch_simulator.updating import Installation, Software

AGENT_VERSION = "simulated"
_WAIT_S_MAX = 1.0
"""How long the thread sleeps at most: a clock that was set does not hold it up."""
_ORDER_TIMEOUT_S = 30.0
"""For all terminals to say goodbye; more than that means that the thread has died."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """What a fleet has done so far."""

    terminals: int
    connected: int
    heartbeats: int
    """Handed to the connection; at QoS 0 nobody says what arrived."""
    events: int
    """Given a number, over all outboxes."""
    unacknowledged: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Switched:
    """A terminal began to run another release."""

    terminal_id: str
    version: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Harmed:
    """What runs on a terminal did hidden harm to one of its components."""

    terminal_id: str
    component: str
    code: str
    version: str


class Terminal:
    """One simulated terminal. For the fleet's thread only."""

    def __init__(self, *, terminal_id: str, interval_s: int, seed: int, software: Software | None = None) -> None:
        self.terminal_id = terminal_id
        self.heartbeats = 0
        self._interval_s = interval_s
        self._rng = Random(f"{seed}/{terminal_id}")  # noqa: S311 - a simulation, not a secret
        self._till = Till(terminal_id=terminal_id, chance=self._rng)
        self._software = software
        self._installation = Installation(software, self._rng) if software else None
        self._page = MemoryStore()
        """Of the newest job, as its disk holds it."""
        self._host_boot_id = self._drawn_id()
        self._publisher: Publisher | None = None
        self._core: Core | None = None
        self._disk: bytes | None = None
        self._events = self._unacknowledged = 0
        self._observe_at_s = 0.0
        self._is_cut = False
        self._fails_at_s = math.inf
        """When the attempt to connect over a cut uplink has waited long enough."""
        self._asked: deque[Examine | RestartAgent] = deque()
        """What collectors ask for, until the core has said all it has to."""

    def attach(self, publisher: Publisher) -> None:
        """Give it its way to the broker."""
        self._publisher = publisher

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted it."""
        return self._core is not None and self._core.phase is Phase.ONLINE

    @property
    def events(self) -> int:
        """How many events its outbox has numbered."""
        return self._core.outbox.backlog.event_seq_last if self._core else self._events

    @property
    def unacknowledged(self) -> int:
        """How many of them the collector has not acknowledged, as far as it knows."""
        return len(self._core.outbox.backlog) if self._core else self._unacknowledged

    def begin(self, injection: Injection, moment: Moment) -> None:
        """Let a trouble befall it."""
        match injection.what:
            case What.CONDITION:
                self._till.conditions.add((injection.component, injection.code))
                self._observe(moment)
            case What.DEAD:
                self.kill(moment)
            case What.STOPPED:
                self.stop(moment)
            case What.CUT:
                self._cut(moment)
            case What.DEVICE:
                pass  # befalls printers beside real agents

    def end(self, injection: Injection, moment: Moment) -> None:
        """Let it end."""
        match injection.what:
            case What.CONDITION:
                self._till.conditions.discard((injection.component, injection.code))
                self._observe(moment)
            case What.DEAD:
                self._host_boot_id = self._drawn_id()
                if self._installation:
                    self._installation.boot(moment.monotonic_s)
                self.start(moment)
            case What.STOPPED:
                self.start(moment)
            case What.CUT:
                self._is_cut = False
            case What.DEVICE:
                pass

    def start(self, moment: Moment) -> None:
        """Start its agent on what its disk holds."""
        if self._core is None:
            settings = CoreSettings(
                terminal_id=self.terminal_id,
                interval_s=self._interval_s,
                agent_version=AGENT_VERSION,
                host_boot_id=self._host_boot_id,
            )
            outbox = Outbox.open(MEMORY, image=self._disk)
            self._core = Core(settings, outbox, self._rng, moment, self._jobs(moment))
            self._observe_at_s = moment.monotonic_s

    def stop(self, moment: Moment) -> None:
        """Stop its agent, which says so."""
        self._handle(Stop(), moment)
        self._shut(moment)

    def kill(self, moment: Moment) -> None:
        """End its agent without a word; the kernel closes its connection."""
        if self._publisher:
            self._publisher.abandon()
        self._shut(moment)

    def work(self, moment: Moment) -> float:
        """Do what is due; return when to do so again, on the monotonic clock."""
        for happened in self._publisher.take() if self._publisher else ():
            self._handle(happened, moment)
        if moment.monotonic_s >= self._fails_at_s:
            self._fails_at_s = math.inf
            self._handle(ConnectFailed(), moment)
        self._install(moment)
        if moment.monotonic_s >= self._observe_at_s:
            self._observe(moment)
        self._handle(Tick(), moment)
        while self._asked:
            self._obey(self._asked.popleft(), moment)
        if self._core is None:
            return math.inf
        now_s = moment.monotonic_s
        installs_at_s = self._installation.due_s(now_s) if self._installation else math.inf
        return min(self._observe_at_s, self._fails_at_s, installs_at_s, now_s + self._core.next_due_s(moment))

    def mend(self) -> None:
        """Have somebody end what the running release does to it."""
        if self._installation:
            self._installation.mend()

    @property
    def switched(self) -> list[Switched]:
        """Every release that it began to run."""
        if self._installation is None:
            return []
        return [
            Switched(terminal_id=self.terminal_id, version=one.version, at=_wall(one.at_s))
            for one in self._installation.switches
        ]

    @property
    def harmed(self) -> Harmed | None:
        """What the release that runs on it did to it by now."""
        harm = self._installation.harm(time.monotonic()) if self._installation else None
        if harm is None or self._installation is None:
            return None
        component, code = harm
        return Harmed(terminal_id=self.terminal_id, component=component, code=code, version=self._installation.version)

    def _jobs(self, moment: Moment) -> Jobs | None:
        """Go on with the newest job, by the page on its disk."""
        if self._software is None:
            return None
        settings = self._software.settings(self._interval_s, self._host_boot_id)
        return Jobs(settings, self._page, self._rng, moment)

    def _install(self, moment: Moment) -> None:
        """Hand in what came of the newest effect of a job, and look when something else runs."""
        if self._installation is None:
            return
        while result := self._installation.take(moment.monotonic_s, line_is_up=not self._is_cut):
            self._handle(Worked(result), moment)
        if self._installation.has_turned(moment.monotonic_s):
            self._observe(moment)

    def _obey(self, asked: Examine | RestartAgent, moment: Moment) -> None:
        if isinstance(asked, RestartAgent):
            self.stop(moment)
            self.start(moment)
        else:
            looks = self._looks(moment.monotonic_s)
            self._handle(Observed(looks), moment)
            self._handle(Examined(asked.command_id, way_out(looks)), moment)

    def _observe(self, moment: Moment) -> None:
        self._observe_at_s = moment.monotonic_s + self._interval_s
        self._handle(Observed(self._looks(moment.monotonic_s)), moment)

    def _looks(self, now_s: float) -> tuple[Observation, ...]:
        if self._installation is None:
            return self._till.observe()
        harm = self._installation.harm(now_s)
        return (*self._till.observe(harm), self._installation.look(now_s))

    def _cut(self, moment: Moment) -> None:
        self._is_cut = True
        if self._publisher and self._core:
            self._publisher.abandon()
            if self._core.phase is Phase.ONLINE:
                self._handle(ConnectionLost(), moment)
            elif self._core.phase is Phase.CONNECTING:
                self._fails_at_s = moment.monotonic_s + CONNECT_TIMEOUT_S

    def _handle(self, happened: Input, moment: Moment) -> None:
        for effect in self._core.handle(happened, moment) if self._core else ():
            if isinstance(effect, Connect) and self._is_cut:
                self._fails_at_s = moment.monotonic_s + CONNECT_TIMEOUT_S
            else:
                self._carry_out(effect, moment)

    def _carry_out(self, effect: Effect, moment: Moment) -> None:
        if isinstance(effect, Work) and self._installation:
            now_s = moment.monotonic_s
            self._installation.carry_out(effect.effect, now_s, monotonic_s=now_s)
        if isinstance(effect, Examine | RestartAgent):
            self._asked.append(effect)
        elif not isinstance(effect, Forget | Work):
            self._leave(effect)

    def _leave(self, effect: Connect | Subscribe | Publish | Disconnect) -> None:
        if self._publisher is None:
            return
        if isinstance(effect, Publish) and effect.outgoing.topic == topics.HEARTBEAT.of(self.terminal_id):
            self.heartbeats += 1
        self._publisher.carry_out(effect)

    def _shut(self, moment: Moment) -> None:
        """Keep what a disk would hold."""
        if self._installation:
            self._installation.kill(moment.monotonic_s)
        if self._core:
            self._events, self._unacknowledged = self.events, self.unacknowledged
            self._disk = self._core.outbox.image()
            self._core.outbox.close()
            self._core = None
            self._fails_at_s = math.inf

    def _drawn_id(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"


class Fleet:
    """Terminals that run from `__enter__` to `__exit__`; at the end each says that it stops."""

    def __init__(
        self,
        *,
        terminal_ids: Iterable[str],
        interval_s: int,
        seed: int,
        broker: Callable[[str], Broker],
        software: Software | None = None,
    ) -> None:
        self._terminals = {
            name: Terminal(terminal_id=name, interval_s=interval_s, seed=seed, software=software)
            for name in terminal_ids
        }
        self._loop = Loop(name="fleet")
        for name, terminal in self._terminals.items():
            terminal.attach(Publisher(self._loop, broker(name), name, partial(self._make_ready, terminal)))
        self._orders: deque[Callable[[], None]] = deque()
        self._ready: deque[Terminal] = deque()
        self._due: list[tuple[float, int, Terminal]] = []
        self._turns: dict[str, int] = {}
        self._turn = count(1)
        self._wake = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def __enter__(self) -> Self:
        """Start every terminal."""
        self._loop.start()
        self._thread.start()
        self._order(self._start)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop every terminal that still runs."""
        self.stop()

    def stop(self) -> None:
        """Let every terminal say that it stops, and wait until that is on its way; harmless when it is done."""
        if self._over:
            return
        self._order(self._stop)
        self._thread.join(_ORDER_TIMEOUT_S)
        self._loop.stop()

    def follow(self, step: Step) -> None:
        """Let a trouble begin or end at one of these terminals; what befalls others is left out."""
        terminal = self._terminals.get(step.injection.terminal_id)
        if terminal:
            self._order(partial(self._follow, terminal, step))

    def mend(self) -> None:
        """Have somebody end what the running releases do, and would have done, to their terminals."""
        for terminal in self._terminals.values():
            self._order(terminal.mend)

    def totals(self) -> Totals:
        """Count; raises `PartFailed` when the fleet has stopped by itself."""
        if not self._over and not (self._thread.is_alive() and self._loop.alive):
            raise PartFailed("expected the fleet to run, but a thread of it has ended; its log says why")
        terminals = self._terminals.values()
        return Totals(
            terminals=len(terminals),
            connected=sum(terminal.connected for terminal in terminals),
            heartbeats=sum(terminal.heartbeats for terminal in terminals),
            events=sum(terminal.events for terminal in terminals),
            unacknowledged=sum(terminal.unacknowledged for terminal in terminals),
        )

    def switched(self) -> list[Switched]:
        """List every release that a terminal began to run, in the order of time."""
        found = [one for terminal in self._terminals.values() for one in terminal.switched]
        return sorted(found, key=lambda one: (one.at, one.terminal_id))

    def harmed(self) -> list[Harmed]:
        """List what the releases that run did to their terminals by now."""
        return [harmed for terminal in self._terminals.values() if (harmed := terminal.harmed) is not None]

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self._wake.set()

    def _make_ready(self, terminal: Terminal) -> None:
        """Say that a terminal has something to take; called by the connections' loop."""
        self._ready.append(terminal)
        self._wake.set()

    def _run(self) -> None:
        while not self._over:
            self._wake.wait(self._wait_s())
            self._wake.clear()
            while self._orders:
                self._orders.popleft()()
            while self._ready:
                self._work(self._ready.popleft())
            while self._due and self._due[0][0] <= time.monotonic():
                _, turn, terminal = heapq.heappop(self._due)
                if self._turns[terminal.terminal_id] == turn:
                    self._work(terminal)

    def _wait_s(self) -> float:
        until_s = self._due[0][0] - time.monotonic() if self._due else _WAIT_S_MAX
        return min(max(until_s, 0.0), _WAIT_S_MAX)

    def _work(self, terminal: Terminal) -> None:
        """Let it work, and plan its next turn, which replaces the one planned before."""
        due_s = terminal.work(_now())
        turn = self._turns[terminal.terminal_id] = next(self._turn)
        if due_s < math.inf:
            heapq.heappush(self._due, (due_s, turn, terminal))

    def _start(self) -> None:
        for terminal in self._terminals.values():
            terminal.start(_now())
            self._work(terminal)

    def _follow(self, terminal: Terminal, step: Step) -> None:
        change = terminal.begin if step.begins else terminal.end
        change(step.injection, _now())
        self._work(terminal)

    def _stop(self) -> None:
        for terminal in self._terminals.values():
            terminal.stop(_now())
        self._over = True


def embedded(path: Path) -> Callable[[str], Broker]:
    """Read how terminals reach the broker that a collector on this machine has started; raises `PartFailed`."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return partial(_broker, said["host"], said["port"], said["terminal_password"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PartFailed(
            f"{path}: expected what `tillwatch-collector serve` leaves of its embedded broker, got {error!r}"
        ) from None


def reached(address: str, password_file: Path | None) -> Callable[[str], Broker]:
    """Tell how terminals reach a broker at HOST:PORT, each as its own user; raises `PartFailed`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise PartFailed(f"expected a broker as HOST:PORT, got {address!r}")
    try:
        password = password_file.read_text(encoding="utf-8").strip() if password_file else None
    except OSError as error:
        raise PartFailed(f"expected a readable password file, got: {error}") from None
    return partial(_broker, host, int(port), password)


def play(upcoming: Iterable[Step], take: Callable[[Step], None], duration_s: float | None) -> None:
    """Hand over each step when its time has come; then wait for the end of the duration, if it has one."""
    began_s, sleep = time.monotonic(), threading.Event()
    end_s = math.inf if duration_s is None else duration_s
    for step in upcoming:
        if step.at_s > end_s:
            break
        sleep.wait(max(began_s + step.at_s - time.monotonic(), 0.0))
        take(step)
    sleep.wait(None if duration_s is None else max(began_s + duration_s - time.monotonic(), 0.0))


def _broker(host: str, port: int, password: str | None, terminal_id: str) -> Broker:
    return Broker(host=host, port=port, username=terminal_id if password else None, password=password)


def _now() -> Moment:
    return Moment(monotonic_s=time.monotonic(), at=datetime.now(UTC))


def _wall(at_s: float) -> datetime:
    """Turn a moment of the monotonic clock into a time of day."""
    return datetime.now(UTC) - timedelta(seconds=time.monotonic() - at_s)
