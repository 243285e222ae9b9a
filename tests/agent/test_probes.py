"""Probes: a driver joined to a port, on real lines where the line matters, on a fake port where its failures do."""

import logging
import shutil
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from tests.agent import stand

from tillwatch_agent import config, ports, probes
from tillwatch_agent.config import PrinterConfig
from tillwatch_agent.drivers import Attachment, Device, Driver, Timing, escpos
from tillwatch_agent.machine import MachineProbe
from tillwatch_agent.network import NetworkProbe
from tillwatch_agent.plugging import UsbIds, Wanted
from tillwatch_agent.ports import (
    Port,
    PortAbsent,
    PortBusy,
    PortError,
    PortLost,
    PortRefused,
    PortUnreachable,
    SerialPort,
)
from tillwatch_agent.power import PowerProbe
from tillwatch_agent.probes import BUSY_POLLS_MAX, FRESH_POLLS, DeviceProbe
from tillwatch_agent.usb import UsbProbe
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health, PowerState

BRISK = Timing(reply_s=0.1, late_s=0.1, settle_s=0.005)
"""Long enough for a pty on a busy machine, short enough for a silent printer to be tested."""


class FakePort(Port):
    """A port that fails as it is told to, at an open or at a request; else it answers that all is well."""

    attachment = Attachment.USB

    def __init__(self, *, at_open: PortError | None = None, at_request: list[PortError] | None = None) -> None:
        super().__init__(name="fake", allowed=escpos.ALLOWED)
        self.at_open = at_open
        self.at_request = at_request or []
        self.opens = 0
        self._ends: tuple[socket.socket, socket.socket] | None = None

    @property
    def is_open(self) -> bool:
        return self._ends is not None

    def open(self) -> None:
        self.opens += 1
        if self.at_open:
            raise self.at_open
        self._ends = socket.socketpair()

    def close(self) -> None:
        ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()

    def _fileno(self) -> int:
        assert self._ends
        return self._ends[0].fileno()

    def _send(self, data: bytes) -> None:
        if self.at_request:
            raise self.at_request.pop()
        assert self._ends
        self._ends[1].sendall(stand.WELL.get(data, b"_x\0"))


def settings(port: str = "/dev/null", *, name: str = "bar", **more: str) -> PrinterConfig:
    return PrinterConfig(name=name, port=port, **more)  # type: ignore[arg-type]  # each setting has its own type


def driver_of(printer: PrinterConfig) -> Driver:
    return escpos.driver(Device(kind=printer.component_kind, name=printer.name, settings=printer.driver_settings))


def on_line(path: str | Path, **more: str) -> DeviceProbe:
    printer = settings(str(path), **more)
    port = ports.for_bytes(printer, escpos.ALLOWED)
    return DeviceProbe(driver_of(printer), port, poll_s=printer.poll_s, timing=BRISK)


def fake(port: Port, **more: str) -> DeviceProbe:
    return DeviceProbe(driver_of(settings(**more)), port, poll_s=5.0, timing=BRISK)


@pytest.fixture
def printer() -> Iterator[stand.PtyPrinter]:
    with stand.pty_printer() as printer:
        yield printer


def test_a_healthy_printer_on_a_serial_line_is_ok(printer: stand.PtyPrinter) -> None:
    seen, drawer = on_line(printer.path, drawer_open_level="high").poll()
    assert (seen.component, seen.health, seen.power_state) == ("pos_printer:bar", Health.OK, PowerState.ONLINE)
    assert (drawer.component, drawer.health) == ("cash_drawer:bar", Health.OK)


def test_a_healthy_printer_on_tcp_is_ok() -> None:
    with stand.tcp_printer() as port:
        (seen,) = on_line(f"tcp://127.0.0.1:{port}").poll()
    assert (seen.health, seen.power_state) == (Health.OK, PowerState.ONLINE)


def test_an_open_cover_is_seen_and_seen_to_close(printer: stand.PtyPrinter) -> None:
    probe = on_line(printer.path)
    said = [set(probe.poll()[0].true_codes)]
    printer.answers |= {b"\x10\x04\x01": b"\x1a", b"\x10\x04\x02": b"\x16"}
    said.append(set(probe.poll()[0].true_codes))
    printer.answers |= stand.WELL
    said.append(set(probe.poll()[0].true_codes))
    assert said == [set(), {Code.COVER_OPEN}, set()]


def test_a_silent_printer_on_a_serial_line_is_unknown() -> None:
    with stand.pty_printer({}) as printer:
        (seen,) = on_line(printer.path).poll()
    assert (seen.health, seen.reason, seen.power_state) == (Health.UNKNOWN, Code.NO_RESPONSE, PowerState.OFF_OFFLINE)


def test_a_printer_that_takes_a_connection_and_is_silent_is_powered() -> None:
    with stand.tcp_printer({}) as port:
        (seen,) = on_line(f"tcp://127.0.0.1:{port}").poll()
    assert (seen.health, seen.reason, seen.power_state) == (Health.UNKNOWN, Code.NO_RESPONSE, PowerState.OFFLINE)


def test_a_wrong_device_on_the_line_is_garbled() -> None:
    with stand.pty_printer(dict.fromkeys(stand.WELL, b"\xff\xff")) as printer:
        (seen,) = on_line(printer.path).poll()
    assert (seen.health, seen.reason) == (Health.UNKNOWN, Code.GARBLED_RESPONSE)


def test_what_a_till_left_on_the_line_is_not_taken_for_an_answer(printer: stand.PtyPrinter) -> None:
    probe = on_line(printer.path)
    printer.send(b"\x1a\x1a")
    assert probe.poll()[0].health is Health.OK


def test_only_status_and_identity_are_ever_written(printer: stand.PtyPrinter) -> None:
    on_line(printer.path).poll()
    requests = {printer.heard[at : at + 3] for at in range(0, len(printer.heard), 3)}
    assert requests <= escpos.ALLOWED


def test_between_two_looks_the_port_is_free_for_the_till(printer: stand.PtyPrinter) -> None:
    probe = on_line(printer.path)
    for _ in range(2):
        probe.poll()
        till = SerialPort(name="till", allowed=escpos.ALLOWED, locate=lambda: Path(printer.path))
        till.open()
        till.close()


@pytest.mark.parametrize(
    ("error", "health", "reason", "power"),
    [
        (PortAbsent("gone"), Health.ABSENT, Code.NOT_ATTACHED, PowerState.OFF),
        (PortBusy("taken"), Health.UNKNOWN, Code.PORT_BUSY, PowerState.UNKNOWN),
        (PortRefused("denied"), Health.UNKNOWN, Code.PORT_REFUSED, PowerState.UNKNOWN),
        (PortUnreachable("refused"), Health.UNKNOWN, Code.NO_RESPONSE, PowerState.OFF_OFFLINE),
        # its own USB node was opened: it has power
        (PortLost("hung up"), Health.UNKNOWN, Code.NO_RESPONSE, PowerState.OFFLINE),
    ],
)
def test_a_port_that_cannot_be_used_says_why(error: PortError, health: Health, reason: str, power: PowerState) -> None:
    probe = fake(FakePort(at_open=error), drawer_open_level="low")
    seen, drawer = probe.poll()
    assert (seen.health, seen.reason, seen.power_state) == (health, reason, power)
    assert seen.true_codes == {reason: str(error)}
    assert (drawer.health, drawer.reason, drawer.true_codes) == (Health.UNKNOWN, reason, {})


def test_a_pulled_cable_is_absent_and_its_return_is_found(tmp_path: Path) -> None:
    link = tmp_path / "by-id"
    with stand.pty_printer() as first:
        link.symlink_to(first.path)
        probe = on_line(link)
        said = [probe.poll()[0].health]
    link.unlink()
    said.append(probe.poll()[0].health)
    with stand.pty_printer() as second:
        link.symlink_to(second.path)
        said.append(probe.poll()[0].health)
    assert said == [Health.OK, Health.ABSENT, Health.OK]


def test_a_port_lost_in_a_look_is_looked_for_once_more() -> None:
    port = FakePort(at_request=[PortLost("unplugged")])
    assert fake(port).poll()[0].health is Health.OK
    assert (port.opens, port.is_open) == (2, False)


def test_a_port_lost_again_and_again_is_given_up_for_this_look() -> None:
    port = FakePort(at_request=[PortLost("unplugged")] * 9)
    (seen,) = fake(port).poll()
    assert (seen.reason, seen.power_state) == (Code.NO_RESPONSE, PowerState.OFFLINE)
    assert (port.opens, port.is_open) == (2, False)


def test_a_busy_port_is_left_alone_for_ever_longer_and_its_last_answer_stands() -> None:
    port = FakePort(at_open=PortBusy("taken"))
    probe = fake(port)
    opened_at = []
    for poll in range(60):
        before = port.opens
        assert probe.poll()[0].reason == Code.PORT_BUSY
        if port.opens > before:
            opened_at.append(poll)
    assert opened_at == [0, 2, 5, 10, 19, 32, 45, 58]
    assert max(later - earlier for earlier, later in pairwise(opened_at)) == BUSY_POLLS_MAX + 1


def test_a_port_that_is_free_again_is_asked_at_the_usual_pace() -> None:
    port = FakePort(at_open=PortBusy("taken"))
    probe = fake(port)
    probe.poll()
    port.at_open = None
    said = [probe.poll()[0].health for _ in range(4)]
    assert said == [Health.UNKNOWN, Health.OK, Health.OK, Health.OK]
    assert port.opens == 4


class BrieflyBusyPort(FakePort):
    """Somebody has it for the first two opens, as an agent beside us has it for one look."""

    def open(self) -> None:
        self.at_open = PortBusy("taken") if self.opens < 2 else None
        super().open()


def test_who_looks_once_waits_for_a_port_that_is_had_by_turns() -> None:
    port = BrieflyBusyPort()
    (seen,) = probes.poll_all([fake(port)])
    assert (seen.health, port.opens) == (Health.OK, 3)


def test_who_looks_once_calls_a_port_busy_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "BUSY_RETRIES_MAX", 2)
    port = FakePort(at_open=PortBusy("taken"))
    (seen,) = probes.poll_all([fake(port)])
    assert (seen.reason, port.opens) == (Code.PORT_BUSY, 3)


def test_a_line_that_another_program_has_is_busy_and_not_written_to(printer: stand.PtyPrinter) -> None:
    till = SerialPort(name="till", allowed=escpos.ALLOWED, locate=lambda: Path(printer.path))
    till.open()
    (seen,) = on_line(printer.path).poll()
    till.close()
    assert (seen.health, seen.reason, printer.heard) == (Health.UNKNOWN, Code.PORT_BUSY, b"")


def test_forgetting_learns_anew_and_ends_the_waiting(printer: stand.PtyPrinter) -> None:
    probe = on_line(printer.path)
    probe.poll()
    probe.poll()
    asked_twice = printer.heard
    probe.forget()
    probe.poll()
    assert asked_twice.count(escpos.Request.MAKER.value) == 1
    assert printer.heard.count(escpos.Request.MAKER.value) == 2
    busy = FakePort(at_open=PortBusy("taken"))
    waiting = fake(busy)
    waiting.poll()
    waiting.forget()
    waiting.poll()
    assert busy.opens == 2


def test_only_the_turns_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    port = FakePort(at_open=PortAbsent("no such node"))
    probe = fake(port)
    with caplog.at_level(logging.INFO):
        for at_open in (port.at_open, port.at_open, None, None):
            port.at_open = at_open
            probe.poll()
    assert [record.message for record in caplog.records] == [
        "pos_printer:bar: not_attached (no such node)",
        "pos_printer:bar answers",
    ]


def test_closing_closes_the_port() -> None:
    port = FakePort()
    port.open()
    fake(port).close()
    assert not port.is_open


def test_a_configuration_becomes_its_probes_and_opens_nothing() -> None:
    document = {
        "terminal_id": "t",
        "printer": [{"name": "bar", "port": "/dev/nowhere"}, {"name": "bon", "port": "tcp://192.0.2.1:9100"}],
        "usb_device": [{"name": "s", "kind": "scanner", "vendor_id": "05e0", "product_id": "1701"}],
        "acquirer": [{"name": "a", "host": "192.0.2.2", "port": 443}],
    }
    built = probes.build(config.parse(document))
    assert [type(probe) for probe in built] == [
        DeviceProbe,
        DeviceProbe,
        UsbProbe,
        NetworkProbe,
        MachineProbe,
        PowerProbe,
    ]
    assert [probe.name for probe in built] == [
        "pos_printer:bar",
        "pos_printer:bon",
        "scanner:s",
        "network:uplink",
        "machine:self",
        "pos_power:self",
    ]


def test_what_is_not_enabled_is_not_watched() -> None:
    assert (
        probes.build(config.parse({"terminal_id": "t", "network": {"enabled": False}, "machine": {"enabled": False}}))
        == ()
    )


def test_all_probes_are_polled_and_told_in_their_order() -> None:
    built = [fake(FakePort(), name=f"p{n}") for n in range(20)]
    assert [seen.component for seen in probes.poll_all(built)] == [f"pos_printer:p{n}" for n in range(20)]
    assert probes.poll_all([]) == ()


def on_plug(sysfs: Path, port: FakePort, *others: Wanted) -> DeviceProbe:
    """Give a printer behind a node of a tree that is laid out as sysfs."""
    port.node = Path("/dev/usb/lp0")
    return DeviceProbe(driver_of(settings()), port, poll_s=5.0, timing=BRISK, others=others, sysfs=sysfs)


@pytest.mark.parametrize(
    ("came", "code", "detail"),
    [
        (None, Code.NOT_ATTACHED, "fake: gone"),
        # the printer itself is there, and its node is not yet
        ("04b8:0202", Code.NOT_ATTACHED, "fake: gone"),
        # another device of the counter was plugged in there
        ("05e0:1701", Code.NOT_ATTACHED, "fake: gone"),
        ("1234:5678", Code.UNKNOWN_DEVICE, "expected 04b8:0202 in socket 1-1.3, got Maker Model (1234:5678)"),
    ],
)
def test_of_a_device_that_is_gone_it_is_told_where_it_was_and_what_is_there(
    tmp_path: Path, came: str | None, code: str, detail: str
) -> None:
    stand.usb_device(tmp_path, "1-1.3", "04b8:0202", lp="lp0")
    port = FakePort()
    scanner = Wanted(component="scanner:1", ids=UsbIds(vendor_id="05e0", product_id="1701"))
    probe = on_plug(tmp_path, port, scanner)
    assert probe.poll()[0].facts["location"] == "1-1.3"
    shutil.rmtree(tmp_path / "devices")
    (tmp_path / "bus/usb/devices/1-1.3").unlink()
    if came:
        stand.usb_device(tmp_path, "1-1.3", came)
    port.at_open = PortAbsent("fake: gone")
    (gone,) = probe.poll()
    assert (gone.health, gone.true_codes, gone.facts) == (Health.ABSENT, {code: detail}, {"location": "1-1.3"})


def test_what_hangs_on_a_plug_is_told_from_what_is_reached_otherwise() -> None:
    watched = config.parse(
        {
            "terminal_id": "t",
            "printer": [{"name": "a", "port": "/dev/ttyUSB0"}, {"name": "b", "port": "tcp://192.0.2.1:9100"}],
            "usb_device": [{"name": "c", "vendor_id": "05e0", "product_id": "1701"}],
        }
    )
    assert {probe.name: probe.hangs_on_plug for probe in probes.build(watched)} == {
        "pos_printer:a": True,
        "pos_printer:b": False,
        "usb_device:c": True,
        "network:uplink": False,
        "machine:self": False,
        "pos_power:self": False,
    }


def test_a_modems_newest_look_is_no_more_given_when_it_is_old(
    monkeypatch: pytest.MonkeyPatch, printer: stand.PtyPrinter
) -> None:
    probe = on_line(printer.path)
    assert probe.newest() is None
    (seen,) = probe.poll()
    assert probe.newest() is seen
    begun_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: begun_s + FRESH_POLLS * probe.poll_s + 1)
    assert probe.newest() is None
