"""A terminal that sleeps through quiet time: the same core, the same messages, without the ones that change nothing.

A core that is connected, owes nobody an answer and has nothing in its outbox does the same thing until something
touches it: it looks at its parts, and says its level at its phase of the interval. The collector keeps the newest level
only. So a terminal that its collector is calm about may sleep. Whatever touches it (its story, its link, a message, the
collector's own trouble) wakes it first; then it has said and looked as often as it would have: the last look and the
last heartbeats are done by the core itself, at their own moments, and the ones before are counted.

A change violates this when a terminal that slept and one that did not can be told apart by what the collector keeps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.scenarios.broker import Packet
from tests.scenarios.model import Look
from tests.scenarios.terminal import LOOK_EVERY_S, Life, Terminal, packet_of
from tests.scenarios.years.grid import grid_s

from tillwatch_agent.core import Core, Input, Observed, Publish, Tick
from tillwatch_agent.heartbeat import next_beat_s
from tillwatch_agent.session import Phase
from tillwatch_protocol import topics

Late = Callable[["Sleeper", Packet, float], None]
"""Told of a message that arrived at a moment that has passed."""


@dataclass(kw_only=True, eq=False)
class Sleeper(Terminal):
    """A terminal that can sleep; awake it is like any other, on the grid."""

    late: Late = field(default=lambda _sleeper, _packet, _at_s: None)
    woken: Callable[["Sleeper"], None] = field(default=lambda _sleeper: None)
    """Told at the end of a sleep."""
    asleep: bool = False
    _look_at_s: float = math.inf
    """When the next look is due."""
    _looks: int = 0
    _shown: tuple[Life, tuple[Look, ...]] | None = None
    """What this life's last look showed."""

    @property
    def steady(self) -> bool:
        """Whether it will do the same thing until something touches it."""
        life, call = self.life, self.client.call
        if life is None or call is None or not call.connected or call.connection is None:
            return False
        if call.connection.fate.stuck_at_s <= self.clock.now_s or not _is_steady(life.core):
            return False
        return self._shown == (life, self.till.look(self.clock.now_s))

    def sleep(self) -> None:
        """Do nothing until something touches it, or its connection."""
        assert self.steady
        life, call = self.life, self.client.call
        assert life is not None
        assert call is not None
        assert call.connection is not None
        self.asleep = True
        life.wakes += 1
        self._looks += 1
        if (stuck_at_s := call.connection.fate.stuck_at_s) < math.inf:
            self.clock.call_at(stuck_at_s, lambda: self.wake() if self.client.call is call else None)

    def wake(self, beats: int = 1) -> None:
        """Be as if it had never slept; the last `beats` heartbeats are delivered, and one that is on its way."""
        life = self.life
        if not self.asleep or life is None:
            return
        self.asleep = False
        now_s, looked_s = self.clock.now_s, -math.inf
        if self._is_stuck(now_s):  # the last one may have left in vain
            beats = max(beats, 2)
        for at_s in [*self._fires_s(life.core, beats), now_s]:
            look_s = _last(self._look_at_s, at_s)
            if look_s is not None and look_s > looked_s:
                looks = self.till.look(look_s)
                self._do(life, Observed(tuple(look.observation() for look in looks)), look_s)
                looked_s = look_s
            if at_s < now_s:
                self._do(life, Tick(), at_s)
        self._plan_look(life, max(looked_s + LOOK_EVERY_S, self._look_at_s) - now_s)
        self._wake_when_due(life)
        self.woken(self)

    def replace(self) -> None:
        """Be another machine under the same name: its outbox is new."""
        self.disk = None

    # --- on the grid, and awake before anything happens

    def give(self, given: Input) -> None:
        """Hand an input to the core, awake."""
        self.wake()
        super().give(given)

    def look(self) -> None:
        """Look at every part, awake."""
        self.wake()
        if self.life is not None:
            self._shown = (self.life, self.till.look(self.clock.now_s))
        super().look()

    def set_wall(self, off_s: float) -> None:
        """Set the wall clock, awake; the core notices before it may sleep again."""
        self.wake()
        super().set_wall(off_s)
        self.give(Tick())

    def _end(self) -> bool:
        self.wake()
        return super()._end()

    def _plan_look(self, life: Life, delay_s: float) -> None:
        self._looks += 1
        looks, self._look_at_s = self._looks, self._when(delay_s)
        self.clock.call_at(self._look_at_s, lambda: self._look_again(life) if looks == self._looks else None)

    def _when(self, delay_s: float) -> float:
        return grid_s(super()._when(delay_s))

    def _is_stuck(self, now_s: float) -> bool:
        call = self.client.call
        return call is not None and call.connection is not None and call.connection.fate.stuck_at_s <= now_s

    def _way_s(self) -> float:
        """Return how long a heartbeat is on its way."""
        call = self.client.call
        assert call is not None
        assert call.connection is not None
        return call.connection.up.habits.latency_s + PROCESS_WAY_S

    # --- what it would have done

    def _fires_s(self, core: Core, beats: int) -> list[float]:
        """Count the heartbeats up to now, and return when the last of them were; the core stands before those."""
        session, booted_s, now_s = core._session, self._booted_s, self.clock.now_s
        first_s, interval_s = session.beat_at_s, session.interval_s
        most = max(0, math.floor((now_s - booted_s - first_s) / interval_s) + 2)
        numbered = [
            (number, _beat_s(first_s, session.phase_s, interval_s, number)) for number in range(most)[-4 - beats :]
        ]
        fires = [(number, beat_s) for number, beat_s in numbered if grid_s(booted_s + beat_s) < now_s]
        underway = bool(fires) and grid_s(booted_s + fires[-1][1]) + self._way_s() > now_s
        fires = fires[-beats - underway :]
        if fires:
            number, beat_s = fires[0]
            core._session = replace(session, beat_at_s=beat_s)
            core._beat_no += number
        return [grid_s(booted_s + beat_s) for _, beat_s in fires]

    def _do(self, life: Life, given: Input, at_s: float) -> None:
        """Have the core do what it would have done at a moment that has passed: all it may say then is its level."""
        call = self.client.call
        assert call is not None
        assert call.connection is not None
        for effect in life.core.handle(given, self.moment_at(at_s)):
            assert isinstance(effect, Publish), f"{self.terminal_id} slept while something changed: {effect}"
            packet = packet_of(effect.outgoing)
            said = f"{self.terminal_id} slept at {at_s} s while something changed: {given} made {packet}"
            assert topics.parse(packet.topic).topic is topics.HEARTBEAT, said
            arrives_s = call.connection.up.send(at_s)
            if arrives_s is not None:
                self.late(self, packet, arrives_s + PROCESS_WAY_S)


PROCESS_WAY_S = 2.0**-9
"""From the broker to the collector's process."""


def _is_steady(core: Core) -> bool:
    session = core._session
    waits = session.beat_wanted or min(session.answer_at_s, session.held_until_s) < math.inf
    owes = len(core.outbox.backlog) or core._unwritten
    return core.phase is Phase.ONLINE and session.sends and not waits and not owes


def _beat_s(first_s: float, phase_s: float, interval_s: float, number: int) -> float:
    """Return a heartbeat's moment as the session works it out: from its phase, not from the one before."""
    return next_beat_s(first_s + (number - 0.5) * interval_s, phase_s, interval_s)


def _last(first_s: float, now_s: float) -> float | None:
    """Return the last look up to now, counted from the first one due."""
    if first_s > now_s:
        return None
    return first_s + math.floor((now_s - first_s) / LOOK_EVERY_S) * LOOK_EVERY_S
