"""What a simulated terminal shows, and what each trouble may bring."""

from datetime import UTC, datetime
from random import Random

import pytest

from tillwatch_agent import health
from tillwatch_agent.drivers import Attachment, escpos
from tillwatch_agent.health import Level, Observation
from tillwatch_agent.moment import Moment
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator.devices.escpos import Fault, Printer
from tillwatch_simulator.faults import COMPONENTS, PIN_PAD, PRINTER, SYMPTOMS, Till, What, tickets_of

NOW = Moment(monotonic_s=100.0, at=datetime(2026, 11, 21, 8, 0, tzinfo=UTC))


def till(*conditions: tuple[str, str]) -> Till:
    return Till(terminal_id="sim-0001", chance=Random(1), conditions=set(conditions))


def look(device: Till, component: str) -> Observation:
    return next(observation for observation in device.observe() if observation.component == component)


def test_a_healthy_till_is_ok_in_every_part() -> None:
    observations = till().observe()
    assert tuple(observation.component for observation in observations) == COMPONENTS
    assert {observation.health for observation in observations} == {Health.OK}
    assert all(observation.measures for observation in observations)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("paper_end", Health.FAULT),
        ("paper_near_end", Health.OK),  # a warning
        ("no_response", Health.UNKNOWN),  # silence is never ok
        ("port_busy", Health.UNKNOWN),
        ("not_attached", Health.ABSENT),
        ("of_a_kind_to_come", Health.FAULT),
    ],
)
def test_a_condition_shows_in_the_health(code: str, expected: Health) -> None:
    observation = look(till((PRINTER, code)), PRINTER)
    assert observation.health is expected
    assert list(observation.true_codes) == [code]
    assert look(till((PRINTER, code)), PIN_PAD).health is Health.OK


def test_what_cannot_be_asked_shows_nothing_else() -> None:
    observation = look(till((PRINTER, "paper_end"), (PRINTER, "no_response")), PRINTER)
    assert list(observation.true_codes) == ["no_response"]


def test_the_wire_has_room_for_all_that_it_says() -> None:
    level = Level()
    for observation in till((PRINTER, "paper_end"), (PIN_PAD, "no_response")).observe():
        level, _ = health.fold(level, observation, NOW)
    assert len(health.readings(level, NOW)) == len(COMPONENTS)


def test_measures_wander_and_stay_plausible() -> None:
    device = till()
    looks = [look(device, "machine:self").measures for _ in range(100)]
    assert len({measures["cpu_pct"] for measures in looks}) > 10
    assert all(0 <= value <= 100 for measures in looks for value in measures.values())


def test_every_fault_of_the_printer_has_its_symptoms() -> None:
    assert set(SYMPTOMS) == set(Fault)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in {Fault.SLOW, Fault.UNPLUGGED}])
def test_the_agent_sees_no_more_of_a_fault_than_its_symptoms(fault: Fault) -> None:
    # Slowness and a pulled cable are the port's: the live tests see those.
    device = Printer()
    device.set(fault)
    (observation,) = escpos.observe(looked(device), name="receipt", attachment=Attachment.SERIAL)
    seen = set(observation.true_codes)
    assert seen <= set(SYMPTOMS[fault])
    assert bool(seen) is bool(SYMPTOMS[fault])


def looked(device: Printer) -> escpos.Look:
    """Let the agent's driver talk to the device, with nothing between them."""
    talk = escpos.look(escpos.Memory())
    try:
        ask = next(talk)
        while True:
            ask = talk.send(device.receive(ask.request))
    except StopIteration as end:
        seen: escpos.Look = end.value
        return seen


@pytest.mark.parametrize(
    ("what", "code", "tickets"),
    [
        (What.CONDITION, "paper_end", {(PRINTER, "paper_end")}),
        (What.DEVICE, "silent", {(PRINTER, "no_response")}),
        (What.DEVICE, "unplugged", {(PRINTER, "not_attached"), (PRINTER, "no_response")}),
        (What.DEVICE, "drawer_open", set()),
        (What.DEAD, "", {("agent:self", "silent")}),
        (What.CUT, "", {("agent:self", "silent")}),
        (What.STOPPED, "", set()),  # silence that was announced
    ],
)
def test_each_trouble_brings_its_tickets_and_no_other(what: What, code: str, tickets: set[tuple[str, str]]) -> None:
    named = tickets_of(what, "sim-0001", PRINTER, code)
    assert {(ticket.component, ticket.code) for ticket in named} == tickets
    assert {ticket.terminal_id for ticket in named} <= {"sim-0001"}
