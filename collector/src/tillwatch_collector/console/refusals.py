"""What the console answers when something cannot be done: a page in the person's words, or one line for a script.

What is wrong is found out where the API finds it out, too (`api.problems`); here it is told to somebody who looks at a
page. The exact words of the mistake stand below, for whoever is asked for help.
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request, Response
from starlette.responses import PlainTextResponse

from tillwatch_collector.api.problems import answer
from tillwatch_collector.console import rendering
from tillwatch_collector.console.visit import SAFE_METHODS, Forbidden, FormStale, SignInNeeded, Visit

_TOLD = frozenset({403, 404, 409, 422, 500, 503})
"""What the words have sentences for; all else is told as 422, or, where we failed, as 500."""


def install(app: FastAPI) -> None:
    """Let the application answer visitors so; after `problems.install`."""
    for error, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(error, _for_visitors(handler))
    app.add_exception_handler(SignInNeeded, _sign_in)
    app.add_exception_handler(Forbidden, lambda request, _: _refused(request, HTTPStatus.FORBIDDEN, "403"))
    app.add_exception_handler(FormStale, lambda request, _: _refused(request, HTTPStatus.FORBIDDEN, "stale"))


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


def _sign_in(request: Request, _error: Exception) -> Response:
    """Lead to where one signs in, and from there back to the page that was asked for."""
    if request.headers.get("hx-request"):
        where = rendering.own_path(_path_of(request.headers.get("hx-current-url", "")))
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": f"/signin?next={quote(where)}"})
    where = rendering.address(request) if request.method in SAFE_METHODS else "/"
    if _came_by_a_link(request):
        return rendering.whole(request, rendering.words_of(request), rendering.render("frame/arrived.html", {}))
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": f"/signin?next={quote(where)}"})


def _came_by_a_link(request: Request) -> bool:
    """Whether another site's page, a mail or a chat, led here: the browser then keeps the session's cookie to itself.

    A page of ours that asks for the same address again gets it.
    """
    return request.method in SAFE_METHODS and request.headers.get("sec-fetch-site") == "cross-site"


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
