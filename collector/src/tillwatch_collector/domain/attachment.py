"""Which files a ticket takes: what a merchant photographs, scans, or exports, and nothing that a browser would run.

A file is what its first bytes say (the magic numbers of the formats' own specifications), and is refused when its
sender calls it something else. Text is UTF-8 and is scrubbed of card numbers like all text; pictures and PDFs are kept
as they are. A change violates this when a file is kept under a media type that its content does not bear out.
"""

import hashlib
import re
from dataclasses import dataclass

from tillwatch_collector.errors import AttachmentRefused
from tillwatch_protocol.scrub import scrubbed

FILES_MAX = 20
"""Of one ticket: pictures of each side of what is broken, and the papers that go with it."""
FILE_BYTES_MAX = 5 * 1024 * 1024
"""A photograph as telephones take it. In base64 it still fits a line of a backup (`store.archive`)."""
NAME_CHARS_MAX = 200

TEXTS = frozenset({"text/plain", "text/csv"})
MEDIA_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain", "text/csv")
"""No SVG and no HTML: these hold scripts."""

_MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"%PDF-\d"), "application/pdf"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
"""No text has these; a form feed may end its pages."""
_NAME_CONTROL = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""With the signs that turn the direction of writing, a name shows another ending than it has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file as it is kept."""

    name: str
    media_type: str
    content: bytes
    sha256: str
    """Of what is kept, in hexadecimal."""


def checked(name: str, media_type: str, content: bytes) -> File:
    """Return a file as it is kept; raises `AttachmentRefused`."""
    if not content or len(content) > FILE_BYTES_MAX:
        raise AttachmentRefused(f"content: expected 1 to {FILE_BYTES_MAX} bytes, got {len(content)}")
    kind = media_type.partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise AttachmentRefused(f"media_type: expected one of {', '.join(MEDIA_TYPES)}, got {kind[:80]!r}")
    kept = _kept(kind, content)
    return File(name=_named(name), media_type=kind, content=kept, sha256=hashlib.sha256(kept).hexdigest())


def _kept(kind: str, content: bytes) -> bytes:
    found = next((told for magic, told in _MAGIC if magic.match(content)), None)
    if kind not in TEXTS or found:
        if found != kind:
            raise AttachmentRefused(f"content: expected {kind}, got {found or 'something else'}")
        return content
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AttachmentRefused(f"content: expected text in UTF-8, got another byte at {error.start}") from None
    if control := _CONTROL.search(text):
        raise AttachmentRefused(f"content: expected text, got a control character at {control.start()}")
    return scrubbed(text).encode()


def _named(name: str) -> str:
    """Return a file's own name, without the folders that some senders put before it."""
    own = scrubbed(re.split(r"[/\\]", name)[-1]).strip()
    if own.strip(".") == "" or len(own) > NAME_CHARS_MAX or _NAME_CONTROL.search(own):
        raise AttachmentRefused(f"name: expected a file's name of 1 to {NAME_CHARS_MAX} characters, got {name[:80]!r}")
    return own
