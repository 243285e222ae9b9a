from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.shell_fixtures import NOW, Web, describe

from tillwatch_collector import imports
from tillwatch_collector.domain import inventory as domain
from tillwatch_collector.domain.inventory import (
    CellError,
    ImportOutcome,
    ImportRefused,
    LifeCycle,
    Terminal,
    decide,
    parse_terminals,
)
from tillwatch_collector.imports import import_terminals
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store as Database
from tillwatch_collector.tokens import Scope

CREATED, UPDATED, UNCHANGED, REFUSED = ImportOutcome


@pytest.mark.parametrize(
    "text",
    [
        "terminal_id,store_id,purchase_date\nt-1,s-1,2025-03-31\n",
        "\ufeffterminal_id,store_id,purchase_date\r\nt-1,s-1,2025-03-31\r\n",  # as spreadsheets save it
        "Terminal_ID;store_id;purchase_date\nt-1; s-1 ;2025-03-31",  # of a country with decimal commas
        "purchase_date\tterminal_id\tstore_id\n2025-03-31\tt-1\ts-1",
        'terminal_id,store_id,purchase_date\n\n"t-1","s-1","2025-03-31"\n\n',
    ],
)
def test_every_spreadsheets_csv_is_read(text: str) -> None:
    (row,) = parse_terminals(text)
    after, outcome = decide(None, row)
    assert after == Terminal(terminal_id="t-1", store_id="s-1", purchase_date=date(2025, 3, 31))
    assert outcome is CREATED


@pytest.mark.parametrize(
    ("row", "column", "expected", "got"),
    [
        ("t 1,s-1,,live", "terminal_id", "1 to 64 of A-Z a-z 0-9 _ -", "t 1"),
        (",s-1,,live", "terminal_id", "1 to 64 of A-Z a-z 0-9 _ -", "an empty cell"),
        ("t-1,s 1,,live", "store_id", "1 to 64 of A-Z a-z 0-9 _ . -", "s 1"),
        ("t-1,,31.03.2025,", "purchase_date", "a date such as 2025-03-31", "31.03.2025"),
        ("t-1,,,dead", "life_cycle", "one of live, in_repair, spare, swapped, retired", "dead"),
        ("t-1,,,live,more", "", "at most 4 cells", "5"),
    ],
)
def test_a_wrong_cell_is_named_with_what_was_expected_and_what_came(
    row: str, column: str, expected: str, got: str
) -> None:
    (parsed,) = parse_terminals(f"terminal_id,store_id,purchase_date,life_cycle\n{row}\n")
    assert parsed.errors == (CellError(column=column, expected=expected, got=got),)
    assert parsed.change is None


def test_all_wrong_cells_of_a_row_are_told_at_once() -> None:
    (parsed,) = parse_terminals("terminal_id,purchase_date,life_cycle\nt 1,x,y\n")
    assert [error.column for error in parsed.errors] == ["terminal_id", "purchase_date", "life_cycle"]


def test_a_terminal_that_stands_twice_is_refused_the_second_time() -> None:
    first, second = parse_terminals("terminal_id\nt-1\nt-1\n")
    assert first.errors == ()
    assert second.errors[0].got == "it stands in row 2"


def test_rows_are_numbered_as_a_sheet_shows_them() -> None:
    rows = parse_terminals("terminal_id\nt-1\n\nt-2\n")
    assert [row.number for row in rows] == [2, 4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a first line with terminal_id"),
        ("store_id\ns-1\n", "expected a first line with terminal_id"),
        ("terminal_id,colour\nt-1,red\n", "got terminal_id, colour"),
        ("terminal_id,terminal_id\nt-1,t-1\n", "each once"),
        ('terminal_id\n"t-1\n', "line 2: expected CSV"),
        ('"terminal_id\n', "expected a line that names the columns"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_whole(text: str, said: str) -> None:
    with pytest.raises(ImportRefused, match=said):
        parse_terminals(text)


def test_a_file_has_a_limit_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "IMPORT_ROWS_MAX", 2)
    assert len(parse_terminals("terminal_id\na\nb\n")) == 2
    with pytest.raises(ImportRefused, match="at most 2 rows, got more"):
        parse_terminals("terminal_id\na\nb\nc\n")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        rows = parse_terminals(f"terminal_id,store_id\n{text}")
    except ImportRefused:
        return
    assert all((row.change is None) == bool(row.errors) for row in rows)


def test_an_empty_cell_says_nothing() -> None:
    known = Terminal(terminal_id="t-1", store_id="s-1", brand="Epson", life_cycle=LifeCycle.SPARE)
    (row,) = parse_terminals("terminal_id,store_id,brand,life_cycle\nt-1,,,\n")
    assert decide(known, row) == (known, UNCHANGED)


# --- into the database


FILE = "terminal_id,store_id,brand\nt-1,s-2,\nt-2,s-2,\nt-3,s-9,\nt-4,s-1,Epson\nt 5,,\n"
OUTCOMES = [UPDATED, UNCHANGED, REFUSED, CREATED, REFUSED]


@pytest.fixture
def served(empty: Web) -> Web:
    describe(empty.database)
    return empty


def store_of(database: Database, terminal_id: str) -> str | None:
    with database.reading() as connection:
        terminal = Inventory(connection).terminal(terminal_id)
    return terminal.store_id if terminal else None


def test_good_rows_land_though_others_are_refused(served: Web) -> None:
    database = served.database
    reports = import_terminals(database, parse_terminals(FILE), NOW, by="person:ann")
    assert [report.outcome for report in reports] == OUTCOMES
    assert reports[2].errors == (CellError(column="store_id", expected="a known store", got="s-9"),)
    assert [store_of(database, name) for name in ("t-1", "t-2", "t-3", "t-4")] == ["s-2", "s-2", None, "s-1"]


def test_an_import_done_again_changes_nothing(served: Web) -> None:
    database = served.database
    import_terminals(database, parse_terminals(FILE), NOW, by="person:ann")
    again = import_terminals(database, parse_terminals(FILE), NOW, by="person:ann")
    assert [report.outcome for report in again] == [UNCHANGED, UNCHANGED, REFUSED, UNCHANGED, REFUSED]


def test_a_dry_run_reports_the_same_and_writes_nothing(served: Web) -> None:
    database = served.database
    reports = import_terminals(database, parse_terminals(FILE), NOW, by="person:ann", dry_run=True)
    assert [report.outcome for report in reports] == OUTCOMES
    assert (store_of(database, "t-1"), store_of(database, "t-4")) == ("s-1", None)


def test_a_long_file_is_taken_in_steps_and_tells_how_far_it_is(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "ROWS_PER_STEP", 2)
    steps: list[int] = []
    reports = import_terminals(served.database, parse_terminals(FILE), NOW, by="person:ann", advanced=steps.append)
    assert steps == [2, 2, 1]
    assert [report.outcome for report in reports] == OUTCOMES


def test_a_terminal_that_was_heard_first_is_assigned_by_an_import(served: Web) -> None:
    database = served.database
    with database.transaction() as repository:
        repository.facts.meet({"heard-1"}, NOW)
    (report,) = import_terminals(database, parse_terminals("terminal_id,store_id\nheard-1,s-1\n"), NOW, by="person:ann")
    assert report.outcome is UPDATED
    assert store_of(database, "heard-1") == "s-1"


# --- over HTTP

CSV = {"Content-Type": "text/csv; charset=utf-8"}


def test_the_api_reports_row_by_row(served: Web) -> None:
    answer = served.client(Scope.WRITE).post("/api/v1/terminals/import", content=FILE, headers=CSV)
    assert answer.status_code == 200
    report = answer.json()
    assert report["dry_run"] is False
    assert report["counts"] == {"created": 1, "updated": 1, "unchanged": 1, "refused": 2}
    assert report["rows"][2] == {
        "number": 4,
        "terminal_id": "t-3",
        "outcome": "refused",
        "errors": [{"column": "store_id", "expected": "a known store", "got": "s-9"}],
    }
    assert store_of(served.database, "t-4") == "s-1"


def test_the_api_runs_dry(served: Web) -> None:
    answer = served.client(Scope.WRITE).post("/api/v1/terminals/import?dry_run=true", content=FILE, headers=CSV)
    assert answer.json()["counts"]["created"] == 1
    assert store_of(served.database, "t-4") is None


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b"terminal_id\nt-1\n", "application/json", 415, "expected a body of text/csv"),
        (b"terminal_id\n\xff\n", "text/csv", 422, "expected CSV in UTF-8"),
        (b"colour\nred\n", "text/csv", 422, "expected a first line with terminal_id"),
    ],
)
def test_the_api_says_what_is_wrong_with_a_file(served: Web, content: bytes, kind: str, status: int, said: str) -> None:
    client = served.client(Scope.WRITE)
    answer = client.post("/api/v1/terminals/import", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert said in answer.json()["detail"]
