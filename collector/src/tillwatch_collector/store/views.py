"""What the API and the console show: the shapes of read models, without a rule in them."""

from datetime import date, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tillwatch_collector.domain.command import State
from tillwatch_collector.store.ticket_queries import SlaState


class View(BaseModel):
    """A row as it is shown."""

    model_config = ConfigDict(frozen=True)


ItemT = TypeVar("ItemT", bound=View)


class Page(View, Generic[ItemT]):
    """Some rows of many."""

    items: tuple[ItemT, ...]
    total: int
    limit: int
    offset: int


class MerchantView(View):
    """A merchant."""

    merchant_id: str
    name: str
    created_at: datetime


class StoreView(View):
    """A store."""

    store_id: str
    merchant_id: str
    name: str
    address: str | None
    region: str | None
    time_zone: str
    opening_hours: dict[str, list[list[str]]]
    carrier: str | None
    watch: str
    holidays: dict[str, list[list[str]]]
    contract: str | None
    created_at: datetime


class TerminalView(View):
    """A terminal with where it stands."""

    terminal_id: str
    store_id: str | None
    store_name: str | None
    merchant_id: str | None
    region: str | None
    brand: str | None
    model: str | None
    serial_number: str | None
    purchase_date: date | None
    life_cycle: str
    presence: str
    presence_reason: str | None
    presence_since: datetime | None
    heard_at: datetime | None
    open_tickets: int
    created_at: datetime


class LevelView(View):
    """The newest heartbeat."""

    stream_id: str
    boot_epoch: int
    beat_no: int
    connection_no: int
    interval_s: int
    event_seq_last: int
    host_boot_id: str
    agent_version: str
    sent_at: datetime
    received_at: datetime
    components: list[Any]
    job: dict[str, Any] | None


class ConditionView(View):
    """A condition that is followed."""

    component: str
    code: str
    phase: str
    phase_since: datetime
    happened_at: datetime
    detail: str | None


class StreamView(View):
    """An outbox, and what of its events is accounted for."""

    stream_id: str
    stream_no: int
    first_heard_at: datetime
    event_seq_last: int
    prefix_seq: int
    stored: int
    lost: int
    dropped: int


class TicketView(View):
    """A ticket, where its subject stood when it was opened, and how its clocks stand."""

    ticket_id: int
    subject_kind: str
    subject_id: str
    component: str
    code: str
    status: str
    severity: str
    category: str
    origin: str
    title: str
    description: str
    contact: str | None
    assignee: str | None
    watchers: tuple[str, ...]
    store_id: str | None
    store_name: str | None
    merchant_id: str | None
    region: str | None
    parent_id: int | None
    merged_into_id: int | None
    repair: str
    repair_mode: str | None
    pending_on: str | None
    opened_at: datetime
    updated_at: datetime
    responded_at: datetime | None
    resolved_at: datetime | None
    closed_at: datetime | None
    respond_due_at: datetime | None
    resolve_due_at: datetime | None
    escalation_step: int
    recurrences: int
    sla: SlaState | None
    """Of the clock that is worse off; None where clocks are not told, as beside a terminal."""
    sla_respond: SlaState | None
    sla_resolve: SlaState | None


class TicketDetail(TicketView):
    """A ticket, what hangs on it, and what may be done with it."""

    comments: int
    attachments: int
    children: int
    actions: tuple[str, ...]
    """What its status takes from a person."""


class TerminalDetail(TerminalView):
    """All that is known of a terminal now."""

    level: LevelView | None
    conditions: tuple[ConditionView, ...]
    streams: tuple[StreamView, ...]
    tickets: tuple[TicketView, ...]
    """The open ones."""


class JournalView(View):
    """One change of a ticket."""

    journal_id: int
    at: datetime
    actor: str
    action: str
    from_status: str | None
    to_status: str | None
    reason: str
    evidence: dict[str, Any]


class CommentView(View):
    """What a person said on a ticket."""

    comment_id: int
    at: datetime
    actor: str
    text: str
    internal: bool
    """Not for the merchant's eyes."""


class AttachmentView(View):
    """A file of a ticket; its content has an address of its own."""

    attachment_id: int
    at: datetime
    actor: str
    name: str
    media_type: str
    """As whoever sent it said; it is handed out as `application/octet-stream`."""
    size_bytes: int
    sha256: str


class EventView(View):
    """An event of a terminal; `happened_at` is the terminal's clock."""

    stream_id: str
    event_seq: int
    boot_epoch: int
    kind: str
    component: str | None
    code: str | None
    detail: str | None
    job: dict[str, Any] | None
    command: dict[str, Any] | None
    """What an answer says of a command."""
    happened_at: datetime
    received_at: datetime


class CommandView(View):
    """A command to a terminal, and what came of it."""

    command_id: str
    terminal_id: str
    kind: str
    lifetime_s: int
    asked_by: str
    asked_at: datetime
    sent_at: datetime | None
    """When it was last said."""
    answered_at: datetime | None
    state: State
    reason: str | None
    """Why the terminal refused it."""
    diagnosis: dict[str, Any] | None
    """What a diagnosis found, as long as its event is kept."""


class QuarantineView(View):
    """A message that could not be used."""

    quarantine_id: int
    received_at: datetime
    topic: str
    terminal_id: str | None
    error: str
    said: str
    payload_sha256: str
    payload_bytes: int
    excerpt: str


class EventCounts(View):
    """What became of all events: kept, known to be lost, declared dropped."""

    stored: int
    lost: int
    dropped: int


class TicketCounts(View):
    """Tickets over all time, and now."""

    opened: int
    resolved: int
    """Proved, whether closed since or not."""
    open: int
    """Neither closed nor cancelled; a resolved one waits for a recurrence before it is closed."""
    unresolved: int


class FleetView(View):
    """The whole in numbers."""

    terminals: int
    terminals_unassigned: int
    terminals_by_presence: dict[str, int]
    open_tickets_by_severity: dict[str, int]
    tickets: TicketCounts
    events: EventCounts
    quarantined: int


class MaintenanceView(View):
    """A span in which notification is muted."""

    maintenance_id: int
    scope_kind: str
    scope_id: str | None
    starts_at: datetime
    ends_at: datetime | None
    weekly: dict[str, Any] | None
    reason: str
    created_by: str
    created_at: datetime
    cancelled_at: datetime | None
    cancelled_by: str | None
    cancel_reason: str | None
    mutes_until: datetime | None = None
    """By itself, where it mutes now; None where it does not."""

    @property
    def when(self) -> str:
        """Say in short when it mutes."""
        said = self.weekly
        return f"{','.join(said['days'])}={said['from']}-{said['to']} {said['time_zone']}" if said else "once"


class SeriesView(View):
    """A measure of a component over time."""

    component: str
    measure: str
    unit: str
    """As a plot shows it; empty for a plain number."""


class PointView(View):
    """A step in which something was kept; `at` is its beginning."""

    at: datetime
    min: float
    mean: float
    """Each value weighs as long as it held."""
    max: float
    count: int
    """Of the samples that were kept: a value that does not change is kept every five minutes."""


class SeriesHistory(SeriesView):
    """A series and its points; where there is none, nothing is known."""

    points: tuple[PointView, ...]


class HistoryView(View):
    """How measures of a terminal went, from `from` up to, and without, `to`: what was asked, widened to whole steps."""

    terminal_id: str
    from_at: datetime = Field(serialization_alias="from")
    to_at: datetime = Field(serialization_alias="to")
    step_s: int
    held_s: int
    """A line may join points that lie no further apart than this, or than one step."""
    samples_since: datetime | None
    """Before it only hours and days are kept: finer steps show nothing. None while nothing is older."""
    series: tuple[SeriesHistory, ...]


class NotificationView(View):
    """A message to one route."""

    notification_id: int
    route: str
    state: str
    """`due`, `sent`, `given_up`."""
    created_at: datetime
    due_at: datetime
    """When it is sent, or tried again; of one that is on its way, when its claim is over."""
    attempts: int
    sent_at: datetime | None
    error: str | None
    """What went wrong at the last attempt."""
    title: str
    body: str
    """Empty until it is first sent: it tells of tickets as they stand then."""
    items_total: int
    """How much it tells."""


class SaidView(View):
    """One thing that a message tells."""

    ticket_id: int
    said: str
    """What happened, how bad it was then, and the step of escalation: `opened:major:0`."""


class NotificationDetail(NotificationView):
    """A message with all that it tells."""

    items: tuple[SaidView, ...]


class OutageView(View):
    """One cause that silences or harms many terminals."""

    outage_id: int
    node_kind: str
    """Where the cause lies: `acquirer`, `store`, `carrier`, `merchant`, `region`, `broker`, `fleet`, `release`."""
    node_id: str
    component: str
    code: str
    """What its terminals have in common."""
    ticket_id: int
    ticket_status: str
    severity: str
    began_at: datetime
    """When the first of its terminals was last well."""
    detected_at: datetime
    ended_at: datetime | None
    terminals_hit: int
    """When it was detected, or seen to reach further."""
    terminals_total: int
    """Of the place, those that were well before."""
    faults: int
    """Terminals with a fault of it so far."""
    faults_standing: int
    evidence: dict[str, Any]


class OutageChildView(View):
    """A terminal that an outage has hit."""

    terminal_id: str
    store_id: str | None
    presence: str | None
    raised_at: datetime | None
    """When its fault was raised; None: it had a ticket of its own before."""
    cleared_at: datetime | None
    """When it was proved well again."""
    own_ticket_id: int | None
    """The ticket that it had already, which is part of the outage's."""
    own_ticket_status: str | None
