"""The people of a world: who telephones, who works on tickets, who keeps maintenance, and who is told.

They use what the collector gives them: its desk, its inventory, its maintenance, its routes and its courier, of which
only the sender is ours. Card numbers stand in every text that somebody may write, as they do in life.

A change violates this when somebody reads more than tickets to know what to do.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sqlalchemy import func, select
from tests.scenarios.clock import Clock, chance
from tests.scenarios.years.troubles import Call, Troubles, Upkeep

from tillwatch_collector import policies
from tillwatch_collector.courier import LOOK_S, Courier
from tillwatch_collector.desk import Author, Desk
from tillwatch_collector.domain.delivery import DELIVERED, Outcome, Verdict
from tillwatch_collector.domain.inventory import LifeCycle
from tillwatch_collector.domain.maintenance import Maintenance, Scope
from tillwatch_collector.domain.notification import Route, Routes
from tillwatch_collector.domain.ticket import FINAL, Action, Origin, PendingOn, RepairMode, Status, actions_of
from tillwatch_collector.flows import notices
from tillwatch_collector.flows.changes import Move, TicketChange
from tillwatch_collector.flows.inventory import put_terminal
from tillwatch_collector.flows.tickets import Report
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.notifiers import Letter
from tillwatch_collector.routing import styles
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import NotificationRow, TicketRow, table_of

TICKET, NOTIFICATION = table_of(TicketRow), table_of(NotificationRow)
_DUE = select(func.min(NOTIFICATION.c.due_at)).where(NOTIFICATION.c.state == "due")

logging.getLogger("tillwatch_collector.courier").addHandler(logging.NullHandler())
"""What the courier says of receivers that are away belongs to the story."""

CARD = "4111 1111 1111 1111"
TRACK = ";5555555555554444=27121010000012300000?"
ANN, BOB = "person:ann", "provider:bob"

ROUTES = Routes.model_validate(
    {
        "version": 1,
        "route": [
            {"name": "desk", "severity": "minor", "group_s": 30, "target": {"url_env": "DESK"}},
            {"name": "berlin", "severity": "major", "regions": ["berlin"], "target": {"url_env": "BERLIN"}},
            {"name": "chief", "severity": "critical", "group_s": 120, "target": {"url_env": "CHIEF"}},
        ],
    }
)
AWAY_SHARE = 0.1
"""Of sends that fail, to be tried again."""

Doing = Callable[[Desk, int, Author], TicketChange | int | None]

WORK: tuple[tuple[Action | None, Doing], ...] = (
    (Action.DIAGNOSE, lambda desk, t, by: desk.act(t, Action.DIAGNOSE, by, reason=f"asked: paid with {CARD}")),
    (None, lambda desk, t, by: desk.comment(t, f"The receipt said {CARD} and {TRACK}", by)),
    (None, lambda desk, t, by: desk.assign(t, BOB, by, reason=f"{CARD} is yours")),
    (Action.REPAIR, lambda desk, t, by: desk.act(t, Action.REPAIR, by, reason="on my way", mode=RepairMode.ON_SITE)),
    (None, lambda desk, t, by: desk.attach(t, f"log {CARD}.txt", "text/plain", f"T {TRACK}\n".encode(), by)),
    (Action.PEND, lambda desk, t, by: desk.act(t, Action.PEND, by, reason="a part", pending_on=PendingOn.PARTS)),
    (Action.RESUME, lambda desk, t, by: desk.act(t, Action.RESUME, by, reason="the part is there")),
    (None, lambda desk, t, by: desk.watch(t, BOB, by)),
    (Action.VERIFY, lambda desk, t, by: desk.act(t, Action.VERIFY, by, reason="changed, to be tried")),
)
"""What is done with a ticket, in this order, as far as it is open then."""


class Told(Protocol):
    """Who looks on at people."""

    def acted(self, change: TicketChange) -> None: ...
    def called(self, call: Call, change: TicketChange) -> None: ...
    def letter(self, route: Route, letter: Letter) -> None: ...


@dataclass(kw_only=True, eq=False)
class Receiver:
    """Takes messages, from any thread, and at times is away; what it took is looked at after the courier's round."""

    seed: int
    taken: list[tuple[Route, Letter]] = field(default_factory=list)
    _attempts: Counter[int] = field(default_factory=Counter)

    def send(self, route: Route, letter: Letter, _now: datetime) -> Outcome:
        """Take a message, or fail."""
        self._attempts[letter.delivery_id] += 1
        attempt = f"{letter.delivery_id}:{self._attempts[letter.delivery_id]}"
        if chance(self.seed, f"receiver:{attempt}").random() < AWAY_SHARE:
            return Outcome(verdict=Verdict.FAILED, error="expected an answer, got none")
        self.taken.append((route, letter))
        return DELIVERED

    def take(self) -> list[tuple[Route, Letter]]:
        """Return what came since the last call, in the order of the messages."""
        taken, self.taken = self.taken, []
        return sorted(taken, key=lambda pair: pair[1].delivery_id)


@dataclass(kw_only=True, eq=False)
class People:
    """Everyone at the telephone."""

    seed: int
    clock: Clock
    store: Store
    troubles: Troubles
    told: Told
    wake: Callable[[], None]
    """Told before the inventory or the maintenance is altered."""
    routes: Routes = ROUTES
    desk: Desk = field(init=False)
    courier: Courier = field(init=False)
    receiver: Receiver = field(init=False)
    _posts_s: float = math.inf

    def __post_init__(self) -> None:
        """Sit down, and note what the day brings."""
        self.desk = Desk(store=self.store, policy=policies.load(None), tell=self._tell)
        self.receiver = Receiver(seed=self.seed)
        self.courier = Courier(
            self.store,
            self.routes,
            styles(self.routes, None),
            sender=self.receiver,
            metrics=Metrics(),
            now=lambda: self.clock.now,
            jitter=lambda: 0.5,
        )
        for call in self.troubles.calls:
            self.clock.call_at(call.at_s, lambda call=call: self._call(call))  # type: ignore[misc]
        for upkeep in self.troubles.upkeep:
            self.clock.call_at(upkeep.span.start_s - 600, lambda upkeep=upkeep: self._plan(upkeep))  # type: ignore[misc]
            for at_s in (upkeep.span.start_s, upkeep.span.end_s):
                self.clock.call_at(at_s, self.wake)
        for name, span in self.troubles.repairs:
            self._turn(span.start_s, name, LifeCycle.IN_REPAIR)
            self._turn(span.end_s, name, LifeCycle.LIVE)

    def hear(self, change: TicketChange) -> None:
        """Begin to work on what is opened, and close what was proved."""
        at_s, rng = self.clock.now_s, chance(self.seed, f"work:{change.ticket_id}:{self.clock.now_s}")
        if change.move in {Move.OPENED, Move.REOPENED}:
            for number, (action, do) in enumerate(WORK, start=1):
                self.clock.call_at(at_s + number * rng.uniform(40, 400), self._step(change.ticket_id, action, do))
        elif change.move is Move.RESOLVED and rng.random() < 0.5:
            self.clock.call_at(at_s + rng.uniform(600, 7200), self._step(change.ticket_id, Action.CLOSE, _close))

    def post(self) -> None:
        """Let the courier go when the first message is due, and again as long as there are any."""
        with self.store.reading() as connection:
            due_at = connection.scalar(_DUE)
        soon_s = self.clock.now_s + LOOK_S
        due_s = math.inf if due_at is None else max((due_at - self.clock.at(0)).total_seconds(), soon_s)
        if due_s < self._posts_s:
            self._posts_s = due_s
            self.clock.call_at(due_s, self._post)

    def close(self) -> None:
        """Go home."""
        self.courier.close()

    # --- one thing each

    def _by(self, actor: str = ANN) -> Author:
        return Author(actor=actor, now=self.clock.now)

    def _tell(self, repository: Repository, changes: Sequence[TicketChange], now: datetime) -> None:
        notices.tell(repository, changes, self.routes, now)

    def _post(self) -> None:
        self._posts_s = math.inf
        self.courier.round()
        for route, letter in self.receiver.take():
            self.told.letter(route, letter)
        self.post()

    def _step(self, ticket_id: int, action: Action | None, do: Doing) -> Callable[[], None]:
        def step() -> None:
            status = _status(self.store, ticket_id)
            if status not in FINAL if action is None else action in actions_of(status):
                self._acted(do(self.desk, ticket_id, self._by()))

        return step

    def _acted(self, done: TicketChange | int | None) -> None:
        if isinstance(done, TicketChange):
            self.told.acted(done)
            self.hear(done)
            self.post()

    def _call(self, call: Call) -> None:
        report = Report(
            origin=Origin.PHONE,
            subject_kind="terminal",
            subject_id=call.terminal_id,
            component=call.component,
            title=f"It does not work, card {CARD}",
            description=f"Somebody wanted to pay with {TRACK}",
            contact=f"Ms. {CARD}",
        )
        change = self.desk.report(report, self._by("person:caller"))
        self.told.called(call, change)
        self._acted(change)

    def _plan(self, upkeep: Upkeep) -> None:
        at = self.clock.at
        maintenance = Maintenance(
            scope_kind=Scope(upkeep.scope),
            scope_id=upkeep.scope_id,
            starts_at=at(upkeep.span.start_s),
            ends_at=at(upkeep.span.end_s),
            reason="new shelves",
        )
        with self.store.transaction() as repository:
            repository.maintenance.add(maintenance, actor=ANN, now=self.clock.now)

    def _turn(self, at_s: float, terminal_id: str, life_cycle: LifeCycle) -> None:
        def turn() -> None:
            self.wake()
            with self.store.transaction() as repository:
                known = Inventory(repository.connection).terminal(terminal_id)
                assert known is not None
                turned = known.model_copy(update={"life_cycle": life_cycle})
                put_terminal(repository, turned, actor=ANN, now=self.clock.now)

        self.clock.call_at(at_s, turn)


def _close(desk: Desk, ticket_id: int, by: Author) -> TicketChange:
    return desk.act(ticket_id, Action.CLOSE, by, reason=f"done; nobody pays with {CARD} any more")


def _status(store: Store, ticket_id: int) -> Status:
    with store.reading() as connection:
        return Status(str(connection.scalar(select(TICKET.c.status).where(TICKET.c.ticket_id == ticket_id))))
