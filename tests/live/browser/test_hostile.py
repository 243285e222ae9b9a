"""Whatever a terminal says, and whatever people type, a page shows it and runs none of it."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page
from tests.live.browser import hostile
from tests.live.browser.conftest import Visits
from tests.live.browser.hostile import COMPONENT, EDGES, MARK, TEXTS, Attacker
from tests.live.browser.served import Served
from tests.live.stack import until

from tillwatch_collector.domain.permission import Role
from tillwatch_protocol.vocabulary import PAYLOAD_BYTES_MAX

TERMINAL = "hostile-1"
STORE = "hostile"


@pytest.fixture(scope="module")
def attacked(served: Served) -> Iterator[int]:
    """A terminal that says the worst in every field, in a store whose names are as bad; the number of its ticket."""
    collector = served.collector
    names = itertools.cycle(text for text in TEXTS if text.isprintable())
    collector.post("/api/v1/merchants", {"merchant_id": STORE, "name": next(names)[:64]})
    store: dict[str, Any] = {"store_id": STORE, "merchant_id": STORE, "time_zone": "UTC"}
    collector.post("/api/v1/stores", store | {key: next(names)[:64] for key in ("name", "region", "carrier")})
    terminal: dict[str, Any] = {"terminal_id": TERMINAL, "store_id": STORE}
    collector.post(
        "/api/v1/terminals", terminal | {key: next(names)[:64] for key in ("brand", "model", "serial_number")}
    )
    attacker = Attacker(collector, TERMINAL)
    try:
        attacker.tell(now())
        attacker.rave()
        numbers = itertools.count(1)

        def beaten() -> list[dict[str, Any]]:
            attacker.beat(next(numbers), now())
            return opened(served)

        until(beaten, "a ticket of the attacker's")
        report = {"origin": "phone", "store_id": STORE, "title": TEXTS[0], "description": "\n".join(TEXTS[:5])}
        ticket_id: int = collector.post("/api/v1/tickets", report | {"contact": TEXTS[1]})["ticket_id"]
        for text in (*TEXTS, *EDGES):
            collector.post(f"/api/v1/tickets/{ticket_id}/comments", {"text": text})
        yield ticket_id
    finally:
        attacker.close()


def now() -> str:
    return datetime.now(UTC).isoformat()


def opened(served: Served) -> list[dict[str, Any]]:
    return served.collector.tickets(subject_id=TERMINAL, open="true")


PAGES = [
    "/",
    "/?q=%3Cscript%3Ealert(1)%3C/script%3E",
    "/regions",
    f"/stores/{STORE}",
    f"/merchants/{STORE}",
    f"/terminals/{TERMINAL}",
    f"/terminals/{TERMINAL}/timeline",
    f"/terminals/{TERMINAL}/plots",
    "/tickets",
    "/tickets?q=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E",
    "/tickets/{ticket_id}",
    "/tickets/{report_id}",
    "/tickets/{report_id}/order",
    "/admin/quarantine",
    "/admin/inventory",
    "/admin/audit",
    f"/report?terminal_id={TERMINAL}&title=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
]


@pytest.mark.parametrize("address", PAGES)
def test_nothing_that_was_said_runs(address: str, attacked: int, visits: Visits, served: Served) -> None:
    ticket_id = opened(served)[0]["ticket_id"]
    page = visits(Role.ADMIN).open(address.format(ticket_id=ticket_id, report_id=attacked))
    page.wait_for_load_state("networkidle")
    page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
    for hovered in page.locator("main a:visible, main button:visible, main td:visible").all()[:20]:
        hovered.hover(force=True)
    assert page.evaluate(f"window.{MARK}") is None
    assert made_of_what_was_said(page) == 0


def made_of_what_was_said(page: Page) -> int:
    """Count the elements and attributes that only markup in a text could have made."""
    bad = (
        "img[src='x'], [onerror], [onload], [onfocus], [onmouseover], [style], script:not([src]), "
        "a[href^='javascript'], a[href^='http'], link[href^='http'], iframe, main [hx-get^='http'], "
        "main [hx-get='/signout']"
    )
    return page.locator(bad).count()


def test_what_was_said_is_shown_as_it_was_said(attacked: int, visits: Visits, served: Served) -> None:
    page = visits(Role.OPERATOR).open(f"/terminals/{TERMINAL}")
    page.wait_for_load_state("networkidle")
    shown = page.locator("main").inner_text()
    assert TEXTS[0] in shown
    assert COMPONENT.partition(":")[2] in shown
    report = visits(Role.OPERATOR).open(f"/tickets/{attacked}").locator("body").inner_text()
    for text in TEXTS[:5]:
        assert text in report
    assert served.collector.terminal(TERMINAL) is not None


def test_what_is_long_does_not_push_the_page_aside(attacked: int, visits: Visits) -> None:
    visitor = visits(Role.OPERATOR)
    for address in (f"/terminals/{TERMINAL}", f"/tickets/{attacked}", f"/stores/{STORE}", "/"):
        visitor.open(address).wait_for_load_state("networkidle")
        visitor.turn(width_px=360)
        assert visitor.overflow_px() <= 0, address


@pytest.mark.parametrize("path", ["/terminals.csv", "/tickets.csv"])
def test_no_cell_of_a_file_is_a_formula(path: str, attacked: int, visits: Visits) -> None:
    assert attacked
    answer = visits(Role.VIEWER).page.request.get(path)
    assert answer.status == 200
    assert "attachment" in answer.headers["content-disposition"]
    cells = [cell.strip('"') for line in answer.text().splitlines() for cell in line.split(",")]
    assert [cell for cell in cells if cell.startswith(("=", "+", "@", "\t"))] == []


def test_the_longest_payload_that_is_allowed_is_taken() -> None:
    assert len(hostile.heartbeat(TERMINAL, 1, "2026-11-22T10:00:00Z")) == PAYLOAD_BYTES_MAX
