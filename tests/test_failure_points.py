"""The registry of failure points: whole, true, and shown in the README as the last run counted it."""

import json
import re

import pytest
from tests import failure_points
from tests.bench import failing
from tests.bench.figures import README, with_part
from tests.failure_points import FAILURE_POINTS


def test_the_points_are_those_of_the_list_in_its_order() -> None:
    assert [point.name for point in FAILURE_POINTS] == [f"F{number}" for number in range(1, failing.POINTS + 1)]
    assert all(point.tests for point in FAILURE_POINTS)


def test_every_named_test_exists() -> None:
    assert list(failure_points.missing()) == []


def test_a_test_is_known_by_its_name_whatever_its_parameters() -> None:
    for point in FAILURE_POINTS:
        test = point.tests[0]
        node = test if "::" in test else f"{test}::test_any"
        assert point.name in failure_points.points_of(f"{node}[some-1]")
    assert failure_points.points_of("tests/test_failure_points.py::test_every_named_test_exists") == ()


@pytest.mark.parametrize(
    ("inside", "hits"),
    [
        ("", {"F1": 1}),
        ("<failure/>", {}),
        ("<error/>", {}),
        ("<skipped/>", {}),  # what did not run hit nothing
    ],
)
def test_only_a_test_that_passed_hits(inside: str, hits: dict[str, int]) -> None:
    said = '<properties><property name="failure_point" value="F1"/><property name="x" value="F2"/></properties>'
    report = f"<testsuites><testsuite><testcase>{said}{inside}</testcase></testsuite></testsuites>"
    assert failing.counted(report.encode()) == hits


def test_the_readme_shows_the_points_that_the_last_run_hit() -> None:
    readme = README.read_text(encoding="utf-8")
    assert with_part(readme, failing.PART, failing.table()) == readme, "run `make evidence ONLY=failure_points`"
    rows = json.loads(failing.FILE.read_text(encoding="utf-8"))
    assert [row["point"] for row in rows] == [point.name for point in FAILURE_POINTS]
    assert [tuple(row["tests"]) for row in rows] == [point.tests for point in FAILURE_POINTS]
    assert not [row["point"] for row in rows if not re.fullmatch(r"[1-9][0-9]*", str(row["hits"]))]
