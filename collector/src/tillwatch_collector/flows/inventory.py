"""What people do with the inventory: describe merchants, stores and terminals, each with its line in the audit log.

Terminals whose calendar or place is another one are marked for judge. Whoever sees a part of the fleet only describes
what stands in it, and puts nothing out of it: what they do not see is not known to them (`UnknownReference`).

A change violates this when the inventory is written elsewhere, and so by nobody.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from tillwatch_collector.domain.inventory import ImportOutcome, ImportRow, Merchant, Store, Terminal
from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.store.inventory import Inventory, Put, RowReport, UnknownReference
from tillwatch_collector.store.repository import Repository


def put_merchant(
    repository: Repository, merchant: Merchant, *, actor: str, now: datetime, within: Within = EVERYWHERE
) -> Put:
    """Describe a merchant, new or known."""
    inventory = Inventory(repository.connection)
    if not (within.everywhere or merchant.merchant_id in within.merchant_ids):
        raise UnknownReference("merchant_id", merchant.merchant_id)
    before = inventory.merchant(merchant.merchant_id)
    put = inventory.put_merchant(merchant, now)
    _record(repository, f"merchant:{merchant.merchant_id}", before, merchant, actor=actor, now=now)
    return put


def put_store(repository: Repository, store: Store, *, actor: str, now: datetime, within: Within = EVERYWHERE) -> Put:
    """Describe a store; raises `UnknownReference` for its merchant."""
    inventory = Inventory(repository.connection)
    # Marks first: who judges holds them before the tickets whose due times the store's calendar makes others.
    repository.facts.mark(inventory.terminals_of(store.store_id))
    before = inventory.store(store.store_id)
    if not all(_sees(within, one) for one in (before or store, store)):
        raise UnknownReference("store_id", store.store_id)
    put = inventory.put_store(store, now)
    _record(repository, f"store:{store.store_id}", before, store, actor=actor, now=now)
    return put


def put_terminal(
    repository: Repository, terminal: Terminal, *, actor: str, now: datetime, within: Within = EVERYWHERE
) -> Put:
    """Describe a terminal; raises `UnknownReference` for its store."""
    inventory = Inventory(repository.connection)
    before = inventory.terminal(terminal.terminal_id)
    if not within.everywhere:
        _expect_seen(inventory, within, "terminal_id", terminal.terminal_id, (before or terminal).store_id)
        _expect_seen(inventory, within, "store_id", terminal.store_id or "", terminal.store_id)
    put = inventory.put_terminal(terminal, now)
    repository.facts.mark((terminal.terminal_id,))
    _record(repository, f"terminal:{terminal.terminal_id}", before, terminal, actor=actor, now=now)
    return put


def import_rows(
    repository: Repository, rows: Sequence[ImportRow], *, actor: str, now: datetime
) -> tuple[RowReport, ...]:
    """Take the good rows of a file, or of a part of it, and report on each."""
    inventory = Inventory(repository.connection)
    plan = inventory.plan_import(rows)
    # Marks first: who takes messages in holds them, too, before it writes a terminal that is new to it.
    repository.facts.mark([terminal.terminal_id for terminal in plan.updated])
    inventory.carry_out(plan, now)
    changed = [terminal.terminal_id for terminal in (*plan.created, *plan.updated)]
    if changed:
        outcomes = [report.outcome for report in plan.reports]
        detail: dict[str, Any] = {str(outcome): outcomes.count(outcome) for outcome in ImportOutcome}
        detail["first"], detail["last"] = changed[0], changed[-1]
        repository.audit.record(now, actor=actor, action="terminals_imported", subject="inventory", detail=detail)
    return plan.reports


def _expect_seen(inventory: Inventory, within: Within, field: str, got: str, store_id: str | None) -> None:
    store = inventory.store(store_id) if store_id is not None else None
    if store is None or not _sees(within, store):
        raise UnknownReference(field, got)


def _sees(within: Within, store: Store) -> bool:
    return within.everywhere or store.store_id in within.store_ids or store.merchant_id in within.merchant_ids


def _record(
    repository: Repository, subject: str, before: BaseModel | None, after: BaseModel, *, actor: str, now: datetime
) -> None:
    """Write down what became different; nothing where nothing did."""
    if before == after:
        return
    new = after.model_dump(mode="json")
    old = before.model_dump(mode="json") if before is not None else {}
    changes = {name: {"before": old.get(name), "after": value} for name, value in new.items() if old.get(name) != value}
    action = f"{subject.partition(':')[0]}_{'added' if before is None else 'changed'}"
    repository.audit.record(now, actor=actor, action=action, subject=subject, detail=changes)
