"""Who is updated in which wave: the same at every planning, spread over stores, and never all tills of one."""

import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as running
from hypothesis import strategies as st
from tests.collector.rollout_words import NOW, fleet, selected, selection, settings

from tillwatch_collector.domain import waves
from tillwatch_collector.domain.rollout import RolloutRefused, RolloutSettings
from tillwatch_collector.domain.waves import LeftOutReason, Plan, plan, tills_at_once


def with_waves(*sizes: dict[str, Any], executed_min: int = 1) -> RolloutSettings:
    parts = settings(gate={"executed_min": executed_min}).model_dump()
    return RolloutSettings.model_validate({**parts, "waves": sizes})


def sizes_of(found: Plan) -> list[int]:
    return [len(wave.terminals) for wave in found.waves]


def test_the_last_size_repeats_until_none_is_left() -> None:
    found = plan("r1", selection(*fleet(100, 4)), with_waves({"count": 10}, {"share_pct": 25}))
    assert sizes_of(found) == [10, 100, 100, 100, 90]
    assert [wave.number for wave in found.waves] == [1, 2, 3, 4, 5]


def test_a_plan_is_the_same_in_whatever_order_terminals_come_and_another_for_another_rollout() -> None:
    terminals = list(fleet(30, 3))
    stated = with_waves({"count": 5}, {"share_pct": 50})
    found = plan("r1", selection(*terminals), stated)
    random.Random(1).shuffle(terminals)
    assert plan("r1", selection(*terminals, *terminals[:10]), stated) == found
    assert plan("r2", selection(*terminals), stated).waves[0] != found.waves[0]


def test_each_store_gives_one_before_any_gives_a_second() -> None:
    found = plan("r1", selection(*fleet(20, 4)), with_waves({"count": 16}, {"count": 20}))
    of_store = [Counter(one.store_id for one in wave.terminals) for wave in found.waves]
    assert set(of_store[0].values()) == {1}
    assert len(of_store[0] + of_store[1]) == 20
    assert max((of_store[0] + of_store[1]).values()) == 2


def test_who_has_no_second_till_is_not_the_first_to_try_while_there_are_others() -> None:
    alone = [selected(f"alone{number:02}", f"kiosk{number:02}", tills=1) for number in range(40)]
    found = plan("r1", selection(*alone, *fleet(20, 2)), with_waves({"count": 10}, {"share_pct": 50}))
    assert all(one.store_tills > 1 for one in found.waves[0].terminals)
    assert {one.store_tills for one in found.waves[1].terminals} == {1, 2}
    only = plan("r1", selection(*alone), with_waves({"count": 8}, {"share_pct": 50}))
    assert sizes_of(only) == [8, 20, 12]


def test_who_cannot_be_changed_is_left_out_with_the_reason() -> None:
    out = [
        selected("spare", live=False),
        selected("loose", None),
        selected("never", opens_at=None),
    ]
    found = plan("r1", selection(*out, selected("t1", opens_at=NOW + timedelta(hours=1))), with_waves({"count": 1}))
    assert dict(found.left_out) == {
        "spare": LeftOutReason.NOT_LIVE,
        "loose": LeftOutReason.UNPLACED,
        "never": LeftOutReason.NO_WINDOW,
    }
    assert found.waves[0].opens_at == NOW + timedelta(hours=1)


def test_a_wave_says_how_many_of_its_kind_are_left_to_compare_it_with() -> None:
    ours = fleet(10, 2)
    others = [selected(f"o{number}", f"o{number}", model="m2") for number in range(5)]
    found = plan("r1", selection(*ours, *others), with_waves({"count": 5}, {"share_pct": 40}))
    for number, wave in enumerate(found.waves):
        kinds = {one.model for one in wave.terminals}
        later = [one for after in found.waves[number + 1 :] for one in after.terminals if one.model in kinds]
        assert wave.controls == len(later)


@pytest.mark.parametrize(
    ("terminals", "stated", "says"),
    [
        # nobody, or nobody who can be
        ((), with_waves({"count": 1}), "at least one"),
        ((selected("t1", live=False),), with_waves({"count": 1}), "at least one"),
        # a first wave that is not small
        (fleet(10, 4), with_waves({"count": 9}), "at most 8 terminals"),
        (fleet(10, 4), with_waves({"share_pct": 21}), "at most 8 terminals"),
        # a wave that the gate could never pass
        (fleet(10, 4), with_waves({"count": 2}, {"count": 10}, executed_min=3), "waves.0: expected at least"),
        (fleet(10, 4), with_waves({"count": 5}, {"count": 4}, executed_min=5), "waves.1: expected at least"),
        # more waves than anyone watches
        (fleet(60, 4), with_waves({"count": 1}), "expected at most 100 for 240"),
    ],
)
def test_a_plan_that_would_not_be_safe_is_refused(terminals: Any, stated: RolloutSettings, says: str) -> None:
    with pytest.raises(RolloutRefused, match=says):
        plan("r1", selection(*terminals), stated)


def test_a_selection_has_a_greatest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waves, "SELECTED_MAX", 7)
    with pytest.raises(RolloutRefused, match="at most 7 terminals, got 8"):
        plan("r1", selection(*fleet(4, 2)), settings())


@pytest.mark.parametrize(
    ("tills", "most", "expected"),
    [(1, 3, 1), (2, 3, 1), (3, 3, 2), (4, 3, 3), (9, 3, 3), (9, 20, 8), (0, 3, 1)],
)
def test_of_more_tills_than_one_never_all_are_changed_at_once(tills: int, most: int, expected: int) -> None:
    assert tills_at_once(tills, most) == expected


stores = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=25)


@running(max_examples=100, deadline=None)
@given(stores=stores, share_pct=st.integers(1, 20), second_pct=st.integers(10, 100))
def test_each_terminal_is_in_one_wave_no_wave_is_too_large_and_none_takes_all_tills_of_a_store(
    stores: list[tuple[int, int]], share_pct: int, second_pct: int
) -> None:
    terminals = [
        selected(f"s{number}-t{till}", f"s{number}", tills=max(tills, chosen))
        for number, (tills, chosen) in enumerate(stores)
        for till in range(chosen)
    ]
    stated = with_waves({"share_pct": share_pct}, {"share_pct": second_pct})
    found = plan("r1", selection(*terminals), stated)
    taken = [one.terminal_id for wave in found.waves for one in wave.terminals]
    assert sorted(taken) == sorted(one.terminal_id for one in terminals)
    for wave in found.waves:
        pct = share_pct if wave.number == 1 else second_pct
        assert 0 < len(wave.terminals) <= -(-pct * len(terminals) // 100)
        at_store = Counter(one.store_id for one in wave.terminals)
        tills = {one.store_id: one.store_tills for one in wave.terminals}
        assert all(count < tills[store] or tills[store] == 1 for store, count in at_store.items())
