"""Tills whose clock is wrong, over real TLS to a real Mosquitto and a real collector; only their wall clock is made up.

The machine that runs this has a right clock, and so has the TLS library of the tills: a certificate that has not begun
by it is what a till in 1970 sees of a valid one, and a certificate that has ended is refused by it unless its time is
left out. What is shown differs by listener; all tills trust one authority.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.agent.authority import DAY, Authority
from tests.live.mosquitto import LOOPBACK, Mosquitto, free_port, whoami
from tests.live.stack import Collector, until

from tillwatch_agent import config, runtime
from tillwatch_agent.core import Stop
from tillwatch_agent.moment import Moment
from tillwatch_agent.runtime import Runtime

EMPTY = datetime(1970, 1, 1, tzinfo=UTC)
SHOWN = {
    "valid": (-DAY, 20 * DAY),
    "not begun": (DAY, 20 * DAY),
    "ended": (-20 * DAY, -DAY),
    "foreign": (-DAY, 20 * DAY),
}


class Shop:
    """One broker that shows another certificate on each of its listeners, and a collector at the valid one."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "own")
        self.ports = {which: free_port() for which in SHOWN}
        self._foreign = Authority(folder / "foreign")
        general = f"user {whoami()}\nallow_anonymous true\nmax_packet_size 67584\nlog_dest stderr\nlog_type notice\n"
        configuration = folder / "mosquitto.conf"
        configuration.write_text(general + "".join(map(self._listener, SHOWN)))
        self.broker = Mosquitto(folder, port=self.ports["valid"], configuration=configuration)
        self.collector = Collector(folder / "collector", hold_scale=0.01)
        at_broker = f"""
[broker]
host = "{LOOPBACK}"
port = {self.ports["valid"]}
ca_file = "{self.authority.ca_file}"
"""
        self.collector.config.write_text(self.collector.config.read_text() + at_broker)

    def sign_ins(self, terminal_id: str) -> int:
        """How often the broker let it in."""
        return self.broker.process.log.read_text().count(f" as {terminal_id} ")

    def clock_of(self, terminal_id: str) -> dict[str, Any] | None:
        """What the collector has of a till's clock."""
        terminal = self.collector.terminal(terminal_id) or {}
        components = (terminal.get("level") or {"components": []})["components"]
        return next((reading for reading in components if reading["component"] == "machine:clock"), None)

    def _listener(self, which: str) -> str:
        begins, ends = SHOWN[which]
        issuer = self._foreign if which == "foreign" else self.authority
        pem = issuer.server(which.replace(" ", "-"), begins=begins, ends=ends)
        return f"listener {self.ports[which]} {LOOPBACK}\ncertfile {pem}\nkeyfile {pem}\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    with shop.broker, shop.collector:
        yield shop


Start = Callable[..., Runtime]


@pytest.fixture
def start(shop: Shop, tmp_path: Path) -> Iterator[Start]:
    """Run an agent, at a listener and by a clock, until the test ends."""
    with contextlib.ExitStack() as ends:

        def starting(terminal_id: str, which: str, clocks: Callable[[], Moment] = runtime.now) -> Runtime:
            settings = config.parse(
                {
                    "terminal_id": terminal_id,
                    "interval_s": 1,
                    "state_dir": str(tmp_path / terminal_id),
                    "broker": {"host": LOOPBACK, "port": shop.ports[which], "ca_file": str(shop.authority.ca_file)},
                    "network": {"enabled": False},
                    "machine": {"enabled": False},
                }
            )
            agent = Runtime(settings, [], clocks=clocks)
            thread = threading.Thread(target=agent.run)
            ends.callback(thread.join, 20)
            ends.callback(agent.put, Stop())
            thread.start()
            return agent

        yield starting


def in_1970() -> Moment:
    """What a machine shows whose clock began at nothing."""
    now_s = time.monotonic()
    return Moment(monotonic_s=now_s, at=EMPTY + timedelta(seconds=now_s))


def test_a_till_that_boots_in_1970_is_told_the_time_and_makes_a_ticket(
    shop: Shop, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start("till-empty", "not begun", in_1970)
    tickets = until(lambda: shop.collector.tickets(subject_id="till-empty"), "a ticket")
    assert [(ticket["component"], ticket["code"]) for ticket in tickets] == [("machine:clock", "clock_wrong")]
    clock = shop.clock_of("till-empty")
    assert clock is not None
    assert clock["conditions"][0]["detail"].endswith("days behind")
    # once to be told, and once more to judge by it
    assert shop.sign_ins("till-empty") == 2
    assert caplog.text.count("only chain and name are judged") == 1
    # what it wrote down in 1970 is kept as it is
    until(lambda: [stream["prefix_seq"] for stream in shop.collector.streams("till-empty")] == [2], "its events")


def test_a_certificate_that_has_ended_is_refused_once_the_time_is_told(
    shop: Shop, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start("till-ended", "ended", in_1970)
    until(lambda: "got one that ended" in caplog.text, "a refusal")
    assert shop.sign_ins("till-ended") == 1
    clock = until(lambda: shop.clock_of("till-ended"), "what it said before it left")
    assert clock["health"] == "fault"


@pytest.mark.parametrize(
    ("which", "clocks"),
    [
        # whatever its clock says, the chain counts
        ("foreign", in_1970),
        # by a right clock the end counts at once
        ("ended", runtime.now),
    ],
)
def test_who_is_not_to_be_trusted_is_refused_at_once(
    shop: Shop, start: Start, caplog: pytest.LogCaptureFixture, which: str, clocks: Callable[[], Moment]
) -> None:
    start("till-stern", which, clocks)
    until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text, "a refusal")
    assert shop.sign_ins("till-stern") == 0


def test_a_certificate_newer_than_the_clock_does_not_lock_out(shop: Shop, start: Start) -> None:
    start("till-behind", "not begun")
    clock = until(lambda: shop.clock_of("till-behind"), "the till behind a certificate that has not begun")
    assert clock["health"] == "ok"  # this one's clock is right: it was the certificate that came too early
