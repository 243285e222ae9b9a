"""The collector as a process: a heartbeat all the way through, its end, and its start after a kill."""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.collector.shell_fixtures import NOW, beat, events, settings
from tests.collector.test_broker import PATIENCE_S, ROOT, Client

from tillwatch_collector import app
from tillwatch_collector.broker import EmbeddedBroker, Handover
from tillwatch_collector.errors import OperatorError
from tillwatch_protocol import codec

PROCESS = "collector.1"


@dataclass(kw_only=True)
class Served:
    """`serve` as its operator runs it."""

    def __init__(self, data_dir: Path) -> None:
        environment = {**os.environ, "TILLWATCH_DATA_DIR": str(data_dir), "TILLWATCH_WEB__PORT": "0"}
        environment |= {"TILLWATCH_JUDGE__CANARY_S": "0.2", "TILLWATCH_JUDGE__TICK_S": "0.1"}
        self.data_dir = data_dir
        self.environment = environment
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tillwatch_collector", "serve"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        if not ready:
            self.process.kill()
            pytest.fail(f"it did not say that it listens: {self.process.communicate()[1]}")
        self.first_line = self.process.stdout.readline().strip()
        self.url = json.loads((data_dir / "serve.json").read_text(encoding="utf-8"))["web_url"]

    def run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "tillwatch_collector", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def get(self, path: str, token: str | None = None) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def until_ready(self, token: str) -> str:
        """Ask until it is ready; what it then says."""
        until = time.monotonic() + PATIENCE_S
        while True:
            status, said = self.get("/readyz", token)
            if status == 200:
                return said
            assert time.monotonic() < until, said

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    if served.process.poll() is None:
        served.process.kill()
    served.process.communicate()


def test_a_heartbeat_goes_all_the_way_through_the_process(served: Served, tmp_path: Path) -> None:
    assert served.first_line == f"listening on {served.url}"
    assert json.loads((tmp_path / "serve.json").read_text(encoding="utf-8"))["pid"] == served.process.pid
    token = served.run("token", "create", "--name", "test", "--scope", "read")
    handover = Handover(**json.loads((tmp_path / "embedded-broker.json").read_text(encoding="utf-8")))
    terminal = Client(handover, "t-1")
    assert terminal.until("connected")
    terminal.subscribe(f"{ROOT}/t/t-1/dn/+", f"{ROOT}/c/+/state")
    assert json.loads(terminal.until(f"{ROOT}/c/{PROCESS}/state"))["state"] == "online"
    terminal.publish(f"{ROOT}/t/t-1/up/heartbeat", codec.encode(beat(1, NOW)))
    terminal.publish(f"{ROOT}/t/t-1/up/events", codec.encode(events(1, NOW)))
    assert json.loads(terminal.until(f"{ROOT}/t/t-1/dn/ack"))["event_seq"] == 1  # kept, therefore to be seen
    status, body = served.get("/api/v1/terminals/t-1", token)
    assert (status, json.loads(body)["level"]["beat_no"]) == (200, 1)
    checks = json.loads(served.until_ready(token))["checks"]
    assert set(checks) == {"database", "broker", "engine", "listening", "tick"}
    assert "tillwatch_events_stored_total 1.0" in served.get("/metrics", token)[1]
    assert served.get("/healthz") == (200, "ok\n")
    assert served.get("/api/v1/fleet")[0] == 401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_told_and_leaves_nothing_behind(
    served: Served, tmp_path: Path, number: signal.Signals
) -> None:
    code, said = served.end(number)
    assert code == 0
    assert "Traceback" not in said
    assert "becomes the first admin" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["collector.db", "serve.lock"]


def test_after_a_kill_it_starts_again_on_what_is_there(served: Served, tmp_path: Path) -> None:
    served.run("inventory", "merchant", "add", "m-1", "--name", "Noodle House")
    served.end(signal.SIGKILL)
    again = Served(tmp_path)
    assert "Noodle House" in again.run("inventory", "merchant", "list")
    assert again.end()[0] == 0


def test_when_the_broker_cannot_be_kept_alive_it_gives_up_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Dies(EmbeddedBroker):
        def tend(self) -> None:
            raise OperatorError("the embedded broker died 6 times")

    monkeypatch.setattr(app, "EmbeddedBroker", Dies)
    announced: list[str] = []
    with caplog.at_level(logging.CRITICAL), pytest.raises(OperatorError, match="died 6 times"):
        app.serve(settings(tmp_path), announced.append)
    assert "died 6 times" in caplog.text
