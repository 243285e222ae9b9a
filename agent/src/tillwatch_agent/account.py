"""The account of a diagnosis, as it goes on the wire: the way out stretch by stretch, then every component. Pure.

What it says is bounded: texts are cut and scrubbed, and where components are too many, those that are well are left
out first. What was not tested says why; what is old says how old.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from tillwatch_agent.diagnosis import Outcome, Step, Verdict
from tillwatch_protocol.command import FINDING_CODES_MAX, FINDINGS_MAX, FOUND_CHARS_MAX, Diagnosis, Finding
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.scrub import scrubbed
from tillwatch_protocol.vocabulary import Health

_WORST_FIRST: Final = (Health.FAULT, Health.UNKNOWN, Health.ABSENT, Health.OK)


def account(verdict: Verdict | None, readings: Sequence[Reading]) -> Diagnosis:
    """Tell what was found; without a verdict the way out is not watched."""
    steps = tuple(map(_of_step, verdict.steps)) if verdict else ()
    worst_first = sorted(readings, key=lambda reading: _WORST_FIRST.index(reading.health))
    room = FINDINGS_MAX - len(steps)
    return Diagnosis(
        failing=verdict.failing.value if verdict and verdict.failing else None,
        confidence=verdict.confidence if verdict else None,
        findings=(*steps, *map(_of_component, worst_first[:room])),
        left_out=max(len(readings) - room, 0),
    )


def _of_step(step: Step) -> Finding:
    why = step.domain.value if step.outcome is Outcome.FAILED else step.why
    return Finding(
        name=step.domain.name.lower(),
        outcome=step.outcome,
        codes=() if why is None else (why,),
        found=_short(step.found),
        took_ms=step.took_ms,
    )


def _of_component(reading: Reading) -> Finding:
    codes = [condition.code for condition in reading.conditions] or [code for code in [reading.reason] if code]
    return Finding(
        name=reading.component,
        outcome=reading.health,
        codes=tuple(codes[:FINDING_CODES_MAX]),
        found=_short(_first(condition.detail for condition in reading.conditions)),
        age_s=round(reading.age_s, 1),
    )


def _first(details: Iterable[str | None]) -> str | None:
    return next((detail for detail in details if detail), None)


def _short(said: str | None) -> str | None:
    """Cut to one short line, without card numbers."""
    printable = "".join(char if char.isprintable() else " " for char in said or "")
    return scrubbed(printable).strip()[:FOUND_CHARS_MAX] or None
