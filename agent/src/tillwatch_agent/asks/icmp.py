"""An echo by ICMP, over Linux's datagram sockets, which need no privilege where `ping_group_range` has our group.

The kernel writes the identifier and the checksum, and hands over only answers to our own socket (Linux,
`net/ipv4/ping.c`). By default the range is "1 0", which has nobody in it, not even root.
"""

import struct
from typing import Final

_ECHO_REQUEST, _ECHO_REPLY, _ECHO_BYTES = 8, 0, 8
_RANGE_NUMBERS = 2
_ECHO: Final = struct.Struct("!BBHHH")


def echo(number: int) -> bytes:
    """Ask for an echo; `number` is from 0 to 65535."""
    return _ECHO.pack(_ECHO_REQUEST, 0, 0, 0, number)


def is_echo_of(number: int, came: bytes) -> bool:
    """Whether this is the echo of that question."""
    return len(came) >= _ECHO_BYTES and came[0] == _ECHO_REPLY and int.from_bytes(came[6:8]) == number


def is_allowed(ping_group_range: str, groups: frozenset[int]) -> bool:
    """Whether one of these groups may open such a socket, by what the kernel's file says."""
    numbers = ping_group_range.split()
    if len(numbers) != _RANGE_NUMBERS or not all(number.isdecimal() for number in numbers):
        return False
    first, last = map(int, numbers)
    return any(first <= group <= last for group in groups)
