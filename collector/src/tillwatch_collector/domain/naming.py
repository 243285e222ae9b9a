"""Which node explains those who show a symptom: the search for the moment and the node, over one symptom's hits.

Each hit has a window in which its cause came. Of a node, those count whose windows have a moment in common, at the
moment that lies in most of them; a node with a pattern then is a candidate, held against everyone else whose window
meets what those have in common, and the best one is named (`domain.outage.named`). What it explains is then left out,
and the search goes on: two causes in two nodes are two. The work grows with the hits, not with the fleet.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter

from tillwatch_collector.domain.outage import Candidate, Node, Shown, named

OPENS, CLOSES = 0, 1
"""Windows that touch have a moment in common."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A node that may have a pattern."""

    hits: frozenset[str]
    total: int
    threshold: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pattern:
    candidate: Candidate
    first_s: float
    last_s: float
    """Between these lies what its windows have in common."""


class Search:
    """One search over the hits of one symptom."""

    def __init__(self, shown: Mapping[str, Shown], groups: Mapping[Node, Group]) -> None:
        self._shown = shown
        self._left = dict(groups)
        self._opens = sorted((each.from_s, terminal_id) for terminal_id, each in shown.items())
        self._closes = sorted((each.until_s, terminal_id) for terminal_id, each in shown.items())
        self._patterns: dict[Node, _Pattern | None] = {}
        self.steps = len(shown)
        """Hits that were looked at."""

    def best(self) -> tuple[Candidate, tuple[Candidate, ...]] | None:
        """Return the node to name and, of what else had a pattern, the best first; None when there is no more."""
        for node, group in self._left.items():
            if node not in self._patterns:
                self._patterns[node] = self._pattern(node, group)
        found = [self._against_others(each) for each in self._patterns.values() if each is not None]
        chosen = named(found)
        if chosen is None:
            return None
        others = sorted((each for each in found if each.node != chosen.node), key=lambda each: each.rank)
        return chosen, tuple(others)

    def explain(self, hits: frozenset[str]) -> None:
        """Leave out what is explained."""
        self._opens = [edge for edge in self._opens if edge[1] not in hits]
        self._closes = [edge for edge in self._closes if edge[1] not in hits]
        for node, group in list(self._left.items()):
            if group.hits.isdisjoint(hits):
                continue
            self._patterns.pop(node, None)
            left = Group(hits=group.hits.difference(hits), total=group.total, threshold=group.threshold)
            if len(left.hits) < left.threshold:
                del self._left[node]
            else:
                self._left[node] = left

    def _pattern(self, node: Node, group: Group) -> _Pattern | None:
        self.steps += len(group.hits)
        hits = _together(self._shown, group.hits)
        if len(hits) < group.threshold:
            return None
        shown = [self._shown[terminal_id] for terminal_id in hits]
        return _Pattern(
            candidate=Candidate(node=node, hits=hits, total=group.total, threshold=group.threshold),
            first_s=max(each.from_s for each in shown),
            last_s=min(each.until_s for each in shown),
        )

    def _against_others(self, pattern: _Pattern) -> Candidate:
        """Count who else may be hit by the same cause, and is not explained."""
        begun = bisect_right(self._opens, pattern.last_s, key=itemgetter(0))
        over = bisect_left(self._closes, pattern.first_s, key=itemgetter(0))
        return replace(pattern.candidate, elsewhere=begun - over - len(pattern.candidate.hits))


def _together(shown: Mapping[str, Shown], terminal_ids: Collection[str]) -> frozenset[str]:
    """Return whose windows hold the moment that lies in most of them."""
    edges = [(shown[each].from_s, OPENS) for each in terminal_ids]
    edges += [(shown[each].until_s, CLOSES) for each in terminal_ids]
    count, count_max, moment = 0, 0, 0.0
    for position, edge in sorted(edges):
        count += 1 if edge == OPENS else -1
        if count > count_max:
            count_max, moment = count, position
    return frozenset(each for each in terminal_ids if shown[each].from_s <= moment <= shown[each].until_s)
