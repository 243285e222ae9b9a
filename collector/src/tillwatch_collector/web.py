"""The web application: routes of API and console behind the gate."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from tillwatch_collector import console, tokens
from tillwatch_collector.api import (
    commands,
    fleet,
    history,
    inventory,
    maintenance,
    notifications,
    operations,
    outages,
    problems,
    releases,
    rollouts,
    tickets,
)
from tillwatch_collector.api.context import WebContext
from tillwatch_collector.api.gate import Gate, is_public
from tillwatch_collector.console import doors, refusals
from tillwatch_collector.store.inventory import Tokens
from tillwatch_collector.tokens import Principal

_PARTS = (
    operations,
    inventory,
    history,
    commands,
    tickets,
    outages,
    notifications,
    fleet,
    maintenance,
    releases,
    rollouts,
)


def create(context: WebContext, *, pages: bool = True) -> ASGIApp:
    """Build the application that a server runs; without `pages` it has the operators' routes alone.

    Raises `RouteUnguarded` where a route of the console would answer anybody.
    """
    hosts = frozenset({*context.settings.allowed_hosts, context.settings.host})
    return Gate(
        routes(context, pages=pages),
        allowed_hosts=hosts,
        body_bytes_max=context.settings.body_bytes_max,
        find_holder=lambda secret: find_holder(context, secret),
        is_console=doors.owner(console.ROUTERS if pages else ()),
        astray=refusals.astray(context) if pages else None,
    )


def routes(context: WebContext, *, pages: bool = True) -> FastAPI:
    """Build the routes alone, without the gate."""
    app = _Described(
        title="tillwatch collector",
        version=version("tillwatch-collector"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=context.settings.body_bytes_max,
        responses=problems.RESPONSES,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.context = context
    problems.install(app)
    for part in _PARTS if pages else (operations,):
        app.include_router(part.router)
    if pages:
        refusals.install(app, doors.owner(console.ROUTERS))
        for router in console.ROUTERS:
            app.include_router(router)
    return app


def find_holder(context: WebContext, secret: str) -> Principal | None:
    """Find who holds a token's secret, if anyone does now."""
    fingerprint = tokens.fingerprint(secret)
    if fingerprint is None:
        return None
    with context.store.reading() as connection:
        return Tokens(connection).holder(fingerprint, context.now())


class _Described(FastAPI):
    """Says in its description what the gate asks for, and how all routes answer what cannot be done."""

    def openapi(self) -> dict[str, Any]:
        """Describe the API, with the token that every path but the public ones needs."""
        described = super().openapi()
        components = described.setdefault("components", {})
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        components.setdefault("schemas", {}).update(problems.SCHEMAS)
        described["security"] = [{"token": []}]
        for path, operations_of in described["paths"].items():
            if is_public(path):
                for operation in operations_of.values():
                    operation["security"] = []
        return described
