"""The life of a message on its way: due until it is delivered, refused for good, or given up after a day of trying.

Each attempt waits twice as long as the one before, from ten seconds to an hour, with some jitter, so that what failed
together does not come back together; a receiver that says when to come again is believed within these bounds.

A message is claimed before it is sent, and the claim ends by itself: who dies between sending and noting it lets the
message be sent once more by another. A change violates this when a message can be lost in between, or be sent by two
while neither has died.
"""

from dataclasses import dataclass
from enum import StrEnum

ATTEMPTS_MAX = 32
"""Some 24 hours: a mail server that is away over night still tells in the morning."""

RETRY_S_MIN, RETRY_S_MAX = 10.0, 3600.0

CLAIM_S = 120.0
"""Longer than any send takes: see the notifier's deadline."""


class State(StrEnum):
    """Where a message stands."""

    DUE = "due"
    SENT = "sent"
    GIVEN_UP = "given_up"


class Verdict(StrEnum):
    """What came of an attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"
    """There is nobody any more: it is not tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of an attempt, and why."""

    verdict: Verdict
    error: str | None = None
    retry_after_s: float | None = None
    """When the receiver wants to be asked again."""


DELIVERED = Outcome(verdict=Verdict.DELIVERED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a message becomes; `wait_s` until the next attempt while it is due."""

    state: State
    wait_s: float = 0.0


_ENDS = {Verdict.DELIVERED: State.SENT, Verdict.REFUSED: State.GIVEN_UP}
"""Failed is none: it ends when the attempts do. A message that is sent or given up is never claimed."""


def step(attempts: int, outcome: Outcome, jitter: float) -> Step:
    """Return what follows the attempt of that number, from 1; `jitter` in [0, 1) adds up to a quarter to the wait."""
    if end := _ENDS.get(outcome.verdict):
        return Step(state=end)
    if attempts >= ATTEMPTS_MAX:
        return Step(state=State.GIVEN_UP)
    wait_s = min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** (attempts - 1))
    asked_s = min(RETRY_S_MAX, outcome.retry_after_s or 0.0)
    return Step(state=State.DUE, wait_s=max(wait_s, asked_s) * (1 + jitter / 4))
