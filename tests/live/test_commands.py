"""Commands over real processes: asked at the API, done beside a till, answered by an event."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live.stack import Agent, Collector, until

from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.ports import PtyPort

TILL = "till-1"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path / "collector") as running:
        yield running


def ask(collector: Collector, kind: str) -> dict[str, Any]:
    """Ask for a command, and wait for what comes of it."""
    path = f"/api/v1/terminals/{TILL}/commands"
    asked = collector.post(path, {"kind": kind})

    def answered() -> dict[str, Any] | None:
        found: dict[str, Any] = collector.get(f"{path}/{asked['command_id']}")
        return found if found["state"] not in {"waiting", "sent"} else None

    return until(answered, f"the answer to {kind}")


def test_a_terminal_does_what_it_is_asked_and_says_so(collector: Collector, tmp_path: Path) -> None:
    with PtyPort(Printer(), tmp_path / "printer") as printer, Agent(tmp_path, collector, TILL, printer.address):
        until(lambda: collector.terminal(TILL), "the terminal")

        assert ask(collector, "report")["state"] == "done"
        assert ask(collector, "reprobe")["state"] == "done"

        printer.set("cover_open")
        found = ask(collector, "diagnose")
        assert found["state"] == "done"
        (finding,) = (one for one in found["diagnosis"]["findings"] if one["name"] == "pos_printer:kitchen")
        assert (finding["outcome"], "cover_open" in finding["codes"]) == ("fault", True)

        refused = ask(collector, "restart_agent")
        assert (refused["state"], refused["reason"]) == ("refused", "just_started")

    events = collector.get(f"/api/v1/terminals/{TILL}/events")["items"]
    kinds = [event["kind"] for event in events if event["command"]]
    assert sorted(kinds) == ["command_done", "command_done", "command_done", "command_refused"]
