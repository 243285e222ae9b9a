import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.collector.shell_fixtures import NOW, Web, describe

from tillwatch_collector import exports
from tillwatch_collector.api.tickets.found import TicketsWanted
from tillwatch_collector.domain.attachment import FILE_BYTES_MAX
from tillwatch_collector.domain.ticket import PERSONS_ACTIONS, TicketIdentity
from tillwatch_collector.flows.changes import Why
from tillwatch_collector.flows.tickets import open_or_recur, prove
from tillwatch_collector.policies import load as load_policy
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_collector.tokens import Scope

URL = "/api/v1/tickets"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


@pytest.fixture
def served(empty: Web) -> Web:
    describe(empty.database)
    return empty


@pytest.fixture
def desk(served: Web) -> TestClient:
    """A service desk's program, which says who is at work."""
    return served.client(Scope.ADMIN)


def reported(desk: TestClient, **told: Any) -> int:
    """Report something of terminal t-1, unless it is told otherwise; the ticket's number."""
    about = {} if "store_id" in told else {"terminal_id": "t-1"}
    answer = desk.post(URL, json={"origin": "phone", "title": "It is dead", **about, **told})
    assert answer.status_code in {200, 201}, answer.text
    number: int = answer.json()["ticket_id"]
    return number


def act(desk: TestClient, ticket_id: int, action: str, **body: Any) -> Any:
    return desk.post(f"{URL}/{ticket_id}/actions/{action}", json={"reason": "because", **body})


def fault(
    store: Store, terminal_id: str = "t-1", code: str = "paper_end", component: str = "pos_printer:kitchen"
) -> int:
    """The machine finds something."""
    identity = TicketIdentity(subject_kind="terminal", subject_id=terminal_id, component=component, code=code)
    with store.transaction() as repository:
        why = Why(actor="machine:judge", reason=f"{code} at {component}", evidence={})
        return open_or_recur(repository, identity, load_policy(None).rule(code), why, NOW).ticket_id


def due(store: Store, ticket_id: int, **columns: Any) -> None:
    with store.transaction() as repository:
        repository.tickets.change(ticket_id, NOW, **columns)


# --- reports


def test_a_report_opens_a_ticket_and_the_same_again_is_noted_on_it(desk: TestClient) -> None:
    told = {"origin": "phone", "terminal_id": "t-1", "title": "It is dead", "contact": "Ms Li, mornings"}
    first = desk.post(URL, json=told, headers={"X-Actor": "person:ann"})
    assert first.status_code == 201
    opened = first.json()
    assert first.headers["location"] == f"{URL}/{opened['ticket_id']}"
    assert (opened["store_id"], opened["store_name"], opened["merchant_id"]) == ("s-1", "Shop s-1", "m-1")
    assert (opened["origin"], opened["contact"], opened["status"]) == ("phone", "Ms Li, mornings", "reported")
    again = desk.post(URL, json=told)
    assert (again.status_code, again.json()["ticket_id"]) == (200, opened["ticket_id"])
    journal = desk.get(f"{URL}/{opened['ticket_id']}/journal").json()["items"]
    assert [(line["actor"], line["action"]) for line in journal] == [("person:ann", "open"), ("token:test", "report")]


def test_a_report_about_what_the_machine_found_meets_its_ticket(served: Web, desk: TestClient) -> None:
    found = fault(served.database)
    answer = desk.post(URL, json={"origin": "web", "terminal_id": "t-1", "title": "No receipts"})
    assert (answer.status_code, answer.json()["ticket_id"], answer.json()["origin"]) == (200, found, "machine")


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"origin": "phone", "title": "x"}, "body"),  # about what?
        ({"origin": "phone", "title": "x", "terminal_id": "t-1", "store_id": "s-1"}, "body"),
        ({"origin": "machine", "title": "x", "terminal_id": "t-1"}, "body.origin"),
        ({"origin": "phone", "title": "  ", "terminal_id": "t-1"}, "body.title"),
        ({"origin": "phone", "title": "x" * 201, "terminal_id": "t-1"}, "body.title"),
        ({"origin": "phone", "title": "a\nb", "terminal_id": "t-1"}, "body.title"),
        ({"origin": "phone", "title": "x", "terminal_id": "t-1", "severity": "dreadful"}, "body.severity"),
        ({"origin": "phone", "title": "x", "terminal_id": "t-1", "status": "closed"}, "body.status"),
        ({"origin": "phone", "title": "x", "terminal_id": "t-1", "description": "\x00"}, "body.description"),
        ({"origin": "phone", "title": "x", "terminal_id": "nobody"}, "terminal_id"),
        ({"origin": "phone", "title": "x", "store_id": "nowhere"}, "store_id"),
    ],
)
def test_a_report_that_makes_no_sense_is_refused_by_its_field(
    desk: TestClient, told: dict[str, Any], field: str
) -> None:
    answer = desk.post(URL, json=told)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert desk.get(URL).json()["total"] == 0


def test_a_card_number_that_a_caller_tells_is_not_kept(desk: TestClient) -> None:
    number = reported(desk, title="card 4111 1111 1111 1111 refused", description="4111111111111111")
    shown = desk.get(f"{URL}/{number}").text
    assert "411111****1111" in shown
    assert "4111111111111111" not in shown.replace(" ", "")


# --- who acts


def test_only_a_token_that_may_do_all_names_somebody_else(served: Web) -> None:
    told = {"origin": "phone", "terminal_id": "t-1", "title": "x"}
    answer = served.client(Scope.WRITE).post(URL, json=told, headers={"X-Actor": "person:ann"})
    assert answer.status_code == 403
    assert "scope admin" in answer.json()["detail"]
    assert served.client(Scope.WRITE).post(URL, json=told).status_code == 201


@pytest.mark.parametrize("actor", ["machine:judge", "token:root", "ann", "person:", "person:a b", "person:" + "x" * 65])
def test_nobody_acts_as_the_machine_or_as_another_token(desk: TestClient, actor: str) -> None:
    told = {"origin": "phone", "terminal_id": "t-1", "title": "x"}
    assert desk.post(URL, json=told, headers={"X-Actor": actor}).status_code == 422


# --- the way of a ticket


def test_a_ticket_goes_the_whole_way(desk: TestClient) -> None:
    number = reported(desk)
    way = [
        ("diagnose", {}, "diagnosing"),
        ("repair", {"mode": "remote"}, "repairing"),
        ("pend", {"pending_on": "parts"}, "pending"),
        ("resume", {}, "repairing"),
        ("repair", {"mode": "on_site"}, "repairing"),
        ("verify", {}, "verifying"),
        ("close", {}, "closed"),
    ]
    for action, body, status in way:
        answer = act(desk, number, action, **body)
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    shown = desk.get(f"{URL}/{number}").json()
    assert (shown["repair_mode"], shown["pending_on"], shown["actions"]) == ("on_site", None, [])
    journal = desk.get(f"{URL}/{number}/journal").json()["items"]
    assert [line["to_status"] for line in journal] == ["reported", *(status for _, _, status in way)]
    assert journal[3]["evidence"] == {"pending_on": "parts"}


def test_what_its_status_does_not_take_is_a_conflict_that_says_what_it_takes(desk: TestClient) -> None:
    number = reported(desk)
    refused = act(desk, number, "resume")
    assert refused.status_code == 409
    (wrong,) = refused.json()["errors"]
    takes = desk.get(f"{URL}/{number}").json()["actions"]
    assert (wrong["field"], wrong["expected"], wrong["got"]) == ("action", f"one of {', '.join(takes)}", "resume")
    assert "diagnose" in takes
    assert "prove" not in takes
    assert act(desk, number, "cancel").status_code == 200
    final = act(desk, number, "reopen")
    assert (final.status_code, final.json()["errors"][0]["expected"]) == (409, "none, it is final")


@pytest.mark.parametrize("action", [*sorted(PERSONS_ACTIONS), "assign", "parent", "watch"])
def test_no_action_makes_a_ticket_out_of_nothing(desk: TestClient, action: str) -> None:
    body: dict[str, Any] = (
        {"mode": "remote"} if action == "repair" else {"pending_on": "parts"} if action == "pend" else {}
    )
    body |= {"into": 1} if action == "merge" else {"parent_id": None} if action == "parent" else {}
    body |= {"assignee": None} if action == "assign" else {}
    body |= {} if action == "watch" else {"reason": "because"}
    assert desk.post(f"{URL}/99/actions/{action}", json=body).status_code == 404


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("diagnose", {"reason": " "}),
        ("diagnose", {"reason": None}),
        ("diagnose", {"reason": "x" * 501}),
        ("diagnose", {"reason": "x", "mode": "remote"}),  # no place for it
        ("repair", {}),  # how?
        ("repair", {"mode": "by magic"}),
        ("pend", {"pending_on": "luck"}),
        ("prove", {}),  # only the machine has the proof
        ("merge", {"into": 0}),
        ("merge", {"into": 2**63}),
        ("assign", {"assignee": "ann"}),  # a person, or a provider?
        ("parent", {}),
    ],
)
def test_a_step_that_is_asked_for_wrongly_changes_nothing(desk: TestClient, action: str, body: dict[str, Any]) -> None:
    number = reported(desk)
    assert act(desk, number, action, **body).status_code == 422
    assert desk.get(f"{URL}/{number}").json()["status"] == "reported"
    assert desk.get(f"{URL}/{number}/journal").json()["total"] == 1


def test_merged_tickets_go_on_as_one(served: Web, desk: TestClient) -> None:
    told, found = reported(desk, store_id="s-1"), fault(served.database)
    assert act(desk, told, "merge", into=told).status_code == 422
    assert act(desk, told, "merge", into=99).status_code == 404
    merged = act(desk, told, "merge", into=found)
    assert (merged.json()["status"], merged.json()["merged_into_id"]) == ("merged", found)
    assert desk.post(f"{URL}/{told}/comments", json={"text": "x"}).status_code == 422
    assert act(desk, reported(desk, store_id="s-2"), "merge", into=told).status_code == 422  # it goes on elsewhere


def test_a_ticket_has_parts(served: Web, desk: TestClient) -> None:
    whole, part = reported(desk, store_id="s-1"), fault(served.database)
    assert act(desk, part, "parent", parent_id=whole).json()["parent_id"] == whole
    assert desk.get(f"{URL}/{whole}").json()["children"] == 1
    assert [item["ticket_id"] for item in desk.get(f"{URL}/{whole}/children").json()["items"]] == [part]
    assert act(desk, whole, "parent", parent_id=part).status_code == 422  # no circles
    assert act(desk, part, "parent", parent_id=None).json()["parent_id"] is None
    assert desk.get(f"{URL}/99/children").status_code == 404


def test_a_ticket_is_given_to_somebody_and_watched(desk: TestClient) -> None:
    number = reported(desk)
    assert act(desk, number, "assign", assignee="provider:acme").json()["assignee"] == "provider:acme"
    assert act(desk, number, "assign", assignee=None).json()["assignee"] is None
    watch = f"{URL}/{number}/actions/watch"
    assert "person:bob" in desk.post(watch, json={"watcher": "person:bob"}).json()["watchers"]
    assert "person:ann" in desk.post(watch, json={}, headers={"X-Actor": "person:ann"}).json()["watchers"]
    left = desk.post(f"{URL}/{number}/actions/unwatch", json={"watcher": "person:bob"}).json()["watchers"]
    assert "person:bob" not in left
    assert [item["ticket_id"] for item in desk.get(URL, params={"watcher": "person:ann"}).json()["items"]] == [number]
    assert desk.get(URL, params={"watcher": "person:an"}).json()["total"] == 0


# --- comments and files


def test_a_ticket_is_talked_about(desk: TestClient) -> None:
    comments = f"{URL}/{reported(desk)}/comments"
    first = desk.post(comments, json={"text": "Paper 换纸\nis on its way"}, headers={"X-Actor": "person:ann"})
    assert first.status_code == 201
    assert desk.post(comments, json={"text": "They never pay", "internal": True}).status_code == 201
    said = desk.get(comments).json()
    assert [(item["actor"], item["text"]) for item in said["items"]] == [
        ("person:ann", "Paper 换纸\nis on its way"),
        ("token:test", "They never pay"),
    ]
    assert desk.get(comments, params={"internal": False}).json()["total"] == 1
    for wrong in ({}, {"text": ""}, {"text": " \n"}, {"text": "x" * 4001}, {"text": "\x07"}, {"text": 7}):
        assert desk.post(comments, json=wrong).status_code == 422
    for url in (f"{URL}/99/comments", f"{URL}/99/attachments", f"{URL}/99/journal"):
        assert desk.get(url).status_code == 404
    assert desk.post(f"{URL}/99/comments", json={"text": "x"}).status_code == 404


def test_a_file_comes_back_to_be_saved_and_never_to_be_shown(desk: TestClient) -> None:
    url = f"{URL}/{reported(desk)}/attachments"
    added = desk.post(url, files={"file": ("打印机 1.png", PNG, "image/png")})
    assert added.status_code == 201
    (listed,) = desk.get(url).json()["items"]
    assert (listed["name"], listed["media_type"], listed["size_bytes"]) == ("打印机 1.png", "image/png", len(PNG))
    got = desk.get(f"{url}/{added.json()['attachment_id']}/content")
    assert got.content == PNG
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%E6%89%93")
    assert desk.get(f"{url}/99/content").status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "kind", "status"),
    [
        ("a.html", b"<script>", "text/html", 422),
        ("a.svg", b"<svg/>", "image/svg+xml", 422),
        ("a.png", b"<script>", "image/png", 422),  # it is not what it is called
        ("a.txt", b"", "text/plain", 422),
        ("a.txt", b"\xff\xfe", "text/plain", 422),
        ("..", b"x", "text/plain", 422),
        ("a.png", PNG + bytes(FILE_BYTES_MAX), "image/png", 413),
    ],
)
def test_a_file_that_a_ticket_does_not_take(
    desk: TestClient, name: str, content: bytes, kind: str, status: int
) -> None:
    url = f"{URL}/{reported(desk)}/attachments"
    assert desk.post(url, files={"file": (name, content, kind)}).status_code == status
    assert desk.get(url).json()["total"] == 0


def test_a_file_needs_a_form_and_a_ticket(desk: TestClient) -> None:
    url = f"{URL}/{reported(desk)}/attachments"
    refused = desk.post(url, json={})
    assert (refused.status_code, refused.json()["detail"]) == (
        415,
        "expected a body of multipart/form-data, got 'application/json'",
    )
    assert desk.post(url, files={"paper": ("a.png", PNG, "image/png")}).status_code == 422
    assert desk.post(f"{URL}/99/attachments", files={"file": ("a.png", PNG, "image/png")}).status_code == 404


# --- finding


@pytest.fixture
def queue(served: Web, desk: TestClient) -> dict[str, int]:
    """Tickets of three stores in several states, by the names that the tables below use."""
    store = served.database
    numbers = {"paper": fault(store, "t-1"), "card": fault(store, "t-2", "no_response", "card_reader:main")}
    served.now = NOW + timedelta(hours=5)
    numbers["dead"] = reported(
        desk, store_id="s-2", severity="minor", title="100% dead", description="the till_1", contact="Li"
    )
    act(desk, numbers["dead"], "assign", assignee="person:ann")
    desk.post(f"{URL}/{numbers['card']}/comments", json={"text": "Reader 7 是坏的"})
    desk.post(f"{URL}/{numbers['card']}/actions/watch", json={"watcher": "person:王"})
    act(desk, numbers["paper"], "parent", parent_id=numbers["dead"])
    act(desk, numbers["paper"], "diagnose")
    act(desk, numbers["paper"], "pend", pending_on="merchant")
    now = served.now
    due(store, numbers["paper"], responded_at=now, respond_due_at=None, resolve_due_at=None)
    due(store, numbers["card"], respond_due_at=now, resolve_due_at=now + timedelta(hours=9))
    due(store, numbers["dead"], respond_due_at=now + timedelta(hours=2), resolve_due_at=now + timedelta(hours=1))
    return numbers


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["paper", "card", "dead"]),
        ({"q": "DEAD"}, ["dead"]),  # the title
        ({"q": "till_1"}, ["dead"]),  # the description
        ({"q": "是坏的"}, ["card"]),  # a comment
        ({"q": "no_resp"}, ["card"]),  # the code
        ({"q": "t-2"}, ["card"]),  # the subject
        ({"q": "shop S-2"}, ["card", "dead"]),  # the store's name
        ({"q": "100%"}, ["dead"]),  # a per cent sign is one
        ({"q": "t%1"}, []),
        ({"q": "t_1"}, []),
        ({"merchant_id": "m-1"}, ["paper", "card", "dead"]),
        ({"store_id": "s-2"}, ["card", "dead"]),
        ({"region": "east"}, ["paper"]),
        ({"terminal_id": "t-2"}, ["card"]),
        ({"terminal_id": "s-2"}, []),
        ({"status": "pending"}, ["paper"]),
        ({"open": False}, []),
        ({"severity": "major", "category": "device"}, ["card"]),
        ({"origin": "phone"}, ["dead"]),
        ({"assignee": "person:ann"}, ["dead"]),
        ({"watcher": "person:王"}, ["card"]),
        ({"parent_id": "dead"}, ["paper"]),
        ({"age_h_min": 5}, ["paper", "card"]),
        ({"age_h_min": 5.1}, []),
        ({"age_h_max": 0}, ["dead"]),
        ({"opened_after": "2026-11-21T12:00:01Z"}, ["dead"]),
        ({"sla": "breached"}, ["card"]),  # due now is over
        ({"sla": "due_soon"}, ["dead"]),
        ({"sla": "paused"}, ["paper"]),
        ({"sla_respond": "ok"}, ["dead"]),
        ({"sla_respond": "none"}, ["paper"]),  # somebody has taken it in hand
        ({"sla_resolve": "ok"}, ["card"]),
        ({"sort": "resolve_due_at"}, ["dead", "card", "paper"]),
        ({"sort": "-resolve_due_at"}, ["card", "dead", "paper"]),  # what is not due is last either way
        ({"sort": "-severity", "store_id": "s-2"}, ["card", "dead"]),
        ({"sort": "-ticket_id", "limit": 1}, ["dead"]),
    ],
)
def test_tickets_are_found(desk: TestClient, queue: dict[str, int], asked: dict[str, Any], found: list[str]) -> None:
    asked = {name: queue.get(value, value) if name == "parent_id" else value for name, value in asked.items()}
    answer = desk.get(URL, params=asked)
    names = {number: name for name, number in queue.items()}
    assert answer.status_code == 200, answer.text
    assert [names[item["ticket_id"]] for item in answer.json()["items"]] == found
    if {"sort", "limit"}.isdisjoint(asked):
        rows = list(csv.DictReader(io.StringIO(desk.get(f"{URL}.csv", params=asked).content.decode("utf-8-sig"))))
        assert [names[int(row["ticket_id"])] for row in rows] == found


def test_a_list_shows_how_the_clocks_stand(desk: TestClient, queue: dict[str, int]) -> None:
    shown = {item["ticket_id"]: item for item in desk.get(URL).json()["items"]}
    stands = {
        name: tuple(shown[number][clock] for clock in ("sla", "sla_respond", "sla_resolve"))
        for name, number in queue.items()
    }
    assert stands == {
        "paper": ("paused", "none", "paused"),
        "card": ("breached", "breached", "ok"),
        "dead": ("due_soon", "ok", "due_soon"),
    }


def test_every_clock_stands_once_a_ticket_is_proved_or_ended(served: Web, desk: TestClient) -> None:
    number = fault(served.database)
    identity = TicketIdentity(
        subject_kind="terminal", subject_id="t-1", component="pos_printer:kitchen", code="paper_end"
    )
    with served.database.transaction() as repository:
        prove(repository, identity, Why(actor="machine:judge", reason="paper is in", evidence={}), NOW)
    due(served.database, number, respond_due_at=NOW, resolve_due_at=NOW)
    assert desk.get(f"{URL}/{number}").json()["sla_resolve"] == "none"
    act(desk, number, "close")
    assert desk.get(f"{URL}/{number}").json()["sla"] == "none"


@pytest.mark.parametrize(
    "asked",
    [
        "q=%00",
        "sla=bad",
        "age_h_min=-1",
        "age_h_max=inf",
        "age_h_min=nan",
        "age_h_min=878401",
        "parent_id=0",
        "origin=fax",
        "colour=red",
        "sort=title",
        "opened_after=2026-11-21",
        f"parent_id={2**63}",
    ],
)
def test_a_list_that_is_asked_for_wrongly(desk: TestClient, asked: str) -> None:
    assert desk.get(f"{URL}?{asked}").status_code == 422
    assert desk.get(f"{URL}.csv?{asked}").status_code == 422


def test_every_filter_of_the_api_is_one_of_the_store() -> None:
    assert set(TicketsWanted.model_fields) <= set(TicketFilter.__dataclass_fields__)


# --- CSV


def test_an_export_has_all_that_a_list_shows_and_a_spreadsheet_runs_nothing(desk: TestClient) -> None:
    reported(desk, title="=HYPERLINK(1)", description="line one\nline, two", contact="+86 21 5555 0101")
    answer = desk.get(f"{URL}.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="tickets.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    shown = desk.get(URL).json()["items"][0]
    assert set(row) == set(shown)
    assert (row["title"], row["contact"]) == ("'=HYPERLINK(1)", "'+86 21 5555 0101")
    assert (row["description"], row["opened_at"]) == ("line one\nline, two", "2026-11-21T12:00:00Z")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("1=1", "1=1"),
        ("", ""),
        ("纸", "纸"),
    ],
)
def test_no_cell_begins_as_a_formula(text: str, cell: str) -> None:
    assert exports.guarded(text) == cell


def test_an_export_is_read_in_parts_and_has_an_end(
    served: Web, desk: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PART_ROWS", 2)
    numbers = [fault(served.database, component=f"pos_printer:p{number}") for number in range(5)]
    rows = csv.DictReader(io.StringIO(desk.get(f"{URL}.csv").content.decode("utf-8-sig")))
    assert [int(row["ticket_id"]) for row in rows] == numbers
    monkeypatch.setattr(exports, "ROWS_MAX", 4)
    refused = desk.get(f"{URL}.csv")
    assert refused.status_code == 422
    assert refused.json()["detail"] == "expected a filter that leaves at most 4 tickets, got 5"
