"""A printer's control endpoint, as the USB printer class has it: SETUP packets in, data stages out.

A SETUP packet has eight bytes: type, request, value, index and length, the last three of two bytes, the lower first
(USB 2.0, 9.3). GET_DEVICE_ID (0) and GET_PORT_STATUS (1) are answered by as many bytes as were asked for at most;
SOFT_RESET (2) is counted, so that a test can say that nobody made one; any other stalls, and is answered by nothing.

Sources: USB Printer Class 1.1, 4.2; Transact EPIC3000, p. 249 (port status); IEEE 1284-2000, 7.6 (device id).
"""

from enum import StrEnum
from typing import Final

from tillwatch_simulator.devices.faulty import Faulty

_SETUP_BYTES = 8
_GET_DEVICE_ID, _GET_PORT_STATUS, _SOFT_RESET = 0, 1, 2
_FROM_INTERFACE, _TO_INTERFACE = 0xA1, 0x21
_DEVICE_ID: Final = b"MFG:TILLWATCH;CMD:ESC/POS;MDL:TWU-80;CLS:PRINTER;SN:U0000001;"


class Fault(StrEnum):
    """What can befall this printer."""

    PAPER_END = "paper_end"
    ERROR = "error"
    """An error that the class has no name for: an open cover among them."""
    OFFLINE = "offline"
    NO_ID = "no_id"
    SILENT = "silent"
    GARBLED = "garbled"
    SLOW = "slow"
    UNPLUGGED = "unplugged"


class Printer(Faulty[Fault]):
    """A control endpoint with its faults; `receive` returns what it sends."""

    def __init__(self, *, slow_answer_s: float = 6.0) -> None:
        super().__init__(Fault, slow_answer_s=slow_answer_s)
        self.soft_resets = 0
        self._setup = b""

    def receive(self, data: bytes) -> bytes:
        """Take SETUP packets in pieces of any size."""
        sent = b""
        for byte in data:
            self._setup += bytes([byte])
            if len(self._setup) == _SETUP_BYTES:
                setup, self._setup = self._setup, b""
                sent += self._answer(setup)
        return b"" if self._faults & {Fault.SILENT, Fault.UNPLUGGED} else sent

    def describe(self) -> str:
        """Say the faults, and the port status."""
        return f"faults: {' '.join(sorted(self.faults)) or 'none'}; port status {self._status():02X}"

    def _answer(self, setup: bytes) -> bytes:
        kind, request, length = setup[0], setup[1], int.from_bytes(setup[6:8], "little")
        if (kind, request) == (_TO_INTERFACE, _SOFT_RESET):
            self.soft_resets += 1
        if kind != _FROM_INTERFACE:
            return b""
        if request == _GET_PORT_STATUS:
            return bytes([self._status()])[:length]
        if request == _GET_DEVICE_ID and Fault.NO_ID not in self._faults:
            return ((len(_DEVICE_ID) + 2).to_bytes(2, "big") + _DEVICE_ID)[:length]
        return b""

    def _status(self) -> int:
        status = 0x18
        if Fault.PAPER_END in self._faults:
            status = status & ~0x08 | 0x20
        if Fault.ERROR in self._faults:
            status &= ~0x08
        if Fault.OFFLINE in self._faults:
            status &= ~0x10
        return status | 0x80 if Fault.GARBLED in self._faults else status
