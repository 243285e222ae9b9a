"""The collector's link to its broker: one thread that keeps connected, one inbox, one way out. The only paho import.

MQTT 3.1.1 with clean sessions: whatever a broker would keep for us, agents keep better, since they send again until
we acknowledge. Every connection is a new client object, so that nothing of a broken one (packets in flight, half a
state) outlives it.

On each connection, in this order: subscribe, and when that is granted say `online` (retained; the will says
`offline`), so that what agents send on hearing it finds us listening. An earlier connection's will that comes after
it is answered by saying it again.

The inbox is bounded. When it is full the network thread waits: TCP then holds the broker back, and the broker its
publishers. Dropping instead would lose heartbeats silently; growing would end in the kernel's arms. Acknowledgements
that cannot leave are dropped and counted: the events they speak of come again, and are acknowledged again.

A change violates this when a callback can raise into paho (its thread would end without a word), or when something is
published before the subscription is granted.
"""

import logging
import queue
import random
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from tillwatch_collector.flows import dispatch
from tillwatch_collector.flows.dispatch import Outgoing
from tillwatch_collector.flows.ingest import Delivery
from tillwatch_protocol import topics

INBOX_MESSAGES_MAX = 20_000
"""Ten full batches: some 12 MB of heartbeats, and seconds of a stalled database."""

OUT_MESSAGES_MAX = 20_000
"""Acknowledgements on their way; MQTT numbers packets in 16 bits, so paho can never hold more than 65,535."""

IN_FLIGHT_MAX = 1_000
"""Of those, unanswered by the broker at once."""

BACKOFF_S_FIRST = 1.0
BACKOFF_S_MAX = 30.0
"""Retries wait a random time below a bound that doubles to this: a broker is found again soon, not by all at once."""

GOODBYE_TIMEOUT_S = 3.0
"""For the last words to leave; a broker that takes longer publishes our will instead."""

_SUBACK_REFUSED = 0x80

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where the broker is, and as whom to come."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = 30

    def tls_context(self) -> ssl.SSLContext | None:
        """TLS where a CA is named; raises `OSError` when a file cannot be used."""
        if self.ca_file is None:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerConnected:
    """From here on we hear."""

    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerLost:
    """From here on we hear nothing."""

    at: datetime


Incoming = Delivery | BrokerConnected | BrokerLost

_Arguments = ParamSpec("_Arguments")


def _guarded(callback: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """Let nothing be raised into paho's thread."""

    @wraps(callback)
    def guarded(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except Exception:  # noqa: BLE001 - raised into paho it would end the thread without a word
            _log.exception("%s failed", callback.__name__)

    return guarded


class BrokerLink:
    """One process's link. `start`, then read `inbox`; `publish` from any one thread; `stop` says goodbye."""

    def __init__(
        self, endpoint: Endpoint, *, process: str, hello: Outgoing, farewell: Outgoing, rng: random.Random
    ) -> None:
        self.inbox: queue.Queue[Incoming] = queue.Queue(INBOX_MESSAGES_MAX)
        self._endpoint = endpoint
        self._process = process
        self._hello = hello
        self._farewell = farewell
        self._rng = rng
        self._client: paho.Client | None = None
        self._connected = threading.Event()
        self._down = threading.Event()
        self._stopping = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._keep_connected, name="broker-link", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def connected(self) -> bool:
        """Whether the subscription stands."""
        return self._connected.is_set()

    def start(self) -> None:
        """Begin to connect, and keep trying."""
        self._thread.start()

    def stop(self) -> None:
        """Say `offline`, disconnect, end the thread."""
        self._stopping.set()
        client = self._client
        if client is not None and self.connected:
            _wait_published(_publish(client, self._farewell))
        self._down.set()
        if self._thread.is_alive():
            self._thread.join(2 * GOODBYE_TIMEOUT_S)

    def renew(self, reason: str) -> None:
        """Give up a connection that looks alive and is not, and connect again."""
        _log.warning("broker link is renewed: %s", reason)
        self._down.set()

    def announce(self, hello: Outgoing, farewell: Outgoing) -> None:
        """Say something else of ourselves; the will changes too, and is given at connecting only: so connect again."""
        self._hello, self._farewell = hello, farewell
        self.renew("the collector's epoch has changed")

    def publish(self, outgoing: Outgoing) -> bool:
        """Send, if connected and not overfull; what is not sent is the sender's to repeat."""
        client = self._client
        if client is None or not self.connected:
            return False
        return _publish(client, outgoing).rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    # --- the thread

    def _keep_connected(self) -> None:
        attempt = 0
        while True:
            self._down.clear()
            if self._stopping.is_set():
                return
            attempt = 0 if self._live() else attempt + 1
            bound_s = min(BACKOFF_S_MAX, BACKOFF_S_FIRST * 2 ** min(attempt, 10))
            self._stopping.wait(self._rng.uniform(0, bound_s))

    def _live(self) -> bool:
        """Live through one connection; whether there was one."""
        try:
            client = self._make_client()
            client.connect(self._endpoint.host, self._endpoint.port, self._endpoint.keepalive_s)
        except (OSError, ValueError) as error:
            self._say_failing(str(error))
            return False
        self._client = client
        client.loop_start()
        self._down.wait()
        was_connected = self.connected
        self._connected.clear()
        self._client = None
        self._end(client)
        if was_connected:
            self._put(BrokerLost(at=datetime.now(UTC)))
        return was_connected

    def _end(self, client: paho.Client) -> None:
        """Disconnect and end paho's thread; one that does not end (a broker that reads nothing) is left, a daemon."""
        client.disconnect()
        ender = threading.Thread(target=client.loop_stop, name="broker-link-end", daemon=True)
        ender.start()
        ender.join(GOODBYE_TIMEOUT_S)

    def _make_client(self) -> paho.Client:
        endpoint = self._endpoint
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._process,
            clean_session=True,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(IN_FLIGHT_MAX)
        client.max_queued_messages_set(OUT_MESSAGES_MAX)
        if endpoint.username is not None:
            client.username_pw_set(endpoint.username, endpoint.password)
        context = endpoint.tls_context()
        if context is not None:
            client.tls_set_context(context)
        will = self._farewell
        client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _put(self, item: Incoming) -> None:
        """Wait for room, as long as it takes; at the end nobody makes room any more."""
        while not self._stopping.is_set():
            try:
                self.inbox.put(item, timeout=0.5)
            except queue.Full:
                continue
            return

    def _say_failing(self, why: str) -> None:
        if not self._failing:
            _log.warning("no broker at %s:%d: %s; trying on", self._endpoint.host, self._endpoint.port, why)
        self._failing = True

    # --- paho's callbacks

    @_guarded
    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._say_failing(f"it refuses us: {reason}")
            self._down.set()
            return
        filters = [(name.replace("{process}", self._process), 1) for name in topics.INGEST_SUBSCRIPTIONS]
        client.subscribe(filters)

    @_guarded
    def _on_subscribe(self, client: paho.Client, _data: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        if client is not self._client:
            return
        if any(reason.value >= _SUBACK_REFUSED for reason in reasons):
            self._say_failing("it refuses our subscriptions")
            self._down.set()
            return
        _publish(client, self._hello)
        self._failing = False
        _log.info("connected to the broker at %s:%d", self._endpoint.host, self._endpoint.port)
        self._connected.set()
        self._put(BrokerConnected(at=datetime.now(UTC)))

    @_guarded
    def _on_disconnect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if client is not self._client:
            return
        if not self._stopping.is_set():
            self._say_failing(f"the connection ended: {reason}")
        self._down.set()

    @_guarded
    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if client is not self._client:
            return
        if message.topic == self._hello.topic:
            listens = self.connected and not self._stopping.is_set()
            if listens and dispatch.denies(bytes(message.payload), self._hello):
                _publish(client, self._hello)
            return
        self._put(
            Delivery(
                topic=message.topic,
                payload=bytes(message.payload),
                retained=message.retain,
                received_at=datetime.now(UTC),
            )
        )


def _publish(client: paho.Client, outgoing: Outgoing) -> paho.MQTTMessageInfo:
    return client.publish(outgoing.topic, outgoing.payload, qos=outgoing.qos, retain=outgoing.retain)


def _wait_published(info: paho.MQTTMessageInfo) -> None:
    try:
        info.wait_for_publish(GOODBYE_TIMEOUT_S)
    except (ValueError, RuntimeError) as error:
        _log.warning("could not say goodbye to the broker: %s", error)
