"""Which paths are the console's, and what each needs: a visit by permission, or a word in the table below.

Read from the routes themselves when the application is built, so that no list of paths can fall behind them.
A change violates this when a route of the console answers without a visit and without standing in `OPEN`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import compile_path

from tillwatch_collector.console.visit import permission_of
from tillwatch_collector.domain.permission import Permission

OPEN = frozenset(
    {
        ("GET", "/signin"),
        ("POST", "/signin"),
        ("GET", "/welcome/{key}"),
        ("POST", "/welcome/{key}"),
        ("POST", "/language"),
        ("POST", "/theme"),
        ("GET", "/static/{name}"),
    }
)
"""What whoever is not signed in needs to sign in, and how the page looks to them: method and path."""

Owns = Callable[[str], bool]
"""Whether a path is the console's, which looks after its own doors."""


class RouteUnguarded(AssertionError):  # noqa: N818 - our own mistake: nothing is served
    """A route would answer anybody."""


def permissions(routers: Iterable[APIRouter]) -> dict[tuple[str, str], Permission | None]:
    """Return what each route needs, None for the open ones; raises `RouteUnguarded`."""
    found: dict[tuple[str, str], Permission | None] = {}
    for route in (route for router in routers for route in router.routes if isinstance(route, APIRoute)):
        asked = _asked(route.dependant)
        for method in (route.methods or set()) - {"HEAD"}:
            if asked is None and (method, route.path) not in OPEN:
                raise RouteUnguarded(f"{method} {route.path}: expected visiting(...) among what it depends on")
            found[method, route.path] = asked
    return found


def owner(routers: Iterable[APIRouter]) -> Owns:
    """Return what knows the console's paths; raises `RouteUnguarded`."""
    patterns = sorted({_pattern(path) for _, path in permissions(routers)})
    whole = re.compile("|".join(patterns)) if patterns else None
    return lambda path: whole is not None and whole.match(path) is not None


def _asked(dependant: Dependant) -> Permission | None:
    """Return what a route asks for, itself or through what it depends on."""
    for inner in dependant.dependencies:
        asked = permission_of(inner.call) or _asked(inner)
        if asked is not None:
            return asked
    return None


def _pattern(path: str) -> str:
    """Write a route's path as an expression, without the names of its parts, which several have."""
    compiled: Any = compile_path(path)[0]
    return re.sub(r"\?P<\w+>", "?:", compiled.pattern)
