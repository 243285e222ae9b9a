"""The collector's epoch over its life: a new one at every start, and one above all others after a restored backup."""

from datetime import datetime

from tillwatch_collector.domain.epoch import next_epoch
from tillwatch_collector.store.repository import Repository


def begin(repository: Repository, salt: int, now: datetime) -> int:
    """Raise the epoch at a start of a process; returns the new one, to be announced."""
    return rise_above(repository, 0, salt, now)


def rise_above(repository: Repository, told: int, salt: int, now: datetime) -> int:
    """Raise the epoch above our own and above what an agent has seen; returns the new one, to be announced."""
    risen = next_epoch(max(repository.epoch(), told), salt)
    repository.raise_epoch(risen, now)
    return risen
