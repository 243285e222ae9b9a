"""One page by HTTP: its status, its date, and the beginning of what it says (RFC 9112).

Enough to tell a page that is known from a portal's, and an acquirer that serves from one that says it cannot. What is
behind the first bytes is not read.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

ANSWER_BYTES_MAX: Final = 2048
"""Status, date and the first words of a body; a header that is longer is not one of a page made for this."""

_STATUS_DIGITS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What came of a page."""

    status: int
    date: datetime | None = None
    location: str | None = None
    body: bytes = b""


def request(host: str, path: str) -> bytes:
    """Ask for a page, and for the end of the connection behind it."""
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: tillwatch-agent", "Accept: */*", "Connection: close")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii", errors="replace")


def page(came: bytes) -> Page | None:
    """Read what came; None when it is no page."""
    head, _, body = came.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    digits = rest[:_STATUS_DIGITS]
    if (
        not version.startswith("HTTP/1.")
        or len(digits) < _STATUS_DIGITS
        or not (digits.isascii() and digits.isdecimal())
    ):
        return None
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Page(status=int(digits), date=_date(fields.get("date", "")), location=fields.get("location"), body=body)


def _date(text: str) -> datetime | None:
    """Read a date in any of the three forms that a reader must take (RFC 9110, 5.6.7); all of them mean UTC."""
    try:
        return parsedate_to_datetime(text).replace(tzinfo=UTC)
    except ValueError:
        return None
