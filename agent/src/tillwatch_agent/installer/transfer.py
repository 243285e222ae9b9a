"""One request to a repository at a time, by HTTP: each with an end, whatever the other side does.

A timer ends the socket when handshake and head take too long, since a server that sends a byte a minute keeps every
single read in time. No redirect is followed, no proxy asked, no encoding but the plain one taken: what comes is what
was signed. TLS judges chain and name; its times are judged by the time that a collector told, where one did, so that a
wrong clock keeps no terminal from a mended one.

A change violates this when a server can hold a request for longer than its limits.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

from tillwatch_agent import certificates
from tillwatch_agent.errors import CertificateEnded
from tillwatch_agent.installer.failure import FetchFailed
from tillwatch_agent.installer.order import Cause, Reason

CONNECT_S = 15.0
"""A modem that wakes up takes ten."""

HEAD_S = 30.0
"""Handshake, request, and the answer's head."""

READ_S = 60.0
"""Between two bytes of a body."""

RETRY_AFTER_S_MAX = 300.0
"""A server that asks for more is asked again by the next attempt."""

_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.GONE}


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """How long the parts of a request may take."""

    connect_s: float = CONNECT_S
    head_s: float = HEAD_S
    read_s: float = READ_S


class Answer:
    """What a server answers: its head, and a body to be read in parts."""

    def __init__(self, response: http.client.HTTPResponse, watch: "_Watch") -> None:
        self._response = response
        self._watch = watch
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}

    @property
    def announced_bytes(self) -> int | None:
        """The length of the body, where it is told."""
        said = self.headers.get("content-length", "")
        return int(said) if said.isascii() and said.isdigit() and "transfer-encoding" not in self.headers else None

    @property
    def is_gone(self) -> bool:
        """Whether the server says that there is no such file, or none for us."""
        return self.status in _GONE

    def read(self, count_max: int) -> bytes:
        """Read what is there, at most so much; empty at the end. Raises `FetchFailed`."""
        try:
            part = self._response.read1(count_max)
        except TimeoutError:
            raise FetchFailed(Cause.NETWORK, Reason.SLOW, "expected more of the file, nothing came") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchFailed(Cause.NETWORK, Reason.CUT, f"the connection was cut: {_name(error)}") from None
        if not part and self._watch.ended:
            raise FetchFailed(Cause.NETWORK, Reason.SLOW, "expected the whole file in time, it took too long")
        return part

    def refusal(self) -> FetchFailed:
        """Say why this answer is none that can be used now."""
        wait = self.headers.get("retry-after", "")
        wait_s = min(float(wait), RETRY_AFTER_S_MAX) if wait.isascii() and wait.isdigit() else 0.0
        said = f"expected the file, the server answered {self.status}"
        return FetchFailed(Cause.NETWORK, Reason.REFUSED, said, retry_after_s=wait_s)


class Web:
    """Asks servers; `reference_at` is the time that a collector told."""

    def __init__(
        self, *, ca_file: Path | None = None, reference_at: datetime | None = None, times: Times | None = None
    ) -> None:
        self._times = times or Times()
        self._reference_at = reference_at
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None, *, body_s: float) -> Iterator[Answer]:
        """Ask for a file, whose body may take `body_s` in all; raises `FetchFailed`."""
        parts = urlsplit(url)
        host, secured = parts.hostname, parts.scheme == "https"
        if host is None or parts.scheme not in {"http", "https"}:
            raise FetchFailed(Cause.NETWORK, Reason.UNREACHABLE, f"expected an http or https URL, got {url[:200]!r}")
        link = self._connected(host, parts.port or (443 if secured else 80), secured=secured)
        watch = _Watch(link, self._times.head_s)
        connection = http.client.HTTPConnection(host, parts.port)
        try:
            self._shake_hands(link)
            connection.sock = link
            path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
            connection.putrequest("GET", path, skip_accept_encoding=True)
            for name, value in {"Accept-Encoding": "identity", "Connection": "close", **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = Answer(connection.getresponse(), watch)
            if watch.ended:  # a head that was cut reads like a short one
                raise _too_slow(url)
            watch.begin_anew(body_s)
            yield answer
        except FetchFailed as error:
            raise _too_slow(url) if watch.ended and error.cause is Cause.NETWORK else error from None
        except (OSError, http.client.HTTPException, ValueError, CertificateEnded) as error:
            raise _failure(error, url, ended=watch.ended) from None
        finally:
            watch.stop()
            connection.close()
            link.close()

    def _connected(self, host: str, port: int, *, secured: bool) -> socket.socket:
        try:
            plain = socket.create_connection((host, port), timeout=self._times.connect_s)
        except (OSError, UnicodeError) as error:
            said = f"{host} port {port}: expected a connection, got: {_name(error)}"
            raise FetchFailed(Cause.NETWORK, Reason.UNREACHABLE, said) from None
        plain.settimeout(self._times.read_s)
        if not secured:
            return plain
        try:
            context = self._context = self._context or self._make_context()
            return context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            plain.close()
            raise FetchFailed(Cause.NETWORK, Reason.TLS, f"{host}: expected TLS, got: {_name(error)}") from None

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))
        return context if self._reference_at is None else certificates.timeless(context)

    def _shake_hands(self, link: socket.socket) -> None:
        if isinstance(link, ssl.SSLSocket):
            link.do_handshake()
            if self._reference_at is not None:
                certificates.require_not_ended(link, self._reference_at)


class _Watch:
    """Ends a socket when its time is over, from a thread of its own."""

    def __init__(self, link: socket.socket, limit_s: float) -> None:
        self._link = link
        self._timer = self._started(limit_s)
        self.ended = False

    def begin_anew(self, limit_s: float) -> None:
        self._timer.cancel()
        self._timer = self._started(limit_s)

    def stop(self) -> None:
        self._timer.cancel()

    def _started(self, limit_s: float) -> threading.Timer:
        timer = threading.Timer(limit_s, self._end)
        timer.daemon = True
        timer.start()
        return timer

    def _end(self) -> None:
        self.ended = True
        try:
            socket.socket.shutdown(self._link, socket.SHUT_RDWR)
        except OSError:
            """It is closed already."""


def _too_slow(url: str) -> FetchFailed:
    return FetchFailed(Cause.NETWORK, Reason.SLOW, f"{url[:200]}: expected an answer in time, it took too long")


def _failure(error: Exception, url: str, *, ended: bool) -> FetchFailed:
    if ended or isinstance(error, TimeoutError):
        return _too_slow(url)
    reason = Reason.TLS if isinstance(error, ssl.SSLError | CertificateEnded) else Reason.CUT
    return FetchFailed(Cause.NETWORK, reason, f"{url[:200]}: expected an answer, got: {_name(error)}")


def _name(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
