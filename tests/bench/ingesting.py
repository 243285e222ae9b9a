"""How much the collector takes in, how soon it is kept, and how soon a fault is a ticket; every part is a real one."""

import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import resources
from pathlib import Path

from tests.bench.figures import Experiment, Figure, Progress
from tests.bench.probes import FAULTS_PER_S, Probes, percentile
from tests.bench.rig import Backend, Rig, Step, sustained

from tillwatch_collector.store.session import Store

SEED = 20261121
STEP_S = 15.0
COARSE = tuple(range(4_000, 18_001, 2_000))
FINE = (500, 1_000, 1_500)
"""Above the last of the coarse rates that was sustained."""

LATENCY_RATE = 5_000
LATENCY_S = 30.0

ALONE = ("serve",)
APART = ("ingest", "ingest", "tick")
ARRANGEMENTS: dict[Backend, tuple[tuple[str, ...], ...]] = {"sqlite": (ALONE,), "postgresql": (ALONE, APART)}
"""Processes to try; the best counts."""


def ingest_rate(backend: Backend, progress: Progress) -> dict[str, float]:
    """Go up the rates until one is too much; then look between the last two, from a fresh start."""
    climbed = [(step, roles) for roles in ARRANGEMENTS[backend] if (step := _climb(backend, roles, COARSE, progress))]
    assert climbed, f"not even {COARSE[0]} heartbeats a second are kept up with"
    best, roles = max(climbed, key=lambda one: one[0].report.rate)
    last = round(best.report.rate)
    best = _climb(backend, roles, (last, *(last + more for more in FINE)), progress) or best
    return {
        f"ingest_{backend}_processes": len(roles),
        f"ingest_{backend}_per_s": best.report.rate,
        f"ingest_{backend}_cpu_us": round(best.collector_cpu_us, 1),
        "broker_cpu_us": round(best.broker_cpu_us, 1),
        "database_cpu_us": round(best.database_cpu_us, 1),
        "load_cpu_us": round(best.report.cpu_us, 1),
        "heartbeat_bytes": best.report.payload_bytes,
    }


def latency(progress: Progress) -> dict[str, float]:
    """Publish what a fleet has that speaks so fast, PostgreSQL; and SQLite beside it, which is at its limit there."""
    alone = _latencies("sqlite", ALONE, progress)
    return _latencies("postgresql", APART, progress) | {
        "ingest_sqlite_p99_ms": alone["ingest_p99_ms"],
        "fault_to_ticket_sqlite_p99_ms": alone["fault_to_ticket_p99_ms"],
    }


def _climb(backend: Backend, roles: Sequence[str], rates: Sequence[int], progress: Progress) -> Step | None:
    tried = 0

    def said(step: Step) -> None:
        nonlocal tried
        tried += 1
        progress(tried, len(rates), _told(f"{backend}, {' + '.join(roles)}", step))

    with _folder() as folder, Rig(folder, backend, roles=roles) as rig, rig.load(SEED) as load:
        return sustained(rig, load, rates, STEP_S, said)


def _told(what: str, step: Step) -> str:
    outcome = "kept up" if step.sustained else f"too much: {step.lost} lost, {step.drained_s:.1f} s behind"
    return (
        f"{what} at {step.report.rate:,.0f}/s: {outcome}; CPU us: collector {step.collector_cpu_us:.0f}, "
        f"broker {step.broker_cpu_us:.0f}, database {step.database_cpu_us:.0f}, generator {step.report.cpu_us:.0f}"
    )


def _latencies(backend: Backend, roles: Sequence[str], progress: Progress) -> dict[str, float]:
    tickets_ms: list[float] = []
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        policy = folder / "policy.toml"
        policy.write_text(_without_holds())
        rig = stack.enter_context(Rig(folder, backend, roles=roles, judge=f'policy_file = "{policy}"\n'))
        load = stack.enter_context(rig.load(SEED))
        probes = stack.enter_context(Probes(rig.broker.host, rig.broker.port))
        store = Store.open(rig.url)
        stack.callback(store.close)
        probes.announce(round(FAULTS_PER_S * LATENCY_S))
        progress(0, 2, f"{backend} at {LATENCY_RATE:,}/s: settling")

        def probe() -> None:
            progress(1, 2, f"{backend} at {LATENCY_RATE:,}/s: measuring")
            failing = threading.Thread(target=lambda: tickets_ms.extend(probes.fail(store, LATENCY_S)))
            failing.start()
            probes.speak(LATENCY_S)
            failing.join()

        step = rig.step(load, rate=LATENCY_RATE, seconds=LATENCY_S, meanwhile=probe)
        progress(2, 2, f"{backend} at {LATENCY_RATE:,}/s with probes, {step.drained_s:.1f} s behind at the end")
        assert not probes.unanswered, f"{probes.unanswered} events were never acknowledged"
    return {
        "ingest_p50_ms": round(percentile(probes.acknowledged_ms, 0.5)),
        "ingest_p99_ms": round(percentile(probes.acknowledged_ms, 0.99)),
        "fault_to_ticket_p50_ms": round(percentile(tickets_ms, 0.5)),
        "fault_to_ticket_p99_ms": round(percentile(tickets_ms, 0.99)),
    }


def _without_holds() -> str:
    """The packaged policy, in which every fault counts at once."""
    packaged = resources.files("tillwatch_collector").joinpath("policy.toml").read_text(encoding="utf-8")
    return re.sub(r"(?m)^raise_s = .*$", "raise_s = 0", packaged)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


EXPERIMENTS = (
    Experiment(
        name="ingest_sqlite",
        door="bench",
        seed=SEED,
        run=partial(ingest_rate, "sqlite"),
        figures=(
            Figure(
                name="ingest_sqlite_per_s",
                unit="heartbeats/s",
                aim=10_000,
                at_most=False,
                says=f"for {STEP_S:.0f} s through Mosquitto into SQLite, history and judging on; none lost or waiting",
            ),
            Figure(name="ingest_sqlite_cpu_us", unit="us", aim=None, says="of CPU a heartbeat in the collector there"),
            Figure(
                name="broker_cpu_us", unit="us", aim=None, says="of CPU a heartbeat in Mosquitto, over one connection"
            ),
            Figure(name="load_cpu_us", unit="us", aim=None, says="of CPU a heartbeat in the load generator beside it"),
            Figure(name="heartbeat_bytes", unit="B", aim=None, says="size of the heartbeats that it sends"),
        ),
    ),
    Experiment(
        name="ingest_postgresql",
        door="bench",
        seed=SEED,
        run=partial(ingest_rate, "postgresql"),
        figures=(
            Figure(
                name="ingest_postgresql_per_s",
                unit="heartbeats/s",
                aim=10_000,
                at_most=False,
                says="the same into PostgreSQL, by the better of one process for all, and two ingest beside a tick",
            ),
            Figure(
                name="ingest_postgresql_processes", unit="processes", aim=None, says="of the collector there: 1 or 3"
            ),
            Figure(
                name="ingest_postgresql_cpu_us", unit="us", aim=None, says="of CPU a heartbeat in the collector there"
            ),
            Figure(name="database_cpu_us", unit="us", aim=None, says="of CPU a heartbeat in PostgreSQL"),
        ),
    ),
    Experiment(
        name="latency",
        door="bench",
        seed=SEED,
        run=latency,
        figures=(
            Figure(
                name="ingest_p50_ms",
                unit="ms",
                aim=None,
                says=f"from an event's publish to its acknowledgement after the commit at {LATENCY_RATE:,}/s, "
                "into PostgreSQL by three processes",
            ),
            Figure(name="ingest_p99_ms", unit="ms", aim=None, says="the same for the slowest of a hundred"),
            Figure(
                name="fault_to_ticket_p50_ms",
                unit="ms",
                aim=None,
                says=f"from a fault's heartbeat to its open ticket at {LATENCY_RATE:,}/s, the policy's holds excluded",
            ),
            Figure(name="fault_to_ticket_p99_ms", unit="ms", aim=1_000, says="the same for the slowest of a hundred"),
            Figure(
                name="ingest_sqlite_p99_ms",
                unit="ms",
                aim=None,
                says="publish to acknowledgement into SQLite, which is at its limit there",
            ),
            Figure(name="fault_to_ticket_sqlite_p99_ms", unit="ms", aim=None, says="fault to ticket into SQLite there"),
        ),
    ),
)
