"""The core and the time: a till whose clock is wrong connects, is told, judges by it and says so."""

import random
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from tests.agent.conftest import InMemory
from tests.agent.cores import CORE, TILL, ack, beats, connected, core_on, events, received
from tests.agent.moments import at

from tillwatch_agent.clock import BY_NOBODY, BY_WALL, JudgedBy, Judging
from tillwatch_agent.core import (
    Connect,
    Connected,
    ConnectFailed,
    Core,
    Disconnect,
    Effect,
    Received,
    Tick,
)
from tillwatch_agent.errors import OutboxFailed
from tillwatch_agent.moment import Moment
from tillwatch_agent.outbox import MEMORY, Outbox
from tillwatch_agent.session import Phase
from tillwatch_protocol.event import Ack
from tillwatch_protocol.vocabulary import MACHINE_CLOCK, Health

EMPTY = datetime(1970, 1, 1, tzinfo=UTC)


def in_1970(seconds: float) -> Moment:
    """The same moment as `at`, on a machine whose clock began at nothing."""
    return Moment(monotonic_s=seconds, at=EMPTY + timedelta(seconds=seconds))


def telling(core: Core, seconds: float) -> Received:
    """An acknowledgement that tells the time that `at` shows."""
    stream_id = core.outbox.stream_id
    return received(Ack(terminal_id=TILL, stream_id=stream_id, event_seq=0, sent_at=at(seconds).at))


def dialled(core: Core, moment: Moment) -> Connect:
    (dial,) = core.handle(Tick(), moment)
    assert isinstance(dial, Connect)
    return dial


def clock_codes(effects: Sequence[Effect]) -> list[list[str]]:
    """The conditions of the clock in each heartbeat that mentions it."""
    readings = [reading for beat in beats(effects) for reading in beat.components]
    return [[c.code for c in reading.conditions] for reading in readings if reading.component == MACHINE_CLOCK]


@pytest.fixture
def empty_clock(in_memory: InMemory) -> Core:
    """A core that is online in 1970."""
    core = Core(CORE, in_memory(), random.Random(1), in_1970(0))
    assert dialled(core, in_1970(1)).judging == BY_NOBODY
    core.handle(Connected(), in_1970(2))
    return core


def test_a_till_in_1970_is_told_the_time_says_so_and_connects_again_to_judge_by_it(empty_clock: Core) -> None:
    effects = empty_clock.handle(telling(empty_clock, 3), in_1970(3))
    assert clock_codes(effects) == [["clock_wrong"]]
    assert effects[-1] == Disconnect()
    assert dialled(empty_clock, in_1970(5)).judging == Judging(by=JudgedBy.TOLD, at=at(5).at)
    assert events(empty_clock.handle(Connected(), in_1970(6))) == ["1 started", "2 condition_raised"]
    # told again, on a connection that was judged: nothing is made anew
    assert empty_clock.handle(telling(empty_clock, 7), in_1970(7)) == []


def test_a_certificate_that_has_ended_is_refused_again_and_again_by_the_time_told(empty_clock: Core) -> None:
    empty_clock.handle(telling(empty_clock, 3), in_1970(3))
    seconds = 3.0
    for _ in range(20):
        seconds += empty_clock.next_due_s(in_1970(seconds))
        assert dialled(empty_clock, in_1970(seconds)).judging.by is JudgedBy.TOLD
        empty_clock.handle(ConnectFailed(), in_1970(seconds))


def test_a_clock_that_is_set_meanwhile_judges_the_next_connection(empty_clock: Core) -> None:
    empty_clock.handle(telling(empty_clock, 3), in_1970(3))
    assert dialled(empty_clock, at(5)).judging == BY_WALL


def test_a_collector_that_tells_no_time_leaves_the_connection_as_it_is(empty_clock: Core) -> None:
    assert empty_clock.handle(ack(empty_clock, 0), in_1970(3)) == []
    assert empty_clock.phase is Phase.ONLINE


def test_a_right_clock_is_judged_by_from_the_first_connection(core: Core) -> None:
    assert dialled(core, at(1)).judging == BY_WALL
    core.handle(Connected(), at(2))
    effects = core.handle(telling(core, 3), at(3))
    assert clock_codes(effects) == [[]]
    assert core.phase is Phase.ONLINE


def test_a_certificate_that_has_not_begun_leaves_the_next_one_to_what_is_told(core: Core) -> None:
    dialled(core, at(1))
    core.handle(ConnectFailed(not_begun=True), at(2))
    assert dialled(core, at(4)).judging == BY_NOBODY


def test_the_time_told_is_the_floor_of_the_next_start(online: Core, in_memory: InMemory) -> None:
    online.handle(telling(online, 3), at(3))
    again = Core(CORE, in_memory(image=online.outbox.image()), random.Random(1), at(-1_000))
    assert dialled(again, at(-900)).judging == BY_NOBODY


def test_the_time_is_stored_once_an_hour(online: Core) -> None:
    stored = []
    for seconds in (3.0, 60.0, 3_599.0, 3_610.0):
        online.handle(telling(online, seconds), at(seconds))
        stored.append(online.outbox.told_at)
    assert stored == [at(3).at, at(3).at, at(3).at, at(3_610).at]


def test_a_clock_that_jumps_is_noticed_at_the_next_turn_and_so_is_its_return(online: Core) -> None:
    online.handle(telling(online, 3), at(3))
    jumped = Moment(monotonic_s=10, at=at(10_000).at)
    effects = online.handle(Tick(), jumped)
    assert clock_codes(effects) == [["clock_wrong"]]
    assert events(effects) == ["2 condition_raised"]
    effects = online.handle(Tick(), at(11))
    assert clock_codes(effects) == [[]]
    assert events(effects) == ["3 condition_cleared"]


def test_what_is_known_of_the_clock_does_not_become_stale(online: Core) -> None:
    online.handle(telling(online, 3), at(3))
    for seconds in range(3, 2_000, 50):
        online.handle(Tick(), at(seconds))
    (reading,) = online.heartbeat_now(at(2_000)).components
    assert (reading.component, reading.health) == (MACHINE_CLOCK, Health.OK)
    assert reading.age_s < 180


class Worn(Outbox):
    """An outbox whose disk takes no time."""

    def store_time(self, told_at: datetime) -> None:
        raise OutboxFailed(f"expected to store {told_at}, but the disk is full")


def test_a_time_that_cannot_be_stored_is_known_all_the_same() -> None:
    with closing(Worn.open(MEMORY)) as outbox:
        core = connected(core_on(outbox))
        assert clock_codes(core.handle(telling(core, 3), at(3))) == [[]]
        assert outbox.told_at is None
