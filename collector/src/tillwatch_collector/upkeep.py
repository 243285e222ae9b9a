"""The engine's third part: upkeep, in the process that ticks, a step at a time and beside the ticks.

Upkeep can wait, ingest cannot: a step that the database refuses is said once and tried again in a minute, and the round
goes on. While messages wait, steps are rarer.

A change violates this when upkeep that fails keeps a message from being taken in.
"""

import logging

from tillwatch_collector.domain.retention import Retention
from tillwatch_collector.errors import StoreError
from tillwatch_collector.flows.upkeep import IDLE_S, Chore, Upkeep
from tillwatch_collector.intake import Clock
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.store.session import Store

JAMMED_PACE_S = 10.0
"""Between two steps while messages wait: a backlog of rollups does no harm, one of messages does."""

_log = logging.getLogger(__name__)


class Keeper:
    """Makes the steps of one process; all that must survive is in the store."""

    def __init__(self, store: Store, retention: Retention, *, metrics: Metrics, clock: Clock) -> None:
        self._store = store
        self._upkeep = Upkeep(retention)
        self._metrics = metrics
        self._clock = clock
        self._stepped_s = float("-inf")
        self._failing = False

    def work(self, *, jammed: bool) -> None:
        """Make a step, if it is time."""
        now_s = self._clock.monotonic_s()
        pace_s = IDLE_S if self._failing else JAMMED_PACE_S if jammed else 0.0
        if not self._upkeep.due(now_s) or now_s - self._stepped_s < pace_s:
            return
        self._stepped_s = now_s
        try:
            self._step(now_s)
        except StoreError as error:
            if not self._failing:
                _log.warning("upkeep waits: %s", error)
            self._failing = True
            return
        if self._failing:
            _log.info("upkeep works again")
        self._failing = False

    def _step(self, now_s: float) -> None:
        with self._store.transaction() as repository:
            effects = self._upkeep.step(repository, self._clock.now(), now_s)
        self._metrics.upkeep_s.observe(self._clock.monotonic_s() - now_s)
        self._metrics.rollups_waiting.set(effects.hours_waiting)
        if effects.chore is not None:
            self._metrics.upkeep_rows.labels(effects.chore).inc(effects.rows)
            if effects.chore is Chore.SAMPLES:
                _log.info("the samples of a day that is over were dropped")
