"""What the inventory knows of serial numbers that terminals tell, for many at once, and what it learns of them."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, bindparam, select, update

from tillwatch_collector.domain.inventory import LifeCycle
from tillwatch_collector.domain.swap import Known, plain
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import THESE, these
from tillwatch_collector.store.tables import table_of

TERMINAL = table_of(tables.TerminalRow)

_KNOWN = select(TERMINAL.c.serial_number, TERMINAL.c.terminal_id, TERMINAL.c.life_cycle, TERMINAL.c.store_id).where(
    TERMINAL.c.serial_number.in_(THESE)
)
_LEARN = (
    update(TERMINAL)
    .where(TERMINAL.c.terminal_id == bindparam("of_terminal_id"), TERMINAL.c.serial_number.is_(None))
    .values(serial_number=bindparam("told"))
)


class Swaps:
    """Serial numbers in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def serials(self, told: Collection[str]) -> dict[str, tuple[Known, ...]]:
        """Return whom the inventory has these numbers for: who is live first, then by id.

        Numbers are `domain.swap.plain`; an entry in small letters is found, too, and by its index.
        """
        written = {spelt for serial in told for spelt in (serial, serial.lower())}
        found: dict[str, list[Known]] = {}
        for some in these(sorted(written)):
            for serial, terminal_id, life_cycle, store_id in self._connection.execute(_KNOWN, some):
                known = Known(terminal_id=terminal_id, life_cycle=life_cycle, store_id=store_id)
                found.setdefault(plain(serial), []).append(known)
        return {serial: tuple(sorted(known, key=_live_first)) for serial, known in found.items()}

    def learn(self, told: Mapping[str, str]) -> None:
        """Write the number that each terminal tells, by its id, where the inventory has none."""
        if told:
            rows = [{"of_terminal_id": terminal_id, "told": serial} for terminal_id, serial in sorted(told.items())]
            self._connection.execute(_LEARN, rows)


def _live_first(known: Known) -> tuple[bool, str]:
    return known.life_cycle != LifeCycle.LIVE, known.terminal_id
