"""A probe that hangs: its component becomes unknown in time, and says so; the others do not; and it comes back."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.agent.conftest import InMemory
from tests.agent.cores import CLOSED, COVER, ack, beats, connected, core_on, events
from tests.agent.moments import at

from tillwatch_agent.core import Connected, Core, Observed, Tick
from tillwatch_agent.health import Observation
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import ConditionCode, Health

STALE_S = 30.0
PRINTER, DRAWER = "pos_printer:1", "cash_drawer:1"
SHUT = Observation(component=DRAWER, health=Health.OK)


@pytest.fixture
def core(in_memory: InMemory) -> Core:
    """A core online, with its first event acknowledged."""
    core = connected(core_on(in_memory(), stale_after_s=STALE_S))
    core.handle(ack(core, 1), at(3))
    return core


def told(core: Core, seconds: float) -> dict[str, Reading]:
    return {reading.component: reading for reading in core.heartbeat_now(at(seconds)).components}


def look(core: Core, seconds: float, *seen: Observation) -> None:
    core.handle(Observed(seen), at(seconds))


def test_a_component_whose_probe_hangs_becomes_unknown_while_the_others_stay_well(core: Core) -> None:
    look(core, 5, CLOSED, SHUT)
    for seconds in (15, 25):
        look(core, seconds, SHUT)
    core.handle(Tick(), at(34.9))
    assert told(core, 34.9)[PRINTER].health is Health.OK
    assert core.next_due_s(at(34.9)) == pytest.approx(0.1)
    (beat,) = beats(core.handle(Tick(), at(35)))
    printer = next(reading for reading in beat.components if reading.component == PRINTER)
    assert (printer.health, printer.reason) == (Health.UNKNOWN, "stale")
    assert [condition.code for condition in printer.conditions] == [ConditionCode.STALE]
    assert printer.age_s == 30
    assert told(core, 35)[DRAWER].health is Health.OK


def test_it_is_told_once_and_its_age_grows(core: Core) -> None:
    look(core, 5, CLOSED)
    assert events(core.handle(Tick(), at(35))) == ["2 condition_raised"]
    core.handle(ack(core, 2), at(36))
    for seconds in (40, 50, 300):
        assert events(core.handle(Tick(), at(seconds))) == []
    assert told(core, 300)[PRINTER].age_s == 295


def test_it_comes_back_with_its_next_look_and_says_when_it_was_gone(core: Core) -> None:
    look(core, 5, CLOSED)
    core.handle(Tick(), at(35))
    (beat,) = beats(core.handle(Observed((CLOSED,)), at(100)))
    assert [(reading.health, reading.conditions) for reading in beat.components] == [(Health.OK, ())]
    batch = core.outbox.read(range(1, 10))
    said = [(event.kind, event.code, event.happened_at) for event in batch if event.component == PRINTER]
    assert said == [
        ("condition_raised", "stale", at(35).at),
        ("condition_cleared", "stale", at(100).at),
    ]


def test_what_was_true_when_it_hung_is_neither_cleared_nor_raised_anew(core: Core) -> None:
    look(core, 5, COVER)
    core.handle(Tick(), at(35))
    stale = told(core, 35)[PRINTER]
    assert ([condition.code for condition in stale.conditions], stale.undetermined) == (["stale"], ("cover_open",))
    assert not stale.judges("cover_open")
    look(core, 100, COVER)
    (condition,) = told(core, 100)[PRINTER].conditions
    assert (condition.code, condition.since) == ("cover_open", at(5).at)


def test_a_wall_clock_that_is_set_makes_nothing_stale(core: Core) -> None:
    look(core, 5, CLOSED)
    tomorrow = replace(at(20), at=at(20).at + timedelta(days=1))
    core.handle(Tick(), tomorrow)
    assert core.heartbeat_now(tomorrow).components[0].health is Health.OK
    yesterday = replace(at(36), at=at(36).at - timedelta(days=1))
    core.handle(Tick(), yesterday)
    assert core.heartbeat_now(yesterday).components[0].reason == "stale"


def test_a_hang_while_there_is_no_connection_is_told_by_the_first_heartbeat(in_memory: InMemory) -> None:
    core = core_on(in_memory(), stale_after_s=STALE_S)
    look(core, 1, CLOSED)
    core.handle(Tick(), at(35))
    (beat,) = beats(core.handle(Connected(), at(40)))
    assert beat.components[0].reason == "stale"


def test_a_probe_that_hangs_at_its_first_look_is_in_no_heartbeat_until_its_component_is_unknown(
    in_memory: InMemory,
) -> None:
    core = connected(core_on(in_memory(), stale_after_s=STALE_S, components=(PRINTER, DRAWER)))
    core.handle(ack(core, 1), at(3))
    look(core, 5, SHUT)
    core.handle(Tick(), at(29.9))
    assert PRINTER not in told(core, 29.9)
    assert core.next_due_s(at(29.9)) == pytest.approx(0.1)
    (beat,) = beats(core.handle(Tick(), at(30)))
    printer = next(reading for reading in beat.components if reading.component == PRINTER)
    assert (printer.health, printer.reason, printer.age_s) == (Health.UNKNOWN, "stale", 30)
    assert [condition.code for condition in printer.conditions] == [ConditionCode.STALE]
    assert events(core.handle(Tick(), at(31))) == []
    look(core, 100, CLOSED)
    assert told(core, 100)[PRINTER].health is Health.OK
    batch = core.outbox.read(range(1, 10))
    assert [event.kind for event in batch if event.component == PRINTER] == ["condition_raised", "condition_cleared"]


def test_the_first_heartbeat_after_a_start_tells_of_nothing_that_was_not_looked_at(in_memory: InMemory) -> None:
    core = core_on(in_memory(), stale_after_s=STALE_S, components=(PRINTER, DRAWER))
    core.handle(Tick(), at(1))
    (beat,) = beats(core.handle(Connected(), at(2)))
    assert not {PRINTER, DRAWER} & {reading.component for reading in beat.components}


def test_what_was_looked_at_once_is_awaited_no_more(in_memory: InMemory) -> None:
    core = connected(core_on(in_memory(), stale_after_s=STALE_S, components=(PRINTER,)))
    look(core, 5, CLOSED)
    core.handle(Tick(), at(34.9))
    assert told(core, 34.9)[PRINTER].health is Health.OK
    core.handle(Tick(), at(35))
    assert told(core, 35)[PRINTER].reason == "stale"
