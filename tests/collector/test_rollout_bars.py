"""A wave's bar is whole, and whatever one terminal came to is seen in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.shell_fixtures import NOW

from tillwatch_collector.cli.rollout_bars import MARKS, WIDTH, bar, lines
from tillwatch_collector.domain.rollout import Outcome
from tillwatch_collector.store.rollout_views import RolloutDetail, VerdictView, WaveView


def shown(**changed: Any) -> RolloutDetail:
    return RolloutDetail(
        **{
            "rollout_id": "r1",
            "name": "receipts",
            "target": "till/till-2.1.0.tar.gz",
            "product": "till",
            "version": "2.1.0",
            "query": "all",
            "reason": "ticket 12",
            "author": "person:ann",
            "state": "running",
            "waves": 2,
            "wave": 1,
            "terminals": 30,
            "updated": 9,
            "bad": 1,
            "ticket_id": None,
            "cloned_from": None,
            "created_at": NOW,
            "updated_at": NOW,
            "ended_at": None,
            "digest": "0" * 64,
            "taken_at": NOW,
            "settings": "{}",
            "left_out": 0,
            "wave_opened_at": NOW,
            "answered": (),
            "restored_at": None,
            "verdict": None,
            "progress": (
                WaveView(wave=1, terminals=10, outcomes={"failed": 1, "succeeded": 9}, waits={}),
                WaveView(wave=2, terminals=20, outcomes={"waiting": 20}, waits={"outside_window": 20}),
            ),
            "actions": ("pause",),
            **changed,
        }
    )


@pytest.mark.parametrize(
    ("outcomes", "drawn"),
    [
        ({}, ".........."),
        ({"waiting": 3}, ".........."),
        ({"succeeded": 1, "late": 1, "running": 2, "waiting": 6}, "##>>......"),
        ({"succeeded": 5, "failed": 1, "rejected": 1, "rolled_back": 1, "silent": 2}, "#####xxxxx"),
        ({"infrastructure": 1, "not_reached": 1, "cancelled": 3, "succeeded": 5}, "#####-----"),
        # One among thousands is seen.
        ({"succeeded": 5000, "failed": 1}, "#########x"),
        ({"succeeded": 1, "waiting": 5000}, "#........."),
        ({"succeeded": 1, "failed": 1, "running": 1, "cancelled": 1, "waiting": 5000}, "#x>-......"),
        # A collector of another version may know more.
        ({"succeeded": 5, "dreaming": 5}, "#####....."),
    ],
)
def test_a_bar_shows_all_that_there_is(outcomes: dict[str, int], drawn: str) -> None:
    assert bar(outcomes, 10) == drawn


def test_each_outcome_has_one_mark() -> None:
    marked = [outcome for _, of in MARKS for outcome in of]
    assert sorted(marked) == sorted(Outcome)


@given(st.dictionaries(st.sampled_from(sorted(Outcome)), st.integers(0, 100_000)))
def test_a_bar_is_whole_and_misses_nothing(outcomes: dict[str, int]) -> None:
    drawn = bar(outcomes)
    assert len(drawn) == WIDTH
    assert len(set(drawn)) >= (1 if any(outcomes.values()) else 0)
    for one, mark in ((Outcome.FAILED, "x"), (Outcome.RUNNING, ">"), (Outcome.SUCCEEDED, "#")):
        assert mark in drawn or not outcomes.get(one)


def test_a_rollout_is_some_lines() -> None:
    assert lines(shown()) == [
        "r1  receipts: running, wave 1 of 2, 9 of 30 updated",
        f"   1 [{'#' * 36}xxxx] 1 failed, 9 succeeded",
        f"   2 [{'.' * 40}] 20 waiting (20 outside_window)",
    ]
    assert lines(shown(wave=0, state="draft"))[0] == "r1  receipts: draft, 2 waves planned, 9 of 30 updated"


def test_the_gates_last_word_stands_below() -> None:
    verdict = VerdictView(
        at=NOW,
        wave=1,
        kind="hold",
        reasons=("soaking", "running"),
        numbers={"executed": 10, "bad_pct": 10, "failed": 1, "p": 0.123456},
        looks_done=1,
    )
    assert lines(shown(verdict=verdict))[-1] == (
        "gate of wave 1: hold (soaking, running); executed 10, bad_pct 10, p 0.1235"
    )
