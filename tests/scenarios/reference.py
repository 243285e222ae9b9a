"""What a collector should believe, worked out anew from the messages that its commits held: the checkers' measure.

It knows what a collector cannot know, the true order of a terminal's streams, and is as slow and plain as it likes. A
condition is believed from the tick at which the newest level first asserts it until one at which it judges that it is
not so; in between, levels that cannot judge it change nothing and prove nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.scenarios.clock import Clock
from tests.scenarios.letters import read
from tests.scenarios.terminal import Terminal

from tillwatch_collector.flows.ingest import Delivery
from tillwatch_protocol.event import EventBatch
from tillwatch_protocol.heartbeat import Heartbeat, Presence, PresenceReason
from tillwatch_protocol.vocabulary import AVAILABILITY_CODES, Health

Name = tuple[str, str]
"""(component, code)."""
Order = tuple[int, int, int]
"""(stream in its true order, boot_epoch, beat_no or connection_no)."""


@dataclass(kw_only=True, slots=True)
class Belief:
    """Of one terminal."""

    heard_s: list[float] = field(default_factory=list)
    """When anything of it was received, ascending."""
    level: Heartbeat | None = None
    level_order: Order = (-1, 0, 0)
    level_new: bool = False
    presence: Presence | None = None
    presence_order: Order = (-1, 0, 0)
    held: dict[Name, float] = field(default_factory=dict)
    """What is believed true, and the tick since when."""
    cleared: dict[Name, float] = field(default_factory=dict)
    """What was judged untrue after it was held, and the tick since when."""
    unproved: set[Name] = field(default_factory=set)
    """Of what was cleared, what the newest level could not judge."""

    @property
    def said_stopping(self) -> bool:
        """Whether its last word is that it stops."""
        return self.presence is not None and self.presence.reason == PresenceReason.STOPPING

    def heard_between(self, start_s: float, end_s: float) -> bool:
        """Whether anything of it was received in this time."""
        return any(start_s <= at_s < end_s for at_s in reversed(self.heard_s))

    def tick(self, now_s: float) -> None:
        """Look at the newest level, as judge does at its tick."""
        if not self.level_new or self.level is None:
            return
        self.level_new = False
        readings = {reading.component: reading for reading in self.level.components}
        for component, reading in readings.items():
            for condition in reading.conditions:
                name = (component, condition.code)
                self.held.setdefault(name, now_s)
                self.cleared.pop(name, None)
        for name in [name for name in self.held if self._untrue(name)]:
            del self.held[name]
            self.cleared[name] = now_s
        self.unproved = {name for name in self.cleared if not self._untrue(name)}

    def _untrue(self, name: Name) -> bool:
        component, code = name
        assert self.level is not None
        reading = next((reading for reading in self.level.components if reading.component == component), None)
        if reading is None or any(condition.code == code for condition in reading.conditions):
            return False
        answered = reading.health in {Health.OK, Health.FAULT}
        return code not in reading.undetermined and (answered or code in AVAILABILITY_CODES)


class Reference:
    """The beliefs of a whole world."""

    def __init__(self, clock: Clock, terminals: dict[str, Terminal]) -> None:
        self._clock = clock
        self._terminals = terminals
        self.of = {terminal_id: Belief() for terminal_id in terminals}

    def take(self, batch: Sequence[Delivery]) -> None:
        """Take in what a commit held."""
        for delivery, message in self._messages(batch):
            belief = self.of[message.terminal_id]
            if not delivery.retained:
                belief.heard_s.append((delivery.received_at - self._clock.at(0)).total_seconds())
            if isinstance(message, Heartbeat):
                self._take_level(belief, message)
            elif isinstance(message, Presence):
                self._take_presence(belief, message)

    def tick(self) -> None:
        """Let every belief look at its newest level."""
        for belief in self.of.values():
            belief.tick(self._clock.now_s)

    def _messages(self, batch: Sequence[Delivery]) -> Iterator[tuple[Delivery, Heartbeat | Presence | EventBatch]]:
        """Return what can be used: of the retained ones only an agent's own word that it stopped."""
        for delivery in batch:
            message = read(delivery.topic, delivery.payload)
            stopped = isinstance(message, Presence) and message.reason == PresenceReason.STOPPING
            if isinstance(message, Heartbeat | Presence | EventBatch) and (stopped or not delivery.retained):
                yield delivery, message

    def _take_level(self, belief: Belief, level: Heartbeat) -> None:
        connection = level.connection
        order = (
            self._stream_no(level.terminal_id, connection.stream_id),
            connection.boot_epoch,
            level.beat_no,
        )
        if order > belief.level_order:
            belief.level, belief.level_order, belief.level_new = level, order, True

    def _take_presence(self, belief: Belief, presence: Presence) -> None:
        connection = presence.connection
        order = (
            self._stream_no(presence.terminal_id, connection.stream_id),
            connection.boot_epoch,
            connection.connection_no,
        )
        offline_comes_last = order == belief.presence_order and presence.reason is not None
        if order > belief.presence_order or offline_comes_last:
            belief.presence, belief.presence_order = presence, order

    def _stream_no(self, terminal_id: str, stream_id: str) -> int:
        return self._terminals[terminal_id].streams.index(stream_id)
