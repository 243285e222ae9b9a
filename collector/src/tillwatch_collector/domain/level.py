"""Heartbeats and presences in their order: within a stream the newer wins, and no clock has a say.

Equal numbers with different content come from copies of one outbox; then the greater content wins, so that any order
of arrival ends alike. A change violates this when a time that the collector gives decides which message is newer.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from tillwatch_collector.domain.swap import SERIAL_FACT
from tillwatch_protocol.event import Event
from tillwatch_protocol.heartbeat import Heartbeat, Presence, PresenceReason, PresenceState
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.scrub import scrubbed, scrubbed_facts, suspect

LevelOrder = tuple[int, int, int, datetime, int, str]
PresenceOrder = tuple[int, int, bool, bool, str]

_READINGS = TypeAdapter(tuple[Reading, ...])
_AGE = re.compile(rb'\},"age_s":[^}]+\}')
"""How a dumped reading ends: with its facts, an object, and its age. Nothing inside can look so: what stands before a
measure or a fact is no brace."""


class LevelHead(NamedTuple):
    """What orders a stream's levels, and tells whether a newer one says anything new; not the readings themselves.

    What orders them comes first, in the order in which it does.
    """

    boot_epoch: int
    beat_no: int
    connection_no: int
    sent_at: datetime
    event_seq_last: int
    digest: str
    """Of the content: readings without their age, job, versions."""
    judged_digest: str
    """Of the part that judge looks at."""
    interval_s: int
    host_boot_id: str

    @property
    def order(self) -> LevelOrder:
        """Greater is newer."""
        return self[:6]


class Content(NamedTuple):
    """A heartbeat's readings, as they are kept and looked at."""

    text: bytes
    """JSON, without the readings' age, which is of the moment, and without card numbers."""
    judged: str
    """What judge looks at: of each component its health and its conditions."""
    names: tuple[str, ...]
    """Components that measure something, each before its measures."""
    values: Sequence[float]
    """Of the measures, in the order of their names."""


class Beat(NamedTuple):
    """A heartbeat as it is taken in; its readings are in the content alone, those of the heartbeat may be left out."""

    heartbeat: Heartbeat
    content: Content


class PresenceHead(NamedTuple):
    """A stream's newest presence."""

    boot_epoch: int
    connection_no: int
    state: str
    reason: str | None

    @property
    def order(self) -> PresenceOrder:
        """Greater is newer: on one connection offline is the last word, and the agent's own word beats its will's."""
        offline = self.state == PresenceState.OFFLINE
        return self.boot_epoch, self.connection_no, offline, self.reason == PresenceReason.STOPPING, self.reason or ""


def beat_of(heartbeat: Heartbeat) -> Beat:
    """Return a heartbeat that was decoded in full, as it is taken in."""
    return Beat(heartbeat, content_of(heartbeat.components))


def content_of(components: tuple[Reading, ...]) -> Content:
    """Return what is kept of readings."""
    text = _dumped(components)
    if suspect(text):
        text = _dumped(tuple(map(_scrubbed, components)))
    names: list[str] = []
    values: list[float] = []
    for reading in components:
        if measures := reading.measures:
            names.append(reading.component)
            names += measures
            values += measures.values()
    return Content(text, " ".join(sorted(map(_judged_reading, components))), tuple(names), values)


def level_head(heartbeat: Heartbeat, content: Content) -> LevelHead:
    """Return the head of a heartbeat with this content."""
    connection = heartbeat.connection
    boot_epoch, connection_no, interval_s = connection.boot_epoch, connection.connection_no, heartbeat.interval_s
    about = f"{heartbeat.agent_version}\0{heartbeat.host_boot_id}".encode()
    return LevelHead(
        boot_epoch,
        heartbeat.beat_no,
        connection_no,
        heartbeat.sent_at,
        heartbeat.event_seq_last,
        _digest(content.text, _job(heartbeat), about),
        _digest(f"{boot_epoch} {connection_no} {interval_s} {content.judged}".encode()),
        interval_s,
        heartbeat.host_boot_id,
    )


def presence_head(presence: Presence) -> PresenceHead:
    """Return the head of a presence."""
    boot_epoch, connection_no = presence.connection.order
    return PresenceHead(
        boot_epoch=boot_epoch, connection_no=connection_no, state=presence.state, reason=presence.reason
    )


def readings_of(kept: list[Any]) -> tuple[Reading, ...]:
    """Return the readings that a row keeps."""
    return _READINGS.validate_python(kept, strict=False)


def event_digest(event: Event) -> str:
    """Return what tells an event from another of the same number."""
    return blake2b(event.model_dump_json(exclude_none=True).encode(), digest_size=8).hexdigest()


def _dumped(components: tuple[Reading, ...]) -> bytes:
    return _AGE.sub(b"}}", _READINGS.dump_json(components, exclude_none=True))


def _scrubbed(reading: Reading) -> Reading:
    conditions = tuple(
        condition.model_copy(update={"detail": scrubbed(condition.detail)}) if condition.detail else condition
        for condition in reading.conditions
    )
    return reading.model_copy(update={"conditions": conditions, "facts": scrubbed_facts(reading.facts)})


def _job(heartbeat: Heartbeat) -> bytes:
    return heartbeat.job.model_dump_json(exclude_none=True).encode() if heartbeat.job else b""


def _judged_reading(reading: Reading) -> str:
    said = f"{reading.component}={reading.health}"
    if serial := reading.facts.get(SERIAL_FACT):
        said += f"#{serial}"
    if reading.conditions:
        said += "+" + "+".join(sorted(condition.code for condition in reading.conditions))
    return said + "?" + "?".join(sorted(reading.undetermined)) if reading.undetermined else said


def _digest(*parts: bytes) -> str:
    return blake2b(b"\0".join(parts), digest_size=8).hexdigest()
