"""The pieces of every filter: what is None does not narrow, and text is sought as it is written."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, not_, or_


def equal(wanted: Mapping[ColumnElement[Any], object]) -> tuple[ColumnElement[bool], ...]:
    """Narrow to columns that have a value."""
    return tuple(column == value for column, value in wanted.items() if value is not None)


def being(wanted: Mapping[ColumnElement[bool], bool | None]) -> tuple[ColumnElement[bool], ...]:
    """Narrow to states that hold, or do not."""
    return tuple(state if value else not_(state) for state, value in wanted.items() if value is not None)


def containing(q: str | None, *columns: ColumnElement[Any]) -> tuple[ColumnElement[bool], ...]:
    """Seek a text in some columns, in capitals or not; its per cent signs are themselves."""
    return () if not q else (or_(*(column.icontains(q, autoescape=True) for column in columns)),)
