"""Shops under a judge that listens through canaries: time is stepped, in seconds from START."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tests.collector.databases import rows
from tests.collector.words import START, at, delivered, heartbeat, offline, printer

from tillwatch_collector.domain.maintenance import Maintenance
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.ticket import Action
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.flows.judge import Judge, JudgeEffects, JudgeSettings, Rules
from tillwatch_collector.policies import load
from tillwatch_collector.store import tables
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.topics import Message
from tillwatch_protocol.vocabulary import Health

if TYPE_CHECKING:
    from tillwatch_collector.flows.changes import TicketChange

SETTINGS = JudgeSettings(canary_s=5, lost_hold_s=10)
UPLINK = "network:uplink"
WELL = (Reading(component=UPLINK, health=Health.OK), printer())

Identity = tuple[str, str, str]
"""(`subject_id`, component, code)."""


class Shop:
    """A store with a judge over it: time goes on by a canary and a tick every few seconds."""

    def __init__(
        self,
        store: Store,
        *,
        policy: Policy | None = None,
        settings: JudgeSettings = SETTINGS,
        rules: Rules | None = None,
        now_s: float = 0.0,
    ) -> None:
        self.store = store
        self.policy = policy or load()
        self.settings = settings
        self.rules = rules
        self.now_s = now_s
        self.changes: list[TicketChange] = []
        self.states: list[tuple[str, str, str]] = []
        self.judge = self.load()
        self.judge.listening = self.judge.listening.broker_connected(at(now_s))

    def load(self) -> Judge:
        with self.store.transaction() as repository:
            return Judge.load(repository, self.policy, self.settings, at(self.now_s), rules=self.rules)

    def restart(self) -> None:
        """Begin anew, as another process: rows are all that is left."""
        self.judge = self.load()
        self.judge.listening = self.judge.listening.broker_connected(at(self.now_s))

    def take(self, *batch: Message | Delivery) -> None:
        deliveries = [one if isinstance(one, Delivery) else delivered(one, self.now_s) for one in batch]
        with self.store.transaction() as repository:
            ingest(repository, deliveries, at(self.now_s))

    def tick(self) -> JudgeEffects:
        with self.store.transaction() as repository:
            effects = self.judge.tick(repository, at(self.now_s))
        self.changes += effects.tickets
        self.states += [(p.terminal_id, p.state, p.reason) for p in effects.presences]
        return effects

    def until(self, end_s: float, *, listening: bool = True) -> None:
        """Pass the time, listening or not."""
        while self.now_s < end_s:
            self.now_s += self.settings.canary_s
            if listening:
                self.judge.listening = self.judge.listening.canary_returned(at(self.now_s - 1), at(self.now_s))
            self.tick()

    def listen_until(self, end_s: float) -> None:
        """Pass the time and hear canaries, while nobody ticks."""
        while self.now_s < end_s:
            self.now_s += self.settings.canary_s
            self.judge.listening = self.judge.listening.canary_returned(at(self.now_s - 1), at(self.now_s))

    def beat(self, beats: Iterable[Heartbeat], *, every_s: float = 60) -> None:
        """Hear heartbeats, a promised interval apart."""
        for one in beats:
            self.take(one)
            self.until(self.now_s + every_s)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self.store, query)

    @property
    def state(self) -> str:
        return str(self.states[-1][1])

    @property
    def moves(self) -> list[tuple[str, Identity]]:
        return [(str(t.move), (t.subject_id, t.component, t.code)) for t in self.changes]

    @property
    def open_tickets(self) -> list[Identity]:
        return [
            (str(subject_id), str(component), str(code))
            for subject_id, component, code in self.rows(
                "SELECT subject_id, component, code FROM ticket"
                " WHERE status NOT IN ('resolved', 'closed', 'cancelled', 'merged') ORDER BY 1, 2, 3"
            )
        ]

    def journal(self, action: str) -> list[tuple[str, dict[str, Any]]]:
        """Return reason and evidence of every such step, the first first."""
        found = self.rows(f"SELECT reason, evidence FROM journal WHERE action = '{action}' ORDER BY journal_id")
        return [(reason, json.loads(evidence)) for reason, evidence in found]

    # --- what people do

    def act(self, ticket_id: int, action: Action, **details: Any) -> None:
        with self.store.transaction() as repository:
            now = at(self.now_s)
            change = tickets.act(repository, ticket_id, action, actor="person:ann", reason="so", now=now, **details)
        self.changes.append(change)

    def maintain(self, scope: str, scope_id: str | None = None, *, for_s: float | None = None, **more: Any) -> int:
        """Begin a maintenance at once."""
        ends_at = None if for_s is None else at(self.now_s + for_s)
        described = {"scope_kind": scope, "scope_id": scope_id, "ends_at": ends_at, "reason": "a new line"} | more
        with self.store.transaction() as repository:
            maintenance = Maintenance.model_validate(described)
            return repository.maintenance.add(maintenance, actor="person:ann", now=at(self.now_s))

    def cancel(self, maintenance_id: int) -> None:
        with self.store.transaction() as repository:
            now = at(self.now_s)
            repository.maintenance.cancel(maintenance_id, actor="person:ann", reason="done early", now=now)

    def enter(self, terminal_id: str, **values: Any) -> None:
        """Change what the inventory knows of a terminal, as its doors do."""
        with self.store.transaction() as repository:
            terminal = table_of(tables.TerminalRow)
            repository.connection.execute(
                terminal.update().where(terminal.c.terminal_id == terminal_id).values(**values)
            )
            repository.facts.mark([terminal_id])


class Street(Shop):
    """Stores whose tills beat by themselves, a share of them at every step; those that are `dead` do not."""

    def __init__(
        self,
        store: Store,
        stores: Mapping[str, int],
        *,
        step_s: int = 15,
        interval_s: int = 60,
        place: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.step_s, self.interval_s = step_s, interval_s
        self.tills = {f"{name}-{till:02}": name for name, count in stores.items() for till in range(count)}
        self.dead: set[str] = set()
        self.says: dict[str, Sequence[Reading]] = {}
        """What a till's components say, where it is not that all is well."""
        self.beats = 0
        super().__init__(store, **{"settings": JudgeSettings(canary_s=step_s)} | more)
        self._place(stores, place or {})
        self.live(120)

    def live(self, span_s: float, *, listening: bool = True) -> None:
        """Let time pass; who is not dead is heard, if anybody listens."""
        end_s, shifts = self.now_s + span_s, self.interval_s // self.step_s
        while self.now_s < end_s:
            self.now_s += self.step_s
            if listening:
                shift = int(self.now_s // self.step_s) % shifts
                self.hear(name for number, name in enumerate(self.tills) if number % shifts == shift)
                self.judge.listening = self.judge.listening.canary_returned(at(self.now_s - 1), at(self.now_s))
            self.tick()

    def hear(self, names: Iterable[str]) -> None:
        """Hear a heartbeat of each that is not dead."""
        batch = []
        for name in names:
            if name not in self.dead:
                self.beats += 1
                said = self.says.get(name, WELL)
                batch.append(heartbeat(self.beats, *said, terminal_id=name, interval_s=self.interval_s))
        self.take(*batch)

    def part(self, *names: str) -> None:
        """Let the broker tell that it lost these tills' connections."""
        self.take(*[offline(terminal_id=name) for name in names])

    def these(self, *stores: str) -> set[str]:
        return {name for name, store in self.tills.items() if store in stores}

    def complain(self, names: Iterable[str], code: str = "dns_failure", component: str = UPLINK) -> None:
        """Let tills say that something is wrong with a component."""
        wrong = Reading(component=component, health=Health.FAULT, conditions=(Condition(code=code, since=START),))
        kept = tuple(reading for reading in WELL if reading.component != component)
        self.says |= dict.fromkeys(names, (wrong, *kept))

    def watch_always(self, store_id: str) -> None:
        """Change how a store is watched, as the inventory's doors do."""
        with self.store.transaction() as repository:
            row = table_of(tables.StoreRow)
            repository.connection.execute(row.update().where(row.c.store_id == store_id).values(watch="always"))
            repository.facts.mark(sorted(self.these(store_id)))

    def _place(self, stores: Mapping[str, int], place: Mapping[str, Any]) -> None:
        entered: dict[str, Any] = {"merchant_id": "chain", "time_zone": "UTC", "created_at": START, "watch": "always"}
        entered |= {"opening_hours": {}, "holidays": {}, **place}
        with self.store.transaction() as repository:
            connection = repository.connection
            merchant = {"merchant_id": "chain", "name": "The Chain", "created_at": START}
            connection.execute(table_of(tables.MerchantRow).insert().values(merchant))
            for name in stores:
                connection.execute(table_of(tables.StoreRow).insert().values(store_id=name, name=name, **entered))
            for name, store_id in self.tills.items():
                row = {"terminal_id": name, "store_id": store_id, "life_cycle": "live", "created_at": START}
                connection.execute(table_of(tables.TerminalRow).insert().values(row))


def silent(subject_id: str) -> Identity:
    return subject_id, "agent:self", "silent"
