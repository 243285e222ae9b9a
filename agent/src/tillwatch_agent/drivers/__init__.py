"""Device families, one module each: bytes in, readings out. Pure: a driver opens nothing, waits for nothing.

A driver's look at a device is a generator: it yields an `Ask`, is sent what came in answer (nothing, if nothing came in
time), and returns what the look gave. So at most one request is ever outstanding, and the same talk runs over a serial
line, a socket, or a table in a test. What may be written is the driver's closed list of requests; a port refuses all
else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tillwatch_protocol.vocabulary import PowerState


class Attachment(StrEnum):
    """How a device hangs on the machine, and so what its silence can mean."""

    USB = "usb"
    """The device's own USB function: its node is there, so it has power."""
    SERIAL = "serial"
    """A plain line, or an adapter that the machine itself feeds: silence cannot tell off from offline."""
    TCP = "tcp"
    """A connection that was accepted: something there has power."""


SILENT_POWER_STATES: Final = {
    Attachment.USB: PowerState.OFFLINE,
    Attachment.SERIAL: PowerState.OFF_OFFLINE,
    Attachment.TCP: PowerState.OFFLINE,
}
"""Power state of a device that was asked and did not answer (UnifiedPOS 1.14, common properties, `PowerState`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One request, and how to know that enough came in answer."""

    request: bytes
    is_answered: Callable[[bytes], bool]
    may_be_preceded: bool = False
    """An earlier request had no answer: it may still come, and must not be taken for this one's."""
