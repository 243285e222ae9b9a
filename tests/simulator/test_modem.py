"""The simulated modem, as a person at its port would see it."""

import pytest

from tillwatch_simulator.devices.modem import LINE_BYTES_MAX, Fault, Modem
from tillwatch_simulator.errors import FaultUnknown


def test_it_echoes_and_answers_between_line_ends() -> None:
    modem = Modem()
    assert modem.receive(b"AT+C") == b"AT+C"
    assert modem.receive(b"SQ\r") == b"SQ\r\r\n+CSQ: 20,99\r\n\r\nOK\r\n"
    modem.set("echo_off")
    assert modem.receive(b"at\r") == b"\r\nOK\r\n"


def test_what_is_no_command_is_not_answered_and_an_unknown_one_is_an_error() -> None:
    modem = Modem()
    modem.set("echo_off")
    assert modem.receive(b"hello\r") == b""
    assert modem.receive(b"x" * 10 * LINE_BYTES_MAX + b"\r") == b""
    assert modem.receive(b"ATD112;\r") == b"\r\nERROR\r\n"


@pytest.mark.parametrize(
    ("fault", "command", "said"),
    [
        (Fault.SIM_ABSENT, b"AT+CPIN?\r", b"\r\n+CME ERROR: 10\r\n"),
        (Fault.SIM_LOCKED, b"AT+CPIN?\r", b"\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n"),
        (Fault.SIM_LOCKED, b"AT+CREG?\r", b"\r\n+CREG: 2,0\r\n\r\nOK\r\n"),
        (Fault.SEARCHING, b"AT+CREG?\r", b"\r\n+CREG: 2,2\r\n\r\nOK\r\n"),
        (Fault.DENIED, b"AT+COPS?\r", b"\r\n+COPS: 0\r\n\r\nOK\r\n"),
        (Fault.ROAMING, b"AT+CEREG?\r", b'\r\n+CEREG: 2,5,"1F00","079D903",7\r\n\r\nOK\r\n'),
        (Fault.NO_SIGNAL_KNOWN, b"AT+CESQ\r", b"\r\n+CESQ: 99,99,255,255,255,255\r\n\r\nOK\r\n"),
        (Fault.NO_EXTENDED_SIGNAL, b"AT+CESQ\r", b"\r\nERROR\r\n"),
        (Fault.SILENT, b"AT\r", b""),
        (Fault.UNPLUGGED, b"AT\r", b""),
        (Fault.GARBLED, b"AT\r", b"\x8d\x8a\xcf\xcb\x8d\x8a"),
    ],
)
def test_a_fault_changes_what_it_says(fault: Fault, command: bytes, said: bytes) -> None:
    modem = Modem()
    modem.set("echo_off")
    modem.set(fault)
    assert modem.receive(command) == said
    modem.clear(fault)
    assert modem.receive(b"AT\r") == b"\r\nOK\r\n"


def test_a_chatty_one_reports_around_its_answers() -> None:
    modem = Modem()
    modem.set("chatty")
    said = modem.receive(b"AT+CREG?\r")
    assert said.count(b"+CREG: ") == 2
    assert said.endswith(b"RING\r\n")


def test_it_describes_itself_and_knows_its_faults() -> None:
    modem = Modem()
    assert (modem.answer_delay_s, modem.unplugged) == (0.0, False)
    modem.set("slow")
    modem.set("unplugged")
    assert modem.answer_delay_s > 1
    assert modem.unplugged
    assert modem.describe() == "faults: slow unplugged; registration 1"
    assert modem.faults == {"slow", "unplugged"}
    with pytest.raises(FaultUnknown, match="expected one of sim_absent"):
        modem.set("on_fire")
