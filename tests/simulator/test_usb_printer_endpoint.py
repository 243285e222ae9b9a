"""The simulated control endpoint, packet by packet."""

import pytest

from tillwatch_simulator.devices.usb_printer import Fault, Printer
from tillwatch_simulator.errors import FaultUnknown

PORT_STATUS = bytes.fromhex("A1 01 00 00 00 00 01 00")


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        ([], 0x18),
        ([Fault.PAPER_END], 0x30),
        ([Fault.ERROR], 0x10),
        ([Fault.OFFLINE], 0x08),
        ([Fault.PAPER_END, Fault.OFFLINE], 0x20),
        ([Fault.GARBLED], 0x98),
    ],
)
def test_its_port_status_has_the_bits_of_the_class(faults: list[Fault], status: int) -> None:
    printer = Printer()
    for fault in faults:
        printer.set(fault)
    assert printer.receive(PORT_STATUS[:5]) == b""
    assert printer.receive(PORT_STATUS[5:]) == bytes([status])


def test_its_device_id_is_cut_where_the_host_wants_no_more() -> None:
    asked = bytes.fromhex("A1 00 00 00 00 00 07 00")
    assert Printer().receive(asked) == b"\x00\x3fMFG:T"


def test_a_soft_reset_is_counted_and_any_other_request_stalls() -> None:
    printer = Printer()
    assert printer.receive(bytes.fromhex("21 02 00 00 00 00 00 00")) == b""
    assert printer.soft_resets == 1
    assert printer.receive(bytes.fromhex("A1 07 00 00 00 00 01 00")) == b""


def test_it_describes_itself_and_knows_its_faults() -> None:
    printer = Printer()
    printer.set("slow")
    assert printer.answer_delay_s > 5
    printer.set("unplugged")
    assert printer.unplugged
    assert printer.receive(PORT_STATUS) == b""
    assert printer.describe() == "faults: slow unplugged; port status 18"
    printer.clear("slow")
    assert printer.answer_delay_s == 0.0
    with pytest.raises(FaultUnknown, match="expected one of paper_end"):
        printer.set("on_fire")
