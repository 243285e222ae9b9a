"""What the agent's tests share: outboxes that are closed again, and brokers of their own."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from tests.agent.cores import connected, core_on
from tests.agent.release_site import CONTENT, PRODUCT, TILL, Repository, Site, Terminal, shown

from tillwatch_agent import reach
from tillwatch_agent.core import Core
from tillwatch_agent.installer import fetch, spool
from tillwatch_agent.outbox import MEMORY, Outbox

InMemory = Callable[..., Outbox]

LOCALHOST_PEM = Path(__file__).with_name("localhost.pem")

WAIT_S = 20.0
"""For anything: far more than it takes, so that only what never happens fails."""

_BROKER = """
import asyncio, logging, sys
from amqtt.broker import Broker

async def serve(port, pem):
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    if pem:
        listener |= {"ssl": True, "certfile": pem, "keyfile": pem}
    anyone = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {"default": listener}, "plugins": anyone})
    await broker.start()
    print(broker._servers["default"].instance.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

for noisy in ("amqtt", "transitions", "asyncio"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL + 1)
asyncio.run(serve(*sys.argv[1:]))
"""


@pytest.fixture
def in_memory() -> Iterator[InMemory]:
    """Open outboxes in memory, as many as a test wants; each as `Outbox.open`."""
    with ExitStack() as opened:

        def opening(**options: Any) -> Outbox:
            return opened.enter_context(closing(Outbox.open(MEMORY, **options)))

        yield opening


@pytest.fixture
def core(in_memory: InMemory) -> Core:
    return core_on(in_memory())


@pytest.fixture
def online(core: Core) -> Core:
    return connected(core)


def until(look: Callable[[], bool], what: str) -> None:
    """Look again and again; fails with `what` when it never is so."""
    deadline_s = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(0.01)


class BrokerProcess:
    """A real broker, anonymous, on a port of loopback that the system chose; ends with its block."""

    def __init__(self, *, pem: Path | None = None, port: int = 0) -> None:
        command = [sys.executable, "-c", _BROKER, str(port), str(pem or "")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def broker_port() -> Iterator[int]:
    """A broker for the tests of one module."""
    with BrokerProcess() as broker:
        yield broker.port


class BrokerByHand:
    """A broker that does what a test says, byte by byte."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port = int(self._listener.getsockname()[1])
        self.connect = b""
        """The newest CONNECT."""

    def accept(self, answer: bytes = b"") -> socket.socket:
        """Take a connection, read its CONNECT, and answer."""
        connection, _ = self._listener.accept()
        connection.settimeout(20)
        self.connect = connection.recv(4096)
        assert self.connect[:1] == b"\x10"
        connection.sendall(answer)
        return connection

    @contextmanager
    def answering(self, answer: bytes) -> Iterator[None]:
        """Answer every connection that says CONNECT, however many come; on leaving, end them all."""
        lines: list[socket.socket] = []
        accepting = threading.Thread(target=self._answer_all, args=(answer, lines))
        accepting.start()
        try:
            yield
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for line in lines:
                line.close()

    def _answer_all(self, answer: bytes, lines: list[socket.socket]) -> None:
        with suppress(OSError):  # the listener was shut down
            while True:
                line, _ = self._listener.accept()
                lines.append(line)
                with suppress(ConnectionError):  # given up meanwhile
                    if line.recv(4096):
                        line.sendall(answer)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def by_hand() -> Iterator[BrokerByHand]:
    """A broker that a test plays itself."""
    with closing(BrokerByHand()) as broker:
        yield broker


@pytest.fixture
def no_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take samples of the network one right after the other."""
    monkeypatch.setattr(reach, "SAMPLE_GAP_S", 0.0)


@pytest.fixture
def no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system's resolver fail."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.fixture
def repository() -> Repository:
    """One release, published."""
    repository = Repository()
    repository.add(TILL, CONTENT, PRODUCT)
    repository.publish()
    return repository


@pytest.fixture
def site(repository: Repository) -> Iterator[Site]:
    with shown(repository.files) as site:
        yield site


@pytest.fixture
def terminal(tmp_path: Path, repository: Repository, site: Site, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that knows the first root, and does not wait between two tries."""
    monkeypatch.setattr(fetch, "Terms", lambda **terms: spool.Terms(**terms, retry_s=0.001))
    terminal = Terminal(tmp_path, site)
    assert terminal.init(repository.first_root) == 0
    return terminal
