"""Tickets in a test's own words: a shop with tills, faults by the machine, reports by people."""

from typing import Any

from sqlalchemy import insert, select
from tests.collector.words import at

from tillwatch_collector.domain.policy import Rule, Severity
from tillwatch_collector.domain.ticket import FINAL, Action, Origin, Status, TicketIdentity, step
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.changes import TicketChange, Why
from tillwatch_collector.flows.tickets import Report
from tillwatch_collector.policies import load
from tillwatch_collector.store import tables
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of

TILL, OTHER_TILL, SHOP = "till-1", "till-2", "shop-1"
PRINTER, PIN_PAD = "pos_printer:1", "pin_pad:1"
ANN, BOB = "person:ann", "person:bob"
RULE: Rule = load().default.model_copy(update={"severity": Severity.MAJOR})
WHY = Why(actor="machine:judge", reason="it was so", evidence={"heard_at": "then"})


def opened_shop(store: Store) -> Store:
    """A store with two tills, of merchant m-1."""
    rows: list[tuple[type[tables.Table], list[dict[str, Any]]]] = [
        (tables.MerchantRow, [{"merchant_id": "m-1", "name": "M"}]),
        (
            tables.StoreRow,
            [
                {
                    "store_id": SHOP,
                    "merchant_id": "m-1",
                    "name": "S",
                    "time_zone": "UTC",
                    "opening_hours": {},
                    "watch": "always",
                    "holidays": {},
                }
            ],
        ),
        (
            tables.TerminalRow,
            [{"terminal_id": till, "store_id": SHOP, "life_cycle": "live"} for till in (TILL, OTHER_TILL)],
        ),
    ]
    with store.transaction() as repository:
        for row, values in rows:
            repository.connection.execute(insert(table_of(row)), [value | {"created_at": at(0)} for value in values])
    return store


def identity(component: str = PRINTER, code: str = "paper_end", till: str = TILL) -> TicketIdentity:
    return TicketIdentity(subject_kind="terminal", subject_id=till, component=component, code=code)


def fault(
    repository: Repository,
    component: str = PRINTER,
    code: str = "paper_end",
    *,
    till: str = TILL,
    severity: str = "major",
    after_s: float = 0,
) -> TicketChange:
    """The machine raises a fault: its ticket, and its row."""
    rule = RULE.model_copy(update={"severity": Severity(severity)})
    change = tickets.open_or_recur(repository, identity(component, code, till), rule, WHY, at(after_s))
    key = (till, component, code)
    repository.judgements.begin_fault(
        key, severity=severity, happened_at=at(after_s), now=at(after_s), ticket_id=change.ticket_id
    )
    return change


def proof(
    repository: Repository,
    component: str = PRINTER,
    code: str = "paper_end",
    *,
    till: str = TILL,
    after_s: float = 0,
) -> TicketChange | None:
    """The machine sees it gone."""
    repository.tickets.hold("terminal", till)
    repository.judgements.end_fault((till, component, code), at(after_s))
    return tickets.prove(repository, identity(component, code, till), WHY, at(after_s))


def told(component: str = "", **more: Any) -> Report:
    values: dict[str, Any] = {"origin": Origin.PHONE, "subject_kind": "terminal", "subject_id": TILL, "title": "broken"}
    return Report(**(values | {"component": component} | more))


def report(
    repository: Repository, component: str = "", *, actor: str = ANN, after_s: float = 0, **more: Any
) -> TicketChange:
    """A person reports something."""
    return tickets.report(repository, told(component, **more), RULE, actor=actor, now=at(after_s))


def act(repository: Repository, ticket_id: int, action: Action, *, after_s: float = 0, **more: Any) -> TicketChange:
    """A person does something, and says what it needs."""
    needs = {Action.REPAIR: {"mode": "remote"}, Action.PEND: {"pending_on": "parts"}}.get(action, {})
    said: dict[str, Any] = {"actor": ANN, "reason": "so it is", "now": at(after_s)}
    return tickets.act(repository, ticket_id, action, **(said | needs | more))


def tickets_of(store: Store) -> list[dict[str, Any]]:
    """Every ticket, as its row is."""
    with store.reading() as connection:
        table = table_of(tables.TicketRow)
        return [dict(row) for row in connection.execute(select(table).order_by(table.c.ticket_id)).mappings()]


def journal_of(store: Store, ticket_id: int) -> list[dict[str, Any]]:
    """A ticket's journal in its order."""
    with store.reading() as connection:
        table = table_of(tables.JournalRow)
        lines = select(table).where(table.c.ticket_id == ticket_id).order_by(table.c.journal_id)
        return [dict(row) for row in connection.execute(lines).mappings()]


def actions_in(store: Store, ticket_id: int) -> list[str]:
    return [line["action"] for line in journal_of(store, ticket_id)]


def assert_journals_tell_the_tickets(store: Store) -> None:
    """Every journal, replayed over the table, ends where its ticket stands; one open ticket has an identity."""
    found = tickets_of(store)
    for ticket in found:
        assert replayed(journal_of(store, ticket["ticket_id"])) == ticket["status"], ticket
    open_ones = [ticket for ticket in found if ticket["status"] not in FINAL]
    keys = [tuple(ticket[name] for name in ("subject_kind", "subject_id", "component", "code")) for ticket in open_ones]
    assert len(keys) == len(set(keys)), keys


def replayed(journal: list[dict[str, Any]]) -> str:
    assert (journal[0]["action"], journal[0]["from_status"]) == ("open", None)
    status = Status(journal[0]["to_status"])
    for line in journal[1:]:
        assert line["from_status"] == status, line
        status = step(status, Action(line["action"])) if line["action"] in set(Action) else status
        assert line["to_status"] == status, line
    return status
