"""Coming in and going: sign-in, sign-out, one-time links, and how the console looks: language, theme, its files.

A session begins with a new secret, whatever the browser brought along. What leads on after a sign-in is a path of this
console, whatever the address asked for.
"""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import BaseModel, Field

from tillwatch_collector import people
from tillwatch_collector.api.context import Context, WebContext
from tillwatch_collector.api.problems import missing
from tillwatch_collector.console import cookies, rendering, statics, texts
from tillwatch_collector.console.visit import Visit, recognize, visiting
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.people import Browser, Refusal, Refused, SignedIn

router = APIRouter(include_in_schema=False)

_TYPED_CHARS_MAX = 2_000
"""What a form holds: more is no name and no password."""

Typed = Annotated[str, Form(max_length=_TYPED_CHARS_MAX)]

Onward = Annotated[str, Form(alias="next", max_length=_TYPED_CHARS_MAX)]
"""Where somebody wanted to go."""


class Told(BaseModel):
    """What somebody says of themselves who comes by a one-time link."""

    login: str = Field(default="", max_length=_TYPED_CHARS_MAX)
    name: str = Field(default="", max_length=_TYPED_CHARS_MAX)
    password: str = Field(default="", max_length=_TYPED_CHARS_MAX)
    again: str = Field(default="", max_length=_TYPED_CHARS_MAX)


_STATIC_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


@router.get("/signin")
def ask(
    context: Context, request: Request, onward: Annotated[str, Query(alias="next")] = "/", unsent: str = ""
) -> Response:
    """Ask who it is; whoever is signed in goes on. `unsent`: a form was sent when the session was over."""
    if recognize(context, request) is not None:
        return rendering.led_to(request, rendering.own_path(onward))
    return _sign_in_page(request, HTTPStatus.OK, onward, unsent=bool(unsent))


@router.post("/signin")
def sign_in(
    context: Context, request: Request, login: Typed = "", password: Typed = "", onward: Onward = "/"
) -> Response:
    """Let somebody in, or say why not."""
    browser = _browser(request)
    came = people.sign_in(
        context.store,
        login=login,
        password=password,
        address=browser.address,
        user_agent=browser.user_agent,
        now=context.now(),
    )
    if isinstance(came, Refused):
        status = HTTPStatus.TOO_MANY_REQUESTS if came.reason is Refusal.WAIT else HTTPStatus.UNAUTHORIZED
        return _sign_in_page(request, status, onward, login=login, refused=came)
    return _in(context, request, came, onward)


@router.post("/signout")
def sign_out(visit: Annotated[Visit, visiting(Permission.SEE)]) -> Response:
    """End the session, and have the browser forget what it kept."""
    settings = visit.context.settings
    people.sign_out(visit.context.store, cookies.session(visit.request, settings), visit.now)
    answer = rendering.led_to(visit.request, "/signin")
    answer.headers["Clear-Site-Data"] = '"cache"'
    cookies.forget_session(answer, settings)
    return answer


@router.get("/welcome/{key}")
def welcome(context: Context, request: Request, key: str) -> Response:
    """Show what a one-time link is for, without using it."""
    return _welcome_page(context, request, key, Told())


@router.post("/welcome/{key}")
def come_in(context: Context, request: Request, key: str, told: Annotated[Told, Form()]) -> Response:
    """Use a one-time link, or say what is wrong with what was typed."""
    if told.password != told.again:
        return _welcome_page(context, request, key, told, wrong="password_differs")
    came = people.welcome(
        context.store,
        key=key,
        person_id=told.login,
        name=told.name,
        password=told.password,
        now=context.now(),
        browser=_browser(request),
    )
    if isinstance(came, Refused):
        return _welcome_page(context, request, key, told, wrong=f"welcome_{came.reason}")
    return _in(context, request, came, "/")


@router.post("/language")
def choose_language(context: Context, request: Request, language: Typed = "", onward: Onward = "/") -> Response:
    """Keep the language that a person, or a browser, chose."""
    answer = rendering.led_to(request, rendering.own_path(onward))
    if language not in texts.LANGUAGES:
        return answer
    cookies.keep_choice(answer, context.settings, cookies.LANGUAGE, language)
    visit = recognize(context, request)
    if visit is not None:
        people.choose_language(context.store, visit.person.person_id, language)
    return answer


@router.post("/theme")
def choose_theme(context: Context, request: Request, theme: Typed = "", onward: Onward = "/") -> Response:
    """Keep light, dark, or as the system has it."""
    answer = rendering.led_to(request, rendering.own_path(onward))
    if theme in cookies.THEMES:
        cookies.keep_choice(answer, context.settings, cookies.THEME, theme)
    return answer


@router.get("/static/{name}")
def static(request: Request, name: str) -> Response:
    """Hand out a file that never changes under its name."""
    found = statics.find(name)
    if found is None:
        raise missing("file", name)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(found.content, headers=_STATIC_HEADERS, media_type=found.media_type)
    headers = _STATIC_HEADERS | {"Content-Encoding": "gzip"}
    return Response(found.compressed, headers=headers, media_type=found.media_type)


def _in(context: WebContext, request: Request, came: SignedIn, onward: str) -> Response:
    answer = rendering.led_to(request, rendering.own_path(onward))
    cookies.keep_session(answer, context.settings, came.secret)
    return answer


def _browser(request: Request) -> Browser:
    return Browser(
        address=request.client.host if request.client else "", user_agent=request.headers.get("user-agent", "")
    )


def _sign_in_page(
    request: Request,
    status: HTTPStatus,
    onward: str,
    *,
    login: str = "",
    refused: Refused | None = None,
    unsent: bool = False,
) -> Response:
    words = rendering.words_of(request)
    values = {
        "onward": rendering.own_path(onward),
        "login": login,
        "refused": refused,
        "waits": Refusal.WAIT,
        "unsent": unsent,
    }
    return rendering.whole(
        request, words, rendering.render("frame/signin.html", rendering.named(request, words) | values), status
    )


def _welcome_page(context: WebContext, request: Request, key: str, told: Told, *, wrong: str | None = None) -> Response:
    words = rendering.words_of(request)
    invitation = people.invitation_of(context.store, key, context.now())
    values = {
        "invitation": invitation,
        "is_first": invitation is not None and invitation.made_by == people.FIRST_START,
        "action": f"/welcome/{quote(key, safe='')}",
        "wrong": wrong,
        "login": told.login,
        "name": told.name,
    }
    status = HTTPStatus.OK if wrong is None else HTTPStatus.UNPROCESSABLE_ENTITY
    return rendering.whole(
        request,
        words,
        rendering.render("frame/welcome.html", rendering.named(request, words) | values),
        HTTPStatus.NOT_FOUND if invitation is None else status,
    )
