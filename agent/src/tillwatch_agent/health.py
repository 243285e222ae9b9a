"""Readings over time: what was observed becomes the level, its edges become events, and what is old becomes unknown."""

from dataclasses import dataclass, field

from tillwatch_protocol.vocabulary import Health, PowerState


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What one look at one component gave; `true_codes` maps each condition that is true to an optional detail."""

    component: str
    health: Health
    reason: str | None = None
    power_state: PowerState = PowerState.UNKNOWN
    true_codes: dict[str, str | None] = field(default_factory=dict)
    undetermined: frozenset[str] = frozenset()
    """Codes that this look could not judge: neither raised nor cleared by it."""
    measures: dict[str, float | int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
