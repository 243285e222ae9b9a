"""Routes of the console: the status page, signing in and out, the style sheet.

A token becomes a cookie that no script reads and no other site sends. Only the console looks at it; the API takes
bearer tokens. Signing in is refused from another site's page: a browser must not be made to look through someone
else's eyes.
"""

from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tillwatch_collector import tokens
from tillwatch_collector.api.context import Context, WebContext
from tillwatch_collector.console import bar, texts
from tillwatch_collector.console.texts import Texts
from tillwatch_collector.store.inventory import Tokens
from tillwatch_collector.store.queries import Paging, Queries, TerminalFilter
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_collector.tokens import Scope

ROWS_MAX = 25
"""Rows of each table: what a person reads at a glance; the API has all."""

REFRESH_S = 10

TOKEN_COOKIE = "tillwatch_token"  # noqa: S105 - a cookie's name
LANGUAGE_COOKIE = "tillwatch_language"
_LANGUAGE_KEPT_S = 365 * 86_400
_TOKEN_KEPT_S = 12 * 3600
"""A working day; then the person shows the token again."""

_here = Path(__file__).parent
_templates = Environment(
    loader=FileSystemLoader(_here / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

router = APIRouter(include_in_schema=False)


@router.get("/")
def status(context: Context, request: Request) -> Response:
    """Show the fleet; with `?token=` keep the token and show the page without it in the address."""
    asked = request.query_params
    words = _words(request)
    if "token" in asked:
        return _sign_in(context, request, words, asked["token"])
    if asked.get("lang") in texts.LANGUAGES:
        return _keep_language(context, words, paused="paused" in asked)
    if not _may_read(context, request.cookies.get(TOKEN_COOKIE, "")):
        return _sign_in_page(words, wrong=False)
    return _page("status.html", words, **_status(context, words, paused="paused" in asked))


@router.post("/signin")
def sign_in(context: Context, request: Request, token: Annotated[str, Form()] = "") -> Response:
    """Take a token from the form."""
    return _sign_in(context, request, _words(request), token)


@router.post("/signout")
def sign_out() -> Response:
    """Forget the token."""
    response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    response.delete_cookie(TOKEN_COOKIE)
    return response


@router.get("/console.css")
def style() -> Response:
    """Hand out the style sheet."""
    return FileResponse(_here / "console.css", media_type="text/css", headers={"Cache-Control": "max-age=300"})


def _sign_in(context: WebContext, request: Request, words: Texts, token: str) -> Response:
    if _from_elsewhere(request) or not _may_read(context, token.strip()):
        return _sign_in_page(words, wrong=True)
    response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    response.set_cookie(
        TOKEN_COOKIE,
        token.strip(),
        max_age=_TOKEN_KEPT_S,
        httponly=True,
        samesite="strict",
        secure=_over_tls(context),
    )
    return response


def _from_elsewhere(request: Request) -> bool:
    """Whether another site's page sent the browser here: every current browser says so itself."""
    return request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}


def _may_read(context: WebContext, secret: str) -> bool:
    fingerprint = tokens.fingerprint(secret)
    if fingerprint is None:
        return False
    with context.store.reading() as connection:
        holder = Tokens(connection).holder(fingerprint, context.now())
    return holder is not None and holder.may(Scope.READ)


def _keep_language(context: WebContext, words: Texts, *, paused: bool) -> Response:
    response = RedirectResponse("/?paused=1" if paused else "/", HTTPStatus.SEE_OTHER)
    response.set_cookie(
        LANGUAGE_COOKIE,
        words.language,
        max_age=_LANGUAGE_KEPT_S,
        httponly=True,
        samesite="lax",
        secure=_over_tls(context),
    )
    return response


def _over_tls(context: WebContext) -> bool:
    return context.settings.tls or context.settings.behind_proxy


def _words(request: Request) -> Texts:
    return texts.choose(
        request.query_params.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("accept-language"),
    )


def _sign_in_page(words: Texts, *, wrong: bool) -> Response:
    return _page("signin.html", words, HTTPStatus.UNAUTHORIZED, wrong=wrong)


def _status(context: WebContext, words: Texts, *, paused: bool) -> dict[str, Any]:
    now = context.now()
    with context.store.reading() as connection:
        queries = Queries(connection)
        fleet = queries.fleet()
        tickets = queries.tickets(TicketFilter(open=True, resolved=False), Paging(limit=ROWS_MAX, sort="-opened_at"))
        silent = queries.terminals(TerminalFilter(presence="silent"), Paging(limit=ROWS_MAX, sort="heard_at"))
    segments = bar.segments(fleet.terminals_by_presence)
    return {
        "fleet": fleet,
        "activity": context.activity(),
        "tickets": tickets,
        "silent": silent,
        "segments": segments,
        "summary": ", ".join(f"{words.word('presences', part.presence)} {part.count}" for part in segments),
        "bar_width": bar.WIDTH,
        "now": now,
        "paused": paused,
        "refresh_s": REFRESH_S,
    }


def _page(template: str, words: Texts, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> Response:
    html = _templates.get_template(template).render(
        t=words, languages=[Texts(language=language) for language in texts.LANGUAGES], clock=_clock, **values
    )
    return HTMLResponse(html, status, headers={"Content-Language": words.language, "Vary": "Accept-Language, Cookie"})


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
