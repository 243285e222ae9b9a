"""The engine's second part: judge, while this process is the one that ticks, and stand by while another is.

The lease decides. Who stands by asks once a second, takes over when the lease has run out or was handed back, and then
rebuilds judge's memory from rows; timers start anew, so that no ticket comes from the change of hands itself. What
every process hears is read from their rows; so is what agents told them of epochs that this database does not know.

On SQLite one process works, and nobody stands by: another holder there is a mistake, and is said.

A change violates this when a tick's writes can be committed by a process whose lease another has taken.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from tillwatch_collector.domain.epoch import restored
from tillwatch_collector.domain.listeners import Circle, Listener, combine
from tillwatch_collector.errors import LeaseHeldElsewhere, LeaseLost
from tillwatch_collector.flows import commands, dispatch, epochs
from tillwatch_collector.flows.dispatch import Outgoing
from tillwatch_collector.flows.judge import Judge, JudgeEffects
from tillwatch_collector.intake import Clock, EngineSettings
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.roles import DUTIES, Role
from tillwatch_collector.store.processes import KeptProcess
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store
from tillwatch_protocol.command import Command

TICKS_LATE_MAX = 10
"""While messages wait, a tick may be late by so many: what stands in the queue may be the heartbeat that is missed."""

STANDBY_S = 1.0
"""How often a lease that another holds is asked for."""

FLEET_EVERY_S = 15.0
"""How often the fleet is counted for the metrics: as often as it is usually scraped."""

_log = logging.getLogger(__name__)

Risen = Callable[[int], None]
"""Told the collector's new epoch, which is to be announced."""

Salt = Callable[[], int]

Publish = Callable[[Outgoing], bool]
"""Sends to terminals, if it can be sent now."""


class Ticker:
    """The tick of one process; all that must survive is in the store."""

    def __init__(
        self,
        store: Store,
        settings: EngineSettings,
        *,
        epoch: int,
        risen: Risen,
        salt: Salt,
        publish: Publish,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._settings = settings
        self._epoch = epoch
        self._risen = risen
        self._salt = salt
        self._publish = publish
        self._metrics = metrics
        self._clock = clock
        self._judge: Judge | None = None
        self._void: Judge | None = None
        """The one before, of which only what it has heard still counts."""
        self._circle = Circle(looked_at=clock.now())
        self._stands_by = False
        self._asked_s = float("-inf")
        self._ticked_s = float("-inf")

    @property
    def ticks(self) -> bool:
        """Whether this process is the one that judges."""
        return self._judge is not None

    def work(self, *, jammed: bool) -> None:
        """Tick, if it is time and ours to do; raises what went wrong, and may be called again."""
        judge = self._judge or self._elected()
        waited_s = self._clock.monotonic_s() - self._ticked_s
        patience = TICKS_LATE_MAX if jammed else 1
        if judge is not None and waited_s >= patience * self._settings.tick_s:
            self._tick(judge)

    def end(self) -> None:
        """Hand the lease back, so that who stands by need not wait for its end."""
        if self._judge is not None:
            with self._store.transaction() as repository:
                self._judge.release(repository, self._clock.now())
            self._judge = None

    # --- who ticks

    def _elected(self) -> Judge | None:
        """Take the lease and rebuild judge; None while another holds it."""
        now_s = self._clock.monotonic_s()
        if self._stands_by and now_s - self._asked_s < STANDBY_S:
            return None
        self._asked_s = now_s
        settings, heard = self._settings, self._void.listening if self._void else None
        try:
            with self._store.transaction() as repository:
                now, rules = self._clock.now(), settings.rules
                judge = Judge.load(repository, settings.policy, settings.judge, now, listening=heard, rules=rules)
        except LeaseHeldElsewhere:
            if self._store.one_process:
                raise
            self._stand_by("another process ticks")
            return None
        if heard is None:
            self._circle = Circle(looked_at=self._clock.now())
        if self._stands_by:
            _log.info("this process ticks now")
        if judge.contracts_unknown:
            _log.warning(
                "the file of contracts lacks %s; the default stands for it", ", ".join(judge.contracts_unknown)
            )
        self._judge, self._stands_by = judge, False
        self._metrics.ticking.set(1)
        return judge

    def _stand_by(self, why: str) -> None:
        if not self._stands_by:
            _log.info("%s; this one stands by", why)
        self._stands_by = True
        self._judge = self._void = None
        self._metrics.ticking.set(0)
        self._metrics.forget_fleet()

    # --- the tick

    def _tick(self, judge: Judge) -> None:
        began_s = self._clock.monotonic_s()
        # Until the commit what judge holds in memory may be more than is kept: then it is void, and read anew.
        self._judge, self._void = None, judge
        try:
            with self._store.transaction() as repository:
                now = self._clock.now()
                risen, effects = self._judged(repository, judge, now)
                orders = commands.take_turn(repository, now)
        except LeaseLost as error:
            self._void = None
            if self._store.one_process:
                raise
            self._stand_by(str(error))
            return
        self._judge = judge
        self._ticked_s = began_s
        self._metrics.tick_s.observe(self._clock.monotonic_s() - began_s)
        self._say(effects)
        self._tell(effects)
        self._order(orders)
        if risen is not None:
            self._epoch = risen
            self._risen(risen)

    def _judged(self, repository: Repository, judge: Judge, now: datetime) -> tuple[int | None, JudgeEffects]:
        processes = self._alive(repository, now)
        listeners = self._listeners(processes)
        judge.listening, self._circle = combine(judge.listening, self._circle, listeners, now)
        told = max((process.epoch_seen for process in processes), default=0)
        risen = self._rise(repository, judge, told, now) if restored(self._epoch, told) else None
        return risen, judge.tick(repository, now)

    def _alive(self, repository: Repository, now: datetime) -> Sequence[KeptProcess]:
        """Return the processes that live; who has died is removed."""
        found = repository.processes.all()
        for dead in (process for process in found if process.expires_at <= now):
            _log.warning("process %s has said nothing for its time; it is held for dead", dead.process)
            repository.processes.end(dead.process, dead.start_id)
        return [process for process in found if process.expires_at > now]

    def _listeners(self, processes: Sequence[KeptProcess]) -> list[Listener]:
        """Return what hears; while nobody takes heartbeats in nothing does, however well we hear ourselves."""
        heard = [(process, process.listener) for process in processes if self._counts(process)]
        connected = [(process, listener) for process, listener in heard if listener is not None]
        if not any(DUTIES[Role(process.role)].takes_in for process, _ in connected):
            return []
        return [listener for _, listener in connected]

    def _counts(self, process: KeptProcess) -> bool:
        """Whether its hearing counts: of those that tick only our own, without which no word of a stop comes."""
        return DUTIES[Role(process.role)].takes_in or process.process == self._settings.process

    def _rise(self, repository: Repository, judge: Judge, told: int, now: datetime) -> int | None:
        """Prepare the ticket of a restored database and raise its epoch; the word of it goes out after the commit."""
        self._epoch = repository.epoch()
        if not restored(self._epoch, told):
            # It was one of this database's own, of a process that was started since.
            return None
        _log.warning(
            "agents have seen epoch %d, ours is %d: this database was restored from a backup", told, self._epoch
        )
        judge.restored(told, now)
        return epochs.rise_above(repository, told, self._salt(), now)

    def _tell(self, effects: JudgeEffects) -> None:
        """Tell terminals of their jobs; what cannot leave heals, since it is said again, or lapses."""
        for message, outgoing in zip(effects.jobs, dispatch.jobs(effects.jobs), strict=True):
            sent = self._publish(outgoing)
            (self._metrics.job_messages if sent else self._metrics.job_messages_dropped).labels(message.kind).inc()

    def _order(self, orders: Sequence[Command]) -> None:
        """Tell terminals what people ask of them; what cannot leave is said again, or lapses."""
        for order, outgoing in zip(orders, dispatch.commands(orders), strict=True):
            sent = self._publish(outgoing)
            (self._metrics.commands if sent else self._metrics.commands_dropped).labels(order.kind).inc()

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
