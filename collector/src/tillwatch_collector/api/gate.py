"""Who may come in. Everything is closed unless the table below opens it; no route has to remember to ask.

In the order of the checks: the Host header must name this collector (another name on our address is a rebinding
attack), an unsafe request must come from our own pages (a page elsewhere must not act with a browser's credentials),
and whatever is neither public nor the console's needs a bearer token with the scope that its method asks for; then a
body must not be announced longer than it may be. The console looks after its own doors (`console.doors`); its cookie
opens nothing of the API, and no token opens the console. A person who looks for a page where none is gets no route's
answer either, but the console's page that says so, or the one where one signs in.

Every answer carries headers by which a browser runs our own script only, and loads nothing from elsewhere.
A change violates this when a new path answers without a token and stands neither in `PUBLIC` nor below
`PUBLIC_BELOW`, nor is the console's.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tillwatch_collector.api import problems
from tillwatch_collector.config import is_loopback
from tillwatch_collector.errors import StoreUnavailable
from tillwatch_collector.tokens import Principal
from tillwatch_collector.tokens import Scope as TokenScope

PUBLIC = frozenset({"/healthz"})
"""Liveness says nothing."""

PUBLIC_BELOW = ("/tuf/metadata/", "/tuf/targets/")
"""Releases: terminals have no token, what they fetch is signed and no secret, and a cache may stand in between."""

PROGRAMS = frozenset({"/metrics", "/readyz", "/healthz", "/openapi.json"})
PROGRAMS_BELOW = ("/api/", "/tuf/")
"""What only programs ask for: they are told as a program is, whatever they accept."""

ANSWERS_HEAD_BELOW = ("/tuf/",)
"""What knows HEAD itself, and so need not read a file of which only the size is asked."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_OWN_SITES = frozenset({"none", "same-origin"})
"""What Sec-Fetch-Site says of a request that our page made, or a person by hand."""

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # With no-referrer a browser would send `Origin: null` with our own forms (Fetch standard, 3.2.6).
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}

FindHolder = Callable[[str], Principal | None]
"""Who holds this secret, if anyone."""

IsConsole = Callable[[str], bool]
"""Whether a path is the console's."""

Check = Callable[[Scope, Headers], Awaitable[ASGIApp | None]]
"""Looks at a request; returns what answers it in our stead, or None to let it pass."""


def is_public(path: str) -> bool:
    """Whether a path, or a route's pattern of it, answers without a token."""
    return path in PUBLIC or path.startswith(PUBLIC_BELOW)


def seeks_page(method: str, path: str, headers: Headers) -> bool:
    """Whether a person's browser looks for a page, and no program for an answer."""
    is_programs = path in PROGRAMS or path.startswith(PROGRAMS_BELOW) or "authorization" in headers
    return method in {"GET", "HEAD"} and not is_programs and "text/html" in headers.get("accept", "")


def needed_scope(method: str, path: str) -> TokenScope | None:
    """Say what a request needs; None for what is public."""
    if is_public(path):
        return None
    return TokenScope.READ if method in SAFE_METHODS else TokenScope.WRITE


def host_name(authority: str) -> str:
    """Name the host of a Host header, without its port, in lower case."""
    return (urlsplit(f"//{authority}").hostname or "") if authority else ""


def same_origin(origin: str, authority: str) -> bool:
    """Whether an Origin names the host and port that the request was sent to."""
    parts = urlsplit(origin)
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == authority.lower()


class Gate:
    """The checks in front of an application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: frozenset[str],
        body_bytes_max: int,
        find_holder: FindHolder,
        is_console: IsConsole = lambda _path: False,
        astray: ASGIApp | None = None,
    ) -> None:
        """Take the checks' settings; `astray` answers a browser that looks for a page where none is."""
        self._app = app
        self._body_bytes_max = body_bytes_max
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._find_holder = find_holder
        self._is_console = is_console
        self._astray = astray
        self._checks: tuple[Check, ...] = (self._check_host, self._check_origin, self._check_token, self._check_length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, and pass on or answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        for check in self._checks:
            try:
                refusal = await check(scope, headers)
            except StoreUnavailable as error:
                refusal = problems.unavailable(error)
            if refusal is not None:
                await refusal(scope, receive, _with_headers(send))
                return
        if scope["method"] == "HEAD" and not scope["path"].startswith(ANSWERS_HEAD_BELOW):
            # Whoever only asks whether all is well is answered as GET would be (RFC 9110, 9.3.2); no route need say so.
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._app(scope, receive, _with_headers(send))

    async def _check_host(self, _scope: Scope, headers: Headers) -> ASGIApp | None:
        try:
            name = host_name(headers.get("host", ""))
        except ValueError:
            name = ""
        if name and (is_loopback(name) or name in self._allowed_hosts):
            return None
        return problems.answer(
            HTTPStatus.MISDIRECTED_REQUEST, f"expected a host of [web] allowed_hosts, got {name[:100]!r}"
        )

    async def _check_origin(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        """Refuse what a browser sends for another site's page; by either of the two headers in which it says so."""
        if scope["method"] in SAFE_METHODS:
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and not same_origin(origin, headers.get("host", "")):
            return problems.answer(HTTPStatus.FORBIDDEN, f"expected our own Origin, got {origin[:100]!r}")
        if site not in _OWN_SITES:
            return problems.answer(
                HTTPStatus.FORBIDDEN, f"expected a request of our own pages, got one of {site[:20]!r}"
            )
        return None

    async def _check_token(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        needed = needed_scope(scope["method"], scope["path"])
        if needed is None or self._is_console(scope["path"]):
            return None
        kind, _, secret = headers.get("authorization", "").partition(" ")
        holder = await run_in_threadpool(self._find_holder, secret.strip()) if kind.lower() == "bearer" else None
        if holder is None:
            if self._astray is not None and seeks_page(scope["method"], scope["path"], headers):
                return self._astray
            challenge = {"WWW-Authenticate": 'Bearer realm="tillwatch"'}
            said = "expected a valid token: Authorization: Bearer tw_..."
            return problems.answer(HTTPStatus.UNAUTHORIZED, said, headers=challenge)
        if not holder.may(needed):
            return problems.answer(
                HTTPStatus.FORBIDDEN, f"expected a token with scope {needed}, got one with {', '.join(holder.scopes)}"
            )
        scope.setdefault("state", {})["principal"] = holder
        return None

    async def _check_length(self, _scope: Scope, headers: Headers) -> ASGIApp | None:
        """Refuse by the announced length; what comes unannounced is counted by the application as it is read."""
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:20]) <= self._body_bytes_max:
            return None
        said = f"expected a body of at most {self._body_bytes_max} bytes, got {length[:20]}"
        return problems.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _without_body(send: Send) -> Send:
    async def sending(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sending
