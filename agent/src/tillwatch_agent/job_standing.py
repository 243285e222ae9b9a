"""Where the newest job stands, in one start of the agent; how products are updated, and why a job does not go on.

All that must outlast a start is on the page (`job_record`); the rest is worked out anew.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tillwatch_agent import proof
from tillwatch_agent.installer.order import Reason as FetchReason
from tillwatch_agent.job_record import Page
from tillwatch_agent.job_work import Doing
from tillwatch_protocol.job import JobState
from tillwatch_protocol.release import InstallerKind
from tillwatch_protocol.scrub import scrubbed
from tillwatch_protocol.vocabulary import TEXT_CHARS_MAX


class Reason(StrEnum):
    """Why a job does not go on, or did not; what guard, slots and hooks say comes beside these, by their own codes."""

    PRODUCT_UNKNOWN = "product_unknown"
    """The settings name no such product."""
    INSTALLER_UNKNOWN = "installer_unknown"
    """The release is of another installer kind than the settings say of its product."""
    ALREADY_INSTALLED = "already_installed"
    """What is offered is what is committed: nothing is installed twice."""
    TILL_BUSY = "till_busy"
    """For longer than any sale, and any day."""
    GO_LAPSED = "go_lapsed"
    BOOT_FAILED = "boot_failed"
    """The launcher gave way to what is committed."""
    NOT_STARTED = "not_started"
    STARTS_MAX = "starts_max"
    UNHEALTHY = "unhealthy"
    """By the product's own word."""
    UNPROVED = "unproved"
    """No reading tells that what runs is what was activated."""
    COMPONENT_WORSE = "component_worse"
    NOT_ACKNOWLEDGED = "not_acknowledged"
    """No collector was heard since the switch."""
    NOT_ON_TRIAL = "not_on_trial"
    """The slots know nothing of it any more."""
    AGENT_FAILED = "agent_failed"
    """A mistake of ours."""
    ROLLBACK_FAILED = "rollback_failed"
    ROLLBACK_NOT_STARTED = "rollback_not_started"


FETCH_REASONS: Final[Mapping[str, str]] = {
    FetchReason.UNREACHABLE: "metadata_unreachable",
    FetchReason.TLS: "tls_failure",
    FetchReason.CUT: "download_interrupted",
    FetchReason.SLOW: "download_slow",
    FetchReason.REFUSED: "http_5xx",
    FetchReason.TOLD: "download_interrupted",
    FetchReason.BUSY: "download_interrupted",
    FetchReason.EXPIRED_BY_OWN_CLOCK: "clock_unknown",
}
"""In the collector's words, which leave uncounted what is nobody's fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How one product is updated."""

    installer: InstallerKind
    downloads_max: int = 5
    """Of one job that fail for the network or the disk."""
    back_off_s: float = 30.0
    """After the first; it doubles, and is drawn from its upper half."""
    busy_s_max: float = 86_400.0
    start_s: float = 120.0
    """From the restart until the launcher has started it."""
    confirm_s: float = 900.0
    """From its start until it has proved itself."""
    beats: int = 3
    """Heartbeats that prove it, half an interval apart at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateSettings:
    """What the machine is told once."""

    interval_s: float
    host_boot_id: str
    products: Mapping[str, Terms] = field(default_factory=dict)
    spread_s: float = 300.0
    """A download begins within this of its offer: stores share a line, and a fleet shares a server."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a job from going on: a code, and a line for people."""

    reason: str
    said: str = ""

    @property
    def detail(self) -> str | None:
        """What was said, as it fits into a report: one line, without card numbers."""
        printable = "".join(char if char.isprintable() else " " for char in self.said[:TEXT_CHARS_MAX])
        return scrubbed(printable).strip()[:TEXT_CHARS_MAX] or None


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """Where the newest job stands; all but `page` is forgotten by a start. Times are on the monotonic clock."""

    page: Page
    doing: Doing | None = None
    next_at_s: float = -math.inf
    """When what the state asks for is to be done."""
    ends_at_s: float = math.inf
    """When the state is given up."""
    nonce: str | None = None
    asked_at_s: float = -math.inf
    go_until_s: float | None = None
    """Of a `go` that came, while the guard is looked at."""
    busy_since_s: float = math.inf
    trouble: Trouble | None = None
    before: proof.Conditions = field(default_factory=dict)
    """What was wrong when the last heartbeat left."""
    restarted: bool = False
    reverted: bool = False
    awaited: str | None = None
    """The activation that is to run after a revert."""
    reverts_failed: int = 0
    since_s: float = math.inf
    """When confirming began in this start."""
    healthy: bool = False
    beats: int = 0
    beaten_at_s: float = -math.inf
    reported: frozenset[tuple[JobState, str | None]] = frozenset()
    """Steps that were told as events in this start; each is told once."""
    untidy: bool = False
    """A start without a job looks after what a lost page may have left."""

    @property
    def asks(self) -> bool:
        """Whether it waits for its `go`."""
        record = self.page.job
        return record is not None and record.state is JobState.READY and self.go_until_s is None

    @property
    def reason(self) -> str | None:
        """Why it does not go on, or ended as it did."""
        if self.trouble is not None:
            return self.trouble.reason
        return self.page.job.reason if self.page.job else None
