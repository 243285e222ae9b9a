"""What the story says must become of it: when a silence is missed, whom a shared cause silences, what needs a ticket.

Worked out from what happens and from the shops' own hours alone, never from the collector. Allowances are said beside
each; where two troubles meet, nothing is claimed.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.scenarios.years.fleet import Shop
from tests.scenarios.years.spans import joined, length_s, within, without
from tests.scenarios.years.story import OBSERVERS, SHARED, Cause, End, Kind
from tests.scenarios.years.troubles import Troubles

from tillwatch_protocol.vocabulary import AGENT_SELF, ConditionCode
from tillwatch_simulator.link import Span

INTERVAL_S = 60.0
GRACE_S = 3.0
"""Of a heartbeat's way."""
SHOP_GRACE_S = 900.0
"""After opening and before closing nobody is missed."""
BEATS_S = 3 * INTERVAL_S + GRACE_S
RETURN_S = 2 * INTERVAL_S + 10.0 + GRACE_S
"""What each of the rest of an outage gets: an agent's longest back-off, a dial, a heartbeat's way."""
SETTLED_S = 480.0
"""After a cause: a link that notices it, a back-off, the rest's own interval, the hold, and rounds."""
TOLD_S = 60.0
"""Beyond its beats or its hold: an agent's poll, a heartbeat, a round, an outage that is looked for."""
PARENT_MIN = 5
SILENT = (AGENT_SELF, str(ConditionCode.SILENT))
EVER = (Span(start_s=-math.inf, end_s=math.inf),)

Name = tuple[str, str]
"""(component, code)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """A ticket that must be there and unproved all over a span."""

    terminal_id: str
    name: Name
    span: Span


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The story, as rules ask for it."""

    troubles: Troubles

    @cached_property
    def shops(self) -> dict[str, Shop]:
        """By terminal."""
        return {name: shop for shop in self.troubles.story.shops for name in shop.terminal_ids}

    @cached_property
    def judged(self) -> dict[str, list[Span]]:
        """When silence is missed, by terminal: between the graces of its shop's hours."""
        return {name: list(self._judged(name)) for name in self.shops}

    @cached_property
    def muted(self) -> dict[str, list[Span]]:
        """When nobody is told of a terminal."""
        found: defaultdict[str, list[Span]] = defaultdict(list)
        for name, shop in self.shops.items():
            scopes = {("terminal", name), ("store", shop.store_id), ("merchant", shop.merchant_id), ("all", "")}
            found[name] = [u.span for u in self.troubles.upkeep if (u.scope, u.scope_id) in scopes]
        return found

    @cached_property
    def repaired(self) -> dict[str, list[Span]]:
        """When a terminal is in repair, by terminal."""
        found: defaultdict[str, list[Span]] = defaultdict(list)
        for name, span in self.troubles.repairs:
            found[name].append(span)
        return found

    @cached_property
    def off(self) -> dict[str, list[Span]]:
        """When it has said that it stops, and does not run."""
        return {name: list(self._away(name, End.STOPPED)) for name in self.shops}

    @cached_property
    def mute(self) -> dict[str, list[Span]]:
        """When it cannot speak and has not said so."""
        story = self.troubles.story
        return {
            name: list(without(joined([*self._away(name, End.CUT), *story.outages[name]]), self.off[name]))
            for name in self.shops
        }

    @cached_property
    def common(self) -> list[tuple[Cause, frozenset[str]]]:
        """Each cause that must be told as one, and whom of those who are missed it silences."""
        found = [(cause, frozenset(self._hit(cause))) for cause in self.troubles.story.of(*SHARED)]
        return [(cause, hit) for cause, hit in found if len(hit) >= PARENT_MIN]

    @cached_property
    def needed(self) -> list[Needed]:
        """Every ticket that must be there."""
        return [*self._needed_for_silence(), *self._needed_for_flaws()]

    def is_judged(self, terminal_id: str, at_s: float) -> bool:
        """Whether a silence is missed then."""
        return _holds(self.judged[terminal_id], at_s)

    def flaws(self, terminal_id: str, name: Name) -> Iterator[Span]:
        """When something is wrong with a part."""
        for flaw in self.troubles.story.flaws[terminal_id]:
            if (flaw.component, flaw.code) == name:
                yield Span(start_s=flaw.start_s, end_s=flaw.end_s)

    # --- how it is worked out

    def _judged(self, terminal_id: str) -> Iterator[Span]:
        shop = self.shops[terminal_id]
        if not shop.week:
            return iter(EVER)
        spans = joined(Span(start_s=a, end_s=b) for a, b in shop.open_spans(self.troubles.story.days))
        graced = (Span(start_s=s.start_s + SHOP_GRACE_S, end_s=s.end_s - SHOP_GRACE_S) for s in spans)
        return (span for span in graced if length_s(span) > 0)

    def _away(self, terminal_id: str, end: End) -> Iterator[Span]:
        """When it does not run, after an end of this kind; before its first run it was cut."""
        before, kind = -math.inf, End.CUT
        for run in [*self.troubles.story.runs[terminal_id]]:
            if kind is end:
                yield Span(start_s=before, end_s=run.span.start_s)
            before, kind = run.span.end_s, run.end
        if kind is end and before < math.inf:
            yield Span(start_s=before, end_s=math.inf)

    def _hit(self, cause: Cause) -> Iterator[str]:
        """Who was heard before it, is missed while it lasts, and is silent by nothing else."""
        start_s = cause.span.start_s
        before = Span(start_s=start_s - SETTLED_S, end_s=start_s)
        during = Span(start_s=start_s, end_s=start_s + BEATS_S + TOLD_S)
        if length_s(cause.span) < length_s(during):
            return
        for name in cause.terminals:
            calm = not any(_meet(span, before) for span in (*self.mute[name], *self.off[name], *self.repaired[name]))
            is_missed = _holds(self.judged[name], during.start_s) and _holds(self.judged[name], during.end_s)
            if calm and is_missed and not any(_meet(span, during) for span in self.muted[name]):
                yield name

    def _needed_for_silence(self) -> Iterator[Needed]:
        shared = [Span(start_s=c.span.start_s, end_s=c.span.end_s + SETTLED_S) for c in self.troubles.story.of(*SHARED)]
        for name in self.shops:
            unheard = Span(start_s=-math.inf, end_s=self.troubles.story.runs[name][0].span.start_s)
            told = [unheard, *shared, *self._unsure(name)]
            for piece in without(list(within(self.mute[name], self.judged[name])), joined(told)):
                yield from self._late(name, SILENT, piece, BEATS_S + TOLD_S)

    def _needed_for_flaws(self) -> Iterator[Needed]:
        for cause in self.troubles.story.of(Kind.FLAW):
            (name,) = cause.terminals
            away = [Span(start_s=s.start_s, end_s=s.end_s + SETTLED_S) for s in (*self.mute[name], *self.off[name])]
            for piece in without([cause.span], joined([*away, *self._unsure(name)])):
                yield from self._late(name, (cause.component, cause.code), piece, 2 * INTERVAL_S + TOLD_S)

    def _unsure(self, terminal_id: str) -> list[Span]:
        """When no ticket may be opened, or the observer knows nothing."""
        observers = (c.span for c in self.troubles.story.of(*OBSERVERS))
        blind = (Span(start_s=s.start_s - INTERVAL_S, end_s=s.end_s + SETTLED_S) for s in observers)
        return [*blind, *self.muted[terminal_id], *self.repaired[terminal_id]]

    def _late(self, terminal_id: str, name: Name, piece: Span, late_s: float) -> Iterator[Needed]:
        end_s = min(piece.end_s, self.troubles.story.duration_s)
        if piece.start_s + late_s < end_s:
            span = Span(start_s=piece.start_s + late_s, end_s=end_s)
            yield Needed(terminal_id=terminal_id, name=name, span=span)


def holds(spans: Sequence[Span], at_s: float) -> bool:
    """Whether one of the spans holds a moment."""
    return any(span.holds(at_s) for span in spans)


_holds = holds


def _meet(one: Span, other: Span) -> bool:
    return one.start_s < other.end_s and other.start_s < one.end_s
