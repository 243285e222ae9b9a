"""Parts of pages that many have open: read once, and written once, for all who see and read alike.

What is shared is the answer of the database to one question over one part of the fleet, and the piece of a page that is
written of it in one language. A change violates this when such a part shows anything that depends on who asks, beyond
what they see of the fleet, how they read, and what its key names.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from markupsafe import Markup

from tillwatch_collector.console import rendering
from tillwatch_collector.console.visit import Visit
from tillwatch_collector.store.queries import Queries

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Made(Generic[T]):
    """An answer that several share, and when it was worked out."""

    value: T
    at: datetime


def shared(visit: Visit, what: Hashable, read: Callable[[Queries], T]) -> Made[T]:
    """Return what everybody gets who asks for `what` and sees the same part of the fleet."""

    def make() -> Made[T]:
        with visit.reading() as queries:
            return Made(value=read(queries), at=visit.now)

    return visit.context.shared.get((what, visit.person.within), visit.now, make)


def written(visit: Visit, template: str, of: Hashable, at: datetime, values: Callable[[], dict[str, Any]]) -> Markup:
    """Return a part as its template, which escapes all that is put into it, writes it for all who read it alike."""

    def write() -> Markup:
        return Markup(rendering.render(template, {"t": visit.words, "now": at, **values()}))  # noqa: S704 - it escapes

    return visit.context.shared.get((template, visit.person.within, visit.words, of, at), visit.now, write)
