"""Who shows what where, without rows: terminals that fall silent and come back on a stage of listened seconds."""

import pytest
from tests.collector.stage import DNS, OWN_S, Stage, chain, place, shop, spread
from tests.collector.words import at

from tillwatch_collector.domain.outage import FLEET, NodeKind, Outage, OutageSettings, Phase, Shown
from tillwatch_collector.domain.pattern import Patterns
from tillwatch_collector.domain.signs import SILENT

# --- a pattern


def test_a_store_that_loses_its_line_is_one_outage_of_the_store() -> None:
    stage = Stage(chain(4, 8))
    down = [f"s2-{till}" for till in range(8)]
    spread(stage, down)
    stage.pass_to(300, down)
    assert stage.named == [("opened", "store", "s2")]
    assert stage.own == []
    [finding] = stage.findings
    assert (len(finding.chosen.hits), finding.chosen.total, finding.chosen.elsewhere) == (8, 8, 0)
    assert finding.span_s == pytest.approx(52.5)


def test_nothing_is_told_while_all_are_only_late() -> None:
    stage = Stage(chain(1, 8))
    down = list(stage.places)
    spread(stage, down)
    stage.pass_to(130, down)
    stage.well(down)
    stage.pass_to(400, [])
    assert stage.findings == []


def test_all_stores_of_a_carrier_are_one_outage_of_the_carrier() -> None:
    here, there = chain(5, 8, carrier="weak"), {f"x{each}": shop(f"x{each % 9}") for each in range(60)}
    stage = Stage(here | there)
    spread(stage, here)
    stage.pass_to(400, here)
    assert stage.named == [("opened", "carrier", "weak")]
    assert stage.own == []
    assert [other.node.kind for other in stage.findings[0].alternatives][-1] is NodeKind.STORE


def test_a_store_below_the_least_number_has_tickets_of_its_own() -> None:
    stage = Stage(chain(3, 3))
    down = ["s0-0", "s0-1", "s0-2"]
    spread(stage, down)
    stage.pass_to(400, down)
    assert stage.findings == []
    assert sorted(stage.own) == [(each, SILENT) for each in down]


def test_ten_that_fall_silent_one_by_one_are_ten() -> None:
    stage = Stage(chain(1, 10))
    names = sorted(stage.places)
    for number, terminal_id in enumerate(names):
        stage.heard_s[terminal_id] = number * 400.0
    while stage.now_s < 4600:
        stage.now_s += 20
        stage.well(each for each in names if stage.now_s <= stage.heard_s[each])
        for each in names:
            if stage.now_s <= names.index(each) * 400:
                stage.well([each])
        stage.quiet(names)
        stage.decide()
        stage.rise(each for each in names if stage.now_s >= stage.heard_s[each] + 183)
    assert stage.findings == []
    assert len(stage.own) == 10


def test_two_carriers_at_the_same_time_are_two_outages() -> None:
    places = {f"{carrier}{each}": shop(f"{carrier}{each % 5}", carrier) for carrier in "abcde" for each in range(40)}
    stage = Stage(places)
    down = [each for each in places if each[0] in "ab"]
    spread(stage, down)
    stage.pass_to(400, down)
    assert sorted(stage.named) == [("opened", "carrier", "a"), ("opened", "carrier", "b")]
    assert stage.own == []


def test_one_dead_terminal_elsewhere_does_not_make_it_a_regions() -> None:
    places = chain(1, 8) | {f"x{each}": shop(f"x{each}") for each in range(4)}
    stage = Stage(places)
    down = [*chain(1, 8), "x1"]
    spread(stage, down)
    stage.pass_to(400, down)
    assert stage.named == [("opened", "store", "s0")]
    assert stage.own == [("x1", SILENT)]


def test_who_is_off_or_was_down_already_is_no_part_of_it() -> None:
    stage = Stage(chain(1, 10))
    names = sorted(stage.places)
    stage.off(names[:4])
    stage.pass_to(1000, [names[9]])
    stage.heard_s |= dict.fromkeys(names[4:8], 1000.0)
    stage.pass_to(1400, names[4:8])
    # of the six that were open one was down: four of five are fewer than the least number
    assert stage.findings == []
    assert len(stage.own) == 5


def test_a_shop_whose_line_was_cut_at_night_is_one_outage_in_the_morning() -> None:
    stage = Stage(chain(1, 6))
    names = sorted(stage.places)
    stage.off(names)
    for number, terminal_id in enumerate(names):
        stage.heard_s[terminal_id] = -3000.0 - 600 * number
    stage.now_s = 30_000
    stage.quiet(names)
    stage.decide()
    assert stage.named == [("opened", "store", "s0")]


def test_after_listening_began_anew_who_does_not_come_back_is_one_outage() -> None:
    stage = Stage(chain(1, 6))
    names = sorted(stage.places)
    stage.pass_to(100, names)
    stage.unsure(names, SILENT)
    stage.heard_s |= dict.fromkeys(names, 100.0)
    stage.pass_to(400, names)
    assert stage.named == [("opened", "store", "s0")]


# --- conditions


def test_a_condition_that_many_show_is_one_outage_and_is_told_when_it_is_raised() -> None:
    stage = Stage(chain(1, 8))
    names = sorted(stage.places)
    for each in names:
        stage.complain([each])
        stage.now_s += 7
    stage.decide()
    assert stage.findings == []
    stage.now_s = 61
    stage.decide()
    assert stage.named == [("opened", "store", "s0")]
    assert set(stage.rise(names, DNS).values()) == {1}


def test_an_acquirer_is_named_by_those_who_ask_it() -> None:
    acquirer = place(NodeKind.ACQUIRER, "main")
    places = {f"t{each}": (*shop(f"s{each % 4}"), *([acquirer] if each % 2 else ())) for each in range(40)}
    stage = Stage(places)
    symptom = ("acquirer:main", "tcp_failure")
    stage.complain([each for each in places if int(each[1:]) % 2], symptom)
    stage.complain(["t0", "t1"], ("acquirer:other", "tcp_failure"))
    stage.now_s = 60
    stage.decide()
    assert stage.named == [("opened", "acquirer", "main")]
    stage.well(places)
    stage.decide()
    # t1 complained of another acquirer instead
    assert [outage.back for outage in stage.patterns.outages] == [19]


def test_who_complains_for_long_is_no_part_of_what_begins() -> None:
    stage = Stage(chain(1, 8))
    names = sorted(stage.places)
    for each in names[:4]:
        stage.complain([each])
        stage.now_s += 400
        stage.decide()
        stage.rise([each], DNS)
    stage.complain(names[4:])
    stage.now_s += 60
    stage.decide()
    assert stage.findings == []
    stage.well(names)
    stage.complain(names)
    stage.now_s += 60
    stage.decide()
    assert stage.named == [("opened", "store", "s0")]


def test_a_component_without_a_word_neither_shows_nor_denies() -> None:
    stage = Stage(chain(1, 6))
    names = sorted(stage.places)
    stage.complain(names)
    stage.unsure(names, DNS, well=True)
    stage.now_s = 60
    stage.decide()
    assert stage.named == [("opened", "store", "s0")]
    stage.unsure(names, DNS, well=True)
    stage.decide()
    assert stage.open_ones == [(place(NodeKind.STORE, "s0"), 6)]


# --- whose a fault is


def test_one_that_is_lost_early_waits_for_the_others_and_is_the_outages() -> None:
    stage = Stage(chain(1, 8))
    names = sorted(stage.places)
    spread(stage, names)
    stage.now_s = 25
    stage.quiet(names)
    lost = names[-1]
    stage.stand(lost, {SILENT: stage.silence(lost, lost=True)})
    stage.decide()
    assert stage.rise([lost]) == {lost: None}
    assert stage.own == []
    stage.pass_to(200, names)
    assert stage.named == [("opened", "store", "s0")]
    assert stage.own == []


def test_one_that_is_lost_while_others_are_late_for_a_moment_gets_its_ticket_after_all() -> None:
    stage = Stage(chain(1, 8))
    names = sorted(stage.places)
    spread(stage, names)
    stage.now_s = 25
    stage.quiet(names)
    lost = names[-1]
    stage.stand(lost, {SILENT: stage.silence(lost, lost=True)})
    stage.decide()
    stage.rise([lost])
    stage.now_s = 30
    stage.well(each for each in names if each != lost)
    stage.pass_to(120, [lost])
    assert stage.findings == []
    assert stage.own == [(lost, SILENT)]


def test_one_that_is_lost_alone_gets_its_ticket_at_once() -> None:
    stage = Stage(chain(1, 8))
    stage.now_s = 30
    stage.stand("s0-3", {SILENT: stage.silence("s0-3", lost=True)})
    stage.decide()
    stage.rise(["s0-3"])
    assert stage.own == [("s0-3", SILENT)]
    assert stage.patterns.claimant("s0-4", SILENT, stage.now_s) is None


def test_who_is_hit_later_in_an_open_outage_belongs_to_it() -> None:
    stage = Stage(chain(1, 8))
    names = sorted(stage.places)
    stage.pass_to(300, names[:6])
    stage.now_s = 900
    stage.well(names[6:])
    stage.pass_to(1300, [*names[:6], names[7]])
    assert stage.named == [("opened", "store", "s0")]
    assert stage.own == []
    assert stage.open_ones == [(place(NodeKind.STORE, "s0"), 7)]


# --- wider


def test_an_outage_that_reaches_further_is_widened_and_others_end_in_it() -> None:
    here = chain(6, 6, carrier="weak")
    stage = Stage(here | {f"x{each}": shop("x") for each in range(100)})
    first = [each for each in here if each[:2] in {"s0", "s1"}]
    rest = [each for each in here if each not in first]
    stage.heard_s |= dict.fromkeys(rest, 70.0)
    stage.now_s = 70
    stage.well(rest)
    stage.quiet(first)
    stage.now_s = 130
    stage.quiet(first)
    stage.pass_to(190, first)
    assert stage.named == [("opened", "store", "s0"), ("opened", "store", "s1")]
    stage.pass_to(260, here)
    assert stage.named[2:] == [("widened", "carrier", "weak")]
    assert stage.open_ones == [(place(NodeKind.CARRIER, "weak"), 36)]
    assert stage.own == []
    assert stage.findings[2].outages[0].outage_id == 1


# --- the end


def open_outage(tills: int = 8, *, until_s: float = 600) -> tuple[Stage, list[str]]:
    stage = Stage(chain(1, tills))
    names = sorted(stage.places)
    spread(stage, names)
    stage.pass_to(until_s, names)
    assert len(stage.patterns.outages) == 1
    return stage, names


def test_when_all_are_back_it_ends_after_its_hold_and_nobody_has_a_ticket() -> None:
    stage, names = open_outage()
    stage.well(names)
    stage.decide()
    assert [outage.phase for outage in stage.patterns.outages] == [Phase.ENDING]
    assert stage.patterns.due_s == pytest.approx(600 + OWN_S)
    stage.pass_to(600 + OWN_S, [])
    assert [(outage.outage_id, outage.back) for outage in stage.ended] == [(1, 8)]
    assert stage.own == []
    assert stage.patterns.due_s is None or stage.patterns.due_s > stage.now_s


def test_one_dead_terminal_in_an_outage_gets_its_ticket_a_full_interval_after_it() -> None:
    stage, names = open_outage()
    stage.well(names[1:])
    stage.decide()
    stage.pass_to(600 + OWN_S - 1, names[:1])
    assert stage.own == []
    stage.pass_to(600 + OWN_S, names[:1])
    assert stage.own == [(names[0], SILENT)]
    assert len(stage.ended) == 1


def test_while_most_are_away_nobody_is_judged_by_itself() -> None:
    stage, names = open_outage()
    stage.well(names[:5])
    stage.pass_to(3000, names[5:])
    assert stage.own == []
    assert stage.ended == []
    stage.well(names[5:6])
    stage.decide()
    stage.pass_to(3000 + OWN_S, names[6:])
    assert stage.own == [(names[6], SILENT), (names[7], SILENT)]


def test_who_comes_back_slowly_is_not_judged_as_long_as_its_interval_runs() -> None:
    # the parent is back before its children: no flood of them follows
    stage, names = open_outage(20)
    for number, each in enumerate(names):
        stage.well([each])
        stage.pass_to(600 + 5 * (number + 1), names[number + 1 :])
    stage.pass_to(900, [])
    assert stage.own == []
    assert len(stage.ended) == 1


def test_a_line_that_breaks_again_at_once_is_the_same_outage() -> None:
    stage, names = open_outage()
    stage.well(names)
    stage.pass_to(610, [])
    stage.heard_s |= dict.fromkeys(names, 610.0)
    stage.patterns.outages[0].over_s = 10_000
    stage.pass_to(900, names)
    assert stage.named == [("opened", "store", "s0"), ("relapsed", "store", "s0")]
    assert stage.open_ones == [(place(NodeKind.STORE, "s0"), 8)]


def test_a_shop_that_closes_in_an_outage_proves_nothing() -> None:
    stage, names = open_outage()
    stage.off(names)
    stage.pass_to(30_000, [])
    assert stage.open_ones == [(place(NodeKind.STORE, "s0"), 8)]
    stage.heard_s |= dict.fromkeys(names, 100.0)
    stage.quiet(names)
    stage.decide()
    assert stage.open_ones == [(place(NodeKind.STORE, "s0"), 8)]
    stage.well(names)
    stage.pass_to(30_010 + OWN_S, [])
    assert [outage.back for outage in stage.ended] == [8]


def test_who_is_off_when_it_ends_is_judged_when_it_is_missed_again() -> None:
    stage, names = open_outage()
    stage.off(names[:1])
    stage.well(names[1:])
    stage.pass_to(610 + OWN_S, [])
    assert len(stage.ended) == 1
    assert stage.own == []
    stage.now_s = 40_000
    stage.quiet(names[:1])
    stage.decide()
    assert stage.own == [(names[0], SILENT)]


def test_who_goes_off_in_its_own_interval_does_not_hold_the_end_up() -> None:
    stage, names = open_outage()
    stage.well(names[1:])
    stage.decide()
    stage.off(names[:1])
    stage.pass_to(610 + OWN_S, [])
    assert len(stage.ended) == 1
    assert stage.own == []


def test_what_goes_on_in_one_store_after_its_carrier_came_back_is_an_outage_of_the_store() -> None:
    here = chain(8, 6, carrier="weak")
    stage = Stage(here | {f"x{each}": shop("x") for each in range(200)})
    spread(stage, here)
    stage.pass_to(600, here)
    left = [each for each in here if each.startswith("s3")]
    stage.well(each for each in here if each not in left)
    stage.pass_to(800, left)
    assert stage.named == [("opened", "carrier", "weak"), ("opened", "store", "s3")]
    assert [outage.node.node_id for outage in stage.ended] == ["weak"]
    assert stage.own == []


def test_an_outage_that_a_person_ended_leaves_its_terminals_alone_until_they_were_well() -> None:
    stage, names = open_outage()
    stage.patterns.drop(stage.patterns.outages[0])
    stage.pass_to(5000, names)
    assert stage.own == []
    assert stage.patterns.outages == []
    stage.well(names)
    stage.pass_to(5400, names)
    assert len(stage.findings) == 2


# --- places and rows


def test_a_terminal_that_moves_counts_where_it_stands() -> None:
    stage = Stage(chain(2, 6))
    names = [f"s0-{till}" for till in range(6)]
    stage.pass_to(100, names)
    for each in names[:2]:
        stage.places[each] = shop("s1")
    stage.pass_to(300, names)
    # four at the old place are too few; six at the new region are not
    assert stage.named == [("opened", "carrier", "c")]


def test_who_is_missed_by_nobody_is_counted_nowhere_and_can_be_well_all_the_same() -> None:
    stage = Stage(chain(1, 6))
    names = sorted(stage.places)
    stage.off(names)
    for each in names:
        # in maintenance, it was so before
        stage.patterns.fall(each, DNS)
        stage.stand(each, {}, missed=False, well=True)
    stage.well(names)
    stage.complain(names)
    stage.now_s = 60
    stage.decide()
    assert [(len(f.chosen.hits), f.chosen.total) for f in stage.findings] == [(6, 6)]


def test_remembered_terminals_are_missed_if_they_were_well() -> None:
    patterns = Patterns(OutageSettings())
    for number in range(6):
        patterns.remember(f"t{number}", shop("s"), missed=True, seen=number != 5)
    assert sorted(patterns.within(FLEET)) == [f"t{number}" for number in range(6)]
    assert list(patterns.within(place(NodeKind.STORE, "other"))) == []
    stage = Stage({f"t{number}": shop("s") for number in range(6)})
    stage.patterns = patterns
    stage.pass_to(300, list(stage.places))
    assert [(len(f.chosen.hits), f.chosen.total) for f in stage.findings] == [(5, 5)]
    assert stage.own == [("t5", SILENT)]


def test_a_remembered_outage_goes_on_and_what_it_left_is_judged() -> None:
    stage = Stage({f"t{number}": shop("s") for number in range(6)})
    patterns = Patterns(OutageSettings())
    for number in range(6):
        patterns.remember(f"t{number}", shop("s"), missed=True, seen=False)
    outage = Outage(
        outage_id=1, ticket_id=1, node=place(NodeKind.STORE, "s"), symptom=SILENT, threshold=5, hold_s=60, back=1
    )
    still = Shown(at=at(0), from_s=0, until_s=0, press_s=0, own_s=OWN_S)
    patterns.resume(outage, {f"t{number}": still for number in range(5)})
    for number in range(5):
        patterns.untick(f"t{number}", SILENT)
    stage.patterns = patterns
    stage.raised |= {(f"t{number}", SILENT) for number in range(5)}
    stage.pass_to(400, [f"t{number}" for number in range(5)])
    assert stage.open_ones == [(place(NodeKind.STORE, "s"), 5)]
    stage.well(f"t{number}" for number in range(4))
    stage.decide()
    stage.pass_to(400 + OWN_S, ["t4"])
    assert stage.own == [("t4", SILENT)]
    assert [ended.back for ended in stage.ended] == [5]


def test_a_remembered_symptom_of_long_is_no_part_of_what_begins() -> None:
    stage = Stage(chain(1, 6))
    for each in stage.places:
        stage.patterns.fall(each, DNS)
        stage.patterns.fall(each, DNS)
    stage.complain(stage.places)
    stage.now_s = 60
    stage.decide()
    assert stage.findings == []
    stage.off(stage.places)
    stage.well(stage.places)
    stage.complain(stage.places)
    stage.now_s = 200
    stage.decide()
    assert len(stage.findings) == 1
