"""Tickets held against their contracts: due times kept on the row, and who is told as time runs out.

Every step of a ticket marks it in its own transaction, and so does a change of its store's contract or calendar; the
tick, which has read the SLA file, takes what is marked and works it out from the journal, many tickets at a time. An
idle tick costs one look at an index. What takes part in a larger piece of work, an outage above all, is not escalated
by itself. A change violates this when a due time can stay what an earlier calendar made it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from tillwatch_collector.domain.hours import Hours, parse_hours
from tillwatch_collector.domain.sla import (
    Contract,
    Escalation,
    EscalationStep,
    Promised,
    SlaBook,
    deadlines,
    escalation,
    responded_at,
)
from tillwatch_collector.errors import HoursInvalid
from tillwatch_collector.flows.changes import Move, TicketChange
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.sla import ClockedTicket, KeptDueTimes, StoreTerms
from tillwatch_collector.store.tickets import Entry

TICKETS_MAX = 1_000
"""Worked out at a time: some tenths of a second of the tick; the rest follows in the next."""

ACTOR = "machine:sla"
ESCALATE = "escalate"


def set_due(repository: Repository, book: SlaBook, ticket_ids: Collection[int], now: datetime) -> None:
    """Work out when these tickets are due, at once; steps of escalation are left to the tick."""
    tickets = repository.sla.tickets(ticket_ids)
    repository.sla.keep([due_times for _, due_times, _ in _worked_out(repository, book, tickets, now)])


def recompute_all(repository: Repository, book: SlaBook, now: datetime) -> tuple[str, ...]:
    """Have every open ticket worked out anew by the ticks that follow: the file may be another one than before.

    Returns the contracts that stores name and the file does not know; they have the default one, which is to be said.
    """
    repository.sla.mark_all(now)
    return tuple(name for name in repository.sla.contracts_named() if name not in book.contract)


def escalate(repository: Repository, book: SlaBook, now: datetime) -> list[TicketChange]:
    """Work out what is marked, and take the steps of escalation that have come, each once."""
    kept: list[KeptDueTimes] = []
    changes: list[TicketChange] = []
    tickets = repository.sla.due(now, TICKETS_MAX)
    for ticket, due_times, coming in _worked_out(repository, book, tickets, now):
        kept.append(due_times._replace(escalation_step=coming.taken, clocks_due_at=coming.next_at))
        if coming.step is not None:
            repository.tickets.write_journal(_line(ticket, due_times, coming, coming.step, now))
            changes.append(_change(ticket, coming.step))
    repository.sla.keep(kept)
    return changes


def _worked_out(
    repository: Repository, book: SlaBook, tickets: Sequence[ClockedTicket], now: datetime
) -> Iterator[tuple[ClockedTicket, KeptDueTimes, Escalation]]:
    """Hold each ticket against its contract; a step that has come keeps its ticket marked until it is taken."""
    journals = repository.sla.steps([ticket.ticket_id for ticket in tickets])
    terms = repository.sla.terms({ticket.store_id for ticket in tickets if ticket.store_id is not None})
    calendars = {store_id: _hours(store) for store_id, store in terms.items()}
    for ticket in tickets:
        contract = _contract(book, terms, ticket)
        steps = journals.get(ticket.ticket_id, [])
        calendar = book.calendar_of(contract, calendars.get(ticket.store_id or ""))
        target = contract.targets(ticket.severity, ticket.repair)
        clocks = deadlines(ticket.opened_at, steps, target, calendar, now)
        coming = escalation(_steps(contract, ticket), clocks, ticket.escalation_step, now)
        due_times = KeptDueTimes(
            ticket_id=ticket.ticket_id,
            responded_at=responded_at(steps),
            respond_due_at=clocks.respond.presses_at,
            resolve_due_at=clocks.resolve.presses_at,
            escalation_step=ticket.escalation_step,
            clocks_due_at=coming.next_at if coming.step is None else now,
        )
        yield ticket, due_times, coming


def _contract(book: SlaBook, terms: Mapping[str, StoreTerms], ticket: ClockedTicket) -> Contract:
    store = terms.get(ticket.store_id or "")
    return book.contract_of(store.contract if store else None)


def _hours(store: StoreTerms) -> Hours | None:
    """Return a store's hours; rows are checked where they enter, and what makes no sense must not stop a clock."""
    try:
        return parse_hours(store.opening_hours, store.time_zone, store.holidays)
    except HoursInvalid:
        return None


def _steps(contract: Contract, ticket: ClockedTicket) -> tuple[EscalationStep, ...]:
    return contract.escalation if ticket.parent_id is None else ()


def _line(
    ticket: ClockedTicket, due_times: KeptDueTimes, coming: Escalation, step: EscalationStep, now: datetime
) -> Entry:
    due_at = due_times.respond_due_at if step.clock is Promised.RESPOND else due_times.resolve_due_at
    return Entry(
        ticket_id=ticket.ticket_id,
        at=now,
        actor=ACTOR,
        action=ESCALATE,
        from_status=ticket.status,
        to_status=ticket.status,
        reason=f"{step.share:.0%} of the time to {step.clock} is gone",
        evidence={
            "step": coming.taken,
            "clock": str(step.clock),
            "share": step.share,
            "to": step.to,
            "due_at": due_at.isoformat() if due_at else None,
        },
    )


def _change(ticket: ClockedTicket, step: EscalationStep) -> TicketChange:
    return TicketChange(
        ticket_id=ticket.ticket_id,
        move=Move.ESCALATED,
        subject_kind=ticket.subject_kind,
        subject_id=ticket.subject_id,
        component=ticket.component,
        code=ticket.code,
        severity=ticket.severity,
        status=ticket.status,
        title=ticket.title,
        store_id=ticket.store_id,
        merchant_id=ticket.merchant_id,
        parent_id=ticket.parent_id,
        escalated_to=step.to,
    )
