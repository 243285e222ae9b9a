"""Storms without rows: how much is looked at when many are hit at once, and that nobody is lost whatever happens."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.stage import INTERVAL_S, OWN_S, Stage, chain, shop, spread

from tillwatch_collector.domain.signs import SILENT

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


@settings(max_examples=50, deadline=None)
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
