"""The failure points of an update, each hit by the tests that are named for it, and the table that shows it."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.bench.figures import README, RESULTS, Experiment, Figure, Progress, with_part
from tests.failure_points import FAILURE_POINTS, MARK, ROOT

FILE = RESULTS / "failure_points.json"
PART = "failure points"
"""Of the README."""

POINTS = 48


def failure_points(progress: Progress) -> dict[str, float]:
    """Run the tests, count what they hit, and write the table; a test that fails hits nothing."""
    files = sorted({test.partition("::")[0] for point in FAILURE_POINTS for test in point.tests})
    progress(0, len(files), "tests that inject failures")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", MARK, f"--junitxml={report}", *files]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        hits = counted(report.read_bytes())
    if done.returncode:
        progress(0, 0, "\n".join(done.stdout.splitlines()[-20:]))
    rows = [
        {"point": point.name, "says": point.says, "tests": point.tests, "hits": hits[point.name]}
        for point in FAILURE_POINTS
    ]
    FILE.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    README.write_text(with_part(README.read_text(encoding="utf-8"), PART, table()), encoding="utf-8")
    return {
        "failure_points_hit": sum(1 for row in rows if row["hits"]),
        "failure_points_tests": sum(hits.values()),
    }


def counted(report: bytes) -> Counter[str]:
    """Count, by point, the tests of a report that passed."""
    cases = ET.fromstring(report).iter("testcase")
    return Counter(
        str(said.get("value"))
        for case in cases
        if not {"failure", "error", "skipped"} & {part.tag for part in case}
        for said in case.iter("property")
        if said.get("name") == MARK
    )


def table() -> str:
    """The README's table."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))
    lines = ["| point | what goes wrong | tests | where |", "| --- | --- | ---: | --- |"]
    for row in rows:
        where = ", ".join(sorted({_file(test) for test in row["tests"]}))
        lines.append(f"| {row['point']} | {row['says']} | {row['hits']} | {where} |")
    return "\n".join(lines)


def _file(test: str) -> str:
    path = test.partition("::")[0]
    return f"[`{Path(path).stem}`]({path})"


EXPERIMENTS = (
    Experiment(
        name="failure_points",
        door="evidence",
        seed=None,
        run=failure_points,
        figures=(
            Figure(
                name="failure_points_hit",
                unit="points",
                aim=POINTS,
                at_most=False,
                says=f"of the {POINTS} failure points of an update: those that a test made happen, and stood",
            ),
            Figure(name="failure_points_tests", unit="tests", aim=None, says="that did so; the table below names them"),
        ),
    ),
)
