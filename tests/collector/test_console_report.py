"""A report that somebody takes down on the telephone: found, compared with what is open, sent, and never twice."""

import pytest
from fastapi.testclient import TestClient
from tests.collector.desk_words import Seen, change, fault, put, status_of
from tests.collector.shell_fixtures import Web, describe, tell

from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.domain.ticket import Status
from tillwatch_collector.flows.tickets import DESCRIPTION_CHARS_MAX

PART = "pos_printer:kitchen"
TOLD = {"terminal_id": "t-1", "origin": "phone", "title": "No receipts", "meets": ""}


@pytest.fixture
def served(empty: Web) -> Web:
    describe(empty.database)
    return empty


@pytest.fixture
def ann(served: Web) -> TestClient:
    return served.visitor(Role.OPERATOR, person_id="ann")


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("t-1", ["/report?terminal_id=t-1"]),
        ("Epson", ["/report?terminal_id=t-1"]),
        ("Shop s-2", ["/report?terminal_id=t-2", "/report?store_id=s-2"]),
        ("nobody", []),
        ("\x00", []),
    ],
)
def test_terminals_and_stores_are_found_by_what_a_caller_says(ann: TestClient, q: str, found: list[str]) -> None:
    page = Seen(ann.get("/report", params={"q": q}))
    assert [link for link in page.links if link.startswith("/report?")] == found
    assert ("Nothing is called so" in page.text) is (q == "nobody")


def test_a_report_opens_a_ticket_that_says_all_of_it(served: Web, ann: TestClient) -> None:
    form = Seen(ann.get("/report?terminal_id=t-1")).form("/report").values
    told = {
        "title": "No receipts",
        "description": "Since noon.\r\nA clicking noise.",
        "contact": "Ms Li",
        "severity": "major",
    }
    answer = ann.post("/report", data=form | told)
    assert (answer.status_code, answer.headers["location"]) == (303, "/tickets/1")
    page = ann.get("/tickets/1")
    for said in ("No receipts", "Since noon.\nA clicking noise.", "Ms Li", "major", "by telephone", "Shop s-1"):
        assert said in page.text, said
    assert status_of(served.database, 1) == Status.REPORTED


def test_what_is_open_is_shown_before_it_is_sent_and_then_met(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    shown = Seen(ann.get("/report?terminal_id=t-1"))
    assert f"This will be noted on ticket #{ticket_id}" in shown.text
    answer = ann.post("/report", data=shown.form("/report").values | {"title": "No receipts", "contact": "Ms Li"})
    assert answer.headers["location"] == f"/tickets/{ticket_id}"
    assert "Ms Li" in ann.get(f"/tickets/{ticket_id}").text
    assert "reported by a person" in ann.get(f"/tickets/{ticket_id}").text


def test_which_one_it_meets_depends_on_the_part(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database, code="paper_near_end")
    change(served.database, ticket_id, severity="minor")
    for part, meets in (("", ""), (PART, str(ticket_id)), ("scanner:1", "")):
        answer = ann.get("/report/meets", params={"terminal_id": "t-1", "component": part})
        assert f'name="meets" value="{meets}"' in answer.text, part


def test_what_was_not_shown_is_not_met(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    answer = ann.post("/report", data=TOLD | {"component": PART, "description": "a long story"})
    assert answer.status_code == 409
    page = Seen(answer)
    assert "An open ticket is about the same" in page.text
    again = page.form("/report").values | {"component": PART}
    assert (again["title"], again["description"], again["meets"]) == ("No receipts", "a long story", str(ticket_id))
    assert ann.post("/report", data=again).headers["location"] == f"/tickets/{ticket_id}"


def test_what_was_shown_and_is_over_is_said_to_be(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    put(served.database, ticket_id, Status.CLOSED)
    answer = ann.post("/report", data=TOLD | {"meets": str(ticket_id)})
    assert (answer.status_code, "is open no more" in answer.text) == (409, True)
    again = Seen(answer).form("/report").values
    assert ann.post("/report", data=again).headers["location"] == f"/tickets/{ticket_id + 1}"


def test_a_resolved_ticket_is_reopened_by_a_report(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    put(served.database, ticket_id, Status.RESOLVED)
    sent = TOLD | {"component": PART, "meets": str(ticket_id)}
    assert ann.post("/report", data=sent).headers["location"] == f"/tickets/{ticket_id}"
    assert status_of(served.database, ticket_id) == Status.REPORTED


def test_a_report_may_be_of_a_store(ann: TestClient) -> None:
    form = Seen(ann.get("/report?store_id=s-1")).form("/report").values
    assert ann.post("/report", data=form | {"title": "All is dark"}).status_code == 303
    assert "Store" in ann.get("/tickets/1").text


def test_the_parts_of_a_terminal_are_offered_as_it_tells_them(served: Web) -> None:
    tell(served.database)
    page = served.visitor(Role.OPERATOR).get("/report?terminal_id=t-2").text
    assert f'<option value="{PART}">' in page


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"title": " "}, "Please write something"),
        ({"title": "x" * 201}, "at most 200 characters, and it has 201"),
        ({"description": "x" * (DESCRIPTION_CHARS_MAX + 1)}, "at most 4000 characters"),
        ({"title": "one\ntwo"}, "There are characters"),
        ({"contact": "one\ttwo"}, "There are characters"),
        ({"origin": "machine"}, "Please choose one"),
        ({"origin": ""}, "Please choose one"),
        ({"severity": "awful"}, "Please choose one"),
        ({"component": "the printer"}, "Please choose one"),
    ],
)
def test_what_cannot_stand_comes_back_as_it_was_typed(ann: TestClient, sent: dict[str, str], said: str) -> None:
    answer = ann.post("/report", data=TOLD | {"contact": "Ms Li"} | sent)
    assert (answer.status_code, said in answer.text) == (422, True)
    kept = Seen(answer).form("/report").values
    assert kept["contact"] == sent.get("contact", "Ms Li")
    assert kept["title"] == sent.get("title", "No receipts")
    assert ann.get("/tickets/1").status_code == 404


def test_nobody_reports_what_they_do_not_see(served: Web) -> None:
    narrowed = served.visitor(Role.OPERATOR, within=Within(store_ids=frozenset({"s-2"})))
    for about in ({"terminal_id": "t-1"}, {"store_id": "s-1"}, {"terminal_id": "t-9"}, {"terminal_id": ""}):
        assert narrowed.post("/report", data={**TOLD, "terminal_id": "", **about}).status_code == 404
        if any(about.values()):
            assert narrowed.get("/report", params=about).status_code == 404
    assert [link for link in Seen(narrowed.get("/report?q=t-")).links if "terminal_id" in link] == [
        "/report?terminal_id=t-2"
    ]
