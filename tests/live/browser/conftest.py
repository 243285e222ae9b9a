"""One browser for a worker's tests, one collector for all that share it, and a visitor for each test.

Whatever a test did, at its end none of its visitors may have a complaint.
"""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser
from tests.live.browser.chromium import MANNER, Manner, Visitor, launched
from tests.live.browser.pages import Scene, set_up
from tests.live.browser.served import Served

from tillwatch_collector.domain.permission import EVERYWHERE, Role, Within

Visits = Callable[..., Visitor]
"""`visits(Role.VIEWER)`: the browser of somebody with that role; `visits(None)`: of nobody who is known."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A collector on SQLite; tests leave its terminals as they found them, or take their own."""
    with Served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="session")
def scene(served: Served) -> Scene:
    return set_up(served, served.invite(Role.VIEWER))


@pytest.fixture
def visits(chromium: Browser, served: Served) -> Iterator[Visits]:
    yield from visiting(chromium, served)


def visiting(chromium: Browser, served: Served) -> Iterator[Visits]:
    """Lend browsers of people of a collector."""
    lent: list[Visitor] = []

    def visit(role: Role | None, manner: Manner = MANNER, within: Within = EVERYWHERE) -> Visitor:
        visitor = Visitor(chromium, served.url, manner)
        lent.append(visitor)
        if role is not None:
            visitor.set_cookie(*served.session_of(role, within))
        return visitor

    yield visit
    complaints = [complaint for visitor in lent for complaint in visitor.complaints]
    for visitor in lent:
        visitor.close()
    assert complaints == []
