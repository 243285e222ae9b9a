"""A Star receipt printer in line mode: automatic status on request and on change, and the two single-byte answers.

`ESC ACK SOH` (1B 06 01) is answered by the automatic status, `ESC RS a n` (1B 1E 61 n) switches it on (n = 1) and off
(n = 0), `EOT` (04) and `ENQ` (05) by one byte each. All else is print data and is swallowed, so that a host that speaks
ESC/POS hears an answer to each 04 among its bytes.

Sources: TSP700 programmer's manual, p. 44-46 (requests, headers, status 1 to 3) and p. 64 (ENQ); dot impact
specification, azmanual.top 140482, p. 95 (status 4); line mode specification, azmanual.top 142740, p. 82 and 186.
"""

from enum import StrEnum
from typing import Final

from tillwatch_simulator.devices.faulty import Faulty

_EOT, _ENQ, _ESC = 0x04, 0x05, 0x1B
_STATUS_REQUEST: Final = b"\x1b\x06\x01"
_SWITCH: Final = b"\x1b\x1e\x61"
_SWITCH_BYTES = 4

_STATUS_BYTES = 9
_HEADER = 0x23
"""Nine bytes follow from here, this one among them."""
_VERSION = 0x06
"""Version 3."""


class Fault(StrEnum):
    """What can befall this printer."""

    COVER_OPEN = "cover_open"
    PAPER_END = "paper_end"
    PAPER_NEAR_END = "paper_near_end"
    CUTTER_ERROR = "cutter_error"
    MECHANICAL_ERROR = "mechanical_error"
    UNRECOVERABLE_ERROR = "unrecoverable_error"
    HEAD_HOT = "head_hot"
    DRAWER_OPEN = "drawer_open"
    """The compulsion switch is closed; this drawer is wired so that closed is open."""
    OFFLINE = "offline"
    """Taken offline by its switch."""
    OVERFLOW = "overflow"
    """Its receive buffer has overflowed, and it is offline for it."""
    SILENT = "silent"
    """It takes everything and sends nothing."""
    GARBLED = "garbled"
    """It sends with every fixed bit wrong, as over a line at another speed."""
    SLOW = "slow"
    UNPLUGGED = "unplugged"


_STATUS_BITS: Final = {
    Fault.DRAWER_OPEN: (2, 0x04),
    Fault.COVER_OPEN: (2, 0x20),
    Fault.MECHANICAL_ERROR: (3, 0x04),
    Fault.CUTTER_ERROR: (3, 0x08),
    Fault.UNRECOVERABLE_ERROR: (3, 0x20),
    Fault.HEAD_HOT: (3, 0x40),
    Fault.OVERFLOW: (4, 0x40),
    Fault.PAPER_NEAR_END: (5, 0x04),
    Fault.PAPER_END: (5, 0x08),
}
"""The byte of the status, counted from 0, and the bit of it that a fault sets."""

_ONLINE: Final = frozenset({Fault.DRAWER_OPEN, Fault.PAPER_NEAR_END})
_OFFLINE: Final = frozenset(_STATUS_BITS) - _ONLINE | {Fault.OFFLINE}

_GARBLE = 0x91
"""Flips each bit that is fixed in an automatic status."""


class Printer(Faulty[Fault]):
    """A printer with its faults; `receive`, `set` and `clear` return what it sends."""

    def __init__(self, *, slow_answer_s: float = 1.5) -> None:
        super().__init__(Fault, slow_answer_s=slow_answer_s)
        self._sends_unasked = False
        self._command = b""

    def receive(self, data: bytes) -> bytes:
        """Take bytes in pieces of any size."""
        return self._sent(b"".join(self._byte(byte) for byte in data))

    def describe(self) -> str:
        """Say the faults, and the automatic status."""
        return f"faults: {' '.join(sorted(self.faults)) or 'none'}; status: {self._status().hex(' ').upper()}"

    def _change(self, faults: frozenset[Fault]) -> bytes:
        before, self._faults = self._status(), faults
        return self._sent(self._status()) if self._sends_unasked and self._status() != before else b""

    def _sent(self, answer: bytes) -> bytes:
        if self._faults & {Fault.SILENT, Fault.UNPLUGGED}:
            return b""
        return bytes(byte ^ _GARBLE for byte in answer) if Fault.GARBLED in self._faults else answer

    def _byte(self, byte: int) -> bytes:
        """Complete a command with `byte`, or begin one, or take it for print data."""
        command, self._command = self._command + bytes([byte]), b""
        if command == _STATUS_REQUEST:
            return self._status()
        if command[:-1] == _SWITCH:
            self._sends_unasked = byte in {1, ord("1")}
            return self._status() if self._sends_unasked else b""
        if any(known.startswith(command) for known in (_STATUS_REQUEST, _SWITCH)):
            self._command = command
            return b""
        if byte == _ESC:
            self._command = bytes([byte])
        return {_EOT: bytes([self._eot()]), _ENQ: bytes([self._enq()])}.get(byte, b"")

    def _status(self) -> bytes:
        status = bytearray([_HEADER, _VERSION, *bytes(_STATUS_BYTES - 2)])
        for fault in self._faults:
            at, bit = _STATUS_BITS.get(fault, (0, 0))
            status[at] |= bit
        if self._faults & _OFFLINE:
            status[2] |= 0x08
        return bytes(status)

    def _eot(self) -> int:
        """***1***0: paper, by its end and its near end."""
        ended, near = Fault.PAPER_END in self._faults, Fault.PAPER_NEAR_END in self._faults
        return 0x10 | (0x08 if ended else 0) | (0x04 if near else 0)

    def _enq(self) -> int:
        """***0****: mechanics, paper, the buffer, the compulsion switch."""
        bits = {Fault.MECHANICAL_ERROR: 0x20, Fault.PAPER_END: 0x08, Fault.OVERFLOW: 0x02, Fault.DRAWER_OPEN: 0x01}
        return sum(bit for fault, bit in bits.items() if fault in self._faults)
