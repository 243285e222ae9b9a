"""Roles apart over one database, in virtual time: what one process takes in another judges, and one at a time does."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from tests.collector.databases import Databases, stores_in
from tests.collector.shell_fixtures import NOW, STREAM, beat, events
from tests.collector.test_app import FakeLink, delivered

from tillwatch_collector import intake, policies
from tillwatch_collector.api.context import Activity
from tillwatch_collector.domain.epoch import next_epoch
from tillwatch_collector.engine import Clock, Engine, EngineSettings
from tillwatch_collector.errors import ClockApart, LeaseHeldElsewhere, OperatorError, ProcessNameTaken
from tillwatch_collector.flows import epochs, processes
from tillwatch_collector.flows.judge import JudgeSettings
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.mqtt import BrokerConnected, BrokerLost
from tillwatch_collector.overview import Overview
from tillwatch_collector.roles import DUTIES, Role
from tillwatch_collector.store.queries import Paging, Queries, TerminalFilter
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import EventBatch
from tillwatch_protocol.heartbeat import Connection, Heartbeat, Presence, PresenceReason, PresenceState

LEASE_S = JudgeSettings().lease_s


class Crew:
    """Several processes over one database, and the time that passes for all of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.passed_s = 0.0
        self.members: dict[str, Member] = {}

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed_s)

    def start(self, name: str, *, connected: bool = True) -> "Member":
        """Begin a process, named after its role; of the same name it is a new life."""
        member = self.members[name] = Member(self, name)
        if connected:
            member.link.inbox.put(BrokerConnected(at=self.now))
        return member

    def kill(self, name: str) -> None:
        del self.members[name]

    def rounds(self, count: int, step_s: float = 1.0) -> None:
        for _ in range(count):
            for member in list(self.members.values()):
                member.link.now = self.now
                member.engine.round()
            self.passed_s += step_s

    def presence(self, terminal_id: str = "t-1") -> str:
        with self.store.reading() as connection:
            (shown,) = Queries(connection).terminals(TerminalFilter(terminal_id=terminal_id), Paging()).items
        return shown.presence

    def tickets(self) -> list[str]:
        with self.store.reading() as connection:
            return [ticket.code for ticket in Queries(connection).tickets(TicketFilter(), Paging()).items]

    def overview(self) -> Overview:
        return Overview(store=self.store, started_at=NOW, unproven_s_max=20.0, now=lambda: self.now)


class Member:
    """One process: its engine, and a broker that plays with it alone."""

    def __init__(self, crew: Crew, name: str) -> None:
        self.crew = crew
        self.link = FakeLink(process=name)
        self.metrics = Metrics()
        with crew.store.transaction() as repository:
            self.epoch = epochs.begin(repository, 1, crew.now)
        settings = EngineSettings(
            process=name,
            role=Role(name.partition(".")[0]),
            policy=policies.load(None),
            judge=JudgeSettings(holder=name),
            canary_s=5.0,
            tick_s=1.0,
        )
        clock = Clock(now=lambda: crew.now, monotonic_s=lambda: crew.passed_s)
        self.engine = Engine(crew.store, self.link, settings, epoch=self.epoch, metrics=self.metrics, clock=clock)

    def hears(self, message: Heartbeat | EventBatch | Presence, *, retained: bool = False) -> None:
        topic = {Heartbeat: topics.HEARTBEAT, EventBatch: topics.EVENTS, Presence: topics.PRESENCE}[type(message)]
        came = delivered(topic.of(message.terminal_id), codec.encode(message), self.crew.now)
        self.link.inbox.put(came._replace(retained=retained))

    @property
    def ticks(self) -> bool:
        return self.metrics.registry.get_sample_value("tillwatch_ticking") == 1


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BATCH_WAIT_S", 0.0)
    monkeypatch.setattr(processes, "CLOCK_APART_S_MAX", float("inf"))


@pytest.fixture
def crew(store: Store) -> Crew:
    return Crew(store)


@pytest.fixture
def fleet_of_processes(worker_databases: Databases) -> Iterator[Crew]:
    with stores_in(worker_databases) as opened:
        yield Crew(opened())


def stopping() -> Presence:
    return Presence(
        terminal_id="t-1",
        connection=Connection(stream_id=STREAM, boot_epoch=1, connection_no=1),
        state=PresenceState.OFFLINE,
        reason=PresenceReason.STOPPING,
    )


def online() -> Presence:
    return stopping().model_copy(update={"state": PresenceState.ONLINE, "reason": None})


def test_what_one_takes_in_another_judges(crew: Crew) -> None:
    ingest = crew.start("ingest.1")
    crew.start("tick.1")
    ingest.hears(beat(1, crew.now))
    ingest.hears(events(1, crew.now))
    crew.rounds(3)
    assert crew.presence() == "online"
    assert [ack.event_seq for ack in ingest.link.acks()] == [1]
    crew.rounds(60)
    assert crew.tickets() == ["silent"]


@pytest.mark.parametrize("deaf", ["ingest.1", "ingest.2", "tick.1"])
def test_while_one_of_them_is_deaf_nobody_is_called_silent(crew: Crew, deaf: str) -> None:
    for name in ("ingest.1", "ingest.2", "tick.1"):
        crew.start(name)
    crew.members["ingest.1"].hears(beat(1, crew.now))
    crew.rounds(8)
    crew.members[deaf].link.deaf = True
    crew.rounds(120)
    assert crew.tickets() == []
    crew.members[deaf].link.deaf = False
    crew.rounds(60)
    assert crew.tickets() == ["silent"]


@pytest.mark.parametrize("orderly", [True, False])
def test_while_nobody_takes_heartbeats_in_nobody_is_called_silent(crew: Crew, orderly: bool) -> None:
    ingest, _ = crew.start("ingest.1"), crew.start("tick.1")
    ingest.hears(beat(1, crew.now))
    crew.rounds(8)
    if orderly:
        ingest.engine.end()
    crew.kill("ingest.1")
    crew.rounds(300)
    assert crew.tickets() == []


def test_a_deaf_process_that_only_stands_by_to_tick_holds_nobody_up(fleet_of_processes: Crew) -> None:
    crew = fleet_of_processes
    for name in ("ingest.1", "tick.1", "tick.2"):
        crew.start(name)
    crew.members["ingest.1"].hears(beat(1, crew.now))
    crew.members["tick.2"].link.deaf = True
    crew.rounds(70)
    assert crew.tickets() == ["silent"]


def test_who_dies_holds_silence_still_until_it_is_held_for_dead_and_then_timers_start_anew(crew: Crew) -> None:
    for name in ("ingest.1", "ingest.2", "tick.1"):
        crew.start(name)
    crew.members["ingest.1"].hears(beat(1, crew.now))
    crew.rounds(10)
    crew.kill("ingest.2")
    crew.rounds(60)
    assert crew.tickets() == []
    assert crew.presence() == "online"
    crew.rounds(30)  # three intervals of ten seconds, from its removal
    assert crew.tickets() == []
    crew.rounds(20)
    assert crew.tickets() == ["silent"]


def test_who_comes_back_under_its_name_is_waited_for_no_longer(crew: Crew) -> None:
    crew.start("ingest.1")
    crew.start("tick.1")
    crew.rounds(10)
    again = crew.start("ingest.1")
    again.hears(beat(1, crew.now))
    crew.rounds(30)
    assert crew.overview().listening()
    assert crew.presence() == "late"


def test_a_process_without_a_connection_has_no_share_and_is_not_waited_for(crew: Crew) -> None:
    for name in ("ingest.1", "ingest.2", "tick.1"):
        crew.start(name)
    crew.rounds(8)
    crew.members["ingest.2"].link.inbox.put(BrokerLost(at=crew.now))
    crew.members["ingest.1"].hears(beat(1, crew.now))
    crew.rounds(60)
    assert crew.tickets() == ["silent"]


def test_of_two_starts_under_one_name_the_older_ends(crew: Crew) -> None:
    older = crew.start("ingest.1")
    crew.rounds(1)
    crew.start("ingest.1")
    crew.rounds(1)
    crew.passed_s += 10
    with pytest.raises(ProcessNameTaken, match=r"got 'ingest\.1', under which another ingest was started"):
        older.engine.round()
    assert issubclass(ProcessNameTaken, OperatorError)
    older.engine.end()
    crew.rounds(1)
    assert crew.overview().activity().heartbeats == 0


def test_who_was_held_for_dead_by_mistake_is_back_with_its_next_word(crew: Crew) -> None:
    slow = crew.start("ingest.1")
    crew.start("tick.1")
    crew.rounds(10)
    del crew.members["ingest.1"]
    crew.rounds(70)
    assert not crew.overview().listening()
    crew.members["ingest.1"] = slow
    crew.rounds(10)
    assert crew.overview().listening()


# --- who ticks


def test_one_ticks_and_the_others_stand_by(fleet_of_processes: Crew, caplog: pytest.LogCaptureFixture) -> None:
    crew = fleet_of_processes
    caplog.set_level("INFO")
    for name in ("tick.1", "tick.2", "serve.1"):
        crew.start(name)
    crew.rounds(20)
    assert [member.ticks for member in crew.members.values()] == [True, False, False]
    assert caplog.text.count("stands by") == 2, "each says it once"


def test_after_a_death_another_takes_over_in_the_leases_time_and_opens_nothing_twice(fleet_of_processes: Crew) -> None:
    crew = fleet_of_processes
    ingest, _, standby = crew.start("ingest.1"), crew.start("tick.1"), crew.start("tick.2")
    ingest.hears(beat(1, crew.now))
    crew.rounds(60)
    assert crew.tickets() == ["silent"]
    crew.kill("tick.1")
    crew.rounds(int(LEASE_S) + 2)
    assert standby.ticks
    crew.rounds(120)
    assert crew.tickets() == ["silent"]


def test_a_change_of_hands_makes_nobody_silent(fleet_of_processes: Crew) -> None:
    crew = fleet_of_processes
    ingest = crew.start("ingest.1")
    crew.start("tick.1")
    crew.start("tick.2")
    ingest.hears(beat(1, crew.now))
    crew.rounds(30)
    assert crew.presence() == "late"
    crew.kill("tick.1")
    crew.rounds(int(LEASE_S) + 30)
    assert crew.tickets() == [], "it is missed from the new one's beginning"
    crew.rounds(20)
    assert crew.tickets() == ["silent"]


def test_who_ends_in_order_hands_over_at_once(fleet_of_processes: Crew) -> None:
    crew = fleet_of_processes
    first, second = crew.start("tick.1"), crew.start("tick.2")
    crew.rounds(3)
    first.engine.end()
    crew.kill("tick.1")
    crew.rounds(2)
    assert second.ticks
    assert crew.overview().ticking()


def test_who_was_away_too_long_finds_the_tick_taken_and_stands_by(fleet_of_processes: Crew) -> None:
    crew = fleet_of_processes
    slow = crew.start("tick.1")
    crew.rounds(3)
    crew.kill("tick.1")
    crew.passed_s += 2 * LEASE_S
    quick = crew.start("tick.2")
    crew.rounds(1)
    crew.members["tick.1"] = slow
    crew.rounds(3)
    assert (slow.ticks, quick.ticks) == (False, True)


def test_where_one_process_works_another_holder_is_a_mistake_and_is_said() -> None:
    crew = Crew(Store.in_memory())
    with crew.store.transaction() as repository:
        repository.take_lease("tick", "other.1", NOW, NOW + timedelta(hours=1))
    with pytest.raises(LeaseHeldElsewhere):
        crew.start("serve.1").engine.round()


# --- the epoch


def test_an_epoch_of_a_process_beside_is_no_sign_of_a_restored_database(crew: Crew) -> None:
    ingest, tick = crew.start("ingest.1"), crew.start("tick.1")
    later = crew.start("ingest.2")
    assert ingest.epoch < tick.epoch < later.epoch
    for number, seen in enumerate((later.epoch, tick.epoch, ingest.epoch), start=1):
        ingest.hears(beat(number, crew.now, epoch_seen=seen))
        crew.rounds(3)
    assert crew.tickets() == []
    assert ingest.link.announced == tick.link.announced == []


def test_what_an_agent_tells_one_process_of_another_database_opens_the_ticket_in_the_one_that_ticks(
    crew: Crew,
) -> None:
    ingest, tick = crew.start("ingest.1"), crew.start("tick.1")
    seen = next_epoch(next_epoch(tick.epoch, 5), 6)
    ingest.hears(beat(1, crew.now, epoch_seen=seen))
    crew.rounds(10)
    assert crew.tickets() == ["restored_from_backup"]
    assert (len(ingest.link.announced), len(tick.link.announced)) == (0, 2)
    with crew.store.transaction() as repository:
        assert repository.epoch() > seen


# --- what each takes in


def test_who_ticks_takes_in_that_a_till_stopped_and_nothing_else(crew: Crew) -> None:
    tick = crew.start("tick.1")
    tick.hears(online())
    crew.rounds(1)
    with crew.store.reading() as connection:
        assert Queries(connection).terminals(TerminalFilter(), Paging()).total == 0
    tick.hears(stopping(), retained=True)
    ingest = crew.start("ingest.1")
    ingest.hears(beat(1, crew.now))
    crew.rounds(120)
    assert crew.presence() == "off"
    assert crew.tickets() == []


@pytest.mark.parametrize("role", Role)
def test_what_a_role_listens_to_it_can_take_in(role: Role) -> None:
    duties = DUTIES[role]
    filters = [name.removeprefix("$share/tillwatch/") for name in duties.subscriptions]
    assert duties.takes_in is (topics.ROOT + "/t/+/up/+" in filters)
    assert duties.shares is any(name.startswith("$share/") for name in duties.subscriptions)


# --- what others ask


def test_the_pages_know_from_the_rows_who_listens_and_how_much_came(crew: Crew) -> None:
    assert not crew.overview().listening()
    assert not crew.overview().ticking()
    ingest = crew.start("ingest.1")
    crew.start("ingest.2")
    crew.start("tick.1")
    ingest.hears(beat(1, crew.now))
    crew.rounds(8)
    assert crew.overview().ticking()
    assert crew.overview().activity() == Activity(started_at=NOW, heartbeats=1, listening=True)
    crew.passed_s += 30
    assert not crew.overview().listening()
    assert not crew.overview().ticking()


def test_a_clock_that_is_not_the_databases_is_said(fleet_of_processes: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CLOCK_APART_S_MAX", 5.0)
    with pytest.raises(ClockApart, match=r"within 5 s of the database's, got [+-]\d+\.\d s"):
        fleet_of_processes.start("ingest.1").engine.round()
    fleet_of_processes.start("serve.1").engine.round()


def test_where_the_database_is_on_this_machine_its_clock_is_ours() -> None:
    with Store.in_memory().transaction() as repository:
        processes.check_clock(repository, NOW - timedelta(days=1))
