import queue
import random
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from tests.collector.test_broker import PATIENCE_S, ROOT, Client, kill

from tillwatch_collector import mqtt
from tillwatch_collector.broker import EmbeddedBroker
from tillwatch_collector.flows import dispatch
from tillwatch_collector.flows.dispatch import Outgoing
from tillwatch_collector.flows.ingest import Delivery
from tillwatch_collector.mqtt import BrokerConnected, BrokerLink, BrokerLost, Endpoint, Incoming
from tillwatch_protocol.process import ProcessLife, ProcessState

PROCESS = "collector.1"
STATE = f"{ROOT}/c/{PROCESS}/state"


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "BACKOFF_S_FIRST", 0.02)
    monkeypatch.setattr(mqtt, "BACKOFF_S_MAX", 0.1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(port=0, process=PROCESS, data_dir=tmp_path) as broker:
        broker.start()
        yield broker


def link_to(
    broker: EmbeddedBroker, rng: random.Random | None = None, *, unattended_s: float | None = None, **changes: Any
) -> BrokerLink:
    handover = broker.handover
    endpoint = Endpoint(host=handover.host, port=handover.port, username=PROCESS, password=handover.process_password)
    return make_link(replace(endpoint, **changes), rng, unattended_s=unattended_s)


def make_link(endpoint: Endpoint, rng: random.Random | None = None, *, unattended_s: float | None = None) -> BrokerLink:
    return BrokerLink(
        endpoint,
        process=PROCESS,
        hello=dispatch.announce(PROCESS, 7),
        farewell=dispatch.farewell(PROCESS, 7),
        rng=rng or random.Random(1),
        unattended_s=unattended_s,
    )


def heard(link: BrokerLink) -> Incoming:
    (item,) = link.inbox.take(1, PATIENCE_S)
    return item


def state(payload: bytes) -> tuple[ProcessLife, int]:
    said = ProcessState.model_validate_json(payload)
    return said.state, said.collector_epoch


def onlooker(broker: EmbeddedBroker) -> Client:
    client = Client(broker.handover, "t-1")
    assert client.until("connected")
    client.subscribe(f"{ROOT}/c/+/state", f"{ROOT}/t/t-1/dn/+")
    return client


def test_it_listens_before_it_says_that_it_does(broker: EmbeddedBroker) -> None:
    terminal = onlooker(broker)
    with link_to(broker) as link:
        assert isinstance(heard(link), BrokerConnected)
        assert link.connected
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 7)
        terminal.publish(f"{ROOT}/t/t-1/up/heartbeat", b"beat")
        delivery = heard(link)
    assert isinstance(delivery, Delivery)
    assert (delivery.topic, delivery.payload, delivery.retained) == (f"{ROOT}/t/t-1/up/heartbeat", b"beat", False)
    assert delivery.received_at.tzinfo is UTC


def test_an_old_will_that_comes_late_is_answered(broker: EmbeddedBroker) -> None:
    terminal = onlooker(broker)
    with link_to(broker) as link:
        heard(link)
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 7)
        assert link.publish(dispatch.farewell(PROCESS, 6))
        assert state(terminal.until(STATE)) == (ProcessLife.OFFLINE, 6)
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 7)


def test_it_says_goodbye(broker: EmbeddedBroker) -> None:
    terminal = onlooker(broker)
    with link_to(broker) as link:
        heard(link)
        terminal.until(STATE)
    assert state(terminal.until(STATE)) == (ProcessLife.OFFLINE, 7)
    assert not link.connected


def test_it_hears_its_own_canary_and_reaches_a_terminal(broker: EmbeddedBroker) -> None:
    terminal = onlooker(broker)
    with link_to(broker) as link:
        heard(link)
        assert link.publish(dispatch.canary(PROCESS, "start-1", 3))
        assert link.publish(Outgoing(topic=f"{ROOT}/t/t-1/dn/ack", payload=b"ack", qos=1, retain=False))
        canary = heard(link)
        assert terminal.until(f"{ROOT}/t/t-1/dn/ack") == b"ack"
    assert isinstance(canary, Delivery)
    assert canary.topic == f"{ROOT}/c/{PROCESS}/canary"


@pytest.mark.parametrize("retain", [False, True])
def test_messages_at_both_qualities_of_service_come_in(broker: EmbeddedBroker, retain: bool) -> None:
    with link_to(broker) as link:
        heard(link)
        for number in range(40):
            canary = dispatch.canary(PROCESS, "start-1", number)
            assert link.publish(replace(canary, qos=number % 2, payload=b"%d" % number))
        deliveries = [heard(link) for _ in range(40)]
        if retain:
            link.publish(replace(dispatch.canary(PROCESS, "start-1", 40), qos=0, payload=b"kept", retain=True))
            heard(link)
            link.renew("what is retained comes at subscribing")
            assert isinstance(heard(link), BrokerLost)
            assert isinstance(heard(link), BrokerConnected)
            deliveries.append(heard(link))
    found = [(item.payload, item.retained) for item in deliveries if isinstance(item, Delivery)]
    assert sorted(found[:40]) == sorted((b"%d" % number, False) for number in range(40))
    assert found[40:] == ([(b"kept", True)] if retain else [])


def test_a_will_that_a_broker_hands_on_at_qos_0_is_answered_too(broker: EmbeddedBroker) -> None:
    terminal = onlooker(broker)
    with link_to(broker) as link:
        heard(link)
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 7)
        link.publish(replace(dispatch.farewell(PROCESS, 7), qos=0, retain=False))
        assert state(terminal.until(STATE)) == (ProcessLife.OFFLINE, 7)
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 7)


def test_a_broker_that_dies_is_told_and_found_again(broker: EmbeddedBroker) -> None:
    with link_to(broker) as link:
        assert isinstance(heard(link), BrokerConnected)
        kill(broker)
        assert isinstance(heard(link), BrokerLost)
        assert not link.connected
        assert not link.publish(dispatch.canary(PROCESS, "start-1", 1))
        broker.tend()
        assert isinstance(heard(link), BrokerConnected)


def test_a_new_epoch_is_said_with_a_new_will(broker: EmbeddedBroker) -> None:
    terminal = onlooker(broker)
    with link_to(broker) as link:
        heard(link)
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 7)
        link.announce(dispatch.announce(PROCESS, 9), dispatch.farewell(PROCESS, 9))
        assert isinstance(heard(link), BrokerLost)
        assert isinstance(heard(link), BrokerConnected)
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 9)
    assert state(terminal.until(STATE)) == (ProcessLife.OFFLINE, 9)


def test_a_will_of_an_earlier_connection_is_answered_by_saying_online_again(broker: EmbeddedBroker) -> None:
    terminal = onlooker(broker)
    with link_to(broker) as link:
        heard(link)
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 7)
        link.publish(dispatch.farewell(PROCESS, 7))  # as a broker does that finds the old connection dead
        assert state(terminal.until(STATE)) == (ProcessLife.OFFLINE, 7)
        assert state(terminal.until(STATE)) == (ProcessLife.ONLINE, 7)
        assert not len(link.inbox)  # it is no terminal's message


def test_a_connection_that_is_given_up_is_made_anew(broker: EmbeddedBroker) -> None:
    with link_to(broker) as link:
        heard(link)
        link.renew("the test says so")
        assert isinstance(heard(link), BrokerLost)
        assert isinstance(heard(link), BrokerConnected)


def test_a_broker_that_refuses_us_is_tried_again_and_said_once(
    broker: EmbeddedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    rng = _Retries()
    with link_to(broker, rng, password="wrong") as link:
        bounds = [rng.bounds.get(timeout=PATIENCE_S) for _ in range(4)]
        assert not link.connected
        assert not len(link.inbox)
    assert bounds == [0.04, 0.08, 0.1, 0.1]
    assert [record.getMessage() for record in caplog.records if "refuses us" in record.getMessage()][1:] == []


def test_without_a_broker_it_goes_on_trying_and_ends_when_told(caplog: pytest.LogCaptureFixture) -> None:
    rng = _Retries()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with make_link(Endpoint(host="127.0.0.1", port=closed.getsockname()[1]), rng) as link:
            for _ in range(3):
                rng.bounds.get(timeout=PATIENCE_S)
            assert not link.connected
    assert len([record for record in caplog.records if "no broker at" in record.getMessage()]) == 1


def test_a_full_inbox_holds_the_network_back_and_loses_nothing(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "INBOX_MESSAGES_MAX", 2)
    terminal = onlooker(broker)
    with link_to(broker) as link:
        heard(link)
        for number in range(10):
            terminal.publish(f"{ROOT}/t/t-1/up/heartbeat", b"%d" % number)
        assert link.inbox.messages_max == 2
        deliveries = [heard(link) for _ in range(10)]
    assert [item.payload for item in deliveries if isinstance(item, Delivery)] == [b"%d" % n for n in range(10)]


def test_the_end_does_not_wait_for_room_in_the_inbox(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "INBOX_MESSAGES_MAX", 1)
    terminal = onlooker(broker)
    link = link_to(broker)
    link.start()
    assert state(terminal.until(STATE))[0] is ProcessLife.ONLINE
    terminal.publish(f"{ROOT}/t/t-1/up/heartbeat", b"one more than there is room for")
    link.stop()
    assert not link.connected


def test_who_shares_and_is_not_read_from_leaves_its_share_to_others_until_it_is(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_LOOK_S", 0.02)
    terminal = onlooker(broker)
    with link_to(broker, unattended_s=0.5) as link:
        assert state(terminal.until(STATE))[0] is ProcessLife.ONLINE
        assert state(terminal.until(STATE))[0] is ProcessLife.OFFLINE
        turns: list[Incoming] = []
        while len(turns) < 3:
            turns += link.inbox.take(1, 0.1)
    assert [type(turn) for turn in turns] == [BrokerConnected, BrokerLost, BrokerConnected]


def test_a_callback_that_fails_is_logged_and_ends_no_thread(
    broker: EmbeddedBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "Delivery", _FailsOnce())
    terminal = onlooker(broker)
    with link_to(broker) as link:
        heard(link)
        terminal.publish(f"{ROOT}/t/t-1/up/heartbeat", b"first")
        terminal.publish(f"{ROOT}/t/t-1/up/heartbeat", b"second")
        delivery = heard(link)
    assert isinstance(delivery, Delivery)
    assert delivery.payload == b"second"
    assert any("_on_message failed" in record.getMessage() for record in caplog.records)


def test_tls_is_on_where_a_ca_is_named(tmp_path: Path) -> None:
    assert Endpoint(host="b", port=1).tls_context() is None
    with pytest.raises(OSError, match="No such file"):
        Endpoint(host="b", port=1, ca_file=tmp_path / "nowhere").tls_context()
    verify = ssl.get_default_verify_paths()
    bundle = verify.cafile or verify.openssl_cafile
    if Path(bundle).exists():
        context = Endpoint(host="b", port=1, ca_file=Path(bundle)).tls_context()
        assert context is not None
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


def test_a_password_is_never_shown() -> None:
    assert "hunter2" not in repr(Endpoint(host="b", port=1, username="u", password="hunter2"))


class _Retries(random.Random):
    """Waits as short as may be, and tells the bound of each wait."""

    def __init__(self) -> None:
        super().__init__(1)
        self.bounds: queue.Queue[float] = queue.Queue()

    def uniform(self, a: float, b: float) -> float:
        self.bounds.put(b)
        return a


class _FailsOnce:
    def __init__(self) -> None:
        self._failed = False

    def __call__(self, *fields: Any) -> Delivery:
        if not self._failed:
            self._failed = True
            raise ValueError("as a callback may")
        return Delivery(*fields)
