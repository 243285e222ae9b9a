"""MQTT, for one terminal or for many: the only importer of paho.

A `Loop` is one thread over one selector that serves any number of publishers: a till has one, a fleet hundreds. A
`Publisher` carries out a core's effects and gathers what to hand it; both ends are called from the owner's thread, and
no call waits for the network. What paho does well is used (frames, keep-alive, TLS); what it does on its own account is
not:

- Each connection is a new paho client, so that nothing of an earlier one is sent again, queued or counted.
- paho never reconnects: the core dials. It never runs a thread: it is read and written when its socket is ready.
- Connecting blocks (names, TCP, TLS), so dialler threads do it; then the loop alone touches the client.
- Nothing is published before CONNACK. What paho queues is bounded; what does not fit is left out: events come again.
- An exception, ours or paho's, ends its connection and no other's.
- By whose time the broker's certificate is judged is the core's decision; its chain and its name are always judged.
- Certificates are read anew for each connection: what was put in their place counts without a restart.

What a publisher gives out is of its newest connection only: after `Connect` or `Disconnect` nothing of an earlier one
is taken. Exactly one `Connected` or `ConnectFailed` answers a `Connect`; one `ConnectionLost` follows a `Connected`
that ended unasked.
"""

import contextlib
import logging
import queue
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tillwatch_agent import certificates
from tillwatch_agent.clock import BY_WALL, JudgedBy, Judging
from tillwatch_agent.core import (
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Disconnect,
    Effect,
    Forget,
    Input,
    Outgoing,
    Publish,
    Received,
    Subscribe,
    Work,
)
from tillwatch_agent.errors import CertificateEnded, OperatorError
from tillwatch_protocol.vocabulary import EVENTS_IN_FLIGHT_MAX

CONNECT_TIMEOUT_S = 10.0
"""For TCP, and again for TLS: a slow mobile link needs three round trips of at most some seconds."""

CONNACK_TIMEOUT_S = 10.0
"""For the broker's answer to CONNECT."""

FAREWELL_TIMEOUT_S = 3.0
"""How long a connection that was let go waits for the broker to take what was published before."""

QUEUED_MAX = 4 * EVENTS_IN_FLIGHT_MAX
"""QoS 1 messages that the broker has not taken: a whole window of single events sent thrice, and presence."""

RECEIVED_MAX = 1_000
"""Messages that wait for a core; what is beyond is left out, since acknowledgements and states are said again."""

DIALLERS = 4
"""Connections opened at once: one that hangs must not hold up the others."""

PACKETS_AT_ONCE = 50
"""Packets read of one connection before the others have their turn."""

MISC_EVERY_S = 1.0
"""How often keep-alive and limits of time are looked at."""

REFUSED_PERHAPS = "the broker ended the session before it answered: certificate revoked, refused or missing?"

_BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """Where to connect, and as whom."""

    host: str
    port: int
    keepalive_s: int = 30
    username: str | None = None
    password: str | Callable[[], str] | None = field(default=None, repr=False)
    """Or what reads it, called like `tls`: a password that was changed is used at the next connection."""
    tls: Callable[[], ssl.SSLContext] | None = None
    """Called in a dialler's thread for each connection; what it raises as `OperatorError` is a failed one."""
    tls_timeless: Callable[[], ssl.SSLContext] | None = None
    """The same, judging no times; for the operator's own authority only. Without it `tls` judges every connection."""

    def secret(self) -> str | None:
        """Return the password as it is now; raises `OperatorError`."""
        return self.password() if callable(self.password) else self.password

    def context(self, judging: Judging) -> ssl.SSLContext | None:
        """Make what judges the broker's certificate in the handshake; raises `OperatorError`."""
        make = self.tls_timeless or self.tls if judging.by is not JudgedBy.WALL else self.tls
        return make() if make else None


class Loop:
    """One thread that reads and writes for all its publishers."""

    def __init__(self, *, name: str = "mqtt", diallers: int = DIALLERS) -> None:
        """Prepare it; `start` runs it."""
        self._selector = selectors.DefaultSelector()
        self._waker, self._wakened = socket.socketpair()
        self._waker.settimeout(0)
        self._wakened.settimeout(0)
        self._selector.register(self._wakened, selectors.EVENT_READ, None)
        self._jobs: deque[Callable[[], None]] = deque()
        self._dials: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lines: set[_Line] = set()
        self._stop_at_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._diallers = [
            threading.Thread(target=self._dial, name=f"{name}-dial-{number}", daemon=True) for number in range(diallers)
        ]

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Run its threads."""
        for thread in (self._thread, *self._diallers):
            thread.start()

    def stop(self, timeout_s: float = FAREWELL_TIMEOUT_S) -> None:
        """Let connections that were let go end, for so long at most; then close all."""
        if not self.alive:
            self._close()
            return
        self.post(lambda: self._end_by(time.monotonic() + timeout_s))
        self._thread.join(timeout_s + 2 * MISC_EVERY_S)

    def post(self, job: Callable[[], None]) -> None:
        """Have the thread do something; from any thread, in the order posted."""
        self._jobs.append(job)
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._waker.send(b"\0")

    def dial(self, job: Callable[[], None]) -> None:
        """Have a dialler do something that blocks."""
        self._dials.put(job)

    def adopt(self, line: "_Line", sock: Any, events: int) -> None:
        """Serve a line's socket, for these events."""
        self._lines.add(line)
        self._selector.register(sock, events, line)

    def want(self, line: "_Line", sock: Any, events: int) -> None:
        """Wake the line for these events only."""
        self._selector.modify(sock, events, line)

    def release(self, line: "_Line", sock: Any) -> None:
        """Serve it no more."""
        self._lines.discard(line)
        with contextlib.suppress(KeyError, ValueError):  # already unregistered, or closed under us
            self._selector.unregister(sock)

    def _run(self) -> None:
        misc_at_s = 0.0
        while not self._is_over():
            busy = any(line.pending for line in self._lines)
            for key, events in self._selector.select(0 if busy or self._jobs else MISC_EVERY_S):
                if key.data is not None:
                    _guarded(key.data, partial(key.data.serve, events))
                else:
                    self._drain()
            for line in [line for line in self._lines if line.pending]:
                _guarded(line, partial(line.serve, selectors.EVENT_READ))
            while self._jobs:
                self._jobs.popleft()()
            if time.monotonic() >= misc_at_s:
                misc_at_s = time.monotonic() + MISC_EVERY_S
                for line in tuple(self._lines):
                    _guarded(line, line.look_after)
        self._close()

    def _is_over(self) -> bool:
        if self._stop_at_s is None:
            return False
        return time.monotonic() >= self._stop_at_s or all(line.state is not _State.LEAVING for line in self._lines)

    def _end_by(self, stop_at_s: float) -> None:
        self._stop_at_s = stop_at_s

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wakened.recv(4096):
                pass

    def _close(self) -> None:
        for line in tuple(self._lines):
            line.break_off("the loop ended")
        for _ in self._diallers:
            self._dials.put(_end_thread)
        self._selector.close()
        self._waker.close()
        self._wakened.close()

    def _dial(self) -> None:
        while (job := self._dials.get()) is not _end_thread:
            job()


class Publisher:
    """One terminal's way to its broker.

    Owned by one thread; `ready` is called from the loop's when `take` has something.
    """

    def __init__(self, loop: Loop, broker: Broker, terminal_id: str, ready: Callable[[], None]) -> None:
        """Prepare it; a `Connect` effect opens the connection."""
        self.loop = loop
        self.left_out = 0
        """Messages from the broker for which there was no room."""
        self._broker = broker
        self._terminal_id = terminal_id
        self._ready = ready
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._inputs: deque[Input] = deque()
        self._address = broker.host, broker.port
        self.failure: str | None = None
        """Why no connection comes about, since one did."""

    @property
    def quiet_s(self) -> float:
        """For how long nothing was heard of a broker that should answer pings; 0 while not connected."""
        line = self._line
        return time.monotonic() - line.heard_at_s if line and line.state is _State.UP else 0.0

    def carry_out(self, effect: Effect) -> None:
        """Do what a core asks for; `Forget` and `Work` are not for a publisher."""
        match effect:
            case Connect():
                self._connect(effect.will, effect.judging)
            case Subscribe():
                self._post(lambda line: line.subscribe(effect.filters))
            case Publish():
                self._post(lambda line: line.publish(effect.outgoing))
            case Disconnect():
                self._renounce(lambda line: line.hang_up())
            case Forget() | Work():
                pass

    def sign_in(self, judging: Judging = BY_WALL) -> None:
        """Connect only to see whether the broker lets us in: without a will, so that nobody hears of it."""
        self._connect(None, judging)

    def take(self) -> Iterator[Input]:
        """Take what happened, one by one: an effect carried out in between may end what is still to come."""
        while True:
            with self._lock:
                if not self._inputs:
                    return
                happened = self._inputs.popleft()
            yield happened

    def abandon(self) -> None:
        """Break the connection off without a farewell: the broker publishes the will."""
        self._renounce(lambda line: line.break_off("given up"))

    def deliver(self, line: "_Line", happened: Input) -> None:
        """Keep what happened on a line, if it is still the line that counts; called by the loop."""
        with self._lock:
            if line is not self._line:
                return
            if isinstance(happened, Received) and len(self._inputs) >= RECEIVED_MAX:
                self.left_out += 1
                return
            self._inputs.append(happened)
        try:
            self._ready()
        except Exception as error:  # noqa: BLE001 - the owner's mistake must not end the loop of all
            self._ready_failed(error)

    def failed(self, why: str) -> None:
        """Log that no connection came about, once for each reason."""
        if self.failure != why:
            _logger.warning("%s: no connection to %s:%d: %s", self._terminal_id, *self._address, why)
        self.failure = why

    def succeeded(self) -> None:
        """Log that one did."""
        _logger.info("%s: connected to %s:%d", self._terminal_id, *self._address)
        self.failure = None

    def _ready_failed(self, error: Exception) -> None:
        _logger.error("%s: its owner could not be told that something happened", self._terminal_id, exc_info=error)

    def _connect(self, will: Outgoing | None, judging: Judging) -> None:
        self.abandon()
        line = _Line(self, self._broker, self._terminal_id, will, judging)
        with self._lock:
            self._line = line
        self.loop.dial(line.dial)

    def _renounce(self, leave: Callable[["_Line"], None]) -> None:
        with self._lock:
            line, self._line = self._line, None
            self._inputs.clear()
        if line:
            self.loop.post(lambda: _guarded(line, lambda: leave(line)))

    def _post(self, action: Callable[["_Line"], None]) -> None:
        line = self._line
        if line:
            self.loop.post(lambda: _guarded(line, lambda: action(line)))


class _State(StrEnum):
    DIALLING = "dialling"
    ASKING = "asking"  # CONNECT is sent, CONNACK is not here
    UP = "up"
    LEAVING = "leaving"
    """Let go: what was published is still on its way."""
    ENDED = "ended"


class _Line:
    """One connection, from dialling to its end. After `dial`, for the loop's thread only."""

    def __init__(
        self, publisher: Publisher, broker: Broker, terminal_id: str, will: Outgoing | None, judging: Judging
    ) -> None:
        self.publisher = publisher
        self.state = _State.DIALLING
        self.heard_at_s = time.monotonic()
        self._loop = publisher.loop
        self._broker = broker
        self._terminal_id = terminal_id
        self._client = _Client(broker, terminal_id, will, judging)
        self._socket: Any = None
        self._deadline_s = 0.0
        self._untaken: set[int] = set()
        """QoS 1 messages that the broker has not taken."""
        self._left = False
        self._not_begun = False

    @property
    def pending(self) -> bool:
        """Whether TLS holds bytes that the selector does not see."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def dial(self) -> None:
        """Connect, in a dialler's thread; paho raises OSError (name, TCP, TLS) and ValueError (certificate)."""
        problem: str | None = None
        if self.state is _State.ENDED:
            return
        try:
            self._client.connect(self._broker.host, self._broker.port, keepalive=self._broker.keepalive_s)
        except (OSError, ValueError, CertificateEnded, OperatorError) as error:
            self._not_begun = certificates.has_not_begun(error)
            problem = str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001 - the outermost loop of the dialler's thread
            problem = repr(error)
        self._loop.post(lambda: _guarded(self, lambda: self._dialled(problem)))

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Subscribe at QoS 1."""
        if self.state is _State.UP:
            self._client.subscribe([(topic_filter, 1) for topic_filter in filters])

    def publish(self, outgoing: Outgoing) -> None:
        """Publish, unless the broker has not taken too much already."""
        if self.state is not _State.UP or len(self._untaken) >= QUEUED_MAX:
            return
        info = self._client.publish(outgoing.topic, outgoing.payload, qos=outgoing.qos, retain=outgoing.retain)
        if outgoing.qos and info.rc == paho.MQTT_ERR_SUCCESS:
            self._untaken.add(info.mid)

    def hang_up(self) -> None:
        """Leave once the broker has taken what was published, or soon after."""
        if self.state is not _State.UP:
            self.break_off("let go")
            return
        self.state = _State.LEAVING
        self._deadline_s = time.monotonic() + FAREWELL_TIMEOUT_S
        self._leave_when_taken()

    def break_off(self, why: str) -> None:
        """Close the socket at once."""
        if self.state is _State.ENDED:
            return
        before, self.state = self.state, _State.ENDED
        if self._socket is not None:
            self._loop.release(self, self._socket)
            self._socket.close()
        if before is _State.UP:
            _logger.warning("%s: connection lost: %s", self._terminal_id, why)
            self.publisher.deliver(self, ConnectionLost())
        elif before in {_State.DIALLING, _State.ASKING}:
            self.publisher.failed(why)
            self.publisher.deliver(self, ConnectFailed(not_begun=self._not_begun))

    def broke(self, error: Exception) -> None:
        """End for a mistake, ours or paho's."""
        _logger.error("%s: connection broken off", self._terminal_id, exc_info=error)
        self.break_off(repr(error))

    def serve(self, events: int) -> None:
        """Read and write what the socket is ready for."""
        if events & selectors.EVENT_READ:
            self._read()
        if self.state is not _State.ENDED and events & selectors.EVENT_WRITE:
            self._client.loop_write()
        if self.state is _State.LEAVING:
            self._leave_when_taken()

    def look_after(self) -> None:
        """Keep alive, and keep to limits of time."""
        self._client.loop_misc()
        if self.state is _State.ASKING and time.monotonic() >= self._deadline_s:
            self.break_off(f"expected CONNACK within {CONNACK_TIMEOUT_S:.0f} s, got none")
        elif self.state is _State.LEAVING and time.monotonic() >= self._deadline_s:
            self.break_off("farewell took too long")

    def _dialled(self, problem: str | None) -> None:
        self._socket = self._client.socket()
        if self.state is _State.ENDED:  # let go while it dialled
            if self._socket is not None:
                self._socket.close()
        elif problem or self._socket is None:
            self.break_off(problem or "closed at once")
        else:
            self.state = _State.ASKING
            self._deadline_s = time.monotonic() + CONNACK_TIMEOUT_S
            self._listen()
            self._loop.adopt(self, self._socket, _BOTH if self._client.want_write() else selectors.EVENT_READ)

    def _listen(self) -> None:
        """Set the callbacks; none of them calls paho, which holds a lock around them."""
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *said: self._ended(f"{said[3]}")
        self._client.on_message = self._on_message
        self._client.on_publish = lambda *said: self._untaken.discard(said[2])
        self._client.on_subscribe = self._on_subscribe
        self._client.on_socket_register_write = lambda *_: self._want(_BOTH)
        self._client.on_socket_unregister_write = lambda *_: self._want(selectors.EVENT_READ)
        self._client.on_socket_close = lambda *_: self._loop.release(self, self._socket)

    def _ended(self, why: str) -> None:
        """Say what paho cannot know: TLS 1.3 refuses our certificate only after the handshake, by hanging up."""
        refused = self.state is _State.ASKING and isinstance(self._socket, ssl.SSLSocket)
        self.break_off(REFUSED_PERHAPS if refused else why)

    def _want(self, events: int) -> None:
        if self.state is not _State.ENDED:
            self._loop.want(self, self._socket, events)

    def _read(self) -> None:
        self.heard_at_s = time.monotonic()
        for _ in range(PACKETS_AT_ONCE):
            if self._client.loop_read() != paho.MQTT_ERR_SUCCESS or not self.pending:
                return

    def _leave_when_taken(self) -> None:
        if not self._untaken and not self._left:
            self._left = True
            self._client.disconnect()

    def _on_connect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.break_off(f"refused: {reason}")
        elif self.state is _State.ASKING:
            self.state = _State.UP
            self.publisher.succeeded()
            self.publisher.deliver(self, Connected())

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        self.publisher.deliver(self, Received(topic=topic, payload=bytes(message.payload), retained=message.retain))

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            _logger.warning("%s: the broker refused a subscription: acknowledgements will not come", self._terminal_id)


class _Client(paho.Client):
    """paho's client over sockets of our making: its own stays open when a TLS handshake fails."""

    def __init__(self, broker: Broker, terminal_id: str, will: Outgoing | None, judging: Judging) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=terminal_id,
            protocol=paho.MQTTv311,
            clean_session=True,
            reconnect_on_failure=False,
        )
        self._broker = broker
        self._judging = judging
        self.max_queued_messages_set(QUEUED_MAX)
        self.max_inflight_messages_set(QUEUED_MAX)
        if will:
            self.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain)

    def _create_socket(self) -> socket.socket:
        if self._broker.username is not None:
            self.username_pw_set(self._broker.username, self._broker.secret())
        context = self._broker.context(self._judging)
        sock = socket.create_connection((self._broker.host, self._broker.port), timeout=CONNECT_TIMEOUT_S)
        if context is None:
            return sock
        secured = context.wrap_socket(sock, server_hostname=self._broker.host)
        try:
            if self._judging.at:
                certificates.require_not_ended(secured, self._judging.at)
        except CertificateEnded:
            secured.close()
            raise
        return secured


def _guarded(line: _Line, action: Callable[[], None]) -> None:
    """Let an exception end its own connection only: this is the loop thread's outermost guard."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - the loop thread's outermost guard
        line.broke(error)


def _end_thread() -> None:
    """End a dialler, by standing in its queue."""
