"""How far a wave is, as one bar: what went well first, what is to come last."""

from collections.abc import Mapping

from tillwatch_collector.console.pictures import bar
from tillwatch_collector.console.pictures.bar import Segment
from tillwatch_collector.domain.rollout import BAD, UPDATED, Outcome

KINDS = ("updated", "bad", "running", "outside", "to_come")
"""From left to right."""

_OF: Mapping[str, frozenset[Outcome]] = {
    "updated": UPDATED,
    "bad": BAD,
    "running": frozenset({Outcome.RUNNING}),
    "outside": frozenset({Outcome.INFRASTRUCTURE, Outcome.NOT_REACHED, Outcome.CANCELLED, Outcome.INSTALLED}),
    "to_come": frozenset({Outcome.WAITING}),
}


def counts(outcomes: Mapping[str, int]) -> dict[str, int]:
    """Count by kind; what this version has no kind for is to come, so that the bar is whole."""
    known = {kind: sum(outcomes.get(one, 0) for one in of) for kind, of in _OF.items()}
    known["to_come"] += sum(outcomes.values()) - sum(known.values())
    return known


def segments(outcomes: Mapping[str, int]) -> tuple[Segment, ...]:
    """Divide a bar; one that failed among a thousand is seen."""
    return bar.segments(counts(outcomes), KINDS)
