"""The embedded broker, seen from the collector: start it in a child process, hand over its passwords, tend it, end it.

For trying out, never for a shop: it is lossy where brokers should not be (facts of amqtt 0.12: no redelivery, no
take-over, wills late), and the protocol copes. It listens on loopback, with passwords made at every start; all
terminals share one.

The child watches the pipe on its standard input and ends with it, so it outlives no parent, however that one ends. A
child that dies is started again on the same port, up to `RESTARTS_MAX` times; then the collector must say that it
cannot work.
"""

import json
import logging
import os
import secrets
import selectors
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tillwatch_collector.errors import OperatorError

LOOPBACK = "127.0.0.1"
HANDOVER_FILE = "embedded-broker.json"
PASSWORD_FILE = "embedded-broker.password"  # noqa: S105 - a file's name
"""The terminals' password alone: what an agent's `password_file` points at."""

START_TIMEOUT_S = 30.0
"""A cold start imports some hundred modules from a slow disk."""

STOP_TIMEOUT_S = 5.0
"""The child closes its sockets and goes; longer means that it hangs, and it is killed."""

RESTARTS_MAX = 5
"""A broker that dies more often has a cause that starting again does not cure."""

_log = logging.getLogger(__name__)


class BrokerUnavailable(OperatorError):  # noqa: N818 - it names what is so
    """The embedded broker cannot run; the message says what was expected and what came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Handover:
    """Where the broker listens, and the passwords of this start."""

    host: str
    port: int
    terminal_password: str = field(repr=False)
    process_password: str = field(repr=False)

    def write(self, data_dir: Path) -> None:
        """Leave it for terminals on this machine, readable by this user only."""
        content = {
            "host": self.host,
            "port": self.port,
            "terminal_password": self.terminal_password,
            "process_password": self.process_password,
        }
        _write_private(data_dir / PASSWORD_FILE, self.terminal_password)
        _write_private(data_dir / HANDOVER_FILE, json.dumps(content))


class EmbeddedBroker:
    """One broker in a child process. Not thread-safe: one thread tends it."""

    def __init__(self, *, port: int, process: str, data_dir: Path) -> None:
        self._process = process
        self._data_dir = data_dir
        self._port = port
        self._passwords = {
            "terminal_password": secrets.token_urlsafe(24),
            "process_password": secrets.token_urlsafe(24),
        }
        self._child: subprocess.Popen[bytes] | None = None
        self._restarts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def handover(self) -> Handover:
        """What clients need; its port is 0 until the broker has started."""
        return Handover(host=LOOPBACK, port=self._port, **self._passwords)

    @property
    def pid(self) -> int | None:
        """The child, while there is one."""
        return self._child.pid if self._child else None

    def start(self) -> Handover:
        """Start the child and wait until it accepts; raises `BrokerUnavailable`."""
        self._spawn()
        self.handover.write(self._data_dir)
        _log.info("embedded broker listens on %s:%d", LOOPBACK, self._port)
        return self.handover

    def tend(self) -> None:
        """Start a child that has died again; raises `BrokerUnavailable` when it dies too often."""
        if self._child is None or self._child.poll() is None:
            return
        code = self._child.returncode
        if self._restarts == RESTARTS_MAX:
            raise BrokerUnavailable(f"the embedded broker died {RESTARTS_MAX + 1} times, last with exit code {code}")
        self._restarts += 1
        _log.warning("embedded broker ended with exit code %d; starting it again (%d)", code, self._restarts)
        self._release()
        self._spawn()

    def stop(self) -> None:
        """End the child and remove the files of its passwords."""
        child = self._child
        if child is None:
            return
        assert child.stdin is not None  # noqa: S101 - opened as a pipe by us
        child.stdin.close()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._release()
        for name in (HANDOVER_FILE, PASSWORD_FILE):
            (self._data_dir / name).unlink(missing_ok=True)

    def _spawn(self) -> None:
        # A session of its own: Ctrl-C reaches the parent alone, which says goodbye over the broker before it ends it.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tillwatch_collector.broker_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._child.stdin is not None  # noqa: S101 - opened as a pipe by us
        order = {"host": LOOPBACK, "port": self._port, "process": self._process, **self._passwords}
        try:
            self._child.stdin.write(json.dumps(order).encode() + b"\n")
            self._child.stdin.flush()
            self._port = self._answer(self._child)
        except (BrokerUnavailable, OSError) as error:
            self._child.kill()
            self._child.wait()
            self._release()
            raise BrokerUnavailable(str(error)) from None

    def _answer(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for the child's one line: its port, or what is wrong."""
        assert child.stdout is not None  # noqa: S101 - opened as a pipe by us
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            line = child.stdout.readline() if selector.select(START_TIMEOUT_S) else None
        if line is None:
            raise BrokerUnavailable(f"expected the embedded broker to accept within {START_TIMEOUT_S:.0f} s")
        if not line:
            raise BrokerUnavailable(f"the embedded broker ended before it accepted, exit code {child.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise BrokerUnavailable(
                f"embedded broker: expected port {self._port} on {LOOPBACK} to be free, got: {answer['error']}; "
                f"choose another [embedded_broker] port, 0 for any, or name your own broker under [broker]"
            )
        return int(answer["port"])

    def _release(self) -> None:
        """Close our ends of the pipes."""
        if self._child is not None:
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None and not pipe.closed:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        _log.debug("the embedded broker had closed its input")
        self._child = None


def _write_private(path: Path, content: str) -> None:
    """Write it whole or not at all, readable by this user only."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
    partial.replace(path)
