"""How terminals stand, counted: each has one state, and each store the worst that its terminals have.

The states are in the order of what to look at first. A terminal that is not heard is never called well, and a failing
one that is heard is called by its worst fault. A terminal that is off (closed, stopped, not in service) is no trouble:
a store is off only where all of its terminals are.

A change violates this when a count of the whole, a region, a merchant or a store is made of anything but the same rows.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from tillwatch_collector.domain.presence import State as Presence


class State(StrEnum):
    """How a terminal or a store stands, the worst first."""

    CRITICAL = "critical"
    """It is heard, and has a fault with which no sale is possible."""
    SILENT = "silent"
    MAJOR = "major"
    MINOR = "minor"
    LATE = "late"
    UNKNOWN = "unknown"
    WELL = "well"
    """It is heard, and has no fault worse than a note."""
    OFF = "off"


WORST_FIRST = tuple(State)
_PLACES = {state: place for place, state in enumerate(WORST_FIRST)}
TROUBLED = frozenset(WORST_FIRST) - {State.WELL, State.OFF}
"""What a person looks at."""

_UNHEARD = frozenset({State.SILENT, State.UNKNOWN, State.OFF})


class CountRow(NamedTuple):
    """Some terminals of one store that stand alike."""

    store_id: str | None
    state: State
    terminals: int


class StoreName(NamedTuple):
    """A store and where it belongs."""

    store_id: str
    name: str
    merchant_id: str
    merchant_name: str
    region: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many terminals stand how; a state that nobody is in is not named."""

    states: Mapping[State, int] = field(default_factory=dict)

    @property
    def terminals(self) -> int:
        """All of them."""
        return sum(self.states.values())

    @property
    def reporting(self) -> int:
        """Those that are heard, a late one among them."""
        return sum(count for state, count in self.states.items() if state not in _UNHEARD)

    @property
    def troubled(self) -> int:
        """Those that somebody should look at."""
        return sum(count for state, count in self.states.items() if state in TROUBLED)

    @property
    def worst(self) -> State:
        """The first state that anyone has; nobody's is off."""
        if len(self.states) == 1:  # most stores, where all is well
            return next(iter(self.states))
        return min(self.states, key=_PLACES.__getitem__, default=State.OFF)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreTally:
    """One store."""

    store: StoreName
    tally: Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupTally:
    """Stores that have something in common, the worst first."""

    key: str | None
    """None: theirs is not known."""
    name: str
    stores: tuple[StoreTally, ...]
    tally: Tally

    @property
    def stores_by_state(self) -> Mapping[State, int]:
        """How many stores stand how."""
        return _count((one.tally.worst, 1) for one in self.stores)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What stands in one place, counted."""

    whole: Tally
    stores: tuple[StoreTally, ...]
    """The worst first."""

    def by_region(self) -> tuple[GroupTally, ...]:
        """Group the stores by region, the most troubled first."""
        return _grouped(self.stores, lambda store: (store.region, store.region or ""))

    def by_merchant(self) -> tuple[GroupTally, ...]:
        """Group the stores by merchant, the most troubled first."""
        return _grouped(self.stores, lambda store: (store.merchant_id, store.merchant_name))

    def of(self, *, region: str | None = None, merchant_id: str | None = None) -> "Part":
        """Return the part of it that stands in one place; what is None does not narrow."""
        wanted = {"region": region, "merchant_id": merchant_id}
        asked = {name: value for name, value in wanted.items() if value is not None}
        if not asked:
            return self
        chosen = tuple(
            one for one in self.stores if all(getattr(one.store, name) == value for name, value in asked.items())
        )
        return Part(whole=_sum(one.tally for one in chosen), stores=chosen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Census(Part):
    """All that somebody sees of the fleet, counted at one moment."""

    presences: Mapping[str, int]
    """Terminals by judge's word, whatever their faults."""
    unplaced: Tally
    """Terminals that stand in no store yet."""


def count(rows: Iterable[CountRow], stores: Iterable[StoreName], presences: Mapping[str, int]) -> Census:
    """Put the counted terminals into their stores, every store among them, the worst first.

    `presences` counts those that judge has looked at; of all others nothing is known.
    """
    by_store: dict[str | None, dict[State, int]] = {}
    for store_id, state, terminals in rows:
        states = by_store.setdefault(store_id, {})
        states[state] = states.get(state, 0) + terminals
    found = [StoreTally(store=store, tally=Tally(states=by_store.get(store.store_id, {}))) for store in stores]
    unplaced = Tally(states=by_store.get(None, {}))
    whole = _sum((unplaced, *(one.tally for one in found)))
    unknown = whole.terminals - sum(presences.values())
    return Census(
        whole=whole,
        presences={**presences, Presence.UNKNOWN.value: presences.get(Presence.UNKNOWN, 0) + unknown},
        stores=tuple(sorted(found, key=_rank)),
        unplaced=unplaced,
    )


def _rank(one: StoreTally) -> tuple[int, int, str]:
    """Put the store with the worst trouble first, and of those alike the one with the most of it."""
    worst = one.tally.worst
    return _PLACES[worst], -one.tally.states.get(worst, 0), one.store.store_id


def _sum(tallies: Iterable[Tally]) -> Tally:
    return Tally(states=_count((state, number) for one in tallies for state, number in one.states.items()))


def _count(counted: Iterable[tuple[State, int]]) -> dict[State, int]:
    found: dict[State, int] = {}
    for state, number in counted:
        found[state] = found.get(state, 0) + number
    return found


def _grouped(stores: Iterable[StoreTally], by: Callable[[StoreName], tuple[str | None, str]]) -> tuple[GroupTally, ...]:
    groups: dict[tuple[str | None, str], list[StoreTally]] = {}
    for one in stores:
        groups.setdefault(by(one.store), []).append(one)
    found = [
        GroupTally(key=key, name=name, stores=tuple(some), tally=_sum(one.tally for one in some))
        for (key, name), some in groups.items()
    ]
    return tuple(sorted(found, key=_most_troubled_first))


def _most_troubled_first(group: GroupTally) -> tuple[float, str]:
    return -sum(_WEIGHTS.get(state, 0) * number for state, number in group.tally.states.items()), group.name


_WEIGHTS = {
    State.CRITICAL: 8.0,
    State.SILENT: 8.0,
    State.MAJOR: 3.0,
    State.MINOR: 1.0,
    State.LATE: 0.5,
    State.UNKNOWN: 0.5,
}
"""What one terminal's trouble counts where groups of many are put in order."""
