"""An import of many terminals, in steps: the writer is free between them, and no acknowledgement waits for long.

An import that is broken off has done its first rows; done again, it finds them unchanged and goes on.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from tillwatch_collector.domain.inventory import ImportRow
from tillwatch_collector.flows.inventory import import_rows
from tillwatch_collector.store.inventory import Inventory, RowReport
from tillwatch_collector.store.session import Store

ROWS_PER_STEP = 1_000
"""Some tenths of a second of the writer's time."""


def _unseen(_rows: int) -> None:
    """Tell nobody."""


def import_terminals(
    store: Store,
    rows: Sequence[ImportRow],
    now: datetime,
    *,
    by: str,
    dry_run: bool = False,
    advanced: Callable[[int], None] = _unseen,
) -> tuple[RowReport, ...]:
    """Take the good rows and report on each; a dry run only reports. `advanced` is told how many rows each step did.

    `by` is who does it, for the audit log.
    """
    reports: list[RowReport] = []
    for start in range(0, len(rows), ROWS_PER_STEP):
        step = rows[start : start + ROWS_PER_STEP]
        reports += _planned(store, step) if dry_run else _carried_out(store, step, by, now)
        advanced(len(step))
    return tuple(reports)


def _planned(store: Store, rows: Sequence[ImportRow]) -> tuple[RowReport, ...]:
    with store.reading() as connection:
        return Inventory(connection).plan_import(rows).reports


def _carried_out(store: Store, rows: Sequence[ImportRow], by: str, now: datetime) -> tuple[RowReport, ...]:
    with store.transaction() as repository:
        return import_rows(repository, rows, actor=by, now=now)
