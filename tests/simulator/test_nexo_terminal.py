"""The simulated nexo terminal: HTTP around it, and what it refuses."""

import json
from typing import Any

import pytest

from tillwatch_simulator.devices.nexo import Terminal
from tillwatch_simulator.errors import FaultUnknown


def request(service_id: str = "1", category: str = "Diagnosis", **asked: Any) -> bytes:
    header = {"MessageCategory": category, "ServiceID": service_id, "POIID": "P400-1"}
    return json.dumps({"SaleToPOIRequest": {"MessageHeader": header, "DiagnosisRequest": asked}}).encode()


def said(terminal: Terminal, body: bytes) -> dict[str, Any]:
    answered: dict[str, Any] = json.loads(terminal.answer(body))["SaleToPOIResponse"]["DiagnosisResponse"]
    return answered


def test_it_reads_http_in_pieces_and_answers_once_it_is_whole() -> None:
    terminal, body = Terminal(), request()
    whole = f"POST /nexo HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    assert terminal.receive(whole[:-1]) == b""
    head, _, answer = terminal.receive(whole[-1:]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(answer)["SaleToPOIResponse"]["MessageHeader"]["MessageType"] == "Response"


def test_without_a_length_there_is_no_body_and_a_silent_one_says_nothing() -> None:
    terminal = Terminal()
    assert b"MessageFormat" in terminal.receive(b"POST /nexo HTTP/1.1\r\n\r\n")
    terminal.set("silent")
    assert terminal.receive(b"POST /nexo HTTP/1.1\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("body", "condition"),
    [
        (b"{}", "MessageFormat"),
        (b"[" * 20_000, "MessageFormat"),
        (request(category="Payment"), "NotAllowed"),
    ],
)
def test_what_is_no_diagnosis_is_refused(body: bytes, condition: str) -> None:
    assert said(Terminal(), body)["Response"] == {"Result": "Failure", "ErrorCondition": condition}


def test_a_number_is_taken_once_and_the_acquirers_that_are_asked_for_are_told() -> None:
    terminal = Terminal()
    terminal.set("acquirer_unreachable")
    told = said(terminal, request("7", AcquirerID=["a", "b"]))["HostStatus"]
    assert told == [{"AcquirerID": "a", "IsReachableFlag": False}, {"AcquirerID": "b", "IsReachableFlag": True}]
    assert said(terminal, request("7"))["Response"]["ErrorCondition"] == "NotAllowed"


def test_it_describes_itself_and_knows_its_faults() -> None:
    terminal = Terminal()
    assert terminal.answer_delay_s == 0.0
    terminal.set("slow")
    assert terminal.answer_delay_s > 15
    assert terminal.describe() == "faults: slow; P400-1"
    with pytest.raises(FaultUnknown, match="expected one of reader_broken"):
        terminal.set("on_fire")
