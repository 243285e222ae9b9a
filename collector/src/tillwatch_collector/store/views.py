"""What the API and the console show: the shapes of read models, without a rule in them."""

from datetime import date, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field


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
    """A ticket; where its subject stands, if that is a terminal of a store."""

    ticket_id: int
    subject_kind: str
    subject_id: str
    component: str
    code: str
    status: str
    severity: str
    category: str
    opened_at: datetime
    updated_at: datetime
    resolved_at: datetime | None
    closed_at: datetime | None
    recurrences: int
    store_id: str | None
    store_name: str | None
    region: str | None


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
    happened_at: datetime
    received_at: datetime


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
