"""Network evidence to a failing domain: the first thing that fails on the way out is the one that is named. Pure.

The way out is link, address, route, gateway, name service, and what lies beyond (the WAN); past that, each acquirer by
TCP and TLS. `network:uplink` bears the first failing domain and judges nothing behind it. An acquirer that was reached
is judged by what it did; one that was not, while the uplink fails, is `unknown` with reason `uplink_down`, so that one
cause has one ticket.

What proves what (executed in network namespaces, see the table in the tests):
- A gateway that refuses a connection is alive; one that does not resolve on the link (EHOSTUNREACH) is dead; one that
  stays silent proves nothing, since many drop what is not for them.
- "Network unreachable" can come from far away, so the route is judged by the routing table, not by that error.
- Anything beyond that answered, even by a refusal, proves link, address, route, gateway and WAN.
- The WAN is named only on two independent silences (two targets, or one target and the name service), never on one: one
  silent target is that target's own failure.

A change violates this when an acquirer that answered is not judged by its answer, or a domain behind the first failing
one is judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final

from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import NETWORK_UPLINK, ConditionCode, Health, Kind, PowerState

CERTIFICATE_DAYS_MIN = 14.0
"""Fewer days left than this is `certificate_expiring`: a working fortnight to renew in."""

UPLINK_DOWN: Final = "uplink_down"
"""Reason of an acquirer that cannot be judged because the way out fails."""

NOT_ASKED: Final = "not_asked"
MISCONFIGURED: Final = "misconfigured"

_EXPIRED, _NOT_YET_VALID = 10, 9
"""OpenSSL verify codes (X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID)."""


class Gateway(StrEnum):
    """What the gateway did."""

    ALIVE = "alive"
    """It accepted or refused a connection."""
    DEAD = "dead"
    """The host cannot be reached on its own link (EHOSTUNREACH)."""
    SILENT = "silent"
    """Nothing came: it may drop what is not for it."""
    NOT_ASKED = "not_asked"


class Names(StrEnum):
    """What the name service did."""

    ANSWERED = "answered"
    """With addresses, or with the word that there are none."""
    FAILED = "failed"
    """Server failure, refusal or silence: the system's resolver does not tell which."""
    NOT_ASKED = "not_asked"


class Connect(StrEnum):
    """How far TCP to an acquirer came."""

    CONNECTED = "connected"
    REFUSED = "refused"
    SILENT = "silent"
    """Timed out, or something on the way said unreachable."""
    NO_SUCH_NAME = "no_such_name"
    NO_NAME_SERVICE = "no_name_service"
    """The name could not be looked up, and no address is known from before."""
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
    NOT_ASKED = "not_asked"


class Domain(Enum):
    """A stretch of the way out, in the order it is passed; its value is the condition that names its failure."""

    LINK = ConditionCode.LINK_DOWN
    ADDRESS = ConditionCode.NO_ADDRESS
    ROUTE = ConditionCode.NO_ROUTE
    GATEWAY = ConditionCode.GATEWAY_UNREACHABLE
    NAMES = ConditionCode.DNS_FAILURE
    WAN = ConditionCode.WAN_UNREACHABLE


@dataclass(frozen=True, kw_only=True, slots=True)
class AcquirerEvidence:
    """What one try at one acquirer gave; phases in ms as far as they came."""

    name: str
    address: str | None = None
    """The address that was tried last."""
    connect: Connect = Connect.NOT_ASKED
    tls: Tls = Tls.NOT_ASKED
    by_remembered_address: bool = False
    """The name service failed; the address is an earlier answer's. The till has no such memory."""
    verify_code: int | None = None
    detail: str | None = None
    measures: Mapping[str, float | int] = field(default_factory=dict)
    certificate_days_left: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was seen of the way out in one look."""

    has_link: bool
    """Some interface is up and has a carrier."""
    has_address: bool = False
    has_route: bool = False
    """A default route stands in the routing table."""
    gateway: Gateway = Gateway.NOT_ASKED
    names: Names = Names.NOT_ASKED
    acquirers: tuple[AcquirerEvidence, ...] = ()
    details: Mapping[Domain, str] = field(default_factory=dict)
    """What was looked at in each domain, for people."""
    measures: Mapping[str, float | int] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def diagnose(evidence: Evidence) -> tuple[Observation, ...]:
    """Say how the uplink and each acquirer are."""
    failing = failing_domain(evidence)
    acquirers = (_acquirer(seen, is_uplink_down=failing is not None) for seen in evidence.acquirers)
    return (_uplink(evidence, failing), *acquirers)


def failing_domain(evidence: Evidence) -> Domain | None:
    """Find the first domain that fails; None when nothing is proved to."""
    if _is_beyond_reached(evidence):
        return Domain.NAMES if evidence.names is Names.FAILED else None
    if not evidence.has_link:
        return Domain.LINK
    if not evidence.has_address:
        return Domain.ADDRESS
    if not evidence.has_route:
        return Domain.ROUTE
    if evidence.gateway is Gateway.DEAD:
        return Domain.GATEWAY
    if _silences(evidence) > 1:
        return Domain.WAN
    return Domain.NAMES if evidence.names is Names.FAILED else None


def _is_beyond_reached(evidence: Evidence) -> bool:
    return any(seen.connect in {Connect.CONNECTED, Connect.REFUSED} for seen in evidence.acquirers)


def _silences(evidence: Evidence) -> int:
    """Count what beyond the gateway was asked and stayed silent; two names of one address are one."""
    targets = {seen.address or seen.name for seen in evidence.acquirers if seen.connect is Connect.SILENT}
    return len(targets) + (evidence.names is Names.FAILED and len(targets) > 0)


def _uplink(evidence: Evidence, failing: Domain | None) -> Observation:
    return Observation(
        component=NETWORK_UPLINK,
        health=Health.FAULT if failing else Health.OK,
        power_state=PowerState.ONLINE if evidence.has_link else PowerState.UNKNOWN,
        true_codes={failing.value: evidence.details.get(failing)} if failing else {},
        undetermined=frozenset(domain.value for domain in Domain if _is_open(domain, evidence, failing)),
        measures=dict(evidence.measures),
        facts=dict(evidence.facts),
    )


def _is_open(domain: Domain, evidence: Evidence, failing: Domain | None) -> bool:
    """Whether this look leaves a domain unjudged: it lies behind the failing one, or nothing proved it."""
    if domain is failing:
        return False
    if _is_beyond_reached(evidence):
        return domain is Domain.NAMES and evidence.names is Names.NOT_ASKED
    order = list(Domain)
    if failing and order.index(domain) > order.index(failing):
        return True
    proved = {
        Domain.GATEWAY: evidence.gateway is Gateway.ALIVE,
        Domain.NAMES: evidence.names is Names.ANSWERED,
        Domain.WAN: False,
    }
    return not proved.get(domain, True)


def _acquirer(seen: AcquirerEvidence, *, is_uplink_down: bool) -> Observation:
    component = f"{Kind.ACQUIRER}:{seen.name}"
    reached = seen.connect in {Connect.CONNECTED, Connect.REFUSED} and not seen.by_remembered_address
    if not reached and is_uplink_down:
        return _unknown(component, UPLINK_DOWN, seen)
    if seen.connect is Connect.NOT_ASKED:
        return _unknown(component, NOT_ASKED, seen)
    if seen.connect is Connect.NO_NAME_SERVICE or seen.by_remembered_address:
        return _unknown(component, UPLINK_DOWN, seen)
    if seen.tls is Tls.NO_CA:
        return _unknown(component, MISCONFIGURED, seen)
    code = _failure(seen)
    expiring = code is None and _is_expiring(seen)
    codes = {code: seen.detail} if code else {ConditionCode.CERTIFICATE_EXPIRING: _days(seen)} if expiring else {}
    return Observation(
        component=component,
        health=Health.FAULT if code else Health.OK,
        power_state=PowerState.ONLINE if seen.connect is Connect.CONNECTED else PowerState.UNKNOWN,
        true_codes=dict(codes),
        undetermined=_unjudged(code),
        measures=dict(seen.measures),
    )


def _unknown(component: str, reason: str, seen: AcquirerEvidence) -> Observation:
    return Observation(component=component, health=Health.UNKNOWN, reason=reason, measures=dict(seen.measures))


def _failure(seen: AcquirerEvidence) -> str | None:
    """Name the first phase that failed."""
    by_connect = {
        Connect.REFUSED: ConditionCode.TCP_REFUSED,
        Connect.SILENT: ConditionCode.TCP_FAILURE,
        Connect.NO_SUCH_NAME: ConditionCode.DNS_FAILURE,
    }
    if code := by_connect.get(seen.connect):
        return code
    if seen.tls is Tls.UNVERIFIED:
        is_expired = seen.verify_code == _EXPIRED
        return ConditionCode.CERTIFICATE_EXPIRED if is_expired else ConditionCode.CERTIFICATE_UNTRUSTED
    return ConditionCode.TLS_FAILURE if seen.tls is Tls.FAILED else None


_PHASES: Final = (
    frozenset({ConditionCode.DNS_FAILURE}),
    frozenset({ConditionCode.TCP_FAILURE, ConditionCode.TCP_REFUSED}),
    frozenset({ConditionCode.TLS_FAILURE}),
    frozenset({ConditionCode.CERTIFICATE_EXPIRED, ConditionCode.CERTIFICATE_UNTRUSTED}),
    frozenset({ConditionCode.CERTIFICATE_EXPIRING}),
)
"""An acquirer's codes by the phase that judges them."""


def _unjudged(failed: str | None) -> frozenset[str]:
    """Give the codes of phases behind the one that failed: they were not come to."""
    if failed is None:
        return frozenset()
    reached = next(at for at, codes in enumerate(_PHASES) if failed in codes)
    return frozenset().union(*_PHASES[reached + 1 :])


def _is_expiring(seen: AcquirerEvidence) -> bool:
    return seen.certificate_days_left is not None and seen.certificate_days_left < CERTIFICATE_DAYS_MIN


def _days(seen: AcquirerEvidence) -> str:
    return f"{seen.certificate_days_left:.0f} days left"
