"""Tickets, their journal, and what people add to them.

Any number of writers are safe. A ticket that is read here to be changed is locked until the transaction ends, several
of them in the order of their numbers. What is decided by looking at all tickets of one subject (whether a report and a
fault are the same) stands under the lock of that subject's own row, which is taken first, and of several subjects in
their order. Where a subject has no row, and whatever else goes wrong, the unique index over open tickets decides.
A change violates this when tickets are locked before their subject.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal,
    null,
    select,
    union,
    update,
)
from sqlalchemy import insert as plain_insert

from tillwatch_collector.domain.ticket import FINAL, Status, TicketIdentity
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import insert
from tillwatch_collector.store.tables import OPEN_TICKET, table_of

MERCHANT = table_of(tables.MerchantRow)
TERMINAL = table_of(tables.TerminalRow)
STORE = table_of(tables.StoreRow)
FAULT = table_of(tables.FaultRow)
TICKET = table_of(tables.TicketRow)
JOURNAL = table_of(tables.JournalRow)
COMMENT = table_of(tables.CommentRow)
ATTACHMENT = table_of(tables.AttachmentRow)

_IDENTITY = ("subject_kind", "subject_id", "component", "code")
_TELLING = ("open", "report")
"""What a journal calls a person's report: its first, or one more."""


class Place(NamedTuple):
    """Where a ticket's subject stands."""

    store_id: str | None = None
    merchant_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTicket:
    """What a ticket says when it is opened."""

    identity: TicketIdentity
    status: Status
    severity: str
    category: str
    repair: str
    origin: str
    title: str
    description: str = ""
    contact: str | None = None
    watchers: Sequence[str] = ()
    place: Place
    parent_id: int | None = None


class KeptTicket(NamedTuple):
    """A ticket, as an action needs it."""

    ticket_id: int
    subject_kind: str
    subject_id: str
    component: str
    code: str
    status: Status
    severity: str
    category: str
    repair: str
    origin: str
    title: str
    description: str
    contact: str | None
    assignee: str | None
    watchers: list[str]
    store_id: str | None
    merchant_id: str | None
    parent_id: int | None
    merged_into_id: int | None
    opened_at: datetime
    resolved_at: datetime | None

    @property
    def identity(self) -> TicketIdentity:
        """What it is about."""
        return TicketIdentity(
            subject_kind=self.subject_kind, subject_id=self.subject_id, component=self.component, code=self.code
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of a ticket's journal."""

    ticket_id: int
    at: datetime
    actor: str
    action: str
    from_status: str | None
    to_status: str | None
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewComment:
    """What a person says on a ticket."""

    ticket_id: int
    at: datetime
    actor: str
    text: str
    internal: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAttachment:
    """A file that comes to a ticket."""

    ticket_id: int
    at: datetime
    actor: str
    name: str
    media_type: str
    sha256: str
    content: bytes


class KeptAttachment(NamedTuple):
    """A file, as it is handed out."""

    name: str
    media_type: str
    sha256: str
    content: bytes


class Tickets:
    """The tickets of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- subjects

    def hold(self, kind: str, subject_id: str) -> Place:
        """Say where a subject stands, and hold its row: nobody else weighs its tickets until the transaction ends."""
        return self.find(kind, subject_id) or Place()

    def find(self, kind: str, subject_id: str) -> Place | None:
        """Say where a subject stands, and hold its row; None when the inventory has none such."""
        query = _SUBJECTS.get(kind)
        row = None if query is None else self._connection.execute(query, {"of_id": subject_id}).first()
        return None if row is None else Place(*row)

    # --- one and many

    def open(self, new: NewTicket, now: datetime) -> int | None:
        """Open a ticket unless one of this identity is open; None when one is."""
        values = {name: getattr(new.identity, name) for name in _IDENTITY} | {
            "status": str(new.status),
            "severity": str(new.severity),
            "category": new.category,
            "repair": str(new.repair),
            "origin": str(new.origin),
            "title": new.title,
            "description": new.description,
            "contact": new.contact,
            "watchers": list(new.watchers),
            "store_id": new.place.store_id,
            "merchant_id": new.place.merchant_id,
            "parent_id": new.parent_id,
            "opened_at": now,
            "updated_at": now,
            "clocks_due_at": now,
            "escalation_step": 0,
            "recurrences": 0,
        }
        statement = insert(self._connection, TICKET).values(values)
        alone = statement.on_conflict_do_nothing(index_elements=_IDENTITY, index_where=OPEN_TICKET)
        opened: int | None = self._connection.scalar(alone.returning(TICKET.c.ticket_id))
        return opened

    def open_of(self, identity: TicketIdentity) -> KeptTicket | None:
        """Return the open ticket of this identity."""
        return next(iter(self._found(*_is(identity), OPEN_TICKET)), None)

    def of_subject(self, kind: str, subject_id: str) -> list[KeptTicket]:
        """Return a subject's tickets that are open, or go on as others: to be looked at, and then one of them taken."""
        this = (TICKET.c.subject_kind == kind, TICKET.c.subject_id == subject_id)
        return self._found(*this, TICKET.c.status.not_in((Status.CLOSED, Status.CANCELLED)), held=False)

    def take(self, ticket: KeptTicket) -> KeptTicket | None:
        """Hold a ticket that was looked at; None when it has ended, or become another's, meanwhile."""
        held = self.get(ticket.ticket_id)
        return held if held and held.status not in FINAL and held.identity == ticket.identity else None

    def get(self, ticket_id: int) -> KeptTicket | None:
        """Return a ticket."""
        return next(iter(self.get_all((ticket_id,))), None)

    def children(self, ticket_id: int) -> list[KeptTicket]:
        """Return the parts of a ticket, held."""
        return self._found(TICKET.c.parent_id == ticket_id)

    def get_all(self, ticket_ids: Collection[int]) -> list[KeptTicket]:
        """Return those of these tickets that there are."""
        return self._found(TICKET.c.ticket_id.in_(sorted(set(ticket_ids))))

    def subjects_of(self, ticket_ids: Collection[int]) -> list[tuple[str, str]]:
        """Name the subjects of these tickets and of their faults, in their order: what is to be held before they are.

        After a merge a ticket has faults of other terminals, too: who judges such a one holds it, and then the ticket.
        """
        own = select(TICKET.c.subject_kind, TICKET.c.subject_id).where(TICKET.c.ticket_id.in_(ticket_ids))
        of_faults = select(literal("terminal"), FAULT.c.terminal_id).where(FAULT.c.ticket_id.in_(ticket_ids))
        return sorted({(kind, subject_id) for kind, subject_id in self._connection.execute(union(own, of_faults))})

    def goes_on_as(self, identity: TicketIdentity) -> KeptTicket | None:
        """Return the open ticket into which the last one of this identity was merged."""
        last = select(TICKET.c.merged_into_id).where(*_is(identity)).order_by(TICKET.c.ticket_id.desc()).limit(1)
        return next(iter(self._found(TICKET.c.ticket_id == last.scalar_subquery(), OPEN_TICKET)), None)

    def resolved(self) -> list[KeptTicket]:
        """Return every ticket that waits to be closed."""
        return self._found(TICKET.c.status == Status.RESOLVED)

    def has_children(self, ticket_id: int) -> bool:
        """Whether it is the parent of any."""
        children = select(TICKET.c.ticket_id).where(TICKET.c.parent_id == ticket_id).limit(1)
        return self._connection.scalar(children) is not None

    def others_stand(self, ticket: KeptTicket, identity: TicketIdentity) -> bool:
        """Whether a fault of a terminal's ticket is not over that is not of this identity: it was merged with it."""
        if ticket.subject_kind != "terminal":
            return False
        own = and_(
            FAULT.c.terminal_id == identity.subject_id,
            FAULT.c.component == identity.component,
            FAULT.c.code == identity.code,
        )
        standing = select(FAULT.c.fault_id).where(
            FAULT.c.ticket_id == ticket.ticket_id, FAULT.c.cleared_at.is_(None), ~own
        )
        return self._connection.scalar(standing.limit(1)) is not None

    def is_call_unanswered(self, ticket_id: int) -> bool:
        """Whether the last thing that a person did with it was to tell of it, without naming a component."""
        last = self._connection.execute(_LAST_BY_A_PERSON, {"of_id": ticket_id}).first()
        return last is not None and last.action in _TELLING and "component" not in last.evidence

    # --- changes

    def move(self, ticket_id: int, status: Status, now: datetime, *, recurrences: int = 0, **values: Any) -> None:
        """Write a status that `domain.ticket.step` gave, what goes with it, and how often its fault came back by it."""
        values["recurrences"] = TICKET.c.recurrences + recurrences
        ends = now if status in FINAL else None
        proved = {} if status in FINAL else {"resolved_at": now if status is Status.RESOLVED else None}
        waits = {} if status is Status.PENDING else {"pending_on": None}
        self.change(ticket_id, now, status=str(status), closed_at=ends, **proved, **waits, **values)

    def change(self, ticket_id: int, now: datetime, **values: Any) -> None:
        """Write anything but a status; the tick works its due times out anew."""
        values |= {"updated_at": now, "clocks_due_at": now}
        self._connection.execute(update(TICKET).where(TICKET.c.ticket_id == ticket_id).values(values))

    def hand_over(self, ticket_id: int, to_ticket_id: int) -> None:
        """Give another ticket the faults and the children of one, and what went on as it."""
        for column in (FAULT.c.ticket_id, TICKET.c.parent_id, TICKET.c.merged_into_id):
            moved = update(column.table).where(column == ticket_id).values({column.name: to_ticket_id})
            self._connection.execute(moved)

    # --- the journal, comments, attachments

    def write_journal(self, entry: Entry) -> None:
        """Add a line to a ticket's journal."""
        values = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
        self._connection.execute(plain_insert(JOURNAL).values(values))

    def journal(self, ticket_id: int) -> list[Entry]:
        """Return a ticket's journal in its order."""
        query = select(*(JOURNAL.c[name] for name in Entry.__dataclass_fields__))
        lines = query.where(JOURNAL.c.ticket_id == ticket_id).order_by(JOURNAL.c.journal_id)
        return [Entry(**line) for line in self._connection.execute(lines).mappings()]

    def add_comment(self, comment: NewComment) -> int:
        """Add what a person says."""
        values = {name: getattr(comment, name) for name in NewComment.__dataclass_fields__}
        return self._numbered(plain_insert(COMMENT).values(values).returning(COMMENT.c.comment_id))

    def add_attachment(self, attachment: NewAttachment) -> int:
        """Add a file."""
        values = {name: getattr(attachment, name) for name in NewAttachment.__dataclass_fields__}
        values["size_bytes"] = len(attachment.content)
        return self._numbered(plain_insert(ATTACHMENT).values(values).returning(ATTACHMENT.c.attachment_id))

    def comments_count(self, ticket_id: int) -> int:
        """Count its comments."""
        return self._count(COMMENT.c.ticket_id == ticket_id)

    def attachments_count(self, ticket_id: int) -> int:
        """Count its files."""
        return self._count(ATTACHMENT.c.ticket_id == ticket_id)

    def attachment(self, ticket_id: int, attachment_id: int) -> KeptAttachment | None:
        """Return a file of a ticket with its content."""
        query = select(*(ATTACHMENT.c[name] for name in KeptAttachment._fields))
        this = query.where(ATTACHMENT.c.ticket_id == ticket_id, ATTACHMENT.c.attachment_id == attachment_id)
        row = self._connection.execute(this).first()
        return None if row is None else KeptAttachment(*row)

    def _count(self, which: ColumnElement[bool]) -> int:
        return self._connection.scalar(select(func.count()).where(which)) or 0

    def _numbered(self, statement: Any) -> int:
        number: int = self._connection.execute(statement).scalar_one()
        return number

    def _found(self, *which: Any, held: bool = True) -> list[KeptTicket]:
        query = select(*(TICKET.c[name] for name in KeptTicket._fields)).where(*which).order_by(TICKET.c.ticket_id)
        rows = self._connection.execute(query.with_for_update() if held else query)
        return [KeptTicket(*row)._replace(status=Status(row.status)) for row in rows]


_LAST_BY_A_PERSON = (
    select(JOURNAL.c.action, JOURNAL.c.evidence)
    .where(JOURNAL.c.ticket_id == bindparam("of_id"), JOURNAL.c.actor.not_like("machine:%"))
    .order_by(JOURNAL.c.journal_id.desc())
    .limit(1)
)


def _is(identity: TicketIdentity) -> list[ColumnElement[bool]]:
    return [TICKET.c[name] == getattr(identity, name) for name in _IDENTITY]


def _subjects() -> dict[str, Select[Any]]:
    """How each kind of subject is found and held: not as strongly as to keep out what refers to it."""
    of_id: BindParameter[str] = bindparam("of_id")
    terminal = TERMINAL.outerjoin(STORE, STORE.c.store_id == TERMINAL.c.store_id)
    return {
        "terminal": select(TERMINAL.c.store_id, STORE.c.merchant_id)
        .select_from(terminal)
        .where(TERMINAL.c.terminal_id == of_id)
        .with_for_update(of=TERMINAL, key_share=True),
        "merchant": select(null(), MERCHANT.c.merchant_id)
        .where(MERCHANT.c.merchant_id == of_id)
        .with_for_update(key_share=True),
        "store": select(STORE.c.store_id, STORE.c.merchant_id)
        .where(STORE.c.store_id == of_id)
        .with_for_update(key_share=True),
    }


_SUBJECTS = _subjects()
