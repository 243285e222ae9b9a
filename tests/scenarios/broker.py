"""A broker as brokers are: retained messages, wills, clean sessions, and the habits that hurt.

Every habit was seen in a broker that is in use (facts of the wire, DESIGN.md "The wire"): a take-over publishes the old
will at once (Mosquitto) or leaves the old session up, whose will comes when its socket dies (amqtt); half-open sessions
last one and a half keepalives; a restart publishes no will, loses every session and what was queued, and may come back
with its retained messages, without them, or with old ones (the last autosave); a message to the collector may be
delivered twice, late behind another node of a cluster, or be dropped from a full queue. A session ends with its
connection: clean sessions only.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import count
from random import Random
from typing import Protocol

from tests.scenarios.clock import Clock

from tillwatch_simulator.link import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class Packet:
    """One message on its way."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class AfterRestart(Enum):
    """What becomes of the retained messages."""

    KEPT = "kept"
    LOST = "lost"
    OLD = "old"
    """As of the last autosave (Mosquitto: 1800 s)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """What this broker does beside its duty."""

    closes_on_takeover: bool = True
    will_lag_s_max: float = 0.0
    """How long a will may wait behind other work."""
    forward_s_max: float = 0.0
    """How far the node of a session may be from the collector's; drawn once a session."""
    repeat_share: float = 0.0
    """Share of QoS 1 messages to the collector that come a second time."""
    drop_share: float = 0.0
    """Share of QoS 0 messages to the collector that are dropped without a word."""
    drop_acknowledged_share: float = 0.0
    """Share of QoS 1 messages to the collector that were acknowledged to their sender and then lost."""
    drop_down_share: float = 0.0
    """Share of messages toward agents that are lost."""
    after_restart: AfterRestart = AfterRestart.KEPT
    autosave_s: float = 1800.0
    repeat_s_max: float = 30.0
    down_s: tuple[float, float] = (1.0, 60.0)
    """How long a restart takes."""


class Peer(Protocol):
    """A client's end of one connection, as the broker meets it."""

    def arrives(self, packet: Packet, *, retained: bool) -> None:
        """Hear a message that came over the connection."""
        ...

    def acknowledged(self, packet: Packet) -> None:
        """Hear a PUBACK."""
        ...

    def cut(self) -> None:
        """Hear that the connection is gone."""
        ...


@dataclass(kw_only=True, eq=False, slots=True)
class Session:
    """One client's connection in the broker; it ends when the connection does."""

    client_id: str
    peer: Peer
    connection: Connection
    will: Packet | None
    forward_s: float
    number: int
    """In the order in which they were accepted."""
    open: bool = True
    filters: set[str] = field(default_factory=set)

    @property
    def is_process(self) -> bool:
        """Whether a collector's process is at the other end: only their names bear a dot."""
        return "." in self.client_id


@dataclass(kw_only=True, eq=False)
class Broker:
    """Accepts connections, keeps what is retained, hands messages to those who subscribed."""

    clock: Clock
    chance: Random
    habits: Habits
    up: bool = True
    retained: dict[str, Packet] = field(default_factory=dict)
    restarts: int = 0
    _sessions: list[Session] = field(default_factory=list)
    _saved: dict[str, Packet] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _whole: dict[str, dict[int, Session]] = field(default_factory=dict)
    """Sessions under each filter that is a topic, by their number."""
    _open: dict[str, dict[int, Session]] = field(default_factory=dict)
    """Sessions under each other filter."""

    def __post_init__(self) -> None:
        """Begin to save what is retained, now and then."""
        self._autosave()

    def accept(self, client_id: str, peer: Peer, connection: Connection, will: Packet | None) -> Session:
        """Open a session; an older one of the same client is taken over, as the habit is."""
        for old in [session for session in self._sessions if session.client_id == client_id]:
            if self.habits.closes_on_takeover:
                self._back(old, old.peer.cut)
                self.lose(old)
        session = Session(
            client_id=client_id,
            peer=peer,
            connection=connection,
            will=will,
            forward_s=self.chance.random() * self.habits.forward_s_max,
            number=next(self._numbers),
        )
        self._sessions.append(session)
        return session

    def subscribe(self, session: Session, filters: Collection[str]) -> None:
        """Add filters to a session and hand over what is retained under them."""
        if not session.open:
            return
        session.filters.update(filters)
        for wanted in filters:
            self._under(wanted).setdefault(wanted, {})[session.number] = session
        compared = [wanted for wanted in filters if _is_open(wanted)]
        for topic, packet in list(self.retained.items()):
            if topic in filters or any(matches(wanted, topic) for wanted in compared):
                self._send(session, packet, retained=True)

    def receive(self, session: Session, packet: Packet) -> None:
        """Take a message from a session that is still open; QoS 1 is acknowledged, which promises nothing."""
        if not session.open:
            return
        if packet.qos:
            self._back(session, lambda: session.peer.acknowledged(packet))
        self._publish(packet, forward_s=session.forward_s)

    def leave(self, session: Session) -> None:
        """End a session that said goodbye: no will."""
        session.will = None
        self._end(session)

    def lose(self, session: Session) -> None:
        """End a session that is gone, and publish its will."""
        if not session.open:
            return
        will, forward_s = session.will, session.forward_s
        self._end(session)
        if will is not None:
            lag_s = forward_s + self.chance.random() * self.habits.will_lag_s_max
            restarts = self.restarts
            self.clock.call_in(lag_s, lambda: self._publish(will) if self.restarts == restarts else None)

    def restart(self) -> None:
        """Go down and come back: no wills, no sessions, and of the retained messages what the habit leaves."""
        sessions, self._sessions = self._sessions, []
        self._whole.clear()
        self._open.clear()
        self.up = False
        self.restarts += 1
        for session in sessions:
            session.open = False
            self._back(session, session.peer.cut)
        if self.habits.after_restart is AfterRestart.LOST:
            self.retained = {}
        elif self.habits.after_restart is AfterRestart.OLD:
            self.retained = dict(self._saved)
        self.clock.call_in(self.chance.uniform(*self.habits.down_s), self._come_back)

    def take_habits(self, habits: Habits) -> None:
        """Behave otherwise from now on."""
        self.habits = habits

    def _come_back(self) -> None:
        self.up = True

    def _autosave(self) -> None:
        self._saved = dict(self.retained)
        self.clock.call_in(self.habits.autosave_s, self._autosave)

    def _end(self, session: Session) -> None:
        if session.open:
            session.open = False
            self._sessions.remove(session)
            for wanted in session.filters:
                self._under(wanted)[wanted].pop(session.number)

    def _publish(self, packet: Packet, forward_s: float = 0.0) -> None:
        if packet.retain:
            self._retain(packet)
        for session in self._route(packet.topic):
            if session.is_process:
                self._forward(session, packet, forward_s)
            elif self.chance.random() >= self.habits.drop_down_share:
                self._send(session, packet, retained=False)

    def _retain(self, packet: Packet) -> None:
        if packet.payload:
            self.retained[packet.topic] = packet
        else:
            self.retained.pop(packet.topic, None)

    def _forward(self, session: Session, packet: Packet, forward_s: float) -> None:
        """Hand a message to a collector's process: behind its node's delay, perhaps twice, perhaps never."""
        share = self.habits.drop_acknowledged_share if packet.qos else self.habits.drop_share
        if self.chance.random() < share:
            return
        self.clock.call_in(forward_s, lambda: self._send(session, packet, retained=False))
        if packet.qos and self.chance.random() < self.habits.repeat_share:
            again_s = forward_s + self.chance.random() * self.habits.repeat_s_max
            self.clock.call_in(again_s, lambda: self._send(session, packet, retained=False))

    def _send(self, session: Session, packet: Packet, *, retained: bool) -> None:
        if session.open:
            self._back(session, lambda: session.peer.arrives(packet, retained=retained))

    def _back(self, session: Session, action: Callable[[], None]) -> None:
        arrives_s = session.connection.down.send(self.clock.now_s)
        if arrives_s is not None:
            self.clock.call_at(arrives_s, action)

    def _under(self, wanted: str) -> dict[str, dict[int, Session]]:
        return self._open if _is_open(wanted) else self._whole

    def _route(self, topic: str) -> list[Session]:
        """Return who subscribed, in the order of their sessions; only filters that are no topics are compared."""
        found = dict(self._whole.get(topic, {}))
        for wanted, sessions in self._open.items():
            if matches(wanted, topic):
                found |= sessions
        return [session for _, session in sorted(found.items())]


def _is_open(wanted: str) -> bool:
    return "+" in wanted or "#" in wanted


@lru_cache(maxsize=10_000)
def matches(wanted: str, topic: str) -> bool:
    """Whether a topic lies under a filter (MQTT 3.1.1, 4.7); `#` stands for the rest, `+` for one level."""
    filter_levels, levels = wanted.split("/"), topic.split("/")
    if filter_levels[-1] == "#":
        filter_levels, levels = filter_levels[:-1], levels[: len(filter_levels) - 1]
    return len(filter_levels) == len(levels) and all(
        f in ("+", level) for f, level in zip(filter_levels, levels, strict=True)
    )
