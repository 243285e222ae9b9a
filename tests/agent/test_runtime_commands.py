"""Commands in the runtime: every probe looks anew, hanging ones hold up nobody for ever, a restart ends the process."""

import threading
from typing import Any

import pytest
from tests.agent.conftest import WAIT_S, until
from tests.agent.test_runtime import FakeProbe, Start, Witness, is_beat, is_presence, settings, start, witness

from tillwatch_agent import runtime
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.core import Outgoing, Publish, Stop
from tillwatch_agent.moment import Moment
from tillwatch_agent.runtime import EXIT_RESTART, Runtime
from tillwatch_protocol import codec, topics
from tillwatch_protocol.command import Command, CommandKind, CommandReport
from tillwatch_protocol.event import EventBatch
from tillwatch_protocol.vocabulary import Health

__all__ = ["settings", "start", "witness"]
"""Fixtures of the runtime's own tests."""

LONG_S = 3_600.0


def order(witness: Witness, kind: CommandKind) -> CommandReport:
    """Ask for a command, and wait for its answer."""
    command = Command(terminal_id="till-1", command_id=f"c-{kind}", kind=kind, lifetime_s=60)
    outgoing = Outgoing(topics.COMMANDS.of("till-1"), codec.encode(command), 1, retain=False)
    witness.do(Publish(outgoing))
    batch: Any = witness.see(lambda message: bool(_answers(message)))
    return _answers(batch)[-1]


def _answers(message: object) -> list[CommandReport]:
    events = message.events if isinstance(message, EventBatch) else ()
    return [event.command for event in events if event.command]


def test_a_diagnosis_looks_at_what_is_seldom_looked_at(start: Start, witness: Witness) -> None:
    probe = FakeProbe(poll_s=LONG_S)
    start(probe)
    witness.see(is_beat(Health.OK))
    probe.health = Health.FAULT
    report = order(witness, CommandKind.DIAGNOSE)
    assert report.diagnosis is not None
    assert [(one.name, one.outcome) for one in report.diagnosis.findings] == [("pos_printer:1", "fault")]
    assert probe.polls == 2


def test_a_probe_that_hangs_delays_a_diagnosis_and_does_not_stop_it(
    start: Start, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "EXAMINATION_S_MAX", 0.2)
    probe, hanging = FakeProbe(), FakeProbe(name="scanner:1")
    start(probe, hanging)
    until(lambda: hanging.polls > 0, "a look at the scanner")
    hanging.hangs.clear()
    witness.see(is_presence("online"))
    report = order(witness, CommandKind.DIAGNOSE)
    hanging.hangs.set()
    assert report.diagnosis is not None
    assert "pos_printer:1" in [one.name for one in report.diagnosis.findings]


def test_a_reprobe_asks_devices_anew_at_once(start: Start, witness: Witness) -> None:
    probe = FakeProbe(poll_s=LONG_S)
    start(probe)
    witness.see(is_beat(Health.OK))
    order(witness, CommandKind.REPROBE)
    until(lambda: (probe.forgotten, probe.polls) == (1, 2), "the probe to look anew")


class ShiftedClock:
    """Both clocks, as far ahead as a test sets them."""

    ahead_s = 0.0

    def __call__(self) -> Moment:
        read = runtime.now()
        return Moment(monotonic_s=read.monotonic_s + self.ahead_s, at=read.at)


def test_a_restart_ends_the_process_in_order_so_that_it_is_started_again(
    settings: AgentConfig, witness: Witness
) -> None:
    clock, codes = ShiftedClock(), list[int]()
    running = Runtime(settings, [FakeProbe()], clocks=clock)
    thread = threading.Thread(target=lambda: codes.append(running.run()))
    thread.start()
    try:
        witness.see(is_beat(Health.OK))
        clock.ahead_s = 100.0
        assert order(witness, CommandKind.RESTART_AGENT).reason is None
        presence: Any = witness.see(is_presence("offline"))
        assert presence.reason == "stopping"
    finally:
        running.put(Stop())
        thread.join(WAIT_S)
    assert codes == [EXIT_RESTART]
