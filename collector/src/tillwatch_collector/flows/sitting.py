"""One tick of judge: each terminal that is looked at is held against the policy; what changed is written at the end.

The decisions are `domain.presence`, `domain.signs`, `domain.condition`, `domain.flapping` and `domain.outage`; here
their moves become rows, faults and tickets. Two passes: first everyone is seen, so that a cause that many share is
known; then what each shows is followed, and what an outage explains, or a maintenance mutes, gets no ticket of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from tillwatch_collector.domain import clock_offset, flapping, swap
from tillwatch_collector.domain.condition import Course, Holds, Phase, Sign, advance
from tillwatch_collector.domain.condition import Reason as Moved
from tillwatch_collector.domain.flapping import Flap, Flapping
from tillwatch_collector.domain.hours import parse_hours
from tillwatch_collector.domain.identity import Sighting, shared
from tillwatch_collector.domain.listening import Listening
from tillwatch_collector.domain.maintenance import Book, Place
from tillwatch_collector.domain.outage import OutageSettings, Shown, Stand, Symptom, asserted, silence
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.presence import Said, Sight, State, Verdict, assess, grace_s
from tillwatch_collector.domain.signs import OWN, SHARED, SILENT, Key, Word, words
from tillwatch_collector.domain.ticket import TicketIdentity
from tillwatch_collector.domain.watching import ALWAYS, Watching, watching
from tillwatch_collector.errors import HoursInvalid
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.changes import MACHINE, TicketChange, Why
from tillwatch_collector.flows.driving import Driver, DrivingSettings
from tillwatch_collector.flows.outages import Outages
from tillwatch_collector.flows.remembered import Case, Followed, Owed, Terminal
from tillwatch_collector.store.judgements import ConditionKey, KeptCondition, Standing
from tillwatch_collector.store.looks import Look
from tillwatch_collector.store.repository import Repository
from tillwatch_protocol.heartbeat import PresenceState
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import MACHINE_SELF

FOLLOWED_MAX = 128
"""Conditions followed of one terminal: ten parts with a few each; one that goes on naming new ones gains nothing."""

FLAPS_MAX = 128
"""Conditions of one terminal whose raises are counted, for the same reason."""

OFFSET_STEP_S = 1.0
"""A clock's offset is written again when it moved by more than a heartbeat's way varies."""

NEXT_PROOF_S = 0.001
"""Beyond what was listened to: due as soon as more is."""

AGAIN_INTERVALS = 1
"""Who has just been missed is looked at again so much later, once: a heartbeat that was being written in that moment
did not find them missed (`Facts.mark_missed`)."""

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
    lost_hold_s: float = 75.0
    """How long after a will a new connection may take. An agent whose line broke without a word learns of it up to two
    keepalives (30 s each) later, and then dials: before that its silence proves nothing."""
    interval_default_s: float = 60.0
    """Of a terminal that has never sent a heartbeat that could be read."""
    opening_grace_s: float = 900.0
    closing_grace_s: float = 900.0
    idle_look_s: float = 600.0
    """Who is looked at for no other reason is looked at this often."""
    looks_max: int = 5_000
    """Marked and due terminals of one tick, each: a second's work; the rest follows in the next."""
    outages: OutageSettings = field(default_factory=OutageSettings)
    rollouts: DrivingSettings = field(default_factory=DrivingSettings)


@dataclass(frozen=True, kw_only=True, slots=True)
class PresenceChange:
    """A terminal whose standing changed."""

    terminal_id: str
    before: str
    state: str
    reason: str


class Again(NamedTuple):
    """When a terminal is to be looked at again, whichever comes first."""

    due_s: float
    """A position of listened time: how long it may be silent, and how long a sign must last."""
    at: datetime | None
    """By the clock, which goes on while nobody listens: when its shop opens, or a maintenance ends."""


class Sitting:
    """One tick: `read` once, `see` everyone, `decide`, `release`, `follow` everyone, `write`."""

    def __init__(
        self,
        repository: Repository,
        *,
        policy: Policy,
        settings: JudgeSettings,
        listening: Listening,
        outages: Outages,
        driver: Driver,
        now: datetime,
    ) -> None:
        self._repository = repository
        self._policy = policy
        self._settings = settings
        self._listening = listening
        self._outages = outages
        self._driver = driver
        self._now = now
        self._now_s = listening.listened_s
        self._listened_at = min(listening.last.ended_at, now) if listening.last else now
        """Up to when silence is known: of a shop that opened since we know nobody silent."""
        self._watching: dict[str | None, Watching] = {}
        self._maintenance = Book()
        self._known: Mapping[str, Sequence[swap.Known]] = {}
        self._standings: list[Standing] = []
        self._conditions: list[KeptCondition] = []
        self._cleared: set[ConditionKey] = set()
        self._learned: dict[str, str] = {}
        self._missed: set[str] = set()
        """Who was online until now."""
        self.tickets: list[TicketChange] = []
        self.spread: set[int] = set()
        """Tickets of outages that have hit another store."""
        self.presences: list[PresenceChange] = []

    def read(self, looks: Sequence[Look], readings: Mapping[str, Sequence[Reading]], maintenance: Book) -> None:
        """Find out which stores are watched and what is in maintenance now, and whose the told serial numbers are."""
        self._maintenance = maintenance
        self._read_hours(looks)
        entered = {look.terminal_id: look.serial_number for look in looks}
        wanted = {
            serial
            for terminal_id, said in readings.items()
            for serial in swap.told(said).serials
            if serial != entered[terminal_id]
        }
        self._known = self._repository.swaps.serials(wanted) if wanted else {}

    def see(self, terminal: Terminal, look: Look, readings: Sequence[Reading] | None) -> Case:
        """Judge a terminal's presence, and tell what it shows to whoever looks for common causes."""
        sight = self._sight(terminal, look)
        verdict = assess(sight, self._now_s, lost_hold_s=self._settings.lost_hold_s)
        beat_s = self._beat_s(look)
        fresh = self._fresh(look, beat_s, sight.interval_s)
        self._take_in(terminal, look, readings)
        self._stand(terminal, look, verdict)
        terminal.looked_s = self._now_s
        unjudged = readings is None and terminal.unread
        terminal.unread = unjudged or not fresh or verdict.state is not State.ONLINE
        said = words(
            verdict,
            readings=readings,
            fresh=fresh,
            shared=shared(_sighting(look), self._now, int(sight.interval_s)),
            followed=terminal.followed,
        )
        if verdict.state is State.ONLINE and fresh and readings is not None:
            said |= self._said_of_serials(terminal, look)
        place = Place(terminal_id=look.terminal_id, store_id=look.store_id, merchant_id=look.merchant_id)
        muted = self._maintenance.active(place, self._now)
        terminal.muted = muted is not None
        case = Case(
            terminal=terminal,
            look=look,
            beat_s=beat_s,
            fresh=fresh,
            verdict=verdict,
            readings=readings or (),
            said=said,
            offline=sight.said is not None and sight.said.state == PresenceState.OFFLINE,
            muted=muted,
        )
        self._outages.stand(self._shown(case, sight), self._now_s)
        return case

    def decide(self) -> None:
        """Open, widen and end what many terminals share."""
        self.tickets += self._outages.decide(self._repository, self._now, self._now_s)

    def release(self, terminals: Mapping[str, Terminal]) -> list[str]:
        """Owe a ticket to what an outage did not explain, or what outlasted it; returns whom to look at for it."""
        owed = []
        for released in self._outages.released():
            terminal = terminals.get(released.terminal_id)
            followed = terminal.followed.get(released.symptom) if terminal else None
            if followed is not None:
                followed.owed = Owed.OUTAGE
                owed.append(released.terminal_id)
        return owed

    def follow(self, case: Case) -> Again:
        """Take a terminal's conditions a step further; returns when it is to be looked at again."""
        terminal = case.terminal
        known_first = sorted(case.said, key=lambda key: (key not in terminal.followed, key))
        dues = [case.verdict.due_s, *(self._follow(case, key, case.said[key]) for key in known_first)]
        for key in sorted(terminal.flaps.keys() - case.said.keys()):
            self._count_flaps(case, key, ())
        interval_s = case.look.interval_s or self._settings.interval_default_s
        if case.look.terminal_id in self._missed:
            dues.append(self._now_s + AGAIN_INTERVALS * interval_s)
        quiet = not (terminal.unread or terminal.followed or case.offline)
        terminal.calm_interval_s = interval_s if quiet else None
        idle_s = self._now_s + self._settings.idle_look_s
        return Again(
            due_s=min((due_s for due_s in dues if due_s is not None), default=idle_s),
            at=min(self._turns(case), default=None),
        )

    def write(self) -> None:
        """Write what changed."""
        self._repository.judgements.save_standings(self._standings)
        self._repository.judgements.save_conditions(self._conditions, self._cleared)
        if self._learned:
            self._repository.swaps.learn(self._learned)

    def _turns(self, case: Case) -> list[datetime]:
        """Return when the clock changes how a terminal is judged."""
        watched = self._watching.get(case.look.store_id, ALWAYS)
        turns = [flapping.ends_at(flap, self._policy.flapping.rule) for flap in case.terminal.flaps.values()]
        turns.append(case.muted.until if case.muted else None)
        if case.verdict.state is State.OFF and watched.until is not None and watched.until > self._now:
            turns.append(watched.until)
        return [turn for turn in turns if turn is not None]

    # --- what is known of a terminal

    def _read_hours(self, looks: Iterable[Look]) -> None:
        stores = {look.store_id for look in looks if look.store_id and look.watch == OPENING_HOURS}
        for store_id, (hours, zone, holidays) in self._repository.looks.hours(stores).items():
            try:
                parsed = parse_hours(hours, zone, holidays)
            except HoursInvalid:
                # Rows are checked where they enter; hours that make no sense must not hide a dead till.
                continue
            self._watching[store_id] = watching(
                parsed,
                self._listened_at,
                opening_grace_s=self._settings.opening_grace_s,
                closing_grace_s=self._settings.closing_grace_s,
            )

    def _take_in(self, terminal: Terminal, look: Look, readings: Sequence[Reading] | None) -> None:
        """Remember what seldom changes, and how far the terminal's clock is ahead."""
        if readings is not None:
            terminal.read(look, readings, swap.told(readings))
        if look.level_sent_at is not None and look.level_received_at is not None:
            terminal.clock = clock_offset.heard(terminal.clock, look.level_sent_at, look.level_received_at)

    def _sight(self, terminal: Terminal, look: Look) -> Sight:
        watched = self._watching.get(look.store_id, ALWAYS)
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
            watch_due_s=None if watched.until is None else self._turn_s(watched.until),
            was_off=terminal.state == State.OFF,
        )

    def _turn_s(self, until: datetime) -> float:
        """Return where a turn of the clock is seen: one that we have not listened to, with the next proof."""
        return self._now_s + max((until - self._now).total_seconds(), NEXT_PROOF_S)

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
        estimate = terminal.clock.estimate
        offset_s = estimate.offset_s if estimate else None
        same = (terminal.state, terminal.reason) == (verdict.state, verdict.reason)
        if same and _near(offset_s, terminal.offset_kept_s):
            return
        if not same:
            change = PresenceChange(
                terminal_id=look.terminal_id, before=terminal.state, state=verdict.state, reason=verdict.reason
            )
            self.presences.append(change)
            terminal.since = self._now
            if change.before == State.ONLINE:
                self._missed.add(look.terminal_id)
        terminal.state, terminal.reason, terminal.offset_kept_s = verdict.state, verdict.reason, offset_s
        since = terminal.since or self._now
        standing = Standing(look.terminal_id, str(verdict.state), str(verdict.reason), since, offset_s)
        self._standings.append(standing)

    def _said_of_serials(self, terminal: Terminal, look: Look) -> dict[Key, Word]:
        """Say what the told serial numbers show, of what is true or followed."""
        if terminal.serials is None:
            return {}
        verdict = swap.judge(look.terminal_id, look.serial_number, terminal.serials, self._known)
        if verdict.swap is swap.Swap.LEARNED and verdict.serial is not None:
            self._learned[look.terminal_id] = verdict.serial
        said: dict[Key, Word] = {}
        for code in swap.SwapCode:
            key = MACHINE_SELF, str(code)
            if code is verdict.code:
                said[key] = Word(Sign.ASSERTED, detail=verdict.reason)
            elif key in terminal.followed:
                said[key] = Word(Sign.ABSENT if verdict.decided else Sign.INDETERMINATE)
        return said

    def _shown(self, case: Case, sight: Sight) -> Stand:
        """Say what a look shows to whoever looks for common causes: who is in maintenance is missed by nobody."""
        shown: dict[Symptom, Shown] = {}
        unsure: list[Symptom] = []
        if case.verdict.state in {State.LATE, State.SILENT}:
            from_s, silent = max(sight.heard_s, sight.anew_s), case.verdict.state is State.SILENT
            shown[SILENT] = silence(
                at=case.look.heard_at,
                from_s=from_s,
                interval_s=sight.interval_s,
                silent=silent,
                now_s=self._now_s,
            )
        for key, word in case.said.items():
            rule = self._policy.rule(key[1])
            if key in OWN or not rule.outage:
                continue
            if word.sign is Sign.ASSERTED:
                followed = case.terminal.followed.get(key)
                since_s = followed.course.since_s if followed else case.beat_s
                shown[key] = asserted(
                    at=followed.phase_since if followed else self._now,
                    since_s=since_s,
                    raise_s=rule.raise_s,
                    interval_s=sight.interval_s,
                    span_s=self._settings.outages.span_s,
                )
            elif word.sign is not Sign.ABSENT:
                unsure.append(key)
        return Stand(
            terminal_id=case.look.terminal_id,
            places=case.places(),
            missed=case.verdict.state is not State.OFF and case.muted is None,
            well=case.verdict.state is State.ONLINE and case.fresh,
            shown=shown,
            unsure=unsure,
        )

    # --- one condition

    def _follow(self, case: Case, key: Key, word: Word) -> float | None:
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
            holds=self._holds(case.terminal, key),
        )
        if advanced.course.phase is not followed.course.phase:
            followed.phase_since = self._now
        if Moved.DENIED in advanced.moves:
            followed.denied_at, followed.denied_by = case.look.level_received_at, case.look.beat
        followed.course = advanced.course
        if Moved.RAISED in advanced.moves:
            self._raise(case, key, followed)
        elif followed.owed and followed.course.phase is Phase.RAISED:
            self._pay(case, key, word, followed)
        if Moved.CLEARED in advanced.moves:
            self._clear(case, key, followed)
        self._count_flaps(case, key, advanced.moves)
        if advanced.moves:
            self._keep(case, key, followed)
        return advanced.due_s

    def _holds(self, terminal: Terminal, key: Key) -> Holds:
        """Return the policy's holds; while it flaps, that of its end grows."""
        holds = self._policy.rule(key[1]).holds
        flap = terminal.flaps.get(key)
        if flap is None:
            return holds
        return Holds(raise_s=holds.raise_s, clear_s=flapping.clear_s(flap, holds.clear_s, self._policy.flapping.rule))

    def _begun(self, look: Look, key: Key, word: Word) -> Followed:
        happened_at = {SILENT: look.heard_at, SHARED: look.switched_at}.get(key, word.happened_at)
        return Followed(
            course=Course(), phase_since=self._now, happened_at=happened_at or self._now, detail=word.detail
        )

    def _keep(self, case: Case, key: Key, followed: Followed) -> None:
        full_key = (case.look.terminal_id, *key)
        if followed.course.phase is Phase.CLEAR:
            case.terminal.followed.pop(key, None)
            self._cleared.add(full_key)
            return
        case.terminal.followed[key] = followed
        phase, since = str(followed.course.phase), followed.phase_since
        self._conditions.append(KeptCondition(*full_key, phase, since, followed.happened_at, followed.detail))

    def _raise(self, case: Case, key: Key, followed: Followed) -> None:
        """Begin a fault; its ticket is its own, its outage's, or none in maintenance."""
        component, code = key
        rule = self._policy.rule(code)
        ticket_id = None
        followed.owed = Owed.MAINTENANCE if rule.ticket and case.muted else None
        if rule.ticket and not case.muted:
            reason = _lasted(key, rule.raise_s)
            ticket_id = self._ticket(case, key, followed, reason)
        self._repository.judgements.begin_fault(
            (case.look.terminal_id, component, code),
            severity=rule.severity,
            happened_at=followed.happened_at,
            now=self._now,
            ticket_id=ticket_id,
        )

    def _ticket(self, case: Case, key: Key, followed: Followed, reason: str) -> int | None:
        """Return the ticket of a fault: an outage's, or one that is opened for it; None while nobody knows."""
        claim = self._outages.claims(case.look.terminal_id, key, self._now_s)
        if claim.ticket_id is not None and claim.spreads:
            self.spread.add(claim.ticket_id)
        if claim.held or claim.ticket_id is not None:
            return claim.ticket_id
        rule = self._policy.rule(key[1])
        blame = self._driver.blame(self._repository, case.look.terminal_id, self._now) if rule.attributable else None
        evidence = case.raise_evidence(followed) | ({"update": blame.evidence} if blame else {})
        why = Why(actor=MACHINE, reason=reason, evidence=evidence)
        identity = _identity((case.look.terminal_id, *key))
        parent_id = blame.parent_id if blame else None
        change = tickets.open_or_recur(self._repository, identity, rule, why, self._now, parent_id=parent_id)
        self.tickets.append(change)
        return change.ticket_id

    def _pay(self, case: Case, key: Key, word: Word, followed: Followed) -> None:
        """Open the ticket that a fault is owed, once, unless it is in maintenance, or nobody knows whether it lasts."""
        if case.muted:
            followed.owed = Owed.MAINTENANCE
        elif followed.owed and word.sign is Sign.ASSERTED:
            reason = f"{key[1]} on {key[0]}: {followed.owed}"
            followed.owed = None
            ticket_id = self._ticket(case, key, followed, reason)
            if ticket_id is not None:
                self._repository.judgements.link_fault((case.look.terminal_id, *key), ticket_id)

    def _clear(self, case: Case, key: Key, followed: Followed) -> None:
        full_key = (case.look.terminal_id, *key)
        # Before its faults, as who merges its ticket holds it before they move the ticket's faults.
        self._repository.tickets.hold("terminal", case.look.terminal_id)
        self._repository.judgements.end_fault(full_key, self._now)
        reason = f"{key[1]} on {key[0]} proved gone by {case.look.terminal_id} itself"
        why = Why(actor=MACHINE, reason=reason, evidence=case.proof(key, followed))
        change = tickets.prove(self._repository, _identity(full_key), why, self._now)
        if change is not None:
            self.tickets.append(change)

    # --- flapping

    def _count_flaps(self, case: Case, key: Key, moves: Sequence[Moved]) -> None:
        """Count a turn to the bad side; the journal tells when flapping begins and ends."""
        flaps, rule = case.terminal.flaps, self._policy.flapping.rule
        turned = Moved.RAISED in moves or Moved.CAME_BACK in moves
        if not turned and key not in flaps:
            return
        if turned and key not in flaps and len(flaps) >= FLAPS_MAX:
            return
        look = flapping.raised if turned else flapping.looked
        turn = look(flaps.get(key, Flap()), self._now, rule)
        if turn.flap.times:
            flaps[key] = turn.flap
        else:
            flaps.pop(key, None)
        if turn.state in {Flapping.BEGAN, Flapping.ENDED}:
            self._note_flapping(case, key, turn)

    def _note_flapping(self, case: Case, key: Key, turn: flapping.FlapTurn) -> None:
        began = turn.state is Flapping.BEGAN
        told = f"raised {turn.count} times; it must be well for longer now" if began else f"after {turn.count} raises"
        reason = f"{key[1]} on {key[0]} {'flaps: ' if began else 'flaps no more, '}{told}"
        why = Why(actor=MACHINE, reason=reason, evidence={"raises": turn.count})
        tickets.note(self._repository, _identity((case.look.terminal_id, *key)), "flap", why, self._now)


def _identity(full_key: ConditionKey) -> TicketIdentity:
    terminal_id, component, code = full_key
    return TicketIdentity(subject_kind="terminal", subject_id=terminal_id, component=component, code=code)


def _sighting(look: Look) -> Sighting:
    return Sighting(
        heard_at=look.heard_at,
        stream_id=look.stream_id,
        stream_switches=look.stream_switches,
        switched_at=look.switched_at,
    )


def _near(one_s: float | None, other_s: float | None) -> bool:
    if one_s is None or other_s is None:
        return one_s is other_s
    return abs(one_s - other_s) <= OFFSET_STEP_S


def _lasted(key: Key, raise_s: float) -> str:
    lasted = f" for {raise_s:g} s" if raise_s else ""
    return f"{key[1]} on {key[0]}{lasted}"
