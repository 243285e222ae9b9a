"""What went wrong, as RFC 9457 has it: type, title, status, detail, and errors by field."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from tillwatch_collector.domain.rollout import RolloutRefused
from tillwatch_collector.errors import (
    CallerError,
    RowRefused,
    StoreUnavailable,
    StoreUnreachable,
    TicketRefused,
    TicketUnknown,
)
from tillwatch_collector.release_rules import ReleasesUnusable
from tillwatch_collector.store.inventory import UnknownReference
from tillwatch_collector.store.queries import SortUnknown
from tillwatch_collector.store.rollouts import RolloutUnknown

MEDIA_TYPE = "application/problem+json"

_DOCUMENT = "Problem"

SCHEMAS: dict[str, Any] = {
    "ProblemError": {
        "title": "ProblemError",
        "type": "object",
        "description": "Which part of a request is wrong, what was expected there, and what came.",
        "required": ["field", "expected", "got"],
        "properties": {name: {"type": "string"} for name in ("field", "expected", "got")},
    },
    _DOCUMENT: {
        "title": _DOCUMENT,
        "type": "object",
        "description": "What went wrong, as RFC 9457 has it.",
        "required": ["type", "title", "status", "detail", "errors"],
        "properties": {
            **{name: {"type": "string"} for name in ("type", "title", "detail")},
            "status": {"type": "integer"},
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/ProblemError"}},
        },
    },
}
"""The document, for the API's description."""

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{_DOCUMENT}"}}}

RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "it cannot be done as it was asked, and nothing changed", "content": _CONTENT},
    HTTPStatus.SERVICE_UNAVAILABLE.value: {
        "description": "the database does not answer: try again",
        "content": _CONTENT,
    },
}
"""What every route may answer beside what it is for."""

_GOT_CHARACTERS_MAX = 80
"""Of a wrong value in an answer: enough to find it."""

_ERRORS_MAX = 50
"""Of one answer: a body that is wrong throughout needs no complete list."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldError:
    """Which part of a request is wrong, what was expected there, and what came."""

    field: str
    expected: str
    got: str


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """Answers a request with what is wrong about it."""

    def __init__(self, status: HTTPStatus, detail: str, errors: Iterable[FieldError] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)


def missing(what: str, name: object) -> Problem:
    """Say that there is no such thing."""
    return Problem(HTTPStatus.NOT_FOUND, f"there is no {what} {name}")


def answer(
    status: HTTPStatus,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the response."""
    content: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    content["errors"] = [asdict(error) for error in errors[:_ERRORS_MAX]]
    return JSONResponse(content, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def unavailable(error: StoreUnavailable) -> JSONResponse:
    """Say the database's own reason, such as "database or disk is full", unless it tells where the database is."""
    said = "the database cannot be reached" if isinstance(error, StoreUnreachable) else str(error)
    return answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{said}; try again", headers={"Retry-After": "5"})


def install(app: FastAPI) -> None:
    """Let the application answer its errors so."""
    handlers: dict[type[Exception], Any] = {
        Problem: _problem,
        HTTPException: _http,
        RequestValidationError: _invalid_request,
        ValidationError: _invalid_result,
        UnknownReference: _unknown_reference,
        SortUnknown: _sort_unknown,
        TicketUnknown: _unknown,
        TicketRefused: _refused,
        RolloutUnknown: _unknown,
        RolloutRefused: _refused,
        ReleasesUnusable: _releases_unusable,
        CallerError: _caller_error,
        RowRefused: _row_refused,
        StoreUnavailable: lambda _request, error: unavailable(error),
        Exception: _unforeseen,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


def _problem(_request: Request, problem: Problem) -> JSONResponse:
    return answer(problem.status, problem.detail, problem.errors)


def _http(_request: Request, error: HTTPException) -> JSONResponse:
    return answer(HTTPStatus(error.status_code), str(error.detail), headers=error.headers)


def _invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    taken = _taken(request)
    if kind != taken and any(detail["loc"][0] == "body" for detail in error.errors()):
        came = repr(kind[:_GOT_CHARACTERS_MAX]) if kind else "no Content-Type"
        return answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected a body of {taken}, got {came}")
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "the request is not what is expected", _fields(error.errors()))


def _taken(request: Request) -> str:
    """Say in which media type a route takes its body."""
    body = getattr(request.scope.get("route"), "body_field", None)
    kind: str = getattr(getattr(body, "field_info", None), "media_type", "application/json")
    return kind


def _invalid_result(_request: Request, error: ValidationError) -> JSONResponse:
    """Answer a change whose result would not be valid."""
    details = error.errors(include_url=False, include_context=False)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "the change would make it invalid", _fields(details))


def _unknown_reference(_request: Request, error: UnknownReference) -> JSONResponse:
    fields = (FieldError(field=error.field, expected="a known one", got=error.got),)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), fields)


def _sort_unknown(_request: Request, error: SortUnknown) -> JSONResponse:
    fields = (FieldError(field="sort", expected=f"one of {', '.join(error.known)}", got=error.sort),)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), fields)


def _unknown(_request: Request, error: TicketUnknown | RolloutUnknown) -> JSONResponse:
    return answer(HTTPStatus.NOT_FOUND, str(error))


def _refused(_request: Request, error: TicketRefused | RolloutRefused) -> JSONResponse:
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))


def _releases_unusable(_request: Request, _error: ReleasesUnusable) -> JSONResponse:
    """Keep what is wrong with them for those who may read the collector's folders."""
    said = "the releases are not whole: `tillwatch-collector release verify` says why"
    return answer(HTTPStatus.SERVICE_UNAVAILABLE, said)


def _caller_error(_request: Request, error: CallerError) -> JSONResponse:
    return answer(HTTPStatus.CONFLICT, str(error))


def _row_refused(_request: Request, error: RowRefused) -> JSONResponse:
    """Answer a value that a database cannot hold, such as a NUL in the path to a terminal."""
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "this should not have happened; the collector's log says more")


def _fields(details: Sequence[Any]) -> list[FieldError]:
    return [
        FieldError(
            field=".".join(str(part) for part in detail["loc"]) or "body", expected=_expected(detail), got=_got(detail)
        )
        for detail in details
    ]


def _expected(detail: Mapping[str, Any]) -> str:
    fixed = {"missing": "a value", "extra_forbidden": "no such field"}
    said = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return fixed.get(detail["type"], said)


def _got(detail: Mapping[str, Any]) -> str:
    if detail["type"] == "missing":
        return "none"
    came = detail.get("input")
    return "null" if came is None else repr(came)[:_GOT_CHARACTERS_MAX]
