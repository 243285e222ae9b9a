"""How the way out, a modem, and what went silent together are told."""

import pytest

from tillwatch_agent.checks import Check, Verdict, blamed, phases, way_out, with_modem
from tillwatch_agent.culprit import Part, Seen
from tillwatch_agent.drivers import Attachment
from tillwatch_agent.evidence import Connect, Domain, Evidence, Gateway, Names, Registration, WanEvidence
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health

WHOLE = Evidence(
    has_link=True,
    has_address=True,
    has_route=True,
    gateway=Gateway.ALIVE,
    names=Names.ANSWERED,
    wan=(WanEvidence(target="198.51.100.1:53", connect=Connect.CONNECTED),),
    details={Domain.LINK: "eth0"},
    measures={"gateway_ms": 1.5, "wan_ms": 20.0},
)
DEAD = Evidence(has_link=False, details={Domain.LINK: "wwan0 has no carrier"}, facts={"interface": "wwan0"})


def test_a_way_out_is_told_step_by_step_with_its_times_and_what_was_not_tested() -> None:
    told = {check.name: (check.verdict, check.found, check.took_ms) for check in way_out(WHOLE)}
    assert told == {
        "network.link": (Verdict.OK, "eth0", None),
        "network.address": (Verdict.OK, "ok", None),
        "network.route": (Verdict.OK, "ok", None),
        "network.gateway": (Verdict.OK, "ok", 1.5),
        "network.names": (Verdict.OK, "ok", None),
        "network.wan": (Verdict.OK, "ok", 20.0),
        "network.portal": (Verdict.UNTESTED, "not tested: nothing is configured to ask", None),
    }


def test_what_fails_is_told_with_how_sure_that_is() -> None:
    first, *behind = way_out(DEAD)
    assert (first.name, first.verdict, first.found) == (
        "network.link",
        Verdict.PROBLEM,
        "wwan0 has no carrier; proved",
    )
    assert {check.verdict for check in behind} == {Verdict.UNTESTED}


def modem(health: Health, *codes: str) -> list[Observation]:
    return [Observation(component="modem:0", health=health, reason="x", true_codes=dict.fromkeys(codes))]


@pytest.mark.parametrize(
    ("evidence", "looks", "registration"),
    [
        (DEAD, modem(Health.FAULT, Code.SIM_ABSENT), Registration.NO_SIM),
        (DEAD, modem(Health.FAULT, Code.SIM_FAILURE), Registration.NO_SIM),
        (DEAD, modem(Health.FAULT, Code.SIM_LOCKED), Registration.SIM_LOCKED),
        (DEAD, modem(Health.FAULT, Code.SIGNAL_WEAK, Code.NOT_REGISTERED), Registration.SEARCHING),
        (DEAD, modem(Health.FAULT, Code.REGISTRATION_DENIED), Registration.DENIED),
        (DEAD, modem(Health.OK), Registration.REGISTERED),
        # of a modem that says nothing nothing is known
        (DEAD, modem(Health.UNKNOWN, Code.NO_RESPONSE), None),
        # no modem is configured
        (DEAD, [], None),
        # the way out is a cable; the modem stands by
        (WHOLE, modem(Health.FAULT, Code.SIM_ABSENT), None),
    ],
)
def test_a_modem_speaks_for_the_way_out_where_it_may_be_it(
    evidence: Evidence, looks: list[Observation], registration: Registration | None
) -> None:
    assert with_modem(evidence, looks, "modem:0").registration is registration


def test_what_the_modem_said_stands_in_the_evidence() -> None:
    seen = with_modem(DEAD, modem(Health.FAULT, Code.SIGNAL_WEAK, Code.SIM_ABSENT), "modem:0")
    assert seen.details[Domain.REGISTRATION] == "modem:0: sim_absent"


def test_the_phases_of_an_acquirer_are_told_in_their_order() -> None:
    assert phases({"tls_ms": 20.25, "tcp_ms": 3, "other_ms": 1}) == "tcp 3 ms, tls 20.25 ms"
    assert phases({}) == ""


def test_who_is_suspected_stands_beside_the_advice() -> None:
    checks = [
        Check(name="pos_printer:a", verdict=Verdict.PROBLEM, found="x", advice="plug it in"),
        Check(name="pos_printer:b", verdict=Verdict.PROBLEM, found="x"),
        Check(name="machine:self", verdict=Verdict.OK, found="ok"),
    ]
    parts = [
        Part(component=f"pos_printer:{name}", attachment=Attachment.SERIAL, seen=Seen.SILENT) for name in ("a", "b")
    ]
    advices = [check.advice for check in blamed(checks, parts)]
    assert advices == [
        "plug it in; suspected: its power (together with pos_printer:b)",
        "suspected: its power (together with pos_printer:a)",
        None,
    ]
    alone = blamed(checks[:1], parts[:1])[0].advice
    assert alone == (
        "plug it in; suspected: its power or its cable or its settings in the configuration or the device itself"
    )
