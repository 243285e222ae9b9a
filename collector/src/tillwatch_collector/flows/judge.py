"""Facts to tickets: the only writer of standings, conditions and faults, and the machine's hand on tickets.

One tick runs in one transaction of the one process that holds the lease; the lease's number is checked first, so that a
process that lost it commits nothing. State is in memory, rebuilt from rows by `load`. A tick looks at terminals that
ingest marked and at those whose deadline has come, never at the fleet; a deadline is kept lazily: when it comes, what
was heard since is read, and it is set anew. While there is no connection nobody is judged.

Rollouts are looked at in the same transaction, before the terminals: whom a release may be switching is in maintenance.

When a tick raises, or its commit fails, the judge is void: load another, with the same `listening`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from tillwatch_collector.domain import clock_offset, flapping
from tillwatch_collector.domain.condition import Course, Phase
from tillwatch_collector.domain.deadlines import Deadlines
from tillwatch_collector.domain.listening import Listening
from tillwatch_collector.domain.maintenance import Book, Span
from tillwatch_collector.domain.notification import Routes
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.presence import grace_s
from tillwatch_collector.domain.sla import SlaBook
from tillwatch_collector.domain.ticket import TicketIdentity
from tillwatch_collector.errors import LeaseHeldElsewhere, LeaseLost
from tillwatch_collector.flows import notices, rollouts, sla, tickets
from tillwatch_collector.flows.changes import MACHINE, Move, TicketChange, Why
from tillwatch_collector.flows.driving import DigestOf, Driver
from tillwatch_collector.flows.outages import Outages
from tillwatch_collector.flows.remembered import Followed, Owed, Terminal
from tillwatch_collector.flows.sitting import JudgeSettings, PresenceChange, Sitting
from tillwatch_collector.flows.steps import change_of
from tillwatch_collector.store.looks import Look
from tillwatch_collector.store.repository import Repository
from tillwatch_protocol.job import JobMessage

__all__ = ["Judge", "JudgeEffects", "JudgeSettings", "Rules"]

LEASE = "tick"
LEASE_LEFT_MIN = 2 / 3
"""Of its time: with less left it is prolonged, so that it does not run out while a database is away for a moment."""

ESCALATE_EVERY_S = 1.0

MAINTENANCE_S = 60.0
"""How old the spans of maintenance that are held in memory may become while nobody adds or cancels one: what is over
is let go."""

COLLECTOR_STORE = "collector:store"
RESTORED = TicketIdentity(
    subject_kind="collector", subject_id="collector", component=COLLECTOR_STORE, code="restored_from_backup"
)
RESTORED_REASON = "this database was restored from a backup"
"""Why rollouts are paused then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeEffects:
    """What a tick did."""

    tickets: tuple[TicketChange, ...]
    presences: tuple[PresenceChange, ...]
    jobs: tuple[JobMessage, ...] = ()
    """What terminals are to be told of their jobs, after the commit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is judged by, beside the policy: what contracts promise, who is told, which releases may be installed.

    None: nothing, nobody, and whichever rollouts name.
    """

    sla: SlaBook | None = None
    routes: Routes | None = None
    digest_of: DigestOf | None = None


class Judge:
    """The tick's memory and its inputs; not thread-safe."""

    def __init__(
        self,
        *,
        policy: Policy,
        rules: Rules,
        settings: JudgeSettings,
        listening: Listening,
        outages: Outages,
        driver: Driver,
        fencing_no: int,
        lease_until: datetime,
    ) -> None:
        self.listening = listening
        """What was heard; whoever ticks keeps it up to date."""
        self.contracts_unknown: tuple[str, ...] = ()
        """Contracts that stores have and the file of contracts has not: the default one stands for them."""
        self._policy = policy
        self._rules = rules
        self._settings = settings
        self._outages = outages
        self._driver = driver
        self._maintenance = Book()
        self._stamp: tuple[tuple[int, int], tuple[Span, ...]] | None = None
        self._booked_at: datetime | None = None
        self._escalated_at: datetime | None = None
        self._fencing_no = fencing_no
        self._lease_until = lease_until
        self._terminals: dict[str, Terminal] = {}
        self._looks: Deadlines[str] = Deadlines()
        """On the axis of listened time."""
        self._turns: Deadlines[str] = Deadlines()
        """On the clock, whoever is looked at when it turns: at the end of a maintenance, when a shop opens."""
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
        *,
        listening: Listening | None = None,
        rules: Rules | None = None,
    ) -> Self:
        """Take the lease and rebuild the memory from rows; raises `LeaseHeldElsewhere`.

        Holds and proofs that were running begin anew. `listening` is that of a judge that became void in this process.
        """
        expires_at = now + timedelta(seconds=settings.lease_s)
        fencing_no = repository.take_lease(LEASE, settings.holder, now, expires_at)
        if fencing_no is None:
            raise LeaseHeldElsewhere(f"expected the lease {LEASE!r} to be free for {settings.holder}; another holds it")
        listening = listening or Listening(gap_max_s=settings.canary_s * settings.canaries_missed_max)
        rules = rules or Rules()
        judge = cls(
            policy=policy,
            rules=rules,
            settings=settings,
            listening=listening,
            outages=Outages.load(repository, policy, settings.outages, listening.listened_s),
            driver=Driver(policy=policy, settings=settings.rollouts, digest_of=rules.digest_of),
            fencing_no=fencing_no,
            lease_until=expires_at,
        )
        judge._remember(repository, now)
        if rules.sla is not None:
            judge.contracts_unknown = sla.recompute_all(repository, rules.sla, now)
        return judge

    def restored(self, told: int, now: datetime) -> None:  # noqa: ARG002 - inputs of one shape
        """Note that an agent has seen an epoch that proves ours restored: the next tick pauses rollouts, and tells."""
        self._told = told

    def tick(self, repository: Repository, now: datetime) -> JudgeEffects:
        """Judge whom there is to judge; raises `LeaseLost`."""
        if not self._keep_lease(repository, now):
            raise LeaseLost(f"expected to hold the lease {LEASE!r} with number {self._fencing_no}; another took it")
        restored = self._report_restored(repository, now)
        jobs = self._drive(repository, now)
        sitting = Sitting(
            repository,
            policy=self._policy,
            settings=self._settings,
            listening=self.listening,
            outages=self._outages,
            driver=self._driver,
            now=now,
        )
        if self.listening.anew_at is not None:
            self._hear(repository, sitting, now)
        sitting.write()
        changes = [
            *restored,
            *self._driver.take_changes(),
            *sitting.tickets,
            *self._close(repository, now),
            *self._escalate(repository, now),
        ]
        self._plan_closings(changes, now)
        self._tell(repository, changes, sitting.spread, now)
        return JudgeEffects(tickets=tuple(changes), presences=tuple(sitting.presences), jobs=tuple(jobs))

    def _drive(self, repository: Repository, now: datetime) -> list[JobMessage]:
        """Look at the rollouts, when it is time; while there is no connection nobody is told anything."""
        if self.listening.anew_at is None or not self._driver.is_due(now):
            return []
        return self._driver.drive(repository, now, listening=self.listening)

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

    def _keep_booked(self, repository: Repository, now: datetime) -> None:
        """Know which maintenance there is: people's, and that of terminals that a rollout may be switching."""
        stamp = repository.maintenance.stamp(), self._driver.spans
        fresh = self._booked_at is not None and 0 <= (now - self._booked_at).total_seconds() < MAINTENANCE_S
        if stamp == self._stamp and fresh:
            return
        if stamp != self._stamp:
            # One may have been cancelled, or a job is over: who is in maintenance may be so no more.
            for terminal_id in [name for name in self._turns if self._terminals[name].muted]:
                self._turns.arm(terminal_id, now.timestamp())
        self._maintenance = Book((*repository.maintenance.current(now), *self._driver.spans))
        self._stamp, self._booked_at = stamp, now

    def _remember(self, repository: Repository, now: datetime) -> None:
        now_s = self.listening.listened_s
        for standing in repository.judgements.standings():
            self._terminals[standing.terminal_id] = Terminal(
                state=standing.presence,
                reason=standing.reason,
                since=standing.since,
                clock=clock_offset.remembered(standing.clock_offset_s),
                offset_kept_s=standing.clock_offset_s,
            )
        self._remember_conditions(repository, now_s)
        self._remember_flaps(repository, now)
        for look in repository.looks.look(repository.looks.heard_terminals()):
            self._terminals.setdefault(look.terminal_id, Terminal())
            interval_s = look.interval_s or self._settings.interval_default_s
            self._looks.arm(look.terminal_id, now_s + interval_s + grace_s(interval_s))
        for ticket in repository.tickets.resolved():
            if ticket.resolved_at is not None:
                due = ticket.resolved_at.timestamp() + self._policy.rule(ticket.code).close_after_s
                self._closings.arm(ticket.ticket_id, due)

    def _remember_conditions(self, repository: Repository, now_s: float) -> None:
        unticketed = repository.judgements.unticketed()
        for kept in repository.judgements.conditions():
            phase = Phase.RAISED if kept.phase == Phase.CLEARING else Phase(kept.phase)
            terminal = self._terminals.setdefault(kept.terminal_id, Terminal())
            is_owed = kept[:3] in unticketed and self._policy.rule(kept.code).ticket
            terminal.followed[kept.component, kept.code] = Followed(
                course=Course(phase=phase, since_s=now_s),
                phase_since=kept.phase_since,
                happened_at=kept.happened_at,
                detail=kept.detail,
                owed=Owed.RESTART if is_owed else None,
            )

    def _remember_flaps(self, repository: Repository, now: datetime) -> None:
        rule = self._policy.flapping.rule
        raises: dict[tuple[str, str, str], list[datetime]] = {}
        for key, raised_at in repository.judgements.raises_since(now - timedelta(seconds=rule.window_s)):
            raises.setdefault(key, []).append(raised_at)
        for (terminal_id, component, code), times in raises.items():
            terminal = self._terminals.setdefault(terminal_id, Terminal())
            terminal.flaps[component, code] = flapping.rebuilt(times, now, rule)

    def _hear(self, repository: Repository, sitting: Sitting, now: datetime) -> None:
        looks_max, now_s = self._settings.looks_max, self.listening.listened_s
        marked = repository.looks.take_marked(looks_max)
        due = self._missed(repository, self._looks.take_due(now_s, looks_max))
        if marked or due or self._turns:
            self._keep_booked(repository, now)
        turned = self._turns.take_due(now.timestamp(), looks_max)
        looks = repository.looks.look({*marked, *turned, *due})
        readings = repository.looks.readings(self._to_read(looks))
        if looks:
            sitting.read(looks, readings, self._maintenance)
        cases = [
            sitting.see(self._terminals.setdefault(look.terminal_id, Terminal()), look, readings.get(look.terminal_id))
            for look in looks
        ]
        sitting.decide()
        for terminal_id in sitting.release(self._terminals):
            self._looks.arm(terminal_id, now_s)
        for case in cases:
            again = sitting.follow(case)
            self._looks.arm(case.look.terminal_id, again.due_s)
            if again.at is not None:
                self._turns.arm(case.look.terminal_id, again.at.timestamp())

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
        """Return how often a calm one beats; now and then it is looked at all the same."""
        terminal = self._terminals.get(terminal_id)
        return None if terminal is None or self._is_idle(terminal) else terminal.calm_interval_s

    def _is_idle(self, terminal: Terminal) -> bool:
        """Whether it is time for its clock, and for what its readings tell that wakes nobody: where it lies."""
        return self.listening.listened_s - terminal.looked_s >= self._settings.idle_look_s

    def _to_read(self, looks: Sequence[Look]) -> list[tuple[str, str]]:
        """Return the levels whose readings changed, were not judged yet or lately, or have a condition to follow."""
        wanted = []
        for look in looks:
            terminal = self._terminals.get(look.terminal_id)
            if look.stream_id is not None and (terminal is None or self._is_unread(terminal, look)):
                wanted.append((look.terminal_id, look.stream_id))
        return wanted

    def _is_unread(self, terminal: Terminal, look: Look) -> bool:
        if terminal.unread or terminal.followed or self._is_idle(terminal):
            return True
        return terminal.content != look.content

    def _report_restored(self, repository: Repository, now: datetime) -> list[TicketChange]:
        if self._told is None:
            return []
        told, self._told = self._told, None
        rollouts.pause_all(repository, RESTORED_REASON, {"epoch_seen": told}, now)
        rule = self._policy.rule(RESTORED.code)
        reason = (
            "an agent has seen an epoch that is not ours and not below ours: this database was restored from a backup"
        )
        why = Why(actor=MACHINE, reason=reason, evidence={"epoch_seen": told})
        return [tickets.open_or_recur(repository, RESTORED, rule, why, now)] if rule.ticket else []

    def _close(self, repository: Repository, now: datetime) -> list[TicketChange]:
        closed = []
        for ticket_id in self._closings.take_due(now.timestamp(), self._settings.looks_max):
            why = Why(actor=MACHINE, reason="stayed resolved for the policy's time", evidence={})
            if change := tickets.expire(repository, ticket_id, why, now):
                closed.append(change)
        return closed

    def _escalate(self, repository: Repository, now: datetime) -> list[TicketChange]:
        """Take the steps of contracts whose time has come; once a second is soon enough."""
        if self._rules.sla is None:
            return []
        if self._escalated_at is not None and 0 <= (now - self._escalated_at).total_seconds() < ESCALATE_EVERY_S:
            return []
        self._escalated_at = now
        return sla.escalate(repository, self._rules.sla, now)

    def _tell(
        self, repository: Repository, changes: Sequence[TicketChange], spread: Collection[int], now: datetime
    ) -> None:
        """Write what routes are to be told; an outage that spreads is told to more of them."""
        if self._rules.routes is None:
            return
        reaching = repository.tickets.get_all(spread) if spread else []
        spreading = [change_of(ticket, Move.RECURRED) for ticket in reaching]
        notices.tell(repository, [*changes, *spreading], self._rules.routes, now)

    def _plan_closings(self, changes: Sequence[TicketChange], now: datetime) -> None:
        for change in changes:
            if change.move is Move.RESOLVED:
                self._closings.arm(change.ticket_id, now.timestamp() + self._policy.rule(change.code).close_after_s)
