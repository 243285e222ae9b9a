"""The processes that run: each writes its own row, the one that judges reads them all."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, select, update

from tillwatch_collector.domain.listeners import Listener
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import upsert
from tillwatch_collector.store.tables import table_of

PROCESS = table_of(tables.ProcessRow)


class KeptProcess(NamedTuple):
    """A process, as its row tells of it."""

    process: str
    start_id: str
    role: str
    started_at: datetime
    heartbeats: int
    epoch_seen: int
    connected_at: datetime | None
    proven_from: datetime | None
    proven_at: datetime | None
    expires_at: datetime

    @property
    def listener(self) -> Listener | None:
        """Its hearing, while it is connected."""
        if self.connected_at is None:
            return None
        return Listener(
            process=self.process,
            start_id=self.start_id,
            connected_at=self.connected_at,
            proven_from=self.proven_from,
            proven_at=self.proven_at,
        )


_KEPT = tuple(PROCESS.c[name] for name in KeptProcess._fields)
_ALL = select(*_KEPT).order_by(PROCESS.c.process)
_THIS = (PROCESS.c.process == bindparam("of_process")) & (PROCESS.c.start_id == bindparam("of_start_id"))
_CHANGING = ("heartbeats", "epoch_seen", "connected_at", "proven_from", "proven_at", "expires_at")
_KEEP = update(PROCESS).where(_THIS).values({name: bindparam(name) for name in _CHANGING})
_END = delete(PROCESS).where(_THIS)
_CLOCK = select(func.clock_timestamp())


class Processes:
    """The processes of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[KeptProcess]:
        """Return every process, in the order of their names."""
        return [KeptProcess._make(row) for row in self._connection.execute(_ALL)]

    def begin(self, process: KeptProcess) -> None:
        """Write a process as the one that bears its name."""
        upsert(self._connection, PROCESS, [process._asdict()])

    def keep(self, process: KeptProcess) -> bool:
        """Write what changed; False when this start of it has no row."""
        changed = {name: getattr(process, name) for name in _CHANGING}
        this = {"of_process": process.process, "of_start_id": process.start_id}
        return self._connection.execute(_KEEP, changed | this).rowcount == 1

    def bearer(self, process: str) -> KeptProcess | None:
        """Return who bears a name."""
        row = self._connection.execute(select(*_KEPT).where(PROCESS.c.process == process)).first()
        return KeptProcess._make(row) if row else None

    def end(self, process: str, start_id: str) -> None:
        """Remove the row of this start of a process."""
        self._connection.execute(_END, {"of_process": process, "of_start_id": start_id})

    def clock(self) -> datetime | None:
        """Tell the database's time; None where it is that of this machine."""
        if self._connection.dialect.name == "sqlite":
            return None
        now: datetime | None = self._connection.scalar(_CLOCK)
        return now
