"""What each condition is worth: severity, category, holds, repair, blame, and whether it makes a ticket.

A policy is one versioned TOML file: `[default]` states everything, `[code.<code>]` states what differs. A code that
nobody has written down is judged by the default, never refused. An error names the key, what was expected, and what
came.
"""

import tomllib
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tillwatch_collector.domain import mistakes
from tillwatch_collector.domain.condition import Holds
from tillwatch_collector.domain.flapping import FLAP_RULE, KEPT_MAX, FlapRule
from tillwatch_collector.errors import PolicyInvalid
from tillwatch_protocol.vocabulary import Code

POLICY_VERSION = 1
POLICY_BYTES_MAX = 256 * 1024
"""A rule for each code that anyone has thought of is a tenth of it."""

HoldS = Annotated[float, Field(ge=0, le=7 * 86_400)]
Category = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Severity(StrEnum):
    """How much a condition hurts."""

    CRITICAL = "critical"
    """No sale is possible."""
    MAJOR = "major"
    """Sales go on with a loss: no receipt, no card."""
    MINOR = "minor"
    """It will hurt when nobody acts."""
    INFO = "info"


class Repair(StrEnum):
    """What a repair takes, as the trade divides it."""

    SIMPLE = "simple"
    """Guided by phone, or remote."""
    COMPLEX = "complex"
    """A part, a visit, or the unit sent in."""


class Rule(BaseModel):
    """What one code is worth."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    severity: Severity
    category: Category
    raise_s: HoldS
    """How long it must last before it matters."""
    clear_s: HoldS
    """How long it must be proved gone before it is over."""
    repair: Repair
    attributable: bool
    """Whether an upgrade may be blamed for it."""
    ticket: bool
    outage: bool = False
    """Whether many terminals that show it together have one cause, and are told of in one ticket."""
    close_after_s: HoldS
    """How long a resolved ticket waits for a recurrence before it is closed."""

    @property
    def holds(self) -> Holds:
        """How long its signs must last."""
        return Holds(raise_s=self.raise_s, clear_s=self.clear_s)

    def scaled(self, hold_scale: float) -> "Rule":
        """Return the rule with its holds multiplied; demonstrations take less than 1."""
        return self.model_copy(update={"raise_s": self.raise_s * hold_scale, "clear_s": self.clear_s * hold_scale})


class FlapSettings(BaseModel):
    """When a condition that comes and goes is told as one that flaps; see `domain.flapping.FlapRule`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    window_s: Annotated[float, Field(gt=0, le=7 * 86_400)] = FLAP_RULE.window_s
    high: Annotated[int, Field(ge=1, le=KEPT_MAX)] = FLAP_RULE.high
    """Raises within the window that begin it."""
    low: Annotated[int, Field(ge=0, le=KEPT_MAX)] = FLAP_RULE.low
    """Raises left in the window that end it."""
    clear_s_max: HoldS = FLAP_RULE.clear_s_max
    """What the hold of its end grows to."""
    hold_scale: Annotated[float, Field(gt=0, le=10)] = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high or self.clear_s_max >= self.window_s:
            raise ValueError("expected low below high, and clear_s_max below window_s")
        return self

    @cached_property
    def rule(self) -> FlapRule:
        """What flapping is decided by."""
        return FlapRule(
            window_s=self.window_s * self.hold_scale,
            high=self.high,
            low=self.low,
            clear_s_min=FLAP_RULE.clear_s_min * self.hold_scale,
            clear_s_max=self.clear_s_max * self.hold_scale,
        )


class Policy(BaseModel):
    """The rules of all codes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=POLICY_VERSION, le=POLICY_VERSION)]
    default: Rule
    code: dict[Code, Rule] = Field(default_factory=dict)
    flapping: FlapSettings = FlapSettings()

    def rule(self, code: str) -> Rule:
        """Return the rule of a code."""
        return self.code.get(code, self.default)

    def scaled(self, hold_scale: float) -> "Policy":
        """Return the policy with all holds multiplied."""
        return Policy(
            version=self.version,
            default=self.default.scaled(hold_scale),
            code={code: rule.scaled(hold_scale) for code, rule in self.code.items()},
            flapping=self.flapping.model_copy(update={"hold_scale": hold_scale}),
        )


def parse_policy(text: str) -> Policy:
    """Return the policy that a file says; raises `PolicyInvalid`."""
    if len(text) > POLICY_BYTES_MAX:
        raise PolicyInvalid(f"expected at most {POLICY_BYTES_MAX} characters, got {len(text)}")
    try:
        said: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyInvalid(f"expected TOML, got {error}") from None
    default, codes = said.get("default"), said.get("code")
    if isinstance(default, dict) and isinstance(codes, dict):
        said["code"] = {code: {**default, **rule} if isinstance(rule, dict) else rule for code, rule in codes.items()}
    try:
        return Policy.model_validate(said)
    except ValidationError as error:
        raise PolicyInvalid(mistakes.told(error, "the file")) from None
