import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.collector.test_cli import described, run, run_on_sqlite

__all__ = ["described", "run", "run_on_sqlite"]

Run = Callable[..., tuple[int, str, str]]
ANN = ("--by", "person:ann", "--reason", "because")


@pytest.fixture
def desk(described: Run) -> Run:
    """A ticket for a terminal, reported by phone."""
    assert described("ticket", "report", "It is dead", "--terminal", "t-1", "--contact", "Ms Li")[:2] == (
        0,
        "ticket 1: opened\n",
    )
    return described


def shown(run: Run) -> dict[str, object]:
    said: dict[str, object] = json.loads(run("ticket", "show", "1", "--json")[1])
    return said


def test_a_report_is_noted_on_the_ticket_that_it_is_about(desk: Run) -> None:
    code, out, _ = desk("ticket", "report", "Still dead", "--terminal", "t-1", "--origin", "web")
    assert (code, out) == (0, "ticket 1: is about it already: It is dead\n")
    told = json.loads(desk("ticket", "report", "Nobody in", "--store", "s-1", "--json")[1])
    assert (told["ticket_id"], told["subject_kind"], told["origin"]) == (2, "store", "phone")


def test_a_ticket_goes_the_whole_way(desk: Run) -> None:
    way = [
        (("diagnose",), "diagnosing"),
        (("repair", "--mode", "sent_in"), "repairing"),
        (("pend", "--on", "provider"), "pending"),
        (("resume",), "repairing"),
        (("verify",), "verifying"),
        (("close",), "closed"),
    ]
    for (action, *more), status in way:
        assert desk("ticket", action, "1", *more, *ANN)[:2] == (0, f"ticket 1: {status}\n")
    journal = shown(desk)["journal"]
    assert isinstance(journal, list)
    assert [line["actor"] for line in journal[1:]] == ["person:ann"] * len(way)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "9"), 1, "there is no ticket 9"),
        (("close", "9", *ANN), 1, "expected the number of a ticket, got 9"),
        (("resume", "1", *ANN), 1, "a ticket that is reported takes"),
        (("close", "1", "--reason", " "), 1, "expected the reason"),
        (("close", "1"), 2, "Missing option '--reason'"),
        (("repair", "1", "--mode", "magic", *ANN), 2, "'remote', 'on_site', 'sent_in'"),
        (("close", "1", "--reason", "x", "--by", "ann"), 1, "--by: expected kind:id, such as person:ann"),
        (("assign", "1", "--to", "ann", *ANN), 1, "expected kind:id"),
        (("merge", "1", "--into", "1", *ANN), 1, "expected two tickets"),
        (("report", "x"), 2, "expected either --terminal or --store"),
        (("report", "x", "--terminal", "nobody"), 1, "expected a known one, got 'nobody'"),
        (("report", "x", "--terminal", "t-1", "--origin", "machine"), 2, "machines report by themselves"),
        (("comment", "1", " "), 1, "text: expected 1 to 4000 characters"),
        (("list", "--opened-after", "2026-11-21"), 2, "expected a time with its zone"),
        (("list", "--opened-before", "soon"), 2, "expected a time such as"),
        (("list", "--sla", "late"), 2, "'breached'"),
        (("list", "--sort", "title"), 1, "sort: expected one of ticket_id"),
        (("attach", "1", "nowhere.png"), 2, "does not exist"),
    ],
)
def test_what_cannot_be_done_says_what_was_expected(
    desk: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, _, err = desk("ticket", *arguments)
    assert (ended, said in " ".join(err.replace("│", " ").split())) == (code, True), err
    assert shown(desk)["status"] == "reported"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((), [1]),
        (("--all",), [1, 2]),
        (("--status", "cancelled"), [2]),
        (("--q", "DEAD"), [1]),
        (("--q", "elsewhere", "--all"), []),
        (("--terminal", "t-1"), [1]),
        (("--store", "s-1", "--merchant", "m-1", "--region", "east"), [1]),
        (("--origin", "phone", "--assignee", "person:bob"), [1]),
        (("--watcher", "person:cat"), [1]),
        (("--parent", "7"), []),
        (("--older-than-h", "1"), []),
        (("--younger-than-h", "1"), [1]),
        (("--opened-after", "2020-01-01T00:00:00+08:00", "--opened-before", "2020-01-02T00:00:00Z"), []),
        (("--sla", "breached"), []),
    ],
)
def test_tickets_are_found_in_a_list_and_in_an_export(desk: Run, filters: tuple[str, ...], found: list[int]) -> None:
    assert desk("ticket", "assign", "1", "--to", "person:bob")[:2] == (0, "ticket 1: assigned to person:bob\n")
    assert desk("ticket", "watch", "1", "person:cat")[0] == 0
    assert desk("ticket", "report", "Shut", "--store", "s-1")[0] == 0
    assert desk("ticket", "cancel", "2", *ANN)[0] == 0
    listed = json.loads(desk("ticket", "list", "--json", "--sort", "ticket_id", *filters)[1])
    assert [ticket["ticket_id"] for ticket in listed] == found
    rows = csv.DictReader(io.StringIO(desk("ticket", "export", *filters)[1].removeprefix("\ufeff"), newline=""))
    assert [int(row["ticket_id"]) for row in rows] == found


def test_an_export_overwrites_nothing_unless_it_is_told_to(desk: Run, tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    assert desk("ticket", "export", str(file))[0] == 0
    assert "It is dead" in file.read_text(encoding="utf-8-sig")
    code, _, err = desk("ticket", "export", str(file))
    assert (code, "--force overwrites it" in err) == (1, True)
    assert desk("ticket", "export", str(file), "--force")[0] == 0


def test_all_that_hangs_on_a_ticket_is_shown(desk: Run, tmp_path: Path) -> None:
    (tmp_path / "seen.txt").write_text("It blinks.", encoding="utf-8")
    assert desk("ticket", "comment", "1", "Called back", "--internal")[:2] == (0, "ticket 1: comment 1\n")
    assert desk("ticket", "attach", "1", str(tmp_path / "seen.txt"))[:2] == (0, "ticket 1: attachment 1\n")
    assert desk("ticket", "watch", "1", "--by", "person:bob")[1] == "ticket 1: watched by person:bob\n"
    assert desk("ticket", "unwatch", "1", "--by", "person:bob")[1] == "ticket 1: no longer watched by person:bob\n"
    out = desk("ticket", "show", "1")[1]
    for part in ("contact      ", "Ms Li", "Called back", "seen.txt", "text/plain", "diagnose, "):
        assert part in out
    said = shown(desk)
    assert (said["comments"], said["attachments"], said["sla"]) == (1, 1, "none")


def test_tickets_are_merged_and_made_part_of_one(desk: Run) -> None:
    assert desk("ticket", "report", "Shut", "--store", "s-1")[0] == 0
    assert desk("ticket", "parent", "1", "--of", "2", *ANN)[:2] == (0, "ticket 1: part of 2\n")
    assert desk("ticket", "parent", "1", *ANN)[:2] == (0, "ticket 1: part of nothing\n")
    merged = json.loads(desk("ticket", "merge", "1", "--into", "2", "--json", *ANN)[1])
    assert (merged["status"], merged["merged_into_id"], merged["actions"]) == ("merged", 2, [])


@pytest.mark.parametrize("command", ["list", "show", "report", "repair", "pend", "merge", "export", "attach"])
def test_every_command_teaches(run_on_sqlite: Run, command: str) -> None:
    code, out, _ = run_on_sqlite("ticket", command, "--help")
    assert (code, "Usage: tillwatch-collector ticket" in out) == (0, True)
