"""One cause that silences or harms many terminals: where it may lie, what it shows, whom it is named after, its end.

A terminal lies in several nodes at once: its store, its merchant, the carrier of its uplink, and so on to the fleet. A
symptom that enough of a node's terminals show, who were well before, and for all of whom it may have begun at the same
moment, is a pattern. Named is the node that is most nearly the set of those who are hit: a terminal of it that is well
counts against it, and so does one that is hit elsewhere at that moment. Thus a carrier is named before one of its
stores when all of them are hit, and before the fleet, of which three others happen to be silent, too.

`domain.pattern` counts; here is what counts. A change violates this when a terminal that was down already, or that
nobody misses, makes an outage.
"""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from math import ceil
from typing import NamedTuple

from tillwatch_collector.domain.presence import SILENT_INTERVALS, grace_s
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import AGENT_SELF, NETWORK_UPLINK, Kind

NODE_ID_CHARS_MAX = 64
"""As long as a ticket's subject may be."""
HITS_MIN = 5
"""Fewer are told of one by one: two dead tills of three are no less likely two faults than one."""
SAMPLE_MAX = 20
"""Terminals that evidence names: enough to ask somebody; the rest are the outage's children."""
ALTERNATIVES_MAX = 8
"""Other nodes that evidence names: one of each kind."""
RETURN_INTERVALS = 2
"""How long an agent that could not connect may sleep before it tries again, at the most."""
DIAL_S = 10.0
"""How long a try may take that meets a line which is just coming back."""
NETWORK_BITS = {4: 24, 6: 48}
"""Of a public address: what one line or one small provider is given, and what routes are announced for."""


class NodeKind(StrEnum):
    """What a cause may lie in, in the order of naming among nodes that hold the same terminals.

    A release is named only where nothing else explains as well: where everybody runs it, it explains nothing.
    """

    ACQUIRER = "acquirer"
    STORE = "store"
    CARRIER = "carrier"
    MERCHANT = "merchant"
    REGION = "region"
    BROKER = "broker"
    FLEET = "fleet"
    RELEASE = "release"


class Node(NamedTuple):
    """A place in which a cause may lie."""

    kind: NodeKind
    node_id: str


Symptom = tuple[str, str]
"""(component, code), as in `domain.signs`: silence is (`agent:self`, `silent`)."""

FLEET = Node(NodeKind.FLEET, "fleet")
_RANK = {kind: rank for rank, kind in enumerate(NodeKind)}


@dataclass(frozen=True, kw_only=True, slots=True)
class OutageSettings:
    """What makes a pattern."""

    hits_min: int = HITS_MIN
    share_pct: float = 50.0
    share_pct_of: Mapping[NodeKind, float] = field(default_factory=lambda: {NodeKind.FLEET: 30.0})
    """For kinds that differ."""
    span_s: float = 180.0
    """How far apart conditions of one cause may show: probes and heartbeats have their own rhythms."""

    def threshold(self, kind: NodeKind, total: int) -> int:
        """Return how many of a node's terminals make a pattern."""
        return max(self.hits_min, ceil(total * self.share_pct_of.get(kind, self.share_pct) / 100))


# --- where a terminal lies


class Placed(NamedTuple):
    """Where the inventory and the head of the newest heartbeat put a terminal."""

    store_id: str | None = None
    merchant_id: str | None = None
    region: str | None = None
    carrier: str | None = None
    agent_version: str | None = None


def places_of(placed: Placed, readings: Sequence[Reading] = ()) -> tuple[Node, ...]:
    """Return the nodes of a terminal: what its components tell stands beside what people entered."""
    entered = _nodes(
        (
            (NodeKind.STORE, placed.store_id),
            (NodeKind.MERCHANT, placed.merchant_id),
            (NodeKind.REGION, placed.region),
            (NodeKind.CARRIER, placed.carrier),
            (NodeKind.RELEASE, f"agent {placed.agent_version}" if placed.agent_version else None),
        )
    )
    return tuple(dict.fromkeys((*entered, *(node for reading in readings for node in _told(reading)))))


def speaks_for(node: Node, symptom: Symptom) -> bool:
    """Whether a cause in this node can show so: an acquirer explains what is wrong with itself."""
    return node.kind is not NodeKind.ACQUIRER or symptom[0] == f"{Kind.ACQUIRER}:{node.node_id}"


def _told(reading: Reading) -> tuple[Node, ...]:
    """Read what a component knows of places: modem and uplink of the carrier, the agent of its broker."""
    kind, _, name = reading.component.partition(":")
    facts = reading.facts
    if kind == Kind.ACQUIRER:
        return _nodes([(NodeKind.ACQUIRER, name)])
    if kind == Kind.MODEM:
        return _nodes([(NodeKind.CARRIER, facts.get("operator"))])
    if kind == Kind.APPLICATION:
        digest = facts.get("digest")
        return _nodes([(NodeKind.RELEASE, f"{name} {digest}" if digest else None)])
    if reading.component == NETWORK_UPLINK:
        return _nodes([(NodeKind.CARRIER, _network(facts.get("public_address")))])
    return _nodes([(NodeKind.BROKER, facts.get("broker"))]) if reading.component == AGENT_SELF else ()


def _nodes(known: Sequence[tuple[NodeKind, str | None]]) -> tuple[Node, ...]:
    return tuple(Node(kind, node_id[:NODE_ID_CHARS_MAX]) for kind, node_id in known if node_id)


def _network(address: str | None) -> str | None:
    try:
        public = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    return str(ipaddress.ip_network((public, NETWORK_BITS[public.version]), strict=False))


# --- what a terminal shows


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A symptom that a terminal shows, in positions of listened time.

    Its cause came between `from_s` and `until_s`. At `press_s` it must be known whose it is.
    """

    at: datetime
    """When it was last well, or said that it is not: what evidence tells people."""
    from_s: float
    until_s: float
    press_s: float
    own_s: float
    """What the terminal gets after an outage before it is judged by itself."""

    @property
    def stale_s(self) -> float:
        """Where no other's symptom that may have begun with it can still be pressed."""
        return self.until_s + max(0.0, self.press_s - self.from_s)


def silence(*, at: datetime, from_s: float, interval_s: float, silent: bool, now_s: float) -> Shown:
    """Describe a late or silent terminal; `from_s`: where it was last heard, or where listening began anew after.

    Late is enough. One that is silent by its will, before its third miss, is pressed once all others of the same cause
    have missed one: the cause came within an interval of `from_s`, and they are late an interval after the cause.
    """
    grace = grace_s(interval_s)
    third_miss_s = from_s + SILENT_INTERVALS * interval_s + grace
    all_late_s = from_s + 2 * (interval_s + grace)
    return Shown(
        at=at,
        from_s=from_s,
        until_s=from_s + 2 * interval_s + grace,
        press_s=min(third_miss_s, max(now_s, all_late_s)) if silent else third_miss_s,
        own_s=return_s(interval_s),
    )


def asserted(*, at: datetime, since_s: float, raise_s: float, interval_s: float, span_s: float) -> Shown:
    """Describe a condition that is asserted since `since_s` and raised `raise_s` later."""
    own_s = return_s(interval_s)
    return Shown(at=at, from_s=since_s - span_s, until_s=since_s, press_s=since_s + raise_s, own_s=own_s)


def return_s(interval_s: float) -> float:
    """Return how long a terminal may take to be heard once nothing hinders it: a back-off, a dial, a heartbeat."""
    return RETURN_INTERVALS * interval_s + DIAL_S + grace_s(interval_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """What one look shows of a terminal."""

    terminal_id: str
    places: tuple[Node, ...]
    missed: bool
    """Not off: live, and watched or heard."""
    well: bool
    """Online on a fresh heartbeat: what it neither shows nor leaves open, it denies."""
    shown: Mapping[Symptom, Shown] = field(default_factory=dict)
    """Silence from the first missed heartbeat on, and each asserted condition whose rule says `outage`."""
    unsure: Collection[Symptom] = ()
    """What has no usable word (indeterminate, withdrawn)."""


# --- which node is named


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A node with a pattern: who of it is hit at one moment, out of how many."""

    node: Node
    hits: frozenset[str]
    total: int
    threshold: int
    elsewhere: int = 0
    """Terminals outside of it that may have been hit at the same moment."""

    @property
    def likeness(self) -> float:
        """How nearly the node is the set of those who are hit, from 0 to 1 (Jaccard's index)."""
        return len(self.hits) / (self.total + self.elsewhere)

    @property
    def rank(self) -> tuple[float, int, int, str]:
        """Order of naming, the first first."""
        return -self.likeness, self.total, _RANK[self.node.kind], self.node.node_id

    def as_evidence(self) -> dict[str, object]:
        """Return it as evidence has it."""
        return {
            "kind": str(self.node.kind),
            "id": self.node.node_id,
            "hit": len(self.hits),
            "total": self.total,
            "threshold": self.threshold,
            "elsewhere": self.elsewhere,
            "likeness": round(self.likeness, 3),
        }


def named(candidates: Collection[Candidate]) -> Candidate | None:
    """Return the node to name."""
    return min(candidates, key=lambda candidate: candidate.rank, default=None)


# --- the end


class Phase(StrEnum):
    """Where an outage stands."""

    OPEN = "open"
    ENDING = "ending"
    """Most are back; each of the rest has its own interval."""
    ENDED = "ended"


class Sign(StrEnum):
    """What is known of an outage's terminals."""

    MANY = "many"
    """At least half of the threshold show the symptom, or cannot say that they do not."""
    FEW = "few"
    NOBODY = "nobody"
    """Everyone is back or judged by itself, and has been for the hold."""


OUTAGE_TABLE: dict[tuple[Phase, Sign], Phase] = {
    (Phase.OPEN, Sign.MANY): Phase.OPEN,
    (Phase.OPEN, Sign.FEW): Phase.ENDING,
    # (OPEN, NOBODY): few come first, and the hold after them
    (Phase.ENDING, Sign.MANY): Phase.OPEN,
    (Phase.ENDING, Sign.FEW): Phase.ENDING,
    (Phase.ENDING, Sign.NOBODY): Phase.ENDED,
    # (ENDED, *): what comes after is another outage
}


def step(phase: Phase, sign: Sign) -> Phase:
    """Return the next phase; a pair without a row is our own mistake and raises `KeyError`."""
    return OUTAGE_TABLE[phase, sign]


@dataclass(kw_only=True, slots=True)
class Outage:
    """An outage that has not ended, as judge remembers it."""

    outage_id: int
    ticket_id: int
    node: Node
    symptom: Symptom
    threshold: int
    hold_s: float
    """How long it must be over before it has ended."""
    phase: Phase = Phase.OPEN
    hits: set[str] = field(default_factory=set)
    """Who has not been heard well since."""
    back: int = 0
    """How many were."""
    reached: set[Node] = field(default_factory=set)
    """Stores whose terminals have been judged to be part of it."""
    own_s: float = 0.0
    """The longest return of its terminals."""
    over_s: float = 0.0
    """Where an ending one has ended, if nobody is left."""

    def sign(self, now_s: float) -> Sign:
        """Say what is known of its terminals."""
        if 2 * len(self.hits) >= self.threshold:
            return Sign.MANY
        is_over = self.phase is Phase.ENDING and not self.hits and now_s >= self.over_s
        return Sign.NOBODY if is_over else Sign.FEW


# --- what a pattern makes


class Reason(StrEnum):
    """What a pattern makes."""

    OPENED = "opened"
    WIDENED = "widened"
    """An open outage reaches further than was thought."""
    RELAPSED = "relapsed"
    """An outage that was ending is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A pattern, what it makes, and what speaks for it."""

    reason: Reason
    symptom: Symptom
    chosen: Candidate
    first_at: datetime
    last_at: datetime
    """When the first and the last of those hit were last well."""
    span_s: float
    """Between the two, in listened time."""
    alternatives: tuple[Candidate, ...] = ()
    outages: tuple[Outage, ...] = ()
    """Which it is part of, the oldest first: those that widen to it, or the one that relapses."""

    @property
    def node(self) -> Node:
        """The node that is named."""
        return self.chosen.node

    def evidence(self) -> dict[str, object]:
        """Return what the ticket's journal and the outage keep."""
        chosen = self.chosen
        return {
            "node": chosen.as_evidence(),
            "share_pct": round(100 * len(chosen.hits) / chosen.total, 1),
            "first_at": self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "span_s": round(self.span_s, 1),
            "sample": sorted(chosen.hits)[:SAMPLE_MAX],
            "alternatives": [candidate.as_evidence() for candidate in self.alternatives[:ALTERNATIVES_MAX]],
        }
