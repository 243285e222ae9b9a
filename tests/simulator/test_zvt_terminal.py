"""The simulated ZVT terminal, step by step as its specification has it."""

import pytest

from tillwatch_simulator.devices.zvt import FRAME_BYTES_MAX, Fault, Terminal, frame
from tillwatch_simulator.errors import FaultUnknown

ENQUIRY = bytes.fromhex("05 01 00")
TAKEN = bytes.fromhex("80 00 00")
READY = bytes.fromhex("06 0F 0B F0 F0 F7 32 2E 31 34 2E 31 35 00")
ACK, NAK = b"\x06", b"\x15"


def test_on_a_line_each_frame_waits_for_its_acknowledgement() -> None:
    terminal = Terminal()
    whole = frame(ENQUIRY)
    assert terminal.receive(whole[:4]) == b""
    assert terminal.receive(whole[4:]) == ACK + frame(TAKEN)
    assert terminal.receive(ACK) == frame(READY)
    assert terminal.receive(NAK) == frame(READY), "asked for again"
    assert terminal.receive(ACK + frame(TAKEN)) == ACK
    assert terminal.receive(ACK) == b""


def test_over_tcp_the_same_stands_alone() -> None:
    terminal = Terminal(over_tcp=True)
    assert terminal.receive(ENQUIRY) == TAKEN + READY
    assert terminal.receive(TAKEN) == b""


def test_intermediate_states_come_one_by_one() -> None:
    terminal = Terminal(over_tcp=True)
    terminal.set("intermediate")
    said = [terminal.receive(ENQUIRY), *(terminal.receive(TAKEN) for _ in range(4))]
    state = bytes.fromhex("04 FF 01 0E")
    assert said == [TAKEN + state, state, state, READY, b""]


def test_a_worn_frame_is_refused_and_noise_between_is_dropped() -> None:
    terminal = Terminal()
    whole = frame(ENQUIRY)
    assert terminal.receive(whole[:-1] + b"\x00") == NAK
    assert terminal.receive(b"noise" * FRAME_BYTES_MAX + whole) == ACK + frame(TAKEN)
    assert terminal.receive(b"\x10") == b""


def test_a_doubled_dle_is_one_byte() -> None:
    terminal = Terminal(password="101010")
    asked = frame(bytes.fromhex("05 01 03 10 10 10"))
    assert terminal.receive(asked) == ACK + frame(TAKEN)


@pytest.mark.parametrize("apdu", ["06 01 07 04 00 00 00 00 01 00", "05 01 03 00 00 00"])
def test_a_payment_and_a_wrong_password_are_refused(apdu: str) -> None:
    assert Terminal(over_tcp=True).receive(bytes.fromhex(apdu)) == bytes.fromhex("84 83 00")


@pytest.mark.parametrize(
    ("fault", "state"),
    [(Fault.BUSY, 0x9C), (Fault.OUT_OF_ORDER, 0xDF), (Fault.NO_HOST, 0xA0), (Fault.CARD_INSERTED, 0xDC)],
)
def test_a_fault_is_the_state_byte(fault: Fault, state: int) -> None:
    terminal = Terminal(over_tcp=True)
    terminal.set(fault)
    assert terminal.receive(ENQUIRY)[-1] == state
    terminal.clear(fault)
    assert terminal.receive(ENQUIRY)[-1] == 0


def test_silent_garbled_and_slow_are_what_they_say() -> None:
    terminal = Terminal(over_tcp=True)
    assert terminal.answer_delay_s == 0.0
    terminal.set("slow")
    assert terminal.answer_delay_s > 5
    terminal.set("garbled")
    assert terminal.receive(ENQUIRY)[:1] == bytes([0x80 ^ 0x5A])
    terminal.set("silent")
    assert terminal.receive(ENQUIRY) == b""
    terminal.set("unplugged")
    assert terminal.unplugged
    assert terminal.describe() == "faults: garbled silent slow unplugged; state 00"
    with pytest.raises(FaultUnknown, match="expected one of initialisation_required"):
        terminal.set("on_fire")
