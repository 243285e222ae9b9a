"""All that may be done with tickets: by the machine, and by people.

Whether a fault or a report opens a ticket, or belongs to one that is open, is decided (`domain.meeting`) while the row
of its subject is held, so that any number of writers end with one. A ticket that is merged goes on as another: what
comes back of it is noted there, and that one is resolved when all that it took in is over.

Every text of people is scrubbed of card numbers. What raises changes nothing. A change violates this when a ticket
changes without `flows.steps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tillwatch_collector.domain.attachment import FILES_MAX, checked
from tillwatch_collector.domain.meeting import met_by_fault, met_by_report, worse
from tillwatch_collector.domain.policy import Rule, Severity
from tillwatch_collector.domain.sla import SlaBook
from tillwatch_collector.domain.ticket import (
    FINAL,
    NO_COMPONENT,
    PERSONS_ACTIONS,
    REPORTED_CODE,
    Action,
    Origin,
    PendingOn,
    RepairMode,
    Status,
    TicketIdentity,
    check_actor,
)
from tillwatch_collector.errors import ReasonMissing, TicketActionIllegal, TicketRefused, TicketUnknown
from tillwatch_collector.flows.changes import MACHINE, Move, TicketChange, Why
from tillwatch_collector.flows.steps import OPEN, REASON_CHARS_MAX, Hand, change_of
from tillwatch_collector.store.inventory import UnknownReference
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.tickets import KeptTicket, NewAttachment, NewComment, NewTicket
from tillwatch_protocol.scrub import scrubbed

__all__ = ["MACHINE", "OPEN", "REASON_CHARS_MAX", "Move", "Report", "TicketChange", "Why"]

TITLE_CHARS_MAX = CONTACT_CHARS_MAX = 200
DESCRIPTION_CHARS_MAX = COMMENT_CHARS_MAX = 4_000
"""Two pages: what is longer is a file."""
COMMENTS_MAX = 1_000
"""Of one ticket: ten a day for a quarter."""
WATCHERS_MAX = 50
"""Of one ticket: each is told of every move."""
OPEN_ATTEMPTS_MAX = 10
"""How often the open ticket that is in the way may be closed by another before it is looked at."""

REPORTABLE = frozenset({"terminal", "store"})
"""What a person can point at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a person tells of a terminal or a store."""

    origin: Origin
    """`phone` or `web`."""
    subject_kind: str
    """`terminal` or `store`."""
    subject_id: str
    component: str = NO_COMPONENT
    code: str = REPORTED_CODE
    severity: Severity | None = None
    """None: what the policy says of the code."""
    title: str
    description: str = ""
    contact: str | None = None
    """Whom to call, and when."""


# --- what the machine does


def open_or_recur(
    repository: Repository,
    identity: TicketIdentity,
    rule: Rule,
    why: Why,
    now: datetime,
    *,
    parent_id: int | None = None,
    book: SlaBook | None = None,
) -> TicketChange:
    """Open a ticket, or note a fault on the open one that it belongs to: its own, a report, or where it was merged."""
    hand = Hand(repository=repository, why=why, now=now, book=book)
    new = NewTicket(
        identity=identity,
        status=Status.REPORTED,
        severity=rule.severity,
        category=rule.category,
        repair=rule.repair,
        origin=Origin.MACHINE,
        title=scrubbed(why.reason)[:TITLE_CHARS_MAX],
        place=repository.tickets.hold(identity.subject_kind, identity.subject_id),
        parent_id=parent_id,
    )
    for _ in range(OPEN_ATTEMPTS_MAX):
        if change := _noted(hand, new) or hand.open(new):
            return change
    raise AssertionError("an open ticket was in the way, and there is none")


def prove(
    repository: Repository, identity: TicketIdentity, why: Why, now: datetime, *, book: SlaBook | None = None
) -> TicketChange | None:
    """Resolve the open ticket on proof; None when there is none, it is resolved, or it is about more than this.

    It is about more when another fault of it stands, and when somebody called without naming a part and no person has
    looked at it since: that the line is back says nothing of the drawer that does not open.
    """
    hand = Hand(repository=repository, why=why, now=now, book=book)
    repository.tickets.hold(identity.subject_kind, identity.subject_id)
    ticket = repository.tickets.open_of(identity) or repository.tickets.goes_on_as(identity)
    if ticket is None or ticket.status is Status.RESOLVED:
        return None
    if repository.tickets.others_stand(ticket, identity) or repository.tickets.is_call_unanswered(ticket.ticket_id):
        hand.note(ticket, "prove_in_part")
        return None
    return hand.move(ticket, Action.PROVE)


def expire(
    repository: Repository, ticket_id: int, why: Why, now: datetime, *, book: SlaBook | None = None
) -> TicketChange | None:
    """Close a ticket that stayed resolved; None when it did not."""
    ticket = repository.tickets.get(ticket_id)
    if ticket is None or ticket.status is not Status.RESOLVED:
        return None
    return Hand(repository=repository, why=why, now=now, book=book).move(ticket, Action.EXPIRE)


def note(repository: Repository, identity: TicketIdentity, action: str, why: Why, now: datetime) -> bool:
    """Write a line into the journal of the open ticket of this identity; returns whether there is one."""
    ticket = repository.tickets.open_of(identity) or repository.tickets.goes_on_as(identity)
    if ticket is not None:
        Hand(repository=repository, why=why, now=now).note(ticket, action)
    return ticket is not None


# --- what people tell, decide, and do


def report(
    repository: Repository, report: Report, rule: Rule, *, actor: str, now: datetime, book: SlaBook | None = None
) -> TicketChange:
    """Open a ticket for what a person tells, or note it on the open one that it is about; a resolved one is reopened.

    `rule` is the policy's for the report's code. Which ticket it is about, says `domain.meeting`. Raises
    `UnknownReference` or `TicketRefused`.
    """
    said = _said(report)
    place = repository.tickets.find(said.subject_kind, said.subject_id) if said.subject_kind in REPORTABLE else None
    if place is None:
        raise UnknownReference("subject_id", said.subject_id)
    new = NewTicket(
        identity=TicketIdentity(
            subject_kind=said.subject_kind, subject_id=said.subject_id, component=said.component, code=said.code
        ),
        status=Status.REPORTED,
        severity=said.severity or rule.severity,
        category=rule.category,
        repair=rule.repair,
        origin=said.origin,
        title=said.title,
        description=said.description,
        contact=said.contact,
        watchers=(actor,),
        place=place,
    )
    hand = Hand(repository=repository, why=_why_told(said, actor), now=now, book=book)
    for _ in range(OPEN_ATTEMPTS_MAX):
        if change := _told(hand, said) or hand.open(new):
            return change
    raise AssertionError("an open ticket was in the way, and there is none")


def act(
    repository: Repository,
    ticket_id: int,
    action: Action,
    *,
    actor: str,
    reason: str,
    now: datetime,
    mode: RepairMode | None = None,
    pending_on: PendingOn | None = None,
    book: SlaBook | None = None,
) -> TicketChange:
    """Do what a person decided; `repair` names its `mode`, `pend` what it waits for; `merge` has a function of its own.

    Raises `TicketUnknown`, `TicketActionIllegal`, `ReasonMissing` or `TicketRefused`.
    """
    allowed = PERSONS_ACTIONS - {Action.MERGE}
    if action not in allowed:
        raise TicketActionIllegal(f"a person may {', '.join(sorted(allowed))}; got {action}")
    details = _details(action, mode, pending_on)
    hand = _hand(repository, actor, _reason(reason, action), now, book)
    values = {"repair_mode" if name == "mode" else name: value for name, value in details.items()}
    return hand.because(**details).move(_known(repository, ticket_id), action, **values)


def merge(
    repository: Repository,
    ticket_id: int,
    into_id: int,
    *,
    actor: str,
    reason: str,
    now: datetime,
    book: SlaBook | None = None,
) -> TicketChange:
    """End a ticket that is the same as another one: its faults, children and watchers go over.

    A report takes on what the ticket of a fault that is merged into it has found. Returns the change of the one that
    ends. Raises `TicketUnknown`, `TicketActionIllegal`, `ReasonMissing` or `TicketRefused`.
    """
    hand = _hand(repository, actor, _reason(reason, Action.MERGE), now, book)
    ticket, into = _both(repository, ticket_id, into_id)
    if into.status in FINAL or into.status is Status.RESOLVED:
        raise TicketRefused(f"into: expected a ticket whose work goes on, got {into_id}, which is {into.status}")
    if into.parent_id not in {None, ticket_id} and repository.tickets.has_children(ticket_id):
        raise TicketRefused(f"into: expected no part of another ticket for one that has parts itself, got {into_id}")
    change = hand.because(into=into_id).move(ticket, Action.MERGE, merged_into_id=into_id)
    _take_in(hand.because(ticket_id=ticket_id), ticket, into)
    return change


def set_parent(
    repository: Repository, ticket_id: int, parent_id: int | None, *, actor: str, reason: str, now: datetime
) -> TicketChange:
    """Make a ticket part of a larger one, or of none; a part has no parts, so that there are no circles.

    Raises `TicketUnknown`, `TicketActionIllegal`, `ReasonMissing` or `TicketRefused`.
    """
    hand = _hand(repository, actor, _reason(reason, "set_parent"), now)
    if parent_id is None:
        ticket = _known(repository, ticket_id)
    else:
        ticket, parent = _both(repository, ticket_id, parent_id)
        if parent.status in FINAL or parent.parent_id is not None:
            raise TicketRefused(f"parent_id: expected an open ticket that is no part of another, got {parent_id}")
        if repository.tickets.has_children(ticket_id):
            raise TicketRefused(f"parent_id: expected none for a ticket that has parts itself, got {parent_id}")
    _expect_open(ticket, "set_parent")
    hand.because(before=ticket.parent_id, parent_id=parent_id).note(ticket, "set_parent", parent_id=parent_id)
    return change_of(ticket._replace(parent_id=parent_id), Move.PROGRESSED)


def assign(
    repository: Repository, ticket_id: int, assignee: str | None, *, actor: str, reason: str = "", now: datetime
) -> TicketChange:
    """Give a ticket to somebody, `kind:id`, or to nobody.

    Raises `TicketUnknown`, `TicketActionIllegal` or `TicketRefused`.
    """
    if assignee is not None:
        check_actor("assignee", assignee)
    ticket = _known(repository, ticket_id)
    _expect_open(ticket, "assign")
    hand = _hand(repository, actor, reason.strip(), now)
    hand.because(before=ticket.assignee, assignee=assignee).note(ticket, "assign", assignee=assignee)
    return change_of(ticket, Move.ASSIGNED)


def watch(repository: Repository, ticket_id: int, watcher: str, *, actor: str, now: datetime) -> list[str]:
    """Let somebody, `kind:id`, be told of a ticket; returns who watches. Raises `TicketUnknown` or `TicketRefused`."""
    check_actor("watcher", watcher)
    ticket = _known(repository, ticket_id)
    if watcher in ticket.watchers:
        return ticket.watchers
    if len(ticket.watchers) >= WATCHERS_MAX:
        raise TicketRefused(f"watchers: expected at most {WATCHERS_MAX}, got one more")
    watchers = [*ticket.watchers, watcher]
    _hand(repository, actor, "", now).because(watcher=watcher).note(ticket, "watch", watchers=watchers)
    return watchers


def unwatch(repository: Repository, ticket_id: int, watcher: str, *, actor: str, now: datetime) -> list[str]:
    """Tell somebody no more of a ticket; returns who watches. Raises `TicketUnknown`."""
    ticket = _known(repository, ticket_id)
    if watcher not in ticket.watchers:
        return ticket.watchers
    watchers = [there for there in ticket.watchers if there != watcher]
    _hand(repository, actor, "", now).because(watcher=watcher).note(ticket, "unwatch", watchers=watchers)
    return watchers


def comment(
    repository: Repository, ticket_id: int, text: str, *, actor: str, now: datetime, internal: bool = False
) -> int:
    """Say something on a ticket, also after its end; returns the comment's number.

    An `internal` one is not for the merchant's eyes. Raises `TicketUnknown` or `TicketRefused`.
    """
    said = _text("text", text, COMMENT_CHARS_MAX)
    ticket = _known(repository, ticket_id)
    _expect_not_merged(ticket)
    if repository.tickets.comments_count(ticket_id) >= COMMENTS_MAX:
        raise TicketRefused(f"comments: expected at most {COMMENTS_MAX}, got one more")
    new = NewComment(ticket_id=ticket_id, at=now, actor=actor, text=said, internal=internal)
    comment_id = repository.tickets.add_comment(new)
    _hand(repository, actor, "", now).because(comment_id=comment_id, internal=internal).note(ticket, "comment")
    return comment_id


def attach(
    repository: Repository, ticket_id: int, *, name: str, media_type: str, content: bytes, actor: str, now: datetime
) -> int:
    """Add a file to a ticket, also after its end; returns the file's number.

    Raises `TicketUnknown`, `TicketRefused` or `AttachmentRefused`.
    """
    file = checked(name, media_type, content)
    ticket = _known(repository, ticket_id)
    _expect_not_merged(ticket)
    if repository.tickets.attachments_count(ticket_id) >= FILES_MAX:
        raise TicketRefused(f"attachments: expected at most {FILES_MAX}, got one more")
    new = NewAttachment(
        ticket_id=ticket_id,
        at=now,
        actor=actor,
        name=file.name,
        media_type=file.media_type,
        sha256=file.sha256,
        content=file.content,
    )
    attachment_id = repository.tickets.add_attachment(new)
    hand = _hand(repository, actor, "", now).because(attachment_id=attachment_id, name=file.name, sha256=file.sha256)
    hand.note(ticket, "attach")
    return attachment_id


# --- one cause, one ticket


def _noted(hand: Hand, new: NewTicket) -> TicketChange | None:
    """Note a fault on the open ticket that it belongs to; None when there is none."""
    identity, tickets = new.identity, hand.repository.tickets
    there = tickets.of_subject(identity.subject_kind, identity.subject_id)
    same = [ticket for ticket in there if ticket.identity == identity]
    own = next((ticket for ticket in same if ticket.status not in FINAL), None)
    told = met_by_fault(identity.component, new.severity, _open(there)) if _is_over(own) else None
    if told and (taken := tickets.take(told)):
        if own and (proved := tickets.take(own)):
            # A person told of it after its proof: it is one cause, and goes on as what they told.
            hand.because(goes_on_as=taken.ticket_id).move(proved, Action.CLOSE)
        return _identified(hand, taken, new)
    held = tickets.take(own) if own else tickets.goes_on_as(identity) if same else None
    if held is None:
        return None
    parent_id = held.parent_id or (new.parent_id if new.parent_id != held.ticket_id else None)
    return hand.move(held._replace(parent_id=parent_id), Action.RECUR, parent_id=parent_id)


def _is_over(ticket: KeptTicket | None) -> bool:
    return ticket is None or ticket.status is Status.RESOLVED


def _open(tickets: Sequence[KeptTicket]) -> list[KeptTicket]:
    return [ticket for ticket in tickets if ticket.status not in FINAL]


def _identified(hand: Hand, told: KeptTicket, new: NewTicket) -> TicketChange:
    """Let a report be about the fault that explains it; whoever took it for mended was wrong."""
    known = _take_on(hand, told, new)
    if told.status is Status.VERIFYING:
        known = known._replace(status=Status(hand.move(known, Action.RECUR).status))
    hand.set_due(known.ticket_id)
    return change_of(known, Move.IDENTIFIED)


def _take_on(hand: Hand, told: KeptTicket, found: NewTicket | KeptTicket) -> KeptTicket:
    """Let a report be about what was found; it hurts as much as the worse of both."""
    known = told._replace(
        component=found.identity.component,
        code=found.identity.code,
        severity=worse(found.severity, told.severity),
        category=found.category,
        repair=str(found.repair),
    )
    before = {name: getattr(told, name) for name in _FOUND}
    after = {name: getattr(known, name) for name in _FOUND}
    hand.because(before=before, after=after).note(told, "identify", **after)
    return known


_FOUND = ("component", "code", "severity", "category", "repair")


def _said(report: Report) -> Report:
    """Return the report as it is kept."""
    return replace(
        report,
        title=_text("title", report.title, TITLE_CHARS_MAX),
        description=_text("description", report.description, DESCRIPTION_CHARS_MAX, needed=False),
        contact=_text("contact", report.contact or "", CONTACT_CHARS_MAX, needed=False) or None,
    )


def _why_told(said: Report, actor: str) -> Why:
    told = ("origin", "component", "code", "severity", "description", "contact")
    evidence = {name: str(value) for name in told if (value := getattr(said, name))}
    return Why(actor=actor, reason=said.title, evidence=evidence)


def _told(hand: Hand, said: Report) -> TicketChange | None:
    """Note a report on the ticket that it meets: what that one does not say yet, and who is to be told of it."""
    tickets = hand.repository.tickets
    there = _open(tickets.of_subject(said.subject_kind, said.subject_id))
    found = met_by_report(said.component, said.code, there)
    met = tickets.take(found) if found else None
    if met is None:
        return None
    values: dict[str, Any] = {
        "description": met.description or said.description,
        "contact": met.contact or said.contact,
        "severity": worse(met.severity, said.severity or met.severity),
        "watchers": _with(met.watchers, [hand.why.actor]),
    }
    hand.note(met, "report", **values)
    told = met._replace(**values)
    if met.status is Status.RESOLVED:
        return hand.move(told, Action.REOPEN)
    hand.set_due(met.ticket_id)
    return change_of(told, Move.REPORTED)


# --- merging


def _both(repository: Repository, ticket_id: int, other_id: int) -> tuple[KeptTicket, KeptTicket]:
    """Hold two tickets, behind their subjects; raises `TicketUnknown` or `TicketRefused`."""
    if ticket_id == other_id:
        raise TicketRefused(f"expected two tickets, got {ticket_id} twice")
    for subject in repository.tickets.subjects_of((ticket_id, other_id)):
        repository.tickets.hold(*subject)
    found = {ticket.ticket_id: ticket for ticket in repository.tickets.get_all((ticket_id, other_id))}
    return _expect_known(found.get(ticket_id), ticket_id), _expect_known(found.get(other_id), other_id)


def _take_in(hand: Hand, ticket: KeptTicket, into: KeptTicket) -> None:
    into = into._replace(
        parent_id=None if into.parent_id == ticket.ticket_id else into.parent_id,
        severity=worse(into.severity, ticket.severity),
        watchers=_with(into.watchers, ticket.watchers),
    )
    values = {name: getattr(into, name) for name in ("parent_id", "severity", "watchers")}
    hand.note(into, "take_in", **values)
    for child in hand.repository.tickets.children(ticket.ticket_id):
        hand.note(child, "set_parent", parent_id=into.ticket_id)
    hand.repository.tickets.hand_over(ticket.ticket_id, into.ticket_id)
    if _explains(ticket, into):
        _take_on(hand, into, ticket)
    hand.set_due(into.ticket_id)


def _explains(ticket: KeptTicket, into: KeptTicket) -> bool:
    """Whether what is merged into a report is the ticket of a fault that may be what was reported."""
    same = (ticket.subject_kind, ticket.subject_id) == (into.subject_kind, into.subject_id)
    return same and into.component in {NO_COMPONENT, ticket.component} and into.code == REPORTED_CODE != ticket.code


def _with(watchers: list[str], more: list[str]) -> list[str]:
    """Add watchers as far as there is room."""
    return [*watchers, *(who for who in more if who not in watchers)][:WATCHERS_MAX]


# --- what is asked


def _hand(repository: Repository, actor: str, reason: str, now: datetime, book: SlaBook | None = None) -> Hand:
    return Hand(repository=repository, why=Why(actor=actor, reason=reason), now=now, book=book)


def _known(repository: Repository, ticket_id: int) -> KeptTicket:
    return _expect_known(repository.tickets.get(ticket_id), ticket_id)


def _expect_known(ticket: KeptTicket | None, ticket_id: int) -> KeptTicket:
    if ticket is None:
        raise TicketUnknown(f"expected the number of a ticket, got {ticket_id}")
    return ticket


def _expect_open(ticket: KeptTicket, action: str) -> None:
    if ticket.status in FINAL:
        raise TicketActionIllegal(f"a ticket that is {ticket.status} takes nothing, it is final; got {action}")


def _expect_not_merged(ticket: KeptTicket) -> None:
    if ticket.status is Status.MERGED:
        raise TicketRefused(f"expected a ticket that goes on, got one that goes on as {ticket.merged_into_id}")


def _reason(reason: str, action: str) -> str:
    if not reason.strip():
        raise ReasonMissing(f"expected the reason to {action} the ticket, got none")
    return reason.strip()


def _details(action: Action, mode: RepairMode | None, pending_on: PendingOn | None) -> dict[str, str]:
    """Return what an action is to say beside its reason, and nothing that it has no place for."""
    asked = {"mode": (Action.REPAIR, mode, RepairMode), "pending_on": (Action.PEND, pending_on, PendingOn)}
    for name, (of_action, value, known) in asked.items():
        if (action is of_action) is (value is None):
            expected = f"one of {', '.join(known)}" if action is of_action else "none"
            raise TicketRefused(f"{name}: to {action} a ticket, expected {expected}, got {value or 'none'}")
    return {name: str(value) for name, (_, value, _) in asked.items() if value is not None}


def _text(field: str, text: str, chars_max: int, *, needed: bool = True) -> str:
    """Return a text as it is kept; a card number may become longer by a character when it is masked."""
    said = scrubbed(text.strip())
    if len(said) > chars_max or (needed and not said):
        raise TicketRefused(f"{field}: expected {int(needed)} to {chars_max} characters, got {len(said)}")
    return said
