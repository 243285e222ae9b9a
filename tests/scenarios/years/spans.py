"""Sets of spans, ascending and apart: what stories are added up and taken away in."""

from collections.abc import Iterable, Iterator

from tillwatch_simulator.link import Span


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return the union."""
    union: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_s):
        if union and span.start_s <= union[-1].end_s:
            union[-1] = Span(start_s=union[-1].start_s, end_s=max(union[-1].end_s, span.end_s))
        elif span.end_s > span.start_s:
            union.append(span)
    return union


def without(spans: Iterable[Span], gone: Iterable[Span]) -> Iterator[Span]:
    """Return what is in `spans` and not in `gone`; both ascending and apart."""
    taken = list(gone)
    for span in spans:
        at_s = span.start_s
        for hole in taken:
            if hole.end_s <= at_s:
                continue
            if hole.start_s >= span.end_s:
                break
            if hole.start_s > at_s:
                yield Span(start_s=at_s, end_s=hole.start_s)
            at_s = max(at_s, hole.end_s)
        if at_s < span.end_s:
            yield Span(start_s=at_s, end_s=span.end_s)


def within(spans: Iterable[Span], frame: Iterable[Span]) -> Iterator[Span]:
    """Return what is in both; both ascending and apart."""
    frames = list(frame)
    for span in spans:
        for piece in frames:
            if piece.end_s <= span.start_s:
                continue
            if piece.start_s >= span.end_s:
                break
            yield Span(start_s=max(span.start_s, piece.start_s), end_s=min(span.end_s, piece.end_s))


def length_s(span: Span) -> float:
    """Return how long a span is."""
    return span.end_s - span.start_s
