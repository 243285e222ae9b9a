"""A broker, a collector and its database as real processes, and what a bench reads of them: counts and CPU.

The collector runs as it is installed, with its default settings; only where it listens and keeps is set.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import psutil
from prometheus_client.parser import text_string_to_metric_families
from tests.bench.load import Load, Report
from tests.live.mosquitto import Mosquitto
from tests.live.postgres import Postgres
from tests.live.stack import Collector

Backend = Literal["sqlite", "postgresql"]

DRAIN_S = 2.0
"""What is not committed so soon after the last heartbeat was sent is a backlog."""

STALLED_S = 10.0
"""A backlog of which nothing is committed for so long is no backlog: what is missing is lost."""

RISE_PER_S = 100.0
"""How fast a rate rises, in heartbeats a second each second, to one that is judged: whoever is new costs several times
what an ordinary heartbeat does, and so does judge's first look at it."""

SETTLE_S = 10.0
"""Two beats of every terminal at that rate, before it is judged."""

GIVE_UP_S = 60.0
"""For a backlog to end."""

KEPT_SHARE = 0.995
"""Of what was due must have been sent: the last chunk may miss the end."""

_LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one rate showed."""

    report: Report
    committed: int
    drained_s: float
    """From the last heartbeat sent to the last one committed."""
    collector_cpu_us: float
    broker_cpu_us: float
    database_cpu_us: float

    @property
    def lost(self) -> int:
        return self.report.heartbeats - self.committed

    @property
    def sustained(self) -> bool:
        return self.report.heartbeats >= KEPT_SHARE * self.report.due and self.lost == 0 and self.drained_s <= DRAIN_S


class Rig:
    """One collector, in one process or with roles apart, on a plain Mosquitto and a database that flushes."""

    def __init__(self, folder: Path, backend: Backend, *, roles: Sequence[str] = ("serve",), judge: str = "") -> None:
        self._stack = ExitStack()
        self.backend = backend
        self.broker = Mosquitto(folder / "broker")
        self.postgres = Postgres(folder / "postgresql", durable=True) if backend == "postgresql" else None
        self.url = f"sqlite:///{folder / 'tillwatch.db'}"
        self._folder = folder
        self._tables = f'[broker]\nhost = "{self.broker.host}"\nport = {self.broker.port}\n'
        self._judge = judge
        self._roles = roles
        self._rate = 0.0
        self.processes: list[Collector] = []

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.broker)
            if self.postgres:
                undo.enter_context(self.postgres)
                self.url = self.postgres.create("tillwatch")
            for number, role in enumerate(self._roles, start=1):
                self.processes.append(undo.enter_context(self._process(role, f"{role}.{number}")))
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def load(self, seed: int) -> Load:
        return Load(self.broker.host, self.broker.port, seed=seed)

    def committed(self) -> int:
        """How many heartbeats the collector has committed as news."""
        return round(
            sum(_counted(process, "tillwatch_messages_total", kind="heartbeats") for process in self.processes)
        )

    @property
    def collector(self) -> Collector:
        """The first of its processes, which serves pages where one does all."""
        return self.processes[0]

    def step(
        self,
        load: Load,
        *,
        rate: float,
        seconds: float,
        meanwhile: Callable[[], None] | None = None,
    ) -> Step:
        """Let the rate rise and all settle; then send at it, do something meanwhile, and see what became of it.

        No break is between: a fleet takes none, and after one everybody would be late. CPU counts from then on.
        """
        before = self.committed()
        rise_s = abs(rate - self._rate) / RISE_PER_S
        ahead_s = rise_s + SETTLE_S
        load.begin(rate=rate, seconds=ahead_s + seconds, rise_s=rise_s)
        self._rate = rate
        time.sleep(ahead_s)
        met, cpu_s = self.committed(), self.cpu_s()
        if meanwhile:
            meanwhile()
        report = load.end()
        drained_s, committed = self._drained(before + report.heartbeats)
        counted = max(before + report.heartbeats - met, 1)
        spent_us = [(after - was) / counted * 1e6 for was, after in zip(cpu_s, self.cpu_s(), strict=True)]
        return Step(
            report=report,
            committed=committed - before,
            drained_s=drained_s,
            collector_cpu_us=spent_us[0],
            broker_cpu_us=spent_us[1],
            database_cpu_us=spent_us[2],
        )

    def cpu_s(self) -> tuple[float, float, float]:
        """CPU that collector, broker and database have used."""
        server = self.postgres.pid if self.postgres else None
        collector_s = sum(_cpu_s(each.process.pid) for each in self.processes)
        return collector_s, _cpu_s(self.broker.pid), _cpu_s(server) if server else 0.0

    def _process(self, role: str, name: str) -> Collector:
        return Collector(
            self._folder / name,
            hold_scale=1.0,
            settings=f'database_url = "{self.url}"\n',
            judge=self._judge,
            tables=self._tables,
            role=role,
            process=name,
        )

    def _drained(self, expected: int) -> tuple[float, int]:
        """How long it took until all were committed, and how many are."""
        began_s = moved_s = time.monotonic()
        committed = self.committed()
        while (
            committed < expected and time.monotonic() - moved_s < STALLED_S and time.monotonic() - began_s < GIVE_UP_S
        ):
            time.sleep(_LOOK_S)
            now = self.committed()
            if now > committed:
                committed, moved_s = now, time.monotonic()
        return time.monotonic() - began_s, committed


def sustained(
    rig: Rig, load: Load, rates: Sequence[float], seconds: float, said: Callable[[Step], None]
) -> Step | None:
    """Go up the rates; return what the last one showed that was sustained: nothing lost or waiting at its end."""
    best: Step | None = None
    for rate in rates:
        step = rig.step(load, rate=rate, seconds=seconds)
        said(step)
        if not step.sustained:
            break
        best = step
    return best


def _counted(process: Collector, name: str, **labels: str) -> float:
    """One of a process's own counters; 0 while it has not counted anything."""
    families = text_string_to_metric_families(process.text("/metrics"))
    samples = (sample for family in families for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name and sample.labels == labels)


def _cpu_s(pid: int) -> float:
    """CPU of a process and of the children that it has now."""
    process = psutil.Process(pid)
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            used = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total
