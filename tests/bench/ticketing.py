"""Evidence that many processes, some of them killed at work, never end with two open tickets for one fault."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from sqlalchemy import insert, text
from tests.bench.figures import Experiment, Figure, Progress
from tests.live.postgres import Postgres
from tests.live.raising import BEGAN, TERMINALS

from tillwatch_collector.store import session, tables
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of

SEED = 20261122
PROCESSES = 8
FAULTS = 50_000
"""Raised on each database."""
KILLS = 40
"""On each database; who is killed is replaced."""

_OPEN = "status NOT IN ('closed', 'cancelled', 'merged')"
_DOUBLED = f"""
SELECT count(*) FROM (
  SELECT 1 FROM ticket WHERE {_OPEN} GROUP BY subject_kind, subject_id, component, code HAVING count(*) > 1
) AS doubled
"""
_UNTOLD = """
SELECT count(*) FROM ticket t WHERE t.status <> (
  SELECT j.to_status FROM journal j WHERE j.ticket_id = t.ticket_id ORDER BY j.journal_id DESC LIMIT 1
) OR 1 <> (SELECT count(*) FROM journal j WHERE j.ticket_id = t.ticket_id AND j.from_status IS NULL)
"""


@dataclass(kw_only=True)
class Outcome:
    """What became of it on one database."""

    raised: int = 0
    doubled: int = 0
    broken: int = 0
    """Tickets whose journal tells another story, and processes that ended in an error of their own."""


class Crowd:
    """Processes that raise faults until there are enough."""

    def __init__(self, url: str, rng: Random) -> None:
        self.raised = self.broken = 0
        self._url, self._rng, self._lock = url, rng, threading.Lock()
        self._running: list[subprocess.Popen[str]] = []

    def run(self, faults: int, kills: int, progress: Progress, what: str, look: "Look") -> None:
        """Raise `faults`, killing one of the crowd after each share of them."""
        for _ in range(PROCESSES):
            self._start(faults)
        for kill in range(1, kills + 1):
            self._until(faults * kill // (kills + 1), progress, faults, what)
            look.doubled()
            self._kill_one(faults)
        self._until(faults, progress, faults, what)
        for process in self._running:
            process.kill()
            process.wait()

    def _start(self, faults: int) -> None:
        command = [sys.executable, "-m", "tests.live.raising", self._url, str(self._rng.getrandbits(32)), str(faults)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._running.append(process)
        threading.Thread(target=self._count, args=(process,), daemon=True).start()

    def _count(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._lock:
                self.raised += int(line)
        if process.wait() > 0:
            self.broken += 1

    def _until(self, raised: int, progress: Progress, faults: int, what: str) -> None:
        while self.raised < raised:
            assert any(process.poll() is None for process in self._running), "every process has ended"
            progress(self.raised, faults, what)
            threading.Event().wait(0.2)

    def _kill_one(self, faults: int) -> None:
        victim = self._running.pop(self._rng.randrange(len(self._running)))
        victim.kill()
        self._start(faults)


class Look:
    """Plain SQL over what they wrote."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.doubled_max = 0

    def doubled(self) -> int:
        """How many identities have more than one open ticket now; the most that was ever seen is kept."""
        self.doubled_max = max(self.doubled_max, self._count(_DOUBLED))
        return self.doubled_max

    def untold(self) -> int:
        """How many tickets do not stand where their journal ends, or did not begin once."""
        return self._count(_UNTOLD)

    def _count(self, query: str) -> int:
        with self._store.reading() as connection:
            return int(connection.execute(text(query)).scalar_one())


def crowd_on(url: str, what: str, progress: Progress, *, faults: int = FAULTS, kills: int = KILLS) -> Outcome:
    """Let the crowd loose on one database."""
    session.migrate(url)
    store = Store.open(url)
    with store.transaction() as repository:
        rows = [{"terminal_id": f"t{number}", "life_cycle": "live", "created_at": BEGAN} for number in range(TERMINALS)]
        repository.connection.execute(insert(table_of(tables.TerminalRow)), rows)
    crowd, look = Crowd(url, Random(SEED)), Look(store)
    crowd.run(faults, kills, progress, what, look)
    outcome = Outcome(raised=crowd.raised, doubled=look.doubled(), broken=crowd.broken + look.untold())
    store.close()
    return outcome


@contextmanager
def databases() -> Iterator[tuple[tuple[str, str], ...]]:
    """Both databases, fresh."""
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgresql") as server:
        yield ("PostgreSQL", server.create("crowd")), ("SQLite", f"sqlite:///{folder}/crowd.db")


def double_tickets(progress: Progress) -> dict[str, float]:
    """Run both."""
    with databases() as found:
        outcomes = [crowd_on(url, f"faults on {name}", progress) for name, url in found]
    return {
        "double_tickets_faults": sum(outcome.raised for outcome in outcomes),
        "double_tickets": sum(outcome.doubled for outcome in outcomes),
        "double_tickets_broken": sum(outcome.broken for outcome in outcomes),
    }


EXPERIMENTS = (
    Experiment(
        name="double_tickets",
        door="evidence",
        seed=SEED,
        run=double_tickets,
        figures=(
            Figure(
                name="double_tickets_faults",
                unit="faults",
                aim=None,
                says=f"raised by {PROCESSES} processes on PostgreSQL and on SQLite, {KILLS} of them killed on each",
            ),
            Figure(name="double_tickets", unit="identities", aim=0, says="of them ever seen with two open tickets"),
            Figure(
                name="double_tickets_broken",
                unit="tickets",
                aim=0,
                says="that do not stand where their journal ends, and processes that failed by themselves",
            ),
        ),
    ),
)
