"""One cause, one ticket: what judge remembers of places and symptoms, and the parents that it opens from them.

In one tick: `stand` for every terminal that is looked at, then `decide`, and only then is anything raised: whoever
raises asks `claims` first, and takes `released` last. The decisions are `domain.pattern`, `domain.naming` and
`domain.outage`; here they become outages, parents and links. All positions are seconds of listened time.

A person who closes or cancels the parent ends the outage: its terminals are then nobody's until they were well once.
A parent that is merged goes on as the other ticket. A change violates this when a terminal of an open outage gets a
ticket of its own for what the outage explains.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Self

from tillwatch_collector.domain.condition import Phase
from tillwatch_collector.domain.outage import (
    Finding,
    Node,
    NodeKind,
    Outage,
    OutageSettings,
    Reason,
    Shown,
    Stand,
    Symptom,
    places_of,
    return_s,
)
from tillwatch_collector.domain.pattern import Key, Patterns
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.presence import State
from tillwatch_collector.domain.signs import SILENT
from tillwatch_collector.domain.ticket import TICKET_TABLE, Action, TicketIdentity
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.changes import MACHINE, Move, TicketChange, Why
from tillwatch_collector.flows.steps import Hand, change_of
from tillwatch_collector.store.outages import NewOutage
from tillwatch_collector.store.repository import Repository

INTERVAL_DEFAULT_S = 60.0
"""Of a terminal that has never sent a heartbeat that could be read."""

TITLE_CHARS_MAX = 200

_WIDER = ("subject_kind", "subject_id", "title", "store_id", "merchant_id")
"""What a ticket says anew when its outage reaches further."""


class Claim(NamedTuple):
    """Whose a fault is that is about to be raised."""

    ticket_id: int | None = None
    """The outage's: write it on the fault, and open nothing."""
    spreads: bool = False
    """It is the outage's first in its store: whoever is told of that store is to be told of the outage."""
    held: bool = False
    """Perhaps an outage's: write the fault without a ticket, open nothing; `released` gives it back if it is not."""


class Released(NamedTuple):
    """A fault that is the terminal's own after all: open its ticket, and link the fault to it."""

    terminal_id: str
    symptom: Symptom


class Outages:
    """Judge's memory of outages; not thread-safe, and void with its judge."""

    def __init__(self, *, policy: Policy, settings: OutageSettings) -> None:
        self._policy = policy
        self._settings = settings
        self._patterns = Patterns(settings)
        self._released: list[Released] = []

    @classmethod
    def load(cls, repository: Repository, policy: Policy, settings: OutageSettings, now_s: float) -> Self:
        """Rebuild the memory from rows: who was well may be missed, who was down already is not missed again."""
        outages = cls(policy=policy, settings=settings)
        outages._remember(repository, now_s)
        return outages

    def stand(self, stand: Stand, now_s: float) -> None:
        """Take in what one look showed, before anything of this tick is raised."""
        self._patterns.stand(stand, now_s)

    def decide(self, repository: Repository, now: datetime, now_s: float) -> list[TicketChange]:
        """Open, widen and end outages."""
        changes: list[TicketChange] = []
        self._follow_parents(repository, now)
        changes += self._settle(repository, now, now_s)
        for finding in self._patterns.findings(now_s):
            changes += self._take(repository, finding, now)
        changes += self._settle(repository, now, now_s)
        self._let_go(repository)
        return changes

    def claims(self, terminal_id: str, symptom: Symptom, now_s: float) -> Claim:
        """Say whose a fault is that is about to be raised."""
        outage = self._patterns.claimant(terminal_id, symptom, now_s)
        if outage is not None:
            stores = self._patterns.stores(terminal_id)
            spreads = not stores <= outage.reached
            outage.reached |= stores
            return Claim(ticket_id=outage.ticket_id, spreads=spreads)
        return Claim(held=self._patterns.is_unticketed(terminal_id, symptom))

    def released(self) -> list[Released]:
        """Take what is to have a ticket of its own since the last call."""
        taken, self._released = self._released, []
        return taken

    @property
    def due_s(self) -> float | None:
        """Where `decide` has something to do, whoever is looked at."""
        return self._patterns.due_s

    # --- a pattern becomes an outage, or part of one

    def _take(self, repository: Repository, finding: Finding, now: datetime) -> list[TicketChange]:
        hits, symptom = finding.chosen.hits, finding.symptom
        own = repository.outages.own_tickets(sorted(hits), *symptom)
        for subject in sorted({(str(finding.node.kind), finding.node.node_id), *repository.tickets.subjects_of(own)}):
            repository.tickets.hold(*subject)
        why = Why(actor=MACHINE, reason=_told(finding), evidence=finding.evidence())
        hand = Hand(repository=repository, why=why, now=now)
        take = {Reason.OPENED: self._open, Reason.WIDENED: self._widen, Reason.RELAPSED: self._relapse}
        outage, changes = take[finding.reason](hand, finding)
        claimed = self._patterns.claim(outage, finding)
        repository.outages.count(outage.outage_id, len(outage.hits))
        repository.outages.link(claimed, *symptom, outage.ticket_id)
        _adopt(repository, own, outage, now)
        return changes

    def _open(self, hand: Hand, finding: Finding) -> tuple[Outage, list[TicketChange]]:
        change = self._parent(hand, finding)
        outage_id = hand.repository.outages.begin(_row(finding, change.ticket_id), hand.now)
        return self._outage(outage_id, change.ticket_id, finding.node, finding.symptom, 0), [change]

    def _widen(self, hand: Hand, finding: Finding) -> tuple[Outage, list[TicketChange]]:
        """Let the oldest of the outages that the pattern explains be about all of it, and the others end in it."""
        outage, *others = finding.outages
        changes = self._rename(hand, outage, finding)
        hand.repository.outages.widen(outage.outage_id, _row(finding, outage.ticket_id))
        for other in others:
            handed = self._patterns.hand_over(other, outage)
            changes += _merge(hand, other.ticket_id, outage.ticket_id)
            hand.repository.outages.end(other.outage_id, hand.now)
            hand.repository.outages.link(handed, *finding.symptom, outage.ticket_id)
        return outage, changes

    def _relapse(self, hand: Hand, finding: Finding) -> tuple[Outage, list[TicketChange]]:
        (outage,) = finding.outages
        tickets.note(hand.repository, _identity(outage.node, outage.symptom), "relapse", hand.why, hand.now)
        return outage, []

    def _rename(self, hand: Hand, outage: Outage, finding: Finding) -> list[TicketChange]:
        """Let an outage's ticket be about the wider node; if that has an open one already, go on as that."""
        identity = _identity(finding.node, finding.symptom)
        place = hand.repository.tickets.hold(identity.subject_kind, identity.subject_id)
        ticket = hand.repository.tickets.get(outage.ticket_id)
        if ticket is None or hand.repository.tickets.open_of(identity) is not None:
            change, before = self._parent(hand, finding), outage.ticket_id
            outage.ticket_id = change.ticket_id
            return [change, *_merge(hand, before, change.ticket_id)]
        wider = ticket._replace(
            subject_kind=identity.subject_kind,
            subject_id=identity.subject_id,
            title=hand.why.reason[:TITLE_CHARS_MAX],
            store_id=place.store_id,
            merchant_id=place.merchant_id,
        )
        changed = {name: getattr(wider, name) for name in _WIDER}
        was = {"kind": ticket.subject_kind, "id": ticket.subject_id}
        hand.because(widened_from=was).note(ticket, "widen", **changed)
        return [change_of(wider, Move.WIDENED)]

    def _parent(self, hand: Hand, finding: Finding) -> TicketChange:
        rule = self._policy.rule(finding.symptom[1])
        identity = _identity(finding.node, finding.symptom)
        return tickets.open_or_recur(hand.repository, identity, rule, hand.why, hand.now)

    def _outage(self, outage_id: int, ticket_id: int, node: Node, symptom: Symptom, total: int) -> Outage:
        return Outage(
            outage_id=outage_id,
            ticket_id=ticket_id,
            node=node,
            symptom=symptom,
            threshold=self._settings.threshold(node.kind, total),
            hold_s=self._policy.rule(symptom[1]).clear_s,
        )

    # --- an outage ends

    def _settle(self, repository: Repository, now: datetime, now_s: float) -> list[TicketChange]:
        changes = []
        for outage in self._patterns.settle(now_s):
            repository.outages.end(outage.outage_id, now)
            identity = _identity(outage.node, outage.symptom)
            why = Why(actor=MACHINE, reason=_told_end(outage), evidence={"back": outage.back})
            if not outage.back:
                # Who went off or was taken away has proved nothing: what became of it, only a person can say.
                tickets.note(repository, identity, "nobody_left", why, now)
            elif change := tickets.prove(repository, identity, why, now):
                changes.append(change)
        return changes

    def _follow_parents(self, repository: Repository, now: datetime) -> None:
        """Heed what people did with the tickets of open outages."""
        outages = {outage.outage_id: outage for outage in self._patterns.outages}
        if not outages:
            return
        for parent in repository.outages.parents_left():
            outage = outages[parent.outage_id]
            if parent.merged_into_id is not None:
                outage.ticket_id = parent.merged_into_id
                repository.outages.go_on_as(outage.outage_id, outage.ticket_id)
            else:
                self._patterns.drop(outage)
                repository.outages.end(outage.outage_id, now)

    def _let_go(self, repository: Repository) -> None:
        """Release whose fault stands without a ticket of its own: who was cleared meanwhile needs none."""
        by_symptom: defaultdict[Symptom, list[str]] = defaultdict(list)
        for terminal_id, symptom in self._patterns.take_alone():
            by_symptom[symptom].append(terminal_id)
        for symptom, terminal_ids in by_symptom.items():
            unowned = repository.outages.unowned(terminal_ids, *symptom)
            self._released += [Released(each, symptom) for each in terminal_ids if each in unowned]

    # --- what rows remember

    def _remember(self, repository: Repository, now_s: float) -> None:
        stood = repository.outages.places()
        presences = {standing.terminal_id: standing.presence for standing in repository.judgements.standings()}
        raised = {
            (kept.terminal_id, (kept.component, kept.code)): kept.phase != Phase.RAISING
            for kept in repository.judgements.conditions()
        }
        # Whose fault has no ticket yet, in maintenance or while nobody knows whose it is, may yet be part of a pattern.
        for terminal_id, component, code in repository.judgements.unticketed():
            raised[terminal_id, (component, code)] = not self._policy.rule(code).ticket
        for each in stood:
            state = presences.get(each.terminal_id, State.UNKNOWN)
            is_down = raised.get((each.terminal_id, SILENT), state == State.SILENT)
            self._patterns.remember(
                each.terminal_id, places_of(each.placed), missed=state != State.OFF, seen=not is_down
            )
        for (terminal_id, symptom), is_raised in raised.items():
            if is_raised and symptom != SILENT and self._policy.rule(symptom[1]).outage:
                self._patterns.fall(terminal_id, symptom)
        intervals = {each.terminal_id: each.interval_s or INTERVAL_DEFAULT_S for each in stood}
        self._resume(repository, intervals, _showing(presences, raised), now_s)

    def _resume(self, repository: Repository, intervals: dict[str, float], showing: set[Key], now_s: float) -> None:
        """Take up the outages that have not ended, with everyone who showed the symptom there for no other reason."""
        linked: defaultdict[tuple[int, Symptom], set[str]] = defaultdict(set)
        for fault in repository.outages.linked_faults():
            linked[fault.ticket_id, (fault.component, fault.code)].add(fault.terminal_id)
            self._patterns.untick(fault.terminal_id, (fault.component, fault.code))
        explained = repository.outages.owned()
        for kept in repository.outages.open_ones():
            node, symptom = Node(NodeKind(kept.node_kind), kept.node_id), (kept.component, kept.code)
            outage = self._outage(kept.outage_id, kept.ticket_id, node, symptom, kept.terminals_total)
            there = {(terminal_id, symptom) for terminal_id in self._patterns.within(node)} & showing - explained
            hits = linked[kept.ticket_id, symptom] | {terminal_id for terminal_id, _ in there}
            outage.back = max(0, kept.terminals_hit - len(hits))
            known = sorted(hits & intervals.keys())
            self._patterns.resume(outage, {each: _still(kept.began_at, intervals[each], now_s) for each in known})


def _still(at: datetime, interval_s: float, now_s: float) -> Shown:
    """Return what a terminal shows that still shows what it did."""
    return Shown(at=at, from_s=now_s, until_s=now_s, press_s=now_s, own_s=return_s(interval_s))


def _showing(presences: dict[str, str], raised: dict[Key, bool]) -> set[Key]:
    """Return what terminals showed, or could not deny."""
    unheard = {State.LATE, State.SILENT, State.UNKNOWN}
    return {*raised, *((terminal_id, SILENT) for terminal_id, state in presences.items() if state in unheard)}


def _identity(node: Node, symptom: Symptom) -> TicketIdentity:
    return TicketIdentity(subject_kind=str(node.kind), subject_id=node.node_id, component=symptom[0], code=symptom[1])


def _row(finding: Finding, ticket_id: int) -> NewOutage:
    return NewOutage(
        node_kind=str(finding.node.kind),
        node_id=finding.node.node_id,
        component=finding.symptom[0],
        code=finding.symptom[1],
        ticket_id=ticket_id,
        began_at=finding.first_at,
        terminals_hit=len(finding.chosen.hits),
        terminals_total=finding.chosen.total,
        evidence=finding.evidence(),
    )


def _told(finding: Finding) -> str:
    chosen, (component, code) = finding.chosen, finding.symptom
    where = "the fleet" if chosen.node.kind is NodeKind.FLEET else f"{chosen.node.kind} {chosen.node.node_id}"
    return f"{code} on {component} at {len(chosen.hits)} of {chosen.total} terminals of {where}, from one moment on"


def _told_end(outage: Outage) -> str:
    component, code = outage.symptom
    return f"{code} on {component} proved gone by {outage.back} terminals themselves; who is left is judged by itself"


def _merge(hand: Hand, ticket_id: int, into_id: int) -> list[TicketChange]:
    ticket = hand.repository.tickets.get(ticket_id)
    if ticket is None or ticket_id == into_id or (ticket.status, Action.MERGE) not in TICKET_TABLE:
        return []
    return [tickets.merge(hand.repository, ticket_id, into_id, actor=MACHINE, reason=hand.why.reason, now=hand.now)]


def _adopt(repository: Repository, ticket_ids: Sequence[int], outage: Outage, now: datetime) -> None:
    """Make tickets that terminals already had for the same part of their outage's, so that nobody is told of them."""
    why = Why(actor=MACHINE, reason=f"part of outage {outage.outage_id}", evidence={"outage_id": outage.outage_id})
    hand = Hand(repository=repository, why=why, now=now).because(parent_id=outage.ticket_id)
    for ticket in repository.tickets.get_all({*ticket_ids} - {outage.ticket_id}):
        hand.note(ticket, "set_parent", parent_id=outage.ticket_id)
