"""One question to a time server: how far is this clock off (RFC 4330, SNTP version 4).

The client's time never leaves the machine: in its place stands a random number, which the server must repeat, so that
nobody who does not see the question can answer it. The offset is from the middle of the time that the answer took.
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

PORT: Final = 123
PACKET_BYTES: Final = 48

_CLIENT_V4: Final = 0x23
"""Leap 0, version 4, mode 3."""
_MODE, _SERVER, _LEAP_UNKNOWN, _STRATUM_MAX = 0x07, 4, 3, 15
_ORIGINATE, _TRANSMIT = slice(24, 32), slice(40, 48)
_ERA_0: Final = datetime(1900, 1, 1, tzinfo=UTC)
_ERA_S: Final = 2**32
_PIVOT_S: Final = 2**31
"""Seconds below it are of the era that begins on 7 February 2036 (RFC 4330, 3)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """The time that a server told."""

    at: datetime
    stratum: int


def question(nonce: bytes) -> bytes:
    """Ask for the time; `nonce` is 8 random bytes."""
    return bytes([_CLIENT_V4]) + bytes(39) + nonce


def answer(asked: bytes, came: bytes) -> Told | None:
    """Read what came to this question; None when it is no answer to it, or the server does not know the time."""
    if len(came) < PACKET_BYTES or came[_ORIGINATE] != asked[_TRANSMIT]:
        return None
    leap, mode, stratum = came[0] >> 6, came[0] & _MODE, came[1]
    if mode != _SERVER or leap == _LEAP_UNKNOWN or not 1 <= stratum <= _STRATUM_MAX:
        return None
    seconds, fraction = struct.unpack("!2I", came[_TRANSMIT])
    since_era_0_s = seconds + (_ERA_S if seconds < _PIVOT_S else 0) + fraction / 2**32
    return Told(at=_ERA_0 + timedelta(seconds=since_era_0_s), stratum=stratum)


def offset_s(told: Told, asked_at: datetime, came_at: datetime) -> float:
    """Say how far the true time is ahead of this clock; negative when this clock is ahead."""
    return (told.at - (asked_at + (came_at - asked_at) / 2)).total_seconds()
