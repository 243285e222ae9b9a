"""What happens to a fleet in a year, drawn from the seed before it begins: the only causes there are.

`RATES` says how often, how long, and why so. Everything is kept as what it is (a `Cause`), and as what it does: when a
machine runs, when a line carries nothing, what is wrong with a part, how far a clock is off. The figures compare what
the collector made of it with the causes, never with itself.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from tests.scenarios.clock import chance
from tests.scenarios.model import ACQUIRER, MACHINE, PRINTER, SCANNER, UPLINK, C, Flaw
from tests.scenarios.story import Blind
from tests.scenarios.years.fleet import SHOPS, Shop
from tests.scenarios.years.grid import beside_s
from tests.scenarios.years.spans import joined, length_s, without

from tillwatch_simulator.link import Span

MINUTE_S, HOUR_S, DAY_S, YEAR_DAYS = 60.0, 3600.0, 86_400.0, 365.0


class Kind(Enum):
    """What befalls someone; the value names its row of `RATES`."""

    NIGHT = "night"
    """Switched off by habit, outside the hours."""
    FORGOTTEN = "forgotten"
    """Left off at opening."""
    CRASH = "crash"
    """The agent is killed; its supervisor starts it again."""
    REBOOT = "reboot"
    """Stopped properly, and started again."""
    DEAD = "dead"
    """The machine is gone; another one takes its place days later."""
    REPAIR = "repair"
    """Sent in, as the inventory says."""
    MAINTENANCE = "maintenance"
    """A store's, as people entered it before."""
    LINE = "line"
    """A store's line carries nothing."""
    CARRIER = "carrier"
    REGION = "region"
    ALL = "all"
    """Nobody reaches the broker."""
    FLAW = "flaw"
    FLAPPING = "flapping"
    """A loose contact, for hours."""
    CLOCK = "clock"
    BROKER = "broker"
    COLLECTOR = "collector"
    BLIND = "blind"


OBSERVERS = frozenset({Kind.BROKER, Kind.COLLECTOR, Kind.BLIND})
SHARED = frozenset({Kind.LINE, Kind.CARRIER, Kind.REGION, Kind.ALL})
"""One cause that silences many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How often a year, for each of what it befalls, and how long: evenly on a logarithmic scale."""

    a_year: float
    lasts_s: tuple[float, float]
    because: str


RATES: dict[Kind, Rate] = {
    Kind.FORGOTTEN: Rate(a_year=0.5, lasts_s=(HOUR_S, 3 * HOUR_S), because="a till that nobody needs in the morning"),
    Kind.CRASH: Rate(a_year=4, lasts_s=(5, 30), because="a supervisor starts it again within half a minute"),
    Kind.REBOOT: Rate(a_year=6, lasts_s=(90, 300), because="updates of the system, and 'switch it off and on again'"),
    Kind.DEAD: Rate(a_year=0.05, lasts_s=(DAY_S, 5 * DAY_S), because="one in twenty; replaced in days"),
    Kind.REPAIR: Rate(a_year=0.1, lasts_s=(3 * DAY_S, 10 * DAY_S), because="a complex repair takes a week"),
    Kind.MAINTENANCE: Rate(a_year=2, lasts_s=(HOUR_S / 2, 3 * HOUR_S), because="stocktaking, new shelves, new lines"),
    Kind.LINE: Rate(a_year=3, lasts_s=(3 * MINUTE_S, 8 * HOUR_S), because="99.9 % is nine hours a year"),
    Kind.CARRIER: Rate(a_year=1, lasts_s=(15 * MINUTE_S, 6 * HOUR_S), because="the one in the news"),
    Kind.REGION: Rate(a_year=0.5, lasts_s=(10 * MINUTE_S, 4 * HOUR_S), because="power and exchange points"),
    Kind.ALL: Rate(a_year=0.5, lasts_s=(5 * MINUTE_S, 2 * HOUR_S), because="the host of broker and collector"),
    Kind.FLAPPING: Rate(a_year=0.2, lasts_s=(HOUR_S, 10 * HOUR_S), because="loose plugs: one till in five"),
    Kind.CLOCK: Rate(a_year=0.1, lasts_s=(HOUR_S, 3 * DAY_S), because="a battery lasts five to ten years"),
    Kind.BROKER: Rate(a_year=12, lasts_s=(5, 120), because="updates, monthly"),
    Kind.COLLECTOR: Rate(a_year=24, lasts_s=(5, 10 * MINUTE_S), because="releases and updates, twice a month"),
    Kind.BLIND: Rate(a_year=12, lasts_s=(20, 15 * MINUTE_S), because="full disks, backups, networks of the host"),
}  # fmt: skip
"""Of a terminal; of a store (LINE, MAINTENANCE); of a carrier, a region; of the installation (ALL and of observers)."""

FLAWS: tuple[tuple[str, str, Rate], ...] = (
    (PRINTER.component, C.PAPER_END, Rate(a_year=12, lasts_s=(60, 20 * MINUTE_S), because="a roll a month")),
    (PRINTER.component, C.COVER_OPEN, Rate(a_year=12, lasts_s=(20, 5 * MINUTE_S), because="a roll a month")),
    (PRINTER.component, C.NO_RESPONSE, Rate(a_year=1.5, lasts_s=(60, 8 * HOUR_S), because="cables")),
    (PRINTER.component, C.CUTTER_ERROR, Rate(a_year=0.5, lasts_s=(10 * MINUTE_S, 2 * DAY_S), because="they wear")),
    (SCANNER.component, C.NOT_ATTACHED, Rate(a_year=2, lasts_s=(30, 4 * HOUR_S), because="plugs that are pulled")),
    (UPLINK.component, C.DNS_FAILURE, Rate(a_year=1, lasts_s=(30, HOUR_S), because="resolvers")),
    (ACQUIRER.component, C.TLS_FAILURE, Rate(a_year=0.5, lasts_s=(60, 3 * HOUR_S), because="certificates")),
    (ACQUIRER.component, C.TCP_REFUSED, Rate(a_year=1, lasts_s=(30, 2 * HOUR_S), because="hosts in maintenance")),
    (MACHINE.component, C.DISK_LOW, Rate(a_year=0.1, lasts_s=(HOUR_S, 3 * DAY_S), because="logs")),
)  # fmt: skip
"""What goes wrong with parts, while the machine runs."""

FLAPPERS = ((PRINTER.component, C.NO_RESPONSE), (SCANNER.component, C.NOT_ATTACHED))
FLAP_EVERY_S = (100.0, 400.0)
"""From one loss of contact to the next; a part of it each time is longer than any hold."""

LATE_MORNING_SHARE = 0.1
DRIFTS_SHARE = 0.3
"""Of clocks: by up to four seconds a day, set right once a month."""


class End(Enum):
    """How a machine ends its run."""

    CUT = "cut"
    STOPPED = "stopped"
    KILLED = "killed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """From start to end a machine runs; `fresh` is one that was not there before."""

    span: Span
    end: End
    fresh: bool = False
    boots: bool = True
    """Whether the machine starts with the agent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """One thing that happens."""

    kind: Kind
    span: Span
    terminals: tuple[str, ...] = ()
    component: str = ""
    code: str = ""
    node: tuple[str, str] = ("", "")
    """(kind, id) of what is shared."""


@dataclass(kw_only=True, slots=True)
class YearStory:
    """All that happens."""

    days: int
    shops: tuple[Shop, ...]
    often: float = 1.0
    """How much more often than `RATES` says."""
    causes: list[Cause] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    outages: dict[str, list[Span]] = field(default_factory=dict)
    flaws: dict[str, list[Flaw]] = field(default_factory=dict)
    clock_steps: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    blind: list[Blind] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        return self.days * DAY_S

    @property
    def terminal_ids(self) -> tuple[str, ...]:
        return tuple(name for shop in self.shops for name in shop.terminal_ids)

    def of(self, *kinds: Kind) -> list[Cause]:
        """Every cause of these kinds."""
        return [cause for cause in self.causes if cause.kind in kinds]

    def runs_of(self, terminal_id: str) -> list[Span]:
        """When its agent runs."""
        return [run.span for run in self.runs[terminal_id]]


def drawn(seed: int, *, days: int, shops: tuple[Shop, ...] = SHOPS, often: float = 1.0) -> YearStory:
    """Draw a story; its last day is as quiet as any other."""
    story = YearStory(days=days, shops=shops, often=often)
    rng = chance(seed, "shared")
    _draw_shared(story, rng)
    for shop in shops:
        _draw_node(story, rng, Kind.LINE, ("store", shop.store_id), shop.terminal_ids)
        _draw_node(story, rng, Kind.MAINTENANCE, ("store", shop.store_id), shop.terminal_ids)
        for terminal_id in shop.terminal_ids:
            _draw_terminal(story, chance(seed, f"year:{terminal_id}"), shop, terminal_id)
    for terminal_id in story.terminal_ids:
        own = [cause.span for cause in story.of(*SHARED) if terminal_id in cause.terminals]
        story.outages[terminal_id] = joined(own)
    return story


def _draw_shared(story: YearStory, rng: Random) -> None:
    for kind, name in ((Kind.CARRIER, "carrier"), (Kind.REGION, "region")):
        for node_id in sorted({str(getattr(shop, name)) for shop in story.shops}):
            hit = tuple(t for shop in story.shops if getattr(shop, name) == node_id for t in shop.terminal_ids)
            _draw_node(story, rng, kind, (name, node_id), hit)
    _draw_node(story, rng, Kind.ALL, ("fleet", ""), story.terminal_ids)
    for kind in (Kind.BROKER, Kind.COLLECTOR, Kind.BLIND):
        _draw_node(story, rng, kind, ("observer", ""), ())
    busy: list[Span] = []
    for cause in sorted(story.of(*OBSERVERS), key=lambda cause: cause.span.start_s):
        if any(span.end_s > cause.span.start_s - HOUR_S for span in busy[-1:]):
            story.causes.remove(cause)
            continue
        busy.append(cause.span)
        if cause.kind is Kind.BLIND:
            story.blind.append(Blind(span=cause.span, hoards=rng.random() < 0.5))


def _draw_node(story: YearStory, rng: Random, kind: Kind, node: tuple[str, str], terminals: tuple[str, ...]) -> None:
    for span in _spans(rng, RATES[kind], story):
        story.causes.append(Cause(kind=kind, span=span, terminals=terminals, node=node))


def _draw_terminal(story: YearStory, rng: Random, shop: Shop, terminal_id: str) -> None:
    days = list(_switched_on(story, rng, shop, terminal_id))
    broken = list(_broken(story, rng, terminal_id, days))
    story.runs[terminal_id] = list(_runs(days, broken))
    story.flaws[terminal_id] = list(_flaws(story, rng, terminal_id))
    story.clock_steps[terminal_id] = sorted(_clock_steps(story, rng, terminal_id))


def _switched_on(story: YearStory, rng: Random, shop: Shop, terminal_id: str) -> Iterator[tuple[Span, End]]:
    """When people have it on: around each day's hours, or always."""
    habit = rng.choices((End.CUT, End.STOPPED, None), (6, 3, 1))[0] if shop.week else None
    if habit is None:
        yield Span(start_s=beside_s(rng.uniform(0, 30)), end_s=math.inf), End.CUT
        return
    days = joined(Span(start_s=a - 3 * HOUR_S, end_s=b + 3 * HOUR_S) for a, b in shop.open_spans(story.days))
    before_s = 0.0
    for day in days:
        opens_s, closes_s = day.start_s + 3 * HOUR_S, day.end_s - 3 * HOUR_S
        on_s = opens_s - rng.uniform(5, 40) * MINUTE_S
        if rng.random() < LATE_MORNING_SHARE:
            on_s = opens_s + rng.uniform(0, 10) * MINUTE_S
        if rng.random() < story.often * RATES[Kind.FORGOTTEN].a_year / YEAR_DAYS:
            late_s = _lasts_s(rng, RATES[Kind.FORGOTTEN])
            _note(story, Kind.FORGOTTEN, terminal_id, Span(start_s=opens_s, end_s=opens_s + late_s))
            on_s = opens_s + late_s
        off_s = closes_s + rng.uniform(3, 45) * MINUTE_S
        if off_s <= 0 or on_s >= story.duration_s:
            continue
        on_s = beside_s(max(on_s, rng.uniform(0, 30)))
        _note(story, Kind.NIGHT, terminal_id, Span(start_s=before_s, end_s=min(on_s, opens_s)))
        yield Span(start_s=on_s, end_s=beside_s(off_s)), habit
        before_s = off_s
    _note(story, Kind.NIGHT, terminal_id, Span(start_s=before_s, end_s=math.inf))


def _broken(
    story: YearStory, rng: Random, terminal_id: str, days: Sequence[tuple[Span, End]]
) -> Iterator[tuple[Kind, Span]]:
    """When it is dead or away, and when it stops for a moment; none of them meet."""
    busy_s = HOUR_S
    found = [
        (kind, span)
        for kind in (Kind.DEAD, Kind.REPAIR, Kind.CRASH, Kind.REBOOT)
        for span in _spans(rng, RATES[kind], story)
    ]
    for kind, span in sorted(found, key=lambda pair: pair[1].start_s):
        runs = any(day.start_s + HOUR_S < span.start_s < day.end_s - 2 * HOUR_S for day, _ in days)
        if runs and span.start_s > busy_s:
            busy_s = span.end_s + HOUR_S
            _note(story, kind, terminal_id, span)
            yield kind, span


def _runs(days: Sequence[tuple[Span, End]], broken: Sequence[tuple[Kind, Span]]) -> Iterator[Run]:
    ends = {Kind.DEAD: End.CUT, Kind.REPAIR: End.STOPPED, Kind.CRASH: End.KILLED, Kind.REBOOT: End.STOPPED}
    after: tuple[Kind, Span] | None = None
    for day, habit in days:
        for piece in without([day], [span for _, span in broken]):
            begun = next(((kind, span) for kind, span in broken if span.end_s == piece.start_s), None)
            ended = next((kind for kind, span in broken if span.start_s == piece.end_s), None)
            lately = begun or (after if after and after[1].end_s <= piece.start_s else None)
            if lately is not None:
                after = None
            yield Run(
                span=piece,
                end=ends[ended] if ended else habit,
                fresh=lately is not None and lately[0] is Kind.DEAD,
                boots=begun is None or begun[0] is not Kind.CRASH,
            )
            after = next(((k, s) for k, s in broken if s.start_s == piece.end_s), after)


def _flaws(story: YearStory, rng: Random, terminal_id: str) -> Iterator[Flaw]:
    """Flaws begin while the machine runs; none of a part overlaps another of its name."""
    runs = [run.span for run in story.runs[terminal_id]]
    busy: dict[tuple[str, str], float] = {}
    found = [
        (_in_runs(runs, at_s, story.duration_s), component, code, rate)
        for component, code, rate in FLAWS
        for at_s in _moments(rng, rate.a_year, story)
    ]
    for at_s in _moments(rng, RATES[Kind.FLAPPING].a_year, story):
        component, code = rng.choice(FLAPPERS)
        found.append((_in_runs(runs, at_s, story.duration_s), component, str(code), RATES[Kind.FLAPPING]))
    for at_s, component, code, rate in sorted(found, key=lambda item: item[:3]):
        lasts_s = _lasts_s(rng, rate)
        if busy.get((component, code), 0.0) + HOUR_S > at_s:
            continue
        span = Span(start_s=beside_s(at_s), end_s=beside_s(at_s + lasts_s))
        busy[component, code] = span.end_s
        flaps = rate is RATES[Kind.FLAPPING]
        kind = Kind.FLAPPING if flaps else Kind.FLAW
        story.causes.append(Cause(kind=kind, span=span, terminals=(terminal_id,), component=component, code=code))
        for piece in _contacts(rng, span) if flaps else (span,):
            yield Flaw(component=component, code=code, start_s=piece.start_s, end_s=piece.end_s)


def _contacts(rng: Random, span: Span) -> Iterator[Span]:
    at_s = span.start_s
    while at_s < span.end_s:
        every_s = rng.uniform(*FLAP_EVERY_S)
        yield Span(start_s=beside_s(at_s), end_s=beside_s(at_s + every_s * rng.uniform(0.2, 0.8)) + 1)
        at_s += every_s


def _clock_steps(story: YearStory, rng: Random, terminal_id: str) -> Iterator[tuple[float, float]]:
    """Most clocks are right; some drift and are set right monthly, and some are far off for a while."""
    drift_s = rng.uniform(-4, 4) if rng.random() < DRIFTS_SHARE else 0.0
    own_s = rng.uniform(-2, 2)
    wrong = list(_spans(rng, RATES[Kind.CLOCK], story))

    def off_s(at_s: float) -> float:
        return round(own_s + drift_s * (at_s / DAY_S % 30), 3)

    for span in wrong:
        off = rng.choice((-1, 1)) * math.pow(10, rng.uniform(2.5, 7))
        _note(story, Kind.CLOCK, terminal_id, span)
        yield span.start_s, round(off, 3)
        yield span.end_s, off_s(span.end_s)
    if drift_s:
        for day in range(story.days):
            at_s = beside_s(day * DAY_S + 7 * HOUR_S)
            if not any(span.holds(at_s) for span in wrong):
                yield at_s, off_s(at_s)
    yield 0.0, own_s


def _in_runs(runs: Sequence[Span], at_s: float, duration_s: float) -> float:
    """Move a moment of the story to the same share of the time in which the machine runs."""
    lengths = [min(span.end_s, duration_s) - span.start_s for span in runs]
    left_s = at_s / duration_s * sum(length for length in lengths if length > 0)
    for span, length in zip(runs, lengths, strict=True):
        if left_s < length:
            return span.start_s + left_s
        left_s -= max(length, 0.0)
    return at_s


def _note(story: YearStory, kind: Kind, terminal_id: str, span: Span) -> None:
    if length_s(span) > 0:
        story.causes.append(Cause(kind=kind, span=span, terminals=(terminal_id,)))


def _spans(rng: Random, rate: Rate, story: YearStory) -> Iterator[Span]:
    free_s = 0.0
    for at_s in _moments(rng, rate.a_year, story):
        if at_s >= free_s:
            free_s = at_s + _lasts_s(rng, rate)
            yield Span(start_s=beside_s(at_s), end_s=beside_s(free_s) + 1)


def _moments(rng: Random, a_year: float, story: YearStory) -> Iterator[float]:
    at_s = HOUR_S
    while True:
        at_s += rng.expovariate(story.often * a_year / YEAR_DAYS / DAY_S)
        if at_s >= story.duration_s - 4 * HOUR_S:
            return
        yield at_s


def _lasts_s(rng: Random, rate: Rate) -> float:
    shortest_s, longest_s = rate.lasts_s
    return shortest_s * math.pow(longest_s / shortest_s, rng.random())
