"""An import of many terminals, in steps: the writer is free between them, and no acknowledgement waits for long.

An import that is broken off has done its first rows; done again, it finds them unchanged and goes on.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from tillwatch_collector.domain.inventory import ImportRow
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
    dry_run: bool = False,
    advanced: Callable[[int], None] = _unseen,
) -> tuple[RowReport, ...]:
    """Take the good rows and report on each; a dry run only reports. `advanced` is told how many rows each step did."""
    reports: list[RowReport] = []
    for start in range(0, len(rows), ROWS_PER_STEP):
        step = rows[start : start + ROWS_PER_STEP]
        reports += _planned(store, step) if dry_run else _carried_out(store, step, now)
        advanced(len(step))
    return tuple(reports)


def _planned(store: Store, rows: Sequence[ImportRow]) -> tuple[RowReport, ...]:
    with store.reading() as connection:
        return Inventory(connection).plan_import(rows).reports


def _carried_out(store: Store, rows: Sequence[ImportRow], now: datetime) -> tuple[RowReport, ...]:
    with store.transaction() as repository:
        inventory = Inventory(repository.connection)
        plan = inventory.plan_import(rows)
        # Marks first: who takes messages in holds them, too, before it writes a terminal that is new to it.
        repository.facts.mark([terminal.terminal_id for terminal in plan.updated])
        inventory.carry_out(plan, now)
    return plan.reports
