"""A stage for many terminals without rows: what a look would show of each, told to `Patterns` as judge would."""

from collections.abc import Iterable, Mapping

from tests.collector.words import at

from tillwatch_collector.domain.outage import (
    Finding,
    Node,
    NodeKind,
    Outage,
    OutageSettings,
    Phase,
    Shown,
    Stand,
    Symptom,
    asserted,
    return_s,
    silence,
)
from tillwatch_collector.domain.pattern import Key, Patterns
from tillwatch_collector.domain.presence import grace_s
from tillwatch_collector.domain.signs import SILENT

DNS: Symptom = ("network:uplink", "dns_failure")
INTERVAL_S = 60.0
LATE_S = INTERVAL_S + grace_s(INTERVAL_S)
OWN_S = return_s(INTERVAL_S)


def place(kind: NodeKind, node_id: str) -> Node:
    return Node(kind, node_id)


def shop(store: str, carrier: str = "c", region: str = "r") -> tuple[Node, ...]:
    return place(NodeKind.STORE, store), place(NodeKind.CARRIER, carrier), place(NodeKind.REGION, region)


class Stage:
    """Terminals in shops: what a look would show of each, told to `Patterns` as judge would; outages are numbered."""

    def __init__(self, places: Mapping[str, tuple[Node, ...]]) -> None:
        self.patterns = Patterns(OutageSettings())
        self.places = dict(places)
        self.heard_s = dict.fromkeys(places, 0.0)
        self.raised: set[Key] = set()
        self.own: list[Key] = []
        """Who got a ticket of its own, in order."""
        self.findings: list[Finding] = []
        self.ended: list[Outage] = []
        self.outages = 0
        self.now_s = 0.0
        self.well(places)

    def well(self, terminal_ids: Iterable[str]) -> None:
        """Hear heartbeats that complain of nothing."""
        for terminal_id in terminal_ids:
            self.heard_s[terminal_id] = self.now_s
            self.raised -= {(terminal_id, symptom) for symptom in (SILENT, DNS)}
            self.stand(terminal_id, {}, well=True)

    def off(self, terminal_ids: Iterable[str]) -> None:
        for terminal_id in terminal_ids:
            self.stand(terminal_id, {}, missed=False)

    def unsure(self, terminal_ids: Iterable[str], *symptoms: Symptom, well: bool = False) -> None:
        for terminal_id in terminal_ids:
            self.stand(terminal_id, {}, well=well, unsure=symptoms)

    def quiet(self, terminal_ids: Iterable[str]) -> None:
        """Look at terminals that were not heard, as far as they are missed."""
        for terminal_id in terminal_ids:
            late_s = self.heard_s[terminal_id] + LATE_S
            if self.now_s >= late_s:
                self.stand(terminal_id, {SILENT: self.silence(terminal_id)})

    def silence(self, terminal_id: str, *, lost: bool = False) -> Shown:
        heard_s = self.heard_s[terminal_id]
        silent = lost or self.now_s >= heard_s + 2 * INTERVAL_S + LATE_S
        return silence(at=at(heard_s), from_s=heard_s, interval_s=INTERVAL_S, silent=silent, now_s=self.now_s)

    def stand(
        self,
        terminal_id: str,
        shown: Mapping[Symptom, Shown],
        *,
        well: bool = False,
        missed: bool = True,
        unsure: Iterable[Symptom] = (),
    ) -> None:
        self.patterns.stand(
            Stand(
                terminal_id=terminal_id,
                places=self.places[terminal_id],
                missed=missed,
                well=well,
                shown=shown,
                unsure=tuple(unsure),
            ),
            self.now_s,
        )

    def complain(self, terminal_ids: Iterable[str], symptom: Symptom = DNS) -> None:
        """Hear heartbeats that complain of something."""
        for terminal_id in terminal_ids:
            shown = asserted(at=at(self.now_s), since_s=self.now_s, raise_s=60, interval_s=INTERVAL_S, span_s=180)
            self.stand(terminal_id, {symptom: shown}, well=True)

    def decide(self) -> None:
        self._settle()
        for finding in self.patterns.findings(self.now_s):
            self.findings.append(finding)
            self.patterns.claim(self._outage(finding), finding)
        self._settle()
        self.own += [key for key in self.patterns.take_alone() if key in self.raised]

    def rise(self, terminal_ids: Iterable[str], symptom: Symptom = SILENT) -> dict[str, int | None]:
        """Raise what is due to be raised; returns whose each is: an outage's, by its number, or None."""
        whose: dict[str, int | None] = {}
        for terminal_id in terminal_ids:
            if (terminal_id, symptom) in self.raised:
                continue
            self.raised.add((terminal_id, symptom))
            outage = self.patterns.claimant(terminal_id, symptom, self.now_s)
            whose[terminal_id] = outage.outage_id if outage else None
            if outage is None and not self.patterns.is_unticketed(terminal_id, symptom):
                self.own.append((terminal_id, symptom))
        return whose

    def pass_to(self, end_s: float, down: Iterable[str], *, every_s: float = 5.0) -> None:
        """Let time pass in which these say nothing, and are raised at their third miss."""
        quiet = list(down)
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + every_s)
            self.quiet(quiet)
            self.decide()
            third = 3 * INTERVAL_S + grace_s(INTERVAL_S)
            self.rise(each for each in quiet if self.now_s >= self.heard_s[each] + third)
            outages = self.patterns.outages
            assert len({(outage.symptom, outage.node) for outage in outages}) == len(outages)

    def _outage(self, finding: Finding) -> Outage:
        if finding.outages:
            first, *others = finding.outages
            for other in others:
                self.patterns.hand_over(other, first)
            return first
        self.outages += 1
        return Outage(
            outage_id=self.outages,
            ticket_id=1000 + self.outages,
            node=finding.node,
            symptom=finding.symptom,
            threshold=finding.chosen.threshold,
            hold_s=60,
        )

    def _settle(self) -> None:
        self.ended += self.patterns.settle(self.now_s)

    @property
    def named(self) -> list[tuple[str, str, str]]:
        return [(str(f.reason), str(f.node.kind), f.node.node_id) for f in self.findings]

    @property
    def open_ones(self) -> list[tuple[Node, int]]:
        return [(outage.node, len(outage.hits)) for outage in self.patterns.outages if outage.phase is Phase.OPEN]


def chain(stores: int, tills: int, **where: str) -> dict[str, tuple[Node, ...]]:
    return {f"s{store}-{till}": shop(f"s{store}", **where) for store in range(stores) for till in range(tills)}


def spread(stage: Stage, terminal_ids: Iterable[str], since_s: float = 0.0) -> None:
    """Let each have been heard at its own place within the last interval before `since_s`."""
    names = sorted(terminal_ids)
    for number, terminal_id in enumerate(names):
        stage.heard_s[terminal_id] = since_s - INTERVAL_S * number / len(names)
