"""Moments that two ways of reaching them agree on to the last bit.

What repeats (a tick of the core, a look of the probes, a round of the collector) happens on a grid of binary fractions,
where sums of a year are exact; what the story wants happens half a step beside it, and the collector's rounds, which
begin when the story wants, a quarter of a step after that, so that no two of them meet.
"""

import math

from tillwatch_simulator.link import Connection, Fate, Link, Way

STEP_S = 2.0**-10
BESIDE_S = STEP_S / 2
APART_S = STEP_S / 4
"""How much later than the story wants the collector starts: its rounds meet nothing of the story, either."""


def grid_s(at_s: float) -> float:
    """Return the first moment of the grid that is not before `at_s`."""
    return math.ceil(at_s / STEP_S) * STEP_S


def beside_s(at_s: float) -> float:
    """Return a moment for the story, within a second of `at_s`."""
    return math.floor(at_s) + BESIDE_S


class EvenWay(Way):
    """A way on which every message takes the same time: one that is left out changes nothing for the others."""

    def send(self, now_s: float) -> float | None:
        """Return when a message sent now arrives; None when it is lost."""
        arrives_s = now_s + self.habits.latency_s
        return None if arrives_s >= self.fate.stuck_at_s else arrives_s


class EvenLink(Link):
    """A link whose chance is asked when a connection opens, and never for a message."""

    def open(self, now_s: float) -> Connection | None:
        """Open a connection; None inside an outage."""
        if not self.usable(now_s):
            return None
        fate = self._fate(now_s)
        return Connection(fate=fate, up=self._way(fate), down=self._way(fate))

    def _way(self, fate: Fate) -> Way:
        return EvenWay(habits=self.habits, fate=fate, chance=self.chance, late_left=0)
