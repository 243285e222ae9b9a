"""How commands answer: tables for people, JSON for scripts, errors on standard error."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

CELL_CHARACTERS_MAX = 48
"""A wider cell breaks the table on an ordinary terminal."""


def say(text: str) -> None:
    """Write a line to standard output."""
    typer.echo(text)


def warn(text: str) -> None:
    """Write a line to standard error."""
    typer.echo(text, err=True)


def say_json(value: Any) -> None:
    """Write one JSON document."""
    say(json.dumps(to_jsonable_python(value), ensure_ascii=False, indent=2))


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under their columns; says so when there are none."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        warn("(none)")
        return
    widths = [max(len(column), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)]
    for row in ([column.upper() for column in columns], *cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def say_models(columns: Sequence[str], models: Sequence[BaseModel], *, as_json: bool, total: int | None = None) -> None:
    """Write models as a table of some of their fields, or all of them as JSON; says when there are more."""
    if as_json:
        say_json(list(models))
        return
    say_table(columns, ([getattr(model, column) for column in columns] for model in models))
    if total is not None and total > len(models):
        warn(f"({total - len(models)} more: see --limit)")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = value.strftime("%Y-%m-%d %H:%M:%S") if hasattr(value, "strftime") and hasattr(value, "hour") else str(value)
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= CELL_CHARACTERS_MAX else text[: CELL_CHARACTERS_MAX - 1] + "…"
