"""What contracts promise and who is told, as a tick does it all: due times, escalation, and one message for a cause."""

from collections.abc import Sequence
from typing import Any

from tests.collector.shop import SETTINGS, Shop, Street, silent
from tests.collector.words import PRINTER, at, heartbeat, printer

from tillwatch_collector import routing
from tillwatch_collector.domain.delivery import DELIVERED
from tillwatch_collector.domain.notification import Route, Routes
from tillwatch_collector.domain.sla import SlaBook, parse_sla
from tillwatch_collector.domain.ticket import Action, PendingOn, RepairMode
from tillwatch_collector.flows import notices
from tillwatch_collector.flows.judge import JudgeSettings, Rules
from tillwatch_collector.store.session import Store

BOOK = """
version = 1
default = "all"

[contract.all]
calendar = "always"
escalation = [
  { clock = "respond", share = 1 },
  { clock = "resolve", share = 1, to = "lead" },
]
target.critical.simple = { respond_s = 600, resolve_s = 3600 }
target.critical.complex = { respond_s = 600, resolve_s = 3600 }
target.major.simple = { respond_s = 1200, resolve_s = 7200 }
"""
SLOW = JudgeSettings(canary_s=30)
PAPER = ("till-1", PRINTER, "paper_end")


def book(text: str = BOOK) -> SlaBook:
    return parse_sla(text)


def route(name: str, **more: Any) -> Route:
    return Route.model_validate({"name": name, "target": {"url_env": "OPS"}} | more)


def routed(*routes: Route) -> Rules:
    return Rules(sla=book(), routes=Routes(version=1, route=routes))


def sent(shop: Shop, routes: Sequence[Route]) -> list[tuple[str, str]]:
    """Send all that is due; which route got which title, in their order."""
    all_routes, found = Routes(version=1, route=tuple(routes)), []
    styles = routing.styles(all_routes, None)
    with shop.store.transaction() as repository:
        while taken := notices.take(repository, all_routes, styles, at(shop.now_s), count_max=10):
            for one in taken:
                found.append((one.claimed.route, one.message.title))
                notices.settle(repository, one, DELIVERED, 0.0, at(shop.now_s))
    return sorted(found)


def minutes(shop: Shop, count: int, *codes: str) -> None:
    """Hear a till with a printer that says so for some minutes."""
    for _ in range(count):
        shop.beat([heartbeat(1 + int(shop.now_s // 60), printer(*codes))])


# --- what contracts promise


def test_due_times_are_there_a_second_after_a_ticket_opens(store: Store) -> None:
    shop = Shop(store, settings=SETTINGS, rules=Rules(sla=book()))
    minutes(shop, 2, "paper_end")
    assert shop.moves == [("opened", PAPER)]
    # opened at 35 s
    assert shop.rows("SELECT opened_at, respond_due_at, resolve_due_at FROM ticket") == [
        ("2026-11-21 12:00:35.000000", "2026-11-21 12:20:35.000000", "2026-11-21 14:00:35.000000")
    ]


def test_each_step_of_escalation_is_taken_once_also_across_a_restart(store: Store) -> None:
    shop = Shop(store, settings=SLOW, rules=Rules(sla=book()))
    minutes(shop, 22, "paper_end")
    assert shop.moves == [("opened", PAPER), ("escalated", PAPER)]
    shop.restart()
    minutes(shop, 110, "paper_end")
    assert shop.moves == [("opened", PAPER), ("escalated", PAPER), ("escalated", PAPER)]
    assert [change.escalated_to for change in shop.changes] == [None, None, "lead"]
    assert [reason for reason, _ in shop.journal("escalate")] == [
        "100% of the time to respond is gone",
        "100% of the time to resolve is gone",
    ]


def test_a_ticket_that_waits_for_parts_is_not_escalated(store: Store) -> None:
    shop = Shop(store, settings=SLOW, rules=Rules(sla=book()))
    minutes(shop, 2, "paper_end")
    shop.act(1, Action.DIAGNOSE)
    shop.act(1, Action.REPAIR, mode=RepairMode.ON_SITE)
    shop.act(1, Action.PEND, pending_on=PendingOn.PARTS)
    minutes(shop, 150, "paper_end")
    assert "escalated" not in [move for move, _ in shop.moves]
    assert shop.rows("SELECT resolve_due_at FROM ticket") == [(None,)]
    shop.act(1, Action.RESUME)
    minutes(shop, 1, "paper_end")
    [(due_at,)] = shop.rows("SELECT resolve_due_at FROM ticket")
    assert due_at == "2026-11-21 16:31:00.000000"


def test_a_ticket_that_is_resolved_in_time_is_not_escalated(store: Store) -> None:
    shop = Shop(store, settings=SLOW, rules=Rules(sla=book()))
    minutes(shop, 2, "paper_end")
    minutes(shop, 150)
    assert [move for move, _ in shop.moves] == ["opened", "resolved"]


def test_another_file_of_contracts_counts_from_its_start(store: Store) -> None:
    shop = Shop(store, settings=SLOW, rules=Rules(sla=book()))
    minutes(shop, 2, "paper_end")
    shop.rules = Rules(sla=book(BOOK.replace("resolve_s = 7200", "resolve_s = 14400")))
    shop.restart()
    minutes(shop, 1, "paper_end")
    assert shop.rows("SELECT resolve_due_at FROM ticket") == [("2026-11-21 16:01:00.000000",)]


def test_of_an_outage_only_the_parent_is_escalated(store: Store) -> None:
    street = Street(store, {"a": 8, "b": 12}, rules=Rules(sla=book()))
    street.dead = {"a-00"}
    street.live(75)
    street.dead = street.these("a")
    street.live(1800)
    escalated = [identity for move, identity in street.moves if move == "escalated"]
    assert escalated == [("a", "agent:self", "silent")]


# --- who is told


def test_an_outage_is_one_message_and_its_end_is_told_to_who_knew(store: Store) -> None:
    routes = [route("ops"), route("printers", categories=["printer"])]
    street = Street(store, {"a": 8, "b": 12}, rules=routed(*routes))
    street.dead = street.these("a")
    street.live(600)
    [(told, title)] = sent(street, routes)
    assert told == "ops"
    assert "8 of 8" in title or "silent" in title
    street.dead = set()
    street.live(600)
    [(told, title)] = sent(street, routes)
    assert told == "ops"
    assert title.startswith("resolved")


def test_a_chains_outage_is_told_to_every_store_that_it_hits(store: Store) -> None:
    stores = {"north": 4, "south": 4, "west": 4, "far": 12}
    routes = [route(name, stores=[name]) for name in stores]
    street = Street(store, stores, rules=Rules(routes=Routes(version=1, route=tuple(routes))))
    with store.transaction() as repository:
        repository.connection.exec_driver_sql("UPDATE store SET carrier = 'one line' WHERE store_id <> 'far'")
    street.restart()
    street.live(900)
    street.dead = street.these("north", "west")
    street.live(30)
    street.dead |= street.these("south")
    street.live(900)
    assert street.open_tickets == [("one line", "agent:self", "silent")]
    assert [told for told, _ in sent(street, routes)] == ["north", "south", "west"]
    street.dead = set()
    street.live(600)
    assert [told for told, _ in sent(street, routes)] == ["north", "south", "west"]


def test_the_one_who_stays_dead_is_told_of_after_the_outage(store: Store) -> None:
    routes = [route("ops")]
    street = Street(store, {"a": 8, "b": 12}, rules=routed(*routes))
    street.dead = street.these("a")
    street.live(600)
    assert len(sent(street, routes)) == 1
    street.dead = {"a-03"}
    street.live(900)
    assert street.open_tickets == [silent("a-03")]
    told = [title for _, title in sent(street, routes)]
    assert len(told) == 1
    assert street.rows("SELECT count(*) FROM ticket") == [(2,)]


def test_nobody_is_told_during_a_maintenance_and_once_at_its_end(store: Store) -> None:
    routes = [route("ops")]
    street = Street(store, {"a": 8, "b": 12}, rules=routed(*routes))
    street.maintain("store", "a", for_s=1800)
    street.dead = street.these("a")
    street.live(1700)
    assert sent(street, routes) == []
    street.live(200)
    assert len(sent(street, routes)) == 1


def test_a_flapping_cable_is_told_of_as_often_as_its_ticket_opens_and_ends(store: Store) -> None:
    routes = [route("ops", moves=["opened", "reopened", "resolved"])]
    shop = Shop(store, settings=SLOW, rules=Rules(routes=Routes(version=1, route=tuple(routes))))
    titles: list[str] = []
    for minute in range(100):
        minutes(shop, 1, *["paper_end"][: minute < 60 and minute % 3 == 0])
        titles += [title for _, title in sent(shop, routes)]
    assert shop.rows("SELECT count(*) FROM ticket") == [(1,)]
    # twice before it flaps, and once for as long as it does
    assert [title.split()[0] for title in titles] == ["opened", "resolved", *2 * ["came", "resolved"]]
