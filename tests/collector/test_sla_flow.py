"""Due times as they are kept, on both databases: worked out in bulk, anew when a calendar changes, escalated once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, event, update
from tests.collector.databases import Databases, NewStore, rows, stores_in

from tillwatch_collector.domain.inventory import Merchant, StoreChange, Terminal, changed
from tillwatch_collector.domain.inventory import Store as Place
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.sla import parse_sla
from tillwatch_collector.domain.ticket import TICKET_TABLE, Action, PendingOn, RepairMode, Status, TicketIdentity
from tillwatch_collector.flows import sla, tickets
from tillwatch_collector.flows.changes import Move, TicketChange, Why
from tillwatch_collector.policies import load
from tillwatch_collector.store import tables
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of

H = 3600
START = datetime(2026, 11, 16, 8, tzinfo=UTC)
"""A Monday; nine o'clock in Berlin, where the shop opens."""
BOOK = parse_sla("""
version = 1
default = "shop"

[contract.shop]
calendar = "store"
escalation = [
  { clock = "respond", share = 1 },
  { clock = "resolve", share = 0.5 },
  { clock = "resolve", share = 1, to = "lead" },
]
target.major.simple = { respond_s = 7_200, resolve_s = 43_200 }
target.major.complex = { respond_s = 7_200, resolve_s = 43_200 }

[contract.gold]
calendar = "always"
target.major.simple = { respond_s = 3_600, resolve_s = 21_600 }
target.major.complex = { respond_s = 3_600, resolve_s = 21_600 }
""")
RULE = load().default.model_copy(update={"severity": Severity.MAJOR})
HOURS = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat"), (("09:00", "18:00"),))


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


class Desk:
    """Stores, terminals and their tickets, in one database."""

    def __init__(self, database: Store) -> None:
        self.database = database
        self.now_h = 0.0
        with database.transaction() as repository:
            Inventory(repository.connection).put_merchant(Merchant(merchant_id="m-1", name="Noodles"), at(0))

    def place(self, store_id: str = "s-1", **values: Any) -> None:
        given = {"merchant_id": "m-1", "name": store_id, "time_zone": "Europe/Berlin", "opening_hours": HOURS} | values
        with self.database.transaction() as repository:
            Inventory(repository.connection).put_store(Place.model_validate({"store_id": store_id, **given}), at(0))

    def change(self, store_id: str = "s-1", **values: Any) -> None:
        with self.database.transaction() as repository:
            inventory = Inventory(repository.connection)
            before = inventory.store(store_id)
            assert before is not None
            inventory.put_store(changed(before, StoreChange.model_validate(values)), at(self.now_h))

    def open(self, terminal_id: str, *, store_id: str | None = "s-1", parent_id: int | None = None) -> int:
        identity = TicketIdentity(subject_kind="terminal", subject_id=terminal_id, component="modem:0", code="no_sim")
        why = Why(actor="machine:judge", reason="no_sim on modem:0")
        with self.database.transaction() as repository:
            terminal = Terminal(terminal_id=terminal_id, store_id=store_id)
            Inventory(repository.connection).put_terminal(terminal, at(self.now_h))
            opened = tickets.open_or_recur(repository, identity, RULE, why, at(self.now_h), parent_id=parent_id)
        return opened.ticket_id

    def act(self, ticket_id: int, action: Action, **details: Any) -> None:
        with self.database.transaction() as repository:
            tickets.act(repository, ticket_id, action, actor="person:ann", reason="so", now=at(self.now_h), **details)

    def escalate(self, now_h: float) -> list[TicketChange]:
        self.now_h = now_h
        with self.database.transaction() as repository:
            return sla.escalate(repository, BOOK, at(now_h))

    def due(self, ticket_id: int) -> tuple[float | None, float | None]:
        """Return when to respond, and when to resolve, in hours from the start."""
        found = self.kept(f"WHERE ticket_id = {ticket_id}")[0]
        respond, resolve = found["respond_due_at"], found["resolve_due_at"]
        return tuple(None if due is None else (due - START).total_seconds() / H for due in (respond, resolve))  # type: ignore[return-value]

    def kept(self, where: str = "") -> list[dict[str, Any]]:
        ticket = table_of(tables.TicketRow)
        with self.database.reading() as connection:
            found = connection.execute(ticket.select().order_by(ticket.c.ticket_id)).mappings().all()
        wanted = int(where.rsplit(" ", 1)[1]) if where else None
        return [dict(row) for row in found if wanted in {None, row["ticket_id"]}]


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


def test_a_new_ticket_is_held_against_its_contract_in_the_next_tick(desk: Desk) -> None:
    desk.place()
    opened = desk.open("till-1")
    assert desk.due(opened) == (None, None)
    assert desk.escalate(0.1) == []
    # two hours, and twelve: nine of Monday and three of Tuesday
    assert desk.due(opened) == (2, 27)


def test_or_at_once_where_somebody_waits_for_it(desk: Desk) -> None:
    desk.place()
    opened = desk.open("till-1")
    with desk.database.transaction() as repository:
        sla.set_due(repository, BOOK, [opened], at(0))
    assert desk.due(opened) == (2, 27)


def test_steps_of_people_pause_meet_and_end_the_clocks(desk: Desk) -> None:
    desk.place()
    opened = desk.open("till-1")
    desk.now_h = 1
    desk.act(opened, Action.DIAGNOSE)
    desk.escalate(1)
    assert desk.due(opened) == (None, 27)
    assert desk.kept()[0]["responded_at"] == at(1)
    desk.act(opened, Action.PEND, pending_on=PendingOn.PARTS)
    desk.escalate(1)
    assert desk.due(opened) == (None, None)
    desk.now_h = 24
    desk.act(opened, Action.RESUME)
    desk.escalate(24)
    # eleven hours are left: nine of Tuesday, two of Wednesday
    assert desk.due(opened) == (None, 50)
    desk.act(opened, Action.CLOSE)
    desk.escalate(24)
    assert desk.due(opened) == (None, None)
    assert desk.kept()[0]["clocks_due_at"] is None


def test_an_assignment_is_a_response(desk: Desk) -> None:
    desk.place()
    opened = desk.open("till-1")
    with desk.database.transaction() as repository:
        tickets.assign(repository, opened, "provider:acme", actor="person:ann", now=at(1))
    desk.escalate(1)
    assert desk.due(opened) == (None, 27)
    assert desk.kept()[0]["responded_at"] == at(1)


def test_what_stands_at_no_store_has_the_default_contract_around_the_clock(desk: Desk) -> None:
    opened = desk.open("till-1", store_id=None)
    desk.escalate(0)
    assert desk.due(opened) == (2, 12)


def test_hours_that_make_no_sense_stop_no_clock(desk: Desk) -> None:
    desk.place()
    opened = desk.open("till-1")
    with desk.database.transaction() as repository:
        repository.connection.execute(update(table_of(tables.StoreRow)).values(time_zone="Mars/Olympus"))
    desk.escalate(0)
    assert desk.due(opened) == (2, 12)


# --- when a calendar changes


@pytest.mark.parametrize(
    ("change", "respond_h", "resolve_h"),
    [
        # Tuesday is a holiday, or short: what was due then is due on Wednesday
        ({"holidays": {"2026-11-17": []}}, 2, 51),
        ({"holidays": {"2026-11-17": [["09:00", "10:00"]]}}, 2, 50),
        # other hours, another zone, another contract
        ({"opening_hours": {**HOURS, "mon": (("10:00", "18:00"),)}}, 3, 28),
        ({"time_zone": "Europe/London"}, 3, 28),
        ({"contract": "gold"}, 1, 6),
        # a contract that nobody knows is the default one
        ({"contract": "none such"}, 2, 27),
    ],
)
def test_due_times_follow_the_calendar(desk: Desk, change: dict[str, Any], respond_h: float, resolve_h: float) -> None:
    for store_id in ("s-1", "s-2"):
        desk.place(store_id)
    here, there, ended = desk.open("till-1"), desk.open("till-2", store_id="s-2"), desk.open("till-3")
    desk.act(ended, Action.CANCEL)
    desk.escalate(0.5)
    desk.change(**change)
    marked = {row["ticket_id"] for row in desk.kept() if row["clocks_due_at"] == at(0.5)}
    assert marked == {here}
    desk.escalate(0.5)
    assert desk.due(here) == (respond_h, resolve_h)
    assert desk.due(there) == (2, 27)
    assert desk.due(ended) == (None, None)


def test_what_no_due_time_hangs_on_marks_nothing(desk: Desk) -> None:
    desk.place()
    desk.open("till-1")
    desk.escalate(0.5)
    desk.change(name="Bund 18", region="east", carrier="unicom", watch="opening_hours")
    assert desk.kept()[0]["clocks_due_at"] != at(0.5)


def test_a_file_that_is_another_one_is_applied_to_all_open_tickets(desk: Desk) -> None:
    desk.place(contract="silver")
    desk.place("s-2", contract="gold")
    opened = desk.open("till-1")
    desk.escalate(0)
    other = parse_sla(
        'version = 1\ndefault = "all"\n[contract.all]\ncalendar = "always"\ntarget.major.complex = { resolve_s = 60 }'
    )
    with desk.database.transaction() as repository:
        assert sla.recompute_all(repository, BOOK, at(1)) == ("silver",)
        assert sla.recompute_all(repository, other, at(1)) == ("gold", "silver")
        sla.escalate(repository, other, at(1))
    assert desk.due(opened) == (None, 60 / H)


@pytest.mark.parametrize("seed", range(4))
def test_due_times_worked_out_anew_are_those_that_were_kept(desk: Desk, seed: int) -> None:
    """Tickets walk through their lives at random; then all is worked out from the journals, and nothing changes."""
    rng = Random(seed)
    for store_id, zone in (("s-1", "Europe/Berlin"), ("s-2", "Australia/Lord_Howe")):
        desk.place(store_id, time_zone=zone)
    opened = [desk.open(f"till-{number}", store_id=rng.choice(["s-1", "s-2", None])) for number in range(6)]
    for _ in range(40):
        desk.now_h += rng.random() * 8
        walk(desk, rng, rng.choice(opened))
        if rng.random() < 0.5:
            desk.escalate(desk.now_h)
    desk.escalate(desk.now_h)
    before = desk.kept()
    with desk.database.transaction() as repository:
        sla.recompute_all(repository, BOOK, at(desk.now_h))
    assert desk.escalate(desk.now_h) == []
    assert desk.kept() == before


def walk(desk: Desk, rng: Random, ticket_id: int) -> None:
    """Let somebody take a step that the ticket's status has, the ends seldom."""
    status = Status(desk.kept(f"WHERE ticket_id = {ticket_id}")[0]["status"])
    ends = {Action.CLOSE, Action.CANCEL, Action.MERGE} if rng.random() < 0.9 else {Action.MERGE}
    may = sorted(action for from_status, action in TICKET_TABLE if from_status is status and action not in ends)
    if not may:
        return
    action = rng.choice(may)
    details: dict[Action, dict[str, Any]] = {
        Action.PEND: {"pending_on": PendingOn.PARTS},
        Action.REPAIR: {"mode": RepairMode.REMOTE},
    }
    if action in {Action.PROVE, Action.RECUR, Action.EXPIRE}:
        by_machine(desk, ticket_id, action)
    else:
        desk.act(ticket_id, action, **details.get(action, {}))


def by_machine(desk: Desk, ticket_id: int, action: Action) -> None:
    now, why = at(desk.now_h), Why(actor="machine:judge", reason="so")
    with desk.database.transaction() as repository:
        ticket = repository.tickets.get(ticket_id)
        assert ticket is not None
        if action is Action.PROVE:
            tickets.prove(repository, ticket.identity, why, now)
        elif action is Action.RECUR:
            tickets.open_or_recur(repository, ticket.identity, RULE, why, now)
        else:
            tickets.expire(repository, ticket_id, why, now)


# --- escalation


def test_each_step_is_taken_once_told_and_written_down(desk: Desk) -> None:
    desk.place()
    opened = desk.open("till-1")
    told = [(now_h, change) for now_h in (0, 1.9, 2, 2.1, 6, 26, 27, 50) for change in desk.escalate(now_h)]
    assert [(now_h, change.move, change.escalated_to) for now_h, change in told] == [
        (2, Move.ESCALATED, None),
        (6, Move.ESCALATED, None),
        (27, Move.ESCALATED, "lead"),
    ]
    assert (told[0][1].ticket_id, told[0][1].store_id, told[0][1].merchant_id) == (opened, "s-1", "m-1")
    assert desk.kept()[0]["escalation_step"] == 3
    lines = rows(desk.database, "SELECT actor, reason FROM journal WHERE action = 'escalate' ORDER BY journal_id")
    assert [tuple(line) for line in lines] == [
        ("machine:sla", "100% of the time to respond is gone"),
        ("machine:sla", "50% of the time to resolve is gone"),
        ("machine:sla", "100% of the time to resolve is gone"),
    ]


def test_a_process_that_starts_takes_no_step_again_and_of_those_it_missed_the_last(desk: Desk) -> None:
    desk.place()
    desk.open("till-1")
    desk.escalate(0)
    assert len(desk.escalate(50)) == 1
    with desk.database.transaction() as repository:
        sla.recompute_all(repository, BOOK, at(51))
    assert desk.escalate(51) == []


def test_who_works_due_times_out_at_once_takes_no_step_and_leaves_it_to_the_tick(desk: Desk) -> None:
    desk.place()
    opened = desk.open("till-1")
    with desk.database.transaction() as repository:
        sla.set_due(repository, BOOK, [opened], at(3))
    assert desk.kept()[0]["escalation_step"] == 0
    assert [change.move for change in desk.escalate(3)] == [Move.ESCALATED]


def test_a_part_of_an_outage_is_not_escalated_and_is_when_it_stands_alone(desk: Desk) -> None:
    desk.place()
    parent = desk.open("till-1")
    child = desk.open("till-2", parent_id=parent)
    assert [change.ticket_id for change in desk.escalate(3)] == [parent]
    assert desk.due(child) == (2, 27)
    with desk.database.transaction() as repository:
        tickets.set_parent(repository, child, None, actor="machine:judge", reason="still silent", now=at(4))
    assert [change.ticket_id for change in desk.escalate(4)] == [child]


# --- bounds


def test_a_tick_works_out_so_many_and_the_next_one_the_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sla, "TICKETS_MAX", 2)
    desk.place()
    opened = [desk.open(f"till-{number}") for number in range(5)]
    for worked_out in (2, 4, 5, 5):
        desk.escalate(0)
        assert [desk.due(ticket_id) != (None, None) for ticket_id in opened].count(True) == worked_out


def test_many_tickets_cost_as_many_queries_as_one(new_store: NewStore) -> None:
    counts = []
    for number_of in (1, 30):
        desk = Desk(new_store())
        desk.place()
        for number in range(number_of):
            desk.open(f"till-{number}")
        with counted() as statements:
            desk.escalate(0)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 6


def test_a_ticket_that_another_holds_keeps_nobody_waiting(worker_databases: Databases) -> None:
    """On PostgreSQL, where there are others."""
    with stores_in(worker_databases) as opened:
        desk = Desk(opened())
        desk.place()
        held, free = desk.open("till-1"), desk.open("till-2")
        with desk.database.transaction() as another:
            another.tickets.get(held)
            desk.escalate(0)
            assert (desk.due(held), desk.due(free)) == ((None, None), (2, 27))
        desk.escalate(0)
        assert desk.due(held) == (2, 27)


@contextmanager
def counted() -> Iterator[list[str]]:
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", count)
