"""Administration in the console: people, tokens, inventory, policy, quarantine, the audit log, one's own account."""

import html
import re
from http import HTTPStatus
from importlib import resources
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from tests.collector import persons
from tests.collector.databases import rows
from tests.collector.persons import PASSWORD, joined
from tests.collector.shell_fixtures import NOW, ORIGIN, Web, describe

from tillwatch_collector import people, roster, web
from tillwatch_collector.console.inventory import IMPORT_BYTES_MAX
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.people import SignedIn
from tillwatch_collector.store.audit import Audit, AuditFilter, AuditLine
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store

OTHER = "a slow train through the hills"
HOSTILE = "<script>alert(1)</script>\"'"

PAGES = (
    "/admin/people",
    "/admin/tokens",
    "/admin/inventory",
    "/admin/inventory/merchants",
    "/admin/inventory/stores",
    "/admin/inventory/terminals",
    "/admin/inventory/terminals/new",
    "/admin/inventory/stores/s-1",
    "/admin/inventory/import",
    "/admin/policy",
    "/admin/quarantine",
    "/admin/audit",
    "/account",
)


@pytest.fixture
def served(store: Store) -> Web:
    describe(store)
    return Web(database=store)


@pytest.fixture
def admin(served: Web) -> TestClient:
    return served.visitor(Role.ADMIN, person_id="root")


@pytest.fixture(scope="module")
def still(module_store: Store) -> Web:
    """A collector for the tests that change nothing: it takes a second to build its routes."""
    describe(module_store)
    return Web(database=module_store)


@pytest.fixture(scope="module")
def looking(still: Web) -> TestClient:
    """An admin who looks, and is refused."""
    return still.visitor(Role.ADMIN, person_id="root")


def text_of(answer: Response) -> str:
    """What a person reads."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def lines(served: Web, **wanted: str) -> tuple[AuditLine, ...]:
    with served.database.reading() as connection:
        assert Audit(connection).verify().misfit is None
        return Audit(connection).lines(AuditFilter(**wanted), 100)  # type: ignore[arg-type]  # names and texts


def refused(answer: Response, said: str) -> None:
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.status_code
    assert said in text_of(answer)


# --- all pages


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_each_page_is_there_in_both_languages(still: Web, path: str, language: str) -> None:
    answer = still.visitor(Role.ADMIN, language=language).get(path)
    assert answer.status_code == HTTPStatus.OK
    assert f'lang="{language}"' in answer.text
    assert answer.text.count("<h1") == 1
    assert answer.headers["cache-control"] == "no-store"


def test_the_policy_is_told_in_the_readers_words(still: Web) -> None:
    assert "<td>支付</td>" in still.visitor(Role.ADMIN, language="zh-CN").get("/admin/policy").text
    assert "<td>payment</td>" not in still.visitor(Role.ADMIN, language="zh-CN").get("/admin/policy").text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.APPROVER])
@pytest.mark.parametrize(
    "path", ["/admin/people", "/admin/tokens", "/admin/policy", "/admin/quarantine", "/admin/audit"]
)
def test_nobody_but_an_admin_administers(still: Web, role: Role, path: str) -> None:
    assert still.visitor(role).get(path).status_code == HTTPStatus.FORBIDDEN


# --- people


def invited_link(answer: Response) -> str:
    assert answer.status_code == HTTPStatus.OK
    (link,) = re.findall(rf"{ORIGIN}/welcome/([\w-]+)", answer.text)
    return str(link)


def test_an_invitation_is_a_link_that_is_shown_once(served: Web, admin: TestClient) -> None:
    answer = admin.post("/admin/people/invite", data={"role": "operator", "person_id": "bob", "stores": "s-1"})
    key = invited_link(answer)
    listed = admin.get("/admin/people")
    assert key not in listed.text
    assert "bob" in text_of(listed)
    came = people.welcome(served.database, key=key, person_id="", name="Bob", password=PASSWORD, now=served.now)
    assert isinstance(came, SignedIn)
    assert came.signed.person.within == Within(store_ids=frozenset({"s-1"}))
    (line,) = lines(served, action="person_invited")
    assert (line.actor, line.subject) == ("person:root", "person:bob")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"role": "viewer", "merchants": "m-1, m-9"}, "There is no such merchant or store. m-9"),
        ({"role": "viewer", "stores": "s-1\uff0cs-9"}, "There is no such merchant or store. s-9"),
        ({"role": "viewer", "stores": "s-1\x00"}, "There is no such merchant or store."),
        ({"role": "admin", "stores": "s-1"}, "An administrator sees everything"),
        ({"role": "viewer", "person_id": "Not An Id"}, "That name cannot be used"),
        ({"role": "viewer", "person_id": "root"}, "Somebody else has that name"),
    ],
)
def test_an_invitation_that_cannot_be_comes_back_with_what_was_typed(
    looking: TestClient, told: dict[str, str], said: str
) -> None:
    answer = looking.post("/admin/people/invite", data=told)
    refused(answer, said)
    for typed in told.values():
        assert html.escape(typed) in answer.text


def test_a_link_is_withdrawn(served: Web, admin: TestClient) -> None:
    key = invited_link(admin.post("/admin/people/invite", data={"role": "viewer"}))
    (path,) = re.findall(r"/admin/people/links/\w+/withdraw", admin.get("/admin/people").text)
    assert admin.post(path).status_code == HTTPStatus.SEE_OTHER
    assert people.invitation_of(served.database, key, served.now) is None
    assert admin.post(path).status_code == HTTPStatus.NOT_FOUND
    assert admin.post("/admin/people/links/%00/withdraw").status_code == HTTPStatus.NOT_FOUND


def test_a_person_gets_another_role_and_part(served: Web, admin: TestClient) -> None:
    bob = served.visitor(Role.VIEWER, person_id="bob")
    assert bob.get("/account").status_code == HTTPStatus.OK
    told = {"role": "operator", "merchants": "m-1", "stores": ""}
    assert admin.post("/admin/people/bob/part", data=told).headers["location"] == "/admin/people/bob"
    assert bob.get("/account").status_code == HTTPStatus.SEE_OTHER  # signed out
    shown = admin.get("/admin/people/bob")
    assert 'value="m-1"' in shown.text
    assert "operator" in text_of(shown)


def test_whoever_is_disabled_is_out_at_once_and_may_come_back(served: Web, admin: TestClient) -> None:
    bob = served.visitor(Role.VIEWER, person_id="bob")
    assert admin.post("/admin/people/bob/disable").status_code == HTTPStatus.SEE_OTHER
    assert bob.get("/account").status_code == HTTPStatus.SEE_OTHER
    assert admin.post("/admin/people/bob/link").status_code == HTTPStatus.NOT_FOUND  # nobody to let in
    assert admin.post("/admin/people/bob/enable").status_code == HTTPStatus.SEE_OTHER
    assert invited_link(admin.post("/admin/people/bob/link"))


@pytest.mark.parametrize("step", ["disable", "part"])
def test_the_last_admin_stays(admin: TestClient, step: str) -> None:
    refused(admin.post(f"/admin/people/root/{step}", data={"role": "viewer"}), "Nobody would be left to administer")


@pytest.mark.parametrize("path", ["", "/part", "/disable", "/enable", "/link"])
@pytest.mark.parametrize("person_id", ["nobody", "%00", "x" * 300])
def test_nobody_is_not_found(looking: TestClient, path: str, person_id: str) -> None:
    do = looking.post if path else looking.get
    sends: dict[str, Any] = {"data": {"role": "viewer"}} if path else {}
    assert do(f"/admin/people/{person_id}{path}", **sends).status_code == HTTPStatus.NOT_FOUND


# --- tokens


def test_a_token_is_shown_once_and_opens_what_it_says(served: Web, admin: TestClient) -> None:
    told = {"name": "till", "scopes": ["read"], "days": "30", "stores": "s-1"}
    answer = admin.post("/admin/tokens", data=told)
    (secret,) = re.findall(r"tw_[\w-]{43}", answer.text)
    assert secret not in admin.get("/admin/tokens").text
    holder = web.find_holder(served.context, secret)
    assert holder is not None
    assert holder.within == Within(store_ids=frozenset({"s-1"}))
    (path,) = re.findall(r"/admin/tokens/\w+/revoke", admin.get("/admin/tokens").text)
    assert admin.post(path).status_code == HTTPStatus.SEE_OTHER
    assert web.find_holder(served.context, secret) is None
    assert admin.post(path).status_code == HTTPStatus.NOT_FOUND
    assert [line.action for line in lines(served)] == ["token_revoked", "token_made"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"name": "", "scopes": ["read"], "days": "30"}, "Say who will hold it"),
        ({"name": "a\x1bb", "scopes": ["read"], "days": "30"}, "Say who will hold it"),
        ({"name": "till", "scopes": [], "days": "30"}, "Choose what it may do"),
        ({"name": "till", "scopes": ["admin"], "days": "30", "stores": "s-1"}, "cannot be narrowed"),
        ({"name": "till", "scopes": ["read"], "stores": "s-9"}, "There is no such merchant or store. s-9"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(
    still: Web, looking: TestClient, told: dict[str, Any], said: str
) -> None:
    refused(looking.post("/admin/tokens", data=told), said)
    assert rows(still.database, "SELECT * FROM token") == []


@pytest.mark.parametrize("told", [{"days": "0"}, {"days": "x"}, {"days": "999999"}, {"scopes": "all"}])
def test_what_no_form_of_ours_sends_is_refused(looking: TestClient, told: dict[str, str]) -> None:
    answer = looking.post("/admin/tokens", data={"name": "till", "scopes": "read"} | told)
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


# --- the inventory

STORE = {"store_id": "s-9", "merchant_id": "m-1", "name": "Bund", "time_zone": "Asia/Shanghai", "watch": "always"}


def described(served: Web, store_id: str) -> Any:
    with served.database.reading() as connection:
        return Inventory(connection).store(store_id)


def test_what_is_described_is_there_and_comes_back_as_it_was_typed(served: Web, admin: TestClient) -> None:
    hours, holidays = "mon-fri=08:00-12:00,13:00-20:00; sun=10:00-24:00", "2026-12-25; 2026-12-31 10:00-14:00"
    told = STORE | {"opening_hours": hours, "holidays": holidays, "watch": "opening_hours"}
    answer = admin.post("/admin/inventory/stores/new", data=told)
    assert answer.headers["location"] == "/admin/inventory/stores/s-9"
    form = html.unescape(admin.get("/admin/inventory/stores/s-9").text)
    assert hours in form
    assert holidays in form
    again = admin.post("/admin/inventory/stores/s-9", data=told)
    assert again.status_code == HTTPStatus.SEE_OTHER
    assert [line.action for line in lines(served)] == ["store_added"]  # the second changed nothing


def test_an_empty_field_clears(served: Web, admin: TestClient) -> None:
    told = {"merchant_id": "m-1", "name": "Shop", "time_zone": "Asia/Shanghai", "watch": "always"}
    assert described(served, "s-1").region == "east"
    admin.post("/admin/inventory/stores/s-1", data=told)
    assert described(served, "s-1").region is None
    (line,) = lines(served)
    assert line.detail["region"] == {"before": "east", "after": None}


def test_the_address_says_which_one_whatever_the_form_says(served: Web, admin: TestClient) -> None:
    admin.post("/admin/inventory/merchants/m-1", data={"merchant_id": "m-2", "name": "Other"})
    with served.database.reading() as connection:
        assert Inventory(connection).merchant("m-2") is None


@pytest.mark.parametrize(
    ("path", "told", "said"),
    [
        ("stores/new", STORE | {"store_id": "s-1"}, "There is one by that id."),
        ("stores/new", STORE | {"store_id": "a b"}, "Some of it cannot stand"),
        ("stores/new", STORE | {"store_id": ""}, "Some of it cannot stand"),
        ("stores/new", STORE | {"merchant_id": "m-9"}, "There is no such merchant or store"),
        ("stores/new", STORE | {"time_zone": "Mars/Olympus"}, "do not make sense together"),
        ("stores/new", STORE | {"opening_hours": "always"}, "do not make sense together"),
        ("stores/new", STORE | {"opening_hours": "mon=20:00-08:00"}, "do not make sense together"),
        ("stores/new", STORE | {"holidays": "Christmas"}, "Some of it cannot stand"),
        ("stores/new", STORE | {"watch": "opening_hours"}, "do not make sense together"),
        ("stores/new", STORE | {"name": "a\x00b"}, "Some of it cannot stand"),
        ("terminals/new", {"terminal_id": "t.9", "life_cycle": "live"}, "Some of it cannot stand"),
        ("terminals/new", {"terminal_id": "t-9", "store_id": "s-9"}, "There is no such merchant or store"),
        ("terminals/t-1", {"store_id": "s-1", "purchase_date": "yesterday"}, "Some of it cannot stand"),
        ("terminals/t-1", {"store_id": "s-1", "life_cycle": "lost"}, "Some of it cannot stand"),
        ("merchants/m-1", {"name": ""}, "Some of it cannot stand"),
    ],
)
def test_what_cannot_stand_comes_back_with_what_was_typed(
    still: Web, looking: TestClient, path: str, told: dict[str, str], said: str
) -> None:
    answer = looking.post(f"/admin/inventory/{path}", data=told)
    refused(answer, said)
    assert not any(line.subject.startswith(("store:", "terminal:", "merchant:")) for line in lines(still))
    for name in ("name", "brand", "opening_hours"):
        if told.get(name, "").isprintable():
            assert html.escape(told.get(name, "")) in answer.text


@pytest.mark.parametrize("path", ["stores/s-99", "terminals/%00", "merchants/" + "x" * 300, "houses", "houses/new"])
def test_what_is_not_there_is_not_found(looking: TestClient, path: str) -> None:
    found = looking.get(f"/admin/inventory/{path}").status_code
    assert found in {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}


def test_lists_are_searched_and_have_pages(looking: TestClient) -> None:
    assert "t-2" in looking.get("/admin/inventory/terminals").text
    assert "t-2" not in looking.get("/admin/inventory/terminals?q=t-1").text
    assert looking.get("/admin/inventory/terminals?q=%00").status_code == HTTPStatus.OK
    assert "t-1" not in looking.get("/admin/inventory/terminals?offset=50").text


# --- whoever is narrowed


@pytest.fixture
def narrowed(served: Web) -> TestClient:
    return served.visitor(Role.OPERATOR, within=Within(store_ids=frozenset({"s-1"})))


NEW = {what: f'href="/admin/inventory/{what}/new"' for what in ("merchants", "stores", "terminals")}


@pytest.mark.parametrize(
    ("within", "adds"),
    [
        (Within(), {"merchants", "stores", "terminals"}),
        (Within(merchant_ids=frozenset({"m-1"})), {"stores", "terminals"}),
        (Within(store_ids=frozenset({"s-1"})), {"terminals"}),
    ],
)
def test_nobody_is_shown_a_door_that_refuses_them(served: Web, within: Within, adds: set[str]) -> None:
    visitor = served.visitor(Role.OPERATOR, within=within)
    shown = {what: visitor.get(f"/admin/inventory/{what}").text for what in NEW}
    assert {what for what, door in NEW.items() if door in shown[what]} == adds
    new = visitor.get("/rollouts/new").status_code == HTTPStatus.OK
    assert ('href="/rollouts/new"' in visitor.get("/rollouts").text) is new is within.everywhere


def test_whoever_is_narrowed_finds_their_part_alone(narrowed: TestClient) -> None:
    listed = narrowed.get("/admin/inventory/stores").text
    assert "s-1" in listed
    assert "s-2" not in listed
    assert narrowed.get("/admin/inventory/stores/s-2").status_code == HTTPStatus.NOT_FOUND
    assert narrowed.get("/admin/inventory/terminals/t-2").status_code == HTTPStatus.NOT_FOUND
    assert narrowed.get("/admin/inventory/import").status_code == HTTPStatus.FORBIDDEN
    assert narrowed.post("/admin/inventory/import", data={"text": "x"}).status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("path", "told", "status"),
    [
        ("terminals/t-1", {"store_id": "s-1", "brand": "Star"}, HTTPStatus.SEE_OTHER),
        ("terminals/new", {"terminal_id": "t-9", "store_id": "s-1"}, HTTPStatus.SEE_OTHER),
        ("terminals/t-1", {"store_id": "s-2"}, HTTPStatus.UNPROCESSABLE_ENTITY),  # out of their part
        ("terminals/t-1", {"store_id": ""}, HTTPStatus.UNPROCESSABLE_ENTITY),  # to nowhere
        ("terminals/new", {"terminal_id": "t-9", "store_id": "s-2"}, HTTPStatus.UNPROCESSABLE_ENTITY),
        ("terminals/new", {"terminal_id": "t-9"}, HTTPStatus.UNPROCESSABLE_ENTITY),
        ("terminals/t-2", {"store_id": "s-1"}, HTTPStatus.NOT_FOUND),  # into it
        ("terminals/t-3", {"store_id": "s-1"}, HTTPStatus.NOT_FOUND),  # one that stands nowhere
        ("stores/s-2", STORE, HTTPStatus.NOT_FOUND),
        ("stores/new", STORE, HTTPStatus.UNPROCESSABLE_ENTITY),
        ("merchants/m-1", {"name": "Mine"}, HTTPStatus.UNPROCESSABLE_ENTITY),  # it has other stores, too
        ("merchants/new", {"merchant_id": "m-9", "name": "Mine"}, HTTPStatus.UNPROCESSABLE_ENTITY),
    ],
)
def test_whoever_is_narrowed_changes_nothing_out_of_their_part(
    served: Web, narrowed: TestClient, path: str, told: dict[str, str], status: HTTPStatus
) -> None:
    told = {"life_cycle": "live"} | told if path.startswith("terminals") else told
    assert narrowed.post(f"/admin/inventory/{path}", data=told).status_code == status
    assert len(lines(served)) == (status is HTTPStatus.SEE_OTHER)


# --- the import

FILE = "terminal_id,store_id,brand\nt-1,s-1,Star\nt-9,s-1,Star\nt-8,s-7,Star\nt 7,s-1,Star\nt-9,s-2,Star\n"


def sent(client: TestClient, content: bytes, **told: str) -> Response:
    return client.post("/admin/inventory/import", files={"file": ("terminals.csv", content, "text/csv")}, data=told)


def test_a_file_is_shown_row_by_row_before_anything_is_done(served: Web, admin: TestClient) -> None:
    answer = sent(admin, FILE.encode())
    assert answer.status_code == HTTPStatus.OK
    said = text_of(answer)
    for told in ("Take 2 terminals over", "each terminal once", "a store that is known", "it stands in row 3"):
        assert told in said
    assert lines(served) == ()
    with served.database.reading() as connection:
        assert Inventory(connection).terminal("t-9") is None


def test_what_was_shown_is_done(served: Web, admin: TestClient) -> None:
    shown = sent(admin, FILE.encode()).text
    (kept,) = re.findall(r"<textarea name=\"text\" hidden>\n(.*?)</textarea>", shown, re.DOTALL)
    answer = admin.post("/admin/inventory/import", data={"text": html.unescape(kept), "carry_out": "yes"})
    assert "What the file did" in text_of(answer)
    with served.database.reading() as connection:
        found = Inventory(connection).terminal("t-9")
    assert found is not None
    assert (found.store_id, found.brand) == ("s-1", "Star")
    (line,) = lines(served)
    assert (line.action, line.detail["created"], line.detail["refused"]) == ("terminals_imported", 1, 3)


def test_done_again_it_changes_nothing_and_is_no_line(served: Web, admin: TestClient) -> None:
    for _ in range(2):
        admin.post("/admin/inventory/import", data={"text": FILE, "carry_out": "yes"})
    assert len(lines(served)) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as CSV of terminals"),
        (b"\xff\xfe\x00", "not in UTF-8"),
        (b"name,shop\nx,y\n", "cannot be read as CSV of terminals"),
        (b'terminal_id\n"t-1\n', "cannot be read as CSV of terminals"),
        (b"terminal_id\n" + b"x" * IMPORT_BYTES_MAX, "longer than 1 MiB"),
    ],
    ids=["nothing", "another encoding", "other columns", "a broken quote", "too long"],
)
def test_a_file_that_cannot_be_read_says_why(looking: TestClient, content: bytes, said: str) -> None:
    refused(sent(looking, content), said)


def test_a_file_in_chinese_travels_whole(served: Web, admin: TestClient) -> None:
    content = 'terminal_id,store_id,brand\nt-9,s-1,"纸 & <尽>"\n'
    shown = sent(admin, content.encode()).text
    (kept,) = re.findall(r"<textarea name=\"text\" hidden>\n(.*?)</textarea>", shown, re.DOTALL)
    admin.post("/admin/inventory/import", data={"text": html.unescape(kept), "carry_out": "yes"})
    with served.database.reading() as connection:
        found = Inventory(connection).terminal("t-9")
    assert found is not None
    assert found.brand == "纸 & <尽>"


# --- the policy


def packaged() -> str:
    return resources.files("tillwatch_collector").joinpath("policy.toml").read_text(encoding="utf-8")


def test_another_policy_is_held_against_the_one_in_force_and_not_applied(served: Web, admin: TestClient) -> None:
    before = served.context.desk.policy
    other = packaged() + '\n[code.gremlins]\nseverity = "critical"\n'
    answer = admin.post("/admin/policy", files={"file": ("policy.toml", other.encode(), "application/toml")})
    said = text_of(answer)
    assert answer.status_code == HTTPStatus.OK
    assert "The file can be used" in said
    assert "gremlins" in said
    assert "gremlins" not in text_of(admin.get("/admin/policy"))
    assert served.context.desk.policy == before
    assert [line.action for line in lines(served)] == ["policy_tried"]


def test_the_same_policy_changes_nothing(looking: TestClient) -> None:
    assert "It says the same" in text_of(looking.post("/admin/policy", data={"text": packaged()}))


@pytest.mark.parametrize(
    "content",
    ["", "version", "version = 99", 'version = 1\n[default]\nseverity = "huge"', "x" * 300_000],
    ids=["nothing", "no TOML", "another version", "a severity that is none", "too long"],
)
def test_a_policy_that_cannot_be_used_says_why(looking: TestClient, content: str) -> None:
    answer = looking.post("/admin/policy", files={"file": ("policy.toml", content.encode(), "text/plain")})
    refused(answer, "The file cannot be used.")


# --- quarantine and audit log


def test_what_a_terminal_sent_is_shown_as_text(served: Web, admin: TestClient) -> None:
    with served.database.transaction() as repository:
        repository.audit.record(NOW, actor=HOSTILE, action="sign_in", subject=HOSTILE, detail={HOSTILE: HOSTILE})
    answer = admin.get("/admin/audit")
    assert HOSTILE not in answer.text
    assert HOSTILE in html.unescape(answer.text)


@pytest.mark.parametrize(
    "query", ["", "?actor=person:root", "?action=sign_in", "?q=x", "?q=%00", "?before=1", "?action=%27%22%3Cb%3E"]
)
def test_the_log_is_filtered(looking: TestClient, query: str) -> None:
    assert looking.get(f"/admin/audit{query}").status_code == HTTPStatus.OK


def test_the_log_has_older_lines(served: Web, admin: TestClient) -> None:
    with served.database.transaction() as repository:
        for number in range(60):
            repository.audit.record(NOW, actor="person:ann", action="sign_in", subject=f"subject-{number}-end")
    first = admin.get("/admin/audit?actor=person%3Aann")
    assert "subject-59-end" in first.text
    assert "subject-9-end" not in first.text
    (older,) = re.findall(r'href="(/admin/audit\?[^"]+)" rel="next"', first.text)
    second = admin.get(html.unescape(older))
    assert "subject-9-end" in second.text
    assert 'rel="next"' not in second.text


def test_the_log_is_verified_and_says_what_to_note(served: Web, admin: TestClient) -> None:
    with served.database.transaction() as repository:
        repository.audit.record(NOW, actor="person:ann", action="sign_in", subject="x")
    answer = admin.post("/admin/audit/verify", data={"noted": ""})
    assert "1 line fits." in text_of(answer)
    (noted,) = re.findall(r"<code>(\d+:[0-9a-f]{64})</code>", answer.text)
    assert "All 2 lines fit." in text_of(admin.post("/admin/audit/verify", data={"noted": noted}))
    refused(admin.post("/admin/audit/verify", data={"noted": "yesterday"}), "Expected a number, a colon")


def test_a_log_that_was_altered_says_where(served: Web, admin: TestClient) -> None:
    with served.database.transaction() as repository:
        repository.audit.record(NOW, actor="person:ann", action="sign_in", subject="x")
        repository.connection.exec_driver_sql("UPDATE audit SET actor = 'person:eve'")
    said = text_of(admin.post("/admin/audit/verify", data={"noted": ""}))
    assert "Line 1 does not fit." in said
    assert "it was altered" in said


# --- one's own account


def test_one_changes_ones_own_password(served: Web) -> None:
    came = joined(served, "ann", Role.VIEWER)
    here = persons.browser(served, came)
    told = {"old": PASSWORD, "new": OTHER, "again": OTHER}
    refused(here.post("/account/password", data=told | {"again": "else"}), "not the same")
    refused(here.post("/account/password", data=told | {"old": "wrong"}), "The password until now is another one.")
    refused(here.post("/account/password", data=told | {"new": "short", "again": "short"}), "too short")
    assert here.post("/account/password", data=told).headers["location"] == "/account"
    assert here.get("/account").status_code == HTTPStatus.OK
    assert here.get("/account").text.count("•") == 0


def test_one_ends_ones_other_sessions_and_no_other_persons(served: Web) -> None:
    secrets = [served.session(Role.VIEWER, person_id=name) for name in ("ann", "bob")]
    ann, bob = (people.find(served.database, secret, served.now) for secret in secrets)
    assert ann is not None
    assert bob is not None
    here = served.visitor(Role.VIEWER, person_id="ann")
    here.post(f"/account/sessions/{bob.session_id}/end")
    assert people.find(served.database, secrets[1], served.now) is not None
    here.post(f"/account/sessions/{ann.session_id}/end")
    assert people.find(served.database, secrets[0], served.now) is None
    assert here.post("/account/sessions/%00/end").status_code == HTTPStatus.SEE_OTHER
    again = served.session(Role.VIEWER, person_id="ann")
    assert here.post("/account/sessions/end").status_code == HTTPStatus.SEE_OTHER
    assert people.find(served.database, again, served.now) is None
    assert here.get("/account").status_code == HTTPStatus.OK


def test_an_account_shows_what_a_browser_said_of_itself_as_text(served: Web) -> None:
    invited = roster.invite(served.database, by="person:root", role=Role.VIEWER, now=served.now)
    assert isinstance(invited, roster.Invited)
    browser = people.Browser(address=HOSTILE, user_agent=HOSTILE)
    came = people.welcome(
        served.database,
        key=invited.key,
        person_id="ann",
        name=HOSTILE,
        password=PASSWORD,
        now=served.now,
        browser=browser,
    )
    assert isinstance(came, SignedIn)
    answer = persons.browser(served, came).get("/account")
    assert HOSTILE not in answer.text
    assert html.unescape(answer.text).count(HOSTILE) >= 3
