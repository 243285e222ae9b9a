"""Star printers in line mode: one request, one automatic status in answer.

ESC ACK SOH (1B 06 01) has the printer send its automatic status at once (TSP700 programmer's manual, p. 44). Its first
byte, 0**0***1, says how many bytes there are; all others are 0**0***0, but for the second, whose bit 7 says that the
status is an expanded one (azmanual.top 142740, p. 186; 137616, p. 149). XON and XOFF may stand between them. Nothing
else is ever written: ENQ and EOT tell less, and ESC RS a n would change what the till receives.

What is decided here:
- **An answer is one whole status.** Where a till has switched automatic status on, one that was on its way may stand
  before it; the last whole one is the newest, and is taken.
- **Silence is unknown, never ok**, and is asked again once; so is what makes no sense.
- **ESC/POS is told apart.** A printer that answers DLE EOT ignores 1B 06 01; a status that begins 12 is no header here.
- **While the cover is open, paper is not judged**, as with any printer whose sensor sits at the cover.
- **One cause, one condition**: `offline` is judged only when nothing that the printer tells explains it.

A change violates this when a printer that said nothing reads `ok`, or when a byte outside `ALLOWED` can be asked for.
"""

from dataclasses import dataclass
from typing import Any, Final

from tillwatch_agent.drivers import (
    Ask,
    Device,
    Looked,
    Occasion,
    SettingsInvalid,
    Talk,
    Timing,
    Transport,
    excerpt,
    garbled,
    unanswered,
)
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, Kind, PowerState

REQUEST: Final = b"\x1b\x06\x01"
ALLOWED: Final = frozenset({REQUEST})

STATUS_BYTES_MIN, STATUS_BYTES_MAX = 7, 31
"""The shortest that any model sends, and the most that the header can count (TSP700, p. 45)."""

REPLY_BYTES_MAX = 4 * STATUS_BYTES_MAX
"""One that was on its way, one that was asked for, and noise."""

TRIES_MAX = 2

_FLOW_CONTROL = b"\x11\x13"
_HEADER_FIXED, _HEADER = 0x91, 0x01
_LATER_FIXED = 0x91
_EXPANSION = 0x80  # of the second byte only

_DRAWER, _OFFLINE, _COVER = 0x04, 0x08, 0x20  # third byte
_BUFFER_OVERFLOW = 0x40  # fifth byte
_NEAR_END, _NEAR_END_INNER, _END = 0x04, 0x02, 0x08  # sixth byte

_BITS: Final = (
    (2, _COVER, ConditionCode.COVER_OPEN),
    (3, 0x04, ConditionCode.MECHANICAL_ERROR),
    (3, 0x08, ConditionCode.CUTTER_ERROR),
    (3, 0x20, ConditionCode.UNRECOVERABLE_ERROR),
    (3, 0x40, ConditionCode.HEAD_HOT),
)
"""Byte, bit, and the condition that it is (TSP700, p. 46)."""

CODES: Final = frozenset(
    {code for _, _, code in _BITS}
    | {ConditionCode.PAPER_END, ConditionCode.PAPER_NEAR_END, ConditionCode.OFFLINE, ConditionCode.DRAWER_OPEN}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Star:
    """One printer; see `Driver`."""

    name: str
    component: str
    drawer_open_level: str | None = None
    """`high` where the compulsion switch closes as the drawer opens, `low` where it opens; None: no drawer."""

    transport = Transport.BYTES
    allowed = ALLOWED
    timing = Timing()

    @property
    def components(self) -> tuple[str, ...]:
        """Name the printer, and the drawer at it."""
        drawer = (f"{Kind.CASH_DRAWER}:{self.name}",) if self.drawer_open_level else ()
        return (self.component, *drawer)

    def look(self, memory: Any, occasion: Occasion) -> Talk:
        """Ask for the status, once more if it does not come; nothing is remembered."""
        del memory
        received = b""
        for no in range(TRIES_MAX):
            came = yield Ask(request=REQUEST, is_answered=_is_enough, may_be_preceded=no > 0)
            received = came or received
            status = read_status(came)
            if status:
                return Looked(observations=self._told(status))
        heard = bytes(byte for byte in received if byte not in _FLOW_CONTROL)
        said = f"expected a Star's automatic status, got {excerpt(heard)}"
        printer = garbled(self.component, said) if heard else unanswered(self.component, occasion.attachment)
        return Looked(observations=(printer, *(_untold(name, printer) for name in self.components[1:])))

    def _told(self, status: bytes) -> tuple[Observation, ...]:
        printer = _printer(self.component, status)
        if self.drawer_open_level is None:
            return (printer,)
        is_open = bool(status[2] & _DRAWER) is (self.drawer_open_level == "high")
        drawer = Observation(
            component=self.components[1],
            health=Health.OK,
            power_state=PowerState.ONLINE,
            true_codes={ConditionCode.DRAWER_OPEN: None} if is_open else {},
        )
        return printer, drawer


def driver(device: Device) -> Star:
    """Make the driver of one printer; raises `SettingsInvalid`."""
    device.knows_only("drawer_open_level", "model")
    level = device.text("drawer_open_level")
    if level not in {None, "high", "low"}:
        raise SettingsInvalid(f"{device.component}: drawer_open_level: expected high or low, got {level!r}")
    return Star(name=device.name, component=device.component, drawer_open_level=level)


def read_status(received: bytes) -> bytes | None:
    """Find the newest whole automatic status among what came; None when anything else stands there."""
    rest = bytes(byte for byte in received if byte not in _FLOW_CONTROL)
    status = None
    while rest:
        length = _length(rest[0])
        if length is None or len(rest) < length or not _is_plain(rest[:length]):
            return None
        status, rest = rest[:length], rest[length:]
    return status


def _length(header: int) -> int | None:
    """Read the number of bytes that the header counts: bits 1 to 3, then 5 and 6 (TSP700, p. 45)."""
    if header & _HEADER_FIXED != _HEADER:
        return None
    length = (header >> 1 & 0x07) | (header >> 5 & 0x03) << 3
    return length if STATUS_BYTES_MIN <= length <= STATUS_BYTES_MAX else None


def _is_plain(status: bytes) -> bool:
    _, version, *later = status
    return not (version & ~_EXPANSION & _LATER_FIXED or any(byte & _LATER_FIXED for byte in later))


def _is_enough(received: bytes) -> bool:
    return read_status(received) is not None or len(received) >= REPLY_BYTES_MAX


def _printer(component: str, status: bytes) -> Observation:
    verdicts: dict[str, bool | None] = {code: bool(status[at] & bit) for at, bit, code in _BITS}
    is_open = verdicts[ConditionCode.COVER_OPEN]
    has_ended = None if is_open else bool(status[5] & _END)
    verdicts[ConditionCode.PAPER_END] = has_ended
    is_near = bool(status[5] & (_NEAR_END | _NEAR_END_INNER))
    verdicts[ConditionCode.PAPER_NEAR_END] = None if is_open or has_ended else is_near
    is_offline = bool(status[2] & _OFFLINE)
    is_explained = any(held for code, held in verdicts.items() if code != ConditionCode.PAPER_NEAR_END)
    verdicts[ConditionCode.OFFLINE] = None if is_offline and is_explained else is_offline
    faults = {code for code, held in verdicts.items() if held} - {ConditionCode.PAPER_NEAR_END}
    return Observation(
        component=component,
        health=Health.FAULT if faults else Health.OK,
        power_state=PowerState.OFFLINE if is_offline or faults else PowerState.ONLINE,
        true_codes={code: _detail(code, status) for code, held in verdicts.items() if held},
        undetermined=frozenset(code for code, held in verdicts.items() if held is None),
    )


def _detail(code: str, status: bytes) -> str | None:
    is_full = code == ConditionCode.OFFLINE and status[4] & _BUFFER_OVERFLOW
    return "its buffer has overflowed" if is_full else None


def _untold(component: str, printer: Observation) -> Observation:
    return Observation(component=component, health=Health.UNKNOWN, reason=printer.reason)
