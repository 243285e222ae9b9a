"""One process's work, round by round: what comes is taken in, and, where this process ticks, judged.

Threadless: `app` calls `round` in one thread. The parts are `intake`, `ticking` and `upkeep`; which of them a process
has, its role says. They meet in the database only, so that `serve` is nothing but all of them in one process.

A change violates this when one part learns from the other what a process beside it could not.
"""

import secrets

from tillwatch_collector.flows import dispatch
from tillwatch_collector.intake import Clock, EngineSettings, Intake, Link
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.roles import DUTIES
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.session import Store
from tillwatch_collector.ticking import FLEET_EVERY_S, Ticker
from tillwatch_collector.upkeep import Keeper
from tillwatch_protocol.process import EPOCH_SALT_BITS

__all__ = ["Clock", "Engine", "EngineSettings", "Link"]


class Engine:
    """The loop's body."""

    def __init__(
        self, store: Store, link: Link, settings: EngineSettings, *, epoch: int, metrics: Metrics, clock: Clock
    ) -> None:
        self.round_done_s = clock.monotonic_s()
        self._store = store
        self._link = link
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._intake = Intake(store, link, settings, metrics=metrics, clock=clock)
        self._ticker = self._make_ticker(epoch) if DUTIES[settings.role].ticks else None
        self._keeper = self._make_keeper()
        self._fleet_s = float("-inf")

    @property
    def heartbeats(self) -> int:
        """How many heartbeats this process took in."""
        return self._intake.heartbeats

    @property
    def listening(self) -> bool:
        """Whether this process has proof, not too old, that it hears."""
        return self._intake.hears

    def round(self) -> None:
        """Do one round; raises what went wrong, and may be called again."""
        jammed = self._intake.work()
        if self._ticker is not None:
            self._ticker.work(jammed=jammed)
            if self._keeper is not None and self._ticker.ticks:
                self._keeper.work(jammed=jammed)
        self._intake.watch_over_link(jammed=jammed)
        self._count()

    def failed(self, error: Exception) -> None:
        """After a round that raised."""
        self._metrics.engine_failures.inc()
        self._intake.failed(error)

    def end(self) -> None:
        """After the last round: leave nothing that others would wait for."""
        if self._ticker is not None:
            self._ticker.end()
        self._intake.end()

    def _make_ticker(self, epoch: int) -> Ticker:
        return Ticker(
            self._store,
            self._settings,
            epoch=epoch,
            risen=self._announce,
            salt=_salt,
            publish=self._link.publish,
            metrics=self._metrics,
            clock=self._clock,
        )

    def _make_keeper(self) -> Keeper | None:
        retention = self._settings.retention
        if retention is None:
            return None
        return Keeper(self._store, retention, metrics=self._metrics, clock=self._clock)

    def _announce(self, collector_epoch: int) -> None:
        process = self._settings.process
        self._link.announce(dispatch.announce(process, collector_epoch), dispatch.farewell(process, collector_epoch))

    def _count(self) -> None:
        now_s = self._clock.monotonic_s()
        elapsed_s, self.round_done_s = now_s - self.round_done_s, now_s
        (self._metrics.listening_s if self.listening else self._metrics.blind_s).inc(max(0.0, elapsed_s))
        self._metrics.queue.set(len(self._link.inbox))
        if self._ticker is not None and self._ticker.ticks and now_s - self._fleet_s >= FLEET_EVERY_S:
            self._fleet_s = now_s
            with self._store.reading() as connection:
                fleet = Queries(connection).fleet()
            self._metrics.set_fleet(fleet)


def _salt() -> int:
    return secrets.randbits(EPOCH_SALT_BITS)
