"""A report and a fault of the same cause meet, whichever comes first."""

from itertools import product
from typing import NamedTuple

import pytest

from tillwatch_collector.domain.meeting import SEVERITIES, met_by_fault, met_by_report, worse
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import NO_COMPONENT, REPORTED_CODE, Status

PRINTER, PIN_PAD = "pos_printer:1", "pin_pad:1"


class There(NamedTuple):
    """An open ticket."""

    ticket_id: int
    component: str
    code: str
    severity: str = "major"
    status: Status = Status.REPORTED


REPORTS: list[tuple[str, tuple[str, str], list[There], int | None]] = [
    ("nothing is open", (PRINTER, "reported"), [], None),
    ("the same component", (PRINTER, "reported"), [There(1, PIN_PAD, "offline"), There(2, PRINTER, "paper_end")], 2),
    ("of it the same code", (PRINTER, "offline"), [There(1, PRINTER, "paper_end"), There(2, PRINTER, "offline")], 2),
    ("else its worst", (PRINTER, "x"), [There(1, PRINTER, "a", "minor"), There(2, PRINTER, "b", "critical")], 2),
    ("and of these the oldest", (PRINTER, "x"), [There(3, PRINTER, "a"), There(2, PRINTER, "b")], 2),
    ("even a minor one", (PRINTER, "reported"), [There(1, PRINTER, "worn", "minor")], 1),
    (
        "rather one whose work goes on",
        (PRINTER, "reported"),
        [There(1, PRINTER, "a", "critical", Status.RESOLVED), There(2, PRINTER, "b", "minor")],
        2,
    ),
    ("a resolved one is reopened", (PRINTER, "reported"), [There(1, PRINTER, "a", status=Status.RESOLVED)], 1),
    ("another component is another thing", (PRINTER, "reported"), [There(1, PIN_PAD, "offline")], None),
    ("and so is a report of no component", (PRINTER, "reported"), [There(1, NO_COMPONENT, "reported")], None),
    ("no component: what stops the till", (NO_COMPONENT, "reported"), [There(1, PRINTER, "paper_end")], 1),
    ("not what is minor", (NO_COMPONENT, "reported"), [There(1, PRINTER, "worn", "minor")], None),
    ("nor what is proved", (NO_COMPONENT, "reported"), [There(1, PRINTER, "a", status=Status.RESOLVED)], None),
    ("another caller", (NO_COMPONENT, "reported"), [There(1, NO_COMPONENT, "reported", "minor")], 1),
    ("the same code of no component", (NO_COMPONENT, "broken"), [There(1, NO_COMPONENT, "broken", "info")], 1),
]


@pytest.mark.parametrize(("why", "told", "there", "met"), REPORTS, ids=[case[0] for case in REPORTS])
def test_a_report_meets(why: str, told: tuple[str, str], there: list[There], met: int | None) -> None:
    found = met_by_report(*told, there)
    assert (found.ticket_id if found else None) == met, why


FAULTS: list[tuple[str, str, str, list[There], int | None]] = [
    ("nothing is open", PRINTER, "critical", [], None),
    ("a report of its component", PRINTER, "info", [There(1, PRINTER, REPORTED_CODE)], 1),
    ("rather than one of none", PRINTER, "major", [There(1, "", REPORTED_CODE), There(2, PRINTER, REPORTED_CODE)], 2),
    ("a report of none, when it is grave", PRINTER, "major", [There(1, NO_COMPONENT, REPORTED_CODE)], 1),
    ("and not when it is not", PRINTER, "minor", [There(1, NO_COMPONENT, REPORTED_CODE)], None),
    ("no report of another component", PRINTER, "critical", [There(1, PIN_PAD, REPORTED_CODE)], None),
    ("no report that says what it is", PRINTER, "critical", [There(1, PRINTER, "paper_end")], None),
]


@pytest.mark.parametrize(("why", "component", "severity", "there", "met"), FAULTS, ids=[case[0] for case in FAULTS])
def test_a_fault_meets(why: str, component: str, severity: str, there: list[There], met: int | None) -> None:
    found = met_by_fault(component, severity, there)
    assert (found.ticket_id if found else None) == met, why


@pytest.mark.parametrize(
    ("severity", "fault_on", "report_on"), list(product(Severity, (PRINTER, PIN_PAD), (PRINTER, NO_COMPONENT)))
)
def test_the_order_decides_nothing(severity: Severity, fault_on: str, report_on: str) -> None:
    fault, report = There(1, fault_on, "no_response", severity), There(2, report_on, REPORTED_CODE)
    report_second = met_by_report(report.component, report.code, [fault]) is not None
    fault_second = met_by_fault(fault.component, fault.severity, [report]) is not None
    assert report_second is fault_second


def test_the_worse_of_two_severities() -> None:
    for place, other in product(range(len(SEVERITIES)), repeat=2):
        assert worse(SEVERITIES[place], SEVERITIES[other]) == SEVERITIES[min(place, other)]
