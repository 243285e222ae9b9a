"""The command line: what it prints, and how it exits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent import stand
from tests.agent.conftest import BrokerByHand

from tillwatch_agent import __main__ as command
from tillwatch_agent import config, doctor, recognise, runtime
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.errors import AgentError, MachineError
from tillwatch_agent.probes import Probe
from tillwatch_protocol import codec
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.topics import HEARTBEAT
from tillwatch_protocol.vocabulary import ConditionCode, Health


def written(folder: Path, printer: str, broker_port: int = 1) -> str:
    path = folder / "agent.toml"
    path.write_text(
        f"""
        terminal_id = "till-1"
        interval_s = 5
        state_dir = "state"
        [broker]
        port = {broker_port}
        [[printer]]
        name = "bar"
        port = "{printer}"
        [network]
        enabled = false
        """
    )
    return str(path)


def test_probe_prints_one_heartbeat_and_needs_no_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stand.pty_printer(stand.WELL | {b"\x10\x04\x01": b"\x1a", b"\x10\x04\x02": b"\x16"}) as printer:
        assert command.main(["probe", "--json", "--config", written(tmp_path, printer.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    beat = codec.decode(HEARTBEAT.of("till-1"), lines[0].encode())
    assert isinstance(beat, Heartbeat)
    assert (beat.terminal_id, beat.interval_s) == ("till-1", 5)
    by_name = {reading.component: reading for reading in beat.components}
    assert [condition.code for condition in by_name["pos_printer:bar"].conditions] == [ConditionCode.COVER_OPEN]
    assert by_name["machine:self"].health is Health.OK
    assert not (tmp_path / "state").exists(), "it leaves nothing behind"


def test_probe_without_json_is_for_reading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["probe", "--config", written(tmp_path, "/dev/nowhere")]) == 0
    assert "PROBLEM  pos_printer:bar  absent: not_attached" in capsys.readouterr().out


def test_doctor_exits_by_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], by_hand: BrokerByHand
) -> None:
    with stand.pty_printer() as printer, by_hand.answering(b"\x20\x02\x00\x00"):
        assert command.main(["doctor", "--config", written(tmp_path, printer.path, by_hand.port)]) == 0
        all_is_well, next_step = capsys.readouterr().out.splitlines()[-2:]
        assert all_is_well == "all is well"
        assert next_step.startswith("next: start the agent's unit, or by hand: tillwatch-agent run --config ")
        printer.answers |= {b"\x10\x04\x04": b"\x72"}
        assert command.main(["doctor", "--json", "--config", written(tmp_path, printer.path, by_hand.port)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert {"name": "pos_printer:bar", "verdict": "problem", "found": "fault: paper_end", "advice": "load paper"} in (
        document["checks"]
    )


def test_doctor_without_a_configuration_says_how_one_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["doctor", "--config", str(tmp_path / "agent.toml")]) == 2
    assert "begin one: tillwatch-agent doctor --write agent.toml" in capsys.readouterr().err


def test_a_wrong_configuration_exits_2_and_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").write_text('terminal_id = "till.1"\n')
    assert command.main(["probe", "--config", str(tmp_path / "agent.toml")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "terminal_id: expected 1 to 64 letters" in said.err


@pytest.mark.parametrize(
    "arguments", [[], ["walk"], ["probe", "--jsn"], ["run", "--json"], ["run", "--log-level", "x"]]
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert "usage: tillwatch-agent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "taught"),
    [
        (["--help"], "exit codes: 0 all is well"),
        (["doctor", "--help"], "the broker and the login there"),
        (["probe", "--help"], "needs no broker"),
        (["run", "--help"], "SIGTERM"),
    ],
)
def test_help_teaches(arguments: list[str], taught: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 0
    assert taught in " ".join(capsys.readouterr().out.split())


def test_run_hands_settings_and_probes_to_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def stand_in(settings: AgentConfig, probes: tuple[Probe, ...]) -> int:
        given.extend([settings.terminal_id, *(probe.name for probe in probes)])
        return 70

    monkeypatch.setattr(runtime, "run", stand_in)
    assert command.main(["run", "--config", written(tmp_path, "/dev/nowhere")]) == 70
    assert given == ["till-1", "pos_printer:bar", "machine:self", "pos_power:self"]


@pytest.mark.parametrize("error", [MachineError("the disk is gone")])
def test_what_fails_beyond_the_operator_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: AgentError
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(runtime, "run", fail)
    assert command.main(["run", "--config", written(tmp_path, "/dev/nowhere")]) == 1
    assert capsys.readouterr().err == "tillwatch-agent: the disk is gone\n"


def test_an_interrupt_while_it_still_imports_ends_it_without_a_word() -> None:
    interrupted = """
import signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "tillwatch_agent.commands":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from tillwatch_agent.__main__ import main
sys.exit(main(["doctor"]))
"""
    ended = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_doctor_writes_a_configuration_for_what_is_recognised_and_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.usb_device(tmp_path / "sys", "1-1", "05e0:1701")
    found = recognise.attached(config.parse({"terminal_id": "t"}), tmp_path / "sys")
    monkeypatch.setattr(recognise, "attached", lambda *_: found)
    monkeypatch.setattr(doctor, "examine", lambda *_: ())
    path = tmp_path / "agent.toml"
    assert command.main(["doctor", "--write", str(path)]) == 0
    assert capsys.readouterr().out.startswith("all is well\nnext: ")
    written = config.load(path)
    assert [device.component for device in written.usb_device] == ["scanner:scanner-1"]


def test_doctor_adds_to_a_configuration_and_leaves_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.usb_device(tmp_path / "sys", "1-1", "05e0:1701")
    attached = recognise.attached
    monkeypatch.setattr(recognise, "attached", lambda settings: attached(settings, tmp_path / "sys"))
    monkeypatch.setattr(doctor, "examine", lambda *_: ())
    path = tmp_path / "agent.toml"
    path.write_text('# ours\nterminal_id = "till-9"')
    path.chmod(0o600)
    assert command.main(["doctor", "--language", "zh-CN", "--write", str(path)]) == 0
    first = path.read_text()
    assert first.startswith('# ours\nterminal_id = "till-9"\n\n# Symbol')
    assert path.stat().st_mode & 0o777 == 0o600
    assert command.main(["doctor", "--write", str(path)]) == 0
    assert path.read_text() == first
    said = capsys.readouterr()
    assert said.err.endswith("nothing to add\n")
    assert said.out.startswith("一切正常\n")


def test_doctor_that_cannot_write_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["doctor", "--write", str(tmp_path / "nowhere" / "agent.toml")]) == 2
    assert "expected a file that can be written, got: No such file" in capsys.readouterr().err
