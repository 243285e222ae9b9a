"""What people do with rollouts, each in a transaction of its own: for the API and the command line alike.

The rules are `flows.rollouts`; here stand the signed releases that a rollout is made of, and the fleet's facts that its
selection is frozen from. What lets a rollout go on asks again whether its release is still signed, with the digest that
was planned. A change violates this when a rollout begins, or goes on at a person's word, with a release taken back.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tillwatch_collector.desk import Author
from tillwatch_collector.domain.choosing import choose, earliest, freeze, parse_query
from tillwatch_collector.domain.hours import Hours
from tillwatch_collector.domain.rollout import Cloned, RolloutEvent, RolloutRefused, RolloutSettings, parse_settings
from tillwatch_collector.domain.waves import LeftOutReason, Plan, Selected, Selection
from tillwatch_collector.flows import rollouts
from tillwatch_collector.flows.rollouts import Draft
from tillwatch_collector.releases import ReleaseView, Shelf
from tillwatch_collector.store.queries import Paging
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.rollout_views import PlannedView, PlannedWaveView, PlanView
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.views import Page
from tillwatch_protocol.release import InstallerKind, Release

_STEPS: Final = {
    RolloutEvent.START: rollouts.start,
    RolloutEvent.APPROVE: rollouts.approve,
    RolloutEvent.REFUSE: rollouts.refuse,
    RolloutEvent.PAUSE: rollouts.pause,
    RolloutEvent.RESUME: rollouts.resume,
    RolloutEvent.ANSWER: rollouts.answer,
    RolloutEvent.ABORT: rollouts.abort,
    # HALT, COMPLETE: the machine's
}
_GOES_ON = frozenset({RolloutEvent.START, RolloutEvent.APPROVE, RolloutEvent.RESUME, RolloutEvent.ANSWER})
"""What lets something be offered, or switch, that was not before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What somebody wants to roll out, to whom, why, and how."""

    target: str
    """The release, by its path: `till/till-2.1.0.tar.gz`."""
    query: str
    """Whom it is for; `domain.choosing` says how it is written."""
    reason: str
    settings: str
    """The plan, in JSON."""
    name: str = ""
    """For people; by default product and version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutDesk:
    """People's hand on the rollouts. All of it raises what `flows.rollouts` says, and then nothing changed."""

    store: Store
    shelf: Shelf | None
    """The signed releases; None: this collector has none."""

    def plan(self, asked: Asked, now: datetime, paging: Paging) -> PlanView:
        """Show who would be updated, when, and in which wave, and who would not, and why; writes nothing.

        Raises `RolloutRefused`, and `ReleasesUnusable` where the releases are not whole.
        """
        with self.store.reading() as connection:
            repository = Repository(connection)
            drafted, hours = self._draft(repository, asked, now), repository.fleet.hours()
            return _shown(drafted, rollouts.preview(repository, drafted, now), hours, paging)

    def create(self, asked: Asked, by: Author) -> str:
        """Keep a draft, with its selection frozen; returns its id."""
        with self.store.transaction() as repository:
            drafted = self._draft(repository, asked, by.now)
            rollout_id = rollouts.draft(repository, drafted, actor=by.actor, now=by.now)
            detail = {"target": asked.target, "query": asked.query, "reason": asked.reason}
            _record(repository, rollout_id, by, "draft", detail)
            return rollout_id

    def act(self, rollout_id: str, event: RolloutEvent, by: Author, *, reason: str) -> None:
        """Take a step of the table that is a person's."""
        with self.store.transaction() as repository:
            if event in _GOES_ON:
                self._expect_signed(repository, rollout_id)
            _STEPS[event](repository, rollout_id, actor=by.actor, reason=reason, now=by.now)
            _record(repository, rollout_id, by, event, {"reason": reason})

    def retry(self, rollout_id: str, terminal_ids: Collection[str], by: Author, *, reason: str) -> None:
        """Try terminals again that failed."""
        with self.store.transaction() as repository:
            self._expect_signed(repository, rollout_id)
            rollouts.retry(repository, rollout_id, terminal_ids, actor=by.actor, reason=reason, now=by.now)
            _record(repository, rollout_id, by, "retry", {"reason": reason, "terminal_ids": sorted(terminal_ids)})

    def clone(self, rollout_id: str, whom: Cloned, by: Author, *, reason: str, settings: str | None = None) -> str:
        """Draft the same release anew, with terminals' facts as they are by now; returns the new rollout's id."""
        with self.store.transaction() as repository:
            kept = repository.rollouts.get(rollout_id)
            release = _release(self._expect_signed(repository, rollout_id))
            plan = parse_settings(kept.settings if settings is None else settings)
            cloned_id = rollouts.clone(
                repository,
                rollout_id,
                whom,
                _freezing(repository, release, plan, kept.query, by.now),
                actor=by.actor,
                reason=reason,
                now=by.now,
                settings=settings,
            )
            _record(repository, cloned_id, by, "clone", {"reason": reason, "of": rollout_id, "whom": whom})
            return cloned_id

    def _draft(self, repository: Repository, asked: Asked, now: datetime) -> Draft:
        signed = self._signed(asked.target)
        release, fleet = _release(signed), repository.fleet.facts()
        query = parse_query(asked.query)
        return Draft(
            name=asked.name.strip() or f"{release.product} {release.version}",
            target=signed.target,
            product=release.product,
            version=release.version,
            digest=signed.sha256 or "",
            selection=freeze(
                choose(query, fleet, products=(release.product,)),
                fleet,
                release,
                repository.fleet.hours(),
                parse_settings(asked.settings),
                query=query.text,
                reason=asked.reason,
                now=now,
            ),
            settings=asked.settings,
        )

    def _signed(self, target: str) -> ReleaseView:
        if self.shelf is None:
            raise RolloutRefused("target: expected a collector with signed releases, got one without [releases] folder")
        found = self.shelf.find(target)
        if found is None:
            raise RolloutRefused(f"target: expected a release that `release list` shows, got {target[:150]!r}")
        if found.revoked:
            raise RolloutRefused(
                f"target: expected a release that is signed, got one taken back: {found.revoked_reason}"
            )
        return found

    def _expect_signed(self, repository: Repository, rollout_id: str) -> ReleaseView:
        kept = repository.rollouts.get(rollout_id)
        found = self._signed(kept.target)
        if found.sha256 != kept.digest:
            raise RolloutRefused(f"target: expected {kept.target} with digest {kept.digest}, got {found.sha256}")
        return found


def _record(repository: Repository, rollout_id: str, by: Author, step: str, detail: Mapping[str, object]) -> None:
    """Write a step down in the audit log, last in its transaction."""
    subject = f"rollout:{rollout_id}"
    repository.audit.record(by.now, actor=by.actor, action=f"rollout_{step}", subject=subject, detail=detail)


def _release(signed: ReleaseView) -> Release:
    return Release(
        product=signed.product,
        version=signed.version,
        installer=signed.installer or InstallerKind.BUNDLE,
        machines=signed.machines,
        models=signed.models,
        agent_version_min=signed.agent_version_min,
    )


def _freezing(
    repository: Repository, release: Release, plan: RolloutSettings, query: str, now: datetime
) -> Callable[[Collection[str]], Selection]:
    """Return what freezes the facts of terminals by id, as they are at `now`."""

    def of(terminal_ids: Collection[str]) -> Selection:
        fleet, named = repository.fleet.facts(), set(terminal_ids)
        chosen = [fact for fact in fleet if fact.terminal_id in named]
        return freeze(chosen, fleet, release, repository.fleet.hours(), plan, query=query, reason="", now=now)

    return of


# --- a plan, as it is shown


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a plan puts a terminal that was selected."""

    terminal: Selected
    wave: int | None
    opens_at: datetime | None
    left_out: LeftOutReason | None = None


def _shown(drafted: Draft, plan: Plan, hours: Mapping[str, Hours], paging: Paging) -> PlanView:
    places = _places(drafted, plan, hours)
    opens: dict[int, list[datetime]] = {}
    for place in places:
        if place.wave is not None and place.opens_at is not None:
            opens.setdefault(place.wave, []).append(place.opens_at)
    page = places[paging.offset : paging.offset + paging.limit]
    planned = tuple(_planned(place, hours) for place in page)
    return PlanView(
        target=drafted.target,
        version=drafted.version,
        query=drafted.selection.query,
        taken_at=drafted.selection.taken_at,
        terminals=sum(len(wave.terminals) for wave in plan.waves),
        waves=tuple(
            PlannedWaveView(
                wave=wave.number,
                terminals=len(wave.terminals),
                stores=len({one.store_id for one in wave.terminals}),
                controls=wave.controls,
                opens_at=min(opens.get(wave.number, ()), default=None),
            )
            for wave in plan.waves
        ),
        left_out=dict(sorted(Counter(str(why) for _, why in plan.left_out).items())),
        planned=Page(items=planned, total=len(places), limit=paging.limit, offset=paging.offset),
    )


def _places(drafted: Draft, plan: Plan, hours: Mapping[str, Hours]) -> list[_Place]:
    """Return where each terminal is: by wave and id, those that are left out last."""
    opens = earliest(plan, hours, parse_settings(drafted.settings))
    known = {one.terminal_id: one for one in drafted.selection.terminals}
    members = [
        _Place(terminal=one, wave=wave.number, opens_at=opens[one.terminal_id])
        for wave in plan.waves
        for one in sorted(wave.terminals, key=lambda one: one.terminal_id)
    ]
    left_out = [
        _Place(terminal=known[terminal_id], wave=None, opens_at=known[terminal_id].opens_at, left_out=why)
        for terminal_id, why in plan.left_out
    ]
    return members + left_out


def _planned(place: _Place, hours: Mapping[str, Hours]) -> PlannedView:
    one, opens_at = place.terminal, place.opens_at
    own = hours.get(one.store_id or "")
    local = None if own is None or opens_at is None else opens_at.astimezone(own.zone)
    return PlannedView(
        terminal_id=one.terminal_id,
        store_id=one.store_id,
        model=one.model,
        region=one.region,
        wave=place.wave,
        opens_at=opens_at,
        time_zone=None if own is None else own.zone.key,
        opens_at_store=None if local is None else f"{local:%Y-%m-%d %H:%M}",
        left_out=place.left_out,
    )
