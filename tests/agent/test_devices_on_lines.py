"""Each family configured as a shop would, over a real pty or socket, before a simulated device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tillwatch_agent import config, probes
from tillwatch_agent.drivers import Timing
from tillwatch_agent.health import Observation
from tillwatch_agent.probes import DeviceProbe
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator.devices import Device, escpos, modem, star, usb_printer, zvt
from tillwatch_simulator.ports import Port, PtyPort, TcpPort

BRISK = Timing(reply_s=1.0, late_s=0.1, settle_s=0.005)

ROWS: list[Any] = [
    pytest.param("printer", "escpos", escpos.Printer, "cover_open", {"cover_open"}, True, id="escpos on a line"),
    pytest.param("printer", "escpos", escpos.Printer, "paper_end", {"paper_end"}, False, id="escpos over TCP"),
    pytest.param("printer", "star", star.Printer, "cover_open", {"cover_open"}, True, id="star on a line"),
    pytest.param("printer", "star", star.Printer, "cutter_error", {"cutter_error"}, False, id="star over TCP"),
    pytest.param(
        "printer", "escpos", star.Printer, "paper_end", {"garbled_response"}, True, id="a star taken for another"
    ),
    pytest.param("modem", "at", modem.Modem, "searching", {"not_registered"}, True, id="modem"),
    pytest.param("modem", "at", modem.Modem, "chatty", set(), True, id="modem that chatters"),
    pytest.param(
        "payment_device", "zvt", zvt.Terminal, "reader_defective", {"reader_failure"}, True, id="zvt on a line"
    ),
    pytest.param("payment_device", "zvt", zvt.Terminal, "noise_once", set(), True, id="zvt on a worn line"),
    pytest.param(
        "payment_device",
        "zvt",
        lambda: zvt.Terminal(over_tcp=True),
        "no_host",
        {"host_unreachable"},
        False,
        id="zvt over TCP",
    ),
]


@contextmanager
def served(device: Device, folder: Path, *, on_line: bool) -> Iterator[Port]:
    with PtyPort(device, folder / "port") if on_line else TcpPort(device, 0) as port:
        yield port


def probe_of(table: str, protocol: str, port: Port) -> DeviceProbe:
    line = {"name": "1", "protocol": protocol, "port": port.address}
    document = {"terminal_id": "t", table: line if table == "modem" else [line]}
    probe, *_ = probes.build(config.parse(document))
    assert isinstance(probe, DeviceProbe)
    probe._timing = BRISK
    return probe


@pytest.mark.parametrize(("table", "protocol", "device", "fault", "codes", "on_line"), ROWS)
def test_a_fault_is_seen_to_come_and_go_and_a_pulled_cable_too(  # noqa: PLR0917 - a table's columns
    table: str,
    protocol: str,
    device: Callable[[], Device],
    fault: str,
    codes: set[str],
    on_line: bool,
    tmp_path: Path,
) -> None:
    def seen() -> Observation:
        return probe.poll()[0]

    with served(device(), tmp_path, on_line=on_line) as port:
        probe = probe_of(table, protocol, port)
        port.set(fault)
        assert set(seen().true_codes) == codes
        port.clear(fault)
        port.set("unplugged")
        gone = seen()
        assert gone.health in {Health.ABSENT, Health.UNKNOWN}
        assert gone.reason == ("not_attached" if on_line else "no_response")
        port.clear("unplugged")
        assert (seen().health is Health.OK) is (codes != {"garbled_response"})


def test_the_simulated_control_endpoint_is_served_as_any_device() -> None:
    with TcpPort(usb_printer.Printer(), 0) as port:
        assert port.describe().endswith("port status 18")
