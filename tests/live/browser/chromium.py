"""Chromium, and what our pages must never do in it.

A `Visitor` is one person's browser: a context of its own, with its cookies, language, theme and width. It notes each
error in the console, each script that failed, each JavaScript dialog, each request to another host, each refusal that
no test expected, and each answer without the headers that a browser needs to be careful. `complaints` must be empty at
the end of every test.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Response, WebError, sync_playwright
from tests import parts

ARGUMENTS: Final = (
    "--no-sandbox",  # a container's root has no other; what is opened is ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",  # a container's may be small
)

POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
"""What every page must tell the browser."""

PHONE_PX: Final = 360
DESK_PX: Final = 1280
HEIGHT_PX: Final = 800
WAIT_MS: Final = 30_000
"""For anything that a page does: far more than it takes, on a machine that does much else."""

Theme = Literal["light", "dark"]

GRAVE: Final = frozenset({"serious", "critical"})


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a browser; raises `PartMissing`."""
    program = parts.chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How somebody looks at pages."""

    language: str = "en"
    theme: Theme = "light"
    width_px: int = DESK_PX
    inspected: bool = False
    """By axe: its script comes from us, so this browser alone does without our content security policy."""


MANNER: Final = Manner()


class Visitor:
    """One browser with its own cookies; `page` is its one tab."""

    def __init__(self, browser: Browser, base_url: str, manner: Manner = MANNER, state: Any = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._context = browser.new_context(
            base_url=base_url,
            locale=manner.language,
            color_scheme=manner.theme,
            viewport={"width": manner.width_px, "height": HEIGHT_PX},
            bypass_csp=manner.inspected,
            storage_state=state,
            reduced_motion="reduce",
        )
        self._context.set_default_timeout(WAIT_MS)
        self._inspected = manner.inspected
        self._expected: frozenset[int] = frozenset()
        self._complaints: list[str] = []
        self.answers: list[tuple[str, str, int]] = []
        """Method, path with query, status, in the order in which they came."""
        for event, note in (
            ("console", self._note_console),
            ("weberror", self._note_failure),
            ("dialog", self._note_dialog),
            ("request", self._note_request),
            ("response", self._note_answer),
        ):
            self._context.on(event, note)  # type: ignore[call-overload]  # one overload for each literal
        self.page: Page = self._context.new_page()

    def close(self) -> None:
        self._context.close()

    @property
    def state(self) -> Any:
        """Its cookies, for another browser of the same person."""
        return self._context.storage_state()

    @property
    def cookies(self) -> dict[str, dict[str, Any]]:
        return {str(cookie["name"]): dict(cookie) for cookie in self._context.cookies()}

    def set_cookie(self, name: str, value: str) -> None:
        self._context.add_cookies([{"name": name, "value": value, "url": self.base_url}])

    def open(self, path: str, *, expect: int = 200) -> Page:
        """Go to a page and wait until it is there; it must answer with this status."""
        with self.expecting({expect}):
            answer = self.page.goto(path)
        assert answer is not None, f"{path}: no answer"
        assert answer.status == expect, f"{path}: {answer.status} {self.page.title()}"
        return self.page

    @property
    def path(self) -> str:
        """Where it is."""
        return urlsplit(self.page.url).path

    @contextmanager
    def expecting(self, statuses: Collection[int]) -> Iterator[None]:
        """Let answers have these statuses without a complaint."""
        self._expected |= frozenset(statuses)
        yield
        self._flush()
        self._expected = frozenset()

    @property
    def complaints(self) -> list[str]:
        self._flush()
        return self._complaints

    def _flush(self) -> None:
        """Let what the browser has said be noted."""
        if not self.page.is_closed():
            self.page.title()

    # --- what is noted

    def _note_console(self, message: ConsoleMessage) -> None:
        said_of_status = message.text.startswith("Failed to load resource") and self._expected
        if message.type in {"error", "warning"} and not said_of_status:
            self._complain(f"the console says: {message.text}")

    def _note_failure(self, error: WebError) -> None:
        self._complain(f"a script failed: {error.error}")

    def _note_dialog(self, dialog: Dialog) -> None:
        self._complain(f"a dialog was opened: {dialog.type} {dialog.message!r}")
        dialog.dismiss()

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith(f"{self.base_url}/"):
            self._complain(f"a request went elsewhere: {request.url[:300]}")

    def _note_answer(self, response: Response) -> None:
        path = response.url.removeprefix(self.base_url)
        self.answers.append((response.request.method, path, response.status))
        if response.status >= 400 and response.status not in self._expected:
            self._complain(f"{response.request.method} {path} was answered with {response.status}")
        said = response.headers.get("content-security-policy", "")
        policy = dict(part.strip().partition(" ")[::2] for part in said.split(";"))
        if policy != POLICY:
            self._complain(f"{path}: expected the policy of every page, got {said!r}")
        if response.headers.get("x-content-type-options") != "nosniff":
            self._complain(f"{path}: expected nosniff")

    def _complain(self, what: str) -> None:
        self._complaints.append(f"{urlsplit(self.page.url).path if hasattr(self, 'page') else ''}: {what}")

    # --- what axe finds

    def violations(self) -> list[str]:
        """Say what axe finds serious or critical on the page as it stands."""
        assert self._inspected, "axe needs a visitor that is inspected"
        self.page.evaluate(AXE_SCRIPT)
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{self.path}: {one['id']} ({one['impact']}): {one['help']}: "
            + "; ".join(_place(node) for node in one["nodes"][:5])
            for one in found["violations"]
            if one["impact"] in GRAVE
        ]

    def turn(self, *, theme: Theme | None = None, width_px: int | None = None) -> None:
        """Change how the page as it stands is looked at."""
        if theme is not None:
            self.page.emulate_media(color_scheme=theme)
        if width_px is not None:
            self.page.set_viewport_size({"width": width_px, "height": HEIGHT_PX})

    def overflow_px(self) -> int:
        """By how much the page is wider than the window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wider


def _place(node: dict[str, Any]) -> str:
    why = [one["message"] for kind in ("any", "all", "none") for one in node[kind]]
    return f"{node['html'][:150]} ({'; '.join(why)[:300]})"
