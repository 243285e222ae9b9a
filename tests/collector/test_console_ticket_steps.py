"""What people do with tickets on the console: a page offers what its post does, and nothing that is typed is lost."""

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx2 import Response
from tests.collector.desk_words import PNG, Seen, change, fault, put, status_of
from tests.collector.shell_fixtures import Web, describe

from tillwatch_collector.console import report, ticket_steps
from tillwatch_collector.domain.attachment import FILE_BYTES_MAX
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.domain.ticket import TICKET_TABLE, Action, Status, actions_of
from tillwatch_collector.flows.tickets import COMMENT_CHARS_MAX, REASON_CHARS_MAX

NEEDS = {"mode": "remote", "pending_on": "parts"}


@pytest.fixture
def served(empty: Web) -> Web:
    describe(empty.database)
    return empty


@pytest.fixture
def ann(served: Web) -> TestClient:
    return served.visitor(Role.OPERATOR, person_id="ann")


def seen(client: TestClient, ticket_id: int) -> str:
    """The line of the journal that a page shows last."""
    page = Seen(client.get(f"/tickets/{ticket_id}"))
    return page.form(f"/tickets/{ticket_id}/assign").values["seen"]


def act(client: TestClient, ticket_id: int, action: str, **sent: Any) -> Response:
    answer: Response = client.post(
        f"/tickets/{ticket_id}/actions/{action}", data={"reason": "because", **NEEDS, **sent}
    )
    return answer


# --- the table


def offered(client: TestClient, ticket_id: int) -> set[str]:
    """Actions for which a page has a form."""
    found = set()
    for form in Seen(client.get(f"/tickets/{ticket_id}")).own_forms:
        if match := re.fullmatch(rf"/tickets/{ticket_id}/(?:actions/(\w+)|(merge))", form.action):
            found.add(match[1] or match[2])
    return found


@pytest.mark.parametrize("status", list(Status))
def test_a_page_offers_what_the_table_takes_from_a_person(served: Web, ann: TestClient, status: Status) -> None:
    ticket_id = fault(served.database)
    put(served.database, ticket_id, status)
    assert offered(ann, ticket_id) == set(actions_of(status))


@pytest.mark.parametrize("status", list(Status))
def test_each_action_in_each_status_does_what_the_table_says_or_nothing(
    served: Web, ann: TestClient, status: Status
) -> None:
    for code, action in zip(_CODES, Action, strict=False):
        ticket_id = fault(served.database, code=code)
        put(served.database, ticket_id, status)
        answer = act(ann, ticket_id, action)
        if action in actions_of(status) and action is not Action.MERGE:
            assert (answer.status_code, answer.headers["location"]) == (303, f"/tickets/{ticket_id}")
            assert status_of(served.database, ticket_id) == TICKET_TABLE[status, action]
        else:
            assert answer.status_code == 409, action
            assert status_of(served.database, ticket_id) == status


_CODES = tuple(f"condition_{number}" for number in range(len(Action)))


@pytest.mark.parametrize(
    ("action", "sent", "said"),
    [
        ("diagnose", {"reason": " "}, "Please write something"),
        (
            "diagnose",
            {"reason": "x" * (REASON_CHARS_MAX + 1)},
            "That is too long: at most 500 characters, and it has 501",
        ),
        ("diagnose", {"reason": "a\x00b"}, "There are characters in it that cannot be kept"),
        ("repair", {"mode": ""}, "Please choose one"),
        ("repair", {"mode": "by magic"}, "Please choose one"),
        ("close", {"reason": ""}, "Please write something"),
    ],
)
def test_what_cannot_stand_comes_back_with_what_is_wrong(
    served: Web, ann: TestClient, action: str, sent: dict[str, str], said: str
) -> None:
    ticket_id = fault(served.database)
    answer = act(ann, ticket_id, action, **sent)
    assert answer.status_code == 422
    page = Seen(answer)
    assert said in page.text
    assert status_of(served.database, ticket_id) == Status.REPORTED
    kept = page.form(f"/tickets/{ticket_id}/actions/{action}").values["reason"]
    assert kept.replace("\x00", "").replace("\ufffd", "") == sent.get("reason", "because").replace("\x00", "")


def test_an_action_that_nobody_knows_is_refused(served: Web, ann: TestClient) -> None:
    assert act(ann, fault(served.database), "explode").status_code == 422


# --- others were faster


def test_what_somebody_else_moved_is_a_conflict_that_says_what_happened_and_keeps_what_was_typed(
    served: Web, ann: TestClient
) -> None:
    bob = served.visitor(Role.OPERATOR, person_id="bob")
    ticket_id = fault(served.database)
    shown = seen(ann, ticket_id)
    assert act(bob, ticket_id, "diagnose", reason="I look at it", seen=shown).status_code == 303
    answer = act(ann, ticket_id, "repair", reason="I drive there", mode="on_site", seen=shown)
    assert answer.status_code == 409
    page = Seen(answer)
    assert "Somebody was faster" in page.text
    assert "I look at it" in page.text
    again = page.form(f"/tickets/{ticket_id}/actions/repair").values
    assert (again["reason"], again["mode"]) == ("I drive there", "on_site")
    assert status_of(served.database, ticket_id) == Status.DIAGNOSING
    assert act(ann, ticket_id, "repair", **again).status_code == 303
    assert status_of(served.database, ticket_id) == Status.REPAIRING


def test_what_was_typed_for_an_action_that_is_gone_is_shown_as_it_was(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    shown = seen(ann, ticket_id)
    put(served.database, ticket_id, Status.CLOSED)
    answer = act(ann, ticket_id, "repair", reason="a long story", seen=shown)
    assert answer.status_code == 409
    assert "What you typed:" in answer.text
    assert "<pre>a long story</pre>" in answer.text


def test_a_comment_or_a_watcher_meanwhile_is_no_conflict(served: Web, ann: TestClient) -> None:
    bob = served.visitor(Role.OPERATOR, person_id="bob")
    ticket_id = fault(served.database)
    shown = seen(ann, ticket_id)
    bob.post(f"/tickets/{ticket_id}/comments", data={"text": "hello"})
    bob.post(f"/tickets/{ticket_id}/watch", data={"watching": "yes"})
    assert act(ann, ticket_id, "diagnose", seen=shown).status_code == 303


# --- who does it


def assignee_of(served: Web, ticket_id: int) -> str | None:
    with served.database.transaction() as repository:
        ticket = repository.tickets.get(ticket_id)
    assert ticket is not None
    return ticket.assignee


@pytest.mark.parametrize(
    ("sent", "assignee"),
    [
        ({"assignee": "me"}, "person:ann"),
        ({"assignee": "person:bob"}, "person:bob"),
        ({"assignee": "", "provider": "acme"}, "provider:acme"),
        ({"assignee": "", "reason": "back to all"}, None),
    ],
)
def test_a_ticket_is_given_to_somebody(
    served: Web, ann: TestClient, sent: dict[str, str], assignee: str | None
) -> None:
    ticket_id = fault(served.database)
    change(served.database, ticket_id, assignee="person:cem")
    assert ann.post(f"/tickets/{ticket_id}/assign", data=sent).status_code == 303
    assert assignee_of(served, ticket_id) == assignee


@pytest.mark.parametrize("sent", [{"assignee": "bob"}, {"provider": "two words"}, {"assignee": "person:<b> x"}])
def test_nobody_of_that_form_can_have_it(served: Web, ann: TestClient, sent: dict[str, str]) -> None:
    ticket_id = fault(served.database)
    answer = ann.post(f"/tickets/{ticket_id}/assign", data=sent)
    assert answer.status_code == 422
    assert "Choose somebody from the list" in answer.text
    assert assignee_of(served, ticket_id) is None


def test_two_who_take_the_same_ticket_are_told(served: Web, ann: TestClient) -> None:
    bob = served.visitor(Role.OPERATOR, person_id="bob")
    ticket_id = fault(served.database)
    shown = seen(ann, ticket_id)
    bob.post(f"/tickets/{ticket_id}/assign", data={"assignee": "me"})
    for address, sent in (("", {"seen": shown}), ("?had=", {"queue": ""})):
        answer = ann.post(f"/tickets/{ticket_id}/assign{address}", data={"assignee": "me", **sent})
        assert answer.status_code == 409
        assert "Somebody was faster" in answer.text
    assert assignee_of(served, ticket_id) == "person:bob"


def test_taking_a_ticket_from_the_queue_leads_back_to_where_one_was(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    queue = "?severity=major&sort=opened_at&page=2&evil=//x.y/"
    answer = ann.post(f"/tickets/{ticket_id}/assign?had=", data={"assignee": "me", "queue": queue})
    assert answer.headers["location"] == "/tickets?severity=major&sort=opened_at&page=2"
    shown = Seen(ann.get("/tickets")).form("/tickets").values
    assert ann.post(f"/tickets/{ticket_id}/assign", data=shown).headers["location"] == "/tickets?"


def test_somebody_watches_and_watches_no_more(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    ann.post(f"/tickets/{ticket_id}/watch", data={"watching": "yes"})
    assert 'value="no"' in ann.get(f"/tickets/{ticket_id}").text
    ann.post(f"/tickets/{ticket_id}/watch", data={"watching": "no"})
    assert 'value="yes"' in ann.get(f"/tickets/{ticket_id}").text


# --- one ticket and another


def test_merging_shows_the_other_one_first_and_then_goes_on_there(served: Web, ann: TestClient) -> None:
    ticket_id, other = fault(served.database), fault(served.database, code="cover_open")
    shown = Seen(ann.get(f"/tickets/{ticket_id}/merge", params={"into": f"#{other}"}))
    assert "Cover open" in shown.text
    assert status_of(served.database, ticket_id) == Status.REPORTED
    sent = shown.form(f"/tickets/{ticket_id}/merge").values | {"reason": "the same"}
    answer = ann.post(f"/tickets/{ticket_id}/merge", data=sent)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/tickets/{other}")
    assert status_of(served.database, ticket_id) == Status.MERGED
    assert f"#{other}" in ann.get(f"/tickets/{ticket_id}").text


@pytest.mark.parametrize("how", ["merge", "parent"])
def test_another_ticket_must_be_one_that_there_is(served: Web, ann: TestClient, how: str) -> None:
    name = {"merge": "into", "parent": "parent_id"}[how]
    ticket_id = fault(served.database)
    for typed, said in (("", "number of another"), ("x", "number of another"), (str(ticket_id), "number of another")):
        answer = ann.get(f"/tickets/{ticket_id}/{how}", params={name: typed})
        assert (answer.status_code, said in answer.text) == (422, True)
    answer = ann.get(f"/tickets/{ticket_id}/{how}", params={name: "99"})
    assert "There is no ticket #99" in answer.text
    if how == "merge":
        assert ann.post(f"/tickets/{ticket_id}/merge", data={"into": "99", "reason": "x"}).status_code == 422


@pytest.mark.parametrize("how", ["merge", "parent"])
def test_joining_two_needs_a_reason_and_heeds_what_others_did(served: Web, ann: TestClient, how: str) -> None:
    name = {"merge": "into", "parent": "parent_id"}[how]
    ticket_id, other = fault(served.database), fault(served.database, code="cover_open")
    sent = {name: str(other), "seen": seen(ann, ticket_id), "reason": " "}
    answer = ann.post(f"/tickets/{ticket_id}/{how}", data=sent)
    assert (answer.status_code, "Please write something" in answer.text) == (422, True)
    act(ann, ticket_id, "diagnose")
    answer = ann.post(f"/tickets/{ticket_id}/{how}", data=sent | {"reason": "a good one"})
    assert (answer.status_code, "<pre>a good one</pre>" in answer.text) == (409, True)


def test_what_the_flow_refuses_is_told(served: Web, ann: TestClient) -> None:
    ticket_id, other = fault(served.database), fault(served.database, code="cover_open")
    put(served.database, other, Status.CLOSED)
    answer = ann.post(f"/tickets/{ticket_id}/merge", data={"into": str(other), "reason": "x"})
    assert answer.status_code == 422
    assert "That cannot be done: into: expected a ticket whose work goes on" in Seen(answer).text


def test_a_ticket_becomes_part_of_another_and_of_none(served: Web, ann: TestClient) -> None:
    ticket_id, other = fault(served.database), fault(served.database, code="cover_open")
    sent = Seen(ann.get(f"/tickets/{ticket_id}/parent", params={"parent_id": str(other)}))
    values = sent.form(f"/tickets/{ticket_id}/parent").values | {"reason": "one cause"}
    assert ann.post(f"/tickets/{ticket_id}/parent", data=values).status_code == 303
    assert ticket_id in Seen(ann.get(f"/tickets/{other}")).rows
    answer = ann.post(f"/tickets/{ticket_id}/parent", data={"reason": ""})
    assert answer.status_code == 422
    assert ann.post(f"/tickets/{ticket_id}/parent", data={"reason": "two causes"}).status_code == 303
    assert ticket_id not in Seen(ann.get(f"/tickets/{other}")).rows


# --- comments and files


def test_a_comment_stands_on_the_page_and_an_internal_one_not_on_the_order(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    said = {"text": "first line\r\nsecond line"}
    assert ann.post(f"/tickets/{ticket_id}/comments", data=said).status_code == 303
    ann.post(f"/tickets/{ticket_id}/comments", data={"text": "they never pay", "internal": "yes"})
    page, order = ann.get(f"/tickets/{ticket_id}").text, ann.get(f"/tickets/{ticket_id}/order").text
    assert "first line\nsecond line" in page
    assert "they never pay" in page
    assert "first line\nsecond line" in order
    assert "they never pay" not in order


@pytest.mark.parametrize("text", ["", "x" * (COMMENT_CHARS_MAX + 1)])
def test_a_comment_that_cannot_be_kept_comes_back(served: Web, ann: TestClient, text: str) -> None:
    ticket_id = fault(served.database)
    answer = ann.post(f"/tickets/{ticket_id}/comments", data={"text": text, "internal": "yes"})
    assert answer.status_code == 422
    kept = Seen(answer).form(f"/tickets/{ticket_id}/comments").values
    assert (kept["text"], kept["internal"]) == (text, "yes")


def attach(client: TestClient, ticket_id: int, name: str, content: bytes, kind: str) -> Response:
    answer: Response = client.post(f"/tickets/{ticket_id}/attachments", files={"file": (name, content, kind)})
    return answer


def test_a_file_is_handed_out_to_be_saved_and_never_shown(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    assert attach(ann, ticket_id, "../../etc/till 照片.png", PNG, "image/png").status_code == 303
    assert "till 照片.png" in ann.get(f"/tickets/{ticket_id}").text
    answer = ann.get(f"/tickets/{ticket_id}/attachments/1")
    assert answer.content == PNG
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''till%20%E7%85%A7%E7%89%87.png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    other = fault(served.database, code="cover_open")
    assert ann.get(f"/tickets/{other}/attachments/1").status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "kind", "status", "said"),
    [
        ("a.png", PNG + bytes(FILE_BYTES_MAX), "image/png", 413, "The file is too long: at most 5 MiB"),
        ("a.svg", b"<svg onload=alert(1)>", "image/svg+xml", 422, "That cannot be done: media_type"),
        ("a.png", b"<html>", "image/png", 422, "That cannot be done: content: expected image/png"),
        ("", b"", "image/png", 422, "Please choose a file"),
    ],
)
def test_a_file_that_no_ticket_takes_is_refused_in_words(  # noqa: PLR0917 - a table's columns
    served: Web, ann: TestClient, name: str, content: bytes, kind: str, status: int, said: str
) -> None:
    ticket_id = fault(served.database)
    answer = attach(ann, ticket_id, name, content, kind)
    assert answer.status_code == status
    assert said in Seen(answer).text
    assert ann.get(f"/tickets/{ticket_id}/attachments/1").status_code == 404


def test_a_post_without_a_file_is_told(served: Web, ann: TestClient) -> None:
    answer = ann.post(f"/tickets/{fault(served.database)}/attachments", data={"other": "field"})
    assert (answer.status_code, "Please choose a file" in answer.text) == (422, True)


# --- who may not


def posts() -> list[str]:
    """Every path of these pages that changes something."""
    routes = [*ticket_steps.router.routes, *report.router.routes]
    paths = [route.path for route in routes if isinstance(route, APIRoute) and "POST" in (route.methods or ())]
    return [path.format(ticket_id=1, action="diagnose") for path in paths]


def test_a_viewer_gets_no_forms_and_may_do_nothing(served: Web) -> None:
    ticket_id = fault(served.database)
    viewer = served.visitor(Role.VIEWER)
    for path in (f"/tickets/{ticket_id}", f"/tickets/{ticket_id}/order"):
        assert [form.action for form in Seen(viewer.get(path)).own_forms] == []
    assert {form.action for form in Seen(viewer.get("/tickets")).own_forms} == {"/tickets"}
    assert len(posts()) == 8
    for path in posts():
        assert viewer.post(path, data={"reason": "x"}).status_code == 403, path
    for path in (f"/tickets/{ticket_id}/merge?into=1", f"/tickets/{ticket_id}/parent?parent_id=1", "/report"):
        assert viewer.get(path).status_code == 403
    assert status_of(served.database, ticket_id) == Status.REPORTED


def test_what_somebody_does_not_see_they_can_do_nothing_with(served: Web, ann: TestClient) -> None:
    ticket_id, seen_id = fault(served.database, "t-2"), fault(served.database, "t-1")
    attach(ann, ticket_id, "a.png", PNG, "image/png")
    narrowed = served.visitor(Role.OPERATOR, within=Within(store_ids=frozenset({"s-1"})))
    for path in posts()[:-1]:
        assert narrowed.post(path.replace("/1", f"/{ticket_id}", 1), data={"reason": "x"}).status_code == 404, path
    for path in ("", "/live", "/order", "/attachments/1", "/merge?into=1", "/parent?parent_id=1"):
        assert narrowed.get(f"/tickets/{ticket_id}{path}").status_code == 404, path
    answer = narrowed.post(f"/tickets/{seen_id}/merge", data={"into": str(ticket_id), "reason": "x"})
    assert (answer.status_code, f"There is no ticket #{ticket_id}" in answer.text) == (422, True)
    assert status_of(served.database, ticket_id) == Status.REPORTED
    assert act(narrowed, seen_id, "diagnose").status_code == 303


def test_a_post_without_the_token_of_a_page_changes_nothing(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    del ann.headers["x-csrf-token"]
    assert act(ann, ticket_id, "diagnose").status_code == 403
    token = Seen(ann.get(f"/tickets/{ticket_id}")).form(f"/tickets/{ticket_id}/actions/diagnose").values["csrf"]
    assert act(ann, ticket_id, "diagnose", csrf=token).status_code == 303
