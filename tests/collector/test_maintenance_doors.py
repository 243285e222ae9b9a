"""Maintenance by its doors: the store on both databases, the API, the command line."""

import json
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.collector.databases import rows
from tests.collector.shell_fixtures import NOW, Web, describe

from tillwatch_collector.__main__ import main
from tillwatch_collector.domain.maintenance import Book, Maintenance, MaintenanceRefused, Place, Scope, Weekly
from tillwatch_collector.errors import StoreError
from tillwatch_collector.store import maintenance as maintenance_store
from tillwatch_collector.store.inventory import UnknownReference
from tillwatch_collector.store.maintenance import MaintenanceOver, MaintenanceUnknown
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope as TokenScope

TILL = Place(terminal_id="t-1", store_id="s-1", merchant_id="m-1")
NIGHTLY = {"time_zone": "Asia/Shanghai", "days": ["sat", "sun"], "from": "22:00", "to": "06:00"}
"""Shanghai is eight hours ahead: it is 20:00 there at `NOW`, a Saturday."""
URL = "/api/v1/maintenance"


def hours(count: float) -> datetime:
    return NOW + timedelta(hours=count)


@pytest.fixture
def described(store: Store) -> Store:
    describe(store)
    return store


def add(store: Store, *, by: str = "person:ann", now: datetime = NOW, **said: Any) -> int:
    asked = Maintenance.model_validate({"scope_kind": "all", "reason": "new line", **said})
    with store.transaction() as repository:
        return repository.maintenance.add(asked, actor=by, now=now)


# --- the store


def test_what_is_kept_mutes_as_it_was_described(described: Store) -> None:
    first = add(described, scope_kind="store", scope_id="s-1", ends_at=hours(2))
    second = add(described, scope_kind="merchant", scope_id="m-1", weekly=NIGHTLY)
    with described.transaction() as repository:
        spans = repository.maintenance.current(NOW)
    assert [(span.maintenance_id, span.scope, span.scope_id) for span in spans] == [
        (first, Scope.STORE, "s-1"),
        (second, Scope.MERCHANT, "m-1"),
    ]
    book = Book(spans)
    found = book.active(TILL, NOW)
    assert found is not None
    assert (found.span.maintenance_id, found.until) == (first, hours(10))  # the night begins where the line is done
    assert book.active(Place(terminal_id="t-2", store_id="s-2", merchant_id="m-1"), NOW) is None
    assert rows(described, "SELECT starts_at, created_by FROM maintenance ORDER BY 1")[0] == (
        "2026-11-21 12:00:00.000000",
        "person:ann",
    )


def test_what_is_over_or_cancelled_is_not_current(described: Store) -> None:
    over = add(described, ends_at=hours(1))
    cancelled = add(described, weekly=NIGHTLY)
    ended = add(described, weekly=NIGHTLY, ends_at=hours(2))
    endless = add(described, weekly=NIGHTLY)
    with described.transaction() as repository:
        before = repository.maintenance.stamp()
        repository.maintenance.cancel(cancelled, actor="person:ann", reason="done early", now=NOW)
        assert repository.maintenance.stamp() != before
        ids = [[span.maintenance_id for span in repository.maintenance.current(at)] for at in (NOW, hours(1), hours(2))]
    assert ids == [[over, ended, endless], [ended, endless], [endless]]


def test_a_stamp_changes_with_what_is_added_and_with_nothing_else(described: Store) -> None:
    with described.transaction() as repository:
        empty = repository.maintenance.stamp()
    add(described, ends_at=hours(1))
    with described.transaction() as repository:
        one = repository.maintenance.stamp()
        assert repository.maintenance.stamp() == one
    assert (empty, one) == ((0, 0), (1, 0))


def test_a_span_is_cancelled_once_and_says_by_whom_and_why(described: Store) -> None:
    number = add(described, ends_at=hours(1))
    with described.transaction() as repository:
        repository.maintenance.cancel(number, actor="person:bob", reason="done early", now=NOW)
    said = rows(described, "SELECT cancelled_at, cancelled_by, cancel_reason FROM maintenance")
    assert said == [("2026-11-21 12:00:00.000000", "person:bob", "done early")]
    for wrong, now, error in (
        (number, NOW, MaintenanceOver),
        (add(described, ends_at=hours(1)), hours(1), MaintenanceOver),
        (99, NOW, MaintenanceUnknown),
    ):
        with pytest.raises(error), described.transaction() as repository:
            repository.maintenance.cancel(wrong, actor="person:bob", reason="again", now=now)
    assert rows(described, f"SELECT cancel_reason FROM maintenance WHERE maintenance_id = {number}") == [
        ("done early",)
    ]


@pytest.mark.parametrize(
    "said", [{"scope_kind": "store", "scope_id": "s-9"}, {"scope_kind": "terminal", "scope_id": "s-1"}]
)
def test_a_span_is_for_somebody_who_is_known(described: Store, said: dict[str, Any]) -> None:
    with pytest.raises(UnknownReference, match="scope_id: expected a known one"):
        add(described, ends_at=hours(1), **said)
    assert rows(described, "SELECT count(*) FROM maintenance") == [(0,)]


def test_there_are_only_so_many_spans_that_are_not_over(described: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance_store, "CURRENT_MAX", 2)
    for _ in range(2):
        add(described, ends_at=hours(1))
    with pytest.raises(MaintenanceRefused, match="expected at most 2 spans that are not over"):
        add(described, ends_at=hours(1))
    add(described, ends_at=hours(4), now=hours(2))


def test_a_span_that_a_person_cannot_describe_is_none_of_ours(described: Store) -> None:
    assert not issubclass(MaintenanceRefused, StoreError)
    with pytest.raises(MaintenanceRefused, match="ends_at"):
        add(described, ends_at=NOW)


# --- the API


@pytest.fixture
def writer(empty: Web) -> TestClient:
    describe(empty.database)
    return empty.client(TokenScope.WRITE, TokenScope.READ)


def asked(**said: Any) -> dict[str, Any]:
    return {"scope_kind": "store", "scope_id": "s-1", "ends_at": hours(2).isoformat(), "reason": "new line"} | said


def test_a_span_lives(writer: TestClient, empty: Web) -> None:
    answer = writer.post(URL, json=asked())
    assert answer.status_code == HTTPStatus.CREATED
    made = answer.json()
    assert made == {
        "maintenance_id": 1,
        "scope_kind": "store",
        "scope_id": "s-1",
        "starts_at": "2026-11-21T12:00:00Z",
        "ends_at": "2026-11-21T14:00:00Z",
        "weekly": None,
        "reason": "new line",
        "created_by": "token:test",
        "created_at": "2026-11-21T12:00:00Z",
        "cancelled_at": None,
        "cancelled_by": None,
        "cancel_reason": None,
        "mutes_until": "2026-11-21T14:00:00Z",
    }
    assert writer.get(f"{URL}/1").json() == made
    empty.now = hours(1)
    cancelled = writer.post(f"{URL}/1/cancel", json={"reason": "done early"})
    assert cancelled.status_code == HTTPStatus.OK
    said = cancelled.json()
    assert (said["cancelled_at"], said["cancelled_by"], said["cancel_reason"], said["mutes_until"]) == (
        "2026-11-21T13:00:00Z",
        "token:test",
        "done early",
        None,
    )
    assert writer.post(f"{URL}/1/cancel", json={"reason": "again"}).status_code == HTTPStatus.CONFLICT


def test_a_weekly_span_is_shown_as_it_was_described(writer: TestClient) -> None:
    made = writer.post(URL, json=asked(scope_kind="all", scope_id=None, ends_at=None, weekly=NIGHTLY)).json()
    assert (made["scope_id"], made["weekly"], made["ends_at"], made["mutes_until"]) == (None, NIGHTLY, None, None)


def test_spans_are_listed_by_how_they_stand(writer: TestClient, empty: Web) -> None:
    spans = (
        asked(),  # mutes
        asked(starts_at=hours(1).isoformat()),  # to come
        asked(ends_at=hours(0.25).isoformat()),  # over
        asked(scope_kind="terminal", scope_id="t-1"),  # cancelled
        asked(scope_kind="merchant", scope_id="m-1", ends_at=None, weekly=NIGHTLY),  # between its nights
    )
    for body in spans:
        assert writer.post(URL, json=body).status_code == HTTPStatus.CREATED
    writer.post(f"{URL}/4/cancel", json={"reason": "mistyped"})
    empty.now = hours(0.5)
    expected: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [1, 2, 3, 4, 5]),
        ({"active": True}, [1]),
        ({"active": False}, [2, 3, 4, 5]),
        ({"current": True}, [1, 2, 5]),
        ({"current": False}, [3, 4]),
        ({"scope_kind": "store"}, [1, 2, 3]),
        ({"scope_kind": "merchant", "scope_id": "m-1"}, [5]),
        ({"scope_id": "t-1"}, [4]),
        ({"sort": "-maintenance_id", "limit": 2}, [5, 4]),
    ]
    for query, ids in expected:
        found = writer.get(URL, params=query).json()
        assert [item["maintenance_id"] for item in found["items"]] == ids, query
    empty.now = hours(3)
    assert [item["maintenance_id"] for item in writer.get(URL, params={"active": True}).json()["items"]] == [5]


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        (asked(scope_id="s-9"), "scope_id", "a known one"),
        (asked(ends_at=NOW.isoformat()), "ends_at", "a time after 2026-11-21T12:00:00+00:00"),
        (asked(ends_at=hours(24 * 91).isoformat()), "ends_at", "at most 90 days after starts_at"),
        (asked(scope_kind="all"), "body", "expected scope_id with terminal, store and merchant"),
        (asked(reason=" "), "body.reason", "match pattern"),
        (asked(weekly=NIGHTLY | {"time_zone": "x"}), "body.weekly.time_zone", "expected an IANA name"),
        (asked(actor="person:bob"), "body.actor", "no such field"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(
    writer: TestClient, body: dict[str, Any], field: str, expected: str
) -> None:
    answer = writer.post(URL, json=body)
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert expected in error["expected"]


def test_what_is_not_there_is_said_to_be_missing(writer: TestClient) -> None:
    assert writer.get(f"{URL}/9").status_code == HTTPStatus.NOT_FOUND
    assert writer.post(f"{URL}/9/cancel", json={"reason": "x"}).status_code == HTTPStatus.NOT_FOUND
    assert writer.get(f"{URL}/0").status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert writer.get(URL, params={"sort": "reason"}).status_code == HTTPStatus.UNPROCESSABLE_ENTITY


# --- the command line


class Shell:
    """Runs commands: exit code, standard output, standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Commands over an SQLite database that is made when one is needed."""
    monkeypatch.setenv("TILLWATCH_DATA_DIR", str(tmp_path))
    return Shell(capsys)


@pytest.fixture
def run(shell: Shell, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Commands over a database of either kind, with a merchant and a terminal."""
    if not database_url.startswith("sqlite"):
        monkeypatch.setenv("TILLWATCH_DATABASE_URL", database_url)
    assert shell("inventory", "merchant", "add", "m-1", "--name", "Noodle House")[0] == 0
    assert shell("inventory", "terminal", "add", "t-1")[0] == 0
    return shell


def test_a_span_is_added_listed_and_cancelled(run: Shell) -> None:
    week = "mon,tue,wed,thu,fri,sat=22:00-06:00 Europe/Berlin"
    assert run("maintenance", "add", "--merchant", "m-1", "--weekly", week, "--reason", "restart")[:2] == (
        0,
        "maintenance 1\n",
    )
    code, out, _ = run("maintenance", "add", "--all", "--to", "2999-01-01T00:00:00Z", "--reason", "x", "--json")
    assert (code, out) == (1, "")
    code, out, err = run("maintenance", "list")
    assert (code, week[:20] in out, "restart" in out, err) == (0, True, True, "")
    assert run("maintenance", "cancel", "1", "--reason", "no more")[:2] == (0, "maintenance 1: cancelled\n")
    assert run("maintenance", "list")[2] == "(none)\n"
    assert run("maintenance", "list", "--active")[2] == "(none)\n"
    (shown,) = json.loads(run("maintenance", "list", "--old", "--json")[1])
    assert shown["cancel_reason"] == "no more"
    assert shown["cancelled_by"].startswith("person:")
    code, _, err = run("maintenance", "cancel", "1", "--reason", "again")
    assert (code, "expected a span that is not over" in err) == (1, True)


def test_a_span_to_come_says_that_it_does_not_mute_yet(run: Shell) -> None:
    week = Weekly.model_validate(NIGHTLY)
    soon = (datetime.now(NOW.tzinfo) + timedelta(days=2)).isoformat()
    said = ("--terminal", "t-1", "--from", soon, "--reason", "x")
    code, out, err = run("maintenance", "add", *said, "--weekly", f"sat=22:00-06:00 {week.time_zone}")
    assert (code, out, "it begins later" in err) == (0, "maintenance 1\n", True)
    code, out, _ = run("maintenance", "add", *said, "--weekly", f"sat=22:00-06:00 {week.time_zone}", "--json")
    assert (code, json.loads(out)["mutes_until"]) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "one of --terminal, --store, --merchant and --all, got 0"),
        (("--all", "--merchant", "m-1"), "one of --terminal, --store, --merchant and --all, got 2"),
        (("--all",), "maintenance: expected ends_at where it is not weekly"),
        (("--store", "s-9", "--weekly", "mon=22:00-06:00 Europe/Berlin"), "scope_id: expected a known one, got 's-9'"),
        (("--all", "--to", "tomorrow"), "ends_at: expected"),
        (("--all", "--to", "2026-11-22T06:00:00"), "ends_at: expected"),  # whose six o'clock?
        (("--all", "--weekly", "22:00-06:00"), "weekly: expected days=from-to zone"),
        (("--all", "--weekly", "mon=22:00-06:00"), "weekly: expected days=from-to zone"),
        (("--all", "--weekly", "mon=22:00 Europe/Berlin"), "weekly: expected days=from-to zone"),
        (("--all", "--weekly", "monday=22:00-06:00 Europe/Berlin"), "weekly.days.0: expected 'mon', 'tue'"),
        (("--all", "--weekly", "mon=22:00-06:00 Berlin"), "weekly.time_zone: expected an IANA name"),
    ],
)
def test_a_command_that_makes_no_sense_says_why(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = shell("maintenance", "add", "--reason", "x", *arguments)
    assert (code, out) == (1, "")
    assert said in err
