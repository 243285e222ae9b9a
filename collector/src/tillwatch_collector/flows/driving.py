"""What drives rollouts: every few seconds a look at each, in judge's transaction, by the one process that ticks.

A rollout goes on by its rows alone, so that it goes on after any cut; what is remembered here only spares work, and who
may be switching. What is to be said to terminals is returned, and goes out after the commit: a message that is lost
then heals, since offers are repeated, an unused `go` lapses, and a withdrawal is said again.

Settings that cannot be read, or a release that is no longer there as it was when it was drafted, pause a rollout that
runs, with a line that says why. A change violates this when a rollout is driven by settings that this look has not
read, or when anything is sent that is not committed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tillwatch_collector.domain.gate import SOAK_S_MAX
from tillwatch_collector.domain.listening import Listening
from tillwatch_collector.domain.maintenance import Scope, Span
from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.domain.rollout import (
    RolloutEvent,
    RolloutRefused,
    RolloutState,
    parse_settings,
    step,
)
from tillwatch_collector.errors import CollectorError
from tillwatch_collector.flows.changes import MACHINE, TicketChange, Why
from tillwatch_collector.flows.rollouts import moved
from tillwatch_collector.flows.turn import Compared, Scene, Turn
from tillwatch_collector.flows.windows import Windows
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.rollouts import KeptRollout
from tillwatch_protocol.job import JobMessage

DigestOf = Callable[[str], str | None]
"""Finds the digest of a release that may be installed, by its target; None: there is none such, or it was revoked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrivingSettings:
    """How rollouts are driven."""

    look_s: float = 5.0
    """Between two looks: a `go` waits half of it on average."""
    evidence_s: float = 60.0
    """How old the comparison with the rest of the fleet may become while no look of the gate is due."""
    interval_default_s: float = 60.0
    """Of a terminal that has never sent a heartbeat that could be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blame:
    """The update after which a terminal shows something."""

    evidence: dict[str, Any]
    parent_id: int | None
    """The ticket of its rollout's halt."""


class Driver:
    """The looks at all rollouts of one process; not thread-safe. Void when a transaction it looked in is."""

    def __init__(
        self, *, policy: Policy, settings: DrivingSettings | None = None, digest_of: DigestOf | None = None
    ) -> None:
        self.spans: tuple[Span, ...] = ()
        """Maintenance that rollouts make: of each terminal that may be switching, until it ends or its deadline."""
        self._changes: list[TicketChange] = []
        """Tickets that the last look moved."""
        self._policy = policy
        self._settings = settings or DrivingSettings()
        self._digest_of = digest_of
        self._windows = Windows()
        self._compared: dict[str, Compared] = {}
        self._looked_at: datetime | None = None
        self._none = True
        """Whether there was no rollout at all at the last look: then nothing is to blame."""

    def is_due(self, now: datetime) -> bool:
        """Whether it is time to look."""
        last = self._looked_at
        return last is None or not 0 <= (now - last).total_seconds() < self._settings.look_s

    def drive(self, repository: Repository, now: datetime, *, listening: Listening | None = None) -> list[JobMessage]:
        """Look at every rollout that is not settled; returns what terminals are to be told after the commit.

        What was not listened to counts toward nobody's silence; without `listening` all was heard.
        """
        self._looked_at = now
        self._changes, spans = [], []
        messages: list[JobMessage] = []
        driven = repository.rollouts.driven()
        self._none = not driven and not repository.rollouts.count()
        if driven:
            scene = Scene.of(
                repository.rollouts.claims(),
                now=now,
                policy=self._policy,
                windows=self._windows,
                listening=listening,
                interval_default_s=self._settings.interval_default_s,
            )
            for kept in driven:
                turn = self._turn(repository, kept, scene)
                if turn is not None:
                    messages += turn.take()
                    self._changes += turn.changes
                    spans += [_span(kept, *exposed) for exposed in turn.exposed]
        self._compared = {kept.rollout_id: one for kept in driven if (one := self._compared.get(kept.rollout_id))}
        self.spans = tuple(spans)
        return messages

    def take_changes(self) -> list[TicketChange]:
        """Return the tickets that the last look moved, once."""
        changes, self._changes = self._changes, []
        return changes

    def blame(self, repository: Repository, terminal_id: str, now: datetime) -> Blame | None:
        """Say after which update a terminal shows something; None where there was none, or its soak is over."""
        last = None if self._none else repository.rollout_facts.last_update(terminal_id)
        if last is None or now >= (last.ended_at or last.go_at) + timedelta(seconds=_soak_s(last.settings)):
            return None
        evidence = {
            "rollout_id": last.rollout_id,
            "release": last.target,
            "version": last.version,
            "job_id": f"{last.job_id}.{last.try_no}",
            "go_at": last.go_at.isoformat(),
            "ended_at": last.ended_at.isoformat() if last.ended_at else None,
        }
        return Blame(evidence=evidence, parent_id=last.halt_ticket_id)

    def _turn(self, repository: Repository, kept: KeptRollout, scene: Scene) -> Turn | None:
        """Make a look at one; None where its settings cannot be read, which pauses it."""
        try:
            settings = parse_settings(kept.settings)
        except RolloutRefused as error:
            _pause(repository, kept, f"its settings cannot be used: {error}", scene.now)
            return None
        if kept.rollout.state is RolloutState.RUNNING and (missing := self._missing(kept)):
            kept = _pause(repository, kept, missing, scene.now)
        compared = self._compared.setdefault(kept.rollout_id, Compared())
        return Turn(repository, kept, settings, scene, compared, evidence_s=self._settings.evidence_s)

    def _missing(self, kept: KeptRollout) -> str | None:
        """Say what is wrong with a rollout's release; None where it is there as it was, or nobody here knows."""
        if self._digest_of is None:
            return None
        try:
            digest = self._digest_of(kept.target)
        except CollectorError as error:
            return f"its release cannot be looked at: {error}"
        if digest == kept.digest:
            return None
        return (
            f"{kept.target}: expected the release with digest {kept.digest}, got {digest or 'none, or a revoked one'}"
        )


def _pause(repository: Repository, kept: KeptRollout, reason: str, now: datetime) -> KeptRollout:
    if kept.rollout.state is not RolloutState.RUNNING:
        return kept
    after = replace(kept.rollout, state=step(kept.rollout.state, RolloutEvent.PAUSE))
    why = Why(actor=MACHINE, reason=reason)
    return moved(repository, kept, after, action=RolloutEvent.PAUSE, why=why, now=now)


def _span(kept: KeptRollout, terminal_id: str, go_at: datetime, until: datetime) -> Span:
    return Span(
        maintenance_id=0,
        scope=Scope.TERMINAL,
        scope_id=terminal_id,
        starts_at=go_at,
        ends_at=until,
        week=None,
        reason=f"rollout {kept.rollout_id}",
    )


def _soak_s(settings: str) -> float:
    """Return how long a plan watches a terminal; the longest that a plan may, where it cannot be read."""
    try:
        return parse_settings(settings).gate.soak_s
    except RolloutRefused:
        return SOAK_S_MAX
