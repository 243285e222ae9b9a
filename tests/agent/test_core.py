"""The core: what a terminal says, when, and what it makes of what it hears."""

import json
import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.conftest import InMemory
from tests.agent.cores import CLOSED, COVER, TILL, ack, beats, connected, core_on, events, received, said, state
from tests.agent.moments import at

from tillwatch_agent.core import (
    UNWRITTEN_MAX,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Core,
    Disconnect,
    Forget,
    Input,
    Observed,
    Publish,
    Received,
    Stop,
    Subscribe,
    Tick,
)
from tillwatch_agent.errors import OutboxCorrupt, OutboxFailed
from tillwatch_agent.health import Observation
from tillwatch_agent.outbox import Outbox
from tillwatch_agent.session import Phase
from tillwatch_protocol import codec
from tillwatch_protocol.command import Command, CommandKind
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.heartbeat import Heartbeat, Presence, PresenceState
from tillwatch_protocol.job import JobMessage, JobMessageKind
from tillwatch_protocol.process import ProcessLife
from tillwatch_protocol.vocabulary import COMPONENTS_MAX, EVENTS_IN_FLIGHT_MAX, PAYLOAD_BYTES_MAX, Health

# --- connecting


def test_the_will_speaks_for_the_coming_connection(core: Core) -> None:
    (dial,) = core.handle(Tick(), at(1))
    assert isinstance(dial, Connect)
    will = codec.decode(dial.will.topic, dial.will.payload)
    assert isinstance(will, Presence)
    assert (will.state, will.reason) == (PresenceState.OFFLINE, "connection_lost")
    assert (will.connection.boot_epoch, will.connection.connection_no) == (1, 1)
    assert (dial.will.qos, dial.will.retain) == (1, True)


def test_after_connack_it_listens_then_announces_then_beats_then_sends_events(core: Core) -> None:
    core.handle(Tick(), at(1))
    effects = core.handle(Connected(), at(2))
    subscribe, presence, heartbeat, batch = effects
    assert subscribe == Subscribe((f"tillwatch/v1/t/{TILL}/dn/+", "tillwatch/v1/c/+/state"))
    assert [type(message) for message in said(effects)] == [Presence, Heartbeat, EventBatch]
    assert isinstance(presence, Publish)
    assert isinstance(heartbeat, Publish)
    assert isinstance(batch, Publish)
    assert [(e.outgoing.qos, e.outgoing.retain) for e in (presence, heartbeat, batch)] == [
        (1, True),
        (0, False),
        (1, False),
    ]
    assert events(effects) == ["1 started"]


def test_each_connection_and_each_start_has_its_number(in_memory: InMemory) -> None:
    outbox = in_memory()
    core = connected(core_on(outbox))
    core.handle(ConnectionLost(), at(3))
    core.handle(Tick(), at(5))
    assert core.connection.order == (1, 2)
    assert connected(core_on(in_memory(image=outbox.image()))).connection.order == (2, 1)


def test_a_refused_connection_is_tried_again(core: Core) -> None:
    core.handle(Tick(), at(1))
    assert core.handle(ConnectFailed(), at(2)) == []
    assert 0 < core.next_due_s(at(2)) <= 1
    assert isinstance(core.handle(Tick(), at(3))[0], Connect)


# --- the level


def test_a_change_is_told_at_once_by_heartbeat_and_event(online: Core) -> None:
    effects = online.handle(Observed((COVER,)), at(5))
    (beat,) = beats(effects)
    assert [condition.code for condition in beat.components[0].conditions] == ["cover_open"]
    assert beat.event_seq_last == 2
    assert events(effects) == ["2 condition_raised"]
    effects = online.handle(Observed((CLOSED,)), at(6))
    assert beats(effects)[0].components[0].conditions == ()
    assert events(effects) == ["3 condition_cleared"]


def test_what_is_as_before_is_told_by_the_next_heartbeat_only(online: Core) -> None:
    online.handle(Observed((COVER,)), at(5))
    assert online.handle(Observed((COVER,)), at(6)) == []


def test_heartbeats_are_numbered_in_the_start(online: Core) -> None:
    first = online.heartbeat_now(at(3))
    second = online.heartbeat_now(at(4))
    assert first.order < second.order
    assert (second.terminal_id, second.interval_s, second.host_boot_id) == (TILL, 60, "boot-1")


def test_what_is_not_looked_at_becomes_stale_in_time(in_memory: InMemory) -> None:
    core = connected(core_on(in_memory(), stale_after_s=10.0))
    core.handle(ack(core, 1), at(4))
    core.handle(Observed((CLOSED,)), at(5))
    assert core.next_due_s(at(5)) <= 10
    effects = core.handle(Tick(), at(15))
    assert [reading.reason for reading in beats(effects)[0].components] == ["stale"]
    assert events(effects) == ["2 condition_raised"]


def test_by_default_three_intervals_without_a_look_are_stale(online: Core) -> None:
    online.handle(Observed((CLOSED,)), at(5))
    online.handle(Tick(), at(184.9))
    assert online.heartbeat_now(at(184.9)).components[0].health is Health.OK
    online.handle(Tick(), at(185))
    assert online.heartbeat_now(at(185)).components[0].health is Health.UNKNOWN


def test_a_driver_s_mistake_is_left_out_and_the_rest_is_told(online: Core, caplog: pytest.LogCaptureFixture) -> None:
    effects = online.handle(Observed((Observation(component="?", health=Health.OK), COVER)), at(5))
    assert [reading.component for reading in beats(effects)[0].components] == ["pos_printer:1"]
    assert online.ignored == 1
    assert "observation left out" in caplog.text


def test_a_new_start_raises_again_what_is_still_true(in_memory: InMemory) -> None:
    outbox = in_memory()
    core_on(outbox).handle(Observed((COVER,)), at(1))
    again = connected(core_on(in_memory(image=outbox.image())))
    assert events(again.handle(Observed((COVER,)), at(3))) == ["4 condition_raised"]


# --- events


def test_events_wait_for_a_connection_and_leave_only_when_acknowledged(core: Core) -> None:
    core.handle(Observed((COVER,)), at(0.1))
    core.handle(Tick(), at(1))
    assert events(core.handle(Connected(), at(2))) == ["1 started", "2 condition_raised"]
    core.handle(ack(core, 1), at(3))
    assert core.outbox.backlog.numbers == (2,)
    assert events(core.handle(Tick(), at(12.9))) == []
    assert events(core.handle(Tick(), at(13))) == ["2 condition_raised"]


def test_no_more_than_a_window_is_in_flight(online: Core) -> None:
    for number in range(COMPONENTS_MAX):
        observation = Observation(component=f"scanner:{number}", health=Health.FAULT, true_codes={"offline": None})
        online.handle(Observed((observation,)), at(3))
    online.handle(ConnectionLost(), at(4))
    online.handle(Tick(), at(6))
    assert len(events(online.handle(Connected(), at(7)))) == EVENTS_IN_FLIGHT_MAX
    assert len(events(online.handle(ack(online, 5), at(8)))) == 5


def test_a_batch_tells_the_oldest_number_held(online: Core) -> None:
    online.handle(ack(online, 1), at(3))
    (batch,) = [m for m in said(online.handle(Observed((COVER,)), at(4))) if isinstance(m, EventBatch)]
    assert batch.oldest_seq == 2


def test_a_new_connection_sends_all_again_from_the_oldest(online: Core) -> None:
    online.handle(Observed((COVER,)), at(3))
    online.handle(ConnectionLost(), at(4))
    online.handle(Tick(), at(6))
    assert events(online.handle(Connected(), at(7))) == ["1 started", "2 condition_raised"]


def test_a_new_collector_is_answered_with_presence_heartbeat_and_all_events(online: Core) -> None:
    online.handle(received(state(starts=5), retained=True), at(3))
    online.handle(received(state(starts=6)), at(4))
    effects = online.handle(Tick(), at(4 + online.next_due_s(at(4))))
    assert [type(message) for message in said(effects)] == [Presence, Heartbeat, EventBatch]
    assert events(effects) == ["1 started"]
    assert beats(effects)[0].collector_epoch_seen == state(starts=6).collector_epoch


def test_events_that_are_never_acknowledged_put_the_connection_in_doubt(online: Core) -> None:
    online.handle(Observed((COVER,)), at(3))
    seconds, effects = 3.0, []
    while Disconnect() not in effects:
        assert seconds < 600, "a subscription that the broker forgot holds the outbox for ever"
        seconds += max(online.next_due_s(at(seconds)), 0.1)
        effects = online.handle(Observed((COVER,)), at(seconds))
    assert online.phase is Phase.OFFLINE
    (dial,) = online.handle(Tick(), at(seconds + 2))
    assert isinstance(dial, Connect)
    assert events(online.handle(Connected(), at(seconds + 3))) == ["1 started", "2 condition_raised"]


def test_an_answer_takes_the_doubt_away(online: Core) -> None:
    seconds = 3.0
    for number in range(1, 12):
        turn = COVER if number % 2 else CLOSED
        effects = online.handle(Observed((turn,)), at(seconds))
        for _ in range(3):
            seconds += 45
            effects += online.handle(Observed((turn,)), at(seconds))
        assert Disconnect() not in effects
        online.handle(ack(online, online.outbox.backlog.event_seq_last), at(seconds))


def test_nothing_but_presence_goes_while_every_process_is_offline(online: Core) -> None:
    online.handle(received(state(ProcessLife.OFFLINE), retained=True), at(3))
    assert online.handle(Observed((COVER,)), at(4)) == []
    assert online.handle(Tick(), at(100)) == []
    effects = online.handle(received(state(), retained=False), at(101))
    assert beats(effects)
    assert events(effects) == ["1 started", "2 condition_raised"]


# --- twins


def test_an_acknowledgement_from_beyond_begins_a_new_stream_and_a_new_connection(
    online: Core, caplog: pytest.LogCaptureFixture
) -> None:
    online.handle(Observed((COVER,)), at(3))
    left = online.outbox.stream_id
    assert online.handle(ack(online, 9), at(4)) == [Disconnect()]
    assert online.outbox.stream_id != left
    assert "goes on elsewhere" in caplog.text
    (dial,) = online.handle(Tick(), at(6))
    assert isinstance(dial, Connect)
    assert json.loads(dial.will.payload)["connection"]["stream_id"] == online.outbox.stream_id
    effects = online.handle(Connected(), at(7))
    assert events(effects) == ["1 started", "2 condition_raised", "3 started"]


# --- commands


def command(kind: CommandKind, command_id: str = "c-1") -> Received:
    return received(Command(terminal_id=TILL, command_id=command_id, kind=kind, lifetime_s=60))


def test_a_report_is_a_heartbeat_now_and_once(online: Core) -> None:
    assert len(beats(online.handle(command(CommandKind.REPORT), at(3)))) == 1
    assert online.handle(command(CommandKind.REPORT), at(4)) == []
    assert len(beats(online.handle(command(CommandKind.REPORT, "c-2"), at(5)))) == 1


def test_a_reprobe_lets_the_probes_forget_once_even_across_a_start(online: Core, in_memory: InMemory) -> None:
    assert online.handle(command(CommandKind.REPROBE), at(3))[0] == Forget()
    again = connected(core_on(in_memory(image=online.outbox.image())))
    assert again.handle(command(CommandKind.REPROBE), at(3)) == []


# --- what is not for us


@pytest.mark.parametrize(
    "junk",
    [
        Received("tillwatch/v1/t/till-1/dn/ack", b"{", retained=False),
        Received("tillwatch/v1/t/till-1/dn/ack", b"", retained=False),
        Received("tillwatch/v1/t/till-1/dn/ack", b"[" * 60_000, retained=False),
        Received("tillwatch/v1/t/till-1/dn/ack", b" " * (PAYLOAD_BYTES_MAX + 1), retained=False),
        Received("tillwatch/v1/t/till-1/dn/unheard_of", b"{}", retained=False),
        Received("somebody/else", b"{}", retained=False),
        Received("tillwatch/v1/t/till-1/dn/ack", b'{"v":99}', retained=False),
        # retained orders are of another day
        received(Ack(terminal_id=TILL, stream_id="0" * 32, event_seq=1), retained=True),
        received(Command(terminal_id=TILL, command_id="c", kind=CommandKind.REPROBE, lifetime_s=1), retained=True),
        # another terminal's
        received(Command(terminal_id="till-2", command_id="c", kind=CommandKind.REPROBE, lifetime_s=1)),
        # an echo of our own
        received(
            Presence(
                terminal_id=TILL,
                state=PresenceState.ONLINE,
                connection={"stream_id": "0" * 32, "boot_epoch": 1, "connection_no": 1},  # type: ignore[arg-type]
            )
        ),
    ],
)
def test_what_cannot_be_used_is_counted_and_changes_nothing(online: Core, junk: Received) -> None:
    assert online.handle(junk, at(3)) == []
    assert online.ignored == 1
    assert len(online.outbox.backlog) == 1


def test_jobs_are_not_taken_where_no_product_is_set_up(online: Core, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    offer = JobMessage(terminal_id=TILL, kind=JobMessageKind.OFFER, job_id="j-1", target="app/1.0")
    assert online.handle(received(offer), at(3)) == []
    assert "takes no jobs" in caplog.text


def test_an_acknowledgement_for_another_stream_is_left(online: Core) -> None:
    foreign = received(Ack(terminal_id=TILL, stream_id="0" * 32, event_seq=1))
    assert online.handle(foreign, at(3)) == []
    assert len(online.outbox.backlog) == 1


# --- stopping


def test_it_leaves_with_its_events_and_a_farewell(online: Core) -> None:
    effects = online.handle(Stop(), at(3))
    assert events(effects) == ["2 stopping"]
    farewell = said(effects)[-1]
    assert isinstance(farewell, Presence)
    assert (farewell.state, farewell.reason) == (PresenceState.OFFLINE, "stopping")
    assert effects[-1] == Disconnect()
    assert online.phase is Phase.STOPPED


@pytest.mark.parametrize("late", [Tick(), Stop(), ConnectionLost()])
def test_a_stopped_core_says_nothing_more(online: Core, late: Input) -> None:
    online.handle(Stop(), at(3))
    assert online.handle(late, at(100)) == []
    assert online.next_due_s(at(100)) == math.inf
    assert online.outbox.backlog.event_seq_last == 2


def test_stopped_before_it_connected_it_leaves_the_event_for_the_next_start(core: Core) -> None:
    assert core.handle(Stop(), at(0.1)) == []
    assert core.outbox.backlog.event_seq_last == 2


# --- a disk that fails


class FullDisk(Outbox):
    """An outbox whose disk can be filled."""

    full = False

    def append(self, happenings: Sequence[Any]) -> Any:
        self._refuse()
        return super().append(happenings)

    def acknowledge(self, stream_id: str, event_seq: int, now_s: float) -> Any:
        self._refuse()
        return super().acknowledge(stream_id, event_seq, now_s)

    def see_epoch(self, collector_epoch: int) -> None:
        self._refuse()
        super().see_epoch(collector_epoch)

    def mark_done(self, command_id: str) -> bool:
        self._refuse()
        return super().mark_done(command_id)

    def read(self, numbers: Sequence[int]) -> Any:
        self._refuse()
        return super().read(numbers)

    def _refuse(self) -> None:
        if self.full:
            raise OutboxFailed("disk is full")


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk.open(":memory:")


def test_a_full_disk_does_not_stop_the_watching(disk: FullDisk, caplog: pytest.LogCaptureFixture) -> None:
    core = connected(core_on(disk))
    disk.full = True
    assert len(beats(core.handle(Observed((COVER,)), at(3)))) == 1
    assert len(beats(core.handle(Observed((CLOSED,)), at(4)))) == 1
    assert core.outbox.backlog.event_seq_last == 1
    disk.full = False
    assert events(core.handle(Tick(), at(5))) == ["2 condition_raised", "3 condition_cleared"]
    told = [record.message for record in caplog.records]
    assert told == ["outbox fails, events wait in memory: disk is full", "outbox takes events again"]
    disk.close()


def test_what_waits_for_a_disk_is_bounded(disk: FullDisk) -> None:
    core = core_on(disk)
    disk.full = True
    for _ in range(UNWRITTEN_MAX):
        core.handle(Observed((COVER,)), at(0.1))
        core.handle(Observed((CLOSED,)), at(0.1))
    disk.full = False
    core.handle(Tick(), at(0.2))
    assert disk.backlog.event_seq_last == 1 + UNWRITTEN_MAX
    disk.close()


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(lambda core: ack(core, 1), id="an acknowledgement"),
        pytest.param(lambda _: command(CommandKind.REPROBE), id="a command, which could not be remembered"),
        pytest.param(lambda _: received(state(), retained=True), id="a collector's epoch"),
    ],
)
def test_what_a_full_disk_does_not_take_is_left_for_later(disk: FullDisk, word: Callable[[Core], Received]) -> None:
    core = connected(core_on(disk))
    disk.full = True
    assert core.handle(word(core), at(3)) == []
    assert (len(disk.backlog), disk.collector_epoch_seen) == (1, 0)
    disk.full = False
    assert core.handle(word(core), at(4))[:1] in ([], [Forget()])
    disk.close()


def test_events_that_cannot_be_read_go_again_later(disk: FullDisk) -> None:
    core = core_on(disk)
    core.handle(Tick(), at(1))
    disk.full = True
    assert events(core.handle(Connected(), at(2))) == []
    disk.full = False
    assert events(core.handle(Tick(), at(12))) == ["1 started"]
    disk.close()


def test_an_outbox_that_broke_ends_the_start(online: Core) -> None:
    online.outbox._connection.execute("DROP TABLE event")
    with pytest.raises(OutboxCorrupt):
        online.handle(Observed((COVER,)), at(3))


# --- any order


INPUTS: st.SearchStrategy[Input] = st.sampled_from(
    [
        Tick(),
        Observed((COVER,)),
        Observed((CLOSED,)),
        received(state(), retained=True),
        received(state(starts=6)),
        received(state(ProcessLife.OFFLINE)),
        Received("junk", b"", retained=False),
    ]
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(INPUTS, st.floats(0, 90)), max_size=40), st.randoms(use_true_random=False))
def test_no_order_of_inputs_breaks_it_or_makes_it_spin(
    in_memory: InMemory, story: list[tuple[Input, float]], rng: random.Random
) -> None:
    core, now_s = core_on(in_memory()), 0.0
    for word, wait_s in story:
        now_s += min(wait_s, core.next_due_s(at(now_s)))
        effects = core.handle(word, at(now_s))
        for _ in range(5):  # a line answers, the window is acknowledged, the wait for nothing ends
            if core.phase is Phase.CONNECTING:
                answers: list[Input] = [Connected(), ConnectFailed()]
                effects = core.handle(rng.choice(answers), at(now_s))
            elif core.next_due_s(at(now_s)) == 0:
                effects = core.handle(Tick(), at(now_s))
        assert core.next_due_s(at(now_s)) > 0
        assert all(len(e.outgoing.payload) <= PAYLOAD_BYTES_MAX for e in effects if isinstance(e, Publish))
