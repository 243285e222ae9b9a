"""A test that lacks a real part says how to get it; where all parts are required, nothing is skipped in silence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import parts
from tests.bench.figures import PartMissing

ROOT = Path(__file__).parents[1]

WITHOUT_A_PART = """
import pytest
from tests.bench.figures import PartMissing

@pytest.fixture
def broker():
    raise PartMissing("try: apt install broker")

def test_in_a_fixture(broker): ...

def test_in_itself():
    raise PartMissing("try: apt install broker")

def test_for_another_reason():
    pytest.{skip}("not today")
"""


def run(folder: Path, required: str) -> str:
    test = folder / "test_without_a_part.py"
    test.write_text(WITHOUT_A_PART.format(skip="skip"))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "tests.conftest", "-p", "no:cacheprovider", str(test)],
        cwd=ROOT,
        env=os.environ | {"TESTS_PARTS": required, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


@pytest.mark.parametrize(("required", "outcome"), [("", "3 skipped in"), ("required", "2 failed, 1 error in")])
def test_a_missing_part_is_said_with_advice(tmp_path: Path, required: str, outcome: str) -> None:
    said = run(tmp_path, required)
    assert outcome in said
    assert "try: apt install broker" in said
    assert "not today" in said


def test_without_a_browser_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PartMissing, match="try: apt install chromium"):
        parts.chromium()
