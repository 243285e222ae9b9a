import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tillwatch_collector import broker as broker_module
from tillwatch_collector.broker import HANDOVER_FILE, PASSWORD_FILE, BrokerUnavailable, EmbeddedBroker, Handover
from tillwatch_collector.broker_process import PACKET_BYTES_MAX, Access

ROOT = "tillwatch/v1"
ACCESS = Access(process="collector.1", terminal_password="for-terminals", process_password="for-the-process")

PATIENCE_S = 90.0
"""For what comes at once on a machine that does nothing else; a test that waits so long has failed."""


# --- the access list


@pytest.mark.parametrize(
    ("username", "client_id", "password", "admitted"),
    [
        ("t-1", "t-1", "for-terminals", True),
        ("collector.1", "collector.1", "for-the-process", True),
        ("t-1", "t-2", "for-terminals", False),  # under another's name it would take over its connection
        ("t-1", "t-1", "for-the-process", False),
        ("collector.1", "collector.1", "for-terminals", False),
        ("collector.2", "collector.2", "for-terminals", False),  # a dot is a process's
        ("collector.2", "collector.2", "for-the-process", False),
        ("t/1", "t/1", "for-terminals", False),
        ("x" * 65, "x" * 65, "for-terminals", False),
        ("", "", "for-terminals", False),
        (None, None, None, False),
        (None, "t-1", "for-terminals", False),
        ("t-1", "t-1", None, False),
    ],
)
def test_a_user_is_admitted_by_password_under_its_own_name(
    username: str | None, client_id: str | None, password: str | None, admitted: bool
) -> None:
    assert ACCESS.admits(username, client_id, password) is admitted


@pytest.mark.parametrize(
    ("username", "topic", "writes", "reads"),
    [
        ("t-1", f"{ROOT}/t/t-1/up/heartbeat", True, False),
        ("t-1", f"{ROOT}/t/t-2/up/heartbeat", False, False),
        ("t-1", f"{ROOT}/t/t-10/up/heartbeat", False, False),
        ("t-1", f"{ROOT}/t/t-1/dn/ack", False, True),
        ("t-1", f"{ROOT}/t/t-1/dn/+", False, True),
        ("t-1", f"{ROOT}/t/t-2/dn/ack", False, False),
        ("t-1", f"{ROOT}/t/+/dn/ack", False, False),
        ("t-1", f"{ROOT}/c/+/state", False, True),
        ("t-1", f"{ROOT}/c/collector.1/state", False, True),
        ("t-1", f"{ROOT}/c/collector.1/canary", False, False),
        ("t-1", f"{ROOT}/c/#", False, False),
        ("t-1", "#", False, False),
        ("t-1", f"{ROOT}/#", False, False),
        ("collector.1", f"{ROOT}/t/+/up/+", True, True),
        ("collector.1", f"{ROOT}/t/t-1/dn/ack", True, True),
        ("collector.1", "elsewhere/x", False, False),
        ("collector.1", "#", False, False),
    ],
)
def test_a_user_writes_and_reads_its_own(username: str, topic: str, writes: bool, reads: bool) -> None:
    assert (ACCESS.may_write(username, topic), ACCESS.may_read(username, topic)) == (writes, reads)


# --- the process


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(port=0, process="collector.1", data_dir=tmp_path) as broker:
        broker.start()
        yield broker


class Client:
    """A client of the broker that notes what it is told."""

    def __init__(
        self,
        handover: Handover,
        name: str,
        *,
        will: str | None = None,
        password: str | None = None,
        username: str | None = None,
        clean: bool = True,
    ) -> None:
        self._paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean, protocol=paho.MQTTv311
        )
        own = handover.process_password if "." in name else handover.terminal_password
        self._paho.username_pw_set(username or name, password or own)
        if will:
            self._paho.will_set(will, b"will", 1, retain=True)
        self.told: list[tuple[str, Any]] = []
        self._paho.on_connect = lambda _c, _d, _f, reason, _p: self.told.append(("connected", not reason.is_failure))
        self._paho.on_subscribe = lambda _c, _d, _m, reasons, _p: self.told.append(
            ("subscribed", [reason.value < 0x80 for reason in reasons])
        )
        self._paho.on_publish = lambda _c, _d, mid, _r, _p: self.told.append(("published", mid))
        self._paho.on_disconnect = lambda _c, _d, _f, reason, _p: self.told.append(("disconnected", str(reason)))
        self._paho.on_message = lambda _c, _d, message: self.told.append((message.topic, message.payload))
        self._paho.connect(handover.host, handover.port, keepalive=30)

    def until(self, kind: str) -> Any:
        """Run the client until it is told something of this kind."""
        for _ in range(int(PATIENCE_S / 0.1)):
            for told in self.told:
                if told[0] == kind:
                    self.told.remove(told)
                    return told[1]
            self._paho.loop(0.1)
        raise AssertionError(f"no {kind} within {PATIENCE_S} s; told {self.told}")

    def subscribe(self, *filters: str) -> list[bool]:
        self._paho.subscribe([(name, 1) for name in filters])
        granted: list[bool] = self.until("subscribed")
        return granted

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.send(topic, payload, retain=retain)
        self.until("published")

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._paho.publish(topic, payload, qos=1, retain=retain)

    def close(self) -> None:
        self._paho.disconnect()
        self._paho.loop(0.1)

    def break_off(self) -> None:
        connection = self._paho.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)


def test_it_accepts_when_start_returns_and_tells_only_its_owner_how(broker: EmbeddedBroker, tmp_path: Path) -> None:
    path = tmp_path / HANDOVER_FILE
    told = json.loads(path.read_text(encoding="utf-8"))
    assert set(told) == {"host", "port", "terminal_password", "process_password"}
    assert (told["host"], told["port"]) == ("127.0.0.1", broker.handover.port)
    alone = tmp_path / PASSWORD_FILE
    assert alone.read_text(encoding="utf-8") == told["terminal_password"]
    assert {path.stat().st_mode & 0o777, alone.stat().st_mode & 0o777} == {0o600}
    assert told["terminal_password"] != told["process_password"]
    assert told["terminal_password"] not in repr(broker.handover)
    with socket.create_connection((told["host"], told["port"]), PATIENCE_S):
        pass


def test_passwords_are_made_at_every_start(tmp_path: Path) -> None:
    first, second = (EmbeddedBroker(port=0, process="collector.1", data_dir=tmp_path).handover for _ in range(2))
    assert first.terminal_password != second.terminal_password
    assert first.process_password != second.process_password


def test_terminals_and_process_speak_within_the_access_list(broker: EmbeddedBroker) -> None:
    process, terminal = Client(broker.handover, "collector.1"), Client(broker.handover, "t-1")
    assert process.until("connected")
    assert terminal.until("connected")
    assert process.subscribe(f"{ROOT}/t/+/up/+", f"{ROOT}/c/collector.1/canary") == [True, True]
    assert terminal.subscribe(f"{ROOT}/t/t-1/dn/+", f"{ROOT}/c/+/state", f"{ROOT}/t/t-2/dn/+", "#") == [
        True,
        True,
        False,
        False,
    ]
    terminal.publish(
        f"{ROOT}/t/t-2/up/heartbeat", b"foreign"
    )  # looks as if it had worked (MQTT 3.1.1), and goes nowhere
    terminal.publish(f"{ROOT}/t/t-1/up/heartbeat", b"own")
    assert process.until(f"{ROOT}/t/t-1/up/heartbeat") == b"own"
    assert all(topic != f"{ROOT}/t/t-2/up/heartbeat" for topic, _ in process.told)
    process.publish(f"{ROOT}/t/t-1/dn/ack", b"ack")
    assert terminal.until(f"{ROOT}/t/t-1/dn/ack") == b"ack"


@pytest.mark.parametrize(
    ("name", "will", "password", "admitted"),
    [
        ("t-1", f"{ROOT}/t/t-1/up/presence", None, True),
        ("t-1", f"{ROOT}/t/t-2/up/presence", None, False),  # a will for somebody else
        ("t-1", None, "wrong", False),
        ("collector.2", None, None, False),
    ],
)
def test_who_may_not_come_is_told_so(
    broker: EmbeddedBroker, name: str, will: str | None, password: str | None, admitted: bool
) -> None:
    assert Client(broker.handover, name, will=will, password=password).until("connected") is admitted


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    ("name", "username", "password"),
    [
        ("t-1", None, "wrong"),
        ("t-1", "evil-1", None),  # a terminal that claims another's session with its own name and password
        ("collector.1", None, "wrong"),
        ("collector.1", "t-1", None),
    ],
)
def test_who_is_rejected_touches_nobody(
    broker: EmbeddedBroker, *, name: str, username: str | None, password: str | None, clean: bool
) -> None:
    process, terminal = Client(broker.handover, "collector.1"), Client(broker.handover, "t-1")
    assert process.until("connected")
    assert terminal.until("connected")
    assert process.subscribe(f"{ROOT}/t/+/up/+") == [True]
    assert terminal.subscribe(f"{ROOT}/t/t-1/dn/+") == [True]
    intruder = Client(broker.handover, name, username=username, password=password, clean=clean)
    assert intruder.until("connected") is False
    terminal.publish(f"{ROOT}/t/t-1/up/heartbeat", b"beat")
    assert process.until(f"{ROOT}/t/t-1/up/heartbeat") == b"beat"
    process.publish(f"{ROOT}/t/t-1/dn/ack", b"ack")
    assert terminal.until(f"{ROOT}/t/t-1/dn/ack") == b"ack"


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("$SYS/broker", b""),
        (f"{ROOT}/t/t-1/up/heartbeat", bytes(PACKET_BYTES_MAX + 1)),
    ],
)
def test_who_breaks_the_rules_loses_its_connection(broker: EmbeddedBroker, topic: str, payload: bytes) -> None:
    terminal = Client(broker.handover, "t-1")
    assert terminal.until("connected")
    terminal.send(topic, payload)
    assert terminal.until("disconnected")
    again = Client(broker.handover, "t-1")
    assert again.until("connected")


def test_a_will_is_published_and_kept(broker: EmbeddedBroker) -> None:
    topic = f"{ROOT}/t/t-1/up/presence"
    process, terminal = Client(broker.handover, "collector.1"), Client(broker.handover, "t-1", will=topic)
    assert process.until("connected")
    assert terminal.until("connected")
    process.subscribe(f"{ROOT}/t/+/up/+")
    terminal.break_off()
    assert process.until(topic) == b"will"


def test_nobody_is_handed_what_is_retained_for_others(broker: EmbeddedBroker) -> None:
    process, terminal = Client(broker.handover, "collector.1"), Client(broker.handover, "t-1")
    assert process.until("connected")
    assert terminal.until("connected")
    process.subscribe(f"{ROOT}/t/+/up/+")
    terminal.publish(f"{ROOT}/t/t-1/up/presence", b"online", retain=True)
    process.publish(f"{ROOT}/c/collector.1/state", b"state", retain=True)
    other = Client(broker.handover, "t-2")
    assert other.until("connected")
    other.subscribe(f"{ROOT}/c/+/state")
    assert other.until(f"{ROOT}/c/collector.1/state") == b"state"
    assert other.told == []


def test_one_that_dies_is_started_again_on_its_port(broker: EmbeddedBroker) -> None:
    port, pid = broker.handover.port, broker.pid
    assert pid is not None
    kill(broker)
    broker.tend()
    assert broker.pid not in {None, pid}
    assert broker.handover.port == port
    assert Client(broker.handover, "t-1").until("connected")
    broker.tend()


def test_one_that_dies_too_often_is_given_up(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "RESTARTS_MAX", 1)
    kill(broker)
    broker.tend()
    kill(broker)
    with pytest.raises(BrokerUnavailable, match="died 2 times, last with exit code -9"):
        broker.tend()


def test_a_port_that_is_taken_is_said(broker: EmbeddedBroker, tmp_path: Path) -> None:
    port = broker.handover.port
    with pytest.raises(BrokerUnavailable, match=f"expected port {port} on 127.0.0.1 to be free"):
        EmbeddedBroker(port=port, process="collector.1", data_dir=tmp_path).start()


def test_it_ends_and_takes_its_passwords_with_it(tmp_path: Path) -> None:
    broker = EmbeddedBroker(port=0, process="collector.1", data_dir=tmp_path)
    handover = broker.start()
    broker.stop()
    broker.stop()
    broker.tend()
    assert broker.pid is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((handover.host, handover.port), PATIENCE_S)


PARENT = """
import sys
from pathlib import Path
from tillwatch_collector.broker import EmbeddedBroker
broker = EmbeddedBroker(port=0, process="collector.1", data_dir=Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
sys.stdin.read()
"""


def test_it_outlives_no_parent_not_even_one_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        ended, _, _ = select.select([child], [], [], PATIENCE_S)
    assert ended
    os.close(child)


def kill(broker: EmbeddedBroker) -> None:
    """Kill the child, and wait until it is gone."""
    assert broker.pid is not None
    child = os.pidfd_open(broker.pid)
    os.kill(broker.pid, signal.SIGKILL)
    select.select([child], [], [], PATIENCE_S)
    os.close(child)
