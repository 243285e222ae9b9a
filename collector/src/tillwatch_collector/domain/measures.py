"""What a measure's name says of it: its unit, and how much of a change is one.

A name ends in its unit (DESIGN.md, "Words"): `tls_ms`, `disk_free_pct`. A value is news when it lies further from the
last one kept than the deadband of its unit: the greater of a smallest step and a share of the kept value. What swings
within it is noise to a plot and to a diagnosis, and costs a row each time. A counter grows by nature: only its fall is
news (a machine that started again), its growth is told by the next frame (`domain.history`).

The vocabulary is open: a name without a known unit is a number whose change by more than 1 % is news. A change violates
this when a measure that nobody has heard of is refused, or kept at every heartbeat because nobody has.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

NAMES_MAX = 4_096
"""Names whose unit is remembered: some hundred are in use, the rest is what a hostile terminal makes up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A unit as a plot shows it, and its deadband."""

    symbol: str
    step: float = 0.0
    """The smallest change that is news, in the unit itself."""
    share: float = 0.0
    """The smallest change that is news, as a share of the kept value."""
    counter: bool = False
    """Only ever grows, until it starts anew."""

    def unchanged(self, kept: float) -> tuple[float, float]:
        """Return the least and the greatest value that say nothing new after `kept`."""
        if self.counter:
            return kept, math.inf
        width = max(self.step, self.share * abs(kept))
        return kept - width, kept + width


UNITS = {
    # name or ending        unit
    "uptime_s": Unit(symbol="s", counter=True),
    "_total": Unit(symbol="", counter=True),
    "_pct": Unit(symbol="%", step=1),  # of a disk, a memory: a point
    "_ms": Unit(symbol="ms", step=2, share=0.25),  # times of a network waver by a fifth at rest
    "_s": Unit(symbol="s", step=1, share=0.1),
    "_celsius": Unit(symbol="°C", step=1),
    "_dbm": Unit(symbol="dBm", step=2),  # a modem that lies still wavers by one or two
    "_db": Unit(symbol="dB", step=2),
    "_mv": Unit(symbol="mV", share=0.02),
    "_bytes": Unit(symbol="B", share=0.05),
    "_per_s": Unit(symbol="/s", share=0.1),
}
"""Units by a measure's ending; of several that fit, the longest."""

NUMBER = Unit(symbol="", share=0.01)
"""Of a name that ends in none of them."""

_ENDINGS = sorted(UNITS, key=len, reverse=True)


@lru_cache(maxsize=NAMES_MAX)
def unit_of(measure: str) -> Unit:
    """Return the unit that a measure's name ends in."""
    return next((UNITS[ending] for ending in _ENDINGS if measure.endswith(ending)), NUMBER)
