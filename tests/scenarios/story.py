"""What will happen in a world, drawn from its seed before it begins: the only causes there are.

A story is a swarm of troubles: each seed leaves some kinds out and makes others frequent, so that rare ones meet. All
of it lies before the quiet end, in which every link is up again, nothing new happens, and what is judged can settle;
flaws that last go on through it, and dead terminals stay dead.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from tests.scenarios.broker import AfterRestart, Habits
from tests.scenarios.clock import chance
from tests.scenarios.model import ACQUIRER, MACHINE, PRINTER, SCANNER, UPLINK, Flaw

from tillwatch_simulator.link import LinkHabits, Span

PRONE = (PRINTER, PRINTER, PRINTER, UPLINK, ACQUIRER, SCANNER, MACHINE)
"""What goes wrong: printers do most, and their flaws hide each other."""

HOUR_S = 3600.0
FIRST_TROUBLE_S = 600.0
"""The first heartbeats are in by then."""


class Act(Enum):
    """What befalls a terminal's agent."""

    KILLED = "killed"
    """SIGKILL; started again by its supervisor."""
    POWER_CUT = "power_cut"
    """The machine is off without a word, and boots again."""
    STOPPED = "stopped"
    """Stopped properly, and started again."""
    DEAD = "dead"
    """Off for good."""
    OUTBOX_LOST = "outbox_lost"
    """Killed, and the outbox's file is gone when it starts again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One act at one terminal; it is away over the span."""

    terminal_id: str
    act: Act
    away: Span


@dataclass(frozen=True, kw_only=True, slots=True)
class Blind:
    """A span in which nothing reaches the collector's process; what came is lost, or hoarded until the end."""

    span: Span
    hoards: bool


@dataclass(kw_only=True, slots=True)
class Story:
    """All that happens; scenarios write their own, worlds draw theirs."""

    terminals: int = 1
    duration_s: float = HOUR_S
    flaws: dict[str, list[Flaw]] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    outages: dict[str, list[Span]] = field(default_factory=dict)
    clock_steps: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """(when, seconds that the terminal's wall clock is off from then on)."""
    collector_away: list[Span] = field(default_factory=list)
    broker_restarts_s: list[float] = field(default_factory=list)
    blind: list[Blind] = field(default_factory=list)
    failing_commits_s: list[float] = field(default_factory=list)
    """The next commit after each of these moments fails, once."""
    link: LinkHabits = field(default_factory=LinkHabits)
    broker: Habits = field(default_factory=Habits)
    batch_s: float = 1.0
    """How long the collector gathers messages into one transaction."""
    canary_s: float = 5.0
    events_max: int = 10_000
    """What an outbox holds."""

    @property
    def terminal_ids(self) -> tuple[str, ...]:
        return tuple(f"t{number:02d}" for number in range(1, self.terminals + 1))

    def away(self, terminal_id: str) -> Iterator[Span]:
        """When a terminal cannot speak, and not for want of an observer."""
        yield from self.outages.get(terminal_id, ())
        yield from (turn.away for turn in self.turns if turn.terminal_id == terminal_id)

    def dead_s(self, terminal_id: str) -> float:
        """When a terminal dies for good; infinite when it does not."""
        dead = (turn.away.start_s for turn in self.turns if turn.terminal_id == terminal_id and turn.act is Act.DEAD)
        return min(dead, default=math.inf)


def drawn(seed: int, *, terminals: int, hours: float, quiet_hours: float) -> Story:
    """Draw a world's story; the last `quiet_hours` of it are quiet."""
    rng = chance(seed, "story")
    end_s = (hours - quiet_hours) * HOUR_S
    story = Story(
        terminals=terminals,
        duration_s=hours * HOUR_S,
        link=_link(rng, end_s),
        broker=_broker(rng),
        batch_s=rng.choice((5.0, 10.0, 20.0)),
        canary_s=rng.choice((5.0, 10.0)),
        events_max=rng.choice((10_000, 6)),
    )
    flaw_rate, outage_rate, turn_rate = (_swarm(rng, mean) for mean in (5.0, 0.8, 0.6))
    for terminal_id in story.terminal_ids:
        story.flaws[terminal_id] = list(_flaws(rng, flaw_rate, end_s))
        story.outages[terminal_id] = list(_spans(rng, outage_rate, end_s, _long_or_short))
        story.turns.extend(_turns(rng, terminal_id, turn_rate, end_s))
        story.clock_steps[terminal_id] = _clock_steps(rng, end_s)
    story.collector_away = list(_spans(rng, _swarm(rng, 1.5), end_s, _short))
    story.broker_restarts_s = [span.start_s for span in _spans(rng, _swarm(rng, 1.5), end_s, _short)]
    story.blind = [
        Blind(span=span, hoards=rng.random() < 0.5) for span in _spans(rng, _swarm(rng, 2.0), end_s, _long_or_short)
    ]
    story.failing_commits_s = [span.start_s for span in _spans(rng, _swarm(rng, 2.0), end_s, _short)]
    return story


def _swarm(rng: Random, mean: float) -> float:
    """How often per terminal or world and four hours: never, or up to three times the mean."""
    return 0.0 if rng.random() < 0.25 else mean * (0.3 + 2.7 * math.pow(rng.random(), 2))


def _link(rng: Random, end_s: float) -> LinkHabits:
    return LinkHabits(
        breaks_until_s=end_s,
        latency_s=rng.choice((0.005, 0.03, 0.4)),
        breaks_per_hour=_swarm(rng, 0.6),
        half_open_share=rng.choice((0.0, 0.5, 0.9)),
        late_share=rng.choice((0.0, 0.5)),
    )


def _broker(rng: Random) -> Habits:
    return Habits(
        closes_on_takeover=rng.random() < 0.6,
        will_lag_s_max=rng.choice((0.0, 2.0, 60.0)),
        forward_s_max=rng.choice((0.0, 0.0, 5.0)),
        repeat_share=rng.choice((0.0, 0.05, 0.5)),
        drop_share=rng.choice((0.0, 0.0, 0.002)),
        drop_acknowledged_share=rng.choice((0.0, 0.1)),
        drop_down_share=rng.choice((0.0, 0.0, 0.1)),
        after_restart=rng.choice(tuple(AfterRestart)),
        down_s=(1.0, rng.choice((10.0, 300.0))),
    )


def _moments(rng: Random, rate: float, end_s: float) -> Iterator[float]:
    """Moments of a Poisson process whose rate is per four hours."""
    at_s = FIRST_TROUBLE_S
    while rate > 0:
        at_s += rng.expovariate(rate / (4 * HOUR_S))
        if at_s >= end_s:
            return
        yield at_s


def _short(rng: Random) -> float:
    return rng.uniform(1, 60)


def _long_or_short(rng: Random) -> float:
    """From ten seconds to three quarters of an hour, short ones as often as long ones."""
    return 10 * math.pow(270, rng.random())


def _spans(rng: Random, rate: float, end_s: float, lasts_s: Callable[[Random], float]) -> Iterator[Span]:
    free_s = 0.0
    for at_s in _moments(rng, rate, end_s):
        if at_s >= free_s:
            free_s = min(end_s, at_s + lasts_s(rng))
            yield Span(start_s=at_s, end_s=free_s)


def _flaws(rng: Random, rate: float, end_s: float) -> Iterator[Flaw]:
    """Flaws of all parts, none of a name overlapping another of its name; some flap, some last."""
    busy: dict[tuple[str, str], float] = {}
    for at_s in _moments(rng, rate, end_s):
        part = rng.choice(PRONE)
        name = (part.component, rng.choice(part.flaws))
        if busy.get(name, 0) > at_s:
            continue
        flaws = list(_flapping(rng, name, at_s, end_s) if rng.random() < 0.125 else _once(rng, name, at_s, end_s))
        busy[name] = flaws[-1].end_s
        yield from flaws


def _once(rng: Random, name: tuple[str, str], at_s: float, end_s: float) -> Iterator[Flaw]:
    until_s = math.inf if rng.random() < 0.125 else min(end_s, at_s + 2 * math.pow(1800, rng.random()))
    yield Flaw(component=name[0], code=name[1], start_s=at_s, end_s=until_s)


def _flapping(rng: Random, name: tuple[str, str], at_s: float, end_s: float) -> Iterator[Flaw]:
    """A loose contact: again and again for a while, each time for a part of the period."""
    period_s = rng.uniform(10, 120)
    for number in range(rng.randint(4, 30)):
        start_s = min(at_s + number * period_s, end_s - 1)
        yield Flaw(
            component=name[0], code=name[1], start_s=start_s, end_s=min(end_s, start_s + period_s * rng.random())
        )


def _turns(rng: Random, terminal_id: str, rate: float, end_s: float) -> Iterator[Turn]:
    for away in _spans(rng, rate, end_s, _long_or_short):
        act = rng.choices((Act.KILLED, Act.POWER_CUT, Act.STOPPED, Act.DEAD, Act.OUTBOX_LOST), (6, 3, 3, 1, 1))[0]
        if act is Act.DEAD:
            yield Turn(terminal_id=terminal_id, act=act, away=Span(start_s=away.start_s, end_s=math.inf))
            return
        yield Turn(terminal_id=terminal_id, act=act, away=away)


def _clock_steps(rng: Random, end_s: float) -> list[tuple[float, float]]:
    """Most clocks are right; some are off by hours, some jump while the agent runs."""
    if rng.random() < 0.7:
        return [(0.0, rng.uniform(-2, 2))]
    return [(at_s, rng.choice((-1, 1)) * math.pow(10, rng.uniform(0, 7))) for at_s in (0.0, rng.uniform(0, end_s))]
