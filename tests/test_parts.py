"""A test that lacks a real part says how to get it; where all parts are required, nothing is skipped in silence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(folder: Path, parts: str) -> str:
    test = folder / "test_without_a_part.py"
    test.write_text(WITHOUT_A_PART.format(skip="skip"))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "tests.conftest", "-p", "no:cacheprovider", str(test)],
        cwd=ROOT,
        env=os.environ | {"TESTS_PARTS": parts, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


@pytest.mark.parametrize(("parts", "outcome"), [("", "3 skipped in"), ("required", "2 failed, 1 error in")])
def test_a_missing_part_is_said_with_advice(tmp_path: Path, parts: str, outcome: str) -> None:
    said = run(tmp_path, parts)
    assert outcome in said
    assert "try: apt install broker" in said
    assert "not today" in said
