"""The processes of the demonstration: a collector with its embedded broker, and real agents beside simulated printers.

Each runs the installed command, keeps its files in a folder given to it, and writes what it says into `log` there. They
live in sessions of their own, so that Ctrl-C reaches the demonstration alone, which ends them in their order. When
it is killed itself, the kernel asks them to end.
"""

import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from tillwatch_agent import outbox
from tillwatch_agent.errors import MachineError
from tillwatch_agent.outbox import Summary
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.errors import PartFailed
from tillwatch_simulator.inventory import Inventory
from tillwatch_simulator.ports import PtyPort

START_TIMEOUT_S = 60.0
"""A cold start imports some hundred modules from a slow disk, and makes a database."""
STOP_TIMEOUT_S = 15.0
"""An agent says farewell, a collector ends its broker: some seconds; longer means that it hangs, and it is killed."""
HTTP_TIMEOUT_S = 10.0
_LOOK_EVERY_S = 0.1
_LOG_CHARS_MAX = 2_000
"""Of a log, in an error message: its last lines."""

_PR_SET_PDEATHSIG = 1
"""Linux, linux/prctl.h."""
_libc = ctypes.CDLL(None)

_T = TypeVar("_T")


class Child:
    """An installed command, started and ended as often as one likes."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        """Prepare it; raises `PartFailed` when the command is not installed."""
        program = Path(sys.executable).with_name(command[0])
        if not program.exists():
            raise PartFailed(f"expected {program}, got nothing: install {command[0]} beside tillwatch-sim")
        folder.mkdir(parents=True, exist_ok=True)
        self.name = command[0]
        self._command = [str(program), *command[1:]]
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = True
        """By us."""

    def start(self) -> None:
        """Start it, if it does not run."""
        self._ended = False
        if not self.runs:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own command
                    self._command,
                    preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call, which takes no lock
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_environment(),
                    start_new_session=True,
                )

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._ended = True
        if self._process and self.runs:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it without a word."""
        self._ended = True
        if self._process:
            self._process.kill()
            self._process.wait()

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Raise `PartFailed` when it has ended by itself."""
        if not self._ended and not self.runs:
            raise self.failed("it to run")

    def failed(self, expected: str) -> PartFailed:
        """Say what was expected of it, and what it said last."""
        code = self._process.poll() if self._process else None
        state = "it still runs" if code is None else f"it ended with exit code {code}"
        said = self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARS_MAX:] if self._log.exists() else ""
        return PartFailed(f"{self.name}: expected {expected}, but {state}; it said last:\n{said}")

    def until(self, look: Callable[[], _T | None], expected: str) -> _T:
        """Look until something is there; raises `PartFailed` when the child ends before, or takes too long."""
        for _ in range(round(START_TIMEOUT_S / _LOOK_EVERY_S)):
            if (found := look()) is not None:
                return found
            if not self.runs:
                break
            threading.Event().wait(_LOOK_EVERY_S)
        raise self.failed(expected)


class Collector:
    """`tillwatch-collector serve` with its embedded broker, reached over HTTP. It serves when `__enter__` returns."""

    def __init__(self, folder: Path, *, hold_scale: float, releases: Path | None = None) -> None:
        """Prepare it, with a folder of signed releases; raises `PartFailed`."""
        self._folder = folder
        self._data = folder / "data"
        self._config = folder / "collector.toml"
        self._child = Child(folder, ["tillwatch-collector", "serve", "--config", str(self._config)])
        self._config.write_text(
            f"data_dir = {json.dumps(str(self._data))}\n\n[web]\nport = 0\n\n"
            f"[judge]\nhold_scale = {hold_scale}\ncanary_s = 1.0\ntick_s = 0.5\n\n[rollouts]\nlook_s = 1.0\n"
            + (f"\n[releases]\nfolder = {json.dumps(str(releases))}\n" if releases else ""),
            encoding="utf-8",
        )
        self._web_url = ""
        self._token = self._desk_token = ""

    def __enter__(self) -> Self:
        """Start it; raises `PartFailed`."""
        with ExitStack() as undo:
            undo.callback(self._child.stop)
            self._child.start()
            self._web_url = self._child.until(self._served_at, "it to serve")
            self._token = self._made_token("demo", "read")
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        self._child.stop()

    def invited(self) -> str:
        """Make a link to the console, by which one person comes in, once, as an admin; raises `PartFailed`."""
        words = ["person", "invite", "--role", "admin", "--by", "person:demo", "--json", "--config", str(self._config)]
        return str(json.loads(ask_collector(*words))["link"])

    @property
    def broker_file(self) -> Path:
        """What it left of its broker."""
        return self._data / "embedded-broker.json"

    def get(self, path: str, **query: object) -> Any:
        """Ask the API; raises `PartFailed`."""
        return json.loads(self._answer("GET", f"{path}?{urlencode(query)}", self._token))

    def describe(self, inventory: Inventory, began_at: datetime) -> None:
        """Tell it who stands where, with a token that may write and is known to nobody else; raises `PartFailed`."""
        token = self._made_token("inventory", "write")
        for path, kind, body in inventory.posts(began_at):
            self._answer("POST", path, token, {"Content-Type": kind}, body.encode())

    def act(self, path: str, body: Mapping[str, Any], *, actor: str) -> Any:
        """Have somebody, such as `person:ann`, ask it to do something; raises `PartFailed`."""
        self._desk_token = self._desk_token or self._made_token("desk", "admin")
        headers = {"Content-Type": "application/json", "X-Actor": actor}
        return json.loads(self._answer("POST", path, self._desk_token, headers, json.dumps(body).encode()))

    def _answer(
        self, method: str, target: str, token: str, more: Mapping[str, str] | None = None, body: bytes = b""
    ) -> bytes:
        where = urlsplit(self._web_url)
        headers = {"Authorization": f"Bearer {token}", **(more or {})}
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=HTTP_TIMEOUT_S)
        try:
            connection.request(method, target, body or None, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._child.failed(f"an answer to {method} {target}, got {error!r}") from error
        finally:
            connection.close()
        if answer.status not in {http.HTTPStatus.OK, http.HTTPStatus.CREATED}:
            text = said[:500].decode(errors="replace")
            raise PartFailed(f"{method} {target}: expected 200 or 201, got {answer.status}: {text}")
        return said

    def _served_at(self) -> str | None:
        """Where it serves, once it answers there."""
        try:
            said = json.loads((self._data / "serve.json").read_text(encoding="utf-8"))
            self._web_url = str(said["web_url"]).rstrip("/")
            self._answer("GET", "/healthz", self._token)
        except (OSError, ValueError, PartFailed):
            return None
        return self._web_url if self.broker_file.exists() else None

    def _made_token(self, name: str, scope: str) -> str:
        words = ["token", "create", "--name", name, "--scope", scope, "--json", "--config", str(self._config)]
        return str(json.loads(ask_collector(*words))["token"])


class Agent:
    """`tillwatch-agent run` beside a simulated printer on a pty. It looks at nothing else: no other trouble is ours."""

    def __init__(self, folder: Path, *, terminal_id: str, interval_s: int, broker_file: Path) -> None:
        self.terminal_id = terminal_id
        self.printer = PtyPort(Printer(), folder / "printer")
        self._outbox = folder / "state" / "outbox.db"
        config = folder / "agent.toml"
        self._child = Child(folder, ["tillwatch-agent", "run", "--config", str(config)])
        broker = json.loads(broker_file.read_text(encoding="utf-8"))
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(broker["terminal_password"], encoding="utf-8")
        config.write_text(
            f'terminal_id = "{terminal_id}"\ninterval_s = {interval_s}\nstate_dir = "state"\n\n'
            f'[broker]\nhost = "{broker["host"]}"\nport = {broker["port"]}\nusername = "{terminal_id}"\n'
            f'password_file = "password"\n\n[[printer]]\nname = "receipt"\nport = {json.dumps(self.printer.address)}\n'
            "poll_s = 1.0\n\n[network]\nenabled = false\n\n[machine]\nenabled = false\n",
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        """Start both."""
        with ExitStack() as undo:
            undo.enter_context(self.printer)
            self._child.start()
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End both."""
        self._child.stop()
        self.printer.__exit__(kind, error, at)

    def start(self) -> None:
        """Start the agent again."""
        self._child.start()

    def stop(self) -> None:
        """Ask the agent to end; it says so."""
        self._child.stop()

    def kill(self) -> None:
        """End the agent without a word."""
        self._child.kill()

    def ready(self) -> None:
        """Wait until it has begun its outbox; raises `PartFailed`."""
        self._child.until(self._begun, "it to begin its outbox")

    def summary(self) -> Summary:
        """Look at its outbox."""
        return outbox.summary(self._outbox)

    def check(self) -> None:
        """Raise `PartFailed` when the agent has ended by itself."""
        self._child.check()

    def _begun(self) -> Summary | None:
        """Look at its outbox, unless it is still being made."""
        try:
            return self.summary()
        except MachineError:
            return None


def ask_collector(*words: str) -> str:
    """Run a command of the collector to its end, and return what it says; raises `PartFailed`."""
    program = Path(sys.executable).with_name("tillwatch-collector")
    done = subprocess.run(  # noqa: S603 - our own command
        [program, *words], env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = f"{done.stdout}{done.stderr}"[-_LOG_CHARS_MAX:]
        raise PartFailed(f"tillwatch-collector {' '.join(words[:2])}: expected exit code 0, got {said}")
    return done.stdout


def _end_with_parent() -> None:
    """Have the kernel ask this process to end when the demonstration's main thread, which starts it, is gone."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _environment() -> dict[str, str]:
    """Take ours without the settings of another collector, which would stand above the demonstration's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TILLWATCH_")}
