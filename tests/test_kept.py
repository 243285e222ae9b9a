"""A long run that is cut goes on, and what other code told counts for nothing."""

from pathlib import Path

import pytest
from tests.bench import kept
from tests.bench.kept import Kept


def test_what_the_same_code_told_is_found_again(tmp_path: Path) -> None:
    told = Kept(tmp_path / "told.json", "a")
    told.take("seed 2", {"tickets": 3})
    told.take("seed 1", {"tickets": 0})
    assert Kept(tmp_path / "told.json", "a").told == {"seed 1": {"tickets": 0}, "seed 2": {"tickets": 3}}


def test_what_other_code_told_is_not(tmp_path: Path) -> None:
    Kept(tmp_path / "told.json", "a").take("seed 1", {"tickets": 3})
    other = Kept(tmp_path / "told.json", "b")
    assert other.told == {}
    other.take("seed 1", {"tickets": 4})
    assert Kept(tmp_path / "told.json", "b").told == {"seed 1": {"tickets": 4}}


def test_nothing_is_trusted_by_whoever_asks_for_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Kept(tmp_path / "told.json", "a").take("seed 1", 3)
    monkeypatch.setenv("EVIDENCE_ANEW", "1")
    assert Kept(tmp_path / "told.json", "a").told == {}


def test_the_code_is_all_that_a_module_loads_and_the_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "outer.py").write_text("import inner\n")
    (tmp_path / "inner.py").write_text("told = 1\n")
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    before = kept.code_digest(["outer"], but="")
    assert kept.code_digest(["outer"], but="") == before
    (tmp_path / "inner.py").write_text("told = 2\n")
    inner = kept.code_digest(["outer"], but="")
    (tmp_path / "collector/src/x").mkdir(parents=True)
    (tmp_path / "collector/src/x/policy.toml").touch()
    assert len({before, inner, kept.code_digest(["outer"], but="")}) == 3
    (tmp_path / "outer.py").write_text("import inner  # only counts\n")
    assert kept.code_digest(["outer"], but=str(tmp_path / "outer.py")) != kept.code_digest(["outer"], but="")
