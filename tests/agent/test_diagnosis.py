"""The diagnosis against hand-made evidence: the table that was executed in network namespaces, row by row."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.agent.moments import MORNING

from tillwatch_agent.asks.validity import Validity
from tillwatch_agent.diagnosis import (
    MISCONFIGURED,
    NOT_ASKED,
    UPLINK_DOWN,
    Confidence,
    Outcome,
    Untested,
    diagnose,
    failing_domain,
    judge,
)
from tillwatch_agent.evidence import (
    AcquirerEvidence,
    ClockEvidence,
    Connect,
    Domain,
    Evidence,
    Gateway,
    Names,
    NameServerEvidence,
    Portal,
    Registration,
    Reply,
    ServerSaid,
    Tls,
    WanEvidence,
)
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health

REACHED = AcquirerEvidence(name="a", address="203.0.113.1", connect=Connect.CONNECTED, tls=Tls.TRUSTED)
REFUSED = AcquirerEvidence(name="a", address="203.0.113.1", connect=Connect.REFUSED)
SILENT = AcquirerEvidence(name="a", address="203.0.113.1", connect=Connect.SILENT)
SILENT_TOO = AcquirerEvidence(name="b", address="203.0.113.2", connect=Connect.SILENT)
NAMELESS = AcquirerEvidence(name="n", connect=Connect.NO_NAME_SERVICE)
UNASKED = AcquirerEvidence(name="a")
FAR = WanEvidence(target="198.51.100.1:53", connect=Connect.REFUSED)
FAR_SILENT = WanEvidence(target="198.51.100.1:53", connect=Connect.SILENT)
FAR_SILENT_TOO = WanEvidence(target="198.51.100.2:53", connect=Connect.SILENT)


def server(said: ServerSaid, address: str = "198.51.100.8", *, is_beyond: bool = True) -> NameServerEvidence:
    return NameServerEvidence(address=address, said=said, is_beyond=is_beyond)


def out(
    *acquirers: AcquirerEvidence,
    gateway: Gateway = Gateway.ALIVE,
    names: Names = Names.ANSWERED,
    reach: int = 3,
    servers: tuple[NameServerEvidence, ...] = (),
    wan: tuple[WanEvidence, ...] = (),
    portal: Portal = Portal.NOT_ASKED,
    registration: Registration | None = None,
) -> Evidence:
    """Evidence of a way out that is whole as far as `reach`: 0 nothing, 1 link, 2 address, 3 route."""
    return Evidence(
        has_link=reach > 0,
        has_address=reach > 1,
        has_route=reach > 2,
        gateway=gateway,
        names=names,
        acquirers=acquirers,
        name_servers=servers,
        wan=wan,
        portal=portal,
        registration=registration,
    )


def handshake(tls: Tls, verify_code: int | None = None, days_left: float | None = None) -> AcquirerEvidence:
    return AcquirerEvidence(
        name="a", connect=Connect.CONNECTED, tls=tls, verify_code=verify_code, certificate_days_left=days_left
    )


@pytest.mark.parametrize(
    ("evidence", "failing"),
    [
        # set down, or no carrier
        (out(UNASKED, gateway=Gateway.NOT_ASKED, names=Names.NOT_ASKED, reach=0), Domain.LINK),
        # link, no address
        (out(UNASKED, gateway=Gateway.NOT_ASKED, names=Names.NOT_ASKED, reach=1), Domain.ADDRESS),
        # address, no default route
        (out(UNASKED, gateway=Gateway.NOT_ASKED, names=Names.NOT_ASKED, reach=2), Domain.ROUTE),
        # default route, the gateway does not answer on the link
        (out(SILENT, gateway=Gateway.DEAD, names=Names.FAILED), Domain.GATEWAY),
        # gateway alive, all beyond it swallowed: targets and name service are silent
        (out(SILENT, names=Names.FAILED), Domain.WAN),
        # the same with targets by name, two of whose addresses are known from before
        (out(SILENT, SILENT_TOO, names=Names.FAILED), Domain.WAN),
        # the same with a name service near by that still answers
        (out(SILENT, SILENT_TOO), Domain.WAN),
        # one silent target is that target's failure, not the carrier's
        (out(SILENT), None),
        # two names of one address are one target
        (out(SILENT, AcquirerEvidence(name="b", address="203.0.113.1", connect=Connect.SILENT)), None),
        # one silent, the other answers
        (out(SILENT, AcquirerEvidence(name="b", connect=Connect.CONNECTED)), None),
        # a refusal from beyond proves the way there
        (out(SILENT, REFUSED, gateway=Gateway.DEAD), None),
        # the name service fails, and what has an address is reached
        (out(REACHED, names=Names.FAILED), Domain.NAMES),
        # the name service fails, and nothing has an address to try
        (out(NAMELESS, names=Names.FAILED), Domain.NAMES),
        # a name that does not exist is an answer
        (out(AcquirerEvidence(name="a", connect=Connect.NO_SUCH_NAME)), None),
        # a gateway that drops what is not for it proves nothing, alive or dead
        (out(REACHED, gateway=Gateway.SILENT), None),
        (out(gateway=Gateway.SILENT), None),
        # two far targets silent, nobody else to ask
        (out(wan=(FAR_SILENT, FAR_SILENT_TOO)), Domain.WAN),
        # one far target and one acquirer silent
        (out(SILENT, wan=(FAR_SILENT,)), Domain.WAN),
        # one far target refuses: the way there stands
        (out(SILENT, SILENT_TOO, wan=(FAR,)), None),
        # two name servers beyond the gateway silent, and no address to try: more likely the way than both of them
        (
            out(
                NAMELESS,
                names=Names.FAILED,
                servers=(server(ServerSaid.SILENT), server(ServerSaid.SILENT, "198.51.100.9")),
            ),
            Domain.WAN,
        ),
        # one of them silent proves less
        (out(NAMELESS, names=Names.FAILED, servers=(server(ServerSaid.SILENT),)), Domain.NAMES),
        # it says that it cannot: it was reached
        (out(SILENT, SILENT_TOO, names=Names.FAILED, servers=(server(ServerSaid.FAILED),)), Domain.NAMES),
        # the router's name service is closed, which is no silence; one acquirer by itself is
        (out(SILENT, names=Names.FAILED, servers=(server(ServerSaid.CLOSED, is_beyond=False),)), Domain.NAMES),
        # the router's name service cannot, and an acquirer is silent as well
        (out(SILENT, names=Names.FAILED, servers=(server(ServerSaid.FAILED, is_beyond=False),)), Domain.WAN),
        # a portal answers in the place of everybody
        (out(handshake(Tls.FAILED), portal=Portal.INTERCEPTED), Domain.PORTAL),
        (out(handshake(Tls.UNVERIFIED, 62), names=Names.FAILED, portal=Portal.INTERCEPTED), Domain.PORTAL),
        # one that lets the acquirers through does no harm; so does a page that has moved
        (out(REACHED, portal=Portal.INTERCEPTED), None),
        # the known page came: the way out stands, whoever else is silent
        (out(SILENT, SILENT_TOO, portal=Portal.OPEN), None),
        # a modem that is not registered, before the link that it does not give
        (out(UNASKED, gateway=Gateway.NOT_ASKED, reach=0, registration=Registration.NO_SIM), Domain.REGISTRATION),
        (out(UNASKED, gateway=Gateway.NOT_ASKED, reach=0, registration=Registration.REGISTERED), Domain.LINK),
        # it was between two cells when it was asked, and the way out stands
        (out(REACHED, registration=Registration.SEARCHING), None),
        # all is well
        (out(REACHED), None),
    ],
)
def test_the_first_failing_domain_is_named(evidence: Evidence, failing: Domain | None) -> None:
    assert failing_domain(evidence) is failing
    uplink = diagnose(evidence)[0]
    assert set(uplink.true_codes) == ({failing.value} if failing else set())
    assert uplink.health is (Health.FAULT if failing else Health.OK)


PORTAL = {Code.CAPTIVE_PORTAL}


@pytest.mark.parametrize(
    ("evidence", "undetermined"),
    [
        # behind a dead link nothing was judged
        (
            out(UNASKED, gateway=Gateway.NOT_ASKED, names=Names.NOT_ASKED, reach=0),
            {domain.value for domain in Domain} - {Code.LINK_DOWN, Code.NOT_REGISTERED},
        ),
        # behind a dead gateway neither names nor WAN
        (out(SILENT, gateway=Gateway.DEAD, names=Names.FAILED), {Code.DNS_FAILURE, Code.WAN_UNREACHABLE} | PORTAL),
        # names fail when the WAN does: that they fail by themselves is neither so nor not so
        (out(SILENT, names=Names.FAILED), {Code.DNS_FAILURE} | PORTAL),
        # something beyond answered: all is judged, but names that nobody asked for
        (out(REACHED), set()),
        (out(REACHED, names=Names.NOT_ASKED, gateway=Gateway.SILENT), {Code.DNS_FAILURE}),
        # nothing beyond was asked: of the WAN nothing is known
        (out(), {Code.WAN_UNREACHABLE} | PORTAL),
        (out(gateway=Gateway.SILENT), {Code.GATEWAY_UNREACHABLE, Code.WAN_UNREACHABLE} | PORTAL),
        # what refused may have been a portal, unless its page was asked for
        (out(REFUSED), PORTAL),
        (out(REFUSED, portal=Portal.OPEN), set()),
    ],
)
def test_what_lies_behind_the_failure_or_was_not_proved_is_undetermined(
    evidence: Evidence, undetermined: set[str]
) -> None:
    assert diagnose(evidence)[0].undetermined == undetermined


def acquirer(seen: AcquirerEvidence, **around: Names | Gateway | int) -> Observation:
    return diagnose(out(seen, **around))[1]  # type: ignore[arg-type]  # one keyword of three types


TLS = {Code.TLS_FAILURE}
CERTIFICATE = {Code.CERTIFICATE_EXPIRED, Code.CERTIFICATE_UNTRUSTED}
EXPIRING = {Code.CERTIFICATE_EXPIRING}
REPLY = {Code.REPLY_FAILURE}


@pytest.mark.parametrize(
    ("seen", "true", "undetermined"),
    [
        (REACHED, set(), set()),
        (AcquirerEvidence(name="a", connect=Connect.CONNECTED), set(), set()),  # without TLS, as configured
        (REFUSED, {Code.TCP_REFUSED}, TLS | CERTIFICATE | EXPIRING | REPLY),
        (SILENT, {Code.TCP_FAILURE}, TLS | CERTIFICATE | EXPIRING | REPLY),
        (
            AcquirerEvidence(name="a", connect=Connect.NO_SUCH_NAME),
            {Code.DNS_FAILURE},
            {Code.TCP_FAILURE, Code.TCP_REFUSED} | TLS | CERTIFICATE | EXPIRING | REPLY,
        ),
        (handshake(Tls.FAILED), TLS, CERTIFICATE | EXPIRING | REPLY),  # plain text or a portal on the port
        (handshake(Tls.UNVERIFIED, 10), {Code.CERTIFICATE_EXPIRED}, EXPIRING | REPLY),
        (handshake(Tls.UNVERIFIED, 9), {Code.CERTIFICATE_UNTRUSTED}, EXPIRING | REPLY),  # not yet valid
        (handshake(Tls.UNVERIFIED, 18), {Code.CERTIFICATE_UNTRUSTED}, EXPIRING | REPLY),  # self-signed
        (handshake(Tls.UNVERIFIED, 20), {Code.CERTIFICATE_UNTRUSTED}, EXPIRING | REPLY),  # unknown issuer
        (handshake(Tls.UNVERIFIED, 62), {Code.CERTIFICATE_UNTRUSTED}, EXPIRING | REPLY),  # another host's
        (handshake(Tls.TRUSTED, days_left=13.9), EXPIRING, set()),
        (handshake(Tls.TRUSTED, days_left=14.1), set(), set()),
        # no room for a handshake at this look: TCP is judged, and nothing above it
        (handshake(Tls.LEFT_OUT), set(), TLS | CERTIFICATE | EXPIRING | REPLY),
        # it says that it cannot serve, or says nothing
        (replace(REACHED, reply=Reply.FAILED), REPLY, set()),
        (replace(REACHED, reply=Reply.SILENT), REPLY, set()),
        (replace(REACHED, reply=Reply.ANSWERED), set(), set()),
        (replace(REACHED, reply=Reply.LEFT_OUT), set(), REPLY),
        # two things at once
        (replace(handshake(Tls.TRUSTED, days_left=1), reply=Reply.FAILED), EXPIRING | REPLY, set()),
    ],
)
def test_an_acquirer_fails_in_its_first_failing_phase(
    seen: AcquirerEvidence, true: set[str], undetermined: set[str]
) -> None:
    observation = acquirer(seen)
    assert set(observation.true_codes) == true
    assert observation.undetermined == undetermined
    assert observation.health is (Health.OK if true <= EXPIRING else Health.FAULT)


@pytest.mark.parametrize(
    ("seen", "names", "reason"),
    [
        (SILENT, Names.FAILED, UPLINK_DOWN),  # the WAN is down
        (NAMELESS, Names.FAILED, UPLINK_DOWN),
        # reached by an address the till does not remember
        (AcquirerEvidence(name="a", connect=Connect.CONNECTED, by_remembered_address=True), Names.FAILED, UPLINK_DOWN),
        # its own name is not found while another's is: the look came between
        (NAMELESS, Names.ANSWERED, UPLINK_DOWN),
        (UNASKED, Names.ANSWERED, NOT_ASKED),
        (handshake(Tls.NO_CA), Names.ANSWERED, MISCONFIGURED),
    ],
)
def test_an_acquirer_that_cannot_be_judged_is_unknown_with_its_reason(
    seen: AcquirerEvidence, names: Names, reason: str
) -> None:
    observation = acquirer(seen, names=names)
    assert (observation.health, observation.reason, observation.true_codes) == (Health.UNKNOWN, reason, {})


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_one_cut_cable_is_one_condition(reach: int) -> None:
    uplink, *acquirers = diagnose(out(UNASKED, AcquirerEvidence(name="b"), reach=reach, gateway=Gateway.NOT_ASKED))
    assert len(uplink.true_codes) == 1
    assert {seen.reason for seen in acquirers} == {UPLINK_DOWN}


def test_an_acquirer_that_answered_is_judged_by_its_answer_whatever_else_fails() -> None:
    for gateway, names in itertools.product(Gateway, Names):
        assert acquirer(REACHED, gateway=gateway, names=names).health is Health.OK
        assert set(acquirer(REFUSED, gateway=gateway, names=names).true_codes) == {Code.TCP_REFUSED}


def test_no_evidence_whatever_names_a_domain_twice_or_judges_behind_it() -> None:
    whole = itertools.product(range(4), Gateway, Names, Connect, Portal, [None, *Registration])
    for reach, gateway, names, connect, portal, registration in whole:
        seen = AcquirerEvidence(name="a", connect=connect)
        evidence = out(seen, gateway=gateway, names=names, reach=reach, portal=portal, registration=registration)
        uplink = diagnose(evidence)[0]
        assert len(uplink.true_codes) <= 1
        assert not uplink.true_codes.keys() & uplink.undetermined


def test_what_was_looked_at_is_told_with_the_failure() -> None:
    evidence = Evidence(has_link=False, details={Domain.LINK: "eth0 has no carrier"})
    assert diagnose(evidence)[0].true_codes == {Code.LINK_DOWN: "eth0 has no carrier"}


SPAN = Validity(begins_at=MORNING - timedelta(days=30), ends_at=MORNING + timedelta(days=30))
ENDED, NOT_BEGUN = handshake(Tls.UNVERIFIED, 10), handshake(Tls.UNVERIFIED, 9)


def clock(offset_days: float | None, *, is_below_floor: bool = False) -> ClockEvidence:
    """A clock at a time at which the span is over or not begun; the true time is so many days ahead of it."""
    offset_s = None if offset_days is None else offset_days * 86_400
    at = MORNING - timedelta(days=offset_days or 0)
    return ClockEvidence(at=at, offset_s=offset_s, is_below_floor=is_below_floor)


@pytest.mark.parametrize(
    ("seen", "clock", "reason"),
    [
        # at the true time the certificate is valid
        (replace(ENDED, validity=SPAN), clock(-365), Code.CLOCK_WRONG),
        (replace(NOT_BEGUN, validity=SPAN), clock(365), Code.CLOCK_WRONG),
        # the clock is off by an hour, and the certificate ended long before
        (replace(ENDED, validity=replace(SPAN, ends_at=MORNING - timedelta(days=3))), clock(-0.04), None),
        # it could not be looked at: a clock that is off by days is blamed, one by minutes is not
        (ENDED, clock(-2), Code.CLOCK_WRONG),
        (ENDED, clock(-0.01), None),
        # nobody told the time; before the floor what has not begun may have, what has ended has
        (NOT_BEGUN, clock(None, is_below_floor=True), Code.CLOCK_WRONG),
        (ENDED, clock(None, is_below_floor=True), None),
        (NOT_BEGUN, clock(None), None),
        # no clock mends another host's certificate
        (handshake(Tls.UNVERIFIED, 62), clock(-365), None),
        (replace(REACHED, verify_code=10), clock(-365), None),
    ],
)
def test_a_wrong_clock_is_told_from_a_bad_certificate(
    seen: AcquirerEvidence, clock: ClockEvidence, reason: str | None
) -> None:
    observation = diagnose(replace(out(seen), clock=clock))[1]
    assert observation.reason == reason
    assert (Code.CLOCK_WRONG in observation.true_codes) is False


def test_days_left_are_counted_by_the_true_time() -> None:
    seen = handshake(Tls.TRUSTED, days_left=20)
    assert diagnose(replace(out(seen), clock=clock(10)))[1].true_codes == {Code.CERTIFICATE_EXPIRING: "10 days left"}
    assert diagnose(replace(out(seen), clock=clock(-10)))[1].true_codes == {}


def test_behind_a_portal_no_acquirer_is_judged_by_what_the_portal_said() -> None:
    seen = (handshake(Tls.FAILED), handshake(Tls.UNVERIFIED, 62), REFUSED)
    _, *acquirers = diagnose(out(*seen, portal=Portal.INTERCEPTED))
    assert {observation.reason for observation in acquirers} == {UPLINK_DOWN}


@pytest.mark.parametrize(
    ("evidence", "confidence"),
    [
        # the kernel or the modem said so
        (out(UNASKED, reach=0), Confidence.PROVED),
        (out(UNASKED, registration=Registration.DENIED, reach=0), Confidence.PROVED),
        (out(SILENT, gateway=Gateway.DEAD, names=Names.FAILED), Confidence.PROVED),
        # an answer that is not the known one
        (out(portal=Portal.INTERCEPTED), Confidence.PROVED),
        # something beyond was reached, and names were not found
        (out(REACHED, names=Names.FAILED), Confidence.PROVED),
        # the router's name service said that it cannot
        (
            out(NAMELESS, names=Names.FAILED, servers=(server(ServerSaid.CLOSED, is_beyond=False),)),
            Confidence.PROVED,
        ),
        # silence alone
        (out(NAMELESS, names=Names.FAILED), Confidence.POSSIBLE),
        # silences behind a gateway that lives, and behind one that may not
        (out(SILENT, SILENT_TOO), Confidence.LIKELY),
        (out(SILENT, SILENT_TOO, gateway=Gateway.SILENT), Confidence.POSSIBLE),
        # well, as far as anything was asked
        (out(REACHED), Confidence.PROVED),
        (out(), Confidence.POSSIBLE),
    ],
)
def test_a_verdict_says_how_sure_it_is(evidence: Evidence, confidence: Confidence) -> None:
    assert judge(evidence).confidence is confidence


@pytest.mark.parametrize(
    ("evidence", "untested"),
    [
        # silent to TCP: an echo could tell, and there is no right to one
        (
            out(gateway=Gateway.SILENT),
            {
                Domain.GATEWAY: Untested.NO_ICMP_RIGHT,
                Domain.WAN: Untested.NOT_CONFIGURED,
                Domain.PORTAL: Untested.NOT_CONFIGURED,
            },
        ),
        # it has the right, and no echo came either
        (
            replace(out(SILENT, gateway=Gateway.SILENT, names=Names.NOT_ASKED), may_ping=True),
            {
                Domain.GATEWAY: Untested.NO_ANSWER,
                Domain.NAMES: Untested.NOT_CONFIGURED,
                Domain.WAN: Untested.NO_ANSWER,
                Domain.PORTAL: Untested.NOT_CONFIGURED,
            },
        ),
        # a point-to-point link has no gateway to ask
        (
            out(wan=(FAR_SILENT,), gateway=Gateway.NOT_ASKED, portal=Portal.SILENT),
            {
                Domain.GATEWAY: Untested.NOT_CONFIGURED,
                Domain.WAN: Untested.NO_ANSWER,
                Domain.PORTAL: Untested.NO_ANSWER,
            },
        ),
        # behind what fails nothing is tested, unless it answered by itself
        (
            out(UNASKED, gateway=Gateway.NOT_ASKED, reach=2),
            {
                Domain.GATEWAY: Untested.BEHIND_FAILURE,
                Domain.WAN: Untested.BEHIND_FAILURE,
                Domain.PORTAL: Untested.BEHIND_FAILURE,
            },
        ),
        # all was proved
        (out(REACHED, registration=Registration.REGISTERED), {}),
    ],
)
def test_a_verdict_says_what_could_not_be_tested_and_why(evidence: Evidence, untested: dict[Domain, Untested]) -> None:
    assert {step.domain: step.why for step in judge(evidence).untested} == untested


def test_a_verdict_goes_from_domain_to_domain_with_what_was_seen_and_its_time() -> None:
    details = {Domain.LINK: "eth0", Domain.WAN: "203.0.113.1, 203.0.113.2"}
    evidence = replace(out(SILENT, SILENT_TOO), details=details, measures={"gateway_ms": 1.5, "dns_ms": 20.0})
    steps = {step.domain: step for step in judge(evidence).steps}
    assert Domain.REGISTRATION not in steps, "no modem is the way out"
    assert (steps[Domain.LINK].outcome, steps[Domain.LINK].found) == (Outcome.PASSED, "eth0")
    assert (steps[Domain.GATEWAY].took_ms, steps[Domain.NAMES].took_ms) == (1.5, 20.0)
    assert (steps[Domain.WAN].outcome, steps[Domain.WAN].found) == (Outcome.FAILED, details[Domain.WAN])


def test_a_registration_that_was_passed_over_is_told_as_passed() -> None:
    verdict = judge(out(REACHED, registration=Registration.SEARCHING))
    assert (verdict.failing, verdict.steps[0].outcome) == (None, Outcome.PASSED)
