"""What one component says now: power state, health, conditions, measures, age.

A condition is true, not true, or not to be judged now: paper cannot be judged while the cover is open (Epson TM-T88
manual, p. 44), and a silent printer says nothing about its paper. Codes of the last sort stand in `undetermined`; what
is neither there nor in `conditions` was looked at and is not so.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tillwatch_protocol.vocabulary import (
    AVAILABILITY_CODES,
    CONDITIONS_MAX,
    FACTS_MAX,
    MEASURES_MAX,
    AgeS,
    Code,
    Component,
    Frozen,
    Health,
    Instant,
    Measure,
    PowerState,
    Text,
)

_NEEDS_REASON = (Health.UNKNOWN, Health.ABSENT)


class Condition(Frozen):
    """Something true of a component now; `since` is on the terminal's clock."""

    code: Code
    since: Instant
    detail: Text | None = None


class Reading(Frozen):
    """A component's state as of `age_s` seconds before the heartbeat that carries it."""

    component: Component
    health: Health
    reason: Code | None = None
    """Why it is not `ok`: required for `unknown` and `absent`."""
    power_state: PowerState = PowerState.UNKNOWN
    conditions: Annotated[tuple[Condition, ...], Field(max_length=CONDITIONS_MAX)] = ()
    undetermined: Annotated[tuple[Code, ...], Field(max_length=CONDITIONS_MAX)] = ()
    """Codes that could not be judged this time: neither raised nor cleared by this reading."""
    measures: Annotated[dict[Code, Measure], Field(max_length=MEASURES_MAX)] = Field(default_factory=dict)
    facts: Annotated[dict[Code, Text], Field(max_length=FACTS_MAX)] = Field(default_factory=dict)
    """What changes seldom: maker, model, firmware, serial number."""
    age_s: AgeS = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reason is None and self.health in _NEEDS_REASON:
            raise ValueError(f"health {self.health} needs a reason")
        if not self.conditions:
            return self
        codes = [condition.code for condition in self.conditions]
        if len(set(codes)) != len(codes):
            raise ValueError("a condition code stands twice")
        if set(codes) & set(self.undetermined):
            raise ValueError("a code is both true and undetermined")
        return self

    def judges(self, code: str) -> bool:
        """Whether this reading says if `code` is true.

        An unknown component speaks only of the conditions it names, and of whether it can be asked at all: who waits
        for an answer in vain holds the port, so it is not busy.
        """
        if any(condition.code == code for condition in self.conditions):
            return True
        if code in self.undetermined:
            return False
        return self.health in {Health.OK, Health.FAULT} or code in AVAILABILITY_CODES
