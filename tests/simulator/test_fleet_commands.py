"""Simulated terminals do what a collector asks, through the agent's own core."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from tillwatch_agent.core import Connect, Connected, Input, Outgoing, Publish, Received
from tillwatch_agent.moment import Moment
from tillwatch_protocol import codec, topics
from tillwatch_protocol.command import Command, CommandKind, CommandReport
from tillwatch_protocol.event import EventBatch
from tillwatch_protocol.heartbeat import Presence
from tillwatch_protocol.vocabulary import NETWORK_UPLINK
from tillwatch_simulator.faults import What, way_out
from tillwatch_simulator.fleet import Terminal
from tillwatch_simulator.scenario import Injection

if TYPE_CHECKING:
    from tillwatch_agent.publisher import Publisher

TILL = "t-1"


@dataclass
class Line:
    """A publisher that accepts every connection and keeps what is said."""

    said: list[Outgoing] = field(default_factory=list)
    waiting: list[Input] = field(default_factory=list)

    def take(self) -> list[Input]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def carry_out(self, effect: Any) -> None:
        if isinstance(effect, Connect):
            self.waiting.append(Connected())
        elif isinstance(effect, Publish):
            self.said.append(effect.outgoing)

    def abandon(self) -> None:
        """Nothing is held."""

    def messages(self, kind: type) -> list[Any]:
        decoded = (codec.decode(outgoing.topic, outgoing.payload) for outgoing in self.said)
        return [message for message in decoded if isinstance(message, kind)]

    @property
    def answers(self) -> list[CommandReport]:
        return [event.command for batch in self.messages(EventBatch) for event in batch.events if event.command]


class Stage:
    """One terminal, and its time."""

    def __init__(self) -> None:
        self.line = Line()
        self.now_s = 0.0
        self.terminal = Terminal(terminal_id=TILL, interval_s=10, seed=1)
        self.terminal.attach(cast("Publisher", self.line))
        self.terminal.start(self.moment)
        self.work(2)

    @property
    def moment(self) -> Moment:
        at = datetime(2026, 11, 21, 8, tzinfo=UTC) + timedelta(seconds=self.now_s)
        return Moment(monotonic_s=self.now_s, at=at)

    def work(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.terminal.work(self.moment)

    def order(self, kind: CommandKind) -> None:
        command = Command(terminal_id=TILL, command_id=f"c-{kind}", kind=kind, lifetime_s=60)
        received = Received(topics.COMMANDS.of(TILL), codec.encode(command), retained=False)
        self.line.waiting.append(received)
        self.work(3)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_diagnosis_finds_what_was_injected(stage: Stage) -> None:
    trouble = Injection(
        what=What.CONDITION, terminal_id=TILL, component=NETWORK_UPLINK, code="dns_failure", from_s=0, until_s=99
    )
    stage.terminal.begin(trouble, stage.moment)
    stage.order(CommandKind.DIAGNOSE)
    diagnosis = stage.line.answers[-1].diagnosis
    assert diagnosis is not None
    assert (diagnosis.failing, diagnosis.confidence) == ("dns_failure", "proved")
    outcomes = {one.name: one.outcome for one in diagnosis.findings}
    assert (outcomes["gateway"], outcomes["names"], outcomes["wan"]) == ("passed", "failed", "untested")
    assert outcomes["pos_printer:receipt"] == "ok"


def test_a_terminal_that_is_well_is_found_so(stage: Stage) -> None:
    stage.order(CommandKind.DIAGNOSE)
    diagnosis = stage.line.answers[-1].diagnosis
    assert diagnosis is not None
    assert diagnosis.failing is None


def test_a_restart_says_that_it_stops_and_comes_back(stage: Stage) -> None:
    stage.work(70)
    before = len(stage.line.messages(Presence))
    stage.order(CommandKind.RESTART_AGENT)
    stage.work(5)
    told = [(one.state, one.connection.boot_epoch) for one in stage.line.messages(Presence)[before:]]
    assert told == [("offline", 1), ("online", 2)]


@pytest.mark.parametrize("kind", [CommandKind.REPORT, CommandKind.REPROBE])
def test_the_rest_is_done_and_answered(stage: Stage, kind: CommandKind) -> None:
    stage.order(kind)
    assert [(report.kind, report.reason) for report in stage.line.answers] == [(kind, None)]


def test_where_there_is_no_uplink_nothing_is_said_of_the_way_out() -> None:
    assert way_out(()) is None
