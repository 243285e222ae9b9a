"""A real PostgreSQL of our own on a free port of loopback, to be killed at will.

`initdb` makes it in the folder that is given; whoever reaches the port may do all. PostgreSQL refuses to run as root:
started by root it runs as its package's user `postgres`, with the one capability that lets it reach a folder of root's.

Tests keep nothing on the disk beyond the processes: the file system's cache survives a SIGKILL. `durable=True` flushes,
and is set as production is, for figures.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import psutil
import psycopg
from psycopg import sql
from tests import parts

WAIT_S = 60.0
"""For a start, its recovery included, and for an end: far more than either takes."""

USER = "postgres"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",  # every worker's tests, each with a pool or two
    "timezone": "UTC",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
_AS_DEPLOYED = {
    "shared_buffers": "2GB",  # a quarter would be that of a machine of its own
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_naptime": "15s",
}
"""As collector/deploy/PRODUCTION.md has it; all else is as it comes, `fsync` and `full_page_writes` among it."""


class Server:
    """A server that runs on a port of loopback."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, database: str) -> str:
        """Return the URL of one of its databases, as a collector takes it."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, *, template: str = "template1") -> str:
        """Make a database, a copy of `template`; return its URL."""
        copied = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy"  # some 50 ms, half of what the other way takes
        made = sql.SQL(copied).format(sql.Identifier(database), sql.Identifier(template))
        self.execute(made)
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def execute(self, statement: sql.Composed | sql.SQL) -> None:
        """Run one statement as the administrator, outside of any transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


class Postgres(Server):
    """A server and its data; it can be started again after `stop` and after `kill`, on the same port."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        super().__init__(_free_port())
        self._bin = parts.postgresql_bin()
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "postgresql.log"
        self._data = folder / "data"
        self._settings = _SETTINGS | (_AS_DEPLOYED if durable else _NOT_DURABLE)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if not (self._data / "PG_VERSION").exists():
            self._make()
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        command = [*_AS_USER, str(self._bin / "postgres"), "-D", str(self._data), f"--port={self.port}", *settings]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + WAIT_S
        while not self._answers():
            assert self.running, f"PostgreSQL does not start:\n{self.tail()}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer:\n{self.tail()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """As a power cut ends it: all of its processes at once, without a last word."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGSTOP)  # so that it neither starts nor mourns another
        family = psutil.Process(self._process.pid).children(recursive=True)
        for process in family:
            _kill(process)
        self._process.kill()
        self._process.wait(WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while not all(map(_ended, family)):
            assert time.monotonic() < deadline, "a killed process of PostgreSQL does not end"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it in order, without waiting for whoever is still connected."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"PostgreSQL did not end:\n{self.tail()}") from None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the server, whose children do its work."""
        assert self._process is not None, "PostgreSQL was not started"
        return self._process.pid

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def _make(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        if _AS_USER:
            shutil.chown(self._data, USER, USER)
        made = subprocess.run(
            [
                *_AS_USER,
                self._bin / "initdb",
                f"--pgdata={self._data}",
                f"--username={USER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


_AS_USER = (
    [
        "setpriv",
        f"--reuid={USER}",
        f"--regid={USER}",
        "--init-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ]
    if os.geteuid() == 0
    else []
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
