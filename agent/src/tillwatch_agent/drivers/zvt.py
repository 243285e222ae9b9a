"""Payment devices by ZVT: the status enquiry, on a serial line or over TCP.

An APDU is class, instruction, length and data; a length of FF is followed by two bytes, the lower first. Over TCP it
stands alone; on a serial line it stands between 10 02 and 10 03, each 10 in it doubled, followed by a CRC-16 (reflected
8408, from 0, over the APDU as it is and 03), the lower byte first and never doubled; each frame is acknowledged by 06,
or asked for again by 15 (ZVT protocol PA00P015, chapters "serial" and "TCP/IP"; PA00P016).

    enquiry 05 01 -> 80 00 00 -> [04 FF intermediate ...] -> 06 0F completion, or 06 1E abort

`Zvt.allowed` is the enquiry, the two acknowledgements, and 80 00 00 by which what the terminal sends is taken: nothing
that pays, prints, ends a day or aborts.

What is decided here:
- **A frame with a wrong CRC is not read**: it is asked for again, twice at most.
- **The terminal tells one state at a time.** `00` judges that every condition is gone; any other judges its own, and
  leaves the rest undetermined.
- **Busy is unknown, not a fault**: a terminal in a payment answers 9C, or refuses the enquiry by 84.
- **Silence is unknown, never ok.** An answer that never comes whole is garbled.

A change violates this when a terminal that said nothing reads `ok`, or when a frame is believed against its CRC.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

from tillwatch_agent.drivers import (
    Ask,
    Attachment,
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
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

ACK, NAK = b"\x06", b"\x15"
POSITIVE: Final = b"\x80\x00\x00"
PASSWORD: Final = re.compile(r"[0-9]{6}")

REPLY_BYTES_MAX = 2048
"""The longest completion has some hundred bytes; what sends more than this is not a terminal."""

MESSAGES_MAX = 12
"""Of one enquiry; a terminal has two, and an intermediate one a second while it is at something."""

REPEATS_MAX = 2
"""As often as a terminal repeats what it sent (PA00P015: three tries)."""

_DLE, _STX, _ETX = 0x10, 0x02, 0x03
_POLYNOMIAL = 0x8408
_LONG = 0xFF
_ENQUIRY, _COMPLETION, _ABORT, _INTERMEDIATE = b"\x05\x01", b"\x06\x0f", b"\x06\x1e", b"\x04\xff"
_REFUSED, _ACCEPTED = 0x84, b"\x80\x00"
_WAIT = 0x9C

BUSY: Final = "busy"
NOT_TOLD: Final = "not_told"
"""Reasons of a terminal that answers and is not to be judged now."""

STATES: Final[dict[int, tuple[str, str | None]]] = {
    0x51: (ConditionCode.SETUP_REQUIRED, "initialisation required"),
    0x62: (ConditionCode.CLOCK_WRONG, None),
    0x7D: (ConditionCode.HOST_UNREACHABLE, "communication error"),
    0x89: (ConditionCode.PIN_PAD_FAILURE, None),
    0x9A: (ConditionCode.OUT_OF_ORDER, "protocol error toward its host"),
    0xA0: (ConditionCode.HOST_UNREACHABLE, None),
    0xA1: (ConditionCode.HOST_UNREACHABLE, None),
    0xA3: (ConditionCode.HOST_UNREACHABLE, None),
    0xB1: (ConditionCode.MEMORY_FULL, None),
    0xB2: (ConditionCode.MEMORY_FULL, "its journal is full"),
    0xBF: (ConditionCode.SUPPLY_LOW, None),
    0xC0: (ConditionCode.READER_FAILURE, "the lock of the card reader"),
    0xC1: (ConditionCode.OUT_OF_ORDER, "the merchant card is locked"),
    0xC2: (ConditionCode.SETUP_REQUIRED, "diagnosis required"),
    0xC4: (ConditionCode.SETUP_REQUIRED, "card profile invalid: diagnosis required"),
    0xCC: (ConditionCode.DEVICE_ERROR, "its printer is not ready"),
    0xDF: (ConditionCode.OUT_OF_ORDER, None),
    0xE0: (ConditionCode.IN_MAINTENANCE, None),
    0xE1: (ConditionCode.CARD_LEFT, None),
    0xE2: (ConditionCode.READER_FAILURE, None),
    0xE3: (ConditionCode.OUT_OF_ORDER, "the shutter is closed"),
    0xE4: (ConditionCode.SETUP_REQUIRED, "activation required"),
    0xED: (ConditionCode.PIN_PAD_FAILURE, None),
    0xF6: (ConditionCode.SETUP_REQUIRED, "its OPT data are missing"),
    0xFF: (ConditionCode.OUT_OF_ORDER, "system error"),
}
"""What a state byte means (PA00P016, table of terminal states and of errors)."""

READY: Final = frozenset({0x00, 0xDC})
"""Ready; and a card is inserted, as it is in each payment."""

CODES: Final = frozenset(code for code, _ in STATES.values())
_PASSING: Final = frozenset({ConditionCode.CARD_LEFT, ConditionCode.IN_MAINTENANCE})
"""True, and no fault of the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What stands whole among the bytes that came."""

    apdus: tuple[bytes, ...] = ()
    is_corrupt: bool = False
    """A frame whose CRC or whose length is wrong, or bytes that are no frame."""
    is_refused: bool = False
    """15: the terminal wants what we sent again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What 06 0F says."""

    state: int | None
    software: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Zvt:
    """One terminal; see `Driver`."""

    component: str
    enquiry: bytes

    transport = Transport.BYTES
    timing = Timing(reply_s=5.0, late_s=5.0, settle_s=0.2)
    """T3 of PA00P015 for an answer; 0.2 s between two bytes of one frame."""

    @property
    def components(self) -> tuple[str, ...]:
        """Name the terminal."""
        return (self.component,)

    @property
    def allowed(self) -> frozenset[bytes]:
        """Give the enquiry and the acknowledgements, in both framings."""
        return frozenset({self.enquiry, POSITIVE, framed(self.enquiry), ACK, NAK, ACK + framed(POSITIVE)})

    def look(self, memory: Any, occasion: Occasion) -> Talk:
        """Ask the terminal for its state; nothing is remembered."""
        del memory
        is_serial = occasion.attachment is not Attachment.TCP
        apdu, received = yield from _enquired(self.enquiry, is_serial=is_serial)
        if apdu is None:
            return Looked(observations=(_unread(self.component, received, occasion.attachment, self.enquiry),))
        return Looked(observations=(_told(self.component, apdu),))


def driver(device: Device) -> Zvt:
    """Make the driver of one terminal; raises `SettingsInvalid`."""
    device.knows_only("password")
    password = device.text("password")
    if password is not None and not PASSWORD.fullmatch(password):
        raise SettingsInvalid(f"{device.component}: password: expected six digits, got {len(password)} characters")
    data = bytes.fromhex(password or "")
    return Zvt(component=device.component, enquiry=_ENQUIRY + bytes([len(data)]) + data)


def crc16(data: bytes) -> int:
    """Reckon the CRC of an APDU with the 03 that ends it: reflected, 8408, from 0 (known as KERMIT)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc


def framed(apdu: bytes) -> bytes:
    """Put an APDU into a serial frame."""
    doubled = apdu.replace(bytes([_DLE]), bytes([_DLE, _DLE]))
    crc = crc16(apdu + bytes([_ETX]))
    return bytes([_DLE, _STX]) + doubled + bytes([_DLE, _ETX]) + crc.to_bytes(2, "little")


def hear_serial(received: bytes) -> Heard:
    """Find the frames among what came on a serial line; what has not come whole is left out."""
    apdus: list[bytes] = []
    at, is_refused = 0, False
    while at < len(received):
        if received[at : at + 1] in {ACK, NAK}:
            is_refused = is_refused or received[at : at + 1] == NAK
            at += 1
            continue
        found = _frame(received[at:])
        if found is None:
            is_begun = received.startswith(bytes([_DLE, _STX]), at) or received[at:] == bytes([_DLE])
            return Heard(apdus=tuple(apdus), is_refused=is_refused, is_corrupt=not is_begun)
        apdu, length = found
        if not apdu:
            return Heard(apdus=tuple(apdus), is_refused=is_refused, is_corrupt=True)
        apdus.append(apdu)
        at += length
    return Heard(apdus=tuple(apdus), is_refused=is_refused)


def hear_tcp(received: bytes) -> Heard:
    """Find the APDUs among what came over TCP; what has not come whole is left out."""
    apdus: list[bytes] = []
    rest = received
    while (length := _apdu_bytes(rest)) is not None and len(rest) >= length:
        apdus.append(rest[:length])
        rest = rest[length:]
    return Heard(apdus=tuple(apdus))


def read_completion(apdu: bytes) -> Completion:
    """Read 06 0F: the software's version as LLLVAR (F0 F0 F7 and seven characters), where it is told, and the state."""
    data = _data(apdu)
    software = None
    if len(data) > 3 and all(byte >> 4 == 0xF for byte in data[:3]):  # noqa: PLR2004 - three digits and something
        length = int("".join(str(byte & 0x0F) for byte in data[:3])) if _are_digits(data[:3]) else 0
        text, data = data[3 : 3 + length], data[3 + length :]
        software = text.decode("ascii") if text.isascii() and text.decode("ascii").isprintable() else None
    return Completion(state=data[0] if data else None, software=software or None)


def _enquired(enquiry: bytes, *, is_serial: bool) -> Generator[Ask, bytes, tuple[bytes | None, bytes]]:
    """Run the exchange to its end; returns the APDU that ends it, or None and what came last."""
    hear = hear_serial if is_serial else hear_tcp
    request, last = framed(enquiry) if is_serial else enquiry, b""
    repeats = 0
    for _ in range(MESSAGES_MAX):
        received = yield Ask(
            request=request,
            is_answered=lambda got: _is_enough(hear(got), is_serial=is_serial) or len(got) >= REPLY_BYTES_MAX,
        )
        last = received or last
        if received == request:
            break
        heard = hear(received)
        ending = next((apdu for apdu in heard.apdus if _ends(apdu)), None)
        if ending is not None:
            yield Ask(request=ACK + framed(POSITIVE) if is_serial else POSITIVE, is_answered=lambda _: True)
            return ending, last
        if heard.is_corrupt or heard.is_refused:
            repeats += 1
            if repeats > REPEATS_MAX or not is_serial:
                break
            request = NAK if heard.is_corrupt else request
            continue
        if not heard.apdus:
            break
        is_intermediate = heard.apdus[-1].startswith(_INTERMEDIATE)
        request = (ACK + framed(POSITIVE) if is_intermediate else ACK) if is_serial else POSITIVE
    return None, last


def _ends(apdu: bytes) -> bool:
    return apdu[:2] in {_COMPLETION, _ABORT} or apdu[0] == _REFUSED


def _is_enough(heard: Heard, *, is_serial: bool) -> bool:
    """On a line each frame is to be acknowledged; over TCP nothing is due to the terminal's 80 00 00."""
    if heard.is_corrupt or heard.is_refused:
        return True
    return any(is_serial or not apdu.startswith(_ACCEPTED) for apdu in heard.apdus)


def _unread(component: str, received: bytes, attachment: Attachment, enquiry: bytes) -> Observation:
    if not received.strip(ACK):
        return unanswered(component, attachment, "it acknowledges, and says no more" if received else None)
    if received in {enquiry, framed(enquiry)}:
        return garbled(component, "the line echoes what is sent")
    return garbled(component, f"expected a ZVT terminal's answer, got {excerpt(received)}")


def _told(component: str, apdu: bytes) -> Observation:
    if apdu[0] == _REFUSED:
        reason, said = (BUSY if apdu[1] == _WAIT else NOT_TOLD), f"it refuses the enquiry by {apdu[1]:02X}"
        return _unjudged(component, reason, said)
    if apdu.startswith(_ABORT):
        data = _data(apdu)
        return _state(component, data[0] if data else None, "it aborted the enquiry", {})
    completion = read_completion(apdu)
    facts = {"firmware": completion.software} if completion.software else {}
    return _state(component, completion.state, "it tells no state", facts)


def _state(component: str, state: int | None, otherwise: str, facts: dict[str, str]) -> Observation:
    if state == _WAIT:
        return _unjudged(component, BUSY, "it is at something")
    if state is None or (state not in READY and state not in STATES):
        said = otherwise if state is None else f"{otherwise} that is known: {state:02X}"
        return _unjudged(component, NOT_TOLD, said)
    code, detail = STATES.get(state, (None, None))
    return Observation(
        component=component,
        health=Health.OK if code is None or code in _PASSING else Health.FAULT,
        power_state=PowerState.ONLINE,
        true_codes={} if code is None else {code: detail},
        undetermined=CODES - {code} if code else frozenset(),
        facts=facts,
    )


def _unjudged(component: str, reason: str, detail: str) -> Observation:
    return Observation(
        component=component,
        health=Health.UNKNOWN,
        reason=reason,
        power_state=PowerState.ONLINE,
        undetermined=CODES,
        facts={"last_answer": detail},
    )


def _frame(received: bytes) -> tuple[bytes, int] | None:
    """Read one frame: its APDU (nothing, if it is corrupt) and its length; None while it has not come whole."""
    if not received.startswith(bytes([_DLE, _STX])):
        return None
    apdu, at = bytearray(), 2
    while at + 1 < len(received):
        if received[at] != _DLE:
            apdu.append(received[at])
            at += 1
        elif received[at + 1] == _DLE:
            apdu.append(_DLE)
            at += 2
        elif received[at + 1] == _ETX:
            return _checked(bytes(apdu), received, at + 2)
        else:
            return b"", at + 2
    return None


def _checked(apdu: bytes, received: bytes, at: int) -> tuple[bytes, int] | None:
    if len(received) < at + 2:
        return None
    is_right = received[at : at + 2] == crc16(apdu + bytes([_ETX])).to_bytes(2, "little")
    return apdu if is_right and _apdu_bytes(apdu) == len(apdu) else b"", at + 2


def _apdu_bytes(data: bytes) -> int | None:
    """Say how long the APDU is that begins here; None while that cannot be told."""
    if len(data) < 3:  # noqa: PLR2004 - class, instruction, length
        return None
    if data[2] != _LONG:
        return 3 + data[2]
    return None if len(data) < 5 else 5 + int.from_bytes(data[3:5], "little")  # noqa: PLR2004 - and two of length


def _data(apdu: bytes) -> bytes:
    return apdu[5:] if apdu[2] == _LONG else apdu[3:]


def _are_digits(data: bytes) -> bool:
    return all(byte & 0x0F <= 9 for byte in data)  # noqa: PLR2004 - a decimal digit
