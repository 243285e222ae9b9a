"""What a flow holds during one transaction: facts, looks, judgements, and what the collector keeps of itself."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from tillwatch_collector.store import tables
from tillwatch_collector.store.facts import Facts
from tillwatch_collector.store.judgements import Judgements
from tillwatch_collector.store.looks import Looks
from tillwatch_collector.store.statements import insert_missing, upsert
from tillwatch_collector.store.tables import table_of

EPOCH = table_of(tables.EpochRow)
LEASE = table_of(tables.LeaseRow)

_KEEP_LEASE = (
    update(LEASE)
    .where(LEASE.c.name == bindparam("of_name"), LEASE.c.fencing_no == bindparam("of_fencing_no"))
    .values(expires_at=bindparam("expires_at"))
)


class Repository:
    """One transaction's door to the tables; it never commits."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.facts = Facts(connection)
        self.looks = Looks(connection)
        self.judgements = Judgements(connection)

    def epoch(self) -> int:
        """Return the collector's epoch; 0 before the first start."""
        return self.connection.scalar(select(EPOCH.c.collector_epoch).with_for_update()) or 0

    def raise_epoch(self, collector_epoch: int, now: datetime) -> None:
        """Write a greater epoch."""
        row = {"epoch_id": 1, "collector_epoch": collector_epoch, "raised_at": now}
        upsert(self.connection, EPOCH, [row])

    def take_lease(self, name: str, holder: str, now: datetime, expires_at: datetime) -> int | None:
        """Take a lease that is free, over, or was the holder's own; return its new fencing number, or None."""
        first = {"name": name, "holder": holder, "fencing_no": 0, "expires_at": now}
        insert_missing(self.connection, LEASE, [first])
        free = (LEASE.c.holder == holder) | (LEASE.c.expires_at <= now)
        taken = update(LEASE).where(LEASE.c.name == name, free)
        taken = taken.values(holder=holder, fencing_no=LEASE.c.fencing_no + 1, expires_at=expires_at)
        fencing_no: int | None = self.connection.scalar(taken.returning(LEASE.c.fencing_no))
        return fencing_no

    def keep_lease(self, name: str, fencing_no: int, expires_at: datetime) -> bool:
        """Prolong a lease; False when its number has grown, that is, when another took it."""
        this = {"of_name": name, "of_fencing_no": fencing_no, "expires_at": expires_at}
        return self.connection.execute(_KEEP_LEASE, this).rowcount == 1
