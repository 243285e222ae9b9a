"""An agent that is killed at random moments while its printer's conditions change, and the count of what was kept."""

import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.live.stack import Agent, Collector, until

from tillwatch_agent import outbox
from tillwatch_agent.runtime import OUTBOX_FILE
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.ports import PtyPort

FAULTS = ("cover_open", "paper_end", "paper_near_end", "cutter_error")
ALIVE_S_MAX = 2.5
"""Long enough to connect and to be in the middle of anything, short enough for a hundred kills."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Events that the agent numbered, those that are not stored, and those that are stored more than once."""

    events: int
    lost: int
    doubled: int


def kill_agent(
    collector: Collector,
    folder: Path,
    *,
    kills: int,
    rng: random.Random,
    progress: Callable[[int, int, str], None],
) -> Outcome:
    """Kill an agent `kills` times at random moments; let it drain; count."""
    with PtyPort(Printer(), folder / "printer") as printer:
        agent = Agent(folder, collector, "till-killed", printer.address, interval_s=1)
        try:
            _torment(agent, printer, kills, rng, progress)
            agent.process.start()
            until(lambda: collector.streams("till-killed"), "the agent to be heard")
            until(lambda: _summary(agent).unacknowledged == 0 or None, "the outbox to drain")
        finally:
            agent.process.stop()
    last = _summary(agent).event_seq_last
    until(lambda: collector.streams("till-killed")[0]["prefix_seq"] == last or None, "the last word to be stored")
    return _count(collector, _summary(agent))


def _torment(
    agent: Agent, printer: PtyPort, kills: int, rng: random.Random, progress: Callable[[int, int, str], None]
) -> None:
    for done in range(kills):
        agent.process.start()
        deadline = time.monotonic() + rng.uniform(0.3, ALIVE_S_MAX)
        while time.monotonic() < deadline:
            rng.choice((printer.set, printer.clear))(rng.choice(FAULTS))
            time.sleep(rng.uniform(0.02, 0.2))
        agent.process.kill()
        progress(done + 1, kills, "kills")


def _summary(agent: Agent) -> outbox.Summary:
    return outbox.summary(agent.state / OUTBOX_FILE)


def _count(collector: Collector, summary: outbox.Summary) -> Outcome:
    """Look into the database itself, so that nothing of the collector counts for it."""
    with sqlite3.connect(f"file:{collector.data / 'collector.db'}?mode=ro", uri=True) as database:
        of_stream = "FROM event WHERE terminal_id = 'till-killed' AND stream_id = ?"
        numbers = [row[0] for row in database.execute(f"SELECT event_seq {of_stream}", [summary.stream_id])]
        edge = "boot_epoch || kind || ifnull(component, '') || ifnull(code, '') || happened_at"
        repeated = database.execute(
            f"SELECT count(*) - count(DISTINCT {edge}) {of_stream}", [summary.stream_id]
        ).fetchone()[0]
        streams = database.execute("SELECT count(*) FROM stream WHERE terminal_id = 'till-killed'").fetchone()[0]
        conflicts = database.execute("SELECT count(*) FROM quarantine").fetchone()[0]
    assert streams == 1, "a kill must not cost the outbox"
    lost = set(range(1, summary.event_seq_last + 1)) - set(numbers)
    return Outcome(
        events=summary.event_seq_last, lost=len(lost), doubled=len(numbers) - len(set(numbers)) + repeated + conflicts
    )
