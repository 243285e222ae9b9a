"""What somebody sees of each table, as conditions of a statement: none where they may look everywhere.

A thing is seen by whoever may look at the store in which it stands, or at that store's merchant. What stands nowhere (a
terminal that nobody described, an outage of a carrier, a message to a route) is seen by those alone who may look
everywhere. A change violates this when a statement of a read model shows a row that none of these was asked about.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, select

from tillwatch_collector.domain.permission import Within
from tillwatch_collector.store import tables
from tillwatch_collector.store.tables import table_of

_store = table_of(tables.StoreRow)
_terminal = table_of(tables.TerminalRow)

Conditions = tuple[ColumnElement[bool], ...]
"""All of them must hold; empty: nothing is asked."""


def placed(within: Within, store_id: ColumnElement[Any], merchant_id: ColumnElement[Any]) -> Conditions:
    """Narrow rows that say both their store and its merchant; null is nowhere."""
    return () if within.everywhere else (_placed(within, store_id, merchant_id),)


def in_store(within: Within, store_id: ColumnElement[Any]) -> Conditions:
    """Narrow rows that say their store."""
    return () if within.everywhere else (store_id.in_(_stores(within)),)


def of_terminal(within: Within, terminal_id: ColumnElement[Any]) -> Conditions:
    """Narrow rows that say their terminal."""
    return () if within.everywhere else (terminal_id.in_(_terminals(within)),)


def of_merchant(within: Within, merchant_id: ColumnElement[Any]) -> Conditions:
    """Narrow merchants to those that may be seen, or have a store that may."""
    if within.everywhere:
        return ()
    of_stores = select(_store.c.merchant_id).where(_store.c.store_id.in_(sorted(within.store_ids)))
    return (or_(merchant_id.in_(sorted(within.merchant_ids)), merchant_id.in_(of_stores)),)


def of_place(within: Within, kind: ColumnElement[Any], name: ColumnElement[Any]) -> Conditions:
    """Narrow rows that name a merchant, a store or a terminal by kind and id."""
    if within.everywhere:
        return ()
    named = {"merchant": sorted(within.merchant_ids), "store": _stores(within), "terminal": _terminals(within)}
    return (or_(*(and_(kind == of, name.in_(seen)) for of, seen in named.items())),)


def nowhere(within: Within) -> Conditions:
    """Narrow what belongs to no place."""
    return () if within.everywhere else (false(),)


def evidence(within: Within, evidence: dict[str, Any]) -> dict[str, Any]:
    """Leave out of the numbers behind a judgement what they say of other places that were weighed, too."""
    return evidence if within.everywhere else {key: it for key, it in evidence.items() if key != _OF_OTHERS}


_OF_OTHERS = "alternatives"


def _placed(within: Within, store_id: ColumnElement[Any], merchant_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Name what there is only: an empty list beside another would keep the databases from their indexes."""
    named = ((store_id, within.store_ids), (merchant_id, within.merchant_ids))
    return or_(*(column.in_(sorted(ids)) for column, ids in named if ids))


def _stores(within: Within) -> Any:
    return select(_store.c.store_id).where(_placed(within, _store.c.store_id, _store.c.merchant_id))


def _terminals(within: Within) -> Any:
    return select(_terminal.c.terminal_id).where(_terminal.c.store_id.in_(_stores(within)))
