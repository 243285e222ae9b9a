"""The simulated Star, byte by byte as the manuals have it."""

import pytest

from tillwatch_simulator.devices.star import Fault, Printer
from tillwatch_simulator.errors import FaultUnknown

STATUS = b"\x1b\x06\x01"
WELL = bytes.fromhex("23 06 00 00 00 00 00 00 00")


def test_it_answers_a_request_in_pieces_among_print_data() -> None:
    printer = Printer()
    assert printer.receive(b"2 espresso\n\x1b") == b""
    assert printer.receive(b"\x06") == b""
    assert printer.receive(b"\x01") == WELL


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.COVER_OPEN, "23 06 28 00 00 00 00 00 00"),
        (Fault.PAPER_END, "23 06 08 00 00 08 00 00 00"),
        (Fault.PAPER_NEAR_END, "23 06 00 00 00 04 00 00 00"),
        (Fault.CUTTER_ERROR, "23 06 08 08 00 00 00 00 00"),
        (Fault.DRAWER_OPEN, "23 06 04 00 00 00 00 00 00"),
        (Fault.OFFLINE, "23 06 08 00 00 00 00 00 00"),
        (Fault.OVERFLOW, "23 06 08 00 40 00 00 00 00"),
    ],
)
def test_a_fault_has_its_bit(fault: Fault, status: str) -> None:
    printer = Printer()
    printer.set(fault)
    assert printer.receive(STATUS) == bytes.fromhex(status)


def test_it_speaks_unasked_only_where_it_was_switched_on() -> None:
    printer = Printer()
    assert printer.set("cover_open") == b""
    assert printer.receive(b"\x1b\x1e\x61\x01") == bytes.fromhex("23 06 28 00 00 00 00 00 00")
    assert printer.clear("cover_open") == WELL
    assert printer.clear("cover_open") == b"", "nothing has changed"
    assert printer.receive(b"\x1b\x1e\x61\x00") == b""
    assert printer.set("paper_end") == b""


def test_esc_pos_means_something_else_to_it() -> None:
    printer = Printer()
    assert printer.receive(b"\x10\x04\x01") == b"\x10"
    assert printer.receive(b"\x10\x04\x04") == b"\x10\x10", "its n is another EOT"
    printer.set("paper_end")
    printer.set("mechanical_error")
    assert printer.receive(b"\x04\x05") == bytes([0x18, 0x28])


def test_silent_garbled_unplugged_and_slow_are_what_they_say() -> None:
    printer = Printer()
    assert printer.answer_delay_s == 0.0
    for fault in ("silent", "unplugged"):
        printer.set(fault)
        assert printer.receive(STATUS) == b""
        printer.clear(fault)
    printer.set("garbled")
    assert all(byte & 0x11 for byte in printer.receive(STATUS)[1:])
    printer.set("slow")
    assert printer.answer_delay_s > 1
    printer.set("unplugged")
    assert printer.unplugged
    assert printer.describe() == "faults: garbled slow unplugged; status: 23 06 00 00 00 00 00 00 00"
    with pytest.raises(FaultUnknown, match="expected one of cover_open"):
        printer.set("on_fire")
