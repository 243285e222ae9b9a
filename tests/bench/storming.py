"""Evidence for the worst minute of a service desk: 10,000 terminals fall silent at once.

The fleet's last hour before the cut passes as fast as it can; from the first third miss on, judge ticks in real time,
and what is counted is the time until somebody who asks the database finds the parent.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert, text
from tests.bench.figures import Experiment, Figure, Progress
from tests.live.postgres import Postgres

from tillwatch_collector import policies
from tillwatch_collector.domain.notification import Routes, parse_routes
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.flows.judge import Judge, JudgeSettings, Rules
from tillwatch_collector.store import session, tables
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol import codec, topics
from tillwatch_protocol.heartbeat import Connection, Heartbeat

SEED = 20261122
TERMINALS = 10_000
PER_STORE = 10
CARRIERS = 7
INTERVAL_S = 60
THIRD_MISS_S = 3 * INTERVAL_S + 3
"""Three intervals and a grace of a twentieth of one, after the first of them was last heard."""
TICK_S = 0.25
LATEST_S = 60.0
START = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)

ROUTES = """
version = 1
[[route]]
name = "desk"
target.url_env = "TILLWATCH_TEST_DESK"
severity = "minor"
[[route]]
name = "night"
target.url_env = "TILLWATCH_TEST_NIGHT"
severity = "critical"
"""


class Storm:
    """One fleet over one database."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._place()
        self.now = START
        self.judge = self._load(parse_routes(ROUTES))
        self.judge.listening = self.judge.listening.broker_connected(START)

    def hear_all(self) -> None:
        """Hear everyone once, spread over an interval, as their ids spread them."""
        for second in range(INTERVAL_S):
            self.now = START + timedelta(seconds=second)
            batch = [_heartbeat(number, self.now) for number in range(second, TERMINALS, INTERVAL_S)]
            with self.store.transaction() as repository:
                ingest(repository, batch, self.now)
            self._tick()

    def pass_until(self, at: datetime) -> None:
        """Hear nothing from anyone, and listen all the time."""
        while self.now < at:
            self.now += timedelta(seconds=1)
            self._tick()

    def parent_s(self, third_miss_at: datetime) -> float:
        """Tick in real time until the parent can be found; returns how long after the first third miss that was."""
        began_s, began_at = time.monotonic(), self.now
        while (elapsed_s := time.monotonic() - began_s) < LATEST_S:
            self.now = began_at + timedelta(seconds=elapsed_s)
            self._tick()
            if self.count("SELECT count(*) FROM ticket WHERE subject_kind <> 'terminal'"):
                found_at = began_at + timedelta(seconds=time.monotonic() - began_s)
                return (found_at - third_miss_at).total_seconds()
            time.sleep(TICK_S)
        raise AssertionError(f"no parent within {LATEST_S:.0f} s")

    def count(self, query: str) -> int:
        with self.store.reading() as connection:
            return int(connection.execute(text(query)).scalar_one())

    def _tick(self) -> None:
        self.judge.listening = self.judge.listening.canary_returned(self.now, self.now)
        with self.store.transaction() as repository:
            self.judge.tick(repository, self.now)

    def _load(self, routes: Routes) -> Judge:
        with self.store.transaction() as repository:
            return Judge.load(repository, policies.load(), JudgeSettings(canary_s=5), START, rules=Rules(routes=routes))

    def _place(self) -> None:
        stores = TERMINALS // PER_STORE
        with self.store.transaction() as repository:
            connection = repository.connection
            connection.execute(
                insert(table_of(tables.MerchantRow)), [{"merchant_id": "chain", "name": "Chain", "created_at": START}]
            )
            connection.execute(
                insert(table_of(tables.StoreRow)),
                [
                    {
                        "store_id": f"s{number}",
                        "merchant_id": "chain",
                        "name": f"Store {number}",
                        "region": f"r{number % 10}",
                        "time_zone": "Europe/Berlin",
                        "opening_hours": {},
                        "holidays": {},
                        "carrier": f"carrier-{number % CARRIERS}",
                        "watch": "always",
                        "created_at": START,
                    }
                    for number in range(stores)
                ],
            )
            connection.execute(
                insert(table_of(tables.TerminalRow)),
                [
                    {
                        "terminal_id": f"t{number}",
                        "store_id": f"s{number // PER_STORE}",
                        "life_cycle": "live",
                        "created_at": START,
                    }
                    for number in range(TERMINALS)
                ],
            )


def storm(progress: Progress) -> dict[str, float]:
    """Run it on both databases; each figure is that of the worse one."""
    with _stores() as stores:
        outcomes = [_outcome(store, name, progress) for name, store in stores]
    return {name: max(outcome[name] for outcome in outcomes) for name in outcomes[0]}


def _outcome(store: Store, name: str, progress: Progress) -> dict[str, float]:
    progress(0, 3, f"{name}: {TERMINALS} terminals are heard")
    fleet = Storm(store)
    fleet.hear_all()
    progress(1, 3, f"{name}: and are not")
    third_miss_at = START + timedelta(seconds=THIRD_MISS_S)
    fleet.pass_until(third_miss_at - timedelta(seconds=1))
    parent_s = fleet.parent_s(third_miss_at)
    progress(2, 3, f"{name}: the last third miss")
    fleet.pass_until(START + timedelta(seconds=2 * THIRD_MISS_S))
    messages = fleet.count("SELECT coalesce(max(c), 0) FROM (SELECT count(*) AS c FROM notification GROUP BY route) n")
    return {
        "storm_parent_s": round(parent_s, 2),
        "storm_parents": fleet.count("SELECT count(*) FROM ticket WHERE subject_kind <> 'terminal'"),
        "storm_child_tickets": fleet.count("SELECT count(*) FROM ticket WHERE subject_kind = 'terminal'"),
        "storm_messages_per_route": messages,
        "storm_terminals": fleet.count("SELECT count(DISTINCT terminal_id) FROM fault WHERE ticket_id IS NOT NULL"),
    }


@contextmanager
def _stores() -> Iterator[list[tuple[str, Store]]]:
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgresql") as server:
        urls = {"SQLite": f"sqlite:///{folder}/storm.db", "PostgreSQL": server.create("storm")}
        stores = []
        for name, url in urls.items():
            session.migrate(url)
            stores.append((name, Store.open(url)))
        yield stores
        for _, store in stores:
            store.close()


def _heartbeat(number: int, now: datetime) -> Delivery:
    terminal_id = f"t{number}"
    heartbeat = Heartbeat(
        terminal_id=terminal_id,
        connection=Connection(stream_id=f"{number:032x}", boot_epoch=1, connection_no=1),
        beat_no=1,
        interval_s=INTERVAL_S,
        event_seq_last=0,
        sent_at=now,
        host_boot_id="boot-1",
        agent_version="1.0.0",
    )
    payload = codec.encode(heartbeat)
    return Delivery(topic=topics.HEARTBEAT.of(terminal_id), payload=payload, retained=False, received_at=now)


EXPERIMENTS = (
    Experiment(
        name="storm",
        door="evidence",
        seed=SEED,
        run=storm,
        figures=(
            Figure(
                name="storm_parent_s",
                unit="s",
                aim=5,
                says=f"from the first third miss of {TERMINALS:,} terminals that fall silent at once to their parent "
                "ticket, as the database shows it (the slower of SQLite and PostgreSQL)",
            ),
            Figure(name="storm_parents", unit="tickets", aim=1, says="parents that were opened"),
            Figure(name="storm_child_tickets", unit="tickets", aim=0, says="tickets of single terminals beside them"),
            Figure(name="storm_messages_per_route", unit="messages", aim=1, says="that each route was sent"),
            Figure(
                name="storm_terminals",
                unit="terminals",
                aim=TERMINALS,
                at_most=False,
                says="whose silence is a fault linked to the parent",
            ),
        ),
    ),
)
