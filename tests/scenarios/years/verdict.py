"""What a world of years shows: the story held against what the collector made of it.

The measure is the story and what came over the wire; of the collector only its tickets, faults and outages are read.
A ticket is false when nothing of the story explains it. A fault is missed when something of the story lasted longer
than its hold and one interval, in watched time and with a way to be told, and no fault says so.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from tests.scenarios.clock import BEGINNING
from tests.scenarios.model import ACQUIRER, PRINTER, SCANNER, UPLINK
from tests.scenarios.years.record import Moved
from tests.scenarios.years.spans import joined, length_s, within, without
from tests.scenarios.years.story import OBSERVERS, SHARED, Cause, Kind
from tests.scenarios.years.world import YearWorld

from tillwatch_collector.flows.changes import Move
from tillwatch_protocol.vocabulary import AGENT_SELF, MACHINE_CLOCK, ConditionCode
from tillwatch_simulator.link import Span

INTERVAL_S = 60.0
GRACE_S = 900.0
"""After opening and before closing, nobody is judged for so long."""
LATE_S = 300.0
"""How long after its cause a ticket may come: three intervals, grace, a round, listening that stood still."""
SETTLE_S = 900.0
"""How long after an observer's trouble, or an outage, what happens may still be of it."""
MUST_S = 4 * INTERVAL_S + 20.0
"""A silence of that length, all of it judged, is missed without a fault: three intervals, one more, a round."""
BACK_S = 150.0
"""How long a terminal that can speak again may take to come back: its keepalive, its back-off."""
PARENT_MIN = 5
SILENCE_S = 3 * INTERVAL_S
"""A silence that is shorter is mended before anyone could act: a ticket for it is false."""
OPENED = frozenset({Move.OPENED, Move.REOPENED, Move.RECURRED})
SILENT = (AGENT_SELF, str(ConditionCode.SILENT))


@dataclass(kw_only=True, slots=True)
class Verdict:
    """The counts of some worlds."""

    terminal_days: float = 0.0
    detected_s: list[float] = field(default_factory=list)
    """From the last proof of life to the fault."""
    false_tickets: list[str] = field(default_factory=list)
    """That nothing of the story explains; of these:"""
    short_tickets: list[str] = field(default_factory=list)
    """about a line that was back, or an agent that was started again, before three intervals were over,"""
    observer_tickets: list[str] = field(default_factory=list)
    """in the wake of the collector's or broker's own trouble,"""
    night_tickets: list[str] = field(default_factory=list)
    """and about who is switched off by habit."""
    missed: list[str] = field(default_factory=list)
    expected: int = 0
    """Faults that had to be found."""
    parents: list[int] = field(default_factory=list)
    """Of each common cause."""
    flap_tickets: list[int] = field(default_factory=list)
    """Of each flapping fault."""
    tickets: int = 0
    """That somebody was told of."""
    children: int = 0
    """That were told of in a parent."""
    naive_tickets: int = 0

    def add(self, other: "Verdict") -> None:
        """Count another world in."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def terminal_years(self) -> float:
        return self.terminal_days / 365


def verdict(world: YearWorld) -> Verdict:
    """Hold the story against the store."""
    return _Case(world).verdict()


class _Case:
    def __init__(self, world: YearWorld) -> None:
        self.world, self.story = world, world.story
        self.faults = self._faults()
        self.shops = {name: shop for shop in self.story.shops for name in shop.terminal_ids}
        self.of_terminal: dict[str, list[Cause]] = defaultdict(list)
        for cause in self.story.causes:
            for terminal_id in cause.terminals:
                self.of_terminal[terminal_id].append(cause)
        self.mute = {name: self._mute(name) for name in self.story.terminal_ids}
        self.unwell = {name: self._unwell(name) for name in self.story.terminal_ids}
        self.judged = {shop.store_id: self._judged(shop.open_spans(self.story.days)) for shop in self.story.shops}
        self.observers = joined(cause.span for cause in self.story.of(*OBSERVERS))
        self.unsure = joined(Span(start_s=s.start_s - SETTLE_S, end_s=s.end_s + SETTLE_S) for s in self.observers)

    def verdict(self) -> Verdict:
        found = Verdict(terminal_days=float(self.story.days * len(self.story.terminal_ids)))
        for moved in self.world.record.moves:
            if moved.change.move in OPENED:
                self._judge_ticket(found, moved)
        for terminal_id in self.story.terminal_ids:
            self._judge_silences(found, terminal_id)
            self._judge_flaws(found, terminal_id)
        found.parents = [self._parents(cause) for cause in self._common()]
        found.flap_tickets = [self._tickets_of(cause) for cause in self.story.of(Kind.FLAPPING) if self._flaps(cause)]
        found.naive_tickets = self.world.record.naive_tickets + sum(
            1 for name in self.story.terminal_ids for _ in self._shown(name)
        )
        return found

    # --- what the store says

    def _faults(self) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
        found: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
        query = "SELECT terminal_id, component, code, raised_at, cleared_at FROM fault ORDER BY raised_at"
        with self.world.store.reading() as connection:
            for terminal_id, component, code, raised, cleared in connection.execute(text(query)):
                found[terminal_id, component, code].append((_s(raised), _s(cleared) if cleared else math.inf))
        return found

    # --- what the story says

    def _mute(self, terminal_id: str) -> list[Span]:
        """When it cannot speak."""
        runs = self.story.runs_of(terminal_id)
        off = without([Span(start_s=0.0, end_s=self.story.duration_s)], runs)
        breaks = (Span(start_s=a, end_s=b) for a, b in self.world.terminals[terminal_id].client.breaks)
        return joined([*off, *self.story.outages[terminal_id], *breaks])

    def _unwell(self, terminal_id: str) -> list[Span]:
        """When it cannot speak, and not for being switched off by habit, or stopped in proper form."""
        causes = (cause.span for cause in self.of_terminal[terminal_id] if cause.kind in _SILENCES)
        return joined([*causes, *(Span(start_s=a, end_s=b) for a, b in self._breaks(terminal_id))])

    def _judged(self, hours: Iterable[tuple[float, float]]) -> list[Span]:
        """When silence in a store is to be found."""
        spans = joined(Span(start_s=a, end_s=b) for a, b in hours)
        graced = (Span(start_s=s.start_s + GRACE_S, end_s=s.end_s - GRACE_S) for s in spans)
        return [span for span in graced if length_s(span) > 0]

    def _judged_at(self, terminal_id: str) -> list[Span]:
        return self.judged[self.shops[terminal_id].store_id]

    def _causes(self, terminal_id: str, start_s: float, end_s: float) -> list[Cause]:
        return [c for c in self.of_terminal[terminal_id] if c.span.start_s <= end_s and c.span.end_s >= start_s]

    # --- tickets

    def _judge_ticket(self, found: Verdict, moved: Moved) -> None:
        at_s, change = moved
        if getattr(change, "parent_id", None) is not None:
            found.children += 1
            return
        found.tickets += change.move is not Move.RECURRED
        if self._explained(moved):
            return
        said = f"{at_s:.0f} s: {change.move} {change.subject_kind} {change.subject_id} {change.component} {change.code}"
        found.false_tickets.append(said)
        if self._is_short(moved):
            found.short_tickets.append(said)
        elif any(s.start_s <= at_s <= s.end_s + SETTLE_S for s in self.observers):
            found.observer_tickets.append(said)
        elif any(c.kind is Kind.NIGHT for c in self._causes(change.subject_id, at_s - LATE_S, at_s)):
            found.night_tickets.append(said)

    def _is_short(self, moved: Moved) -> bool:
        """Whether it is about a silence of less than three intervals."""
        at_s, change = moved
        mutes = self.unwell.get(change.subject_id, [])
        about = (change.component, change.code) == SILENT
        return about and any(mute.start_s <= at_s and mute.end_s >= at_s - LATE_S for mute in mutes)

    def _explained(self, moved: Moved) -> bool:
        at_s, change = moved
        if change.subject_kind != "terminal":
            return any(cause.span.start_s <= at_s <= cause.span.end_s + SETTLE_S for cause in self.story.of(*SHARED))
        name = (change.component, change.code)
        causes = self._causes(change.subject_id, at_s - LATE_S, at_s)
        if name == SILENT:
            return any(
                mute.start_s <= at_s and mute.end_s >= at_s - LATE_S and length_s(mute) >= SILENCE_S
                for mute in self.unwell[change.subject_id]
            )
        if change.component == MACHINE_CLOCK:
            return any(c.kind is Kind.CLOCK for c in causes)
        return any((c.component, c.code) == name for c in causes)

    def _breaks(self, terminal_id: str) -> list[tuple[float, float]]:
        return self.world.terminals[terminal_id].client.breaks

    # --- silence

    def _judge_silences(self, found: Verdict, terminal_id: str) -> None:
        judged = self._judged_at(terminal_id)
        faults = self.faults[(terminal_id, *SILENT)]
        said_so = self._said_so(terminal_id)
        for mute in self.mute[terminal_id]:
            raised_s = next((a for a, b in faults if mute.start_s <= a <= mute.end_s + LATE_S), None)
            watched = list(within([mute], judged))
            begins_watched = bool(watched) and watched[0].start_s == mute.start_s
            heard_s = self.world.record.last_heard_s(terminal_id, mute.start_s)
            if raised_s is not None and heard_s is not None and begins_watched and not self._is_unsure(mute):
                found.detected_s.append(raised_s - heard_s)
            for piece in without(watched, self.unsure):
                unknown = piece.start_s < self.story.runs[terminal_id][0].span.start_s  # nobody misses a stranger
                if length_s(piece) >= MUST_S and mute.start_s not in said_so and not unknown:
                    found.expected += 1
                    if not any(a <= piece.end_s + LATE_S and b >= piece.start_s for a, b in faults):
                        found.missed.append(f"{terminal_id} was silent from {piece.start_s:.0f} to {piece.end_s:.0f} s")

    def _said_so(self, terminal_id: str) -> set[float]:
        """When it stopped in proper form: it is off, and not missed."""
        return {run.span.end_s for run in self.story.runs[terminal_id] if run.end.value == "stopped"}

    def _is_unsure(self, span: Span) -> bool:
        return any(u.start_s <= span.start_s + LATE_S and u.end_s >= span.start_s for u in self.unsure)

    # --- flaws

    def _judge_flaws(self, found: Verdict, terminal_id: str) -> None:
        for cause, piece in self._shown(terminal_id):
            if self._is_unsure_within(piece):
                continue
            found.expected += 1
            faults = self.faults[terminal_id, cause.component, cause.code]
            if not any(a <= piece.end_s + LATE_S and b >= piece.start_s for a, b in faults):
                said = f"{cause.component} {cause.code} of {terminal_id}"
                found.missed.append(f"{said} from {piece.start_s:.0f} to {piece.end_s:.0f} s")

    def _is_unsure_within(self, span: Span) -> bool:
        return any(u.start_s <= span.end_s and u.end_s >= span.start_s for u in self.unsure)

    def _shown(self, terminal_id: str) -> Iterator[tuple[Cause, Span]]:
        """Each flaw, and how long it was there to be seen and told without a break: longer than hold and interval."""
        for cause in self.of_terminal[terminal_id]:
            if cause.kind not in {Kind.FLAW, Kind.FLAPPING}:
                continue
            rule = self.world.process.policy.rule(cause.code)
            if not rule.ticket:
                continue
            for flaw in self._pieces(terminal_id, cause):
                seen = without([flaw], self._hidden(terminal_id, cause))
                longest = max(seen, key=length_s, default=None)
                if longest is not None and length_s(longest) > rule.raise_s + INTERVAL_S + 30.0:
                    yield cause, longest

    def _pieces(self, terminal_id: str, cause: Cause) -> Iterator[Span]:
        """Of a loose contact, each time."""
        for flaw in self.story.flaws[terminal_id]:
            if (flaw.component, flaw.code) == (cause.component, cause.code) and within_s(cause.span, flaw.start_s):
                yield Span(start_s=flaw.start_s, end_s=flaw.end_s)

    def _hidden(self, terminal_id: str, cause: Cause) -> list[Span]:
        """When nobody could see or tell it."""
        hiding = {PRINTER.component: {PRINTER.component}, SCANNER.component: {SCANNER.component}}
        hiding[ACQUIRER.component] = {ACQUIRER.component, UPLINK.component}
        parts = hiding.get(cause.component, {cause.component})
        others = [
            Span(start_s=flaw.start_s, end_s=flaw.end_s)
            for flaw in self.story.flaws[terminal_id]
            if flaw.component in parts and (flaw.component, flaw.code) != (cause.component, cause.code)
        ]
        away = [Span(start_s=span.start_s - INTERVAL_S, end_s=span.end_s + BACK_S) for span in self.mute[terminal_id]]
        return joined([*others, *away])

    # --- common causes, and loose contacts

    def _common(self) -> Iterator[Cause]:
        """Those that silence at least five who are missed, and meet no other."""
        shared = self.story.of(*SHARED)
        for cause in shared:
            apart = Span(start_s=cause.span.start_s - SETTLE_S, end_s=cause.span.end_s + SETTLE_S)
            others = [c.span for c in [*shared, *self.story.of(Kind.MAINTENANCE)] if c is not cause] + self.unsure
            meets = any(s.start_s <= apart.end_s and s.end_s >= apart.start_s for s in others)
            if not meets and len(self._hit(cause)) >= PARENT_MIN:
                yield cause

    def _hit(self, cause: Cause) -> list[str]:
        """Who is silent by it, is missed, and was heard before."""
        start_s = cause.span.start_s
        during = Span(start_s=start_s - INTERVAL_S, end_s=start_s + MUST_S)
        return [
            name
            for name in cause.terminals
            if length_s(cause.span) >= MUST_S
            and _covers(self._judged_at(name), during)
            and _covers(self.story.runs_of(name), Span(start_s=start_s - LATE_S, end_s=during.end_s))
        ]

    def _parents(self, cause: Cause) -> int:
        """Count the tickets that tell of it, one that is opened again too: the store had an outage lately."""
        told = {
            moved.change.ticket_id
            for moved in self.world.record.moves
            if moved.change.move in OPENED
            and moved.change.subject_kind not in {"terminal", "collector"}
            and cause.span.start_s <= moved.at_s <= cause.span.end_s + SETTLE_S
        }
        return len(told)

    def _flaps(self, cause: Cause) -> bool:
        """Whether it came often enough to be told of."""
        return sum(1 for c, _ in self._shown(cause.terminals[0]) if c is cause) > 1

    def _tickets_of(self, cause: Cause) -> int:
        subject = (cause.terminals[0], cause.component, cause.code)
        return sum(
            moved.change.move is Move.OPENED
            and (moved.change.subject_id, moved.change.component, moved.change.code) == subject
            and cause.span.start_s <= moved.at_s <= cause.span.end_s + LATE_S
            for moved in self.world.record.moves
        )


_SILENCES = SHARED | {Kind.DEAD, Kind.FORGOTTEN, Kind.CRASH}


def within_s(span: Span, at_s: float) -> bool:
    """Whether a moment lies in a span, its end included."""
    return span.start_s <= at_s <= span.end_s


def _covers(spans: Sequence[Span], wanted: Span) -> bool:
    number = bisect_right(spans, wanted.start_s, key=lambda span: span.start_s) - 1
    return number >= 0 and spans[number].end_s >= wanted.end_s


def _s(at: datetime | str) -> float:
    """Seconds of the world; plain SQL gives SQLite's text."""
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    return (when.replace(tzinfo=BEGINNING.tzinfo) - BEGINNING).total_seconds()
