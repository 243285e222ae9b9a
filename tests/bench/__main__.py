"""`make bench` and `make evidence`: measure, show progress, write the results and the README's tables.

Exit 0 when every figure meets its aim, 1 when one does not, 2 when a part that an experiment needs is missing.
"""

import argparse
import logging
import sys
import time
from typing import Any

from tests.bench.experiments import EXPERIMENTS
from tests.bench.figures import README, Door, Experiment, PartMissing, merge, table, with_table

WHAT_CHARS_MAX = 48


def main() -> int:
    options = _options()
    logging.disable(logging.ERROR)  # what is provoked on purpose would drown the progress
    door: Door = options.door
    chosen = [
        experiment
        for experiment in EXPERIMENTS
        if experiment.door == door
        and (options.only is None or options.only in {experiment.name, *(figure.name for figure in experiment.figures)})
    ]
    if not chosen:
        names = sorted(figure.name for e in EXPERIMENTS if e.door == door for figure in e.figures)
        print(f"expected one of {', '.join(names)}; got {options.only}", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    for experiment in chosen:
        try:
            measured = _measure(experiment)
        except PartMissing as missing:
            print(missing, file=sys.stderr)
            return 2
        rows += measured
        publish(door, measured)
    return 0 if all(row["met"] for row in rows) else 1


def publish(door: Door, rows: list[dict[str, Any]]) -> None:
    figures = [figure for e in EXPERIMENTS if e.door == door for figure in e.figures]
    merge(door, rows, [figure.name for figure in figures])
    text = table(door, {figure.name: figure.says for figure in figures})
    README.write_text(with_table(README.read_text(encoding="utf-8"), door, text), encoding="utf-8")


def _measure(experiment: Experiment) -> list[dict[str, Any]]:
    print(f"{experiment.name}", file=sys.stderr)
    began = time.monotonic()
    rows = experiment.rows(experiment.run(_bar))
    print(f"\r{' ' * 78}\r  took {time.monotonic() - began:.0f} s", file=sys.stderr)
    for row in rows:
        aim = "" if row["aim"] is None else f"  (aim {row['aim']:g}: {'met' if row['met'] else 'NOT MET'})"
        print(f"  {row['name']:<32} {row['value']:>12g} {row['unit']}{aim}")
    return rows


def _bar(done: int, of: int, what: str) -> None:
    filled = 30 * done // max(of, 1)
    if len(what) > WHAT_CHARS_MAX:  # more than a step: somebody will want to read it
        print(f"\r{' ' * 78}\r  {what}", file=sys.stderr)
    print(
        f"\r  [{'#' * filled:<30}] {done}/{of} {what[:WHAT_CHARS_MAX]:<{WHAT_CHARS_MAX}}",
        end="",
        file=sys.stderr,
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("door", choices=["bench", "evidence"])
    parser.add_argument("--only", metavar="NAME", help="one figure or one experiment")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
