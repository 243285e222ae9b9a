"""Payloads read once: several watchers look at the same message, and it comes back within minutes if at all."""

from functools import lru_cache

from tillwatch_protocol import codec
from tillwatch_protocol.errors import PeerError
from tillwatch_protocol.topics import Message


@lru_cache(maxsize=2048)
def read(topic: str, payload: bytes) -> Message | None:
    """Return the message, or None for what cannot be used."""
    try:
        return codec.decode(topic, payload)
    except PeerError:
        return None
