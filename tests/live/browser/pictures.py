"""The README's pictures, taken of the demonstration in a real browser: `make pictures`.

    python -m tests.live.browser.pictures collector/pictures

It plays the retailer's story, comes in by the link that the demonstration prints, waits until the release with the
hidden harm has been halted, and takes what a person then sees. A third rollout keeps the story going meanwhile. It
takes some ten minutes, as the nights of the story do.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page
from tests.live.browser.chromium import DESK_PX, Manner, Visitor, launched
from tests.live.stack import BIN

MORE: Final = """
[[release]]
product = "till"
version = "2.3"

[[rollout]]
version = "2.3"
select = "merchant=markt till<2.2"
reason = "what 2.2 was to bring"
"""
"""What comes after the halt: the demonstration ends when its last rollout does."""

HALTED: Final = "halted"
"""What the demonstration says of the rollout that the gate stopped."""

HEIGHT_PX, TALL_PX = 1000, 1500
"""Of a picture: what is further down is not shown. A terminal's page has its plots below."""
PASSWORD: Final = "a heron stands in the reeds"


@contextmanager
def demonstration() -> Iterator[tuple[str, Iterator[str]]]:
    """Play; lend the address of the link, and what is said after it."""
    with tempfile.TemporaryDirectory() as folder:
        story = Path(folder) / "pictures.toml"
        retailer = resources.files("tillwatch_simulator").joinpath("scenarios", "retailer.toml")
        story.write_text(retailer.read_text(encoding="utf-8") + MORE, encoding="utf-8")
        command = [str(BIN / "tillwatch-sim"), "demo", "--scenario", str(story)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as playing:
            assert playing.stdout
            try:
                said = iter(playing.stdout)
                link = next(found[0] for line in said if (found := re.search(r"http://\S+/welcome/\S+", line)))
                yield link, said
            finally:
                playing.terminate()


def come_in(visitor: Visitor, path: str) -> None:
    """Use the link."""
    page = visitor.open(path)
    page.get_by_label("Name", exact=True).fill("ann")
    page.get_by_label("Your full name").fill("Ann Archer")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password, once more").fill(PASSWORD)
    page.get_by_role("button", name="Set password and sign in").click()
    page.wait_for_url("**/")


def take_all(browser: Browser, url: str, visitor: Visitor, folder: Path) -> None:
    """Photograph each page as it stands."""
    page = visitor.open("/tickets?sort=-opened_at&q=no_response")
    ticket = str(page.locator("tbody a[href^='/tickets/']").first.get_attribute("href"))
    page = visitor.open(ticket)
    terminal = str(page.locator("main a[href^='/terminals/']").first.get_attribute("href"))
    store = str(page.locator("main a[href^='/stores/']").first.get_attribute("href"))
    page = visitor.open(f"/rollouts?state={HALTED}")
    rollout = str(page.locator("tbody a[href^='/rollouts/']").first.get_attribute("href"))
    for name, address in {
        "fleet": "/",
        "store": store,
        "terminal": terminal,
        "ticket": ticket,
        "rollout": rollout,
    }.items():
        page = visitor.open(address)
        if name == "terminal":
            page.get_by_role("link", name="Hour").or_(page.get_by_role("button", name="Hour")).click()
        take(page, folder / f"{name}.png", TALL_PX if name == "terminal" else HEIGHT_PX)
    for name, manner in {"fleet-dark": Manner(theme="dark"), "fleet-zh-CN": Manner(language="zh-CN")}.items():
        other = Visitor(browser, url, manner, visitor.state)
        take(other.open("/"), folder / f"{name}.png")
        other.close()


def take(page: Page, file: Path, height_px: int = HEIGHT_PX) -> None:
    page.wait_for_load_state("networkidle")
    page.set_viewport_size({"width": DESK_PX, "height": height_px})
    page.screenshot(path=file)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with launched() as browser, demonstration() as (link, said):
        url, _, key = link.partition("/welcome/")
        visitor = Visitor(browser, url)
        come_in(visitor, f"/welcome/{key}")
        for line in said:
            sys.stdout.write(line)
            sys.stdout.flush()
            if re.search(rf"\b{HALTED}\b", line):
                break
        take_all(browser, url, visitor, folder)
        visitor.close()


if __name__ == "__main__":
    main()
