"""The USB printer class: SETUP packets, port status, device id, and the kernel's ioctls behind them."""

import array
import errno
import os
from pathlib import Path

import pytest
from tests.agent.talks import talk

from tillwatch_agent import config, probes, usb_control
from tillwatch_agent.drivers import Attachment, Device, SettingsInvalid, usb_printer
from tillwatch_agent.drivers.usb_printer import DEVICE_ID, PORT_STATUS
from tillwatch_agent.ports import ForbiddenBytes, PortLost
from tillwatch_agent.probes import DeviceProbe
from tillwatch_agent.usb_control import LPGETSTATUS, LPIOC_GET_DEVICE_ID, UsbControlPort
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health, PowerState
from tillwatch_simulator.devices.usb_printer import Fault, Printer

DRIVER = usb_printer.driver(Device(kind="pos_printer", name="bar"))


def test_only_the_two_questions_of_the_class_can_be_made() -> None:
    assert {bytes.fromhex("A1 01 00 00 00 00 01 00"), bytes.fromhex("A1 00 00 00 00 00 FF 03")} == usb_printer.ALLOWED


@pytest.mark.parametrize(
    ("status", "true", "undetermined"),
    [
        (0x18, set(), set()),
        (0x38, {Code.PAPER_END}, set()),  # Epson DFX-9000, p. 38
        (0x30, {Code.PAPER_END}, {Code.DEVICE_ERROR}),  # EPIC3000, p. 249
        (0x20, {Code.PAPER_END}, {Code.DEVICE_ERROR, Code.OFFLINE}),
        (0x10, {Code.DEVICE_ERROR}, set()),
        (0x08, {Code.OFFLINE}, set()),
        (0x00, {Code.DEVICE_ERROR}, {Code.OFFLINE}),
    ],
)
def test_a_port_status_is_read(status: int, true: set[str], undetermined: set[str]) -> None:
    seen = talk(DRIVER, lambda request: bytes([status]) if request == PORT_STATUS else b"").seen
    assert set(seen.true_codes) == true
    assert seen.undetermined == undetermined
    assert (seen.health, seen.power_state) == (
        (Health.FAULT, PowerState.OFFLINE) if true else (Health.OK, PowerState.ONLINE)
    )


@pytest.mark.parametrize("received", [b"\x98", b"\x19", b"\x58", b"\x18\x18", b"\xff"])
def test_what_is_no_port_status_is_garbled(received: bytes) -> None:
    assert talk(DRIVER, lambda _: received, bytewise=False).seen.reason == Code.GARBLED_RESPONSE


def device_id(text: bytes) -> bytes:
    return (len(text) + 2).to_bytes(2, "big") + text


@pytest.mark.parametrize(
    ("received", "facts"),
    [
        (
            device_id(b"MFG:EPSON;CMD:ESC/POS;MDL:TM-T88V;"),
            {"maker": "EPSON", "command_set": "ESC/POS", "model": "TM-T88V"},
        ),
        (
            device_id(b"MANUFACTURER:Star;MODEL: TSP143 ;SERIALNUMBER:1;"),
            {"maker": "Star", "model": "TSP143", "serial_number": "1"},
        ),
        (device_id(b"MFG:\x07;MDL:;X"), {}),
        (device_id(b""), {}),
        (b"\x00\x40MFG:EPSON;", {}),  # cut short
        (b"\x00", {}),
        (b"", {}),
    ],
)
def test_a_device_id_is_read(received: bytes, facts: dict[str, str]) -> None:
    assert usb_printer.read_device_id(received) == facts


def test_a_printer_is_asked_once_who_it_is() -> None:
    printer = Printer()
    first = talk(DRIVER, printer.receive)
    assert first.requests == [PORT_STATUS, DEVICE_ID]
    assert first.seen.facts == {
        "maker": "TILLWATCH",
        "model": "TWU-80",
        "command_set": "ESC/POS",
        "serial_number": "U0000001",
    }
    second = talk(DRIVER, printer.receive, first.looked.memory)
    assert (second.requests, second.seen.facts) == ([PORT_STATUS], first.seen.facts)
    assert printer.soft_resets == 0


TOLD = {
    Fault.PAPER_END: Code.PAPER_END,
    Fault.ERROR: Code.DEVICE_ERROR,
    Fault.OFFLINE: Code.OFFLINE,
    Fault.SILENT: Code.NO_RESPONSE,
    Fault.UNPLUGGED: Code.NO_RESPONSE,
    Fault.GARBLED: Code.GARBLED_RESPONSE,
}


@pytest.mark.parametrize(("fault", "code"), TOLD.items())
def test_each_fault_of_the_simulated_printer_is_told(fault: Fault, code: str) -> None:
    printer = Printer()
    printer.set(fault)
    assert set(talk(DRIVER, printer.receive, attachment=Attachment.USB).seen.true_codes) == {code}
    printer.clear(fault)
    assert talk(DRIVER, printer.receive).seen.true_codes == {}


def test_a_printer_that_does_not_say_who_it_is_is_well() -> None:
    printer = Printer()
    printer.set("no_id")
    assert talk(DRIVER, printer.receive).seen.health is Health.OK


class Kernel:
    """usblp over the simulated printer: ioctls in, control transfers out."""

    def __init__(self, printer: Printer) -> None:
        self.printer = printer
        self.fails_with = 0
        self.numbers: list[int] = []

    def __call__(self, fd: int, number: int, buffer: "array.array[int]") -> int:
        os.fstat(fd)
        self.numbers.append(number)
        if self.fails_with:
            raise OSError(self.fails_with, os.strerror(self.fails_with))
        answer = self.printer.receive({LPGETSTATUS: PORT_STATUS, LPIOC_GET_DEVICE_ID: DEVICE_ID}[number])
        if not answer:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        buffer[: len(answer)] = array.array("B", answer)
        return len(answer)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    os.mkfifo(tmp_path / "lp0")
    return Kernel(Printer())


def port_of(kernel: Kernel, tmp_path: Path) -> UsbControlPort:
    locate = lambda: tmp_path / "lp0"  # noqa: E731 - what a configuration would find
    return UsbControlPort(name="lp0", allowed=usb_printer.ALLOWED, locate=locate, ioctl=kernel)


def test_the_ioctls_are_those_of_usblp() -> None:
    assert (LPGETSTATUS, LPIOC_GET_DEVICE_ID) == (0x060B, 0x83FF5001)


def test_a_probe_sees_a_printer_through_the_kernels_ioctls(kernel: Kernel, tmp_path: Path) -> None:
    probe = DeviceProbe(DRIVER, port_of(kernel, tmp_path), poll_s=1.0)
    said = [set(probe.poll()[0].true_codes)]
    kernel.printer.set("paper_end")
    said.append(set(probe.poll()[0].true_codes))
    assert said == [set(), {Code.PAPER_END}]
    assert kernel.numbers == [LPGETSTATUS, LPIOC_GET_DEVICE_ID, LPGETSTATUS]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EIO, Code.NO_RESPONSE), (errno.ENODEV, Code.NO_RESPONSE)],
)
def test_a_transfer_that_fails_is_silence_and_a_pulled_cable_is_lost(
    kernel: Kernel, tmp_path: Path, number: int, reason: str
) -> None:
    kernel.fails_with = number
    (seen,) = DeviceProbe(DRIVER, port_of(kernel, tmp_path), poll_s=1.0).poll()
    assert (seen.health, seen.reason, seen.power_state) == (Health.UNKNOWN, reason, PowerState.OFFLINE)


def test_a_soft_reset_never_leaves(kernel: Kernel, tmp_path: Path) -> None:
    port = port_of(kernel, tmp_path)
    port.open()
    with pytest.raises(ForbiddenBytes):
        port.write(bytes.fromhex("21 02 00 00 00 00 00 00"))
    assert port.drain(5.0) == 0
    port.close()
    with pytest.raises(PortLost):
        port.write(PORT_STATUS)


def test_it_is_configured_by_its_protocol_and_its_node() -> None:
    built = probes.build(
        config.parse(
            {"terminal_id": "t", "printer": [{"name": "b", "port": "/dev/usb/lp0", "protocol": "usb_printer"}]}
        )
    )
    assert isinstance(built[0], DeviceProbe)
    assert isinstance(built[0]._port, usb_control.UsbControlPort)
    with pytest.raises(
        config.ConfigError, match="port: expected /dev/usb/lp0 or the like for usb_printer, got /dev/ttyS0"
    ):
        probes.build(
            config.parse(
                {"terminal_id": "t", "printer": [{"name": "b", "port": "/dev/ttyS0", "protocol": "usb_printer"}]}
            )
        )


def test_settings_that_it_does_not_know_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match="drawer_open_level: unknown key"):
        usb_printer.driver(Device(kind="pos_printer", name="b", settings={"drawer_open_level": "high"}))
