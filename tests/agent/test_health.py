"""Health: what is held, what is judged, what is told, and what becomes stale."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.moments import MORNING, at

from tillwatch_agent.errors import ObservationInvalid
from tillwatch_agent.health import (
    Edge,
    Level,
    Observation,
    Turn,
    differs,
    expire,
    expires_at_s,
    fold,
    readings,
)
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import (
    COMPONENTS_MAX,
    CONDITIONS_MAX,
    FACTS_MAX,
    MEASURES_MAX,
    TEXT_CHARS_MAX,
    Health,
    PowerState,
)

PRINTER = "pos_printer:kitchen"

OK = Observation(component=PRINTER, health=Health.OK, power_state=PowerState.ONLINE)
COVER = replace(OK, health=Health.FAULT, true_codes={"cover_open": None}, undetermined=frozenset({"paper_end"}))
PAPER = replace(OK, health=Health.FAULT, true_codes={"paper_end": None})
SILENT = Observation(
    component=PRINTER, health=Health.UNKNOWN, reason="no_response", true_codes={"no_response": "after 3 tries"}
)
BUSY = replace(SILENT, reason="port_busy", true_codes={"port_busy": None})
GONE = replace(SILENT, health=Health.ABSENT, reason="not_attached", true_codes={"not_attached": None})
BLIND = replace(SILENT, reason="driver_error", true_codes={})


def looked(*observations: Observation) -> tuple[Level, list[str]]:
    """Fold one look a second; the edges of the last as words."""
    level = Level()
    edges: tuple[Edge, ...] = ()
    for second, observation in enumerate(observations):
        level, edges = fold(level, observation, at(second))
    return level, [f"{edge.turn} {edge.code}" for edge in edges]


def told(level: Level, seconds: float = 0) -> Reading:
    (reading,) = readings(level, at(seconds))
    return reading


def codes(reading: Reading) -> list[str]:
    return [condition.code for condition in reading.conditions]


@pytest.mark.parametrize(
    ("looks", "edges", "true", "undetermined"),
    [
        # what is so is raised once
        ((COVER,), ["raised cover_open"], ["cover_open"], ["paper_end"]),
        ((COVER, COVER), [], ["cover_open"], ["paper_end"]),
        # what is no longer so is cleared by a look that judges it
        ((COVER, OK), ["cleared cover_open"], [], []),
        ((COVER, PAPER), ["cleared cover_open", "raised paper_end"], ["paper_end"], []),
        # paper cannot be judged behind an open cover: still held, neither raised nor cleared
        ((PAPER, COVER), ["raised cover_open"], ["cover_open"], ["paper_end"]),
        ((PAPER, COVER, OK), ["cleared cover_open", "cleared paper_end"], [], []),
        ((PAPER, COVER, PAPER), ["cleared cover_open"], ["paper_end"], []),
        # silence judges nothing but that the device can be asked
        ((COVER, SILENT), ["raised no_response"], ["no_response"], ["cover_open"]),
        ((COVER, SILENT, COVER), ["cleared no_response"], ["cover_open"], ["paper_end"]),
        ((COVER, SILENT, OK), ["cleared no_response", "cleared cover_open"], [], []),
        ((COVER, BLIND), [], [], ["cover_open"]),
        # ways not to be asked exclude each other
        ((BUSY, SILENT), ["cleared port_busy", "raised no_response"], ["no_response"], []),
        ((SILENT, GONE), ["cleared no_response", "raised not_attached"], ["not_attached"], []),
        ((SILENT, BLIND), ["cleared no_response"], [], []),
        ((SILENT, replace(BLIND, undetermined=frozenset({"no_response"}))), [], [], ["no_response"]),
    ],
)
def test_a_condition_is_held_until_a_look_judges_it(
    looks: tuple[Observation, ...], edges: list[str], true: list[str], undetermined: list[str]
) -> None:
    level, turned = looked(*looks)
    assert turned == edges
    assert codes(told(level)) == true
    assert list(told(level).undetermined) == undetermined


OBSERVATIONS = st.builds(
    lambda health, true, undetermined: Observation(
        component=PRINTER, health=health, reason="why", true_codes=dict.fromkeys(true), undetermined=undetermined
    ),
    st.sampled_from(Health),
    st.sets(st.sampled_from(["cover_open", "paper_end", "no_response", "port_busy"])),
    st.frozensets(st.sampled_from(["cover_open", "paper_end", "no_response", "offline"])),
)


@given(st.lists(OBSERVATIONS, max_size=8))
def test_a_reader_of_the_wire_who_uses_judges_holds_what_the_agent_holds(looks: list[Observation]) -> None:
    level: Level = Level()
    far_side: set[str] = set()
    for look in looks:
        level, edges = fold(level, look, at(0))
        reading = told(level)
        before = set(far_side)
        far_side = {code for code in far_side if not reading.judges(code)} | set(codes(reading))
        assert {edge.code for edge in edges if edge.turn is Turn.RAISED} == far_side - before
        assert {edge.code for edge in edges if edge.turn is Turn.CLEARED} == before - far_side
    assert far_side == (set(level.standings[PRINTER].held) if looks else set())


def test_a_card_number_that_a_device_says_goes_no_further() -> None:
    observation = Observation(
        component="pos_printer:1",
        health=Health.FAULT,
        true_codes={"cover_open": "last job 4111 1111 1111 1111"},
        facts={"model": "4111111111111111", "serial_number": "4111111111111111"},
    )
    level, edges = fold(Level(), observation, at(0))
    (reading,) = readings(level, at(0))
    assert [reading.conditions[0].detail, edges[0].detail] == ["last job 411111****1111"] * 2
    assert reading.facts == {"model": "411111****1111", "serial_number": "4111111111111111"}, "serial numbers are kept"


def test_since_is_the_first_sighting_even_through_silence() -> None:
    level, _ = looked(COVER, SILENT, COVER)
    (condition,) = told(level).conditions
    assert condition.since == MORNING


def test_an_edge_says_what_turned_and_when() -> None:
    _, (edge,) = fold(Level(), SILENT, at(5))
    assert edge == Edge(
        turn=Turn.RAISED, component=PRINTER, code="no_response", happened_at=at(5).at, detail="after 3 tries"
    )


def test_components_are_told_by_name_each_with_its_age() -> None:
    level, _ = fold(Level(), OK, at(10))
    level, _ = fold(level, replace(OK, component="cash_drawer:1"), at(12))
    assert [(r.component, r.age_s) for r in readings(level, at(15))] == [("cash_drawer:1", 3.0), (PRINTER, 5.0)]


def test_a_clock_that_went_back_makes_no_negative_age() -> None:
    level, _ = fold(Level(), OK, at(10))
    assert told(level, 9).age_s == 0


def test_what_was_not_looked_at_within_its_limit_is_stale_and_holds_all_it_held() -> None:
    level, _ = fold(Level(), replace(COVER, facts={"model": "TM-T88"}, measures={"tries": 1}), at(0))
    assert expires_at_s(level, 30) == 30
    assert expire(level, at(29.9), 30) == (level, ())
    level, edges = expire(level, at(30), 30)
    reading = told(level, 31)
    assert [(edge.turn, edge.code) for edge in edges] == [(Turn.RAISED, "stale")]
    assert (reading.health, reading.reason, codes(reading)) == (Health.UNKNOWN, "stale", ["stale"])
    assert (reading.undetermined, reading.facts, reading.measures) == (("cover_open",), {"model": "TM-T88"}, {})
    assert reading.age_s == 31


def test_staleness_comes_once_and_ends_with_the_next_look() -> None:
    level, _ = fold(Level(), COVER, at(0))
    level, _ = expire(level, at(30), 30)
    assert expire(level, at(60), 30) == (level, ())
    assert expires_at_s(level, 30) == math.inf
    level, edges = fold(level, COVER, at(61))
    assert [(edge.turn, edge.code) for edge in edges] == [(Turn.CLEARED, "stale")]


def test_a_silent_device_that_becomes_stale_is_not_cleared_of_its_silence() -> None:
    level, _ = fold(Level(), SILENT, at(0))
    level, edges = expire(level, at(30), 30)
    assert [(edge.turn, edge.code) for edge in edges] == [(Turn.RAISED, "stale")]
    assert told(level, 30).undetermined == ("no_response",)


def test_an_empty_level_waits_for_nothing() -> None:
    assert expires_at_s(Level(), 30) == math.inf


@pytest.mark.parametrize(
    ("later", "worth_telling"),
    [
        (OK, False),
        (replace(OK, measures={"tls_ms": 12}, facts={"model": "x"}), False),  # measures wait for the next heartbeat
        (COVER, True),
        (replace(OK, power_state=PowerState.OFFLINE), True),
        (replace(OK, undetermined=frozenset({"paper_end"})), True),
        (replace(OK, component="scanner:1"), True),  # one more component
    ],
)
def test_what_a_person_would_act_on_is_worth_telling_at_once(later: Observation, *, worth_telling: bool) -> None:
    before, _ = fold(Level(), OK, at(0))
    after, _ = fold(before, later, at(1))
    assert differs(before, after) is worth_telling


def test_a_level_takes_as_many_components_as_the_wire() -> None:
    level = Level()
    for number in range(COMPONENTS_MAX):
        level, _ = fold(level, replace(OK, component=f"scanner:{number}"), at(0))
    with pytest.raises(ObservationInvalid, match="at most 64 components"):
        fold(level, OK, at(0))
    fold(level, replace(OK, component="scanner:0"), at(1))


@pytest.mark.parametrize(
    "mistake",
    [
        replace(OK, component="no colon"),
        replace(OK, health=Health.UNKNOWN),  # unknown needs a reason
        replace(OK, true_codes={"Not A Code": None}),
        replace(OK, measures={"BAD": 1}),
    ],
)
def test_what_a_driver_must_not_say_is_refused_and_changes_nothing(mistake: Observation) -> None:
    with pytest.raises(ObservationInvalid):
        fold(Level(), mistake, at(0))


def test_what_a_device_says_is_cut_to_the_limits_and_never_refused() -> None:
    chatty = replace(
        OK,
        true_codes={f"code_{n}": "x" * 9999 for n in range(CONDITIONS_MAX + 5)},
        undetermined=frozenset(f"other_{n}" for n in range(CONDITIONS_MAX + 5)),
        measures={"tls_ms": math.nan, "tcp_ms": math.inf} | {f"m_{n}": n for n in range(MEASURES_MAX + 5)},
        facts={"maker": "EP\x00SON\x1b\x7f\ud800"} | {f"f_{n}": "" for n in range(FACTS_MAX + 5)},
    )
    level, _ = fold(Level(), chatty, at(0))
    reading = told(level)
    assert len(reading.conditions) == len(reading.undetermined) == CONDITIONS_MAX
    assert len(reading.conditions[0].detail or "") == TEXT_CHARS_MAX
    assert len(reading.measures) == MEASURES_MAX
    assert reading.facts["maker"] == "EP SON  ?"
    assert len(reading.facts) == FACTS_MAX
