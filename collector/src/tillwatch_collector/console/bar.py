"""The fleet's presence as one bar: shares of a whole, made here as SVG. Colours are the style sheet's, by class."""

from collections.abc import Mapping
from dataclasses import dataclass

PRESENCES = ("online", "late", "silent", "off", "unknown")
"""From left to right: what is well first, what is not known last."""

WIDTH = 1000.0
_GAP = 4.0
_SHARE_MIN = 6.0
"""One silent terminal among ten thousand must still be seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One presence's part of the bar, in units of `WIDTH`."""

    presence: str
    count: int
    x: float
    width: float


def segments(counts: Mapping[str, int]) -> tuple[Segment, ...]:
    """Divide the bar; what nobody is has no part."""
    shown = [(presence, counts[presence]) for presence in PRESENCES if counts.get(presence)]
    if not shown:
        return ()
    room = WIDTH - _GAP * (len(shown) - 1)
    total = sum(count for _, count in shown)
    wanted = [max(_SHARE_MIN, room * count / total) for _, count in shown]
    scale = room / sum(wanted)
    parts: list[Segment] = []
    x = 0.0
    for (presence, count), width in zip(shown, wanted, strict=True):
        parts.append(Segment(presence=presence, count=count, x=round(x, 2), width=round(width * scale, 2)))
        x += width * scale + _GAP
    return tuple(parts)
