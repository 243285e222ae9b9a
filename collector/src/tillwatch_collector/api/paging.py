"""How lists are asked for. An unknown parameter is refused: a filter that is not applied shows too much."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging


class PageQuery(BaseModel):
    """Parameters of every list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)] = 50
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    sort: str | None = None
    """A column, after a minus for the greatest first."""


def paging(asked: PageQuery) -> Paging:
    """Take the part that says which page."""
    return Paging(limit=asked.limit, offset=asked.offset, sort=asked.sort)
