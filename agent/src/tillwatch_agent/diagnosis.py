"""Network evidence to a failing domain: the first thing that fails on the way out is the one that is named. Pure.

The way out is registration (of a modem), link, address, route, gateway, name service, what lies beyond (the WAN), and a
portal that stands in it; past that, each acquirer by TCP, TLS, certificate and reply. `network:uplink` bears the first
failing domain and judges nothing behind it. An acquirer that was reached is judged by what it did; one that was not,
while the uplink fails, is `unknown` with reason `uplink_down`, so that one cause has one ticket.

What proves what (executed in network namespaces, see the tables in the tests):
- A gateway that refuses a connection is alive; one that does not resolve on the link (EHOSTUNREACH) is dead; one that
  stays silent proves nothing, since many drop what is not for them.
- "Network unreachable" can come from far away, so the route is judged by the routing table, not by that error.
- Anything beyond that answered, even by a refusal, proves link, address, route, gateway and WAN. A portal answers in
  the place of others: where one was seen, only a trusted certificate proves that its owner was reached.
- The WAN is named only on two independent silences (two targets, or one target and the name service), never on one: one
  silent target is that target's own failure. A name server that says that it cannot, or that is not there, is no
  silence: it fails by itself.
- A certificate that is valid at the true time is refused by a wrong clock, and the clock is `machine:clock`'s: the
  acquirer is then `unknown`, reason `clock_wrong`.

A change violates this when an acquirer that answered is not judged by its answer, or a domain behind the first failing
one is judged.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tillwatch_agent.evidence import (
    AcquirerEvidence,
    ClockEvidence,
    Connect,
    Domain,
    Evidence,
    Gateway,
    Names,
    Portal,
    Registration,
    Reply,
    ServerSaid,
    Tls,
)
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import NETWORK_UPLINK, ConditionCode, Health, Kind, PowerState

CERTIFICATE_DAYS_MIN = 14.0
"""Fewer days left than this is `certificate_expiring`: a working fortnight to renew in."""

CLOCK_OFF_S_MIN = 86_400.0
"""A clock that is off by a day is blamed for a certificate of which nothing but its refusal is known."""

UPLINK_DOWN: Final = "uplink_down"
"""Reason of an acquirer that cannot be judged because the way out fails."""

NOT_ASKED: Final = "not_asked"
MISCONFIGURED: Final = "misconfigured"

_EXPIRED, _NOT_YET_VALID = 10, 9
"""OpenSSL verify codes (X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID)."""

_REACHED: Final = frozenset({Connect.CONNECTED, Connect.REFUSED})


class Outcome(StrEnum):
    """How a domain came out of a look."""

    PASSED = "passed"
    FAILED = "failed"
    UNTESTED = "untested"


class Untested(StrEnum):
    """Why a domain could not be tested."""

    BEHIND_FAILURE = "behind_failure"
    """What lies before it fails."""
    NOT_CONFIGURED = "not_configured"
    """There is nothing to ask, or nothing to ask for."""
    NO_ICMP_RIGHT = "no_icmp_right"
    """Silent to TCP, and this process may not send ICMP."""
    NO_ANSWER = "no_answer"
    """Silent, which proves nothing by itself."""


class Confidence(StrEnum):
    """How sure a verdict is."""

    PROVED = "proved"
    """Somebody who must know said so: the kernel, the modem, an answer."""
    LIKELY = "likely"
    """Several independent silences, behind a gateway that lives."""
    POSSIBLE = "possible"
    """Silence that something else could explain, too; or nothing far out was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One domain of the way out: how it came out, and what it was seen by."""

    domain: Domain
    outcome: Outcome
    why: Untested | None = None
    found: str | None = None
    took_ms: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one look proves of the way out."""

    failing: Domain | None
    confidence: Confidence
    steps: tuple[Step, ...]

    @property
    def untested(self) -> tuple[Step, ...]:
        """What could not be tested, each with its reason."""
        return tuple(step for step in self.steps if step.outcome is Outcome.UNTESTED)


def diagnose(evidence: Evidence) -> tuple[Observation, ...]:
    """Say how the uplink and each acquirer are."""
    failing = failing_domain(evidence)
    return (_uplink(evidence, failing), *(_acquirer(seen, evidence, failing) for seen in evidence.acquirers))


def judge(evidence: Evidence) -> Verdict:
    """Say what fails first, how sure that is, and what each domain was seen by."""
    failing = failing_domain(evidence)
    applicable = (domain for domain in Domain if domain is not Domain.REGISTRATION or evidence.registration)
    steps = tuple(_step(domain, evidence, failing) for domain in applicable)
    return Verdict(failing=failing, confidence=_confidence(evidence, failing), steps=steps)


def failing_domain(evidence: Evidence) -> Domain | None:
    """Find the first domain that fails; None when nothing is proved to."""
    if evidence.portal is Portal.INTERCEPTED and not _is_anyone_trusted(evidence):
        return Domain.PORTAL
    if not _is_beyond_reached(evidence):
        if near := _failing_near(evidence):
            return near
        if len(_silent_targets(evidence)) > 1:
            return Domain.WAN
    return Domain.NAMES if evidence.names is Names.FAILED else None


def _failing_near(evidence: Evidence) -> Domain | None:
    """Find what fails up to the gateway."""
    if evidence.registration not in {None, Registration.REGISTERED}:
        return Domain.REGISTRATION
    if not evidence.has_link:
        return Domain.LINK
    if not evidence.has_address:
        return Domain.ADDRESS
    if not evidence.has_route:
        return Domain.ROUTE
    return Domain.GATEWAY if evidence.gateway is Gateway.DEAD else None


def _is_anyone_trusted(evidence: Evidence) -> bool:
    return any(seen.tls is Tls.TRUSTED for seen in evidence.acquirers)


def _is_beyond_reached(evidence: Evidence) -> bool:
    return (
        evidence.portal is Portal.OPEN
        or any(seen.connect in _REACHED for seen in evidence.acquirers)
        or any(seen.connect in _REACHED for seen in evidence.wan)
        or any(server.is_beyond and server.said is not ServerSaid.SILENT for server in evidence.name_servers)
    )


def _silent_targets(evidence: Evidence) -> frozenset[str]:
    """Gather what beyond the gateway was asked and stayed silent; two names of one address are one.

    The name service counts by its servers that lie beyond, or, when none of them is known to, as one target beside
    others: by itself it may have failed on this machine.
    """
    silent = {seen.address or seen.name for seen in evidence.acquirers if seen.connect is Connect.SILENT}
    silent |= {seen.target for seen in evidence.wan if seen.connect is Connect.SILENT}
    if evidence.names is not Names.FAILED:
        return frozenset(silent)
    beyond = {server.address for server in evidence.name_servers if server.is_beyond}
    is_closed = any(server.said is ServerSaid.CLOSED for server in evidence.name_servers)
    by_itself = {"the name service"} if silent and not beyond and not is_closed else set()
    return frozenset(silent | beyond | by_itself)


def _confidence(evidence: Evidence, failing: Domain | None) -> Confidence:
    is_beyond_reached = _is_beyond_reached(evidence)
    if failing is None:
        return Confidence.PROVED if is_beyond_reached else Confidence.POSSIBLE
    if failing is Domain.WAN:
        return Confidence.LIKELY if evidence.gateway is Gateway.ALIVE else Confidence.POSSIBLE
    if failing is Domain.NAMES and not is_beyond_reached:
        has_said_so = any(server.said in {ServerSaid.FAILED, ServerSaid.CLOSED} for server in evidence.name_servers)
        return Confidence.PROVED if has_said_so else Confidence.POSSIBLE
    return Confidence.PROVED


def _step(domain: Domain, evidence: Evidence, failing: Domain | None) -> Step:
    measure = {Domain.GATEWAY: "gateway_ms", Domain.NAMES: "dns_ms", Domain.WAN: "wan_ms", Domain.PORTAL: "portal_ms"}
    found, took_ms = evidence.details.get(domain), evidence.measures.get(measure.get(domain, ""))
    if domain is failing:
        return Step(domain=domain, outcome=Outcome.FAILED, found=found)
    if why := _untested(domain, evidence, failing):
        return Step(domain=domain, outcome=Outcome.UNTESTED, why=why)
    return Step(domain=domain, outcome=Outcome.PASSED, found=found, took_ms=took_ms)


def _untested(domain: Domain, evidence: Evidence, failing: Domain | None) -> Untested | None:
    """Say why this look leaves a domain unjudged: it lies behind the failing one, or nothing proved it."""
    if failing and _ORDER[domain] > _ORDER[failing]:
        return Untested.BEHIND_FAILURE if not _is_passed(domain, evidence) else None
    if _is_passed(domain, evidence):
        return None
    if domain is Domain.GATEWAY and evidence.gateway is Gateway.SILENT:
        return Untested.NO_ANSWER if evidence.may_ping else Untested.NO_ICMP_RIGHT
    is_asked = {
        Domain.GATEWAY: evidence.gateway is not Gateway.NOT_ASKED,
        Domain.NAMES: evidence.names is not Names.NOT_ASKED,
        Domain.WAN: bool(evidence.wan or evidence.acquirers),
        Domain.PORTAL: evidence.portal is not Portal.NOT_ASKED,
    }
    return Untested.NO_ANSWER if is_asked[domain] else Untested.NOT_CONFIGURED


_ORDER: Final = {domain: place for place, domain in enumerate(Domain)}


def _is_passed(domain: Domain, evidence: Evidence) -> bool:
    """Whether something proves that a domain which is not the failing one works."""
    is_beyond_reached = _is_beyond_reached(evidence)
    has_answer = is_beyond_reached or evidence.portal is Portal.INTERCEPTED
    proved = {
        Domain.REGISTRATION: has_answer or evidence.registration in {None, Registration.REGISTERED},
        Domain.LINK: has_answer or evidence.has_link,
        Domain.ADDRESS: has_answer or evidence.has_address,
        Domain.ROUTE: has_answer or evidence.has_route,
        Domain.GATEWAY: has_answer or evidence.gateway is Gateway.ALIVE,
        Domain.NAMES: evidence.names is Names.ANSWERED,
        Domain.WAN: is_beyond_reached,
        Domain.PORTAL: evidence.portal is Portal.OPEN or _is_anyone_trusted(evidence),
    }
    return proved[domain]


def _uplink(evidence: Evidence, failing: Domain | None) -> Observation:
    open_domains = (domain for domain in Domain if domain is not failing)
    return Observation(
        component=NETWORK_UPLINK,
        health=Health.FAULT if failing else Health.OK,
        power_state=PowerState.ONLINE if evidence.has_link else PowerState.UNKNOWN,
        true_codes={failing.value: evidence.details.get(failing)} if failing else {},
        undetermined=frozenset(domain.value for domain in open_domains if _untested(domain, evidence, failing)),
        measures=dict(evidence.measures),
        facts=dict(evidence.facts),
    )


def _acquirer(seen: AcquirerEvidence, evidence: Evidence, failing: Domain | None) -> Observation:
    component = f"{Kind.ACQUIRER}:{seen.name}"
    if reason := _unjudgeable(seen, evidence, failing):
        return Observation(component=component, health=Health.UNKNOWN, reason=reason, measures=dict(seen.measures))
    code = _failure(seen)
    codes = {code: seen.detail} if code else {}
    if _is_expiring(seen, evidence.clock):
        codes[ConditionCode.CERTIFICATE_EXPIRING] = f"{_days_left(seen, evidence.clock):.0f} days left"
    return Observation(
        component=component,
        health=Health.FAULT if code else Health.OK,
        power_state=PowerState.ONLINE if seen.connect is Connect.CONNECTED else PowerState.UNKNOWN,
        true_codes=dict(codes),
        undetermined=_unjudged(code, seen),
        measures=dict(seen.measures),
    )


def _unjudgeable(seen: AcquirerEvidence, evidence: Evidence, failing: Domain | None) -> str | None:
    """Say why an acquirer cannot be judged now."""
    is_reached = seen.connect in _REACHED and not seen.by_remembered_address
    if failing is Domain.PORTAL or (failing and not is_reached):
        return UPLINK_DOWN
    if seen.connect is Connect.NOT_ASKED:
        return NOT_ASKED
    if seen.connect is Connect.NO_NAME_SERVICE or seen.by_remembered_address:
        return UPLINK_DOWN
    if seen.tls is Tls.NO_CA:
        return MISCONFIGURED
    return ConditionCode.CLOCK_WRONG if _is_clocks_failure(seen, evidence.clock) else None


def _is_clocks_failure(seen: AcquirerEvidence, clock: ClockEvidence | None) -> bool:
    """Whether a certificate was refused for a time that it is not."""
    if clock is None or seen.tls is not Tls.UNVERIFIED or seen.verify_code not in {_EXPIRED, _NOT_YET_VALID}:
        return False
    if clock.true_at is None or clock.offset_s is None:
        # Below the floor the true time is later: what has ended by this clock has ended, what has not begun may have.
        return clock.is_below_floor and seen.verify_code == _NOT_YET_VALID
    return seen.validity.covers(clock.true_at) if seen.validity else abs(clock.offset_s) >= CLOCK_OFF_S_MIN


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
    if seen.tls is Tls.FAILED:
        return ConditionCode.TLS_FAILURE
    return ConditionCode.REPLY_FAILURE if seen.reply in {Reply.FAILED, Reply.SILENT} else None


_PHASES: Final = (
    frozenset({ConditionCode.DNS_FAILURE}),
    frozenset({ConditionCode.TCP_FAILURE, ConditionCode.TCP_REFUSED}),
    frozenset({ConditionCode.TLS_FAILURE}),
    frozenset({ConditionCode.CERTIFICATE_EXPIRED, ConditionCode.CERTIFICATE_UNTRUSTED}),
    frozenset({ConditionCode.CERTIFICATE_EXPIRING}),
    frozenset({ConditionCode.REPLY_FAILURE}),
)
"""An acquirer's codes by the phase that judges them."""
_TCP_PHASE, _CERTIFICATE_PHASE = 1, 4


def _unjudged(failed: str | None, seen: AcquirerEvidence) -> frozenset[str]:
    """Give the codes of phases behind the last one that was come to."""
    if failed is not None:
        reached = next(at for at, codes in enumerate(_PHASES) if failed in codes)
    elif seen.tls is Tls.LEFT_OUT:
        reached = _TCP_PHASE
    elif seen.reply is Reply.LEFT_OUT:
        reached = _CERTIFICATE_PHASE
    else:
        return frozenset()
    return frozenset().union(*_PHASES[reached + 1 :])


def _is_expiring(seen: AcquirerEvidence, clock: ClockEvidence | None) -> bool:
    days_left = _days_left(seen, clock)
    return seen.tls is Tls.TRUSTED and days_left is not None and days_left < CERTIFICATE_DAYS_MIN


def _days_left(seen: AcquirerEvidence, clock: ClockEvidence | None) -> float | None:
    """Count by the true time, where it is known."""
    if seen.certificate_days_left is None or clock is None or clock.offset_s is None:
        return seen.certificate_days_left
    return seen.certificate_days_left - clock.offset_s / 86_400
