"""Roles apart, for real: two that take in, two that may judge and one with the pages, over Mosquitto and PostgreSQL.

Each is killed in turn while tills go on; faults become one ticket each, and no death of ours becomes any.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx2
import psycopg
import pytest
from tests.live.mosquitto import Mosquitto
from tests.live.postgres import Server
from tests.live.stack import BIN, WAIT_S, Process, until

from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.ports import TcpPort

PROCESSES = ("ingest.1", "ingest.2", "tick.1", "tick.2", "web.1")
KEEPALIVE_S = 5
"""As short as may be: who is killed is then held for dead after 20 s."""


class Roles:
    """The processes of one collector, each with its own settings in a data directory that all share."""

    def __init__(self, folder: Path, database_url: str, broker: Mosquitto) -> None:
        self.data = folder / "data"
        self.database_url = database_url
        self._folder = folder
        self.broker = f'[broker]\nhost = "{broker.host}"\nport = {broker.port}\n'
        self.processes = {name: self._process(name) for name in PROCESSES}
        self._client: httpx2.Client | None = None

    def __enter__(self) -> Self:
        for name in self.processes:
            self.start(name)
        until(lambda: self.web_url("web.1"), "the pages")
        token = self._command("token", "create", "--name", "live", "--scope", "read", "--json")["token"]
        self._client = httpx2.Client(headers={"Authorization": f"Bearer {token}"}, timeout=WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for process in self.processes.values():
                stack.callback(process.kill)
            if self._client is not None:
                self._client.close()

    def complete(self) -> None:
        """Start who is not there, and wait until all do their work."""
        for name, process in self.processes.items():
            if not process.running:
                self.start(name)
        for name in self.processes:
            self.until_ready(name)

    def start(self, name: str) -> None:
        (self.data / f"{name}.json").unlink(missing_ok=True)
        self.processes[name].start()

    def web_url(self, name: str) -> str | None:
        assert self.processes[name].running, self.processes[name].tail()
        path = self.data / f"{name}.json"
        return str(json.loads(path.read_text())["web_url"]) if path.exists() else None

    def ask(self, name: str, path: str, **query: Any) -> httpx2.Response:
        assert self._client is not None
        url = until(lambda: self.web_url(name), f"{name} to listen")
        return self._client.get(url + path, params=query)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.ask("web.1", path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def tickets(self, **query: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("/api/v1/tickets", **query)["items"]
        return items

    def until_ready(self, name: str) -> None:
        until(lambda: self.ask(name, "/readyz").status_code == 200 or None, f"{name} to be ready")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode()).fetchall()

    @property
    def holder(self) -> str:
        """Who ticks."""
        return str(self.rows("SELECT holder FROM lease WHERE name = 'tick'")[0][0])

    def until_online(self, *terminal_ids: str) -> None:
        for terminal_id in terminal_ids:
            until(lambda: self._presence(terminal_id) == "online" or None, f"{terminal_id} online")  # noqa: B023 - now

    def _presence(self, terminal_id: str) -> str | None:
        answer = self.ask("web.1", f"/api/v1/terminals/{terminal_id}")
        return answer.json()["presence"] if answer.status_code == httpx2.codes.OK else None

    def _process(self, name: str) -> Process:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.config(name).write_text(
            f'process = "{name}"\ndata_dir = "{self.data}"\ndatabase_url = "{self.database_url}"\n'
            f"[web]\nport = 0\n[judge]\nhold_scale = 0.05\ncanary_s = 0.5\n"
            f"{self.broker}keepalive_s = {KEEPALIVE_S}\n"
        )
        role = name.partition(".")[0]
        return Process(self._folder, name, str(BIN / "tillwatch-collector"), role, "--config", str(self.config(name)))

    def config(self, name: str) -> Path:
        return self._folder / f"{name}.toml"

    def _command(self, *words: str) -> Any:
        command = [str(BIN / "tillwatch-collector"), *words, "--config", str(self.config("web.1"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)


class Till:
    """An agent beside a printer."""

    def __init__(self, folder: Path, roles: Roles, terminal_id: str) -> None:
        self.terminal_id = terminal_id
        self.printer = TcpPort(Printer(), 0)
        folder.mkdir()
        self._config = folder / "agent.toml"
        self._folder = folder
        self._broker = roles.broker

    def __enter__(self) -> Self:
        self.printer.__enter__()
        self._config.write_text(
            f'terminal_id = "{self.terminal_id}"\ninterval_s = 2\nstate_dir = "{self._folder / "state"}"\n'
            f'{self._broker}[[printer]]\nname = "kitchen"\nport = "{self.printer.address}"\npoll_s = 0.5\n'
            '[network]\nenabled = false\n[machine]\nenabled = false\ndisk_path = "/"\n'
        )
        command = (str(BIN / "tillwatch-agent"), "run", "--config", str(self._config))
        self.process = Process(self._folder, self.terminal_id, *command)
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
        self.printer.__exit__(None, None, None)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Iterator[Roles]:
    folder = tmp_path_factory.mktemp("roles")
    name = folder.name.replace("-", "_")
    with Mosquitto(folder / "broker") as broker, Roles(folder, postgresql.create(name), broker) as roles:
        yield roles
    postgresql.drop(name)


@pytest.fixture
def roles(running: Roles) -> Roles:
    running.complete()
    return running


def test_whoever_dies_the_others_go_on_and_every_fault_has_one_ticket(roles: Roles, tmp_path: Path) -> None:
    with Till(tmp_path / "a", roles, "till-a") as first, Till(tmp_path / "b", roles, "till-b") as second:
        roles.until_online("till-a", "till-b")

        first.printer.set("cover_open")
        until(lambda: roles.tickets(subject_id="till-a", code="cover_open"), "a ticket")
        roles.processes["ingest.1"].kill()
        second.printer.set("paper_end")
        until(lambda: roles.tickets(subject_id="till-b", code="paper_end"), "a ticket through who is left")

        until(lambda: roles.rows("SELECT 1 FROM process WHERE process = 'ingest.1'") == [] or None, "its removal")
        roles.start("ingest.1")
        roles.until_ready("ingest.1")

        ticked = roles.holder
        roles.processes[ticked].kill()
        first.printer.clear("cover_open")
        until(lambda: roles.tickets(subject_id="till-a", status="resolved"), "the other to take over")
        assert roles.holder != ticked
        assert "tillwatch_ticking 1.0" in roles.ask(roles.holder, "/metrics").text
        roles.until_online("till-a", "till-b")

        opened = sorted((ticket["subject_id"], ticket["code"]) for ticket in roles.tickets())
        assert opened == [("till-a", "cover_open"), ("till-b", "paper_end")]
        until(
            lambda: roles.rows("SELECT 1 FROM process WHERE role = 'ingest' AND heartbeats = 0") == [] or None,
            "the broker to give both a share",
        )


def test_a_till_that_was_switched_off_while_nobody_listened_has_no_ticket(roles: Roles, tmp_path: Path) -> None:
    with Till(tmp_path / "c", roles, "till-c"):
        roles.until_online("till-c")
        for name in PROCESSES[:4]:
            roles.processes[name].kill()
    roles.complete()
    until(lambda: roles.get("/api/v1/terminals/till-c")["presence_reason"] == "stopping" or None, "its word")
    assert roles.tickets(subject_id="till-c") == []


def test_of_two_under_one_name_the_older_says_so_and_ends(roles: Roles, tmp_path: Path) -> None:
    config = tmp_path / "second.toml"
    config.write_text(roles.config("ingest.1").read_text().replace(str(roles.data), str(tmp_path / "elsewhere")))
    second = Process(tmp_path, "second", str(BIN / "tillwatch-collector"), "ingest", "--config", str(config))
    second.start()
    try:
        first = roles.processes["ingest.1"]
        until(lambda: not first.running or None, "the older one to give way")
        assert "expected a name of its own for every process, got 'ingest.1'" in first.tail()
        assert second.running, second.tail()
    finally:
        second.kill()


def test_every_role_ends_in_order_and_leaves_no_row_and_no_lease_behind(roles: Roles) -> None:
    assert roles.ask("ingest.1", "/api/v1/fleet").status_code == httpx2.codes.NOT_FOUND, "health and metrics alone"
    assert roles.get("/api/v1/fleet")["listening"]
    ticked = roles.holder
    assert roles.processes[ticked].stop() == 0
    until(lambda: roles.holder != ticked or None, "the other to take over at once")
    for name in PROCESSES:
        assert roles.processes[name].stop() == 0, roles.processes[name].tail()
    assert roles.rows("SELECT process FROM process") == []
