"""Sending one message: by apprise to whatever it knows, or signed to a webhook of the operator's.

Connections go where the operator said, and nowhere else: redirects are not followed. A webhook is delivered when it
answers 2xx; 410 means that nobody is there any more; of 429 and 503 the Retry-After is passed on. What is posted is
signed as `Tillwatch-Signature: t=UNIX,v1=HEX`, HEX being the HMAC-SHA256 with the route's secret of `UNIX.BODY`; a
receiver refuses an old `t`, and knows by `Tillwatch-Delivery` what it has seen already.

Secrets are read when they are used, so that a new one needs no restart; what went wrong is said without them. apprise
takes a second and 50 MB to load: it is loaded by the thread that sends the first message through it.

A change violates this when a secret can reach a log or a row, or a process without such a route pays for apprise.
"""

import hashlib
import hmac
import http.client
import json
import logging
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tillwatch_collector.domain.delivery import DELIVERED, Outcome, Verdict
from tillwatch_collector.domain.message import Message
from tillwatch_collector.domain.notification import Item, Route, Target
from tillwatch_collector.errors import OperatorError

TIMEOUT_S = 10.0
"""Of a webhook, from the connection to the end of its answer: less than a message's claim, with room."""

ANSWER_BYTES_MAX = 4096
"""Of a webhook's answer nothing is used but its status; so much is read, that a decent server may finish."""

ITEMS_MAX = 1_000
"""Of what a webhook is told one by one; it has the total, and may ask the API."""

SECRET_BYTES_MIN = 16
SECRET_BYTES_MAX = 4096

REDACTED_CHARACTERS_MIN = 4
"""Of a secret URL: parts that are shorter are words and ports."""

_SUCCESS = range(200, 300)
_RETRY_AFTER = re.compile(r"\d{1,6}")


class TargetUnusable(OperatorError):  # noqa: N818 - it names what is so
    """A route's URL or secret cannot be used; the message does not repeat it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """A message as it is sent."""

    delivery_id: int
    route: str
    message: Message
    created_at: datetime
    items: tuple[Item, ...] = ()


class Notifier:
    """Sends messages, from any thread; holds nothing open between them."""

    def __init__(self, environment: Mapping[str, str] = os.environ, *, timeout_s: float = TIMEOUT_S) -> None:
        self._environment = environment
        self._timeout_s = timeout_s

    def check(self, route: Route) -> None:
        """See that a route's URL or secret is there; raises `TargetUnusable`."""
        if route.target.webhook is not None:
            self._secret(route)
        else:
            self._url(route)

    def check_url(self, route: Route) -> None:
        """See that apprise knows what a route's URL means, too; raises `TargetUnusable`."""
        self.check(route)
        if route.target.webhook is None:
            _apprise.service(self._url(route), _where(route.target, route.name))

    def send(self, route: Route, letter: Letter, now: datetime) -> Outcome:
        """Send a message once."""
        try:
            if route.target.webhook is None:
                return _apprise.send(self._url(route), _where(route.target, route.name), letter.message)
            return self._post(route.target.webhook, self._secret(route), letter, now)
        except TargetUnusable as error:
            return Outcome(verdict=Verdict.FAILED, error=str(error))

    def _post(self, url: str, secret: bytes, letter: Letter, now: datetime) -> Outcome:
        body = payload(letter)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "tillwatch-collector",
            "Tillwatch-Signature": signature(secret, body, now),
            "Tillwatch-Delivery": str(letter.delivery_id),
        }
        try:
            with _connected(url, self._timeout_s) as (connection, over):
                connection.request("POST", _path(url), body=body, headers=headers)
                answer = connection.getresponse()
                if over.is_set():
                    raise TimeoutError(f"expected an answer within {self._timeout_s:g} s")
                with suppress(OSError, http.client.HTTPException):  # it has answered
                    answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            return Outcome(verdict=Verdict.FAILED, error=f"{type(error).__name__}: {error}")
        return _outcome(answer.status, answer.getheader("Retry-After"))

    def _url(self, route: Route) -> str:
        target, where = route.target, _where(route.target, route.name)
        if target.url_env is not None:
            url = self._environment.get(target.url_env, "")
        else:
            url = _read(target.url_file, where).decode("utf-8", errors="replace")
        if not url.strip():
            raise TargetUnusable(f"{where}: expected an apprise URL, got nothing")
        return url.strip()

    def _secret(self, route: Route) -> bytes:
        where = _where(route.target, route.name)
        secret = _read(route.target.secret_file, where).strip()
        if len(secret) < SECRET_BYTES_MIN:
            raise TargetUnusable(f"{where}: expected at least {SECRET_BYTES_MIN} bytes, got {len(secret)}")
        return secret


def payload(letter: Letter) -> bytes:
    """Return what is posted to a webhook, UTF-8 JSON."""
    told = [
        {
            "ticket_id": item.ticket_id,
            "said": item.word.said,
            "severity": item.word.severity,
            "escalation_step": item.word.escalation_step,
        }
        for item in letter.items[:ITEMS_MAX]
    ]
    said = {
        "v": 1,
        "route": letter.route,
        "created_at": letter.created_at.isoformat(),
        "title": letter.message.title,
        "body": letter.message.body,
        "tickets": told,
        "tickets_total": len(letter.items),
    }
    return json.dumps(said, ensure_ascii=False).encode()


def signature(secret: bytes, body: bytes, now: datetime) -> str:
    """Return the header that proves who posted a body, and when."""
    at = int(now.timestamp())
    digest = hmac.new(secret, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _outcome(status: int, retry_after: str | None) -> Outcome:
    if status in _SUCCESS:
        return DELIVERED
    if status == http.client.GONE:
        return Outcome(verdict=Verdict.REFUSED, error="410 Gone")
    wait_s = float(retry_after) if retry_after and _RETRY_AFTER.fullmatch(retry_after) else None
    return Outcome(verdict=Verdict.FAILED, error=f"expected 2xx, got {status}", retry_after_s=wait_s)


@contextmanager
def _connected(url: str, timeout_s: float) -> Iterator[tuple[http.client.HTTPConnection, threading.Event]]:
    """Connect; whatever the other side does, the socket is cut when the time is over, and that is said."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    )
    over = threading.Event()
    cut = threading.Timer(timeout_s, _cut, (connection, over))
    cut.start()
    try:
        yield connection, over
    finally:
        cut.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection, over: threading.Event) -> None:
    over.set()
    open_socket: socket.socket | None = connection.sock
    if open_socket is not None:
        with suppress(OSError):  # the other side was faster
            # Below TLS: its own shutdown would pull the object from under who reads.
            socket.socket.shutdown(open_socket, socket.SHUT_RDWR)


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


def _where(target: Target, route: str) -> str:
    """Name the setting that is meant."""
    if target.url_env is not None:
        return f"route {route}: environment variable {target.url_env}"
    return f"route {route}: {target.url_file or target.secret_file}"


def _read(path: Path | None, where: str) -> bytes:
    assert path is not None  # noqa: S101 - a target names one, see `Target`
    try:
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX)
    except OSError as error:
        raise TargetUnusable(f"{where}: expected a readable file, got {error.strerror}") from None


class _Apprise:
    """apprise, loaded when it is first used."""

    @cached_property
    def library(self) -> Any:
        """The library; what it logs is kept to ourselves, since it may repeat a URL."""
        import apprise  # noqa: PLC0415 - see the module's docstring

        logger = logging.getLogger("apprise")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        return apprise

    def service(self, url: str, where: str) -> Any:
        """Return what sends to one URL; raises `TargetUnusable`."""
        asset = self.library.AppriseAsset(
            app_id="tillwatch", app_desc="tillwatch", http_redirects=False, async_mode=False
        )
        services = self.library.Apprise(asset=asset)
        if not services.add(url) or len(services) != 1:
            raise TargetUnusable(f"{where}: expected one apprise URL, got something else")
        if "overflow=" not in url:
            # The worst comes first, and one message is one message.
            services[0].overflow_mode = self.library.OverflowMode.TRUNCATE
        return services

    def send(self, url: str, where: str, message: Message) -> Outcome:
        """Send a message to a URL."""
        services = self.service(url, where)
        result = services.notify(title=message.title, body=message.body, body_format=self.library.NotifyFormat.TEXT)
        if result:
            return DELIVERED
        said = "; ".join(entry.message for entry in result.logs())
        return Outcome(verdict=Verdict.FAILED, error=_masked(said, url) or "the service did not take it")


_apprise = _Apprise()


def _masked(text: str, url: str) -> str:
    """Mask every part of a URL but its scheme, wherever it stands in a text."""
    secret = url.partition("://")[2]
    parts = {part for text in (secret, unquote(secret)) for part in re.split(r"[^\w.-]+", text)}
    for part in sorted((part for part in parts if len(part) >= REDACTED_CHARACTERS_MIN), key=len, reverse=True):
        text = text.replace(part, "***")
    return text
