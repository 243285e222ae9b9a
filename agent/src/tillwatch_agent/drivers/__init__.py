"""Device families, one module each: bytes in, readings out. Pure: a driver opens nothing, waits for nothing.

A driver is one configured device as its family speaks with it. Its look is a generator: it yields an `Ask`, is sent
what came in answer (nothing, if nothing came in time), and returns what the look gave. So at most one request is ever
outstanding, and the same talk runs over a serial line, a socket, or a table in a test. What may be written is the
driver's `allowed`; a port refuses all else. A driver is frozen: what looks teach travels in `Looked.memory`, which its
owner hands to the next look and drops when the device may be another.

A family is found by the name that a configuration gives as `protocol`: it is an entry point of the group
`tillwatch.drivers`, and its object a `Family`, so that any installed package can bring one.

A change violates this when a driver reads a clock or opens something, or when what it may write depends on what came.
"""

from collections.abc import Callable, Container, Generator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from tillwatch_agent.errors import OperatorError
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

GROUP: Final = "tillwatch.drivers"
"""The entry points' group."""


class SettingsInvalid(OperatorError):  # noqa: N818 - the tree reads as a list of faults
    """A driver's own settings cannot be used; the message says the key, what was expected, and what came."""


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


class Transport(StrEnum):
    """What carries a driver's requests."""

    BYTES = "bytes"
    """A serial line, a printer's node, or a TCP connection."""
    USB_CONTROL = "usb_control"
    """Control transfers to a printer's node: a request is a SETUP packet of 8 bytes (USB 2.0, 9.3)."""
    HTTPS = "https"
    """A request is the body of a POST, an answer the body of its response."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How long to wait for what. No printer's manual gives a response time; clients by others wait 1 to 3 s."""

    reply_s: float = 0.5
    """For the first byte of an answer; with two more tries it lies within what others wait."""
    late_s: float = 3.0
    """How late an answer can come and still not be taken for another's; the longest that others wait."""
    settle_s: float = 0.03
    """Past an answer, for a second byte that a printer would not send: thirty characters at 9600 baud."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One request, and how to know that enough came in answer."""

    request: bytes
    is_answered: Callable[[bytes], bool]
    may_be_preceded: bool = False
    """An earlier request had no answer: it may still come, and must not be taken for this one's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Occasion:
    """What a look is told of itself."""

    attachment: Attachment
    look_no: int = 0
    """How many looks there were since the agent started; it goes on when what was learned is dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What one look gave: an observation of each of the driver's components, and what the next look is to know."""

    observations: tuple[Observation, ...]
    memory: Any = None


Talk = Generator[Ask, bytes, Looked]


class Driver(Protocol):
    """One configured device as its family speaks with it."""

    @property
    def components(self) -> tuple[str, ...]:
        """Name what it tells of, the device itself first."""

    @property
    def transport(self) -> Transport:
        """Say what carries its requests."""

    @property
    def allowed(self) -> Container[bytes]:
        """Give all that may ever be written; the port refuses what is not in it."""

    @property
    def timing(self) -> Timing:
        """Say how long to wait."""

    def look(self, memory: Any, occasion: Occasion) -> Talk:
        """Talk to the device once; `memory` is what the last look left, or None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One device of a configuration, as its family is told of it."""

    kind: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The family's own, as TOML has them; a key that is not known raises `SettingsInvalid`."""
    started_s: int = 0
    """Seconds since 1970 when the agent started; for a number that is not to come again."""

    @property
    def component(self) -> str:
        """The device's own name on the wire."""
        return f"{self.kind}:{self.name}"

    def text(self, key: str) -> str | None:
        """Read one setting of text; raises `SettingsInvalid`."""
        value = self.settings.get(key)
        if value is not None and not isinstance(value, str):
            raise SettingsInvalid(f"{self.component}: {key}: expected text, got {value!r}")
        return value

    def knows_only(self, *keys: str) -> None:
        """Refuse settings of other names; raises `SettingsInvalid`."""
        for key in self.settings:
            if key not in keys:
                known = f"one of {', '.join(keys)}" if keys else "none"
                raise SettingsInvalid(f"{self.component}: {key}: unknown key; expected {known}")


Family = Callable[[Device], Driver]
"""Makes the driver of one device; raises `SettingsInvalid`."""


def unanswered(component: str, attachment: Attachment, detail: str | None = None) -> Observation:
    """Say of a device that was asked in vain: unknown, never ok."""
    return Observation(
        component=component,
        health=Health.UNKNOWN,
        reason=ConditionCode.NO_RESPONSE,
        power_state=SILENT_POWER_STATES[attachment],
        true_codes={ConditionCode.NO_RESPONSE: detail},
    )


def garbled(component: str, detail: str) -> Observation:
    """Say of a device whose answer makes no sense: unknown, its power too, as who answered is not known."""
    return Observation(
        component=component,
        health=Health.UNKNOWN,
        reason=ConditionCode.GARBLED_RESPONSE,
        true_codes={ConditionCode.GARBLED_RESPONSE: detail},
    )


_EXCERPT_BYTES_MAX = 4
"""Enough to know a pattern by, too little to hold a card number."""


def excerpt(received: bytes) -> str:
    """Tell what came, by its length and its first bytes."""
    return f"{len(received)} bytes: {received[:_EXCERPT_BYTES_MAX].hex(' ')}"
