"""Who may do what: every role at every route of console and API, and whoever is narrowed at every one, too.

The tables say what each route needs. A route that stands in none of them fails, so that nobody forgets to decide. What
a narrowed person or token must not see has the word `theirs` in it, wherever it is kept.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from tests.collector import persons
from tests.collector.databases import rows, stores_in
from tests.collector.rollout_estate import TARGET
from tests.collector.shell_fixtures import Web
from tests.collector.two_merchants import MINE, THEIRS, Pair
from tests.live.rollouts import PLAN

from tillwatch_collector import console
from tillwatch_collector.console import doors
from tillwatch_collector.domain.permission import EVERYWHERE, Permission, Role, Within, may
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

if TYPE_CHECKING:
    from tillwatch_collector.people import SignedIn

SEE, WORK, COMMAND, ARRANGE = Permission.SEE, Permission.WORK, Permission.COMMAND, Permission.ARRANGE
ROLL_OUT, APPROVE, ADMINISTER = Permission.ROLL_OUT, Permission.APPROVE, Permission.ADMINISTER

CONSOLE: dict[str, Permission | None] = {
    # whoever is not signed in
    "GET /signin": None,
    "POST /signin": None,
    "GET /welcome/{key}": None,
    "POST /welcome/{key}": None,
    "POST /language": None,
    "POST /theme": None,
    "GET /static/{name}": None,
    "POST /signout": SEE,
    # the fleet and its places
    "GET /": SEE,
    "GET /live/fleet": SEE,
    "GET /live/picture": SEE,
    "GET /live/terminals": SEE,
    "GET /terminals.csv": SEE,
    "GET /stores/{store_id}": SEE,
    "GET /stores/{store_id}/live": SEE,
    "GET /merchants/{merchant_id}": SEE,
    "GET /regions": SEE,
    # a terminal
    "GET /terminals/{terminal_id}": SEE,
    "GET /terminals/{terminal_id}/live": SEE,
    "GET /terminals/{terminal_id}/plots": SEE,
    "GET /terminals/{terminal_id}/timeline": SEE,
    "GET /terminals/{terminal_id}/commands": SEE,
    "POST /terminals/{terminal_id}/commands": COMMAND,
    # tickets
    "GET /tickets": SEE,
    "GET /tickets/rows": SEE,
    "GET /tickets/{ticket_id}": SEE,
    "GET /tickets/{ticket_id}/live": SEE,
    "GET /tickets/{ticket_id}/order": SEE,
    "POST /tickets/{ticket_id}/actions/{action}": WORK,
    "POST /tickets/{ticket_id}/comments": WORK,
    "POST /tickets/{ticket_id}/attachments": WORK,
    "POST /tickets/{ticket_id}/assign": WORK,
    "POST /tickets/{ticket_id}/merge": WORK,
    "GET /tickets/{ticket_id}/parent": WORK,
    "POST /tickets/{ticket_id}/parent": WORK,
    "POST /tickets/{ticket_id}/watch": WORK,
    "GET /tickets.csv": SEE,
    "GET /tickets/{ticket_id}/attachments/{attachment_id}": SEE,
    "GET /tickets/{ticket_id}/merge": WORK,
    "GET /report": WORK,
    "GET /report/meets": WORK,
    "POST /report": WORK,
    # rollouts
    "GET /rollouts": SEE,
    "GET /rollouts/new": ROLL_OUT,
    "POST /rollouts": ROLL_OUT,
    "GET /rollouts/rows": SEE,
    "POST /rollouts/preview": ROLL_OUT,
    "GET /rollouts/{rollout_id}": SEE,
    "GET /rollouts/{rollout_id}/live": SEE,
    "GET /rollouts/{rollout_id}/jobs": SEE,
    "GET /rollouts/{rollout_id}/journal": SEE,
    "GET /rollouts/{rollout_id}/left-out": SEE,
    "POST /rollouts/{rollout_id}/steps/{step}": ROLL_OUT,
    # administration, and one's own account
    "GET /admin/inventory": ARRANGE,
    "GET /admin/inventory/import": ARRANGE,
    "POST /admin/inventory/import": ARRANGE,
    "GET /admin/inventory/{what}": ARRANGE,
    "GET /admin/inventory/{what}/new": ARRANGE,
    "POST /admin/inventory/{what}/new": ARRANGE,
    "GET /admin/inventory/{what}/{name}": ARRANGE,
    "POST /admin/inventory/{what}/{name}": ARRANGE,
    "GET /admin/people": ADMINISTER,
    "POST /admin/people/invite": ADMINISTER,
    "POST /admin/people/links/{invitation_id}/withdraw": ADMINISTER,
    "GET /admin/people/{person_id}": ADMINISTER,
    "POST /admin/people/{person_id}/disable": ADMINISTER,
    "POST /admin/people/{person_id}/enable": ADMINISTER,
    "POST /admin/people/{person_id}/link": ADMINISTER,
    "POST /admin/people/{person_id}/part": ADMINISTER,
    "GET /admin/tokens": ADMINISTER,
    "POST /admin/tokens": ADMINISTER,
    "POST /admin/tokens/{token_id}/revoke": ADMINISTER,
    "GET /admin/policy": ADMINISTER,
    "POST /admin/policy": ADMINISTER,
    "GET /admin/quarantine": ADMINISTER,
    "GET /admin/audit": ADMINISTER,
    "POST /admin/audit/verify": ADMINISTER,
    "GET /account": SEE,
    "POST /account/password": SEE,
    "POST /account/sessions/end": SEE,
    "POST /account/sessions/{session_id}/end": SEE,
}
"""What a person needs; None: nobody is asked who they are."""

FLEET_WIDE_TOO = {"GET /admin/inventory/import", "POST /admin/inventory/import"}
"""What whoever is narrowed may not, whatever their role: a file may name anybody's."""

OPEN = {"GET /healthz"} | {
    f"{method} /tuf/{path}" for method in ("GET", "HEAD") for path in ("metadata/{name}", "targets/{name:path}")
}
"""Of the rest of the web: needs neither session nor token."""

SAFE = ("GET ", "HEAD ")
NAMED = re.compile(r"\{(?:\w+_id|name)\}")
"""A path that names a subject."""

ROLLOUT = {"target": TARGET, "select": "merchant=m-mine", "reason": "x", "settings": dict(PLAN)}
WITH_APPROVAL = {**PLAN, "approval": True}

MY_PART = Within(merchant_ids=frozenset({f"m-{MINE}"}))

PEOPLE: dict[str, tuple[Role, Within]] = {str(role): (role, EVERYWHERE) for role in Role} | {
    f"{role}.of.{MINE}": (role, MY_PART) for role in Role if role is not Role.ADMIN
}


def routes() -> set[str]:
    """Return every route as `METHOD path`."""
    found = iter_route_contexts(Web(database=Store.in_memory()).routes.routes)
    return {f"{method} {route.path}" for route in found for method in route.methods or ()}


ROUTES = routes()
ASKED = sorted(route for route, needed in CONSOLE.items() if needed is not None and route in ROUTES)
DECLARED = {f"{method} {path}": needed for (method, path), needed in doors.permissions(console.ROUTERS).items()}
API = sorted(ROUTES - set(DECLARED) - OPEN)


class House:
    """Two merchants in one collector, and people and programs of every sort before its doors."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._came: dict[str, SignedIn] = {}

    def person(self, name: str) -> TestClient:
        """Return somebody's browser."""
        role, within = PEOPLE[name]
        if name not in self._came:
            self._came[name] = persons.joined(self.pair.web, name, role, within)
        return persons.browser(self.pair.web, self._came[name])

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put the database back as it was, whatever was done."""
        connection = self.pair.database._engine.raw_connection().driver_connection
        assert isinstance(connection, sqlite3.Connection)
        with closing(sqlite3.connect(":memory:")) as saved:
            connection.backup(saved)
            yield
            saved.backup(connection)

    def ask(self, client: TestClient, route: str, whose: str, **sent: Any) -> httpx2.Response:
        method, path = route.split(" ")
        return client.request(method, self.pair.subjects[whose].fill(path), **sent)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with stores_in(None) as opened:
        house = House(Pair(opened(), tmp_path_factory.mktemp("pair")))
        for name in PEOPLE:
            house.person(name)
        yield house


@pytest.fixture
def house(built: House) -> Iterator[House]:
    """The house as it was built, whatever the tests before did in it."""
    with built.undone():
        yield built


# --- the tables


def test_every_route_of_the_console_stands_in_the_table_and_asks_for_what_it_says() -> None:
    assert DECLARED == CONSOLE


def test_every_route_has_its_door() -> None:
    assert set(CONSOLE) <= ROUTES
    assert OPEN <= ROUTES
    assert all(route.partition(" ")[2].startswith(("/api/", "/metrics", "/readyz", "/openapi.json")) for route in API)


# --- every role at every route


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("route", ASKED)
def test_a_person_may_what_their_role_says_and_nothing_else(route: str, name: str, house: House) -> None:
    needed = CONSOLE[route]
    assert needed is not None
    answer = house.ask(house.person(name), route, MINE)
    role, within = PEOPLE[name]
    if may(role, within, needed) and (within.everywhere or route not in FLEET_WIDE_TOO):
        assert answer.status_code not in {401, 403}
        assert not answer.headers.get("location", "").startswith("/signin") or route == "POST /signout"
        assert answer.status_code < 500
    else:
        assert answer.status_code == 403


@pytest.mark.parametrize("route", ASKED)
def test_nobody_unknown_may_anything(route: str, house: House) -> None:
    nobody = persons.browser(house.pair.web)
    forged = persons.browser(house.pair.web)
    forged.cookies.set("tillwatch_session", "x" * 43)
    programs = persons.browser(house.pair.web, Authorization=f"Bearer {house.pair.web.secret(Scope.ADMIN)}")
    for client in (nobody, forged, programs):
        answer = house.ask(client, route, MINE)
        assert answer.status_code in {303, 401, 403}
        assert answer.headers.get("location", "/signin").startswith("/signin")
        assert MINE not in answer.text


@pytest.mark.parametrize("route", sorted(set(ASKED) - {route for route in ASKED if route.startswith(SAFE)}))
def test_nothing_is_done_without_the_token_of_a_page(route: str, house: House) -> None:
    client = house.person("admin")
    del client.headers["x-csrf-token"]
    before = written(house.pair.database)
    assert house.ask(client, route, MINE).status_code == 403
    assert written(house.pair.database) == before


@pytest.mark.parametrize("name", PEOPLE)
def test_a_rollout_is_approved_by_who_may_and_did_not_draft_it(name: str, house: House) -> None:
    drafted = house.ask(house.pair.api, "POST /api/v1/rollouts", MINE, json=ROLLOUT | {"settings": WITH_APPROVAL})
    path = f"/rollouts/{drafted.json()['rollout_id']}/steps"
    assert house.person("admin").post(f"{path}/start", data={"reason": "x"}).status_code == 303
    answer = house.person(name).post(f"{path}/approve", data={"reason": "x"})
    assert answer.status_code == (303 if may(*PEOPLE[name], APPROVE) else 403)


def test_nobody_approves_what_they_drafted(house: House) -> None:
    by_admin = {"X-Actor": "person:admin"}
    body = ROLLOUT | {"settings": WITH_APPROVAL}
    drafted = house.ask(house.pair.api, "POST /api/v1/rollouts", MINE, json=body, headers=by_admin)
    path = f"/rollouts/{drafted.json()['rollout_id']}/steps"
    admin = house.person("admin")
    assert admin.post(f"{path}/start", data={"reason": "x"}).status_code == 303
    assert admin.post(f"{path}/approve", data={"reason": "x"}).status_code in {403, 409, 422}
    assert house.person("approver").post(f"{path}/approve", data={"reason": "x"}).status_code == 303


# --- what is narrowed


@pytest.mark.parametrize("route", [route for route in ASKED if route.startswith(SAFE)])
def test_a_narrowed_person_sees_their_part_and_no_word_of_another(route: str, house: House) -> None:
    for name in (name for name, (role, within) in PEOPLE.items() if not within.everywhere and role is not Role.VIEWER):
        client = house.person(name)
        own = house.ask(client, route, MINE)
        assert naming_theirs(own) == []
        assert own.status_code in {200, 403, 404, 422}  # 422: an address from which something is missing
        if NAMED.search(route):
            other = house.ask(client, route, THEIRS)
            assert other.status_code in {403, 404}, other.text
            assert naming_theirs(other) == []


@pytest.mark.parametrize("route", [route for route in API if route.startswith(SAFE)])
def test_a_narrowed_token_sees_its_part_and_no_word_of_another(route: str, house: House) -> None:
    client = house.pair.narrowed(MY_PART, Scope.READ)
    own = house.ask(client, route, MINE)
    assert naming_theirs(own) == []
    assert own.status_code in {200, 403, 404}
    if NAMED.search(route):
        other = house.ask(client, route, THEIRS)
        assert other.status_code in {403, 404}, other.text
        assert naming_theirs(other) == []


def naming_theirs(answer: httpx2.Response) -> list[str]:
    """Return where an answer tells of the other, beside the names that were asked for."""
    text, asked = answer.text, f"{answer.request.url} {answer.request.read().decode(errors='replace')}"
    for word in sorted(re.findall(r"[\w-]+", asked), key=len, reverse=True):
        text = text.replace(word, "") if THEIRS in word else text
    return [text[max(0, found.start() - 80) : found.end() + 40] for found in re.finditer(THEIRS, text)]


def written(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables that requests of people change: not those of who is signed in."""
    tables = [name for (name,) in rows(store, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    kept = (name for name in tables if name not in {"session", "attempt", "audit"} and not name.startswith("sqlite_"))
    return {name: rows(store, f'SELECT * FROM "{name}"') for name in kept}


# --- what is narrowed and writes


SPAN = {"reason": "x", "ends_at": "2026-11-22T00:00:00Z"}

API_WRITES: list[tuple[str, str, Any]] = [
    # what is the other's
    ("PATCH /api/v1/merchants/{merchant_id}", THEIRS, {"name": "x"}),
    ("PUT /api/v1/merchants/{merchant_id}", THEIRS, {"merchant_id": "m-theirs", "name": "x"}),
    ("PATCH /api/v1/stores/{store_id}", THEIRS, {"name": "x"}),
    (
        "PUT /api/v1/stores/{store_id}",
        THEIRS,
        {"store_id": "s-theirs-1", "merchant_id": "m-mine", "name": "x", "time_zone": "UTC"},
    ),
    ("PATCH /api/v1/terminals/{terminal_id}", THEIRS, {"store_id": "s-mine-1"}),
    ("PUT /api/v1/terminals/{terminal_id}", THEIRS, {"terminal_id": "t-theirs-10", "store_id": "s-mine-1"}),
    ("POST /api/v1/terminals/{terminal_id}/commands", THEIRS, {"kind": "report"}),
    ("POST /api/v1/tickets", THEIRS, {"origin": "web", "terminal_id": "t-theirs-11", "title": "x"}),
    ("POST /api/v1/tickets", THEIRS, {"origin": "web", "store_id": "s-theirs-1", "title": "x"}),
    ("POST /api/v1/tickets/{ticket_id}/actions/assign", THEIRS, {"assignee": "person:ann"}),
    ("POST /api/v1/tickets/{ticket_id}/actions/merge", THEIRS, {"reason": "x", "into": 1}),
    ("POST /api/v1/tickets/{ticket_id}/actions/parent", THEIRS, {"reason": "x", "parent_id": 1}),
    ("POST /api/v1/tickets/{ticket_id}/actions/pend", THEIRS, {"reason": "x", "pending_on": "parts"}),
    ("POST /api/v1/tickets/{ticket_id}/actions/repair", THEIRS, {"reason": "x", "mode": "remote"}),
    ("POST /api/v1/tickets/{ticket_id}/actions/watch", THEIRS, {"watcher": "person:ann"}),
    ("POST /api/v1/tickets/{ticket_id}/actions/unwatch", THEIRS, {}),
    ("POST /api/v1/tickets/{ticket_id}/actions/{action}", THEIRS, {"reason": "x"}),
    ("POST /api/v1/tickets/{ticket_id}/comments", THEIRS, {"text": "x"}),
    ("POST /api/v1/maintenance", THEIRS, SPAN | {"scope_kind": "store", "scope_id": "s-theirs-1"}),
    ("POST /api/v1/maintenance", THEIRS, SPAN | {"scope_kind": "merchant", "scope_id": "m-theirs"}),
    ("POST /api/v1/maintenance", THEIRS, SPAN | {"scope_kind": "terminal", "scope_id": "t-theirs-10"}),
    ("POST /api/v1/maintenance/{maintenance_id}/cancel", THEIRS, {"reason": "x"}),
    # what is nobody's, or everybody's
    ("POST /api/v1/merchants", MINE, {"merchant_id": "m-3", "name": "x"}),
    ("POST /api/v1/stores", MINE, {"store_id": "s-9", "merchant_id": "m-theirs", "name": "x", "time_zone": "UTC"}),
    ("POST /api/v1/terminals", MINE, {"terminal_id": "t-9", "store_id": "s-theirs-1"}),
    ("POST /api/v1/terminals", MINE, {"terminal_id": "t-9"}),
    ("POST /api/v1/maintenance", MINE, SPAN | {"scope_kind": "all"}),
    ("POST /api/v1/rollouts", MINE, ROLLOUT),
    ("POST /api/v1/rollouts/plan", MINE, {"target": TARGET, "select": "all", "reason": "x", "settings": dict(PLAN)}),
    ("POST /api/v1/rollouts/{rollout_id}/actions/{action}", MINE, {"reason": "x"}),
    ("POST /api/v1/rollouts/{rollout_id}/actions/clone", MINE, {"reason": "x", "whom": "all"}),
    # what is one's own, joined to what is not
    ("POST /api/v1/tickets/{ticket_id}/actions/merge", MINE, {"reason": "x", "into": 2}),
    ("POST /api/v1/tickets/{ticket_id}/actions/parent", MINE, {"reason": "x", "parent_id": 2}),
    ("PATCH /api/v1/terminals/{terminal_id}", MINE, {"store_id": "s-theirs-1"}),
    ("PATCH /api/v1/terminals/{terminal_id}", MINE, {"store_id": None}),
    ("PATCH /api/v1/stores/{store_id}", MINE, {"merchant_id": "m-theirs"}),
]
"""Route, whose subjects stand in its path, body: all of it asked by a token that is narrowed to mine."""


@pytest.mark.parametrize(("route", "whose", "body"), API_WRITES)
def test_a_narrowed_token_changes_nothing_beyond_its_part(route: str, whose: str, body: Any, house: House) -> None:
    client = house.pair.narrowed(MY_PART, Scope.READ, Scope.WRITE)
    before = written(house.pair.database)
    answer = house.ask(client, route, whose, json=body)
    assert answer.status_code in {403, 404, 409, 422}, answer.text
    assert written(house.pair.database) == before
    whole = house.ask(house.pair.api, route, whose, json=body)
    assert whole.status_code in {200, 201, 409}, f"expected what another token can do: {whole.text}"


CONSOLE_WRITES: list[tuple[str, str, dict[str, str]]] = [
    ("POST /terminals/{terminal_id}/commands", THEIRS, {"kind": "report"}),
    ("POST /tickets/{ticket_id}/actions/{action}", THEIRS, {"reason": "x"}),
    ("POST /tickets/{ticket_id}/comments", THEIRS, {"text": "x"}),
    ("POST /tickets/{ticket_id}/assign", THEIRS, {"assignee": "person:ann", "reason": "x"}),
    ("POST /tickets/{ticket_id}/merge", THEIRS, {"into": "1", "reason": "x"}),
    ("POST /tickets/{ticket_id}/merge", MINE, {"into": "2", "reason": "x"}),
    ("POST /report", THEIRS, {"terminal_id": "t-theirs-11", "title": "x", "origin": "phone"}),
    ("POST /report", THEIRS, {"store_id": "s-theirs-1", "title": "x", "origin": "phone"}),
]


@pytest.mark.parametrize(("route", "whose", "form"), CONSOLE_WRITES)
def test_a_narrowed_person_changes_nothing_beyond_their_part(
    route: str, whose: str, form: dict[str, str], house: House
) -> None:
    client = house.person(f"operator.of.{MINE}")
    before = written(house.pair.database)
    answer = house.ask(client, route, whose, data=form)
    assert answer.status_code in {403, 404, 409, 422}, answer.headers.get("location")
    assert naming_theirs(answer) == []
    assert written(house.pair.database) == before
    whole = house.ask(house.person("operator"), route, whose, data=form)
    assert whole.status_code == 303, "expected what another person can do"
