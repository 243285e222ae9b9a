"""Heartbeats: when one is due, what it says, and how it is kept within the wire's limit.

The terminals of a fleet start together when power comes back; each beats at its own phase of the interval, by a hash of
its id, so that a collector hears them evenly. Order is by `(boot_epoch, beat_no)`, never by a clock.
"""

import hashlib
from collections.abc import Iterator

from tillwatch_protocol import codec
from tillwatch_protocol.errors import MessageTooLarge
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.reading import Reading


def phase_s(terminal_id: str, interval_s: float) -> float:
    """Where in the interval this terminal beats: the same in every start and on every machine."""
    digest = hashlib.blake2b(terminal_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * interval_s


def next_beat_s(now_s: float, phase: float, interval_s: float) -> float:
    """Find the first moment after `now_s` that lies at `phase` of the interval, on the monotonic clock."""
    beat_s = phase + ((now_s - phase) // interval_s + 1) * interval_s
    return beat_s if beat_s > now_s else beat_s + interval_s  # the division rounds


def encode(heartbeat: Heartbeat) -> bytes:
    """Turn a heartbeat into its payload; one too large for the wire says less, rather than nothing.

    What goes first is what changes seldom or explains: facts and details, then measures, then components. A heartbeat
    without components is still proof of life.
    """
    for form in _forms(heartbeat):
        try:
            return codec.encode(form)
        except MessageTooLarge:
            continue
    return codec.encode(heartbeat.model_copy(update={"components": ()}))


def _forms(heartbeat: Heartbeat) -> Iterator[Heartbeat]:
    yield heartbeat
    plain = tuple(_without_texts(reading) for reading in heartbeat.components)
    yield heartbeat.model_copy(update={"components": plain})
    bare = tuple(reading.model_copy(update={"measures": {}}) for reading in plain)
    yield heartbeat.model_copy(update={"components": bare})


def _without_texts(reading: Reading) -> Reading:
    conditions = tuple(condition.model_copy(update={"detail": None}) for condition in reading.conditions)
    return reading.model_copy(update={"facts": {}, "conditions": conditions})
