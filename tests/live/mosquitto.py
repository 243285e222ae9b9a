"""A real Mosquitto in a process: a plain one that lets anyone in, for load, or one that `pki mosquitto` configured.

The port stays the same over `kill` and `start`, and lies below the range from which a machine takes the ports of its
outgoing connections: a thousand clients that come back while the broker is away cannot sit down on it.
"""

import os
import pwd
import random
import resource
import signal
import socket
from pathlib import Path
from typing import Self

from tests import parts
from tests.live.stack import Process, until

LOOPBACK = "127.0.0.1"
PORTS = range(12_000, 30_000)

PLAIN = """\
user {user}
listener {port} {host}
allow_anonymous true
max_packet_size 67584
set_tcp_nodelay true
persistence {persistence}
persistence_location {data}/
autosave_interval 1
autosave_on_changes false
# A receiver that is away for a test's worst moment loses nothing for want of room.
max_queued_messages 1000000
max_inflight_messages 1000
connection_messages false
log_dest stderr
log_type error
log_type warning
log_type notice
"""


class Mosquitto:
    """One broker on loopback; `configuration` is a mosquitto.conf that listens on `port`, by default a plain one."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        configuration: Path | None = None,
        persistence: bool = False,
    ) -> None:
        self.host = LOOPBACK
        self.port = port if port is not None else free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.configuration = configuration or self._plain(folder, persistence=persistence)
        self.process = Process(folder, "mosquitto", str(parts.mosquitto()), "-c", str(self.configuration.absolute()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def start(self) -> None:
        """Start it, and wait until it accepts."""
        self.process.start()
        _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (files_max, files_max))
        until(self._accepts, f"Mosquitto to accept on port {self.port}")

    def kill(self) -> None:
        """As a power cut ends it."""
        self.process.kill()

    def stop(self) -> None:
        """As an operator ends it: what it persists is saved."""
        self.process.stop()

    def reload(self) -> None:
        """Tell it to read its configuration and files again (SIGHUP)."""
        os.kill(self.pid, signal.SIGHUP)

    @property
    def pid(self) -> int:
        """Of the broker itself."""
        return self.process.pid

    def _plain(self, folder: Path, *, persistence: bool) -> Path:
        data = (folder / "mosquitto-data").absolute()
        data.mkdir(exist_ok=True)
        path = folder / "mosquitto.conf"
        path.write_text(
            PLAIN.format(
                user=whoami(),
                host=self.host,
                port=self.port,
                data=data,
                persistence="true" if persistence else "false",
            )
        )
        return path

    def _accepts(self) -> bool:
        assert self.process.running, f"Mosquitto ended:\n{self.process.tail()}"
        try:
            socket.create_connection((self.host, self.port), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True


def whoami() -> str:
    """The user that runs the tests: Mosquitto, started by root, would become another one and see none of our files."""
    return pwd.getpwuid(os.geteuid()).pw_name


def free_port() -> int:
    """A port that nobody listens on, outside of those that outgoing connections take."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"100 ports between {PORTS.start} and {PORTS.stop} are all taken")
