"""The shape of what is kept.

Who writes what: ingest writes facts (`stream` to `quarantine`) and history (`series`, and the samples' tables, which
`store.history` makes day by day), upkeep writes the rollups, judge writes judgements (`standing` to `outage`), people
and judge's tick write rollouts (`store.rollout_tables`), people write the inventory, the tokens and what is kept of
themselves (`store.people_tables`). Facts are a function of the set of messages that came: `received_at`, `heard_at` and
`stream_no` apart, any order and any duplication ends in the same rows.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field

from tillwatch_collector.store.columns import BigId, Json, PlainJson, Utc
from tillwatch_collector.store.people_tables import (
    AttemptRow,
    AuditRow,
    CommandRow,
    InvitationRow,
    PersonRow,
    SessionRow,
)
from tillwatch_collector.store.rollout_tables import RolloutJobRow, RolloutJournalRow, RolloutRow
from tillwatch_collector.store.table import Table, table_of

__all__ = [
    "AttemptRow",
    "AuditRow",
    "CommandRow",
    "InvitationRow",
    "PersonRow",
    "RolloutJobRow",
    "RolloutJournalRow",
    "RolloutRow",
    "SessionRow",
    "Table",
    "table_of",
]
"""What is written elsewhere and belongs here."""

OPEN_TICKET = text("status NOT IN ('closed', 'cancelled', 'merged')")
"""What the unique index over tickets calls open; an upsert repeats it."""


# --- inventory: written by people


class MerchantRow(Table, table=True):
    """Who owns stores."""

    __tablename__ = "merchant"
    merchant_id: str = Field(primary_key=True, max_length=64)
    name: str = Field(max_length=200)
    created_at: datetime = Field(sa_type=Utc)


class StoreRow(Table, table=True):
    """A place with an address, a region, a time zone, opening hours, an uplink."""

    __tablename__ = "store"
    store_id: str = Field(primary_key=True, max_length=64)
    merchant_id: str = Field(foreign_key="merchant.merchant_id", index=True, max_length=64)
    name: str = Field(max_length=200)
    address: str | None = Field(default=None, max_length=500)
    region: str | None = Field(default=None, max_length=64, index=True)
    time_zone: str = Field(max_length=64)
    """IANA name."""
    opening_hours: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    """Weekday (`mon` to `sun`) to a list of [opens, closes] in local time, `HH:MM`; closes may be `24:00`."""
    carrier: str | None = Field(default=None, max_length=64, index=True)
    watch: str = Field(default="always", max_length=16)
    """`always` or `opening_hours`."""
    holidays: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    """Local date (`2026-12-25`) to the spans of that day, in the place of its weekday's; none: closed."""
    contract: str | None = Field(default=None, max_length=64)
    """The service contract, by its name in the SLA file; None: the default one."""
    created_at: datetime = Field(sa_type=Utc)


class TerminalRow(Table, table=True):
    """One point of sale; without a store it is unassigned: heard of, and not yet placed by anyone."""

    __tablename__ = "terminal"
    terminal_id: str = Field(primary_key=True, max_length=64)
    store_id: str | None = Field(default=None, foreign_key="store.store_id", index=True, max_length=64)
    brand: str | None = Field(default=None, max_length=64)
    model: str | None = Field(default=None, max_length=64, index=True)
    serial_number: str | None = Field(default=None, max_length=64, index=True)
    purchase_date: date | None = None
    life_cycle: str = Field(default="live", max_length=16, index=True)
    """`live`, `in_repair`, `spare`, `swapped`, `retired`."""
    created_at: datetime = Field(sa_type=Utc)


class TokenRow(Table, table=True):
    """A key to the API: shown once, kept as a hash."""

    __tablename__ = "token"
    token_id: str = Field(primary_key=True, max_length=32)
    name: str = Field(max_length=100)
    secret_sha256: str = Field(max_length=64, unique=True)
    scopes: list[str] = Field(default_factory=list, sa_type=Json)
    merchant_ids: list[str] = Field(default_factory=list, sa_type=Json)
    store_ids: list[str] = Field(default_factory=list, sa_type=Json)
    """What it is narrowed to; both empty: nothing."""
    created_at: datetime = Field(sa_type=Utc)
    expires_at: datetime | None = Field(default=None, sa_type=Utc)
    revoked_at: datetime | None = Field(default=None, sa_type=Utc)


# --- facts: written by ingest


class StreamRow(Table, table=True):
    """The life of one outbox, and what of its events is accounted for."""

    __tablename__ = "stream"
    terminal_id: str = Field(primary_key=True, max_length=64)
    stream_id: str = Field(primary_key=True, max_length=32)
    stream_no: int = Field(index=True)
    """Order in which the collector first heard of the terminal's streams; the greatest is current."""
    prefix_seq: int = Field(default=0, sa_type=BigInteger)
    """Every event up to here is stored, declared dropped, or declared lost."""
    accounted: list[Any] = Field(default_factory=list, sa_type=Json)
    """[first, last] ranges above the prefix that are accounted for."""
    oldest_seq: int = Field(default=1, sa_type=BigInteger)
    event_seq_last: int = Field(default=0, sa_type=BigInteger)
    """The greatest number that the terminal has said exists."""
    first_heard_at: datetime = Field(sa_type=Utc)


class EventRow(Table, table=True):
    """One event, stored once."""

    __tablename__ = "event"
    terminal_id: str = Field(primary_key=True, max_length=64)
    stream_id: str = Field(primary_key=True, max_length=32)
    event_seq: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    boot_epoch: int = Field(sa_type=BigInteger)
    kind: str = Field(max_length=48)
    component: str | None = Field(default=None, max_length=97)
    code: str | None = Field(default=None, max_length=48)
    detail: str | None = Field(default=None, max_length=512)
    job: dict[str, Any] | None = Field(default=None, sa_type=Json)
    command: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """What an answer says of a command, its diagnosis with it."""
    happened_at: datetime = Field(sa_type=Utc)
    received_at: datetime = Field(sa_type=Utc, index=True)
    digest: str = Field(max_length=16)
    """Of the content: the same number with other content is a forked stream, not a duplicate."""


class EventGapRow(Table, table=True):
    """A range of numbers that have no event: declared dropped by the agent, or recorded lost by the collector."""

    __tablename__ = "event_gap"
    terminal_id: str = Field(primary_key=True, max_length=64)
    stream_id: str = Field(primary_key=True, max_length=32)
    kind: str = Field(primary_key=True, max_length=8)
    """`dropped` or `lost`."""
    first_seq: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    last_seq: int = Field(sa_type=BigInteger)


class LevelRow(Table, table=True):
    """The newest heartbeat of a stream."""

    __tablename__ = "level"
    terminal_id: str = Field(primary_key=True, max_length=64)
    stream_id: str = Field(primary_key=True, max_length=32)
    boot_epoch: int = Field(sa_type=BigInteger)
    beat_no: int = Field(sa_type=BigInteger)
    connection_no: int = Field(sa_type=BigInteger)
    interval_s: int
    event_seq_last: int = Field(sa_type=BigInteger)
    host_boot_id: str = Field(max_length=64)
    agent_version: str = Field(max_length=512)
    collector_epoch_seen: int = Field(sa_type=BigInteger)
    sent_at: datetime = Field(sa_type=Utc)
    received_at: datetime = Field(sa_type=Utc)
    components: list[Any] = Field(default_factory=list, sa_type=PlainJson)
    """The readings, without their age: `received_at` is as near as it gets."""
    job: dict[str, Any] | None = Field(default=None, sa_type=Json)
    digest: str = Field(max_length=16)
    """Of the content: what did not change is not written again."""
    judged_digest: str = Field(max_length=16)
    """Of the part that judge looks at: what did not change there does not wake it."""


class PresenceRow(Table, table=True):
    """The newest presence of a stream; on one connection offline is the last word."""

    __tablename__ = "presence"
    terminal_id: str = Field(primary_key=True, max_length=64)
    stream_id: str = Field(primary_key=True, max_length=32)
    boot_epoch: int = Field(sa_type=BigInteger)
    connection_no: int = Field(sa_type=BigInteger)
    state: str = Field(max_length=16)
    reason: str | None = Field(default=None, max_length=48)
    received_at: datetime = Field(sa_type=Utc)


class SightingRow(Table, table=True):
    """When a terminal was last heard, by which stream, and whether judge has something new to look at."""

    __tablename__ = "sighting"
    terminal_id: str = Field(primary_key=True, max_length=64)
    heard_at: datetime = Field(sa_type=Utc)
    stream_id: str | None = Field(default=None, max_length=32)
    """The stream of the last heartbeat that was news."""
    stream_switches: int = 0
    """How often lately a second speaker showed itself: two outboxes, or two machines, under one id."""
    switched_at: datetime | None = Field(default=None, sa_type=Utc)
    marked: bool = True
    __table_args__ = (
        Index("ix_sighting_marked", "terminal_id", sqlite_where=text("marked"), postgresql_where=text("marked")),
    )


class QuarantineRow(Table, table=True):
    """A message that could not be used: who sent it, what was wrong, its scrubbed beginning."""

    __tablename__ = "quarantine"
    quarantine_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    received_at: datetime = Field(sa_type=Utc, index=True)
    topic: str = Field(max_length=256)
    terminal_id: str | None = Field(default=None, max_length=64, index=True)
    error: str = Field(max_length=48)
    said: str = Field(max_length=1000)
    payload_sha256: str = Field(max_length=64)
    payload_bytes: int
    excerpt: str = Field(max_length=4096)


# --- history: what a measure was over time; no key reaches out of it, so that whole days can go at once


class SeriesRow(Table, table=True):
    """One measure of one component of one terminal, by a number that every sample repeats."""

    __tablename__ = "series"
    series_id: int | None = Field(default=None, primary_key=True)
    terminal_id: str = Field(max_length=64)
    component: str = Field(max_length=97)
    measure: str = Field(max_length=48)
    last_day: int = Field(index=True)
    """A day, counted from 1970, not long before the last one that has a rollup; see `store.rollups`."""
    __table_args__ = (UniqueConstraint("terminal_id", "component", "measure"),)


class SampleDayRow(Table, table=True):
    """A UTC day whose samples have a table of their own, `sample_20261121`; whoever writes the row makes the table."""

    __tablename__ = "sample_day"
    day: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    """Counted from 1970."""


class HourRow(Table, table=True):
    """A series in one hour. By hour first: written and deleted at one end, however many series there are."""

    __tablename__ = "rollup_hour"
    hour: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    """Counted from 1970."""
    series_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    held_s: int
    """How much of the hour is known: the weight of its mean."""
    count: int
    min: float
    max: float
    mean: float
    """Each value weighs as long as it held."""
    __table_args__ = ({"sqlite_with_rowid": False},)


class DayRow(Table, table=True):
    """A series in one day, out of its hours."""

    __tablename__ = "rollup_day"
    day: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    series_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    held_s: int
    count: int
    min: float
    max: float
    mean: float
    __table_args__ = ({"sqlite_with_rowid": False},)


class RollupDueRow(Table, table=True):
    """An hour or a day that has something new to roll up, and how far that has come."""

    __tablename__ = "rollup_due"
    span: str = Field(primary_key=True, max_length=4)
    """`hour` or `day`."""
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    after_series_id: int = 0
    """Series up to here are done."""


# --- judgements: written by judge


class StandingRow(Table, table=True):
    """Judge's word on a terminal's presence."""

    __tablename__ = "standing"
    terminal_id: str = Field(primary_key=True, max_length=64)
    presence: str = Field(max_length=16, index=True)
    """`unknown`, `online`, `late`, `silent`, `off`."""
    reason: str = Field(max_length=48)
    since: datetime = Field(sa_type=Utc)
    clock_offset_s: float | None = None
    """How far the terminal's clock is ahead of ours, by its heartbeats with the least delay; None: not known."""


class ConditionRow(Table, table=True):
    """A condition that judge follows, in its phase."""

    __tablename__ = "condition"
    terminal_id: str = Field(primary_key=True, max_length=64)
    component: str = Field(primary_key=True, max_length=97)
    code: str = Field(primary_key=True, max_length=48)
    phase: str = Field(max_length=16)
    """`raising`, `raised`, `clearing`; a clear one has no row."""
    phase_since: datetime = Field(sa_type=Utc)
    happened_at: datetime = Field(sa_type=Utc)
    """When it began, on the terminal's clock, as evidence."""
    detail: str | None = Field(default=None, max_length=512)


class FaultRow(Table, table=True):
    """A condition that lasted long enough to matter, from raise to clear."""

    __tablename__ = "fault"
    fault_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    terminal_id: str = Field(max_length=64, index=True)
    component: str = Field(max_length=97)
    code: str = Field(max_length=48)
    severity: str = Field(max_length=16)
    happened_at: datetime = Field(sa_type=Utc)
    raised_at: datetime = Field(sa_type=Utc, index=True)
    cleared_at: datetime | None = Field(default=None, sa_type=Utc)
    ticket_id: int | None = Field(default=None, foreign_key="ticket.ticket_id", index=True, sa_type=BigId)
    __table_args__ = (
        Index(
            "ix_fault_stands",
            "terminal_id",
            "severity",
            sqlite_where=text("cleared_at IS NULL"),
            postgresql_where=text("cleared_at IS NULL"),
        ),
    )


class TicketRow(Table, table=True):
    """The work record for a fault, an outage or a person's report."""

    __tablename__ = "ticket"
    ticket_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    subject_kind: str = Field(max_length=16)
    """`terminal`, `collector`, or the kind of node that an outage is about: `store`, `carrier`, `region`, ..."""
    subject_id: str = Field(max_length=64)
    component: str = Field(max_length=97)
    code: str = Field(max_length=48)
    status: str = Field(max_length=16, index=True)
    severity: str = Field(max_length=16, index=True)
    category: str = Field(max_length=32)
    origin: str = Field(default="machine", max_length=16)
    """Who reported it first: `machine`, `phone`, `web`."""
    title: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=4000)
    contact: str | None = Field(default=None, max_length=200)
    """Whom to call, and when; scrubbed as all that people write."""
    assignee: str | None = Field(default=None, max_length=100)
    """`kind:id`: `person:ann`, `provider:acme`."""
    watchers: list[str] = Field(default_factory=list, sa_type=Json)
    store_id: str | None = Field(default=None, max_length=64, index=True)
    """Where its subject stood when it was opened."""
    merchant_id: str | None = Field(default=None, max_length=64, index=True)
    parent_id: int | None = Field(default=None, index=True, sa_type=BigId)
    """The outage, or the larger piece of work, that it is part of: not notified by itself while that is open."""
    merged_into_id: int | None = Field(default=None, index=True, sa_type=BigId)
    repair: str = Field(default="complex", max_length=16)
    """`simple` or `complex`."""
    repair_mode: str | None = Field(default=None, max_length=16)
    """`remote`, `on_site`, `sent_in`."""
    pending_on: str | None = Field(default=None, max_length=16)
    """`parts`, `merchant`, `provider`; None unless it is pending."""
    opened_at: datetime = Field(sa_type=Utc, index=True)
    updated_at: datetime = Field(sa_type=Utc, index=True)
    responded_at: datetime | None = Field(default=None, sa_type=Utc)
    """When a person first took it in hand."""
    resolved_at: datetime | None = Field(default=None, sa_type=Utc)
    closed_at: datetime | None = Field(default=None, sa_type=Utc)
    respond_due_at: datetime | None = Field(default=None, sa_type=Utc, index=True)
    resolve_due_at: datetime | None = Field(default=None, sa_type=Utc, index=True)
    """Both worked out from the journal by the contract's targets on the contract's calendar; None while pending (unless
    it was over before), once done, at the end, or where there is no target."""
    escalation_step: int = 0
    """How many of the contract's steps were taken."""
    clocks_due_at: datetime | None = Field(default=None, sa_type=Utc, index=True)
    """When its times are to be worked out again: at once after a step of its own or of its store's calendar, then at
    the contract's next step of escalation; None: until something happens."""
    recurrences: int = 0
    """How often it came back while the ticket was open."""
    __table_args__ = (
        Index(
            "uq_ticket_open",
            "subject_kind",
            "subject_id",
            "component",
            "code",
            unique=True,
            sqlite_where=OPEN_TICKET,
            postgresql_where=OPEN_TICKET,
        ),
        Index("ix_ticket_subject", "subject_kind", "subject_id"),
    )


class JournalRow(Table, table=True):
    """One change of one ticket: never altered, never removed while the ticket is kept."""

    __tablename__ = "journal"
    journal_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    ticket_id: int = Field(foreign_key="ticket.ticket_id", index=True, sa_type=BigId)
    at: datetime = Field(sa_type=Utc)
    actor: str = Field(max_length=100)
    """`kind:id`: `machine:judge`, `person:ann`."""
    action: str = Field(max_length=32)
    from_status: str | None = Field(default=None, max_length=16)
    to_status: str | None = Field(default=None, max_length=16)
    reason: str = Field(max_length=500)
    evidence: dict[str, Any] = Field(default_factory=dict, sa_type=Json)


class CommentRow(Table, table=True):
    """What a person says on a ticket."""

    __tablename__ = "comment"
    comment_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    ticket_id: int = Field(foreign_key="ticket.ticket_id", index=True, sa_type=BigId)
    at: datetime = Field(sa_type=Utc)
    actor: str = Field(max_length=100)
    text: str = Field(max_length=4000)
    internal: bool = False
    """Not for the merchant's eyes."""


class AttachmentRow(Table, table=True):
    """A file that belongs to a ticket."""

    __tablename__ = "attachment"
    attachment_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    ticket_id: int = Field(foreign_key="ticket.ticket_id", index=True, sa_type=BigId)
    at: datetime = Field(sa_type=Utc)
    actor: str = Field(max_length=100)
    name: str = Field(max_length=200)
    media_type: str = Field(max_length=100)
    size_bytes: int
    sha256: str = Field(max_length=64)
    content: bytes = Field(sa_type=LargeBinary)


class OutageRow(Table, table=True):
    """One cause that silences or harms many terminals, from its pattern to its end; its ticket is the parent."""

    __tablename__ = "outage"
    outage_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    node_kind: str = Field(max_length=16)
    """`store`, `merchant`, `carrier`, `region`, `broker`, `release`, `acquirer`, `fleet`."""
    node_id: str = Field(max_length=64)
    component: str = Field(max_length=97)
    code: str = Field(max_length=48)
    """What its terminals have in common: (`agent:self`, `silent`), or a condition of one component."""
    ticket_id: int = Field(foreign_key="ticket.ticket_id", index=True, sa_type=BigId)
    began_at: datetime = Field(sa_type=Utc)
    """When the first of its terminals was last well."""
    detected_at: datetime = Field(sa_type=Utc, index=True)
    ended_at: datetime | None = Field(default=None, sa_type=Utc, index=True)
    terminals_hit: int
    terminals_total: int
    evidence: dict[str, Any] = Field(default_factory=dict, sa_type=Json)


class MaintenanceRow(Table, table=True):
    """A span in which notification is muted, once or every week; evaluation goes on."""

    __tablename__ = "maintenance"
    maintenance_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    scope_kind: str = Field(max_length=16)
    """`terminal`, `store`, `merchant`, `all`."""
    scope_id: str = Field(default="", max_length=64)
    starts_at: datetime = Field(sa_type=Utc)
    ends_at: datetime | None = Field(default=None, sa_type=Utc, index=True)
    """Of a weekly one, its last end; None: until it is cancelled."""
    weekly: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """`{"time_zone", "days", "from", "to"}` in local time; `to` not after `from` lies in the next day."""
    reason: str = Field(max_length=500)
    created_by: str = Field(max_length=100)
    created_at: datetime = Field(sa_type=Utc)
    cancelled_at: datetime | None = Field(default=None, sa_type=Utc)
    cancelled_by: str | None = Field(default=None, max_length=100)
    cancel_reason: str | None = Field(default=None, max_length=500)


class NotificationRow(Table, table=True):
    """A message to one route: written with what it tells of, sent after the commit, kept as a log of what was said."""

    __tablename__ = "notification"
    notification_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    route: str = Field(max_length=64)
    state: str = Field(max_length=16)
    """`due`, `sent`, `given_up`."""
    created_at: datetime = Field(sa_type=Utc, index=True)
    due_at: datetime = Field(sa_type=Utc)
    attempts: int = 0
    sent_at: datetime | None = Field(default=None, sa_type=Utc)
    error: str | None = Field(default=None, max_length=500)
    """Of the last attempt."""
    title: str = Field(max_length=200)
    body: str = Field(max_length=8000)
    items: list[Any] = Field(default_factory=list, sa_type=Json)
    """What it tells: `{"ticket_id", "said"}` each."""
    __table_args__ = (
        Index(
            "ix_notification_due",
            "due_at",
            sqlite_where=text("state = 'due'"),
            postgresql_where=text("state = 'due'"),
        ),
    )


class SaidRow(Table, table=True):
    """What a route was last told of a ticket: the same is not told twice."""

    __tablename__ = "said"
    route: str = Field(primary_key=True, max_length=64)
    ticket_id: int = Field(primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": False})
    said: str = Field(max_length=64)
    at: datetime = Field(sa_type=Utc)


# --- the collector itself


class LeaseRow(Table, table=True):
    """Who ticks: one holder, whose number grows at every change of hands and is checked by every commit of judge."""

    __tablename__ = "lease"
    name: str = Field(primary_key=True, max_length=32)
    holder: str = Field(max_length=64)
    fencing_no: int = Field(sa_type=BigInteger)
    expires_at: datetime = Field(sa_type=Utc)


class EpochRow(Table, table=True):
    """The collector's epoch: one row."""

    __tablename__ = "epoch"
    epoch_id: int = Field(default=1, primary_key=True)
    collector_epoch: int = Field(sa_type=BigInteger)
    raised_at: datetime = Field(sa_type=Utc)


class ProcessRow(Table, table=True):
    """A running process: which start of it bears the name, and what that start proves to have heard."""

    __tablename__ = "process"
    process: str = Field(primary_key=True, max_length=64)
    start_id: str = Field(max_length=64)
    """Of the newest start under this name: an earlier one that still runs gives way."""
    role: str = Field(max_length=16)
    started_at: datetime = Field(sa_type=Utc)
    heartbeats: int = Field(sa_type=BigInteger)
    """Taken in since its start."""
    epoch_seen: int = Field(sa_type=BigInteger)
    """The greatest collector epoch that terminals told it of."""
    connected_at: datetime | None = Field(default=None, sa_type=Utc)
    """None while its subscription does not stand."""
    proven_from: datetime | None = Field(default=None, sa_type=Utc)
    proven_at: datetime | None = Field(default=None, sa_type=Utc)
    """From there to here all its canaries returned."""
    expires_at: datetime = Field(sa_type=Utc)
    """Then it has died, and the broker has noticed, too."""
