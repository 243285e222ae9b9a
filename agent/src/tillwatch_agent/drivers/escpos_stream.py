"""Where in a stream of ESC/POS a printer stands: between two commands, within one, or nowhere that is known.

A `Reader` is fed what a till writes to a printer and says its `Place`. It knows how long each command is and nothing
of what it does, but for the few that change what is between two commands: page mode, a macro that is recorded, another
device that is selected. The lengths are one table (`_COMMANDS`), from Epson's programming guide v10.01; commands that
makers added stand there where all who have them agree.

- **What is not known is `LOST`.** After a command of unknown length nothing is a boundary, until whoever feeds it says
  that a job begins (`begin`). A guess would sooner or later take an image for commands.
- **Text is not a boundary.** Two bytes may be one character (Shift JIS, GB 18030), and a line that stands in the
  printer's buffer is a job that has not ended. LF, CR, FF and every command end it.
- **A till that goes away changes nothing.** A printer that was left within an image takes what comes next for the
  image; so does the reader.
- **Questions are noted.** `DLE EOT` is answered wherever it stands, within an image too (TM-T88III specification,
  p. 82); others are answered in their turn.
- **Memory is bounded.** What is counted is not kept: an image of 4 GB costs a number.

A change violates this when `Place.BOUNDARY` is said within a command whose length the guide gives.
"""

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

DLE, ESC, FS, GS = 0x10, 0x1B, 0x1C, 0x1D
EOT: Final = 0x04
INITIALIZE: Final = bytes([ESC, ord("@")])
STATUS_NUMBERS: Final = frozenset({1, 2, 3, 4})
"""DLE EOT n that are answered by one byte, by every printer that has them."""

HEADER_BYTES_MAX: Final = 16
"""The longest header, of GS 8 L and FS g, has ten bytes."""
TABS_MAX: Final = 32
"""ESC D: "up to 32 tab positions"."""
BARCODE_BYTES_MAX: Final = 255
"""GS k in its form that ends with NUL: no barcode that fits a roll is longer than its other form allows."""


class Place(StrEnum):
    """Where the printer stands."""

    BOUNDARY = "boundary"
    """Between two commands, with nothing begun."""
    TEXT = "text"
    """Within a line."""
    COMMAND = "command"
    """Within a command, an image or a barcode."""
    PAGE = "page"
    """Between two commands, and in page mode."""
    MACRO = "macro"
    """Between two commands, while a macro is recorded."""
    ELSEWHERE = "elsewhere"
    """Another device than the printer is selected (ESC =)."""
    LOST = "lost"
    """Not known."""


class Question(StrEnum):
    """What a till asked, by how it is answered."""

    STATUS = "status"
    """One byte 0**1**10."""
    NUMBER = "number"
    """One byte 0**0****."""
    OTHER = "other"
    """Not known, or not known whether at all."""


@dataclass(frozen=True, slots=True)
class Take:
    """So many bytes of a command are to be seen."""

    count: int


@dataclass(frozen=True, slots=True)
class Skip:
    """So many bytes are data."""

    count: int


@dataclass(frozen=True, slots=True)
class Until:
    """Data ends with NUL, or after so many bytes."""

    bytes_max: int


class Effect(StrEnum):
    """What a command changes of the place between commands."""

    NONE = "none"
    INITIALIZED = "initialized"
    PAGE_ON = "page_on"
    PAGE_OFF = "page_off"
    MACRO_TURNED = "macro_turned"
    PRINTER_SELECTED = "printer_selected"
    PRINTER_DESELECTED = "printer_deselected"
    LOST = "lost"


_Layout = Generator[Take | Skip | Until, bytes, Effect]
"""A command as it goes on after its first two bytes; is sent what it took, returns what it changes."""


def _fixed(count: int, effect: Effect = Effect.NONE) -> Callable[[], _Layout]:
    def layout() -> _Layout:
        if count:
            yield Skip(count)
        return effect

    return layout


def _word(header: bytes, at: int) -> int:
    return header[at] + 256 * header[at + 1]


def _bit_image() -> _Layout:
    """ESC * m nL nH d1..dk."""
    header = yield Take(3)
    if header[0] not in {0, 1, 32, 33}:
        return Effect.LOST
    yield Skip(_word(header, 1) * (3 if header[0] >= 32 else 1))  # noqa: PLR2004 - 24 dots high
    return Effect.NONE


def _user_characters() -> _Layout:
    """ESC & y c1 c2 [x d1..d(y*x)], one for each character."""
    height, first, last = yield Take(3)
    for _ in range(first, last + 1):
        width = (yield Take(1))[0]
        yield Skip(height * width)
    return Effect.NONE


def _tabs() -> _Layout:
    """ESC D n1..nk NUL."""
    yield Until(TABS_MAX)
    return Effect.NONE


def _select_device() -> _Layout:
    """ESC = n: bit 0 is the printer."""
    number = (yield Take(1))[0]
    return Effect.PRINTER_SELECTED if number & 1 else Effect.PRINTER_DESELECTED


def _sized() -> _Layout:
    """( X pL pH d1..dk, which every newer command is."""
    header = yield Take(3)
    yield Skip(_word(header, 1))
    return Effect.NONE


def _sized_wide() -> _Layout:
    """GS 8 L p1 p2 p3 p4 d1..dk."""
    header = yield Take(5)
    if header[0] != ord("L"):
        return Effect.LOST
    yield Skip(int.from_bytes(header[1:], "little"))
    return Effect.NONE


def _download_image() -> _Layout:
    """GS * x y d1..d(x*y*8)."""
    width, height = yield Take(2)
    yield Skip(width * height * 8)
    return Effect.NONE


def _barcode() -> _Layout:
    """GS k m d1..dk NUL, m up to 6; GS k m n d1..dn, m from 65."""
    kind = (yield Take(1))[0]
    if kind <= 6:  # noqa: PLR2004 - the older form
        yield Until(BARCODE_BYTES_MAX)
    elif kind >= ord("A"):
        yield Skip((yield Take(1))[0])
    else:
        return Effect.LOST
    return Effect.NONE


def _raster() -> _Layout:
    """GS v 0 m xL xH yL yH d1..d(x*y)."""
    header = yield Take(6)
    if header[0] != ord("0"):
        return Effect.LOST
    yield Skip(_word(header, 2) * _word(header, 4))
    return Effect.NONE


def _older_raster() -> _Layout:
    """GS Q 0 m xL xH yL yH d1..d(x*y)."""
    return _raster()


def _cut() -> _Layout:
    """GS V m, or GS V m n."""
    kind = (yield Take(1))[0]
    if kind in b"\x00\x0101":
        return Effect.NONE
    if kind not in b"ABabgh":
        return Effect.LOST
    yield Skip(1)
    return Effect.NONE


def _counter() -> _Layout:
    """GS g 0 m nL nH, GS g 2 m nL nH."""
    kind = (yield Take(1))[0]
    if kind not in b"02":
        return Effect.LOST
    yield Skip(3)
    return Effect.NONE


def _counter_print_mode() -> _Layout:
    """GS C 0 n m, GS C 1 aL aH bL bH n r, GS C 2 nL nH."""
    more = {ord("0"): 2, ord("1"): 6, ord("2"): 2}.get((yield Take(1))[0])
    if more is None:
        return Effect.LOST
    yield Skip(more)
    return Effect.NONE


def _stored_images() -> _Layout:
    """FS q n [xL xH yL yH d1..dk], k = x * y * 8."""
    for _ in range((yield Take(1))[0]):
        header = yield Take(4)
        yield Skip(_word(header, 0) * _word(header, 2) * 8)
    return Effect.NONE


def _stored_bytes() -> _Layout:
    """FS g 1 m a1..a4 nL nH d1..dk, FS g 2 m a1..a4 nL nH."""
    header = yield Take(8)
    if header[0] not in b"12":
        return Effect.LOST
    if header[0] == ord("1"):
        yield Skip(_word(header, 6))
    return Effect.NONE


def _real_time_status() -> _Layout:
    """DLE EOT n; n = 7, 8 and 18 have one more (TM-J2000, p. 308)."""
    if (yield Take(1))[0] in {7, 8, 18}:
        yield Skip(1)
    return Effect.NONE


_REAL_TIME_REQUESTS: Final = {1: 2, 2: 2, 3: 4, 7: 1, 8: 7}


def _real_time_request() -> _Layout:
    """DLE DC4 fn and so many more."""
    more = _REAL_TIME_REQUESTS.get((yield Take(1))[0])
    if more is None:
        return Effect.LOST
    yield Skip(more)
    return Effect.NONE


def _lengths(prefix: int, by_count: Mapping[int, str]) -> dict[bytes, Callable[[], _Layout]]:
    return {bytes([prefix, ord(letter)]): _fixed(count) for count, letters in by_count.items() for letter in letters}


_COMMANDS: Final[Mapping[bytes, Callable[[], _Layout]]] = {
    # ESC B n t is the beeper of many makers; the others are Epson's.
    **_lengths(ESC, {0: "2<imv", 1: " !%-3?EGJKMRTUVadert{u", 2: "$\\cfB", 3: "p", 8: "W"}),
    **_lengths(FS, {0: "&.", 1: "!-CW", 2: "S?p"}),
    **_lengths(GS, {0: "c", 1: "!#/BEHITabfhrwj", 2: "$LPW\\", 3: "^z"}),
    INITIALIZE: _fixed(0, Effect.INITIALIZED),
    b"\x1bL": _fixed(0, Effect.PAGE_ON),
    b"\x1bS": _fixed(0, Effect.PAGE_OFF),
    b"\x1d:": _fixed(0, Effect.MACRO_TURNED),
    b"\x1b=": _select_device,
    b"\x1b*": _bit_image,
    b"\x1b&": _user_characters,
    b"\x1bD": _tabs,
    b"\x1b(": _sized,
    b"\x1c(": _sized,
    b"\x1d(": _sized,
    b"\x1d8": _sized_wide,
    b"\x1d*": _download_image,
    b"\x1dk": _barcode,
    b"\x1dv": _raster,
    b"\x1dQ": _older_raster,
    b"\x1dV": _cut,
    b"\x1dg": _counter,
    b"\x1dC": _counter_print_mode,
    b"\x1cq": _stored_images,
    b"\x1cg": _stored_bytes,
    bytes([DLE, EOT]): _real_time_status,
    bytes([DLE, 0x05]): _fixed(1),
    bytes([DLE, 0x14]): _real_time_request,
}
"""Each command by its first two bytes; what is not here is of unknown length."""

_ASKING: Final = {
    b"\x1dr": Question.NUMBER,
    b"\x1bu": Question.NUMBER,
    b"\x1bv": Question.NUMBER,
    b"\x1dI": Question.OTHER,
    b"\x1dg": Question.OTHER,
    b"\x1d(": Question.OTHER,
    b"\x1c(": Question.OTHER,
    b"\x1cg": Question.OTHER,
}
"""Commands that are answered, or may be; DLE EOT is found by itself. What GS a sends is known by its own pattern."""

_PREFIXES: Final = frozenset({DLE, ESC, FS, GS})
_LINE_ENDS: Final = frozenset(b"\n\r")
_FORM_FEED, _NUL = 0x0C, 0x00
_TEXT: Final = re.compile(rb"[\t \x21-\xff]+")
_PLACES: Final = {Effect.PAGE_ON: Place.PAGE, Effect.PRINTER_DESELECTED: Place.ELSEWHERE}


class Reader:
    """Reads a stream; see the module."""

    def __init__(self) -> None:
        self._between = Place.BOUNDARY
        """What a boundary is called now."""
        self._in_line = False
        self._prefix = b""
        """The first bytes of the command that is read."""
        self._command: tuple[_Layout, Take | Skip | Until] | None = None
        self._taken = b""
        self._lost = False
        self._real_time = b""
        """The end of the stream, as far as a DLE EOT may have begun there."""

    @property
    def place(self) -> Place:
        """Say where the printer stands."""
        if self._lost:
            return Place.LOST
        if self._prefix:
            return Place.COMMAND
        if self._between is Place.BOUNDARY and self._in_line:
            return Place.TEXT
        return self._between

    def begin(self) -> None:
        """Take note that a job begins: what was not known before does not matter any more."""
        if self._lost:
            self._settle(Effect.INITIALIZED)

    def feed(self, data: bytes) -> tuple[Question, ...]:
        """Read on; returns what was asked: first what is answered at once, then what is answered in its turn."""
        asked = self._real_time_questions(data)
        at = 0
        while at < len(data):
            at = self._read(data, at, asked)
        return tuple(asked)

    def _read(self, data: bytes, at: int, asked: list[Question]) -> int:
        """Read some bytes, at least one; returns where to go on."""
        if self._lost:
            return len(data)
        if self._command is not None:
            return self._read_command(data, at, *self._command)
        if self._prefix:
            self._begin_command(self._prefix + data[at : at + 1], asked)
            return at + 1
        if text := _TEXT.match(data, at):
            self._in_line = True
            return text.end()
        self._read_control(data[at])
        return at + 1

    def _read_control(self, byte: int) -> None:
        if byte in _PREFIXES:
            self._prefix = bytes([byte])
        elif byte == _FORM_FEED:
            self._settle(Effect.PAGE_OFF)
        elif byte in _LINE_ENDS:
            self._in_line = False

    def _begin_command(self, prefix: bytes, asked: list[Question]) -> None:
        command = _COMMANDS.get(prefix)
        if prefix in _ASKING:
            asked.append(_ASKING[prefix])
        if command is None:
            asked.append(Question.OTHER)
            self._settle(Effect.LOST)
            return
        self._prefix = prefix
        self._go_on(command(), None)

    def _read_command(self, data: bytes, at: int, layout: _Layout, wanted: Take | Skip | Until) -> int:
        if isinstance(wanted, Until):
            is_ended = data[at] == _NUL or wanted.bytes_max == 0
            self._go_on(layout, b"") if is_ended else self._want(layout, Until(wanted.bytes_max - 1))
            return at + 1
        count = min(wanted.count, len(data) - at)
        if isinstance(wanted, Take):
            self._taken += data[at : at + count]
        if count == wanted.count:
            self._go_on(layout, self._taken)
        else:
            self._want(layout, replace(wanted, count=wanted.count - count))
        return at + count

    def _want(self, layout: _Layout, wanted: Take | Skip | Until) -> None:
        self._command = layout, wanted

    def _go_on(self, layout: _Layout, taken: bytes | None) -> None:
        """Hand a command what it took, until it wants something that is not nothing."""
        self._taken = b""
        try:
            wanted = next(layout) if taken is None else layout.send(taken)
            while wanted == Skip(0):
                wanted = layout.send(b"")
        except StopIteration as stop:
            self._settle(stop.value)
        else:
            self._want(layout, wanted)

    def _settle(self, effect: Effect) -> None:
        """End a command."""
        self._prefix, self._command, self._in_line = b"", None, False
        self._lost = effect is Effect.LOST
        match effect:
            case Effect.PAGE_ON | Effect.PRINTER_DESELECTED if self._between is not Place.MACRO:
                self._between = _PLACES[effect]
            case Effect.INITIALIZED:
                self._between = Place.BOUNDARY
            case Effect.PAGE_OFF if self._between is Place.PAGE:
                self._between = Place.BOUNDARY
            case Effect.PRINTER_SELECTED if self._between is Place.ELSEWHERE:
                self._between = Place.BOUNDARY
            case Effect.MACRO_TURNED:
                self._between = Place.BOUNDARY if self._between is Place.MACRO else Place.MACRO
            case _:
                pass

    def _real_time_questions(self, data: bytes) -> list[Question]:
        """Find each DLE EOT n, wherever it stands."""
        stream = self._real_time + data
        asked = [
            Question.STATUS if found[2] in STATUS_NUMBERS else Question.OTHER
            for found in (match[0] for match in _REAL_TIME_STATUS.finditer(stream))
        ]
        self._real_time = stream[_after_last(stream) :][-2:]
        while self._real_time and self._real_time not in {bytes([DLE]), bytes([DLE, EOT])}:
            self._real_time = self._real_time[1:]
        return asked


_REAL_TIME_STATUS: Final = re.compile(rb"\x10\x04[^\x10]", re.DOTALL)
"""A DLE in place of n begins anew."""


def _after_last(stream: bytes) -> int:
    return max((found.end() for found in _REAL_TIME_STATUS.finditer(stream)), default=0)
