"""The host of one collector process with all roles: the real flows over a real store, driven by virtual time.

It does what the application does and nothing else: it gathers what arrives into batches, lets ingest write each in one
transaction, acknowledges after the commit, ticks judge, sends canaries, and on a start raises its epoch. A killed
process loses its inbox and its state in memory; the store stays.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from tests.scenarios.broker import Broker, Packet
from tests.scenarios.client import Client
from tests.scenarios.clock import Clock
from tests.scenarios.story import Story
from tests.scenarios.watcher import Watcher

from tillwatch_collector.domain import epoch
from tillwatch_collector.domain.listening import CanaryBook
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.flows import dispatch, epochs
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.flows.judge import Judge, JudgeSettings, Rules
from tillwatch_collector.store.session import Store
from tillwatch_protocol import topics
from tillwatch_protocol.process import EPOCH_SALT_BITS
from tillwatch_simulator.link import Link, LinkHabits

NAME = "collector.1"
LAN = LinkHabits(latency_s=0.002, breaks_per_hour=0)
RETRY_S = 5.0
TICK_S = 10.0
"""Judge ticks every second in production; its deadlines are minutes, and a world has many seconds."""


class CommitFailed(Exception):  # noqa: N818 - what happened
    """The database refused a commit, as the story wants it."""


@dataclass(kw_only=True, eq=False)
class Life:
    """What one start holds in memory."""

    epoch: int
    judge: Judge
    canaries: CanaryBook
    inbox: list[Delivery] = field(default_factory=list)
    connected: bool = False


@dataclass(kw_only=True, eq=False)
class Process:
    """The collector. `start` and `kill` as often as the story wants."""

    clock: Clock
    broker: Broker
    chance: Random
    store: Store
    policy: Policy
    story: Story
    watcher: Watcher
    rules: Rules = field(default_factory=Rules)
    life: Life | None = None

    def __post_init__(self) -> None:
        """Prepare the way to the broker and the failures to come."""
        self.client = Client(
            clock=self.clock,
            broker=self.broker,
            link=self._link(),
            client_id=NAME,
            owner=self,
        )
        self._failures = list(self.story.failing_commits_s)
        self.settings = JudgeSettings(canary_s=self.story.canary_s)

    def _link(self) -> Link:
        return Link(habits=LAN, chance=self.chance)

    # --- its life

    def start(self) -> None:
        """Begin as a new process over the store that is there."""
        with self.store.transaction() as repository:
            number = epochs.begin(repository, self._salt(), self.clock.now)
        with self.store.transaction() as repository:
            judge = Judge.load(repository, self.policy, self.settings, self.clock.now, rules=self.rules)
        start_id = f"{self.chance.getrandbits(64):016x}"
        self.life = life = Life(epoch=number, judge=judge, canaries=CanaryBook(start_id=start_id))
        self._dial(life)
        self._begin_rounds(life)

    def kill(self) -> None:
        """End without a word: what was in memory is gone."""
        self.client.drop()
        self.life = None

    # --- what the client says

    def connected(self) -> None:
        """Subscribe, then say online: who hears it finds us listening."""
        if self.life is not None:
            self.client.subscribe(name.replace("{process}", NAME) for name in topics.INGEST_SUBSCRIPTIONS)
            self._publish(dispatch.announce(NAME, self.life.epoch))
            self.life.connected = True
            self.life.judge.listening = self.life.judge.listening.broker_connected(self.clock.now)

    def connect_failed(self) -> None:
        """Try again soon."""
        if (life := self.life) is not None:
            self.clock.call_in(RETRY_S * self.chance.random(), lambda: self._dial(life))

    def connection_lost(self) -> None:
        """Hear nothing until connected again."""
        if (life := self.life) is not None:
            life.connected = False
            life.judge.listening = life.judge.listening.broker_lost(self.clock.now)
            self.clock.call_in(RETRY_S * self.chance.random(), lambda: self._dial(life))

    def received(self, packet: Packet, *, retained: bool) -> None:
        """Put what came into the inbox, unless this is a blind span; answer who denies us."""
        blind = next((blind for blind in self.story.blind if blind.span.holds(self.clock.now_s)), None)
        if blind is None:
            self._take(packet, retained=retained)
        elif blind.hoards:
            self.clock.call_at(blind.span.end_s, lambda: self._take(packet, retained=retained))

    def acknowledged(self, packet: Packet) -> None:
        """Make nothing of a PUBACK."""

    # --- what it does

    def _begin_rounds(self, life: Life) -> None:
        self._every(self.story.batch_s, life, self._flush)
        self._every(TICK_S, life, self._tick)
        self._every(self.story.canary_s, life, self._send_canary)

    def _take(self, packet: Packet, *, retained: bool) -> None:
        if self.life is None:
            return
        hello = dispatch.announce(NAME, self.life.epoch)
        if packet.topic != hello.topic:
            self.life.inbox.append(
                Delivery(topic=packet.topic, payload=packet.payload, retained=retained, received_at=self.clock.now)
            )
        elif self.life.connected and dispatch.denies(packet.payload, hello):
            self._publish(hello)

    def _flush(self, life: Life) -> None:
        """Write what came in one transaction, then acknowledge; what was in a failed batch comes again or is newer."""
        batch, life.inbox = life.inbox, []
        if batch:
            self._write(life, batch)

    def _write(self, life: Life, batch: list[Delivery]) -> None:
        try:
            with self.store.transaction() as repository:
                effects = ingest(repository, batch, self.clock.now)
                self._fail_if_due()
        except CommitFailed:
            return
        self.watcher.ingested(batch)
        for outgoing in dispatch.acks(effects, self.clock.now):
            self.watcher.acknowledging(packet := _packet(outgoing))
            self.client.publish(packet)
        for canary in effects.canaries:
            if (sent_at := life.canaries.returned(canary)) is not None:
                life.judge.listening = life.judge.listening.canary_returned(sent_at, self.clock.now)
        if epoch.restored(life.epoch, effects.epoch_seen_max):
            self._rise(life, effects.epoch_seen_max)

    def _rise(self, life: Life, told: int) -> None:
        """Go above an epoch that a terminal has seen and this store has not: it came from a backup."""
        with self.store.transaction() as repository:
            life.epoch = epochs.rise_above(repository, told, self._salt(), self.clock.now)
        life.judge.restored(told, self.clock.now)
        life.connected = False
        life.judge.listening = life.judge.listening.broker_lost(self.clock.now)
        self._dial(life)

    def _tick(self, life: Life) -> None:
        self._judge(life, self.clock.now)

    def _judge(self, life: Life, now: datetime) -> None:
        try:
            with self.store.transaction() as repository:
                effects = life.judge.tick(repository, now)
                self._fail_if_due()
        except CommitFailed:
            with self.store.transaction() as repository:
                heard, rules = life.judge.listening, self.rules
                life.judge = Judge.load(repository, self.policy, self.settings, now, listening=heard, rules=rules)
            return
        for outgoing in dispatch.jobs(effects.jobs):
            self._publish(outgoing)
        self.watcher.judged(effects)

    def _send_canary(self, life: Life) -> None:
        if life.connected:
            number = life.canaries.send(self.clock.now)
            self._publish(dispatch.canary(NAME, life.canaries.start_id, number))

    def _dial(self, life: Life) -> None:
        if life is self.life:
            self.client.dial(_packet(dispatch.farewell(NAME, life.epoch)))

    def _publish(self, outgoing: dispatch.Outgoing) -> None:
        self.client.publish(_packet(outgoing))

    def _every(self, interval_s: float, life: Life, action: Callable[[Life], None]) -> None:
        """Do something again and again as long as this life lasts."""

        def again() -> None:
            if life is self.life:
                action(life)
                self.clock.call_in(interval_s, again)

        self.clock.call_in(interval_s * self.chance.random(), again)

    def _fail_if_due(self) -> None:
        if self._failures and self._failures[0] <= self.clock.now_s:
            self._failures.pop(0)
            raise CommitFailed

    def _salt(self) -> int:
        return self.chance.getrandbits(EPOCH_SALT_BITS)


def _packet(outgoing: dispatch.Outgoing) -> Packet:
    return Packet(topic=outgoing.topic, payload=outgoing.payload, qos=outgoing.qos, retain=outgoing.retain)
