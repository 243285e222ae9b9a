"""The same console on PostgreSQL: pages load, act and live as they do on SQLite."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.collector.databases import Databases
from tests.live.browser.conftest import Visits, visiting
from tests.live.browser.pages import WHOLE, Scene, set_up
from tests.live.browser.served import TERMINALS, Served
from tests.live.postgres import Server
from tests.live.stack import until

from tillwatch_collector.domain.permission import Role

COMES_MS = 60_000
ALWAYS = ", ".join(f"{day} 00:00-24:00" for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun"))


@pytest.fixture(scope="module")
def on_postgresql(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Databases(postgresql).fresh() as url, Served(tmp_path_factory.mktemp("served"), database_url=url) as running:
        yield running


@pytest.fixture(scope="module")
def shown(on_postgresql: Served) -> Scene:
    return set_up(on_postgresql, on_postgresql.invite(Role.VIEWER))


@pytest.fixture
def visitors(chromium: Browser, on_postgresql: Served) -> Iterator[Visits]:
    yield from visiting(chromium, on_postgresql)


def test_every_page_loads(visitors: Visits, shown: Scene) -> None:
    visitor = visitors(Role.ADMIN)
    for address in WHOLE.values():
        page = visitor.open(shown.fill(address))
        expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_a_fault_comes_and_its_ticket_is_taken(visitors: Visits, on_postgresql: Served) -> None:
    terminal_id = TERMINALS[-1]
    page = visitors(Role.OPERATOR).open(f"/?q={terminal_id}")
    on_postgresql.begin(terminal_id, "paper_end")
    expect(page.get_by_role("row").filter(has_text=terminal_id)).to_contain_text("Out of paper", timeout=COMES_MS)
    ticket_id = on_postgresql.ticket(terminal_id, "paper_end")["ticket_id"]
    page = visitors(Role.OPERATOR).open(f"/tickets/{ticket_id}")
    page.get_by_role("button", name="Assign to me").click()
    expect(page.get_by_role("button", name="Assign to me")).to_have_count(0)
    assert on_postgresql.collector.tickets(subject_id=terminal_id)[0]["assignee"] == "person:operator"


def test_a_rollout_is_planned_started_and_paused(visitors: Visits, on_postgresql: Served) -> None:
    page = visitors(Role.APPROVER).open("/rollouts/new")
    page.get_by_label("To whom").fill("all")
    page.get_by_label("Why", exact=True).fill("the new version")
    page.get_by_label("Waves", exact=True).fill("20%, 40%, 100%")
    page.get_by_label("Window", exact=True).select_option("hours")
    page.get_by_label("Only in these hours").fill(ALWAYS)
    page.get_by_label("Results needed").fill("2")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#preview")).to_contain_text("till/till-2.1.0.tar.gz")
    page.get_by_role("button", name="Keep as a draft").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes, do it").click()
    page.wait_for_url("**/rollouts/r*")
    rollout_id = page.url.rpartition("/")[2]

    def is_now(state: str) -> None:
        until(lambda: on_postgresql.collector.get(f"/api/v1/rollouts/{rollout_id}")["state"] == state, state)

    take(page, "Start")
    is_now("awaiting_approval")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    other = visitors(Role.ADMIN).open(f"/rollouts/{rollout_id}")
    take(other, "Approve")
    is_now("running")
    take(other, "Pause")
    is_now("paused")


def take(page: Page, step: str) -> None:
    """Take a step, as one who is asked whether they are sure."""
    page.get_by_label("Reason (it stands in the journal)").first.fill("as planned")
    page.get_by_role("button", name=step, exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Yes, do it").click()
