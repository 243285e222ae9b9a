"""A fleet beats and has its faults while collector, broker and database are killed in turn; then everything is counted.

What befalls the terminals is drawn from the seed and known, so a ticket that nothing of it explains is false, and so is
one that came when the trouble was long over. Sent is what each terminal's outbox has numbered; stored is what the
database holds, read without the collector's help.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol

from sqlalchemy import text
from tests.live.mosquitto import Mosquitto
from tests.live.postgres import Postgres
from tests.live.stack import BIN, QUICK_JUDGE, Process, as_installed

from tillwatch_collector.store.session import Store
from tillwatch_protocol.vocabulary import ConditionCode
from tillwatch_simulator import scenario
from tillwatch_simulator.faults import PIN_PAD, PRINTER, TicketIdentity, What
from tillwatch_simulator.fleet import Fleet, play, reached
from tillwatch_simulator.scenario import Injection

INTERVAL_S = 5
HOLD_SCALE = 0.1
"""An open cover is a fault after 6 s instead of a minute: a run holds many."""

FAULTS_PER_S = 1.5
LASTS_S = (4.0, 30.0)
"""Some troubles go by before their hold, most become tickets."""

EXPLAINS_FOR_S = 25.0
"""After its end a trouble still explains a ticket: an attempt to connect may hang for 10 s, and the next waits for a
back-off, before a heartbeat tells."""

ALIVE_S_MEAN, ALIVE_S_MAX = 7.0, 25.0
"""Between two kills, exponentially: often in the middle of a start, sometimes long enough to judge and to be proved."""

DOWN_S = (0.1, 4.0)

DRAIN_S_MAX = 180.0
"""For all outboxes to be acknowledged at last: a terminal that was refused often waits up to two minutes to connect."""

SETTLE_S = 4 * INTERVAL_S
"""After the last restart: three heartbeats missed would show by then."""

TEND_S = 0.25

TROUBLES: tuple[tuple[What, str, str, int], ...] = (
    # what, component, code, how often
    (What.CONDITION, PRINTER, ConditionCode.COVER_OPEN, 8),
    (What.CONDITION, PRINTER, ConditionCode.PAPER_END, 6),
    (What.CONDITION, PIN_PAD, ConditionCode.NO_RESPONSE, 4),
    (What.CONDITION, PIN_PAD, ConditionCode.NOT_ATTACHED, 2),
    (What.DEAD, PRINTER, "", 1),
    (What.STOPPED, PRINTER, "", 1),
    (What.CUT, PRINTER, "", 1),
)

Backend = Literal["sqlite", "postgresql"]
Progress = Callable[[int, int, str], None]


class Victim(Protocol):
    """What can be killed and started again."""

    def kill(self) -> None: ...
    def start(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run counts; the three that must be 0 name what is wrong in `said`."""

    events: int
    lost: int
    doubled: int
    tickets: int
    false_tickets: int
    """Without a trouble behind them, or a second one for the same cause."""
    said: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """That something was wrong with a terminal: a ticket that was opened, or a fault that was raised."""

    identity: TicketIdentity
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One kill: after how long, and for how long."""

    victim: str
    alive_s: float
    down_s: float


class Installation:
    """Real processes of one collector: `serve`, or roles apart; kept running as a service manager would."""

    def __init__(self, folder: Path, backend: Backend, roles: Sequence[str]) -> None:
        self.broker = Mosquitto(folder / "broker")
        self.postgres = Postgres(folder / "postgresql") if backend == "postgresql" else None
        self.processes: dict[str, Process] = {}
        self._folder = folder
        self._roles = roles
        self._wanted: set[str] = set()

    @contextmanager
    def running(self) -> Iterator["Installation"]:
        with ExitStack() as stack:
            stack.enter_context(self.broker)
            self.url = f"sqlite:///{self._folder / 'tillwatch.db'}"
            if self.postgres:
                stack.enter_context(self.postgres)
                self.url = self.postgres.create("tillwatch")
            for number, role in enumerate(self._roles, start=1):
                process = self._process(f"{role}.{number}", role)
                stack.callback(process.kill)
                process.start()
            yield self

    def wait(self, seconds: float) -> None:
        """Let time pass; what ends by itself meanwhile is started again."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, TEND_S))
            for name in self._wanted:
                if not self.processes[name].running:
                    self.processes[name].start()

    def kill(self, name: str) -> None:
        self._wanted.discard(name)
        self._victim(name).kill()

    def start(self, name: str) -> None:
        self._victim(name).start()
        if name in self.processes:
            self._wanted.add(name)

    def _victim(self, name: str) -> Victim:
        if name == "broker":
            return self.broker
        if name == "postgresql":
            assert self.postgres
            return self.postgres
        return self.processes[name]

    def _process(self, name: str, role: str) -> Process:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "collector.toml"
        config.write_text(
            f'data_dir = "{folder / "data"}"\nprocess = "{name}"\ndatabase_url = "{self.url}"\n'
            f"[web]\nport = 0\n[judge]\nhold_scale = {HOLD_SCALE}\n{QUICK_JUDGE}"
            f'[broker]\nhost = "{self.broker.host}"\nport = {self.broker.port}\n'
        )
        command = (str(BIN / "tillwatch-collector"), role, "--config", str(config))
        process = Process(folder, name, *as_installed(self._folder / "bytecode"), *command)
        self.processes[name] = process
        self._wanted.add(name)
        return process


def torment(
    folder: Path,
    backend: Backend,
    roles: Sequence[str],
    kills: Mapping[str, int],
    *,
    terminals: int,
    rng: Random,
    progress: Progress,
) -> Outcome:
    """Kill each of `kills` so often, in any order, at any moment; let everything drain; count."""
    victims = [name for name, times in kills.items() for _ in range(times)]
    rng.shuffle(victims)
    turns = [
        Turn(
            victim=name,
            alive_s=min(rng.expovariate(1 / ALIVE_S_MEAN), ALIVE_S_MAX),
            down_s=rng.uniform(*DOWN_S),
        )
        for name in victims
    ]
    injections = drawn(terminals, sum(turn.alive_s + turn.down_s for turn in turns), rng)
    installation = Installation(folder, backend, roles)
    with installation.running():
        fleet = Fleet(
            terminal_ids=map(scenario.terminal_id, range(1, terminals + 1)),
            interval_s=INTERVAL_S,
            seed=rng.getrandbits(32),
            broker=reached(f"{installation.broker.host}:{installation.broker.port}", None),
        )
        with fleet:
            began_at = datetime.now(UTC)
            arguments = (scenario.steps(injections), fleet.follow, None)
            threading.Thread(target=play, args=arguments, name="troubles", daemon=True).start()
            _kill_by_turns(installation, turns, progress)
            _drain(installation, fleet, progress)
            sent = {name: terminal.events for name, terminal in fleet._terminals.items()}
            return _counted(installation.url, sent, began_at, injections)


def drawn(terminals: int, length_s: float, rng: Random) -> tuple[Injection, ...]:
    """Troubles at random terminals, each with one at a time, all over by the end."""
    injections: list[Injection] = []
    busy_until_s = dict.fromkeys(range(1, terminals + 1), 0.0)
    at_s = 0.0
    while (at_s := at_s + rng.expovariate(FAULTS_PER_S)) < length_s:
        until_s = min(at_s + rng.uniform(*LASTS_S), length_s)
        number = rng.choice(
            [number for number, busy_s in busy_until_s.items() if busy_s + EXPLAINS_FOR_S < at_s] or [0]
        )
        if number:
            busy_until_s[number] = until_s
            (what, component, code, _) = rng.choices(TROUBLES, [weight for *_, weight in TROUBLES])[0]
            injections.append(
                Injection(
                    terminal_id=scenario.terminal_id(number),
                    what=what,
                    from_s=at_s,
                    until_s=until_s,
                    component=component,
                    code=code,
                )
            )
    return tuple(injections)


def _kill_by_turns(installation: Installation, turns: Sequence[Turn], progress: Progress) -> None:
    for done, turn in enumerate(turns, start=1):
        installation.wait(turn.alive_s)
        installation.kill(turn.victim)
        installation.wait(turn.down_s)
        installation.start(turn.victim)
        progress(done, len(turns), f"kills, last of {turn.victim}")


def _drain(installation: Installation, fleet: Fleet, progress: Progress) -> None:
    """Wait until all is acknowledged, and as long as a silence from the last outage would take to be judged."""
    settled_s = time.monotonic() + SETTLE_S
    until_s = time.monotonic() + DRAIN_S_MAX
    while time.monotonic() < until_s:
        installation.wait(0.5)
        totals = fleet.totals()
        if totals.connected == totals.terminals and not totals.unacknowledged and time.monotonic() > settled_s:
            return
        progress(totals.terminals - totals.unacknowledged, totals.terminals, f"{totals.unacknowledged} events to drain")


def _counted(url: str, sent: dict[str, int], began_at: datetime, injections: Iterable[Injection]) -> Outcome:
    """Look into the database itself, so that nothing of the collector counts for it."""
    store = Store.open(url)
    with store.reading() as connection:
        events = connection.execute(text(_EVENTS)).all()
        quarantined = connection.execute(text("SELECT count(*) FROM quarantine")).scalar_one()
        opened = [_claim(row) for row in connection.execute(text(_TICKETS))]
        raised = [_claim(row) for row in connection.execute(text(_FAULTS))]
    store.close()
    stored = Counter(terminal_id for terminal_id, *_ in events)
    edges = Counter((terminal_id, *edge) for terminal_id, _, *edge in events)
    unstored = {name: last - stored[name] for name, last in sent.items() if last != stored[name]}
    repeated = [edge for edge, times in edges.items() if times > 1]
    twice = [identity for identity, times in Counter(claim.identity for claim in opened).items() if times > 1]
    false = [claim for claim in (*opened, *raised) if not _explained(claim, began_at, injections)]
    return Outcome(
        events=sum(sent.values()),
        lost=sum(max(lacking, 0) for lacking in unstored.values()),
        doubled=len(repeated) + quarantined + sum(max(-lacking, 0) for lacking in unstored.values()),
        tickets=len(opened),
        false_tickets=len(false) + len(twice),
        said=(
            *(f"{name}: {lacking} events are not stored" for name, lacking in unstored.items()),
            *(f"stored twice: {edge}" for edge in repeated),
            *((f"{quarantined} messages in quarantine",) if quarantined else ()),
            *(f"two tickets: {identity}" for identity in twice),
            *(_told(claim, began_at, injections) for claim in false),
        ),
    )


_EVENTS = "SELECT terminal_id, event_seq, stream_id, boot_epoch, kind, component, code, happened_at FROM event"
_TICKETS = "SELECT subject_id, component, code, opened_at FROM ticket"
_FAULTS = "SELECT terminal_id, component, code, raised_at FROM fault WHERE ticket_id IS NOT NULL"


def _claim(row: Any) -> Claim:
    subject_id, component, code, at = row
    identity = TicketIdentity(terminal_id=subject_id, component=component, code=code)
    stored = datetime.fromisoformat(at) if isinstance(at, str) else at  # SQLite has no times
    return Claim(identity=identity, at=stored if stored.tzinfo else stored.replace(tzinfo=UTC))


def _told(claim: Claim, began_at: datetime, injections: Iterable[Injection]) -> str:
    at_s = (claim.at - began_at).total_seconds()
    before = [one for one in injections if one.terminal_id == claim.identity.terminal_id and one.from_s <= at_s]
    trouble = (
        f"{before[-1].what} {before[-1].code} from {before[-1].from_s:.1f} to {before[-1].until_s:.1f} s"
        if before
        else "none"
    )
    return f"no trouble explains {claim.identity} at {at_s:.1f} s; the last one before was {trouble}"


def _explained(claim: Claim, began_at: datetime, injections: Iterable[Injection]) -> bool:
    at_s = (claim.at - began_at).total_seconds()
    return any(
        claim.identity in injection.tickets and injection.from_s <= at_s <= injection.until_s + EXPLAINS_FOR_S
        for injection in injections
    )
