"""What an ESC/POS printer makes of a job: where each command ends, and which bytes end on paper.

Lengths as Epson's programming guide gives them, for what receipts are made of; a command that is not here has two
bytes, as a printer that does not know one drops it. Only so much is read of a command as its length needs.
"""

from collections.abc import Callable
from typing import Final

PRINTED_BYTES_MAX = 1 << 20
"""A day of receipts; of more, the newest are kept."""

_COMMAND_STARTS = frozenset({0x10, 0x1B, 0x1C, 0x1D})
_STARTS_ALONE = frozenset(bytes([start]) for start in _COMMAND_STARTS)
_QUESTIONS = frozenset({b"\x10\x04", b"\x1dr", b"\x1dI", b"\x1da"})
"""What is answered and leaves nothing on paper."""

_UNENDING = -1
"""It ends with NUL."""


def _word(command: bytes, at: int) -> int:
    return int.from_bytes(command[at : at + 2], "little")


def _barcode(command: bytes) -> int:
    """GS k m d.. NUL, m up to 6, or GS k m n d.."""
    if command[2] <= 6:  # noqa: PLR2004 - the older form
        return _UNENDING if command[3] else 4
    return 4 + command[3]


_LENGTHS: Final[dict[bytes, tuple[int, Callable[[bytes], int]]]] = {
    # ESC * m nL nH: 24 dots are three bytes a column
    b"\x1b*": (5, lambda c: 5 + _word(c, 3) * (3 if c[2] > 1 else 1)),
    # GS v 0 m xL xH yL yH
    b"\x1dv": (8, lambda c: 8 + _word(c, 4) * _word(c, 6)),
    # GS ( X pL pH, and the same of ESC and FS
    b"\x1d(": (5, lambda c: 5 + _word(c, 3)),
    b"\x1b(": (5, lambda c: 5 + _word(c, 3)),
    b"\x1c(": (5, lambda c: 5 + _word(c, 3)),
    # GS 8 L p1 p2 p3 p4
    b"\x1d8": (7, lambda c: 7 + int.from_bytes(c[3:7], "little")),
    b"\x1dk": (4, _barcode),
    # GS V m, or m n from 65
    b"\x1dV": (3, lambda c: 4 if c[2] >= 65 else 3),  # noqa: PLR2004 - "A"
    b"\x1bD": (2, lambda _: _UNENDING),
}
"""How many bytes tell the length, and the length by them."""

_FIXED: Final = {
    **dict.fromkeys((bytes([0x1B, c]) for c in b"@2LS<im"), 2),
    **dict.fromkeys((bytes([0x1B, c]) for c in b"!%-3=?EGJKMRTUVadert{ "), 3),
    **dict.fromkeys((bytes([0x1B, c]) for c in b"$\\c"), 4),
    **dict.fromkeys((b"\x1bp", b"\x1dz", b"\x1d^"), 5),
    b"\x1bW": 10,
    **dict.fromkeys((bytes([0x1C, c]) for c in b"&."), 2),
    **dict.fromkeys((bytes([0x1C, c]) for c in b"!-CW"), 3),
    **dict.fromkeys((b"\x1cS", b"\x1cp"), 4),
    **dict.fromkeys((bytes([0x1D, c]) for c in b"!#/BHITabfhrw"), 3),
    **dict.fromkeys((bytes([0x1D, c]) for c in b"$LPW\\"), 4),
    b"\x10\x04": 3,
    b"\x10\x05": 3,
    b"\x10\x14": 5,
}


class Job:
    """Takes a printer's bytes in their order; see the module."""

    def __init__(self) -> None:
        self._head = b""
        """The command's first bytes, as many as its length needs."""
        self._left = 0
        """Bytes of the command that are still to come; `_UNENDING` until NUL."""
        self._printed = bytearray()
        self._is_reset = False

    @property
    def printed(self) -> bytes:
        """What has left something on paper, or set how it looks."""
        return bytes(self._printed)

    @property
    def is_reset(self) -> bool:
        """Whether the last byte ended ESC @: back to the settings of power-on; what waits in the buffer stays."""
        return self._is_reset

    def take(self, byte: int) -> bytes:
        """Take one byte; returns a question of three bytes when it is whole."""
        self._is_reset = False
        if self._left:
            self._print(bytes([byte]))
            is_ended = byte == 0 if self._left == _UNENDING else self._left == 1
            self._left = 0 if is_ended else max(self._left - 1, _UNENDING)
            return b""
        self._head += bytes([byte])
        if len(self._head) == 1 and byte not in _COMMAND_STARTS:
            return self._ended(printed=True)
        if len(self._head) == 1:
            return b""
        if self._head[1:] in _STARTS_ALONE and self._head not in _FIXED:
            self._print(self._head[:1])
            self._head = self._head[1:]  # what begins nothing does not hide what comes next
            return b""
        return self._command()

    def _command(self) -> bytes:
        command, prefix = self._head, self._head[:2]
        needs, length = _LENGTHS.get(prefix, (2, lambda _: _FIXED.get(prefix, 2)))
        if prefix in _QUESTIONS:
            return self._ended(printed=False) if len(command) == 3 else b""  # noqa: PLR2004 - all have one number
        if len(command) < needs:
            return b""
        whole = length(command)
        self._left = whole if whole == _UNENDING else whole - len(command)
        return self._ended(printed=True)

    def _ended(self, *, printed: bool) -> bytes:
        head, self._head = self._head, b""
        self._is_reset = head == b"\x1b@"
        if printed:
            self._print(head)
            return b""
        return head

    def _print(self, data: bytes) -> None:
        self._printed += data
        del self._printed[:-PRINTED_BYTES_MAX]
