"""A terminal's uplink as TCP connections live and break on it.

Within a connection the order is kept and every message takes its own time. A connection ends in a break: from some
moment before it nothing gets through, so that each way loses a suffix of what was sent; of that suffix the front may
still arrive, late, out of a buffer on the way. Either side may learn of the break at once, or go on believing in the
connection until its own keepalive says otherwise (half-open). Inside an outage no connection opens, and the ones that
were open break at its beginning.

What follows from breaks is left to those who use a link: duplicates come from sending again, another order from a new
connection that overtakes an old one. Time is a number of seconds from any zero; chance comes from the caller.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Chance(Protocol):
    """Where the numbers come from: `random.Random`, seeded by the caller."""

    def random(self) -> float:
        """Return a number from 0 up to and without 1."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """From `start_s` up to and without `end_s`."""

    start_s: float
    end_s: float

    def holds(self, now_s: float) -> bool:
        """Whether `now_s` lies inside."""
        return self.start_s <= now_s < self.end_s


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkHabits:
    """What kind of link it is; the defaults are a shop's DSL line."""

    latency_s: float = 0.03
    """Median; single messages take from a half to four times as long."""
    breaks_per_hour: float = 0.2
    breaks_until_s: float = math.inf
    """After this moment a connection breaks only where an outage begins."""
    half_open_share: float = 0.5
    """Share of breaks that a side does not learn of at once; drawn for each side alone."""
    keepalive_s: float = 30.0
    """MQTT 3.1.1, 3.1.2.10: a broker gives up after one and a half times this without a packet; a client after two."""
    stuck_s_max: float = 20.0
    """How long before a break the connection may already have carried nothing."""
    late_share: float = 0.3
    """Share of breaks after which a part of what was stuck still arrives."""
    late_s_max: float = 90.0
    """How long after the break it may arrive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What will become of one connection, drawn when it opens."""

    stuck_at_s: float
    """From here on nothing gets through, either way."""
    breaks_at_s: float
    client_learns_at_s: float
    broker_learns_at_s: float
    late_at_s: float
    """When the front of what was stuck arrives after all."""
    late_up: int = 0
    late_down: int = 0
    """How many messages that front is, each way."""


@dataclass(kw_only=True, slots=True)
class Way:
    """One direction of a connection: first sent, first arrived, or lost with all that follows."""

    habits: LinkHabits
    fate: Fate
    chance: Chance
    late_left: int
    arrived_s: float = -math.inf

    def send(self, now_s: float) -> float | None:
        """Return when a message sent now arrives; None when it is lost."""
        arrives_s = max(self.arrived_s, now_s + _latency_s(self.habits, self.chance))
        if arrives_s >= self.fate.stuck_at_s:
            if self.late_left <= 0 or now_s >= self.fate.breaks_at_s:
                self.arrived_s = math.inf
                return None
            self.late_left -= 1
            arrives_s = max(arrives_s, self.fate.late_at_s)
        self.arrived_s = arrives_s
        return arrives_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """One TCP connection: two ways and one fate."""

    fate: Fate
    up: Way
    down: Way


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """What a terminal reaches the broker over; it opens connections and decides how they end."""

    habits: LinkHabits
    chance: Chance
    outages: Sequence[Span] = field(default=())

    def usable(self, now_s: float) -> bool:
        """Whether a connection could be opened now."""
        return not any(outage.holds(now_s) for outage in self.outages)

    def open(self, now_s: float) -> Connection | None:
        """Open a connection; None inside an outage."""
        if not self.usable(now_s):
            return None
        fate = self._fate(now_s)
        return Connection(
            fate=fate,
            up=Way(habits=self.habits, fate=fate, chance=self.chance, late_left=fate.late_up),
            down=Way(habits=self.habits, fate=fate, chance=self.chance, late_left=fate.late_down),
        )

    def _fate(self, now_s: float) -> Fate:
        habits, random = self.habits, self.chance.random
        breaks_at_s = min(self._worn_out_s(now_s), self._next_outage_s(now_s))
        late = random() < habits.late_share
        return Fate(
            stuck_at_s=max(now_s, breaks_at_s - random() * habits.stuck_s_max),
            breaks_at_s=breaks_at_s,
            client_learns_at_s=breaks_at_s + self._blind_s(2.0),
            broker_learns_at_s=breaks_at_s + self._blind_s(1.5),
            late_at_s=breaks_at_s + random() * habits.late_s_max,
            late_up=math.floor(random() * 4) if late else 0,
            late_down=math.floor(random() * 4) if late else 0,
        )

    def _worn_out_s(self, now_s: float) -> float:
        """When it breaks by itself: breaks come at a rate, so a connection's age says nothing of its rest."""
        if self.habits.breaks_per_hour <= 0:
            return math.inf
        breaks_at_s = now_s - math.log(1 - self.chance.random()) * 3600 / self.habits.breaks_per_hour
        return breaks_at_s if breaks_at_s < self.habits.breaks_until_s else math.inf

    def _next_outage_s(self, now_s: float) -> float:
        return min((outage.start_s for outage in self.outages if outage.start_s > now_s), default=math.inf)

    def _blind_s(self, keepalives: float) -> float:
        """How long a side goes on believing: pings are due every keepalive, so never less than half of the limit."""
        if self.chance.random() >= self.habits.half_open_share:
            return 0.0
        return self.habits.keepalive_s * keepalives * (0.5 + 0.5 * self.chance.random())


def _latency_s(habits: LinkHabits, chance: Chance) -> float:
    """Half to four times the median, evenly on a logarithmic scale: slow ones are rare and far from the rest."""
    return habits.latency_s * 2 ** (3 * chance.random() - 1)
