"""What is done beside the ticks so that nothing grows without end: rollups are made, and what is over is deleted.

One step is one slice of one chore, a few ten milliseconds in a transaction of its own, so that neither the ticks nor
(on SQLite) ingest waits for it. Chores take turns: the next step begins with the one after the last that found work,
so that a backlog of one does not starve the others. While there is work a step is due twice a second; when a whole turn
found none, in a minute. Every slice ends in the same rows whoever repeats it, so that a step that is lost with its
process, or done twice by two of them, costs time only.

A change violates this when a step's length grows with what is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tillwatch_collector.domain.retention import Retention, cutoffs
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.rollups import Rollups
from tillwatch_collector.store.upkeep import Disposal

PACE_S = 0.5
"""Between two steps while there is work: on SQLite nobody else writes while one is made. To roll up an
hour of 500,000 series takes 600 steps, and to delete the hourly rollups of one day of theirs 2,400."""

IDLE_S = 60.0
"""Between two turns that find nothing: a dozen short looks."""


class Chore(StrEnum):
    """What there is to do, in its order."""

    ROLL_HOUR = "roll_hour"
    ROLL_DAY = "roll_day"
    SAMPLES = "samples"
    HOURS = "hours"
    DAYS = "days"
    SERIES = "series"
    EVENTS = "events"
    STREAMS = "streams"
    TICKETS = "tickets"
    FAULTS = "faults"
    NOTIFICATIONS = "notifications"
    MAINTENANCE = "maintenance"
    ROLLOUTS = "rollouts"
    QUARANTINE = "quarantine"
    COMMANDS = "commands"
    SESSIONS = "sessions"
    AUDIT = "audit"


@dataclass(frozen=True, kw_only=True, slots=True)
class UpkeepEffects:
    """What a step did."""

    chore: Chore | None
    """None: nothing was to be done."""
    rows: int
    """Rows that were made or deleted; a day's table counts as one."""
    hours_waiting: int
    """Hours that are over and not rolled up yet: more than a few, and plots of them are made of samples."""


class Upkeep:
    """Whose turn it is; not thread-safe."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._turn = tuple(Chore)
        self._due_s = float("-inf")

    def due(self, now_s: float) -> bool:
        """Whether a step is to be made, on the monotonic clock."""
        return now_s >= self._due_s

    def step(self, repository: Repository, now: datetime, now_s: float) -> UpkeepEffects:
        """Do one slice of the first chore in turn that has work; the caller commits."""
        rollups = Rollups(repository.connection)
        work = self._work(repository, rollups, now)
        waiting = rollups.waiting(now)
        for place, chore in enumerate(self._turn):
            rows = work[chore]()
            if rows is not None:
                self._turn = self._turn[place + 1 :] + self._turn[: place + 1]
                self._due_s = now_s + PACE_S
                return UpkeepEffects(chore=chore, rows=rows, hours_waiting=waiting)
        self._due_s = now_s + IDLE_S
        return UpkeepEffects(chore=None, rows=0, hours_waiting=waiting)

    def _work(self, repository: Repository, rollups: Rollups, now: datetime) -> dict[Chore, Callable[[], int | None]]:
        """Say how each chore is done; what it returns is None where there was nothing."""
        kept = self._retention
        disposal = Disposal(repository.connection, cutoffs(kept, now))
        return {
            Chore.ROLL_HOUR: lambda: rollups.roll_hour(now),
            Chore.ROLL_DAY: lambda: rollups.roll_day(now),
            Chore.SAMPLES: lambda: disposal.samples() or None,
            Chore.HOURS: lambda: disposal.hours() or None,
            Chore.DAYS: lambda: disposal.days() or None,
            Chore.SERIES: lambda: disposal.series() or None,
            Chore.EVENTS: lambda: disposal.events() or None,
            Chore.STREAMS: lambda: disposal.streams(kept.streams_kept) or None,
            Chore.TICKETS: lambda: disposal.tickets() or None,
            Chore.FAULTS: lambda: disposal.faults() or None,
            Chore.NOTIFICATIONS: lambda: disposal.notifications() or None,
            Chore.MAINTENANCE: lambda: disposal.maintenance() or None,
            Chore.ROLLOUTS: lambda: disposal.rollouts() or None,
            Chore.QUARANTINE: lambda: disposal.quarantine(kept.quarantine_rows_max) or None,
            Chore.COMMANDS: lambda: disposal.commands() or None,
            Chore.SESSIONS: lambda: disposal.sessions(now) or None,
            Chore.AUDIT: lambda: disposal.audit(now) or None,
        }
