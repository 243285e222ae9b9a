"""All that the page of one ticket shows: gathered once for the page, its live part and its printed order.

Nothing here decides what may be done: that is the table's (`actions_of`). A change violates this when the page shows of
a larger ticket, a part, or an outage what the person does not see in the list of these.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any

from tillwatch_collector.api.problems import missing
from tillwatch_collector.console.evidence import Fact, Teller
from tillwatch_collector.console.pictures import clock
from tillwatch_collector.console.reasons import told
from tillwatch_collector.console.typed import Wrong
from tillwatch_collector.console.visit import Visit
from tillwatch_collector.domain import plot
from tillwatch_collector.domain.attachment import FILE_BYTES_MAX, FILES_MAX, MEDIA_TYPES
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.domain.person import Person
from tillwatch_collector.domain.plot import PlotRefused
from tillwatch_collector.domain.ticket import FINAL, Action, PendingOn, RepairMode, Status
from tillwatch_collector.store.outage_queries import OutageFilter
from tillwatch_collector.store.plots import KnownSeries, Plots
from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging
from tillwatch_collector.store.queue import Queue
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_collector.store.views import JournalView, OutageChildView, OutageView, Page, TicketDetail, TicketView

PARTS_MAX = 20
"""On the page of their larger ticket; the list has all."""
JOURNAL_MAX = 30
"""The latest; a link leads to `PAGE_ROWS_MAX`."""
COMMENTS_MAX = 200
OUTAGES_MAX = 3
"""Of one ticket: it is opened once, and relapses rarely."""
READINGS_MAX = 24
"""Measures at the opening: the component's own and those of its way out."""
SHORT_FACTS = 2
THEN = timedelta(minutes=15)
"""How long before the opening a measure still says how it was: what does not change is kept every five minutes."""

_WRITTEN = ("reason", "text", "provider")
"""What people write in words of their own."""
_WAY_OUT = ("network:", "modem:", "acquirer:")
_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What somebody sent that could not be done: it comes back as it was typed, with what was wrong."""

    form: str
    wrong: Wrong
    values: Mapping[str, str] = field(default_factory=dict)
    moved: tuple[JournalView, ...] = ()
    """What others did meanwhile."""

    def left(self, forms: Sequence[str]) -> str:
        """Return what was typed, where none of these forms can hold it any more."""
        return "" if self.form in forms else "\n".join(filter(None, (self.values.get(name) for name in _WRITTEN)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of the journal, as it is read."""

    journal_id: int
    at: datetime
    actor: str
    action: str
    from_status: str | None
    to_status: str | None
    reason: str
    facts: tuple[Fact, ...]

    @property
    def moved(self) -> bool:
        """Whether it moved the ticket."""
        return self.from_status != self.to_status

    @property
    def is_short(self) -> bool:
        """Whether its facts fit its own line."""
        return len(self.facts) <= SHORT_FACTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured when a ticket was opened."""

    component: str
    measure: str
    value: float
    unit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OutageShown:
    """An outage, and where else its cause was looked for."""

    view: OutageView
    hits: Page[OutageChildView]
    others: tuple[Mapping[str, Any], ...]


@contextmanager
def reading(visit: Visit) -> Iterator[Queue]:
    """Read as this person sees it, in one transaction; not inside another one of the same thread."""
    with visit.reading() as queries:
        yield Queue(queries.connection, queries.within)


def found(queue: Queue, ticket_id: int, now: datetime) -> TicketDetail:
    """Return a ticket that the person sees, or say that there is none."""
    ticket = queue.ticket(ticket_id, now)
    if ticket is None:
        raise missing("ticket", ticket_id)
    return ticket


def moved_since(queue: Queue, ticket_id: int, seen: int, *actions: str) -> tuple[JournalView, ...]:
    """Return what moved a ticket after a line of its journal, or did one of these things to it, the first first."""
    latest = queue.journal(ticket_id, Paging(limit=PAGE_ROWS_MAX, sort="-journal_id")).items
    after = [line for line in latest if line.journal_id > seen]
    return tuple(line for line in reversed(after) if line.from_status != line.to_status or line.action in actions)


def names(visit: Visit, people: Sequence[Person]) -> Callable[[str], str]:
    """Return how somebody who acted, `kind:id`, is called."""
    known = {person.actor: person.name for person in people}

    def name(actor: str) -> str:
        kind, _, own = actor.partition(":")
        if kind == "machine":
            return visit.words.word("ticket_machines", own)
        return known.get(actor) or (own if kind in {"person", "provider"} else actor)

    return name


# --- the page and its parts


def page(
    visit: Visit, queue: Queue, ticket: TicketDetail, *, draft: Draft | None = None, whole: bool
) -> dict[str, Any]:
    """Return what the whole page shows: the story, and the forms."""
    page_of = live(visit, queue, ticket, whole=whole)
    people = [person for person in page_of["everybody"] if _may_take(person, ticket)]
    forms = [action for action in ticket.actions if action != Action.MERGE]
    forms += ["assign", "unparent"] if ticket.status not in FINAL else []
    forms += ["comment"] if ticket.status != Status.MERGED else []
    return page_of | {
        "draft": draft,
        "left": draft.left(forms) if draft else "",
        "seen": queue.journal(ticket.ticket_id, Paging(limit=1, sort="-journal_id")).items[0].journal_id,
        "is_open": ticket.status not in FINAL,
        "modes": tuple(RepairMode),
        "waits": tuple(PendingOn),
        "people": people,
        "known": {person.actor for person in people},
        "me": visit.person.actor,
        "file_mib": FILE_BYTES_MAX // _MIB,
        "file_bytes_max": FILE_BYTES_MAX,
        "files_max": FILES_MAX,
        "media_types": MEDIA_TYPES,
    }


def live(visit: Visit, queue: Queue, ticket: TicketDetail, *, whole: bool) -> dict[str, Any]:
    """Return the story of a ticket: how it stands, on what evidence, and what happened since."""
    common = story(visit, queue, ticket, zone=None)
    latest = queue.journal(ticket.ticket_id, Paging(limit=PAGE_ROWS_MAX if whole else JOURNAL_MAX, sort="-journal_id"))
    parts = TicketFilter(parent_id=ticket.ticket_id, now=visit.now)
    return common | {
        "moved_on": False,
        "journal": [_line(line, common["teller"]) for line in latest.items],
        "journal_left": latest.total - len(latest.items),
        "parent": queue.ticket(ticket.parent_id, visit.now) if ticket.parent_id else None,
        "merged_into": queue.ticket(ticket.merged_into_id, visit.now) if ticket.merged_into_id else None,
        "children": queue.tickets(parts, Paging(limit=PARTS_MAX, sort="-severity")),
        "outages": _outages(visit, queue, ticket),
        "comments": queue.comments(ticket.ticket_id, Paging(limit=COMMENTS_MAX, sort="-comment_id")).items[::-1],
        "attachments": queue.attachments(ticket.ticket_id, Paging(limit=FILES_MAX)).items,
        "readings": _readings(queue, ticket),
        "respond": ring_of(ticket, "respond", visit.now),
        "resolve": ring_of(ticket, "resolve", visit.now),
    }


def story(visit: Visit, queue: Queue, ticket: TicketDetail, *, zone: tzinfo | None) -> dict[str, Any]:
    """Return what page and order have in common: the subject as it stands, and what the ticket was opened for."""
    everybody = queue.people()
    person = names(visit, everybody)
    teller = Teller(words=visit.words, zone=zone, person=person)
    opening = queue.journal(ticket.ticket_id, Paging(limit=1)).items
    standing = queue.standing(ticket.subject_id) if ticket.subject_kind == "terminal" else None
    return {
        "ticket": ticket,
        "zone": zone,
        "everybody": everybody,
        "person": person,
        "teller": teller,
        "told": lambda line: told(visit.words, line.actor, line.reason),
        "store": queue.store(ticket.store_id) if ticket.store_id else None,
        "terminal": standing.terminal if standing else None,
        "conditions": standing.conditions if standing else (),
        "level": standing.level if standing else None,
        "opening_reason": told(visit.words, opening[0].actor, opening[0].reason) if opening else "",
        "evidence": teller.facts(_opening(opening[0].evidence)) if opening else (),
    }


def ring_of(ticket: TicketView, promise: str, now: datetime) -> clock.Ring:
    """Draw one of a ticket's clocks."""
    is_respond = promise == "respond"
    return clock.ring(
        ticket.sla_respond if is_respond else ticket.sla_resolve,
        opened_at=ticket.opened_at,
        due_at=ticket.respond_due_at if is_respond else ticket.resolve_due_at,
        done_at=ticket.responded_at if is_respond else ticket.resolved_at,
        has_ended=ticket.status in {*FINAL, Status.RESOLVED},
        now=now,
    )


def _may_take(person: Person, ticket: TicketView) -> bool:
    """Whether somebody could work on it: they may, and they see it."""
    within = person.within
    sees = within.everywhere or ticket.merchant_id in within.merchant_ids or ticket.store_id in within.store_ids
    return person.disabled_at is None and person.may(Permission.WORK) and sees


def _line(line: JournalView, teller: Teller) -> Line:
    return Line(
        journal_id=line.journal_id,
        at=line.at,
        actor=line.actor,
        action=line.action,
        from_status=line.from_status,
        to_status=line.to_status,
        reason=told(teller.words, line.actor, line.reason),
        facts=teller.facts(_plain(line.evidence)),
    )


def _plain(evidence: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what an outage's own section shows as a table, and what only a program looks at."""
    return {name: value for name, value in evidence.items() if name not in _ELSEWHERE}


def _opening(evidence: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what stands above it already."""
    return {name: value for name, value in _plain(evidence).items() if name not in _ABOVE}


_ELSEWHERE = frozenset({"alternatives", "comment_id", "attachment_id", "sha256"})
_ABOVE = frozenset({"terminal_id", "origin", "component", "code", "description", "contact"})


def _outages(visit: Visit, queue: Queue, ticket: TicketDetail) -> list[OutageShown]:
    """Return the outages of a ticket; where else was looked is for those who see everywhere."""
    shown = queue.outages(OutageFilter(ticket_id=ticket.ticket_id), Paging(limit=OUTAGES_MAX, sort="-detected_at"))
    is_all = visit.person.within.everywhere
    return [
        OutageShown(
            view=one,
            hits=queue.outage_children(one.outage_id, Paging(limit=PARTS_MAX)),
            others=_others(one) if is_all else (),
        )
        for one in shown.items
    ]


def _others(outage: OutageView) -> tuple[Mapping[str, Any], ...]:
    chosen = outage.evidence.get("node")
    others = outage.evidence.get("alternatives") or ()
    if not chosen or not others:
        return ()
    return ({**chosen, "chosen": True}, *({**one, "chosen": False} for one in others))


def _readings(queue: Queue, ticket: TicketDetail) -> list[Measured]:
    """Return what was measured last before the opening, of the component and of the way out."""
    if ticket.subject_kind != "terminal":
        return []
    plots = Plots(queue.connection)
    wanted = [one for one in plots.series(ticket.subject_id) if _bears_on(one, ticket.component)][:READINGS_MAX]
    if not wanted:
        return []
    try:
        window = plot.window(
            from_at=ticket.opened_at - THEN,
            to_at=ticket.opened_at + timedelta(seconds=1),
            step_s=60,
            samples_since=None,
            now=ticket.opened_at,
        )
        points = plots.points([one.series_id for one in wanted], window)
    except PlotRefused:
        return []
    return [
        Measured(component=one.component, measure=one.measure, value=points[one.series_id][-1].mean, unit=one.unit)
        for one in wanted
        if points[one.series_id]
    ]


def _bears_on(series: KnownSeries, component: str) -> bool:
    return series.component == component or series.component.startswith(_WAY_OUT)
