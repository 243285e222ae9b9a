"""A terminal's conversation with its broker and its collectors: connect, announce, beat, hold, come back.

Decides when; `core` decides what is said and the publisher says it. A publisher tells of one connection at a time:
after `HANG_UP` or `DIAL` it is silent about any earlier one.

- Back-off has full jitter (a sleep uniform in 0 to 1, 2, 4 .. 120 s, and never above two intervals), so that a thousand
  terminals do not return in the same instant, and is forgotten only by a connection that lasted.
- Heartbeats come at the terminal's own phase of the interval, and at once on a change, by a token bucket.
- What a terminal says is held back only while every collector process heard of on this connection says that it is
  offline, and for two intervals at most: neither a broker that lost its retained states nor one that dropped the word
  `online` may hold a terminal for ever. Knowledge dies with the connection, too.
- A process that appears, or has a new epoch, is answered with presence, a heartbeat and all that is unacknowledged;
  after a short random wait, since every terminal of the fleet hears it in the same instant. A retained state that comes
  with the subscription needs no answer: its process has just heard the announcement.

A change violates this when a terminal stays silent although a process may be listening.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from tillwatch_agent.errors import SessionInputIllegal
from tillwatch_agent.heartbeat import next_beat_s
from tillwatch_agent.moment import Moment
from tillwatch_protocol.process import ProcessLife, ProcessState

BACK_OFF_BASE_S = 1.0
BACK_OFF_MAX_S = 120.0
"""10,000 terminals over 120 s are 83 connections a second, which any broker takes."""

BACK_OFF_INTERVALS_MAX = 2
"""Nor longer than two heartbeats: the collector gives everyone three after an outage of the broker, and who sleeps
longer is missed before it had its turn. Even then a fleet knocks more seldom than it beats."""

STABLE_AFTER_S = 30.0
"""A connection that lasted so long was no accident; shorter ones keep the back-off growing."""

BEATS_BURST = 5
"""Heartbeats at once: a change, its consequences and its repair are told; a flapping contact is not."""

BEATS_PER_INTERVAL = 12
"""Heartbeats on changes beyond the burst, in each interval."""

ANSWER_WITHIN_S = 5.0
"""A fleet answers a new collector spread over this; never over more than a tenth of the interval."""

HELD_INTERVALS_MAX = 2
"""What is known is forgotten then: `offline` came before the collector's start, which gives everyone three."""

PROCESSES_MAX = 64
"""Collector processes remembered; those beyond are answered like any, but hold nothing back."""


class Phase(StrEnum):
    """Where the conversation stands."""

    OFFLINE = "offline"
    CONNECTING = "connecting"
    ONLINE = "online"
    STOPPED = "stopped"


class Turn(StrEnum):
    """What moves it."""

    DUE = "due"
    """The back-off is over."""
    CONNECTED = "connected"
    FAILED = "failed"
    LOST = "lost"
    RENEW = "renew"
    """The will that the broker holds speaks for an old stream, nothing sent on this connection is answered, or nobody
    could judge the broker's certificate when it began."""
    STOP = "stop"


class Nudge(StrEnum):
    """What moves no phase."""

    TICK = "tick"
    CHANGED = "changed"
    """The level says something new, or a collector asked for a report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """A collector process said how it is."""

    state: ProcessState
    retained: bool


Input = Turn | Nudge | Heard


class Output(StrEnum):
    """What to do, in the order given."""

    DIAL = "dial"
    SUBSCRIBE = "subscribe"
    ANNOUNCE = "announce"
    BEAT = "beat"
    REWIND = "rewind"
    """Nothing is in flight any more: send from the oldest."""
    FAREWELL = "farewell"
    HANG_UP = "hang_up"


P, T, O = Phase, Turn, Output  # noqa: E741 - the table below is read as a grid

TABLE: dict[tuple[Phase, Turn], tuple[Phase, tuple[Output, ...]]] = {
    (P.OFFLINE, T.DUE): (P.CONNECTING, (O.DIAL,)),
    (P.OFFLINE, T.LOST): (P.OFFLINE, ()),  # a publisher that died is reported by whoever finds it
    (P.OFFLINE, T.RENEW): (P.OFFLINE, ()),
    (P.OFFLINE, T.STOP): (P.STOPPED, ()),  # nobody to say farewell to: the event says it at the next start
    (P.CONNECTING, T.CONNECTED): (P.ONLINE, (O.SUBSCRIBE, O.ANNOUNCE, O.REWIND, O.BEAT)),
    (P.CONNECTING, T.FAILED): (P.OFFLINE, ()),
    (P.CONNECTING, T.LOST): (P.OFFLINE, ()),
    (P.CONNECTING, T.STOP): (P.STOPPED, (O.HANG_UP,)),
    (P.ONLINE, T.LOST): (P.OFFLINE, ()),
    (P.ONLINE, T.RENEW): (P.OFFLINE, (O.HANG_UP,)),
    (P.ONLINE, T.STOP): (P.STOPPED, (O.FAREWELL, O.HANG_UP)),
    (P.STOPPED, T.LOST): (P.STOPPED, ()),
    (P.STOPPED, T.STOP): (P.STOPPED, ()),
    # No row: due outside offline (there is no back-off), connected or failed without having dialled, renew while
    # connecting (it comes of an acknowledgement, and none is heard yet), and anything that would leave stopped.
}


class Rng(Protocol):
    """Where jitter comes from; `random.Random` is one."""

    def uniform(self, a: float, b: float, /) -> float:
        """Choose between `a` and `b`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """The conversation's state; times are monotonic seconds, infinity for never."""

    interval_s: float
    phase_s: float
    phase: Phase = Phase.OFFLINE
    connection_no: int = 0
    failures: int = 0
    """Connections in a row that failed or did not last."""
    dial_at_s: float
    connected_at_s: float = math.inf
    processes: Mapping[str, ProcessState] = field(default_factory=dict)
    """What each process said on this connection."""
    held_until_s: float = math.inf
    """When what they said is forgotten, because all of them are offline."""
    answer_at_s: float = math.inf
    beat_at_s: float = math.inf
    beat_wanted: bool = False
    tokens: float = BEATS_BURST
    tokens_at_s: float

    @property
    def sends(self) -> bool:
        """Whether heartbeats and events may go: online, and not every known process is offline."""
        lives = [state.state for state in self.processes.values()]
        return self.phase is Phase.ONLINE and (not lives or ProcessLife.ONLINE in lives)

    def due_s(self) -> float:
        """When the next tick has something to do."""
        if self.phase is Phase.OFFLINE:
            return self.dial_at_s
        if self.phase is not Phase.ONLINE:
            return math.inf
        token_s = self.tokens_at_s + max(1 - self.tokens, 0) * _spacing_s(self)
        wanted_s = token_s if self.beat_wanted and self.sends else math.inf
        return min(self.beat_at_s, self.answer_at_s, self.held_until_s, wanted_s)


def begin(*, interval_s: float, phase_s: float, moment: Moment, rng: Rng) -> Session:
    """Start offline, with the first jitter: after a power cut a whole street starts at once."""
    now_s = moment.monotonic_s
    return Session(
        interval_s=interval_s, phase_s=phase_s, dial_at_s=now_s + rng.uniform(0, BACK_OFF_BASE_S), tokens_at_s=now_s
    )


def step(session: Session, said: Input, moment: Moment, rng: Rng) -> tuple[Session, tuple[Output, ...]]:
    """Take one input; raises `SessionInputIllegal` and changes nothing when the table has no row."""
    if isinstance(said, Turn):
        return _turn(session, said, moment, rng)
    if isinstance(said, Heard):
        session = _heard(session, said, moment, rng)
    elif said is Nudge.CHANGED:
        session = replace(session, beat_wanted=True)
    return _tick(session, moment, rng)


def _turn(session: Session, turn: Turn, moment: Moment, rng: Rng) -> tuple[Session, tuple[Output, ...]]:
    try:
        phase, outputs = TABLE[session.phase, turn]
    except KeyError:
        allowed = ", ".join(sorted(t for p, t in TABLE if p is session.phase))
        raise SessionInputIllegal(f"a session that is {session.phase} takes {allowed}; got {turn}") from None
    if phase is session.phase:
        return session, outputs
    if phase is Phase.OFFLINE:
        session = _fall_back(session, moment, rng)
    elif phase is Phase.CONNECTING:
        session = replace(session, connection_no=session.connection_no + 1)
    elif phase is Phase.ONLINE:
        session = _beaten(replace(session, connected_at_s=moment.monotonic_s, processes={}), moment)
    return replace(session, phase=phase), outputs


def _fall_back(session: Session, moment: Moment, rng: Rng) -> Session:
    lasted = session.phase is Phase.ONLINE and moment.monotonic_s - session.connected_at_s >= STABLE_AFTER_S
    failures = 0 if lasted else session.failures
    bound_s = min(
        BACK_OFF_MAX_S, BACK_OFF_INTERVALS_MAX * session.interval_s, BACK_OFF_BASE_S * 2.0 ** min(failures, 60)
    )
    sleep_s = rng.uniform(0, bound_s)
    return replace(
        session,
        failures=failures + 1,
        dial_at_s=moment.monotonic_s + sleep_s,
        processes={},
        held_until_s=math.inf,
        answer_at_s=math.inf,
        beat_at_s=math.inf,
    )


def _heard(session: Session, heard: Heard, moment: Moment, rng: Rng) -> Session:
    state = heard.state
    known = session.processes.get(state.process)
    if session.phase is not Phase.ONLINE:
        return session
    told = session
    if known or len(session.processes) < PROCESSES_MAX:
        told = replace(session, processes={**session.processes, state.process: state})
    if told.sends and not session.sends:
        told = replace(told, beat_wanted=True, held_until_s=math.inf)
    elif session.sends and not told.sends:
        told = replace(told, held_until_s=moment.monotonic_s + HELD_INTERVALS_MAX * session.interval_s)
    new = known.collector_epoch != state.collector_epoch if known else not heard.retained
    if not new or state.state is not ProcessLife.ONLINE:
        return told
    spread_s = min(ANSWER_WITHIN_S, session.interval_s / 10)
    return replace(told, answer_at_s=min(told.answer_at_s, moment.monotonic_s + rng.uniform(0, spread_s)))


def _tick(session: Session, moment: Moment, rng: Rng) -> tuple[Session, tuple[Output, ...]]:
    now_s = moment.monotonic_s
    if session.phase is Phase.OFFLINE and now_s >= session.dial_at_s:
        return _turn(session, Turn.DUE, moment, rng)
    if session.phase is not Phase.ONLINE:
        return session, ()
    if now_s >= session.held_until_s:
        session = replace(session, processes={}, held_until_s=math.inf, beat_wanted=True)
    if now_s >= session.answer_at_s:
        return _beaten(replace(session, answer_at_s=math.inf), moment), (Output.ANNOUNCE, Output.REWIND, Output.BEAT)
    if now_s >= session.beat_at_s:
        beaten = _beaten(session, moment)
        return (beaten, (Output.BEAT,)) if session.sends else (replace(beaten, beat_wanted=True), ())
    tokens = min(BEATS_BURST, session.tokens + (now_s - session.tokens_at_s) / _spacing_s(session))
    if session.beat_wanted and session.sends and tokens > 1 - 1e-6:
        return replace(_beaten(session, moment), tokens=tokens - 1, tokens_at_s=now_s), (Output.BEAT,)
    return session, ()


def _beaten(session: Session, moment: Moment) -> Session:
    beat_at_s = next_beat_s(moment.monotonic_s, session.phase_s, session.interval_s)
    return replace(session, beat_wanted=False, beat_at_s=beat_at_s)


def _spacing_s(session: Session) -> float:
    return session.interval_s / BEATS_PER_INTERVAL
