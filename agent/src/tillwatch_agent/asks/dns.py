"""One question to a name server: does it answer, and what does it say (RFC 1035, 4.1).

The system's resolver says "try again" for a server's failure, for a closed port and for silence alike. Asked itself, a
server says which: an answer has a code (`rcode`), a closed port is refused by the kernel, and the rest is silence.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

PORT: Final = 53
NAME_CHARS_MAX: Final = 253
ANSWER_BYTES_MAX: Final = 1232
"""What fits every path unbroken (DNS flag day 2020); we ask without EDNS, so that 512 would do."""

_HEADER: Final = struct.Struct("!6H")
_RECURSION_DESIRED, _RESPONSE, _RCODE = 0x0100, 0x8000, 0x000F
_TYPE_A, _CLASS_IN = 1, 1
_LABEL_CHARS_MAX = 63


class Rcode(IntEnum):
    """What a name server says of a question (RFC 1035, 4.1.1); others are told by their number."""

    NO_ERROR = 0
    FORMAT_ERROR = 1
    SERVER_FAILURE = 2
    NO_SUCH_NAME = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A server's answer; how many records it holds is counted, what they say is the system's to resolve."""

    rcode: int
    records: int

    @property
    def is_settled(self) -> bool:
        """Whether the server did its work: it found the name, or says that there is none."""
        return self.rcode in {Rcode.NO_ERROR, Rcode.NO_SUCH_NAME}


def question(number: int, name: str) -> bytes | None:
    """Ask for a name's IPv4 addresses; None for what is no name. `number` is from 0 to 65535, and hard to guess."""
    asked = _name(name)
    if asked is None:
        return None
    return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + asked + struct.pack("!2H", _TYPE_A, _CLASS_IN)


def answer(asked: bytes, came: bytes) -> Answer | None:
    """Read what came to this question; None when it is no answer to it.

    The question must stand in the answer as it was asked, letter case apart, unless the server could not read it
    (RFC 5452, 9.1).
    """
    if len(came) < _HEADER.size:
        return None
    number, flags, questions, records, _, _ = _HEADER.unpack_from(came)
    if number != int.from_bytes(asked[:2]) or not flags & _RESPONSE:
        return None
    repeated = came[_HEADER.size : len(asked)].lower()
    if questions and repeated != asked[_HEADER.size :].lower():
        return None
    return Answer(rcode=flags & _RCODE, records=records)


def _name(name: str) -> bytes | None:
    try:
        labels = [
            label.encode("idna") if not label.isascii() else label.encode() for label in name.rstrip(".").split(".")
        ]
    except UnicodeError:
        return None
    if not all(0 < len(label) <= _LABEL_CHARS_MAX for label in labels) or len(b".".join(labels)) > NAME_CHARS_MAX:
        return None
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
