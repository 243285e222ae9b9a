"""The walk of somebody who has never seen this: from the one-time link to a terminal that fails, its ticket, a rollout.

Nothing is known here that the pages do not say: what is pressed is found by the words on it. The collector is a fresh
one, so that the link is the one that it prints at its first start.
"""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.live.browser.chromium import Visitor
from tests.live.browser.served import TERMINALS, Served
from tests.live.stack import until

PASSWORD = "a heron stands in the reeds"
FAILING = TERMINALS[1]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A collector that nobody has been to, with a terminal that fails and a rollout that was paused."""
    with Served(tmp_path_factory.mktemp("fresh")) as served:
        served.begin(FAILING, "cover_open")
        served.ticket(FAILING, "cover_open")
        rollout_id = served.roll_out()
        for action in ("start", "pause"):
            reason = {"reason": "not before the weekend"}
            served.collector.post(f"/api/v1/rollouts/{rollout_id}/actions/{action}", reason)
        yield served


def test_from_the_link_to_the_ticket_and_the_rollout(fresh: Served, chromium: Browser) -> None:
    visitor = Visitor(chromium, fresh.url)
    page = visitor.open(printed_link(fresh))
    come_in(page)

    # what is wrong, and where
    expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
    page.get_by_role("row").filter(has_text="Cover open").get_by_role("link", name=FAILING).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(FAILING)
    expect(page.get_by_role("row").filter(has_text="receipt")).to_contain_text("Cover open")

    # its ticket, taken
    page.get_by_role("link", name=re.compile("Cover open")).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Cover open")
    expect(page.locator("main")).to_contain_text("nobody")
    page.get_by_role("button", name="Assign to me").click()
    expect(page.get_by_role("button", name="Assign to me")).to_have_count(0)
    page.locator("summary", has_text="Diagnose").click()
    step = page.locator("details[open]").filter(has=page.get_by_role("button", name="Diagnose"))
    step.get_by_label("Reason").fill("I look at it with the shop")
    step.get_by_role("button", name="Diagnose").click()
    expect(page.locator("main")).to_contain_text("I look at it with the shop")
    (ticket,) = fresh.collector.tickets(subject_id=FAILING)
    assert (ticket["assignee"], ticket["status"]) == ("person:newcomer", "diagnosing")

    # the rollout that was paused, resumed
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Rollouts").click()
    page.get_by_role("row").filter(has_text="paused").get_by_role("link").first.click()
    page.get_by_label("Reason (it stands in the journal)").first.fill("the weekend has come")
    page.get_by_role("button", name="Resume", exact=True).click()
    asked = page.get_by_role("dialog")
    expect(asked).to_be_visible()
    asked.get_by_role("button", name="Yes, do it").click()
    rollout_id = page.url.rpartition("/")[2]
    until(lambda: fresh.collector.get(f"/api/v1/rollouts/{rollout_id}")["state"] != "paused", "the rollout to go on")
    expect(page.locator("#progress")).to_contain_text("1", timeout=60_000)

    assert visitor.complaints == []
    visitor.close()


def test_the_link_has_been_used(fresh: Served, chromium: Browser) -> None:
    visitor = Visitor(chromium, fresh.url)
    page = visitor.open(printed_link(fresh), expect=404)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Password")).to_have_count(0)
    page = visitor.open("/")
    page.get_by_label("Name").fill("newcomer")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
    visitor.page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert visitor.open("/").url.endswith("/signin?next=%2F") or visitor.path == "/signin"
    assert visitor.complaints == []
    visitor.close()


def printed_link(served: Served) -> str:
    """Return the path of the link that the collector prints when nobody can sign in."""
    printed = re.search(r"http://\S+(/welcome/\S+)", served.collector.process.log.read_text())
    assert printed, "no link"
    return printed[1]


def come_in(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("newcomer")
    page.get_by_label("Your full name").fill("Nora Newcomer")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password, once more").fill(PASSWORD)
    page.get_by_role("button", name="Set password and sign in").click()
