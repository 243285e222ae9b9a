"""What a database says when it does not do its work, in our errors and without what rows hold.

PostgreSQL repeats the row beside its message, under DETAIL and CONTEXT; such a message ends in a log, in quarantine or
in an answer. So only the first word of a fault is kept: what was violated, never with what. A change violates this when
the text of a foreign error goes on as it came.
"""

import psycopg
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from tillwatch_collector.errors import RowRefused, StoreUnavailable, StoreUnreachable

REFUSALS = (IntegrityError, DataError)
"""What a database raises because of what a row says."""

_SAID_CHARACTERS_MAX = 300
"""Enough for a message; an attempt to connect to many hosts tells of each."""


def refused(error: DBAPIError) -> RowRefused:
    """Say that the database refuses what a row says."""
    return RowRefused(f"the database refuses a row: {_said(error)}")


def unavailable(error: SQLAlchemyError) -> StoreUnavailable:
    """Say that the database does not answer, or gave the transaction up."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None:
        return StoreUnreachable(f"the database cannot be reached: {_said(error)}")
    return StoreUnavailable(f"the database does not do its work: {_said(error)}")


def _said(error: SQLAlchemyError) -> str:
    if not isinstance(error, DBAPIError) or error.orig is None:
        return str(error).splitlines()[0][:_SAID_CHARACTERS_MAX]
    diagnosis = getattr(error.orig, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error.orig) or type(error.orig).__name__
    return " ".join(_before_context(said).split())[:_SAID_CHARACTERS_MAX]


def _before_context(said: str) -> str:
    """Cut a message that came without its parts where they would begin."""
    return said.partition("\nDETAIL:")[0].partition("\nCONTEXT:")[0].partition("\nLINE ")[0]
