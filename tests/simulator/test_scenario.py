"""Scenario files, and what is drawn from them."""

from importlib import resources
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_simulator import scenario
from tillwatch_simulator.errors import ScenarioInvalid
from tillwatch_simulator.faults import TicketIdentity, What
from tillwatch_simulator.inventory import Place
from tillwatch_simulator.scenario import Injection, Scenario, agent_id, caused, drawn, expected, steps, terminal_id

BUSY = """
terminals = 40
agents = 2
length_s = 100
[[happening]]
at_s = 10
what = "condition"
component = "pos_printer:receipt"
code = "paper_end"
some = 10
for_s = 20
[[happening]]
at_s = 15
what = "dead"
some = 10
for_s = 30
[[happening]]
at_s = 20
what = "cut"
terminals = [3, 7]
[[happening]]
at_s = 50
what = "device"
fault = "cover_open"
agents = [2]
for_s = 10
"""


def packaged() -> list[str]:
    folder = resources.files("tillwatch_simulator") / "scenarios"
    return [file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".toml")]


@pytest.mark.parametrize("text", packaged())
def test_each_packaged_scenario_can_be_played(text: str) -> None:
    parsed = scenario.parse(text)
    assert drawn(parsed, Random(1))


def test_the_demonstration_shows_each_sort_of_trouble() -> None:
    text = (resources.files("tillwatch_simulator") / "scenarios" / "demo.toml").read_text(encoding="utf-8")
    parsed = scenario.parse(text)
    assert {happening.what for happening in parsed.happening} == set(What)
    assert (parsed.terminals, parsed.agents, parsed.interval_s) == (100, 3, 5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("terminals = ", "expected TOML"),
        ("terminal = 3", r"terminal: Extra inputs are not permitted; got 3"),
        ("terminals = 5001", r"terminals: .*less than or equal to 5000; got 5001"),
        ("length_s = nan", "length_s: .*finite"),
        ('[[happening]]\nat_s = 1\nwhat = "bored"\nsome = 1', r"happening\.0\.what: .*'dead'.*; got 'bored'"),
        ('[[happening]]\nat_s = 1\nwhat = "dead"', "expected exactly one of terminals, agents, some, store"),
        ('[[happening]]\nat_s = 1\nwhat = "dead"\nsome = 1\nterminals = [1]', "expected exactly one of"),
        ('[[happening]]\nat_s = 1\nwhat = "condition"\nsome = 1', "expected component and code with a condition"),
        ('[[happening]]\nat_s = 1\nwhat = "dead"\nsome = 1\nfault = "silent"', "expected fault with a device"),
        (
            '[[happening]]\nat_s = 1\nwhat = "device"\nagents = [1]\nfault = "on_fire"',
            r"happening\.0\.fault: .*'cover_open'.*; got 'on_fire'",
        ),
        (
            '[[happening]]\nat_s = 1\nwhat = "device"\nsome = 1\nfault = "silent"',
            "expected agents for a device: simulated terminals have conditions",
        ),
        ('[[happening]]\nat_s = 1\nwhat = "cut"\nagents = [1]', "expected device, dead or stopped for a real agent"),
        (
            '[[happening]]\nat_s = 1\nwhat = "condition"\nsome = 1\ncomponent = "scale:1"\ncode = "stale"',
            "expected one of pos_printer:receipt, .*, got scale:1",
        ),
        ('[[happening]]\nat_s = 50\nwhat = "dead"\nsome = 1\nfor_s = 11', "expected all to end within length_s = 60"),
        ('terminals = 3\n[[happening]]\nat_s = 5\nwhat = "dead"\nterminals = [4]', "expected terminals from 1 to 3"),
        ('agents = 1\n[[happening]]\nat_s = 5\nwhat = "dead"\nagents = [2]', "expected agents from 1 to 1"),
    ],
)
def test_what_cannot_be_played_is_named(text: str, problem: str) -> None:
    with pytest.raises(ScenarioInvalid, match=problem):
        scenario.parse(text)


CHAIN = """
terminals = 12
agents = 1
[[merchant]]
merchant_id = "wok"
name = "Wok"
[[merchant.store]]
store_id = "wok-1"
name = "Wok 1"
carrier = "CityNet"
terminals = 6
[[merchant.store]]
store_id = "wok-2"
name = "Wok 2"
carrier = "Telecom"
terminals = 2
[[merchant.store]]
store_id = "wok-3"
name = "Wok 3"
carrier = "Mobile"
[[happening]]
at_s = 10
what = "cut"
store = "wok-1"
"""


@pytest.mark.parametrize(("kind", "place_id"), [("store", "wok-1"), ("carrier", "CityNet")])
def test_a_place_is_cut_as_a_whole_and_brings_no_ticket_about_each(kind: str, place_id: str) -> None:
    injections = drawn(scenario.parse(CHAIN.replace('store = "wok-1"', f'{kind} = "{place_id}"')), Random(1))
    assert [one.terminal_id for one in injections] == [terminal_id(number) for number in range(1, 7)]
    assert {one.place for one in injections} == {Place(kind, place_id)}
    assert caused(injections) == frozenset()
    assert {one.code for injection in injections for one in injection.symptoms} == {"silent"}


@pytest.mark.parametrize(
    ("said", "instead", "problem"),
    [
        ('what = "cut"', 'what = "dead"', "expected cut for a whole store, got dead"),
        ('store = "wok-1"', 'store = "wok-1"\nsome = 1', "expected exactly one of terminals, agents, some, store"),
        ('store = "wok-1"', 'store = "wok-9"', "expected one of the stores wok-1, wok-2, wok-3, got wok-9"),
        ('store = "wok-1"', 'carrier = "Citynet"', "one of the carriers CityNet, Mobile, Telecom, got Citynet"),
        ('store = "wok-1"', 'store = "wok-2"', "at least 5 terminals in store wok-2, got 2: name them as terminals"),
        ('store = "wok-1"', 'merchant = "wok"', "expected simulated terminals in merchant wok, got till-1, too"),
        ('_id = "wok-2"', '_id = "wok-1"', "expected each merchant_id and store_id once, got wok-1 again"),
        ("terminals = 12", "terminals = 7", "expected at least the 8 terminals that the stores have, got 7"),
        ('carrier = "Telecom"', 'line = "Telecom"', r"merchant\.0\.store\.1\.line: Extra inputs .*; got 'Telecom'"),
        ('merchant_id = "wok"', 'merchant_id = "the wok"', r"merchant\.0\.merchant_id: .*; got 'the wok'"),
    ],
)
def test_a_place_that_cannot_be_cut_is_named(said: str, instead: str, problem: str) -> None:
    assert said in CHAIN
    with pytest.raises(ScenarioInvalid, match=problem):
        scenario.parse(CHAIN.replace(said, instead, 1))


def test_the_restaurant_chain_has_one_line_one_emergency_and_a_till_that_does_not_come_back_with_it() -> None:
    text = (resources.files("tillwatch_simulator") / "scenarios" / "restaurant_chain.toml").read_text(encoding="utf-8")
    parsed = scenario.parse(text)
    inventory = scenario.inventory_of(parsed)
    (line,) = {one.place for one in drawn(parsed, Random(1)) if one.place}
    chain = inventory.within(line)
    assert chain == inventory.within(Place("merchant", "golden-wok")) < {*inventory.terminal_ids}
    (dead,) = (one for one in drawn(parsed, Random(1)) if one.what is What.DEAD)
    (back_s,) = {one.until_s for one in drawn(parsed, Random(1)) if one.place}
    assert dead.terminal_id in chain
    assert dead.until_s > back_s > dead.from_s


def test_overrides_stand_above_the_file() -> None:
    assert scenario.parse("terminals = 3", terminals=7, interval_s=9).terminals == 7


@given(seed=st.integers(0, 2**32))
def test_the_same_seed_draws_the_same_and_nobody_drawn_has_two_troubles(seed: int) -> None:
    parsed = scenario.parse(BUSY)
    injections = drawn(parsed, Random(seed))
    assert injections == drawn(parsed, Random(seed))
    assert len(injections) == 10 + 10 + 2 + 1
    assert len({injection.terminal_id for injection in injections}) == 23


def test_rounds_follow_each_other_and_draw_anew() -> None:
    parsed = scenario.parse(BUSY)
    upcoming = list(islice(scenario.rounds(parsed, Random(1)), 2 * 46))
    first, second = upcoming[:46], upcoming[46:]
    assert [step.at_s for step in upcoming] == sorted(step.at_s for step in upcoming)
    assert second[0].at_s == first[0].at_s + parsed.length_s
    assert {step.injection.terminal_id for step in first} != {step.injection.terminal_id for step in second}
    assert list(scenario.rounds(Scenario(), Random(1))) == []


def test_each_step_has_its_words() -> None:
    stopped = Injection(terminal_id="sim-0001", what=What.STOPPED, from_s=0, until_s=60)
    told = {scenario.narrated(step) for step in scenario.steps([stopped, *drawn(scenario.parse(BUSY), Random(1))])}
    assert told == {
        "stops, and says so",
        "pos_printer:receipt: paper_end",
        "pos_printer:receipt: no more paper_end",
        "dies without a word",
        "starts again",
        "uplink is cut",
        "uplink is back",
        "printer: cover_open",
        "printer: no more cover_open",
    }


def test_a_second_round_begins_where_it_is_told() -> None:
    parsed = scenario.parse(BUSY)
    first, second = drawn(parsed, Random(1)), drawn(parsed, Random(1), start_s=100.0)
    assert [one.from_s + 100 for one in first] == [one.from_s for one in second]
    assert [one.until_s + 100 for one in first] == [one.until_s for one in second]


def test_what_has_no_end_lasts_to_the_end_of_the_round() -> None:
    cuts = [injection for injection in drawn(scenario.parse(BUSY), Random(1)) if injection.what is What.CUT]
    assert [(cut.terminal_id, cut.from_s, cut.until_s) for cut in cuts] == [
        ("sim-0003", 20.0, 100.0),
        ("sim-0007", 20.0, 100.0),
    ]


def test_too_many_at_once_are_refused() -> None:
    with pytest.raises(ScenarioInvalid, match="expected 10 terminals without another trouble, got 3 of 15"):
        scenario.parse(BUSY, terminals=15)


def test_the_chance_reaches_everybody() -> None:
    parsed = scenario.parse('terminals = 10\n[[happening]]\nat_s = 1\nwhat = "dead"\nsome = 10')
    assert {one.terminal_id for one in drawn(parsed, Random(1))} == {terminal_id(number) for number in range(1, 11)}


def test_an_end_comes_before_a_beginning_of_the_same_moment() -> None:
    one = Injection(terminal_id=agent_id(1), what=What.DEVICE, from_s=0, until_s=5, code="silent")
    two = Injection(terminal_id=agent_id(1), what=What.DEVICE, from_s=5, until_s=9, code="slow")
    assert [(step.at_s, step.begins, step.injection.code) for step in steps([two, one])] == [
        (0, True, "silent"),
        (5, False, "silent"),
        (5, True, "slow"),
        (9, False, "slow"),
    ]


def test_a_ticket_has_a_cause_or_is_false() -> None:
    dead = Injection(terminal_id="sim-0001", what=What.DEAD, from_s=0, until_s=60)
    stopped = Injection(terminal_id="sim-0002", what=What.STOPPED, from_s=0, until_s=60)
    assert caused([dead, stopped]) == {TicketIdentity(terminal_id="sim-0001", component="agent:self", code="silent")}


def test_only_what_outlasts_its_hold_is_expected() -> None:
    def paper(number: int, lasts_s: float) -> Injection:
        return Injection(
            terminal_id=terminal_id(number), what=What.CONDITION, from_s=10, until_s=10 + lasts_s, code="paper_end"
        )

    brief, long, unheld = paper(1, 2.0), paper(2, 20.0), paper(3, 20.0)
    assert expected([brief, long], {"paper_end": 5.0}) == long.tickets
    assert expected([unheld], {"cover_open": 5.0}) == frozenset()


def test_the_defaults_are_a_quiet_fleet() -> None:
    assert drawn(Scenario(), Random(1)) == ()


ROLLED = """
terminals = 1
[installed]
product = "till"
version = "2.0"
[[release]]
product = "till"
version = "2.1"
[[rollout]]
version = "2.1"
select = "all"
reason = "why"
"""


def test_a_rollout_brings_a_release_of_the_scenario() -> None:
    parsed = scenario.parse(ROLLED)
    assert parsed.release_of(parsed.rollout[0]).target == "till/till-2.1.tar.gz"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        # a rollout of nothing that is signed
        (('version = "2.1"\nselect', 'version = "2.3"\nselect'), "expected one release of version 2.3"),
        # nobody knows what runs at first
        (('[installed]\nproduct = "till"\nversion = "2.0"', ""), "expected what is installed beside releases"),
        # of another product
        (('[[release]]\nproduct = "till"', '[[release]]\nproduct = "agent"'), "of the product that is installed"),
        # versions are numbers
        (('version = "2.0"', 'version = "two"'), "expected one to four numbers"),
    ],
)
def test_rollouts_that_cannot_be_played_are_refused(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(ScenarioInvalid, match=problem):
        scenario.parse(ROLLED.replace(*change))
