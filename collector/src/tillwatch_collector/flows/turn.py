"""One rollout at one look: what its terminals say is believed, the gate is asked, and the next step is taken.

The decisions are `domain.witness`, `domain.evidence`, `domain.gate` and `domain.granting`; here their moves become
rows, lines of the journal, tickets and messages. A look takes one step of the rollout at the most (halt, complete, open
a wave); what follows from it, the next look finds. What is read of the fleet is read once, for the jobs that wait for
something.

A change violates this when a message is returned whose job is not written in the same transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tillwatch_collector.domain import gate
from tillwatch_collector.domain.evidence import Cause, Measure, Seen, Updated, excuses, explains, strata
from tillwatch_collector.domain.gate import Evidence, Stratum, Verdict
from tillwatch_collector.domain.granting import (
    GO_VALID_S,
    Move,
    Next,
    Terminal,
    applied,
    next_actions,
)
from tillwatch_collector.domain.listening import Listening
from tillwatch_collector.domain.outage import FLEET, Node, Placed, places_of
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.rollout import (
    BAD,
    ENDED,
    TO_COME,
    UPDATED,
    Grant,
    GrantEvent,
    Job,
    Outcome,
    Rollout,
    RolloutEvent,
    RolloutSettings,
    RolloutState,
    outcome,
    soaked,
    step,
    tally,
)
from tillwatch_collector.domain.ticket import TicketIdentity
from tillwatch_collector.domain.window import Opening, WindowReason
from tillwatch_collector.domain.witness import Running, Sought, Told, believed, is_active, is_settled, running
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.changes import MACHINE, TicketChange, Why
from tillwatch_collector.flows.rollouts import job_line, moved
from tillwatch_collector.flows.steps import Hand
from tillwatch_collector.flows.windows import Windows
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.rollouts import Claim, KeptJob, KeptRollout, Line
from tillwatch_protocol.job import JOB_FINAL, JobMessage, JobMessageKind, JobState, JobStatus

if TYPE_CHECKING:
    from tillwatch_collector.store.rollout_facts import Till
    from tillwatch_protocol.reading import Reading

HALTED = "rollout_halted"
"""The code of a halt's ticket."""
OPEN_WAVE = "open_wave"
VERDICT = "verdict"
STATE = "state"
VERDICT_S = 30.0
"""How old the numbers of a verdict that stays the same may become, as it is kept."""
SUBJECT_CHARS_MAX = 64

_WITNESSES = frozenset({JobState.READY, JobState.SUCCEEDED, JobState.REJECTED})
"""States at which it matters what runs."""
_NOT_ASKED = Opening(reason=WindowReason.OUTSIDE_HOURS, until=None)
"""Of a terminal that does not ask to switch."""
_KINDS = {
    GrantEvent.OFFER: JobMessageKind.OFFER,
    GrantEvent.GO: JobMessageKind.GO,
    GrantEvent.WITHDRAW: JobMessageKind.WITHDRAW,
}
"""What goes on the wire; a lapse and a retry are ours alone."""


@dataclass(kw_only=True, slots=True)
class Scene:
    """What all rollouts of one look share."""

    now: datetime
    policy: Policy
    windows: Windows
    listening: Listening | None
    """None: all was heard."""
    interval_default_s: float
    active: dict[str, str]
    """Of each terminal, the rollout that has an active job of it."""
    switching: dict[str, set[str]]
    """Of each terminal, the rollouts that may be switching it."""

    @classmethod
    def of(cls, claims: Iterable[Claim], **more: Any) -> "Scene":
        """Build it from the jobs that are not settled."""
        scene = cls(active={}, switching={}, **more)
        for claim in claims:
            scene.claim(claim.terminal_id, claim.rollout_id, active=claim.active, go=claim.granted == Grant.GO)
        return scene

    def unheard_s(self, since: datetime) -> float:
        """Return how much of the time since then nobody listened to."""
        if self.listening is None:
            return 0.0
        heard_s = self.listening.listened_s - self.listening.position_s(since)
        return max(0.0, (self.now - since).total_seconds() - max(0.0, heard_s))

    def claim(self, terminal_id: str, rollout_id: str, *, active: bool, go: bool) -> None:
        """Note how a rollout stands to a terminal."""
        if active:
            self.active[terminal_id] = rollout_id
        elif self.active.get(terminal_id) == rollout_id:
            del self.active[terminal_id]
        others = self.switching.setdefault(terminal_id, set()) - {rollout_id}
        self.switching[terminal_id] = others | {rollout_id} if go else others


@dataclass(kw_only=True, slots=True)
class Compared:
    """What the gate compared last, which is costly to find: it is found again when a look at harm is due, or it is
    old."""  # noqa: D205, D209 - one thought

    wave: int = 0
    at: datetime | None = None
    found: tuple[Stratum, ...] = field(default=())


class Turn:
    """One rollout at one look; `take` once."""

    def __init__(
        self,
        repository: Repository,
        kept: KeptRollout,
        settings: RolloutSettings,
        scene: Scene,
        compared: Compared,
        *,
        evidence_s: float,
    ) -> None:
        self._repository, self._kept, self._settings = repository, kept, settings
        self._scene, self._compared, self._evidence_s = scene, compared, evidence_s
        self._now = scene.now
        self._before: dict[str, KeptJob] = {}
        """As they were written last, by id."""
        self._jobs: dict[str, Job] = {}
        self._activations: dict[str, str | None] = {}
        """Of jobs that get their `go` now: what ran before it."""
        self._tills: dict[str, Till] = {}
        self._statuses: dict[str, JobStatus] = {}
        """What terminals say of their jobs."""
        self._readings: dict[str, tuple[Reading, ...]] = {}
        self._lines: list[Line] = []
        self.changes: list[TicketChange] = []
        self.exposed: list[tuple[str, datetime, datetime]] = []
        """Terminals that may be switching, from when, and when at the latest that is over."""

    def take(self) -> list[JobMessage]:
        """Take the step that is due."""
        self._read()
        self._believe()
        self._listen()
        self._excuse()
        verdict = self._judge()
        found = next_actions(
            self._rollout, self._settings, tuple(self._jobs.values()), self._terminals(), verdict=verdict, now=self._now
        )
        messages = self._do(found.moves)
        self._keep(found)
        self._move(found, verdict)
        self._repository.rollouts.write_journal(self._lines)
        return messages

    @property
    def _rollout(self) -> Rollout:
        return self._kept.rollout

    # --- what is known

    def _read(self) -> None:
        rollouts, rollout = self._repository.rollouts, self._rollout
        if rollout.state in ENDED:
            jobs = rollouts.unsettled(rollout.rollout_id)
        else:
            behind = self._kept.restored_at is not None
            jobs = rollouts.jobs(rollout.rollout_id, None if behind else rollout.wave)
        self._before = {one.job.job_id: one for one in jobs}
        self._jobs = {job_id: one.job for job_id, one in self._before.items()}
        waiting = [one.job.terminal_id for one in jobs if not one.settled]
        self._tills = self._repository.rollout_facts.tills(waiting)
        # It was checked when it came in.
        self._statuses = {
            name: JobStatus.model_validate(till.job, strict=False) for name, till in self._tills.items() if till.job
        }
        witnesses = [
            stream
            for name in waiting
            if (status := self._statuses.get(name)) is not None and status.state in _WITNESSES
            if (stream := self._tills[name].stream) is not None
        ]
        self._readings = self._repository.looks.readings(witnesses)

    def _believe(self) -> None:
        """Take in what terminals say of their jobs."""
        for job_id, one in self._before.items():
            till, status = self._tills.get(one.job.terminal_id), self._statuses.get(one.job.terminal_id)
            if one.settled or till is None or status is None or till.level_received_at is None:
                continue
            told = Told(status=status, at=till.level_received_at, running=self._running(till.terminal_id))
            sought = Sought(
                digest=self._kept.digest,
                activation_before=one.activation_before,
                restored=self._kept.restored_at is not None,
            )
            self._jobs[job_id] = believed(one.job, told, sought, self._settings.job, self._now)

    def _listen(self) -> None:
        """Count for nothing what nobody listened to, of those that are not silent yet."""
        for job_id, job in self._jobs.items():
            if job.exposed and job.go_at is not None and self._before[job_id].outcome != Outcome.SILENT:
                self._jobs[job_id] = replace(job, unheard_s=self._scene.unheard_s(job.go_at))

    def _running(self, terminal_id: str) -> Running:
        return running(self._readings.get(terminal_id, ()), self._kept.component)

    def _excuse(self) -> None:
        """Excuse what an outage explains that is not the release's."""
        bad = [
            job
            for job in self._jobs.values()
            if not job.excused and outcome(job, self._settings.job, self._now) in BAD and self._is_open(job)
        ]
        begun = [began for job in bad if (began := job.go_at or job.offered_at) is not None]
        causes = self._repository.rollout_facts.causes(min(begun)) if begun else []
        if not causes:
            return
        updated, deadline_s = self._with_go(), self._settings.job.deadline_s
        for job in bad:
            nodes = self._nodes(job.terminal_id)
            if any(excuses(cause, job, nodes, deadline_s, updated) for cause in causes):
                self._jobs[job.job_id] = replace(job, excused=True)

    def _is_open(self, job: Job) -> bool:
        return job.wave == self._rollout.wave or not self._before[job.job_id].settled

    def _nodes(self, terminal_id: str) -> frozenset[Node]:
        till = self._tills.get(terminal_id)
        if till is None:
            till = self._repository.rollout_facts.tills([terminal_id]).get(terminal_id)
        if till is None:
            return frozenset()
        readings = self._readings.get(terminal_id)
        if readings is None and till.stream is not None:
            readings = self._repository.looks.readings([till.stream]).get(terminal_id)
        placed = Placed(till.store_id, till.merchant_id, till.region, till.carrier, till.agent_version)
        return frozenset({FLEET, *places_of(placed, readings or ())})

    def _with_go(self) -> set[str]:
        return {job.terminal_id for job in self._jobs.values() if job.go_at is not None}

    def _terminals(self) -> dict[str, Terminal]:
        """Return the live terminals of all stores that have a job waiting."""
        rollout_id, scene = self._rollout.rollout_id, self._scene
        asking = {job.terminal_id for job in self._jobs.values() if job.state is JobState.READY and not job.over}
        stores = {till.store_id for name in asking if (till := self._tills.get(name)) is not None and till.store_id}
        windows = scene.windows.of(self._repository, rollout_id, self._settings, stores, self._now)
        return {
            name: Terminal(
                store_id=till.store_id,
                heard_at=till.heard_at,
                interval_s=till.interval_s or scene.interval_default_s,
                window=windows.get(till.store_id, _NOT_ASKED) if name in asking else _NOT_ASKED,
                shows=status.job_id if (status := self._statuses.get(name)) is not None else None,
                busy=bool(scene.switching.get(name, set()) - {rollout_id}),
                taken=scene.active.get(name, rollout_id) != rollout_id,
            )
            for name, till in self._tills.items()
            if till.is_live and till.store_id is not None
        }

    # --- the gate

    def _judge(self) -> Verdict | None:
        """Ask the gate about the open wave; None while none is open."""
        rollout, settings = self._rollout, self._settings
        if rollout.wave == 0 or rollout.state not in {RolloutState.RUNNING, RolloutState.PAUSED}:
            return None
        jobs = [job for job in self._jobs.values() if job.wave == rollout.wave]
        share = soaked(jobs, settings, self._now)
        evidence = Evidence(
            wave=rollout.wave,
            tally=tally(jobs, settings.job, self._now),
            soaked=share,
            strata=self._strata(jobs, share),
            looks_done=rollout.looks_done,
        )
        return gate.judge(evidence, settings.gate)

    def _strata(self, jobs: Sequence[Job], share: float) -> tuple[Stratum, ...]:
        compared, rollout = self._compared, self._rollout
        is_old = compared.at is None or not 0 <= (self._now - compared.at).total_seconds() < self._evidence_s
        if compared.wave != rollout.wave or is_old or gate.looks_due(share, self._settings.gate) > rollout.looks_done:
            compared.wave, compared.at, compared.found = rollout.wave, self._now, self._compare(jobs)
        return compared.found

    def _compare(self, jobs: Sequence[Job]) -> tuple[Stratum, ...]:
        """Hold the updated terminals of the open wave against those that are not updated."""
        updated = [
            Updated(terminal_id=job.terminal_id, kind=self._kind(job), go_at=job.go_at, ended_at=job.ended_at)
            for job in jobs
            if job.go_at and job.ended_at and outcome(job, self._settings.job, self._now) in UPDATED
        ]
        if not updated:
            return ()
        since, facts = min(one.go_at for one in updated), self._repository.rollout_facts
        in_waves = {job.terminal_id for job in self._jobs.values() if job.wave <= self._rollout.wave}
        models = {one.kind[0] for one in updated}
        measure = Measure(
            primary=self._settings.gate.primary, policy=self._scene.policy, soak_s=self._settings.gate.soak_s
        )
        return strata(
            updated,
            facts.controls(models, since=since, but=in_waves),
            _unexplained(facts.faults(since), facts.causes(since), self._with_go()),
            measure,
            rollout_id=self._rollout.rollout_id,
            now=self._now,
        )

    def _kind(self, job: Job) -> tuple[str, str]:
        one = self._before[job.job_id]
        return one.model, one.region

    # --- what is done

    def _do(self, moves: Iterable[Move]) -> list[JobMessage]:
        """Move the jobs; returns what their terminals are to be told."""
        messages = []
        never_offered = 0
        for move in moves:
            job = self._jobs[move.job_id]
            after = applied(job, move, self._now)
            self._jobs[move.job_id] = after
            if move.event is GrantEvent.GO:
                self._activations[move.job_id] = self._running(job.terminal_id).activation_id
            if move.event is GrantEvent.WITHDRAW and job.offered_at is None:
                never_offered += 1
                continue
            self._tell(job, after, move)
            if move.event is GrantEvent.OFFER:
                messages += self._withdraw_stray(job)
            if kind := _KINDS.get(move.event):
                messages.append(self._message(kind, job))
        if never_offered:
            why = Why(actor=MACHINE, reason="never offered", evidence={"jobs": never_offered})
            self._lines.append(self._line(GrantEvent.WITHDRAW, why))
        return messages

    def _withdraw_stray(self, job: Job) -> list[JobMessage]:
        """Withdraw what is in the way of an offer: a job of nobody's, since no rollout has an active one there.

        Its withdrawal was lost, or this database does not know it, having been restored. What has its `go` ignores it.
        """
        status = self._statuses.get(job.terminal_id)
        if status is None or status.state in JOB_FINAL or status.job_id == job.wire_id:
            return []
        return [JobMessage(terminal_id=job.terminal_id, kind=JobMessageKind.WITHDRAW, job_id=status.job_id)]

    def _message(self, kind: JobMessageKind, job: Job) -> JobMessage:
        is_go = kind is JobMessageKind.GO
        return JobMessage(
            terminal_id=job.terminal_id,
            kind=kind,
            job_id=job.wire_id,
            target=self._kept.target if kind is JobMessageKind.OFFER else None,
            nonce=job.nonce if is_go else None,
            valid_for_s=float(GO_VALID_S) if is_go else None,
        )

    def _tell(self, job: Job, after: Job, move: Move) -> None:
        """Write a move into the journal, once: what is said again is no step."""
        again = (move.event is GrantEvent.OFFER and job.offered_at is not None) or job.grant is Grant.WITHDRAWN
        if again:
            return
        evidence: dict[str, Any] = {}
        if move.event is GrantEvent.RETRY:
            evidence = {"attempts": after.attempts, "burns": move.burns, "not_before": _text(after.not_before)}
        elif move.event is GrantEvent.GO:
            evidence = {"nonce": move.nonce, "activation_before": self._activations[move.job_id]}
        reason = str(move.withdrawn_for or job.reason or move.event)
        one = replace(self._before[job.job_id], job=job, outcome=str(after.grant))
        why = Why(actor=MACHINE, reason=reason, evidence=evidence)
        self._lines.append(job_line(one, move.event, why, self._now, before=str(job.grant)))

    def _keep(self, found: Next) -> None:
        """Write what changed of the jobs."""
        settings, changed = self._settings.job, []
        for job_id, before in self._before.items():
            job = self._jobs[job_id]
            came = outcome(job, settings, self._now)
            after = replace(
                before,
                job=replace(job, unheard_s=0.0),
                activation_before=self._activations.get(job_id, before.activation_before),
                outcome=str(came),
                wait=str(wait) if (wait := found.waits.get(job_id)) is not None else None,
                active=is_active(job, came),
                settled=before.settled or self._is_settled(job, came),
            )
            self._expose(after, job.unheard_s)
            if after != before:
                changed.append(after)
                self._tell_end(before, after, came)
        self._repository.rollouts.save_jobs(changed)

    def _is_settled(self, job: Job, came: Outcome) -> bool:
        till, status = self._tills.get(job.terminal_id), self._statuses.get(job.terminal_id)
        is_missing = till is not None and (status is None or status.job_id != job.wire_id)
        return is_settled(
            job,
            came,
            self._settings.job,
            ended=self._rollout.state in ENDED,
            missing_since=till.heard_at if till is not None and is_missing else None,
        )

    def _expose(self, one: KeptJob, unheard_s: float) -> None:
        """Note who may be switching, for the other rollouts of this look, and for whoever mutes what restarts."""
        job, now = one.job, self._now
        self._scene.claim(job.terminal_id, one.rollout_id, active=one.active, go=job.exposed and not one.settled)
        if job.exposed and job.go_at is not None:
            until = job.go_at + timedelta(seconds=self._settings.job.deadline_s + unheard_s)
            if now < until:
                self.exposed.append((job.terminal_id, job.go_at, until))

    def _tell_end(self, before: KeptJob, after: KeptJob, came: Outcome) -> None:
        """Write into the journal what came of a try, once it is known."""
        ended = came not in TO_COME and after.outcome != before.outcome
        if not ended or (after.job.grant is Grant.WITHDRAWN and after.job.offered_at is None):
            return
        job = after.job
        evidence = {"try": job.try_no, "state": job.state, "excused": job.excused, "go_at": _text(job.go_at)}
        why = Why(actor=MACHINE, reason=job.reason or after.outcome, evidence=evidence)
        self._lines.append(job_line(after, STATE, why, self._now, before=before.outcome))

    def _move(self, found: Next, verdict: Verdict | None) -> None:
        """Take the rollout a step on, and keep what the gate said."""
        if verdict is not None:
            self._keep_verdict(verdict)
        if found.event is not None and verdict is not None:
            self._end(found.event, verdict)
        elif found.opens_wave is not None:
            after = replace(self._rollout, wave=found.opens_wave, wave_opened_at=self._now, looks_done=0)
            reason = f"wave {found.opens_wave} of {self._rollout.waves} begins"
            evidence = {"wave": found.opens_wave, "verdict": _said(verdict) if verdict else None}
            self._write(after, OPEN_WAVE, Why(actor=MACHINE, reason=reason, evidence=evidence))

    def _keep_verdict(self, verdict: Verdict) -> None:
        before = self._kept.verdict
        said = _said(verdict) | {"at": self._now.isoformat()}
        is_news = before is None or any(before[key] != said[key] for key in ("wave", "kind", "reasons", "looks_done"))
        if not is_news and before is not None and not _is_old(before, self._now):
            return
        rollout = replace(self._rollout, looks_done=verdict.looks_done)
        self._kept = replace(self._kept, verdict=said, rollout=rollout)
        self._repository.rollouts.save(self._kept, self._now)
        if is_news:
            why = Why(actor=MACHINE, reason=f"{verdict.kind}: {', '.join(verdict.reasons)}", evidence=_said(verdict))
            self._lines.append(self._line(VERDICT, why))

    def _end(self, event: RolloutEvent, verdict: Verdict) -> None:
        if event is RolloutEvent.HALT:
            self._open_ticket(verdict)
        after = replace(self._rollout, state=step(self._rollout.state, event))
        reason = f"{event}: {', '.join(verdict.reasons)}"
        self._write(after, event, Why(actor=MACHINE, reason=reason, evidence=_said(verdict)))

    def _write(self, after: Rollout, action: str, why: Why) -> None:
        self._repository.rollouts.write_journal(self._lines)
        self._lines = []
        self._kept = moved(self._repository, self._kept, after, action=action, why=why, now=self._now)

    def _line(self, action: str, why: Why) -> Line:
        state = str(self._rollout.state)
        return Line(
            rollout_id=self._rollout.rollout_id,
            at=self._now,
            actor=why.actor,
            action=str(action),
            from_state=state,
            to_state=state,
            reason=why.reason,
            evidence=dict(why.evidence),
        )

    # --- tickets

    def _open_ticket(self, verdict: Verdict) -> None:
        """Open the one ticket of a halt, and make what its terminals show since part of it."""
        kept, rule = self._kept, self._scene.policy.rule(HALTED)
        if not rule.ticket:
            return
        reason = f"rollout of {kept.target} halted in wave {verdict.wave}: {', '.join(verdict.reasons)}"
        evidence = {"rollout_id": kept.rollout_id, "target": kept.target} | _said(verdict)
        identity = TicketIdentity(
            subject_kind="release",
            subject_id=f"{kept.product} {kept.version}"[:SUBJECT_CHARS_MAX],
            component=kept.component,
            code=HALTED,
        )
        why = Why(actor=MACHINE, reason=reason, evidence=evidence)
        change = tickets.open_or_recur(self._repository, identity, rule, why, self._now)
        self.changes.append(change)
        self._kept = replace(kept, ticket_id=change.ticket_id)
        self._adopt(change)

    def _adopt(self, halt: TicketChange) -> None:
        if halt.parent_id is not None:
            return
        go_at = {job.terminal_id: job.go_at for job in self._jobs.values() if job.go_at is not None}
        found = self._repository.rollout_facts.tickets_of(go_at, min(go_at.values(), default=self._now))
        theirs = [
            one.ticket_id
            for one in found
            if one.opened_at >= go_at[one.terminal_id] and self._scene.policy.rule(one.code).attributable
        ]
        reason = f"shown after the update that was halted: {self._kept.target}"
        why = Why(actor=MACHINE, reason=reason, evidence={"rollout_id": self._kept.rollout_id})
        hand = Hand(repository=self._repository, why=why, now=self._now).because(parent_id=halt.ticket_id)
        for ticket in self._repository.tickets.get_all(theirs):
            hand.note(ticket, "set_parent", parent_id=halt.ticket_id)


def _unexplained(faults: Iterable[Seen], causes: Iterable[Cause], updated: set[str]) -> list[Seen]:
    """Leave out, in both arms, what outages explain that are not the release's."""
    explained = {cause.outage_id for cause in causes if explains(cause, updated)}
    return [fault for fault in faults if not fault.outage_ids & explained]


def _said(verdict: Verdict) -> dict[str, Any]:
    return {
        "wave": verdict.wave,
        "kind": str(verdict.kind),
        "reasons": [str(reason) for reason in verdict.reasons],
        "numbers": dict(verdict.numbers),
        "looks_done": verdict.looks_done,
    }


def _is_old(verdict: Mapping[str, Any], now: datetime) -> bool:
    return not 0 <= (now - datetime.fromisoformat(verdict["at"])).total_seconds() < VERDICT_S


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
