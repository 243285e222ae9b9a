"""The web of one process: its address bound before anything else starts, its server run until a signal comes.

Whoever starts a process gets a file in the data directory once it listens: `{"web_url", "pid"}`.

A change violates this when a certificate or an address that cannot be used is found out after something was started.
"""

import gc
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from tillwatch_collector.config import ConfigError, WebConfig
from tillwatch_collector.errors import OperatorError

Announce = Callable[[str], None]
"""Told the web's address once it listens."""

KEEP_ALIVE_S = 30
"""Pages ask every ten seconds: over the same connection, not over one made anew each time."""


class WebAddressTaken(OperatorError):  # noqa: N818 - it names what is so
    """The web's address cannot be bound."""


class WebHost:
    """Runs an application on an address that is bound; `end` from any thread."""

    def __init__(self, served: WebConfig, listener: socket.socket, told_in: Path) -> None:
        self._served = served
        self._listener = listener
        self._told_in = told_in
        self._server: uvicorn.Server | None = None
        self._ended = False

    def run(self, application: ASGIApp, announce: Announce) -> None:
        """Serve in this thread until a signal comes, or `end`."""
        settings = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=self._served.behind_proxy,
            ssl_certfile=self._served.tls_cert_file,
            ssl_keyfile=self._served.tls_key_file,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._server = _Server(settings, lambda: self._listens(announce))
        if self._ended:
            return
        try:
            with _signals_to(self._server):
                self._server.run(sockets=[self._listener])
        finally:
            self._told_in.unlink(missing_ok=True)

    def end(self) -> None:
        """Have `run` return."""
        self._ended = True
        if self._server is not None:
            self._server.should_exit = True

    def _listens(self, announce: Announce) -> None:
        # What was loaded to start stays for good: looking through it for cycles took a sixth of a second, in which
        # nobody is answered, again and again.
        gc.collect()
        gc.freeze()
        address = web_url(self._served, self._listener)
        partial = self._told_in.with_suffix(".partial")
        partial.write_text(json.dumps({"web_url": address, "pid": os.getpid()}) + "\n", encoding="utf-8")
        partial.replace(self._told_in)
        announce(address)


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, listens: Callable[[], None]) -> None:
        super().__init__(config)
        self._listens = listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._listens()


def web_url(served: WebConfig, listener: socket.socket) -> str:
    """Name the address at which a browser finds it."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if served.tls else 'http'}://{shown}:{port}"


def check_tls_files(served: WebConfig) -> None:
    """Load the files once before anything starts; raises `ConfigError`, which names them."""
    if served.tls_cert_file is None or served.tls_key_file is None:
        return
    for key, path in (("web.tls_cert_file", served.tls_cert_file), ("web.tls_key_file", served.tls_key_file)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{key}: expected a readable file, got {path}: {error.strerror}") from None
    try:
        # A key under a password would be asked for on the terminal, which a service does not have.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            served.tls_cert_file, served.tls_key_file, password=lambda: b""
        )
    except ssl.SSLError as error:
        raise ConfigError(
            f"web.tls_cert_file, web.tls_key_file: expected a certificate and its key without a password, both in PEM, "
            f"got {served.tls_cert_file} and {served.tls_key_file}: {error.reason or 'they hold something else'}"
        ) from None


@contextmanager
def bound(served: WebConfig) -> Iterator[socket.socket]:
    """Bind before anything else is started: an address that is taken is the commonest mistake."""
    family = socket.AF_INET6 if ":" in served.host else socket.AF_INET
    # asyncio sends at once, not waiting for an acknowledgement (TCP_NODELAY), where a socket says that it is TCP.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((served.host, served.port))
        except socket.gaierror:
            raise ConfigError(f"web.host: expected an address or a name of this machine, got {served.host!r}") from None
        except OSError as error:
            raise WebAddressTaken(
                f"web.port: expected {served.host}:{served.port} to be free, got: {error.strerror}; "
                f"choose another, 0 for any"
            ) from None
        yield listener


@contextmanager
def _signals_to(server: uvicorn.Server) -> Iterator[None]:
    """End the server on a signal; it raises the signal once more when done, and our handler lets the clean-up go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
