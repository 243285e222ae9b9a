"""The nexo driver: what it may ask, what it believes, and each fault of the simulated terminal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.talks import Talk, talk

from tillwatch_agent.drivers import Attachment, Device, SettingsInvalid, nexo
from tillwatch_agent.drivers.nexo import BUSY, CODES, NOT_TOLD
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health, PowerState
from tillwatch_simulator.devices.nexo import Fault, Terminal

STARTED_S = 1_790_000_000
WHO = {"sale_id": "till-1", "poi_id": "P400-1"}


def driver(**settings: Any) -> nexo.Nexo:
    return nexo.driver(Device(kind="pin_pad", name="counter", settings=WHO | settings, started_s=STARTED_S))


def with_faults(*faults: str, memory: Any = None) -> Talk:
    terminal = Terminal()
    for fault in faults:
        terminal.set(fault)
    return talk(driver(), terminal.answer, memory, Attachment.TCP)


def answered(**diagnosis: Any) -> Talk:
    """A terminal that says this and no more."""
    header = {"ServiceID": str(STARTED_S), "POIID": "P400-1"}
    body = {"SaleToPOIResponse": {"MessageHeader": header, "DiagnosisResponse": diagnosis}}
    return talk(driver(), lambda _: json.dumps(body).encode(), attachment=Attachment.TCP)


def test_the_request_is_a_diagnosis_as_nexo_has_it() -> None:
    asked = json.loads(driver(acquirers=["main"]).allowed.of(STARTED_S))
    assert asked == {
        "SaleToPOIRequest": {
            "MessageHeader": {
                "ProtocolVersion": "3.0",
                "MessageClass": "Service",
                "MessageCategory": "Diagnosis",
                "MessageType": "Request",
                "ServiceID": "1790000000",
                "SaleID": "till-1",
                "POIID": "P400-1",
            },
            "DiagnosisRequest": {"HostDiagnosisFlag": True, "AcquirerID": ["main"]},
        }
    }


def test_only_its_own_diagnoses_can_be_asked_for() -> None:
    allowed = driver().allowed
    asked = allowed.of(7)
    assert asked in allowed
    for other in (
        asked.replace(b'"Diagnosis"', b'"Payment"'),
        asked.replace(b"till-1", b"till-2"),
        asked.replace(b'"0000000007"', b'"7"'),
        asked + b" ",
        b"",
        b"{}",
    ):
        assert other not in allowed
    assert asked.decode() not in allowed


def test_a_number_is_never_asked_twice_and_has_ten_digits() -> None:
    terminal, seen = Terminal(), set()
    for look_no in range(3):
        told = talk(driver(), terminal.answer, attachment=Attachment.TCP, look_no=look_no)
        assert told.seen.health is Health.OK
        seen |= set(told.requests)
    assert len(seen) == 3
    assert nexo.service_id(10**10 + 3) == "0000000003"


def test_a_healthy_terminal_is_ok_and_tells_its_hosts() -> None:
    seen = with_faults().seen
    assert (seen.health, seen.power_state, seen.undetermined) == (Health.OK, PowerState.ONLINE, frozenset())
    assert seen.measures == {"hosts_told": 2, "hosts_reachable": 2}


TOLD = {
    Fault.READER_BROKEN: (Code.READER_FAILURE, None),
    Fault.PIN_PAD_BROKEN: (Code.PIN_PAD_FAILURE, None),
    Fault.SECURITY_BROKEN: (Code.SECURITY_FAILURE, None),
    Fault.NO_COMMUNICATION: (Code.HOST_UNREACHABLE, "its own communication"),
    Fault.ACQUIRER_UNREACHABLE: (Code.HOST_UNREACHABLE, "main"),
    Fault.PAPER_LOW: (Code.PAPER_NEAR_END, None),
    Fault.NO_PAPER: (Code.PAPER_END, None),
    Fault.PAPER_JAM: (Code.PAPER_JAM, None),
    Fault.PRINTER_OUT_OF_ORDER: (Code.DEVICE_ERROR, "its printer is out of order"),
    Fault.MAINTENANCE: (Code.IN_MAINTENANCE, None),
    Fault.LOGGED_OUT: (Code.SETUP_REQUIRED, "LoggedOut"),
    Fault.DEVICE_OUT: (Code.OUT_OF_ORDER, "DeviceOut"),
}


@pytest.mark.parametrize(("fault", "code", "detail"), [(fault, *told) for fault, told in TOLD.items()])
def test_each_fault_of_the_simulated_terminal_is_told(fault: Fault, code: str, detail: str | None) -> None:
    seen = with_faults(fault).seen
    assert seen.true_codes == {code: detail}
    assert seen.health is (Health.OK if code in {Code.PAPER_NEAR_END, Code.IN_MAINTENANCE} else Health.FAULT)


def test_a_terminal_in_a_payment_is_judged_by_its_flags() -> None:
    assert with_faults(Fault.BUSY).seen.health is Health.OK
    assert set(with_faults(Fault.BUSY, Fault.READER_BROKEN).seen.true_codes) == {Code.READER_FAILURE}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.BUSY_FAILURE, BUSY),
        (Fault.UNREACHABLE, Code.NO_RESPONSE),
        (Fault.SILENT, Code.NO_RESPONSE),
        (Fault.UNPLUGGED, Code.NO_RESPONSE),
        (Fault.GARBLED, Code.GARBLED_RESPONSE),
        (Fault.ANOTHER_TERMINAL, Code.GARBLED_RESPONSE),
        (Fault.STALE_ANSWER, Code.GARBLED_RESPONSE),
    ],
)
def test_what_cannot_be_judged_is_unknown(fault: Fault, reason: str) -> None:
    seen = with_faults(fault).seen
    assert (seen.health, seen.reason) == (Health.UNKNOWN, reason)


@pytest.mark.parametrize(
    ("diagnosis", "reason"),
    [
        ({}, NOT_TOLD),
        ({"Response": {"Result": "Failure", "ErrorCondition": "MessageFormat"}}, NOT_TOLD),
        ({"Response": {"Result": "Failure", "ErrorCondition": "InProgress"}}, BUSY),
        ({"POIStatus": {"GlobalStatus": "Busy"}}, BUSY),
        ({"POIStatus": {}}, NOT_TOLD),
        ({"POIStatus": {"GlobalStatus": "Tomorrow", "PrinterStatus": "Unheard"}}, NOT_TOLD),
    ],
)
def test_an_empty_answer_is_not_a_good_answer(diagnosis: dict[str, Any], reason: str) -> None:
    seen = answered(**diagnosis).seen
    assert (seen.health, seen.reason, seen.undetermined) == (Health.UNKNOWN, reason, CODES)


def test_what_the_answer_has_no_flag_for_is_undetermined() -> None:
    seen = answered(POIStatus={"GlobalStatus": "OK", "CardReaderOKFlag": True}).seen
    assert seen.health is Health.OK
    assert {Code.PIN_PAD_FAILURE, Code.SECURITY_FAILURE, Code.HOST_UNREACHABLE, Code.PAPER_END} <= seen.undetermined
    assert Code.READER_FAILURE not in seen.undetermined


def test_a_host_that_cannot_be_reached_is_named_where_the_answer_is_a_failure() -> None:
    refused = answered(Response={"Result": "Failure", "ErrorCondition": "UnreachableHost"}).seen
    assert refused.true_codes == {Code.HOST_UNREACHABLE: "UnreachableHost"}
    told = answered(
        Response={"Result": "Failure", "ErrorCondition": "UnreachableHost"},
        POIStatus={"GlobalStatus": "OK"},
        HostStatus=[{"AcquirerID": 77, "IsReachableFlag": False}, {"AcquirerID": "b"}],
    ).seen
    assert told.true_codes == {Code.HOST_UNREACHABLE: "77"}
    assert told.measures == {"hosts_told": 1, "hosts_reachable": 0}


@pytest.mark.parametrize(
    ("received", "said"),
    [
        (b"HTTP 503", "expected an answer, got HTTP 503"),
        (b"<html>", "expected a nexo DiagnosisResponse, got: Invalid JSON"),
        (b"[]", "expected a nexo DiagnosisResponse, got: Input should be an object"),
        (b"{}", "expected a nexo DiagnosisResponse, got: SaleToPOIResponse: Field required"),
        (b"[" * 20_000, "expected a nexo DiagnosisResponse, got: Invalid JSON"),
    ],
)
def test_what_is_no_answer_says_what_it_is(received: bytes, said: str) -> None:
    seen = talk(driver(), lambda _: received, attachment=Attachment.TCP, bytewise=False).seen
    assert str(seen.true_codes[Code.GARBLED_RESPONSE]).startswith(said)


def test_an_answer_with_too_many_hosts_is_none() -> None:
    hosts = [{"AcquirerID": str(no), "IsReachableFlag": True} for no in range(nexo.HOSTS_MAX + 1)]
    assert answered(POIStatus={"GlobalStatus": "OK"}, HostStatus=hosts).seen.reason == Code.GARBLED_RESPONSE


@given(st.binary(max_size=200))
def test_whatever_comes_the_talk_ends(received: bytes) -> None:
    assert talk(driver(), lambda _: received, attachment=Attachment.TCP, bytewise=False).seen.health is Health.UNKNOWN


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"poi_id": None}, "poi_id: expected text, got None|poi_id: expected 1 to 64"),
        ({"poi_id": "a b"}, "poi_id: expected 1 to 64 letters or digits, got 'a b'"),
        ({"sale_id": 7}, "sale_id: expected text, got 7"),
        ({"acquirers": "main"}, "acquirers: expected a list of names, got 'main'"),
        ({"acquirers": ["a b"]}, "acquirers: expected a list of names"),
        ({"mood": "good"}, "mood: unknown key; expected one of sale_id, poi_id, acquirers"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        driver(**settings)
