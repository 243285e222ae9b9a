import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.collector.databases import rows
from tests.collector.shell_fixtures import NOW, STREAM, beat, events, settings

from tillwatch_collector import app, intake, policies, ticking
from tillwatch_collector.app import DataDirInUse, WebAddressTaken
from tillwatch_collector.config import BrokerConfig, CollectorConfig, ConfigError, JudgeConfig, WebConfig
from tillwatch_collector.domain.epoch import next_epoch
from tillwatch_collector.engine import Clock, Engine, EngineSettings
from tillwatch_collector.errors import LeaseHeldElsewhere, PolicyInvalid, StoreUnavailable
from tillwatch_collector.flows import epochs
from tillwatch_collector.flows.dispatch import Outgoing
from tillwatch_collector.flows.ingest import Delivery, IngestEffects, ingest
from tillwatch_collector.flows.judge import Judge, JudgeSettings
from tillwatch_collector.inbox import Inbox
from tillwatch_collector.intake import ATTEMPTS_MAX, CANARIES_UNPROVEN_MAX
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.mqtt import BrokerConnected, BrokerLost, Incoming
from tillwatch_collector.roles import Role
from tillwatch_collector.store.queries import Paging, Queries, TerminalFilter
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health

PROCESS = "collector.1"


@dataclass(kw_only=True)
class FakeLink:
    """A broker that gives back what is published to oneself, as long as it is not deaf."""

    process: str = PROCESS
    inbox: Inbox[Incoming] = field(default_factory=lambda: Inbox(1_000))
    published: list[Outgoing] = field(default_factory=list)
    announced: list[Outgoing] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    deaf: bool = False
    clogged: bool = False
    now: datetime = NOW

    def publish(self, outgoing: Outgoing) -> bool:
        if self.clogged:
            return False
        self.published.append(outgoing)
        if outgoing.topic == topics.CANARY.of(self.process) and not self.deaf:
            self.inbox.put(delivered(outgoing.topic, outgoing.payload, self.now))
        return True

    def announce(self, hello: Outgoing, farewell: Outgoing) -> None:
        self.announced += [hello, farewell]

    def renew(self, reason: str) -> None:
        self.renewed.append(reason)

    def acks(self) -> list[Ack]:
        return [Ack.model_validate_json(sent.payload) for sent in self.published if sent.topic.endswith("/dn/ack")]


class World:
    """An engine over a database, a fake link, and a clock that is set."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.link = FakeLink()
        self.passed_s = 0.0
        with self.store.transaction() as repository:
            self.epoch = epochs.begin(repository, 1, NOW)
        self.metrics = Metrics()
        settings = EngineSettings(
            process=PROCESS,
            policy=policies.load(None),
            judge=JudgeSettings(holder=PROCESS),
            canary_s=5.0,
            tick_s=1.0,
            history=True,
            retention=CollectorConfig().retained,
        )
        clock = Clock(now=lambda: self.now, monotonic_s=lambda: self.passed_s)
        self.engine = Engine(self.store, self.link, settings, epoch=self.epoch, metrics=self.metrics, clock=clock)

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed_s)

    def connect(self) -> None:
        self.link.inbox.put(BrokerConnected(at=self.now))

    def rounds(self, count: int, step_s: float = 1.0) -> None:
        for _ in range(count):
            self.link.now = self.now
            self.engine.round()
            self.passed_s += step_s

    def hears(self, message: Heartbeat | EventBatch) -> None:
        topic = topics.HEARTBEAT if isinstance(message, Heartbeat) else topics.EVENTS
        self.link.inbox.put(delivered(topic.of(message.terminal_id), codec.encode(message), self.now))

    def listens(self) -> bool:
        return self.engine.listening

    def count(self, metric: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(metric, labels) or 0.0

    def events_stored(self) -> int:
        with self.store.reading() as connection:
            return Queries(connection).fleet().events.stored

    def presence(self, terminal_id: str) -> str:
        with self.store.reading() as connection:
            (shown,) = Queries(connection).terminals(TerminalFilter(terminal_id=terminal_id), Paging()).items
        return shown.presence

    def tickets(self) -> list[str]:
        with self.store.reading() as connection:
            return [ticket.code for ticket in Queries(connection).tickets(TicketFilter(), Paging()).items]


@pytest.fixture
def world(store: Store, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(intake, "BATCH_WAIT_S", 0.0)
    return World(store)


def delivered(topic: str, payload: bytes, at: datetime) -> Delivery:
    return Delivery(topic=topic, payload=payload, retained=False, received_at=at)


# --- the engine


def test_what_comes_is_kept_and_then_acknowledged(world: World) -> None:
    world.connect()
    world.hears(events(1, NOW))
    world.rounds(1)
    assert world.events_stored() == 1
    assert world.link.acks() == [Ack(terminal_id="t-1", stream_id=STREAM, event_seq=1, sent_at=NOW)]
    assert world.count("tillwatch_events_stored_total") == 1
    assert world.count("tillwatch_acks_sent_total") == 1


def test_nothing_is_acknowledged_that_is_not_kept_and_nothing_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.connect()
    world.rounds(1)
    world.hears(events(1, NOW))
    with monkeypatch.context() as broken:
        broken.setattr(intake, "ingest", _raiser(StoreUnavailable("the disk is full")))
        for _ in range(ATTEMPTS_MAX + 2):
            with pytest.raises(StoreUnavailable):
                world.rounds(1)
            world.engine.failed(StoreUnavailable())
        assert world.link.acks() == []
    world.rounds(1)
    assert (world.events_stored(), len(world.link.acks())) == (1, 1)
    assert world.count("tillwatch_engine_failures_total") == ATTEMPTS_MAX + 2


def test_measures_are_kept_with_their_heartbeat_and_rolled_up_beside_the_ticks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Reading(component="machine:self", health=Health.OK, measures={"cpu_pct": 20.0, "uptime_s": 7})
    first = beat(1, NOW).model_copy(update={"components": (reading,)})
    world.connect()
    world.rounds(1)
    world.hears(first)
    with monkeypatch.context() as broken:
        broken.setattr(Store, "transaction", _failing_at_commit(Store.transaction))
        with pytest.raises(StoreUnavailable):
            world.rounds(1)
        world.engine.failed(StoreUnavailable())
    world.rounds(1)
    assert rows(world.store, f"SELECT value FROM sample_{NOW:%Y%m%d} ORDER BY value") == [(7.0,), (20.0,)]
    assert world.count("tillwatch_samples_total") == 2
    world.passed_s += 2 * 3_600
    world.rounds(1)
    assert rows(world.store, "SELECT mean FROM rollup_hour ORDER BY mean") == [(7.0,), (20.0,)]


def test_a_commit_that_fails_acknowledges_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.connect()
    world.rounds(1)
    world.hears(events(1, NOW))
    with monkeypatch.context() as broken:
        broken.setattr(Store, "transaction", _failing_at_commit(Store.transaction))
        with pytest.raises(StoreUnavailable):
            world.rounds(1)
    assert (world.events_stored(), world.link.acks()) == (0, [])


def test_a_message_that_our_own_error_chokes_on_costs_itself_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.connect()
    world.rounds(1)

    def chokes(repository: Repository, batch: list[Delivery], now: datetime, **kept: Any) -> IngestEffects:
        if any(b'"beat_no":2,' in delivery.payload for delivery in batch):
            raise ZeroDivisionError
        return ingest(repository, batch, now, **kept)

    monkeypatch.setattr(intake, "ingest", chokes)
    world.hears(beat(1, NOW))
    world.hears(beat(2, NOW, terminal_id="t-2"))
    world.hears(events(1, NOW))
    for _ in range(ATTEMPTS_MAX):
        with pytest.raises(ZeroDivisionError):
            world.rounds(1)
        world.engine.failed(ZeroDivisionError())
    world.rounds(1)
    assert (world.events_stored(), len(world.link.acks())) == (1, 1)
    assert world.count("tillwatch_messages_total", kind="left_out") == 1
    assert "it is left out" in caplog.text


def test_an_acknowledgement_that_cannot_leave_is_counted(world: World) -> None:
    world.connect()
    world.link.clogged = True
    world.hears(events(1, NOW))
    world.rounds(1)
    assert world.count("tillwatch_acks_dropped_total") == 1


def test_canaries_prove_that_we_hear(world: World) -> None:
    world.rounds(1)
    assert not world.listens()
    world.connect()
    world.rounds(30)
    assert world.listens()
    assert world.count("tillwatch_messages_total", kind="canaries") == 6
    assert world.count("tillwatch_listening_seconds_total") > 20
    world.link.inbox.put(BrokerLost(at=world.now))
    world.rounds(5)
    assert not world.listens()
    assert world.count("tillwatch_blind_seconds_total") >= 4


def test_a_silent_terminal_makes_a_ticket_and_a_deaf_collector_makes_none(world: World) -> None:
    world.connect()
    world.hears(beat(1, NOW))
    world.rounds(5)
    assert world.presence("t-1") == "online"
    world.link.deaf = True
    world.rounds(120)
    assert world.tickets() == []
    assert not world.listens()
    world.link.deaf = False
    world.rounds(120)
    assert world.presence("t-1") == "silent"
    assert world.tickets() == ["silent"]
    assert world.count("tillwatch_ticket_moves_total", move="opened") == 1
    assert world.count("tillwatch_terminals", presence="silent") == 1
    assert world.count("tillwatch_tickets_open", severity="critical") == 1


def test_a_connection_that_brings_no_canary_back_is_made_anew(world: World) -> None:
    world.connect()
    world.link.deaf = True
    world.rounds(int(5 * CANARIES_UNPROVEN_MAX) + 3)
    assert len(world.link.renewed) == 1


def test_what_judge_knows_is_read_anew_after_an_error_and_the_connection_is_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.connect()
    world.hears(beat(1, NOW))
    world.rounds(5)
    with monkeypatch.context() as broken:
        broken.setattr(Judge, "tick", _raiser(StoreUnavailable("locked")))
        with pytest.raises(StoreUnavailable):
            world.rounds(1)
        world.engine.failed(StoreUnavailable())
    world.rounds(120)
    assert world.presence("t-1") == "silent"


def test_a_restored_collector_opens_its_ticket_and_rises_above_what_was_seen(world: World) -> None:
    seen = next_epoch(next_epoch(world.epoch, 5), 6)
    world.connect()
    world.hears(beat(1, NOW, epoch_seen=seen))
    world.rounds(3)
    assert world.tickets() == ["restored_from_backup"]
    hello, farewell = world.link.announced
    risen = json.loads(hello.payload)["collector_epoch"]
    assert risen > seen
    assert json.loads(farewell.payload)["collector_epoch"] == risen
    with world.store.transaction() as repository:
        assert repository.epoch() == risen
    world.hears(beat(2, NOW, epoch_seen=seen))
    world.rounds(1)
    assert len(world.link.announced) == 2


def test_a_restored_collector_rises_even_if_its_first_try_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.connect()
    world.hears(beat(1, NOW, epoch_seen=next_epoch(world.epoch, 5)))
    with monkeypatch.context() as broken:
        broken.setattr(epochs, "rise_above", _raiser(StoreUnavailable("locked")))
        with pytest.raises(StoreUnavailable):
            world.rounds(1)
        world.engine.failed(StoreUnavailable())
    assert world.link.announced == []
    world.rounds(1)
    assert len(world.link.announced) == 2
    assert world.tickets() == ["restored_from_backup"]


def test_a_tick_waits_for_what_stands_in_the_queue_but_not_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "BATCH_MESSAGES_MAX", 1)
    world.connect()
    world.rounds(1)
    before = world.count("tillwatch_tick_seconds_count")
    for number in range(1, 30):
        world.hears(beat(number, NOW))
    world.rounds(ticking.TICKS_LATE_MAX - 2)
    assert world.count("tillwatch_tick_seconds_count") == before
    world.rounds(5)
    assert world.count("tillwatch_tick_seconds_count") == before + 1


def test_a_batch_has_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BATCH_MESSAGES_MAX", 3)
    for number in range(1, 6):
        world.hears(beat(number, NOW))
    world.rounds(1)
    assert len(world.link.inbox) == 2
    assert world.count("tillwatch_queue_messages") == 2


def test_another_process_that_ticks_is_not_pushed_aside() -> None:
    world = World(Store.in_memory())
    with world.store.transaction() as repository:
        repository.take_lease("tick", "collector.2", NOW, NOW + timedelta(hours=1))
    with pytest.raises(LeaseHeldElsewhere):
        world.rounds(1)


def _raiser(error: Exception) -> Any:
    def raises(*_: object, **__: object) -> Any:
        raise error

    return raises


def _failing_at_commit(transaction: Any) -> Any:
    @contextmanager
    def failing(self: Store) -> Iterator[Repository]:
        with transaction(self) as repository:
            yield repository
            raise StoreUnavailable("no room for the commit")

    return failing


# --- before it starts


def test_two_collectors_do_not_share_a_data_directory(tmp_path: Path) -> None:
    with app.data_dir_held(tmp_path), pytest.raises(DataDirInUse, match="another one runs there"):
        app.serve(settings(tmp_path), print)


def test_a_web_address_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(WebAddressTaken, match=f"expected 127.0.0.1:{port} to be free"):
            app.serve(settings(tmp_path, web=WebConfig(port=port)), print)
    assert not (tmp_path / "collector.db").exists()


def test_a_data_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="data_dir: expected a directory to write in"):
        app.serve(settings(tmp_path / "file" / "below"), print)


def test_a_web_host_that_has_no_address_is_said(tmp_path: Path) -> None:
    web = WebConfig(host="nowhere.invalid", port=0, behind_proxy=True)
    with pytest.raises(ConfigError, match=r"web\.host: expected an address .* got 'nowhere\.invalid'"):
        app.serve(settings(tmp_path, web=web), print)


def test_a_policy_file_that_is_missing_is_said_before_the_broker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "EmbeddedBroker", None)
    with pytest.raises(PolicyInvalid, match=r"nowhere\.toml: expected a readable file"):
        app.serve(settings(tmp_path, judge=JudgeConfig(policy_file=tmp_path / "nowhere.toml")), print)


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        (None, "", r"web\.tls_cert_file: expected a readable file"),
        ("", None, r"web\.tls_key_file: expected a readable file"),
        ("no certificate", "no key", r"web\.tls_cert_file, web\.tls_key_file: expected a certificate and its key"),
    ],
)
def test_tls_files_that_cannot_be_used_are_said_before_anything_starts(
    tmp_path: Path, certificate: str | None, key: str | None, said: str
) -> None:
    for name, content in (("web.crt", certificate), ("web.key", key)):
        if content is not None:
            (tmp_path / name).write_text(content, encoding="utf-8")
    web = WebConfig(port=0, tls_cert_file=tmp_path / "web.crt", tls_key_file=tmp_path / "web.key")
    with pytest.raises(ConfigError, match=said):
        app.serve(settings(tmp_path / "data", web=web), print)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("role", [Role.INGEST, Role.TICK])
def test_a_role_alone_needs_a_broker_that_all_processes_reach(tmp_path: Path, role: Role) -> None:
    config = settings(tmp_path / "data", database_url="postgresql://u@127.0.0.1:1/d")
    with pytest.raises(ConfigError, match=f"broker: {role} alone expected the broker that all processes reach"):
        app.run(config, role, print)
    assert not (tmp_path / "data").exists()


def test_roles_that_share_their_settings_are_not_called_alike(tmp_path: Path) -> None:
    shared = settings(tmp_path)
    assert [app.process_named(shared, role) for role in Role] == ["collector.1", "ingest.1", "tick.1", "web.1"]
    named = settings(tmp_path, process="ingest.7")
    assert app.process_named(named, Role.INGEST) == "ingest.7"


def test_processes_of_other_names_share_a_data_directory(tmp_path: Path) -> None:
    with app.data_dir_held(tmp_path, "ingest.1.lock"), app.data_dir_held(tmp_path, "ingest.2.lock"):
        expected = pytest.raises(DataDirInUse, match=r"expected one process ingest\.1 in")
        with expected, app.data_dir_held(tmp_path, "ingest.1.lock"):
            pass


def test_a_brokers_password_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hunter2\n", encoding="utf-8")
    assert app.endpoint(BrokerConfig(host="b", username="u", password_file=path)).password == "hunter2"
    assert app.endpoint(BrokerConfig(host="b")).password is None
    with pytest.raises(ConfigError, match=r"broker\.password_file: expected a readable file"):
        app.endpoint(BrokerConfig(host="b", username="u", password_file=tmp_path / "nowhere"))
