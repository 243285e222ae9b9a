"""The base of all tables: how constraints are named, and how a row's table is found."""

import sqlalchemy
from sqlalchemy import MetaData
from sqlmodel import SQLModel

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names, so that migrations can name what they change on both databases."""


class Table(SQLModel):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING)


def table_of(row: type[Table]) -> sqlalchemy.Table:
    """Return the table behind a row class, for statements over many rows."""
    return Table.metadata.tables[str(row.__tablename__)]
