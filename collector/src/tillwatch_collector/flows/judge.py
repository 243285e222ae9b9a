"""Facts to tickets: the only writer of standings, conditions and faults, and the machine's hand on tickets.

One tick runs in one transaction of the one process that holds the lease; the lease's number is checked first, so that a
process that lost it commits nothing. State is in memory, rebuilt from rows by `load`. A tick looks at terminals that
ingest marked and at those whose deadline has come, never at the fleet; a deadline is kept lazily: when it comes, what
was heard since is read, and it is set anew. While there is no connection nobody is judged.

When a tick raises, or its commit fails, the judge is void: load another, with the same `listening`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from tillwatch_collector.domain.condition import Course, Phase
from tillwatch_collector.domain.deadlines import Deadlines
from tillwatch_collector.domain.listening import Listening
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.presence import grace_s
from tillwatch_collector.errors import LeaseHeldElsewhere, LeaseLost
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.sitting import Followed, JudgeSettings, PresenceChange, Sitting, Terminal
from tillwatch_collector.flows.tickets import MACHINE, Move, TicketChange, Why
from tillwatch_collector.store.judgements import TicketIdentity
from tillwatch_collector.store.looks import Look
from tillwatch_collector.store.repository import Repository

__all__ = ["Judge", "JudgeEffects", "JudgeSettings"]

LEASE = "tick"
LEASE_LEFT_MIN = 2 / 3
"""Of its time: with less left it is prolonged, so that it does not run out while a database is away for a moment."""

COLLECTOR_STORE = "collector:store"
RESTORED = TicketIdentity(
    subject_kind="collector", subject_id="collector", component=COLLECTOR_STORE, code="restored_from_backup"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeEffects:
    """What a tick did."""

    tickets: tuple[TicketChange, ...]
    presences: tuple[PresenceChange, ...]


class Judge:
    """The tick's memory and its inputs; not thread-safe."""

    def __init__(
        self, *, policy: Policy, settings: JudgeSettings, listening: Listening, fencing_no: int, lease_until: datetime
    ) -> None:
        self.listening = listening
        """What was heard; whoever ticks keeps it up to date."""
        self._policy = policy
        self._settings = settings
        self._fencing_no = fencing_no
        self._lease_until = lease_until
        self._terminals: dict[str, Terminal] = {}
        self._looks: Deadlines[str] = Deadlines()
        """On the axis of listened time."""
        self._closings: Deadlines[int] = Deadlines()
        """On the clock."""
        self._told: int | None = None

    @classmethod
    def load(
        cls,
        repository: Repository,
        policy: Policy,
        settings: JudgeSettings,
        now: datetime,
        listening: Listening | None = None,
    ) -> Self:
        """Take the lease and rebuild the memory from rows; raises `LeaseHeldElsewhere`.

        Holds and proofs that were running begin anew. `listening` is that of a judge that became void in this process.
        """
        expires_at = now + timedelta(seconds=settings.lease_s)
        fencing_no = repository.take_lease(LEASE, settings.holder, now, expires_at)
        if fencing_no is None:
            raise LeaseHeldElsewhere(f"expected the lease {LEASE!r} to be free for {settings.holder}; another holds it")
        fresh = Listening(gap_max_s=settings.canary_s * settings.canaries_missed_max)
        judge = cls(
            policy=policy,
            settings=settings,
            listening=listening or fresh,
            fencing_no=fencing_no,
            lease_until=expires_at,
        )
        judge._remember(repository)
        return judge

    def restored(self, told: int, now: datetime) -> None:  # noqa: ARG002 - inputs of one shape
        """Note that an agent has seen an epoch that proves ours restored; the next tick opens the ticket."""
        self._told = told

    def tick(self, repository: Repository, now: datetime) -> JudgeEffects:
        """Judge whom there is to judge; raises `LeaseLost`."""
        if not self._keep_lease(repository, now):
            raise LeaseLost(f"expected to hold the lease {LEASE!r} with number {self._fencing_no}; another took it")
        sitting = Sitting(repository, policy=self._policy, settings=self._settings, listening=self.listening, now=now)
        if self.listening.anew_at is not None:
            self._hear(repository, sitting)
        sitting.write()
        changes = [*sitting.tickets, *self._report_restored(repository, now), *self._close(repository, now)]
        self._plan_closings(changes, now)
        return JudgeEffects(tickets=tuple(changes), presences=tuple(sitting.presences))

    def release(self, repository: Repository, now: datetime) -> None:
        """Hand the lease back; this judge is void."""
        repository.keep_lease(LEASE, self._fencing_no, now)

    def _keep_lease(self, repository: Repository, now: datetime) -> bool:
        """Whether the lease is ours until the commit; an idle tick writes nothing, so most only look."""
        lease = timedelta(seconds=self._settings.lease_s)
        if self._lease_until - now > lease * LEASE_LEFT_MIN:
            return repository.holds_lease(LEASE, self._fencing_no)
        self._lease_until = now + lease
        return repository.keep_lease(LEASE, self._fencing_no, self._lease_until)

    def _remember(self, repository: Repository) -> None:
        now_s = self.listening.listened_s
        for standing in repository.judgements.standings():
            self._terminals[standing.terminal_id] = Terminal(state=standing.presence, reason=standing.reason)
        for kept in repository.judgements.conditions():
            phase = Phase.RAISED if kept.phase == Phase.CLEARING else Phase(kept.phase)
            terminal = self._terminals.setdefault(kept.terminal_id, Terminal())
            terminal.followed[kept.component, kept.code] = Followed(
                course=Course(phase=phase, since_s=now_s),
                phase_since=kept.phase_since,
                happened_at=kept.happened_at,
                detail=kept.detail,
            )
        for look in repository.looks.look(repository.looks.heard_terminals()):
            self._terminals.setdefault(look.terminal_id, Terminal())
            interval_s = look.interval_s or self._settings.interval_default_s
            self._looks.arm(look.terminal_id, now_s + interval_s + grace_s(interval_s))
        for ticket in repository.judgements.resolved_tickets():
            if ticket.resolved_at is not None:
                due = ticket.resolved_at.timestamp() + self._policy.rule(ticket.code).close_after_s
                self._closings.arm(ticket.ticket_id, due)

    def _hear(self, repository: Repository, sitting: Sitting) -> None:
        marked = repository.looks.take_marked(self._settings.looks_max)
        due = self._missed(repository, self._looks.take_due(self.listening.listened_s, self._settings.looks_max))
        looks = repository.looks.look({*marked, *due})
        sitting.read_hours(looks)
        readings = repository.looks.readings(self._to_read(looks, set(marked)))
        for look in looks:
            terminal = self._terminals.setdefault(look.terminal_id, Terminal())
            self._looks.arm(look.terminal_id, sitting.hear(terminal, look, readings.get(look.terminal_id)))

    def _missed(self, repository: Repository, due: Collection[str]) -> list[str]:
        """Of those whose deadline has come, return who is to be looked at; who is calm and was heard has time again."""
        listening, missed = self.listening, set(due)
        calm = {name: interval_s for name in due if (interval_s := self._calm_interval_s(name))}
        for terminal_id, heard_at in repository.looks.heard(calm):
            interval_s = calm[terminal_id]
            due_s = listening.position_s(heard_at) + interval_s + grace_s(interval_s)
            if listening.heard_since_anew(heard_at) and due_s > listening.listened_s:
                self._looks.arm(terminal_id, due_s)
                missed.discard(terminal_id)
        return sorted(missed)

    def _calm_interval_s(self, terminal_id: str) -> float | None:
        terminal = self._terminals.get(terminal_id)
        return terminal.calm_interval_s if terminal else None

    def _to_read(self, looks: Sequence[Look], marked: Collection[str]) -> list[tuple[str, str]]:
        """Return the levels whose readings changed, were not judged yet, or belong to a condition that is followed."""
        wanted = []
        for look in looks:
            terminal = self._terminals.get(look.terminal_id)
            news = look.terminal_id in marked or terminal is None or terminal.unread or bool(terminal.followed)
            if news and look.stream_id is not None:
                wanted.append((look.terminal_id, look.stream_id))
        return wanted

    def _report_restored(self, repository: Repository, now: datetime) -> list[TicketChange]:
        if self._told is None:
            return []
        told, self._told = self._told, None
        rule = self._policy.rule(RESTORED.code)
        reason = (
            "an agent has seen an epoch that is not ours and not below ours: this database was restored from a backup"
        )
        why = Why(actor=MACHINE, reason=reason, evidence={"epoch_seen": told})
        return [tickets.open_or_recur(repository.judgements, RESTORED, rule, why, now)] if rule.ticket else []

    def _close(self, repository: Repository, now: datetime) -> list[TicketChange]:
        closed = []
        for ticket_id in self._closings.take_due(now.timestamp(), self._settings.looks_max):
            why = Why(actor=MACHINE, reason="stayed resolved for the policy's time", evidence={})
            if change := tickets.expire(repository.judgements, ticket_id, why, now):
                closed.append(change)
        return closed

    def _plan_closings(self, changes: Sequence[TicketChange], now: datetime) -> None:
        for change in changes:
            if change.move is Move.RESOLVED:
                self._closings.arm(change.ticket_id, now.timestamp() + self._policy.rule(change.code).close_after_s)
