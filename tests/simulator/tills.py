"""One simulated terminal that takes jobs, in virtual time, beside a collector that lets it do what it asks for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from tillwatch_agent.job_work import Beaten, Result
from tillwatch_agent.jobs import Jobs, MemoryStore
from tillwatch_agent.moment import Moment
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobState
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator.releases import Harm, Release, Signed
from tillwatch_simulator.updating import Between, Installation, Paces, Software

BEGAN = datetime(2026, 11, 21, 2, tzinfo=UTC)
INTERVAL_S = 60.0
STEP_S = 0.5
OLD = Signed(release=Release(product="till", version="2.0.0"), digest="0" * 64)
GOOD = Signed(release=Release(product="till", version="2.1.0"), digest="1" * 64)
HARM = Harm(share_pct=100.0, from_s=600.0, until_s=900.0, component="pin_pad:counter", code="no_response")
HARMFUL = Signed(release=Release(product="till", version="2.2.0", harm=HARM), digest="2" * 64)
BROKEN = Signed(release=Release(product="till", version="2.3.0", fails_pct=100.0), digest="3" * 64)
PACES = Paces(fetch=Between(100.0, 100.0), stage=Between(5.0, 5.0), start=Between(10.0, 10.0), busy_pct=0.0)


def software(paces: Paces = PACES) -> Software:
    offered = {one.release.target: one for one in (GOOD, HARMFUL, BROKEN)}
    return Software(installed=OLD, offered=offered, spread_s=0.0, paces=paces)


@dataclass
class SimulatedTill:
    """Hands every effect to the installation, and every result back; beats, and answers each ask with a go."""

    seed: int = 1
    software: Software = field(default_factory=software)
    now_s: float = 0.0
    goes: bool = True
    line_is_up: bool = True
    states: list[JobState] = field(default_factory=list)
    """Every state that its heartbeat showed, once each in a row."""
    reasons: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.installation = Installation(self.software, self.rng)
        self.page = MemoryStore()
        self._beat_at_s = 0.0
        self.start()

    @property
    def moment(self) -> Moment:
        return Moment(monotonic_s=self.now_s, at=BEGAN + timedelta(seconds=self.now_s))

    def start(self, boot_id: str = "boot-1") -> None:
        """Start the agent on its page."""
        self.jobs = Jobs(self.software.settings(INTERVAL_S, boot_id), self.page, self.rng, self.moment)

    def offer(self, signed: Signed, job_id: str = "r1-1.1") -> None:
        target = signed.release.target
        self.hand(JobMessage(terminal_id="t", kind=JobMessageKind.OFFER, job_id=job_id, target=target))

    def hand(self, said: JobMessage | Result | Beaten | None) -> None:
        outcome = self.jobs.handle(said, self.moment)
        for effect in outcome.effects:
            self.installation.carry_out(effect, self.now_s, monotonic_s=self.now_s)
        self._note()

    def run(self, for_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time go by, or until something is so."""
        end_s = self.now_s + for_s
        while self.now_s < end_s and not until():
            self.now_s += STEP_S
            self._step()

    def run_until(self, state: JobState, for_s: float = 3_600.0) -> None:
        self.run(for_s, lambda: self.state is state)
        assert self.state is state, self.states

    @property
    def state(self) -> JobState | None:
        status = self.jobs.status()
        return None if status is None else status.state

    def _step(self) -> None:
        while result := self.installation.take(self.now_s, line_is_up=self.line_is_up):
            self.hand(result)
        if self.jobs.due_s() <= self.now_s:
            self.hand(None)
        if self.now_s >= self._beat_at_s:
            self._beat_at_s = self.now_s + INTERVAL_S
            self._beat()

    def _beat(self) -> None:
        self.jobs.ask_anew(self.moment)
        status = self.jobs.status()
        look = self.installation.look(self.now_s)
        readings = (
            Reading(component="pin_pad:counter", health=Health.OK),
            Reading(component=look.component, health=look.health, facts=dict(look.facts)),
        )
        self.hand(Beaten(readings=readings, acknowledged_at_s=self.now_s))
        if self.goes and status is not None and status.state is JobState.READY:
            self.hand(
                JobMessage(
                    terminal_id="t",
                    kind=JobMessageKind.GO,
                    job_id=status.job_id,
                    nonce=status.nonce,
                    valid_for_s=60.0,
                )
            )

    def _note(self) -> None:
        status = self.jobs.status()
        if status is not None and (not self.states or self.states[-1] is not status.state):
            self.states.append(status.state)
            self.reasons.append(status.reason)
