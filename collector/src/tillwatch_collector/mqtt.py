"""The collector's link to its broker: one thread that keeps connected, one inbox, one way out. The only paho import.

MQTT 3.1.1 with clean sessions: whatever a broker would keep for us, agents keep better, since they send again until
we acknowledge. Every connection is a new client object, so that nothing of a broken one (packets in flight, half a
state) outlives it.

On each connection, in this order: subscribe, and when that is granted say `online` (retained; the will says
`offline`), so that what agents send on hearing it finds us listening. An earlier connection's will that comes after
it is answered by saying it again.

Where several processes share a subscription, one that nobody reads from (a database that is away, a machine at its
end) leaves the broker, with its goodbye, until somebody reads again: its share goes to the others instead of waiting.

The inbox is bounded. When it is full the network thread waits: TCP then holds the broker back, and the broker its
publishers. Dropping instead would lose heartbeats silently; growing would end in the kernel's arms. Acknowledgements
that cannot leave are dropped and counted: the events they speak of come again, and are acknowledged again.

A change violates this when a callback can raise into paho (its thread would end without a word), or when something is
published before the subscription is granted.
"""

import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from tillwatch_collector.flows import dispatch
from tillwatch_collector.flows.dispatch import Outgoing
from tillwatch_collector.flows.ingest import Delivery
from tillwatch_collector.inbox import Inbox
from tillwatch_collector.packets import PIECE_BYTES, Packets, Published
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

_LOOK_S = 1.0
_ROOM_WAIT_S = 0.5
ANSWER_TIMEOUT_S = 10.0
"""For a broker's yes or no to one client that asks nothing else."""

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


class Pieces:
    """A socket that is read in large pieces, from which messages at QoS 0 are taken before paho sees them.

    paho asks for each packet in four portions. Read from the system, each of them would hand the interpreter to the
    engine's thread and wait to have it back: with a thousand messages a second that is all it would do. And what it
    does for a message at QoS 0, which needs none of it, costs ten times what taking it out of the piece does.
    """

    def __init__(self, plain: socket.socket, hear: Callable[[Sequence[Published]], None]) -> None:
        self._plain = plain
        self._hear = hear
        self._packets = Packets()

    def recv(self, buffer_size: int) -> bytes:
        """Read of what is paho's; raises `BlockingIOError` when that is nothing for now."""
        packets = self._packets
        if not packets.passing:
            self._take()
        if not packets.passing:
            piece = self._plain.recv(PIECE_BYTES)
            if not piece:
                return piece
            packets.feed(piece)
            self._take()
        if not packets.passing:
            raise BlockingIOError
        return packets.pass_on(buffer_size)

    def _take(self) -> None:
        if taken := self._packets.take():
            self._hear(taken)

    def pending(self) -> int:
        """How many bytes can be had without waiting."""
        hidden = self._plain.pending() if isinstance(self._plain, ssl.SSLSocket) else 0
        return self._packets.waiting + hidden

    def send(self, buffer: bytes | bytearray) -> int:
        """Send what goes now."""
        return self._plain.send(buffer)

    def close(self) -> None:
        """Close the socket."""
        self._plain.close()

    def fileno(self) -> int:
        """Name it to `select`."""
        return self._plain.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as a socket has it
        """Have it wait or not."""
        self._plain.setblocking(flag)


class _Client(paho.Client):
    """paho's client over a socket that is read in pieces; what a piece holds is handled before the next wait.

    `hear` is told of messages at QoS 0, in paho's thread, as `on_message` is of the others.
    """

    hear: Callable[[paho.Client, Sequence[Published]], None]

    def _create_socket(self) -> Any:
        return Pieces(super()._create_socket(), partial(self.hear, self))  # type: ignore[arg-type]

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle what is there to be read."""
        result = super().loop_read(max_packets)
        while result == MQTTErrorCode.MQTT_ERR_SUCCESS and isinstance(pieces := self.socket(), Pieces):
            if not pieces.pending():
                break
            result = super().loop_read(max_packets)
        return result


class BrokerLink:
    """One process's link. `start`, then read `inbox`; `publish` from any one thread; `stop` says goodbye.

    With `unattended_s` it leaves the broker while nobody has read for so long.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        process: str,
        hello: Outgoing,
        farewell: Outgoing,
        rng: random.Random,
        subscriptions: Sequence[str] = topics.INGEST_SUBSCRIPTIONS,
        unattended_s: float | None = None,
    ) -> None:
        self.inbox: Inbox[Incoming] = Inbox(INBOX_MESSAGES_MAX)
        self._filters = [(name.replace("{process}", process), 1) for name in subscriptions]
        self._unattended_s = unattended_s
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
        if self._unattended():
            return False
        try:
            client = self._make_client()
            client.connect(self._endpoint.host, self._endpoint.port, self._endpoint.keepalive_s)
        except (OSError, ValueError) as error:
            self._say_failing(str(error))
            return False
        self._client = client
        client.loop_start()
        while not self._down.wait(_LOOK_S):
            if self._unattended():
                self._leave(client)
        was_connected = self.connected
        self._connected.clear()
        self._client = None
        self._end(client)
        if was_connected:
            self._put(BrokerLost(at=datetime.now(UTC)))
        return was_connected

    def _unattended(self) -> bool:
        """Whether others should have what lies here unread."""
        return self._unattended_s is not None and self.inbox.unattended_s > self._unattended_s

    def _leave(self, client: paho.Client) -> None:
        _log.warning("nobody has read what came for %.0f s: it is left to others for now", self.inbox.unattended_s)
        if self.connected:
            _wait_published(_publish(client, self._farewell))
        self._down.set()

    def _end(self, client: paho.Client) -> None:
        """Disconnect and end paho's thread; one that does not end (a broker that reads nothing) is left, a daemon."""
        client.disconnect()
        ender = threading.Thread(target=client.loop_stop, name="broker-link-end", daemon=True)
        ender.start()
        ender.join(GOODBYE_TIMEOUT_S)

    def _make_client(self) -> paho.Client:
        endpoint = self._endpoint
        client = _Client(
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
        client.hear = self._on_published
        return client

    def _put(self, item: Incoming) -> None:
        """Wait for room, as long as it takes; at the end nobody makes room any more."""
        while not self._stopping.is_set():
            if self.inbox.put(item, _ROOM_WAIT_S):
                return

    def _put_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Wait for room while the connection that brought them is wanted; what is left comes again, or is outdated."""
        put = self.inbox.put_all(deliveries)
        while put < len(deliveries) and not (self._down.is_set() or self._stopping.is_set()):
            put += self.inbox.put_all(deliveries[put:], _ROOM_WAIT_S)

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
        client.subscribe(self._filters)

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
        self._take_in(client, [Published(message.topic, bytes(message.payload), message.retain)])

    @_guarded
    def _on_published(self, client: paho.Client, messages: Sequence[Published]) -> None:
        if client is self._client:
            self._take_in(client, messages)

    def _take_in(self, client: paho.Client, messages: Sequence[Published]) -> None:
        """Put in line what is not of ourselves; of that, what says that we are gone is denied."""
        own, now = self._hello.topic, datetime.now(UTC)
        for message in messages:
            if message.topic == own and self.connected and not self._stopping.is_set():
                self._deny(client, message.payload)
        self._put_deliveries([Delivery(*message, now) for message in messages if message.topic != own])

    def _deny(self, client: paho.Client, payload: bytes) -> None:
        if dispatch.denies(payload, self._hello):
            _publish(client, self._hello)


def _publish(client: paho.Client, outgoing: Outgoing) -> paho.MQTTMessageInfo:
    return client.publish(outgoing.topic, outgoing.payload, qos=outgoing.qos, retain=outgoing.retain)


def _wait_published(info: paho.MQTTMessageInfo) -> None:
    try:
        info.wait_for_publish(GOODBYE_TIMEOUT_S)
    except (ValueError, RuntimeError) as error:
        _log.warning("could not say goodbye to the broker: %s", error)


def take_over(endpoint: Endpoint, client_id: str) -> bool:
    """Connect once under a client id and leave, which ends whoever had it; whether the broker let us in.

    Raises `OSError` when there is no broker, or one that we do not trust.
    """
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=True,
        protocol=paho.MQTTv311,
        reconnect_on_failure=False,
    )
    context = endpoint.tls_context()
    if context is not None:
        client.tls_set_context(context)
    answers: list[bool] = []
    client.on_connect = lambda *said: answers.append(not said[3].is_failure)
    try:
        client.connect(endpoint.host, endpoint.port, endpoint.keepalive_s)
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError:
        return False  # TLS 1.2 refuses a certificate within the handshake, 1.3 at the first word after it
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
    while not answers and client.loop(timeout=0.5) == MQTTErrorCode.MQTT_ERR_SUCCESS:
        if time.monotonic() >= deadline_s:
            raise TimeoutError(f"expected an answer within {ANSWER_TIMEOUT_S:.0f} s, got none")
    client.disconnect()
    return answers == [True]
