"""One tick of judge: each terminal that is looked at is held against the policy; what changed is written at the end.

The decisions are `domain.presence`, `domain.signs` and `domain.condition`; here their moves become rows, faults and
tickets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tillwatch_collector.domain.condition import Course, Phase, Sign, advance
from tillwatch_collector.domain.condition import Reason as Moved
from tillwatch_collector.domain.identity import Sighting, shared
from tillwatch_collector.domain.listening import Listening
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.presence import Said, Sight, State, Verdict, assess, grace_s
from tillwatch_collector.domain.signs import OWN, SHARED, SILENT, Key, Word, words
from tillwatch_collector.domain.watching import ALWAYS, Watching, parse_hours, watching
from tillwatch_collector.errors import HoursInvalid
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.tickets import MACHINE, TicketChange, Why
from tillwatch_collector.store.judgements import ConditionKey, KeptCondition, Standing, TicketIdentity
from tillwatch_collector.store.looks import Look
from tillwatch_collector.store.repository import Repository
from tillwatch_protocol.heartbeat import PresenceState
from tillwatch_protocol.reading import Reading

FOLLOWED_MAX = 128
"""Conditions followed of one terminal: ten parts with a few each; one that goes on naming new ones gains nothing."""

OPENING_HOURS = "opening_hours"


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeSettings:
    """How judge judges, and for whom it holds the tick."""

    holder: str = "collector.1"
    """The process; one that comes back under its name takes its own lease over."""
    canary_s: float = 5.0
    canaries_missed_max: int = 3
    """Time between two canaries that are further apart was not listened to."""
    lease_s: float = 15.0
    lost_hold_s: float = 10.0
    """How long after a will a new connection may take: a lost one is noticed and dialled anew within seconds."""
    interval_default_s: float = 60.0
    """Of a terminal that has never sent a heartbeat that could be read."""
    opening_grace_s: float = 900.0
    idle_look_s: float = 600.0
    """Who is looked at for no other reason is looked at this often."""
    looks_max: int = 5_000
    """Marked and due terminals of one tick, each: a second's work; the rest follows in the next."""


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


@dataclass(kw_only=True, slots=True)
class Terminal:
    """What judge remembers of a terminal."""

    state: str = State.UNKNOWN
    reason: str = ""
    unread: bool = True
    """Its readings say something that has not been judged."""
    followed: dict[Key, Followed] = field(default_factory=dict)
    calm_interval_s: float | None = None
    """How often it beats, while it is online, no will waits for its hold, and nothing of it is followed: then all there
    is to see is that it was heard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PresenceChange:
    """A terminal whose standing changed."""

    terminal_id: str
    before: str
    state: str
    reason: str


class Sitting:
    """One tick; `write` ends it."""

    def __init__(
        self, repository: Repository, *, policy: Policy, settings: JudgeSettings, listening: Listening, now: datetime
    ) -> None:
        self._repository = repository
        self._policy = policy
        self._settings = settings
        self._listening = listening
        self._now = now
        self._now_s = listening.listened_s
        self._watching: dict[str | None, Watching] = {}
        self._standings: list[Standing] = []
        self._conditions: list[KeptCondition] = []
        self._cleared: set[ConditionKey] = set()
        self.tickets: list[TicketChange] = []
        self.presences: list[PresenceChange] = []

    def read_hours(self, looks: Iterable[Look]) -> None:
        """Find out which stores are watched now."""
        stores = {look.store_id for look in looks if look.store_id and look.watch == OPENING_HOURS}
        for store_id, (hours, zone) in self._repository.looks.hours(stores).items():
            try:
                parsed = parse_hours(hours, zone)
            except HoursInvalid:
                # Rows are checked where they enter; hours that make no sense must not hide a dead till.
                continue
            self._watching[store_id] = watching(parsed, self._now, self._settings.opening_grace_s)

    def hear(self, terminal: Terminal, look: Look, readings: Sequence[Reading] | None) -> float:
        """Judge one terminal; returns the position at which it is to be looked at again."""
        sight = self._sight(look)
        verdict = assess(sight, self._now_s, lost_hold_s=self._settings.lost_hold_s)
        self._stand(terminal, look, verdict)
        beat_s = self._beat_s(look)
        fresh = self._fresh(look, beat_s, sight.interval_s)
        terminal.unread = readings is None or not fresh or verdict.state is not State.ONLINE
        said = words(
            verdict,
            readings=readings,
            fresh=fresh,
            shared=shared(_sighting(look), self._now, int(sight.interval_s)),
            followed=terminal.followed,
        )
        case = _Case(terminal=terminal, look=look, beat_s=beat_s, verdict=verdict, readings=readings or ())
        known_first = sorted(said, key=lambda key: (key not in terminal.followed, key))
        dues = [verdict.due_s, *(self._follow(case, key, said[key]) for key in known_first)]
        offline = sight.said is not None and sight.said.state == PresenceState.OFFLINE
        terminal.calm_interval_s = None if terminal.unread or terminal.followed or offline else sight.interval_s
        return min((due_s for due_s in dues if due_s is not None), default=self._now_s + self._settings.idle_look_s)

    def write(self) -> None:
        """Write what changed."""
        self._repository.judgements.save_standings(self._standings)
        self._repository.judgements.save_conditions(self._conditions, self._cleared)

    def _sight(self, look: Look) -> Sight:
        watched = self._watching.get(look.store_id, ALWAYS)
        until_s = (watched.until - self._now).total_seconds() if watched.until else None
        return Sight(
            heard_s=self._listening.position_s(look.heard_at),
            heard_since_anew=self._listening.heard_since_anew(look.heard_at),
            anew_s=self._listening.anew_s,
            unbroken_s=self._listening.unbroken_s,
            interval_s=look.interval_s or self._settings.interval_default_s,
            connection=look.connection,
            said=self._said(look),
            life_cycle=look.life_cycle,
            watch=watched.watch,
            watch_due_s=None if until_s is None else self._now_s + until_s,
        )

    def _said(self, look: Look) -> Said | None:
        if look.presence_connection is None or look.presence_state is None or look.presence_received_at is None:
            return None
        beat_at = look.level_received_at
        return Said(
            connection=look.presence_connection,
            state=look.presence_state,
            reason=look.presence_reason,
            at_s=self._listening.position_s(look.presence_received_at),
            outlived=beat_at is not None and beat_at > look.presence_received_at,
        )

    def _beat_s(self, look: Look) -> float:
        """Return where the newest heartbeat was heard."""
        return self._listening.position_s(look.level_received_at) if look.level_received_at else self._listening.anew_s

    def _fresh(self, look: Look, beat_s: float, interval_s: float) -> bool:
        """Whether the newest heartbeat is young enough to speak for now."""
        if look.level_received_at is None or not self._listening.heard_since_anew(look.level_received_at):
            return False
        return self._now_s < beat_s + interval_s + grace_s(interval_s)

    def _stand(self, terminal: Terminal, look: Look, verdict: Verdict) -> None:
        if (terminal.state, terminal.reason) == (verdict.state, verdict.reason):
            return
        change = PresenceChange(
            terminal_id=look.terminal_id, before=terminal.state, state=verdict.state, reason=verdict.reason
        )
        self.presences.append(change)
        terminal.state, terminal.reason = verdict.state, verdict.reason
        self._standings.append(Standing(look.terminal_id, str(verdict.state), str(verdict.reason), self._now))

    def _follow(self, case: "_Case", key: Key, word: Word) -> float | None:
        """Take one condition a step further; returns the position at which its hold is over."""
        followed = case.terminal.followed.get(key)
        if followed is None and len(case.terminal.followed) >= FOLLOWED_MAX:
            case.terminal.unread = True
            return None
        followed = followed or self._begun(case.look, key, word)
        advanced = advance(
            followed.course,
            word.sign,
            now_s=self._now_s,
            beat_s=self._now_s if key in OWN and word.sign is not Sign.ABSENT else case.beat_s,
            holds=self._policy.rule(key[1]).holds,
        )
        if advanced.course.phase is not followed.course.phase:
            followed.phase_since = self._now
        if Moved.DENIED in advanced.moves:
            followed.denied_at, followed.denied_by = case.look.level_received_at, case.look.beat
        followed.course = advanced.course
        if Moved.RAISED in advanced.moves:
            self._raise(case, key, followed)
        if Moved.CLEARED in advanced.moves:
            self._clear(case, key, followed)
        if advanced.moves:
            self._keep(case, key, followed)
        return advanced.due_s

    def _begun(self, look: Look, key: Key, word: Word) -> Followed:
        happened_at = {SILENT: look.heard_at, SHARED: look.switched_at}.get(key, word.happened_at)
        return Followed(
            course=Course(), phase_since=self._now, happened_at=happened_at or self._now, detail=word.detail
        )

    def _keep(self, case: "_Case", key: Key, followed: Followed) -> None:
        full_key = (case.look.terminal_id, *key)
        if followed.course.phase is Phase.CLEAR:
            case.terminal.followed.pop(key, None)
            self._cleared.add(full_key)
            return
        case.terminal.followed[key] = followed
        phase, since = str(followed.course.phase), followed.phase_since
        self._conditions.append(KeptCondition(*full_key, phase, since, followed.happened_at, followed.detail))

    def _raise(self, case: "_Case", key: Key, followed: Followed) -> None:
        component, code = key
        rule = self._policy.rule(code)
        ticket_id = None
        if rule.ticket:
            why = Why(actor=MACHINE, reason=_lasted(key, rule.raise_s), evidence=_raise_evidence(case, followed))
            identity = _identity(case.look, key)
            change = tickets.open_or_recur(self._repository.judgements, identity, rule, why, self._now)
            self.tickets.append(change)
            ticket_id = change.ticket_id
        self._repository.judgements.begin_fault(
            (case.look.terminal_id, component, code),
            severity=rule.severity,
            happened_at=followed.happened_at,
            now=self._now,
            ticket_id=ticket_id,
        )

    def _clear(self, case: "_Case", key: Key, followed: Followed) -> None:
        self._repository.judgements.end_fault((case.look.terminal_id, *key), self._now)
        reason = f"{key[1]} on {key[0]} proved gone by {case.look.terminal_id} itself"
        why = Why(actor=MACHINE, reason=reason, evidence=_proof(case, key, followed))
        change = tickets.prove(self._repository.judgements, _identity(case.look, key), why, self._now)
        if change is not None:
            self.tickets.append(change)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One terminal at one look."""

    terminal: Terminal
    look: Look
    beat_s: float
    verdict: Verdict
    readings: Sequence[Reading]


def _identity(look: Look, key: Key) -> TicketIdentity:
    return TicketIdentity(subject_kind="terminal", subject_id=look.terminal_id, component=key[0], code=key[1])


def _sighting(look: Look) -> Sighting:
    return Sighting(
        heard_at=look.heard_at,
        stream_id=look.stream_id,
        stream_switches=look.stream_switches,
        switched_at=look.switched_at,
    )


def _lasted(key: Key, raise_s: float) -> str:
    lasted = f" for {raise_s:g} s" if raise_s else ""
    return f"{key[1]} on {key[0]}{lasted}"


def _raise_evidence(case: _Case, followed: Followed) -> dict[str, Any]:
    return {
        "terminal_id": case.look.terminal_id,
        "happened_at": followed.happened_at.isoformat(),
        "detail": followed.detail,
        "heard_at": case.look.heard_at.isoformat(),
        "heartbeat": case.look.beat,
        "presence": case.verdict.reason,
    }


def _proof(case: _Case, key: Key, followed: Followed) -> dict[str, Any]:
    """Which terminal was healthy, since when, on which heartbeats, and what it said of the component last."""
    reading = next((reading for reading in case.readings if reading.component == key[0]), None)
    return {
        "terminal_id": case.look.terminal_id,
        "healthy_since": followed.denied_at.isoformat() if followed.denied_at else None,
        "heartbeats": [followed.denied_by, case.look.beat],
        "heard_at": case.look.heard_at.isoformat(),
        "reading": reading.model_dump(mode="json", include={"health", "power_state", "facts"}) if reading else None,
    }
