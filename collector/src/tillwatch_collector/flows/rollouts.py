"""All that people do with rollouts: draft, start, approve, pause, answer for, abort, try again, clone.

Each is one step of `domain.rollout` and one line in the rollout's journal, with who did it and why; nothing is sent
here: what a rollout does next, `flows.driving` finds out at its next look. So a rollout may be stopped from any process
at any time, and what the look was about to allow, it does not allow.

Settings are read again by every step that lets something go on. A change violates this when a rollout changes without a
line in its journal, or goes on by settings that cannot be read.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tillwatch_collector.domain.gate import WANT_OF_EVIDENCE
from tillwatch_collector.domain.granting import retried_by_person
from tillwatch_collector.domain.rollout import (
    CLONE,
    ENDED,
    RETRY,
    Cloned,
    Job,
    Outcome,
    Rollout,
    RolloutEvent,
    RolloutRefused,
    RolloutState,
    answered,
    approved,
    cloned,
    parse_settings,
    started,
    step,
)
from tillwatch_collector.domain.waves import Plan, Selection
from tillwatch_collector.domain.waves import plan as planned
from tillwatch_collector.errors import ReasonMissing
from tillwatch_collector.flows.changes import MACHINE, Why
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.rollouts import KeptJob, KeptRollout, Line, NewRollout
from tillwatch_protocol.release import version_key
from tillwatch_protocol.scrub import scrubbed

OPEN_MAX = 100
"""Rollouts that are not over: ten products in ten versions; who drives more, drives none."""
NAME_CHARS_MAX = 200
REASON_CHARS_MAX = 500
ACTION_DRAFT = "draft"
ID_HEX = 12
"""Of a rollout's id: 48 bits, so that none comes twice, not even in a database that was restored from a backup."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a person wants to roll out, to whom, and how."""

    name: str
    """For people; with the target it draws who comes first, so that a plan is the same as its preview."""
    target: str
    """The release's path, as TUF signs it."""
    product: str
    version: str
    digest: str
    """SHA-256 of its file, in lower-case hexadecimal."""
    selection: Selection
    settings: str
    """JSON, as `domain.rollout.parse_settings` takes it."""
    cloned_from: str | None = None


Freeze = Callable[[Collection[str]], Selection]
"""Freezes the facts of these terminals, by id, as they are."""


def preview(repository: Repository, draft: Draft, now: datetime) -> Plan:
    """Return the plan that the draft would have, and write nothing; raises `RolloutRefused`."""
    del now  # the selection holds what was true when it was taken
    if (there := repository.rollouts.count_open()) >= OPEN_MAX:
        raise RolloutRefused(f"rollouts: expected at most {OPEN_MAX} that are not over, got {there} already")
    _check(draft)
    return planned(f"{draft.name}/{draft.target}", draft.selection, parse_settings(draft.settings))


def draft(repository: Repository, draft: Draft, *, actor: str, now: datetime) -> str:
    """Keep a draft with its waves; returns the rollout's id. Raises `RolloutRefused`."""
    plan = preview(repository, draft, now)
    rollout_id = _id(draft, actor, now, repository.rollouts.count())
    new = NewRollout(
        rollout_id=rollout_id,
        name=scrubbed(draft.name.strip()),
        target=draft.target,
        product=draft.product,
        version=draft.version,
        digest=draft.digest,
        query=draft.selection.query,
        reason=_reason(draft.selection.reason, ACTION_DRAFT),
        taken_at=draft.selection.taken_at,
        settings=draft.settings,
        left_out=[(terminal_id, str(why)) for terminal_id, why in plan.left_out],
        author=actor,
        waves=len(plan.waves),
        cloned_from=draft.cloned_from,
    )
    repository.rollouts.add(new, _jobs(rollout_id, plan), now)
    evidence = {
        "target": draft.target,
        "digest": draft.digest,
        "query": draft.selection.query,
        "waves": [len(wave.terminals) for wave in plan.waves],
        "left_out": dict(Counter(str(why) for _, why in plan.left_out)),
        "cloned_from": draft.cloned_from,
    }
    line = Line(
        rollout_id=rollout_id,
        at=now,
        actor=actor,
        action=ACTION_DRAFT,
        to_state=str(RolloutState.DRAFT),
        reason=new.reason,
        evidence=evidence,
    )
    repository.rollouts.write_journal([line])
    return rollout_id


# --- what people decide
#
# All raise `RolloutUnknown`, `RolloutEventIllegal`, `RolloutRefused` or `ReasonMissing`, and return what it is then.


def start(repository: Repository, rollout_id: str, *, actor: str, reason: str, now: datetime) -> KeptRollout:
    """Let a draft go: to whoever must approve it, or at once."""
    kept = repository.rollouts.get(rollout_id)
    after = started(kept.rollout, parse_settings(kept.settings))
    return moved(
        repository, kept, after, action=RolloutEvent.START, why=_why(actor, reason, RolloutEvent.START), now=now
    )


def approve(repository: Repository, rollout_id: str, *, actor: str, reason: str, now: datetime) -> KeptRollout:
    """Let a rollout run that waits for somebody else than its author."""
    kept = repository.rollouts.get(rollout_id)
    parse_settings(kept.settings)
    after = approved(kept.rollout, actor)
    return moved(
        repository, kept, after, action=RolloutEvent.APPROVE, why=_why(actor, reason, RolloutEvent.APPROVE), now=now
    )


def refuse(repository: Repository, rollout_id: str, *, actor: str, reason: str, now: datetime) -> KeptRollout:
    """End a rollout that waits for approval."""
    return _stepped(repository, rollout_id, RolloutEvent.REFUSE, _why(actor, reason, RolloutEvent.REFUSE), now)


def pause(repository: Repository, rollout_id: str, *, actor: str, reason: str, now: datetime) -> KeptRollout:
    """Offer nothing and let nothing switch; what has its `go` finishes."""
    return _stepped(repository, rollout_id, RolloutEvent.PAUSE, _why(actor, reason, RolloutEvent.PAUSE), now)


def resume(repository: Repository, rollout_id: str, *, actor: str, reason: str, now: datetime) -> KeptRollout:
    """Let a paused rollout go on."""
    parse_settings(repository.rollouts.get(rollout_id).settings)
    return _stepped(repository, rollout_id, RolloutEvent.RESUME, _why(actor, reason, RolloutEvent.RESUME), now)


def answer(repository: Repository, rollout_id: str, *, actor: str, reason: str, now: datetime) -> KeptRollout:
    """Answer for the evidence that the gate's last word on the open wave lacks: it goes on without it."""
    kept = repository.rollouts.get(rollout_id)
    lacking = _lacking(kept)
    after = answered(kept.rollout)
    if not lacking:
        expected = "expected a gate that holds the open wave for want of evidence"
        raise RolloutRefused(f"answer: {expected}, got {_said(kept.verdict)}")
    why = _why(actor, reason, RolloutEvent.ANSWER)
    why = replace(why, evidence={"wave": kept.rollout.wave, "lacking": lacking})
    return moved(repository, kept, after, action=RolloutEvent.ANSWER, why=why, now=now)


def abort(repository: Repository, rollout_id: str, *, actor: str, reason: str, now: datetime) -> KeptRollout:
    """End a rollout: what has no `go` is withdrawn at the next look, what has one finishes or rolls back."""
    return _stepped(repository, rollout_id, RolloutEvent.ABORT, _why(actor, reason, RolloutEvent.ABORT), now)


def retry(
    repository: Repository, rollout_id: str, terminal_ids: Collection[str], *, actor: str, reason: str, now: datetime
) -> KeptRollout:
    """Try terminals again, in the open wave, that failed, refused or rolled back: all of them, or none."""
    kept = repository.rollouts.get(rollout_id)
    settings = parse_settings(kept.settings)
    why = _why(actor, reason, RETRY)
    jobs = {one.job.terminal_id: one for one in repository.rollouts.jobs(rollout_id)}
    if not terminal_ids:
        raise RolloutRefused("terminals: expected at least one, got none")
    if strange := sorted(set(terminal_ids) - jobs.keys()):
        raise RolloutRefused(f"terminals: expected those of rollout {rollout_id}, got {strange[0]}")
    again = [
        _again(jobs[name], retried_by_person(jobs[name].job, kept.rollout, settings, now))
        for name in sorted(set(terminal_ids))
    ]
    repository.rollouts.save_jobs(again)
    repository.rollouts.write_journal(
        [job_line(one, RETRY, why, now, before=jobs[one.job.terminal_id].outcome) for one in again]
    )
    return kept


def clone(
    repository: Repository,
    rollout_id: str,
    whom: Cloned,
    freeze: Freeze,
    *,
    actor: str,
    reason: str,
    now: datetime,
    settings: str | None = None,
) -> str:
    """Draft the same release anew for all, for who is left, or for who failed; returns the new rollout's id.

    `freeze` looks at these terminals as they are; `settings` are the rollout's own unless others are given. What left
    its draft without an end may be cloned, too. Raises `RolloutRefused`, also where nobody is left.
    """
    kept = repository.rollouts.get(rollout_id)
    jobs = [one.job for one in repository.rollouts.jobs(rollout_id)]
    chosen = cloned(jobs, whom, parse_settings(kept.settings).job, now)
    if not chosen:
        raise RolloutRefused(f"whom: expected {whom} of rollout {rollout_id} to be somebody, got nobody")
    selection = freeze(chosen)
    anew = Draft(
        name=kept.name,
        target=kept.target,
        product=kept.product,
        version=kept.version,
        digest=kept.digest,
        selection=replace(selection, query=kept.query, reason=_reason(reason, CLONE)),
        settings=kept.settings if settings is None else settings,
        cloned_from=rollout_id,
    )
    return draft(repository, anew, actor=actor, now=now)


# --- what the machine decides


def pause_all(repository: Repository, reason: str, evidence: Mapping[str, Any], now: datetime) -> list[KeptRollout]:
    """Pause all that run, since this database was restored from a backup: terminals may be further than it knows.

    So they may be of what waits to be started, too: all are marked.
    """
    paused = []
    for kept in repository.rollouts.open_ones():
        restored = replace(kept, restored_at=now)
        if kept.rollout.state is RolloutState.RUNNING:
            after = replace(kept.rollout, state=step(kept.rollout.state, RolloutEvent.PAUSE))
            why = Why(actor=MACHINE, reason=reason, evidence=dict(evidence))
            paused.append(moved(repository, restored, after, action=RolloutEvent.PAUSE, why=why, now=now))
        else:
            repository.rollouts.save(restored, now)
    return paused


def moved(
    repository: Repository, kept: KeptRollout, after: Rollout, *, action: str, why: Why, now: datetime
) -> KeptRollout:
    """Write what became of a rollout, and the line that says so; the one way in which its state changes."""
    changed = replace(kept, rollout=after, ended_at=now if after.state in ENDED else None)
    repository.rollouts.save(changed, now)
    line = Line(
        rollout_id=kept.rollout_id,
        at=now,
        actor=why.actor,
        action=str(action),
        from_state=str(kept.rollout.state),
        to_state=str(after.state),
        reason=why.reason[:REASON_CHARS_MAX],
        evidence=dict(why.evidence),
    )
    repository.rollouts.write_journal([line])
    return changed


def job_line(one: KeptJob, action: str, why: Why, now: datetime, *, before: str | None = None) -> Line:
    """Return the line that says what became of a job."""
    return Line(
        rollout_id=one.rollout_id,
        at=now,
        actor=why.actor,
        action=str(action),
        from_state=before,
        to_state=one.outcome,
        reason=why.reason[:REASON_CHARS_MAX],
        job_id=one.job.wire_id,
        terminal_id=one.job.terminal_id,
        evidence=dict(why.evidence),
    )


def _stepped(repository: Repository, rollout_id: str, event: RolloutEvent, why: Why, now: datetime) -> KeptRollout:
    kept = repository.rollouts.get(rollout_id)
    after = replace(kept.rollout, state=step(kept.rollout.state, event))
    return moved(repository, kept, after, action=event, why=why, now=now)


def _why(actor: str, reason: str, action: str) -> Why:
    return Why(actor=actor, reason=_reason(reason, action))


def _reason(reason: str, action: str) -> str:
    said = scrubbed(" ".join(reason.split()))
    if not said:
        raise ReasonMissing(f"{action}: expected a reason, got none")
    if len(said) > REASON_CHARS_MAX:
        raise RolloutRefused(f"reason: expected at most {REASON_CHARS_MAX} characters, got {len(said)}")
    return said


def _check(draft: Draft) -> None:
    """Refuse what a rollout cannot be made of; raises `RolloutRefused`."""
    if not 0 < len(draft.name.strip()) <= NAME_CHARS_MAX:
        raise RolloutRefused(f"name: expected 1 to {NAME_CHARS_MAX} characters, got {len(draft.name.strip())}")
    if not _DIGEST.fullmatch(draft.digest):
        raise RolloutRefused(f"digest: expected 64 characters of hexadecimal, got {draft.digest[:70]!r}")
    if draft.target.partition("/")[0] != draft.product:
        raise RolloutRefused(f"target: expected one of product {draft.product}, got {draft.target}")
    try:
        version_key(draft.version)
    except ValueError as error:
        raise RolloutRefused(f"version: {error}") from None
    _reason(draft.selection.reason, ACTION_DRAFT)


def _id(draft: Draft, actor: str, now: datetime, count: int) -> str:
    said = f"{now.isoformat()}/{actor}/{count}/{draft.name}/{draft.target}/{draft.selection.query}"
    return f"r{hashlib.sha256(said.encode()).hexdigest()[:ID_HEX]}"


def _jobs(rollout_id: str, plan: Plan) -> list[KeptJob]:
    chosen = [(wave.number, one) for wave in plan.waves for one in wave.terminals]
    return [
        KeptJob(
            job=Job(job_id=f"{rollout_id}-{number:06}", terminal_id=one.terminal_id, wave=wave),
            rollout_id=rollout_id,
            store_id=one.store_id or "",
            model=one.model,
            region=one.region,
        )
        for number, (wave, one) in enumerate(chosen, start=1)
    ]


def _again(one: KeptJob, job: Job) -> KeptJob:
    return replace(
        one, job=job, activation_before=None, outcome=str(Outcome.WAITING), wait=None, active=False, settled=False
    )


def _lacking(kept: KeptRollout) -> Sequence[str]:
    """Return the reasons of the gate's last word on the open wave for which a person may answer."""
    verdict = kept.verdict or {}
    if verdict.get("wave") != kept.rollout.wave:
        return []
    return [reason for reason in verdict.get("reasons", []) if reason in WANT_OF_EVIDENCE]


def _said(verdict: Mapping[str, Any] | None) -> str:
    return f"{verdict['kind']} for {', '.join(verdict['reasons'])}" if verdict else "one that was not asked yet"
