"""What is recognised of the attached devices, from a tree laid out as sysfs, and what is suggested for it."""

import tomllib
from pathlib import Path

import pytest
from tests.agent import stand

from tillwatch_agent import config, recognise
from tillwatch_agent.recognise import VENDORS, Family

EMPTY = config.parse({"terminal_id": "t", "network": {"enabled": False}, "machine": {"enabled": False}})


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A counter: a hub, a printer, a scanner, an adapter, and something that nobody knows."""
    hub = stand.usb_device(tmp_path, "1-1", "05e3:0608")
    (hub / "bDeviceClass").write_text("09\n")
    stand.usb_device(tmp_path, "usb1", "1d6b:0002")
    stand.usb_device(tmp_path, "1-1.1", "04b8:0202", lp="lp0")
    stand.usb_device(tmp_path, "1-1.2", "05e0:1701", tty_name="ttyACM0")
    stand.usb_device(tmp_path, "1-1.3", "0403:6001", tty_name="ttyUSB0")
    stand.usb_device(tmp_path, "1-1.4", "6868:0500")
    return tmp_path


def test_each_device_is_told_with_what_it_is_and_where(sysfs: Path) -> None:
    found = recognise.attached(EMPTY, sysfs)
    assert [(each.family, str(each)) for each in found] == [
        (Family.ESCPOS, "Epson Model (04b8:0202) at /dev/usb/lp0"),
        (Family.SCANNER, "Symbol Model (05e0:1701) at /dev/ttyACM0"),
        (Family.ADAPTER, "FTDI Model (0403:6001) at /dev/ttyUSB0"),
        (None, "Maker Model (6868:0500) in socket 1-1.4"),
    ]
    assert not any(each.is_configured for each in found)


def test_what_is_suggested_is_a_configuration_that_watches_it(sysfs: Path) -> None:
    text = recognise.suggested(recognise.attached(EMPTY, sysfs), EMPTY)
    said = recognise.first_config("till.shop.example") + text
    written = config.parse(tomllib.loads(said))
    assert written.terminal_id == "till"
    assert [(p.name, p.protocol, p.port) for p in written.printer] == [("printer-1", "escpos", "/dev/usb/lp0")]
    assert [(each.component, each.vendor_id) for each in written.usb_device] == [("scanner:scanner-1", "05e0")]
    again = recognise.attached(written, sysfs)
    assert recognise.suggested(again, written) == ""


def test_a_port_that_is_configured_by_its_name_is_not_suggested_again(sysfs: Path) -> None:
    dev = sysfs / "dev"
    settings = config.parse({"terminal_id": "t", "printer": [{"name": "bar", "port": str(dev / "usb/lp0")}]})
    found = {each.device.location: each for each in recognise.attached(settings, sysfs, dev)}
    assert found["1-1.1"].is_configured
    assert not found["1-1.2"].is_configured


def test_a_printer_without_a_node_is_watched_for_its_presence(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-2", "0519:0003")
    stand.usb_device(tmp_path, "1-3", "0519:0003")
    text = recognise.suggested(recognise.attached(EMPTY, tmp_path), EMPTY)
    written = config.parse(tomllib.loads(recognise.first_config("x") + text))
    assert [each.component for each in written.usb_device] == ["usb_device:usb_device-1", "usb_device:usb_device-2"]


def test_what_a_device_calls_itself_cannot_leave_its_comment(tmp_path: Path) -> None:
    device = stand.usb_device(tmp_path, "1-2", "05e0:1701")
    (device / "product").write_text('x\n[broker]\nhost = "198.51.100.1"\n')
    text = recognise.suggested(recognise.attached(EMPTY, tmp_path), EMPTY)
    written = config.parse(tomllib.loads(recognise.first_config("x") + text))
    assert written.broker.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "terminal_id"),
    [("till-7", "till-7"), ("kasse ü.local", "kasse"), ("...", "till-1"), ("a" * 80, "a" * 64)],
)
def test_a_terminal_is_named_after_its_machine(host: str, terminal_id: str) -> None:
    assert tomllib.loads(recognise.first_config(host))["terminal_id"] == terminal_id


def test_vendors_are_told_by_four_lower_case_digits() -> None:
    assert all(len(vendor) == 4 and vendor == vendor.lower() and int(vendor, 16) for vendor in VENDORS)
