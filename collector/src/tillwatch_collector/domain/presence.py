"""Is a terminal there? One verdict from when it was heard, what it said of its connection, and whether it is missed.

All positions are listened time (`domain.listening`). Late is one heartbeat missed, silent three, counted by the
interval that the terminal itself promised and, after a new generation, from its beginning. An offline presence counts
only for the current connection, and in two ways: the agent's own word that it stops is final until a newer connection;
a will only shortens the wait, after a hold in which neither a newer connection nor another heartbeat of this one may
come, and to which we listen without a gap.

A change violates this when a message that is not about the current connection can make a terminal silent.
"""

from dataclasses import dataclass
from enum import StrEnum

from tillwatch_collector.domain.watching import Watch
from tillwatch_protocol.heartbeat import PresenceReason, PresenceState

LIVE = "live"
LATE_INTERVALS = 1
SILENT_INTERVALS = 3
GRACE_S_MIN, GRACE_S_MAX = 1.0, 3.0
"""A heartbeat's way through network and queues: a twentieth of its interval, between these."""


class State(StrEnum):
    """What is thought of a terminal."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    LATE = "late"
    SILENT = "silent"
    OFF = "off"


class Reason(StrEnum):
    """Why."""

    HEARD = "heard"
    LISTENING_ANEW = "listening_anew"
    """Not heard since we began to listen, and not long enough ago to be missed."""
    MISSED_ONE = "missed_one"
    MISSED_THREE = "missed_three"
    CONNECTION_LOST = "connection_lost"
    STOPPING = "stopping"
    CLOSED = "closed"
    OPENING = "opening"
    CLOSING = "closing"
    NOT_LIVE = "not_live"
    """In repair, spare, swapped, retired: not missed."""


_UNWATCHED = {Watch.OPENING: Reason.OPENING, Watch.CLOSING: Reason.CLOSING, Watch.CLOSED: Reason.CLOSED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """The newest presence of the current stream."""

    connection: tuple[int, int]
    state: str
    reason: str | None
    at_s: float
    outlived: bool = False
    """Whether the newest heartbeat came after it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What is known of a terminal at one moment."""

    heard_s: float
    heard_since_anew: bool
    anew_s: float
    unbroken_s: float
    """Since when we listen without a gap."""
    interval_s: float
    connection: tuple[int, int] | None
    """Of the newest heartbeat of the current stream."""
    said: Said | None
    life_cycle: str
    watch: Watch
    watch_due_s: float | None
    """When `watch` may change, at the earliest."""
    was_off: bool = False
    """Whether nobody missed it until now: of its silence before nothing follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is thought, why, and the position at which to think again; None: when something new comes."""

    state: State
    reason: Reason
    due_s: float | None


def assess(sight: Sight, now_s: float, *, lost_hold_s: float) -> Verdict:
    """Say whether the terminal is there."""
    if sight.life_cycle != LIVE:
        return Verdict(state=State.OFF, reason=Reason.NOT_LIVE, due_s=None)
    offline = _offline(sight)
    if offline is not None and offline.reason == PresenceReason.STOPPING:
        return Verdict(state=State.OFF, reason=Reason.STOPPING, due_s=None)
    verdict = _by_silence(sight, now_s) if offline is None else _by_will(sight, offline, now_s, lost_hold_s)
    if verdict.state is State.ONLINE:
        return verdict
    if sight.watch is not Watch.WATCHED:
        return Verdict(state=State.OFF, reason=_UNWATCHED[sight.watch], due_s=sight.watch_due_s)
    return verdict if verdict.state is State.UNKNOWN else _missed_anew(sight, now_s) or verdict


def _missed_anew(sight: Sight, now_s: float) -> Verdict | None:
    """Wait for a heartbeat's time without a gap: who was switched on while we were blind was not heard."""
    beat_s = sight.unbroken_s + sight.interval_s + grace_s(sight.interval_s)
    if sight.was_off and now_s < beat_s:
        return Verdict(state=State.OFF, reason=Reason.OPENING, due_s=beat_s)
    return None


def grace_s(interval_s: float) -> float:
    """How much later than promised a heartbeat may come."""
    return min(max(interval_s / 20, GRACE_S_MIN), GRACE_S_MAX)


def _offline(sight: Sight) -> Said | None:
    """Return the offline presence that counts: of the current connection, and a will only if nothing came after it."""
    said = sight.said
    if said is None or said.state != PresenceState.OFFLINE:
        return None
    if sight.connection is not None and sight.connection > said.connection:
        return None
    lives_on = said.outlived and sight.connection == said.connection
    return None if lives_on and said.reason != PresenceReason.STOPPING else said


def _by_will(sight: Sight, will: Said, now_s: float, lost_hold_s: float) -> Verdict:
    by_silence = _by_silence(sight, now_s)
    if by_silence.state is State.SILENT or will.at_s <= sight.anew_s:
        return by_silence
    lost_s = _lost_s(sight, will, lost_hold_s)
    if now_s >= lost_s:
        due_s = now_s + sight.interval_s
        return Verdict(state=State.SILENT, reason=Reason.CONNECTION_LOST, due_s=due_s)
    due_s = lost_s if by_silence.due_s is None else min(lost_s, by_silence.due_s)
    return Verdict(state=by_silence.state, reason=by_silence.reason, due_s=due_s)


def _lost_s(sight: Sight, will: Said, lost_hold_s: float) -> float:
    """Return where the hold ends.

    Who came back while we did not listen was not heard, so that a will, even one that comes late, may speak of a
    connection before the current one: after a gap everyone has a heartbeat's time to say so.
    """
    held_s = will.at_s + lost_hold_s
    if sight.unbroken_s < held_s:
        return max(held_s, sight.unbroken_s + sight.interval_s + grace_s(sight.interval_s))
    return held_s


def _by_silence(sight: Sight, now_s: float) -> Verdict:
    from_s = max(sight.heard_s, sight.anew_s)
    late_s = from_s + LATE_INTERVALS * sight.interval_s + grace_s(sight.interval_s)
    silent_s = from_s + SILENT_INTERVALS * sight.interval_s + grace_s(sight.interval_s)
    if now_s >= silent_s:
        return Verdict(state=State.SILENT, reason=Reason.MISSED_THREE, due_s=None)
    if now_s >= late_s:
        return Verdict(state=State.LATE, reason=Reason.MISSED_ONE, due_s=silent_s)
    if not sight.heard_since_anew:
        return Verdict(state=State.UNKNOWN, reason=Reason.LISTENING_ANEW, due_s=late_s)
    return Verdict(state=State.ONLINE, reason=Reason.HEARD, due_s=late_s)
