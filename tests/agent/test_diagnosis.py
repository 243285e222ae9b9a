"""The diagnosis against hand-made evidence: the table that was executed in network namespaces, row by row."""

import itertools

import pytest

from tillwatch_agent.diagnosis import (
    MISCONFIGURED,
    NOT_ASKED,
    UPLINK_DOWN,
    AcquirerEvidence,
    Connect,
    Domain,
    Evidence,
    Gateway,
    Names,
    Tls,
    diagnose,
    failing_domain,
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


def out(
    *acquirers: AcquirerEvidence, gateway: Gateway = Gateway.ALIVE, names: Names = Names.ANSWERED, reach: int = 3
) -> Evidence:
    """Evidence of a way out that is whole as far as `reach`: 0 nothing, 1 link, 2 address, 3 route."""
    return Evidence(
        has_link=reach > 0,
        has_address=reach > 1,
        has_route=reach > 2,
        gateway=gateway,
        names=names,
        acquirers=acquirers,
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
        # all is well
        (out(REACHED), None),
    ],
)
def test_the_first_failing_domain_is_named(evidence: Evidence, failing: Domain | None) -> None:
    assert failing_domain(evidence) is failing
    uplink = diagnose(evidence)[0]
    assert set(uplink.true_codes) == ({failing.value} if failing else set())
    assert uplink.health is (Health.FAULT if failing else Health.OK)


@pytest.mark.parametrize(
    ("evidence", "undetermined"),
    [
        # behind a dead link nothing was judged
        (out(UNASKED, reach=0), {domain.value for domain in Domain} - {Code.LINK_DOWN}),
        # behind a dead gateway neither names nor WAN
        (out(SILENT, gateway=Gateway.DEAD, names=Names.FAILED), {Code.DNS_FAILURE, Code.WAN_UNREACHABLE}),
        # names fail when the WAN does: that they fail by themselves is neither so nor not so
        (out(SILENT, names=Names.FAILED), {Code.DNS_FAILURE}),
        # something beyond answered: all is judged, but names that nobody asked for
        (out(REACHED), set()),
        (out(REACHED, names=Names.NOT_ASKED, gateway=Gateway.SILENT), {Code.DNS_FAILURE}),
        # nothing beyond was asked: of the WAN nothing is known
        (out(), {Code.WAN_UNREACHABLE}),
        (out(gateway=Gateway.SILENT), {Code.GATEWAY_UNREACHABLE, Code.WAN_UNREACHABLE}),
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


def handshake(tls: Tls, verify_code: int | None = None, days_left: float | None = None) -> AcquirerEvidence:
    return AcquirerEvidence(
        name="a", connect=Connect.CONNECTED, tls=tls, verify_code=verify_code, certificate_days_left=days_left
    )


@pytest.mark.parametrize(
    ("seen", "true", "undetermined"),
    [
        (REACHED, set(), set()),
        (AcquirerEvidence(name="a", connect=Connect.CONNECTED), set(), set()),  # without TLS, as configured
        (REFUSED, {Code.TCP_REFUSED}, TLS | CERTIFICATE | EXPIRING),
        (SILENT, {Code.TCP_FAILURE}, TLS | CERTIFICATE | EXPIRING),
        (
            AcquirerEvidence(name="a", connect=Connect.NO_SUCH_NAME),
            {Code.DNS_FAILURE},
            {Code.TCP_FAILURE, Code.TCP_REFUSED} | TLS | CERTIFICATE | EXPIRING,
        ),
        (handshake(Tls.FAILED), TLS, CERTIFICATE | EXPIRING),  # plain text or a portal on the port
        (handshake(Tls.UNVERIFIED, 10), {Code.CERTIFICATE_EXPIRED}, EXPIRING),
        (handshake(Tls.UNVERIFIED, 9), {Code.CERTIFICATE_UNTRUSTED}, EXPIRING),  # not yet valid
        (handshake(Tls.UNVERIFIED, 18), {Code.CERTIFICATE_UNTRUSTED}, EXPIRING),  # self-signed
        (handshake(Tls.UNVERIFIED, 20), {Code.CERTIFICATE_UNTRUSTED}, EXPIRING),  # unknown issuer
        (handshake(Tls.UNVERIFIED, 62), {Code.CERTIFICATE_UNTRUSTED}, EXPIRING),  # another host's
        (handshake(Tls.TRUSTED, days_left=13.9), EXPIRING, set()),
        (handshake(Tls.TRUSTED, days_left=14.1), set(), set()),
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
    for reach, gateway, names, connect in itertools.product(range(4), Gateway, Names, Connect):
        seen = AcquirerEvidence(name="a", connect=connect)
        uplink = diagnose(out(seen, gateway=gateway, names=names, reach=reach))[0]
        assert len(uplink.true_codes) <= 1
        assert not uplink.true_codes.keys() & uplink.undetermined


def test_what_was_looked_at_is_told_with_the_failure() -> None:
    evidence = Evidence(has_link=False, details={Domain.LINK: "eth0 has no carrier"})
    assert diagnose(evidence)[0].true_codes == {Code.LINK_DOWN: "eth0 has no carrier"}
