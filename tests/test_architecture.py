"""What no linter says: lengths, forbidden names, the plan's folders, and that nothing of the workshop is inside."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "tillwatch_protocol": ROOT / "protocol" / "src" / "tillwatch_protocol",
    "tillwatch_agent": ROOT / "agent" / "src" / "tillwatch_agent",
    "tillwatch_collector": ROOT / "collector" / "src" / "tillwatch_collector",
    "tillwatch_simulator": ROOT / "simulator" / "src" / "tillwatch_simulator",
}
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}
FOLDERS = {".ci", "agent", "collector", "protocol", "simulator", "tests"}
INDEX_HOSTS = re.compile("|".join(["py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.", r"deb\." + "debian"]))
MACHINE_PATHS = re.compile(r"/(?:home|wo" + r"rk|root)/[a-z]")


def sources() -> Iterator[Path]:
    for folder in PACKAGES.values():
        yield from sorted(path for path in folder.rglob("*.py") if "migrations" not in path.parts)


def committed() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_every_function_fits_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for path, node in functions()
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_every_file_is_one_room() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in committed()
        if path.suffix == ".py" and "migrations" not in path.parts
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES_MAX
    ]
    assert long == []


def test_no_module_is_named_for_what_it_is_not() -> None:
    named = [path for path in sources() if FORBIDDEN_NAMES & {path.stem, path.parent.name}]
    assert named == []


def test_every_module_opens_with_its_contract() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if len(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "") < 20
    ]
    assert silent == []


def test_the_top_level_is_the_plan() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in committed() if len(path.relative_to(ROOT).parts) > 1}
    assert folders <= FOLDERS


@pytest.mark.parametrize(
    "pattern", [pytest.param(INDEX_HOSTS, id="an index host"), pytest.param(MACHINE_PATHS, id="one machine's path")]
)
def test_no_committed_file_names(pattern: re.Pattern[str]) -> None:
    naming = [
        path.relative_to(ROOT).as_posix()
        for path in committed()
        if pattern.search(path.read_bytes().decode("utf-8", errors="replace"))
    ]
    assert naming == []


def test_requirements_are_hashed_and_have_no_address() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in text
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9_.-]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_no_test_is_skipped() -> None:
    words = re.compile(r"pytest\.(?:mark\.)?(?:skip|xfail|importorskip)")
    skipping = [
        path.relative_to(ROOT).as_posix()
        for path in committed()
        if path.parts[len(ROOT.parts)] == "tests" and path.suffix == ".py"
        if path
        not in {Path(__file__), ROOT / "tests" / "conftest.py"}  # which skips for want of a real part, with advice
        if words.search(path.read_text(encoding="utf-8"))
    ]
    assert skipping == []


def test_every_broad_except_is_in_a_shell_and_says_so() -> None:
    broad = []
    for path in sources():
        for line_no, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if re.search(r"except (?:Base)?Exception\b|except:", line) and "BLE001" not in line:
                broad.append(f"{path.relative_to(ROOT)}:{line_no}")
    assert broad == []
