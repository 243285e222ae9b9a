"""A hand on tickets: who moves them now, and why; each step is the row and a line in the journal, together.

`flows.tickets` says which steps there are. With a `book` it is worked out at once what is due when (`flows.sla`);
without one the next tick does it. A change violates this when a ticket changes without a line in its journal.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from tillwatch_collector.domain.sla import SlaBook
from tillwatch_collector.domain.ticket import Action, Status, step
from tillwatch_collector.flows import sla
from tillwatch_collector.flows.changes import Move, TicketChange, Why
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.tickets import Entry, KeptTicket, NewTicket
from tillwatch_protocol.scrub import scrubbed

REASON_CHARS_MAX = 500

OPEN = "open"
"""What the journal calls a ticket's beginning, which no status takes as an action."""

_MOVES = {
    Action.PROVE: Move.RESOLVED,
    Action.RECUR: Move.RECURRED,
    Action.EXPIRE: Move.CLOSED,
    Action.DIAGNOSE: Move.PROGRESSED,
    Action.REPAIR: Move.PROGRESSED,
    Action.PEND: Move.PROGRESSED,
    Action.RESUME: Move.PROGRESSED,
    Action.VERIFY: Move.PROGRESSED,
    Action.CLOSE: Move.CLOSED,
    Action.CANCEL: Move.CANCELLED,
    Action.REOPEN: Move.REOPENED,
    Action.MERGE: Move.MERGED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hand:
    """Who moves tickets in this transaction, why, and by which book."""

    repository: Repository
    why: Why
    now: datetime
    book: SlaBook | None = None

    def because(self, **evidence: Any) -> Self:
        """Return the same hand with more evidence."""
        return replace(self, why=replace(self.why, evidence={**self.why.evidence, **evidence}))

    def open(self, new: NewTicket) -> TicketChange | None:
        """Open a ticket; None when one of its identity is open."""
        opened = self.repository.tickets.open(new, self.now)
        if opened is None:
            return None
        self._write(opened, OPEN, before=None, after=new.status)
        self.set_due(opened)
        return _opened(opened, new)

    def move(self, ticket: KeptTicket, action: Action, **values: Any) -> TicketChange:
        """Take a ticket a step on, with what goes into its row beside; raises `TicketActionIllegal`."""
        status = step(ticket.status, action)
        again = int(action is Action.RECUR)
        self.repository.tickets.move(ticket.ticket_id, status, self.now, recurrences=again, **values)
        self._write(ticket.ticket_id, action, before=ticket.status, after=status)
        self.set_due(ticket.ticket_id)
        reopened = ticket.status is Status.RESOLVED and action is Action.RECUR
        return change_of(ticket._replace(status=status), Move.REOPENED if reopened else _MOVES[action])

    def note(self, ticket: KeptTicket, action: str, **values: Any) -> None:
        """Write what changes a ticket and does not move it; `values` go into its row."""
        self.repository.tickets.change(ticket.ticket_id, self.now, **values)
        self._write(ticket.ticket_id, action, before=ticket.status, after=ticket.status)

    def set_due(self, ticket_id: int) -> None:
        """Work out when it is due."""
        if self.book is not None:
            sla.set_due(self.repository, self.book, [ticket_id], self.now)

    def _write(self, ticket_id: int, action: str, *, before: str | None, after: str) -> None:
        entry = Entry(
            ticket_id=ticket_id,
            at=self.now,
            actor=self.why.actor,
            action=str(action),
            from_status=str(before) if before else None,
            to_status=str(after),
            reason=scrubbed(self.why.reason)[:REASON_CHARS_MAX],
            evidence=self.why.evidence,
        )
        self.repository.tickets.write_journal(entry)


def change_of(ticket: KeptTicket, move: Move) -> TicketChange:
    """Say what became of a ticket that is as given."""
    return TicketChange(
        ticket_id=ticket.ticket_id,
        move=move,
        subject_kind=ticket.subject_kind,
        subject_id=ticket.subject_id,
        component=ticket.component,
        code=ticket.code,
        severity=ticket.severity,
        status=str(ticket.status),
        title=ticket.title,
        store_id=ticket.store_id,
        merchant_id=ticket.merchant_id,
        parent_id=ticket.parent_id,
    )


def _opened(ticket_id: int, new: NewTicket) -> TicketChange:
    return TicketChange(
        ticket_id=ticket_id,
        move=Move.OPENED,
        subject_kind=new.identity.subject_kind,
        subject_id=new.identity.subject_id,
        component=new.identity.component,
        code=new.identity.code,
        severity=str(new.severity),
        status=str(new.status),
        title=new.title,
        store_id=new.place.store_id,
        merchant_id=new.place.merchant_id,
        parent_id=new.parent_id,
    )
