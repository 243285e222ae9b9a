"""Messages to routes: written with what they tell of, sent after the commit, kept as a log of what was said to whom.

A route has at most one message that still takes in news (`due`, never attempted): what comes is appended to it, so that
a storm is one message. A message is claimed before it is sent, the oldest of its route first, and no younger one while
that is due: nobody hears of an end before its beginning, and a receiver that is away finds few messages when it is
back. A claim is a time: once that is over, another may claim the message. What became of it is noted only by who holds
the latest claim.

Rows are locked in the order of tickets, then routes. A change violates this when two processes that live can hold one
message.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, Select, and_, exists, func, select, update
from sqlalchemy import insert as plain_insert

from tillwatch_collector.domain.delivery import State
from tillwatch_collector.domain.notification import Item, Place, Ticket, Word
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import FINAL, Status
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import chunked, upsert
from tillwatch_collector.store.tables import table_of

NOTIFICATION = table_of(tables.NotificationRow)
SAID = table_of(tables.SaidRow)
TICKET = table_of(tables.TicketRow)
STORE = table_of(tables.StoreRow)
TERMINAL = table_of(tables.TerminalRow)
FAULT = table_of(tables.FaultRow)

ITEMS_MAX = 50_000
"""Of one message: some 3 MB; what comes then is the next message."""

REMINDERS_MAX = 1_000
"""Of one route at a time; the others are reminded of a moment later."""

ERROR_CHARACTERS_MAX = 500

_NODES = ("terminal", "collector")
"""Subjects that are no outage's node."""


class Claimed(NamedTuple):
    """A message that is ours to send until its claim is over."""

    notification_id: int
    route: str
    created_at: datetime
    attempts: int
    """This one among them."""
    title: str
    body: str
    """Empty when it was never attempted: its text is not written yet."""
    items: tuple[Item, ...]


class Told(NamedTuple):
    """The last word that a route was told of a ticket."""

    route: str
    ticket_id: int
    word: Word


class Notifications:
    """The messages of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- what there is to tell

    def tickets(self, ticket_ids: Collection[int]) -> dict[int, Ticket]:
        """Return tickets as they stand."""
        rows = [
            row
            for some in chunked(ticket_ids)
            for row in self._connection.execute(_TICKETS.where(TICKET.c.ticket_id.in_(some))).mappings()
        ]
        reaches = self._reaches([row["ticket_id"] for row in rows if row["subject_kind"] not in _NODES])
        return {row["ticket_id"]: _ticket(row, reaches.get(row["ticket_id"], frozenset())) for row in rows}

    def parents(self, ticket_ids: Collection[int]) -> dict[int, int]:
        """Return the parent of each ticket that has one."""
        query = select(TICKET.c.ticket_id, TICKET.c.parent_id).where(TICKET.c.parent_id.is_not(None))
        return {
            ticket_id: parent_id
            for some in chunked(ticket_ids)
            for ticket_id, parent_id in self._connection.execute(query.where(TICKET.c.ticket_id.in_(some)))
        }

    def told(self, ticket_ids: Collection[int]) -> list[Told]:
        """Return the last words of tickets, of all routes."""
        query = select(SAID.c.route, SAID.c.ticket_id, SAID.c.said)
        return [
            Told(route, ticket_id, Word.of(said))
            for some in chunked(ticket_ids)
            for route, ticket_id, said in self._connection.execute(query.where(SAID.c.ticket_id.in_(some)))
        ]

    def told_before(self, route: str, before: datetime) -> list[Told]:
        """Return a slice of what a route was last told, before a moment, of tickets that it may be reminded of."""
        query = (
            select(SAID.c.ticket_id, SAID.c.said)
            .join(TICKET, TICKET.c.ticket_id == SAID.c.ticket_id)
            .where(SAID.c.route == route, SAID.c.at <= before, _UNRESOLVED, ~_PART_OF_MORE)
            .order_by(SAID.c.at, SAID.c.ticket_id)
            .limit(REMINDERS_MAX)
            .with_for_update(of=SAID, skip_locked=True)
        )
        return [Told(route, ticket_id, Word.of(said)) for ticket_id, said in self._connection.execute(query)]

    # --- writing what is to be sent

    def tell(self, route: str, items: Sequence[Item], *, due_at: datetime, now: datetime) -> None:
        """Append to the route's message that still takes in news, or begin one; remember what was said."""
        there = self._connection.execute(_taking_in(route)).mappings().first()
        written = [{"ticket_id": item.ticket_id, "said": item.word.text} for item in items]
        if there is not None and len(there["items"]) + len(written) <= ITEMS_MAX:
            values = {"items": [*there["items"], *written], "due_at": min(there["due_at"], due_at)}
            this = NOTIFICATION.c.notification_id == there["notification_id"]
            self._connection.execute(update(NOTIFICATION).where(this).values(values))
        else:
            self._connection.execute(
                plain_insert(NOTIFICATION).values(
                    route=route,
                    state=State.DUE.value,
                    created_at=now,
                    due_at=due_at,
                    attempts=0,
                    title="",
                    body="",
                    items=written,
                )
            )
        last = {item.ticket_id: item.word.text for item in items}
        rows = [{"route": route, "ticket_id": key, "said": said, "at": now} for key, said in sorted(last.items())]
        upsert(self._connection, SAID, rows)

    # --- sending

    def claim(self, now: datetime, *, claim_s: float, count_max: int) -> list[Claimed]:
        """Take messages that are due, the first of each route, for `claim_s`; they are sent after the commit."""
        due = _due(now).limit(count_max).with_for_update(of=_ours, skip_locked=True)
        taken = self._connection.execute(due).mappings().all()
        claimed = update(NOTIFICATION).where(
            NOTIFICATION.c.notification_id.in_([row["notification_id"] for row in taken])
        )
        values = {"attempts": NOTIFICATION.c.attempts + 1, "due_at": now + timedelta(seconds=claim_s)}
        if taken:
            self._connection.execute(claimed.values(values))
        return [_claimed(row) for row in taken]

    def write(self, notification_id: int, title: str, body: str) -> None:
        """Keep the text of a message, which every attempt sends alike."""
        this = NOTIFICATION.c.notification_id == notification_id
        self._connection.execute(update(NOTIFICATION).where(this).values(title=title, body=body))

    def settle(self, claimed: Claimed, state: State, *, due_at: datetime, error: str | None, now: datetime) -> bool:
        """Note what became of an attempt; False when the claim was over and another has the message."""
        ours = and_(
            NOTIFICATION.c.notification_id == claimed.notification_id,
            NOTIFICATION.c.attempts == claimed.attempts,
            NOTIFICATION.c.state == State.DUE.value,
        )
        values = {
            "state": state.value,
            "due_at": due_at,
            "sent_at": now if state is State.SENT else None,
            "error": error[:ERROR_CHARACTERS_MAX] if error else None,
        }
        return self._connection.execute(update(NOTIFICATION).where(ours).values(values)).rowcount == 1

    def _reaches(self, ticket_ids: Collection[int]) -> dict[int, frozenset[Place]]:
        """Return where the terminals of outages stand, by the faults and the children that belong to them."""
        found: dict[int, set[Place]] = {}
        for some in chunked(ticket_ids, 2):
            for query in (_OF_FAULTS.where(FAULT.c.ticket_id.in_(some)), _OF_CHILDREN.where(_PARENT.in_(some))):
                for ticket_id, merchant_id, store_id, region in self._connection.execute(query.distinct()):
                    place = Place(merchant_id=merchant_id, store_id=store_id, region=region)
                    found.setdefault(ticket_id, set()).add(place)
        return {ticket_id: frozenset(places) for ticket_id, places in found.items()}


def waiting(connection: Connection, now: datetime) -> tuple[int, bool]:
    """Return how many messages are due or held, and whether one is to be sent now."""
    query = select(func.count(), func.min(NOTIFICATION.c.due_at)).where(NOTIFICATION.c.state == "due")
    count, first_at = connection.execute(query).one()
    return count, first_at is not None and first_at <= now


_ENDED = [*sorted(FINAL), Status.RESOLVED]
_UNRESOLVED = TICKET.c.status.not_in(_ENDED)

_parent = TICKET.alias("parent")
_PART_OF_MORE = exists().where(_parent.c.ticket_id == TICKET.c.parent_id, _parent.c.status.not_in(_ENDED))

_TICKETS = select(TICKET, STORE.c.name.label("store_name"), STORE.c.region.label("region")).select_from(
    TICKET.outerjoin(STORE, STORE.c.store_id == TICKET.c.store_id)
)

_PARENT = TICKET.c.parent_id
_OF_FAULTS = (
    select(FAULT.c.ticket_id, STORE.c.merchant_id, STORE.c.store_id, STORE.c.region)
    .join(TERMINAL, TERMINAL.c.terminal_id == FAULT.c.terminal_id)
    .join(STORE, STORE.c.store_id == TERMINAL.c.store_id)
)
_OF_CHILDREN = select(_PARENT, STORE.c.merchant_id, STORE.c.store_id, STORE.c.region).join(
    STORE, STORE.c.store_id == TICKET.c.store_id
)

_ours = NOTIFICATION.alias("ours")
_earlier = NOTIFICATION.alias("earlier")


def _due(now: datetime) -> Select[Any]:
    first = ~exists().where(
        _earlier.c.state == "due",
        _earlier.c.route == _ours.c.route,
        _earlier.c.notification_id < _ours.c.notification_id,
    )
    query = select(_ours).where(_ours.c.state == "due", _ours.c.due_at <= now, first)
    return query.order_by(_ours.c.due_at, _ours.c.notification_id)


def _taking_in(route: str) -> Select[Any]:
    """Find the message of a route that was never attempted, and hold it."""
    row = NOTIFICATION.c
    query = select(row.notification_id, row["items"], row.due_at)
    query = query.where(row.state == "due", row.route == route, row.attempts == 0)
    return query.order_by(row.notification_id.desc()).limit(1).with_for_update()


def _claimed(row: RowMapping) -> Claimed:
    return Claimed(
        notification_id=row["notification_id"],
        route=row["route"],
        created_at=row["created_at"],
        attempts=row["attempts"] + 1,
        title=row["title"],
        body=row["body"],
        items=tuple(Item(ticket_id=item["ticket_id"], word=Word.of(item["said"])) for item in row["items"]),
    )


def _ticket(row: RowMapping, reaches: frozenset[Place]) -> Ticket:
    node = {row["subject_kind"]: row["subject_id"]}
    return Ticket(
        ticket_id=row["ticket_id"],
        subject_kind=row["subject_kind"],
        subject_id=row["subject_id"],
        component=row["component"],
        code=row["code"],
        severity=Severity(row["severity"]),
        category=row["category"],
        opened_at=row["opened_at"],
        unresolved=row["status"] not in {*FINAL, Status.RESOLVED},
        title=row["title"] if row["origin"] != "machine" else "",
        escalation_step=row["escalation_step"],
        place=Place(
            merchant_id=row["merchant_id"] or node.get("merchant"),
            store_id=row["store_id"] or node.get("store"),
            region=row["region"] or node.get("region"),
        ),
        store_name=row["store_name"],
        reaches=reaches,
    )
