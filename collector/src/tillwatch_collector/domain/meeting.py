"""Whether a report, or a fault, is about something for which a ticket is open.

People tell what they see, terminals what they measure; told twice, it is one piece of work. A report meets an open
ticket of the same subject

- of the same component and code; else
- of the same component, rather one that is not resolved (a resolved one is reopened by it: its reporter says that it is
  not mended); else,
- when it names no component, one that is critical or major, or another report that names none: who calls because the
  till is dead means what stops the till, and not the paper that is near its end.

A fault meets an open report that nobody has identified yet, of the same component, or, when the fault is critical or
major, one that names no component. Of several it is the most severe, and the oldest of these.

A change violates this when the order in which a fault and a report that leaves its cause open come decides whether they
become one ticket.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import NO_COMPONENT, REPORTED_CODE, Status

SEVERITIES = tuple(Severity)
"""From the worst to the least."""

_GRAVE = frozenset({Severity.CRITICAL, Severity.MAJOR})
"""What somebody calls about."""


class OpenTicket(Protocol):
    """An open ticket of the subject in question."""

    @property
    def ticket_id(self) -> int:
        """Its number; older ones have smaller ones."""

    @property
    def component(self) -> str:
        """Of the subject, or `NO_COMPONENT`."""

    @property
    def code(self) -> str:
        """What it is, or `REPORTED_CODE`."""

    @property
    def status(self) -> Status:
        """Where it stands."""

    @property
    def severity(self) -> str:
        """How much it hurts."""


T = TypeVar("T", bound=OpenTicket)


def met_by_report(component: str, code: str, tickets: Sequence[T]) -> T | None:
    """Return the open ticket that a person's report is about."""
    same = [ticket for ticket in tickets if (ticket.component, ticket.code) == (component, code)]
    if component != NO_COMPONENT:
        return _first(same) or _first(ticket for ticket in tickets if ticket.component == component)
    return _first(same) or _first(ticket for ticket in tickets if _may_be_meant(ticket))


def met_by_fault(component: str, severity: str, tickets: Sequence[T]) -> T | None:
    """Return the open report that a fault explains."""
    reports = [ticket for ticket in tickets if ticket.code == REPORTED_CODE]
    named = _first(ticket for ticket in reports if ticket.component == component)
    if named is not None or severity not in _GRAVE:
        return named
    return _first(ticket for ticket in reports if ticket.component == NO_COMPONENT)


def worse(one: str, other: str) -> str:
    """Return the graver of two severities."""
    return str(min(one, other, key=_rank))


def _may_be_meant(ticket: OpenTicket) -> bool:
    report = ticket.code == REPORTED_CODE and ticket.component == NO_COMPONENT
    return report or (ticket.severity in _GRAVE and ticket.status is not Status.RESOLVED)


def _first(tickets: Iterable[T]) -> T | None:
    def order(ticket: T) -> tuple[bool, int, int]:
        return ticket.status is Status.RESOLVED, _rank(ticket.severity), ticket.ticket_id

    return min(tickets, key=order, default=None)


def _rank(severity: str) -> int:
    return SEVERITIES.index(Severity(severity))
