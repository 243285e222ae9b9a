"""People, tokens and the audit log by the command line, on both databases."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from tillwatch_collector import people
from tillwatch_collector.__main__ import main
from tillwatch_collector.people import SignedIn
from tillwatch_collector.store.session import Store

Run = Callable[..., tuple[int, str, str]]

PASSWORD = "two lamps on a green table"


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def run(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command, with what somebody types; exit code, standard output, standard error."""
    monkeypatch.setenv("TILLWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TILLWATCH_DATABASE_URL", url)

    def run(*arguments: str, typed: str = PASSWORD) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{typed}\n"))
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def ann(run: Run) -> Run:
    """An admin is there."""
    assert run("person", "add", "ann", "--name", "Ann Lee", "--role", "admin") == (0, "person ann added\n", "")
    return run


def comes_in(url: str, login: str = "ann", password: str = PASSWORD) -> bool:
    store = Store.open(url)
    try:
        came = people.sign_in(
            store, login=login, password=password, address="192.0.2.1", user_agent="x", now=datetime.now(UTC)
        )
    finally:
        store.close()
    return isinstance(came, SignedIn)


# --- people


def test_a_person_who_was_added_comes_in(ann: Run, url: str) -> None:
    assert comes_in(url)
    (told,) = json.loads(ann("person", "list", "--json")[1])
    assert (told["person_id"], told["role"], told["within"]) == ("ann", "admin", {"merchant_ids": [], "store_ids": []})
    assert "everywhere" in ann("person", "list")[1]
    assert PASSWORD not in str(told)


def test_somebody_invited_comes_in_by_the_link(run: Run, url: str) -> None:
    code, out, err = run("person", "invite", "--role", "operator", "--store", "s-1")
    assert (code, "for one operator, once" in err) == (0, True)
    link = out.strip()
    assert link.startswith("http://127.0.0.1:8080/welcome/")
    store = Store.open(url)
    came = people.welcome(
        store, key=link.rpartition("/")[2], person_id="bob", name="Bob", password=PASSWORD, now=datetime.now(UTC)
    )
    store.close()
    assert isinstance(came, SignedIn)
    assert came.signed.person.within.store_ids == {"s-1"}


def test_a_link_leads_to_the_collector_that_runs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "serve.json").write_text('{"web_url": "http://127.0.0.1:4321", "pid": 1}', encoding="utf-8")
    told = json.loads(run("person", "invite", "--json")[1])
    assert told["link"].startswith("http://127.0.0.1:4321/welcome/")
    monkeypatch.setenv("TILLWATCH_NOTIFY__BASE_URL", "https://ops.example/till/")
    assert run("person", "invite")[1].startswith("https://ops.example/till/welcome/")


def test_a_forgotten_password_is_set_here_or_by_a_link(ann: Run, url: str) -> None:
    assert ann("person", "password", "ann", typed="a slow train through the hills")[0] == 0
    assert comes_in(url, password="a slow train through the hills")
    code, out, _ = ann("person", "password", "ann", "--link")
    assert (code, "/welcome/" in out) == (0, True)


def test_a_role_and_a_part_are_given(ann: Run) -> None:
    ann("person", "add", "bob", "--name", "Bob", "--role", "viewer")
    assert ann("person", "role", "bob", "operator", "--merchant", "m-2", "--merchant", "m-1", "--store", "s-9") == (
        0,
        "person bob: operator, m-1, m-2, s-9\n",
        "",
    )
    _, bob = json.loads(ann("person", "list", "--json")[1])
    assert (bob["role"], sorted(bob["within"]["merchant_ids"])) == ("operator", ["m-1", "m-2"])


def test_whoever_is_disabled_stays_out_until_enabled(ann: Run, url: str) -> None:
    ann("person", "add", "bob", "--name", "Bob", "--role", "viewer")
    assert ann("person", "disable", "bob")[1] == "person bob is disabled\n"
    assert not comes_in(url, "bob")
    assert ann("person", "enable", "bob")[1] == "person bob may come in\n"
    assert comes_in(url, "bob")


@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [
        (("add", "ann", "--name", "Eve", "--role", "viewer"), PASSWORD, "expected an id that nobody has"),
        (("add", "Eve", "--name", "Eve", "--role", "viewer"), PASSWORD, "expected an id of 1 to 64"),
        (("add", "eve", "--name", "", "--role", "viewer"), PASSWORD, "expected a name of 1 to 100"),
        (("add", "eve", "--name", "Eve", "--role", "viewer"), "short", "at least 12 characters"),
        (("add", "eve", "--name", "Eve", "--role", "viewer"), "x" * 201, "at most 200 characters"),
        (("add", "eve", "--name", "Eve", "--role", "viewer"), "password1234", "everybody tries first"),
        (("add", "eve", "--name", "Evelyn Strong", "--role", "viewer"), "EvelynStrong", "more than its owner's name"),
        (("add", "eve", "--name", "Eve", "--role", "admin", "--store", "s-1"), PASSWORD, "narrowed to nothing"),
        (("role", "ann", "viewer"), "", "expected another admin"),
        (("disable", "ann"), "", "expected another admin"),
        (("disable", "nobody"), "", "expected somebody whom `person list` shows"),
        (("enable", "nobody"), "", "expected somebody whom `person list` shows"),
        (("password", "nobody"), PASSWORD, "expected somebody whom `person list` shows"),
        (("password", "nobody", "--link"), "", "expected somebody whom `person list` shows"),
        (("invite", "--id", "ann"), "", "expected an id that nobody has"),
        (("invite", "--role", "admin", "--store", "s-1"), "", "narrowed to nothing"),
    ],
)
def test_what_cannot_be_is_refused_in_words(ann: Run, arguments: tuple[str, ...], typed: str, said: str) -> None:
    code, out, err = ann("person", *arguments, typed=typed)
    assert (code, out) == (1, "")
    assert said in err


def test_who_did_it_is_the_one_who_is_named(ann: Run) -> None:
    ann("person", "invite", "--by", "provider:acme")
    (line,) = json.loads(ann("audit", "list", "--action", "person_invited", "--json")[1])
    assert line["actor"] == "provider:acme"
    assert ann("person", "invite", "--by", "acme")[0] == 1


# --- tokens


def test_a_token_is_narrowed_and_ends(run: Run) -> None:
    arguments = ("--name", "till", "--scope", "read", "--merchant", "m-1", "--store", "s-9", "--expires-in", "12h")
    assert run("token", "create", *arguments)[0] == 0
    (token,) = json.loads(run("token", "list", "--json")[1])
    assert token["within"] == {"merchant_ids": ["m-1"], "store_ids": ["s-9"]}
    ends = datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["created_at"])
    assert ends == timedelta(hours=12)
    assert "m-1, s-9" in run("token", "list")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--scope", "read", "--expires-in", "soon"), 2, "expected a span such as 90d"),
        (("--scope", "read", "--expires-in", "0d"), 2, "expected a span such as 90d"),
        (("--scope", "read", "--expires-in", "-5d"), 2, "expected a span such as 90d"),
        (("--scope", "read", "--expires-in", "3651d"), 1, "at most 3650 days"),
        (("--scope", "admin", "--store", "s-1"), 1, "narrowed to nothing"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = run("token", "create", "--name", "till", *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert json.loads(run("token", "list", "--json")[1]) == []


# --- the audit log


def test_the_log_tells_what_commands_did(ann: Run) -> None:
    ann("inventory", "merchant", "add", "m-1", "--name", "Noodle House")
    ann("inventory", "store", "add", "s-1", "--merchant", "m-1", "--name", "Bund", "--time-zone", "Asia/Shanghai")
    ann("inventory", "terminal", "add", "t-1", "--store", "s-1")
    ann("inventory", "terminal", "set", "t-1", "--brand", "Epson")
    ann("inventory", "terminal", "set", "t-1", "--brand", "Epson")  # which changes nothing
    ann("maintenance", "add", "--store", "s-1", "--reason", "painting", "--from", "2026-11-22T00:00+00:00")
    token = json.loads(ann("token", "create", "--name", "till", "--scope", "read", "--json")[1])
    ann("token", "revoke", token["token_id"])
    told = json.loads(ann("audit", "list", "--json")[1])
    actions = [line["action"] for line in reversed(told)]
    assert [one for one in actions if not one.startswith("maintenance")] == [
        "person_added",
        "merchant_added",
        "store_added",
        "terminal_added",
        "terminal_changed",
        "token_made",
        "token_revoked",
    ]
    changed = next(line for line in told if line["action"] == "terminal_changed")
    assert changed["detail"] == {"brand": {"before": None, "after": "Epson"}}
    assert token["token"] not in str(told)


def test_a_log_that_fits_says_what_to_note(ann: Run) -> None:
    code, out, err = ann("audit", "verify")
    assert code == 0
    lines, noted = out.splitlines()
    assert lines == "1 lines fit"
    assert "note this elsewhere" in err
    assert ann("audit", "verify", "--noted", noted)[0] == 0


def test_a_log_that_was_altered_is_found_out(ann: Run, url: str) -> None:
    noted = ann("audit", "verify")[1].splitlines()[1]
    store = Store.open(url)
    with store.transaction() as repository:
        repository.connection.execute(text("UPDATE audit SET actor = 'person:eve'"))
    code, _, err = ann("audit", "verify")
    assert (code, "line 1: its digest is not its content's: it was altered" in err) == (1, True)
    assert json.loads(ann("audit", "verify", "--json")[1])["misfit"] == {"audit_no": 1, "why": "altered"}
    with store.transaction() as repository:
        repository.connection.execute(text("DELETE FROM audit"))
    store.close()
    code, _, err = ann("audit", "verify", "--noted", noted)
    assert (code, "its end is gone" in err) == (1, True)


def test_what_is_no_note_is_refused(ann: Run) -> None:
    code, _, err = ann("audit", "verify", "--noted", "yesterday")
    assert (code, "expected NO:DIGEST" in err) == (2, True)


def test_an_empty_log_fits(run: Run) -> None:
    assert run("audit", "verify")[:2] == (0, "0 lines fit\n")
    assert run("audit", "list")[:2] == (0, "")
