"""What people type into forms, looked at before it is kept: what is wrong is told by a key of the words.

The flows look again, and in their own words; here it is told to a person, who has the text still before them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tillwatch_collector.api.tickets.work import LINES
from tillwatch_protocol.vocabulary import INTEGER_MAX


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrong:
    """What is wrong with what was sent."""

    key: str
    said: Mapping[str, object] = field(default_factory=dict)


def lines(text: str) -> str:
    """Return a text with the line ends that we keep; forms send two characters for each."""
    return text.replace("\r\n", "\n")


def wrong_text(text: str, chars_max: int, *, needed: bool = True) -> Wrong | None:
    """Say what keeps a text from being kept."""
    said = text.strip()
    if needed and not said:
        return Wrong(key="wrong_text_missing")
    if len(said) > chars_max:
        return Wrong(key="wrong_text_long", said={"most": chars_max, "got": len(said)})
    return None if re.fullmatch(LINES, said) else Wrong(key="wrong_text_control")


def number(typed: str) -> int | None:
    """Read a ticket's number, as people write it: `12`, `#12`."""
    digits = typed.strip().removeprefix("#")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(INTEGER_MAX))):
        return None
    return int(digits) if 1 <= int(digits) <= INTEGER_MAX else None
