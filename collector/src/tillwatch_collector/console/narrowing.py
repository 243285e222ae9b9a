"""The part of the fleet that a form narrows somebody to: ids of merchants and stores, apart by commas, blanks or lines.

A name that nobody has is told and not dropped: it would show somebody less than was meant, or, alone, everything.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tillwatch_collector.domain.permission import Within
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store

TYPED_CHARS_MAX = 20_000
"""Two hundred ids of 64 characters, and room between them."""


_BETWEEN = re.compile(r"[\s,;\uff0c\uff1b]+")
"""Comma and semicolon, as a Chinese keyboard has them, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowed:
    """What was read, and which of it nobody knows."""

    within: Within
    unknown: tuple[str, ...]


def read(store: Store, merchants: str, stores: str) -> Narrowed:
    """Read what was typed, and look each name up."""
    merchant_ids, store_ids = _names(merchants), _names(stores)
    with store.reading() as connection:
        inventory = Inventory(connection)
        unknown = [*_unknown(merchant_ids, inventory.merchant), *_unknown(store_ids, inventory.store)]
    within = Within(merchant_ids=frozenset(merchant_ids), store_ids=frozenset(store_ids))
    return Narrowed(within=within, unknown=tuple(unknown))


def written(names: frozenset[str]) -> str:
    """Write names as they are typed."""
    return ", ".join(sorted(names))


def _names(typed: str) -> list[str]:
    return list(dict.fromkeys(filter(None, _BETWEEN.split(typed[:TYPED_CHARS_MAX]))))


def _unknown(names: list[str], find: Callable[[str], object | None]) -> list[str]:
    return [name for name in names if not _plain(name) or find(name) is None]


def _plain(name: str) -> bool:
    """Whether a database takes it: PostgreSQL knows no NUL."""
    return name.isprintable()
