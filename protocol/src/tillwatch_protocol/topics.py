"""One table of topics: name, direction, quality of service, retention, and the message that travels on it.

`v1` in the topic never moves with the payload's `v`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from tillwatch_protocol.command import Command
from tillwatch_protocol.errors import TopicUnknown
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.heartbeat import Heartbeat, Presence
from tillwatch_protocol.job import JobMessage
from tillwatch_protocol.process import Canary, ProcessState

ROOT = "tillwatch/v1"

Message = Presence | Heartbeat | EventBatch | Ack | JobMessage | Command | ProcessState | Canary


class Direction(StrEnum):
    """Who publishes."""

    UP = "up"
    """An agent."""
    DOWN = "down"
    """A collector process, to one terminal."""
    OWN = "own"
    """A collector process, of itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """One row of the table; `name` is the part after the owner."""

    name: str
    direction: Direction
    qos: int
    retain: bool
    message: type[Message]
    says: str

    @property
    def pattern(self) -> str:
        """The whole topic with its owner in braces, as documents show it."""
        if self.direction is Direction.OWN:
            return f"{ROOT}/c/{{process}}/{self.name}"
        return f"{ROOT}/t/{{terminal_id}}/{self.name}"

    @property
    def filter(self) -> str:
        """The subscription to this topic of every owner."""
        return re.sub(r"\{[a-z_]+\}", "+", self.pattern)

    def of(self, owner: str) -> str:
        """Name the topic of one terminal or process."""
        return re.sub(r"\{[a-z_]+\}", owner, self.pattern)


_U, _D, _O = Direction.UP, Direction.DOWN, Direction.OWN

PRESENCE = Topic(
    name="up/presence",
    direction=_U,
    qos=1,
    retain=True,
    message=Presence,
    says="online, or offline with reason; also the last will",
)
HEARTBEAT = Topic(name="up/heartbeat", direction=_U, qos=0, retain=False, message=Heartbeat, says="the whole level now")
EVENTS = Topic(name="up/events", direction=_U, qos=1, retain=False, message=EventBatch, says="events from the outbox")
ACK = Topic(name="dn/ack", direction=_D, qos=1, retain=False, message=Ack, says="the committed prefix of a stream")
JOBS = Topic(name="dn/jobs", direction=_D, qos=1, retain=False, message=JobMessage, says="offers, withdrawals, go")
COMMANDS = Topic(
    name="dn/commands", direction=_D, qos=1, retain=False, message=Command, says="typed commands from a closed list"
)
STATE = Topic(
    name="state",
    direction=_O,
    qos=1,
    retain=True,
    message=ProcessState,
    says="whether a collector process listens; also its last will",
)
CANARY = Topic(name="canary", direction=_O, qos=1, retain=False, message=Canary, says="proof that a process can hear")

TOPICS: tuple[Topic, ...] = (PRESENCE, HEARTBEAT, EVENTS, ACK, JOBS, COMMANDS, STATE, CANARY)

_BY_NAME = {topic.name: topic for topic in TOPICS}
_TERMINAL = re.compile(rf"{ROOT}/t/([A-Za-z0-9_-]{{1,64}})/((?:up|dn)/[a-z]+)")
_PROCESS = re.compile(rf"{ROOT}/c/([A-Za-z0-9_.-]{{1,64}})/([a-z]+)")

AGENT_SUBSCRIPTIONS = (f"{ROOT}/t/{{terminal_id}}/dn/+", f"{ROOT}/c/+/state")
"""What an agent listens to; `{terminal_id}` is its own."""

_OWN_SUBSCRIPTIONS = (f"{ROOT}/c/{{process}}/canary", f"{ROOT}/c/{{process}}/state")
"""`{process}` is the subscriber's own. Its own state too: a will of an earlier connection that comes late says offline
of a process that listens, and must be answered."""

INGEST_SUBSCRIPTIONS = (f"{ROOT}/t/+/up/+", *_OWN_SUBSCRIPTIONS)
"""What a process listens to that ingests alone."""

SHARED_SUBSCRIPTIONS = (f"$share/tillwatch/{ROOT}/t/+/up/+", *_OWN_SUBSCRIPTIONS)
"""What each of several listens to that share the work: a broker hands a message to one of them, a retained one to
none."""

TICK_SUBSCRIPTIONS = (PRESENCE.filter, *_OWN_SUBSCRIPTIONS)
"""What a process listens to that judges beside them: presence, for what is retained."""

ADDRESSES_MAX = 65_536
"""Topics whose parts are remembered: a fleet's heartbeats come on the same ones again and again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A topic and whose it is."""

    topic: Topic
    owner: str


@lru_cache(maxsize=ADDRESSES_MAX)
def parse(topic: str) -> Address:
    """Find the row and the owner of a topic; raises `TopicUnknown`."""
    for pattern, own in ((_TERMINAL, False), (_PROCESS, True)):
        match = pattern.fullmatch(topic)
        row = _BY_NAME.get(match[2]) if match else None
        if match and row and (row.direction is Direction.OWN) is own and ("." in match[1]) is own:
            return Address(topic=row, owner=match[1])
    raise TopicUnknown(f"expected a topic of {ROOT}, got {topic[:200]!r}")
