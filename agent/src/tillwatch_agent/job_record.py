"""What of a job outlasts a power cut, as words on a page: the newest job, and the ids of those that are over.

A page is JSON, written whole at each step before anything is done that must not be done twice, and read at a start. An
older agent may have to read the page of a newer one that it came back from, and the other way round: unknown fields are
left out, and no field changes its meaning.

A change violates this when an agent that was rolled back cannot read where its job stands.
"""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field, ValidationError

from tillwatch_agent.errors import JournalUnreadable
from tillwatch_protocol.job import JOB_FINAL, JobState
from tillwatch_protocol.release import InstallerKind
from tillwatch_protocol.vocabulary import CONDITIONS_MAX, Code, Component, Count, Frozen, Identifier, Text

OVER_MAX: Final = 64
"""Ids of jobs that are over: a message that comes late is late by minutes, and a terminal has few jobs a year."""

BEFORE_CODES_MAX: Final = CONDITIONS_MAX
"""Of one component."""


class Package(Frozen):
    """A release as it was fetched and verified."""

    archive: str
    """Where it lies."""
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256, as it was signed."""
    version: str
    installer: Annotated[InstallerKind, Field(strict=False)]
    installed_bytes: Count | None = None


class Record(Frozen):
    """One job."""

    job_id: Identifier
    target: str
    product: Code
    state: Annotated[JobState, Field(strict=False)]
    reason: Code | None = None
    detail: Text | None = None
    downloads_failed: Count = 0
    package: Package | None = None
    before: Mapping[Component, Annotated[tuple[Code, ...], Field(max_length=BEFORE_CODES_MAX, strict=False)]] = Field(
        default_factory=dict
    )
    """What was wrong with each component before the switch, as far as a release may be blamed for such things."""
    go_boot_id: Identifier | None = None
    go_until_s: float | None = None
    """Until when it may switch, on the monotonic clock of that boot of the machine; never begun by another boot."""
    activation_id: Identifier | None = None
    starts: Count = 0
    """Of the agent, since it may have switched."""
    committing: bool = False
    """What runs has proved itself: from here it is kept, and never taken back."""
    told: bool = False
    """Of a final state: its report is in the outbox."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in JOB_FINAL


class Page(Frozen):
    """All that is kept."""

    v: int = 1
    job: Record | None = None
    over: Annotated[tuple[Identifier, ...], Field(strict=False)] = ()
    """Jobs that are not to be taken again, the newest last."""

    def without(self, job_id: str) -> "Page":
        """Return the page on which a job is over, or never to be taken."""
        kept = (*(other for other in self.over if other != job_id), job_id)
        return self.model_copy(update={"over": kept[-OVER_MAX:]})


def written(page: Page) -> bytes:
    """Turn a page into what is stored."""
    return page.model_dump_json(exclude_none=True).encode()


def read(stored: bytes) -> Page:
    """Turn what was stored into a page; raises `JournalUnreadable`."""
    try:
        return Page.model_validate_json(stored)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the page"
        raise JournalUnreadable(f"{where}: {first['msg']}") from None
