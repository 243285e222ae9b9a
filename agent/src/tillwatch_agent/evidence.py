"""Network evidence as values: what one look at the way out, and at each acquirer, gave. Pure.

What was not asked says so, and why is `diagnosis`'s to tell; silence is never an answer. What it all means stands in
`diagnosis`, how it is gathered in `network`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from tillwatch_agent.asks.validity import Validity
from tillwatch_protocol.vocabulary import ConditionCode


class Domain(Enum):
    """A stretch of the way out, in the order it is passed; its value is the condition that names its failure."""

    REGISTRATION = ConditionCode.NOT_REGISTERED
    LINK = ConditionCode.LINK_DOWN
    ADDRESS = ConditionCode.NO_ADDRESS
    ROUTE = ConditionCode.NO_ROUTE
    GATEWAY = ConditionCode.GATEWAY_UNREACHABLE
    NAMES = ConditionCode.DNS_FAILURE
    WAN = ConditionCode.WAN_UNREACHABLE
    PORTAL = ConditionCode.CAPTIVE_PORTAL


class Registration(StrEnum):
    """What a modem says of its carrier's network, where a modem is the way out."""

    REGISTERED = "registered"
    SEARCHING = "searching"
    DENIED = "denied"
    NO_SIM = "no_sim"
    SIM_LOCKED = "sim_locked"


class Gateway(StrEnum):
    """What the gateway did."""

    ALIVE = "alive"
    """It accepted or refused a connection, or echoed."""
    DEAD = "dead"
    """The host cannot be reached on its own link (EHOSTUNREACH)."""
    SILENT = "silent"
    """Nothing came: it may drop what is not for it."""
    NOT_ASKED = "not_asked"


class Names(StrEnum):
    """What the machine's name service did, as the till's software would find it."""

    ANSWERED = "answered"
    """With addresses, or with the word that there are none."""
    FAILED = "failed"
    """Server failure, refusal or silence: the system's resolver does not tell which; the servers' own answers do."""
    NOT_ASKED = "not_asked"


class ServerSaid(StrEnum):
    """What one name server did when it was asked itself."""

    ANSWERED = "answered"
    FAILED = "failed"
    """It answered that it cannot: server failure, refused."""
    CLOSED = "closed"
    """Its machine is there, and no server on it."""
    SILENT = "silent"


class Connect(StrEnum):
    """How far TCP came."""

    CONNECTED = "connected"
    REFUSED = "refused"
    SILENT = "silent"
    """Timed out, or something on the way said unreachable."""
    NO_SUCH_NAME = "no_such_name"
    NO_NAME_SERVICE = "no_name_service"
    """The name could not be looked up, and no address is known from before."""
    NOT_ASKED = "not_asked"


class Portal(StrEnum):
    """What came of a page whose content is known."""

    OPEN = "open"
    """The page itself: nobody stands between."""
    INTERCEPTED = "intercepted"
    """Another page, or the way to one."""
    SILENT = "silent"
    NOT_ASKED = "not_asked"


class Tls(StrEnum):
    """How the TLS handshake ended."""

    TRUSTED = "trusted"
    UNVERIFIED = "unverified"
    """The certificate was refused; `verify_code` says why."""
    FAILED = "failed"
    """No handshake: plain text or a portal on the port, reset, silence."""
    NO_CA = "no_ca"
    """Our own CA file cannot be read."""
    LEFT_OUT = "left_out"
    """The allowance of bytes did not hold a handshake at this look."""
    NOT_ASKED = "not_asked"


class Reply(StrEnum):
    """What an acquirer said above TLS, where a path is configured to ask for."""

    ANSWERED = "answered"
    FAILED = "failed"
    """It says that it cannot serve, or ends the connection: a client certificate is refused so, after the handshake."""
    SILENT = "silent"
    LEFT_OUT = "left_out"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, kw_only=True, slots=True)
class NameServerEvidence:
    """One server of the machine's list, asked itself."""

    address: str
    said: ServerSaid
    is_beyond: bool
    """It lies behind the gateway, so that its answer proves the way there."""
    rcode: int | None = None
    took_ms: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WanEvidence:
    """One target far out that is nobody's acquirer."""

    target: str
    connect: Connect
    took_ms: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockEvidence:
    """How this machine's clock stands against what is known."""

    at: datetime
    """Its time at the look."""
    offset_s: float | None = None
    """How far the true time is ahead of it, as `source` told; None when nobody did."""
    source: str | None = None
    is_below_floor: bool = False
    """It says a time that is past, by when this agent was built."""

    @property
    def true_at(self) -> datetime | None:
        """The true time of the look, if anybody told."""
        return None if self.offset_s is None else self.at + timedelta(seconds=self.offset_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class AcquirerEvidence:
    """What one try at one acquirer gave; phases in ms as far as they came."""

    name: str
    address: str | None = None
    """The address that was tried last."""
    connect: Connect = Connect.NOT_ASKED
    tls: Tls = Tls.NOT_ASKED
    reply: Reply = Reply.NOT_ASKED
    by_remembered_address: bool = False
    """The name service failed; the address is an earlier answer's. The till has no such memory."""
    verify_code: int | None = None
    detail: str | None = None
    measures: Mapping[str, float | int] = field(default_factory=dict)
    certificate_days_left: float | None = None
    """By this machine's clock."""
    validity: Validity | None = None
    """Of a certificate that was refused for its times."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was seen of the way out in one look."""

    has_link: bool
    """Some interface is up and has a carrier."""
    has_address: bool = False
    has_route: bool = False
    """A default route stands in the routing table."""
    registration: Registration | None = None
    """None where the way out is no modem's, or the modem is not asked."""
    gateway: Gateway = Gateway.NOT_ASKED
    may_ping: bool = False
    """Whether this process has the right to ICMP."""
    names: Names = Names.NOT_ASKED
    name_servers: tuple[NameServerEvidence, ...] = ()
    wan: tuple[WanEvidence, ...] = ()
    portal: Portal = Portal.NOT_ASKED
    clock: ClockEvidence | None = None
    acquirers: tuple[AcquirerEvidence, ...] = ()
    details: Mapping[Domain, str] = field(default_factory=dict)
    """What was looked at in each domain, for people."""
    measures: Mapping[str, float | int] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
