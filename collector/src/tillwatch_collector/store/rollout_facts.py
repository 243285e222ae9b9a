"""What a look at a rollout reads of the fleet: its terminals and their neighbours, what they say, faults and outages.

Everything is read, nothing written. Of many terminals only those are asked for that a job waits for, and the stores in
which they stand; the comparison with the rest of the fleet is one walk over it, made when the gate needs it.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, exists, func, or_, select

from tillwatch_collector.domain.evidence import Cause, Control, Seen
from tillwatch_collector.domain.inventory import LifeCycle
from tillwatch_collector.domain.outage import Node, NodeKind
from tillwatch_collector.store import tables
from tillwatch_collector.store.facts import LEVEL, SIGHTING, TERMINAL, StreamKey
from tillwatch_collector.store.statements import chunked
from tillwatch_collector.store.tables import OPEN_TICKET, table_of

STORE = table_of(tables.StoreRow)
FAULT = table_of(tables.FaultRow)
TICKET = table_of(tables.TicketRow)
OUTAGE = table_of(tables.OutageRow)
JOB = table_of(tables.RolloutJobRow)
ROLLOUT = table_of(tables.RolloutRow)


class Till(NamedTuple):
    """A terminal as it stands, and its newest heartbeat; what was never heard is None."""

    terminal_id: str
    store_id: str | None
    life_cycle: str
    merchant_id: str | None
    region: str | None
    carrier: str | None
    heard_at: datetime | None
    stream_id: str | None
    interval_s: int | None
    agent_version: str | None
    level_received_at: datetime | None
    job: dict[str, Any] | None
    """The job's state, as the heartbeat says it."""

    @property
    def is_live(self) -> bool:
        """Whether it is in use."""
        return self.life_cycle == LifeCycle.LIVE

    @property
    def stream(self) -> StreamKey | None:
        """Of which stream its newest heartbeat is."""
        return None if self.stream_id is None else (self.terminal_id, self.stream_id)


class LastUpdate(NamedTuple):
    """The newest job by which a terminal was allowed to switch."""

    rollout_id: str
    target: str
    version: str
    settings: str
    job_id: str
    try_no: int
    go_at: datetime
    ended_at: datetime | None
    halt_ticket_id: int | None
    """Of its rollout, while it is open and no part of another."""


class OpenTicket(NamedTuple):
    """A terminal's ticket that is not over."""

    ticket_id: int
    terminal_id: str
    code: str
    opened_at: datetime


_TILLS = select(
    TERMINAL.c.terminal_id,
    TERMINAL.c.store_id,
    TERMINAL.c.life_cycle,
    STORE.c.merchant_id,
    STORE.c.region,
    STORE.c.carrier,
    SIGHTING.c.heard_at,
    SIGHTING.c.stream_id,
    LEVEL.c.interval_s,
    LEVEL.c.agent_version,
    LEVEL.c.received_at,
    LEVEL.c.job,
).select_from(
    TERMINAL.outerjoin(STORE, STORE.c.store_id == TERMINAL.c.store_id)
    .outerjoin(SIGHTING, SIGHTING.c.terminal_id == TERMINAL.c.terminal_id)
    .outerjoin(LEVEL, and_(LEVEL.c.terminal_id == SIGHTING.c.terminal_id, LEVEL.c.stream_id == SIGHTING.c.stream_id))
)
_LAST_UPDATE = (
    select(
        ROLLOUT.c.rollout_id,
        ROLLOUT.c.target,
        ROLLOUT.c.version,
        ROLLOUT.c.settings,
        JOB.c.job_id,
        JOB.c.try_no,
        JOB.c.go_at,
        JOB.c.ended_at,
        TICKET.c.ticket_id,
    )
    .select_from(
        JOB.join(ROLLOUT, ROLLOUT.c.rollout_id == JOB.c.rollout_id).outerjoin(
            TICKET, and_(TICKET.c.ticket_id == ROLLOUT.c.ticket_id, OPEN_TICKET, TICKET.c.parent_id.is_(None))
        )
    )
    .where(JOB.c.go_at.is_not(None))
    .order_by(JOB.c.go_at.desc())
    .limit(1)
)


class RolloutFacts:
    """The fleet as a look at a rollout sees it, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tills(self, terminal_ids: Collection[str]) -> dict[str, Till]:
        """Return these terminals, and all of the stores in which they stand."""
        own = self._tills(TERMINAL.c.terminal_id, terminal_ids)
        stores = sorted({till.store_id for till in own if till.store_id is not None})
        return {till.terminal_id: till for till in (*own, *self._tills(TERMINAL.c.store_id, stores))}

    def controls(self, models: Iterable[str], *, since: datetime, but: Collection[str]) -> list[Control]:
        """Return the live terminals of these models that were heard, and by no rollout allowed to switch since then.

        `but` are left out.
        """
        touched = exists().where(JOB.c.terminal_id == TERMINAL.c.terminal_id, JOB.c.go_at >= since)
        model, region = func.coalesce(TERMINAL.c.model, ""), func.coalesce(STORE.c.region, "")
        query = (
            select(TERMINAL.c.terminal_id, model, region, SIGHTING.c.heard_at)
            .select_from(
                TERMINAL.join(SIGHTING, SIGHTING.c.terminal_id == TERMINAL.c.terminal_id).join(
                    STORE, STORE.c.store_id == TERMINAL.c.store_id
                )
            )
            .where(TERMINAL.c.life_cycle == LifeCycle.LIVE, model.in_(sorted(set(models))), ~touched)
        )
        return [
            Control(terminal_id=terminal_id, kind=(of_model, of_region), heard_at=heard_at)
            for terminal_id, of_model, of_region, heard_at in self._connection.execute(query)
            if terminal_id not in but
        ]

    def faults(self, since: datetime) -> list[Seen]:
        """Return the faults of all terminals that were raised since then, with the outages that they are a part of."""
        columns = ("terminal_id", "code", "severity", "raised_at", "cleared_at")
        query = (
            select(*(FAULT.c[name] for name in columns), OUTAGE.c.outage_id)
            .select_from(
                FAULT.outerjoin(TICKET, TICKET.c.ticket_id == FAULT.c.ticket_id).outerjoin(
                    OUTAGE, or_(OUTAGE.c.ticket_id == FAULT.c.ticket_id, OUTAGE.c.ticket_id == TICKET.c.parent_id)
                )
            )
            .where(FAULT.c.raised_at >= since)
            .order_by(FAULT.c.fault_id)
        )
        found: dict[tuple[Any, ...], set[int]] = {}
        for *said, outage_id in self._connection.execute(query):
            found.setdefault(tuple(said), set()).update(() if outage_id is None else (outage_id,))
        return [
            Seen(**dict(zip(columns, said, strict=True)), outage_ids=frozenset(outages))
            for said, outages in found.items()
        ]

    def causes(self, since: datetime) -> list[Cause]:
        """Return the outages that had not ended then, each with whom it hit."""
        query = select(
            OUTAGE.c.outage_id, OUTAGE.c.node_kind, OUTAGE.c.node_id, OUTAGE.c.began_at, OUTAGE.c.ended_at
        ).where(or_(OUTAGE.c.ended_at.is_(None), OUTAGE.c.ended_at >= since))
        rows = self._connection.execute(query.order_by(OUTAGE.c.outage_id)).all()
        hits = self._hits([row.outage_id for row in rows])
        return [
            Cause(
                outage_id=outage_id,
                node=Node(NodeKind(kind), node_id),
                began_at=began_at,
                ended_at=ended_at,
                hits=frozenset(hits.get(outage_id, ())),
            )
            for outage_id, kind, node_id, began_at, ended_at in rows
        ]

    def last_update(self, terminal_id: str) -> LastUpdate | None:
        """Return the newest job by which a terminal was allowed to switch, over all rollouts."""
        row = self._connection.execute(_LAST_UPDATE.where(JOB.c.terminal_id == terminal_id)).first()
        return None if row is None else LastUpdate._make(row)

    def tickets_of(self, terminal_ids: Collection[str], since: datetime) -> list[OpenTicket]:
        """Return these terminals' open tickets that were opened since then, have no parts and are part of nothing."""
        part = TICKET.alias("part")
        columns = TICKET.c.ticket_id, TICKET.c.subject_id, TICKET.c.code, TICKET.c.opened_at
        query = (
            select(*columns)
            .where(TICKET.c.subject_kind == "terminal", TICKET.c.opened_at >= since, OPEN_TICKET)
            .where(TICKET.c.parent_id.is_(None), ~exists().where(part.c.parent_id == TICKET.c.ticket_id))
            .order_by(TICKET.c.ticket_id)
        )
        return [
            OpenTicket._make(row)
            for some in chunked(terminal_ids)
            for row in self._connection.execute(query.where(TICKET.c.subject_id.in_(some)))
        ]

    def _tills(self, column: Any, values: Collection[str]) -> list[Till]:
        return [
            Till._make(row)
            for some in chunked(values)
            for row in self._connection.execute(_TILLS.where(column.in_(some)))
        ]

    def _hits(self, outage_ids: Collection[int]) -> dict[int, set[str]]:
        part = or_(OUTAGE.c.ticket_id == FAULT.c.ticket_id, OUTAGE.c.ticket_id == TICKET.c.parent_id)
        query = (
            select(OUTAGE.c.outage_id, FAULT.c.terminal_id)
            .select_from(FAULT.join(TICKET, TICKET.c.ticket_id == FAULT.c.ticket_id).join(OUTAGE, part))
            .where(
                FAULT.c.raised_at >= OUTAGE.c.began_at,
                or_(OUTAGE.c.ended_at.is_(None), FAULT.c.raised_at <= OUTAGE.c.ended_at),
            )
            .distinct()
        )
        hits: dict[int, set[str]] = {}
        for some in chunked(outage_ids):
            for outage_id, terminal_id in self._connection.execute(query.where(OUTAGE.c.outage_id.in_(some))):
                hits.setdefault(outage_id, set()).add(terminal_id)
        return hits
