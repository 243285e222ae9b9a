"""What judge remembers of a terminal between two looks, and what one look has of it in hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tillwatch_collector.domain import clock_offset
from tillwatch_collector.domain.condition import Course
from tillwatch_collector.domain.flapping import Flap
from tillwatch_collector.domain.maintenance import Active
from tillwatch_collector.domain.outage import Node, Placed, places_of
from tillwatch_collector.domain.presence import State, Verdict
from tillwatch_collector.domain.signs import Key, Word
from tillwatch_collector.domain.swap import Told
from tillwatch_collector.store.looks import Look
from tillwatch_protocol.reading import Reading


class Owed(StrEnum):
    """Why a fault that stands has no ticket yet, in the words of the ticket that it is due."""

    MAINTENANCE = "still so at the end of a maintenance"
    OUTAGE = "no outage explains it, or it outlasted one"
    RESTART = "it stood without a ticket when judge began"


@dataclass(kw_only=True, slots=True)
class Followed:
    """A condition that is not clear."""

    course: Course
    phase_since: datetime
    happened_at: datetime
    detail: str | None
    denied_at: datetime | None = None
    denied_by: str = ""
    """The heartbeat that denied it first."""
    owed: Owed | None = None
    """Its fault has no ticket, and gets one at the first look that shows it still, outside of maintenance."""


@dataclass(kw_only=True, slots=True)
class Terminal:
    """What judge remembers of a terminal."""

    state: str = State.UNKNOWN
    reason: str = ""
    since: datetime | None = None
    unread: bool = True
    """Its readings say something that has not been judged."""
    followed: dict[Key, Followed] = field(default_factory=dict)
    flaps: dict[Key, Flap] = field(default_factory=dict)
    """Of conditions that were raised within the window of flapping."""
    calm_interval_s: float | None = None
    """How often it beats, while it is online, no will waits for its hold, and nothing of it is followed: then all there
    is to see is that it was heard."""
    muted: bool = False
    """Whether it was in maintenance when it was last looked at."""
    looked_s: float = float("-inf")
    """Where it was last looked at with all there is to see."""
    clock: clock_offset.Clock = field(default_factory=clock_offset.Clock)
    offset_kept_s: float | None = None
    """How far its clock is ahead, as the row says."""
    content: tuple[str | None, ...] = ()
    """Of the look at which its readings were last read."""
    serials: Told | None = None
    """As its readings told last."""
    nodes: tuple[Node, ...] = ()
    """Where it lies beside what the inventory knows, as its readings told last."""

    def read(self, look: Look, readings: Sequence[Reading], serials: Told) -> None:
        """Remember what seldom changes."""
        self.content = look.content
        self.serials = serials
        self.nodes = places_of(Placed(), readings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One terminal at one look."""

    terminal: Terminal
    look: Look
    beat_s: float
    fresh: bool
    verdict: Verdict
    readings: Sequence[Reading]
    said: Mapping[Key, Word]
    offline: bool
    """Whether its newest presence says that it is gone."""
    muted: Active | None
    """The maintenance that it is in."""

    def places(self) -> tuple[Node, ...]:
        """Return the nodes that it lies in."""
        look = self.look
        placed = Placed(look.store_id, look.merchant_id, look.region, look.carrier, look.agent_version)
        return tuple(dict.fromkeys((*places_of(placed), *self.terminal.nodes)))

    def raise_evidence(self, followed: Followed) -> dict[str, Any]:
        """Return what a raised condition rests on."""
        estimate = self.terminal.clock.estimate
        return {
            "terminal_id": self.look.terminal_id,
            "happened_at": followed.happened_at.isoformat(),
            "clock_offset_s": estimate.offset_s if estimate else None,
            "detail": followed.detail,
            "heard_at": self.look.heard_at.isoformat(),
            "heartbeat": self.look.beat,
            "presence": self.verdict.reason,
        }

    def proof(self, key: Key, followed: Followed) -> dict[str, Any]:
        """Return which terminal was healthy, since when, on which heartbeats, and what it said of the component."""
        reading = next((reading for reading in self.readings if reading.component == key[0]), None)
        return {
            "terminal_id": self.look.terminal_id,
            "healthy_since": followed.denied_at.isoformat() if followed.denied_at else None,
            "heartbeats": [followed.denied_by, self.look.beat],
            "heard_at": self.look.heard_at.isoformat(),
            "reading": reading.model_dump(mode="json", include={"health", "power_state", "facts"}) if reading else None,
        }
