"""Readings over time: what was observed becomes the level, its edges become events, and what is old becomes unknown.

A condition is held from its first sighting until a look judges that it is not so. A look judges as the wire says
(`Reading.judges`): `ok` and `fault` judge every code outside their `undetermined`; `unknown` and `absent` judge only
the codes they name, and the availability codes, which exclude each other. So an open cover stays held, undetermined,
while the printer is silent: it is neither raised nor cleared until the printer speaks; a busy port is cleared by the
silence that follows it. What was not looked at within its limit becomes `unknown`, reason `stale`, and all it held is
undetermined; so does what was awaited from the start and never looked at, of which nothing is told before.

Whether a condition lasted long enough to matter is the collector's to decide. A change violates this when a silent
device clears a condition that it did not bring.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from pydantic import ValidationError

from tillwatch_agent.errors import ObservationInvalid
from tillwatch_agent.moment import Moment
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.scrub import scrubbed, scrubbed_facts
from tillwatch_protocol.vocabulary import (
    AVAILABILITY_CODES,
    COMPONENTS_MAX,
    CONDITIONS_MAX,
    FACTS_MAX,
    MEASURES_MAX,
    TEXT_CHARS_MAX,
    ConditionCode,
    Health,
    PowerState,
)

_V = TypeVar("_V")

AGE_S_MAX = 10 * 365 * 86_400.0
"""The wire's limit of an age; what nobody looked at in ten years is no older."""


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

    def judges(self, code: str) -> bool:
        """Whether this look says if `code` is true; `Reading.judges` says the same of it on the wire."""
        if code in self.true_codes:
            return True
        if code in self.undetermined:
            return False
        return self.health in {Health.OK, Health.FAULT} or code in AVAILABILITY_CODES


class Turn(StrEnum):
    """Which way a condition turned."""

    RAISED = "raised"
    CLEARED = "cleared"


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A condition of a component turned at a time of the terminal's clock."""

    turn: Turn
    component: str
    code: str
    happened_at: datetime
    detail: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A condition raised and not cleared."""

    since: datetime
    detail: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What is known of one component since its newest look."""

    reading: Reading
    """As of the look: its age is added when it is told."""
    looked_at_s: float
    held: Mapping[str, Held]

    @property
    def gist(self) -> tuple[object, ...]:
        """What a change of is worth telling at once; measures and details are not."""
        codes = frozenset(condition.code for condition in self.reading.conditions)
        undetermined = frozenset(self.reading.undetermined)
        return self.reading.health, self.reading.reason, self.reading.power_state, codes, undetermined


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """All that is known of a terminal's components, each by its name."""

    standings: Mapping[str, Standing] = field(default_factory=dict)
    awaited: frozenset[str] = frozenset()
    """Components that are configured and were never looked at."""
    begun_at_s: float = 0.0
    """Since when they could have been."""


def begin(components: Iterable[str], moment: Moment) -> Level:
    """Return the level of a start, of which nothing is known but what is to be looked at."""
    return Level(awaited=frozenset(components), begun_at_s=moment.monotonic_s)


def fold(level: Level, observation: Observation, moment: Moment) -> tuple[Level, tuple[Edge, ...]]:
    """Take one look into the level; raises `ObservationInvalid` and changes nothing if the wire has no room."""
    known = level.standings.get(observation.component)
    if known is None and len(level.standings) >= COMPONENTS_MAX:
        raise ObservationInvalid(f"expected at most {COMPONENTS_MAX} components, got {observation.component!r} more")
    return _place(level, _fitting(observation), moment, looked_at_s=moment.monotonic_s)


def expire(level: Level, moment: Moment, stale_after_s: float) -> tuple[Level, tuple[Edge, ...]]:
    """Let what was not looked at for `stale_after_s` become unknown; once, until it is looked at again."""
    edges: tuple[Edge, ...] = ()
    for component, standing in level.standings.items():
        fresh = moment.monotonic_s - standing.looked_at_s < stale_after_s
        if fresh or ConditionCode.STALE in standing.held:
            continue
        level, more = _place(level, _unseen(component, standing), moment, looked_at_s=standing.looked_at_s)
        edges += more
    if moment.monotonic_s - level.begun_at_s < stale_after_s:
        return level, edges
    for component in sorted(level.awaited):
        level, more = _place(level, _unseen(component, None), moment, looked_at_s=level.begun_at_s)
        edges += more
    return level, edges


def expires_at_s(level: Level, stale_after_s: float) -> float:
    """When the next component becomes stale; infinity when none can."""
    fresh = [s.looked_at_s for s in level.standings.values() if ConditionCode.STALE not in s.held]
    awaited = [level.begun_at_s] if level.awaited else []
    return min([*fresh, *awaited], default=math.inf) + stale_after_s


def readings(level: Level, moment: Moment) -> tuple[Reading, ...]:
    """Tell the level as the wire does, in the order of the components' names."""
    return tuple(
        standing.reading.model_copy(update={"age_s": _age_s(standing, moment)})
        for _, standing in sorted(level.standings.items())
    )


def differs(before: Level, after: Level) -> bool:
    """Whether `after` says something worth telling at once."""
    if before.standings.keys() != after.standings.keys():
        return True
    return any(
        standing is not before.standings[component] and standing.gist != before.standings[component].gist
        for component, standing in after.standings.items()
    )


def _place(
    level: Level, observation: Observation, moment: Moment, *, looked_at_s: float
) -> tuple[Level, tuple[Edge, ...]]:
    known = level.standings.get(observation.component)
    before: Mapping[str, Held] = known.held if known else {}
    after = _held(observation, before, moment)
    standing = Standing(reading=_reading(observation, after), looked_at_s=looked_at_s, held=after)
    standings = {**level.standings, observation.component: standing}
    level = replace(level, standings=standings, awaited=level.awaited - {observation.component})
    return level, _edges(observation.component, before, after, moment)


def _held(observation: Observation, before: Mapping[str, Held], moment: Moment) -> dict[str, Held]:
    true = {
        code: Held(since=before[code].since if code in before else moment.at, detail=detail)
        for code, detail in observation.true_codes.items()
    }
    carried = {code: held for code, held in before.items() if not observation.judges(code)}
    return true | carried


def _reading(observation: Observation, held: Mapping[str, Held]) -> Reading:
    carried = [code for code in held if code not in observation.true_codes]
    said = sorted(observation.undetermined - held.keys())
    try:
        return Reading(
            component=observation.component,
            health=observation.health,
            reason=observation.reason,
            power_state=observation.power_state,
            conditions=tuple(
                Condition(code=code, since=held[code].since, detail=held[code].detail)
                for code in observation.true_codes
            ),
            undetermined=tuple((carried + said)[:CONDITIONS_MAX]),
            measures=observation.measures,
            facts=observation.facts,
        )
    except ValidationError as error:
        raise ObservationInvalid(f"{observation.component[:100]}: {error.errors()[0]['msg']}") from None


def _edges(component: str, before: Mapping[str, Held], after: Mapping[str, Held], moment: Moment) -> tuple[Edge, ...]:
    raised = (
        Edge(turn=Turn.RAISED, component=component, code=code, happened_at=moment.at, detail=held.detail)
        for code, held in after.items()
        if code not in before
    )
    cleared = (
        Edge(turn=Turn.CLEARED, component=component, code=code, happened_at=moment.at)
        for code in before
        if code not in after
    )
    return (*cleared, *raised)


def _unseen(component: str, standing: Standing | None) -> Observation:
    return Observation(
        component=component,
        health=Health.UNKNOWN,
        reason=ConditionCode.STALE,
        true_codes={ConditionCode.STALE: None},
        undetermined=frozenset(standing.held if standing else ()),
        facts=standing.reading.facts if standing else {},
    )


def _age_s(standing: Standing, moment: Moment) -> float:
    return round(min(max(moment.monotonic_s - standing.looked_at_s, 0.0), AGE_S_MAX), 3)


def _fitting(observation: Observation) -> Observation:
    """Cut to the wire's limits what a device said: its texts are not ours, so nothing of them is refused.

    Nor is anything of them trusted: what looks like a card number goes no further than here.
    """
    finite = ((name, value) for name, value in observation.measures.items() if math.isfinite(value))
    return replace(
        observation,
        true_codes=_cut(
            ((code, detail and scrubbed(_line(detail))) for code, detail in observation.true_codes.items()),
            CONDITIONS_MAX,
        ),
        measures=_cut(finite, MEASURES_MAX),
        facts=scrubbed_facts(_cut(((name, _line(text)) for name, text in observation.facts.items()), FACTS_MAX)),
    )


def _cut(pairs: Iterable[tuple[str, _V]], most: int) -> dict[str, _V]:
    return dict(islice(pairs, most))


def _line(text: str) -> str:
    printable = "".join(char if char >= " " and char != "\x7f" else " " for char in text[:TEXT_CHARS_MAX])
    return printable.encode(errors="replace").decode()
