"""What makes an outage: thresholds, windows, places, who is named, and the table of its phases."""

from datetime import timedelta

import pytest
from tests.collector.words import START, at

from tillwatch_collector.domain.naming import Group, Search
from tillwatch_collector.domain.outage import (
    OUTAGE_TABLE,
    Candidate,
    Finding,
    Node,
    NodeKind,
    Outage,
    OutageSettings,
    Phase,
    Placed,
    Reason,
    Shown,
    Sign,
    asserted,
    named,
    places_of,
    silence,
    speaks_for,
    step,
)
from tillwatch_collector.domain.signs import SILENT
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health

STORE = Node(NodeKind.STORE, "s1")
CARRIER = Node(NodeKind.CARRIER, "c1")
REGION = Node(NodeKind.REGION, "r1")


@pytest.mark.parametrize(
    ("kind", "total", "threshold"),
    [
        (NodeKind.STORE, 3, 5),  # a small store never has one: its tills are told of one by one
        (NodeKind.STORE, 8, 5),  # half is fewer than the least
        (NodeKind.STORE, 10, 5),
        (NodeKind.CARRIER, 201, 101),  # half, rounded up
        (NodeKind.FLEET, 1000, 300),  # what strikes a third of everybody is no chance
    ],
)
def test_enough_terminals_are_a_share_and_a_least_number(kind: NodeKind, total: int, threshold: int) -> None:
    assert OutageSettings().threshold(kind, total) == threshold


# --- windows


def test_one_that_is_late_is_pressed_at_its_third_miss() -> None:
    shown = silence(at=START, from_s=100, interval_s=60, silent=False, now_s=170)
    assert (shown.from_s, shown.until_s, shown.press_s, shown.own_s) == (100, 223, 283, 133)


@pytest.mark.parametrize(
    ("now_s", "press_s"),
    [
        (150, 226),  # by its will, long before the others are late
        (240, 240),  # all are late
        (400, 283),  # its third miss is over
    ],
)
def test_one_that_is_silent_by_its_will_waits_until_all_others_are_late(now_s: float, press_s: float) -> None:
    assert silence(at=START, from_s=100, interval_s=60, silent=True, now_s=now_s).press_s == press_s


def test_a_condition_is_pressed_when_it_is_raised_and_may_have_begun_a_span_before() -> None:
    shown = asserted(at=START, since_s=500, raise_s=60, interval_s=60, span_s=180)
    assert (shown.from_s, shown.until_s, shown.press_s, shown.own_s) == (320, 500, 560, 133)


# --- places


def test_a_terminal_lies_where_people_entered_it_and_what_it_runs() -> None:
    nodes = places_of(Placed(store_id="s1", merchant_id="m1", region="north", agent_version="0.4.0"))
    assert nodes == (
        (NodeKind.STORE, "s1"),
        (NodeKind.MERCHANT, "m1"),
        (NodeKind.REGION, "north"),
        (NodeKind.RELEASE, "agent 0.4.0"),
    )
    assert places_of(Placed()) == ()


@pytest.mark.parametrize(
    ("component", "facts", "nodes"),
    [
        ("modem:0", {"operator": "Acme Mobile"}, (Node(NodeKind.CARRIER, "Acme Mobile"),)),
        ("modem:0", {}, ()),
        # its network is the line's, whichever address it has today
        ("network:uplink", {"public_address": "203.0.113.77"}, (Node(NodeKind.CARRIER, "203.0.113.0/24"),)),
        ("network:uplink", {"public_address": "2001:db8:1:2::3"}, (Node(NodeKind.CARRIER, "2001:db8:1::/48"),)),
        ("network:uplink", {"public_address": "unknown"}, ()),
        ("network:uplink", {"interface": "eth0"}, ()),
        ("agent:self", {"broker": "mq-2"}, (Node(NodeKind.BROKER, "mq-2"),)),
        ("application:till", {"digest": "ab" * 32}, (Node(NodeKind.RELEASE, f"till {'ab' * 32}"[:64]),)),
        ("application:till", {}, ()),
        # every terminal that asks an acquirer can tell whether it answers
        ("acquirer:main", {}, (Node(NodeKind.ACQUIRER, "main"),)),
        ("pos_printer:kitchen", {"operator": "nobody"}, ()),
    ],
)
def test_components_tell_of_places(component: str, facts: dict[str, str], nodes: tuple[Node, ...]) -> None:
    assert places_of(Placed(), [Reading(component=component, health=Health.OK, facts=facts)] * 2) == nodes


def test_an_acquirer_explains_what_is_wrong_with_itself() -> None:
    acquirer = Node(NodeKind.ACQUIRER, "main")
    assert speaks_for(acquirer, ("acquirer:main", "tcp_failure"))
    assert not speaks_for(acquirer, ("acquirer:other", "tcp_failure"))
    assert not speaks_for(acquirer, SILENT)
    assert speaks_for(STORE, SILENT)


# --- who is named


def candidate(kind: NodeKind, hit: int, total: int, elsewhere: int, node_id: str = "x") -> Candidate:
    hits = frozenset(str(number) for number in range(hit))
    return Candidate(node=Node(kind, node_id), hits=hits, total=total, threshold=5, elsewhere=elsewhere)


@pytest.mark.parametrize(
    ("candidates", "kind"),
    [
        # all stores of a carrier: the carrier, not one of its stores
        ([candidate(NodeKind.STORE, 8, 8, 16), candidate(NodeKind.CARRIER, 24, 24, 0)], NodeKind.CARRIER),
        # one store of a region, and one more by chance: the store
        ([candidate(NodeKind.STORE, 8, 8, 1), candidate(NodeKind.REGION, 9, 12, 0)], NodeKind.STORE),
        # a carrier with two fifths of the fleet, and three more by chance: the carrier
        ([candidate(NodeKind.CARRIER, 400, 400, 3), candidate(NodeKind.FLEET, 403, 1000, 0)], NodeKind.CARRIER),
        # as many of the same terminals: the line before the merchant who owns it
        ([candidate(NodeKind.MERCHANT, 8, 8, 0), candidate(NodeKind.CARRIER, 8, 8, 0)], NodeKind.CARRIER),
        # everybody runs it: it explains nothing
        ([candidate(NodeKind.RELEASE, 8, 8, 0), candidate(NodeKind.FLEET, 8, 8, 0)], NodeKind.FLEET),
        # as like, and smaller: 8 of 8 with 8 elsewhere is as like as 16 of 32
        ([candidate(NodeKind.REGION, 16, 32, 0), candidate(NodeKind.STORE, 8, 8, 8)], NodeKind.STORE),
    ],
)
def test_the_node_is_named_that_is_most_nearly_those_who_are_hit(candidates: list[Candidate], kind: NodeKind) -> None:
    for order in (candidates, candidates[::-1]):
        chosen = named(order)
        assert chosen is not None
        assert chosen.node.kind is kind


def test_nobody_is_named_without_a_pattern() -> None:
    assert named([]) is None


# --- the search


def window(from_s: float, until_s: float) -> Shown:
    return Shown(at=at(from_s), from_s=from_s, until_s=until_s, press_s=until_s + 60, own_s=63)


def test_only_windows_with_a_moment_in_common_make_a_pattern() -> None:
    # ten terminals of a store, one every two minutes: each has its own reason
    shown = {str(number): window(number * 120, number * 120 + 100) for number in range(10)}
    search = Search(shown, {STORE: Group(hits=frozenset(shown), total=10, threshold=5)})
    assert search.best() is None


def test_windows_that_touch_have_a_moment_in_common() -> None:
    shown = {"a": window(0, 100), "b": window(100, 200), "c": window(100.5, 200)}
    search = Search(shown, {STORE: Group(hits=frozenset(shown), total=3, threshold=2)})
    best = search.best()
    assert best is not None
    assert best[0].hits == {"b", "c"} or best[0].hits == {"a", "b"}
    assert best[0].elsewhere == 0


def test_what_is_explained_is_left_out_and_two_causes_are_two() -> None:
    stores = [Node(NodeKind.STORE, name) for name in "ab"]
    members = {store: frozenset(f"{store.node_id}{number}" for number in range(6)) for store in stores}
    shown = {each: window(0, 100) for hits in members.values() for each in hits}
    groups = {store: Group(hits=hits, total=6, threshold=5) for store, hits in members.items()}
    groups[CARRIER] = Group(hits=members[stores[0]] | {"b0"}, total=40, threshold=7)
    groups[REGION] = Group(hits=frozenset(shown), total=90, threshold=6)
    search = Search(shown, groups)
    found = []
    while (best := search.best()) is not None:
        found.append((best[0].node, best[0].elsewhere, [other.node for other in best[1]]))
        search.explain(best[0].hits)
    # the carrier has a pattern while nothing is explained, and loses it with the first store's terminals; the region
    # keeps its own as long as a store is left
    assert found == [(stores[0], 6, [stores[1], CARRIER, REGION]), (stores[1], 0, [REGION])]


# --- evidence


def test_evidence_names_the_node_its_counts_a_sample_and_what_else_was_thought_of() -> None:
    other = candidate(NodeKind.FLEET, 30, 200, 0, "fleet")
    finding = Finding(
        reason=Reason.OPENED,
        symptom=SILENT,
        chosen=candidate(NodeKind.CARRIER, 30, 40, 2, "acme"),
        first_at=START,
        last_at=START + timedelta(seconds=59),
        span_s=59.04,
        alternatives=(other,) * 20,
    )
    evidence = finding.evidence()
    assert evidence["node"] == {
        "kind": "carrier",
        "id": "acme",
        "hit": 30,
        "total": 40,
        "threshold": 5,
        "elsewhere": 2,
        "likeness": 0.714,
    }
    assert (evidence["share_pct"], evidence["span_s"]) == (75.0, 59.0)
    assert (evidence["first_at"], evidence["last_at"]) == ("2026-11-21T12:00:00+00:00", "2026-11-21T12:00:59+00:00")
    assert isinstance(evidence["sample"], list)
    assert isinstance(evidence["alternatives"], list)
    assert (len(evidence["sample"]), len(evidence["alternatives"])) == (20, 8)


# --- phases

_PHASES = {
    (Phase.OPEN, Sign.MANY): Phase.OPEN,
    (Phase.OPEN, Sign.FEW): Phase.ENDING,
    (Phase.OPEN, Sign.NOBODY): None,
    (Phase.ENDING, Sign.MANY): Phase.OPEN,
    (Phase.ENDING, Sign.FEW): Phase.ENDING,
    (Phase.ENDING, Sign.NOBODY): Phase.ENDED,
    (Phase.ENDED, Sign.MANY): None,
    (Phase.ENDED, Sign.FEW): None,
    (Phase.ENDED, Sign.NOBODY): None,
}


@pytest.mark.parametrize(("phase", "sign"), [(phase, sign) for phase in Phase for sign in Sign])
def test_every_phase_takes_the_signs_of_the_table_and_no_others(phase: Phase, sign: Sign) -> None:
    expected = _PHASES[phase, sign]
    if expected is None:
        with pytest.raises(KeyError):
            step(phase, sign)
    else:
        assert step(phase, sign) is expected
    assert {pair for pair, after in _PHASES.items() if after} == set(OUTAGE_TABLE)


@pytest.mark.parametrize(
    ("hits", "phase", "now_s", "sign"),
    [
        (3, Phase.OPEN, 0, Sign.MANY),  # half of five, rounded up
        (2, Phase.OPEN, 0, Sign.FEW),
        (0, Phase.OPEN, 100, Sign.FEW),  # an open one ends through its hold
        (0, Phase.ENDING, 49, Sign.FEW),
        (0, Phase.ENDING, 50, Sign.NOBODY),
        (1, Phase.ENDING, 50, Sign.FEW),  # who is left has its own interval
        (3, Phase.ENDING, 50, Sign.MANY),
    ],
)
def test_a_sign_counts_who_has_not_been_heard_well(hits: int, phase: Phase, now_s: float, sign: Sign) -> None:
    outage = Outage(outage_id=1, ticket_id=1, node=STORE, symptom=SILENT, threshold=5, hold_s=60, phase=phase)
    outage.hits, outage.over_s = {str(number) for number in range(hits)}, 50
    assert outage.sign(now_s) is sign
