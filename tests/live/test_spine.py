"""The whole way, once, with real processes: bytes on a line become a ticket, and the repair resolves it."""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.live.kills import kill_agent
from tests.live.stack import Agent, Collector, until

from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.ports import PtyPort, TcpPort


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


def port_of(kind: str, folder: Path) -> AbstractContextManager[PtyPort | TcpPort]:
    return PtyPort(Printer(), folder / "printer") if kind == "pty" else TcpPort(Printer(), 0)


@pytest.mark.parametrize("kind", ["pty", "tcp"])
def test_an_open_cover_becomes_one_ticket_and_its_closing_resolves_it(
    kind: str, collector: Collector, tmp_path: Path
) -> None:
    terminal_id = f"till-{kind}"
    with port_of(kind, tmp_path) as printer, Agent(tmp_path, collector, terminal_id, printer.address):
        until(lambda: component(collector, terminal_id, "pos_printer:kitchen", health="ok"), "a healthy printer")

        printer.set("cover_open")
        opened = until(lambda: collector.tickets(subject_id=terminal_id, open="true"), "a ticket")
        assert [(ticket["component"], ticket["code"]) for ticket in opened] == [("pos_printer:kitchen", "cover_open")]

        printer.clear("cover_open")
        resolved = until(lambda: collector.tickets(subject_id=terminal_id, status="resolved"), "its resolution")
        assert [ticket["ticket_id"] for ticket in resolved] == [opened[0]["ticket_id"]]

    journal = collector.journal(resolved[0])
    assert [row["to_status"] for row in journal] == ["reported", "resolved"]
    assert all(row["actor"].startswith("machine:") and row["reason"] for row in journal)
    assert journal[-1]["evidence"], "a resolution names its proof"
    there = [ticket["ticket_id"] for ticket in collector.tickets(subject_id=terminal_id)]
    assert there == [resolved[0]["ticket_id"]], "one cause, one ticket"
    raised = [
        e for e in events(collector, terminal_id) if e["kind"] == "condition_raised" and e["code"] == "cover_open"
    ]
    assert len(raised) == 1


def test_events_are_stored_once_though_the_agent_is_killed(collector: Collector, tmp_path: Path) -> None:
    outcome = kill_agent(collector, tmp_path, kills=4, rng=random.Random(7), progress=lambda *_: None)
    assert outcome.events > 1
    assert (outcome.lost, outcome.doubled) == (0, 0)


def component(collector: Collector, terminal_id: str, name: str, *, health: str) -> dict[str, Any] | None:
    found = collector.terminal(terminal_id)
    readings = found["level"]["components"] if found and found["level"] else []
    return next((r for r in readings if r["component"] == name and r["health"] == health), None)


def events(collector: Collector, terminal_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = collector.get(f"/api/v1/terminals/{terminal_id}/events")["items"]
    return items
