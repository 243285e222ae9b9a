"""A test that lacks a real part is skipped with advice; where all parts are required, whatever is skipped fails."""

import os
from collections.abc import Generator, Iterator

import hypothesis
import pytest
from tests import failure_points, parts
from tests.bench.figures import PartMissing
from tests.live.postgres import Server
from tests.live.shared_postgres import shared

# A machine that others use, too, is slow at times: that fails no test.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


def pytest_xdist_auto_num_workers() -> int:
    """Most of the time tests wait, for processes that are real: more of them than cores keep these busy."""
    cores = os.cpu_count() or 1
    return max(cores, min(2 * cores + 1, 8))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that inject a failure point; their reports name it."""
    for item in items:
        for point in failure_points.points_of(item.nodeid):
            item.add_marker(getattr(pytest.mark, failure_points.MARK)(point))
            item.user_properties.append((failure_points.MARK, point))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    yield from _advised()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    yield from _advised()


def _advised() -> Generator[None]:
    try:
        yield
    except PartMissing as missing:
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if parts.REQUIRED and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, where TESTS_PARTS=required has nothing skipped: {report.longreprtext}"
    return report


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server that all tests of the run share; the database `MIGRATED` is there to be copied."""
    folder = tmp_path_factory.getbasetemp()
    with shared((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "postgresql") as server:
        yield server
