"""Shares of a whole as one bar: counted kinds, in a given order, each wide enough to be seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

WIDTH = 1000.0
_GAP = 4.0
_SHARE_MIN = 6.0
"""One silent terminal among ten thousand must still be seen."""

KindT = TypeVar("KindT", bound=str)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One kind's part of the bar, in units of `WIDTH`."""

    kind: str
    count: int
    x: float
    width: float


def segments(counts: Mapping[KindT, int], order: Sequence[KindT]) -> tuple[Segment, ...]:
    """Divide the bar among the kinds of `order`; what nobody is has no part."""
    shown = [(kind, counts[kind]) for kind in order if counts.get(kind)]
    if not shown:
        return ()
    room = WIDTH - _GAP * (len(shown) - 1)
    total = sum(count for _, count in shown)
    wanted = [max(_SHARE_MIN, room * count / total) for _, count in shown]
    scale = room / sum(wanted)
    parts: list[Segment] = []
    x = 0.0
    for (kind, count), width in zip(shown, wanted, strict=True):
        parts.append(Segment(kind=kind, count=count, x=round(x, 2), width=round(width * scale, 2)))
        x += width * scale + _GAP
    return tuple(parts)
