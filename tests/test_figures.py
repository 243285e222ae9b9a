"""Published figures: each experiment's are there, made by its command, and the README shows what the files say."""

import json

import pytest
from tests.bench.experiments import EXPERIMENTS
from tests.bench.figures import README, RESULTS, Door, table, with_table

DOORS: list[Door] = ["bench", "evidence"]


@pytest.mark.parametrize("door", DOORS)
def test_every_figure_is_published_with_all_that_a_reader_needs(door: Door) -> None:
    published = json.loads((RESULTS / f"{door}.json").read_text(encoding="utf-8"))
    measured_by = {figure.name: e for e in EXPERIMENTS if e.door == door for figure in e.figures}
    assert [row["name"] for row in published] == list(measured_by)
    for row in published:
        assert row.keys() == {"name", "value", "unit", "aim", "met", "seed", "command"}
        *options, make, said_door, only = row["command"].split()
        assert (make, said_door, only) == ("make", door, f"ONLY={row['name']}")
        assert {option.partition("=")[0] for option in options} <= set(measured_by[row["name"]].options)


@pytest.mark.parametrize("door", DOORS)
def test_the_readme_shows_the_published_figures(door: Door) -> None:
    says = {figure.name: figure.says for e in EXPERIMENTS if e.door == door for figure in e.figures}
    readme = README.read_text(encoding="utf-8")
    assert with_table(readme, door, table(door, says)) == readme, f"run `make {door}`"


def test_whoever_measures_less_says_so_in_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    (rollouts,) = (one for one in EXPERIMENTS if one.name == "world_rollouts")
    monkeypatch.setenv("ROLLOUTS_EACH", "1")
    row = rollouts.rows({figure.name: 0 for figure in rollouts.figures})[0]
    assert row["command"] == "ROLLOUTS_EACH=1 make evidence ONLY=world_rollouts"
    monkeypatch.delenv("ROLLOUTS_EACH")
    row = rollouts.rows({figure.name: 0 for figure in rollouts.figures})[0]
    assert row["command"] == "make evidence ONLY=world_rollouts"


def test_a_figure_says_itself_whether_it_meets_its_aim() -> None:
    rows = [
        row for experiment in EXPERIMENTS for row in experiment.rows({f.name: f.aim or 0 for f in experiment.figures})
    ]
    assert all(row["met"] for row in rows), "at its aim a figure is met"
    worse = {f.name: -1.0 if not f.at_most else (f.aim or 0) + 1 for e in EXPERIMENTS for f in e.figures}
    missed = [row["name"] for e in EXPERIMENTS for row in e.rows(worse) if not row["met"]]
    assert missed == [f.name for e in EXPERIMENTS for f in e.figures if f.aim is not None]
