"""How far a rollout is, as lines of plain text: a bar for each wave, and what the gate last said.

Pure: what is shown in, lines out. Whatever one terminal came to is seen in its wave's bar, however many others there
are: one that failed among a thousand is what one looks for.
"""

from collections.abc import Mapping

from tillwatch_collector.domain.rollout import BAD, UPDATED, Outcome
from tillwatch_collector.store.rollout_views import RolloutDetail, VerdictView, WaveView

WIDTH = 40
"""Characters of a bar: with its numbers it fits a screen of 80 to 120."""
LEGEND = (
    "# updated  x failed, rolled back or silent  > switching  - out of it (not reached, spoiled on the way)  . to come"
)

MARKS: tuple[tuple[str, frozenset[Outcome]], ...] = (
    ("#", UPDATED),
    ("x", BAD),
    (">", frozenset({Outcome.RUNNING})),
    ("-", frozenset({Outcome.INFRASTRUCTURE, Outcome.NOT_REACHED, Outcome.CANCELLED, Outcome.INSTALLED})),
    (".", frozenset({Outcome.WAITING})),
)
"""From left to right; all outcomes have one."""


def lines(shown: RolloutDetail) -> list[str]:
    """Return a rollout in some lines: where it stands, its waves, the gate."""
    wave = f"wave {shown.wave} of {shown.waves}" if shown.wave else f"{shown.waves} waves planned"
    head = f"{shown.rollout_id}  {shown.name}: {shown.state}, {wave}, {shown.updated} of {shown.terminals} updated"
    return [head, *(_wave(one) for one in shown.progress), *([_gate(shown.verdict)] if shown.verdict else [])]


def bar(outcomes: Mapping[str, int], width: int = WIDTH) -> str:
    """Return a bar of `width` marks, in which whatever there is has at least one."""
    marks = {mark for mark, _ in MARKS}
    counts = {mark: sum(outcomes.get(one, 0) for one in of) for mark, of in MARKS}
    # What this version has no mark for is to come, so that the bar is whole.
    counts["."] += sum(outcomes.values()) - sum(counts.values())
    total = sum(counts.values())
    if not total:
        return "." * width
    parts = {mark: max(1, count * width // total) if count else 0 for mark, count in counts.items()}
    while (over := sum(parts.values()) - width) != 0:
        # Rounding is made good where it shows least.
        widest = max(marks, key=lambda mark: (parts[mark], mark))
        parts[widest] -= 1 if over > 0 else -1
    return "".join(mark * parts[mark] for mark, _ in MARKS)


def _wave(one: WaveView) -> str:
    came = ", ".join(f"{count} {outcome}" for outcome, count in one.outcomes.items())
    waits = ", ".join(f"{count} {wait}" for wait, count in one.waits.items())
    return f"{one.wave:>4} [{bar(one.outcomes)}] {came}{f' ({waits})' if waits else ''}"


def _gate(verdict: VerdictView) -> str:
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in verdict.numbers.items() if name in _TOLD)
    return f"gate of wave {verdict.wave}: {verdict.kind} ({', '.join(verdict.reasons)}); {numbers}"


_TOLD = ("executed", "bad_pct", "soaked_pct", "updated_harmed", "controls", "controls_harmed", "p", "level")
"""Numbers of the gate that a person follows; the journal has all."""
