"""What the gate compares, and what excuses: row by row, and over drawn fleets."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.rollout_words import NOW

from tillwatch_collector import policies
from tillwatch_collector.domain.evidence import (
    RESTART_S,
    Cause,
    Control,
    Measure,
    Seen,
    Updated,
    excuses,
    explains,
    strata,
)
from tillwatch_collector.domain.exact import Arm
from tillwatch_collector.domain.gate import Primary, Stratum
from tillwatch_collector.domain.outage import Node, NodeKind
from tillwatch_collector.domain.rollout import Grant, Job

SOAK_S = 3600.0
MEASURE = Measure(primary=Primary.ATTRIBUTABLE_FAULT, policy=policies.load(), soak_s=SOAK_S)
GRAVE = replace(MEASURE, primary=Primary.ATTRIBUTABLE_MAJOR_FAULT)
KIND = ("m1", "north")
END = NOW + timedelta(seconds=300)
LINE = Node(NodeKind.CARRIER, "line")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def one(terminal_id: str = "u1", kind: tuple[str, str] = KIND, *, go_s: float = 0, end_s: float = 300) -> Updated:
    return Updated(terminal_id=terminal_id, kind=kind, go_at=at(go_s), ended_at=at(end_s))


def control(terminal_id: str = "c1", kind: tuple[str, str] = KIND, *, heard_s: float = 7200) -> Control:
    return Control(terminal_id=terminal_id, kind=kind, heard_at=at(heard_s))


def fault(terminal_id: str, raised_s: float, code: str = "no_response", **more: Any) -> Seen:
    told = {"severity": "major", "cleared_at": None} | more
    return Seen(terminal_id=terminal_id, code=code, raised_at=at(raised_s), **told)


def found(*faults: Seen, measure: Measure = MEASURE, now_s: float = 7200, **who: Any) -> tuple[Stratum, ...]:
    told: dict[str, Any] = {"updated": [one()], "controls": [control()]} | who
    return strata(told["updated"], told["controls"], faults, measure, rollout_id="r1", now=at(now_s))


def shown(*faults: Seen, **more: Any) -> tuple[int, int]:
    [stratum] = found(*faults, **more)
    assert (stratum.updated.n, stratum.control.n) == (1, 1)
    return stratum.updated.shown, stratum.control.shown


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([], (0, 0)),
        # of each arm, in its span: from the go to the end of the soak
        ([fault("u1", 400)], (1, 0)),
        ([fault("c1", 400)], (0, 1)),
        ([fault("u1", 400), fault("u1", 500), fault("c1", 0)], (1, 1)),
        ([fault("u1", -1), fault("c1", -1)], (0, 0)),
        ([fault("u1", 300 + SOAK_S - 1), fault("c1", 300 + SOAK_S - 1)], (1, 1)),
        ([fault("u1", 300 + SOAK_S), fault("c1", 300 + SOAK_S)], (0, 0)),
        # what a restart shows and is gone soon after is none; what stays is one
        ([fault("u1", 100, cleared_at=at(400))], (0, 0)),
        ([fault("u1", 100, cleared_at=at(300 + RESTART_S))], (1, 0)),
        ([fault("u1", 100)], (1, 0)),
        # who is neither updated nor a control
        ([fault("x1", 400)], (0, 0)),
        # an upgrade is not to blame for paper
        ([fault("u1", 400, "paper_end")], (0, 0)),
    ],
)
def test_faults_count_in_the_span_in_which_their_terminal_was_watched(
    faults: list[Seen], expected: tuple[int, int]
) -> None:
    assert shown(*faults) == expected


@pytest.mark.parametrize(("severity", "counts"), [("critical", 1), ("major", 1), ("minor", 0), ("info", 0)])
def test_a_plan_that_declares_major_faults_counts_no_lesser_ones(severity: str, counts: int) -> None:
    assert shown(fault("u1", 400, severity=severity), measure=GRAVE) == (counts, 0)
    assert shown(fault("u1", 400, severity=severity)) == (1, 0)


def test_a_fault_of_the_restart_is_not_counted_before_it_must_be_gone() -> None:
    early = fault("u1", 100)
    assert shown(early, now_s=300 + RESTART_S - 1) == (0, 0)
    assert shown(early, now_s=300 + RESTART_S) == (1, 0)


def test_who_was_not_heard_in_the_span_is_no_control_unless_it_fell_silent_there() -> None:
    [gone] = found(controls=[control(heard_s=-1)])
    assert gone.control == Arm(n=0, shown=0)
    [fell] = found(fault("c1", 60, "silent"), controls=[control(heard_s=-1)])
    assert fell.control == Arm(n=1, shown=1)


def test_arms_are_of_one_model_region_and_day() -> None:
    updated = [
        one("u1"),
        one("u2", ("m2", "north")),
        one("u3", ("m1", "south")),
        one("u4", go_s=86_400, end_s=86_700),
    ]
    controls = [control(f"c{n}", heard_s=200_000) for n in range(4)] + [control("c9", ("m3", "north"))]
    strata_found = found(updated=updated, controls=controls, now_s=200_000)
    assert [(s.model, s.region, s.hours, s.updated.n, s.control.n) for s in strata_found] == [
        ("m1", "north", "2026-11-20", 1, 2),
        ("m1", "north", "2026-11-21", 1, 2),
        ("m1", "south", "2026-11-20", 1, 0),
        ("m2", "north", "2026-11-20", 1, 0),
    ]


def test_nobody_updated_is_nothing_to_compare() -> None:
    assert found(updated=[]) == ()


@given(
    spans=st.lists(st.tuples(st.floats(0, 20_000), st.floats(60, 900)), min_size=1, max_size=12),
    controls=st.integers(0, 60),
)
def test_controls_are_watched_as_long_as_the_updated_and_in_the_same_hours(
    spans: list[tuple[float, float]], controls: int
) -> None:
    """Each span is given to as many controls, but for one: the sum of faults at a time tells whose span holds it."""
    updated = [one(f"u{n:02}", go_s=go_s, end_s=go_s + took_s) for n, (go_s, took_s) in enumerate(spans)]
    drawn = [control(f"c{n:02}", heard_s=90_000) for n in range(controls)]
    moment_s = 10_000.0
    everyone = [*(u.terminal_id for u in updated), *(c.terminal_id for c in drawn)]
    faults = [fault(name, moment_s) for name in everyone]
    found_strata = found(*faults, updated=updated, controls=drawn, now_s=90_000)
    assert sum(stratum.control.n for stratum in found_strata) == controls
    holding = sum(go_s <= moment_s < go_s + took_s + SOAK_S for go_s, took_s in spans)
    in_controls = sum(stratum.control.shown for stratum in found_strata)
    rounds, rest = divmod(controls, len(spans))
    assert rounds * holding <= in_controls <= rounds * holding + min(rest, holding)


# --- causes


def cause(hits: str, **changed: Any) -> Cause:
    told: dict[str, Any] = {
        "outage_id": 1,
        "node": LINE,
        "began_at": at(60),
        "ended_at": None,
        "hits": frozenset(hits.split()),
    }
    return Cause(**told | changed)


@pytest.mark.parametrize(
    ("hits", "updated", "explained"),
    [
        # as many that are not updated as of those that are
        ("c1 c2", "u1 u2", True),
        ("u1 c1", "u1 u2", True),
        ("u1 u2 c1 c2", "u1 u2", True),
        ("u1 u2 c1", "u1 u2", False),
        # updated ones alone: a release may look like an outage
        ("u1", "u1", False),
        ("", "u1", False),
    ],
)
def test_an_outage_explains_what_terminals_that_are_not_updated_show_too(
    hits: str, updated: str, explained: bool
) -> None:
    assert explains(cause(hits), updated.split()) is explained
    assert not explains(cause(hits, node=Node(NodeKind.RELEASE, "till")), updated.split())


JOB = Job(job_id="j1", terminal_id="u1", wave=1, grant=Grant.GO, offered_at=at(-600), go_at=NOW)
DEADLINE_S = 900.0


@pytest.mark.parametrize(
    ("changed", "outage", "excused"),
    [
        ({}, {}, True),
        # it was over before the go, or began after the deadline
        ({}, {"began_at": at(-900), "ended_at": at(-1)}, False),
        ({}, {"began_at": at(-900), "ended_at": NOW}, True),
        ({}, {"began_at": at(DEADLINE_S)}, True),
        ({}, {"began_at": at(DEADLINE_S + 1)}, False),
        # or after the end
        ({"ended_at": at(59)}, {}, False),
        # without a go from the offer on; without that there is nothing to excuse
        ({"go_at": None, "ended_at": at(-300)}, {"began_at": at(-400)}, True),
        ({"go_at": None, "offered_at": None}, {}, False),
        # it lies elsewhere
        ({}, {"node": Node(NodeKind.CARRIER, "another")}, False),
        # only updated terminals are hit
        ({}, {"hits": frozenset({"u1"})}, False),
    ],
)
def test_an_outage_excuses_a_job_that_it_covers(changed: dict[str, Any], outage: dict[str, Any], excused: bool) -> None:
    found_cause = replace(cause("c1 c2"), **outage)
    assert excuses(found_cause, replace(JOB, **changed), {LINE}, DEADLINE_S, {"u1"}) is excused
