"""Sets of whole numbers as sorted ranges [first, last] that neither overlap nor touch: one set has one form."""

from collections.abc import Iterable

Range = tuple[int, int]
Ranges = tuple[Range, ...]


def union(*sets: Ranges) -> Ranges:
    """Return every number of any of the sets."""
    merged: list[Range] = []
    for first, last in sorted(part for ranges in sets for part in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def minus(ranges: Ranges, taken: Ranges) -> Ranges:
    """Return the numbers of `ranges` that are not in `taken`."""
    left: list[Range] = []
    for first, last in ranges:
        start = first
        for taken_first, taken_last in taken:
            if taken_last < start or taken_first > last:
                continue
            if taken_first > start:
                left.append((start, taken_first - 1))
            start = taken_last + 1
        if start <= last:
            left.append((start, last))
    return tuple(left)


def of(numbers: Iterable[int]) -> Ranges:
    """Return the set of single numbers."""
    return union(tuple((number, number) for number in numbers))


def holds(ranges: Ranges, number: int) -> bool:
    """Whether the number is in the set."""
    return any(first <= number <= last for first, last in ranges)


def size(ranges: Ranges) -> int:
    """How many numbers the set has."""
    return sum(last - first + 1 for first, last in ranges)
