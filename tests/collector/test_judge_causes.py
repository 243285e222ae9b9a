"""One cause, one ticket, as judge tells it: chains, stores, carriers, acquirers that fail, and what is left of them."""

import pytest
from tests.collector.shop import UPLINK, WELL, Street, silent

from tillwatch_collector.domain.ticket import Action
from tillwatch_collector.flows.judge import JudgeSettings
from tillwatch_collector.store.session import Store
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health

CHAIN = {"north": 4, "south": 4, "west": 4}
LINE = {"carrier": "one line"}
BANK = "acquirer:bank"
QUICK = JudgeSettings(canary_s=15, lost_hold_s=10)


def chain(store: Store) -> Street:
    """The restaurant chain: three stores of one merchant over one line."""
    return Street(store, CHAIN, place=LINE)


def cut(street: Street, *stores: str) -> None:
    street.dead |= street.these(*stores)


def mend(street: Street, *but: str) -> None:
    street.dead = set(but)


# --- the restaurant chain


def test_a_chain_that_loses_its_line_is_one_ticket_that_names_the_cause(store: Store) -> None:
    street = chain(store)
    cut(street, *CHAIN)
    street.live(900)
    assert street.moves == [("opened", ("one line", "agent:self", "silent"))]
    [(kind, severity, parent_id)] = street.rows("SELECT subject_kind, severity, parent_id FROM ticket")
    assert (kind, severity, parent_id) == ("carrier", "critical", None)
    [(reason, evidence)] = street.journal("open")
    assert reason == "silent on agent:self at 12 of 12 terminals of carrier one line, from one moment on"
    assert (evidence["node"]["hit"], evidence["node"]["total"], evidence["share_pct"]) == (12, 12, 100.0)
    assert evidence["sample"] == sorted(street.tills)
    assert {"kind": "merchant", "id": "chain"}.items() <= evidence["alternatives"][0].items()
    assert street.rows("SELECT count(*), count(ticket_id), count(DISTINCT ticket_id) FROM fault") == [(12, 12, 1)]


def test_a_chain_that_is_back_within_the_hour_leaves_no_ticket(store: Store) -> None:
    street = chain(store)
    cut(street, *CHAIN)
    street.live(2700)
    mend(street)
    street.live(600)
    assert [move for move, _ in street.moves] == ["opened", "resolved"]
    assert street.open_tickets == []
    [(reason, evidence)] = street.journal("prove")
    assert "proved gone by 12 terminals themselves" in reason
    assert evidence["back"] == 12
    assert street.rows("SELECT count(*) FROM fault WHERE cleared_at IS NULL") == [(0,)]
    assert street.rows("SELECT ended_at IS NULL FROM outage") == [(0,)]


def test_the_one_till_that_stays_dead_has_its_own_interval_and_then_its_own_ticket_once(store: Store) -> None:
    street = chain(store)
    cut(street, *CHAIN)
    street.live(1800)
    mend(street, "south-02")
    street.live(60)
    assert street.open_tickets == [("one line", "agent:self", "silent")]
    street.live(3600)
    assert street.open_tickets == [silent("south-02")]
    assert [move for move, _ in street.moves].count("opened") == 2
    # the last of the others is back 15 s to 60 s after the line: a longest return later (133 s) it is judged alone
    [(opened_at,)] = street.rows("SELECT opened_at FROM ticket WHERE subject_id = 'south-02'")
    assert "12:34:00" <= opened_at[11:19] <= "12:36:00"
    [(parent_id,)] = street.rows("SELECT parent_id FROM ticket WHERE subject_id = 'south-02'")
    assert parent_id is None
    [(own,)] = street.rows("SELECT ticket_id FROM ticket WHERE subject_id = 'south-02'")
    assert street.rows("SELECT ticket_id FROM fault WHERE terminal_id = 'south-02'") == [(own,)]
    mend(street)
    street.live(300)
    assert street.open_tickets == []


def test_the_late_ticket_tells_what_any_ticket_of_silence_tells(store: Store) -> None:
    street = chain(store)
    cut(street, *CHAIN)
    street.live(900)
    mend(street, "south-02")
    street.live(900)
    reason, evidence = street.journal("open")[-1]
    assert reason == "silent on agent:self: no outage explains it, or it outlasted one"
    assert evidence["terminal_id"] == "south-02"
    assert evidence["presence"] == "missed_three"
    assert evidence["heard_at"] == evidence["happened_at"]


# --- stores


def test_a_store_of_three_has_tickets_of_its_own(store: Store) -> None:
    street = Street(store, {"small": 3, "big": 12})
    cut(street, "small")
    street.live(600)
    assert street.open_tickets == [silent(f"small-0{till}") for till in range(3)]
    assert street.rows("SELECT count(*) FROM outage") == [(0,)]
    mend(street)
    street.live(300)
    assert street.open_tickets == []


def test_tills_that_fall_silent_one_after_the_other_have_no_one_cause(store: Store) -> None:
    street = Street(store, {"a": 8, "b": 12})
    for till in range(5):
        street.dead.add(f"a-0{till}")
        street.live(360)
    assert street.open_tickets == [silent(f"a-0{till}") for till in range(5)]
    assert street.rows("SELECT count(*) FROM outage") == [(0,)]


def test_a_store_that_fails_over_a_minute_is_one_ticket(store: Store) -> None:
    street = Street(store, {"a": 8, "b": 12})
    for till in range(8):
        street.dead.add(f"a-0{till}")
        street.live(7.5)
    street.live(600)
    assert street.open_tickets == [("a", "agent:self", "silent")]


def test_a_parent_that_recovers_first_brings_no_flood_of_children(store: Store) -> None:
    """Icinga's case: the router answers again, and its hosts are checked before they had the time to."""
    street = Street(store, {"a": 10, "b": 12})
    cut(street, "a")
    street.live(900)
    for till in sorted(street.these("a")):
        street.dead.discard(till)
        street.live(15)
    street.live(600)
    assert [move for move, _ in street.moves] == ["opened", "resolved"]


def test_a_gap_in_the_midst_of_an_outage_changes_nothing_of_it(store: Store) -> None:
    street = Street(store, {"a": 8, "b": 12})
    cut(street, "a")
    street.live(600)
    street.live(1200, listening=False)
    street.live(600)
    assert street.moves == [("opened", ("a", "agent:self", "silent"))]
    mend(street, "a-00")
    street.live(600, listening=False)
    street.live(900)
    assert street.open_tickets == [silent("a-00")]
    assert [move for move, _ in street.moves].count("opened") == 2


def test_tills_that_are_off_at_night_are_no_outage(store: Store) -> None:
    hours = {"watch": "opening_hours", "opening_hours": {"sat": [["08:00", "12:30"]]}}
    street = Street(store, {"a": 8}, place=hours)
    street.live(1800)
    cut(street, "a")
    street.live(7200)
    assert street.moves == []
    assert {state for _, state, _ in street.states} == {"online", "off"}


def test_who_had_a_ticket_before_the_pattern_becomes_part_of_the_outage(store: Store) -> None:
    street = Street(store, {"a": 6, "b": 20}, settings=QUICK)
    cut(street, "a")
    street.part("a-02")
    street.live(30)
    assert street.moves == [("opened", silent("a-02"))]
    street.live(900)
    assert street.moves[1:] == [("opened", ("a", "agent:self", "silent"))]
    assert street.rows("SELECT subject_id, parent_id FROM ticket WHERE subject_kind = 'terminal'") == [("a-02", 2)]
    assert street.rows("SELECT count(*) FROM fault WHERE ticket_id IS NULL") == [(0,)]
    mend(street)
    street.live(600)
    assert street.open_tickets == []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_person_who_closes_the_parent_while_it_goes_on_is_left_alone(store: Store, *, restarts: bool) -> None:
    street = Street(store, {"a": 8, "b": 12})
    cut(street, "a")
    street.live(600)
    street.act(1, Action.CLOSE)
    street.live(300)
    if restarts:
        street.restart()
    street.live(900)
    assert [move for move, _ in street.moves] == ["opened", "closed"]
    mend(street)
    street.live(300)
    cut(street, "a")
    street.live(600)
    assert street.open_tickets == [("a", "agent:self", "silent")]
    assert street.rows("SELECT count(*) FROM ticket") == [(2,)]


# --- a judge that begins anew


@pytest.mark.parametrize(
    "restarts_s",
    [
        pytest.param(15, id="before anybody is late"),
        pytest.param(150, id="when all are late"),
        pytest.param(195, id="when the first is silent"),
        pytest.param(600, id="in its midst"),
    ],
)
def test_a_restart_makes_no_second_parent_and_no_children(store: Store, restarts_s: float) -> None:
    street = Street(store, {"a": 8, "b": 12})
    cut(street, "a")
    street.live(restarts_s)
    street.restart()
    street.live(900)
    assert street.moves == [("opened", ("a", "agent:self", "silent"))]
    assert street.rows("SELECT count(*), count(DISTINCT ticket_id) FROM fault") == [(8, 1)]
    mend(street, "a-03")
    street.live(30)
    street.restart()
    street.live(900)
    assert street.open_tickets == [silent("a-03")]
    assert sorted(move for move, _ in street.moves) == ["opened", "opened", "resolved"]
    street.restart()
    street.live(600)
    assert len(street.moves) == 3


def test_a_restart_after_an_outage_finds_who_stayed_dead(store: Store) -> None:
    street = Street(store, {"a": 8, "b": 12})
    cut(street, "a")
    street.live(600)
    mend(street, "a-03", "a-04")
    street.live(75)
    street.restart()
    street.live(900)
    assert street.open_tickets == [silent("a-03"), silent("a-04")]
    assert street.rows("SELECT count(*) FROM fault WHERE cleared_at IS NULL AND ticket_id IS NULL") == [(0,)]


def test_faults_that_wait_for_a_pattern_when_judge_restarts_still_become_one(store: Store) -> None:
    """Wills tell of silence soon; whose it is, is known when everyone of the same cause is late."""
    street = Street(store, {"a": 8, "b": 12}, settings=QUICK)
    cut(street, "a")
    street.part("a-00", "a-01", "a-02")
    street.live(30)
    assert street.rows("SELECT count(*), count(ticket_id) FROM fault") == [(3, 0)]
    street.restart()
    street.live(900)
    assert street.moves == [("opened", ("a", "agent:self", "silent"))]
    assert street.rows("SELECT count(*), count(ticket_id) FROM fault") == [(8, 8)]


def test_a_fault_that_waits_for_a_pattern_when_judge_restarts_has_its_ticket_if_there_is_none(store: Store) -> None:
    street = Street(store, {"a": 8, "b": 12}, settings=QUICK)
    street.dead = {"a-00", "a-01", "a-02"}
    street.part("a-00", "a-01", "a-02")
    street.live(30)
    street.restart()
    street.live(900)
    assert street.open_tickets == [silent(f"a-0{till}") for till in range(3)]
    assert street.rows("SELECT count(*), count(ticket_id) FROM fault") == [(3, 3)]
    assert {reason for reason, _ in street.journal("open")} == {
        "silent on agent:self: it stood without a ticket when judge began"
    }


# --- conditions that many share


def test_a_carrier_whose_names_do_not_resolve_is_one_ticket(store: Store) -> None:
    street = chain(store)
    street.complain(street.tills)
    street.live(600)
    assert street.moves == [("opened", ("one line", UPLINK, "dns_failure"))]
    assert street.rows("SELECT count(*), count(ticket_id) FROM fault") == [(12, 12)]
    street.restart()
    street.live(300)
    street.says = {}
    street.live(600)
    assert [move for move, _ in street.moves] == ["opened", "resolved"]


def test_an_acquirer_that_refuses_everybody_is_one_ticket_about_the_acquirer(store: Store) -> None:
    street = Street(store, {"a": 6, "b": 6}, place=LINE)
    street.complain(street.tills, "tls_failure", BANK)
    street.live(600)
    assert street.moves == [("opened", ("bank", BANK, "tls_failure"))]
    assert street.rows("SELECT subject_kind, subject_id FROM ticket") == [("acquirer", "bank")]
    street.says = dict.fromkeys(street.tills, (*WELL, Reading(component=BANK, health=Health.OK)))
    street.live(600)
    assert [move for move, _ in street.moves] == ["opened", "resolved"]


def test_the_one_terminal_that_goes_on_failing_after_a_shared_condition_has_its_own_ticket(store: Store) -> None:
    street = chain(store)
    street.complain(street.tills)
    street.live(600)
    street.says = {}
    street.complain({"west-01"})
    street.live(900)
    assert street.open_tickets == [("west-01", UPLINK, "dns_failure")]
    assert [move for move, _ in street.moves].count("opened") == 2
