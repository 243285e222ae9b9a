"""One terminal's part of a rollout: the agent's states and their table, the offers and the reports.

The agent owns the job's state; the collector owns the grant (offered, go, withdrawn) and the verdict. An offer allows
download and staging only; to switch, the agent asks `ready` with a nonce and the collector answers `go` with the same.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tillwatch_protocol.errors import OwnError
from tillwatch_protocol.vocabulary import PROTOCOL_VERSION, Code, Frozen, Identifier, LifetimeS, TerminalId, Text


class JobState(StrEnum):
    """Where a job stands on its terminal."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    DOWNLOADING = "downloading"
    VERIFIED = "verified"
    STAGED = "staged"
    READY = "ready"
    SWITCHING = "switching"
    CONFIRMING = "confirming"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


JOB_FINAL = frozenset(
    {JobState.SUCCEEDED, JobState.ROLLED_BACK, JobState.FAILED, JobState.CANCELLED, JobState.REJECTED}
)
"""States that no input leaves."""


class JobInput(StrEnum):
    """What moves a job."""

    ACCEPT = "accept"
    REJECT = "reject"
    DOWNLOAD = "download"
    VERIFY = "verify"
    STAGE = "stage"
    ASK = "ask"
    GO = "go"
    LAPSE = "lapse"
    """No `go` within its time, or the till became busy: ask again later."""
    START = "start"
    CONFIRM = "confirm"
    REVERT = "revert"
    REVERTED = "reverted"
    FAIL = "fail"
    WITHDRAW = "withdraw"


S, I = JobState, JobInput  # noqa: E741 - the table below is read as a grid

JOB_TABLE: dict[tuple[JobState, JobInput], JobState] = {
    (S.OFFERED, I.ACCEPT): S.ACCEPTED,
    (S.OFFERED, I.REJECT): S.REJECTED,
    (S.OFFERED, I.WITHDRAW): S.CANCELLED,
    (S.ACCEPTED, I.DOWNLOAD): S.DOWNLOADING,
    (S.ACCEPTED, I.REJECT): S.REJECTED,
    (S.ACCEPTED, I.FAIL): S.FAILED,
    (S.ACCEPTED, I.WITHDRAW): S.CANCELLED,
    (S.DOWNLOADING, I.VERIFY): S.VERIFIED,
    (S.DOWNLOADING, I.REJECT): S.REJECTED,
    (S.DOWNLOADING, I.FAIL): S.FAILED,
    (S.DOWNLOADING, I.WITHDRAW): S.CANCELLED,
    (S.VERIFIED, I.STAGE): S.STAGED,
    (S.VERIFIED, I.FAIL): S.FAILED,
    (S.VERIFIED, I.WITHDRAW): S.CANCELLED,
    (S.STAGED, I.ASK): S.READY,
    (S.STAGED, I.FAIL): S.FAILED,
    (S.STAGED, I.WITHDRAW): S.CANCELLED,
    (S.READY, I.GO): S.SWITCHING,
    (S.READY, I.LAPSE): S.STAGED,
    (S.READY, I.FAIL): S.FAILED,
    (S.READY, I.WITHDRAW): S.CANCELLED,
    # From here a withdrawal comes too late: what has its go finishes or rolls back.
    (S.SWITCHING, I.START): S.CONFIRMING,
    (S.SWITCHING, I.REVERT): S.ROLLING_BACK,
    (S.CONFIRMING, I.CONFIRM): S.SUCCEEDED,
    (S.CONFIRMING, I.REVERT): S.ROLLING_BACK,
    (S.ROLLING_BACK, I.REVERTED): S.ROLLED_BACK,
    (S.ROLLING_BACK, I.FAIL): S.FAILED,
}


class JobInputIllegal(OwnError):  # noqa: N818
    """The input is not possible in this state; nothing changed."""


def step(state: JobState, job_input: JobInput) -> JobState:
    """Return the next state; raises `JobInputIllegal` and changes nothing when the table has no row."""
    try:
        return JOB_TABLE[state, job_input]
    except KeyError:
        allowed = ", ".join(sorted(i for s, i in JOB_TABLE if s is state)) or "nothing, it is final"
        raise JobInputIllegal(f"a job that is {state} takes {allowed}; got {job_input}") from None


class JobStatus(Frozen):
    """What a heartbeat says of the terminal's job."""

    job_id: Identifier
    state: JobState
    nonce: Identifier | None = None
    reason: Code | None = None


class JobReport(JobStatus):
    """What an event says of a job's step."""

    detail: Text | None = None


class JobMessageKind(StrEnum):
    """What the collector says of a job."""

    OFFER = "offer"
    WITHDRAW = "withdraw"
    GO = "go"


class JobMessage(Frozen):
    """`dn/jobs`: an offer names its target; a go answers a nonce and lives `valid_for_s` from the agent's `ready`."""

    v: int = PROTOCOL_VERSION
    terminal_id: TerminalId
    kind: JobMessageKind
    job_id: Identifier
    target: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$")] | None = None
    nonce: Identifier | None = None
    valid_for_s: LifetimeS | None = None
