"""The life of a ticket: who may move it from where to where.

A report is diagnosed, repaired, at times waits for parts, the merchant or a provider, is verified, and ends. Resolved
is what the terminal itself has proved, which only the machine sees, from whichever open status. A person closes,
cancels or merges with a stated reason. Closed, cancelled and merged are final: what comes back then is a new ticket.
A change violates this when a status is assigned without `step`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from tillwatch_collector.errors import TicketActionIllegal, TicketRefused

REPORTED_CODE = "reported"
"""The code of what a person reports without knowing better: the machine may find out what it is."""

NO_COMPONENT = ""
"""The component of a ticket about its subject as a whole, or about a part that nobody has named yet."""

ACTOR_PATTERN = r"^[a-z][a-z0-9_]{0,15}:[^\s:]\S{0,81}$"
"""Who does something: `kind:id`, as `person:ann`, `provider:acme`, `machine:judge`."""


class Status(StrEnum):
    """Where a ticket stands."""

    REPORTED = "reported"
    DIAGNOSING = "diagnosing"
    REPAIRING = "repairing"
    PENDING = "pending"
    """Waits for what the service desk cannot hasten; its time does not count."""
    VERIFYING = "verifying"
    """A person says that it is mended; the proof is not there yet."""
    RESOLVED = "resolved"
    """Proved by the terminal itself; it waits for a recurrence before it is closed."""
    CLOSED = "closed"
    CANCELLED = "cancelled"
    MERGED = "merged"
    """Goes on as another ticket."""


FINAL = frozenset({Status.CLOSED, Status.CANCELLED, Status.MERGED})
"""Statuses that no action leaves. The unique index over open tickets names the same ones."""


class Action(StrEnum):
    """What moves a ticket."""

    PROVE = "prove"
    """The terminal was healthy for the hold."""
    RECUR = "recur"
    """The fault came back."""
    EXPIRE = "expire"
    """It stayed resolved for the policy's time."""
    DIAGNOSE = "diagnose"
    """A person looks for the cause."""
    REPAIR = "repair"
    """A person mends it: remotely, on site, or sent in."""
    PEND = "pend"
    """It waits for parts, the merchant or a provider."""
    RESUME = "resume"
    """What it waited for is there."""
    VERIFY = "verify"
    """It should be mended: now it is tried."""
    CLOSE = "close"
    """A person says that the work is done."""
    CANCEL = "cancel"
    """A person says that there was nothing to do."""
    REOPEN = "reopen"
    """A person says that it is not mended, whatever the terminal says."""
    MERGE = "merge"
    """It is the same as another one, and goes on there."""


MACHINES_ACTIONS = frozenset({Action.PROVE, Action.RECUR, Action.EXPIRE})
PERSONS_ACTIONS = frozenset(Action) - MACHINES_ACTIONS


class RepairMode(StrEnum):
    """How it is mended."""

    REMOTE = "remote"
    ON_SITE = "on_site"
    SENT_IN = "sent_in"


class PendingOn(StrEnum):
    """What it waits for."""

    PARTS = "parts"
    MERCHANT = "merchant"
    PROVIDER = "provider"


class Origin(StrEnum):
    """Who reported it first."""

    MACHINE = "machine"
    PHONE = "phone"
    WEB = "web"


@dataclass(frozen=True, kw_only=True, slots=True)
class TicketIdentity:
    """What a ticket is about; at most one open ticket has it."""

    subject_kind: str
    """`terminal`, `collector`, or the kind of an outage's node."""
    subject_id: str
    component: str
    code: str


S, A = Status, Action

TICKET_TABLE: dict[tuple[Status, Action], Status] = {
    (S.REPORTED, A.PROVE): S.RESOLVED,
    # Raised again before it was proved: another fault of one ticket.
    (S.REPORTED, A.RECUR): S.REPORTED,
    # (REPORTED, EXPIRE): only proof ends it by itself
    (S.REPORTED, A.DIAGNOSE): S.DIAGNOSING,
    # A simple one needs no diagnosis: the paper is out.
    (S.REPORTED, A.REPAIR): S.REPAIRING,
    # (REPORTED, PEND): its time to respond runs until a person has looked at it
    # (REPORTED, RESUME): it does not wait
    # (REPORTED, VERIFY): nothing was done that could be tried
    (S.REPORTED, A.CLOSE): S.CLOSED,
    (S.REPORTED, A.CANCEL): S.CANCELLED,
    # (REPORTED, REOPEN): it is open
    (S.REPORTED, A.MERGE): S.MERGED,
    (S.DIAGNOSING, A.PROVE): S.RESOLVED,
    (S.DIAGNOSING, A.RECUR): S.DIAGNOSING,
    # (DIAGNOSING, EXPIRE): only proof ends it by itself
    # (DIAGNOSING, DIAGNOSE): it is being diagnosed
    (S.DIAGNOSING, A.REPAIR): S.REPAIRING,
    (S.DIAGNOSING, A.PEND): S.PENDING,
    # (DIAGNOSING, RESUME): it does not wait
    # It went away while its cause was looked for.
    (S.DIAGNOSING, A.VERIFY): S.VERIFYING,
    (S.DIAGNOSING, A.CLOSE): S.CLOSED,
    (S.DIAGNOSING, A.CANCEL): S.CANCELLED,
    # (DIAGNOSING, REOPEN): it is open
    (S.DIAGNOSING, A.MERGE): S.MERGED,
    (S.REPAIRING, A.PROVE): S.RESOLVED,
    (S.REPAIRING, A.RECUR): S.REPAIRING,
    # (REPAIRING, EXPIRE): only proof ends it by itself
    # The cause is another one.
    (S.REPAIRING, A.DIAGNOSE): S.DIAGNOSING,
    # In another way: what could not be done remotely is done on site.
    (S.REPAIRING, A.REPAIR): S.REPAIRING,
    (S.REPAIRING, A.PEND): S.PENDING,
    # (REPAIRING, RESUME): it does not wait
    (S.REPAIRING, A.VERIFY): S.VERIFYING,
    (S.REPAIRING, A.CLOSE): S.CLOSED,
    (S.REPAIRING, A.CANCEL): S.CANCELLED,
    # (REPAIRING, REOPEN): it is open
    (S.REPAIRING, A.MERGE): S.MERGED,
    (S.PENDING, A.PROVE): S.RESOLVED,
    # It goes on waiting: the part is still missing.
    (S.PENDING, A.RECUR): S.PENDING,
    # (PENDING, EXPIRE): only proof ends it by itself
    # The answer that it waited for says that the cause is another one, or it was waited for while the cause was sought.
    (S.PENDING, A.DIAGNOSE): S.DIAGNOSING,
    # The part is there, and is used in another way than was thought.
    (S.PENDING, A.REPAIR): S.REPAIRING,
    # For something else.
    (S.PENDING, A.PEND): S.PENDING,
    # Wherever it waited from, what was waited for is for the repair.
    (S.PENDING, A.RESUME): S.REPAIRING,
    # What it waited for has mended it: the provider's line is back.
    (S.PENDING, A.VERIFY): S.VERIFYING,
    (S.PENDING, A.CLOSE): S.CLOSED,
    (S.PENDING, A.CANCEL): S.CANCELLED,
    # (PENDING, REOPEN): it is open
    (S.PENDING, A.MERGE): S.MERGED,
    (S.VERIFYING, A.PROVE): S.RESOLVED,
    # The repair did not help.
    (S.VERIFYING, A.RECUR): S.REPAIRING,
    # (VERIFYING, EXPIRE): only proof ends it by itself
    (S.VERIFYING, A.DIAGNOSE): S.DIAGNOSING,
    (S.VERIFYING, A.REPAIR): S.REPAIRING,
    # (VERIFYING, PEND): what is tried waits for nobody; what did not help is repaired or diagnosed first
    # (VERIFYING, RESUME): it does not wait
    # (VERIFYING, VERIFY): it is being tried
    (S.VERIFYING, A.CLOSE): S.CLOSED,
    (S.VERIFYING, A.CANCEL): S.CANCELLED,
    # (VERIFYING, REOPEN): it is open
    (S.VERIFYING, A.MERGE): S.MERGED,
    #
    # (RESOLVED, PROVE): it is proved
    (S.RESOLVED, A.RECUR): S.REPORTED,
    (S.RESOLVED, A.EXPIRE): S.CLOSED,
    # (RESOLVED, DIAGNOSE), (RESOLVED, REPAIR), (RESOLVED, PEND), (RESOLVED, VERIFY): what is proved is reopened first
    # (RESOLVED, RESUME): it does not wait
    (S.RESOLVED, A.CLOSE): S.CLOSED,
    # (RESOLVED, CANCEL): there was something to do, and it is done
    (S.RESOLVED, A.REOPEN): S.REPORTED,
    # (RESOLVED, MERGE): its proof would go with it
    #
    # (CLOSED, *), (CANCELLED, *), (MERGED, *): final
}


def step(status: Status, action: Action) -> Status:
    """Return the next status; raises `TicketActionIllegal` and changes nothing when the table has no row."""
    try:
        return TICKET_TABLE[status, action]
    except KeyError:
        allowed = ", ".join(sorted(a for s, a in TICKET_TABLE if s is status)) or "nothing, it is final"
        raise TicketActionIllegal(f"a ticket that is {status} takes {allowed}; got {action}") from None


def actions_of(status: Status) -> tuple[Action, ...]:
    """Return what a person may do with a ticket that stands there, in the order of `Action`."""
    return tuple(action for action in Action if action in PERSONS_ACTIONS and (status, action) in TICKET_TABLE)


def check_actor(field: str, who: str) -> None:
    """Raise `TicketRefused` unless `who` is of the form `kind:id`."""
    if not re.fullmatch(ACTOR_PATTERN, who):
        raise TicketRefused(f"{field}: expected kind:id, such as person:ann, got {who[:100]!r}")
