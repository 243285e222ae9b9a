"""The real processes on this machine: a collector with its embedded broker, agents beside simulated printers.

Everything is the installed command in a process of its own; a test looks at what they do through the API and the
outbox, and waits by asking until an answer is right, never by sleeping for a guessed time.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2

from tillwatch_agent import outbox
from tillwatch_agent.runtime import OUTBOX_FILE

BIN = Path(sys.executable).parent
WAIT_S = 120.0
"""For anything: far more than it takes, so that only what never happens fails."""

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, wait_s: float = WAIT_S) -> T:
    """Ask until the answer is something; fails with `what` when it never is."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {wait_s:.0f} s in vain for {what}")


def as_installed(cache: Path) -> tuple[str, ...]:
    """Begin a command with this, and from its second start on it finds its modules compiled, whatever is set here."""
    return "env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPYCACHEPREFIX={cache}"


class Process:
    """A command in a process, its output in a file beside its data."""

    def __init__(self, folder: Path, name: str, *command: str) -> None:
        self.log = folder / f"{name}.log"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """As a power cut ends it: no last word."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As an operator ends it."""
        return self._end(signal.SIGTERM)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self._command[0]} was not started"
        return self._process.pid

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"{self._command[0]} did not end; see its log:\n{self.tail()}") from None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


QUICK_JUDGE = "canary_s = 0.5\ntick_s = 0.1\n"
"""What a test waits for comes soon."""


class Collector:
    """`tillwatch-collector serve`, or one role of it, with its embedded broker unless `tables` name another.

    `settings` are further keys of its configuration, `tables` further tables, each with its end of line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        hold_scale: float = 0.05,
        settings: str = "",
        judge: str = QUICK_JUDGE,
        tables: str = "",
        role: str = "serve",
        process: str = "collector.1",
        web_port: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self._told_in = self.data / ("serve.json" if role == "serve" else f"{process}.json")
        self.config = folder / "collector.toml"
        self.config.write_text(
            f'data_dir = "{self.data}"\nprocess = "{process}"\n{settings}'
            f"[web]\nport = {web_port}\n[judge]\nhold_scale = {hold_scale}\n{judge}{tables}"
        )
        self.process = Process(
            folder, "collector", str(BIN / "tillwatch-collector"), role, "--config", str(self.config)
        )
        self._client: httpx2.Client | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
        if self._client:
            self._client.close()

    def start(self) -> None:
        self._told_in.unlink(missing_ok=True)
        self.process.start()
        serve = until(self._serving, "the collector to serve")
        if self._client is None:
            token = self.command("token", "create", "--name", "live", "--scope", "read", "--scope", "write", "--json")[
                "token"
            ]
            self._client = httpx2.Client(headers={"Authorization": f"Bearer {token}"}, timeout=WAIT_S)
        self._client.base_url = serve["web_url"]

    def kill(self) -> None:
        """As a power cut ends it; `start` begins it again."""
        self.process.kill()

    def command(self, *words: str) -> Any:
        """Run one of its other commands; its JSON."""
        done = subprocess.run(
            [str(BIN / "tillwatch-collector"), *words, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    @property
    def web_url(self) -> str:
        """Where its pages, its API and its releases are, since its last start."""
        url: str = json.loads(self._told_in.read_text())["web_url"]
        return url

    @property
    def broker(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "embedded-broker.json").read_text())
        return found

    def get(self, path: str, **query: Any) -> Any:
        assert self._client is not None
        answer = self._client.get(path, params=query)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def look(self, path: str) -> Any:
        """Ask while it may be away; None where it does not answer."""
        assert self._client is not None
        try:
            answer = self._client.get(path)
        except httpx2.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def post(self, path: str, body: Any) -> Any:
        """Ask for a change."""
        assert self._client is not None
        answer = self._client.post(path, json=body)
        assert answer.status_code in {200, 201}, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def text(self, path: str) -> str:
        """What a path says that is not JSON."""
        assert self._client is not None
        answer = self._client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.text

    def tickets(self, **query: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("/api/v1/tickets", **query)["items"]
        return items

    def journal(self, ticket: dict[str, Any]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(f"/api/v1/tickets/{ticket['ticket_id']}/journal")["items"]
        return items

    def terminal(self, terminal_id: str) -> dict[str, Any] | None:
        """The terminal's detail; None while the collector has not heard of it."""
        assert self._client is not None
        answer = self._client.get(f"/api/v1/terminals/{terminal_id}")
        assert answer.status_code in {200, 404}, answer.text
        found: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return found

    def streams(self, terminal_id: str) -> list[dict[str, Any]]:
        found = self.terminal(terminal_id)
        return found["streams"] if found else []

    def _serving(self) -> dict[str, Any] | None:
        assert self.process.running, self.process.tail()
        if not self._told_in.exists():
            return None
        serve: dict[str, Any] = json.loads(self._told_in.read_text())
        try:
            ready = httpx2.get(f"{serve['web_url']}/healthz", timeout=5)
        except httpx2.TransportError:
            return None
        return serve if ready.status_code == 200 else None


class Agent:
    """`tillwatch-agent run` beside one printer, at the collector's embedded broker unless `broker` is another table."""

    def __init__(
        self,
        folder: Path,
        collector: Collector,
        terminal_id: str,
        printer: str,
        *,
        interval_s: int = 2,
        broker: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.terminal_id = terminal_id
        self.state = folder / "state"
        self.config = folder / "agent.toml"
        self.config.write_text(f"""
terminal_id = "{terminal_id}"
interval_s = {interval_s}
state_dir = "{self.state}"
{self._embedded(folder, collector) if broker is None else broker}[[printer]]
name = "kitchen"
port = "{printer}"
poll_s = 0.5
[network]
enabled = false
[machine]
enabled = false
disk_path = "/"
""")
        self.process = Process(folder, terminal_id, str(BIN / "tillwatch-agent"), "run", "--config", str(self.config))

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    @property
    def unacknowledged(self) -> int:
        """Events that wait in its outbox."""
        return outbox.summary(self.state / OUTBOX_FILE).unacknowledged

    def _embedded(self, folder: Path, collector: Collector) -> str:
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(collector.broker["terminal_password"])
        return f"""[broker]
host = "{collector.broker["host"]}"
port = {collector.broker["port"]}
username = "{self.terminal_id}"
password_file = "{password}"
"""
