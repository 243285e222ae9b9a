"""How long things are kept, and from when on they may go.

What is over goes by the collector's time alone: a till that thinks it is 1970 keeps its events as long as any other.
Nothing goes that is open: an open ticket keeps all that was written on it, however old, and a rollout that has not
ended its jobs and its journal; a condition that still stands keeps its fault, and an outage its ticket; a message that
is due is sent first; an event that is not acknowledged yet stays. An event that went by age is accounted for as stored:
the stream's ledger keeps its number (`domain.stream`), and only below the committed prefix does anything go.

A change violates this when something goes whose account is not closed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long, by kind. The settings say the same with their defaults (`config`)."""

    samples_days: int
    hourly_days: int
    daily_days: int
    events_days: int
    tickets_days: int
    quarantine_days: int
    quarantine_rows_max: int
    streams_kept: int
    """Of a terminal, however old: the latest tell its replacements."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutoffs:
    """What is older than these may go. Days and hours count from 1970, and the named one stays."""

    samples_day: int
    hourly_hour: int
    daily_day: int
    series_day: int
    events_at: datetime
    tickets_at: datetime
    quarantine_at: datetime


def cutoffs(kept: Retention, now: datetime) -> Cutoffs:
    """Say what may go at `now`: whole days of history, and the rest to the second."""
    today = (now - _EPOCH).days
    return Cutoffs(
        samples_day=today - kept.samples_days,
        hourly_hour=(today - kept.hourly_days) * 24,
        daily_day=today - kept.daily_days,
        # A series goes after the last of its rollups; `last_day` lags behind it by a month and a day at most.
        series_day=today - kept.daily_days - 32,
        events_at=now - timedelta(days=kept.events_days),
        tickets_at=now - timedelta(days=kept.tickets_days),
        quarantine_at=now - timedelta(days=kept.quarantine_days),
    )
