"""What a job asks of the shell around it, and what it hears of it: effects and results, each of one job.

Of what is asked one thing is done at a time. Everything here may be asked again after any cut, with the same end: what
is staged already is not staged again, what was activated keeps its activation, what was taken back stays so.

A change violates this when an effect that is asked for twice does more than one that is asked for once.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from tillwatch_agent.installer.order import Cause
from tillwatch_agent.job_record import Package
from tillwatch_protocol.reading import Reading


class Doing(StrEnum):
    """What is being done for a job; one thing at a time."""

    FETCH = "fetch"
    STAGE = "stage"
    GUARD = "guard"
    ACTIVATE = "activate"
    RESTART = "restart"
    LOOK = "look"
    COMMIT = "commit"
    REVERT = "revert"


# --- effects


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetch:
    """Download what a target names and verify it; answered by `Fetched` or `Failed`."""

    doing: ClassVar[Doing] = Doing.FETCH
    job_id: str
    product: str
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StopFetch:
    """Fetch no more; what came stays for another time."""

    job_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Unpack into the free slot; answered by `Staged` or `Failed`."""

    doing: ClassVar[Doing] = Doing.STAGE
    job_id: str
    product: str
    target: str
    package: Package


@dataclass(frozen=True, kw_only=True, slots=True)
class LookAtGuard:
    """Say whether the till is busy; answered by `Guarded`."""

    doing: ClassVar[Doing] = Doing.GUARD
    job_id: str
    product: str
    hold: bool
    """Keep it idle until `Restart` is done, or something else is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Activate:
    """Put what is staged on trial; answered by `Activated` or `Failed`."""

    doing: ClassVar[Doing] = Doing.ACTIVATE
    job_id: str
    product: str
    until_s: float | None
    """Not after this moment of the monotonic clock; None: only what this job activated already counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """Let what is on trial run; answered by `Restarted` or `Failed`, or by nobody: the agent itself starts anew."""

    doing: ClassVar[Doing] = Doing.RESTART
    job_id: str
    product: str
    activation_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Say what runs, and how it is; answered by `Looked` or `Failed`."""

    doing: ClassVar[Doing] = Doing.LOOK
    job_id: str
    product: str
    asks_health: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """Keep what is on trial; answered by `Committed` or `Failed`."""

    doing: ClassVar[Doing] = Doing.COMMIT
    job_id: str
    product: str
    activation_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Revert:
    """Take back what this job put on trial, if anything, and let what is committed run; `Reverted` or `Failed`."""

    doing: ClassVar[Doing] = Doing.REVERT
    job_id: str
    product: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tidy:
    """No job is there: remove what was downloaded, and take back what is on trial in nobody's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanUp:
    """A job is over: let go of what is held for it, and remove what was downloaded."""

    job_id: str


Asked = Fetch | Stage | LookAtGuard | Activate | Restart | Look | Commit | Revert
"""What is answered."""
Effect = Asked | StopFetch | Tidy | CleanUp


# --- results


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """It is there, whole and verified."""

    doing: ClassVar[Doing] = Doing.FETCH
    job_id: str
    package: Package


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """It lies whole in the free slot."""

    doing: ClassVar[Doing] = Doing.STAGE
    job_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded:
    """Whether the till is busy: a code and a line for people, or None."""

    doing: ClassVar[Doing] = Doing.GUARD
    job_id: str
    busy: str | None = None
    said: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Activated:
    """It is on trial."""

    doing: ClassVar[Doing] = Doing.ACTIVATE
    job_id: str
    activation_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Restarted:
    """It was told to run."""

    doing: ClassVar[Doing] = Doing.RESTART
    job_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What was started last in this boot of the machine, and how it is."""

    doing: ClassVar[Doing] = Doing.LOOK
    job_id: str
    activation_id: str | None = None
    given_up: bool = False
    """The launcher starts what is on trial no more."""
    unhealthy: str | None = None
    """What the product's own health says, where it was asked and is not well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """It is kept."""

    doing: ClassVar[Doing] = Doing.COMMIT
    job_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reverted:
    """What was on trial is taken back; which activation is to run instead, where one is to be started at all."""

    doing: ClassVar[Doing] = Doing.REVERT
    job_id: str
    activation_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """What was asked was not done; `reason` is a code, `said` a line for people."""

    job_id: str
    doing: Doing
    reason: str
    said: str = ""
    cause: Cause | None = None
    """Of a fetch: who failed; None: nobody knows."""


Result = Fetched | Staged | Guarded | Activated | Restarted | Looked | Committed | Reverted | Failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Beaten:
    """A heartbeat left that told these readings."""

    readings: tuple[Reading, ...]
    acknowledged_at_s: float
    """When a collector's acknowledgement was last heard, on the monotonic clock; minus infinity: never."""
