"""Published figures: each experiment's are there, made by its command, and the README shows what the files say."""

import json

import pytest
from tests.bench.experiments import EXPERIMENTS
from tests.bench.figures import README, RESULTS, Door, table, with_table

DOORS: list[Door] = ["bench", "evidence"]


@pytest.mark.parametrize("door", DOORS)
def test_every_figure_is_published_with_all_that_a_reader_needs(door: Door) -> None:
    published = json.loads((RESULTS / f"{door}.json").read_text(encoding="utf-8"))
    expected = [figure.name for e in EXPERIMENTS if e.door == door for figure in e.figures]
    assert [row["name"] for row in published] == expected
    for row in published:
        assert row.keys() == {"name", "value", "unit", "aim", "met", "seed", "command"}
        assert row["command"] == f"make {door} ONLY={row['name']}"


@pytest.mark.parametrize("door", DOORS)
def test_the_readme_shows_the_published_figures(door: Door) -> None:
    says = {figure.name: figure.says for e in EXPERIMENTS if e.door == door for figure in e.figures}
    readme = README.read_text(encoding="utf-8")
    assert with_table(readme, door, table(door, says)) == readme, f"run `make {door}`"


def test_a_figure_says_itself_whether_it_meets_its_aim() -> None:
    rows = [
        row for experiment in EXPERIMENTS for row in experiment.rows({f.name: f.aim or 0 for f in experiment.figures})
    ]
    assert all(row["met"] for row in rows), "at its aim a figure is met"
    worse = {f.name: -1.0 if not f.at_most else (f.aim or 0) + 1 for e in EXPERIMENTS for f in e.figures}
    missed = [row["name"] for e in EXPERIMENTS for row in e.rows(worse) if not row["met"]]
    assert missed == [f.name for e in EXPERIMENTS for f in e.figures if f.aim is not None]
