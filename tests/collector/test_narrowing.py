"""Whoever is narrowed to a part of the fleet sees that part, and nothing by any other way; on both databases.

Shops s-1 and s-2 are of m-1, s-9 is of m-9; t-3 stands nowhere. Each is looked at by people of its own part.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert
from tests.collector.rollout_words import SETTINGS
from tests.collector.shell_fixtures import NOW, Web, describe, tell

from tillwatch_collector.desk import Author
from tillwatch_collector.domain.inventory import Merchant, Terminal
from tillwatch_collector.domain.inventory import Store as Shop
from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.domain.ticket import Origin
from tillwatch_collector.flows.tickets import Report
from tillwatch_collector.store import tables
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.maintenance import MaintenanceFilter
from tillwatch_collector.store.notification_queries import NotificationFilter
from tillwatch_collector.store.outage_queries import OutageFilter
from tillwatch_collector.store.queries import Paging, Queries, TerminalFilter
from tillwatch_collector.store.rollout_queries import JobFilter, RolloutFilter, StepFilter
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_collector.tokens import Scope

ALL = Paging(limit=100)
NOODLES = Within(merchant_ids=frozenset({"m-1"}))
SECOND = Within(store_ids=frozenset({"s-2"}))
NINTH = Within(merchant_ids=frozenset({"m-9"}))
BOTH = Within(merchant_ids=frozenset({"m-9"}), store_ids=frozenset({"s-2"}))
NOBODYS = Within(store_ids=frozenset({"s-77"}))


@pytest.fixture(scope="module")
def web(module_store: Store) -> Web:
    """A fleet that has spoken, with something of every kind in each of its parts."""
    web = Web(database=module_store)
    describe(web.database)
    tell(web.database)
    with web.database.transaction() as repository:
        inventory = Inventory(repository.connection)
        inventory.put_merchant(Merchant(merchant_id="m-9", name="Tea"), NOW)
        inventory.put_store(Shop(store_id="s-9", merchant_id="m-9", name="Shop s-9", time_zone="UTC"), NOW)
        inventory.put_terminal(Terminal(terminal_id="t-9", store_id="s-9"), NOW)
        for table, row in EXTRA:
            repository.connection.execute(insert(table_of(table)).values(row))
    for terminal_id in ("t-1", "t-2", "t-9"):
        web.context.desk.report(told(terminal_id), Author(actor="person:ann", now=NOW))
    return web


def told(terminal_id: str) -> Report:
    return Report(
        origin=Origin.PHONE,
        subject_kind="terminal",
        subject_id=terminal_id,
        component="pin_pad:counter",
        code="reported",
        title=f"of {terminal_id}",
    )


def outage(number: int, kind: str, name: str) -> dict[str, Any]:
    return {
        "outage_id": number,
        "node_kind": kind,
        "node_id": name,
        "component": "network:uplink",
        "code": "wan_unreachable",
        "ticket_id": 1,
        "began_at": NOW,
        "detected_at": NOW,
        "terminals_hit": 1,
        "terminals_total": 1,
        "evidence": {},
    }


def maintenance(number: int, kind: str, name: str) -> dict[str, Any]:
    return {
        "maintenance_id": number,
        "scope_kind": kind,
        "scope_id": name,
        "starts_at": NOW,
        "ends_at": NOW + timedelta(hours=1),
        "reason": "paint",
        "created_by": "person:ann",
        "created_at": NOW,
    }


def rollout(rollout_id: str, *left_out: str) -> dict[str, Any]:
    return {
        "rollout_id": rollout_id,
        "name": rollout_id,
        "target": "till/till-2.1.0.tar.gz",
        "product": "till",
        "version": "2.1.0",
        "digest": "ab" * 32,
        "query": "all",
        "reason": "new",
        "taken_at": NOW,
        "settings": json.dumps(SETTINGS),
        "left_out": [[terminal_id, "installed"] for terminal_id in left_out],
        "author": "person:ann",
        "state": "draft",
        "waves": 1,
        "wave": 0,
        "looks_done": 0,
        "answered": [],
        "created_at": NOW,
        "updated_at": NOW,
    }


def job(rollout_id: str, terminal_id: str, store_id: str) -> dict[str, Any]:
    return {
        "job_id": f"{rollout_id}-{terminal_id}",
        "rollout_id": rollout_id,
        "terminal_id": terminal_id,
        "store_id": store_id,
        "model": "",
        "region": "",
        "wave": 1,
        "granted": "planned",
        "try_no": 1,
        "attempts": 1,
        "excused": False,
        "outcome": "waiting",
        "active": False,
        "settled": False,
    }


def step(rollout_id: str, terminal_id: str | None) -> dict[str, Any]:
    return {
        "rollout_id": rollout_id,
        "at": NOW,
        "actor": "person:ann",
        "action": "draft" if terminal_id is None else "offer",
        "reason": "new",
        "job_id": None if terminal_id is None else f"{rollout_id}-{terminal_id}",
        "terminal_id": terminal_id,
        "evidence": {},
    }


EXTRA: list[tuple[Any, dict[str, Any]]] = [
    (tables.OutageRow, outage(1, "store", "s-1")),
    (tables.OutageRow, outage(2, "merchant", "m-9")),
    (tables.OutageRow, outage(3, "carrier", "blue")),
    (tables.MaintenanceRow, maintenance(1, "terminal", "t-2")),
    (tables.MaintenanceRow, maintenance(2, "store", "s-9")),
    (tables.MaintenanceRow, maintenance(3, "merchant", "m-1")),
    (tables.MaintenanceRow, maintenance(4, "all", "")),
    (tables.RolloutRow, rollout("r-1", "t-1", "t-9")),
    (tables.RolloutRow, rollout("r-9")),
    (tables.RolloutJobRow, job("r-1", "t-2", "s-2")),
    (tables.RolloutJobRow, job("r-1", "t-9", "s-9")),
    (tables.RolloutJobRow, job("r-9", "t-9", "s-9")),
    *((tables.RolloutJournalRow, step("r-1", terminal_id)) for terminal_id in (None, "t-2", "t-9")),
    (
        tables.NotificationRow,
        {
            "route": "ops",
            "state": "sent",
            "items": [],
            "title": "x",
            "body": "x",
            "created_at": NOW,
            "due_at": NOW,
            "attempts": 1,
        },
    ),
]

Look = Callable[[Queries], object]

LISTS: dict[str, Look] = {
    "merchants": lambda q: [one.merchant_id for one in q.merchants(ALL).items],
    "stores": lambda q: [one.store_id for one in q.stores(ALL).items],
    "terminals": lambda q: [one.terminal_id for one in q.terminals(TerminalFilter(), ALL).items],
    "tickets": lambda q: sorted({one.subject_id for one in q.tickets(TicketFilter(), ALL).items}),
    "exported": lambda q: sorted({one.subject_id for one in q.tickets_after(TicketFilter(), 100)}),
    "outages": lambda q: [one.outage_id for one in q.outages(OutageFilter(), ALL).items],
    "maintenance": lambda q: [one.maintenance_id for one in q.maintenances(MaintenanceFilter(now=NOW), ALL).items],
    "notifications": lambda q: q.notifications(NotificationFilter(), ALL).total,
    "quarantine": lambda q: [one.terminal_id for one in q.quarantine(ALL).items],
    "rollouts": lambda q: [(one.rollout_id, one.terminals) for one in q.rollouts(RolloutFilter(), ALL).items],
    "jobs": lambda q: [one.terminal_id for one in q.jobs("r-1", JobFilter(), ALL).items],
    "left_out": lambda q: [one.terminal_id for one in q.left_out("r-1", ALL).items],
    "steps": lambda q: [one.terminal_id for one in q.rollout_journal("r-1", StepFilter(), ALL).items],
    "counted": lambda q: (q.fleet().terminals, q.fleet().terminals_unassigned, q.fleet().quarantined),
    "events": lambda q: (q.fleet().events.stored, q.events("t-2", ALL).total),
}

R_BOTH = [("r-1", 2), ("r-9", 1)]

SEEN: dict[str, tuple[object, object, object, object, object, object]] = {
    #              everywhere, merchant m-1, store s-2, merchant m-9, m-9 and s-2, a store that is not there
    "merchants": (["m-1", "m-9"], ["m-1"], ["m-1"], ["m-9"], ["m-1", "m-9"], []),
    "stores": (["s-1", "s-2", "s-9"], ["s-1", "s-2"], ["s-2"], ["s-9"], ["s-2", "s-9"], []),
    "terminals": (["t-1", "t-2", "t-3", "t-9"], ["t-1", "t-2"], ["t-2"], ["t-9"], ["t-2", "t-9"], []),
    "tickets": (["t-1", "t-2", "t-3", "t-9"], ["t-1", "t-2"], ["t-2"], ["t-9"], ["t-2", "t-9"], []),
    "exported": (["t-1", "t-2", "t-3", "t-9"], ["t-1", "t-2"], ["t-2"], ["t-9"], ["t-2", "t-9"], []),
    "outages": ([1, 2, 3], [1], [], [2], [2], []),
    "maintenance": ([1, 2, 3, 4], [1, 3], [1], [2], [1, 2], []),
    "notifications": (1, 0, 0, 0, 0, 0),
    "quarantine": (["t-2"], ["t-2"], ["t-2"], [], ["t-2"], []),
    "rollouts": ([("r-1", 2), ("r-9", 1)], [("r-1", 1)], [("r-1", 1)], [("r-1", 1), ("r-9", 1)], R_BOTH, []),
    "jobs": (["t-2", "t-9"], ["t-2"], ["t-2"], ["t-9"], ["t-2", "t-9"], []),
    "left_out": (["t-1", "t-9"], ["t-1"], [], ["t-9"], ["t-9"], []),
    "steps": ([None, "t-2", "t-9"], [None, "t-2"], [None, "t-2"], [None, "t-9"], [None, "t-2", "t-9"], []),
    "counted": ((4, 1, 1), (2, 0, 1), (1, 0, 1), (1, 0, 0), (2, 0, 1), (0, 0, 0)),
    "events": ((2, 2), (2, 2), (2, 2), (0, 0), (2, 2), (0, 0)),
}


@pytest.mark.parametrize("what", LISTS)
def test_what_is_listed_and_counted_is_ones_own_part(web: Web, what: str) -> None:
    parts = (EVERYWHERE, NOODLES, SECOND, NINTH, BOTH, NOBODYS)
    with web.database.reading() as connection:
        assert tuple(LISTS[what](Queries(connection, within)) for within in parts) == SEEN[what]


def test_what_is_not_seen_is_not_found(web: Web) -> None:
    with web.database.reading() as connection:
        theirs, all_of_it = Queries(connection, NINTH), Queries(connection)
        number = all_of_it.tickets(TicketFilter(terminal_id="t-2"), ALL).items[0].ticket_id
        looks: list[Look] = [
            lambda q: q.terminal("t-2"),
            lambda q: q.ticket(number, NOW),
            lambda q: q.has_ticket(number),
            lambda q: q.journal(number, ALL).items,
            lambda q: q.outage(1),
            lambda q: q.maintenance(1, NOW),
            lambda q: q.notification(1),
            lambda q: q.sees_merchant("m-1"),
            lambda q: q.sees_store("s-2"),
            lambda q: q.sees_terminal("t-2"),
        ]
        assert [bool(look(all_of_it)) for look in looks] == [True] * len(looks)
        assert [bool(look(theirs)) for look in looks] == [False] * len(looks)
        assert not Queries(connection, NOODLES).has_rollout("r-9")


# --- a token of a part


@pytest.fixture(scope="module")
def theirs(web: Web) -> TestClient:
    return web.client(Scope.READ, Scope.WRITE, within=NINTH)


@pytest.fixture(scope="module")
def ours(web: Web) -> int:
    """A ticket that they do not see."""
    with web.database.reading() as connection:
        return Queries(connection).tickets(TicketFilter(terminal_id="t-2"), ALL).items[0].ticket_id


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/terminals/t-2",
        "/api/v1/terminals/t-2/events",
        "/api/v1/terminals/t-2/series",
        "/api/v1/terminals/t-2/history",
        "/api/v1/terminals/t-2/commands",
        "/api/v1/stores/s-2",
        "/api/v1/merchants/m-1",
        "/api/v1/tickets/{ours}",
        "/api/v1/tickets/{ours}/journal",
        "/api/v1/tickets/{ours}/children",
        "/api/v1/tickets/{ours}/comments",
        "/api/v1/tickets/{ours}/attachments",
        "/api/v1/tickets/{ours}/attachments/1/content",
        "/api/v1/outages/1",
        "/api/v1/outages/1/terminals",
        "/api/v1/maintenance/1",
        "/api/v1/notifications/1",
    ],
)
def test_a_token_of_another_part_does_not_find_it(web: Web, theirs: TestClient, ours: int, path: str) -> None:
    assert theirs.get(path.format(ours=ours)).status_code == 404
    assert web.client(Scope.READ).get(path.format(ours=ours)).status_code in {200, 404}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/tickets/{ours}/actions/diagnose", {"reason": "mine"}, 404),
        ("/api/v1/tickets/{ours}/actions/assign", {"assignee": "person:eve"}, 404),
        ("/api/v1/tickets/{ours}/comments", {"text": "hello"}, 404),
        ("/api/v1/tickets/{own}/actions/merge", {"into": "{ours}", "reason": "same"}, 404),
        ("/api/v1/tickets/{own}/actions/parent", {"parent_id": "{ours}", "reason": "part"}, 404),
        ("/api/v1/tickets", {"terminal_id": "t-2", "title": "x", "origin": "phone"}, 422),
        ("/api/v1/tickets", {"store_id": "s-2", "title": "x", "origin": "phone"}, 422),
        ("/api/v1/maintenance", {"scope_kind": "store", "scope_id": "s-2"}, 422),
        ("/api/v1/maintenance", {"scope_kind": "terminal", "scope_id": "t-2"}, 422),
        ("/api/v1/maintenance", {"scope_kind": "merchant", "scope_id": "m-1"}, 422),
        ("/api/v1/maintenance", {"scope_kind": "all"}, 422),
        ("/api/v1/maintenance/1/cancel", {"reason": "no"}, 404),
        ("/api/v1/rollouts/r-9/actions/abort", {"reason": "no"}, 403),
        ("/api/v1/rollouts/r-9/actions/clone", {"reason": "no", "whom": "all"}, 403),
    ],
)
def test_a_token_of_another_part_changes_nothing_of_it(
    theirs: TestClient, ours: int, path: str, body: dict[str, Any], status: int
) -> None:
    own = theirs.get("/api/v1/tickets").json()["items"][0]["ticket_id"]
    span = {"starts_at": NOW.isoformat(), "ends_at": (NOW + timedelta(hours=1)).isoformat(), "reason": "paint"}
    sent = {key: ours if value == "{ours}" else value for key, value in body.items()}
    answer = theirs.post(path.format(ours=ours, own=own), json=sent | (span if "scope_kind" in sent else {}))
    assert answer.status_code == status, answer.text


def test_counts_of_the_whole_process_are_for_who_sees_all(theirs: TestClient) -> None:
    assert theirs.get("/metrics").status_code == 403


def test_a_token_works_on_what_is_its_own(theirs: TestClient) -> None:
    listed = theirs.get("/api/v1/tickets").json()
    assert [one["subject_id"] for one in listed["items"]] == ["t-9"]
    number = listed["items"][0]["ticket_id"]
    assert theirs.post(f"/api/v1/tickets/{number}/comments", json={"text": "hello"}).status_code == 201
    assert theirs.get("/api/v1/tickets.csv").text.count("\n") == 2
    assert theirs.get("/api/v1/fleet").json()["terminals"] == 1
