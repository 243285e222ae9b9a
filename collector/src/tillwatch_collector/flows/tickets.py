"""The one way that tickets move: a step of the table, the row, and a line in the journal, together.

Opening leaves it to the database whether there is an open ticket already, so that any number of writers end with one.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tillwatch_collector.domain.policy import Rule
from tillwatch_collector.domain.ticket import PERSONS_ACTIONS, Action, Status, step
from tillwatch_collector.errors import ReasonMissing, TicketActionIllegal, TicketUnknown
from tillwatch_collector.store.judgements import Entry, Judgements, KeptTicket, TicketIdentity
from tillwatch_collector.store.repository import Repository
from tillwatch_protocol.scrub import scrubbed

MACHINE = "machine:judge"
OPEN = "open"
"""What the journal calls a ticket's beginning, which no status takes as an action."""
REASON_CHARS_MAX = 500
OPEN_ATTEMPTS_MAX = 10
"""How often the open ticket that is in the way may be closed by another before it is looked at."""


class Move(StrEnum):
    """What became of a ticket."""

    OPENED = "opened"
    RECURRED = "recurred"
    """Another fault of an open one."""
    REOPENED = "reopened"
    RESOLVED = "resolved"
    CLOSED = "closed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class TicketChange:
    """A ticket that moved."""

    ticket_id: int
    move: Move
    subject_kind: str
    subject_id: str
    component: str
    code: str
    severity: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Why:
    """Who moves a ticket, why, and with what evidence."""

    actor: str
    reason: str
    evidence: dict[str, Any]


def open_or_recur(
    judgements: Judgements, identity: TicketIdentity, rule: Rule, why: Why, now: datetime
) -> TicketChange:
    """Open a ticket, or note on the open one that the fault came back."""
    for _ in range(OPEN_ATTEMPTS_MAX):
        if opened := _opened(judgements, identity, rule, why, now):
            return opened
        if there := judgements.open_ticket_of(identity):
            return _moved(judgements, there, Action.RECUR, why, now)
    raise AssertionError("an open ticket was in the way, and there is none")


def prove(judgements: Judgements, identity: TicketIdentity, why: Why, now: datetime) -> TicketChange | None:
    """Resolve the open ticket on proof; None when there is none, or it is resolved."""
    ticket = judgements.open_ticket_of(identity)
    if ticket is None or ticket.status is Status.RESOLVED:
        return None
    return _moved(judgements, ticket, Action.PROVE, why, now)


def expire(judgements: Judgements, ticket_id: int, why: Why, now: datetime) -> TicketChange | None:
    """Close a ticket that stayed resolved; None when it did not."""
    ticket = judgements.ticket(ticket_id)
    if ticket is None or ticket.status is not Status.RESOLVED:
        return None
    return _moved(judgements, ticket, Action.EXPIRE, why, now)


def act(
    repository: Repository, ticket_id: int, action: Action, *, actor: str, reason: str, now: datetime
) -> TicketChange:
    """Do what a person decided.

    Raises `TicketUnknown`, `TicketActionIllegal` or `ReasonMissing`, and then changes nothing.
    """
    if action not in PERSONS_ACTIONS:
        raise TicketActionIllegal(f"a person may {', '.join(sorted(PERSONS_ACTIONS))}; got {action}")
    if not reason.strip():
        raise ReasonMissing(f"expected the reason to {action} the ticket, got none")
    ticket = repository.judgements.ticket(ticket_id)
    if ticket is None:
        raise TicketUnknown(f"expected the number of a ticket, got {ticket_id}")
    why = Why(actor=actor, reason=reason.strip(), evidence={})
    return _moved(repository.judgements, ticket, action, why, now)


def _opened(
    judgements: Judgements, identity: TicketIdentity, rule: Rule, why: Why, now: datetime
) -> TicketChange | None:
    status = Status.REPORTED
    opened = judgements.open_ticket(identity, status=status, severity=rule.severity, category=rule.category, now=now)
    if opened is None:
        return None
    judgements.write_journal(_entry(opened, OPEN, why, before=None, after=status, now=now))
    return TicketChange(
        ticket_id=opened,
        move=Move.OPENED,
        subject_kind=identity.subject_kind,
        subject_id=identity.subject_id,
        component=identity.component,
        code=identity.code,
        severity=str(rule.severity),
    )


def _moved(judgements: Judgements, ticket: KeptTicket, action: Action, why: Why, now: datetime) -> TicketChange:
    status = step(ticket.status, action)
    judgements.move_ticket(ticket, status, now)
    judgements.write_journal(_entry(ticket.ticket_id, action, why, before=ticket.status, after=status, now=now))
    return TicketChange(
        ticket_id=ticket.ticket_id,
        move=_MOVES[ticket.status, status],
        subject_kind=ticket.subject_kind,
        subject_id=ticket.subject_id,
        component=ticket.component,
        code=ticket.code,
        severity=ticket.severity,
    )


_MOVES = {
    (Status.REPORTED, Status.REPORTED): Move.RECURRED,
    (Status.RESOLVED, Status.REPORTED): Move.REOPENED,
    (Status.REPORTED, Status.RESOLVED): Move.RESOLVED,
    (Status.REPORTED, Status.CLOSED): Move.CLOSED,
    (Status.RESOLVED, Status.CLOSED): Move.CLOSED,
    (Status.REPORTED, Status.CANCELLED): Move.CANCELLED,
}


def _entry(ticket_id: int, action: str, why: Why, *, before: str | None, after: str, now: datetime) -> Entry:
    return Entry(
        ticket_id=ticket_id,
        at=now,
        actor=why.actor,
        action=str(action),
        from_status=str(before) if before else None,
        to_status=str(after),
        reason=scrubbed(why.reason)[:REASON_CHARS_MAX],
        evidence=why.evidence,
    )
