"""Payment devices by nexo Retailer (Sale to POI 3.0): the Diagnosis service, JSON over HTTPS.

A look is one request of category `Diagnosis`, class `Service` (Adyen, terminal API, "request diagnosis"; nexo Sale to
POI 3.0, 4.3.6). `Nexo.allowed` holds exactly the requests that this driver can make, which differ from each other in
`ServiceID` alone: a number of ten digits that grows from the seconds of the agent's start, since a terminal refuses one
that it has heard lately.

What is decided here:
- **An answer must be of our question**: the ServiceID and the POIID that were sent.
- **What the answer has no flag for is undetermined**, not well.
- **A terminal that is busy and tells its flags is judged by them**; one that only says that it is busy is unknown.
- **Unreachable is unknown**: then a gateway answered in its place.
- **`host_unreachable` names the acquirers** that the terminal cannot reach; whether the till can, the network's probe
  says.

A change violates this when anything but a diagnosis can be asked for, or when a terminal that said nothing reads `ok`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tillwatch_agent.drivers import (
    Ask,
    Attachment,
    Device,
    Looked,
    Occasion,
    SettingsInvalid,
    Talk,
    Timing,
    Transport,
    garbled,
    unanswered,
)
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

PROTOCOL_VERSION: Final = "3.0"
HOSTS_MAX = 64
"""Acquirers that one terminal tells of; a shop has two or three."""

BUSY: Final = "busy"
NOT_TOLD: Final = "not_told"
"""Reasons of a terminal that answers and is not to be judged now."""

CODES: Final = frozenset(
    {
        ConditionCode.READER_FAILURE,
        ConditionCode.PIN_PAD_FAILURE,
        ConditionCode.SECURITY_FAILURE,
        ConditionCode.HOST_UNREACHABLE,
        ConditionCode.IN_MAINTENANCE,
        ConditionCode.OUT_OF_ORDER,
        ConditionCode.SETUP_REQUIRED,
        ConditionCode.PAPER_END,
        ConditionCode.PAPER_NEAR_END,
        ConditionCode.PAPER_JAM,
        ConditionCode.DEVICE_ERROR,
    }
)
_PRINTER_CODES: Final = {
    "PaperLow": ConditionCode.PAPER_NEAR_END,
    "NoPaper": ConditionCode.PAPER_END,
    "PaperJam": ConditionCode.PAPER_JAM,
    "OutOfOrder": ConditionCode.DEVICE_ERROR,
}
_FLAGGED: Final = CODES - {ConditionCode.IN_MAINTENANCE, ConditionCode.OUT_OF_ORDER, ConditionCode.SETUP_REQUIRED}
"""What the answer has a flag of its own for."""
_MILD: Final = frozenset({ConditionCode.PAPER_NEAR_END, ConditionCode.IN_MAINTENANCE})
"""True, and the device can still be paid at, or will be by itself."""

_ERROR_CODES: Final = {
    "DeviceOut": ConditionCode.OUT_OF_ORDER,
    "UnavailableDevice": ConditionCode.OUT_OF_ORDER,
    "LoggedOut": ConditionCode.SETUP_REQUIRED,
    "UnreachableHost": ConditionCode.HOST_UNREACHABLE,
}
"""ErrorCondition of an answer without a status; Busy and InProgress are `BUSY`, any other tells nothing."""
_BUSY_ERRORS: Final = frozenset({"Busy", "InProgress"})

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SERVICE_IDS = 10**10


class _Part(BaseModel):
    """A piece of an answer: what is not known of it is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


_Word = Annotated[str, Field(max_length=64)]


class _Header(_Part):
    service_id: _Word | None = Field(default=None, alias="ServiceID")
    poi_id: _Word | None = Field(default=None, alias="POIID")


class _Result(_Part):
    error_condition: _Word | None = Field(default=None, alias="ErrorCondition")


class _Status(_Part):
    global_status: _Word = Field(default="", alias="GlobalStatus")
    card_reader_ok: bool | None = Field(default=None, alias="CardReaderOKFlag")
    pin_pad_ok: bool | None = Field(default=None, alias="PEDOKFlag")
    communication_ok: bool | None = Field(default=None, alias="CommunicationOKFlag")
    security_ok: bool | None = Field(default=None, alias="SecurityOKFlag")
    printer_status: _Word | None = Field(default=None, alias="PrinterStatus")


class _Host(_Part):
    acquirer_id: str = Field(default="", alias="AcquirerID", max_length=64, coerce_numbers_to_str=True)
    is_reachable: bool | None = Field(default=None, alias="IsReachableFlag")


class _Diagnosis(_Part):
    response: _Result = Field(default_factory=_Result, alias="Response")
    status: _Status | None = Field(default=None, alias="POIStatus")
    hosts: Annotated[tuple[_Host, ...], Field(alias="HostStatus", max_length=HOSTS_MAX)] = ()


class Answer(_Part):
    """What came, without its envelope."""

    header: _Header = Field(alias="MessageHeader")
    diagnosis: _Diagnosis = Field(alias="DiagnosisResponse")


class _Envelope(_Part):
    answer: Answer = Field(alias="SaleToPOIResponse")


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """All requests that one driver can make, by their ServiceID."""

    sale_id: str
    poi_id: str
    acquirers: tuple[str, ...] = ()

    def of(self, service_no: int) -> bytes:
        """Make the one of a number."""
        header = {
            "ProtocolVersion": PROTOCOL_VERSION,
            "MessageClass": "Service",
            "MessageCategory": "Diagnosis",
            "MessageType": "Request",
            "ServiceID": service_id(service_no),
            "SaleID": self.sale_id,
            "POIID": self.poi_id,
        }
        asked: dict[str, Any] = {"HostDiagnosisFlag": True}
        if self.acquirers:
            asked["AcquirerID"] = list(self.acquirers)
        return json.dumps({"SaleToPOIRequest": {"MessageHeader": header, "DiagnosisRequest": asked}}).encode()

    def __contains__(self, request: object) -> bool:
        """Whether some number makes exactly these bytes."""
        found = re.search(rb'"ServiceID": "([0-9]{10})"', request) if isinstance(request, bytes) else None
        return found is not None and request == self.of(int(found[1]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Nexo:
    """One terminal; see `Driver`."""

    component: str
    allowed: Requests
    first_service_no: int

    transport = Transport.HTTPS
    timing = Timing(reply_s=15.0)
    """A diagnosis that asks its hosts takes seconds (Adyen allows itself some ten)."""

    @property
    def components(self) -> tuple[str, ...]:
        """Name the terminal."""
        return (self.component,)

    def look(self, memory: Any, occasion: Occasion) -> Talk:
        """Ask for one diagnosis; nothing is remembered."""
        del memory
        service_no = self.first_service_no + occasion.look_no
        received = yield Ask(request=self.allowed.of(service_no), is_answered=_is_whole)
        return Looked(observations=(self._observed(received, service_no, occasion.attachment),))

    def _observed(self, received: bytes, service_no: int, attachment: Attachment) -> Observation:
        if not received:
            return unanswered(self.component, attachment)
        answer = read_answer(received)
        if isinstance(answer, str):
            return garbled(self.component, answer)
        if answer.header.service_id != service_id(service_no):
            return garbled(self.component, "an answer to another question")
        if answer.header.poi_id != self.allowed.poi_id:
            return garbled(self.component, f"expected an answer of {self.allowed.poi_id}, got {answer.header.poi_id}")
        return _told(self.component, answer.diagnosis)


def driver(device: Device) -> Nexo:
    """Make the driver of one terminal; raises `SettingsInvalid`."""
    device.knows_only("sale_id", "poi_id", "acquirers")
    named: dict[str, str] = {}
    for key in ("sale_id", "poi_id"):
        value = device.text(key)
        if value is None or not _IDENTIFIER.fullmatch(value):
            raise SettingsInvalid(f"{device.component}: {key}: expected 1 to 64 letters or digits, got {value!r}")
        named[key] = value
    acquirers = device.settings.get("acquirers", [])
    if not isinstance(acquirers, list) or not all(
        isinstance(name, str) and _IDENTIFIER.fullmatch(name) for name in acquirers
    ):
        raise SettingsInvalid(f"{device.component}: acquirers: expected a list of names, got {acquirers!r}")
    requests = Requests(sale_id=named["sale_id"], poi_id=named["poi_id"], acquirers=tuple(acquirers))
    return Nexo(component=device.component, allowed=requests, first_service_no=device.started_s)


def service_id(service_no: int) -> str:
    """Say a number as the ServiceID that it is: ten digits, one to ten characters being allowed."""
    return f"{service_no % _SERVICE_IDS:010d}"


def _is_whole(received: bytes) -> bool:
    return isinstance(read_answer(received), Answer)


def read_answer(received: bytes) -> Answer | str:
    """Read the body of a response; where it is none, what was expected and what came."""
    if received.startswith(b"HTTP "):
        return f"expected an answer, got {received.decode('ascii', errors='replace')}"
    try:
        return _Envelope.model_validate_json(received).answer
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"expected a nexo DiagnosisResponse, got: {place + ': ' if place else ''}{first['msg']}"[:200]


def _told(component: str, diagnosis: _Diagnosis) -> Observation:
    if diagnosis.status is None:
        return _without_status(component, diagnosis.response)
    status = diagnosis.status
    if status.global_status == "Unreachable":
        return unanswered(component, Attachment.SERIAL, "its gateway answers that it is unreachable")
    verdicts = _verdicts(status, diagnosis.hosts)
    if status.global_status == "Busy" and all(verdicts[code] is None for code in _FLAGGED):
        return _unjudged(component, BUSY)
    return _judged(component, verdicts, _details(diagnosis), _measures(diagnosis.hosts))


def _without_status(component: str, result: _Result) -> Observation:
    condition = result.error_condition
    if condition in _BUSY_ERRORS:
        return _unjudged(component, BUSY)
    code = _ERROR_CODES.get(condition or "")
    if code is None:
        return _unjudged(component, NOT_TOLD)
    verdicts: dict[str, bool | None] = dict.fromkeys(sorted(CODES))
    return _judged(component, verdicts | {code: True}, {code: condition}, {})


def _verdicts(status: _Status, hosts: tuple[_Host, ...]) -> dict[str, bool | None]:
    """Each code: true, not so, or (None) not told."""
    verdicts: dict[str, bool | None] = dict.fromkeys(sorted(CODES))
    flags = {
        ConditionCode.READER_FAILURE: status.card_reader_ok,
        ConditionCode.PIN_PAD_FAILURE: status.pin_pad_ok,
        ConditionCode.SECURITY_FAILURE: status.security_ok,
    }
    verdicts |= {code: None if is_ok is None else not is_ok for code, is_ok in flags.items()}
    verdicts[ConditionCode.IN_MAINTENANCE] = status.global_status == "Maintenance"
    reached = [status.communication_ok, *(host.is_reachable for host in hosts)]
    known = [is_ok for is_ok in reached if is_ok is not None]
    verdicts[ConditionCode.HOST_UNREACHABLE] = not all(known) if known else None
    if status.printer_status == "OK" or status.printer_status in _PRINTER_CODES:
        verdicts |= {code: code == _PRINTER_CODES.get(status.printer_status) for code in _PRINTER_CODES.values()}
    is_answering = status.global_status in {"OK", "Busy", "Maintenance"}
    verdicts |= dict.fromkeys(
        (ConditionCode.OUT_OF_ORDER, ConditionCode.SETUP_REQUIRED), False if is_answering else None
    )
    return verdicts


def _details(diagnosis: _Diagnosis) -> dict[str, str | None]:
    lost = [host.acquirer_id for host in diagnosis.hosts if host.is_reachable is False]
    own = "its own communication" if diagnosis.status and diagnosis.status.communication_ok is False else ""
    return {
        ConditionCode.HOST_UNREACHABLE: ", ".join(filter(None, [own, *lost])) or None,
        ConditionCode.DEVICE_ERROR: "its printer is out of order",
    }


def _measures(hosts: tuple[_Host, ...]) -> dict[str, float | int]:
    told = [host.is_reachable for host in hosts if host.is_reachable is not None]
    return {"hosts_told": len(told), "hosts_reachable": sum(told)} if told else {}


def _judged(
    component: str,
    verdicts: Mapping[str, bool | None],
    details: Mapping[str, str | None],
    measures: dict[str, float | int],
) -> Observation:
    true = {code: details.get(code) for code, held in verdicts.items() if held}
    if not true and all(held is None for code, held in verdicts.items() if code not in _MILD):
        return _unjudged(component, NOT_TOLD)
    return Observation(
        component=component,
        health=Health.FAULT if true.keys() - _MILD else Health.OK,
        power_state=PowerState.ONLINE,
        true_codes=true,
        undetermined=frozenset(code for code, held in verdicts.items() if held is None),
        measures=measures,
    )


def _unjudged(component: str, reason: str) -> Observation:
    return Observation(
        component=component,
        health=Health.UNKNOWN,
        reason=reason,
        power_state=PowerState.ONLINE,
        undetermined=CODES,
    )
