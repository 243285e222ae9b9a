"""A real authority made with the real commands, the broker that it configures, and clients with its papers."""

import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from tests.live.mosquitto import LOOPBACK, Mosquitto, free_port, whoami
from tests.live.stack import WAIT_S, until

from tillwatch_collector.__main__ import main


@dataclass(frozen=True, kw_only=True)
class Papers:
    """What a client shows, and whom it trusts."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context

    def table(self, broker: Mosquitto, *, port: int | None = None) -> str:
        """As the [broker] of an agent or a collector; `port` is that of a line which leads there."""
        return (
            f'[broker]\nhost = "{broker.host}"\nport = {port or broker.port}\n'
            f'ca_file = "{self.ca}"\ncert_file = "{self.cert}"\nkey_file = "{self.key}"\n'
        )


class Authority:
    """`tillwatch-collector pki` over one folder."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca"
        self.broker_folder = folder / "broker"
        self._papers = folder / "papers"
        self.run("init")

    def run(self, *words: str | Path, code: int = 0) -> str:
        """Run a command; what it said to either."""
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            ended = main(["pki", *map(str, words), "--ca", str(self.ca)])
        assert ended == code, f"{words}: {ended}: {said.getvalue()}"
        return said.getvalue()

    def issue(self, name: str) -> Papers:
        """Have a certificate made; another one each time."""
        out = self._papers / f"{name}-{len(list(self._papers.glob(f'{name}-*')))}"
        out.parent.mkdir(exist_ok=True)
        self.run("issue", "process" if "." in name else "terminal", name, "--out", out)
        return Papers(ca=out / "ca.crt", cert=out / f"{name}.crt", key=out / f"{name}.key")

    def server(self) -> Papers:
        """The broker's own papers: what a thief of its key could show."""
        return Papers(ca=self.ca / "ca.crt", cert=self.ca / "server.crt", key=self.ca / "server.key")

    def broker(self, folder: Path) -> Mosquitto:
        """A broker on loopback, configured for all processes that have a certificate by now."""
        port = free_port()
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self.run("server", LOOPBACK, "localhost")
        self.run(
            *("mosquitto", "--out", self.broker_folder, "--port", str(port), "--address", LOOPBACK),
            *("--data-dir", data.absolute(), "--user", whoami()),
        )
        return Mosquitto(folder, port=port, configuration=self.broker_folder / "mosquitto.conf")

    def hand_over_list(self, broker: Mosquitto) -> None:
        """As the operator and the unit beside the broker do: the list in place, the broker told."""
        self.run("crl", "--out", self.broker_folder / "crl.pem")
        broker.reload()


class Client:
    """An MQTT client that shows some papers, and what came of it."""

    def __init__(self, broker: Mosquitto, papers: Papers, client_id: str) -> None:
        self.received: list[paho.MQTTMessage] = []
        self.gone = threading.Event()
        self._broker = broker
        self._up = threading.Event()
        self._granted = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv311, reconnect_on_failure=False
        )
        self._client.tls_set_context(papers.context())
        self._client.on_connect = lambda *said: None if said[3].is_failure else self._up.set()
        self._client.on_disconnect = lambda *_: self.gone.set()
        self._client.on_subscribe = lambda *_: self._granted.set()
        self._client.on_message = lambda *said: self.received.append(said[2])

    def __enter__(self) -> Self:
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        until(lambda: self._up.is_set() or self.gone.is_set(), "the broker's answer")
        if not self._up.is_set():
            self._client.loop_stop()
            raise ConnectionRefusedError("the broker says no")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def will(self, topic: str, payload: str) -> Self:
        """To be set before it connects."""
        self._client.will_set(topic, payload, qos=1)
        return self

    def break_off(self) -> None:
        """As a power cut ends it: the broker publishes the will."""
        sock = self._client.socket()
        assert isinstance(sock, ssl.SSLSocket)
        sock.shutdown(socket.SHUT_RDWR)
        assert self.gone.wait(WAIT_S)

    def subscribe(self, *filters: str) -> None:
        self._granted.clear()
        self._client.subscribe([(wanted, 1) for wanted in filters])
        assert self._granted.wait(WAIT_S), "expected the broker to answer a subscription"

    def publish(self, topic: str, payload: str | bytes = "x", *, retain: bool = False) -> None:
        """Publish, and wait until the broker has taken it, which on MQTT 3.1.1 it says of what it denies, too."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def send(self, topic: str, payload: bytes) -> None:
        """Publish, and wait for nothing."""
        self._client.publish(topic, payload, qos=0)

    @property
    def payloads(self) -> list[str]:
        return [message.payload.decode() for message in self.received]

    @property
    def news(self) -> list[bytes]:
        """What came that no earlier test left behind."""
        return [bytes(message.payload) for message in self.received if not message.retain]

    @property
    def topics(self) -> set[str]:
        return {message.topic for message in self.received}

    def wait_for(self, payload: str) -> None:
        """Until this came; what was sent to us before it has come then, too."""
        until(lambda: payload in self.payloads or None, f"{payload!r}, got {self.payloads}")


@contextmanager
def secured(
    broker: Mosquitto, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    """A TLS connection to the broker."""
    with (
        socket.create_connection((broker.host, broker.port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname=broker.host, session=session) as sock,
    ):
        yield sock


def signs_in(sock: ssl.SSLSocket, client_id: str = "") -> bool:
    """Ask to be let in (MQTT 3.1.1, 3.1 and 3.2); whether the answer is yes."""
    name = client_id.encode()
    asked = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2) + name
    sock.sendall(bytes([0x10, len(asked)]) + asked)
    return sock.recv(4) == b"\x20\x02\x00\x00"


def lets_in(broker: Mosquitto, papers: Papers, client_id: str = "", *, version: ssl.TLSVersion | None = None) -> bool:
    """Whether the broker lets somebody in who shows these papers."""
    try:
        with secured(broker, papers.context(version)) as sock:
            return signs_in(sock, client_id)
    except (ssl.SSLError, ConnectionError):
        return False
