"""The world's broker has the habits that it is told to have: a checker is worth no more than what it is shown."""

from dataclasses import dataclass, field
from random import Random

import pytest
from tests.scenarios.broker import AfterRestart, Broker, Habits, Packet, matches
from tests.scenarios.client import Client
from tests.scenarios.clock import Clock

from tillwatch_simulator.link import Link, LinkHabits, Span

STEADY = LinkHabits(breaks_per_hour=0)


def packet(topic: str, payload: bytes = b"x", *, qos: int = 1, retain: bool = False) -> Packet:
    return Packet(topic=topic, payload=payload, qos=qos, retain=retain)


WILL = packet("up/presence", b"gone", retain=True)


@dataclass(eq=False)
class User:
    """Who uses a client; it writes down what it hears."""

    clock: Clock
    broker: Broker
    name: str
    outages: tuple[Span, ...] = ()
    heard: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        link = Link(habits=STEADY, chance=Random(1), outages=self.outages)
        self.client = Client(clock=self.clock, broker=self.broker, link=link, client_id=self.name, owner=self)

    def dial(self, *filters: str, will: Packet | None = None) -> "User":
        self.client.dial(will)
        self.clock.run_until(self.clock.now_s + 1)
        self.client.subscribe(filters)
        self.clock.run_until(self.clock.now_s + 1)
        return self

    def connected(self) -> None:
        self.heard.append("connected")

    def connect_failed(self) -> None:
        self.heard.append("failed")

    def connection_lost(self) -> None:
        self.heard.append("lost")

    def received(self, packet: Packet, *, retained: bool) -> None:
        self.heard.append((packet.topic, packet.payload, retained))

    def acknowledged(self, packet: Packet) -> None:
        self.heard.append(("acknowledged", packet.payload))


def stage(**habits: object) -> tuple[Clock, Broker]:
    clock = Clock()
    return clock, Broker(clock=clock, chance=Random(1), habits=Habits(**habits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "topic", "matched"),
    [
        ("t/+/up/+", "t/t1/up/events", True),
        ("t/+/up/+", "t/t1/up", False),
        ("t/t1/#", "t/t1/dn/ack", True),
        ("t/t1/#", "t/t2/dn/ack", False),
        ("c/+/state", "c/collector.1/state", True),
    ],
)
def test_a_filter_matches_level_by_level(wanted: str, topic: str, *, matched: bool) -> None:
    assert matches(wanted, topic) is matched


def test_what_is_retained_is_told_to_who_comes_later_and_says_so() -> None:
    clock, broker = stage()
    one = User(clock, broker, "t1").dial()
    one.client.publish(packet("a", b"kept", retain=True))
    clock.run_until(clock.now_s + 1)
    assert User(clock, broker, "t2").dial("a").heard == ["connected", ("a", b"kept", True)]


def test_a_goodbye_publishes_no_will_and_a_lost_process_does() -> None:
    for leaves, told in (("disconnect", []), ("drop", [("up/presence", b"gone", False)])):
        clock, broker = stage()
        process = User(clock, broker, "collector.1").dial("up/presence")
        one = User(clock, broker, "t1").dial(will=WILL)
        getattr(one.client, leaves)()
        clock.run_until(clock.now_s + 1)
        assert process.heard[1:] == told


def test_power_that_is_cut_is_noticed_after_one_and_a_half_keepalives() -> None:
    clock, broker = stage()
    process = User(clock, broker, "collector.1").dial("up/presence")
    one = User(clock, broker, "t1").dial(will=WILL)
    one.client.vanish()
    clock.run_until(clock.now_s + 44)
    assert process.heard == ["connected"]
    clock.run_until(clock.now_s + 2)
    assert process.heard[1:] == [("up/presence", b"gone", False)]


def test_a_take_over_cuts_the_old_connection_and_publishes_its_will_or_leaves_both() -> None:
    for closes, old_hears in ((True, ["connected", "lost"]), (False, ["connected"])):
        clock, broker = stage(closes_on_takeover=closes)
        process = User(clock, broker, "collector.1").dial("up/presence")
        old = User(clock, broker, "t1").dial(will=WILL)
        new = User(clock, broker, "t1").dial(will=WILL)
        assert old.heard == old_hears
        assert new.heard == ["connected"]
        assert (len(process.heard) == 2) is closes


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (AfterRestart.KEPT, [("a", b"new", True)]),
        (AfterRestart.LOST, []),
        (AfterRestart.OLD, [("a", b"old", True)]),  # as of the last autosave
    ],
)
def test_a_restart_loses_every_session_without_a_will(after: AfterRestart, told: list[object]) -> None:
    clock, broker = stage(after_restart=after, autosave_s=100.0, down_s=(5, 5))
    one = User(clock, broker, "t1").dial(will=WILL)
    one.client.publish(packet("a", b"old", retain=True))
    clock.run_until(150)
    one.client.publish(packet("a", b"new", retain=True))
    clock.run_until(160)
    broker.restart()
    clock.run_until(162)
    assert one.heard[-1] == "lost"
    assert User(clock, broker, "t2").dial().heard == ["failed"]
    clock.run_until(170)
    assert User(clock, broker, "t2").dial("#").heard == ["connected", *told]


def test_a_broker_that_repeats_says_qos_1_twice_and_qos_0_once() -> None:
    clock, broker = stage(repeat_share=1.0)
    process = User(clock, broker, "collector.1").dial("#")
    one = User(clock, broker, "t1").dial()
    one.client.publish(packet("a", b"one", qos=1))
    one.client.publish(packet("a", b"two", qos=0))
    clock.run_until(clock.now_s + 60)
    assert sorted(process.heard[1:], key=str) == [("a", b"one", False)] * 2 + [("a", b"two", False)]


def test_what_is_acknowledged_may_still_be_lost() -> None:
    clock, broker = stage(drop_acknowledged_share=1.0)
    process = User(clock, broker, "collector.1").dial("#")
    one = User(clock, broker, "t1").dial()
    one.client.publish(packet("a", b"one"))
    clock.run_until(clock.now_s + 60)
    assert one.heard[1:] == [("acknowledged", b"one")]
    assert process.heard == ["connected"]


def test_nothing_connects_inside_an_outage() -> None:
    clock, broker = stage()
    one = User(clock, broker, "t1", outages=(Span(start_s=0, end_s=100),))
    one.client.dial(None)
    clock.run_until(50)
    assert one.heard == ["failed"]
    clock.run_until(101)
    one.dial()
    assert one.heard == ["failed", "connected"]
