"""Pages that live: what happens at terminals comes to them by itself, what a person does on them is done, and stays."""

import re

import pytest
from playwright.sync_api import Page, expect
from tests.live.browser.chromium import PHONE_PX, Manner
from tests.live.browser.conftest import Visits
from tests.live.browser.pages import Scene
from tests.live.browser.served import TERMINALS, Served
from tests.live.stack import until

from tillwatch_collector.domain.permission import Role, Within

COMES_MS = 60_000
"""Two polls, and a judge's hold, on a machine that does much else."""

OWN = TERMINALS[20:]
"""Of these tests alone."""


def is_same_page(page: Page) -> bool:
    """Whether it has not been loaded again since it was marked."""
    marked: bool = page.evaluate("document.body.dataset.marked === 'yes'")
    return marked


def mark(page: Page) -> None:
    page.evaluate("document.body.dataset.marked = 'yes'")


def test_a_fault_comes_to_the_fleet_and_goes_without_a_reload(visits: Visits, served: Served) -> None:
    page = visits(Role.VIEWER).open(f"/?q={OWN[0]}")
    mark(page)
    row = page.get_by_role("row").filter(has_text=OWN[0])
    expect(row).not_to_contain_text("Out of paper")
    served.begin(OWN[0], "paper_end")
    expect(row).to_contain_text("Out of paper", timeout=COMES_MS)
    served.end(OWN[0], "paper_end")
    expect(row).not_to_contain_text("Out of paper", timeout=COMES_MS)
    assert is_same_page(page)


def test_a_terminal_that_is_cut_off_falls_silent_before_ones_eyes(visits: Visits, served: Served) -> None:
    page = visits(Role.VIEWER).open(f"/terminals/{OWN[1]}")
    mark(page)
    standing = page.locator("#standing")
    expect(standing).to_contain_text("online")
    served.kill(OWN[1])
    expect(standing).to_contain_text("silent", timeout=COMES_MS)
    served.revive(OWN[1])
    expect(standing).to_contain_text("online", timeout=COMES_MS)
    assert is_same_page(page)


@pytest.mark.parametrize("path", ["/", "/tickets", f"/terminals/{TERMINALS[0]}"])
def test_whoever_reads_may_hold_the_page_still(path: str, visits: Visits) -> None:
    visitor = visits(Role.VIEWER)
    visitor.page.clock.install()
    page = visitor.open(path)
    page.wait_for_load_state("networkidle")

    def asked_within_a_minute() -> int:
        before = len(visitor.answers)
        page.clock.fast_forward(60_000)
        page.wait_for_load_state("networkidle")
        return len(visitor.answers) - before

    assert until(asked_within_a_minute, "the page to ask again") > 0
    page.get_by_role("button", name="Pause updates").click()
    asked_within_a_minute()
    assert asked_within_a_minute() == 0
    page.get_by_role("button", name="Resume updates").click()
    assert until(asked_within_a_minute, "the page to go on") > 0


def test_a_command_is_asked_for_carried_out_and_kept(visits: Visits) -> None:
    page = visits(Role.OPERATOR).open(f"/terminals/{OWN[2]}")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#commands")).to_contain_text("Operator")
    expect(page.locator("#commands")).to_contain_text("Refresh")


def test_what_must_be_sure_is_asked_for_first(visits: Visits, served: Served) -> None:
    page = visits(Role.OPERATOR).open(f"/terminals/{OWN[2]}")
    page.get_by_role("button", name="Restart agent").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    commands = served.collector.get(f"/api/v1/terminals/{OWN[2]}/commands")["items"]
    assert [command for command in commands if command["kind"] == "restart_agent"] == []


def test_a_viewer_is_offered_nothing_that_they_may_not(visits: Visits, scene: Scene) -> None:
    for address in ("/terminals/{failing}", "/tickets/{ticket_id}", "/rollouts/{rollout_id}", "/rollouts", "/"):
        page = visits(Role.VIEWER).open(scene.fill(address))
        posts = page.locator("form[method=post]").evaluate_all(
            "forms => forms.map(form => new URL(form.action).pathname)"
        )
        assert set(posts) <= {"/theme", "/language", "/signout"}, address


def test_a_comment_and_a_file_come_to_the_ticket(visits: Visits, served: Served) -> None:
    told = {"origin": "phone", "terminal_id": OWN[3], "title": "The drawer is stuck"}
    ticket_id = served.collector.post("/api/v1/tickets", told)["ticket_id"]
    page = visits(Role.OPERATOR).open(f"/tickets/{ticket_id}")
    page.get_by_label("What is to be said").fill("The shop waits.\n<b>Soon.</b>")
    page.get_by_role("button", name="Add comment").click()
    expect(page.locator("main")).to_contain_text("<b>Soon.</b>")
    page.locator("input[type=file]").set_input_files(
        {"name": "note.txt", "mimeType": "text/plain", "buffer": b"a note of the shop"}
    )
    page.get_by_role("button", name="Add file").click()
    link = page.get_by_role("link", name="note.txt").first
    expect(link).to_be_visible()
    with page.expect_download() as downloading:
        link.click()
    assert downloading.value.path().read_bytes() == b"a note of the shop"


def test_what_cannot_be_kept_is_said_and_not_lost(visits: Visits, scene: Scene) -> None:
    visitor = visits(Role.OPERATOR)
    page = visitor.open(f"/tickets/{scene.ticket_id}")
    with visitor.expecting({422}):
        page.locator("input[type=file]").set_input_files(
            {"name": "page.html", "mimeType": "text/html", "buffer": b"<script>alert(1)</script>"}
        )
        page.get_by_role("button", name="Add file").click()
        expect(page.get_by_role("alert")).to_be_visible()


def test_language_and_theme_stay_as_they_were_chosen(visits: Visits) -> None:
    visitor = visits(Role.APPROVER)
    page = visitor.open("/tickets")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    assert visitor.path == "/tickets"
    with page.expect_response("**/theme"):
        page.get_by_label("外观").select_option("dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page = visitor.open("/")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_another_theme_leaves_what_is_half_typed(visits: Visits, scene: Scene) -> None:
    page = visits(Role.OPERATOR).open(f"/tickets/{scene.ticket_id}")
    page.locator("#comment").fill("half a sentence")
    with page.expect_response("**/theme"):
        page.locator("#theme").select_option("dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("#comment")).to_have_value("half a sentence")


def test_tickets_are_worked_by_keys(visits: Visits, scene: Scene) -> None:
    page = visits(Role.OPERATOR).open("/tickets")
    page.keyboard.press("/")
    expect(page.locator("main input[type=search]").first).to_be_focused()
    page.locator("h1").click()
    page.keyboard.press("j")
    expect(page.locator("main tbody tr a:focus")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/tickets/\d+$"))
    assert scene.ticket_id


def test_all_can_be_reached_by_the_tab_key_and_the_focus_is_seen(visits: Visits) -> None:
    page = visits(Role.VIEWER).open("/")
    page.keyboard.press("Tab")
    expect(page.locator("a.skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    width: str = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(width.removesuffix("px")) >= 2


def test_whoever_is_narrowed_sees_their_stores_and_no_other(visits: Visits, scene: Scene) -> None:
    within = Within(store_ids=frozenset({"harbour"}))
    visitor = visits(Role.OPERATOR, within=within)
    page = visitor.open("/")
    page.wait_for_load_state("networkidle")
    shown = page.locator("main").inner_text()
    assert "Harbour Road" in shown
    assert "Bund 18" not in shown
    visitor.open(f"/terminals/{scene.failing}", expect=404)
    visitor.open("/stores/bund", expect=404)
    visitor.open("/rollouts/new", expect=403)


def test_whoever_signs_out_elsewhere_is_asked_to_sign_in_where_they_read(visits: Visits) -> None:
    visitor = visits(Role.VIEWER, within=Within(store_ids=frozenset({"market"})))
    page = visitor.open("/tickets")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/signin"))
    page.go_back()
    expect(page).to_have_url(re.compile("/signin"))


def test_a_phone_has_everything_too(visits: Visits, scene: Scene) -> None:
    page = visits(Role.OPERATOR, Manner(width_px=PHONE_PX)).open(f"/terminals/{scene.failing}")
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Tickets")).to_be_visible()
    expect(page.get_by_role("button", name="Refresh")).to_be_visible()
