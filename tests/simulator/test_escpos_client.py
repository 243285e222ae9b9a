"""python-escpos, a client by others, reads online and paper states from the simulated printer.

Its masks (3.1): online 0x08; no paper 0x72, paper low 0x1E, paper 0x12. It does not look at fixed bits, and takes
silence on a serial line for plenty of paper: what it says then is its own, and why the agent does not ask as it does.
"""

from pathlib import Path

import pytest
from escpos.printer import Network, Serial

from tillwatch_simulator.devices.escpos import Fault, Printer
from tillwatch_simulator.ports import PtyPort, TcpPort

TIMEOUT_S = 0.3
"""It reads a serial line until this has passed, whatever has come; the printer answers in a few milliseconds."""

PLENTY, LOW, NONE = 2, 1, 0

SEEN = {
    None: (True, PLENTY),
    Fault.COVER_OPEN: (False, PLENTY),
    Fault.PAPER_END: (False, NONE),
    Fault.PAPER_NEAR_END: (True, LOW),
    Fault.CUTTER_ERROR: (False, PLENTY),
    Fault.UNRECOVERABLE_ERROR: (False, PLENTY),
    Fault.RECOVERABLE_ERROR: (False, PLENTY),
    Fault.HEAD_HOT: (False, PLENTY),
    Fault.DRAWER_OPEN: (True, PLENTY),
    Fault.FEED_BUTTON: (False, PLENTY),
    Fault.GARBLED: (True, NONE),  # 0x81: it reads "online" and "no paper" out of noise
}


@pytest.mark.parametrize(("fault", "state"), SEEN.items())
def test_on_a_serial_line_it_reads_what_the_printer_has(
    fault: Fault | None, state: tuple[bool, int], tmp_path: Path
) -> None:
    with PtyPort(Printer(), tmp_path / "printer") as port:
        if fault:
            port.set(fault)
        client = Serial(port.address, timeout=TIMEOUT_S)
        assert (client.is_online(), client.paper_status()) == state
        client.close()


@pytest.mark.parametrize(("fault", "state"), SEEN.items())
def test_on_tcp_it_reads_what_the_printer_has(fault: Fault | None, state: tuple[bool, int]) -> None:
    with TcpPort(Printer(), 0) as port:
        if fault:
            port.set(fault)
        client = Network("127.0.0.1", int(port.address.rpartition(":")[2]), timeout=5)
        assert (client.is_online(), client.paper_status()) == state
        client.close()


def test_silence_on_a_serial_line_is_offline_with_plenty_of_paper_to_it(tmp_path: Path) -> None:
    with PtyPort(Printer(), tmp_path / "printer") as port:
        port.set("silent")
        client = Serial(port.address, timeout=TIMEOUT_S)
        assert (client.is_online(), client.paper_status()) == (False, PLENTY)
        client.close()


def test_silence_on_tcp_is_a_timeout_to_it() -> None:
    with TcpPort(Printer(), 0) as port:
        port.set("silent")
        client = Network("127.0.0.1", int(port.address.rpartition(":")[2]), timeout=TIMEOUT_S)
        for ask in (client.is_online, client.paper_status):
            with pytest.raises(TimeoutError):
                ask()
        client.close()


def test_a_fault_comes_and_goes_before_its_eyes(tmp_path: Path) -> None:
    with PtyPort(Printer(), tmp_path / "printer") as port:
        client = Serial(port.address, timeout=TIMEOUT_S)
        seen = []
        for change in (port.set, port.clear):
            change("paper_end")
            seen.append((client.is_online(), client.paper_status()))
        assert seen == [(False, NONE), (True, PLENTY)]
        client.close()


def test_printing_does_not_disturb_its_questions() -> None:
    with TcpPort(Printer(), 0) as port:
        client = Network("127.0.0.1", int(port.address.rpartition(":")[2]), timeout=5)
        client.text("1 espresso  2.10\n")
        assert client.is_online()
        client.cut()
        assert client.paper_status() == PLENTY
        client.close()
