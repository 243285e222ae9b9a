"""A payment terminal that speaks ZVT: the status enquiry and nothing more, on a serial line or over TCP.

On a line each frame is acknowledged by one byte, and repeated where the till asks for it again; over TCP the same
APDUs stand alone. After the enquiry the terminal accepts it (80 00 00), may send intermediate states (04 FF), and ends
by a completion (06 0F) or an abort (06 1E), each of which the till takes by 80 00 00. Any other command is refused.

Sources: ZVT protocol PA00P015 (transport, acknowledgement, timers) and PA00P016 (status enquiry, terminal states).
"""

from collections import deque
from enum import StrEnum
from typing import Final

from tillwatch_simulator.devices.faulty import Faulty

FRAME_BYTES_MAX = 1024
"""What a till sends before a frame ends; more is dropped, as by a terminal's own buffer."""

_ACK, _NAK = b"\x06", b"\x15"
_TAKEN: Final = bytes.fromhex("80 00 00")


class Fault(StrEnum):
    """What can befall this terminal."""

    INITIALISATION_REQUIRED = "initialisation_required"
    DATE_WRONG = "date_wrong"
    BUSY = "busy"
    MEMORY_FULL = "memory_full"
    SUPPLY_LOW = "supply_low"
    DIAGNOSIS_REQUIRED = "diagnosis_required"
    PRINTER_NOT_READY = "printer_not_ready"
    CARD_INSERTED = "card_inserted"
    OUT_OF_ORDER = "out_of_order"
    REMOTE_MAINTENANCE = "remote_maintenance"
    CARD_NOT_REMOVED = "card_not_removed"
    READER_DEFECTIVE = "reader_defective"
    PIN_PAD_DEFECTIVE = "pin_pad_defective"
    NO_HOST = "no_host"
    INTERMEDIATE = "intermediate"
    """It tells three intermediate states first."""
    ABORTS = "aborts"
    """It ends the enquiry by an abort that says that it is out of order."""
    REFUSES = "refuses"
    NOISE_ONCE = "noise_once"
    """The next frame that it sends arrives with one bit turned."""
    MUTE_VERSION = "mute_version"
    """It does not tell its software's version."""
    SILENT = "silent"
    GARBLED = "garbled"
    SLOW = "slow"
    UNPLUGGED = "unplugged"


_STATES: Final = {
    Fault.INITIALISATION_REQUIRED: 0x51,
    Fault.DATE_WRONG: 0x62,
    Fault.BUSY: 0x9C,
    Fault.MEMORY_FULL: 0xB1,
    Fault.SUPPLY_LOW: 0xBF,
    Fault.DIAGNOSIS_REQUIRED: 0xC2,
    Fault.PRINTER_NOT_READY: 0xCC,
    Fault.CARD_INSERTED: 0xDC,
    Fault.OUT_OF_ORDER: 0xDF,
    Fault.REMOTE_MAINTENANCE: 0xE0,
    Fault.CARD_NOT_REMOVED: 0xE1,
    Fault.READER_DEFECTIVE: 0xE2,
    Fault.PIN_PAD_DEFECTIVE: 0xED,
    Fault.NO_HOST: 0xA0,
}
"""The state byte of its completion."""

_VERSION: Final = b"2.14.15"


class Terminal(Faulty[Fault]):
    """A terminal with its faults; `receive` returns what it sends."""

    def __init__(self, *, over_tcp: bool = False, password: str | None = None, slow_answer_s: float = 8.0) -> None:
        super().__init__(Fault, slow_answer_s=slow_answer_s)
        self._over_tcp = over_tcp
        self._password = bytes.fromhex(password or "")
        self._heard = b""
        self._to_send: deque[bytes] = deque()
        self._sent = b""
        self._awaits_taking = False

    def describe(self) -> str:
        """Say the faults, and the state that it would tell."""
        return f"faults: {' '.join(sorted(self.faults)) or 'none'}; state {self._state():02X}"

    def receive(self, data: bytes) -> bytes:
        """Take bytes in pieces of any size."""
        self._heard = (self._heard + data)[-FRAME_BYTES_MAX:]
        sent = self._over_line() if not self._over_tcp else self._over_connection()
        if self._faults & {Fault.SILENT, Fault.UNPLUGGED}:
            return b""
        if Fault.GARBLED in self._faults:
            return bytes(byte ^ 0x5A for byte in sent)
        return sent

    def _over_connection(self) -> bytes:
        sent = b""
        while len(self._heard) >= 3 and len(self._heard) >= 3 + self._heard[2]:  # noqa: PLR2004 - class, instruction, length
            apdu, self._heard = self._heard[: 3 + self._heard[2]], self._heard[3 + self._heard[2] :]
            if apdu != _TAKEN:
                sent += self._accept(apdu)
            if self._to_send:
                sent += self._to_send.popleft()
        return sent

    def _over_line(self) -> bytes:
        sent = b""
        while self._heard:
            if self._heard[:1] in {_ACK, _NAK}:
                head, self._heard = self._heard[:1], self._heard[1:]
                sent += self._on_acknowledged() if head == _ACK else self._sent
                continue
            if not self._heard.startswith(b"\x10\x02"):
                if self._heard == b"\x10":
                    break
                self._heard = self._heard[1:]
                continue
            frame = _cut_frame(self._heard)
            if frame is None:
                break
            self._heard = self._heard[len(frame) :]
            sent += self._on_frame(frame)
        return sent

    def _on_frame(self, frame: bytes) -> bytes:
        apdu = _unframed(frame)
        if apdu is None:
            return _NAK
        if apdu == _TAKEN:
            self._awaits_taking = False
            return _ACK + self._next()
        return _ACK + self._framed(self._accept(apdu))

    def _on_acknowledged(self) -> bytes:
        """Go on once the last frame was taken, unless the till's 80 00 00 is still to come."""
        self._sent = b""
        return b"" if self._awaits_taking else self._next()

    def _next(self) -> bytes:
        if not self._to_send:
            return b""
        self._awaits_taking = True
        return self._framed(self._to_send.popleft())

    def _framed(self, apdu: bytes) -> bytes:
        self._sent = frame(apdu)
        if Fault.NOISE_ONCE not in self._faults:
            return self._sent
        self._faults -= {Fault.NOISE_ONCE}
        return self._sent[:3] + bytes([self._sent[3] ^ 0x01]) + self._sent[4:]

    def _accept(self, apdu: bytes) -> bytes:
        """Accept the enquiry and prepare what follows, or refuse what is none."""
        self._awaits_taking = False
        self._to_send.clear()
        is_enquiry = apdu[:2] == b"\x05\x01" and apdu[3:6] == self._password
        if Fault.REFUSES in self._faults or not is_enquiry:
            return bytes.fromhex("84 83 00")
        if Fault.INTERMEDIATE in self._faults:
            self._to_send.extend([bytes.fromhex("04 FF 01 0E")] * 3)
        self._to_send.append(bytes.fromhex("06 1E 01 DF") if Fault.ABORTS in self._faults else self._completion())
        return _TAKEN

    def _completion(self) -> bytes:
        version = b"" if Fault.MUTE_VERSION in self._faults else b"\xf0\xf0\xf7" + _VERSION
        data = version + bytes([self._state()])
        return bytes([0x06, 0x0F, len(data)]) + data

    def _state(self) -> int:
        return next((state for fault, state in _STATES.items() if fault in self._faults), 0x00)


def frame(apdu: bytes) -> bytes:
    """Put an APDU on the line: DLE STX, the bytes with each DLE doubled, DLE ETX, the CRC's low and high byte."""
    crc = _crc(apdu + b"\x03")
    return b"\x10\x02" + apdu.replace(b"\x10", b"\x10\x10") + b"\x10\x03" + bytes([crc & 0xFF, crc >> 8])


def _cut_frame(data: bytes) -> bytes | None:
    """Give the first whole frame, if it has come."""
    at = 2
    while at + 3 < len(data):
        if data[at] != 0x10:  # noqa: PLR2004 - DLE
            at += 1
        elif data[at + 1] == 0x10:  # noqa: PLR2004 - a doubled one
            at += 2
        else:
            return data[: at + 4]
    return None


def _unframed(whole: bytes) -> bytes | None:
    """Take an APDU out of its frame; None when its CRC is wrong."""
    apdu = whole[2:-4].replace(b"\x10\x10", b"\x10")
    return apdu if frame(apdu) == whole else None


def _crc(data: bytes) -> int:
    """CRC-16 as PA00P015 has it: each byte from its lowest bit, the polynomial x^16 + x^12 + x^5 + 1, from 0."""
    register = 0
    for bit in (byte >> place & 1 for byte in data for place in range(8)):
        feedback = (register & 1) ^ bit
        register = register >> 1 ^ (0x8408 if feedback else 0)
    return register
