"""A person's visit to a page: who asks, what they may, what they see, and how a page answers.

Every route of the console takes its `Visit` from `visiting(permission)`, which lets nobody in who has no session, may
not do it, or, where something is changed, holds no token of a page that we gave them. What `reading` returns is
narrowed to what the person sees; what they do not see is not found. A whole page is never kept by the browser; a part
is kept and asked for again, and costs nothing while it is the same.

A change violates this when a route of the console answers without a visit and stands not in `doors.OPEN`, or when a
part holds a form's token, which differs each time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from markupsafe import Markup

from tillwatch_collector import people
from tillwatch_collector.api.context import Context, WebContext
from tillwatch_collector.console import cookies, csrf, rendering, texts
from tillwatch_collector.console.texts import Texts
from tillwatch_collector.desk import Author
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.domain.person import Person
from tillwatch_collector.people import Signed
from tillwatch_collector.store.queries import Queries

SAFE_METHODS = frozenset({"GET", "HEAD"})


class SignInNeeded(Exception):  # noqa: N818 - it names what is so
    """Nobody is signed in; the answer leads to where one does."""


class Forbidden(Exception):  # noqa: N818
    """Whoever is signed in may not do that, for want of `permission`."""

    def __init__(self, permission: Permission) -> None:
        super().__init__(permission)
        self.permission = permission


class FormStale(Exception):  # noqa: N818
    """What was sent comes from no page that we gave to this session."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One request of a person who is signed in."""

    context: WebContext
    request: Request
    signed: Signed
    words: Texts
    now: datetime
    csrf_key: bytes

    @property
    def person(self) -> Person:
        """Who it is."""
        return self.signed.person

    @property
    def author(self) -> Author:
        """Who acts, and when."""
        return Author(actor=self.person.actor, now=self.now)

    def may(self, permission: Permission) -> bool:
        """Whether this person is allowed something."""
        return self.person.may(permission)

    @contextmanager
    def reading(self) -> Iterator[Queries]:
        """Read what this person sees, in one transaction; not inside another one of the same thread."""
        with self.context.store.reading() as connection:
            yield Queries(connection, within=self.person.within)

    def page(self, template: str, **values: Any) -> Response:
        """Answer with a whole page."""
        return self._whole(template, HTTPStatus.OK, values)

    def refuse(self, template: str, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY, **values: Any) -> Response:
        """Answer with a form again, and what was wrong with it."""
        return self._whole(template, status, values)

    def part(self, template: str, **values: Any) -> Response:
        """Answer with a piece of a page, or say that it is the same as before."""
        return rendering.kept(self.request, self.words, rendering.render(template, self._named(values)))

    def back(self, path: str, *, said: str | None = None) -> Response:
        """Lead on after something was done; `said` is a key of the words, which the next page shows once."""
        answer = rendering.led_to(self.request, path)
        if said is not None:
            cookies.say_once(answer, self.context.settings, said)
        return answer

    def _whole(self, template: str, status: HTTPStatus, values: dict[str, Any]) -> Response:
        said = cookies.said(self.request)
        token = csrf.issue(self.csrf_key)
        named = self._named(values) | {
            "said": said if said in texts.KEYS else None,
            "csrf": token,
            "csrf_field": lambda: Markup('<input type="hidden" name="{}" value="{}">').format(csrf.FIELD, token),
        }
        answer = rendering.whole(self.request, self.words, rendering.render(template, named), status)
        if said is not None:
            cookies.forget_said(answer)
        return answer

    def _named(self, values: dict[str, Any]) -> dict[str, Any]:
        return rendering.named(self.request, self.words) | {
            "visit": self,
            "may": lambda permission: self.may(Permission(permission)),
            "now": self.now,
            **values,
        }


async def _form_token(request: Request) -> str:
    """Read the token that came with a request, from htmx's header or from the form's field."""
    if request.method in SAFE_METHODS:
        return ""
    sent = request.headers.get(csrf.HEADER)
    if sent is not None:
        return sent
    if not request.headers.get("content-type", "").startswith(_FORMS):
        return ""
    field = (await request.form()).get(csrf.FIELD)
    return field if isinstance(field, str) else ""


_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def visiting(permission: Permission) -> Any:
    """Return what a route depends on to be visited by those who may do this, and by nobody else."""

    def enter(context: Context, request: Request, token: Annotated[str, Depends(_form_token)]) -> Visit:
        visit = recognize(context, request)
        if visit is None:
            raise SignInNeeded
        request.state.visit = visit
        if request.method not in SAFE_METHODS and not csrf.holds(visit.csrf_key, token):
            raise FormStale
        if not visit.may(permission):
            raise Forbidden(permission)
        return visit

    _PERMISSIONS[enter] = permission
    return Depends(enter)


_PERMISSIONS: dict[Any, Permission] = {}


def permission_of(dependency: Any) -> Permission | None:
    """Return what a dependency asks for, if it is one of `visiting`."""
    return _PERMISSIONS.get(dependency)


def recognize(context: WebContext, request: Request) -> Visit | None:
    """Find who asks, by their session's cookie."""
    secret, now = cookies.session(request, context.settings), context.now()
    signed = people.find(context.store, secret, now)
    if signed is None:
        return None
    return Visit(
        context=context,
        request=request,
        signed=signed,
        words=rendering.words_of(request, signed.person.language),
        now=now,
        csrf_key=csrf.key_of(secret),
    )
