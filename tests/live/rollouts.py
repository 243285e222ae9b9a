"""A chain of shops whose tills are updated while everything that can fail does, and the look at what became of them.

Mosquitto with TLS, PostgreSQL, a collector that serves releases which people signed, and a real agent beside every till
(`tests.live.tills`). What must be true at the end is read from the tills' disks and from what their software noted.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.collector import release_office
from tests.collector.release_office import Desk
from tests.live import tills
from tests.live.certificates import Authority
from tests.live.line import Cut, Exchange
from tests.live.mosquitto import Mosquitto, free_port
from tests.live.outages import Victim
from tests.live.postgres import Postgres
from tests.live.stack import Collector, until
from tests.live.tills import Till

from tillwatch_protocol.job import JOB_FINAL, JobState
from tillwatch_protocol.release import InstallerKind

INTERVAL_S: Final = 5
ROLLOUT_S: Final = 400.0
"""For anything that several tills must do one after the other, on a machine that does much else."""
CONFIRM_S: Final = 150
"""For a release to prove itself: the worst that is drawn here, a line and then a collector away, takes a minute."""

STORE_TILLS: Final = 4
BATCH: Final = 5
"""Tills that are switched on at once."""

PLAN: Final[Mapping[str, Any]] = {
    "waves": [{"share_pct": 20}, {"share_pct": 40}, {"share_pct": 100}],
    "limits": {"exposed_max": 20, "per_store_max": 2},
    "window": {
        "mode": "hours",
        "after_s": 0,
        "before_s": 0,
        "settlement_at": [],
        "settlement_margin_s": 0,
        "blackouts": [],
        "hours": {day: [["00:00", "24:00"]] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")},
    },
    "gate": {
        "soak_s": 5,
        "failure_pct": 25,
        "executed_min": 2,
        "infrastructure_pct": 100,
        "primary": "attributable_fault",
        "alpha": 0.01,
        "looks": 1,
        "controls_min": 1,
        "covered_pct": 50,
    },
    "job": {"deadline_s": 900, "reach_s": 7200, "attempts_max": 10, "back_off_s": 2, "offers_per_minute_max": 1000},
    "approval": False,
}
"""As careful as a plan must be, and so fast that a night passes in minutes."""

ENDED: Final = frozenset({"completed", "halted", "aborted"})
UPDATED: Final = frozenset({"succeeded", "late"})

Said = Callable[[int, int, str], None]


class Chain:
    """Everything, as real processes on this machine."""

    def __init__(self, folder: Path, count: int, *, postgresql: bool = True, confirm_s: int = CONFIRM_S) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        papers = self.authority.issue("collector.1")
        self.broker: Mosquitto = self.authority.broker(folder / "mosquitto")
        self.postgres = Postgres(folder / "postgresql") if postgresql else None
        self.desk = Desk(folder / "releases", now=datetime.now(UTC)).opened()
        self.web_port = free_port()
        self._tables = papers.table(self.broker) + f'[releases]\nfolder = "{self.desk.folder}"\n{ROLLOUTS}'
        self._exchange = Exchange()
        self._count = count
        self._confirm_s = confirm_s
        self.tills: dict[str, Till] = {}
        self.down: Blow | None = None
        """What of the middle was killed, and is not mended."""

    @contextmanager
    def running(self) -> Iterator["Chain"]:
        """All of it, every till with its factory's version, and known to the collector."""
        with ExitStack() as stack:
            stack.enter_context(self.broker)
            stack.enter_context(self._exchange)
            settings = ""
            if self.postgres:
                stack.enter_context(self.postgres)
                settings = f'database_url = "{self.postgres.create("tillwatch")}"\n'
            self.collector = Collector(
                self.folder / "collector", settings=settings, tables=self._tables, web_port=self.web_port
            )
            stack.enter_context(self.collector)
            self._describe()
            for number in range(1, self._count + 1):
                till = self._till(f"till-{number:03}")
                stack.callback(till.cut_power)
                till.begin()
                if number % BATCH == 0 or number == self._count:
                    until(lambda: self._heard() or None, "every till to be heard of", ROLLOUT_S)
            yield self

    def part(self, blow: "Blow") -> Victim:
        """What a blow in the middle hits."""
        if blow is Blow.POSTGRESQL:
            assert self.postgres
            return self.postgres
        return self.broker if blow is Blow.BROKER else self.collector

    def tend(self) -> None:
        """Start what ended by itself, as a service manager does."""
        if self.down is None and not self.collector.process.running:
            self.collector.start()
        for till in self.tills.values():
            till.tend()

    def offer(self, version: str, content: bytes, product: str = tills.PRODUCT) -> None:
        """Have people sign a version of the tills' software, or of their agents."""
        file = self.folder / f"{product}-{version}.tar.gz"
        file.write_bytes(content)
        installer = InstallerKind.AGENT if product == tills.AGENT else InstallerKind.BUNDLE
        words = release_office.release(version, product, installer=installer)
        self.desk.releases.add(file, tills.target(version, product), words, datetime.now(UTC))
        self.desk.sign("alice")
        self.desk.publish()

    def roll_out(self, version: str, product: str = tills.PRODUCT) -> str:
        """Begin to bring it to all tills; returns the rollout's id."""
        target = tills.target(version, product)
        body = {"target": target, "select": "all", "reason": "the new version", "settings": PLAN}
        rollout_id: str = self.collector.post("/api/v1/rollouts", body)["rollout_id"]
        self.act(rollout_id, "start")
        return rollout_id

    def act(self, rollout_id: str, action: str) -> None:
        """Take a person's step."""
        self.collector.post(f"/api/v1/rollouts/{rollout_id}/actions/{action}", {"reason": "as planned"})

    def rollout(self, rollout_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.collector.get(f"/api/v1/rollouts/{rollout_id}")
        return found

    def jobs(self, rollout_id: str) -> dict[str, dict[str, Any]]:
        """Every till's part, by till."""
        items = self.collector.get(f"/api/v1/rollouts/{rollout_id}/jobs", limit=200)["items"]
        return {job["terminal_id"]: job for job in items}

    def settle(self, rollout_id: str) -> None:
        """Wait until no till works at a job any more."""
        calm = "every till to have ended its job"
        until(lambda: all(_is_calm(job) for job in self.jobs(rollout_id).values()), calm, ROLLOUT_S)

    def journal(self, rollout_id: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.collector.get(f"/api/v1/rollouts/{rollout_id}/journal", limit=200)["items"]
        return items

    def _heard(self) -> bool:
        """Whether every till was; one whose agent ended says why."""
        for till in self.tills.values():
            assert till.agent.running, till.agent.tail()
        return all(self.collector.streams(name) for name in self.tills)

    def _describe(self) -> None:
        """Shops of a few tills each, of one region."""
        self.collector.post("/api/v1/merchants", {"merchant_id": "markt", "name": "Markt"})
        for number in range(1, -(-self._count // STORE_TILLS) + 1):
            store = {"store_id": f"shop-{number}", "merchant_id": "markt", "name": f"Shop {number}", "region": "north"}
            self.collector.post("/api/v1/stores", store | {"time_zone": "Europe/Berlin"})
        for number in range(1, self._count + 1):
            store_id = f"shop-{(number - 1) // STORE_TILLS + 1}"
            terminal = {"terminal_id": f"till-{number:03}", "store_id": store_id, "model": "T1"}
            self.collector.post("/api/v1/terminals", terminal)

    def _till(self, name: str) -> Till:
        till = Till(
            self.folder / "tills" / name, name, self._exchange, interval_s=INTERVAL_S, confirm_s=self._confirm_s
        )
        till.install()
        root = self.desk.folder / "metadata" / "1.root.json"
        till.configure(self.authority.issue(name), self.broker, self.web_port, root)
        self.tills[name] = till
        return till


ROLLOUTS = "[rollouts]\nlook_s = 1\n"


def _is_calm(job: Mapping[str, Any]) -> bool:
    """Say whether an agent has nothing to do for its job; that of one that was never offered is no state."""
    return job["state"] is None or JobState(job["state"]) in JOB_FINAL


# --- what befalls them


class Blow(StrEnum):
    """What is done to a part, and undone some seconds later."""

    AGENT = "an agent is killed"
    POWER = "a till's power is cut"
    LINE = "a line ends"
    DEAD_LINE = "a line carries nothing"
    COLLECTOR = "the collector is killed"
    BROKER = "the broker is killed"
    POSTGRESQL = "the database is killed"


OF_A_TILL: Final = (Blow.AGENT, Blow.POWER, Blow.LINE, Blow.DEAD_LINE)

DOWN_S: Final = (0.5, 8.0)
GIVE_UP_S: Final = 1500.0
LOOK_S: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One blow: when, from the beginning, how long it lasts, and which till it hits, if one."""

    at_s: float
    blow: Blow
    down_s: float
    till: str = ""


def drawn(names: Sequence[str], blows: Mapping[Blow, int], length_s: float, rng: Random) -> list[Turn]:
    """Draw so many of each over a time: tills take turns, and of the parts in the middle one falls at a time."""
    around = itertools.cycle(rng.sample(names, len(names)))
    struck = [blow for blow, times in blows.items() for _ in range(times)]
    rng.shuffle(struck)
    middle = [blow for blow in struck if blow not in OF_A_TILL]
    share_s = length_s / max(len(middle), 1)
    return [
        *(
            Turn(at_s=rng.uniform(0, length_s), blow=blow, down_s=rng.uniform(*DOWN_S), till=next(around))
            for blow in struck
            if blow in OF_A_TILL
        ),
        *(
            Turn(at_s=(place + rng.uniform(0, 0.5)) * share_s, blow=blow, down_s=min(rng.uniform(*DOWN_S), share_s / 2))
            for place, blow in enumerate(middle)
        ),
    ]


def torment(chain: Chain, rollout_id: str, turns: Sequence[Turn], progress: Said) -> str:
    """Strike by turns until all are done and the rollout is over; returns its state."""
    steps = sorted(
        [(turn.at_s, _strike, turn) for turn in turns] + [(turn.at_s + turn.down_s, _mend, turn) for turn in turns],
        key=lambda step: step[0],
    )
    began_s, done, state = time.monotonic(), 0, ""
    while done < len(steps) or state not in ENDED:
        passed_s = time.monotonic() - began_s
        assert passed_s < GIVE_UP_S, f"the rollout is {state} after {GIVE_UP_S:.0f} s: {chain.jobs(rollout_id)}"
        if done < len(steps) and steps[done][0] <= passed_s:
            _, act, turn = steps[done]
            act(chain, turn)
            done += 1
            progress(done, len(steps), f"{turn.blow}, and is mended; the rollout is {state}")
            continue
        chain.tend()
        state = (chain.collector.look(f"/api/v1/rollouts/{rollout_id}") or {}).get("state", state)
        time.sleep(LOOK_S)
    return state


def _strike(chain: Chain, turn: Turn) -> None:
    match turn.blow:
        case Blow.AGENT:
            chain.tills[turn.till].kill_agent()
        case Blow.POWER:
            chain.tills[turn.till].cut_power()
        case Blow.LINE:
            chain.tills[turn.till].line.cut(Cut.ENDED)
        case Blow.DEAD_LINE:
            chain.tills[turn.till].line.cut(Cut.DEAD)
        case _:
            chain.down = turn.blow
            chain.part(turn.blow).kill()


def _mend(chain: Chain, turn: Turn) -> None:
    match turn.blow:
        case Blow.AGENT | Blow.POWER:
            chain.tills[turn.till].begin()
        case Blow.LINE | Blow.DEAD_LINE:
            chain.tills[turn.till].line.mend()
        case _:
            chain.down = None
            chain.part(turn.blow).start()


# --- what became of them


def wrongs(chain: Chain, rollout_id: str, version: str) -> list[str]:
    """Say which tills did not end right after a rollout that is to have brought them a version."""
    jobs = chain.jobs(rollout_id)
    found = []
    for name, till in sorted(chain.tills.items()):
        outcome = jobs[name]["outcome"] if name in jobs else "none"
        if outcome not in UPDATED:
            found.append(f"{name}: the collector says {outcome} ({jobs.get(name, {}).get('reason')})")
        found += [f"{name}: {said}" for said in astray(till, version)]
    return found


def astray(till: Till, version: str, *tried: str) -> list[str]:
    """Say what of a till is not as if it had been brought to a version once and never back; some it may have tried."""
    committed, starts = till.committed, till.starts
    ran = [started.version for started in starts if started.version not in tried]
    activations = {started.activation_id for started in starts if started.version == version}
    after = ran[ran.index(version) :] if version in ran else []
    found = []
    if committed is None or committed.version != version:
        found.append(f"expected {version} committed, got {committed}")
    if till.trial is not None:
        found.append(f"expected nothing on trial, got {till.trial}")
    if not till.runs or starts[-1].version != version:
        found.append(f"expected {version} to run, got {starts[-1].version if till.runs else 'nothing'}")
    if len(activations) != 1:
        found.append(f"expected one activation of {version}, got {len(activations)}")
    if set(after) - {version}:
        found.append(f"expected nothing but {version} after it, got {after}")
    return found
