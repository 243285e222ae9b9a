"""Who is updated in which wave: worked out once, from frozen facts, and the same whenever it is worked out again.

Terminals are drawn by a hash of rollout and terminal, so that nobody is always the first: one of each store, then a
second of each, and so on. No wave takes all tills of a store. The first leaves out stores with a single till while
there are others: whoever has no second till is not the first to try.

A wave that could not satisfy the gate is refused beforehand: the first is small, and each but the last has at least
`executed_min`. A change violates this when a wave depends on the order in which terminals were given.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tillwatch_collector.domain.rollout import WAVES_MAX, RolloutRefused, RolloutSettings, WaveSize

FIRST_WAVE_PCT_MAX = 20
"""Of the selection, rounded up: what is found with more has already done most of its harm."""
SELECTED_MAX = 100_000
"""A large estate; more are several rollouts."""


class LeftOutReason(StrEnum):
    """Why a terminal that was selected is in no wave."""

    NOT_LIVE = "not_live"
    UNPLACED = "unplaced"
    """It stands at no store: nobody knows its hours."""
    NO_WINDOW = "no_window"
    """Its store has no time in which it may be changed."""
    INSTALLED = "installed"
    """It runs this version of the product."""
    DOWNGRADE = "downgrade"
    """It runs a later one."""
    MODEL = "model"
    """The release is not for its model, or nobody has entered that."""
    AGENT_TOO_OLD = "agent_too_old"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """A terminal of the selection, as the fleet's facts had it when the selection was frozen."""

    terminal_id: str
    store_id: str | None
    store_tills: int
    """Live terminals of its store, selected or not."""
    model: str
    region: str
    live: bool
    opens_at: datetime | None
    """The next moment at which it may be changed; None: none is known."""
    unfit: LeftOutReason | None = None
    """Why it would not take the release, as far as that is known beforehand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Whom a rollout is for, and why they: frozen when it is planned."""

    query: str
    """As a person wrote it, over the fleet's facts."""
    reason: str
    taken_at: datetime
    terminals: tuple[Selected, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wave:
    """One wave, from 1."""

    number: int
    terminals: tuple[Selected, ...]
    controls: int
    """Terminals of later waves with the model and region of one of this: those of the rollout itself that it can be
    compared with."""

    @property
    def opens_at(self) -> datetime | None:
        """The first moment at which any of them may be changed."""
        return min((one.opens_at for one in self.terminals if one.opens_at is not None), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All waves, and who is in none."""

    waves: tuple[Wave, ...]
    left_out: tuple[tuple[str, LeftOutReason], ...]
    """By terminal."""


def plan(rollout_id: str, selection: Selection, settings: RolloutSettings) -> Plan:
    """Return the waves; raises `RolloutRefused` where they would not be safe, or could never pass the gate."""
    if len(selection.terminals) > SELECTED_MAX:
        raise RolloutRefused(f"selection: expected at most {SELECTED_MAX} terminals, got {len(selection.terminals)}")
    left_out = {one.terminal_id: reason for one in selection.terminals if (reason := _left_out(one))}
    drawn = _drawn(rollout_id, (one for one in selection.terminals if one.terminal_id not in left_out))
    if not drawn:
        raise RolloutRefused(f"selection: expected at least one terminal that may be changed, got {_nobody(left_out)}")
    waves = _waves(drawn, settings)
    _check(waves, len(drawn), settings)
    return Plan(waves=_with_controls(waves), left_out=tuple(sorted(left_out.items())))


def _nobody(left_out: Mapping[str, LeftOutReason]) -> str:
    counts = Counter(left_out.values())
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    if LeftOutReason.NO_WINDOW in counts:
        why += "; the plan's [window] and the store's opening hours say when that is"
    return f"none: {why}" if why else "none: the query chose nobody"


def tills_at_once(store_tills: int, most: int) -> int:
    """Return how many tills of one store may be changed at once: never all of more than one."""
    return max(1, min(most, store_tills - 1))


def _left_out(one: Selected) -> LeftOutReason | None:
    if not one.live:
        return LeftOutReason.NOT_LIVE
    if one.store_id is None:
        return LeftOutReason.UNPLACED
    return LeftOutReason.NO_WINDOW if one.opens_at is None else one.unfit


def _drawn(rollout_id: str, selected: Iterable[Selected]) -> list[Selected]:
    once = {one.terminal_id: one for one in selected}
    rank: Counter[str | None] = Counter()
    turns: list[tuple[int, Selected]] = []
    for one in sorted(once.values(), key=lambda one: _lot(rollout_id, one.terminal_id)):
        turns.append((rank[one.store_id], one))
        rank[one.store_id] += 1
    return [one for _, one in sorted(turns, key=lambda turn: turn[0])]


def _lot(rollout_id: str, terminal_id: str) -> bytes:
    return hashlib.sha256(f"{rollout_id}/{terminal_id}".encode()).digest()


def _waves(drawn: Sequence[Selected], settings: RolloutSettings) -> list[list[Selected]]:
    left = list(drawn)
    waves: list[list[Selected]] = []
    while left:
        if len(waves) == WAVES_MAX:
            raise RolloutRefused(f"waves: expected at most {WAVES_MAX} for {len(drawn)} terminals, got more")
        size = _size(settings.waves[min(len(waves), len(settings.waves) - 1)], len(drawn))
        spared = not waves and any(one.store_tills > 1 for one in left)
        taken = _taken([one for one in left if not spared or one.store_tills > 1], size)
        waves.append(taken)
        chosen = {one.terminal_id for one in taken}
        left = [one for one in left if one.terminal_id not in chosen]
    return waves


def _size(size: WaveSize, selected: int) -> int:
    return size.count or math.ceil((size.share_pct or 0) * selected / 100)


def _taken(candidates: Sequence[Selected], size: int) -> list[Selected]:
    at_store: Counter[str | None] = Counter()
    taken: list[Selected] = []
    for one in candidates:
        if len(taken) == size:
            break
        if at_store[one.store_id] < tills_at_once(one.store_tills, size):
            at_store[one.store_id] += 1
            taken.append(one)
    return taken


def _check(waves: Sequence[Sequence[Selected]], selected: int, settings: RolloutSettings) -> None:
    first_max = math.ceil(selected * FIRST_WAVE_PCT_MAX / 100)
    if len(waves[0]) > first_max:
        most = f"{first_max} terminals ({FIRST_WAVE_PCT_MAX} % of {selected})"
        raise RolloutRefused(f"waves.0: expected at most {most}, got {len(waves[0])}")
    for number, wave in enumerate(waves[:-1], start=1):
        if len(wave) < settings.gate.executed_min:
            raise RolloutRefused(
                f"waves.{number - 1}: expected at least gate.executed_min {settings.gate.executed_min} terminals, "
                f"since the gate could not pass with fewer, got {len(wave)}"
            )


def _with_controls(waves: Sequence[Sequence[Selected]]) -> tuple[Wave, ...]:
    later: Counter[tuple[str, str]] = Counter()
    numbered: list[Wave] = []
    for number, wave in reversed(list(enumerate(waves, start=1))):
        kinds = {(one.model, one.region) for one in wave}
        numbered.append(Wave(number=number, terminals=tuple(wave), controls=sum(later[kind] for kind in kinds)))
        later.update((one.model, one.region) for one in wave)
    return tuple(reversed(numbered))
