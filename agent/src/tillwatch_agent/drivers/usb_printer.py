"""USB printers of no known language, by what their class tells: port status and device id.

A request is the SETUP packet of a control transfer (USB 2.0, 9.3) as the printer class has it (USB Printer Class 1.1,
4.2): GET_PORT_STATUS, answered by one byte with bit 5 paper empty, bit 4 selected, bit 3 *no* error and all others 0;
GET_DEVICE_ID, answered by a length of two bytes, the higher first and counting itself, and text of `KEY:value;`. The
class's third request, SOFT_RESET, is in no list here. They do not pass through the printer's data, so that a job of the
till is not touched.

What is decided here:
- **One byte tells little**: paper, error, offline; nothing of a cover, a cutter or a near end, which are never judged.
  Some receipt printers answer a constant 18, all well: for those that speak ESC/POS or Star, those tell more.
- **One cause, one condition**: an error beside an empty paper is the paper's; `offline` only where nothing explains it.
- **The text is asked for once**, as it does not change; what cannot be read of it is left out.
- **Silence is unknown, never ok**; a byte with a bit set that is fixed at 0 is garbled.

A change violates this when a request that is not a question can be made.
"""

import re
from dataclasses import dataclass
from typing import Final

from tillwatch_agent.drivers import (
    Ask,
    Device,
    Looked,
    Occasion,
    Talk,
    Timing,
    Transport,
    excerpt,
    garbled,
    unanswered,
)
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

DEVICE_ID_BYTES_MAX = 1023
"""usblp's own buffer (drivers/usb/class/usblp.c)."""

PORT_STATUS: Final = bytes([0xA1, 1, 0, 0, 0, 0, 1, 0])
DEVICE_ID: Final = bytes([0xA1, 0, 0, 0, 0, 0, *DEVICE_ID_BYTES_MAX.to_bytes(2, "little")])
ALLOWED: Final = frozenset({PORT_STATUS, DEVICE_ID})

TRIES_MAX = 2

_FIXED = 0xC7
_PAPER_EMPTY, _SELECTED, _NO_ERROR = 0x20, 0x10, 0x08

CODES: Final = frozenset({ConditionCode.PAPER_END, ConditionCode.DEVICE_ERROR, ConditionCode.OFFLINE})

_FACTS: Final = {
    "MANUFACTURER": "maker",
    "MFG": "maker",
    "MODEL": "model",
    "MDL": "model",
    "COMMAND SET": "command_set",
    "CMD": "command_set",
    "SERIALNUMBER": "serial_number",
    "SN": "serial_number",
}
"""Keys of a device id (IEEE 1284-2000, 7.6), and the fact that each is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsbPrinter:
    """One printer; see `Driver`."""

    component: str

    transport = Transport.USB_CONTROL
    allowed = ALLOWED
    timing = Timing(reply_s=5.0, late_s=0.0)
    """As long as the kernel lets a control transfer take; its answer is never another's."""

    @property
    def components(self) -> tuple[str, ...]:
        """Name the printer."""
        return (self.component,)

    def look(self, memory: dict[str, str] | None, occasion: Occasion) -> Talk:
        """Ask for the status, and once who it is; what is remembered is that."""
        received = b""
        for _ in range(TRIES_MAX):
            received = yield Ask(request=PORT_STATUS, is_answered=bool)
            if received:
                break
        if not received:
            return Looked(observations=(unanswered(self.component, occasion.attachment),))
        if len(received) != 1 or received[0] & _FIXED:
            said = f"expected one byte of port status, got {excerpt(received)}"
            return Looked(observations=(garbled(self.component, said),))
        facts = memory
        if facts is None:
            facts = read_device_id((yield Ask(request=DEVICE_ID, is_answered=_is_whole)))
        return Looked(observations=(_told(self.component, received[0], facts),), memory=facts)


def driver(device: Device) -> UsbPrinter:
    """Make the driver of one printer; raises `SettingsInvalid`."""
    device.knows_only("model")
    return UsbPrinter(component=device.component)


def read_device_id(received: bytes) -> dict[str, str]:
    """Read the facts of a device id; none, where it is not one."""
    if not _is_whole(received):
        return {}
    text = received[2 : int.from_bytes(received[:2], "big")].decode("ascii", errors="replace")
    pairs = (re.split(r":", pair, maxsplit=1) for pair in text.split(";") if ":" in pair)
    told = {key.strip().upper(): value.strip() for key, value in pairs}
    return {fact: told[key] for key, fact in _FACTS.items() if told.get(key, "").isprintable() and told.get(key)}


def _is_whole(received: bytes) -> bool:
    length = int.from_bytes(received[:2], "big")
    return 2 <= length <= len(received)  # noqa: PLR2004 - it counts its own two bytes


def _told(component: str, status: int, facts: dict[str, str]) -> Observation:
    has_ended, is_selected = bool(status & _PAPER_EMPTY), bool(status & _SELECTED)
    has_error = not status & _NO_ERROR
    verdicts: dict[str, bool | None] = {
        ConditionCode.PAPER_END: has_ended,
        ConditionCode.DEVICE_ERROR: None if has_ended and has_error else has_error,
        ConditionCode.OFFLINE: None if not is_selected and (has_ended or has_error) else not is_selected,
    }
    faults = {code: None for code, held in verdicts.items() if held}
    return Observation(
        component=component,
        health=Health.FAULT if faults else Health.OK,
        power_state=PowerState.OFFLINE if faults else PowerState.ONLINE,
        true_codes=dict(faults),
        undetermined=frozenset(code for code, held in verdicts.items() if held is None),
        facts=dict(facts),
    )
