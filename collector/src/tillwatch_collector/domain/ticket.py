"""The life of a ticket: who may move it from where to where.

The trade's full life (diagnosing, repairing, pending, verifying, merged) extends these enums and this table; what
stands here is what the machine does, and how a person ends a ticket. Resolved needs the proof of the same terminal,
which only the machine has; a person may close or cancel with a stated reason. Closed and cancelled are final: what
comes back then is a new ticket. A change violates this when a status is assigned without `step`.
"""

from enum import StrEnum

from tillwatch_collector.errors import TicketActionIllegal


class Status(StrEnum):
    """Where a ticket stands."""

    REPORTED = "reported"
    RESOLVED = "resolved"
    """Proved by the terminal itself; it waits for a recurrence before it is closed."""
    CLOSED = "closed"
    CANCELLED = "cancelled"


FINAL = frozenset({Status.CLOSED, Status.CANCELLED})
"""Statuses that no action leaves. The unique index over open tickets names the same ones, and `merged`."""


class Action(StrEnum):
    """What moves a ticket."""

    PROVE = "prove"
    """The terminal was healthy for the hold."""
    RECUR = "recur"
    """The fault came back."""
    EXPIRE = "expire"
    """It stayed resolved for the policy's time."""
    CLOSE = "close"
    """A person says that the work is done."""
    CANCEL = "cancel"
    """A person says that there was nothing to do."""


PERSONS_ACTIONS = frozenset({Action.CLOSE, Action.CANCEL})

S, A = Status, Action

TICKET_TABLE: dict[tuple[Status, Action], Status] = {
    (S.REPORTED, A.PROVE): S.RESOLVED,
    # Raised again before it was proved: another fault of one ticket.
    (S.REPORTED, A.RECUR): S.REPORTED,
    # (REPORTED, EXPIRE): only proof ends it by itself
    (S.REPORTED, A.CLOSE): S.CLOSED,
    (S.REPORTED, A.CANCEL): S.CANCELLED,
    # (RESOLVED, PROVE): it is proved
    (S.RESOLVED, A.RECUR): S.REPORTED,
    (S.RESOLVED, A.EXPIRE): S.CLOSED,
    (S.RESOLVED, A.CLOSE): S.CLOSED,
    # (RESOLVED, CANCEL): there was something to do, and it is done
}


def step(status: Status, action: Action) -> Status:
    """Return the next status; raises `TicketActionIllegal` and changes nothing when the table has no row."""
    try:
        return TICKET_TABLE[status, action]
    except KeyError:
        allowed = ", ".join(sorted(a for s, a in TICKET_TABLE if s is status)) or "nothing, it is final"
        raise TicketActionIllegal(f"a ticket that is {status} takes {allowed}; got {action}") from None
