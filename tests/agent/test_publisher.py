"""The publisher over real sockets: a real broker where one is enough, a broker by hand where it must misbehave."""

import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.agent import stand
from tests.agent.conftest import LOCALHOST_PEM, WAIT_S, BrokerByHand, BrokerProcess, until
from tests.agent.till import Till

from tillwatch_agent import publisher as publishers
from tillwatch_agent.core import (
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Disconnect,
    Forget,
    Publish,
    Received,
    Subscribe,
)
from tillwatch_agent.publisher import QUEUED_MAX, RECEIVED_MAX, Broker, Loop, Publisher

CONNACK, REFUSED, PINGRESP = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05", b"\xd0\x00"


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    loop.start()
    yield loop
    loop.stop(0)
    assert not loop.alive


MakeTill = Callable[..., Till]
Trust = Callable[[], ssl.SSLContext]


@pytest.fixture
def till_at(loop: Loop) -> MakeTill:
    def make(port: int, name: str = "till-1", *, keepalive_s: int = 30, tls: Trust | None = None) -> Till:
        broker = Broker(host="127.0.0.1", port=port, keepalive_s=keepalive_s, tls=tls)
        return Till(loop, name, broker)

    return make


# --- with a real broker


def test_what_is_published_arrives_and_what_arrives_is_handed_on(broker_port: int, till_at: MakeTill) -> None:
    sender, receiver = till_at(broker_port, "sender"), till_at(broker_port, "receiver")
    receiver.connect()
    receiver.listen("shop/sender")
    sender.connect()
    sender.say("cover open")
    assert receiver.hear("cover open") == Received("shop/sender", b"cover open", retained=False)


def test_a_broken_connection_is_followed_by_the_will(broker_port: int, till_at: MakeTill) -> None:
    witness, till = till_at(broker_port, "witness-1"), till_at(broker_port, "till-will")
    witness.connect()
    witness.listen("shop/till-will")
    till.connect()
    till.publisher.abandon()
    witness.hear("will")


def test_a_farewell_arrives_and_no_will_follows(broker_port: int, till_at: MakeTill) -> None:
    witness, till = till_at(broker_port, "witness-2"), till_at(broker_port, "till-bye")
    witness.connect()
    witness.listen("shop/till-bye")
    till.connect()
    till.say("goodbye")
    till.do(Disconnect())
    witness.hear("goodbye")
    till.connect()
    till.say("back")
    assert witness.wait_for(Received).payload == b"back"


def test_a_broker_that_dies_and_comes_back(till_at: MakeTill) -> None:
    with BrokerProcess() as broker:
        till = till_at(broker.port)
        till.connect()
        broker.kill()
        till.wait_for(ConnectionLost)
        till.do(Connect(till.outgoing("will")))
        till.wait_for(ConnectFailed)
    with BrokerProcess(port=broker.port):
        till.connect()


def test_one_loop_serves_many(broker_port: int, till_at: MakeTill) -> None:
    tills = [till_at(broker_port, f"till-{number}") for number in range(30)]
    for till in tills:
        till.do(Connect(till.outgoing("will")))
    for till in tills:
        till.wait_for(Connected)
    for till in tills:
        till.listen(f"shop/{till.name}")
    for till in tills:
        till.do(Disconnect())


def test_tls_shows_who_the_broker_is(till_at: MakeTill, caplog: pytest.LogCaptureFixture) -> None:
    with BrokerProcess(pem=LOCALHOST_PEM) as broker:
        till = till_at(broker.port, tls=_trusting_localhost)
        till.connect()
        till.listen("shop/till-1")
        for number in range(50):  # more than one packet in a TLS record
            till.say(f"{number} " + "x" * 1_000)
        till.hear("49 " + "x" * 1_000)
        stranger = till_at(broker.port, "till-2", tls=ssl.create_default_context)
        stranger.do(Connect(stranger.outgoing("will")))
        stranger.wait_for(ConnectFailed)
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_a_session_that_ends_before_an_answer_is_told_as_a_certificate_refused(
    till_at: MakeTill, caplog: pytest.LogCaptureFixture
) -> None:
    with stand.tcp_server(_hanging_up) as port:
        till = till_at(port, tls=_trusting_localhost)
        till.do(Connect(till.outgoing("will")))
        till.wait_for(ConnectFailed)
    assert "certificate revoked, refused or missing?" in caplog.text


def _trusting_localhost() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=LOCALHOST_PEM)


def _hanging_up(connection: socket.socket) -> None:
    """Shake hands and hear CONNECT, as TLS 1.3 does before it refuses a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST_PEM)
    with context.wrap_socket(connection, server_side=True) as secured:
        secured.recv(4096)


# --- with a broker that misbehaves


def test_nobody_there_is_told_once(till_at: MakeTill, by_hand: BrokerByHand, caplog: pytest.LogCaptureFixture) -> None:
    by_hand.close()
    till = till_at(by_hand.port)
    for _ in range(3):
        till.do(Connect(till.outgoing("will")))
        till.wait_for(ConnectFailed)
    assert caplog.text.count("no connection to") == 1


def test_a_name_that_does_not_exist_is_a_failure_like_any(loop: Loop) -> None:
    till = Till(loop, "till-1", Broker(host="nobody.invalid", port=1883))
    till.do(Connect(till.outgoing("will")))
    till.wait_for(ConnectFailed)


def test_a_refusal_is_a_failure_that_says_why(
    till_at: MakeTill, by_hand: BrokerByHand, caplog: pytest.LogCaptureFixture
) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    by_hand.accept(REFUSED).close()
    till.wait_for(ConnectFailed)
    assert "Not authorized" in caplog.text


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 100, b"\xff" * 100, b"\x20\x02", b"\x30\x03\x00\x09x", b"HTTP/1.1 400\r\n"]
)
def test_garbage_ends_its_own_connection_only(till_at: MakeTill, by_hand: BrokerByHand, garbage: bytes) -> None:
    steady = till_at(by_hand.port, "steady")
    steady.do(Connect(steady.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        steady.wait_for(Connected)
        till = till_at(by_hand.port)
        till.do(Connect(till.outgoing("will")))
        by_hand.accept(garbage).close()
        till.wait_for(ConnectFailed)
        line.sendall(b"\x30\x04\x00\x01th")
        assert steady.wait_for(Received) == Received("t", b"h", retained=False)


def test_garbage_after_connack_loses_the_connection(till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK + b"\x00\x00"):
        till.wait_for(Connected)
        till.wait_for(ConnectionLost)


def test_a_topic_that_is_no_text_is_passed_over(till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK + b"\x30\x04\x00\x01\xffh" + b"\x30\x04\x00\x01th"):
        till.wait_for(Connected)
        assert till.wait_for(Received).topic == "t"


def test_a_broker_that_says_nothing_is_given_up(
    till_at: MakeTill, by_hand: BrokerByHand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publishers, "CONNACK_TIMEOUT_S", 0.0)
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept():
        till.wait_for(ConnectFailed)
    assert "expected CONNACK" in caplog.text


def test_a_broker_that_answers_no_ping_is_given_up(till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port, keepalive_s=1)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        till.wait_for(Connected)
        assert till.publisher.quiet_s < WAIT_S
        assert line.recv(2) == b"\xc0\x00"
        till.wait_for(ConnectionLost)
    assert till.publisher.quiet_s == 0


def packets(line: socket.socket, count: int) -> list[bytes]:
    """Read so many packets of less than 128 bytes; the first byte of each with its body."""
    found = []
    for _ in range(count):
        kind, length = struct.unpack("!BB", read(line, 2))
        found.append(bytes([kind]) + read(line, length))
    return found


def read(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += line.recv(count - len(data))
    return data


def test_nothing_is_said_before_connack(loop: Loop, till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")), Subscribe(("a",)), Publish(till.outgoing("too early")))
    with by_hand.accept() as line:
        till.say("too early as well")
        had_its_turn = threading.Event()
        loop.post(had_its_turn.set)
        assert had_its_turn.wait(WAIT_S)
        line.sendall(CONNACK)
        till.wait_for(Connected)
        till.say("in time", qos=0)
        assert packets(line, 1) == [b"\x30" + b"\x00\x0bshop/till-1" + b"in time"]


def test_what_a_broker_does_not_take_is_bounded(till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        till.wait_for(Connected)
        for _ in range(QUEUED_MAX + 5):
            till.say("x")
        first = packets(line, QUEUED_MAX)
        assert {packet[0] for packet in first} == {0x32}
        line.sendall(b"".join(b"\x40\x02" + packet[14:16] for packet in first))  # PUBACK to all
        line.sendall(b"\x30\x04\x00\x01th")
        till.wait_for(Received)
        till.say("y")
        assert packets(line, 1)[0].endswith(b"y")


def test_what_nobody_takes_is_bounded(till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        till.wait_for(Connected)
        line.sendall(b"\x30\x04\x00\x01th" * (RECEIVED_MAX + 50))
        until(lambda: till.publisher.left_out == 50, "50 to be left out")
        assert sum(isinstance(happened, Received) for happened in till.publisher.take()) == RECEIVED_MAX


def test_a_farewell_waits_for_the_broker_to_take_what_was_said(till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        till.wait_for(Connected)
        till.say("stopping")
        till.do(Disconnect())
        (said,) = packets(line, 1)
        line.sendall(b"\x40\x02" + said[14:16])
        assert packets(line, 1) == [b"\xe0"]
        assert line.recv(1) == b""


def test_a_farewell_does_not_wait_for_ever(
    till_at: MakeTill, by_hand: BrokerByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers, "FAREWELL_TIMEOUT_S", 0.0)
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        till.wait_for(Connected)
        till.say("stopping")
        till.do(Disconnect())
        assert packets(line, 1)[0].endswith(b"stopping")
        assert line.recv(1) == b"", "closed without a PUBACK"


def test_of_a_connection_let_go_nothing_more_is_told(till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        till.wait_for(Connected)
        line.sendall(b"\x30\x04\x00\x01th" * 2)
        till.wait_for(Received)
        till.do(Disconnect())
        till.do(Connect(till.outgoing("will")))
        with by_hand.accept(CONNACK):
            till.wait_for(Connected)  # the next input, and not what the first line still had


def test_a_connection_let_go_while_it_dials_is_closed(till_at: MakeTill, by_hand: BrokerByHand) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")), Disconnect(), Disconnect(), Forget())
    till.do(Connect(till.outgoing("will")))
    with by_hand.answering(CONNACK):  # the first line may be given up before or after it reached the broker
        till.wait_for(Connected)
    till.wait_for(ConnectionLost)


def test_an_effect_that_paho_refuses_ends_its_own_connection_only(
    till_at: MakeTill, by_hand: BrokerByHand, caplog: pytest.LogCaptureFixture
) -> None:
    steady, till = till_at(by_hand.port, "steady"), till_at(by_hand.port)
    steady.do(Connect(steady.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        steady.wait_for(Connected)
        till.do(Connect(till.outgoing("will")))
        with by_hand.accept(CONNACK):
            till.wait_for(Connected)
            till.do(Subscribe(("no/#/filter",)))
            till.wait_for(ConnectionLost)
        line.sendall(b"\x30\x04\x00\x01th")
        steady.wait_for(Received)
    assert "connection broken off" in caplog.text


def test_an_owner_that_fails_stops_nobody(
    loop: Loop, till_at: MakeTill, by_hand: BrokerByHand, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("our mistake")

    steady = till_at(by_hand.port, "steady")
    failing = Publisher(loop, Broker(host="127.0.0.1", port=by_hand.port), "till-1", broken)
    failing.carry_out(Connect(steady.outgoing("will")))
    with by_hand.accept(CONNACK):
        steady.do(Connect(steady.outgoing("will")))
        with by_hand.accept(CONNACK):
            steady.wait_for(Connected)
    until(lambda: "our mistake" in caplog.text, "the failing owner to be told of")


def test_a_refused_subscription_is_told(
    till_at: MakeTill, by_hand: BrokerByHand, caplog: pytest.LogCaptureFixture
) -> None:
    till = till_at(by_hand.port)
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        till.wait_for(Connected)
        till.do(Subscribe(("tillwatch/v1/t/till-2/dn/+",)))
        (subscribe,) = packets(line, 1)
        line.sendall(b"\x90\x03" + subscribe[1:3] + b"\x80" + b"\x30\x04\x00\x01th")
        till.wait_for(Received)
    assert "refused a subscription" in caplog.text


# --- the loop


def test_a_loop_that_stops_closes_what_is_open(by_hand: BrokerByHand) -> None:
    loop = Loop()
    loop.start()
    till = Till(loop, "till-1", Broker(host="127.0.0.1", port=by_hand.port))
    till.do(Connect(till.outgoing("will")))
    with by_hand.accept(CONNACK) as line:
        till.wait_for(Connected)
        loop.stop(0)
        till.wait_for(ConnectionLost)
        assert line.recv(1) == b""
    assert not loop.alive
    till.say("to nobody")


def test_a_loop_that_never_ran_stops_at_once() -> None:
    Loop().stop()


def test_a_password_is_sent_and_never_shown(
    loop: Loop, by_hand: BrokerByHand, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    broker = Broker(host="127.0.0.1", port=by_hand.port, username="till-1", password="hunter2")
    till = Till(loop, "till-1", broker)
    till.do(Connect(till.outgoing("will")))
    by_hand.accept(REFUSED).close()
    till.wait_for(ConnectFailed)
    assert by_hand.connect.endswith(b"\x00\x06till-1\x00\x07hunter2")
    assert "hunter2" not in caplog.text + repr(broker)


def test_signing_in_to_see_leaves_no_will_and_says_why_it_failed(by_hand: BrokerByHand, till_at: MakeTill) -> None:
    till = till_at(by_hand.port)
    till.publisher.sign_in()
    with by_hand.accept(REFUSED):
        till.wait_for(ConnectFailed)
    assert by_hand.connect[9] == 0b10, "the flags of CONNECT (MQTT 3.1.1, 3.1.2.3): a clean session and nothing else"
    assert till.publisher.failure == "refused: Not authorized"
