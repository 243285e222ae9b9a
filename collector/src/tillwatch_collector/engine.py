"""One process's work, round by round: take in what came, keep it, acknowledge it, judge, send.

Threadless: `app` calls `round` in one thread. What leaves does so after its commit. A round that fails is repeated:
the messages in hand stay in hand, so nothing is acknowledged that is not kept, and agents hold what is not
acknowledged. Meanwhile the inbox fills and the broker is held back; canaries stand in the same line, so the time of a
jam counts toward nobody's silence.

A change violates this when something is published before the transaction that it speaks of has been committed.
"""

import logging
import queue
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import Protocol

from tillwatch_collector.domain.epoch import SALT_BITS, restored
from tillwatch_collector.domain.listening import CanaryBook
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.errors import StoreError
from tillwatch_collector.flows import dispatch, epochs
from tillwatch_collector.flows.dispatch import Outgoing
from tillwatch_collector.flows.ingest import Delivery, IngestEffects, ingest
from tillwatch_collector.flows.judge import Judge, JudgeEffects, JudgeSettings
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.mqtt import BrokerConnected, BrokerLost, Incoming
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.session import Store
from tillwatch_protocol.process import Canary

BATCH_MESSAGES_MAX = 2_000
"""Where the cost of a commit is shared by enough messages; more would only lengthen the transaction."""

BATCH_WAIT_S = 0.1
"""How long the first message of a batch waits for company, and an idle round for its first message."""

FLEET_EVERY_S = 15.0
"""How often the fleet is counted for the metrics: as often as it is usually scraped."""

TICKS_LATE_MAX = 10
"""While messages wait, a tick may be late by so many: what stands in the queue may be the heartbeat that is missed."""

CANARIES_UNPROVEN_MAX = 12
"""Canaries without a return before a connection that looks alive is given up."""

ATTEMPTS_MAX = 3
"""Rounds that a batch may fail by an error of our own; then it is taken one by one, and the culprit is left out."""

_log = logging.getLogger(__name__)


class Link(Protocol):
    """The way to the broker; `mqtt.BrokerLink` is one."""

    inbox: "queue.Queue[Incoming]"

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
    policy: Policy
    judge: JudgeSettings
    canary_s: float
    tick_s: float


@dataclass(kw_only=True, slots=True)
class _Timetable:
    """When each regular thing was last done, on the monotonic clock; far in the past at first."""

    canary_s: float = float("-inf")
    tick_s: float = float("-inf")
    fleet_s: float = float("-inf")
    renewal_s: float = float("-inf")
    proof_s: float = float("inf")
    """The last proof that we hear: a connection, a canary returned; far in the future while there is no connection."""


class Engine:
    """The loop's body and its state; all that must survive is in the store."""

    def __init__(
        self, store: Store, link: Link, settings: EngineSettings, *, epoch: int, metrics: Metrics, clock: Clock
    ) -> None:
        self.heartbeats = 0
        self.connected = False
        self.round_done_s = clock.monotonic_s()
        self._store = store
        self._link = link
        self._settings = settings
        self._epoch = epoch
        self._metrics = metrics
        self._clock = clock
        self._book = CanaryBook(secrets.token_hex(8))
        self._judge: Judge | None = None
        self._void: Judge | None = None
        self._in_hand: list[Incoming] = []
        self._attempts = 0
        self._told: int | None = None
        self._last = _Timetable()

    @property
    def listening(self) -> bool:
        """Whether we have proof, not too old, that we hear."""
        unproven_s = self._clock.monotonic_s() - self._last.proof_s
        return self.connected and unproven_s < (self._settings.judge.canaries_missed_max + 1) * self._settings.canary_s

    def round(self) -> None:
        """Do one round; raises what went wrong, and may be called again."""
        judge = self._judging()
        full = self._take()
        self._work_off(judge)
        if self._told is not None:
            self._rise(judge, self._told)
        self._send_canary()
        self._tick_if_due(judge, jammed=full)
        self._watch_over_link(jammed=full)
        self._count()

    def failed(self, error: Exception) -> None:
        """After a round that raised: what judge holds in memory may be more than was committed, so it is read anew."""
        self._metrics.engine_failures.inc()
        if self._in_hand and not isinstance(error, StoreError):
            self._attempts += 1
        if self._judge is not None:
            self._void, self._judge = self._judge, None

    def _judging(self) -> Judge:
        if self._judge is None:
            listening = self._void.listening if self._void else None
            with self._store.transaction() as repository:
                self._judge = Judge.load(
                    repository, self._settings.policy, self._settings.judge, self._clock.now(), listening=listening
                )
        return self._judge

    # --- what came

    def _take(self) -> bool:
        """Take a batch in hand, unless one is; whether more waits."""
        if self._in_hand:
            return True
        inbox = self._link.inbox
        try:
            self._in_hand.append(inbox.get(timeout=BATCH_WAIT_S))
            until_s = self._clock.monotonic_s() + BATCH_WAIT_S
            while len(self._in_hand) < BATCH_MESSAGES_MAX:
                self._in_hand.append(inbox.get(timeout=max(0.0, until_s - self._clock.monotonic_s())))
        except queue.Empty:
            return False
        return True

    def _work_off(self, judge: Judge) -> None:
        """Go through what is in hand, in order; each part leaves the hand when it is done."""
        for is_delivery, group in groupby(tuple(self._in_hand), lambda item: isinstance(item, Delivery)):
            part = tuple(group)
            if is_delivery:
                self._keep(judge, [item for item in part if isinstance(item, Delivery)])
            else:
                self._follow_link(judge, part)
            del self._in_hand[: len(part)]

    def _follow_link(self, judge: Judge, turns: tuple[Incoming, ...]) -> None:
        for turn in turns:
            if isinstance(turn, BrokerConnected):
                judge.broker_connected(turn.at)
                self.connected, self._last.proof_s = True, self._clock.monotonic_s()
            elif isinstance(turn, BrokerLost):
                judge.broker_lost(turn.at)
                self.connected, self._last.proof_s = False, float("inf")

    def _keep(self, judge: Judge, batch: list[Delivery]) -> None:
        for effects in self._ingested(batch):
            self._let_out(judge, effects)
        self._attempts = 0

    def _ingested(self, batch: list[Delivery]) -> Iterator[IngestEffects]:
        """Commit the batch; one that has failed too often, message by message."""
        if self._attempts < ATTEMPTS_MAX:
            with self._store.transaction() as repository:
                effects = ingest(repository, batch, self._clock.now())
            yield effects
            return
        for delivery in batch:
            try:
                with self._store.transaction() as repository:
                    effects = ingest(repository, [delivery], self._clock.now())
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - an error of our own must not stop everybody's messages
                _log.exception("a message on %s cannot be taken in; it is left out", delivery.topic)
                self._metrics.messages.labels("left_out").inc()
            else:
                yield effects

    def _let_out(self, judge: Judge, effects: IngestEffects) -> None:
        for acknowledgement in dispatch.acks(effects):
            sent = self._link.publish(acknowledgement)
            (self._metrics.acks_sent if sent else self._metrics.acks_dropped).inc()
        for canary in effects.canaries:
            self._canary_returned(judge, canary)
        if restored(self._epoch, effects.epoch_seen_max):
            self._told = max(self._told or 0, effects.epoch_seen_max)
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
        if not self.connected or now_s - self._last.canary_s < self._settings.canary_s:
            return
        canary_no = self._book.send(self._clock.now())
        self._link.publish(dispatch.canary(self._settings.process, self._book.start_id, canary_no))
        self._last.canary_s = now_s

    def _canary_returned(self, judge: Judge, canary: Canary) -> None:
        sent_at = self._book.returned(canary)
        if sent_at is not None and self.connected:
            judge.canary_returned(sent_at, self._clock.now())
            self._last.proof_s = self._clock.monotonic_s()

    def _watch_over_link(self, *, jammed: bool) -> None:
        """Give up a connection that brings no canary back while nothing stands in its way here."""
        now_s = self._clock.monotonic_s()
        unproven_s = now_s - max(self._last.proof_s, self._last.renewal_s)
        if not jammed and unproven_s > CANARIES_UNPROVEN_MAX * self._settings.canary_s:
            self._last.renewal_s = now_s
            self._link.renew(f"no canary came back for {now_s - self._last.proof_s:.0f} s")

    # --- judgement

    def _rise(self, judge: Judge, told: int) -> None:
        """We were restored from a backup: the ticket first, then the epoch above all, then the word of it."""
        _log.warning(
            "agents have seen epoch %d, ours is %d: this database was restored from a backup", told, self._epoch
        )
        judge.restored(told, self._clock.now())
        self._tick(judge)
        with self._store.transaction() as repository:
            risen = epochs.rise_above(repository, told, secrets.randbits(SALT_BITS), self._clock.now())
        self._epoch, self._told = risen, None
        process = self._settings.process
        self._link.announce(dispatch.announce(process, risen), dispatch.farewell(process, risen))

    def _tick_if_due(self, judge: Judge, *, jammed: bool) -> None:
        waited_s = self._clock.monotonic_s() - self._last.tick_s
        patience = TICKS_LATE_MAX if jammed else 1
        if waited_s >= patience * self._settings.tick_s:
            self._tick(judge)

    def _tick(self, judge: Judge) -> None:
        began_s = self._clock.monotonic_s()
        with self._store.transaction() as repository:
            effects = judge.tick(repository, self._clock.now())
        self._last.tick_s = began_s
        self._metrics.tick_s.observe(self._clock.monotonic_s() - began_s)
        self._say(effects)

    def _say(self, effects: JudgeEffects) -> None:
        for change in effects.tickets:
            self._metrics.ticket_moves.labels(change.move).inc()
            _log.info(
                "ticket %d %s: %s %s %s of %s (%s)",
                change.ticket_id,
                change.move,
                change.subject_kind,
                change.subject_id,
                change.code,
                change.component,
                change.severity,
            )

    # --- counting

    def _count(self) -> None:
        now_s = self._clock.monotonic_s()
        elapsed_s, self.round_done_s = now_s - self.round_done_s, now_s
        (self._metrics.listening_s if self.listening else self._metrics.blind_s).inc(max(0.0, elapsed_s))
        self._metrics.queue.set(self._link.inbox.qsize())
        if now_s - self._last.fleet_s >= FLEET_EVERY_S:
            self._last.fleet_s = now_s
            with self._store.reading() as connection:
                fleet = Queries(connection).fleet()
            self._metrics.set_fleet(fleet)
