"""The demonstration: what it tells of tickets, and a short one with all its processes."""

import http.client
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from tillwatch_simulator.demo import Clock, Narrator
from tillwatch_simulator.faults import PRINTER, What
from tillwatch_simulator.scenario import Injection, Step

PAPER = Injection(terminal_id="till-1", what=What.DEVICE, from_s=0, until_s=9, component=PRINTER, code="paper_end")


def ticket(
    ticket_id: int = 1,
    *,
    subject_id: str = "till-1",
    code: str = "paper_end",
    status: str = "reported",
    after_s: float = 3.0,
    recurrences: int = 0,
) -> dict[str, Any]:
    at = (datetime.now(UTC) + timedelta(seconds=after_s)).isoformat()
    return {
        "ticket_id": ticket_id,
        "subject_id": subject_id,
        "component": PRINTER,
        "code": code,
        "status": status,
        "recurrences": recurrences,
        "opened_at": at,
        "updated_at": at,
        "resolved_at": at if status == "resolved" else None,
    }


def narrator() -> tuple[Narrator, list[str]]:
    lines: list[str] = []
    return Narrator(lines.append, Clock()), lines


def step(injection: Injection, *, begins: bool) -> Step:
    return Step(at_s=0, begins=begins, injection=injection)


def test_a_trouble_its_ticket_and_its_repair_are_told_once_each() -> None:
    ours, lines = narrator()
    ours.step(step(PAPER, begins=True))
    ours.tickets([ticket()])
    ours.tickets([ticket()])
    ours.step(step(PAPER, begins=False))
    ours.tickets([ticket(status="resolved", after_s=4.0)])
    told = [" ".join(line.split()[2:]) for line in lines]
    assert told == [
        "till-1 printer: paper_end",
        "till-1 ticket 1 opened pos_printer:receipt paper_end, 3.0 s after its beginning",
        "till-1 printer: no more paper_end",
        "till-1 ticket 1 resolved pos_printer:receipt paper_end, 4.0 s after its end",
    ]
    assert ours.false_tickets == set()


def test_a_ticket_that_nothing_explains_is_false() -> None:
    ours, lines = narrator()
    ours.step(step(PAPER, begins=True))
    ours.tickets([ticket(), ticket(2, code="cover_open"), ticket(3, subject_id="till-2")])
    assert ours.false_tickets == {2, 3}
    assert sum("FALSE" in line for line in lines) == 2


def test_a_recurrence_is_told_again() -> None:
    ours, lines = narrator()
    ours.step(step(PAPER, begins=True))
    ours.tickets([ticket()])
    ours.tickets([ticket(recurrences=1)])
    assert len(lines) == 3


def test_what_has_begun_and_not_ended_lasts() -> None:
    ours, _ = narrator()
    other = Injection(terminal_id="sim-0001", what=What.DEAD, from_s=0, until_s=9)
    ours.step(step(PAPER, begins=True))
    ours.step(step(other, begins=True))
    ours.step(step(PAPER, begins=False))
    assert ours.lasting == (other,)


def test_the_columns_stand_under_each_other() -> None:
    ours, lines = narrator()
    ours.step(step(PAPER, begins=True))
    ours.tickets([ticket()])
    assert [line.index("till-1") for line in lines] == [11, 11]


def stores_of(page: str) -> set[str]:
    """The names of the stores that terminals stand in, by the API with the page's token."""
    where = urlsplit(page)
    connection = http.client.HTTPConnection(where.netloc, timeout=10)
    token = parse_qs(where.query)["token"][0]
    connection.request("GET", "/api/v1/terminals", headers={"Authorization": f"Bearer {token}"})
    terminals = json.loads(connection.getresponse().read())["items"]
    connection.close()
    return {terminal["store_name"] for terminal in terminals}


def demo(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("tillwatch-sim")), "demo", "--terminals", "10", *words]


def test_a_short_one_loses_nothing_and_brings_no_false_ticket() -> None:
    ended = subprocess.run(demo("--duration", "40", "--json"), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["false_tickets"] == 0, ended.stderr
    assert report["events_sent"] == report["events_stored"] > 26
    assert report["tickets_opened"] >= 1, ended.stderr
    assert report["heartbeats"] >= 13


def test_a_request_to_terminate_ends_everything(tmp_path: Path) -> None:
    with subprocess.Popen(
        demo(), stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    ) as ours:
        assert ours.stdout
        page = next(line for line in ours.stdout if line.startswith("The page: ")).removeprefix("The page: ")
        where = urlsplit(page.strip())
        assert where.hostname
        assert where.port
        socket.create_connection((where.hostname, where.port)).close()
        assert stores_of(page.strip()) == {"Bund 18", "Canton Road", "Orchard"}
        ours.terminate()
        rest = ours.stdout.read()
        assert ours.wait() == 0
    assert "false tickets" in rest
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((where.hostname, where.port))
    assert list(tmp_path.iterdir()) == []


def test_a_demonstration_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(demo(), stdout=subprocess.PIPE, text=True, env=environment) as ours:
        assert ours.stdout
        next(line for line in ours.stdout if line.startswith("The page: "))
        parts = psutil.Process(ours.pid).children(recursive=True)
        ours.kill()
    assert len(parts) >= 4
    _, alive = psutil.wait_procs(parts, timeout=30)
    assert alive == []
