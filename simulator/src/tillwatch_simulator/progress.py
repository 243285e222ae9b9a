"""Tells how a rollout goes, by what the API shows of it: waves, how far each is, what the gate says. Pure.

It is shown the rollout again and again, and tells what has changed since; counts at most every few seconds.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

Record = Mapping[str, Any]
"""A rollout, as the API has it."""
Say = Callable[[str, str], None]
"""Tells one thing about the release, and more of it."""

COUNTS_EVERY_S: Final = 5.0
BAR_CHARS: Final = 24

UPDATED: Final = ("succeeded", "late")
BAD: Final = ("failed", "rejected", "rolled_back", "silent")
SWITCHING: Final = "running"
TO_COME: Final = ("waiting", SWITCHING)
ENDED: Final = ("completed", "halted", "aborted")
UNDECIDED: Final = frozenset({"running", "soaking"})
"""What the gate waits for in every wave."""
NUMBERS: Final = ("updated_harmed", "updated", "controls_harmed", "controls", "p", "level", "bad_pct")
"""Of the gate: what its verdict rests on."""


class Progress:
    """One rollout, told as it goes."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._wave = 0
        self._counts: object = None
        self._told_at_s = -math.inf
        self._verdict: object = None
        self._is_over = False

    def look(self, rollout: Record, now_s: float) -> None:
        """Tell what has changed since the last look."""
        if rollout["wave"] != self._wave:
            self._wave = rollout["wave"]
            self._say(f"wave {self._wave} of {rollout['waves']} begins", f"{_wave(rollout)['terminals']} terminals")
        counts = _counts(rollout)
        if self._wave and counts != self._counts and (is_over(rollout) or now_s - self._told_at_s >= COUNTS_EVERY_S):
            self._counts, self._told_at_s = counts, now_s
            self._say(f"wave {self._wave} {_bar(_wave(rollout))}", counts)
        self._judged(rollout["verdict"])
        if rollout["state"] in ENDED and not self._is_over:
            self._is_over = True
            self._say(f"rollout {rollout['state']}", f"{rollout['updated']} of {rollout['terminals']} updated")

    def _judged(self, verdict: Record | None) -> None:
        if verdict is None or UNDECIDED.intersection(verdict["reasons"]):
            return
        said = verdict["wave"], verdict["kind"], verdict["reasons"]
        if said != self._verdict:
            self._verdict = said
            numbers = verdict["numbers"]
            rests_on = ", ".join(f"{name} {numbers[name]:.3g}" for name in NUMBERS if name in numbers)
            self._say(
                f"gate of wave {verdict['wave']}: {verdict['kind']}", f"{', '.join(verdict['reasons'])}; {rests_on}"
            )


def is_over(rollout: Record) -> bool:
    """Whether nothing more is to come: what has its go has finished or rolled back, too."""
    to_come = sum(wave["outcomes"].get(outcome, 0) for wave in rollout["progress"] for outcome in TO_COME)
    return rollout["state"] in ENDED and not to_come


def halted_wave(rollout: Record) -> int | None:
    """Return the wave in which a rollout was halted; None: it was not."""
    return int(rollout["wave"]) if rollout["state"] == "halted" else None


def _wave(rollout: Record) -> Record:
    waves: list[Record] = [wave for wave in rollout["progress"] if wave["wave"] == rollout["wave"]]
    return waves[0] if waves else {"terminals": 0, "outcomes": {}, "waits": {}}


def _counts(rollout: Record) -> str:
    wave = _wave(rollout)
    came = ", ".join(f"{count} {outcome}" for outcome, count in wave["outcomes"].items())
    waits = ", ".join(f"{count} {wait}" for wait, count in wave["waits"].items())
    return f"{came}{f' ({waits})' if waits else ''}"


def _bar(wave: Record) -> str:
    total = max(1, int(wave["terminals"]))

    def share(*outcomes: str) -> int:
        return BAR_CHARS * sum(int(wave["outcomes"].get(outcome, 0)) for outcome in outcomes) // total

    drawn = "#" * share(*UPDATED) + "x" * share(*BAD) + ">" * share(SWITCHING)
    return f"[{drawn:.<{BAR_CHARS}}]"
