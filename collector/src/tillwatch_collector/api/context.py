"""What the routes need of the collector, handed over once when the application is built."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from tillwatch_collector.config import WebConfig
from tillwatch_collector.desk import Desk
from tillwatch_collector.releases import Shelf
from tillwatch_collector.shared import Shared
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.session import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """What the process has counted since its start, beside what the database knows."""

    started_at: datetime
    heartbeats: int
    listening: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """What must work for the collector to do its work; each with whether it does."""

    checks: dict[str, bool] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether all do."""
        return all(self.checks.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class WebContext:
    """The collector, as the routes see it."""

    store: Store
    desk: Desk
    registry: CollectorRegistry
    settings: WebConfig
    now: Callable[[], datetime]
    readiness: Callable[[], Readiness]
    activity: Callable[[], Activity]
    releases: Shelf | None = None
    """None: this collector has no releases."""
    shared: Shared = field(default_factory=Shared, compare=False)
    """What open pages ask for together."""


def _context(request: Request) -> WebContext:
    context: WebContext = request.app.state.context
    return context


Context = Annotated[WebContext, Depends(_context)]


def _queries(context: Context, request: Request) -> Iterator[Queries]:
    with context.store.reading() as connection:
        yield Queries(connection, request.state.principal.within)


Reading = Annotated[Queries, Depends(_queries)]
"""Read models, as far as the token sees."""
