import sqlite3
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from tests.collector.shell_fixtures import NOW, ORIGIN, Web, describe, tell

from tillwatch_collector import console
from tillwatch_collector import web as web_application
from tillwatch_collector.api import gate, problems
from tillwatch_collector.api.gate import PUBLIC, PUBLIC_BELOW
from tillwatch_collector.config import WebConfig
from tillwatch_collector.console import cookies, doors
from tillwatch_collector.domain.permission import Role
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

OPEN = {"/healthz"}
"""What a test says is public: the gate's table is held against it."""

SESSION = cookies.session_name(WebConfig())

OPEN_BELOW = ("/tuf/metadata/", "/tuf/targets/")


@pytest.fixture(scope="module")
def served(module_store: Store) -> Web:
    """A fleet that has spoken; tests of this module only read it, or add what no other looks at."""
    served = Web(database=module_store)
    describe(served.database)
    tell(served.database)
    return served


@pytest.fixture(scope="module")
def reader(served: Web) -> TestClient:
    return served.client(Scope.READ)


@pytest.fixture
def writer(empty: Web) -> TestClient:
    describe(empty.database)
    return empty.client(Scope.WRITE, Scope.READ)


# --- who may come in


def routes() -> list[tuple[str, str]]:
    """All that are not the console's, which has its own doors and its own tests of them."""
    found = iter_route_contexts(Web(database=Store.in_memory()).routes.routes)
    every = [(method, route.path or "") for route in found for method in sorted(route.methods or ())]
    consoles = doors.permissions(console.ROUTERS)
    return [(method, path) for method, path in every if (method.replace("HEAD", "GET"), path) not in consoles]


def concrete(path: str) -> str:
    return (
        path.replace("{ticket_id}", "1")
        .replace("{terminal_id}", "t-1")
        .replace("{store_id}", "s-1")
        .replace("{merchant_id}", "m-1")
    )


def test_there_are_routes_to_walk_and_the_public_ones_are_known() -> None:
    assert len(routes()) > 25
    assert {path for _, path in routes()} >= OPEN
    assert PUBLIC == OPEN
    assert PUBLIC_BELOW == OPEN_BELOW


@pytest.mark.parametrize(
    ("method", "path"),
    [pair for pair in routes() if pair[1] not in OPEN and not pair[1].startswith(OPEN_BELOW)],
)
def test_no_route_answers_without_a_token_that_may(served: Web, method: str, path: str) -> None:
    url = concrete(path)
    unsafe = method not in {"GET", "HEAD"}
    needed, wrong = (Scope.WRITE, Scope.READ) if unsafe else (Scope.READ, Scope.WRITE)
    refused = [
        ({}, 401),
        ({"Authorization": "Bearer tw_" + "x" * 43}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": f"Basic {served.secret(needed)}"}, 401),
        ({"Cookie": f"{SESSION}={served.session(Role.ADMIN)}"}, 401),  # a session opens the console only
        ({"Authorization": f"Bearer {served.secret(needed, expires_at=NOW)}"}, 401),
        ({"Authorization": f"Bearer {served.secret(wrong)}"}, 403),
    ]
    for headers, status in refused:
        answer = served.client().request(method, url, headers=headers, json={})
        assert answer.status_code == status, headers
        assert answer.headers["content-type"] == problems.MEDIA_TYPE
    allowed = served.client(needed).request(method, url, content=b"{")
    assert allowed.status_code not in {401, 403}


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/metrics", "/api/v1/fleet", "/signin", "/", "/api/v1/nothing"]
)
def test_whoever_asks_for_the_head_is_answered_as_for_the_whole_without_a_body(served: Web, path: str) -> None:
    client = served.client(Scope.READ)
    whole = client.get(path, follow_redirects=False)
    head = client.head(path, follow_redirects=False)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers.get("content-type") == whole.headers.get("content-type")


@pytest.mark.parametrize(
    "path", ["/api/v1/anything", "/docs", "/redoc", "/api/v2/terminals", "/signin/x", "/console.css"]
)
def test_a_path_that_nobody_thought_of_is_closed(served: Web, path: str) -> None:
    assert served.client().get(path).status_code == 401
    assert served.client(Scope.READ).get(path).status_code == 404


def test_liveness_needs_nothing_and_tells_nothing(served: Web) -> None:
    answer = served.client().get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8080", True),
        ("localhost", True),
        ("[::1]:8080", True),
        ("collector.example.org", True),
        ("COLLECTOR.example.org:443", True),
        ("evil.example.org", False),  # a name that somebody pointed at our address
        ("127.0.0.1.evil.example.org", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_the_host_must_be_a_name_of_ours(empty: Web, host: str, allowed: bool) -> None:
    empty.settings = WebConfig(allowed_hosts=("collector.example.org",))
    answer = empty.client().get("/healthz", headers={"Host": host})
    assert answer.status_code == (200 if allowed else HTTPStatus.MISDIRECTED_REQUEST)


@pytest.mark.parametrize(
    ("method", "origin", "allowed"),
    [
        ("POST", ORIGIN, True),
        ("POST", None, True),  # no browser sends an unsafe request without one
        ("POST", "https://evil.example.org", False),
        ("POST", "http://127.0.0.1:9999", False),  # another program of this machine
        ("POST", "null", False),
        ("PATCH", "https://evil.example.org", False),
        ("GET", "https://evil.example.org", True),  # answers, and the browser shows it to nobody
    ],
)
def test_an_unsafe_request_must_come_from_our_own_pages(
    writer: TestClient, method: str, origin: str | None, allowed: bool
) -> None:
    answer = writer.request(method, "/api/v1/merchants", headers={"Origin": origin} if origin else {})
    assert (answer.status_code != 403) is allowed


@pytest.mark.parametrize("path", ["/", "/signin", "/healthz", "/api/v1/fleet", "/nowhere", "/static/x"])
def test_every_answer_tells_the_browser_to_run_and_load_only_ours(served: Web, path: str) -> None:
    for client in (served.client(), served.client(Scope.READ)):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; ")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers


def test_nothing_of_the_api_is_kept(reader: TestClient) -> None:
    assert reader.get("/api/v1/fleet").headers["cache-control"] == "no-store"


def test_a_body_has_a_limit(empty: Web) -> None:
    empty.settings = WebConfig(body_bytes_max=1024)
    client = empty.client(Scope.WRITE)
    announced = client.post("/api/v1/merchants", content=b" " * 1025)
    assert announced.status_code == 413
    assert announced.json()["detail"] == "expected a body of at most 1024 bytes, got 1025"
    unannounced = client.post("/api/v1/merchants", content=iter([b" " * 1000] * 3))
    assert unannounced.status_code == 413
    assert client.post("/api/v1/merchants", content=b"{", headers={"Content-Length": "many"}).status_code in {400, 413}


def test_the_table_of_scopes() -> None:
    assert gate.needed_scope("GET", "/healthz") is None
    assert gate.needed_scope("OPTIONS", "/api/v1/terminals") is Scope.READ
    assert gate.needed_scope("DELETE", "/anything") is Scope.WRITE


# --- what goes wrong


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "errors"),
    [
        ("GET", "/api/v1/terminals?colour=red", None, 422, [("query.colour", "no such field", "'red'")]),
        ("GET", "/api/v1/terminals?limit=501", None, 422, [("query.limit", "less than or equal to 500", "'501'")]),
        ("GET", "/api/v1/terminals?sort=colour", None, 422, None),
        ("GET", "/api/v1/tickets?opened_after=2026-11-21T00:00:00", None, 422, None),  # of which zone?
        ("GET", "/api/v1/tickets?opened_after=9999-12-31T23:59:59-14:00", None, 422, None),  # the year 10000 in UTC
        ("GET", "/api/v1/tickets?opened_before=0001-01-01T00:00:00%2B14:00", None, 422, None),
        ("GET", "/api/v1/tickets?severity=dreadful", None, 422, None),
        ("GET", "/api/v1/tickets?status=merry", None, 422, None),
        ("GET", "/api/v1/tickets?code=%00", None, 422, None),
        ("GET", "/api/v1/tickets?sort=", None, 422, None),
        ("GET", "/api/v1/terminals?q=%00", None, 422, None),
        ("GET", "/api/v1/quarantine?terminal_id=%0A", None, 422, None),
        ("GET", "/api/v1/tickets/0", None, 422, None),
        ("GET", "/api/v1/tickets/99", None, 404, []),
        ("GET", "/api/v1/tickets/99/journal", None, 404, []),
        ("GET", "/api/v1/terminals/nobody", None, 404, []),
        ("GET", "/api/v1/stores/nowhere", None, 404, []),
        ("GET", "/api/v1/merchants/nobody", None, 404, []),
        ("DELETE", "/api/v1/merchants/m-1", None, 405, []),
        ("POST", "/api/v1/merchants", {"merchant_id": "m-2"}, 422, [("body.name", "a value", "none")]),
        ("POST", "/api/v1/merchants", {"merchant_id": "m-1", "name": "x"}, 409, []),
        ("POST", "/api/v1/terminals", {"terminal_id": "t-1"}, 409, []),
        (
            "POST",
            "/api/v1/terminals",
            {"terminal_id": "t-9", "store_id": "s-9"},
            422,
            [("store_id", "a known one", "s-9")],
        ),
        ("PUT", "/api/v1/terminals/t-1", {"terminal_id": "t-2"}, 422, [("terminal_id", "t-1", "t-2")]),
        ("PATCH", "/api/v1/stores/s-1", {"name": None}, 422, [("name", "a valid string", "null")]),
        ("PATCH", "/api/v1/stores/nowhere", {}, 404, []),
        ("PATCH", "/api/v1/merchants/nobody", {}, 404, []),
        ("PATCH", "/api/v1/terminals/nobody", {}, 404, []),
    ],
)
def test_a_problem_names_the_field_what_was_expected_and_what_came(
    writer: TestClient, *, method: str, path: str, body: Any, status: int, errors: list[tuple[str, str, str]] | None
) -> None:
    answer = writer.request(method, path, json=body)
    said = answer.json()
    assert (answer.status_code, said["status"], said["type"]) == (status, status, "about:blank")
    assert said["title"] == HTTPStatus(status).phrase
    assert said["detail"]
    if errors is not None:
        assert [(error["field"], error["expected"], error["got"]) for error in said["errors"]] == errors


@pytest.mark.parametrize(
    ("kind", "came"),
    [({}, "no Content-Type"), ({"Content-Type": "text/plain; charset=utf-8"}, "'text/plain'")],
)
def test_a_body_must_say_that_it_is_json(writer: TestClient, kind: dict[str, str], came: str) -> None:
    answer = writer.post("/api/v1/merchants", content=b'{"merchant_id": "m-2", "name": "Tea"}', headers=kind)
    assert answer.status_code == 415
    assert answer.json()["detail"] == f"expected a body of application/json, got {came}"


def test_a_database_that_cannot_write_says_why(empty: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    client = empty.client(Scope.WRITE)

    def full(*_: object) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(Inventory, "put_merchant", full)
    answer = client.post("/api/v1/merchants", json={"merchant_id": "m-2", "name": "Tea"})
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the database does not do its work: database or disk is full; try again"
    assert empty.database.writing_fails
    monkeypatch.undo()
    assert client.post("/api/v1/merchants", json={"merchant_id": "m-2", "name": "Tea"}).status_code == 201
    assert not empty.database.writing_fails


def test_what_nobody_foresaw_is_a_problem_too_and_tells_no_inner_thing(empty: Web) -> None:

    def broken() -> Any:
        raise RuntimeError("password=hunter2")

    client = TestClient(
        web_application.create(replace(empty.context, activity=broken)),
        base_url=ORIGIN,
        headers={"Authorization": f"Bearer {empty.secret(Scope.READ)}"},
        raise_server_exceptions=False,
    )
    answer = client.get("/api/v1/fleet")
    assert (answer.status_code, answer.headers["content-type"]) == (500, problems.MEDIA_TYPE)
    assert "hunter2" not in answer.text


# --- merchants, stores, terminals

STORE = {"store_id": "s-7", "merchant_id": "m-1", "name": "Bund 18", "time_zone": "Asia/Shanghai"}


def test_a_merchant_lives(writer: TestClient) -> None:
    url = "/api/v1/merchants"
    assert writer.post(url, json={"merchant_id": "m-2", "name": "Tea"}).status_code == 201
    assert writer.patch(f"{url}/m-2", json={"name": "Tea House"}).json()["name"] == "Tea House"
    assert writer.put(f"{url}/m-2", json={"merchant_id": "m-2", "name": "Teas"}).status_code == 200
    assert writer.put(f"{url}/m-3", json={"merchant_id": "m-3", "name": "New"}).status_code == 201
    assert writer.get(f"{url}/m-2").json() == {"merchant_id": "m-2", "name": "Teas"}
    assert [item["merchant_id"] for item in writer.get(url, params={"q": "tea"}).json()["items"]] == ["m-2"]


def test_a_store_lives(writer: TestClient) -> None:
    url = "/api/v1/stores"
    assert writer.post(url, json=STORE).status_code == 201
    hours = {"mon": [["08:00", "24:00"]]}
    changed = writer.patch(f"{url}/s-7", json={"opening_hours": hours, "watch": "opening_hours", "region": "east"})
    assert changed.json()["opening_hours"] == hours
    assert writer.get(f"{url}/s-7").json()["watch"] == "opening_hours"
    days = {"holidays": {"2026-12-25": [], "2026-12-31": [["10:00", "14:00"]]}, "contract": "gold"}
    assert writer.patch(f"{url}/s-7", json=days).json()["opening_hours"] == hours
    assert {name: writer.get(f"{url}/s-7").json()[name] for name in days} == days
    assert writer.patch(f"{url}/s-7", json={"holidays": {"25.12.": []}}).status_code == 422
    assert writer.put(f"{url}/s-7", json=STORE).status_code == 200
    assert writer.put(f"{url}/s-8", json=STORE | {"store_id": "s-8"}).status_code == 201
    assert writer.get(f"{url}/s-7").json()["region"] is None
    listed = writer.get(url, params={"merchant_id": "m-1", "region": "west"}).json()
    assert [item["store_id"] for item in listed["items"]] == ["s-2"]


def test_a_terminal_lives(writer: TestClient) -> None:
    url = "/api/v1/terminals"
    assert writer.post(url, json={"terminal_id": "t-9", "purchase_date": "2025-03-31"}).status_code == 201
    assert writer.patch(f"{url}/t-9", json={"store_id": "s-1", "life_cycle": "in_repair"}).status_code == 200
    shown = writer.get(f"{url}/t-9").json()
    assert (shown["store_name"], shown["life_cycle"], shown["purchase_date"]) == ("Shop s-1", "in_repair", "2025-03-31")
    assert (shown["presence"], shown["level"], shown["streams"]) == ("unknown", None, [])
    assert writer.patch(f"{url}/t-9", json={"store_id": None}).json()["store_id"] is None
    assert writer.put(f"{url}/t-9", json={"terminal_id": "t-9"}).status_code == 200
    assert writer.put(f"{url}/t-10", json={"terminal_id": "t-10"}).status_code == 201


# --- what is read


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["t-1", "t-2", "t-3"]),
        ("sort=-terminal_id", ["t-3", "t-2", "t-1"]),
        ("sort=heard_at", ["t-3", "t-1", "t-2"]),
        ("store_id=s-1", ["t-1"]),
        ("merchant_id=m-1", ["t-1", "t-2"]),
        ("region=west", ["t-2"]),
        ("presence=silent", ["t-3"]),
        ("presence=online&region=east", ["t-1"]),
        ("life_cycle=live", ["t-1", "t-2", "t-3"]),
        ("life_cycle=spare", []),
        ("assigned=true", ["t-1", "t-2"]),
        ("assigned=false", ["t-3"]),
        ("q=EPS", ["t-1"]),
        ("q=shop", ["t-1", "t-2"]),
        ("q=%25", []),  # a per cent sign is one, not a wildcard
        ("limit=1&offset=1", ["t-2"]),
    ],
)
def test_terminals_are_filtered_and_sorted(reader: TestClient, query: str, found: list[str]) -> None:
    answer = reader.get(f"/api/v1/terminals?{query}").json()
    assert [item["terminal_id"] for item in answer["items"]] == found


def test_a_page_tells_how_many_there_are(reader: TestClient) -> None:
    answer = reader.get("/api/v1/terminals?limit=2&offset=2").json()
    assert (len(answer["items"]), answer["total"], answer["limit"], answer["offset"]) == (1, 3, 2, 2)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sort=opened_at", ["cover_open", "paper_end", "silent"]),
        ("sort=-opened_at", ["silent", "paper_end", "cover_open"]),
        ("open=true&resolved=false&sort=opened_at", ["paper_end", "silent"]),
        ("resolved=true", ["cover_open"]),
        ("open=false", []),
        ("status=resolved", ["cover_open"]),
        ("severity=critical", ["silent"]),
        ("code=paper_end", ["paper_end"]),
        ("component=agent:self", ["silent"]),
        ("subject_kind=terminal&subject_id=t-2", ["paper_end"]),
        ("store_id=s-1", ["cover_open"]),
        ("opened_after=2026-11-21T11:58:00Z", ["silent"]),
        ("opened_before=2026-11-21T11:56:00Z", ["cover_open"]),
        ("opened_after=2026-11-21T19:58:00%2B08:00", ["silent"]),  # the same moment, told in Shanghai
    ],
)
def test_tickets_are_filtered_and_sorted(reader: TestClient, query: str, found: list[str]) -> None:
    answer = reader.get(f"/api/v1/tickets?{query}").json()
    assert [item["code"] for item in answer["items"]] == found


def test_a_terminal_is_shown_whole(reader: TestClient) -> None:
    shown = reader.get("/api/v1/terminals/t-2").json()
    assert shown["level"]["components"][0]["component"] == "pos_printer:kitchen"
    assert shown["level"]["interval_s"] == 10
    assert [(c["code"], c["phase"]) for c in shown["conditions"]] == [("paper_end", "raised")]
    assert [ticket["code"] for ticket in shown["tickets"]] == ["paper_end"]
    (stream,) = shown["streams"]
    counted = {name: stream[name] for name in ("event_seq_last", "prefix_seq", "stored", "lost", "dropped")}
    assert counted == {"event_seq_last": 5, "prefix_seq": 5, "stored": 2, "lost": 1, "dropped": 2}


def test_a_ticket_tells_where_and_its_journal_tells_who_and_why(reader: TestClient) -> None:
    (item,) = reader.get("/api/v1/tickets?code=cover_open").json()["items"]
    ticket = reader.get(f"/api/v1/tickets/{item['ticket_id']}").json()
    assert (ticket["store_name"], ticket["region"], ticket["status"]) == ("Shop s-1", "east", "resolved")
    journal = reader.get(f"/api/v1/tickets/{item['ticket_id']}/journal").json()["items"]
    assert [entry["to_status"] for entry in journal] == ["reported", "resolved"]
    assert all(entry["actor"] == "machine:judge" and entry["reason"] for entry in journal)
    assert journal[1]["evidence"]["terminal_id"] == "t-1"


def test_the_fleet_is_counted(reader: TestClient) -> None:
    fleet = reader.get("/api/v1/fleet").json()
    assert (fleet["terminals"], fleet["terminals_unassigned"]) == (3, 1)
    assert fleet["terminals_by_presence"] == {"online": 2, "silent": 1}
    assert fleet["tickets"] == {"opened": 3, "resolved": 1, "open": 3, "unresolved": 2}
    assert fleet["events"] == {"stored": 2, "lost": 1, "dropped": 2}
    assert (fleet["heartbeats_since_start"], fleet["listening"], fleet["quarantined"]) == (7, True, 1)


def test_the_quarantine_is_shown(reader: TestClient) -> None:
    (item,) = reader.get("/api/v1/quarantine?terminal_id=t-2").json()["items"]
    assert (item["error"], item["excerpt"]) == ("PayloadMalformed", "{,}")
    assert reader.get("/api/v1/quarantine?terminal_id=t-1").json()["total"] == 0


def test_times_are_told_in_utc(reader: TestClient) -> None:
    shown = reader.get("/api/v1/terminals/t-1").json()
    assert shown["heard_at"] == "2026-11-21T12:00:00Z"


# --- for those who run it


def test_readiness_names_the_part_that_does_not_work(empty: Web) -> None:
    client = empty.client(Scope.READ)
    assert client.get("/readyz").json() == {"ready": True, "checks": {"database": True}}
    empty.ready["broker"] = False
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "checks": {"database": True, "broker": False}}


def test_metrics_are_told_as_prometheus_reads_them(reader: TestClient) -> None:
    assert reader.get("/metrics").headers["content-type"].startswith("text/plain")


def test_the_api_describes_itself_and_its_token(reader: TestClient) -> None:
    described = reader.get("/openapi.json").json()
    assert described["security"] == [{"token": []}]
    assert described["paths"]["/healthz"]["get"]["security"] == []
    assert "/api/v1/terminals/import" in described["paths"]
    assert not {"/", "/signin", "/console.css", "/openapi.json"} & set(described["paths"])


def test_a_token_stops_when_it_expires(empty: Web) -> None:
    secret = empty.secret(Scope.READ, expires_at=NOW + timedelta(hours=1))
    client = empty.client(Authorization=f"Bearer {secret}")
    assert client.get("/api/v1/fleet").status_code == 200
    empty.now = NOW + timedelta(hours=1)
    assert client.get("/api/v1/fleet").status_code == 401
