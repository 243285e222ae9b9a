"""Speed and memory, as ratios within one run: on a shared machine a ratio holds where a figure does not."""

import json
import subprocess
import sys
import timeit
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.bench.figures import Experiment, Figure, Progress
from tests.protocol.examples import heartbeat

from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.store.session import Store
from tillwatch_protocol import codec, topics

TERMINALS = 1000
ROUNDS = 12
BEGAN = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def decoding(progress: Progress) -> dict[str, float]:
    payload = codec.encode(heartbeat())
    topic = topics.HEARTBEAT.of("till-7")
    decoded = _best(lambda: codec.decode(topic, payload))
    progress(1, 2, "decoding")
    parsed = _best(lambda: json.loads(payload))
    return {"codec_to_json_ratio": round(decoded / parsed, 2)}


def ingesting(progress: Progress) -> dict[str, float]:
    """Heartbeats in which nothing changed, as most are; all terminals beat once a round, in one batch."""
    payload = codec.encode(heartbeat())
    decoded = _best(lambda: codec.decode(topics.HEARTBEAT.of("till-7"), payload))
    store = Store.in_memory()
    took = []
    for beat_no in range(1, ROUNDS + 1):
        now = BEGAN + timedelta(minutes=beat_no)
        batch = [_beat(f"till-{n}", beat_no, now) for n in range(TERMINALS)]
        began = timeit.default_timer()
        with store.transaction() as repository:
            ingest(repository, batch, now)
        took.append((timeit.default_timer() - began) / TERMINALS)
        progress(beat_no, ROUNDS, "batches")
    store.close()
    return {"ingest_to_codec_ratio": round(min(took[1:]) / decoded, 2)}


def agent_memory(_: Progress) -> dict[str, float]:
    show = "; print(int(open('/proc/self/statm').read().split()[1]))"
    bare = int(subprocess.check_output([sys.executable, "-c", f"pass{show}"]))
    agent = int(
        subprocess.check_output([sys.executable, "-c", f"import tillwatch_agent.runtime, tillwatch_agent.probes{show}"])
    )
    return {"agent_to_python_rss_ratio": round(agent / bare, 2)}


def _beat(terminal_id: str, beat_no: int, now: datetime) -> Delivery:
    payload = codec.encode(heartbeat(terminal_id=terminal_id, beat_no=beat_no, sent_at=now))
    return Delivery(topic=topics.HEARTBEAT.of(terminal_id), payload=payload, retained=False, received_at=now)


def _best(work: Callable[[], object]) -> float:
    """Seconds for one call, the best of several: what the work costs when nobody disturbs it."""
    return min(timeit.repeat(work, number=2000, repeat=7)) / 2000


EXPERIMENTS = (
    Experiment(
        name="decoding",
        door="bench",
        seed=None,
        run=decoding,
        figures=(
            Figure(
                name="codec_to_json_ratio",
                unit="x",
                aim=4,
                says="time to decode and validate a heartbeat, to json.loads alone",
            ),
        ),
    ),
    Experiment(
        name="ingesting",
        door="bench",
        seed=None,
        run=ingesting,
        figures=(
            Figure(
                name="ingest_to_codec_ratio",
                unit="x",
                aim=10,
                says="time to ingest an unchanged heartbeat into SQLite in memory, to decoding it",
            ),
        ),
    ),
    Experiment(
        name="agent_memory",
        door="bench",
        seed=None,
        run=agent_memory,
        figures=(
            Figure(
                name="agent_to_python_rss_ratio",
                unit="x",
                aim=5.5,
                says="memory of the agent's modules, to a bare interpreter",
            ),
        ),
    ),
)
