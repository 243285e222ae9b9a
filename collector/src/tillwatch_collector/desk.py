"""What people do with tickets, each in a transaction of its own: for the API and the command line alike.

The rules are `flows.tickets`; here stand the policy, by which a report is weighed, and who is told of what moved, in
the same transaction. When it is due is worked out by the tick, which alone knows the contracts.
A change violates this when a person's step is done elsewhere, and so told to nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.ticket import Action, PendingOn, RepairMode
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.changes import TicketChange
from tillwatch_collector.flows.tickets import Report
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

Tell = Callable[[Repository, Sequence[TicketChange], datetime], None]
"""Writes who is to be told of changes."""


def _nobody(_repository: Repository, _changes: Sequence[TicketChange], _now: datetime) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Author:
    """Who does something, `kind:id`, and when."""

    actor: str
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """The service desk's hand on the tickets. All of it raises what `flows.tickets` says, and then nothing changed."""

    store: Store
    policy: Policy
    tell: Tell = _nobody

    def report(self, told: Report, by: Author) -> TicketChange:
        """Take down what a person tells; its move says whether that opened a ticket."""
        with self.store.transaction() as repository:
            rule = self.policy.rule(told.code)
            return self._told(repository, tickets.report(repository, told, rule, actor=by.actor, now=by.now), by)

    def act(
        self,
        ticket_id: int,
        action: Action,
        by: Author,
        *,
        reason: str,
        mode: RepairMode | None = None,
        pending_on: PendingOn | None = None,
    ) -> TicketChange:
        """Take a step of the table; `repair` needs its mode, `pend` what is waited for."""
        with self.store.transaction() as repository:
            change = tickets.act(
                repository,
                ticket_id,
                action,
                actor=by.actor,
                reason=reason,
                now=by.now,
                mode=mode,
                pending_on=pending_on,
            )
            return self._told(repository, change, by)

    def merge(self, ticket_id: int, into_id: int, by: Author, *, reason: str) -> TicketChange:
        """End a ticket that is the same as another one."""
        with self.store.transaction() as repository:
            change = tickets.merge(repository, ticket_id, into_id, actor=by.actor, reason=reason, now=by.now)
            return self._told(repository, change, by)

    def set_parent(self, ticket_id: int, parent_id: int | None, by: Author, *, reason: str) -> TicketChange:
        """Make a ticket part of a larger one, or of none."""
        with self.store.transaction() as repository:
            change = tickets.set_parent(repository, ticket_id, parent_id, actor=by.actor, reason=reason, now=by.now)
            return self._told(repository, change, by)

    def assign(self, ticket_id: int, assignee: str | None, by: Author, *, reason: str = "") -> TicketChange:
        """Give a ticket to somebody, or to nobody."""
        with self.store.transaction() as repository:
            change = tickets.assign(repository, ticket_id, assignee, actor=by.actor, reason=reason, now=by.now)
            return self._told(repository, change, by)

    def watch(self, ticket_id: int, watcher: str, by: Author) -> None:
        """Let somebody be told of a ticket."""
        with self.store.transaction() as repository:
            tickets.watch(repository, ticket_id, watcher, actor=by.actor, now=by.now)

    def unwatch(self, ticket_id: int, watcher: str, by: Author) -> None:
        """Tell somebody no more of a ticket."""
        with self.store.transaction() as repository:
            tickets.unwatch(repository, ticket_id, watcher, actor=by.actor, now=by.now)

    def comment(self, ticket_id: int, text: str, by: Author, *, internal: bool = False) -> int:
        """Say something on a ticket; returns the comment's number."""
        with self.store.transaction() as repository:
            return tickets.comment(repository, ticket_id, text, actor=by.actor, now=by.now, internal=internal)

    def attach(self, ticket_id: int, name: str, media_type: str, content: bytes, by: Author) -> int:
        """Add a file to a ticket; returns its number."""
        with self.store.transaction() as repository:
            return tickets.attach(
                repository, ticket_id, name=name, media_type=media_type, content=content, actor=by.actor, now=by.now
            )

    def _told(self, repository: Repository, change: TicketChange, by: Author) -> TicketChange:
        self.tell(repository, (change,), by.now)
        return change
