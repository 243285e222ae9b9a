"""The frame that every page stands in: who is let in, what a browser may keep, and how a page says what went wrong."""

import gzip
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Response
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from jinja2 import ChoiceLoader, DictLoader, FileSystemLoader
from tests.collector.shell_fixtures import ORIGIN, Web, describe, tell

from tillwatch_collector import console
from tillwatch_collector.api.problems import Problem, missing
from tillwatch_collector.console import cookies, csrf, doors, rendering, statics
from tillwatch_collector.console.doors import RouteUnguarded
from tillwatch_collector.console.visit import Visit, visiting
from tillwatch_collector.domain.permission import PERMISSIONS, Permission, Role
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store.session import Store

TRIAL = DictLoader({"trial.html": "<p>{{ n }} {{ t.date(now) }}</p>"})
"""A template of a test."""

trial = APIRouter()
"""Routes of a page that does whatever a test asks of it."""


@trial.get("/trial/part")
def part(visit: Annotated[Visit, visiting(Permission.SEE)], n: int = 0) -> Response:
    return visit.part("trial.html", n=n)


@trial.get("/trial/page")
def page(visit: Annotated[Visit, visiting(Permission.SEE)]) -> Response:
    return visit.page("frame/refused.html", key="404", detail="")


@trial.post("/trial/done")
def done(visit: Annotated[Visit, visiting(Permission.SEE)], said: str = "signed_out") -> Response:
    return visit.back("/trial/page", said=said)


@trial.get("/trial/fails/{how}")
def fails(_visit: Annotated[Visit, visiting(Permission.SEE)], how: str) -> Response:
    raise {
        "unknown": missing("ticket", 5),
        "not_now": CallerError("expected a ticket that is open, got <b>5</b>"),
        "odd": Problem(HTTPStatus.IM_A_TEAPOT, "expected a kettle"),
        "ours": ZeroDivisionError(),
    }[how]


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "ROUTERS", (*console.ROUTERS, trial))
        patch.setattr(rendering.templates, "loader", ChoiceLoader([TRIAL, FileSystemLoader(rendering.TEMPLATES)]))
        web = Web(database=Store.in_memory())
        describe(web.database)
        tell(web.database)
        web.visitor()  # builds the application, once the patch is in force
        yield web


@pytest.fixture(scope="module")
def ann(web: Web) -> TestClient:
    return web.visitor(Role.VIEWER, person_id="ann")


# --- doors


def test_a_route_that_asks_for_nothing_is_not_served() -> None:
    router = APIRouter()

    @router.get("/forgotten")
    def forgotten() -> Response:
        return Response()

    with pytest.raises(RouteUnguarded, match="GET /forgotten"):
        doors.owner([router])


def test_only_what_leads_to_signing_in_is_open() -> None:
    needed = doors.permissions(console.ROUTERS)
    assert {route for route, permission in needed.items() if permission is None} == doors.OPEN
    assert all(path.startswith(("/signin", "/welcome/", "/language", "/theme", "/static/")) for _, path in doors.OPEN)


def test_no_path_of_the_api_is_the_consoles() -> None:
    owns = doors.owner(console.ROUTERS)
    every = {route.path or "" for route in iter_route_contexts(Web(database=Store.in_memory()).routes.routes)}
    api = {path for path in every if path.startswith(("/api/", "/healthz", "/readyz", "/metrics", "/openapi", "/tuf/"))}
    assert len(api) > 25
    assert [path for path in sorted(api) if owns(path)] == []


@pytest.mark.parametrize("role", Role)
def test_a_page_opens_for_the_roles_that_may_and_for_no_other(web: Web, role: Role) -> None:
    client = web.visitor(role)
    for (method, path), permission in doors.permissions(console.ROUTERS).items():
        if permission is None or path in LEADS_OUT:
            continue
        answer = client.request(method, concrete(path))
        assert (answer.status_code == 403) is (permission not in PERMISSIONS[role]), (method, path, answer.status_code)


@pytest.mark.parametrize(("method", "path"), sorted(doors.permissions(console.ROUTERS).keys() - doors.OPEN))
def test_whoever_is_not_signed_in_is_led_to_the_door(web: Web, method: str, path: str) -> None:
    stranger = web.client(Origin=ORIGIN)
    answer = stranger.request(method, concrete(path))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/signin?next=/")
    scripted = stranger.request(
        method, concrete(path), headers={"HX-Request": "true", "HX-Current-URL": ORIGIN + "/a?b=c"}
    )
    unsent = "" if method == "GET" else "&unsent=yes"
    assert (scripted.status_code, scripted.headers["hx-redirect"]) == (401, f"/signin?next=/a%3Fb%3Dc{unsent}")


@pytest.mark.parametrize("path", ["/nowhere", "/rollout", "/tickets/5/nowhere", "/api", "/api/v1/fleet/", "/metrics"])
def test_an_address_that_is_none_is_told_as_a_page_and_to_nobody_but_who_is_signed_in(web: Web, path: str) -> None:
    looks = {"Accept": "text/html,*/*;q=0.8"}
    somebody, nobody = web.visitor(Role.VIEWER), web.client(Origin=ORIGIN)
    if path in {"/api/v1/fleet/", "/metrics"}:
        assert somebody.get(path, headers=looks).status_code == nobody.get(path, headers=looks).status_code == 401
        return
    answer = somebody.get(path, headers=looks)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing here" in answer.text
    assert answer.headers["content-security-policy"]
    led = nobody.get(path, headers=looks)
    assert (led.status_code, led.headers["location"]) == (303, f"/signin?next={path}")
    assert somebody.get(path, headers={"Accept": "*/*"}).status_code == 401
    assert somebody.post(path, headers=looks).status_code == 401


def test_a_route_that_is_not_the_consoles_is_opened_by_no_browser(web: Web) -> None:
    application = web.visitor(Role.ADMIN).app
    reached: list[str] = []

    async def beyond(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await Response()(scope, receive, send)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application, "_app", beyond)
        answer = web.visitor(Role.ADMIN).get("/forgotten", headers={"Accept": "text/html"})
    assert (answer.status_code, reached) == (404, [])


@pytest.mark.parametrize(
    ("path", "status", "leads"),
    [
        ("/tickets/1/attachments", 303, "/tickets/1"),
        ("/tickets/1/comments", 303, "/tickets/1"),
        ("/tickets/1/actions/close", 303, "/tickets/1"),
        ("/signout", 405, None),
        ("/theme", 405, None),
    ],
)
def test_whoever_looks_at_where_a_form_is_sent_gets_a_page(
    web: Web, ann: TestClient, path: str, status: int, leads: str | None
) -> None:
    looks = {"Accept": "text/html,*/*;q=0.8"}
    answer = ann.get(path, headers=looks)
    assert (answer.status_code, answer.headers.get("location")) == (status, leads)
    assert status == 303 or "There is no page here" in answer.text
    assert web.client(Origin=ORIGIN).get(path, headers=looks).headers["location"] == f"/signin?next={path}"
    assert ann.get(path).status_code == 405


@pytest.mark.parametrize(
    ("referer", "onward"),
    [
        (f"{ORIGIN}/tickets/5?journal=all", "/tickets/5%3Fjournal%3Dall"),
        ("https://evil.example.org/tickets/5", "/"),
        (f"{ORIGIN}//evil.example.org", "/"),
        ("nonsense", "/"),
        ("http://[", "/"),
        ("", "/"),
    ],
)
def test_whose_session_is_over_is_led_back_to_the_form_and_told_that_nothing_was_sent(
    web: Web, referer: str, onward: str
) -> None:
    stranger = web.client(Origin=ORIGIN)
    led = stranger.post("/tickets/5/comments", data={"text": "x"}, headers={"Referer": referer})
    assert led.headers["location"] == f"/signin?next={onward}&unsent=yes"
    assert "What you typed was not sent" in stranger.get(led.headers["location"]).text


def test_whoever_comes_by_a_link_from_elsewhere_is_given_a_page_that_asks_again(web: Web) -> None:
    answer = web.client().get("/trial/page", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in answer.text
    assert "location" not in answer.headers


# --- what a browser keeps


def test_a_part_is_sent_once_while_it_is_the_same(ann: TestClient) -> None:
    first = ann.get("/trial/part")
    assert first.headers["cache-control"] == "private, no-cache"
    again = ann.get("/trial/part", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = ann.get("/trial/part?n=1", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_a_part_holds_no_token_of_a_form(ann: TestClient) -> None:
    assert csrf.FIELD not in ann.get("/trial/part").text
    assert ann.get("/trial/part").text == ann.get("/trial/part").text


def test_a_page_is_never_kept_and_its_files_are_for_ever(ann: TestClient) -> None:
    assert ann.get("/trial/page").headers["cache-control"] == "no-store"
    kept = ann.get(statics.path_of("console.css"))
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("name", ["console.css", "console.js", "htmx.js", "icon.svg"])
def test_a_file_is_named_by_what_it_holds_and_sent_small_to_who_takes_that(web: Web, name: str) -> None:
    path = statics.path_of(name)
    plain = web.client().get(path, headers={"Accept-Encoding": "identity"})
    small = web.client().get(path, headers={"Accept-Encoding": "gzip"})
    assert plain.content == small.content
    assert (small.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert web.client().get(path.replace("-", "-0")).status_code == 404


def test_what_a_first_visit_loads_is_small(ann: TestClient) -> None:
    names = ("console.css", "console.js", "htmx.js", "icon.svg")
    files = [statics.find(statics.path_of(name).removeprefix("/static/")) for name in names]
    page = gzip.compress(ann.get("/").content)
    assert sum(len(file.compressed) for file in files if file) + len(page) < 60 * 1024


# --- what a page says


def test_what_was_done_is_said_once(ann: TestClient) -> None:
    answer = ann.post("/trial/done")
    assert (answer.status_code, answer.headers["location"]) == (303, "/trial/page")
    assert "You are signed out." in ann.get("/trial/page").text
    assert "You are signed out." not in ann.get("/trial/page").text


def test_only_our_own_words_are_said(ann: TestClient) -> None:
    ann.post("/trial/done?said=<script>")
    assert "<script>" not in ann.get("/trial/page").text


def test_a_script_is_led_on_by_a_header(ann: TestClient) -> None:
    answer = ann.post("/trial/done", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (200, "/trial/page")


@pytest.mark.parametrize(
    ("how", "status", "says", "detail"),
    [
        ("unknown", 404, "There is nothing here", "there is no ticket 5"),
        ("not_now", 409, "That is not possible now", "got &lt;b&gt;5&lt;/b&gt;"),
        ("odd", 418, "That cannot be used", "expected a kettle"),
    ],
)
def test_what_cannot_be_done_is_told_on_a_page(ann: TestClient, how: str, status: int, says: str, detail: str) -> None:
    answer = ann.get(f"/trial/fails/{how}")
    assert answer.status_code == status
    assert says in answer.text
    assert detail in answer.text
    scripted = ann.get(f"/trial/fails/{how}", headers={"HX-Request": "true"})
    assert scripted.headers["content-type"].startswith("text/plain")
    assert scripted.text.startswith(says)


def test_our_own_mistake_is_told_without_its_inside(web: Web) -> None:
    visitor = web.visitor(Role.VIEWER)
    client = TestClient(
        web.application, ORIGIN, raise_server_exceptions=False, cookies=dict(visitor.cookies), follow_redirects=False
    )
    answer = client.get("/trial/fails/ours")
    assert answer.status_code == 500
    assert "This should not have happened" in answer.text
    assert "ZeroDivision" not in answer.text


def test_what_an_address_asks_for_wrongly_is_told_on_a_page(ann: TestClient) -> None:
    answer = ann.get("/trial/part?n=many")
    assert answer.status_code == 422
    assert "query.n: expected" in answer.text


# --- language, theme, time


def test_a_person_chooses_a_language_and_has_it_in_every_browser(web: Web) -> None:
    client = web.visitor(Role.VIEWER, person_id="mei")
    assert '<html lang="en"' in client.get("/trial/page").text
    answer = client.post("/language", data={"language": "zh-CN", "next": "/trial/page?a=1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/trial/page?a=1")
    assert '<html lang="zh-CN"' in client.get("/trial/page").text
    del client.cookies[cookies.LANGUAGE]
    assert '<html lang="zh-CN"' in client.get("/trial/page").text


def test_a_browser_keeps_its_language_before_anybody_signs_in(web: Web) -> None:
    client = web.client(Origin=ORIGIN)
    client.post("/language", data={"language": "zh-CN"})
    assert '<html lang="zh-CN"' in client.get("/signin").text
    client.post("/language", data={"language": "tlh"})
    assert '<html lang="zh-CN"' in client.get("/signin").text


def test_light_and_dark_are_kept(web: Web) -> None:
    client = web.client(Origin=ORIGIN)
    assert 'data-theme="auto"' in client.get("/signin").text
    client.post("/theme", data={"theme": "dark"})
    client.post("/theme", data={"theme": "purple"})
    assert 'data-theme="dark"' in client.get("/signin").text


def test_times_are_told_as_the_browsers_clock_shows_them(web: Web) -> None:
    client = web.visitor(Role.VIEWER)
    assert "Nov 21, 2026, 12:00" in client.get("/trial/part").text
    client.cookies[cookies.ZONE] = "Asia/Shanghai"
    assert "Nov 21, 2026, 20:00" in client.get("/trial/part").text
    client.cookies[cookies.ZONE] = "../../etc/passwd"
    assert "Nov 21, 2026, 12:00" in client.get("/trial/part").text


# --- pieces

LEADS_OUT = {"/signout"}
"""Its answer ends the session that the next one needs."""

_NAMES = {
    "how": "unknown",
    "ticket_id": "1",
    "attachment_id": "1",
    "terminal_id": "t-1",
    "store_id": "s-1",
    "merchant_id": "m-1",
    "rollout_id": "r-1",
}


def concrete(path: str) -> str:
    for name, value in _NAMES.items():
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{", "").replace("}", "")
