"""The published confusion matrix, on fewer draws: what it counts, and that it would show a diagnosis that is wrong."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.bench import diagnosing
from tests.bench.diagnosing import WELL, Kind, figures_of, healthy_as_fault, kinds, matrix
from tests.bench.ways import Fault, Way

from tillwatch_agent import diagnosis
from tillwatch_agent.evidence import Domain, Evidence


@pytest.fixture
def few(tmp_path: Path) -> Iterator[tuple[Kind, ...]]:
    with diagnosing.brokers(tmp_path) as brokers:
        yield tuple(replace(kind, draws=1) for kind in (*kinds(tmp_path / "sysfs"), *brokers))


def test_every_kind_is_told_by_its_own_set_and_none_as_well(few: tuple[Kind, ...]) -> None:
    rows = matrix(few, lambda *_: None)
    figures = figures_of(rows)
    assert figures["diagnosis_kinds"] >= 40
    assert (figures["diagnosis_diagonal_pct"], figures["diagnosis_fault_as_healthy"]) == (100, 0)
    assert len({(kind.group, kind.name) for kind in few}) == len(few)
    assert {kind.name for kind in few} >= set(Fault)


def test_a_shop_that_is_well_is_told_as_well() -> None:
    assert healthy_as_fault(200) == 0


def test_a_diagnosis_that_overlooks_or_invents_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def dark(rng: random.Random) -> str:
        return diagnosing.verdict_of_way(Way(fault=Fault.BLACK_HOLE, rng=rng).evidence())

    kind = Kind(group="network", name="dark", verdict="wan_unreachable", ask=dark, draws=20)

    def blind(_: Evidence) -> Domain | None:
        return None

    monkeypatch.setattr(diagnosis, "failing_domain", blind)
    (row,) = matrix((kind,), lambda *_: None)
    assert figures_of([row])["diagnosis_diagonal_pct"] < 98
    monkeypatch.setattr(diagnosis, "failing_domain", lambda _: Domain.WAN)
    assert healthy_as_fault(20) == 20
    assert figures_of([{"set": "x", "verdicts": {WELL: 3, "x": 1}}])["diagnosis_fault_as_healthy"] == 3


def test_without_far_targets_and_a_known_page_less_is_told_apart() -> None:
    bare = diagnosing.bare()
    assert bare["diagnosis_bare_diagonal_pct"] < 98
    assert bare["diagnosis_bare_fault_as_healthy"] == 0
