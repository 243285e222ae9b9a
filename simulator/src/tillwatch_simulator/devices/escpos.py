"""An ESC/POS receipt printer: status bytes as the manuals give them, every fixed bit in its place.

Two readers look at each byte. The real-time reader sees `DLE EOT n` (10 04 n) anywhere in the stream, even inside a
job and even offline, and answers at once; an `n` out of range is ignored (TM-U295). The buffered reader sees `GS r`,
`GS I`, `GS a` and `ESC @` in their order, and sees nothing while the printer is offline: then bytes wait in the receive
buffer, so that `GS r 1` at paper end is answered by silence (TM-T88 manual, p. 44). All else is a job (`escpos_job`),
and is kept as what was printed.

Sources: Epson TM-T88III specification, p. 21, 64, 82-84, 144-145 and appendix G (p. 173); Epson programming guide
v10.01, p. 318-320 (GS a); TM-J2000, p. 308 and 469 (DLE EOT, GS I); Citizen CT-S2000, p. 57.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from tillwatch_simulator.devices.escpos_job import Job
from tillwatch_simulator.devices.faulty import Faulty

RECEIVE_BUFFER_BYTES_MAX = 4096
"""What an offline printer keeps (TM-T88III, p. 64: 4 KB); a host that sends more loses it, as without handshake."""

_DLE, _EOT, _GS = 0x10, 0x04, 0x1D


class Fault(StrEnum):
    """What can befall this printer."""

    COVER_OPEN = "cover_open"
    PAPER_END = "paper_end"
    PAPER_NEAR_END = "paper_near_end"
    CUTTER_ERROR = "cutter_error"
    UNRECOVERABLE_ERROR = "unrecoverable_error"
    RECOVERABLE_ERROR = "recoverable_error"
    HEAD_HOT = "head_hot"
    DRAWER_OPEN = "drawer_open"
    """The level at drawer connector pin 3 is high; this drawer is wired so that open is high."""
    FEED_BUTTON = "feed_button"
    SILENT = "silent"
    """It takes everything and sends nothing."""
    GARBLED = "garbled"
    """It sends its answers with every fixed bit wrong, as over a line at another speed."""
    SLOW = "slow"
    """It answers after `answer_delay_s`."""
    UNPLUGGED = "unplugged"
    """Its cable is pulled: there is no port."""


_ERRORS = frozenset({Fault.CUTTER_ERROR, Fault.UNRECOVERABLE_ERROR, Fault.RECOVERABLE_ERROR, Fault.HEAD_HOT})
_OFFLINE = _ERRORS | {Fault.COVER_OPEN, Fault.PAPER_END, Fault.FEED_BUTTON}
"""What takes the printer offline (TM-T88III, p. 21)."""

_GARBLE = 0x93
"""Flips each bit that is fixed in an answer to DLE EOT (93), GS r, GS I and ASB (90)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What `GS I` tells: three single bytes (bits 4 and 7 are 0) and texts of up to 15 printable characters."""

    model_id: int = 0x20
    """TM-T81 (its manual, p. 110)."""
    type_id: int = 0x02
    """Bit 0 multi-byte characters, bit 1 an autocutter (TM-J2000, p. 469)."""
    version_id: int = 0x01
    firmware: str = "1.08 ESC/POS"
    maker: str = "TILLWATCH"
    model: str = "TWS-80"
    serial_number: str = "S0000001"
    language: str = "PC437"

    def answer(self, n: int) -> bytes:
        """Answer `GS I n`; an unknown `n` is ignored."""
        numbers = {1: self.model_id, 2: self.type_id, 3: self.version_id}
        number = numbers.get(n if n < ord("1") else n - ord("0"))
        if number is not None:
            return bytes([number])
        texts = {65: self.firmware, 66: self.maker, 67: self.model, 68: self.serial_number, 69: self.language}
        return b"\x5f" + texts[n].encode("ascii") + b"\x00" if n in texts else b""


class Printer(Faulty[Fault]):
    """A printer with its faults, its buffer and its two readers; `receive`, `set` and `clear` return what it sends."""

    def __init__(
        self, *, identity: Identity | None = None, near_end_sensor: bool = True, slow_answer_s: float = 1.5
    ) -> None:
        super().__init__(Fault, slow_answer_s=slow_answer_s)
        self._identity = identity or Identity()
        self._near_end_sensor = near_end_sensor
        self._asb_enabled = 0
        self._real_time = b""
        self._buffer = bytearray()
        self._job = Job()

    @property
    def offline(self) -> bool:
        """Whether it executes nothing of its buffer."""
        return bool(self._faults & _OFFLINE)

    @property
    def printed(self) -> bytes:
        """All that jobs were made of, without the questions between and within them."""
        return self._job.printed

    def receive(self, data: bytes) -> bytes:
        """Take bytes in pieces of any size."""
        return self._sent(b"".join(self._real_time_byte(byte) + self._buffered_byte(byte) for byte in data))

    def describe(self) -> str:
        """Say the faults, and the four answers to DLE EOT."""
        answers = " ".join(f"{self._status(n):02X}" for n in (1, 2, 3, 4))
        return f"faults: {' '.join(sorted(self.faults)) or 'none'}; DLE EOT 1..4: {answers}"

    def _change(self, faults: frozenset[Fault]) -> bytes:
        before = self._asb()
        self._faults = faults
        changed = any((old ^ new) & mask for old, new, mask in zip(before, self._asb(), self._asb_mask(), strict=True))
        unasked = self._asb() if changed else b""
        return self._sent(unasked + self._execute())

    def _sent(self, answer: bytes) -> bytes:
        """Put an answer on the line, or what the line makes of it."""
        if self._faults & {Fault.SILENT, Fault.UNPLUGGED}:
            return b""
        if Fault.GARBLED in self._faults:
            return bytes(byte ^ _GARBLE for byte in answer)
        return answer

    def _real_time_byte(self, byte: int) -> bytes:
        if self._real_time == bytes([_DLE, _EOT]):
            self._real_time = bytes([_DLE]) if byte == _DLE else b""
            return bytes([self._status(byte)]) if byte in {1, 2, 3, 4} else b""
        if self._real_time and byte == _EOT:
            self._real_time += bytes([_EOT])
        else:
            self._real_time = bytes([_DLE]) if byte == _DLE else b""
        return b""

    def _buffered_byte(self, byte: int) -> bytes:
        if len(self._buffer) < RECEIVE_BUFFER_BYTES_MAX:
            self._buffer.append(byte)
        return self._execute()

    def _execute(self) -> bytes:
        """Work through the buffer, unless offline."""
        if self.offline:
            return b""
        waiting, self._buffer = bytes(self._buffer), bytearray()
        return b"".join(self._executed_byte(byte) for byte in waiting)

    def _executed_byte(self, byte: int) -> bytes:
        """Complete a question with `byte`, or go on with the job."""
        question = self._job.take(byte)
        action = self._actions.get(question[:2])
        if action:
            return action(self, question[2])
        if self._job.is_reset:
            self._asb_enabled = 0
        return b""

    def _transmit_sensor(self, n: int) -> bytes:
        """GS r n: paper (n = 1, 49) or drawer (n = 2, 50)."""
        if n in {1, ord("1")}:
            return bytes([self._asb()[2]])
        if n in {2, ord("2")}:
            return bytes([self._flag(Fault.DRAWER_OPEN, 0x01)])
        return b""

    def _transmit_identity(self, n: int) -> bytes:
        return self._identity.answer(n)

    def _enable_asb(self, n: int) -> bytes:
        """GS a n: four bytes now, if anything is enabled, and on each change of what is."""
        self._asb_enabled = n
        return self._asb() if n else b""

    _actions: ClassVar[dict[bytes, Callable[["Printer", int], bytes]]] = {
        bytes([_GS, ord("r")]): _transmit_sensor,
        bytes([_GS, ord("I")]): _transmit_identity,
        bytes([_GS, ord("a")]): _enable_asb,
    }
    """The questions that it answers in their turn, by their first two bytes."""

    def _flag(self, fault: Fault, bits: int) -> int:
        return bits if fault in self._faults else 0

    def _status(self, n: int) -> int:
        """Answer DLE EOT n: bits 1 and 4 are 1, bits 0 and 7 are 0."""
        return 0x12 | {1: self._printer_bits, 2: self._offline_bits, 3: self._error_bits, 4: self._paper_bits}[n]()

    def _printer_bits(self) -> int:
        return self._flag(Fault.DRAWER_OPEN, 0x04) | (0x08 if self.offline else 0) | self._flag(Fault.FEED_BUTTON, 0x40)

    def _offline_bits(self) -> int:
        return (
            self._flag(Fault.COVER_OPEN, 0x04)
            | self._flag(Fault.FEED_BUTTON, 0x08)
            | self._flag(Fault.PAPER_END, 0x20)
            | (0x40 if self._faults & _ERRORS else 0)
        )

    def _error_bits(self) -> int:
        return (
            self._flag(Fault.RECOVERABLE_ERROR, 0x04)
            | self._flag(Fault.CUTTER_ERROR, 0x08)
            | self._flag(Fault.UNRECOVERABLE_ERROR, 0x20)
            | self._flag(Fault.HEAD_HOT, 0x40)
        )

    def _paper_bits(self) -> int:
        return (0x0C if self._near_end else 0) | self._flag(Fault.PAPER_END, 0x60)

    @property
    def _near_end(self) -> bool:
        """A roll that has ended is also near its end, where a sensor sees it."""
        ended = Fault.PAPER_END in self._faults
        return self._near_end_sensor and (ended or Fault.PAPER_NEAR_END in self._faults)

    def _asb(self) -> bytes:
        """Give the four bytes of automatic status: byte 1 is 0**1**00, the others 0**0****."""
        printer = (
            0x10
            | self._flag(Fault.DRAWER_OPEN, 0x04)
            | (0x08 if self.offline else 0)
            | self._flag(Fault.COVER_OPEN, 0x20)
            | self._flag(Fault.FEED_BUTTON, 0x40)
        )
        paper = (0x03 if self._near_end else 0) | self._flag(Fault.PAPER_END, 0x0C)
        return bytes([printer, self._error_bits() | self._flag(Fault.FEED_BUTTON, 0x02), paper, 0])

    def _asb_mask(self) -> bytes:
        """Give the bits of each byte whose change is reported, by what GS a has enabled."""
        enabled = [mask for bit, mask in _ASB_CHANGES.items() if self._asb_enabled & bit]
        return bytes(sum(column) for column in zip(bytes(4), *enabled, strict=True))


_ASB_CHANGES = {
    0x01: bytes([0x04, 0x00, 0x00, 0x00]),  # drawer
    0x02: bytes([0x68, 0x01, 0x00, 0x00]),  # online or offline, cover, feeding, waiting for recovery
    0x04: bytes([0x00, 0x6C, 0x00, 0x00]),  # errors
    0x08: bytes([0x00, 0x00, 0x0F, 0x00]),  # roll paper
    0x40: bytes([0x00, 0x02, 0x00, 0x00]),  # panel switch
}
"""GS a n, bit by bit: what of the four bytes is watched; no two rows share a bit."""
