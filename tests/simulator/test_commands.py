"""The commands as a person runs them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest
import serial

PROGRAM = Path(sys.executable).with_name("tillwatch-sim")

PEM = Path(__file__).parents[1] / "agent" / "data"


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [PROGRAM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def told(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return said(process)


def done(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_a_printer_on_a_pty_obeys_its_control_lines(tmp_path: Path) -> None:
    path = tmp_path / "made" / "printer"
    with running("printer", "--pty", str(path), "--set", "paper_end") as process:
        assert said(process) == f"ready {path}: faults: paper_end; DLE EOT 1..4: 1A 32 12 7E\n"
        assert told(process, "clear paper_end") == f"ok {path}: faults: none; DLE EOT 1..4: 12 12 12 12\n"
        with serial.Serial(str(path), timeout=5) as line:
            line.write(bytes.fromhex("100401"))
            assert line.read(1) == b"\x12"
        assert told(process, "set on_fire").startswith("error expected one of cover_open, ")
        assert told(process, "dance").startswith("error expected set FAULT, clear FAULT, state or quit")
        assert "unplugged" in told(process, "set unplugged")
        assert not os.path.lexists(path)
        told(process, "clear unplugged")
        assert os.path.lexists(path)
        assert process.stdin
        process.stdin.write("quit\n")
        process.stdin.flush()
        assert process.wait(10) == 0
    assert not os.path.lexists(path)


@pytest.mark.parametrize(
    ("words", "ready", "fault"),
    [
        (["printer", "--protocol", "star", "--tcp", "0"], "status: 23 06 00 00 00 00 00 00 00", "mechanical_error"),
        (["modem", "--tcp", "0"], "registration 1", "denied"),
        (["zvt", "--tcp", "0"], "state 00", "no_host"),
        (["poi", "--tcp", "0", "--cert", f"{PEM}/server.pem", "--key", f"{PEM}/server.key"], "P400-1", "reader_broken"),
    ],
)
def test_each_device_is_served_and_obeys(words: list[str], ready: str, fault: str) -> None:
    with running(*words) as process:
        first = said(process)
        assert first.startswith("ready ")
        assert first.endswith(f"faults: none; {ready}\n")
        assert f"faults: {fault}" in told(process, f"set {fault}")
        assert "faults: none" in told(process, f"clear {fault}")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_printer_without_input_serves_until_it_is_ended(how: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "printer"
    with running("printer", "--pty", str(path)) as process:
        assert said(process).startswith("ready ")
        assert process.stdin
        process.stdin.close()
        process.stdin = None
        with serial.Serial(str(path), timeout=5) as line:
            line.write(bytes.fromhex("100401"))
            assert line.read(1) == b"\x12"
        process.send_signal(how)
        assert process.wait(10) == 0
    assert not os.path.lexists(path)


@pytest.mark.parametrize(
    ("words", "exit_code", "problem"),
    [
        (("printer",), 2, "expected either --pty PATH or --tcp PORT"),
        (("printer", "--pty", "/p", "--tcp", "1"), 2, "expected either --pty PATH or --tcp PORT"),
        (("printer", "--tcp", "65536"), 2, "expected [HOST:]PORT, got '65536'"),
        (("printer", "--pty", "/proc/nowhere/link"), 1, "expected to make the link /proc/nowhere/link"),
        (("printer", "--tcp", "0", "--set", "on_fire"), 1, "got 'on_fire'"),
        (("fleet",), 2, "expected either --broker HOST:PORT or"),
        (("fleet", "--broker", "nowhere"), 1, "expected a broker as HOST:PORT, got 'nowhere'"),
        (("fleet", "--broker", "127.0.0.1:1", "--password-file", "/nowhere"), 1, "expected a readable password file"),
        (
            ("fleet", "--broker", "127.0.0.1:1", "--scenario", "/nowhere"),
            1,
            "expected one of demo, restaurant_chain, retailer, or a",
        ),
        (("fleet", "--broker", "127.0.0.1:1", "--terminals", "5001"), 1, "less than or equal to 5000; got 5001"),
        (("demo", "--scenario", "/nowhere"), 1, "expected one of demo, restaurant_chain, retailer, or a readable file"),
        (("demo", "--scenario", "restaurant_chain", "--terminals", "9"), 1, "expected at least the 24 terminals"),
        (("fleet", "--embedded-broker-file", "/nowhere"), 1, "expected what `tillwatch-collector serve` leaves"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(words: tuple[str, ...], exit_code: int, problem: str) -> None:
    ended = done(*words)
    assert ended.returncode == exit_code
    assert problem in " ".join(ended.stderr.replace("│", " ").split())
    assert "Traceback" not in ended.stderr


def test_a_fleet_without_a_broker_ends_in_time_with_its_counts(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('terminals = 2\n[[happening]]\nat_s = 0\nwhat = "stopped"\nterminals = [2]')
    ended = done("fleet", "--broker", "127.0.0.1:1", "--scenario", str(scenario), "--duration", "0.5", "--json")
    assert ended.returncode == 0
    # both started and stopped, one by the scenario and one at the end
    assert json.loads(ended.stdout) == {
        "terminals": 2,
        "connected": 0,
        "heartbeats": 0,
        "events": 4,
        "unacknowledged": 4,
    }
    assert "sim-0002   stops, and says so" in ended.stderr


@pytest.mark.parametrize("words", [(), ("printer",), ("fleet",), ("demo",)])
def test_each_command_has_a_help_that_teaches_it(words: tuple[str, ...]) -> None:
    ended = done(*words, "--help")
    assert ended.returncode == 0
    assert len(ended.stdout) > 400


def test_help_tells_examples_and_exit_codes_and_eats_no_bracket() -> None:
    overview = done("--help").stdout
    assert "\n    tillwatch-sim printer --tcp 9100\n" in overview
    assert "exit codes: 0 done" in overview
    assert "restaurant_chain" in done("demo", "--help").stdout
    assert "--tcp [HOST:]PORT" in done("printer", "--help").stdout


def test_it_tells_its_version() -> None:
    ended = done("--version")
    assert (ended.returncode, ended.stdout) == (0, f"tillwatch-sim {metadata.version('tillwatch-simulator')}\n")


def test_an_interrupt_while_it_still_imports_ends_it_without_a_word() -> None:
    interrupted = """
import signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "tillwatch_simulator.commands":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from tillwatch_simulator.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
