"""The port of a device that is asked over HTTPS: a request is the body of a POST, an answer the body of its response.

Each look is one connection, made and verified anew: the chain against `ca_file` or the system's authorities, and the
name that the certificate bears. A certificate that does not hold ends the look before a byte of ours is sent
(`PortUntrusted`, by its code). Every wait ends by one deadline, however slowly the other side sends, and an answer that
is longer than `ports.ANSWER_BYTES_MAX` is cut there. A response that is not 200 is told as the answer `HTTP <status>`.

A change violates this when something is sent to whoever has not proved its name.
"""

import contextlib
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Final

from tillwatch_agent import resolver
from tillwatch_agent.drivers import Attachment
from tillwatch_agent.ports import (
    ANSWER_BYTES_MAX,
    CONNECT_TIMEOUT_S,
    READ_BYTES_MAX,
    Port,
    PortError,
    PortLost,
    PortUnreachable,
)
from tillwatch_protocol.vocabulary import ConditionCode

HANDSHAKE_TIMEOUT_S = 5.0
"""A terminal's small processor takes a second or two."""

HEAD_BYTES_MAX = 8192
"""What stands before the body; some hundred bytes."""

_URL = re.compile(r"https://(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:/]+)):(?P<port>\d+)(?P<path>/\S*)?")
_NOT_YET_VALID, _EXPIRED = 9, 10
"""X.509 verify codes of OpenSSL (x509_vfy.h)."""
_OK: Final = 200


class PortUntrusted(PortError):  # noqa: N818 - the tree reads as a list of faults
    """Who answers has not proved its name; `code` is the condition of its certificate."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class HttpsPort(Port):
    """One URL, with the authority that its certificate must come from."""

    attachment = Attachment.TCP

    def __init__(
        self,
        *,
        url: str,
        allowed: Container[bytes],
        ca_file: Path | None = None,
        server_name: str | None = None,
    ) -> None:
        super().__init__(name=url, allowed=allowed)
        found = _URL.fullmatch(url)
        if found is None:
            raise AssertionError(f"expected the configuration to have checked {url!r}")
        self._host = found["v6"] or found["host"]
        self._tcp_port = int(found["port"])
        self._path = found["path"] or "/"
        self._ca_file = ca_file
        self._server_name = server_name or self._host
        self._connection: ssl.SSLSocket | None = None

    def open(self) -> None:
        """Connect and verify; raises `PortUnreachable`, `PortUntrusted`, or `PortLost`."""
        context = self._context()
        found = resolver.resolve(self._host, CONNECT_TIMEOUT_S)
        if not found.addresses:
            raise PortUnreachable(f"{self.name}: the name {self._host!r} has no address ({found.lookup})")
        try:
            plain = socket.create_connection((found.addresses[0], self._tcp_port), CONNECT_TIMEOUT_S)
        except OSError as error:
            raise PortUnreachable(f"{self.name}: {error.strerror or 'timed out'}") from error
        try:
            plain.settimeout(HANDSHAKE_TIMEOUT_S)
            self._connection = context.wrap_socket(plain, server_hostname=self._server_name)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            is_over = error.verify_code in {_NOT_YET_VALID, _EXPIRED}
            code = ConditionCode.CERTIFICATE_EXPIRED if is_over else ConditionCode.CERTIFICATE_UNTRUSTED
            raise PortUntrusted(f"{self.name}: {error.verify_message}", code) from error
        except ssl.SSLError as error:
            plain.close()
            raise PortUntrusted(f"{self.name}: {error.reason}", ConditionCode.TLS_FAILURE) from error
        except OSError as error:
            plain.close()
            raise PortLost(f"{self.name}: {error.strerror or 'timed out'}") from error

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def drain(self, late_s: float = 0.0) -> int:
        """Nothing is owed on a connection of one request."""
        del late_s
        return 0

    def ask(self, request: bytes, is_answered: Callable[[bytes], bool], timeout_s: float, settle_s: float) -> bytes:
        """Post the request and give the body of what comes; nothing, if it does not come whole in time."""
        del is_answered, settle_s
        deadline_s = time.monotonic() + timeout_s
        self.write(request)
        received = b""
        while len(received) < HEAD_BYTES_MAX + ANSWER_BYTES_MAX:
            data = self._received(deadline_s)
            received += data or b""
            if not data or _body(received, is_ended=False) is not None:
                break
        return _body(received, is_ended=True) or b""

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:  # ssl.SSLError is one
            said = f"{self.name}: ca_file {self._ca_file}: expected certificates in PEM, got: {error}"
            raise PortUntrusted(said, ConditionCode.CERTIFICATE_UNTRUSTED) from error

    def _received(self, deadline_s: float) -> bytes | None:
        """Take what comes next: nothing where the other side has ended, None where time is up."""
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return None
        connection = self._open()
        connection.settimeout(left_s)
        try:
            return connection.recv(READ_BYTES_MAX)
        except TimeoutError:
            return None
        except OSError as error:
            raise PortLost(f"{self.name}: {error.strerror or error}") from error

    def _send(self, data: bytes) -> None:
        host = f"[{self._host}]" if ":" in self._host else self._host
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {host}:{self._tcp_port}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        )
        connection = self._open()
        try:
            connection.sendall(head.encode("ascii") + data)
        except OSError as error:
            raise PortLost(f"{self.name}: {error.strerror or 'timed out'}") from error

    def _fileno(self) -> int:
        return self._open().fileno()

    def _open(self) -> ssl.SSLSocket:
        if self._connection is None:
            raise PortLost(f"{self.name}: it is not open")
        return self._connection


class _Received:
    """What came, in the shape that `http.client` reads a connection in."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        """Give the bytes as a file to read from."""
        return io.BytesIO(self._data)


def _body(received: bytes, *, is_ended: bool) -> bytes | None:
    """Read the body of a response; None while it has not come whole, and where it never will."""
    response = http.client.HTTPResponse(_Received(received))  # type: ignore[arg-type]  # all that it asks of a socket
    try:
        response.begin()
        if response.length is None and not response.chunked and not is_ended:
            return None
        body = response.read(ANSWER_BYTES_MAX + 1)
        if response.length or (response.chunked and not response.isclosed()):
            return None
    except (http.client.HTTPException, ValueError):
        return received[:READ_BYTES_MAX] if is_ended and not received.startswith(b"HTTP/") else None
    return body if response.status == _OK else f"HTTP {response.status}".encode("ascii")
