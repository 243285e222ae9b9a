"""Typed commands from a closed list: what a collector may ask an agent to do, and how the agent answers.

There is no shell. A command is done at most once per `command_id`, and begun only while its lifetime lasts; its answer
is an event, `command_done` or `command_refused`, which is kept until it is acknowledged.

A change violates this when a command carries something that the terminal executes.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tillwatch_protocol.vocabulary import (
    PROTOCOL_VERSION,
    AgeS,
    Code,
    Frozen,
    Identifier,
    LifetimeS,
    TerminalId,
)

FINDINGS_MAX = 48
"""Eight stretches of the way out, sixteen acquirers, and a generous counter's devices."""

FINDING_CODES_MAX = 8
"""Conditions of one finding: whoever reads them wants the first."""

FOUND_CHARS_MAX = 120
"""Of a finding: with all of them, a whole account stays below half of a payload, in any script."""


class CommandKind(StrEnum):
    """The closed list."""

    REPORT = "report"
    """Send a heartbeat now."""
    REPROBE = "reprobe"
    """Forget what was learned of the devices' capabilities and ask them again."""
    DIAGNOSE = "diagnose"
    """Look at the way out and at every component now, and tell what was found."""
    RESTART_AGENT = "restart_agent"
    """End the agent in order; what supervises it starts it again."""


class CommandRefusal:
    """Why a command was not done; the vocabulary is open."""

    LIFETIME_OVER = "lifetime_over"
    """Its turn did not come in its time."""
    TOO_MANY = "too_many"
    """Others wait already."""
    JOB_SWITCHING = "job_switching"
    """A release is being switched, proved or rolled back."""
    JUST_STARTED = "just_started"
    """The agent has only just started."""
    NO_RESULT = "no_result"
    """It was begun, and did not come to its end in time."""


class Command(Frozen):
    """`dn/commands`: done at most once per `command_id`, and not begun after `lifetime_s` from its arrival."""

    v: int = PROTOCOL_VERSION
    terminal_id: TerminalId
    command_id: Identifier
    kind: CommandKind
    lifetime_s: LifetimeS


Found = Annotated[str, Field(max_length=FOUND_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What was seen, in short."""


class Finding(Frozen):
    """How one stretch of the way out (`gateway`), or one component (`pos_printer:1`), came out of a diagnosis."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}(:[A-Za-z0-9_-]{1,48})?$")]
    outcome: Code
    """Of a stretch `passed`, `failed` or `untested`; of a component its health."""
    codes: Annotated[tuple[Code, ...], Field(max_length=FINDING_CODES_MAX)] = ()
    """What is true of it, or why nothing is known."""
    found: Found | None = None
    took_ms: float | None = None
    age_s: AgeS | None = None
    """How long before the account a component was last looked at."""


class Diagnosis(Frozen):
    """The account of one diagnosis, with its evidence."""

    failing: Code | None = None
    """The condition that names the first stretch of the way out that fails; None: none is proved to."""
    confidence: Code | None = None
    """`proved`, `likely` or `possible`; None where the way out is not watched."""
    findings: Annotated[tuple[Finding, ...], Field(max_length=FINDINGS_MAX)] = ()
    left_out: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Components that found no room; those that are well go first."""


class CommandReport(Frozen):
    """What an event says of a command."""

    command_id: Identifier
    kind: Code
    reason: Code | None = None
    """Why it was refused."""
    diagnosis: Diagnosis | None = None
