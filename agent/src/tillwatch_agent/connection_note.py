"""How the agent that runs stands with its broker, on one page beside its outbox, for a doctor that is asked meanwhile.

The doctor must not log in under the name of an agent that runs, so the agent says itself whether it is in, since when,
and what stopped it. The page is written at each turn of the connection and never read by the agent; it is true only
while the outbox is locked. A disk that takes no page takes nothing from the agent's work.

A change violates this when a secret, or what a peer sent, can stand on the page.
"""

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from tillwatch_protocol.vocabulary import Frozen, Instant

FILE: Final = "connection.json"
PAGE_BYTES_MAX: Final = 4096
FAILURE_CHARS_MAX: Final = 500


class Note(Frozen):
    """Whether it is in, and since when by this machine's clock; what stopped it, where something did."""

    is_online: bool
    since: Instant
    failure: str | None = None


def write(state_dir: Path, *, is_online: bool, since: datetime, failure: str | None) -> None:
    """Put the page in its place; where that fails, it stays as it was."""
    note = Note(is_online=is_online, since=since, failure=failure and failure[:FAILURE_CHARS_MAX])
    beside = state_dir / f".{FILE}.new"
    with contextlib.suppress(OSError):
        beside.write_text(note.model_dump_json(), encoding="utf-8")
        beside.replace(state_dir / FILE)


def read(state_dir: Path) -> Note | None:
    """Read the page; None where there is none that can be read."""
    try:
        with (state_dir / FILE).open("rb") as page:
            return Note.model_validate_json(page.read(PAGE_BYTES_MAX))
    except (OSError, ValidationError):
        return None
