"""Mistakes that somebody could make, each planted into the real code for as long as a context lasts.

They are the measure of the checkers: a world in which one of them is planted must break a rule within a few seeds.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from tests.scenarios.broker import Packet
from tests.scenarios.terminal import Terminal

from tillwatch_agent.backlog import AppendPlan, Backlog
from tillwatch_collector.domain import level, presence
from tillwatch_collector.domain.listening import Listening
from tillwatch_collector.flows import fold, ingest
from tillwatch_collector.flows.fold import Fold
from tillwatch_collector.store.facts import NewPresence
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import EventBatch
from tillwatch_protocol.heartbeat import Heartbeat, Presence
from tillwatch_protocol.reading import Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One planted mistake."""

    name: str
    plant: Callable[[pytest.MonkeyPatch], None]
    seed: int = 1
    """The first world that catches it; the evidence finds it anew."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have it in the code for a while."""
        with pytest.MonkeyPatch.context() as patch:
            self.plant(patch)
            yield


def _delete_on_puback(patch: pytest.MonkeyPatch) -> None:
    """The broker has it, so the collector will."""

    def acknowledged(self: Terminal, packet: Packet) -> None:
        if self.life is not None and topics.parse(packet.topic).topic is topics.EVENTS:
            batch = codec.decode(packet.topic, packet.payload)
            assert isinstance(batch, EventBatch)
            now_s = self.moment().monotonic_s
            self.life.outbox.acknowledge(batch.stream_id, batch.events[-1].event_seq, now_s)

    patch.setattr(Terminal, "acknowledged", acknowledged)


def _acknowledge_beyond_a_hole(patch: pytest.MonkeyPatch) -> None:
    """The last event of the batch is stored, so all before it must be."""
    right = Fold._record

    def record(self: Fold, batch: EventBatch, letter: fold.Letter) -> None:
        right(self, batch, letter)
        self.tally.acks[batch.terminal_id, batch.stream_id] = batch.events[-1].event_seq

    patch.setattr(Fold, "_record", record)


def _order_by_wall_clock(patch: pytest.MonkeyPatch) -> None:
    """The heartbeat that was sent last is the newest."""
    patch.setattr(Heartbeat, "order", property(lambda _: (math.inf, 0)))
    patch.setattr(level.LevelHead, "order", property(lambda head: (head.sent_at, head.digest)))


def _any_will_counts(patch: pytest.MonkeyPatch) -> None:
    """Offline is offline, whichever connection it speaks of."""

    def announce(self: Fold, said: Presence, received_at: datetime) -> None:
        key = (said.terminal_id, said.connection.stream_id)
        self._presence_heads[key] = head = level.presence_head(said)
        self._presences[key] = NewPresence(head, received_at)
        self.tally.marked.add(said.terminal_id)

    patch.setattr(Fold, "_announce", announce)
    patch.setattr(presence, "_offline", lambda sight: sight.said if sight.said and sight.said.reason else None)


def _retained_decides(patch: pytest.MonkeyPatch) -> None:
    """A presence is a presence, retained or not."""
    right = fold.Letter

    def letter(*arguments: Any) -> fold.Letter:
        return right(*arguments)._replace(retained=False)

    patch.setattr(ingest, "_stopped", lambda message: isinstance(message, Presence))
    patch.setattr(ingest, "Letter", letter)


def _blind_time_counts(patch: pytest.MonkeyPatch) -> None:
    """A canary came back, so we were listening."""
    right = Listening.canary_returned

    def returned(self: Listening, sent_at: datetime, now: datetime) -> Listening:
        return right(replace(self, gap_max_s=math.inf), sent_at, now)

    patch.setattr(Listening, "canary_returned", returned)


def _timers_go_on(patch: pytest.MonkeyPatch) -> None:
    """The broker is back, and time went on meanwhile."""
    right = Listening.broker_connected

    def connected(self: Listening, now: datetime) -> Listening:
        if not self.stretches:
            return right(self, now)
        running = replace(self.stretches[-1], ended_at=now)
        return replace(self, anew_at=self.stretches[0].began_at, stretches=(*self.stretches[:-1], running))

    patch.setattr(Listening, "broker_connected", connected)


def _unknown_clears(patch: pytest.MonkeyPatch) -> None:
    """What a reading does not name is not so."""
    patch.setattr(Reading, "judges", lambda _reading, _code: True)


def _ignore_boot_epoch(patch: pytest.MonkeyPatch) -> None:
    """Heartbeats are counted, so the greater number is the newer."""
    right = level.level_head

    def level_head(heartbeat: Heartbeat, content: level.Content) -> level.LevelHead:
        return right(heartbeat, content)._replace(boot_epoch=0)

    patch.setattr(Heartbeat, "order", property(lambda heartbeat: (0, heartbeat.beat_no)))
    patch.setattr("tillwatch_collector.flows.fold.level_head", level_head)


def _drop_without_a_word(patch: pytest.MonkeyPatch) -> None:
    """What there is no room for is gone anyway."""
    right = Backlog._plan_drop

    def plan_drop(self: Backlog, count: int) -> AppendPlan:
        return replace(right(self, count), declare=())

    patch.setattr(Backlog, "_plan_drop", plan_drop)


PLANTED = (
    Mistake(name="delete on PUBACK", plant=_delete_on_puback),
    Mistake(name="acknowledge beyond a hole", plant=_acknowledge_beyond_a_hole, seed=4),
    Mistake(name="order levels by wall clock", plant=_order_by_wall_clock, seed=2),
    Mistake(name="the will of an old connection counts", plant=_any_will_counts),
    Mistake(name="retained presence decides", plant=_retained_decides, seed=8),
    Mistake(name="blind time counts toward silence", plant=_blind_time_counts, seed=4),
    Mistake(name="timers go on after a broker's restart", plant=_timers_go_on, seed=3),
    Mistake(name="an unknown reading clears", plant=_unknown_clears, seed=18),
    Mistake(name="boot_epoch is ignored", plant=_ignore_boot_epoch),
    Mistake(name="dropped ranges are not declared", plant=_drop_without_a_word, seed=2),
)
