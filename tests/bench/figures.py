"""Published figures: each has a name, an aim, a seed and the command that makes it again.

An experiment measures one or more figures in one run. Results are merged into `tests/results/*.json`, so that one
experiment can be run alone, and the README's tables are made from those files.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parents[1] / "results"
README = Path(__file__).parents[2] / "README.md"

Progress = Callable[[int, int, str], None]
"""Done, of how many, what is being done."""

Door = Literal["bench", "evidence"]


class PartMissing(Exception):  # noqa: N818 - it names what is so
    """A part that an experiment needs is not on this machine; the message says how to install it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One published number; with an aim it is met when the value is at most (or at least) that, without it is shown."""

    name: str
    unit: str
    says: str
    aim: float | None
    at_most: bool = True

    def met(self, value: float) -> bool:
        if self.aim is None:
            return True
        return value <= self.aim if self.at_most else value >= self.aim


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """One run that gives the values of its figures."""

    name: str
    door: Door
    figures: tuple[Figure, ...]
    seed: int | None
    run: Callable[[Progress], dict[str, float]]
    options: tuple[str, ...] = ()
    """Environment variables by which it measures more or less: those that were set belong to the command."""

    def rows(self, values: dict[str, float]) -> list[dict[str, Any]]:
        told = "".join(f"{name}={os.environ[name]} " for name in self.options if name in os.environ)
        return [
            {
                "name": figure.name,
                "value": values[figure.name],
                "unit": figure.unit,
                "aim": figure.aim,
                "met": figure.met(values[figure.name]),
                "seed": self.seed,
                "command": f"{told}make {self.door} ONLY={figure.name}",
            }
            for figure in self.figures
        ]


def merge(door: Door, rows: Iterable[dict[str, Any]], order: list[str]) -> list[dict[str, Any]]:
    """Put new rows into the door's file, in the order of the experiments, and return all of them."""
    path = RESULTS / f"{door}.json"
    kept = {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    kept |= {row["name"]: row for row in rows}
    merged = [kept[name] for name in order if name in kept]
    path.write_text(json.dumps(merged, indent=2) + "\n")
    return merged


def table(door: Door, says: dict[str, str]) -> str:
    """The README's table of one door."""
    rows = json.loads((RESULTS / f"{door}.json").read_text())
    lines = ["| figure | value | aim | met | what it says |", "| --- | ---: | ---: | --- | --- |"]
    for row in rows:
        aim = "" if row["aim"] is None else f"{row['aim']:g}"
        met = "" if row["aim"] is None else ("yes" if row["met"] else "**no**")
        lines.append(f"| `{row['name']}` | {row['value']:g} {row['unit']} | {aim} | {met} | {says[row['name']]} |")
    return "\n".join(lines)


def with_table(readme: str, door: Door, text: str) -> str:
    """The README with the door's table in its place."""
    return with_part(readme, door, text)


def with_part(readme: str, name: str, text: str) -> str:
    """The README with a part of it, which stands between two comments, made anew."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = readme.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"
