"""What a job asks of a simulated terminal, done in memory; what comes next in a job, the agent's own machine decides.

A real agent has a child process, two slots on a disk, a launcher and the till's own programs for this. Here releases
take their time to be fetched, unpacked and started, a sale may be under way, a line may be cut, and each effect may be
asked again after any cut, with the same end. What a disk would hold outlives a kill; what is under way does not. Pure.

Each terminal has one lot for harm and one for how late it shows, drawn once: so a release that harms more terminals
harms those, too, that one with less harm does.

Moments are seconds on one axis that never jumps, whatever the machine's own clocks do. A change violates this when a
terminal shows a release that it was not told to start.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from tillwatch_agent.health import Observation
from tillwatch_agent.installer.order import Cause
from tillwatch_agent.installer.order import Reason as FetchReason
from tillwatch_agent.job_record import Package
from tillwatch_agent.job_standing import Reason, Terms, UpdateSettings
from tillwatch_agent.job_work import (
    Activate,
    Activated,
    CleanUp,
    Commit,
    Committed,
    Effect,
    Failed,
    Fetch,
    Fetched,
    Guarded,
    Look,
    LookAtGuard,
    Looked,
    Restart,
    Restarted,
    Result,
    Revert,
    Reverted,
    Stage,
    Staged,
    StopFetch,
    Tidy,
)
from tillwatch_protocol.release import InstallerKind
from tillwatch_protocol.vocabulary import Health, Kind, PowerState
from tillwatch_simulator.releases import Signed

SALE: Final = "sale"
"""Why a simulated till is busy."""

NOT_STAGED: Final = "not_staged"
"""The agent's own word for a free slot in which nothing lies whole."""


class Chance(Protocol):
    """Where the numbers come from: `random.Random`, seeded by the caller."""

    def random(self) -> float:
        """Return a number from 0 up to and without 1."""
        ...

    def getrandbits(self, k: int) -> int:
        """Return `k` bits."""
        ...


@dataclass(frozen=True, slots=True)
class Between:
    """A time that is drawn each time it passes."""

    least_s: float
    most_s: float

    def drawn(self, chance: Chance) -> float:
        """Draw one."""
        return self.least_s + chance.random() * (self.most_s - self.least_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Paces:
    """How long things take at a till, and how often it is busy; the defaults are a shop's, at night."""

    fetch: Between = Between(20.0, 240.0)
    """Some megabytes over a line that sales share."""
    stage: Between = Between(2.0, 10.0)
    start: Between = Between(5.0, 30.0)
    answer_s: float = 0.05
    """Of what is only looked at or written down."""
    busy_pct: float = 5.0
    """Of the looks at a till that find a sale under way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """What terminals run of one product at first, and which releases they can fetch."""

    installed: Signed
    offered: Mapping[str, Signed] = field(default_factory=dict)
    """By target."""
    spread_s: float = 300.0
    """Downloads begin within this of their offers."""
    confirm_s: float = 900.0
    """From its start until a release has proved itself, or is taken back."""
    paces: Paces = Paces()

    @property
    def product(self) -> str:
        """Of what they are versions."""
        return self.installed.release.product

    def settings(self, interval_s: float, host_boot_id: str) -> UpdateSettings:
        """Gather what the machine of the job is told."""
        return UpdateSettings(
            interval_s=interval_s,
            host_boot_id=host_boot_id,
            products={self.product: Terms(installer=InstallerKind.BUNDLE, confirm_s=self.confirm_s)},
            spread_s=self.spread_s,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """A terminal began to run another release."""

    version: str
    at_s: float
    job_id: str


@dataclass(frozen=True, slots=True)
class _Activation:
    """A release in a slot that was chosen to run."""

    signed: Signed
    activation_id: str
    job_id: str | None = None


class Installation:
    """One product on one simulated terminal."""

    def __init__(self, software: Software, chance: Chance) -> None:
        """Run what is installed at first, from the beginning of time."""
        self._software = software
        self._chance = chance
        self._harm_lot, self._delay_lot, self._start_lot = chance.random(), chance.random(), chance.random()
        self._committed = _Activation(software.installed, self._new_id())
        self._trial: _Activation | None = None
        self._staged: Signed | None = None
        self._to_fetch_s: dict[str, float] = {}
        """Of downloads that were begun: how long the rest takes."""
        self._gave_up = False
        self._is_mended = False
        self._chosen, self._runs_at_s = self._committed, -math.inf
        """What was started last, and from when on it runs."""
        self._shown: object = None
        self._under_way: tuple[float, Result] | None = None
        self.switches: list[Switch] = []
        """Every switch to another release, and back, in order."""

    # --- what a job asks

    def carry_out(self, effect: Effect, now_s: float, *, monotonic_s: float) -> None:
        """Do what a job asks for; `take` has what came of it once it took its time.

        `monotonic_s` is now on the clock by which the machine of the job was told of time.
        """
        match effect:
            case StopFetch():
                self._leave(now_s)
            case CleanUp():
                self._to_fetch_s.clear()
            case Tidy():
                self._take_back(now_s)
            case Fetch():
                self._fetch(effect, now_s)
            case Stage():
                self._staged = self._software.offered.get(effect.target)
                self._answer(Staged(job_id=effect.job_id), now_s + self._software.paces.stage.drawn(self._chance))
            case _:
                self._answer(self._done(effect, now_s, monotonic_s), now_s + self._software.paces.answer_s)

    def take(self, now_s: float, *, line_is_up: bool = True) -> Result | None:
        """Return what came of the newest effect, once; a download ends badly where the line is cut."""
        if self._under_way is None or now_s < self._under_way[0]:
            return None
        (_, result), self._under_way = self._under_way, None
        if isinstance(result, Fetched) and not line_is_up:
            said = "the line is cut"
            return Failed(
                job_id=result.job_id, doing=result.doing, reason=FetchReason.CUT, said=said, cause=Cause.NETWORK
            )
        if isinstance(result, Fetched):
            self._to_fetch_s[result.package.archive] = 0.0
        return result

    def due_s(self, now_s: float) -> float:
        """Say when there is something to take or to look at; infinity for never."""
        turns_s = [at_s for at_s in (self._runs_at_s, self._harms_at_s()) if at_s > now_s]
        return min(turns_s + ([self._under_way[0]] if self._under_way else []), default=math.inf)

    def kill(self, now_s: float) -> None:
        """End the agent: what is under way is lost, but for the part of a download that came."""
        self._leave(now_s)

    def boot(self, now_s: float) -> None:
        """Start the machine: its launcher starts what is chosen."""
        self._start(self._trial or self._committed, now_s)

    def mend(self) -> None:
        """Have somebody end the harm that the running release does, or would have done."""
        self._is_mended = True

    # --- what it shows

    def look(self, now_s: float) -> Observation:
        """Say what runs, as the agent's own probe does."""
        self._shown = self._to_show(now_s)
        component = f"{Kind.APPLICATION}:{self._software.product}"
        if now_s < self._runs_at_s:
            return Observation(component=component, health=Health.UNKNOWN, reason=Reason.NOT_STARTED)
        release = self._chosen.signed.release
        facts = {
            "version": release.version,
            "digest": self._chosen.signed.digest,
            "activation_id": self._chosen.activation_id,
            "target": release.target,
        }
        return Observation(component=component, health=Health.OK, power_state=PowerState.ONLINE, facts=facts)

    def has_turned(self, now_s: float) -> bool:
        """Whether it would show something else than at the last look."""
        return self._shown is not None and self._to_show(now_s) != self._shown

    def harm(self, now_s: float) -> tuple[str, str] | None:
        """Say which component the running release has harmed by now, and how, by code."""
        harm = self._chosen.signed.release.harm
        if harm is None or now_s < self._harms_at_s():
            return None
        return harm.component, harm.code

    @property
    def version(self) -> str:
        """What was started last."""
        return self._chosen.signed.release.version

    def _to_show(self, now_s: float) -> object:
        return now_s >= self._runs_at_s, self._chosen.activation_id, self.harm(now_s)

    def _harms_at_s(self) -> float:
        """When the running release does its harm here; infinity for never."""
        harm = self._chosen.signed.release.harm
        if harm is None or self._is_mended or 100 * self._harm_lot >= harm.share_pct:
            return math.inf
        return self._runs_at_s + harm.from_s + self._delay_lot * (harm.until_s - harm.from_s)

    # --- how it is done

    def _fetch(self, effect: Fetch, now_s: float) -> None:
        signed = self._software.offered.get(effect.target)
        if effect.target == self._committed.signed.release.target:
            self._answer(_refused(effect, Reason.ALREADY_INSTALLED, Cause.CONSTRAINT), now_s)
        elif signed is None:
            self._answer(_refused(effect, FetchReason.UNKNOWN_TARGET, Cause.TRUST), now_s)
        else:
            takes_s = self._to_fetch_s.setdefault(effect.target, self._software.paces.fetch.drawn(self._chance))
            package = Package(
                archive=effect.target,
                digest=signed.digest,
                version=signed.release.version,
                installer=InstallerKind.BUNDLE,
            )
            self._answer(Fetched(job_id=effect.job_id, package=package), now_s + takes_s)

    def _done(
        self, effect: LookAtGuard | Activate | Restart | Look | Commit | Revert, now_s: float, monotonic_s: float
    ) -> Result:
        match effect:
            case LookAtGuard():
                is_busy = 100 * self._chance.random() < self._software.paces.busy_pct
                return Guarded(job_id=effect.job_id, busy=SALE if is_busy else None)
            case Activate():
                return self._activated(effect, monotonic_s)
            case Restart():
                self._restart(now_s)
                return Restarted(job_id=effect.job_id)
            case Look():
                runs = self._chosen.activation_id if now_s >= self._runs_at_s else None
                return Looked(job_id=effect.job_id, activation_id=runs, given_up=self._gave_up)
            case Commit():
                return self._commit(effect)
            case _:
                self._take_back(now_s)
                return Reverted(job_id=effect.job_id, activation_id=self._committed.activation_id)

    def _activated(self, effect: Activate, monotonic_s: float) -> Result:
        for known in (self._trial, self._committed):
            if known is not None and known.job_id == effect.job_id:
                return Activated(job_id=effect.job_id, activation_id=known.activation_id)
        if effect.until_s is None or monotonic_s >= effect.until_s:
            return Failed(job_id=effect.job_id, doing=effect.doing, reason=Reason.GO_LAPSED)
        if self._staged is None:
            return Failed(job_id=effect.job_id, doing=effect.doing, reason=NOT_STAGED)
        self._trial, self._staged = _Activation(self._staged, self._new_id(), effect.job_id), None
        return Activated(job_id=effect.job_id, activation_id=self._trial.activation_id)

    def _restart(self, now_s: float) -> None:
        if self._trial is None or self._chosen is self._trial:
            return
        self._start(self._trial, now_s)

    def _commit(self, effect: Commit) -> Result:
        if self._trial is not None and self._trial.activation_id == effect.activation_id:
            self._committed, self._trial = self._trial, None
        if self._committed.activation_id != effect.activation_id:
            return Failed(job_id=effect.job_id, doing=effect.doing, reason=Reason.NOT_ON_TRIAL)
        return Committed(job_id=effect.job_id)

    def _take_back(self, now_s: float) -> None:
        self._trial = None
        if self._chosen is not self._committed:
            self._start(self._committed, now_s)
        self._gave_up = False

    def _start(self, activation: _Activation, now_s: float) -> None:
        """Start a release; one that does not start here, the launcher gives up for what is committed."""
        fails = activation is not self._committed and 100 * self._start_lot < activation.signed.release.fails_pct
        self._gave_up = fails
        chosen = self._committed if fails else activation
        if chosen.signed is not self._chosen.signed:
            release = chosen.signed.release
            self.switches.append(Switch(version=release.version, at_s=now_s, job_id=activation.job_id or ""))
            self._is_mended = False
        self._chosen, self._runs_at_s = chosen, now_s + self._software.paces.start.drawn(self._chance)

    def _answer(self, result: Result, at_s: float) -> None:
        self._under_way = (at_s, result)

    def _leave(self, now_s: float) -> None:
        if self._under_way is not None and isinstance(result := self._under_way[1], Fetched):
            self._to_fetch_s[result.package.archive] = max(0.0, self._under_way[0] - now_s)
        self._under_way = None

    def _new_id(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"


def _refused(effect: Fetch, reason: str, cause: Cause) -> Failed:
    return Failed(job_id=effect.job_id, doing=effect.doing, reason=reason, cause=cause)
