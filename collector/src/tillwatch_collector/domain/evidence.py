"""What the gate compares, and what excuses: evidence of harm, and of causes that are not the release's.

**Harm.** Each updated terminal is watched from its `go` to the end of its soak. Each control, a live terminal of the
same model and region that nobody updated meanwhile, is watched in the very span of one updated terminal, which a hash
draws for it: so both arms see the same hours for as long, and neither arm is longer. A fault counts when it was raised
in the span, is attributable by the policy, and as severe as the plan's measure says; what a restart itself shows and
is gone soon after its end is none. A control that was not heard since its span began can show nothing new, and is left
out.

**Excuse.** An outage whose node is not a release explains what it covers, in both arms, and excuses the jobs that it
covers. But a release may look like an outage of the places that were updated first: so an outage explains nothing
unless at least as many terminals are hit that are not updated as of those that are. A change violates this when what
only updated terminals show is explained by anything.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tillwatch_collector.domain.exact import Arm
from tillwatch_collector.domain.gate import Primary, Stratum
from tillwatch_collector.domain.outage import Node, NodeKind
from tillwatch_collector.domain.policy import Policy, Severity
from tillwatch_collector.domain.rollout import Job

RESTART_S = 600.0
"""What a restart shows is proved gone within it: two heartbeats and the longest usual hold."""

_GRAVE = frozenset({Severity.MAJOR, Severity.CRITICAL})

Kind = tuple[str, str]
"""Model and region."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Updated:
    """A terminal that the open wave updated."""

    terminal_id: str
    kind: Kind
    go_at: datetime
    ended_at: datetime
    """When its success was heard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A live terminal that may be compared with updated ones."""

    terminal_id: str
    kind: Kind
    heard_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A fault, of whoever."""

    terminal_id: str
    code: str
    severity: str
    raised_at: datetime
    cleared_at: datetime | None
    outage_ids: frozenset[int] = frozenset()
    """Outages that it is a part of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """An outage, and whom it hit."""

    outage_id: int
    node: Node
    began_at: datetime
    ended_at: datetime | None
    hits: frozenset[str]
    """Terminals with a fault that is a part of it; of those that are being switched none is, since they are in
    maintenance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What counts as harm."""

    primary: Primary
    policy: Policy
    soak_s: float

    def counts(self, fault: Seen) -> bool:
        """Whether a fault is of the kind that the plan declared."""
        if not self.policy.rule(fault.code).attributable:
            return False
        return self.primary is Primary.ATTRIBUTABLE_FAULT or fault.severity in _GRAVE


@dataclass(frozen=True, kw_only=True, slots=True)
class _Watch:
    """A span in which somebody is watched."""

    begins: datetime
    ends: datetime
    day: str

    def holds(self, at: datetime) -> bool:
        return self.begins <= at < self.ends


def explains(cause: Cause, updated: Collection[str]) -> bool:
    """Say whether an outage explains what terminals show that it covers, when these are the updated ones."""
    ours = len(cause.hits.intersection(updated))
    return cause.node.kind is not NodeKind.RELEASE and len(cause.hits) - ours >= max(1, ours)


def excuses(cause: Cause, job: Job, nodes: Collection[Node], deadline_s: float, updated: Collection[str]) -> bool:
    """Say whether an outage excuses a job of a terminal that lies in `nodes`.

    `updated` are the terminals of its rollout that had their `go`. `cause` must cover some of the time from the job's
    `go`, or its offer, to its end or its deadline.
    """
    begins = job.go_at or job.offered_at
    if begins is None or cause.node not in nodes:
        return False
    ends = job.ended_at or begins + timedelta(seconds=deadline_s)
    overlaps = cause.began_at <= ends and (cause.ended_at is None or cause.ended_at >= begins)
    return overlaps and explains(cause, updated)


def strata(
    updated: Iterable[Updated],
    controls: Iterable[Control],
    faults: Iterable[Seen],
    measure: Measure,
    *,
    rollout_id: str,
    now: datetime,
) -> tuple[Stratum, ...]:
    """Return the arms by model, region and the day on which the updated terminal's span began."""
    ours = sorted(updated, key=lambda one: one.terminal_id)
    counting: dict[str, list[Seen]] = {}
    for fault in faults:
        if measure.counts(fault):
            counting.setdefault(fault.terminal_id, []).append(fault)
    n: Counter[tuple[bool, Kind, str]] = Counter()
    shown: Counter[tuple[bool, Kind, str]] = Counter()
    spans: dict[Kind, list[_Watch]] = {}
    for one in ours:
        watch = _watch(one, measure.soak_s, now)
        spans.setdefault(one.kind, []).append(watch)
        key = (True, one.kind, watch.day)
        n[key] += 1
        shown[key] += any(_harms(fault, one, watch, now) for fault in counting.get(one.terminal_id, ()))
    for control, watch in _paired(rollout_id, controls, spans):
        harmed = any(watch.holds(fault.raised_at) for fault in counting.get(control.terminal_id, ()))
        if harmed or control.heard_at >= watch.begins:
            key = (False, control.kind, watch.day)
            n[key] += 1
            shown[key] += harmed
    days = sorted({(kind, day) for is_updated, kind, day in n if is_updated})
    return tuple(_stratum(kind, day, n, shown) for kind, day in days)


def _watch(one: Updated, soak_s: float, now: datetime) -> _Watch:
    ends = max(one.go_at, min(now, one.ended_at + timedelta(seconds=soak_s)))
    return _Watch(begins=one.go_at, ends=ends, day=f"{one.go_at:%Y-%m-%d}")


def _harms(fault: Seen, one: Updated, watch: _Watch, now: datetime) -> bool:
    """Whether a fault of an updated terminal is more than what its restart shows."""
    if not watch.holds(fault.raised_at):
        return False
    settled_at = one.ended_at + timedelta(seconds=RESTART_S)
    return fault.raised_at >= one.ended_at or (fault.cleared_at or now) >= settled_at


def _paired(
    rollout_id: str, controls: Iterable[Control], spans: Mapping[Kind, Sequence[_Watch]]
) -> Iterable[tuple[Control, _Watch]]:
    """Give each control the span of one updated terminal of its kind, to each of them as many, give or take one."""
    drawn = sorted(controls, key=lambda one: hashlib.sha256(f"{rollout_id}/{one.terminal_id}".encode()).digest())
    turn: Counter[Kind] = Counter()
    for one in drawn:
        if own := spans.get(one.kind):
            yield one, own[turn[one.kind] % len(own)]
            turn[one.kind] += 1


def _stratum(
    kind: Kind, day: str, n: Mapping[tuple[bool, Kind, str], int], shown: Mapping[tuple[bool, Kind, str], int]
) -> Stratum:
    model, region = kind
    updated, control = (
        Arm(n=n[is_updated, kind, day], shown=shown[is_updated, kind, day]) for is_updated in (True, False)
    )
    return Stratum(model=model, region=region, hours=day, updated=updated, control=control)
