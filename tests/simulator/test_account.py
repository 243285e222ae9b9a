"""Which tickets have an injected cause."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tillwatch_simulator import scenario
from tillwatch_simulator.account import Account
from tillwatch_simulator.faults import PRINTER, What
from tillwatch_simulator.inventory import Place
from tillwatch_simulator.scenario import Injection, Scenario

NOW = datetime(2026, 11, 2, tzinfo=UTC)

CHAIN = scenario.parse("""
terminals = 20
[[merchant]]
merchant_id = "wok"
name = "Wok"
[[merchant.store]]
store_id = "wok-1"
name = "Wok 1"
region = "east"
carrier = "CityNet"
terminals = 6
[[merchant.store]]
store_id = "wok-2"
name = "Wok 2"
carrier = "CityNet"
terminals = 6
[[merchant]]
merchant_id = "tea"
name = "Tea"
[[merchant.store]]
store_id = "tea-1"
name = "Tea 1"
carrier = "Telecom"
[[happening]]
at_s = 1
what = "cut"
carrier = "CityNet"
[[happening]]
at_s = 20
what = "dead"
terminals = [2]
[[happening]]
at_s = 30
what = "cut"
terminals = [13, 14, 15, 16]
""")


def account(played: Scenario = CHAIN) -> Account:
    ours = Account(scenario.inventory_of(played))
    for number, injection in enumerate(scenario.drawn(played, scenario.First())):
        ours.begin(injection, NOW + timedelta(seconds=number))
    return ours


def ticket(kind: str, subject_id: str, component: str = "agent:self", code: str = "silent") -> dict[str, Any]:
    return {"subject_kind": kind, "subject_id": subject_id, "component": component, "code": code}


@pytest.mark.parametrize(
    ("kind", "subject_id"),
    [
        ("carrier", "CityNet"),  # what was cut
        ("merchant", "wok"),  # the same terminals by another name
        ("store", "wok-2"),  # a part of them
        ("region", "east"),  # by where they stand
        ("fleet", "fleet"),  # all of them and others
        ("broker", "127.0.0.1"),  # a place that the scenario does not know holds everybody
    ],
)
def test_a_ticket_about_a_place_has_the_cut_of_those_who_stand_there_as_its_cause(kind: str, subject_id: str) -> None:
    cause = account().cause(ticket(kind, subject_id))
    assert cause is not None
    assert cause.injection.place == Place("carrier", "CityNet"), "the line, and not the till that died meanwhile"


@pytest.mark.parametrize(
    "said",
    [
        ticket("carrier", "Telecom"),  # four of it were cut one by one: not what a place is named for
        ticket("store", "wok-3"),  # nobody stands there
        ticket("carrier", "CityNet", PRINTER, "paper_end"),  # a cut line brings no paper trouble
        ticket("terminal", "sim-0001"),  # one ticket for one cause: the line's, and none about each till
        ticket("terminal", "sim-0018"),  # nothing befell it
    ],
)
def test_any_other_is_false(said: dict[str, Any]) -> None:
    assert account().cause(said) is None


@pytest.mark.parametrize("terminal_id", ["sim-0002", "sim-0013"])  # it died in the outage; its own line was cut
def test_what_befell_one_terminal_explains_its_ticket(terminal_id: str) -> None:
    cause = account().cause(ticket("terminal", terminal_id))
    assert cause is not None
    assert (cause.injection.terminal_id, cause.injection.place) == (terminal_id, None)


def test_many_that_were_cut_one_by_one_explain_an_outage_of_all() -> None:
    many = scenario.parse('terminals = 9\n[[happening]]\nat_s = 1\nwhat = "cut"\nsome = 5')
    assert account(many).cause(ticket("fleet", "fleet")) is not None


def test_what_has_begun_and_not_ended_lasts() -> None:
    ours = Account(scenario.inventory_of(Scenario()))
    one, other = (Injection(terminal_id=each, what=What.DEAD, from_s=0, until_s=9) for each in ("sim-1", "sim-2"))
    ours.begin(one, NOW)
    ours.begin(other, NOW)
    ours.end(one, NOW)
    assert ours.lasting == (other,)
    cause = ours.cause(ticket("terminal", "sim-1"))
    assert cause is not None
    assert cause.ended_at == NOW
