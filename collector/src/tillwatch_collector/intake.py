"""The engine's first part: take a batch in hand, commit it, acknowledge it, and prove by canaries that we hear.

What leaves does so after its commit. A round that fails is repeated: the messages in hand stay in hand, so nothing is
acknowledged that is not kept, and agents hold what is not acknowledged. Meanwhile the inbox fills and the broker is
held back; canaries stand in the same line, so the time of a jam counts toward nobody's silence.

What it hears it tells in this process's row, after the commits that a proof speaks of; who judges reads it there,
whether in this process or in another.

A change violates this when something is published, or told as heard, before the transaction that it speaks of has been
committed.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from tillwatch_collector.domain.history import Recorder
from tillwatch_collector.domain.listening import CanaryBook, Listening
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.retention import Retention
from tillwatch_collector.errors import StoreError
from tillwatch_collector.flows import dispatch, processes
from tillwatch_collector.flows.dispatch import Outgoing
from tillwatch_collector.flows.ingest import Delivery, IngestEffects, ingest
from tillwatch_collector.flows.judge import JudgeSettings, Rules
from tillwatch_collector.flows.memory import Memory
from tillwatch_collector.inbox import Inbox
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.mqtt import BrokerConnected, BrokerLost, Incoming
from tillwatch_collector.roles import DUTIES, Role
from tillwatch_collector.store.processes import KeptProcess
from tillwatch_collector.store.session import Store
from tillwatch_protocol.heartbeat import PresenceReason
from tillwatch_protocol.process import Canary

BATCH_MESSAGES_MAX = 2_000
"""Where the cost of a commit is shared by enough messages; more would only lengthen the transaction."""

BATCH_WAIT_S = 0.1
"""How long the first message of a batch waits for company, and an idle round for its first message."""

CANARIES_UNPROVEN_MAX = 12
"""Canaries without a return before a connection that looks alive is given up."""

ATTEMPTS_MAX = 3
"""Rounds that a batch may fail by an error of our own; then it is taken one by one, and the culprit is left out."""

TOLD_EVERY_S = 5.0
"""How often this process says that it lives while nothing else changes."""

_STOPPING = PresenceReason.STOPPING.encode()

_log = logging.getLogger(__name__)


class Link(Protocol):
    """The way to the broker; `mqtt.BrokerLink` is one."""

    inbox: Inbox[Incoming]

    def publish(self, outgoing: Outgoing) -> bool:
        """Send, if it can be sent now."""

    def announce(self, hello: Outgoing, farewell: Outgoing) -> None:
        """Say something else of ourselves from now on."""

    def renew(self, reason: str) -> None:
        """Connect again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """What time it is, and how much has passed."""

    now: Callable[[], datetime]
    monotonic_s: Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """How the engine works."""

    process: str
    role: Role = Role.SERVE
    policy: Policy
    rules: Rules = field(default_factory=Rules)
    judge: JudgeSettings
    canary_s: float
    tick_s: float
    history: bool = False
    """Whether measures are kept."""
    retention: Retention | None = None
    """None keeps everything."""
    alive_s: float = 60.0
    """After so long without a word a process is held for dead; by then the broker has given its share to others."""


@dataclass(kw_only=True, slots=True)
class _Timetable:
    """When each regular thing was last done, on the monotonic clock; far in the past at first."""

    canary_s: float = float("-inf")
    told_s: float = float("-inf")
    renewal_s: float = float("-inf")
    proof_s: float = float("inf")
    """The last proof that we hear: a connection, a canary returned; far in the future while there is no connection."""


_Told = tuple[datetime | None, datetime | None, datetime | None, int]


class Intake:
    """What one process takes in, and what it has heard; all that must survive is in the store."""

    def __init__(self, store: Store, link: Link, settings: EngineSettings, *, metrics: Metrics, clock: Clock) -> None:
        self.heartbeats = 0
        self.listening = Listening(gap_max_s=settings.canary_s * settings.judge.canaries_missed_max)
        """What this process alone has heard."""
        self._store = store
        self._link = link
        self._settings = settings
        self._duties = DUTIES[settings.role]
        self._metrics = metrics
        self._clock = clock
        self._book = CanaryBook(secrets.token_hex(8))
        alone = self._duties.takes_in and not self._duties.shares
        self._memory = Memory(settings.process if alone else None)
        self._recorder = Recorder() if settings.history else None
        self._started_at = clock.now()
        self._epoch_seen = 0
        self._told: _Told | None = None
        self._in_hand: list[Incoming] = []
        self._attempts = 0
        self._last = _Timetable()

    @property
    def hears(self) -> bool:
        """Whether we have proof, not too old, that we hear."""
        unproven_s = self._clock.monotonic_s() - self._last.proof_s
        within_s = (self._settings.judge.canaries_missed_max + 1) * self._settings.canary_s
        return self.listening.anew_at is not None and unproven_s < within_s

    def work(self) -> bool:
        """Take in what came, tell what was heard, send the next canary; whether more waits."""
        jammed = self._take()
        self._work_off()
        self._tell_if_due()
        self._send_canary()
        return jammed

    def failed(self, error: Exception) -> None:
        """After a round that raised: an error of our own may be one message's fault."""
        if self._in_hand and not isinstance(error, StoreError):
            self._attempts += 1

    def watch_over_link(self, *, jammed: bool) -> None:
        """Give up a connection that brings no canary back while nothing stands in its way here."""
        now_s = self._clock.monotonic_s()
        unproven_s = now_s - max(self._last.proof_s, self._last.renewal_s)
        if not jammed and unproven_s > CANARIES_UNPROVEN_MAX * self._settings.canary_s:
            self._last.renewal_s = now_s
            self._link.renew(f"no canary came back for {now_s - self._last.proof_s:.0f} s")

    def end(self) -> None:
        """Say that this process hears no more: nobody need wait for its proofs."""
        with self._store.transaction() as repository:
            repository.processes.end(self._settings.process, self._book.start_id)

    # --- what came

    def _take(self) -> bool:
        """Take a batch in hand, unless one is; whether more waits."""
        if self._in_hand:
            return True
        self._in_hand = self._link.inbox.take(BATCH_MESSAGES_MAX, BATCH_WAIT_S, BATCH_WAIT_S)
        return len(self._in_hand) == BATCH_MESSAGES_MAX

    def _work_off(self) -> None:
        """Go through what is in hand, in order; each part leaves the hand when it is done."""
        while self._in_hand:
            turn = next((place for place, item in enumerate(self._in_hand) if type(item) is not Delivery), None)
            if turn == 0:
                self._follow_link(self._in_hand[0])
                del self._in_hand[0]
            else:
                self._keep([item for item in self._in_hand[:turn] if isinstance(item, Delivery)])
                del self._in_hand[:turn]

    def _follow_link(self, turn: Incoming) -> None:
        if isinstance(turn, BrokerConnected):
            self.listening, self._last.proof_s = self.listening.broker_connected(turn.at), self._clock.monotonic_s()
        elif isinstance(turn, BrokerLost):
            self.listening, self._last.proof_s = self.listening.broker_lost(turn.at), float("inf")

    def _keep(self, batch: list[Delivery]) -> None:
        for effects in self._ingested(batch if self._duties.takes_in else list(filter(_may_be_missed, batch))):
            self._let_out(effects)
        self._attempts = 0

    def _ingested(self, batch: Sequence[Delivery]) -> Iterator[IngestEffects]:
        """Commit the batch; one that has failed too often, message by message."""
        if self._attempts < ATTEMPTS_MAX:
            yield self._committed(batch)
            return
        for delivery in batch:
            try:
                effects = self._committed([delivery])
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - an error of our own must not stop everybody's messages
                _log.exception("a message on %s cannot be taken in; it is left out", delivery.topic)
                self._metrics.messages.labels("left_out").inc()
            else:
                yield effects

    def _committed(self, batch: Sequence[Delivery]) -> IngestEffects:
        with ExitStack() as unless_committed:
            unless_committed.callback(self._memory.rolled_back)
            if self._recorder is not None:
                unless_committed.callback(self._recorder.rolled_back)
            with self._store.transaction() as repository:
                effects = ingest(repository, batch, self._clock.now(), memory=self._memory, recorder=self._recorder)
            unless_committed.pop_all()
        self._memory.committed()
        if self._recorder is not None:
            self._metrics.samples.inc(self._recorder.taken)
            self._recorder.committed()
        return effects

    def _let_out(self, effects: IngestEffects) -> None:
        for acknowledgement in dispatch.acks(effects, self._clock.now()):
            sent = self._link.publish(acknowledgement)
            (self._metrics.acks_sent if sent else self._metrics.acks_dropped).inc()
        for canary in effects.canaries:
            self._canary_returned(canary)
        self._epoch_seen = max(self._epoch_seen, effects.epoch_seen_max)
        counts = effects.counts
        self.heartbeats += counts.heartbeats
        self._metrics.events_stored.inc(counts.events)
        self._metrics.quarantined.inc(counts.quarantined)
        for kind, count in asdict(counts).items():
            if kind != "messages" and count:
                self._metrics.messages.labels(kind).inc(count)

    # --- listening

    def _send_canary(self) -> None:
        now_s = self._clock.monotonic_s()
        if self.listening.anew_at is None or now_s - self._last.canary_s < self._settings.canary_s:
            return
        canary_no = self._book.send(self._clock.now())
        self._link.publish(dispatch.canary(self._settings.process, self._book.start_id, canary_no))
        self._last.canary_s = now_s

    def _canary_returned(self, canary: Canary) -> None:
        sent_at = self._book.returned(canary)
        if sent_at is not None and self.listening.anew_at is not None:
            self.listening = self.listening.canary_returned(sent_at, self._clock.now())
            self._last.proof_s = self._clock.monotonic_s()

    def _tell_if_due(self) -> None:
        now_s = self._clock.monotonic_s()
        row = self._row()
        news: _Told = row.connected_at, row.proven_from, row.proven_at, row.epoch_seen
        if news == self._told and now_s - self._last.told_s < TOLD_EVERY_S:
            return
        with self._store.transaction() as repository:
            if self._duties.shares:
                processes.check_clock(repository, self._clock.now())
            if self._told is None:
                repository.processes.begin(row)
            else:
                processes.keep(repository, row)
        self._told, self._last.told_s = news, now_s

    def _row(self) -> KeptProcess:
        last = self.listening.last
        return KeptProcess(
            process=self._settings.process,
            start_id=self._book.start_id,
            role=str(self._settings.role),
            started_at=self._started_at,
            heartbeats=self.heartbeats,
            epoch_seen=self._epoch_seen,
            connected_at=self.listening.anew_at,
            proven_from=last.began_at if last else None,
            proven_at=last.ended_at if last else None,
            expires_at=self._clock.now() + timedelta(seconds=self._settings.alive_s),
        )


def _may_be_missed(delivery: Delivery) -> bool:
    """Whether a process that leaves the rest to others looks at it: its own canary, and who says that it stops."""
    return _STOPPING in delivery.payload or delivery.topic.endswith("/canary")
