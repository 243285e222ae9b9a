"""From tickets that moved to messages: what routes are to be told is written with it, and read back to be sent.

`tell` and `remind` write in the transaction of what they tell of, so that nothing is told that was not committed, and
nothing committed is forgotten. `take` claims what is due and writes its text, out of the tickets as they stand then;
whoever sends it does so after the commit, and notes by `settle` what came of it.

A change violates this when a message leaves while its transaction can still be rolled back.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tillwatch_collector.domain import delivery
from tillwatch_collector.domain.delivery import CLAIM_S, Outcome, State
from tillwatch_collector.domain.message import LINES_MAX, Message, Style, compose, worst_first
from tillwatch_collector.domain.notification import Change, Item, Route, Routes, Said, plan, reminder
from tillwatch_collector.flows.changes import Move, TicketChange
from tillwatch_collector.store.notifications import Claimed
from tillwatch_collector.store.repository import Repository

_SAYS = {
    Move.OPENED: Said.OPENED,
    Move.REOPENED: Said.REOPENED,
    Move.ESCALATED: Said.ESCALATED,
    Move.RESOLVED: Said.RESOLVED,
    Move.CLOSED: Said.CLOSED,
    Move.CANCELLED: Said.CANCELLED,
    Move.MERGED: Said.MERGED,
}
"""What people do with a ticket is theirs to know; a recurrence is no news."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outbound:
    """A message that is claimed, with its text, and where it goes."""

    claimed: Claimed
    message: Message
    route: Route | None
    """None: there is no such route any more."""


def tell(repository: Repository, changes: Sequence[TicketChange], routes: Routes, now: datetime) -> None:
    """Write what routes are to be told of changes, which are written already."""
    if not (routes.route and changes):
        return
    concerned = _concerned(repository, changes)
    ticket_ids = {ticket.ticket_id for change in concerned for ticket in (change.ticket, change.parent) if ticket}
    knows = {(told.route, told.ticket_id): told.word for told in repository.notifications.told(ticket_ids)}
    for telling in plan(concerned, knows, routes, now):
        repository.notifications.tell(telling.route, telling.items, due_at=telling.due_at, now=now)


def remind(repository: Repository, routes: Routes, now: datetime) -> int:
    """Write reminders of what was told too long ago and is still open; returns of how many tickets."""
    count = 0
    for route in sorted(routes.route, key=lambda route: route.name):
        due_at = route.due_at(now)
        if route.repeat_s is None or due_at is None or Said.REMINDED not in route.moves:
            continue
        told = repository.notifications.told_before(route.name, now - timedelta(seconds=route.repeat_s))
        tickets = repository.notifications.tickets([one.ticket_id for one in told])
        items = [
            Item(ticket_id=one.ticket_id, word=word)
            for one in told
            if one.ticket_id in tickets and (word := reminder(one.word, tickets[one.ticket_id]))
        ]
        if items:
            repository.notifications.tell(route.name, items, due_at=due_at, now=now)
        count += len(items)
    return count


def take(
    repository: Repository, routes: Routes, styles: dict[str, Style], now: datetime, *, count_max: int
) -> list[Outbound]:
    """Claim what is due, at most one message of each route; `styles` are by the name of the route."""
    claimed = repository.notifications.claim(now, claim_s=CLAIM_S, count_max=count_max)
    return [_outbound(repository, one, routes.find(one.route), styles) for one in claimed]


def settle(repository: Repository, outbound: Outbound, outcome: Outcome, jitter: float, now: datetime) -> State:
    """Note what came of an attempt; returns where the message stands."""
    step = delivery.step(outbound.claimed.attempts, outcome, jitter)
    due_at = now + timedelta(seconds=step.wait_s)
    repository.notifications.settle(outbound.claimed, step.state, due_at=due_at, error=outcome.error, now=now)
    return step.state


def _concerned(repository: Repository, changes: Sequence[TicketChange]) -> list[Change]:
    ticket_ids = {change.ticket_id for change in changes}
    parents = repository.notifications.parents(ticket_ids)
    tickets = repository.notifications.tickets(ticket_ids | set(parents.values()))
    concerned = []
    for change in changes:
        parent = tickets.get(parents.get(change.ticket_id, 0))
        concerned.append(
            Change(
                ticket=tickets[change.ticket_id],
                said=_SAYS.get(change.move),
                parent=parent if parent is not None and parent.unresolved else None,
                escalates_to=change.escalated_to,
            )
        )
    return concerned


def _outbound(repository: Repository, claimed: Claimed, route: Route | None, styles: dict[str, Style]) -> Outbound:
    message = Message(title=claimed.title, body=claimed.body)
    if route is not None and not claimed.body:
        message = _written(repository, claimed.items, styles[route.name])
        repository.notifications.write(claimed.notification_id, message.title, message.body)
    return Outbound(claimed=claimed, message=message, route=route)


def _written(repository: Repository, items: Collection[Item], style: Style) -> Message:
    items = tuple(items)
    shown = [ticket_id for ticket_id, _ in worst_first(items)[:LINES_MAX]]
    return compose(items, repository.notifications.tickets(shown), style)
