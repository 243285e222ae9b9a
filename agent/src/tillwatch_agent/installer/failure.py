"""Why a release could not be fetched or installed, as errors that name their cause.

FetchFailed     by the program that fetches
InstallFailed   by the slots
└── DiskFailed  the disk did not do what was asked (`disk`)
"""

from enum import StrEnum

from tillwatch_agent.errors import AgentError
from tillwatch_agent.installer.order import Cause, Reason


class FetchFailed(AgentError):  # noqa: N818 - it names what is so
    """Carries cause and reason; the message says what was expected and what came."""

    def __init__(self, cause: Cause, reason: Reason, said: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(said)
        self.cause = cause
        self.reason = reason
        self.retry_after_s = retry_after_s
        """How long a server asked us to wait."""


class Refusal(StrEnum):
    """Why a release was not installed: a code that goes to the collector."""

    DISK_FULL = "disk_full"
    DISK_FAILED = "disk_failed"
    ARCHIVE_MISMATCH = "archive_mismatch"
    """Its digest is not the signed one."""
    ARCHIVE_UNREADABLE = "archive_unreadable"
    ARCHIVE_UNSAFE = "archive_unsafe"
    """It would write where it must not, or something that is no file, folder or inner link."""
    ARCHIVE_TOO_LARGE = "archive_too_large"
    """It has more bytes or entries than its release says, or than any may have."""
    STATE_UNREADABLE = "slot_state_unreadable"
    """What is committed cannot be read: somebody must look."""
    NOT_STAGED = "not_staged"
    """Nothing lies whole in the free slot."""
    STAGED_CHANGED = "staged_changed"
    """What lies there is not what was unpacked; staging it again helps."""
    TRIAL_OPEN = "trial_open"
    """Another activation is on trial."""
    NOT_ON_TRIAL = "not_on_trial"
    REVERTED = "already_reverted"
    """The job's activation was taken back; a new try needs a new job."""
    COMMITTED = "already_committed"


class InstallFailed(AgentError):  # noqa: N818 - as above
    """Carries its reason; the message says what was expected and what came. What was committed is as it was."""

    def __init__(self, reason: Refusal, said: str) -> None:
        super().__init__(said)
        self.reason = reason


class DiskFailed(InstallFailed):
    """The disk did not do what was asked; asking again is safe."""
