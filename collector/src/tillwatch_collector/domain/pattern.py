"""Who shows what where, counted as it changes: the memory behind outages.

Each terminal counts in its nodes while it is missed and was well; each symptom that it shows counts there until it is
denied, or so old that nothing can still have begun with it. A question walks over those who are hit, and never over the
fleet. A pattern is looked for when somebody must be judged (`Shown.press_s`): by then everyone of the same cause shows
it, so that the whole of it is seen at once. Whoever is hit in a node with an open outage belongs to that.

A terminal belongs to at most one outage by one symptom. A change violates this when two open outages of one symptom
name one node, or when a terminal that was not heard well counts as recovered.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tillwatch_collector.domain.deadlines import Deadlines
from tillwatch_collector.domain.naming import Group, Search
from tillwatch_collector.domain.outage import (
    FLEET,
    Candidate,
    Finding,
    Node,
    NodeKind,
    Outage,
    OutageSettings,
    Phase,
    Reason,
    Shown,
    Sign,
    Stand,
    Symptom,
    speaks_for,
    step,
)
from tillwatch_collector.domain.signs import SILENT

Key = tuple[str, Symptom]
"""(`terminal_id`, symptom)."""

BREWING_SHARE = 4
"""A node with this part of its threshold may yet have a pattern: who is hit there waits for it."""


@dataclass(kw_only=True, slots=True)
class _Hit:
    """A symptom of a terminal."""

    shown: Shown
    counted: bool = False
    """Only while its terminal is expected."""
    outage: Outage | None = None
    shows: bool = True
    """Else it was shown, and has not been denied."""

    @property
    def is_free(self) -> bool:
        """Whether an outage may have it."""
        return self.shows and (self.outage is None or self.outage.phase is not Phase.OPEN)


@dataclass(kw_only=True, slots=True)
class _Terminal:
    terminal_id: str
    places: tuple[Node, ...] = ()
    missed: bool = False
    seen: bool = False
    """It was well, and has not been silent for long since."""
    hits: dict[Symptom, _Hit] = field(default_factory=dict)
    down: set[Symptom] = field(default_factory=set)
    """What it has shown for long."""
    unticketed: set[Symptom] = field(default_factory=set)
    """Raised, and without a ticket of its own."""

    @property
    def expected(self) -> bool:
        """Whether it counts among its nodes' terminals."""
        return self.missed and self.seen

    def free_hit(self, symptom: Symptom) -> _Hit | None:
        """Return what an outage may have."""
        hit = self.hits.get(symptom)
        return hit if hit is not None and hit.is_free else None


class Patterns:
    """All terminals, in memory; not thread-safe."""

    def __init__(self, settings: OutageSettings) -> None:
        self._settings = settings
        self._terminals: dict[str, _Terminal] = {}
        self._expected: Counter[Node] = Counter()
        self._down: defaultdict[Symptom, Counter[Node]] = defaultdict(Counter)
        self._hits: defaultdict[Symptom, dict[Node, set[str]]] = defaultdict(dict)
        self._presses: Deadlines[Key] = Deadlines()
        self._stales: Deadlines[Key] = Deadlines()
        self._outages: dict[tuple[Symptom, Node], Outage] = {}
        self._stirred: dict[int, Outage] = {}
        """Outages whose terminals changed, or that are ending."""
        self._alone: list[Key] = []
        self.steps = 0
        """Hits that searches have looked at: what a bound is measured on."""

    # --- what looks show

    def stand(self, stand: Stand, now_s: float) -> None:
        """Take in what one look showed."""
        terminal = self._terminal(stand.terminal_id)
        unmissed = stand.missed and not terminal.missed
        self._place(terminal, stand.places)
        self._expect(terminal, missed=stand.missed, seen=terminal.seen or stand.well)
        for symptom in {*terminal.hits, *terminal.down} - stand.shown.keys():
            if stand.well and symptom not in stand.unsure:
                self._deny(terminal, symptom)
            elif symptom in terminal.hits:
                self._doubt(terminal, symptom)
        for symptom, shown in stand.shown.items():
            # What came while nobody missed the terminal may have come at any time until now.
            until_s = max(shown.until_s, now_s) if unmissed else shown.until_s
            self._show(terminal, symptom, replace(shown, until_s=until_s))

    def claimant(self, terminal_id: str, symptom: Symptom, now_s: float) -> Outage | None:
        """Return whose a symptom is that is being raised; see `is_held` where it is nobody's."""
        terminal = self._terminal(terminal_id)
        hit = terminal.hits.get(symptom)
        if hit is None:
            return None
        if hit.outage is not None or self._waits(terminal, symptom, hit, now_s):
            terminal.unticketed.add(symptom)
        return hit.outage

    def stores(self, terminal_id: str) -> set[Node]:
        """Return the store of a terminal, if it has one."""
        return {node for node in self._terminal(terminal_id).places if node.kind is NodeKind.STORE}

    def is_unticketed(self, terminal_id: str, symptom: Symptom) -> bool:
        """Whether a raised symptom is an outage's, or waits until it is known whose it is."""
        return symptom in self._terminal(terminal_id).unticketed

    def take_alone(self) -> list[Key]:
        """Take whose raised symptom needs a ticket of its own after all."""
        taken, self._alone = self._alone, []
        return taken

    @property
    def due_s(self) -> float | None:
        """Where there is something to decide, whoever is looked at."""
        dues = [outage.over_s for outage in self._stirred.values() if outage.phase is Phase.ENDING]
        press_s = self._presses.earliest()
        return min(dues if press_s is None else [*dues, press_s], default=None)

    @property
    def outages(self) -> list[Outage]:
        """Return the outages that have not ended."""
        return list(self._outages.values())

    # --- what rows remember

    def remember(self, terminal_id: str, places: tuple[Node, ...], *, missed: bool, seen: bool) -> None:
        """Take a terminal as it was."""
        terminal = self._terminal(terminal_id)
        self._place(terminal, places)
        self._expect(terminal, missed=missed, seen=seen)

    def resume(self, outage: Outage, hits: dict[str, Shown]) -> None:
        """Take an outage that had not ended, and who had not come back."""
        self._outages[outage.symptom, outage.node] = outage
        self._stirred[outage.outage_id] = outage
        for terminal_id, shown in hits.items():
            terminal = self._terminal(terminal_id)
            terminal.hits[outage.symptom] = hit = _Hit(shown=shown, shows=False)
            self._join(terminal, hit, outage)

    def untick(self, terminal_id: str, symptom: Symptom) -> None:
        """Take a raised symptom without a ticket of its own."""
        self._terminal(terminal_id).unticketed.add(symptom)

    def fall(self, terminal_id: str, symptom: Symptom) -> None:
        """Take a symptom that a terminal has shown for long."""
        self._fall(self._terminal(terminal_id), symptom)

    def within(self, node: Node) -> Iterator[str]:
        """Walk over the fleet for the terminals of a node: for a start only."""
        return (terminal.terminal_id for terminal in self._terminals.values() if node in terminal.places)

    # --- what is decided

    def findings(self, now_s: float) -> Iterator[Finding]:
        """Yield each pattern that needs an outage; `claim` it before the next is asked for."""
        self._let_stale(now_s)
        pressed: defaultdict[Symptom, list[_Terminal]] = defaultdict(list)
        for terminal_id, symptom in self._presses.take_due(now_s, len(self._presses)):
            pressed[symptom].append(self._terminal(terminal_id))
        for symptom, terminals in pressed.items():
            if waiting := {terminal.terminal_id for terminal in terminals if terminal.free_hit(symptom)}:
                yield from self._search(symptom, waiting)
            for terminal in terminals:
                self._judge_alone(terminal, symptom)

    def claim(self, outage: Outage, finding: Finding) -> list[str]:
        """Give an outage its node and everyone there who is hit and free; return these."""
        self._outages.pop((outage.symptom, outage.node), None)
        outage.node, outage.threshold = finding.node, finding.chosen.threshold
        self._outages[outage.symptom, outage.node] = outage
        claimed = []
        for terminal_id in sorted(self._hits[outage.symptom].get(outage.node, ())):
            terminal = self._terminal(terminal_id)
            hit = terminal.hits[outage.symptom]
            if hit.is_free and hit.outage is not outage:
                self._join(terminal, hit, outage)
                claimed.append(terminal_id)
        outage.phase = step(outage.phase, Sign.MANY)
        return claimed

    def hand_over(self, outage: Outage, heir: Outage) -> list[str]:
        """End an outage whose terminals another one has, too; return these."""
        handed = sorted(outage.hits)
        for terminal_id in handed:
            terminal = self._terminal(terminal_id)
            self._join(terminal, terminal.hits[outage.symptom], heir)
        self._forget(outage)
        return handed

    def drop(self, outage: Outage) -> None:
        """Forget an outage that a person ended: who is hit goes on being so, for nobody."""
        for terminal_id in outage.hits:
            terminal = self._terminal(terminal_id)
            self._uncount(terminal, outage.symptom)
            del terminal.hits[outage.symptom]
            terminal.unticketed.discard(outage.symptom)
            self._fall(terminal, outage.symptom)
        self._forget(outage)

    def settle(self, now_s: float) -> list[Outage]:
        """Move each outage whose terminals changed; return those that ended."""
        ended = []
        for outage in list(self._stirred.values()):
            if step(outage.phase, outage.sign(now_s)) is Phase.ENDING and outage.phase is Phase.OPEN:
                outage.phase = Phase.ENDING
                self._let_go(outage, now_s)
            outage.phase = step(outage.phase, outage.sign(now_s))
            if outage.phase is Phase.OPEN:
                del self._stirred[outage.outage_id]
            elif outage.phase is Phase.ENDED:
                self._forget(outage)
                ended.append(outage)
        return ended

    # --- counting

    def _terminal(self, terminal_id: str) -> _Terminal:
        terminal = self._terminals.get(terminal_id)
        if terminal is None:
            terminal = self._terminals[terminal_id] = _Terminal(terminal_id=terminal_id)
        return terminal

    def _place(self, terminal: _Terminal, places: tuple[Node, ...]) -> None:
        places = (*(node for node in places if node != FLEET), FLEET)
        if places == terminal.places:
            return
        counted = [symptom for symptom, hit in terminal.hits.items() if hit.counted]
        missed = terminal.missed
        self._expect(terminal, missed=False, seen=terminal.seen)
        terminal.places = places
        self._expect(terminal, missed=missed, seen=terminal.seen)
        for symptom in counted:
            self._count(terminal, symptom)

    def _expect(self, terminal: _Terminal, *, missed: bool, seen: bool) -> None:
        before = terminal.expected
        terminal.missed, terminal.seen = missed, seen
        if terminal.expected is before:
            return
        for symptom in terminal.hits:
            self._uncount(terminal, symptom)
        change = 1 if terminal.expected else -1
        for node in terminal.places:
            self._expected[node] += change
            for symptom in terminal.down:
                self._down[symptom][node] += change

    def _fall(self, terminal: _Terminal, symptom: Symptom) -> None:
        """Count a terminal no more where it would have to be well."""
        if symptom == SILENT:
            self._expect(terminal, missed=terminal.missed, seen=False)
        elif symptom not in terminal.down:
            terminal.down.add(symptom)
            if terminal.expected:
                self._down[symptom].update(terminal.places)

    def _rise(self, terminal: _Terminal, symptom: Symptom) -> None:
        if symptom in terminal.down:
            terminal.down.discard(symptom)
            if terminal.expected:
                self._down[symptom].subtract(terminal.places)

    def _count(self, terminal: _Terminal, symptom: Symptom) -> None:
        terminal.hits[symptom].counted = True
        nodes = self._hits[symptom]
        for node in terminal.places:
            if speaks_for(node, symptom):
                nodes.setdefault(node, set()).add(terminal.terminal_id)

    def _uncount(self, terminal: _Terminal, symptom: Symptom) -> None:
        if not terminal.hits[symptom].counted:
            return
        terminal.hits[symptom].counted = False
        nodes = self._hits[symptom]
        for node in terminal.places:
            if speaks_for(node, symptom):
                nodes[node].discard(terminal.terminal_id)
                if not nodes[node]:
                    del nodes[node]

    def _group(self, node: Node, symptom: Symptom, hits: set[str]) -> Group:
        total = self._expected[node] - self._down[symptom][node]
        return Group(hits=frozenset(hits), total=total, threshold=self._settings.threshold(node.kind, total))

    # --- one terminal's symptom

    def _show(self, terminal: _Terminal, symptom: Symptom, shown: Shown) -> None:
        hit = terminal.hits.get(symptom)
        if hit is not None:
            if hit.outage is None and shown.press_s < hit.shown.press_s:
                hit.shown = replace(hit.shown, press_s=shown.press_s)
                self._arm(terminal, symptom, hit)
            hit.shows = True
            return
        was_well = terminal.expected and symptom not in terminal.down
        if not was_well and symptom not in terminal.unticketed:
            return
        terminal.hits[symptom] = hit = _Hit(shown=shown)
        if was_well:
            self._count(terminal, symptom)
        self._arm(terminal, symptom, hit)
        over = (self._outages.get((symptom, node)) for node in terminal.places)
        if outage := next((each for each in over if each is not None and each.phase is Phase.OPEN), None):
            self._join(terminal, hit, outage)

    def _deny(self, terminal: _Terminal, symptom: Symptom) -> None:
        self._rise(terminal, symptom)
        if symptom not in terminal.hits:
            return
        self._uncount(terminal, symptom)
        outage = terminal.hits[symptom].outage
        self._leave(terminal, symptom)
        del terminal.hits[symptom]
        if outage is not None:
            outage.back += 1

    def _doubt(self, terminal: _Terminal, symptom: Symptom) -> None:
        """Take in that it is neither shown nor denied: off, listened to anew, or its component has no word."""
        hit = terminal.hits[symptom]
        if hit.outage is not None:
            hit.shows = False
        elif symptom == SILENT or not terminal.missed:
            self._uncount(terminal, symptom)
            del terminal.hits[symptom]

    def _arm(self, terminal: _Terminal, symptom: Symptom, hit: _Hit) -> None:
        self._presses.arm((terminal.terminal_id, symptom), hit.shown.press_s)
        self._stales.arm((terminal.terminal_id, symptom), hit.shown.stale_s)

    def _let_stale(self, now_s: float) -> None:
        for terminal_id, symptom in self._stales.take_due(now_s, len(self._stales)):
            terminal = self._terminal(terminal_id)
            hit = terminal.hits.get(symptom)
            if hit is None or not hit.counted:
                continue
            self._uncount(terminal, symptom)
            self._fall(terminal, symptom)
            if hit.outage is None:
                del terminal.hits[symptom]

    def _join(self, terminal: _Terminal, hit: _Hit, outage: Outage) -> None:
        if hit.outage is not None:
            hit.outage.hits.discard(terminal.terminal_id)
            self._stirred[hit.outage.outage_id] = hit.outage
        hit.outage = outage
        outage.hits.add(terminal.terminal_id)
        outage.own_s = max(outage.own_s, hit.shown.own_s)
        self._stirred[outage.outage_id] = outage

    def _leave(self, terminal: _Terminal, symptom: Symptom) -> None:
        hit = terminal.hits[symptom]
        if hit.outage is not None:
            hit.outage.hits.discard(terminal.terminal_id)
            self._stirred[hit.outage.outage_id] = hit.outage
            hit.outage = None

    def _judge_alone(self, terminal: _Terminal, symptom: Symptom) -> None:
        """No pattern has it: what is raised gets its ticket; what is not will be raised in its time."""
        hit = terminal.hits.get(symptom)
        if hit is None or (hit.outage is not None and hit.outage.phase is Phase.OPEN):
            return
        self._leave(terminal, symptom)
        if not hit.shows:
            self._uncount(terminal, symptom)
            del terminal.hits[symptom]
        elif symptom in terminal.unticketed:
            terminal.unticketed.discard(symptom)
            self._alone.append((terminal.terminal_id, symptom))

    def _waits(self, terminal: _Terminal, symptom: Symptom, hit: _Hit, now_s: float) -> bool:
        """Whether a node of the terminal may yet have a pattern before it must be judged."""
        if not hit.counted or hit.shown.press_s <= now_s:
            return False
        nodes = self._hits[symptom]
        groups = (self._group(node, symptom, nodes[node]) for node in terminal.places if len(nodes.get(node, ())) > 1)
        return any(
            group.total >= group.threshold and len(group.hits) * BREWING_SHARE >= group.threshold for group in groups
        )

    # --- one search, one end

    def _search(self, symptom: Symptom, waiting: set[str]) -> Iterator[Finding]:
        nodes = self._hits[symptom]
        groups = {node: self._group(node, symptom, hits) for node, hits in nodes.items()}
        groups = {node: group for node, group in groups.items() if len(group.hits) >= group.threshold}
        if not groups:
            return
        shown = {each: self._terminal(each).hits[symptom].shown for hits in nodes.values() for each in hits}
        search = Search(shown, groups)
        while (best := search.best()) is not None:
            chosen, others = best
            search.explain(chosen.hits)
            if not waiting.isdisjoint(chosen.hits) and any(self._terminal(e).free_hit(symptom) for e in chosen.hits):
                yield self._finding(symptom, chosen, others, shown)
        self.steps += search.steps

    def _finding(
        self, symptom: Symptom, chosen: Candidate, others: tuple[Candidate, ...], shown: dict[str, Shown]
    ) -> Finding:
        there = self._outages.get((symptom, chosen.node))
        within = [there] if there is not None else self._within(symptom, chosen.node)
        hits = [shown[terminal_id] for terminal_id in chosen.hits]
        starts = [hit.from_s for hit in hits]
        return Finding(
            reason=Reason.RELAPSED if there is not None else Reason.WIDENED if within else Reason.OPENED,
            symptom=symptom,
            chosen=chosen,
            first_at=min(hit.at for hit in hits),
            last_at=max(hit.at for hit in hits),
            span_s=max(starts) - min(starts),
            alternatives=others,
            outages=tuple(within),
        )

    def _within(self, symptom: Symptom, node: Node) -> list[Outage]:
        """Return the open outages that began lately, and mostly in this node, the oldest first."""
        lately = self._hits[symptom].get(node, set())
        found = [
            outage
            for outage in self._outages.values()
            if outage.symptom == symptom and outage.phase is Phase.OPEN
            if 2 * len(outage.hits & lately) >= len(outage.hits) > 0
        ]
        return sorted(found, key=lambda outage: outage.outage_id)

    def _let_go(self, outage: Outage, now_s: float) -> None:
        """Give each of the rest its own interval, in which it counts as hit since now."""
        outage.over_s = now_s + max(outage.hold_s, outage.own_s)
        for terminal_id in sorted(outage.hits):
            terminal = self._terminal(terminal_id)
            hit = terminal.hits[outage.symptom]
            if not hit.shows:
                self._judge_alone(terminal, outage.symptom)
                continue
            own_s = now_s + hit.shown.own_s
            hit.shown = replace(hit.shown, from_s=now_s, until_s=own_s, press_s=own_s)
            self._rise(terminal, outage.symptom)
            self._expect(terminal, missed=terminal.missed, seen=True)
            self._count(terminal, outage.symptom)
            self._arm(terminal, outage.symptom, hit)

    def _forget(self, outage: Outage) -> None:
        outage.hits.clear()
        self._outages.pop((outage.symptom, outage.node), None)
        self._stirred.pop(outage.outage_id, None)
