"""A payment terminal that answers nexo's Diagnosis: one HTTP request in, one JSON response out.

It reads HTTP/1.1 as it comes, in pieces of any size, and closes after each answer. A request of another category, or of
a ServiceID that it has heard before, is refused as nexo has it (`MessageFormat`, `NotAllowed`).

Sources: nexo Sale to POI 3.0, Diagnosis (4.3.6) and ErrorCondition; Adyen's terminal API, "request diagnosis".
"""

import json
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from tillwatch_simulator.devices.faulty import Faulty

REQUEST_BYTES_MAX = 64 * 1024
SERVICE_IDS_MAX = 1000
"""Numbers that are remembered, so that none is taken twice."""


class Fault(StrEnum):
    """What can befall this terminal."""

    READER_BROKEN = "reader_broken"
    PIN_PAD_BROKEN = "pin_pad_broken"
    SECURITY_BROKEN = "security_broken"
    NO_COMMUNICATION = "no_communication"
    ACQUIRER_UNREACHABLE = "acquirer_unreachable"
    PAPER_LOW = "paper_low"
    NO_PAPER = "no_paper"
    PAPER_JAM = "paper_jam"
    PRINTER_OUT_OF_ORDER = "printer_out_of_order"
    MAINTENANCE = "maintenance"
    BUSY = "busy"
    """It is in a payment, and tells its flags all the same."""
    BUSY_FAILURE = "busy_failure"
    """It refuses the diagnosis, since it is in a payment."""
    LOGGED_OUT = "logged_out"
    UNREACHABLE = "unreachable"
    """A gateway answers in its place."""
    DEVICE_OUT = "device_out"
    SERVER_ERROR = "server_error"
    ANOTHER_TERMINAL = "another_terminal"
    """A terminal of another name has its address."""
    STALE_ANSWER = "stale_answer"
    """It answers the question before."""
    SILENT = "silent"
    GARBLED = "garbled"
    SLOW = "slow"
    UNPLUGGED = "unplugged"


_PRINTER: Final = {
    Fault.PAPER_LOW: "PaperLow",
    Fault.NO_PAPER: "NoPaper",
    Fault.PAPER_JAM: "PaperJam",
    Fault.PRINTER_OUT_OF_ORDER: "OutOfOrder",
}
_GLOBAL: Final = {Fault.MAINTENANCE: "Maintenance", Fault.BUSY: "Busy", Fault.UNREACHABLE: "Unreachable"}
_REFUSALS: Final = {
    Fault.BUSY_FAILURE: "Busy",
    Fault.LOGGED_OUT: "LoggedOut",
    Fault.DEVICE_OUT: "DeviceOut",
}


class Terminal(Faulty[Fault]):
    """A terminal with its faults; `answer` takes a body, `receive` the bytes of HTTP around it."""

    def __init__(
        self, *, poi_id: str = "P400-1", acquirers: tuple[str, ...] = ("main", "second"), slow_answer_s: float = 30.0
    ) -> None:
        super().__init__(Fault, slow_answer_s=slow_answer_s)
        self._poi_id = poi_id
        self._acquirers = acquirers
        self._heard = b""
        self._service_ids: deque[str] = deque(maxlen=SERVICE_IDS_MAX)

    def describe(self) -> str:
        """Say the faults."""
        return f"faults: {' '.join(sorted(self.faults)) or 'none'}; {self._poi_id}"

    def receive(self, data: bytes) -> bytes:
        """Take HTTP in pieces of any size; answer a whole request."""
        self._heard += data
        head, found, body = self._heard.partition(b"\r\n\r\n")
        if not found or len(body) < _content_bytes(head):
            self._heard = self._heard[:REQUEST_BYTES_MAX]
            return b""
        self._heard = b""
        answer = self.answer(body)
        if not answer:
            return b""
        status = "500 Internal Server Error" if Fault.SERVER_ERROR in self._faults else "200 OK"
        lines = (f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(answer)}")
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("ascii") + answer

    def answer(self, body: bytes) -> bytes:
        """Answer one request; nothing, where it is silent."""
        if self._faults & {Fault.SILENT, Fault.UNPLUGGED}:
            return b""
        said = json.dumps({"SaleToPOIResponse": self._response(body)}).encode("ascii")
        return said[::-1] if Fault.GARBLED in self._faults else said

    def _response(self, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)["SaleToPOIRequest"]
            header = request["MessageHeader"]
            service_id = str(header["ServiceID"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return _failure({}, "MessageFormat")
        answered = {**header, "MessageType": "Response", "POIID": self._named(header)}
        if header.get("MessageCategory") != "Diagnosis" or service_id in self._service_ids:
            return _failure(answered, "NotAllowed")
        self._service_ids.append(service_id)
        if Fault.STALE_ANSWER in self._faults:
            answered["ServiceID"] = "0000000000"
        refusal = next((said for fault, said in _REFUSALS.items() if fault in self._faults), None)
        if refusal:
            return _failure(answered, refusal)
        asked = request.get("DiagnosisRequest", {}).get("AcquirerID") or list(self._acquirers)
        return {"MessageHeader": answered, "DiagnosisResponse": self._diagnosis(asked)}

    def _named(self, header: Mapping[str, Any]) -> str:
        is_other = Fault.ANOTHER_TERMINAL in self._faults or header.get("POIID") != self._poi_id
        return "V400-9" if is_other else self._poi_id

    def _diagnosis(self, acquirers: list[str]) -> dict[str, Any]:
        lost = {acquirers[0]} if Fault.ACQUIRER_UNREACHABLE in self._faults else set()
        status: dict[str, Any] = {
            "GlobalStatus": next((said for fault, said in _GLOBAL.items() if fault in self._faults), "OK"),
            "CardReaderOKFlag": Fault.READER_BROKEN not in self._faults,
            "PEDOKFlag": Fault.PIN_PAD_BROKEN not in self._faults,
            "CommunicationOKFlag": Fault.NO_COMMUNICATION not in self._faults,
            "SecurityOKFlag": Fault.SECURITY_BROKEN not in self._faults,
            "PrinterStatus": next((said for fault, said in _PRINTER.items() if fault in self._faults), "OK"),
        }
        hosts = [{"AcquirerID": name, "IsReachableFlag": name not in lost} for name in acquirers]
        return {"Response": {"Result": "Success"}, "POIStatus": status, "HostStatus": hosts}


def _failure(header: Mapping[str, Any], condition: str) -> dict[str, Any]:
    return {
        "MessageHeader": dict(header),
        "DiagnosisResponse": {"Response": {"Result": "Failure", "ErrorCondition": condition}},
    }


def _content_bytes(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return min(int(value), REQUEST_BYTES_MAX)
    return 0
