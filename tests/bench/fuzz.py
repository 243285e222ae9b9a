"""Mutated payloads into ingest: nothing crashes it, each is accounted for, and a good one beside bad ones is kept."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from tests.bench.figures import Progress
from tests.protocol.examples import EXAMPLES, heartbeat, mutated

from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.store.session import Store
from tillwatch_protocol import codec, topics
from tillwatch_protocol.errors import PeerError
from tillwatch_protocol.heartbeat import Connection

BATCH_MAX = 200
BEGAN = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
WITNESS = "witness"
"""The terminal whose good heartbeat goes with every batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Batches that ingest failed on, or that left a message unaccounted for; and what became of the messages."""

    crashes: int
    used: int
    """Stored, or ignored as old or repeated."""
    quarantined: int


def fuzz_ingest(messages: int, seed: int, progress: Progress) -> Outcome:
    """Feed `messages` mutated payloads, of every topic that leads to a collector, in batches of random size."""
    rng = random.Random(seed)
    originals = [
        (topic, codec.encode(message))
        for topic, message in sorted(EXAMPLES.items())
        if "/up/" in topic or topic.endswith("/canary")
    ]
    store = Store.in_memory()
    done = crashes = quarantined = 0
    while done < messages:
        batch = [_mutant(rng, originals) for _ in range(min(rng.randint(1, BATCH_MAX), messages - done))]
        now = BEGAN + timedelta(seconds=done)
        refused = _feed(store, batch, beat_no=done + 1, now=now)
        crashes += refused is None
        quarantined += refused or 0
        done += len(batch)
        progress(done, messages, "payloads")
    store.close()
    return Outcome(crashes=crashes, used=messages - quarantined, quarantined=quarantined)


def _mutant(rng: random.Random, originals: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    topic, payload = rng.choice(originals)
    if rng.random() < 0.05:
        topic = mutated(topic.encode(), rng).decode(errors="replace")
    return topic, mutated(payload, rng)


def _feed(store: Store, batch: list[tuple[str, bytes]], *, beat_no: int, now: datetime) -> int | None:
    """How many of the batch were quarantined; None when ingest crashed or did not keep its word."""
    witness = heartbeat(
        terminal_id=WITNESS, beat_no=beat_no, connection=Connection(stream_id="f" * 32, boot_epoch=1, connection_no=1)
    )
    whole = [*batch, (topics.HEARTBEAT.of(WITNESS), codec.encode(witness))]
    deliveries = [Delivery(topic=topic, payload=payload, retained=False, received_at=now) for topic, payload in whole]
    try:
        with store.transaction() as repository:
            counts = ingest(repository, deliveries, now).counts
    except Exception:  # noqa: BLE001 - any way to fail is what is looked for
        return None
    unusable = sum(not _usable(topic, payload) for topic, payload in batch)
    with store.reading() as connection:
        kept = connection.execute(text("SELECT beat_no FROM level WHERE terminal_id = :t"), {"t": WITNESS}).scalar_one()
        rows = connection.execute(
            text("SELECT count(*) FROM quarantine WHERE received_at = :n"), {"n": _stored(now)}
        ).scalar_one()
    if kept != beat_no or counts.messages != len(whole) or counts.quarantined < unusable or rows != counts.quarantined:
        return None
    return counts.quarantined


def _usable(topic: str, payload: bytes) -> bool:
    try:
        return codec.decode(topic, payload) is not None
    except PeerError:
        return False


def _stored(now: datetime) -> str:
    return now.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
