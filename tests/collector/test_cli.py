import io
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tests.collector.shell_fixtures import NOW

from tillwatch_collector.__main__ import main
from tillwatch_collector.cli import root
from tillwatch_collector.domain.ticket import TicketIdentity
from tillwatch_collector.flows.tickets import Why, open_or_recur
from tillwatch_collector.policies import load as load_policy
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store

Run = Callable[..., tuple[int, str, str]]

STORE = ("--merchant", "m-1", "--name", "Bund 18", "--time-zone", "Asia/Shanghai")


@pytest.fixture
def run_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command over a database of its own: exit code, standard output, standard error."""
    monkeypatch.setenv("TILLWATCH_DATA_DIR", str(tmp_path))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def run(run_on_sqlite: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command over a database of either kind."""
    if not database_url.startswith("sqlite"):
        monkeypatch.setenv("TILLWATCH_DATABASE_URL", database_url)
    return run_on_sqlite


@pytest.fixture
def described(run: Run) -> Run:
    assert run("inventory", "merchant", "add", "m-1", "--name", "Noodle House")[0] == 0
    assert run("inventory", "store", "add", "s-1", *STORE, "--region", "east")[0] == 0
    assert run("inventory", "terminal", "add", "t-1", "--store", "s-1", "--brand", "Epson")[0] == 0
    return run


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("migrate",),
        ("token", "create"),
        ("inventory",),
        ("inventory", "import"),
        ("inventory", "store", "set"),
        ("ticket", "show"),
    ],
)
def test_every_command_teaches(run_on_sqlite: Run, command: tuple[str, ...]) -> None:
    code, out, _ = run_on_sqlite(*command, "--help")
    assert code == 0
    assert "Usage: tillwatch-collector" in out


def test_migrating_is_done_once_and_again(run_on_sqlite: Run, tmp_path: Path) -> None:
    assert run_on_sqlite("migrate")[:2] == (0, "the database is up to date\n")
    assert run_on_sqlite("migrate")[0] == 0
    assert (tmp_path / "collector.db").exists()


@pytest.mark.parametrize("role", ["ingest", "tick", "web"])
def test_roles_apart_refuse_sqlite_and_name_the_way_up(run_on_sqlite: Run, role: str) -> None:
    code, _, err = run_on_sqlite(role)
    assert code == 2
    assert "expected PostgreSQL, got SQLite" in err
    assert "runs all roles in one `tillwatch-collector serve`" in err


@pytest.mark.parametrize("role", ["ingest", "tick"])
def test_roles_apart_hear_of_the_database_before_their_certificate(
    run_on_sqlite: Run, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setenv("TILLWATCH_BROKER__HOST", "localhost")
    monkeypatch.setenv("TILLWATCH_BROKER__CA_FILE", "/nowhere/ca.crt")
    code, _, err = run_on_sqlite(role)
    assert (code, "expected PostgreSQL, got SQLite" in err, "ca_file" in err) == (2, True, False)


def test_a_start_that_would_trust_no_broker_ends_with_2_and_names_the_file(
    run_on_sqlite: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILLWATCH_WEB__PORT", "0")
    monkeypatch.setenv("TILLWATCH_BROKER__HOST", "localhost")
    monkeypatch.setenv("TILLWATCH_BROKER__CA_FILE", "/nowhere/ca.crt")
    code, out, err = run_on_sqlite("serve")
    assert (code, out) == (2, "")
    assert "broker.ca_file: expected a readable file, got /nowhere/ca.crt" in err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+asyncpg://u:hunter2@h/d", "got another URL"),
        ("postgresql://u:hunter2@h:port/d", "expected a URL such as sqlite:///"),
        ("postgresql://u:hunter2@h", "got one without the name of a database"),
        ("postgresql://u:hu@nt/er2@h/db", "a password these are written %40 and %2F"),
        ("postgresql://u:hunter2@h/d?sslmod=hunter2", "expected parameters of PostgreSQL"),
        ("foo://u:hunter2@bar", "got another URL"),
        ("hunter2", "expected a URL such as sqlite:///"),
        ("sqlite+aiosqlite:///hunter2", "got another URL"),
        ("sqlite://u:hunter2@h/d", "got another URL"),
        ("sqlite:///d?timeout=hunter2", "got another URL"),
        ("", "expected some text"),
    ],
)
@pytest.mark.parametrize("command", [("migrate",), ("web",), ("serve",)])
def test_a_database_that_cannot_be_used_ends_with_2_and_its_password_is_not_shown(
    run_on_sqlite: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], url: str, said: str
) -> None:
    monkeypatch.setenv("TILLWATCH_DATABASE_URL", url)
    monkeypatch.setenv("TILLWATCH_WEB__PORT", "0")
    code, out, err = run_on_sqlite(*command)
    assert (code, out) == (2, "")
    assert said in err
    assert "hunter2" not in err


@pytest.mark.parametrize("command", [("token", "list"), ("inventory", "terminal", "list"), ("ticket", "list")])
def test_a_forgotten_config_makes_no_new_database(
    run_on_sqlite: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv("TILLWATCH_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    code, _, err = run_on_sqlite(*command)
    assert code == 2
    assert f"{tmp_path / 'tillwatch-data'}, found none: say with --config" in err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "c.toml").write_text("data_dir = 'here'\n", encoding="utf-8")
    assert run_on_sqlite(*command, "--config", "c.toml")[0] == 0
    monkeypatch.setenv("TILLWATCH_CONFIG", "c.toml")
    assert run_on_sqlite(*command)[0] == 0


def test_it_tells_its_version_and_its_exit_codes(run: Run) -> None:
    assert run("--version")[:2] == (0, f"tillwatch-collector {version('tillwatch-collector')}\n")
    assert "Exit codes: 0 done; 1 it cannot be done" in run("--help")[1]


def test_help_shows_brackets_and_paragraphs_as_written(run: Run) -> None:
    out = run("serve", "--help")[1]
    assert "Without a [broker] in the settings" in out


def test_ctrl_c_while_it_starts_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(root, "run", interrupted)
    assert main(["migrate"]) == 130
    assert capsys.readouterr() == ("", "")


def test_wrong_settings_end_with_2_and_say_which(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[web]\nprt = 1\n", encoding="utf-8")
    code, _, err = run("migrate", "--config", str(tmp_path / "c.toml"))
    assert code == 2
    assert "web.prt: unknown key; expected perhaps port" in err


@pytest.mark.parametrize("arguments", [("nonsense",), ("ticket", "show", "x"), ("serve", "--log-level", "loud")])
def test_a_wrong_command_line_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_a_variable_that_is_no_setting_is_warned_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLWATCH_WEBB__PORT", "1")
    code, _, err = run("migrate")
    assert (code, "TILLWATCH_WEBB__PORT is no setting" in err) == (0, True)


# --- tokens


def test_a_token_is_shown_once_alone_on_standard_output(run: Run) -> None:
    code, out, err = run(
        "token", "create", "--name", "ann", "--scope", "read", "--scope", "write", "--expires-in", "30d"
    )
    assert (code, out.startswith("tw_"), out.count("\n")) == (0, True, 1)
    assert "not shown again" in err
    _, listed, _ = run("token", "list", "--json")
    (token,) = json.loads(listed)
    assert (token["name"], token["scopes"]) == ("ann", ["read", "write"])
    assert out.strip() not in listed
    assert token["expires_at"] is not None


def test_a_token_is_revoked_once(run: Run) -> None:
    created = json.loads(run("token", "create", "--name", "ann", "--scope", "read", "--json")[1])
    assert created["token"].startswith("tw_")
    assert run("token", "revoke", created["token_id"])[0] == 0
    code, _, err = run("token", "revoke", created["token_id"])
    assert (code, "expected one that `token list` shows" in err) == (1, True)
    assert created["token_id"] in run("token", "list")[1]


@pytest.mark.parametrize("name", ["", "a\x1bb", "x" * 101])
def test_a_tokens_name_is_short_and_printable(run: Run, name: str) -> None:
    code, out, err = run("token", "create", "--name", name, "--scope", "read")
    assert (code, out) == (1, "")
    assert "expected 1 to 100 printable characters" in err


# --- inventory


def test_what_is_added_is_listed(described: Run) -> None:
    for what, name in (("merchant", "m-1"), ("store", "s-1"), ("terminal", "t-1")):
        code, out, _ = described("inventory", what, "list")
        assert code == 0
        assert name in out
        assert json.loads(described("inventory", what, "list", "--json")[1])[0][f"{what}_id"] == name


def test_what_is_set_changes_and_an_empty_value_clears(described: Run) -> None:
    hours = "mon-fri=08:00-20:00"
    assert described("inventory", "store", "set", "s-1", "--hours", hours, "--watch", "opening_hours")[0] == 0
    assert described("inventory", "store", "set", "s-1", "--region", "")[1] == "store s-1 updated\n"
    (store,) = json.loads(described("inventory", "store", "list", "--json")[1])
    assert (store["watch"], store["region"], store["opening_hours"]["fri"]) == (
        "opening_hours",
        None,
        [["08:00", "20:00"]],
    )
    days = "2026-12-25; 2026-12-31 10:00-14:00"
    assert described("inventory", "store", "set", "s-1", "--holidays", days, "--contract", "gold")[0] == 0
    (store,) = json.loads(described("inventory", "store", "list", "--json")[1])
    assert store["holidays"] == {"2026-12-25": [], "2026-12-31": [["10:00", "14:00"]]}
    assert store["contract"] == "gold"
    assert described("inventory", "store", "set", "s-1", "--holidays", "", "--contract", "")[0] == 0
    (store,) = json.loads(described("inventory", "store", "list", "--json")[1])
    assert (store["holidays"], store["contract"]) == ({}, None)
    assert described("inventory", "merchant", "set", "m-1", "--name", "Rice")[1] == "merchant m-1 updated\n"
    assert described("inventory", "merchant", "set", "m-1", "--name", "Rice")[1] == "merchant m-1 unchanged\n"
    assert described("inventory", "terminal", "set", "t-1", "--store", "", "--life-cycle", "spare")[0] == 0
    (terminal,) = json.loads(described("inventory", "terminal", "list", "--unassigned", "--json")[1])
    assert (terminal["store_id"], terminal["life_cycle"], terminal["brand"]) == (None, "spare", "Epson")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("merchant", "add", "m-1", "--name", "x"), "m-1, which is known: `merchant set` changes it"),
        (("merchant", "set", "m-9", "--name", "x"), "there is no merchant m-9"),
        (("merchant", "add", "m 2", "--name", "x"), "merchant_id: String should match pattern"),
        (("merchant", "set", "m-1", "--name", ""), "name: expected a valid string, got nothing"),
        (("store", "add", "s-1", *STORE), "s-1, which is known"),
        (("store", "add", "s-2", *STORE[:-1], "Shanghai"), "time_zone: expected an IANA name"),
        (("store", "add", "s-2", *STORE, "--hours", "monday"), "expected days=spans"),
        (
            ("store", "add", "s-2", *STORE, "--holidays", "christmas"),
            "expected a date such as 2025-03-31, got 'christmas'",
        ),
        (("store", "set", "s-1", "--merchant", "m-9"), "merchant_id: expected a known one, got 'm-9'"),
        (("store", "set", "s-9", "--name", "x"), "there is no store s-9"),
        (("terminal", "add", "t-1"), "t-1, which is known"),
        (("terminal", "add", "t.2"), "terminal_id: String should match pattern"),
        (("terminal", "set", "t-9", "--brand", "x"), "there is no terminal t-9"),
        (("terminal", "set", "t-1", "--store", "s-9"), "store_id: expected a known one, got 's-9'"),
        (("terminal", "set", "t-1", "--purchase-date", "31.3.25"), "purchase_date: "),
    ],
)
def test_what_cannot_be_done_ends_with_1_and_says_why(described: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = described("inventory", *arguments)
    assert (code, out) == (1, "")
    assert said in err


def test_an_import_reports_on_each_row_that_is_refused(described: Run, tmp_path: Path) -> None:
    file = tmp_path / "terminals.csv"
    file.write_text("terminal_id,store_id\nt-1,s-1\nt-2,s-1\nt-3,s-9\n", encoding="utf-8")
    code, out, _ = described("inventory", "import", str(file), "--dry-run")
    assert code == 1
    assert "would be: 1 created, 0 updated, 1 unchanged, 1 refused" in out
    code, out, _ = described("inventory", "import", str(file), "--json")
    report = json.loads(out)
    assert (code, report["counts"]["created"], report["rows"][2]["errors"][0]["got"]) == (1, 1, "s-9")
    code, out, _ = described("inventory", "import", str(file))
    assert "a known store" in out
    assert "0 created, 0 updated, 2 unchanged, 1 refused" in out


def test_an_import_of_good_rows_ends_with_0_also_from_standard_input(
    described: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"terminal_id\nt-7\n")))
    code, out, _ = described("inventory", "import", "-")
    assert (code, out) == (0, "1 created, 0 updated, 0 unchanged, 0 refused\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "expected a readable file"), (b"terminal_id\n\xff", "expected CSV in UTF-8"), (b"colour\n", "first line")],
)
def test_a_file_that_cannot_be_used_ends_with_1(run: Run, tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "terminals.csv"
    if content is not None:
        file.write_bytes(content)
    code, _, err = run("inventory", "import", str(file))
    assert (code, said in err) == (1, True)


def test_a_long_list_says_that_there_is_more(described: Run) -> None:
    described("inventory", "terminal", "add", "t-2")
    _, out, err = described("inventory", "terminal", "list", "--limit", "1")
    assert "t-1" in out
    assert "1 more" in err


def test_a_name_that_plays_tricks_on_a_terminal_is_shown_harmless(described: Run) -> None:
    described("inventory", "merchant", "add", "m-2", "--name", "red \u202e txt")
    assert "\u202e" not in described("inventory", "merchant", "list")[1]


# --- tickets


def open_ticket(database_url: str) -> None:
    store = Store.open(database_url)
    identity = TicketIdentity(
        subject_kind="terminal", subject_id="t-1", component="pos_printer:kitchen", code="paper_end"
    )
    why = Why(actor="machine:judge", reason="it lasted", evidence={})
    with store.transaction() as repository:
        open_or_recur(repository, identity, load_policy(None).rule("paper_end"), why, NOW)
    store.close()


def test_tickets_are_listed_and_shown_with_their_journal(described: Run, database_url: str) -> None:
    open_ticket(database_url)
    assert "paper_end" in described("ticket", "list")[1]
    (ticket,) = json.loads(described("ticket", "list", "--json", "--terminal", "t-1")[1])
    assert ticket["store_id"] == "s-1"
    shown: Any = json.loads(described("ticket", "show", str(ticket["ticket_id"]), "--json")[1])
    assert shown["journal"][0]["reason"] == "it lasted"
    _, out, _ = described("ticket", "show", str(ticket["ticket_id"]))
    assert "machine:judge" in out
    assert "pos_printer:kitchen" in out


def test_a_person_ends_a_ticket_with_a_reason(described: Run, database_url: str) -> None:
    open_ticket(database_url)
    assert described("ticket", "close", "1", "--reason", "roll changed")[0] == 0
    assert described("ticket", "list", "--json")[1] == "[]\n"
    (ticket,) = json.loads(described("ticket", "list", "--all", "--json")[1])
    assert ticket["status"] == "closed"
    shown = json.loads(described("ticket", "show", "1", "--json")[1])
    assert shown["journal"][-1]["actor"].startswith("person:")
    code, _, err = described("ticket", "cancel", "1", "--reason", "again")
    assert (code, "closed" in err) == (1, True)


def test_a_ticket_that_is_not_there_is_said(run: Run) -> None:
    code, _, err = run("ticket", "show", "99")
    assert (code, "there is no ticket 99" in err) == (1, True)


def test_a_sort_that_is_not_known_is_said(run: Run) -> None:
    code, _, err = run("ticket", "list", "--sort", "colour")
    assert (code, "sort: expected one of" in err) == (1, True)


def test_the_command_line_sees_what_a_collector_has_heard(run: Run, database_url: str) -> None:
    run("migrate")
    store = Store.open(database_url)
    with store.transaction() as repository:
        repository.facts.meet({"heard-1"}, NOW)
        assert Inventory(repository.connection).terminal("heard-1") is not None
    store.close()
    (terminal,) = json.loads(run("inventory", "terminal", "list", "--unassigned", "--json")[1])
    assert terminal["terminal_id"] == "heard-1"
