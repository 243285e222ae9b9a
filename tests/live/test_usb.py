"""A real agent under umockdev: what is plugged in and out is in the next heartbeat, long before the next look."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.till import Till
from tests.live.mosquitto import Mosquitto
from tests.live.stack import BIN, Process
from tests.live.usb_counter import Plug, UsbCounter, usb_counter

from tillwatch_agent.core import Received
from tillwatch_agent.publisher import Broker, Loop
from tillwatch_protocol import codec, topics
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.reading import Reading

CONFIG = """\
terminal_id = "till-1"
interval_s = 3600
state_dir = "{state}"
[broker]
host = "{broker.host}"
port = {broker.port}
[network]
enabled = false
[machine]
enabled = false
"""

SCANNER = """
[[usb_device]]
name = "{name}"
kind = "scanner"
vendor_id = "05e0"
product_id = "1701"
poll_s = 3600
"""
PRINTER = """
[[printer]]
name = "bar"
port = "/dev/usb/lp0"
vendor_id = "04b8"
product_id = "0202"
poll_s = 3600
"""
ONE = SCANNER.format(name="1")
LEFT, RIGHT = (
    SCANNER.format(name=name) + f'socket = "{socket}"\n' for name, socket in (("left", "1-1.1"), ("right", "1-1.2"))
)

Readings = dict[str, Reading]


class Watched:
    """A counter, and the agent beside it, read by its heartbeats."""

    def __init__(self, counter: UsbCounter, folder: Path, broker: Mosquitto, till: Till) -> None:
        self.counter = counter
        self._folder = folder
        self._broker = broker
        self._till = till
        self.agent: Process | None = None

    def start(self, *tables: str) -> None:
        """Start the agent with these devices."""
        config = self._folder / "agent.toml"
        config.write_text(CONFIG.format(state=self._folder / "state", broker=self._broker) + "".join(tables))
        environment = (f"{key}={value}" for key, value in self.counter.environment.items())
        words = ["env", *environment, str(BIN / "tillwatch-agent")]
        self.agent = Process(self._folder, "agent", *words, "run", "--config", str(config))
        self.agent.start()

    def see(self, wanted: Callable[[Readings], bool]) -> Readings:
        """Wait for a heartbeat that is wanted, passing over others."""
        while True:
            received = self._till.wait_for(Received)
            message = codec.decode(received.topic, received.payload)
            if isinstance(message, Heartbeat):
                readings = {reading.component: reading for reading in message.components}
                if wanted(readings):
                    return readings

    def see_reason(self, component: str, reason: str | None) -> Reading:
        """Wait until a component is unwell for this reason, or well."""
        seen = self.see(lambda readings: component in readings and readings[component].reason == reason)
        return seen[component]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    loop = Loop()
    loop.start()
    with usb_counter() as counter, Mosquitto(tmp_path / "broker") as broker:
        till = Till(loop, "witness", Broker(host=broker.host, port=broker.port))
        till.connect()
        till.listen(topics.HEARTBEAT.of("till-1"))
        watching = Watched(counter, tmp_path, broker, till)
        yield watching
        if watching.agent:
            watching.agent.stop()
        loop.stop(0)


def test_a_device_is_seen_when_it_comes_and_when_it_goes(watched: Watched) -> None:
    scanner = Plug(socket="1-1.4", ids="05e0:1701", serial="S1")
    watched.start(ONE)
    watched.see_reason("scanner:1", "not_attached")
    watched.counter.plug(scanner)
    seen = watched.see_reason("scanner:1", None)
    assert seen.facts == {"usb_ids": "05e0:1701", "location": "1-1.4", "model": "Model", "serial_number": "S1"}
    watched.counter.unplug(scanner)
    gone = watched.see_reason("scanner:1", "not_attached")
    assert gone.facts["location"] == "1-1.4"


def test_a_device_that_comes_back_under_other_names_is_the_same(watched: Watched) -> None:
    scanner = Plug(socket="1-1.4", ids="05e0:1701", device_no=7, node="ttyACM0")
    again = Plug(socket="1-1.4", ids="05e0:1701", device_no=12, node="ttyACM1")
    watched.counter.plug(scanner)
    watched.start(ONE)
    assert watched.see_reason("scanner:1", None).measures == {"reattached_count": 0}
    watched.counter.unplug(scanner)
    watched.see_reason("scanner:1", "not_attached")
    watched.counter.plug(again)
    assert watched.see_reason("scanner:1", None).measures == {"reattached_count": 1}


def test_a_line_is_found_under_its_next_name_and_no_other_device_is_asked_under_its_last(watched: Watched) -> None:
    printer = Plug(socket="1-1.3", ids="04b8:0202", node="usb/lp0")
    watched.counter.plug(printer)
    watched.start(PRINTER)
    assert watched.see_reason("pos_printer:bar", "no_response").facts["location"] == "1-1.3"  # it answers nothing
    watched.counter.unplug(printer)
    assert watched.see_reason("pos_printer:bar", "not_attached").facts["location"] == "1-1.3"
    watched.counter.plug(Plug(socket="1-1.1", ids="0a5f:0009", node="usb/lp0"))
    watched.counter.plug(Plug(socket="1-1.3", ids="04b8:0202", device_no=9, node="usb/lp1"))
    assert watched.see_reason("pos_printer:bar", "no_response").facts["location"] == "1-1.3"
    assert watched.counter.written_to("usb/lp0") == b""
    assert watched.counter.written_to("usb/lp1").startswith(b"\x10\x04")


def test_of_two_without_serial_numbers_the_one_that_is_pulled_is_named(watched: Watched) -> None:
    left, right = (Plug(socket=socket, ids="05e0:1701") for socket in ("1-1.1", "1-1.2"))
    watched.counter.plug(left)
    watched.counter.plug(right)
    watched.start(LEFT, RIGHT)
    watched.see(lambda seen: len(seen) > 1 and all(reading.health == "ok" for reading in seen.values()))
    watched.counter.unplug(left)
    seen = watched.see(lambda seen: seen["scanner:left"].health == "absent")
    assert seen["scanner:right"].health == "ok"
    assert seen["scanner:left"].conditions[0].detail == (
        "no USB device 05e0:1701 in socket 1-1.1; such a one sits in 1-1.2"
    )


def test_an_unknown_device_in_its_place_is_a_condition_of_its_own(watched: Watched) -> None:
    scanner, other = Plug(socket="1-1.4", ids="05e0:1701"), Plug(socket="1-1.4", ids="1234:5678")
    watched.counter.plug(scanner)
    watched.start(ONE)
    watched.see_reason("scanner:1", None)
    watched.counter.unplug(scanner)
    watched.see_reason("scanner:1", "not_attached")
    watched.counter.plug(other)
    seen = watched.see_reason("scanner:1", "unknown_device")
    assert [(each.code, each.detail) for each in seen.conditions] == [
        ("unknown_device", "expected 05e0:1701 in socket 1-1.4, got Model (1234:5678)")
    ]
    watched.counter.unplug(other)
    watched.counter.plug(scanner)
    assert watched.see_reason("scanner:1", None).conditions == ()


def test_it_says_in_its_log_how_it_hears(watched: Watched) -> None:
    """Nothing, where events come."""
    watched.start(ONE)
    watched.see_reason("scanner:1", "not_attached")
    assert watched.agent is not None
    assert "listed instead" not in watched.agent.tail()


def test_what_hung_on_a_hub_that_is_pulled_says_so_in_its_readings(watched: Watched) -> None:
    hub = Plug(socket="1-1", ids="05e3:0608", device_class="09")
    left, right = (Plug(socket=socket, ids="05e0:1701", device_no=8) for socket in ("1-1.1", "1-1.2"))
    for device in (hub, left, right):
        watched.counter.plug(device)
    watched.start(LEFT, RIGHT)
    watched.see(lambda seen: len(seen) > 1 and all(reading.health == "ok" for reading in seen.values()))
    for device in (left, right, hub):
        watched.counter.unplug(device)
    seen = watched.see(lambda seen: all(reading.health == "absent" for reading in seen.values()))
    assert [reading.facts for reading in seen.values()] == [
        {"location": "1-1.1", "suspected": "hub, cable, power", "together_with": "scanner:right"},
        {"location": "1-1.2", "suspected": "hub, cable, power", "together_with": "scanner:left"},
    ]
