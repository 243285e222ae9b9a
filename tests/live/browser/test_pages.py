"""Each page in a real browser: it loads, complains of nothing, reads in both languages, and is for everybody.

`chromium.Visitor` notes what must never happen: console errors, failed scripts, dialogs, requests to other hosts,
answers without the policy. Here is what must be so on top of that.
"""

import re

import pytest
from playwright.sync_api import Page, expect
from tests.live.browser.chromium import PHONE_PX, Manner
from tests.live.browser.conftest import Visits
from tests.live.browser.pages import FILES, FOR_NOBODY, PARTS, WHOLE, Scene

from tillwatch_collector import console
from tillwatch_collector.console import doors, texts
from tillwatch_collector.domain.permission import Role

LANGUAGES = ("en", "zh-CN")

EVERY = {route: (Role.ADMIN, address) for route, address in WHOLE.items()} | {
    route: (None, address) for route, address in FOR_NOBODY.items()
}


def test_every_page_is_opened_here() -> None:
    shown = {path for method, path in doors.permissions(console.ROUTERS) if method == "GET"}
    assert shown == set(EVERY) | set(PARTS) | FILES


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("route", EVERY)
def test_a_page_is_right(route: str, language: str, visits: Visits, scene: Scene) -> None:
    role, address = EVERY[route]
    page = visits(role, Manner(language=language)).open(scene.fill(address))
    page.wait_for_load_state("networkidle")
    assert page.locator("h1").count() == 1
    expect(page.locator("html")).to_have_attribute("lang", language)
    assert page.title().endswith("tillwatch")
    assert not re.search(r"\{\w*\}", page.locator("main").inner_text()), "a hole in a sentence"
    if language != texts.DEFAULT:
        assert left_in_english(page, language) == set()


@pytest.mark.parametrize("route", EVERY)
def test_a_page_is_for_everybody(route: str, visits: Visits, scene: Scene) -> None:
    """What axe finds serious or critical, by day, by night and on a phone, and a page that is wider than its window."""
    role, address = EVERY[route]
    visitor = visits(role, Manner(inspected=True))
    visitor.open(scene.fill(address)).wait_for_load_state("networkidle")
    found = {"light": visitor.violations()}
    visitor.turn(theme="dark")
    found["dark"] = visitor.violations()
    visitor.turn(theme="light", width_px=PHONE_PX)
    found["phone"] = visitor.violations()
    assert found == {"light": [], "dark": [], "phone": []}
    assert visitor.overflow_px() <= 0


@pytest.mark.parametrize("route", PARTS)
def test_a_part_is_the_same_until_something_changes(route: str, visits: Visits, scene: Scene) -> None:
    visitor = visits(Role.ADMIN)
    answer = visitor.page.request.get(scene.fill(PARTS[route]), headers={"HX-Request": "true"})
    assert answer.status == 200
    assert answer.headers["cache-control"] == "private, no-cache"
    assert 'name="csrf"' not in answer.text()
    assert not re.search(r"<(?:html|script|style)\b", answer.text())
    kept = {"HX-Request": "true", "If-None-Match": answer.headers["etag"]}
    again = visitor.page.request.get(scene.fill(PARTS[route]), headers=kept)
    assert again.status in {200, 304}  # 200: something has changed meanwhile, if only how long ago it was
    assert (again.text() == "") is (again.status == 304)


def left_in_english(page: Page, language: str) -> set[str]:
    """Return the sentences of the English catalogue that stand on a page in another language."""
    ours, theirs = texts.catalogue()["en"], texts.catalogue()[language]
    sentences = {
        words
        for key, words in ours.items()
        if isinstance(words, str) and len(words) > 3 and theirs[key] != words and key != "language"
    }
    shown = {line.strip() for line in page.locator("body").inner_text().splitlines()}
    return shown & sentences
