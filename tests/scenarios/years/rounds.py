"""A collector's process that sleeps through quiet time: the same flows, without the rounds that change nothing.

Awake it does a round every five seconds: it writes what came, then ticks judge; in between its canaries come back. A
round in which nothing came, and for which judge has set itself no deadline, changes nothing that is kept, so that a
process in a quiet time skips it; the canaries that it skips came back. Its own trouble (a broker that restarts, a blind
span, its end) wakes it, and every terminal before it.

A change violates this when a round is skipped in which judge would have done something.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.scenarios.broker import Packet
from tests.scenarios.process import Life, Process
from tests.scenarios.years import foresight
from tests.scenarios.years.grid import EvenLink
from tests.scenarios.years.sleeper import PROCESS_WAY_S

from tillwatch_collector.flows.ingest import Delivery
from tillwatch_simulator.link import Link, LinkHabits

ROUND_S = 5.0
CANARY_S = 5.0
CANARY_BEFORE_S = 0.5
"""How long before a round the last canary is sent that it finds returned."""
SETTLED_S = 300.0
"""How long after trouble the process stays awake: longer than every answer, patience and proof."""
ROUNDING_S = 0.001
"""Of a position that was worked out in another order: a round too early finds nothing."""


@dataclass(kw_only=True, eq=False)
class Rounds(Process):
    """The collector's process in rounds; `skips` says whether it may sleep."""

    skips: bool = True
    wake_terminals: Callable[[], None] = field(default=lambda: None)
    """Told before the process's own trouble."""
    round_begins: Callable[[Life, float], None] = field(default=lambda _life, _at_s: None)
    """Told before a round, and as of when it is: who is looked at must be awake."""
    round_ended: Callable[[Life], None] = field(default=lambda _life: None)
    rounds: int = field(default=0, init=False)
    asleep: bool = field(default=False, init=False)
    _began_s: float = field(default=0.0, init=False)
    _planned_s: float = field(default=math.inf, init=False)
    _awake_until_s: float = field(default=0.0, init=False)

    def _link(self) -> Link:
        return EvenLink(habits=LinkHabits(latency_s=PROCESS_WAY_S, breaks_per_hour=0), chance=self.chance)

    # --- trouble

    def wake(self, until_s: float = 0.0) -> None:
        """Be as if it had never slept, and stay awake until it has settled after `until_s`."""
        self._awake_until_s = max(self._awake_until_s, max(self.clock.now_s, until_s) + SETTLED_S)
        life = self.life
        if life is None:
            return
        self.wake_terminals()
        last_s = self._round_s(math.floor)
        if self.skips and any(delivery.received_at <= self.clock.at(last_s) for delivery in life.inbox):
            self._do_round(life, last_s)
        if self.asleep:
            self._hear_canaries(life, last_s)
            self.asleep = False
            self._plan_canary(life)
            self._plan(life, self.clock.now_s)

    def kill(self) -> None:
        """End without a word."""
        self.wake()
        super().kill()

    def connection_lost(self) -> None:
        """Hear nothing until connected again."""
        self.wake()
        super().connection_lost()

    def hear_late(self, packet: Packet, arrived_s: float) -> None:
        """Take what arrived before now."""
        if self.life is not None:
            arrived_at = self.clock.at(arrived_s)
            self.life.inbox.append(
                Delivery(topic=packet.topic, payload=packet.payload, retained=False, received_at=arrived_at)
            )
            self._plan(self.life, self.clock.now_s)

    def expect(self) -> None:
        """Look again when judge has something to do: it has been given another deadline."""
        if self.life is not None and self.asleep:
            self._plan(self.life, self._due_s(self.life))

    def nudge(self) -> None:
        """Do the next round: something was written that judge is to look at."""
        if self.life is not None:
            self._plan(self.life, self.clock.now_s)

    # --- rounds

    def _begin_rounds(self, life: Life) -> None:
        self._began_s, self._planned_s, self.asleep = self.clock.now_s, math.inf, False
        self._awake_until_s = max(self._awake_until_s, self.clock.now_s + SETTLED_S)
        self._plan_canary(life)
        self._plan(life, self.clock.now_s)

    def _take(self, packet: Packet, *, retained: bool) -> None:
        super()._take(packet, retained=retained)
        if self.life is not None:
            self._plan(self.life, self.clock.now_s)

    def _round_s(self, whole: Callable[[float], int], at_s: float | None = None) -> float:
        at_s = self.clock.now_s if at_s is None else at_s
        return self._began_s + ROUND_S * whole((at_s - self._began_s) / ROUND_S)

    def _plan(self, life: Life, due_s: float) -> None:
        """Do a round when something is due; the first that comes after it."""
        if due_s == math.inf:
            return
        at_s = max(self._round_s(math.ceil, due_s), self._round_s(math.floor) + ROUND_S)
        if at_s < self._planned_s:
            self._planned_s = at_s
            self.clock.call_at(
                at_s, lambda: self._round(life) if (life, at_s) == (self.life, self._planned_s) else None
            )

    def _round(self, life: Life) -> None:
        self._planned_s = math.inf
        now_s = self.clock.now_s
        self._do_round(life, now_s)
        if self.skips and not self.asleep and self._settled(life):
            self.asleep = True
        if self.asleep:
            self.round_ended(life)
            self._plan(life, self._due_s(life))
        else:
            self._plan(life, now_s + ROUND_S)

    def _do_round(self, life: Life, at_s: float) -> None:
        """Write what came up to a moment, and judge as of it."""
        self.rounds += 1
        now = self.clock.at(at_s)
        if self.asleep:
            self._hear_canaries(life, at_s)
            self.round_begins(life, at_s)
        batch = [delivery for delivery in life.inbox if delivery.received_at <= now]
        life.inbox = [delivery for delivery in life.inbox if delivery.received_at > now]
        if batch:
            self._write(life, batch)
        self._judge(life, now)

    # --- canaries

    def _plan_canary(self, life: Life) -> None:
        at_s = self._canary_s(self.clock.now_s) + CANARY_S
        self.clock.call_at(at_s, lambda: self._canary(life))

    def _canary(self, life: Life) -> None:
        if life is self.life and not self.asleep:
            self._send_canary(life)
            self._plan_canary(life)

    def _canary_s(self, at_s: float) -> float:
        """Return when the last canary up to a moment is sent."""
        first_s = self._began_s + CANARY_BEFORE_S
        return first_s + CANARY_S * math.floor((at_s - first_s) / CANARY_S)

    def _hear_canaries(self, life: Life, at_s: float) -> None:
        listening = life.judge.listening
        last, sent_at = listening.last, self.clock.at(self._canary_s(at_s))
        assert last is not None
        if sent_at > last.ended_at:
            life.judge.listening = listening.proven(last.ended_at, sent_at)

    # --- what may be skipped

    def _settled(self, life: Life) -> bool:
        """Whether the canaries come back one after the other, and nothing of the process's own is going on."""
        last = life.judge.listening.last
        if last is None or not life.connected or self.clock.now_s < self._awake_until_s:
            return False
        return last.ended_at == self.clock.at(self._canary_s(self.clock.now_s))

    def _due_s(self, life: Life) -> float:
        """Return when judge has something to do by itself."""
        listening = life.judge.listening
        last = listening.last
        assert last is not None
        due = foresight.due(life.judge)
        listens_s = (last.ended_at - self.clock.at(0)).total_seconds() + due.listened_s - last.ended_s
        by_clock_s = due.at_s - self.clock.at(0).timestamp()
        return min(listens_s + CANARY_BEFORE_S, by_clock_s) - ROUNDING_S
