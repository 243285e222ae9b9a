"""A restaurant chain loses its line, for real: the packaged scenario's troubles, each as soon as the last one shows."""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.live.stack import until

from tillwatch_simulator import scenario
from tillwatch_simulator.faults import What
from tillwatch_simulator.fleet import Fleet, embedded
from tillwatch_simulator.processes import Collector
from tillwatch_simulator.scenario import Injection, Scenario, Step

INTERVAL_S = 3
"""Shorter than the scenario's, so that the outage shows while everybody's first new connection still hangs."""


@pytest.fixture
def chain() -> Scenario:
    text = (resources.files("tillwatch_simulator") / "scenarios" / "restaurant_chain.toml").read_text(encoding="utf-8")
    return scenario.parse(text, interval_s=INTERVAL_S)


@pytest.fixture
def collector(tmp_path: Path, chain: Scenario) -> Iterator[Collector]:
    with Collector(tmp_path / "collector", hold_scale=0.05) as running:
        running.describe(scenario.inventory_of(chain), datetime.now(UTC))
        yield running


@pytest.fixture
def fleet(chain: Scenario, collector: Collector) -> Iterator[Fleet]:
    terminal_ids = scenario.inventory_of(chain).terminal_ids
    broker = embedded(collector.broker_file)
    with Fleet(terminal_ids=terminal_ids, interval_s=INTERVAL_S, seed=1, broker=broker) as running:
        until(lambda: online(collector) == chain.terminals, "everybody to be online")
        yield running


def test_a_chain_that_loses_its_line_is_one_ticket_and_the_till_that_stays_dead_another(
    chain: Scenario, collector: Collector, fleet: Fleet
) -> None:
    injections = scenario.drawn(chain, Random(1))
    line = [one for one in injections if one.what is What.CUT]
    (dead,) = (one for one in injections if one.what is What.DEAD)

    follow(fleet, line, begins=True)
    (parent,) = until(lambda: silences(collector), "the outage's ticket")
    assert (parent["subject_kind"], parent["subject_id"]) == ("carrier", "CityNet")
    (outage,) = collector.get("/api/v1/outages")["items"]
    assert (outage["ticket_id"], outage["terminals_hit"], outage["terminals_total"]) == (parent["ticket_id"], 24, 24)
    assert outage["evidence"]["alternatives"], "what else was considered"

    follow(fleet, [dead], begins=True)
    follow(fleet, line, begins=False)
    until(lambda: silences(collector, subject_id="CityNet", status="resolved"), "the parent's resolution")
    until(lambda: silences(collector, subject_id=dead.terminal_id), "the dead till's own ticket")
    follow(fleet, [dead], begins=False)
    until(lambda: silences(collector, subject_id=dead.terminal_id, status="resolved"), "its resolution")

    assert {ticket["subject_id"] for ticket in silences(collector)} == {"CityNet", dead.terminal_id}
    journal = collector.get(f"/api/v1/tickets/{parent['ticket_id']}/journal")["items"]
    assert [step["to_status"] for step in journal if step["to_status"] != step["from_status"]] == [
        "reported",
        "resolved",
    ]
    assert journal[-1]["evidence"]["back"] == len(line) - 1, "by everybody who was heard again"
    assert collector.get("/api/v1/outages", open="true")["items"] == []


def follow(fleet: Fleet, injections: list[Injection], *, begins: bool) -> None:
    for injection in injections:
        fleet.follow(Step(at_s=0, begins=begins, injection=injection))


def online(collector: Collector) -> int:
    count: int = collector.get("/api/v1/fleet")["terminals_by_presence"].get("online", 0)
    return count


def silences(collector: Collector, **chosen: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = collector.get("/api/v1/tickets", code="silent", **chosen)["items"]
    return items
