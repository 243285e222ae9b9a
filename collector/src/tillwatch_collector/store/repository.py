"""What a flow holds in one transaction: facts, looks, judgements, tickets, and what the collector keeps of itself."""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, bindparam, not_, select, update

from tillwatch_collector.store import tables
from tillwatch_collector.store.audit import Audit
from tillwatch_collector.store.commands import Commands
from tillwatch_collector.store.facts import Facts
from tillwatch_collector.store.fleet import Fleet
from tillwatch_collector.store.history import History
from tillwatch_collector.store.judgements import Judgements
from tillwatch_collector.store.looks import Looks
from tillwatch_collector.store.maintenance import Maintenances
from tillwatch_collector.store.notifications import Notifications
from tillwatch_collector.store.outages import OutageRows
from tillwatch_collector.store.people import People
from tillwatch_collector.store.processes import Processes
from tillwatch_collector.store.rollout_facts import RolloutFacts
from tillwatch_collector.store.rollouts import Rollouts
from tillwatch_collector.store.sla import SlaRows
from tillwatch_collector.store.statements import insert_missing, upsert
from tillwatch_collector.store.swaps import Swaps
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.store.tickets import Tickets

EPOCH = table_of(tables.EpochRow)
_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
LEASE = table_of(tables.LeaseRow)

_KEEP_LEASE = (
    update(LEASE)
    .where(LEASE.c.name == bindparam("of_name"), LEASE.c.fencing_no == bindparam("of_fencing_no"))
    .values(expires_at=bindparam("expires_at"))
)

_FENCE = select(LEASE.c.fencing_no).where(LEASE.c.name == bindparam("of_name")).with_for_update()
_HOLDER = select(LEASE.c.holder).where(LEASE.c.name == bindparam("of_name")).with_for_update(read=True)
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""A fence does not expire: it is taken."""


class Repository:
    """One transaction's door to the tables; it never commits."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.facts = Facts(connection)
        self.looks = Looks(connection)
        self.judgements = Judgements(connection)
        self.tickets = Tickets(connection)
        self.history = History(connection)
        self.processes = Processes(connection)
        self.notifications = Notifications(connection)
        self.sla = SlaRows(connection)
        self.maintenance = Maintenances(connection)
        self.swaps = Swaps(connection)
        self.outages = OutageRows(connection)
        self.rollouts = Rollouts(connection)
        self.rollout_facts = RolloutFacts(connection)
        self.fleet = Fleet(connection)
        self.commands = Commands(connection)
        self.people = People(connection)
        self.audit = Audit(connection)

    def epoch(self) -> int:
        """Return the collector's epoch, held until the commit: of two that start, one waits; 0 before the first."""
        insert_missing(self.connection, EPOCH, [{"epoch_id": 1, "collector_epoch": 0, "raised_at": _BEFORE_ALL}])
        return self.connection.scalar(select(EPOCH.c.collector_epoch).with_for_update()) or 0

    def raise_epoch(self, collector_epoch: int, now: datetime) -> None:
        """Write a greater epoch."""
        row = {"epoch_id": 1, "collector_epoch": collector_epoch, "raised_at": now}
        upsert(self.connection, EPOCH, [row])

    def take_lease(self, name: str, holder: str, now: datetime, expires_at: datetime) -> int | None:
        """Take a lease that is free, over, or was the holder's own; return its new fencing number, or None.

        Who stands by asks often and takes seldom: so it looks first, and waits for nobody's transaction.
        """
        free = (LEASE.c.holder == holder) | (LEASE.c.expires_at <= now)
        if self.connection.scalar(select(not_(free)).where(LEASE.c.name == name)):
            return None
        first = {"name": name, "holder": holder, "fencing_no": 0, "expires_at": now}
        insert_missing(self.connection, LEASE, [first])
        taken = update(LEASE).where(LEASE.c.name == name, free)
        taken = taken.values(holder=holder, fencing_no=LEASE.c.fencing_no + 1, expires_at=expires_at)
        fencing_no: int | None = self.connection.scalar(taken.returning(LEASE.c.fencing_no))
        return fencing_no

    def keep_lease(self, name: str, fencing_no: int, expires_at: datetime) -> bool:
        """Prolong a lease; False when its number has grown, that is, when another took it.

        Its row is ours until the commit: who would take it meanwhile waits, and then finds it prolonged.
        """
        this = {"of_name": name, "of_fencing_no": fencing_no, "expires_at": expires_at}
        return self.connection.execute(_KEEP_LEASE, this).rowcount == 1

    def holds_lease(self, name: str, fencing_no: int) -> bool:
        """Whether a lease still has this number; it keeps it until the transaction ends, and nothing is written."""
        return self.connection.scalar(_FENCE, {"of_name": name}) == fencing_no

    def lease(self, name: str) -> tuple[str, datetime] | None:
        """Return who has a lease, and until when."""
        row = self.connection.execute(select(LEASE.c.holder, LEASE.c.expires_at).where(LEASE.c.name == name)).first()
        return (row[0], row[1]) if row else None

    # --- the fence around what an ingesting process remembers

    def fence_in(self, name: str, holder: str) -> int:
        """Take a fence, whoever has it; return its new number."""
        self._raise_fence(name, holder, LEASE.c.name == name)
        fencing_no: int | None = self.connection.scalar(select(LEASE.c.fencing_no).where(LEASE.c.name == name))
        return fencing_no or 0

    def fenced_in(self, name: str, fencing_no: int) -> bool:
        """Whether the fence still has this number; it keeps it until the transaction ends."""
        return self.connection.scalar(_FENCE, {"of_name": name}) == fencing_no

    def fence_off(self, name: str, holder: str) -> None:
        """See that `holder` has a fence, beside others of that name, until the transaction ends.

        Held, since whoever fences itself in must wait for those that began before, and read what they wrote.
        """
        if self.connection.scalar(_HOLDER, {"of_name": name}) != holder:
            self._raise_fence(name, holder, (LEASE.c.name == name) & (LEASE.c.holder != holder))

    def _raise_fence(self, name: str, holder: str, which: ColumnElement[bool]) -> None:
        first = {"name": name, "holder": "", "fencing_no": 0, "expires_at": _NEVER}
        insert_missing(self.connection, LEASE, [first])
        raised = update(LEASE).where(which).values(holder=holder, fencing_no=LEASE.c.fencing_no + 1)
        self.connection.execute(raised)
