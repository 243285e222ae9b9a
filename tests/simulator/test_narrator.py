"""What the demonstration tells of troubles, tickets and outages."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tillwatch_simulator import scenario
from tillwatch_simulator.faults import PRINTER, What
from tillwatch_simulator.inventory import Inventory
from tillwatch_simulator.narrator import Narrator
from tillwatch_simulator.scenario import Injection, Step

NOW = datetime(2026, 11, 2, tzinfo=UTC)
PAPER = Injection(terminal_id="till-1", what=What.DEVICE, from_s=0, until_s=9, component=PRINTER, code="paper_end")
CHAIN = scenario.parse("""
terminals = 6
[[merchant]]
merchant_id = "wok"
name = "Wok"
[[merchant.store]]
store_id = "wok-1"
name = "Wok 1"
carrier = "CityNet"
[[happening]]
at_s = 1
what = "cut"
carrier = "CityNet"
for_s = 20
""")


def ticket(ticket_id: int = 1, *, after_s: float = 3.0, **said: object) -> dict[str, Any]:
    at = (NOW + timedelta(seconds=after_s)).isoformat()
    record: dict[str, Any] = {
        "ticket_id": ticket_id,
        "origin": "machine",
        "title": "Out of paper",
        "subject_kind": "terminal",
        "subject_id": "till-1",
        "component": PRINTER,
        "code": "paper_end",
        "status": "reported",
        "recurrences": 0,
        "opened_at": at,
        "updated_at": at,
        "resolved_at": at if said.get("status") == "resolved" else None,
    }
    return record | said


def outage(*, ended_at: str | None = None, alternatives: bool = True) -> dict[str, Any]:
    fleet = {"kind": "fleet", "id": "fleet", "hit": 6, "total": 20}
    return {
        "outage_id": 4,
        "ticket_id": 7,
        "node_id": "CityNet",
        "code": "silent",
        "ended_at": ended_at,
        "evidence": {
            "node": {"kind": "carrier", "id": "CityNet", "hit": 6, "total": 6},
            "span_s": 4.8,
            "alternatives": [fleet] if alternatives else [],
        },
    }


def narrator(inventory: Inventory | None = None) -> tuple[Narrator, list[str]]:
    lines: list[str] = []
    reasons = {7: "proved gone by 6 terminals themselves"}
    return Narrator(lines.append, lambda: 1.5, inventory or Inventory(), reasons.__getitem__), lines


def told(lines: list[str]) -> list[str]:
    return [" ".join(line.split()[2:]) for line in lines]


def step(injection: Injection, *, begins: bool) -> Step:
    return Step(at_s=0, begins=begins, injection=injection)


def test_a_trouble_its_ticket_and_its_repair_are_told_once_each() -> None:
    ours, lines = narrator()
    ours.step(step(PAPER, begins=True), NOW)
    ours.look([ticket()], [])
    ours.look([ticket()], [])
    ours.step(step(PAPER, begins=False), NOW)
    ours.look([ticket(status="resolved", after_s=4.0)], [])
    assert told(lines) == [
        "till-1 printer: paper_end",
        "till-1 ticket 1 opened pos_printer:receipt paper_end, 3.0 s after its beginning",
        "till-1 printer: no more paper_end",
        "till-1 ticket 1 resolved pos_printer:receipt paper_end, 4.0 s after its end",
    ]
    assert ours.false_tickets == set()


def test_a_ticket_that_nothing_explains_is_false() -> None:
    ours, lines = narrator()
    ours.step(step(PAPER, begins=True), NOW)
    ours.look([ticket(), ticket(2, code="cover_open"), ticket(3, subject_id="till-2")], [])
    assert ours.false_tickets == {2, 3}
    assert sum("FALSE" in line for line in lines) == 2


def test_what_a_person_tells_is_not_false() -> None:
    ours, lines = narrator()
    ours.look([ticket(2, code="reported", component="", origin="phone", title="Screen black")], [])
    assert ours.false_tickets == set()
    assert told(lines) == ["till-1 ticket 2 opened Screen black, as a person told"]


def test_a_recurrence_is_told_again() -> None:
    ours, lines = narrator()
    ours.step(step(PAPER, begins=True), NOW)
    ours.look([ticket()], [])
    ours.look([ticket(recurrences=1)], [])
    assert len(lines) == 3


def test_what_has_begun_and_not_ended_lasts() -> None:
    ours, _ = narrator()
    other = Injection(terminal_id="sim-0001", what=What.DEAD, from_s=0, until_s=9)
    for injection, begins in ((PAPER, True), (other, True), (PAPER, False)):
        ours.step(step(injection, begins=begins), NOW)
    assert ours.lasting == (other,)


def test_the_columns_stand_under_each_other() -> None:
    ours, lines = narrator()
    ours.step(step(PAPER, begins=True), NOW)
    ours.look([ticket()], [])
    assert [line.index("till-1") for line in lines] == [11, 11]


def test_a_line_that_is_cut_its_outage_and_its_end_are_told_once_each_with_their_evidence() -> None:
    ours, lines = narrator(scenario.inventory_of(CHAIN))
    line = [*scenario.steps(scenario.drawn(CHAIN, scenario.First()))]
    silence: dict[str, Any] = {
        "subject_kind": "carrier",
        "subject_id": "CityNet",
        "component": "agent:self",
        "code": "silent",
    }
    for each in line[:6]:
        ours.step(each, NOW)
    ours.look([ticket(7, **silence)], [outage()])
    for each in line[6:]:
        ours.step(each, NOW)
    ours.look([ticket(7, status="resolved", **silence)], [outage(ended_at="2026-11-02T00:00:30Z")])
    ours.look([ticket(7, status="resolved", **silence)], [outage(ended_at="2026-11-02T00:00:30Z")])
    assert told(lines) == [
        "CityNet line is cut all 6 terminals of this carrier at once",
        "CityNet ticket 7 opened, for the whole carrier agent:self silent, 3.0 s after its beginning",
        "CityNet outage 4: one cause, one ticket silent at carrier CityNet (6 of 6 terminals), all within 4.8 s",
        "CityNet outage 4: less like it the fleet (6 of 20 terminals)",
        "CityNet line is back",
        "CityNet ticket 7 resolved, for the whole carrier agent:self silent, 3.0 s after its end",
        "CityNet outage 4 is over proved gone by 6 terminals themselves",
    ]
    assert (ours.false_tickets, ours.outages_opened) == (set(), 1)


def test_a_ticket_about_each_till_of_an_outage_is_false() -> None:
    ours, _ = narrator(scenario.inventory_of(CHAIN))
    for each in scenario.steps(scenario.drawn(CHAIN, scenario.First()))[:6]:
        ours.step(each, NOW)
    ours.look([ticket(8, subject_id="sim-0001", component="agent:self", code="silent")], [outage(alternatives=False)])
    assert ours.false_tickets == {8}


def test_a_halt_is_expected_of_a_release_in_which_harm_hides_and_false_of_another() -> None:
    lines: list[str] = []
    ours = Narrator(lines.append, lambda: 1.5, Inventory(), str, {"till 2.2"})
    halt: dict[str, Any] = {"subject_kind": "release", "component": "application:till", "code": "rollout_halted"}
    ours.look([ticket(1, subject_id="till 2.2", **halt)], [])
    assert ours.false_tickets == set()
    ours.look([ticket(2, subject_id="till 2.1", **halt)], [])
    assert ours.false_tickets == {2}
    assert told(lines)[0] == "till 2.2 ticket 1 opened, for the whole release application:till rollout_halted"
