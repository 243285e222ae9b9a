"""From tickets that moved to messages that are claimed, sent and noted: on both databases, time is stepped."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.collector.databases import Databases, rows
from tests.collector.shell_fixtures import NOW, Web, describe

from tillwatch_collector import policies, routing
from tillwatch_collector.domain.delivery import ATTEMPTS_MAX, CLAIM_S, DELIVERED, Outcome, State, Verdict
from tillwatch_collector.domain.notification import Item, Route, Routes, Said, Word
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import Action, TicketIdentity
from tillwatch_collector.flows import notices, tickets
from tillwatch_collector.flows.changes import MACHINE, Move, TicketChange, Why
from tillwatch_collector.flows.notices import Outbound
from tillwatch_collector.store import notifications
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

FAILED = Outcome(verdict=Verdict.FAILED, error="expected 2xx, got 503")
WHY = Why(actor=MACHINE, reason="it lasted", evidence={})
RULE = policies.load(None).rule("silent")


def route(name: str = "ops", **more: Any) -> Route:
    return Route.model_validate({"name": name, "target": {"url_env": "OPS"}} | more)


def identity(subject_id: str = "t-1", code: str = "silent", subject_kind: str = "terminal") -> TicketIdentity:
    return TicketIdentity(subject_kind=subject_kind, subject_id=subject_id, component="agent:self", code=code)


@dataclass(kw_only=True)
class Office:
    """A collector's tickets and routes, and what left."""

    store: Store
    routes: Routes = field(default_factory=lambda: Routes(version=1, route=(route(),)))
    now: datetime = NOW

    def after(self, seconds: float) -> "Office":
        self.now += timedelta(seconds=seconds)
        return self

    def open(self, subject_id: str = "t-1", **more: Any) -> TicketChange:
        with self.store.transaction() as repository:
            change = tickets.open_or_recur(repository, identity(subject_id, **more), RULE, WHY, self.now)
            self.tell(repository, change)
        return change

    def prove(self, subject_id: str = "t-1") -> None:
        with self.store.transaction() as repository:
            change = tickets.prove(repository, identity(subject_id), WHY, self.now)
            assert change is not None
            self.tell(repository, change)

    def tell(self, repository: Repository, *changes: TicketChange) -> None:
        notices.tell(repository, changes, self.routes, self.now)

    def take(self, count_max: int = 10) -> list[Outbound]:
        styles = routing.styles(self.routes, None)
        with self.store.transaction() as repository:
            return notices.take(repository, self.routes, styles, self.now, count_max=count_max)

    def settle(self, outbound: Outbound, outcome: Outcome = DELIVERED) -> State:
        with self.store.transaction() as repository:
            return notices.settle(repository, outbound, outcome, 0.0, self.now)

    def remind(self) -> int:
        with self.store.transaction() as repository:
            return notices.remind(repository, self.routes, self.now)

    def sent(self) -> list[tuple[str, str]]:
        """Send all that is due; which route got which title."""
        found = []
        while taken := self.take():
            for one in taken:
                found.append((one.claimed.route, one.message.title))
                self.settle(one)
        return found


@pytest.fixture
def office(store: Store) -> Office:
    describe(store)
    return Office(store=store)


def test_what_opened_is_told_once_its_company_has_had_time_to_come(office: Office) -> None:
    office.open("t-1")
    assert office.take() == []
    office.after(20).open("t-2")
    assert office.after(9).sent() == []
    assert office.after(1).sent() == [("ops", "2 tickets, at worst critical: 2 opened")]
    assert office.after(3600).sent() == []


def test_a_recurrence_is_not_told_and_the_end_is(office: Office) -> None:
    office.open()
    office.after(30).sent()
    office.after(30).open()
    assert office.after(30).sent() == []
    office.prove()
    assert office.after(30).sent() == [("ops", "resolved (critical): Terminal is silent")]


def test_what_is_rolled_back_is_not_told(office: Office) -> None:
    with pytest.raises(ZeroDivisionError):
        _open_and_fail(office)
    assert office.after(60).sent() == []
    office.open()
    assert len(office.after(60).sent()) == 1


def _open_and_fail(office: Office) -> None:
    with office.store.transaction() as repository:
        office.tell(repository, tickets.open_or_recur(repository, identity(), RULE, WHY, office.now))
        raise ZeroDivisionError


def test_routes_are_told_by_store_and_region_of_the_ticket(office: Office) -> None:
    office.routes = Routes(version=1, route=(route("east", regions=["east"]), route("two", stores=["s-2"])))
    office.open("t-1")
    assert office.after(30).sent() == [("east", "opened (critical): Terminal is silent")]
    office.open("t-2")
    assert office.after(30).sent() == [("two", "opened (critical): Terminal is silent")]
    office.open("t-3")
    assert office.after(30).sent() == []


def test_an_outage_reaches_the_routes_of_the_stores_whose_faults_are_its_own(office: Office) -> None:
    office.routes = Routes(version=1, route=(route("one", stores=["s-1"]), route("two", stores=["s-2"])))
    with office.store.transaction() as repository:
        opened = tickets.open_or_recur(repository, identity("telco-1", subject_kind="carrier"), RULE, WHY, office.now)
        hit(repository, opened, "t-1")
        office.tell(repository, opened)
    assert [name for name, _ in office.after(30).sent()] == ["one"]
    with office.store.transaction() as repository:
        hit(repository, opened, "t-2")
        widened = tickets.open_or_recur(repository, identity("telco-1", subject_kind="carrier"), RULE, WHY, office.now)
        assert widened.move is Move.RECURRED
        office.tell(repository, widened)
    assert [name for name, _ in office.after(30).sent()] == ["two"]


def hit(repository: Repository, outage: TicketChange, terminal_id: str) -> None:
    key = (terminal_id, "agent:self", "silent")
    repository.judgements.begin_fault(key, severity="critical", happened_at=NOW, now=NOW, ticket_id=outage.ticket_id)


def test_children_are_told_as_their_parent(office: Office) -> None:
    parent = office.open("s-1", subject_kind="store")
    with office.store.transaction() as repository:
        child = tickets.open_or_recur(repository, identity("t-1"), RULE, WHY, office.now, parent_id=parent.ticket_id)
        office.tell(repository, child)
    (message,) = office.after(30).take()
    assert [item.ticket_id for item in message.claimed.items] == [parent.ticket_id]


def test_a_person_who_cancels_ends_it_for_who_was_told(office: Office) -> None:
    opened = office.open()
    office.after(30).sent()
    with office.store.transaction() as repository:
        change = tickets.act(
            repository, opened.ticket_id, Action.CANCEL, actor="person:ann", reason="a test", now=office.now
        )
        office.tell(repository, change)
    assert office.after(30).sent() == [("ops", "cancelled (critical): Terminal is silent")]


# --- a storm


def test_a_storm_of_ten_thousand_is_one_message_for_each_route(office: Office) -> None:
    office.routes = Routes(version=1, route=(route("a"), route("b", language="zh-CN")))
    with office.store.transaction() as repository:
        changes = [
            tickets.open_or_recur(repository, identity(f"x-{number}"), RULE, WHY, office.now) for number in range(40)
        ]
        storm(office, repository, changes)
    first, second = office.after(30).take()
    assert (len(first.claimed.items), len(second.claimed.items)) == (10_000, 10_000)
    assert first.message.title.startswith("40 tickets, at worst critical")
    assert second.message.title.startswith("40 张工单")
    assert rows(office.store, "SELECT count(*) FROM notification") == [(2,)]


def storm(office: Office, repository: Repository, changes: Sequence[TicketChange]) -> None:
    """Append until there are ten thousand, in as many steps as ticks would."""
    office.tell(repository, *changes)
    word = Word(said=Said.OPENED, severity=Severity.CRITICAL)
    items = [Item(ticket_id=changes[number % 40].ticket_id, word=word) for number in range(10_000 - 40)]
    for one in office.routes.route:
        for begin in range(0, len(items), 970):
            part = items[begin : begin + 970]
            repository.notifications.tell(one.name, part, due_at=office.now, now=office.now)


def test_a_message_that_is_full_is_followed_by_another(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "ITEMS_MAX", 3)
    for number in range(5):
        office.open(f"t-{number}")
    assert [title for _, title in office.after(30).sent()] == [
        "3 tickets, at worst critical: 3 opened",
        "2 tickets, at worst critical: 2 opened",
    ]


# --- sending


def test_a_failure_is_tried_again_with_the_same_words_and_what_comes_meanwhile_waits_behind_it(
    office: Office,
) -> None:
    office.open("t-1")
    (first,) = office.after(30).take()
    assert office.settle(first, FAILED) is State.DUE
    office.prove("t-1")
    office.open("t-2")
    assert office.after(9).sent() == []
    (again,) = office.after(1).take()
    assert (again.claimed.notification_id, again.claimed.attempts) == (first.claimed.notification_id, 2)
    assert again.message == first.message
    assert office.after(100).take() == []
    assert office.settle(again) is State.SENT
    assert office.sent() == [("ops", "2 tickets, at worst critical: 1 opened, 1 resolved")]


def test_after_its_last_attempt_a_message_is_given_up_and_the_next_one_goes(office: Office) -> None:
    office.open()
    for attempt in range(1, ATTEMPTS_MAX + 1):
        (one,) = office.after(4000).take()
        assert office.settle(one, FAILED) is (State.DUE if attempt < ATTEMPTS_MAX else State.GIVEN_UP)
    assert rows(office.store, "SELECT state, attempts, error FROM notification") == [
        ("given_up", ATTEMPTS_MAX, "expected 2xx, got 503")
    ]
    office.prove()
    assert len(office.after(30).sent()) == 1


def test_who_dies_between_sending_and_noting_lets_it_be_told_once_more(office: Office) -> None:
    office.open()
    (sent,) = office.after(30).take()
    assert office.after(CLAIM_S - 1).take() == []
    (once_more,) = office.after(1).take()
    assert once_more.message == sent.message
    assert office.settle(once_more) is State.SENT
    assert office.after(CLAIM_S).take() == []


def test_a_claim_that_is_over_notes_nothing(office: Office) -> None:
    office.open()
    (slow,) = office.after(30).take()
    (fast,) = office.after(CLAIM_S).take()
    office.settle(fast)
    office.settle(slow, FAILED)
    assert rows(office.store, "SELECT state, attempts, error FROM notification") == [("sent", 2, None)]


def test_the_message_of_a_route_that_is_no_more_has_nowhere_to_go(office: Office) -> None:
    office.open()
    office.routes = Routes(version=1)
    (lost,) = office.after(30).take()
    assert lost.route is None


def test_what_a_route_hears_outside_its_hours_is_one_message_when_they_begin(office: Office) -> None:
    hours = {"hours": {"sun": [["08:00", "20:00"]]}}
    office.routes = Routes(version=1, route=(route(time_zone="Asia/Shanghai", when=hours),))
    office.open("t-1")
    office.after(3600).prove("t-1")
    office.after(3600).open("t-2")
    assert office.after(9 * 3600).sent() == []
    assert office.after(3600).sent() == [("ops", "2 tickets, at worst critical: 1 opened, 1 resolved")]


# --- reminders


def test_what_is_still_open_is_reminded_of_and_what_ended_is_not(office: Office) -> None:
    office.routes = Routes(version=1, route=(route(repeat_s=3600),))
    office.open("t-1")
    office.open("t-2")
    office.after(30).sent()
    office.after(1800).prove("t-2")
    office.after(30).sent()
    assert office.after(1700).remind() == 0
    assert office.after(100).remind() == 1
    assert office.remind() == 0
    assert office.after(30).sent() == [("ops", "still open (critical): Terminal is silent")]
    assert office.after(3600).remind() == 1


def test_of_a_part_of_something_larger_nobody_is_reminded_by_itself(office: Office) -> None:
    office.routes = Routes(version=1, route=(route(repeat_s=3600),))
    child, parent = office.open("t-1"), office.open("s-1", subject_kind="store")
    office.after(30).sent()
    with office.store.transaction() as repository:
        tickets.set_parent(
            repository, child.ticket_id, parent.ticket_id, actor="person:ann", reason="the line", now=office.now
        )
    assert office.after(3600).remind() == 1
    (message,) = office.after(30).take()
    assert [item.ticket_id for item in message.claimed.items] == [parent.ticket_id]


@pytest.mark.parametrize("more", [{}, {"repeat_s": 3600, "moves": ["opened"]}])  # never, and not wanted
def test_who_wants_no_reminders_gets_none(office: Office, more: dict[str, Any]) -> None:
    office.routes = Routes(version=1, route=(route(**more),))
    office.open()
    assert office.after(7200).remind() == 0


# --- many at once


def test_any_number_of_couriers_send_each_message_once(
    databases: Databases | None, database_url: str, office: Office
) -> None:
    store = office.store if databases is None else Store.open(database_url)
    office.store = store
    office.routes = Routes(version=1, route=tuple(route(f"r-{number}", group_s=0) for number in range(40)))
    office.open("t-1")

    def courier(_number: int) -> list[int]:
        own = store if databases is None else Store.open(database_url)
        mine = Office(store=own, routes=office.routes, now=office.now)
        taken: list[int] = []
        for _ in range(20):
            some = mine.take(count_max=3)
            taken += [one.claimed.notification_id for one in some]
            for one in some:
                mine.settle(one)
        if databases is not None:
            own.close()
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [number for some in pool.map(courier, range(4)) for number in some]
    assert len(taken) == len(set(taken)) == 40
    assert rows(store, "SELECT state, attempts, count(*) FROM notification GROUP BY 1, 2") == [("sent", 1, 40)]
    if databases is not None:
        store.close()


# --- the log


def test_the_log_says_what_was_said_to_whom(office: Office) -> None:
    office.routes = Routes(version=1, route=(route("a"), route("b", stores=["s-2"])))
    first, second = office.open("t-1"), office.open("t-2")
    office.after(30).sent()
    client = Web(database=office.store).client(Scope.READ)
    answered = client.get("/api/v1/notifications", params={"ticket_id": second.ticket_id}).json()
    assert [(row["route"], row["state"], row["items_total"]) for row in answered["items"]] == [
        ("a", "sent", 2),
        ("b", "sent", 1),
    ]
    assert len(client.get("/api/v1/notifications", params={"route": "a", "state": "sent"}).json()["items"]) == 1
    assert client.get("/api/v1/notifications", params={"state": "due"}).json()["total"] == 0
    one = client.get(f"/api/v1/notifications/{answered['items'][0]['notification_id']}").json()
    assert one["items"] == [
        {"ticket_id": first.ticket_id, "said": "opened:critical:0"},
        {"ticket_id": second.ticket_id, "said": "opened:critical:0"},
    ]
    assert client.get("/api/v1/notifications/999").status_code == 404
    assert client.get("/api/v1/notifications", params={"state": "lost"}).status_code == 422
