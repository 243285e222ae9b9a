"""A rollout's plan as a form has it: what is typed into its fields, and the settings in JSON that this says.

Pure. The fields are one table; each has its group and its unit for people (hours, minutes), so that nobody counts
seconds. What cannot be read is left as it was typed, and is refused by `domain.rollout`, which alone knows the rules
and names the key. A plan goes through the form and comes out the same. A change violates this when a setting has no
field, or a field has a value that nobody stated.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tillwatch_collector.domain.gate import Primary
from tillwatch_collector.domain.rollout import RolloutSettings
from tillwatch_collector.domain.window import WindowMode

FIELD_CHARS_MAX = 4_000
"""Fifty blackouts, or a week's hours twice."""

MINUTE_S, HOUR_S = 60, 3600


class Kind(StrEnum):
    """How a field is written."""

    NUMBER = "number"
    CHOICE = "choice"
    WAVES = "waves"
    TIMES = "times"
    DATES = "dates"
    WEEK = "week"


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One setting: its key in its group, and how people write it."""

    group: str
    key: str
    kind: Kind = Kind.NUMBER
    unit: str = ""
    """A key of the words; empty: a bare number."""
    unit_s: int = 1
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the form."""
        return f"{self.group}.{self.key}" if self.group else self.key


FIELDS = (
    Field(group="", key="waves", kind=Kind.WAVES),
    Field(group="", key="approval", kind=Kind.CHOICE, choices=("yes", "no")),
    Field(group="limits", key="exposed_max"),
    Field(group="limits", key="per_store_max"),
    Field(group="window", key="mode", kind=Kind.CHOICE, choices=tuple(WindowMode)),
    Field(group="window", key="after_s", unit="minutes", unit_s=MINUTE_S),
    Field(group="window", key="before_s", unit="minutes", unit_s=MINUTE_S),
    Field(group="window", key="settlement_at", kind=Kind.TIMES),
    Field(group="window", key="settlement_margin_s", unit="minutes", unit_s=MINUTE_S),
    Field(group="window", key="blackouts", kind=Kind.DATES),
    Field(group="window", key="hours", kind=Kind.WEEK),
    Field(group="window", key="never_closed_hours", kind=Kind.WEEK),
    Field(group="gate", key="soak_s", unit="hours", unit_s=HOUR_S),
    Field(group="gate", key="failure_pct", unit="per_cent"),
    Field(group="gate", key="executed_min"),
    Field(group="gate", key="infrastructure_pct", unit="per_cent"),
    Field(group="gate", key="primary", kind=Kind.CHOICE, choices=tuple(Primary)),
    Field(group="gate", key="alpha"),
    Field(group="gate", key="looks"),
    Field(group="gate", key="controls_min"),
    Field(group="gate", key="covered_pct", unit="per_cent"),
    Field(group="job", key="deadline_s", unit="minutes", unit_s=MINUTE_S),
    Field(group="job", key="reach_s", unit="hours", unit_s=HOUR_S),
    Field(group="job", key="attempts_max"),
    Field(group="job", key="back_off_s", unit="minutes", unit_s=MINUTE_S),
    Field(group="job", key="offers_per_minute_max"),
)
GROUPS = ("", "limits", "window", "gate", "job")

_OPTIONAL = frozenset({"window.hours", "window.never_closed_hours"})
_APPROVAL = {"yes": True, "no": False}
_SPAN = re.compile(r"(\w+)\s+([\d:]+)\s*-\s*([\d:]+)")
_DATES = re.compile(r"([\d-]+?)\s*(?:\.\.|to)\s*([\d-]+)")


def typed(settings: RolloutSettings) -> dict[str, str]:
    """Return what a form shows of a plan, by field."""
    stated = settings.model_dump(mode="json")
    return {field.name: _typed(field, _of(stated, field)) for field in FIELDS}


def stated(form: Mapping[str, str]) -> str:
    """Return the plan that a form says, in JSON; what is wrong with it `domain.rollout.parse_settings` says."""
    plan: dict[str, Any] = {group: {} for group in GROUPS if group}
    for field in FIELDS:
        text = form.get(field.name, "")[:FIELD_CHARS_MAX].strip()
        if text or field.name not in _OPTIONAL:
            (plan[field.group] if field.group else plan)[field.key] = _stated(field, text)
    return json.dumps(plan)


def _of(stated: Mapping[str, Any], field: Field) -> Any:
    return (stated[field.group] if field.group else stated)[field.key]


def _typed(field: Field, value: Any) -> str:
    match field.kind:
        case Kind.WAVES:
            return ", ".join(
                f"{_plain(one['share_pct'])}%" if one["count"] is None else str(one["count"]) for one in value
            )
        case Kind.TIMES:
            return ", ".join(value)
        case Kind.DATES:
            return ", ".join(f"{one['first']} .. {one['last']}" for one in value)
        case Kind.WEEK:
            return ", ".join(f"{day} {first}-{last}" for day, spans in (value or {}).items() for first, last in spans)
        case Kind.CHOICE:
            return ("yes" if value else "no") if isinstance(value, bool) else str(value)
        case Kind.NUMBER:
            return _plain(value / field.unit_s)


def _stated(field: Field, text: str) -> Any:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    match field.kind:
        case Kind.WAVES:
            return [_wave(part) for part in parts]
        case Kind.TIMES:
            return parts
        case Kind.DATES:
            return [_dates(part) for part in parts]
        case Kind.WEEK:
            return _week(parts)
        case Kind.CHOICE:
            return _APPROVAL.get(text, text) if field.name == "approval" else text
        case Kind.NUMBER:
            number = _number(text)
            return number if isinstance(number, str) else _whole(number * field.unit_s)


def _wave(part: str) -> dict[str, Any]:
    if part.endswith("%"):
        return {"share_pct": _number(part.removesuffix("%").strip())}
    return {"count": _number(part)}


def _dates(part: str) -> Any:
    found = _DATES.fullmatch(part)
    return {"first": part, "last": part} if found is None else {"first": found[1], "last": found[2]}


def _week(parts: Sequence[str]) -> Any:
    week: dict[str, list[list[str]]] = {}
    for part in parts:
        found = _SPAN.fullmatch(part)
        if found is None:
            return part
        week.setdefault(found[1], []).append([found[2], found[3]])
    return week


def _number(text: str) -> float | str:
    """Read a number; what is none is left for whoever refuses it."""
    try:
        return _whole(float(text))
    except (ValueError, OverflowError):
        return text


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def _plain(number: float) -> str:
    return f"{number:.10g}"
