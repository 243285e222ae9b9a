"""A condition that comes and goes: told once, as one fault that flaps, instead of every time.

Two thresholds, as Nagios has them, on what is counted rather than on a share of checks: flapping begins with the raise
that makes `high` of them within the window, and ends when at most `low` are left in it. Between the two nothing turns,
so that a condition at the edge does not flap in and out of flapping. While it flaps, the time for which it must be
proved gone doubles with every raise: one ticket stays open over a loose cable's night.

What counts as a raise is every turn to the bad side of a condition that had been bad long enough to matter: raised, or
come back while it was being proved gone. Only so does the count go on while the grown hold keeps the fault open; a
change violates this when a condition that still swings is called steady.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

KEPT_MAX = 32
"""Times kept of one condition: the hold has long reached its greatest by then."""


class Flapping(StrEnum):
    """What a look at the raises of a condition shows."""

    STEADY = "steady"
    BEGAN = "began"
    GOES_ON = "goes_on"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class FlapRule:
    """When a condition flaps, and how its hold grows.

    A loose cable swings every 10 to 120 s. By the policy's holds (30 s bad, 60 s proved well) it makes a fault every
    90 s at the fastest, and a terminal that falls silent, missed three times and heard again, one every 5 minutes.
    Nothing that people do at a till, a roll changed or a cover opened, comes three times within the hour.
    """

    window_s: float = 3600.0
    high: int = 3
    low: int = 1
    """The last raise of a flapping stands alone in its window for most of an hour: only then is it over."""
    clear_s_min: float = 60.0
    """What the hold grows from, at least: one heartbeat; doubling none gives none."""
    clear_s_max: float = 1800.0
    """Half the window: who is well for so long has been mended, even if it is not steady yet."""

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= KEPT_MAX or self.clear_s_max >= self.window_s:
            raise ValueError(f"expected 0 <= low < high <= {KEPT_MAX} and clear_s_max below window_s, got {self}")


FLAP_RULE = FlapRule()


@dataclass(frozen=True, kw_only=True, slots=True)
class Flap:
    """The last raises of one condition, the oldest first, and the flapping that they make."""

    times: tuple[datetime, ...] = ()
    began_at: datetime | None = None
    """None while it is steady."""
    count: int = 0
    """Raises of this flapping, those that began it among them; without a limit, for the journal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlapTurn:
    """The raises after a look, and what it showed; `count` is that of the flapping that it is about."""

    flap: Flap
    state: Flapping
    count: int = 0


def raised(flap: Flap, now: datetime, rule: FlapRule = FLAP_RULE) -> FlapTurn:
    """Take in a raise; it may begin a flapping, and never ends one."""
    times = (*_lately(flap.times, now, rule), now)[-KEPT_MAX:]
    if flap.began_at is not None:
        flap = replace(flap, times=times, count=flap.count + 1)
        return FlapTurn(flap=flap, state=Flapping.GOES_ON, count=flap.count)
    if len(times) < rule.high:
        return FlapTurn(flap=Flap(times=times), state=Flapping.STEADY)
    flap = Flap(times=times, began_at=now, count=len(times))
    return FlapTurn(flap=flap, state=Flapping.BEGAN, count=flap.count)


def looked(flap: Flap, now: datetime, rule: FlapRule = FLAP_RULE) -> FlapTurn:
    """Look without a raise; it may end a flapping."""
    times = _lately(flap.times, now, rule)
    if flap.began_at is None:
        return FlapTurn(flap=Flap(times=times), state=Flapping.STEADY)
    if len(times) > rule.low:
        return FlapTurn(flap=replace(flap, times=times), state=Flapping.GOES_ON, count=flap.count)
    return FlapTurn(flap=Flap(times=times), state=Flapping.ENDED, count=flap.count)


def clear_s(flap: Flap, clear_s: float, rule: FlapRule = FLAP_RULE) -> float:
    """Return how long the condition must be proved gone: the policy's `clear_s`, doubled by each raise from `high`.

    It is never shorter than the policy's, and grown no further than the rule's `clear_s_max`.
    """
    if flap.began_at is None:
        return clear_s
    doublings = min(flap.count - rule.high + 1, KEPT_MAX)
    return max(clear_s, min(max(clear_s, rule.clear_s_min) * 2.0**doublings, rule.clear_s_max))


def ends_at(flap: Flap, rule: FlapRule = FLAP_RULE) -> datetime | None:
    """Return when a flapping ends if nothing is raised any more; None where none goes on."""
    if flap.began_at is None:
        return None
    still = flap.times[-rule.low - 1 :]
    return still[0] + timedelta(seconds=rule.window_s)


def rebuilt(times: Iterable[datetime], now: datetime, rule: FlapRule = FLAP_RULE) -> Flap:
    """Return what the raises up to `now` make, in any order: what was not kept of them is not known."""
    flap = Flap()
    for at in sorted(times):
        flap = raised(looked(flap, at, rule).flap, at, rule).flap
    return looked(flap, now, rule).flap


def _lately(times: tuple[datetime, ...], now: datetime, rule: FlapRule) -> tuple[datetime, ...]:
    return tuple(at for at in times if (now - at).total_seconds() < rule.window_s)
