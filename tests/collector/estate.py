"""Stores whose tills take jobs: a hand-written agent of each, which goes a state further with every heartbeat."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.collector.rollout_words import SETTINGS
from tests.collector.shop import WELL, Street
from tests.collector.words import at, heartbeat

from tillwatch_collector.domain.choosing import choose, freeze, parse_query
from tillwatch_collector.domain.rollout import parse_settings
from tillwatch_collector.domain.waves import Selection
from tillwatch_collector.flows import rollouts
from tillwatch_collector.flows.driving import DrivingSettings
from tillwatch_collector.flows.judge import JudgeEffects, JudgeSettings
from tillwatch_collector.flows.rollouts import Draft
from tillwatch_collector.store import tables
from tillwatch_collector.store.rollouts import KeptJob, KeptRollout, Line
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.job import JOB_FINAL, JobMessage, JobMessageKind, JobState, JobStatus
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.release import InstallerKind, Release
from tillwatch_protocol.vocabulary import Health

J = JobState
TARGET = "till/till-2.1.0.tar.gz"
DIGEST = "ab" * 32
OLD = "01" * 32
RELEASE = Release(product="till", version="2.1.0", installer=InstallerKind.BUNDLE)
ANN, BOB = "person:ann", "person:bob"

ALWAYS = {day: [["00:00", "24:00"]] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
PLAN: dict[str, Any] = SETTINGS | {
    "waves": [{"count": 4}, {"share_pct": 100}],
    "limits": {"exposed_max": 4, "per_store_max": 2},
    "window": {
        "mode": "hours",
        "after_s": 0,
        "before_s": 0,
        "settlement_at": [],
        "settlement_margin_s": 0,
        "blackouts": [],
        "hours": ALWAYS,
    },
    "gate": SETTINGS["gate"] | {"executed_min": 3, "controls_min": 4, "looks": 2, "failure_pct": 30},
    "approval": False,
}
"""A plan whose window is always open."""

_ROAD = (J.OFFERED, J.ACCEPTED, J.DOWNLOADING, J.VERIFIED, J.STAGED, J.READY)
_AFTER_GO = (J.SWITCHING, J.CONFIRMING, J.SUCCEEDED)


def plan(**parts: Any) -> str:
    """Return the plan as JSON, with some keys of some parts changed."""
    changed = {
        key: {**PLAN[key], **part} if isinstance(part, dict) and isinstance(PLAN.get(key), dict) else part
        for key, part in parts.items()
    }
    return json.dumps(PLAN | changed)


@dataclass(kw_only=True, slots=True)
class Agent:
    """What one agent knows of its job."""

    job_id: str | None = None
    state: JobState = J.OFFERED
    nonce: str | None = None
    reason: str | None = None
    asked: int = 0
    waited: int = 0
    runs: str = OLD
    activations: int = 1
    switches: int = 0

    @property
    def free(self) -> bool:
        return self.job_id is None or self.state in JOB_FINAL

    @property
    def status(self) -> JobStatus | None:
        if self.job_id is None:
            return None
        return JobStatus(job_id=self.job_id, state=self.state, nonce=self.nonce, reason=self.reason)

    def go_on(self) -> None:
        """Take a step by itself."""
        if self.free:
            return
        if self.state is J.READY:
            self._wait()
        elif self.state in _AFTER_GO:
            self.state = _AFTER_GO[_AFTER_GO.index(self.state) + 1]
            if self.state is J.SUCCEEDED:
                self.runs, self.activations = DIGEST, self.activations + 1
        else:
            self.state = _ROAD[_ROAD.index(self.state) + 1]
            if self.state is J.READY:
                self.asked, self.waited = self.asked + 1, 0
                self.nonce = f"n{self.asked}"

    def _wait(self) -> None:
        """Ask anew where no `go` came in its time."""
        self.waited += 1
        if self.waited == 2:
            self.state, self.nonce = J.STAGED, None

    def take(self, message: JobMessage) -> bool:
        """Take a word of the collector; whether it lets the terminal switch."""
        kind = message.kind
        if kind is JobMessageKind.OFFER and self.free and message.job_id != self.job_id:
            self.job_id, self.state, self.nonce, self.reason = message.job_id, J.OFFERED, None, None
        if message.job_id != self.job_id:
            return False
        if kind is JobMessageKind.WITHDRAW and not self.free and self.state not in _AFTER_GO:
            self.state, self.nonce = J.CANCELLED, None
        if kind is JobMessageKind.GO and self.state is J.READY and message.nonce == self.nonce:
            self.state, self.nonce, self.switches = J.SWITCHING, None, self.switches + 1
            return True
        return False

    def end(self, state: JobState, reason: str | None = None) -> None:
        self.state, self.reason, self.nonce = state, reason, None


@dataclass(kw_only=True, slots=True)
class Fate:
    """What befalls agents, by the names of their tills."""

    end_at: dict[str, tuple[JobState, JobState, str | None]] = field(default_factory=dict)
    """At which state they end, how, and why: instead of going on."""
    dies_on_go: set[str] = field(default_factory=set)
    lies: set[str] = field(default_factory=set)
    """They say that they succeeded, and run what they ran."""


class Estate(Street):
    """A street whose tills have agents."""

    def __init__(
        self,
        store: Store,
        stores: Mapping[str, int],
        *,
        look_s: float = 5.0,
        place: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.agents: dict[str, Agent] = {}
        self.fate = Fate()
        self.sent: list[JobMessage] = []
        self.lost: set[JobMessageKind] = set()
        """Kinds of messages that get lost on their way."""
        settings = JudgeSettings(canary_s=15, rollouts=DrivingSettings(look_s=look_s))
        super().__init__(
            store,
            stores,
            place={"opening_hours": ALWAYS, "region": "north"} | dict(place or {}),
            **{"settings": settings} | more,
        )

    def tick(self) -> JudgeEffects:
        effects = super().tick()
        for message in effects.jobs:
            self.sent.append(message)
            if message.kind in self.lost or message.terminal_id in self.dead:
                continue
            if self.agent(message.terminal_id).take(message) and message.terminal_id in self.fate.dies_on_go:
                self.dead.add(message.terminal_id)
        return effects

    def hear(self, names: Iterable[str]) -> None:
        """Hear a heartbeat of each that is not dead; its agent goes on by a state first."""
        batch = []
        for name in names:
            if name not in self.dead:
                self.beats += 1
                agent = self.agent(name)
                self._go_on(name, agent)
                said = (*self.says.get(name, WELL), self._application(agent))
                beat = heartbeat(self.beats, *said, terminal_id=name, interval_s=self.interval_s)
                batch.append(beat.model_copy(update={"job": agent.status}))
        self.take(*batch)

    def agent(self, name: str) -> Agent:
        return self.agents.setdefault(name, Agent())

    def _go_on(self, name: str, agent: Agent) -> None:
        at_state = self.fate.end_at.get(name)
        if at_state is not None and agent.job_id is not None and agent.state is at_state[0]:
            agent.end(at_state[1], at_state[2])
            return
        agent.go_on()
        if name in self.fate.lies and agent.state is J.SUCCEEDED:
            agent.runs = OLD

    @staticmethod
    def _application(agent: Agent) -> Reading:
        facts = {"version": "2.0", "digest": agent.runs, "activation_id": f"a{agent.activations}"}
        return Reading(component="application:till", health=Health.OK, facts=facts)

    # --- what people do

    def draft(self, query: str = "all", *, settings: str | None = None, actor: str = ANN) -> str:
        drafted = self.drafted(query, settings)
        with self.store.transaction() as repository:
            return rollouts.draft(repository, drafted, actor=actor, now=at(self.now_s))

    def drafted(self, query: str = "all", settings: str | None = None) -> Draft:
        stated = settings or plan()
        with self.store.transaction() as repository:
            chosen = choose(parse_query(query), repository.fleet.facts())
        return Draft(
            name="tills",
            target=TARGET,
            product="till",
            version="2.1.0",
            digest=DIGEST,
            selection=replace(self.freezing(stated)([one.terminal_id for one in chosen]), query=query),
            settings=stated,
        )

    def freezing(self, settings: str | None = None) -> rollouts.Freeze:
        """Return what freezes the facts of terminals as they are."""
        with self.store.transaction() as repository:
            facts, hours = repository.fleet.facts(), repository.fleet.hours()
        stated, now = parse_settings(settings or plan()), at(self.now_s)

        def freeze_these(terminal_ids: Collection[str]) -> Selection:
            chosen = [one for one in facts if one.terminal_id in terminal_ids]
            return freeze(chosen, facts, RELEASE, hours, stated, query="", reason="ticket 12", now=now)

        return freeze_these

    def run(self, query: str = "all", *, settings: str | None = None) -> str:
        """Draft a rollout and start it."""
        rollout_id = self.draft(query, settings=settings)
        self.do("start", rollout_id)
        return rollout_id

    def do(self, action: str, rollout_id: str, *more: Any, actor: str = ANN, **named: Any) -> Any:
        with self.store.transaction() as repository:
            act = getattr(rollouts, action)
            return act(repository, rollout_id, *more, actor=actor, reason="so", now=at(self.now_s), **named)

    # --- what is kept

    def kept(self, rollout_id: str) -> KeptRollout:
        with self.store.transaction() as repository:
            return repository.rollouts.get(rollout_id)

    def jobs(self, rollout_id: str) -> dict[str, KeptJob]:
        with self.store.transaction() as repository:
            return {one.job.terminal_id: one for one in repository.rollouts.jobs(rollout_id)}

    def lines(self, rollout_id: str, *, of_jobs: bool = False) -> list[Line]:
        with self.store.transaction() as repository:
            return [one for one in repository.rollouts.journal(rollout_id) if of_jobs or one.job_id is None]

    def stands(self, rollout_id: str) -> str:
        return str(self.kept(rollout_id).rollout.state)

    def set_rollout(self, rollout_id: str, **values: Any) -> None:
        """Change a row as no flow does."""
        rollout = table_of(tables.RolloutRow)
        with self.store.transaction() as repository:
            repository.connection.execute(rollout.update().where(rollout.c.rollout_id == rollout_id).values(values))

    def told(self, kind: JobMessageKind) -> list[tuple[str, str]]:
        return [(one.terminal_id, one.job_id) for one in self.sent if one.kind is kind]
