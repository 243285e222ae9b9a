"""How all processes of a collector stand together, as their rows tell: for a process that asks about the others.

A change violates this when a process that has no part in listening or judging answers from its own memory that these
are done.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tillwatch_collector.api.context import Activity
from tillwatch_collector.domain.listeners import hear
from tillwatch_collector.flows.judge import LEASE
from tillwatch_collector.roles import DUTIES, Role
from tillwatch_collector.store.processes import KeptProcess
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

LEASE_OVER_S_MAX = 5.0
"""A lease that ran out a moment ago is about to be taken: who stands by asks once a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """Reads the rows; raises `StoreUnavailable`."""

    store: Store
    started_at: datetime
    """Of the process that asks."""
    unproven_s_max: float
    """How old the last proof of each process may be."""
    now: Callable[[], datetime]

    def listening(self) -> bool:
        """Whether every process that takes something in proves that it hears, and there is one."""
        return self._hear(self._taking_in())

    def ticking(self) -> bool:
        """Whether some process judges."""
        with self.store.reading() as connection:
            lease = Repository(connection).lease(LEASE)
        return lease is not None and lease[1] + timedelta(seconds=LEASE_OVER_S_MAX) > self.now()

    def activity(self) -> Activity:
        """Count what those processes took in that run now."""
        taking_in = self._taking_in()
        return Activity(
            started_at=min((process.started_at for process in taking_in), default=self.started_at),
            heartbeats=sum(process.heartbeats for process in taking_in),
            listening=self._hear(taking_in),
        )

    def _hear(self, processes: list[KeptProcess]) -> bool:
        listeners = [listener for process in processes if (listener := process.listener)]
        return hear(listeners, self.now(), self.unproven_s_max)

    def _taking_in(self) -> list[KeptProcess]:
        with self.store.reading() as connection:
            kept = Repository(connection).processes.all()
        return [one for one in kept if one.expires_at > self.now() and DUTIES[Role(one.role)].takes_in]
