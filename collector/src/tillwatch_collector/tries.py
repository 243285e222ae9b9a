"""Tries to sign in, counted in the database, so that several web processes count together.

`domain.throttle` says how many; here they are counted before a password is looked at, and given back when it was right.
What is counted by is kept as a hash: people type their password where the login belongs.
"""

from datetime import datetime

from tillwatch_collector import keys
from tillwatch_collector.domain.throttle import LIMITS, Counted, given_back, of_address, tried
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store


def count(store: Store, person_id: str, address: str, now: datetime) -> float:
    """Count a try, or say for how many seconds to wait; the first one refused in a row stands in the audit log.

    Without an address it is counted by the login alone.
    """
    with store.transaction() as repository:
        waits = [
            _count_one(repository, counted, subject, now) for counted, subject in _subjects(person_id, address).items()
        ]
        wait_s = max(wait_s for wait_s, _ in waits)
        if any(first for _, first in waits):
            detail = {"address": address, "wait_s": round(wait_s)}
            repository.audit.record(
                now, actor="machine:throttle", action="sign_in_throttled", subject="sign_in", detail=detail
            )
        return wait_s


def _count_one(repository: Repository, counted: Counted, subject: str, now: datetime) -> tuple[float, bool]:
    """Return how long to wait, and whether that is so for the first time in a row."""
    back_at, refusing = repository.people.hold_tries(counted, subject, now)
    verdict = tried(LIMITS[counted], back_at, now)
    if verdict.allowed or not refusing:
        repository.people.keep_tries(counted, subject, verdict.back_at, refusing=not verdict.allowed)
    return verdict.wait_s, not verdict.allowed and not refusing


def give_back(repository: Repository, person_id: str, address: str, now: datetime) -> None:
    """Let a try that turned out right count for nothing."""
    subjects = _subjects(person_id, address)
    if Counted.ADDRESS in subjects:
        subject = subjects[Counted.ADDRESS]
        back_at, _ = repository.people.hold_tries(Counted.ADDRESS, subject, now)
        fewer = given_back(LIMITS[Counted.ADDRESS], back_at)
        repository.people.keep_tries(Counted.ADDRESS, subject, fewer, refusing=False)
    repository.people.forget_tries(Counted.LOGIN, subjects[Counted.LOGIN])


def _subjects(person_id: str, address: str) -> dict[Counted, str]:
    """Return what a try is counted by, in the order in which the rows are locked."""
    login = {Counted.LOGIN: keys.digest(person_id)}
    return {Counted.ADDRESS: keys.digest(of_address(address))} | login if address else login


def forget(repository: Repository, person_id: str) -> None:
    """Give a login all its tries back."""
    repository.people.forget_tries(Counted.LOGIN, keys.digest(person_id))
