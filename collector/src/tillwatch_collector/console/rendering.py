"""Templates to answers: what every template knows, compression, and what a browser may keep.

What is shown is escaped by the templates, always; no value becomes markup. A change violates this when a template or a
route passes markup that was made of what a person or a terminal wrote. Characters that turn the direction of what
stands beside them are shown as marks (Unicode TR 36, 2.5), but for what comes back in a form as it was typed.
"""

import gzip
import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tillwatch_collector.console import cookies, statics, texts
from tillwatch_collector.console.texts import Texts

TEMPLATES = Path(__file__).parent / "templates"

_COMPRESSED_BYTES_MIN = 1_000
"""Less fits one packet as it is."""
_COMPRESSION = 5
"""Most of the gain at a third of what 9 costs."""
_ETAG_CHARACTERS = 22
_PATH_CHARACTERS_MAX = 2_000

_HEADERS = {"Vary": "Accept-Encoding, Accept-Language, Cookie, HX-Request"}

_TURNING = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""What has Unicode's property Bidi_Control."""
_MARKS = {code: f"⟦U+{code:04X}⟧" for code in _TURNING}


class AsTyped(str):
    """What stands in a form's field, to be sent as it is."""

    __slots__ = ()


def _shown(value: Any) -> Any:
    """Let nothing that somebody wrote turn the direction in which a page is read."""
    if not isinstance(value, str) or isinstance(value, AsTyped | Markup) or value.isascii():
        return value
    return value.translate(_MARKS)


def _as_typed(value: Any) -> Any:
    return AsTyped(value) if isinstance(value, str) and not isinstance(value, Markup) else value


templates = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
templates.globals["static"] = statics.path_of
templates.filters["as_typed"] = _as_typed


def words_of(request: Request, language: str | None = None) -> Texts:
    """Choose the words for a browser: as its person chose, as this one was set, as it prefers."""
    kept = request.cookies.get(cookies.LANGUAGE)
    chosen = texts.choose(language, kept, request.headers.get("accept-language"))
    zone = cookies.zone(request)
    return chosen if zone is None else Texts(language=chosen.language, zone=zone)


def named(request: Request, words: Texts) -> dict[str, Any]:
    """Return what every template knows."""
    return {
        "t": words,
        "languages": texts.LANGUAGES_NAMED,
        "theme": cookies.theme(request),
        "themes": cookies.THEMES,
        "path": request.url.path,
        "address": address(request),
    }


def render(template: str, values: dict[str, Any]) -> str:
    """Fill a template in."""
    return templates.get_template(template).render(values)


def whole(request: Request, words: Texts, html: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Answer with a page, which no browser keeps."""
    return _answer(request, words, html.encode(), status, {"Cache-Control": "no-store"})


def kept(request: Request, words: Texts, html: str) -> Response:
    """Answer with a part, which a browser keeps and asks for again; the same one is not sent twice."""
    content = html.encode()
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:_ETAG_CHARACTERS]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_HEADERS | headers)
    return _answer(request, words, content, HTTPStatus.OK, headers)


def led_to(request: Request, path: str) -> Response:
    """Lead a browser on, as it can be led: a script that asked follows a header, a form a redirect."""
    if request.headers.get("hx-request"):
        return Response(status_code=HTTPStatus.OK, headers={"HX-Redirect": path})
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": path})


def own_path(sought: str) -> str:
    """Return a path of this console that somebody asks to be led to, or the start: no address leads elsewhere."""
    parts = urlsplit(sought)
    is_ours = sought.startswith("/") and not sought.startswith("//") and not (parts.scheme or parts.netloc)
    is_plain = sought.isascii() and sought.isprintable() and not set(' \\"<>') & set(sought)
    return sought if is_ours and is_plain and len(sought) <= _PATH_CHARACTERS_MAX else "/"


def address(request: Request) -> str:
    """Return path and query: where a form that only changes how things look leads back to."""
    query = request.url.query
    return own_path(f"{request.url.path}?{query}" if query else request.url.path)


def _answer(request: Request, words: Texts, content: bytes, status: HTTPStatus, headers: dict[str, str]) -> Response:
    headers = _HEADERS | headers | {"Content-Language": words.language}
    if len(content) >= _COMPRESSED_BYTES_MIN and "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, _COMPRESSION, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(content, status, headers, media_type="text/html")
