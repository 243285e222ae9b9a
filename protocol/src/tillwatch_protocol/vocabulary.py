"""The words of the wire: identifiers, numbers, times and texts, each with its limit.

Values are strict (no NaN, no NUL, integers that every database holds, bounded lengths); vocabularies are open: a code,
a component kind or a measure that nobody has heard of is a valid value, stored and judged by the policy's default.
A change violates this when a new word needs a new release of the collector before it can be stored.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

PROTOCOL_VERSION = 1
"""`v` of the messages this code sends."""

VERSIONS_UNDERSTOOD = frozenset({1})
"""`v` of the messages this code reads: n and n-1; before 1 there was none."""

PAYLOAD_BYTES_MAX = 64 * 1024
"""A payload's limit in bytes; a broker's packet limit stands a little above it."""

EVENTS_IN_FLIGHT_MAX = 20
"""Events sent and not acknowledged; a slow collector holds at most this much of a terminal's backlog in its queue."""

COMPONENTS_MAX = 64
"""A till has some ten parts; a generous shop counter stays below this."""

CONDITIONS_MAX = 16
"""Conditions true of one component at once; a printer's whole status has fewer bits than this."""

MEASURES_MAX = 64
FACTS_MAX = 32
DROPPED_RANGES_MAX = 64
"""Ranges one event can declare: what separates them is job reports, which are never dropped; a job has at most 40."""

TEXT_CHARS_MAX = 512
"""One line for people: what a till's screen or a device's manual says in one."""

INTERVAL_S_MIN = 1
INTERVAL_S_MAX = 86_400
AGE_S_MAX = 10 * 365 * 86_400

INTEGER_MAX = 2**63 - 1
"""The largest integer that SQLite and PostgreSQL store."""


class Frozen(BaseModel):
    """A value of ours: frozen, strict, without infinities; unknown fields of a newer peer are accepted and left out."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False, ser_json_inf_nan="null")


EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""No clock of a till counts from before 1970; what says it is past 2200 is noise that a database need not hold."""


def _parsed_time(value: Any) -> Any:
    """Take RFC 3339 text only: 0 is a number before it is 1970."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value
    raise ValueError("expected an RFC 3339 time such as 2026-11-21T08:00:00Z")


def _utc(value: datetime) -> datetime:
    if not EARLIEST <= value < LATEST:
        raise ValueError(f"expected a time from {EARLIEST.year} to {LATEST.year}")
    return value.astimezone(UTC)


def _rfc3339(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_parsed_time),
    AfterValidator(_utc),
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
]
"""A moment, aware and in UTC; on the wire RFC 3339 text."""

TerminalId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""One point of sale; no dot, so that no terminal can bear a process's name."""

ProcessName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}(\.[A-Za-z0-9_-]{1,31}){1,3}$", max_length=64)]
"""A collector process; at least one dot."""

Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
"""A word of an open vocabulary: a condition, a reason, a measure, a fact."""

Component = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}:[A-Za-z0-9_-]{1,48}$")]
"""`kind:name`, a part that can fail alone."""

StreamId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""128 random bits, in lower-case hexadecimal: the life of one outbox."""

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
"""A name of a job, a command, a nonce, a release, a boot: printable and short."""

Text = Annotated[str, Field(max_length=TEXT_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line for people: no NUL (PostgreSQL refuses it), no control characters."""

Count = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
Ordinal = Annotated[int, Field(ge=1, le=INTEGER_MAX)]
Measure = Annotated[int, Field(ge=-INTEGER_MAX, le=INTEGER_MAX)] | float
IntervalS = Annotated[int, Field(ge=INTERVAL_S_MIN, le=INTERVAL_S_MAX)]
AgeS = Annotated[float, Field(ge=0, le=AGE_S_MAX)]
LifetimeS = Annotated[float, Field(gt=0, le=30 * 86_400)]


class PowerState(StrEnum):
    """UnifiedPOS power states (UPOS 1.14, common properties `PowerState`)."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    OFF = "off"
    """Off, or detached."""
    OFFLINE = "offline"
    """Powered, but not ready or not answering."""
    OFF_OFFLINE = "off_offline"
    """One of both; the way it is attached cannot tell which."""


class Health(StrEnum):
    """What is known of a component."""

    OK = "ok"
    FAULT = "fault"
    UNKNOWN = "unknown"
    """Asked, no usable answer, or stale; the reading says why."""
    ABSENT = "absent"
    """Configured, not attached."""


class Kind:
    """Component kinds in use; UnifiedPOS categories where it has one. The vocabulary is open."""

    POS_PRINTER = "pos_printer"
    CASH_DRAWER = "cash_drawer"
    PIN_PAD = "pin_pad"
    SCANNER = "scanner"
    MODEM = "modem"
    POS_POWER = "pos_power"
    NETWORK = "network"
    ACQUIRER = "acquirer"
    MACHINE = "machine"
    APPLICATION = "application"
    USB_DEVICE = "usb_device"
    AGENT = "agent"


AGENT_SELF = "agent:self"
MACHINE_SELF = "machine:self"
MACHINE_CLOCK = "machine:clock"
NETWORK_UPLINK = "network:uplink"


class ConditionCode:
    """Condition codes in use. The vocabulary is open; the policy says what each is worth."""

    # a device, however it is attached
    NO_RESPONSE = "no_response"
    GARBLED_RESPONSE = "garbled_response"
    PORT_BUSY = "port_busy"
    PORT_REFUSED = "port_refused"
    NOT_ATTACHED = "not_attached"
    UNKNOWN_DEVICE = "unknown_device"
    """Not attached, and what sits in its place is no device that is known here."""
    STALE = "stale"
    DRIVER_FAILED = "driver_failed"
    # a printer
    PAPER_END = "paper_end"
    PAPER_NEAR_END = "paper_near_end"
    COVER_OPEN = "cover_open"
    CUTTER_ERROR = "cutter_error"
    UNRECOVERABLE_ERROR = "unrecoverable_error"
    RECOVERABLE_ERROR = "recoverable_error"
    HEAD_HOT = "head_hot"
    MECHANICAL_ERROR = "mechanical_error"
    PAPER_JAM = "paper_jam"
    DEVICE_ERROR = "device_error"
    OFFLINE = "offline"
    # a cash drawer
    DRAWER_OPEN = "drawer_open"
    # a modem
    SIM_ABSENT = "sim_absent"
    SIM_LOCKED = "sim_locked"
    SIM_FAILURE = "sim_failure"
    REGISTRATION_DENIED = "registration_denied"
    SIGNAL_WEAK = "signal_weak"
    # a payment device
    READER_FAILURE = "reader_failure"
    PIN_PAD_FAILURE = "pin_pad_failure"
    SECURITY_FAILURE = "security_failure"
    OUT_OF_ORDER = "out_of_order"
    SETUP_REQUIRED = "setup_required"
    IN_MAINTENANCE = "in_maintenance"
    HOST_UNREACHABLE = "host_unreachable"
    MEMORY_FULL = "memory_full"
    CARD_LEFT = "card_left"
    SUPPLY_LOW = "supply_low"
    # power
    ON_BATTERY = "on_battery"
    BATTERY_LOW = "battery_low"
    BATTERY_BAD = "battery_bad"
    # the network
    NOT_REGISTERED = "not_registered"
    LINK_DOWN = "link_down"
    NO_ADDRESS = "no_address"
    NO_ROUTE = "no_route"
    GATEWAY_UNREACHABLE = "gateway_unreachable"
    DNS_FAILURE = "dns_failure"
    WAN_UNREACHABLE = "wan_unreachable"
    CAPTIVE_PORTAL = "captive_portal"
    # an acquirer
    TCP_FAILURE = "tcp_failure"
    TCP_REFUSED = "tcp_refused"
    TLS_FAILURE = "tls_failure"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    REPLY_FAILURE = "reply_failure"
    # the machine
    DISK_LOW = "disk_low"
    MEMORY_LOW = "memory_low"
    CPU_HOT = "cpu_hot"
    CLOCK_WRONG = "clock_wrong"
    # the agent, as the collector sees it
    SILENT = "silent"
    IDENTITY_SHARED = "identity_shared"


AVAILABILITY_CODES = frozenset(
    {
        ConditionCode.NO_RESPONSE,
        ConditionCode.GARBLED_RESPONSE,
        ConditionCode.PORT_BUSY,
        ConditionCode.PORT_REFUSED,
        ConditionCode.NOT_ATTACHED,
        ConditionCode.UNKNOWN_DEVICE,
        ConditionCode.STALE,
        ConditionCode.DRIVER_FAILED,
    }
)
"""Whether a device can be asked at all: these exclude each other, and every look judges each of them."""
