"""The console's cookies: their names, and how far each may go.

No script reads the session's, and no other site's page sends it. Over TLS it has the prefix by which a browser takes it
from nobody else: no other path, no sister domain, no clear text (RFC 6265bis, 4.1.3.2).
"""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, Final

from fastapi import Request, Response

from tillwatch_collector.config import WebConfig
from tillwatch_collector.domain.hours import zone_of

LANGUAGE: Final = "tillwatch_language"
THEME: Final = "tillwatch_theme"
ZONE: Final = "tillwatch_zone"
"""The browser's time zone; a script of ours writes it."""

THEMES: Final = ("auto", "light", "dark")

_SAID: Final = "tillwatch_said"
_SAID_KEPT_S = 60
"""The page that shows it comes at once."""
_CHOICE_KEPT_S = 365 * 86_400
_SESSION: Final = "tillwatch_session"


def session_name(settings: WebConfig) -> str:
    """Name the cookie of the session."""
    return f"__Host-{_SESSION}" if _over_tls(settings) else _SESSION


def session(request: Request, settings: WebConfig) -> str:
    """Return the session's secret that a browser sent; empty: none."""
    return request.cookies.get(session_name(settings), "")


def keep_session(answer: Response, settings: WebConfig, secret: str) -> None:
    """Give a browser its session: gone when it is closed, and sooner when the server says so."""
    answer.set_cookie(session_name(settings), secret, **_private(settings))


def forget_session(answer: Response, settings: WebConfig) -> None:
    """Take the session's cookie back."""
    answer.delete_cookie(session_name(settings), **_private(settings))


def keep_choice(answer: Response, settings: WebConfig, name: str, value: str) -> None:
    """Keep a browser's language or theme."""
    answer.set_cookie(
        name, value, max_age=_CHOICE_KEPT_S, httponly=True, samesite="lax", secure=_over_tls(settings), path="/"
    )


def say_once(answer: Response, settings: WebConfig, key: str) -> None:
    """Let the next page show these words."""
    answer.set_cookie(_SAID, key, max_age=_SAID_KEPT_S, **_private(settings))


def said(request: Request) -> str | None:
    """Return what is to be shown once."""
    return request.cookies.get(_SAID)


def forget_said(answer: Response) -> None:
    """Show it no more."""
    answer.delete_cookie(_SAID, path="/")


def theme(request: Request) -> str:
    """Return light, dark, or what the browser says."""
    kept = request.cookies.get(THEME, "")
    return kept if kept in THEMES else THEMES[0]


def zone(request: Request) -> tzinfo | None:
    """Return the browser's time zone, as far as it told one that there is."""
    try:
        return zone_of(request.cookies.get(ZONE, ""))
    except ValueError:
        return None


def _private(settings: WebConfig) -> Mapping[str, Any]:
    return {"httponly": True, "samesite": "strict", "secure": _over_tls(settings), "path": "/"}


def _over_tls(settings: WebConfig) -> bool:
    return settings.tls or settings.behind_proxy
