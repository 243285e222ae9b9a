"""Asking beyond the machine: the gateway, name servers, far targets, a page, a time server, and each acquirer.

Every question has a time limit, a limit on what is read, and a cost in bytes, which is paid before it is asked. Nothing
needs a privilege: the gateway is proved by TCP, where a refusal is an answer, since ICMP is off for the unprivileged by
default on Linux (`ping_group_range` 1 0); where it is on, an echo proves a gateway that is silent to TCP. A connection
is closed as soon as it has proved what was asked; of an acquirer nothing is asked but what is configured.
"""

import contextlib
import errno
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from tillwatch_agent import resolver
from tillwatch_agent.asks import dns, http, icmp, sntp
from tillwatch_agent.asks.validity import validity
from tillwatch_agent.certificates import NOT_YET_VALID
from tillwatch_agent.config import AcquirerConfig
from tillwatch_agent.evidence import (
    AcquirerEvidence,
    Connect,
    Gateway,
    NameServerEvidence,
    Portal,
    Reply,
    ServerSaid,
    Tls,
    WanEvidence,
)
from tillwatch_agent.pulse import Allowance, spend
from tillwatch_agent.resolver import Found, Lookup

GATEWAY_TIMEOUT_S = 4.0
"""The kernel gives up asking for a dead neighbour's address after 3 s; that answer is worth waiting for."""
NAMES_TIMEOUT_S = 4.0
"""Below the system resolver's own 5 s a server; a till that waits longer at a payment has lost the customer."""
TCP_TIMEOUT_S = 4.0
TLS_TIMEOUT_S = 4.0
REPLY_TIMEOUT_S = 3.0
UDP_TIMEOUT_S = 1.5
UDP_TRIES: Final = 2
"""A datagram may be lost."""
PING_TIMEOUT_S = 1.0
SAMPLE_TIMEOUT_S = 0.9
"""Below the second after which the kernel repeats a lost SYN: so that a loss is counted as one."""
SAMPLES: Final = 5
SAMPLE_GAP_S = 0.2

GATEWAY_TCP_PORTS: Final = (80, 53)
"""Asked in turn until one is an answer; most shop routers have a page or a name service, the others refuse."""

RECEIVE_BYTES: Final = 4096
"""What a peer may send ahead of our reading: a page that is not what we asked for must not fill the line."""

CONNECT_COST, LOOKUP_COST, UDP_COST, TLS_COST, PAGE_COST = 500, 800, 800, 8000, 6500
"""Bytes at most, both ways together, with all headers: a connection and its end; A and AAAA by the system; two tries of
a question; a handshake with a chain of three certificates; a page until we stop reading."""
SAMPLES_COST: Final = SAMPLES * CONNECT_COST

TIME_CODES: Final = frozenset({10, NOT_YET_VALID})
"""A certificate refused for its times: 10 is X509_V_ERR_CERT_HAS_EXPIRED (OpenSSL, X509_STORE_CTX_get_error(3))."""

_T = TypeVar("_T")


class Purse:
    """The allowance of one probe, for all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allowance = Allowance(as_of_s=time.monotonic())

    def pay(self, cost_bytes: int) -> bool:
        """Take the cost of a question; False when it must not be asked now."""
        with self._lock:
            self._allowance, may = spend(self._allowance, cost_bytes, time.monotonic())
            return may


class TlsContexts:
    """One TLS context for each CA file, made at its first use: a context with the system's authorities costs 2 MiB."""

    def __init__(self) -> None:
        self._made: dict[Path | None, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def of(self, ca_file: Path | None) -> ssl.SSLContext:
        """Find or make one; raises `OSError` (`ssl.SSLError` among them) when the file is no CA file."""
        with self._lock:
            if ca_file not in self._made:
                self._made[ca_file] = ssl.create_default_context(cafile=ca_file)
            return self._made[ca_file]

    def forget(self) -> None:
        """Read the files anew at the next use."""
        with self._lock:
            self._made.clear()


class AcquirerTarget:
    """One acquirer: where it is, and the addresses it had last."""

    def __init__(self, acquirer: AcquirerConfig, contexts: TlsContexts, purse: Purse) -> None:
        self.host = acquirer.host
        self._acquirer = acquirer
        self._contexts = contexts
        self._purse = purse
        self._remembered: Found | None = None

    def forget(self) -> None:
        """Drop the remembered addresses."""
        self._remembered = None

    def unasked(self) -> AcquirerEvidence:
        """Say that it was not asked."""
        return AcquirerEvidence(name=self._acquirer.name)

    def ask(self) -> AcquirerEvidence:
        """Look up, connect, shake hands, and ask for a reply, each phase in its time."""
        found, dns_ms = timed(lambda: resolver.resolve(self.host, NAMES_TIMEOUT_S))
        measures = {} if resolver.is_address(self.host) or found.lookup is Lookup.NO_ANSWER else {"dns_ms": dns_ms}
        seen = AcquirerEvidence(name=self._acquirer.name, measures=measures)
        if found.lookup is Lookup.NO_SUCH_NAME:
            return replace(seen, connect=Connect.NO_SUCH_NAME, detail=f"no such name: {self.host}")
        is_remembered = found.lookup is Lookup.NO_ANSWER
        if is_remembered and self._remembered is None:
            return replace(seen, connect=Connect.NO_NAME_SERVICE)
        known = self._remembered if is_remembered and self._remembered else found
        self._remembered = known
        return self._connect(replace(seen, by_remembered_address=is_remembered), known.addresses)

    def _connect(self, seen: AcquirerEvidence, addresses: tuple[str, ...]) -> AcquirerEvidence:
        """Try the addresses in turn until one answers, if only by a refusal."""
        for address in addresses:
            seen = replace(seen, address=address)
            started_s = time.monotonic()
            try:
                connection = connected(address, self._acquirer.port, TCP_TIMEOUT_S)
            except ConnectionRefusedError:
                return replace(seen, connect=Connect.REFUSED, detail=f"{address} refused")
            except OSError as error:
                seen = replace(seen, connect=Connect.SILENT, detail=f"{address}: {error.strerror or 'timed out'}")
                continue
            with connection:
                seen = replace(seen, connect=Connect.CONNECTED, detail=None)
                return self._above_tcp(_measured(seen, tcp_ms=ms_since(started_s)), connection)
        return seen

    def _above_tcp(self, seen: AcquirerEvidence, connection: socket.socket) -> AcquirerEvidence:
        if not self._acquirer.tls:
            return self._replied(seen, connection)
        if not self._purse.pay(TLS_COST):
            return replace(seen, tls=Tls.LEFT_OUT)
        try:
            context = self._contexts.of(self._acquirer.ca_file)
        except OSError as error:
            return replace(seen, tls=Tls.NO_CA, detail=f"{self._acquirer.ca_file}: {error}")
        return self._shake_hands(seen, connection, context)

    def _shake_hands(
        self, seen: AcquirerEvidence, connection: socket.socket, context: ssl.SSLContext
    ) -> AcquirerEvidence:
        started_s = time.monotonic()
        connection.settimeout(TLS_TIMEOUT_S)
        try:
            with context.wrap_socket(connection, server_hostname=self.host) as secured:
                seen = _measured(seen, tls_ms=ms_since(started_s))
                seen = replace(seen, tls=Tls.TRUSTED, certificate_days_left=_days_left(secured))
                return self._replied(seen, secured)
        except ssl.SSLCertVerificationError as error:
            seen = replace(seen, tls=Tls.UNVERIFIED, verify_code=error.verify_code, detail=error.verify_message)
            return self._inspected(seen) if error.verify_code in TIME_CODES else seen
        except OSError as error:
            return replace(seen, tls=Tls.FAILED, detail=_said(error))

    def _inspected(self, seen: AcquirerEvidence) -> AcquirerEvidence:
        """Look at the times of a certificate that was refused for them, trusting and saying nothing."""
        if seen.address is None or not self._purse.pay(CONNECT_COST + TLS_COST):
            return seen
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            contextlib.suppress(OSError),
            connected(seen.address, self._acquirer.port, TLS_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=self.host) as secured,
        ):
            times = validity(secured.getpeercert(binary_form=True) or b"")
            span = f": valid from {times.begins_at:%Y-%m-%d} to {times.ends_at:%Y-%m-%d}" if times else ""
            return replace(seen, validity=times, detail=f"{seen.detail}{span}")
        return seen

    def _replied(self, seen: AcquirerEvidence, connection: socket.socket) -> AcquirerEvidence:
        """Ask for the configured page; what ends or errs there is told as the acquirer's reply, not as its TLS."""
        path = self._acquirer.reply_path
        if path is None:
            return seen
        if not self._purse.pay(PAGE_COST):
            return replace(seen, reply=Reply.LEFT_OUT)
        started_s = time.monotonic()
        try:
            page = ask_page(connection, self.host, path)
        except TimeoutError:
            return replace(seen, reply=Reply.SILENT, detail=f"nothing came for {path}")
        except OSError as error:
            return replace(seen, reply=Reply.FAILED, detail=f"{path}: {_said(error)}")
        if page is None or page.status >= _CANNOT_SERVE:
            said = f"status {page.status}" if page else "it ended the connection"
            return replace(seen, reply=Reply.FAILED, detail=f"{path}: {said}")
        return _measured(replace(seen, reply=Reply.ANSWERED), reply_ms=ms_since(started_s))


_CANNOT_SERVE, _NO_CONTENT, _OK, _ERRORS, _SIGN_IN = 500, 204, 200, 400, 511
"""Of HTTP's statuses (RFC 9110, 15; RFC 6585, 6): from here on the server says that it cannot; ...; a portal's own."""


def connected(address: str, port: int, timeout_s: float) -> socket.socket:
    """Connect, with room for little that the peer may send ahead; raises `OSError`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as undo:
        connection = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        connection.settimeout(timeout_s)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        connection.connect((address, port))
        undo.pop_all()
    return connection


def ask_page(connection: socket.socket, host: str, path: str) -> http.Page | None:
    """Ask for a page over a connection that stands; None when what came is none. Raises `OSError`."""
    connection.settimeout(REPLY_TIMEOUT_S)
    connection.sendall(http.request(host, path))
    came, deadline_s = b"", time.monotonic() + REPLY_TIMEOUT_S
    while len(came) < http.ANSWER_BYTES_MAX and time.monotonic() < deadline_s:
        if not (more := connection.recv(http.ANSWER_BYTES_MAX - len(came))):
            break
        came += more
    return http.page(came)


def ask_gateway(address: str | None, *, may_ping: bool = False) -> tuple[Gateway, tuple[float | None, ...]]:
    """Ask the gateway for a sign of life; of one that gives any, several samples of its time in ms."""
    if address is None:
        return Gateway.NOT_ASKED, ()
    for port in GATEWAY_TCP_PORTS:
        try:
            first_ms = sign_ms(address, port, GATEWAY_TIMEOUT_S)
        except OSError as error:
            if error.errno == errno.EHOSTUNREACH:
                return Gateway.DEAD, ()
        else:
            return Gateway.ALIVE, sampled(first_ms, partial(sample, address, port))
    echo_ms = ping(address) if may_ping else None
    return (Gateway.SILENT, ()) if echo_ms is None else (Gateway.ALIVE, sampled(echo_ms, partial(ping, address)))


def ask_far(target: str) -> WanEvidence:
    """Ask a far target, an address and a port, for a sign of life."""
    try:
        took_ms = sign_ms(*_address_and_port(target), TCP_TIMEOUT_S)
    except OSError:
        return WanEvidence(target=target, connect=Connect.SILENT)
    return WanEvidence(target=target, connect=Connect.CONNECTED, took_ms=took_ms)


def sample_far(targets: tuple[str, ...]) -> tuple[float | None, ...]:
    """Sample the first target; nothing where none is named."""
    if not targets:
        return ()
    asked = partial(sample, *_address_and_port(targets[0]))
    return sampled(asked(), asked)


def sign_ms(address: str, port: int, timeout_s: float) -> float:
    """Time a connection, or its refusal, which is a sign of life as well; raises `OSError`."""
    started_s = time.monotonic()
    with contextlib.suppress(ConnectionRefusedError):
        connected(address, port, timeout_s).close()
    return ms_since(started_s)


def sample(address: str, port: int) -> float | None:
    """Time one connection, or its refusal; None when nothing came in time."""
    try:
        return sign_ms(address, port, SAMPLE_TIMEOUT_S)
    except OSError:
        return None


def sampled(first_ms: float | None, more: Callable[[], float | None]) -> tuple[float | None, ...]:
    """Take the other samples, spaced; a first one that came only when it was repeated was lost."""
    taken = [first_ms if first_ms is not None and first_ms <= 1000 * SAMPLE_TIMEOUT_S else None]
    for _ in range(SAMPLES - 1):
        threading.Event().wait(SAMPLE_GAP_S)
        taken.append(more())
    return tuple(taken)


def ping(address: str) -> float | None:
    """Time an echo by ICMP; None when none came, or there is no right to ask for one."""
    number = secrets.randbelow(1 << 16)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as asking:
        asking.settimeout(PING_TIMEOUT_S)
        asking.connect((address, 0))
        started_s = time.monotonic()
        asking.send(icmp.echo(number))
        if icmp.is_echo_of(number, asking.recv(RECEIVE_BYTES)):
            return ms_since(started_s)
    return None


def ask_name_server(address: str, name: str, *, is_beyond: bool) -> NameServerEvidence:
    """Ask one server for a name, twice at most."""
    asked = dns.question(secrets.randbelow(1 << 16), name)
    seen = NameServerEvidence(address=address, said=ServerSaid.SILENT, is_beyond=is_beyond)
    for _ in range(UDP_TRIES if asked else 0):
        started_s = time.monotonic()
        try:
            came = datagram(address, dns.PORT, asked or b"")
        except ConnectionRefusedError:
            return replace(seen, said=ServerSaid.CLOSED)
        except OSError:
            continue
        if answer := dns.answer(asked or b"", came):
            said = ServerSaid.ANSWERED if answer.is_settled else ServerSaid.FAILED
            return replace(seen, said=said, rcode=answer.rcode, took_ms=ms_since(started_s))
    return seen


def ask_time(server: str) -> float | None:
    """Ask a time server how far the true time is ahead of this clock, in seconds; None when it does not tell."""
    found = resolver.resolve(server, NAMES_TIMEOUT_S)
    asked = sntp.question(secrets.token_bytes(8))
    for address in found.addresses[:1]:
        asked_at = datetime.now(UTC)
        with contextlib.suppress(OSError):
            if told := sntp.answer(asked, datagram(address, sntp.PORT, asked)):
                return sntp.offset_s(told, asked_at, datetime.now(UTC))
    return None


def ask_portal(url: str, says: str | None) -> tuple[Portal, http.Page | None, float | None]:
    """Ask for the page that is known, and say what came in its place, and after how many ms.

    Only what a browser would show is a portal: an error is the page's own.
    """
    host, port, path = _split(url)
    found = resolver.resolve(host, NAMES_TIMEOUT_S)
    started_s = time.monotonic()
    try:
        with connected(found.addresses[0], port, TCP_TIMEOUT_S) as connection:
            page = ask_page(connection, host, path)
    except (OSError, IndexError):
        return Portal.SILENT, None, None
    took_ms = ms_since(started_s)
    if page is None or (page.status >= _ERRORS and page.status != _SIGN_IN):
        return Portal.SILENT, page, took_ms
    is_known = page.status == _NO_CONTENT if says is None else page.status == _OK and says.encode() in page.body
    return (Portal.OPEN if is_known else Portal.INTERCEPTED), page, took_ms


def datagram(address: str, port: int, asked: bytes) -> bytes:
    """Send one datagram and take the first that comes from there; raises `OSError`, refused among them."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(UDP_TIMEOUT_S)
        asking.connect((address, port))
        asking.send(asked)
        return asking.recv(RECEIVE_BYTES)


def timed(call: Callable[[], _T]) -> tuple[_T, float]:
    """Give what a call returned, and how many ms it took."""
    started_s = time.monotonic()
    return call(), ms_since(started_s)


def ms_since(started_s: float) -> float:
    """Say how many ms have passed."""
    return round((time.monotonic() - started_s) * 1000, 1)


def _address_and_port(target: str) -> tuple[str, int]:
    address, _, port = target.rpartition(":")
    return address.removeprefix("[").removesuffix("]"), int(port)


def _split(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80, parts.path or "/"


def _days_left(secured: ssl.SSLSocket) -> float | None:
    certificate = secured.getpeercert() or {}
    until = certificate.get("notAfter")
    return (ssl.cert_time_to_seconds(until) - time.time()) / 86_400 if isinstance(until, str) else None


def _said(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or "timed out"


def _measured(seen: AcquirerEvidence, **measures: float) -> AcquirerEvidence:
    return replace(seen, measures={**seen.measures, **measures})
