"""Days in which everything happens that a year has: a small fleet, its troubles drawn dense, one kind after the other.

The troubles of a day lie in hours of their own, so that each has one cause and what must become of it can be said to
the minute: a line or a carrier in the morning, a maintenance at noon, single faults with a telephone in the afternoon,
the observer's own trouble before the evening, a station's line in the evening, a carrier abroad at night. `shared` has
those that silence many, with one who does not come back.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.scenarios.clock import chance
from tests.scenarios.model import PRINTER, SCANNER, C, Flaw
from tests.scenarios.story import Blind
from tests.scenarios.years.fleet import Shop
from tests.scenarios.years.grid import beside_s
from tests.scenarios.years.spans import joined, without
from tests.scenarios.years.story import DAY_S, HOUR_S, MINUTE_S, Cause, End, Kind, Run, YearStory

from tillwatch_simulator.link import Span

BEGINS_UTC_H = 6
"""The hour at which a world begins."""
SEASONAL = 7
"""Tills of the station that people switch off properly after an hour, and do not need for the rest of the time."""

MARKET = Shop(
    store_id="mkt1", merchant_id="markt", region="berlin", carrier="ta", time_zone="Europe/Berlin", terminals=7,
    week=((("09:00", "20:00"),),) * 7, holidays={"2026-11-03": ()},
)  # fmt: skip
BISTRO = Shop(
    store_id="caf1", merchant_id="bistro", region="berlin", carrier="ta", time_zone="Europe/Berlin", terminals=2,
    week=((("11:30", "14:30"), ("17:30", "23:00")),) * 7,
)  # fmt: skip
STATION = Shop(
    store_id="sta1", merchant_id="fuel", region="hamburg", carrier="tb", time_zone="Europe/Berlin",
    terminals=6 + SEASONAL,
)  # fmt: skip
MALL = Shop(
    store_id="sha1", merchant_id="mall", region="shanghai", carrier="ta", time_zone="Asia/Shanghai", terminals=5,
    week=((("10:00", "22:00"),),) * 7,
)  # fmt: skip
SHOPS = (MARKET, BISTRO, STATION, MALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Upkeep:
    """A maintenance that somebody enters before it begins."""

    scope: str
    scope_id: str
    span: Span


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """Somebody telephones about a terminal; `component` is empty for who only knows that it does not work."""

    at_s: float
    terminal_id: str
    component: str = ""


@dataclass(kw_only=True, slots=True)
class Troubles:
    """A story of some days, and what people and strangers do in them."""

    story: YearStory
    upkeep: list[Upkeep] = field(default_factory=list)
    repairs: list[tuple[str, Span]] = field(default_factory=list)
    """Terminals that the inventory says are in repair."""
    calls: list[Call] = field(default_factory=list)
    poison_s: list[float] = field(default_factory=list)
    """When a message comes that nobody can use."""
    holes: dict[str, list[tuple[Span, End]]] = field(default_factory=dict)
    """When a terminal does not run though its shop would have it on."""


def drawn(seed: int, *, days: int) -> Troubles:
    """Draw the troubles of this seed."""
    story = YearStory(days=days, shops=SHOPS, often=0.0)
    troubles = Troubles(story=story, holes={name: [] for name in story.terminal_ids})
    for name in story.terminal_ids:
        story.flaws[name], story.outages[name], story.clock_steps[name] = [], [], [(0.0, 0.0)]
    for day in range(days):
        _draw_day(troubles, chance(seed, f"troubles:{day}"), day)
    for shop in SHOPS:
        for name in shop.terminal_ids:
            story.runs[name] = list(_runs(troubles, chance(seed, f"habits:{name}"), shop, name))
            story.outages[name] = joined(story.outages[name])
    return troubles


def is_seasonal(terminal_id: str) -> bool:
    """Whether a terminal is switched off after an hour."""
    return terminal_id in STATION.terminal_ids[-SEASONAL:]


def _draw_day(troubles: Troubles, rng: Random, day: int) -> None:
    market = list(MARKET.terminal_ids)
    station = list(STATION.terminal_ids[:-SEASONAL])
    rng.shuffle(market)
    rng.shuffle(station)
    if MARKET.holidays.keys() != {_date(day)}:
        _draw_morning(troubles, rng, day, market)
        _draw_noon(troubles, rng, day, market)
        _draw_afternoon(troubles, rng, day, market)
    _draw_station(troubles, rng, day, station)
    _draw_observer(troubles, rng, day)
    _draw_night(troubles, rng, day)
    troubles.poison_s += [_at_s(day, rng.uniform(18.0, 19.2)) for _ in range(3)]


def _draw_morning(troubles: Troubles, rng: Random, day: int, market: list[str]) -> None:
    """A line or a carrier is away for a while; one till does not come back with the others."""
    span = _span(rng, day, 9.2, 9.4, (8 * MINUTE_S, 40 * MINUTE_S))
    if rng.random() < 0.5:
        _share(troubles, Kind.LINE, ("store", MARKET.store_id), MARKET.terminal_ids, span)
    else:
        _share(troubles, Kind.CARRIER, ("carrier", "ta"), _of_carrier("ta"), span)
    _cut(troubles, market[0], Span(start_s=beside_s((span.start_s + span.end_s) / 2), end_s=_at_s(day, 11.5)))


def _draw_noon(troubles: Troubles, rng: Random, day: int, market: list[str]) -> None:
    """In a maintenance something fails that is well at its end, and something that is not."""
    span = _span(rng, day, 11.6, 11.7, (40 * MINUTE_S, 60 * MINUTE_S))
    scopes = (("store", MARKET.store_id), ("merchant", MARKET.merchant_id))
    scope, scope_id = rng.choice(scopes)
    troubles.upkeep.append(Upkeep(scope=scope, scope_id=scope_id, span=span))
    begins_s = span.start_s + rng.uniform(2, 6) * MINUTE_S
    _cut(
        troubles,
        market[1],
        Span(start_s=beside_s(begins_s), end_s=beside_s(span.end_s + rng.uniform(8, 20) * MINUTE_S)),
    )
    lasting = Span(start_s=beside_s(begins_s), end_s=beside_s(span.end_s + rng.uniform(8, 20) * MINUTE_S))
    _flaw(troubles, market[2], PRINTER.component, C.NO_RESPONSE, lasting)
    passing = Span(start_s=beside_s(begins_s), end_s=beside_s(begins_s + 10 * MINUTE_S))
    _flaw(troubles, market[3], PRINTER.component, C.PAPER_END, passing)


def _draw_afternoon(troubles: Troubles, rng: Random, day: int, market: list[str]) -> None:
    """Single faults, some of which somebody telephones about, before the machine knows or after."""
    dead = _span(rng, day, 14.1, 14.2, (25 * MINUTE_S, 45 * MINUTE_S))
    _cut(troubles, market[4], dead)
    troubles.calls.append(Call(at_s=beside_s(dead.start_s + rng.choice((40.0, 130.0, 400.0))), terminal_id=market[4]))
    broken = _span(rng, day, 14.1, 14.3, (30 * MINUTE_S, 60 * MINUTE_S))
    _flaw(troubles, market[5], PRINTER.component, C.CUTTER_ERROR, broken)
    called_s = beside_s(broken.start_s + rng.choice((15.0, 300.0)))
    troubles.calls.append(Call(at_s=called_s, terminal_id=market[5], component=PRINTER.component))
    short = _span(rng, day, 14.2, 14.6, (3 * MINUTE_S, 12 * MINUTE_S))
    _flaw(troubles, market[3], SCANNER.component, C.NOT_ATTACHED, short)
    _stop(troubles, market[6], _span(rng, day, 14.3, 14.5, (10 * MINUTE_S, 40 * MINUTE_S)))


def _draw_station(troubles: Troubles, rng: Random, day: int, station: list[str]) -> None:
    """A loose plug in the afternoon, a till that is sent in, and a line in the evening."""
    flapping = _span(rng, day, 13.0, 13.2, (110 * MINUTE_S, 150 * MINUTE_S))
    cause = Cause(
        kind=Kind.FLAPPING, span=flapping, terminals=(station[0],), component=PRINTER.component, code=C.NO_RESPONSE
    )
    troubles.story.causes.append(cause)
    at_s = flapping.start_s
    while at_s < flapping.end_s:
        ends_s = at_s + rng.uniform(70, 110)
        flaw = Flaw(component=PRINTER.component, code=C.NO_RESPONSE, start_s=beside_s(at_s), end_s=beside_s(ends_s))
        troubles.story.flaws[station[0]].append(flaw)
        at_s = ends_s + rng.uniform(130, 170)
    if day == 0:
        away = Span(start_s=_at_s(day, 12.0), end_s=_at_s(day, 15.0))
        troubles.repairs.append((station[1], away))
        _cut(troubles, station[1], Span(start_s=away.start_s + 5 * MINUTE_S, end_s=away.end_s - 5 * MINUTE_S))
    line = _span(rng, day, 19.6, 19.9, (8 * MINUTE_S, 40 * MINUTE_S))
    _share(troubles, Kind.LINE, ("store", STATION.store_id), STATION.terminal_ids, line)
    dies_s = beside_s(line.end_s - (line.end_s - line.start_s) / 3)
    _cut(troubles, station[2], Span(start_s=dies_s, end_s=beside_s(line.end_s + rng.uniform(40, 60) * MINUTE_S)))


def _draw_observer(troubles: Troubles, rng: Random, day: int) -> None:
    kind, lasts_s = rng.choice(((Kind.BROKER, (5, 120)), (Kind.COLLECTOR, (20, 500)), (Kind.BLIND, (60, 900))))
    span = _span(rng, day, 16.9, 17.2, lasts_s)
    troubles.story.causes.append(Cause(kind=kind, span=span))
    if kind is Kind.BLIND:
        troubles.story.blind.append(Blind(span=span, hoards=rng.random() < 0.5))


def _draw_night(troubles: Troubles, rng: Random, day: int) -> None:
    """A carrier is away while only those abroad are open."""
    span = _span(rng, day, 27.0, 28.0, (10 * MINUTE_S, 30 * MINUTE_S))
    if span.end_s < troubles.story.duration_s - HOUR_S:
        _share(troubles, Kind.CARRIER, ("carrier", "ta"), _of_carrier("ta"), span)


# --- what a trouble does


def _share(troubles: Troubles, kind: Kind, node: tuple[str, str], terminals: tuple[str, ...], span: Span) -> None:
    troubles.story.causes.append(Cause(kind=kind, span=span, terminals=terminals, node=node))
    for name in terminals:
        troubles.story.outages[name].append(span)


def _cut(troubles: Troubles, terminal_id: str, span: Span) -> None:
    troubles.story.causes.append(Cause(kind=Kind.DEAD, span=span, terminals=(terminal_id,)))
    troubles.holes[terminal_id].append((span, End.CUT))


def _stop(troubles: Troubles, terminal_id: str, span: Span) -> None:
    troubles.story.causes.append(Cause(kind=Kind.REBOOT, span=span, terminals=(terminal_id,)))
    troubles.holes[terminal_id].append((span, End.STOPPED))


def _flaw(troubles: Troubles, terminal_id: str, component: str, code: str, span: Span) -> None:
    cause = Cause(kind=Kind.FLAW, span=span, terminals=(terminal_id,), component=component, code=code)
    troubles.story.causes.append(cause)
    flaw = Flaw(component=component, code=code, start_s=span.start_s, end_s=span.end_s)
    troubles.story.flaws[terminal_id].append(flaw)


# --- when it runs


def _runs(troubles: Troubles, rng: Random, shop: Shop, terminal_id: str) -> Iterator[Run]:
    habit = rng.choices((End.CUT, End.STOPPED), (3, 1))[0]
    holes = sorted(troubles.holes[terminal_id], key=lambda hole: hole[0].start_s)
    for day in _switched_on(troubles, rng, shop, terminal_id):
        for piece in without([day], [span for span, _ in holes]):
            ends = next((end for span, end in holes if span.start_s == piece.end_s), habit)
            yield Run(span=piece, end=End.STOPPED if is_seasonal(terminal_id) else ends)


def _switched_on(troubles: Troubles, rng: Random, shop: Shop, terminal_id: str) -> Iterator[Span]:
    first_s = beside_s(rng.uniform(0, 30))
    if is_seasonal(terminal_id):
        yield Span(start_s=first_s, end_s=beside_s(rng.uniform(1, 2) * HOUR_S))
    elif not shop.week:
        yield Span(start_s=first_s, end_s=math.inf)
    else:
        late = rng.randrange(troubles.story.days)
        for number, (opens_s, closes_s) in enumerate(shop.open_spans(troubles.story.days)):
            delay = rng.uniform(6, 12) if number % troubles.story.days == late else -rng.uniform(2, 30)
            on_s = max(opens_s + delay * MINUTE_S, first_s)
            off_s = closes_s + rng.uniform(-10, 30) * MINUTE_S
            if off_s > on_s:
                yield Span(start_s=beside_s(on_s), end_s=beside_s(off_s))


def _at_s(day: int, hour_utc: float) -> float:
    return beside_s(day * DAY_S + (hour_utc - BEGINS_UTC_H) * HOUR_S)


def _span(rng: Random, day: int, from_h: float, to_h: float, lasts_s: tuple[float, float]) -> Span:
    start_s = _at_s(day, rng.uniform(from_h, to_h))
    return Span(start_s=start_s, end_s=beside_s(start_s + rng.uniform(*lasts_s)) + 1)


def _of_carrier(carrier: str) -> tuple[str, ...]:
    return tuple(name for shop in SHOPS if shop.carrier == carrier for name in shop.terminal_ids)


def _date(day: int) -> str:
    return f"2026-11-{2 + day:02}"
