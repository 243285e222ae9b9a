"""How lists are asked for. An unknown parameter is refused: a filter that is not applied shows too much."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from None


QueryMoment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its zone."""

QueryText = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""No control characters: nothing that is kept has any, and PostgreSQL takes no NUL."""

SortText = Annotated[QueryText, Field(min_length=1)]


class PageQuery(BaseModel):
    """Parameters of every list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)] = 50
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    sort: SortText | None = None
    """A column, after a minus for the greatest first."""


def paging(asked: PageQuery) -> Paging:
    """Take the part that says which page."""
    return Paging(limit=asked.limit, offset=asked.offset, sort=asked.sort)
