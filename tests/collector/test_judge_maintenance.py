"""Maintenance, as judge heeds it: nothing is told meanwhile, all is judged, and what still fails at its end is told."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.collector.shop import SETTINGS, UPLINK, Shop, Street, silent
from tests.collector.words import PRINTER, START, at, heartbeat, printer

from tillwatch_collector.domain.ticket import Action
from tillwatch_collector.store.session import Store

H = 3600
END = "still so at the end of a maintenance"


def street(store: Store, *, small: int = 3) -> Street:
    return Street(store, {"small": small, "big": 12})


@pytest.mark.parametrize(
    ("scope", "scope_id"), [("terminal", "small-00"), ("store", "small"), ("merchant", "chain"), ("all", None)]
)
def test_who_is_in_maintenance_has_faults_and_no_ticket_until_its_end(
    store: Store, scope: str, scope_id: str | None
) -> None:
    chain = street(store)
    chain.maintain(scope, scope_id, for_s=1200)
    chain.dead = {"small-00"}
    chain.live(1140)
    assert chain.moves == []
    assert chain.rows("SELECT terminal_id, code, ticket_id FROM fault") == [("small-00", "silent", None)]
    chain.live(60)
    assert chain.moves == [("opened", silent("small-00"))]
    assert chain.rows("SELECT opened_at FROM ticket") == [("2026-11-21 12:22:00.000000",)]
    [(reason, evidence)] = chain.journal("open")
    assert reason == f"silent on agent:self: {END}"
    assert evidence["terminal_id"] == "small-00"
    assert chain.rows("SELECT count(*), count(ticket_id) FROM fault") == [(1, 1)]
    chain.live(1800)
    assert len(chain.moves) == 1
    chain.dead = set()
    chain.live(300)
    assert chain.open_tickets == []


def test_who_is_not_in_it_is_told_of_as_ever(store: Store) -> None:
    chain = street(store)
    chain.maintain("store", "big", for_s=1200)
    chain.dead = {"small-00", "big-00"}
    chain.live(600)
    assert chain.moves == [("opened", silent("small-00"))]


def test_what_clears_meanwhile_is_never_told(store: Store) -> None:
    chain = street(store)
    chain.maintain("store", "small", for_s=1200)
    chain.dead = {"small-00"}
    chain.complain({"small-01"}, "paper_end", PRINTER)
    chain.live(900)
    chain.dead, chain.says = set(), {}
    chain.live(1200)
    assert chain.moves == []
    assert chain.rows("SELECT count(*), count(cleared_at), count(ticket_id) FROM fault") == [(2, 2, 0)]


def test_what_is_being_proved_gone_at_the_end_opens_only_when_it_comes_back(shop: Shop) -> None:
    beats = iter(range(1, 100))

    def hear(*codes: str) -> None:
        shop.beat([heartbeat(next(beats), printer(*codes))])

    hear()
    shop.maintain("terminal", "till-1", for_s=300)
    for _ in range(4):
        hear("cover_open")
    hear()
    assert shop.rows("SELECT phase FROM condition") == [("clearing",)]
    assert shop.moves == []
    hear("cover_open")
    assert shop.moves == [("opened", ("till-1", PRINTER, "cover_open"))]
    hear()
    hear()
    assert shop.moves[1:] == [("resolved", ("till-1", PRINTER, "cover_open"))]
    assert shop.rows("SELECT count(*), count(ticket_id) FROM fault") == [(1, 1)]


def test_what_nobody_can_say_at_the_end_waits_for_a_word(store: Store) -> None:
    """A till that is silent at the end says nothing of its paper; when it is heard again, it does."""
    chain = street(store)
    chain.maintain("store", "small", for_s=1200)
    chain.complain({"small-00"}, "paper_end", PRINTER)
    chain.live(300)
    chain.dead = {"small-00"}
    chain.live(1200)
    assert chain.moves == [("opened", silent("small-00"))]
    chain.dead = set()
    chain.live(300)
    assert sorted(chain.open_tickets) == [("small-00", PRINTER, "paper_end")]


def test_a_ticket_of_before_goes_on_and_is_resolved_meanwhile(store: Store) -> None:
    chain = street(store)
    chain.dead = {"small-00"}
    chain.live(600)
    chain.maintain("store", "small", for_s=2400)
    chain.live(300)
    assert chain.open_tickets == [silent("small-00")]
    chain.dead = set()
    chain.live(300)
    assert chain.open_tickets == []
    chain.dead = {"small-00"}
    chain.live(900)
    assert [move for move, _ in chain.moves] == ["opened", "resolved"]
    chain.live(1200)
    assert [move for move, _ in chain.moves] == ["opened", "resolved", "reopened"]
    assert chain.rows("SELECT count(*), count(ticket_id), count(DISTINCT ticket_id) FROM fault") == [(2, 2, 1)]


def test_one_that_is_cancelled_early_ends_there(store: Store) -> None:
    chain = street(store)
    ended = chain.maintain("store", "small", for_s=7200)
    chain.dead = {"small-00"}
    chain.live(900)
    chain.cancel(ended)
    chain.live(chain.step_s)
    assert chain.moves == [("opened", silent("small-00"))]


def test_one_that_is_prolonged_goes_on_without_a_word(store: Store) -> None:
    chain = street(store)
    chain.maintain("store", "small", for_s=900)
    chain.dead = {"small-00"}
    chain.live(600)
    chain.maintain("merchant", "chain", for_s=1800)
    chain.live(1500)
    assert chain.moves == []
    chain.live(300)
    assert chain.moves == [("opened", silent("small-00"))]


def test_its_end_comes_by_the_clock_though_nobody_listens(store: Store) -> None:
    chain = street(store)
    chain.maintain("store", "small", for_s=2400)
    chain.dead = {"small-00"}
    chain.live(600)
    chain.live(1200, listening=False)
    chain.live(600)
    assert chain.moves == [("opened", silent("small-00"))]


def test_a_silence_is_not_told_at_the_end_if_the_shop_is_closed_by_then(store: Store) -> None:
    hours = {"watch": "opening_hours", "opening_hours": {"sat": [["08:00", "13:00"]], "sun": [["08:00", "20:00"]]}}
    chain = Street(store, {"small": 3}, step_s=300, interval_s=300, place=hours)
    chain.maintain("store", "small", for_s=2 * H)
    chain.dead = {"small-00"}
    chain.live(12 * H)
    assert chain.moves == []
    chain.live(9 * H)
    assert chain.moves == [("opened", silent("small-00"))]


@pytest.mark.parametrize("restarts", [False, True])
def test_an_outage_in_a_maintenance_is_one_ticket_at_its_end(store: Store, *, restarts: bool) -> None:
    chain = street(store, small=8)
    chain.maintain("store", "small", for_s=1800)
    chain.dead = chain.these("small")
    chain.live(900)
    if restarts:
        chain.restart()
    assert chain.moves == []
    chain.live(900)
    assert chain.moves == [("opened", ("small", "agent:self", "silent"))]
    assert chain.rows("SELECT count(*), count(ticket_id), count(DISTINCT ticket_id) FROM fault") == [(8, 8, 1)]
    chain.dead = {"small-00"}
    chain.live(900)
    assert chain.open_tickets == [silent("small-00")]


def test_a_shared_condition_in_a_maintenance_is_one_ticket_at_its_end(store: Store) -> None:
    chain = street(store, small=8)
    chain.maintain("store", "small", for_s=1800)
    chain.complain(chain.these("small"))
    chain.live(1800)
    assert chain.moves == [("opened", ("small", UPLINK, "dns_failure"))]
    assert chain.rows("SELECT count(*), count(ticket_id), count(DISTINCT ticket_id) FROM fault") == [(8, 8, 1)]


def test_who_is_in_maintenance_is_no_part_of_an_outage(store: Store) -> None:
    chain = street(store, small=8)
    chain.maintain("store", "small", for_s=1200)
    chain.dead = set(chain.tills)
    chain.live(900)
    assert chain.moves == [("opened", ("big", "agent:self", "silent"))]
    assert chain.rows("SELECT terminals_hit, terminals_total FROM outage") == [(12, 12)]


def test_who_stays_dead_after_an_outage_is_told_of_when_its_maintenance_ends(store: Store) -> None:
    chain = street(store, small=8)
    chain.dead = chain.these("small")
    chain.live(600)
    chain.maintain("terminal", "small-03", for_s=1200)
    chain.dead = {"small-03"}
    chain.live(1140)
    assert [move for move, _ in chain.moves] == ["opened", "resolved"]
    chain.live(60)
    assert chain.open_tickets == [silent("small-03")]
    assert chain.rows("SELECT count(*) FROM fault WHERE ticket_id IS NULL") == [(0,)]


def test_a_restart_in_its_midst_forgets_nobody(store: Store) -> None:
    chain = street(store)
    chain.maintain("store", "small", for_s=1200)
    chain.dead = {"small-00"}
    chain.complain({"small-01"}, "paper_end", PRINTER)
    chain.live(900)
    chain.restart()
    chain.live(200)
    assert chain.moves == []
    chain.live(100)
    assert sorted(chain.open_tickets) == [silent("small-00"), ("small-01", PRINTER, "paper_end")]
    assert {reason.partition(": ")[2] for reason, _ in chain.journal("open")} == {END}
    chain.live(900)
    assert len(chain.moves) == 2


def test_a_restart_at_its_end_forgets_nobody(store: Store) -> None:
    chain = street(store)
    chain.maintain("store", "small", for_s=900)
    chain.dead = {"small-00"}
    chain.live(870)
    chain.restart()
    chain.live(600)
    assert chain.moves == [("opened", silent("small-00"))]


def test_a_persons_close_is_not_undone_by_the_end_of_a_maintenance(store: Store) -> None:
    chain = street(store)
    chain.dead = {"small-00"}
    chain.live(600)
    chain.act(1, Action.CLOSE)
    chain.maintain("store", "small", for_s=900)
    chain.live(1800)
    assert [move for move, _ in chain.moves] == ["opened", "closed"]


def test_a_weekly_one_over_midnight_is_told_of_at_its_end_in_the_morning(store: Store) -> None:
    zone = "Europe/Berlin"
    # from Saturday's evening on, two hours before the night's work begins
    eve = datetime(2026, 11, 21, 21, 0, tzinfo=ZoneInfo(zone)) - START
    shop = Street(store, {"small": 3}, step_s=300, interval_s=300, now_s=eve / timedelta(seconds=1))
    weekly = {"time_zone": zone, "days": ["sat"], "from": "23:00", "to": "05:00"}
    shop.maintain("store", "small", weekly=weekly)
    shop.live(2.5 * H)
    shop.dead = {"small-00"}
    shop.live(5.25 * H)
    assert shop.moves == []
    shop.live(0.25 * H)
    assert shop.moves == [("opened", silent("small-00"))]
    [(opened_at,)] = shop.rows("SELECT opened_at FROM ticket")
    # five in the morning in Berlin
    assert opened_at == "2026-11-22 04:00:00.000000"
    shop.dead = set()
    shop.live(0.25 * H)
    shop.dead = {"small-01"}
    shop.live(0.5 * H)
    assert shop.open_tickets == [silent("small-01")]


def test_a_span_that_has_not_begun_mutes_nobody(store: Store) -> None:
    chain = street(store)
    chain.maintain("store", "small", starts_at=at(chain.now_s + H), ends_at=at(chain.now_s + 2 * H))
    chain.dead = {"small-00"}
    chain.live(600)
    assert chain.open_tickets == [silent("small-00")]


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store, settings=SETTINGS)
