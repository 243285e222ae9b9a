"""From when until when a certificate is valid, read from its bytes (RFC 5280, 4.1.2.5).

Python tells the times of a certificate only when it trusts it, and those of one that it does not trust are what is
wanted: whether a certificate has ended, or only this machine's clock says so. Nothing is trusted by being read here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_BEFORE_VALIDITY: Final = 3
"""Serial number, signature algorithm, issuer."""
_LENGTH_BYTES_MAX: Final = 3
"""16 MiB, far above what a handshake carries."""
_CENTURY_PIVOT: Final = 50
"""Two digits of 50 and above are of the twentieth century (RFC 5280, 4.1.2.5.1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Validity:
    """The span in which a certificate says that it is valid."""

    begins_at: datetime
    ends_at: datetime

    def covers(self, at: datetime) -> bool:
        """Whether it is valid at this time."""
        return self.begins_at <= at <= self.ends_at


def validity(certificate: bytes) -> Validity | None:
    """Read a certificate in DER; None when it is none."""
    try:
        fields = _children(_content(_content(certificate, _SEQUENCE), _SEQUENCE))
        at = _BEFORE_VALIDITY + (fields[0][0] == _VERSION)
        begins, ends, *_ = _children(fields[at][1])
        return Validity(begins_at=_time(*begins), ends_at=_time(*ends))
    except (ValueError, IndexError):
        return None


def _content(data: bytes, tag: int) -> bytes:
    found, content, _ = _element(data)
    if found != tag:
        raise ValueError(f"expected tag {tag:#x}, got {found:#x}")
    return content


def _children(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        tag, content, data = _element(data)
        found.append((tag, content))
    return found


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split the first element off: its tag, its content, what follows."""
    tag, length, at = data[0], data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _LENGTH_BYTES_MAX or len(data) < at + count:
            raise ValueError("expected a length of one to three bytes")
        length, at = int.from_bytes(data[at : at + count]), at + count
    if len(data) < at + length:
        raise ValueError("expected the whole element")
    return tag, data[at : at + length], data[at + length :]


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _CENTURY_PIVOT else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"expected a time, got tag {tag:#x}")
    if len(text) != len("20260131235959Z"):
        raise ValueError("expected a time to the second, in UTC")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
