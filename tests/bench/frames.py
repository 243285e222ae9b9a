"""What a simulated fleet says, as MQTT frames, at a few microseconds each.

A till has six components and ten measures. One heartbeat is made by the codec; in its frame the values that differ
from beat to beat are holes, each with a fixed number of digits, so that a frame's length is known before its content.
What is not quiet (an open cover, an event) is made by the codec in full.

Measures wander over a seeded closed walk: latencies by a fifth, shares slowly, the uptime counts. One terminal in
two hundred opens and closes its printer's cover now and then, in the level and as an event, so that judge has work.

A change violates this when a frame can leave that `codec.decode` would refuse; `FleetFrames` reads its first ones back.
"""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Event, EventBatch, EventKind
from tillwatch_protocol.heartbeat import Connection, Heartbeat
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import MACHINE_SELF, NETWORK_UPLINK, ConditionCode, Health, PowerState

TERMINALS_MAX = 1_000_000
"""Names have six digits."""

TROUBLED_EVERY = 200
COVER_BEATS = 15
"""A troubled terminal's cover stays as it is for so many beats: at 5 s each, longer than the policy's hold."""

PRINTER = "pos_printer:receipt"
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (PRINTER, ("answer_ms",)),
    ("cash_drawer:1", ()),
    (NETWORK_UPLINK, ("gateway_ms", "dns_ms")),
    ("acquirer:main", ("tls_ms",)),
    ("acquirer:backup", ("tls_ms",)),
    (MACHINE_SELF, ("cpu_pct", "memory_available_pct", "disk_free_pct", "load_1m", "uptime_s")),
)
"""Components and their measures, in the order in which a heartbeat and a row of the walk name them."""

_WALK_STEPS = 4096
_WALK_STRIDE = 1009
"""Neighbours stand so far apart on the walk."""

_BEAT_NO_FIRST = 100_000_000
_UPTIME_S_FIRST = 1_000_000
_AT = datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)

_CONNECT, _PUBLISH, _PUBLISH_QOS1 = 0x10, 0x30, 0x32
_MQTT_311 = 4
_CLEAN_SESSION = 2

Measures = tuple[float, ...]


class FleetFrames:
    """The frames of any number of terminals; `beat` counts the beats of each from 0."""

    def __init__(self, seed: int, interval_s: int) -> None:
        self._interval_s = interval_s
        self._walk = tuple(walk(random.Random(seed)))
        self._rows = tuple(tuple(b"%.1f" % value for value in measures) for measures in self._walk)
        pattern = self._heartbeat(TERMINALS_MAX - 1, 0, _AT)
        self._template = _with_holes(
            publish(topics.HEARTBEAT.of(pattern.terminal_id), codec.encode(pattern)), _fillings(pattern)
        )
        self.payload_bytes = len(codec.encode(pattern))
        self._check()

    def quiet(self, number: int, beat: int, sent_at: bytes) -> bytes:
        """A heartbeat in which nothing is wrong; `sent_at` as `instant` gives it."""
        name = b"load-%06d" % number
        return self._template % (
            name, name, b"%032x" % (number + 1), beat + _BEAT_NO_FIRST, sent_at, name,
            *self._rows[(number * _WALK_STRIDE + beat) % _WALK_STEPS], _UPTIME_S_FIRST + beat * self._interval_s,
        )  # fmt: skip

    def troubled(self, number: int, beat: int, at: datetime, packet_id: int) -> tuple[bytes, ...]:
        """A heartbeat of a terminal whose cover opens and closes; when it just did, the event goes before it."""
        heartbeat = self._heartbeat(number, beat, at)
        frames = (publish(topics.HEARTBEAT.of(heartbeat.terminal_id), codec.encode(heartbeat)),)
        if _turns(number, beat) == _turns(number, beat - 1):
            return frames
        kind = EventKind.CONDITION_RAISED if _open(number, beat) else EventKind.CONDITION_CLEARED
        return event_frame(number, _turns(number, beat), kind, at, packet_id), *frames

    def _heartbeat(self, number: int, beat: int, at: datetime) -> Heartbeat:
        measures = iter(
            (*self._walk[(number * _WALK_STRIDE + beat) % _WALK_STEPS], _UPTIME_S_FIRST + beat * self._interval_s)
        )
        return Heartbeat(
            terminal_id=name_of(number),
            connection=Connection(stream_id=stream_of(number), boot_epoch=1, connection_no=1),
            beat_no=beat + _BEAT_NO_FIRST,
            interval_s=self._interval_s,
            event_seq_last=_turns(number, beat),
            sent_at=at,
            host_boot_id=name_of(number),
            agent_version="0.1.0",
            components=tuple(
                _reading(component, {name: next(measures) for name in names}, at if _open(number, beat) else None)
                for component, names in PARTS
            ),
        )

    def _check(self) -> None:
        for number, beat in ((1, 0), (77, 1), (TERMINALS_MAX - 2, 4321)):
            topic, payload = unpacked(self.quiet(number, beat, instant(_AT)))
            assert codec.decode(topic, payload) == self._heartbeat(number, beat, _AT), payload


# --- what a terminal is


def name_of(number: int) -> str:
    return f"load-{number:06d}"


def stream_of(number: int) -> str:
    return f"{number + 1:032x}"


def is_troubled(number: int) -> bool:
    return number % TROUBLED_EVERY == 0


def walk(rng: random.Random) -> Iterator[Measures]:
    """Measures without the uptime, step by step: each value has as many digits as every other one in its place."""
    cpu, memory, disk = 20.0, 45.0, 60.0
    for _ in range(_WALK_STEPS):
        cpu = _within(cpu + rng.uniform(-2, 2), 10, 60)
        memory = _within(memory + rng.uniform(-0.3, 0.3), 30, 60)
        disk = _within(disk + rng.choice((0, 0, 0, 0, 0, 0, 0, 0, -0.1, 0.1)), 40, 80)
        yield (
            _near(rng, 4), _near(rng, 1.5), _near(rng, 14), _near(rng, 41), _near(rng, 55), cpu, memory, disk,
            _near(rng, 3),
        )  # fmt: skip


def _open(number: int, beat: int) -> bool:
    return is_troubled(number) and bool(_phase(number, beat) // COVER_BEATS % 2)


def _turns(number: int, beat: int) -> int:
    """How often the cover was opened or closed until this beat: the number of the last event."""
    return _phase(number, max(beat, 0)) // COVER_BEATS - _phase(number, 0) // COVER_BEATS if is_troubled(number) else 0


def _phase(number: int, beat: int) -> int:
    """Not all of them at the same beat."""
    return beat + number // TROUBLED_EVERY % (2 * COVER_BEATS)


def _reading(component: str, measures: dict[str, float | int], open_since: datetime | None) -> Reading:
    conditions: tuple[Condition, ...] = ()
    if open_since is not None and component == PRINTER:
        conditions = (Condition(code=ConditionCode.COVER_OPEN, since=open_since),)
    return Reading(
        component=component,
        health=Health.FAULT if conditions else Health.OK,
        power_state=PowerState.ONLINE,
        conditions=conditions,
        measures=measures,
    )


def _near(rng: random.Random, middle: float) -> float:
    return round(rng.uniform(0.8 * middle, 1.2 * middle), 1)


def _within(value: float, least: float, most: float) -> float:
    return round(min(max(value, least), most), 1)


# --- frames of MQTT 3.1.1 (its section 3.1 and 3.3)


def connect(client_id: str) -> bytes:
    """CONNECT with a clean session and no keep-alive: what measures must not ping."""
    body = _text("MQTT") + bytes((_MQTT_311, _CLEAN_SESSION, 0, 0)) + _text(client_id)
    return bytes((_CONNECT,)) + _varint(len(body)) + body


def publish(topic: str, payload: bytes, packet_id: int | None = None) -> bytes:
    """PUBLISH, at QoS 1 with a packet id, at QoS 0 without."""
    head = _text(topic) + (b"" if packet_id is None else packet_id.to_bytes(2, "big"))
    kind = _PUBLISH if packet_id is None else _PUBLISH_QOS1
    return bytes((kind,)) + _varint(len(head) + len(payload)) + head + payload


def event_frame(number: int, event_seq: int, kind: str, at: datetime, packet_id: int) -> bytes:
    """PUBLISH of one event of the printer's cover."""
    event = Event(
        event_seq=event_seq,
        boot_epoch=1,
        kind=kind,
        happened_at=at,
        component=PRINTER,
        code=ConditionCode.COVER_OPEN,
    )
    batch = EventBatch(terminal_id=name_of(number), stream_id=stream_of(number), oldest_seq=event_seq, events=(event,))
    return publish(topics.EVENTS.of(batch.terminal_id), codec.encode(batch), packet_id)


def unpacked(sent: bytes) -> tuple[str, bytes]:
    """Topic and payload of a PUBLISH at QoS 0."""
    at = 1
    while sent[at] & 0x80:
        at += 1
    topic_at = at + 3
    payload_at = topic_at + int.from_bytes(sent[at + 1 : topic_at], "big")
    return sent[topic_at:payload_at].decode(), sent[payload_at:]


def instant(at: datetime) -> bytes:
    """A time as the codec writes it, always with microseconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


def _varint(length: int) -> bytes:
    out = bytearray()
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((*out, length))


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def _fillings(pattern: Heartbeat) -> Iterator[tuple[bytes, bytes]]:
    """What is to be a hole in the pattern's frame, in order, and how the hole is filled."""
    name = pattern.terminal_id.encode()
    yield from ((name, b"%b"), (name, b"%b"), (pattern.connection.stream_id.encode(), b"%b"))
    yield b'"beat_no":%d' % pattern.beat_no, b'"beat_no":%d'
    yield from ((instant(pattern.sent_at), b"%b"), (name, b"%b"))
    for reading in pattern.components:
        for measure, value in reading.measures.items():
            key = f'"{measure}":'.encode()
            yield key + str(value).encode(), key + (b"%d" if isinstance(value, int) else b"%b")


def _with_holes(sent: bytes, fillings: Iterable[tuple[bytes, bytes]]) -> bytes:
    assert b"%" not in sent
    made, rest = b"", sent
    for value, hole in fillings:
        before, found, rest = rest.partition(value)
        assert found, f"expected {value!r} in {rest!r}"
        made += before + hole
    return made + rest
