"""How statements over many rows are built, on SQLite and on PostgreSQL alike.

Building a statement costs more than running it on a few rows, so those of every batch and every tick are built once.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Connection, String, Table, any_, bindparam, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

T = TypeVar("T")

VARIABLES_MAX = 10_000
"""Values in one statement: SQLite takes 32,766 (since 3.32), PostgreSQL 65,535."""

THESE: BindParameter[Any] = bindparam("these", expanding=True)
"""What stands in the `IN` of a statement that is built once."""


class Among(FunctionElement[bool]):
    """A column of text being one of `these`.

    PostgreSQL takes them as one array, for a quarter of what two thousand parameters cost; SQLite has no arrays.
    """

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)


@compiles(Among)
def _as_list(among: Among, compiler: SQLCompiler, **context: Any) -> str:
    (column,) = among.clauses
    return compiler.process(column.in_(THESE), **context)


@compiles(Among, "postgresql")
def _as_array(among: Among, compiler: SQLCompiler, **context: Any) -> str:
    (column,) = among.clauses
    array = bindparam("these", type_=postgresql.ARRAY(String()))  # of any width: a cast to a narrow one cuts
    return compiler.process(column == any_(array), **context)


def chunked(values: Collection[T], columns: int = 1) -> Iterator[Sequence[T]]:
    """Cut what goes into one `IN` into pieces that a database takes; `columns` is the width of each value."""
    rest = iter(values)
    while some := list(islice(rest, VARIABLES_MAX // columns)):
        yield some


def these(values: Collection[T], columns: int = 1) -> Iterator[dict[str, Sequence[T]]]:
    """Cut values into the parameters of a statement with `THESE`."""
    return ({"these": some} for some in chunked(values, columns))


def insert(connection: Connection, table: Table) -> Any:
    """Return an insert that knows `on_conflict_...`; both dialects spell it alike, and share no type."""
    return _insert(connection.dialect.name, table)


def upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or give the ones that are there the new values; all rows name the same columns."""
    if rows:
        connection.execute(_upsert(connection.dialect.name, table, tuple(rows[0])), list(rows))


def insert_missing(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows that are not there."""
    if rows:
        connection.execute(insert(connection, table).on_conflict_do_nothing(), list(rows))


def update_each(connection: Connection, table: Table, keys: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Give rows that are there new values; `keys` name the columns that say which row."""
    if rows:
        renamed = [{f"of_{name}" if name in keys else name: value for name, value in row.items()} for row in rows]
        connection.execute(_update_each(table, tuple(keys), tuple(rows[0])), renamed)


def _insert(dialect: str, table: Table) -> Any:
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)


@cache
def _upsert(dialect: str, table: Table, names: tuple[str, ...]) -> Any:
    statement = _insert(dialect, table)
    keys = {column.name for column in table.primary_key}
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=sorted(keys), set_=changed)


@cache
def _update_each(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> Any:
    values: dict[str, Any] = {name: bindparam(name) for name in names if name not in keys}
    return update(table).where(*(table.c[key] == bindparam(f"of_{key}") for key in keys)).values(values)
