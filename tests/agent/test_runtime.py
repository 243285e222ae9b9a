"""The runtime: threads around a core, over a real broker; what hangs, fails or breaks is noticed."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.agent.authority import DAY, Authority
from tests.agent.conftest import LOCALHOST_PEM, WAIT_S, BrokerProcess, until
from tests.agent.till import Till

from tillwatch_agent import config, runtime
from tillwatch_agent.clock import BY_WALL
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.core import Connect, ConnectFailed, Outgoing, Publish, Received, Stop
from tillwatch_agent.errors import OperatorError, OutboxBusy
from tillwatch_agent.health import Observation
from tillwatch_agent.outbox import summary
from tillwatch_agent.publisher import Broker, Loop
from tillwatch_agent.runtime import EXIT_OUTBOX, EXIT_STUCK, OUTBOX_FILE, Runtime, Watchdog
from tillwatch_protocol import codec, topics
from tillwatch_protocol.command import Command, CommandKind
from tillwatch_protocol.heartbeat import Heartbeat, Presence
from tillwatch_protocol.topics import Message
from tillwatch_protocol.vocabulary import Health

Start = Callable[..., Runtime]


@dataclass
class FakeProbe:
    """A probe whose device a test sets."""

    name: str = "pos_printer:1"
    poll_s: float = 0.05
    health: Health = Health.OK
    polls: int = 0
    forgotten: int = 0
    closed: bool = False
    breaks: bool = False
    hangs_on_plug: bool = False
    hangs: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hangs.set()

    def poll(self) -> tuple[Observation, ...]:
        self.polls += 1
        self.hangs.wait(WAIT_S)
        if self.breaks:
            raise RuntimeError("a driver's mistake")
        return (Observation(component=self.name, health=self.health),)

    def forget(self) -> None:
        self.forgotten += 1

    def close(self) -> None:
        self.closed = True


class Witness(Till):
    """Somebody who reads what the till publishes."""

    def see(self, wanted: Callable[[Any], bool]) -> Message:
        """Wait for a message that is wanted, passing over others."""
        while True:
            received = self.wait_for(Received)
            if received.topic.startswith(topics.ROOT):
                message = codec.decode(received.topic, received.payload)
                if wanted(message):
                    return message


@pytest.fixture
def witness(broker_port: int) -> Iterator[Witness]:
    loop = Loop()
    loop.start()
    witness = Witness(loop, "witness", Broker(host="127.0.0.1", port=broker_port))
    witness.connect()
    witness.listen("tillwatch/v1/t/till-1/up/+")
    yield witness
    loop.stop(0)


@pytest.fixture
def settings(broker_port: int, tmp_path: Path) -> AgentConfig:
    return config.parse(
        {
            "terminal_id": "till-1",
            "interval_s": 1,
            "state_dir": str(tmp_path),
            "broker": {"port": broker_port, "keepalive_s": 5},
            "network": {"enabled": False},
            "machine": {"enabled": False},
        }
    )


@pytest.fixture
def start(settings: AgentConfig) -> Iterator[Start]:
    """Run a runtime in a thread until the test ends."""
    with contextlib.ExitStack() as ends:

        def starting(*probes: FakeProbe) -> Runtime:
            running = Runtime(settings, probes)
            thread = threading.Thread(target=running.run)
            ends.callback(thread.join, WAIT_S)
            ends.callback(running.put, Stop())
            thread.start()
            return running

        yield starting


def is_presence(state: str, *, connection_no: int = 1) -> Callable[[Message], bool]:
    return lambda message: (
        isinstance(message, Presence) and message.state == state and message.connection.connection_no >= connection_no
    )


def is_beat(health: Health) -> Callable[[Message], bool]:
    return lambda message: (
        isinstance(message, Heartbeat) and [reading.health for reading in message.components] == [health]
    )


def test_what_a_probe_sees_is_heard_at_the_broker(start: Start, witness: Witness) -> None:
    probe = FakeProbe()
    start(probe)
    witness.see(is_presence("online"))
    witness.see(is_beat(Health.OK))
    probe.health = Health.FAULT
    witness.see(is_beat(Health.FAULT))


def test_told_to_stop_it_says_so_and_closes_its_probes(settings: AgentConfig, witness: Witness) -> None:
    probe = FakeProbe()
    running = Runtime(settings, [probe])
    thread = threading.Thread(target=running.run)
    thread.start()
    witness.see(is_presence("online"))
    running.put(Stop())
    presence = witness.see(is_presence("offline"))
    assert isinstance(presence, Presence)
    assert presence.reason == "stopping"
    thread.join(WAIT_S)
    assert probe.closed
    assert summary(settings.state_dir / OUTBOX_FILE).event_seq_last == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_process_with_exit_code_0(
    number: signal.Signals, settings: AgentConfig, witness: Witness
) -> None:
    def interrupt() -> None:
        witness.see(is_presence("online"))
        os.kill(os.getpid(), number)

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        assert runtime.run(settings, []) == 0
    finally:
        sender.join(WAIT_S)
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_reprobe_reaches_every_probe(start: Start, witness: Witness) -> None:
    probe = FakeProbe()
    start(probe)
    witness.see(is_beat(Health.OK))
    command = Command(terminal_id="till-1", command_id="c-1", kind=CommandKind.REPROBE, lifetime_s=60)
    topic = topics.COMMANDS.of("till-1")
    witness.do(Publish(Outgoing(topic, codec.encode(command), 1, retain=False)))
    until(lambda: probe.forgotten == 1, "the probe to forget")


# --- what hangs, fails or breaks


def test_a_probe_that_fails_is_logged_once_and_asked_again(
    start: Start, witness: Witness, caplog: pytest.LogCaptureFixture
) -> None:
    probe = FakeProbe(breaks=True)
    start(probe)
    until(lambda: probe.polls > 3, "more polls")
    assert caplog.text.count("probe pos_printer:1 fails") == 1
    probe.breaks = False
    witness.see(is_beat(Health.OK))


def test_a_probe_that_hangs_holds_up_nobody(start: Start, witness: Witness) -> None:
    hanging, steady = FakeProbe(name="scanner:1"), FakeProbe()
    hanging.hangs.clear()
    start(hanging, steady)
    until(lambda: hanging.polls == 1, "the probe to hang")
    witness.see(is_beat(Health.OK))
    hanging.hangs.set()


def test_a_newer_look_replaces_one_that_was_not_taken() -> None:
    put: list[object] = []
    probe = FakeProbe()
    watch = runtime._Watch(probe, put.append)
    watch._poll()
    probe.health = Health.FAULT
    watch._poll()
    assert put == [watch]
    assert [observation.health for observation in watch.take()] == [Health.FAULT]
    assert watch.take() == ()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is made to die
def test_a_publisher_whose_loop_died_is_built_anew(start: Start, witness: Witness) -> None:
    def die() -> None:
        raise SystemExit

    running = start()
    witness.see(is_presence("online"))
    running._loop.post(die)
    witness.see(is_presence("online", connection_no=2))


def test_a_broker_that_went_quiet_is_left_for_a_new_connection(
    start: Start, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(runtime, "QUIET_KEEPALIVES", -1)  # any broker is too quiet
        start()
        witness.see(is_presence("offline"))
    witness.see(is_presence("online", connection_no=2))


def test_a_main_thread_that_hangs_ends_the_process() -> None:
    ended: list[int] = []
    watchdog = Watchdog(ended.append, stuck_after_s=0.01)
    watchdog.start()
    watchdog.join(WAIT_S)
    assert ended == [EXIT_STUCK]


def test_a_watchdog_is_called_off() -> None:
    ended: list[int] = []
    watchdog = Watchdog(ended.append)
    watchdog.turned()
    watchdog.start()
    watchdog.stop()
    watchdog.join(WAIT_S)
    assert ended == []


def test_an_outbox_that_breaks_ends_the_process_for_a_new_start(settings: AgentConfig) -> None:
    running = Runtime(settings, [])
    running._outbox._connection.execute("DROP TABLE event")
    running.put(Stop())
    assert running.run() == EXIT_OUTBOX


def test_without_a_disk_it_watches_with_an_outbox_in_memory(
    settings: AgentConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    running = Runtime(settings.model_copy(update={"state_dir": tmp_path / "file"}), [])
    (said,) = (record for record in caplog.records if "will not survive this start" in record.message)
    assert (said.levelname, said.message.partition(":")[0]) == ("ERROR", "state_dir cannot be used")
    running.put(Stop())
    assert running.run() == 0


def test_a_second_agent_does_not_start(settings: AgentConfig) -> None:
    running = Runtime(settings, [])
    with pytest.raises(OutboxBusy):
        Runtime(settings, [])
    running.put(Stop())
    running.run()


# --- settings


def test_a_password_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    settings = config.parse(
        {"terminal_id": "till-1", "broker": {"username": "till-1", "password_file": "password"}}, base=tmp_path
    )
    broker = runtime.broker(settings.broker)
    assert broker.secret() == "hunter2"
    (tmp_path / "password").write_text("changed\n")
    assert broker.secret() == "changed"


def test_certificates_are_read_from_their_files() -> None:
    pem = str(LOCALHOST_PEM)
    settings = config.parse({"terminal_id": "t", "broker": {"ca_file": pem, "cert_file": pem, "key_file": pem}})
    broker = runtime.broker(settings.broker)
    context = broker.context(BY_WALL)
    assert context is not None
    assert (broker.port, context.check_hostname) == (8883, True)


@pytest.mark.parametrize("content", [None, b"not a certificate"])
def test_a_certificate_that_cannot_be_read_is_the_operator_s_to_mend(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    settings = config.parse({"terminal_id": "t", "broker": {"ca_file": "ca.pem"}}, base=tmp_path)
    with pytest.raises(OperatorError, match=r"broker\.ca_file: expected certificates in PEM"):
        runtime.broker(settings.broker)


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("cert_file", None),
        ("cert_file", "not a certificate"),
        ("key_file", None),
        ("key_file", "not a key"),
        ("key_file", "of another certificate"),
    ],
)
def test_of_certificate_and_key_the_wrong_one_is_named(tmp_path: Path, key: str, content: str | None) -> None:
    files = {"ca_file": LOCALHOST_PEM, "cert_file": LOCALHOST_PEM, "key_file": LOCALHOST_PEM}
    if content == "of another certificate":
        files[key] = Authority(tmp_path).server("another", begins=-DAY, ends=DAY)
    else:
        files[key] = tmp_path / "wrong.pem"
        if content is not None:
            files[key].write_text(content)
    broker = {name: str(path) for name, path in files.items()}
    settings = config.parse({"terminal_id": "t", "broker": broker})
    with pytest.raises(OperatorError, match=rf"broker\.{key}: expected"):
        runtime.broker(settings.broker)


def test_certificates_that_are_replaced_count_at_the_next_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority(tmp_path / "foreign").ca_file.read_bytes())
    loop = Loop()
    loop.start()
    with BrokerProcess(pem=LOCALHOST_PEM) as real, contextlib.ExitStack() as ends:
        ends.callback(loop.stop, 0)
        settings = config.parse(
            {"terminal_id": "t", "broker": {"host": "127.0.0.1", "port": real.port, "ca_file": str(ca)}}
        )
        till = Till(loop, "till-1", runtime.broker(settings.broker))
        for content in (None, b"half a fi", b""):  # refused; then unreadable, which is a failed connection
            if content is not None:
                ca.write_bytes(content)
            till.do(Connect(till.outgoing("will")))
            till.wait_for(ConnectFailed)
        assert till.publisher.failure is not None
        assert "broker.ca_file" in till.publisher.failure
        ca.write_bytes(LOCALHOST_PEM.read_bytes())
        till.connect()
    assert caplog.text.count("no connection to") == 2, "once for each reason"


def test_freshness_leaves_the_slowest_probe_room(settings: AgentConfig) -> None:
    core_settings = runtime.core_settings(settings, [FakeProbe(poll_s=30), FakeProbe(poll_s=5)])
    assert core_settings.stale_after_s == 120
    assert runtime.core_settings(settings.model_copy(update={"interval_s": 60}), []).stale_after_s == 180


def test_the_core_is_told_all_that_is_configured() -> None:
    document = {
        "terminal_id": "t",
        "printer": [{"name": "bar", "port": "/dev/ttyUSB0", "drawer_open_level": "low"}],
        "usb_device": [{"name": "1", "kind": "scanner", "vendor_id": "0c2e", "product_id": "0b61"}],
        "acquirer": [{"name": "bank", "host": "pay.example", "port": 443}],
    }
    core_settings = runtime.core_settings(config.parse(document), [])
    named = "pos_printer:bar cash_drawer:bar scanner:1 acquirer:bank network:uplink machine:self"
    assert core_settings.components == tuple(named.split())
    quiet = config.parse({"terminal_id": "t", "network": {"enabled": False}, "machine": {"enabled": False}})
    assert runtime.core_settings(quiet, []).components == ()
