"""Who shows what where, without rows: terminals that fall silent and come back on a stage of listened seconds."""

from collections import Counter
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.words import at

from tillwatch_collector.domain.outage import (
    FLEET,
    Finding,
    Node,
    NodeKind,
    Outage,
    OutageSettings,
    Phase,
    Shown,
    Stand,
    Symptom,
    asserted,
    silence,
)
from tillwatch_collector.domain.pattern import Key, Patterns
from tillwatch_collector.domain.presence import grace_s
from tillwatch_collector.domain.signs import SILENT

DNS: Symptom = ("network:uplink", "dns_failure")
INTERVAL_S = 60.0
OWN_S = INTERVAL_S + grace_s(INTERVAL_S)


def place(kind: NodeKind, node_id: str) -> Node:
    return Node(kind, node_id)


def shop(store: str, carrier: str = "c", region: str = "r") -> tuple[Node, ...]:
    return place(NodeKind.STORE, store), place(NodeKind.CARRIER, carrier), place(NodeKind.REGION, region)


class Stage:
    """Terminals in shops: what a look would show of each, told to `Patterns` as judge would; outages are numbered."""

    def __init__(self, places: Mapping[str, tuple[Node, ...]]) -> None:
        self.patterns = Patterns(OutageSettings())
        self.places = dict(places)
        self.heard_s = dict.fromkeys(places, 0.0)
        self.raised: set[Key] = set()
        self.own: list[Key] = []
        """Who got a ticket of its own, in order."""
        self.findings: list[Finding] = []
        self.ended: list[Outage] = []
        self.outages = 0
        self.now_s = 0.0
        self.well(places)

    def well(self, terminal_ids: Iterable[str]) -> None:
        """Hear heartbeats that complain of nothing."""
        for terminal_id in terminal_ids:
            self.heard_s[terminal_id] = self.now_s
            self.raised -= {(terminal_id, symptom) for symptom in (SILENT, DNS)}
            self.stand(terminal_id, {}, well=True)

    def off(self, terminal_ids: Iterable[str]) -> None:
        for terminal_id in terminal_ids:
            self.stand(terminal_id, {}, missed=False)

    def unsure(self, terminal_ids: Iterable[str], *symptoms: Symptom, well: bool = False) -> None:
        for terminal_id in terminal_ids:
            self.stand(terminal_id, {}, well=well, unsure=symptoms)

    def quiet(self, terminal_ids: Iterable[str]) -> None:
        """Look at terminals that were not heard, as far as they are missed."""
        for terminal_id in terminal_ids:
            late_s = self.heard_s[terminal_id] + OWN_S
            if self.now_s >= late_s:
                self.stand(terminal_id, {SILENT: self.silence(terminal_id)})

    def silence(self, terminal_id: str, *, lost: bool = False) -> Shown:
        heard_s = self.heard_s[terminal_id]
        silent = lost or self.now_s >= heard_s + 2 * INTERVAL_S + OWN_S
        return silence(at=at(heard_s), from_s=heard_s, interval_s=INTERVAL_S, silent=silent, now_s=self.now_s)

    def stand(
        self,
        terminal_id: str,
        shown: Mapping[Symptom, Shown],
        *,
        well: bool = False,
        missed: bool = True,
        unsure: Iterable[Symptom] = (),
    ) -> None:
        self.patterns.stand(
            Stand(
                terminal_id=terminal_id,
                places=self.places[terminal_id],
                missed=missed,
                well=well,
                shown=shown,
                unsure=tuple(unsure),
            ),
            self.now_s,
        )

    def complain(self, terminal_ids: Iterable[str], symptom: Symptom = DNS) -> None:
        """Hear heartbeats that complain of something."""
        for terminal_id in terminal_ids:
            shown = asserted(at=at(self.now_s), since_s=self.now_s, raise_s=60, interval_s=INTERVAL_S, span_s=180)
            self.stand(terminal_id, {symptom: shown}, well=True)

    def decide(self) -> None:
        self._settle()
        for finding in self.patterns.findings(self.now_s):
            self.findings.append(finding)
            self.patterns.claim(self._outage(finding), finding)
        self._settle()
        self.own += [key for key in self.patterns.take_alone() if key in self.raised]

    def rise(self, terminal_ids: Iterable[str], symptom: Symptom = SILENT) -> dict[str, int | None]:
        """Raise what is due to be raised; returns whose each is: an outage's, by its number, or None."""
        whose: dict[str, int | None] = {}
        for terminal_id in terminal_ids:
            if (terminal_id, symptom) in self.raised:
                continue
            self.raised.add((terminal_id, symptom))
            outage = self.patterns.claimant(terminal_id, symptom, self.now_s)
            whose[terminal_id] = outage.outage_id if outage else None
            if outage is None and not self.patterns.is_unticketed(terminal_id, symptom):
                self.own.append((terminal_id, symptom))
        return whose

    def pass_to(self, end_s: float, down: Iterable[str], *, every_s: float = 5.0) -> None:
        """Let time pass in which these say nothing, and are raised at their third miss."""
        quiet = list(down)
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + every_s)
            self.quiet(quiet)
            self.decide()
            third = 3 * INTERVAL_S + grace_s(INTERVAL_S)
            self.rise(each for each in quiet if self.now_s >= self.heard_s[each] + third)
            outages = self.patterns.outages
            assert len({(outage.symptom, outage.node) for outage in outages}) == len(outages)

    def _outage(self, finding: Finding) -> Outage:
        if finding.outages:
            first, *others = finding.outages
            for other in others:
                self.patterns.hand_over(other, first)
            return first
        self.outages += 1
        return Outage(
            outage_id=self.outages,
            ticket_id=1000 + self.outages,
            node=finding.node,
            symptom=finding.symptom,
            threshold=finding.chosen.threshold,
            hold_s=60,
        )

    def _settle(self) -> None:
        self.ended += self.patterns.settle(self.now_s)

    @property
    def named(self) -> list[tuple[str, str, str]]:
        return [(str(f.reason), str(f.node.kind), f.node.node_id) for f in self.findings]

    @property
    def open_ones(self) -> list[tuple[Node, int]]:
        return [(outage.node, len(outage.hits)) for outage in self.patterns.outages if outage.phase is Phase.OPEN]


def chain(stores: int, tills: int, **where: str) -> dict[str, tuple[Node, ...]]:
    return {f"s{store}-{till}": shop(f"s{store}", **where) for store in range(stores) for till in range(tills)}


def spread(stage: Stage, terminal_ids: Iterable[str], since_s: float = 0.0) -> None:
    """Let each have been heard at its own place within the last interval before `since_s`."""
    names = sorted(terminal_ids)
    for number, terminal_id in enumerate(names):
        stage.heard_s[terminal_id] = since_s - INTERVAL_S * number / len(names)


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
    stage.complain(["t0"], ("acquirer:other", "tcp_failure"))
    stage.now_s = 60
    stage.decide()
    assert stage.named == [("opened", "acquirer", "main")]


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
    stage.pass_to(30_100, [])
    assert [outage.back for outage in stage.ended] == [8]


def test_who_is_off_when_it_ends_is_judged_when_it_is_missed_again() -> None:
    stage, names = open_outage()
    stage.off(names[:1])
    stage.well(names[1:])
    stage.pass_to(700, [])
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
    stage.pass_to(700, [])
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


# --- bounds


def test_ten_thousand_at_once_are_one_outage_found_by_looking_at_each_a_few_times() -> None:
    places = {f"t{each:05}": shop(f"s{each % 1000}", f"c{each % 3}", f"r{each % 7}") for each in range(10_000)}
    stage = Stage(places)
    spread(stage, places)
    stage.now_s = 124
    stage.quiet(places)
    stage.decide()
    assert stage.named == [("opened", "fleet", "fleet")]
    # each in its store, carrier, region and the fleet, and once for all: no walk is repeated
    assert stage.patterns.steps <= 5 * len(places)
    stage.pass_to(400, places, every_s=60)
    assert stage.patterns.steps <= 5 * len(places)
    assert len(stage.named) == 1
    assert stage.own == []


def test_many_small_outages_at_once_cost_little_more_than_their_terminals() -> None:
    # a tenth of the stores, each for itself: neither carrier nor region nor fleet has a pattern
    places = {f"t{each:05}": shop(f"s{each // 8}", f"c{each % 3}") for each in range(4_000)}
    stage = Stage(places)
    down = [each for number, each in enumerate(places) if (number // 8) % 10 == 0]
    spread(stage, down)
    stage.now_s = 184
    stage.quiet(down)
    stage.decide()
    assert len(stage.named) == 50
    assert {kind for _, kind, _ in stage.named} == {"store"}
    assert stage.patterns.steps <= 4 * len(down)


# --- whatever happens

STORES, TILLS = 3, 7
WHO = [f"s{store}-{till}" for store in range(STORES) for till in range(TILLS)]
DEEDS = st.tuples(
    st.sampled_from(["cut", "cut", "mend", "close", "open", "wait"]),
    st.sampled_from(["s0", "s1", "s2", "s", "s0-0", "s1-3"]),
    st.integers(min_value=5, max_value=400),
)


class Storm(Stage):
    """A stage on which lines are cut and mended, and shops closed."""

    def __init__(self) -> None:
        super().__init__(chain(STORES, TILLS))
        self.cut: set[str] = set()
        self.closed: set[str] = set()

    def do(self, deed: str, these: set[str]) -> None:
        if deed == "cut":
            self.cut |= these
        elif deed == "mend":
            self.cut -= these
        elif deed == "close":
            self.closed |= these
        elif deed == "open":
            self.closed -= these

    def live(self, span_s: float) -> None:
        end_s = self.now_s + span_s
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 15)
            self.well(each for each in WHO if each not in self.cut | self.closed)
            self.off(self.closed)
            self.quiet(self.cut - self.closed)
            self.decide()
            due = [each for each in sorted(self.cut - self.closed) if self.now_s >= self.heard_s[each] + 183]
            self.rise(due)
            self.check(due)

    def check(self, due: list[str]) -> None:
        """Whoever is raised is told of, and nobody belongs to two."""
        held = Counter((each, outage.symptom) for outage in self.patterns.outages for each in outage.hits)
        assert set(held.values()) <= {1}
        for each in due:
            key = each, SILENT
            assert key in self.own or key in held or self.patterns.is_unticketed(*key)


@settings(max_examples=50)
@given(st.lists(DEEDS, max_size=12))
def test_whatever_is_cut_and_mended_nobody_is_lost_and_nothing_is_told_twice(deeds: list[tuple[str, str, int]]) -> None:
    storm = Storm()
    for deed, where, span_s in deeds:
        storm.do(deed, {each for each in WHO if each.startswith(where)})
        storm.live(span_s)
    storm.cut.clear()
    storm.closed.clear()
    storm.live(4 * OWN_S)
    assert storm.patterns.outages == []
    counted = len(storm.own)
    storm.cut.add(WHO[0])
    storm.live(3 * INTERVAL_S + 2 * OWN_S)
    # every count is back where it was: one dead terminal is one ticket, and a dead store one outage
    assert storm.own[counted:] == [(WHO[0], SILENT)]
    found = len(storm.findings)
    storm.cut.update(each for each in WHO if each.startswith("s1"))
    storm.live(3 * INTERVAL_S + 2 * OWN_S)
    assert storm.named[found:] == [("opened", "store", "s1")]
