"""The console's doors against whoever tries them: forged requests, brought sessions, guesses, browsers led astray."""

import hashlib
import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from tests.collector import persons
from tests.collector.databases import rows
from tests.collector.shell_fixtures import Web

from tillwatch_collector import people, roster
from tillwatch_collector.config import WebConfig
from tillwatch_collector.console import cookies, csrf
from tillwatch_collector.domain import person
from tillwatch_collector.domain.permission import Role
from tillwatch_collector.domain.throttle import LIMITS, Counted
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

SESSION = cookies.session_name(WebConfig())
EVIL = "https://evil.example.org"


@pytest.fixture(scope="module")
def web(module_store: Store) -> Web:
    """One collector for all tests of this module, each of which brings its own people."""
    return Web(database=module_store)


@pytest.fixture
def ann(web: Web, request: pytest.FixtureRequest) -> people.SignedIn:
    return persons.joined(web, named(request), Role.ADMIN)


def named(request: pytest.FixtureRequest) -> str:
    """Name somebody after the test, so that no two tests share a person."""
    return f"u{hashlib.sha256(request.node.name.encode()).hexdigest()[:20]}"


def sign_in(web: Web, login: str, password: str = persons.PASSWORD, client: TestClient | None = None) -> TestClient:
    client = client or persons.browser(web)
    client.post("/signin", data={"login": login, "password": password})
    return client


def is_in(client: TestClient) -> bool:
    """Whoever is in is not asked who they are."""
    return client.get("/signin").status_code == 303


# --- forged requests


@pytest.mark.parametrize(
    ("sent", "done"),
    [
        ({}, True),  # as our own page sends it
        ({csrf.HEADER: ""}, False),
        ({csrf.HEADER: "nonsense"}, False),
        ({csrf.HEADER: "A" * 64}, False),  # a whole one, of nobody
        ({csrf.HEADER: "A" * 10_000}, False),
        ({"Origin": EVIL}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://127.0.0.1:9999"}, False),  # another program of this machine
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, True),
    ],
)
def test_nothing_is_done_that_our_page_did_not_ask_for(
    web: Web, ann: people.SignedIn, sent: dict[str, str], done: bool
) -> None:
    client = persons.browser(web, ann)
    answer = client.post("/signout", headers=sent)
    assert answer.status_code == (303 if done else 403)
    assert is_in(persons.browser(web, ann)) is not done


def test_a_token_of_another_session_is_none(web: Web, ann: people.SignedIn, request: pytest.FixtureRequest) -> None:
    ben = persons.joined(web, f"ben.{named(request)}", Role.ADMIN)
    client = persons.browser(web, ann)
    client.headers[csrf.HEADER] = persons.form_token(ben)
    assert client.post("/signout").status_code == 403
    assert is_in(client)


def test_a_token_of_an_earlier_session_of_the_same_person_is_none(web: Web, ann: people.SignedIn) -> None:
    client = sign_in(web, ann.signed.person.person_id)
    client.headers[csrf.HEADER] = persons.form_token(ann)
    assert client.post("/signout").status_code == 403


def test_a_token_in_the_address_does_nothing(web: Web, ann: people.SignedIn) -> None:
    client = persons.browser(web, ann)
    token = client.headers.pop(csrf.HEADER)
    assert client.post(f"/signout?{csrf.FIELD}={token}").status_code == 403
    assert client.post("/signout", data={csrf.FIELD: token}).status_code == 303


def test_no_two_pages_hold_the_same_token(web: Web, ann: people.SignedIn) -> None:
    client = persons.browser(web, ann)
    pages = [client.get("/account").text for _ in range(2)]
    one, other = (re.findall(rf'name="{csrf.FIELD}" value="([^"]+)"', page)[0] for page in pages)
    assert one != other
    assert client.post("/signout", headers={csrf.HEADER: one}).status_code == 303


def test_nothing_is_changed_by_looking(web: Web, ann: people.SignedIn) -> None:
    client = persons.browser(web, ann)
    for path in ("/signout", "/language", "/theme"):
        assert client.get(path).status_code in {401, 404, 405}
    assert is_in(client)


# --- sessions


def test_a_session_that_was_brought_along_is_not_taken(web: Web, ann: people.SignedIn) -> None:
    client = persons.browser(web)
    client.cookies.set(SESSION, "chosen-by-somebody-else")
    client = sign_in(web, ann.signed.person.person_id, client=client)
    assert client.cookies.get(SESSION, domain="127.0.0.1") != "chosen-by-somebody-else"
    fixed = persons.browser(web)
    fixed.cookies.set(SESSION, "chosen-by-somebody-else")
    assert not is_in(fixed)


def test_every_sign_in_has_a_secret_of_its_own_and_none_is_kept(web: Web, ann: people.SignedIn) -> None:
    secrets = {sign_in(web, ann.signed.person.person_id).cookies[SESSION] for _ in range(3)} | {ann.secret}
    assert len(secrets) == 4
    assert all(len(secret) >= 43 for secret in secrets)  # 256 bits
    kept = str(rows(web.database, "SELECT * FROM session"))
    assert all(secret not in kept for secret in secrets)


@pytest.mark.parametrize("how", ["sign out", "another password", "disabled", "narrowed", "idle", "too long"])
def test_a_session_ends_at(how: str, web: Web, ann: people.SignedIn, request: pytest.FixtureRequest) -> None:
    """Each of these, wherever the cookie is sent from."""
    ben = persons.joined(web, f"ben.{named(request)}", Role.APPROVER)
    person_id = ben.signed.person.person_id
    elsewhere = persons.browser(web, ben)
    assert is_in(elsewhere)
    then = web.now
    try:
        match how:
            case "sign out":
                persons.browser(web, ben).post("/signout")
            case "another password":
                client = sign_in(web, person_id)
                signed = people.find(web.database, client.cookies[SESSION], web.now)
                assert signed is not None
                new = "a lamp that is never lit"
                assert people.change_password(web.database, signed, old=persons.PASSWORD, new=new, now=web.now) is None
                assert is_in(client)
            case "disabled":
                assert roster.disable(web.database, by=ann.signed.person.actor, person_id=person_id, now=then) is None
                assert not is_in(sign_in(web, person_id))
            case "narrowed":
                within = ben.signed.person.within
                by = ann.signed.person.actor
                changed = roster.change_part(
                    web.database, by=by, person_id=person_id, role=Role.VIEWER, within=within, now=then
                )
                assert changed is None
            case "idle":
                web.now += person.IDLE
            case "too long":
                while web.now < then + person.SESSION:
                    web.now += person.IDLE / 2
                    elsewhere.get("/account")
        assert not is_in(elsewhere)
    finally:
        web.now = then


def test_a_session_that_is_used_lasts(web: Web, ann: people.SignedIn) -> None:
    client, then = persons.browser(web, ann), web.now
    try:
        for _ in range(4):
            web.now += person.IDLE * 0.9
            assert is_in(client)
    finally:
        web.now = then


@pytest.mark.parametrize(
    ("settings", "name", "secure"),
    [
        (WebConfig(), "tillwatch_session", False),  # on loopback there is no TLS
        (WebConfig(behind_proxy=True), "__Host-tillwatch_session", True),
    ],
)
def test_the_cookie_is_for_no_script_no_other_site_and_over_tls_for_nothing_else(
    store: Store, settings: WebConfig, name: str, secure: bool
) -> None:
    web = Web(database=store, settings=settings)
    persons.joined(web, "ann", Role.ADMIN)
    answer = persons.browser(web).post("/signin", data={"login": "ann", "password": persons.PASSWORD})
    (cookie,) = (one for one in answer.headers.get_list("set-cookie") if "session" in one)
    kept, *flags = (part.strip().lower() for part in cookie.split(";"))
    assert kept.startswith(f"{name.lower()}=")
    assert {"httponly", "samesite=strict", "path=/"} <= set(flags)
    assert ("secure" in flags) is secure
    assert not any(flag.startswith(("domain", "max-age", "expires")) for flag in flags)


def test_no_cookie_opens_the_api_and_no_token_the_console(web: Web, ann: people.SignedIn) -> None:
    assert persons.browser(web, ann).get("/api/v1/fleet").status_code == 401
    assert persons.browser(web, ann).post("/api/v1/merchants", json={}).status_code == 401
    token = web.secret(Scope.ADMIN)
    assert not is_in(persons.browser(web, Authorization=f"Bearer {token}"))
    by_cookie = persons.browser(web)
    by_cookie.cookies.set(SESSION, token)
    assert not is_in(by_cookie)
    assert persons.browser(web).get("/account", params={"token": token}).status_code != 200


# --- guesses


def test_whoever_guesses_a_password_must_wait_and_the_right_one_does_not_help(web: Web, ann: people.SignedIn) -> None:
    login, limit = ann.signed.person.person_id, LIMITS[Counted.LOGIN]
    guess = {"login": login, "password": "not this one either"}
    then = web.now
    try:
        for _ in range(limit.at_once):
            assert persons.browser(web).post("/signin", data=guess).status_code == 401
        for tried in (guess, guess | {"password": persons.PASSWORD}):
            refused = persons.browser(web).post("/signin", data=tried)
            assert refused.status_code == 429
            assert "set-cookie" not in refused.headers
        assert is_in(persons.browser(web, ann)), "whoever is in stays in"
        web.now += timedelta(seconds=limit.every_s)
        assert is_in(sign_in(web, login))
    finally:
        web.now = then + timedelta(days=1)  # so that all tries of this address are back for the next test


def test_whoever_guesses_logins_must_wait_too(web: Web) -> None:
    limit = LIMITS[Counted.ADDRESS]
    then = web.now
    try:
        statuses = [
            persons.browser(web).post("/signin", data={"login": f"guess{no}", "password": "x"}).status_code
            for no in range(limit.at_once + 1)
        ]
        assert statuses == [401] * limit.at_once + [429]
    finally:
        web.now = then + timedelta(days=1)


def test_a_login_that_nobody_has_is_answered_as_one_that_somebody_has(web: Web, ann: people.SignedIn) -> None:
    logins = ("nobody.has.this", ann.signed.person.person_id)
    one, other = (
        persons.browser(web).post("/signin", data={"login": login, "password": "not this one"}) for login in logins
    )
    assert one.status_code == other.status_code == 401
    assert one.text.replace(logins[0], "") == other.text.replace(logins[1], "")
    assert "set-cookie" not in one.headers


def test_a_link_opens_once(web: Web, request: pytest.FixtureRequest) -> None:
    invited = roster.invite(web.database, by="person:root", role=Role.VIEWER, now=web.now)
    assert isinstance(invited, roster.Invited)
    path = f"/welcome/{invited.key}"
    typed = {"name": "Ann", "password": persons.PASSWORD, "again": persons.PASSWORD}
    assert persons.browser(web).get(path).status_code == 200  # looking, as mail scanners do, does not use it up
    came = persons.browser(web)
    assert came.post(path, data=typed | {"login": named(request)}).status_code == 303
    assert is_in(came)
    again = persons.browser(web)
    assert again.post(path, data=typed | {"login": f"x{named(request)}"}).status_code in {404, 410, 422}
    assert not is_in(again)


@pytest.mark.parametrize("key", ["nonsense", "x" * 43, "x" * 5_000, "%00", "..%2f..%2fetc%2fpasswd"])
def test_a_link_that_never_was_opens_nothing(web: Web, key: str) -> None:
    answer = persons.browser(web).get(f"/welcome/{key}")
    assert answer.status_code in {401, 404}
    assert "password" not in answer.headers.get("set-cookie", "")


# --- browsers led astray


@pytest.mark.parametrize(
    "wanted",
    [
        EVIL,
        "//evil.example.org",
        "///evil.example.org",
        "/\\evil.example.org",
        "\\\\evil.example.org",
        "https:evil.example.org",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x=y",
        "/\r\nSet-Cookie: x=y",
        "/\tevil",
        " //evil.example.org",
        "@evil.example.org",
        "",
    ],
)
def test_nothing_leads_elsewhere(web: Web, ann: people.SignedIn, wanted: str) -> None:
    login = {"login": ann.signed.person.person_id, "password": persons.PASSWORD}
    nobody, somebody = persons.browser(web), persons.browser(web, ann)
    answers = [
        nobody.post("/signin", data=login | {"next": wanted}),
        somebody.get("/signin", params={"next": wanted}),
        somebody.post("/language", data={"language": "en", "next": wanted}, headers={"Referer": wanted or EVIL}),
        somebody.post("/theme", data={"theme": "dark", "next": wanted}, headers={"Referer": wanted or EVIL}),
        somebody.post("/signout", data={"next": wanted}, headers={"Referer": EVIL}),
    ]
    for answer in answers:
        assert answer.status_code == 303, answer.text[:200]
        assert re.fullmatch(r"/[\x21-\x7e]*", answer.headers["location"])
        assert not answer.headers["location"].startswith(("//", "/\\"))
        assert "x" not in answer.cookies


def test_after_signing_in_one_is_where_one_wanted_to_be(web: Web, ann: people.SignedIn) -> None:
    asked = persons.browser(web).get("/account?a=1")
    assert asked.status_code == 303
    assert asked.headers["location"].startswith("/signin?next=")
    login = {"login": ann.signed.person.person_id, "password": persons.PASSWORD, "next": "/account?a=1"}
    assert persons.browser(web).post("/signin", data=login).headers["location"] == "/account?a=1"


@pytest.mark.parametrize("path", ["/", "/signin", "/account", "/static/nothing.css", "/welcome/x", "/nowhere"])
def test_every_answer_tells_the_browser_to_be_careful(web: Web, ann: people.SignedIn, path: str) -> None:
    for client in (persons.browser(web), persons.browser(web, ann)):
        headers = client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"  # nobody puts our page into theirs
        assert policy["base-uri"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src", "form-action")} == {
            "'self'"
        }
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] in {"no-referrer", "same-origin"}
        assert headers["cross-origin-opener-policy"] == "same-origin"


def test_no_page_is_kept_by_the_browser(web: Web, ann: people.SignedIn) -> None:
    client = persons.browser(web, ann)
    for path in ("/", "/account", "/tickets"):
        assert client.get(path).headers["cache-control"] == "no-store"
    part = client.get("/live/fleet").headers
    assert part["cache-control"] == "private, no-cache"
    assert part["etag"]


@pytest.mark.parametrize("host", ["evil.example.org", "127.0.0.1.evil.example.org", "127.0.0.1@evil.example.org", ""])
def test_a_name_that_is_not_ours_is_not_answered(web: Web, ann: people.SignedIn, host: str) -> None:
    client = persons.browser(web, ann)
    for path in ("/", "/signin", "/account"):
        assert client.get(path, headers={"Host": host}).status_code == 421
    assert client.post("/signin", headers={"Host": host}, data={"login": "x", "password": "y"}).status_code == 421


@pytest.mark.parametrize(
    "name",
    [
        "../console/visit.py",
        "..%2f..%2fweb.py",
        "%2e%2e/%2e%2e/web.py",
        "....//....//web.py",
        "..\\..\\web.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "console.css",  # without its hash it is none of ours
        "%00",
        ".",
    ],
)
def test_no_path_leads_out_of_the_static_files(web: Web, name: str) -> None:
    answer = persons.browser(web).get(f"/static/{name}")
    assert answer.status_code in {303, 400, 401, 404}
    assert "import" not in answer.text
    assert "root:" not in answer.text


def test_a_form_has_limits(web: Web, ann: people.SignedIn) -> None:
    long = "x" * 3_000
    assert persons.browser(web).post("/signin", data={"login": long, "password": "x"}).status_code in {401, 422}
    assert persons.browser(web).post("/signin", data={"login": "x", "password": long}).status_code in {401, 422}
    size = web.settings.body_bytes_max + 1
    huge = persons.browser(web, ann).post("/signin", content=b"a" * size)
    assert huge.status_code == 413
