"""What a token that sees a part of the fleet is kept from; routers name these among what they depend on.

What lies outside its part is not found, as what does not exist. What reaches beyond any part (rollouts, counts of the
whole process) it may not do or read at all.
A change violates this when a route hands out, or alters, what `Queries` of the same token would not show.
"""

from http import HTTPStatus

from fastapi import Depends, Request

from tillwatch_collector.api.actor import Seen
from tillwatch_collector.api.context import Context, WebContext
from tillwatch_collector.api.problems import Problem, missing
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.store.queries import Queries
from tillwatch_protocol.vocabulary import INTEGER_MAX

_SAFE = frozenset({"GET", "HEAD"})


def _whole_fleet(seen: Seen) -> None:
    if not seen.everywhere:
        raise Problem(HTTPStatus.FORBIDDEN, "expected a token that is narrowed to nothing")


def _whole_fleet_to_change(request: Request, seen: Seen) -> None:
    if request.method not in _SAFE:
        _whole_fleet(seen)


def _ticket_seen(context: Context, seen: Seen, request: Request) -> None:
    """Look at the path before its route does; what is no number the route itself refuses."""
    named = str(request.path_params.get("ticket_id", ""))
    if named.isdecimal() and int(named) <= INTEGER_MAX:
        expect_tickets(context, seen, int(named))


def expect_tickets(context: WebContext, seen: Within, *ticket_ids: int | None) -> None:
    """Say of the first ticket that is not seen that there is none; None is none to look for."""
    if seen.everywhere:
        return
    with context.store.reading() as connection:
        queries = Queries(connection, seen)
        for ticket_id in ticket_ids:
            if ticket_id is not None and not queries.has_ticket(ticket_id):
                raise missing("ticket", ticket_id)


TICKET_SEEN = Depends(_ticket_seen)
"""The ticket that the path names is seen."""

WHOLE_FLEET = Depends(_whole_fleet)
"""Reading and changing need the whole fleet."""

WHOLE_FLEET_TO_CHANGE = Depends(_whole_fleet_to_change)
"""Reading is narrowed, changing needs the whole fleet."""
