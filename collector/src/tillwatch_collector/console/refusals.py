"""What the console answers when something cannot be done: a page in the person's words, or one line for a script.

What is wrong is found out where the API finds it out, too (`api.problems`); here it is told to somebody who looks at a
page. The exact words of the mistake stand below, for whoever is asked for help.
"""

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tillwatch_collector.api.context import WebContext
from tillwatch_collector.api.gate import same_origin, seeks_page
from tillwatch_collector.api.problems import answer, unavailable
from tillwatch_collector.console import rendering
from tillwatch_collector.console.doors import Owns
from tillwatch_collector.console.visit import SAFE_METHODS, Forbidden, FormStale, SignInNeeded, Visit, recognize
from tillwatch_collector.domain.permission import EVERYWHERE, may
from tillwatch_collector.errors import StoreUnavailable

_TOLD = frozenset({403, 404, 405, 409, 422, 500, 503})
"""What the words have sentences for; all else is told as 422, or, where we failed, as 500."""


_BELOW_A_PAGE = re.compile(r"(/(?:tickets|rollouts|terminals)/[^/]+)/.+")
"""What a page's forms are sent to."""


def install(app: FastAPI, owns: Owns) -> None:
    """Let the application answer visitors so; after `problems.install`."""
    for error, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(error, _for_visitors(handler))
    app.add_exception_handler(HTTPException, _for_lookers(app.exception_handlers[HTTPException], owns))
    app.add_exception_handler(SignInNeeded, _sign_in)
    app.add_exception_handler(Forbidden, _forbidden)
    app.add_exception_handler(FormStale, lambda request, _: _refused(request, HTTPStatus.FORBIDDEN, "stale"))


def astray(context: WebContext) -> ASGIApp:
    """Return what tells a browser that there is no page at an address; nobody learns there what they may not see."""

    def told(request: Request) -> Response:
        try:
            visit = recognize(context, request)
        except StoreUnavailable as error:
            return unavailable(error)
        if visit is None:
            return _sign_in(request, SignInNeeded())
        request.state.visit = visit
        return _refused(request, HTTPStatus.NOT_FOUND, "404")

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        response = await run_in_threadpool(told, Request(scope, receive))
        await response(scope, receive, send)

    return answering


def _for_lookers(handler: Callable[..., Any], owns: Owns) -> Callable[..., Any]:
    """Answer as the handler does, but whoever looks with a browser at where only forms are sent: with the form's page.

    The address of what was sent stands in the browser's bar when it could not be done, and is asked for again there.
    """

    def answering(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        is_form = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and owns(path)
        if not is_form or not seeks_page(request.method, path, request.headers):
            answered: Response = handler(request, error)
            return answered
        visit = recognize(request.app.state.context, request)
        if visit is None:
            return _sign_in(request, SignInNeeded())
        if page := _BELOW_A_PAGE.fullmatch(path):
            return rendering.led_to(request, rendering.own_path(quote(page[1])))
        request.state.visit = visit
        return _refused(request, HTTPStatus.METHOD_NOT_ALLOWED, "405")

    return answering


def _for_visitors(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Answer as the handler does, but whoever visits with a page."""

    def answering(request: Request, error: Exception) -> Response:
        told: Response = handler(request, error)
        if not isinstance(getattr(request.state, "visit", None), Visit):
            return told
        status = HTTPStatus(told.status_code)
        detail = json.loads(bytes(told.body))
        words = "; ".join(f"{one['field']}: expected {one['expected']}, got {one['got']}" for one in detail["errors"])
        return _refused(request, status, _key(status), "; ".join(filter(None, (detail["detail"], words))))

    return answering


def _key(status: HTTPStatus) -> str:
    if status in _TOLD:
        return str(status.value)
    return "500" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "422"


def _refused(request: Request, status: HTTPStatus, key: str, detail: str = "") -> Response:
    visit: Visit | None = getattr(request.state, "visit", None)
    if visit is None:
        return answer(status, detail or status.phrase)
    if request.headers.get("hx-request"):
        said = (visit.words(f"refused_{key}"), visit.words(f"refused_{key}_says"), detail)
        return PlainTextResponse(" · ".join(filter(None, said)), status)
    return visit.refuse("frame/refused.html", status, key=key, detail=detail)


def _forbidden(request: Request, error: Any) -> Response:
    """Say whether it is for their role, or because they see only a part of the fleet."""
    is_narrowed = may(request.state.visit.person.role, EVERYWHERE, error.permission)
    return _refused(request, HTTPStatus.FORBIDDEN, "narrowed" if is_narrowed else "403")


def _sign_in(request: Request, _error: Exception) -> Response:
    """Lead to where one signs in, and from there back to the page that was asked for, or from which a form came.

    What was typed into a form stays unsent: the page where one signs in says so.
    """
    is_form = request.method not in SAFE_METHODS
    if request.headers.get("hx-request"):
        where = _signin(_path_of(request.headers.get("hx-current-url", "")), unsent=is_form)
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": where})
    if _came_by_a_link(request):
        return rendering.whole(request, rendering.words_of(request), rendering.render("frame/arrived.html", {}))
    where = _signin(_form_page(request) if is_form else rendering.address(request), unsent=is_form)
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": where})


def _signin(onward: str, *, unsent: bool) -> str:
    return f"/signin?next={quote(rendering.own_path(onward))}{'&unsent=yes' if unsent else ''}"


def _form_page(request: Request) -> str:
    """Return from which page of ours a form was sent, as its browser says; the start, where it does not."""
    referer = request.headers.get("referer", "")
    try:
        return _path_of(referer) if same_origin(referer, request.headers.get("host", "")) else "/"
    except ValueError:
        return "/"


def _came_by_a_link(request: Request) -> bool:
    """Whether another site's page, a mail or a chat, led here: the browser then keeps the session's cookie to itself.

    A page of ours that asks for the same address again gets it.
    """
    return request.method in SAFE_METHODS and request.headers.get("sec-fetch-site") == "cross-site"


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
