"""What becomes of a ticket, for whoever tells of it: what moved, by whom, and why."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MACHINE = "machine:judge"


class Move(StrEnum):
    """What became of a ticket."""

    OPENED = "opened"
    RECURRED = "recurred"
    """Another fault of an open one."""
    REPORTED = "reported"
    """A person reported what it is about already."""
    IDENTIFIED = "identified"
    """The machine found what a person had reported."""
    WIDENED = "widened"
    """Of an outage: it reaches further than was thought, and is about the wider place."""
    PROGRESSED = "progressed"
    """A person took it a step on; its status says where."""
    ASSIGNED = "assigned"
    ESCALATED = "escalated"
    """Its time runs out, or is over."""
    REOPENED = "reopened"
    RESOLVED = "resolved"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    MERGED = "merged"


@dataclass(frozen=True, kw_only=True, slots=True)
class TicketChange:
    """A ticket that moved, as it is now."""

    ticket_id: int
    move: Move
    subject_kind: str
    subject_id: str
    component: str
    code: str
    severity: str
    status: str
    title: str
    store_id: str | None
    merchant_id: str | None
    parent_id: int | None
    escalated_to: str | None = None
    """The route that the contract's step names; None: no step was taken, or it names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Why:
    """Who moves a ticket, why, and with what evidence."""

    actor: str
    """`kind:id`: `machine:judge`, `person:ann`."""
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)
