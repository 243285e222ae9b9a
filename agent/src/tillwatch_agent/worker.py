"""Does what a job asks for on this machine, one thing at a time: slots, guard, and the till's own programs.

Everything may be asked again after any cut. What is asked is done, and answered; what is refused is answered, too, with
its reason. Fetching is not done here (`updates`).

The agent's own release runs when the agent ends: `end_process` is asked for, and the launcher starts what is on trial.
Nothing is answered then; the next start of the agent asks again, and finds that it runs. A product without a launcher
(`config`) is told to run by its hook, and says so itself by what the hook did.

While a till is held idle, it is so from the look that held it to the end of the restart.

A change violates this when the committed slot can be left without a restart that makes it run.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tillwatch_agent.installer import hooks, launcher
from tillwatch_agent.installer.failure import InstallFailed
from tillwatch_agent.installer.guard import Busy, Guard
from tillwatch_agent.installer.hooks import Hook, Outcome
from tillwatch_agent.installer.slots import Installed, Running, Slots, Staging
from tillwatch_agent.job_standing import Reason
from tillwatch_agent.job_work import (
    Activate,
    Activated,
    Asked,
    Commit,
    Committed,
    Failed,
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
)
from tillwatch_protocol.release import InstallerKind

HOOK_FAILED: Final = "hook_failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """One product as it is set up on this machine."""

    kind: InstallerKind
    slots: Slots
    guard: Guard
    restart: Hook | None = None
    """None: whoever runs it notices by itself that `current` leads elsewhere."""
    health: Hook | None = None


def running_now(product: Product, host_boot_id: str) -> Running | None:
    """Say what was started last in this boot of the machine, or read, where it is read and not started.

    Raises `InstallFailed`.
    """
    running = product.slots.running()
    if running is None or product.kind is InstallerKind.CONFIG:
        return running
    return running if running.host_boot_id == host_boot_id else None


class Worker:
    """Does what is asked for, in one start of the agent. Not for more than one thread."""

    def __init__(
        self,
        products: Mapping[str, Product],
        *,
        host_boot_id: str,
        now_s: Callable[[], float],
        end_process: Callable[[], None],
        run_hook: Callable[[Hook, Mapping[str, str] | None], Outcome] = hooks.run,
    ) -> None:
        """Work on these products; `now_s` is the monotonic clock that the machine of the job is told."""
        self._products = products
        self._host_boot_id = host_boot_id
        self._now_s = now_s
        self._end_process = end_process
        self._run_hook = run_hook
        self._held = ExitStack()

    def do(self, asked: Asked) -> Result | None:
        """Do one thing; None where the process is to end instead."""
        if not isinstance(asked, Activate | Restart):
            self.let_go()
        try:
            return self._do(asked, self._products[asked.product])
        except InstallFailed as failure:
            return Failed(job_id=asked.job_id, doing=asked.doing, reason=failure.reason, said=str(failure))

    def let_go(self) -> None:
        """Hold the till idle no more."""
        self._held.close()

    def tidy(self) -> None:
        """Take back what is on trial though no job is there; raises `InstallFailed`."""
        for product in self._products.values():
            trial = product.slots.trial()
            if trial is not None and trial.activation_id is not None:
                product.slots.revert(trial.activation_id)
                self._run_committed(product, trial)

    def _do(self, asked: Asked, product: Product) -> Result | None:
        job_id = asked.job_id
        match asked:
            case Stage():
                package = asked.package
                staging = Staging(
                    target=asked.target,
                    product=asked.product,
                    version=package.version,
                    digest=package.digest,
                    kind=package.installer,
                    installed_bytes=package.installed_bytes,
                )
                product.slots.stage(Path(package.archive), staging)
                return Staged(job_id=job_id)
            case LookAtGuard():
                return self._look_at_guard(asked, product)
            case Activate():
                return self._activate(asked, product)
            case Restart():
                return self._restart(asked, product)
            case Look():
                return self._look(asked, product)
            case Commit():
                return self._commit(asked, product)
            case Revert():
                return self._revert(asked, product)
        raise AssertionError(f"{asked}: it is fetched elsewhere")

    def _look_at_guard(self, asked: LookAtGuard, product: Product) -> Guarded:
        verdict = self._held.enter_context(product.guard.held()) if asked.hold else product.guard.look()
        if isinstance(verdict, Busy):
            self.let_go()
            return Guarded(job_id=asked.job_id, busy=verdict.reason, said=verdict.said)
        return Guarded(job_id=asked.job_id)

    def _activate(self, asked: Activate, product: Product) -> Result:
        known = (product.slots.trial(), product.slots.committed())
        is_done = any(one is not None and one.job_id == asked.job_id for one in known)
        if not is_done and (asked.until_s is None or self._now_s() >= asked.until_s):
            said = "the go lapsed before anything was switched"
            return Failed(job_id=asked.job_id, doing=asked.doing, reason=Reason.GO_LAPSED, said=said)
        return Activated(job_id=asked.job_id, activation_id=product.slots.activate(asked.job_id))

    def _restart(self, asked: Restart, product: Product) -> Result | None:
        """Let what is on trial run, unless it does, or its launcher has given up: what looks next will say so."""
        running = self._running(product)
        is_started = running is not None and running.activation_id == asked.activation_id
        if not is_started and not self._given_up(product):
            if product.kind is InstallerKind.AGENT:
                self._end_process()
                return None
            said = self._call(product, asked.activation_id)
            if said is not None:
                return Failed(job_id=asked.job_id, doing=asked.doing, reason=HOOK_FAILED, said=said)
        self.let_go()
        return Restarted(job_id=asked.job_id)

    def _look(self, asked: Look, product: Product) -> Looked:
        running = self._running(product)
        activation_id = running.activation_id if running else None
        unhealthy = None
        if asked.asks_health and product.health is not None:
            outcome = self._run_hook(product.health, None)
            unhealthy = None if outcome.is_well else outcome.said or f"exit code {outcome.exit_code}"
        return Looked(
            job_id=asked.job_id,
            activation_id=activation_id,
            given_up=self._given_up(product),
            unhealthy=unhealthy,
        )

    def _commit(self, asked: Commit, product: Product) -> Result | None:
        """Keep it; where its launcher had to start something else meanwhile, on a full disk say, let it run again."""
        product.slots.commit(asked.activation_id)
        if product.kind is InstallerKind.AGENT:
            launcher.confirmed()
        running = self._running(product)
        if running is None or running.activation_id != asked.activation_id:
            if product.kind is InstallerKind.AGENT:
                self._end_process()
                return None
            said = self._call(product, asked.activation_id)
            if said is not None:
                return Failed(job_id=asked.job_id, doing=asked.doing, reason=HOOK_FAILED, said=said)
        return Committed(job_id=asked.job_id)

    def _revert(self, asked: Revert, product: Product) -> Result | None:
        trial = product.slots.trial()
        if trial is not None and trial.job_id == asked.job_id and trial.activation_id is not None:
            product.slots.revert(trial.activation_id)
        committed, running = product.slots.committed(), self._running(product)
        if committed is None or (running is not None and running.activation_id == committed.activation_id):
            if committed is None and running is not None:
                self._call(product, None)  # it is to notice that nothing is left to run
            return Reverted(job_id=asked.job_id)
        if product.kind is InstallerKind.AGENT:
            self._end_process()
            return None
        said = self._call(product, committed.activation_id)
        if said is not None:
            return Failed(job_id=asked.job_id, doing=asked.doing, reason=HOOK_FAILED, said=said)
        return Reverted(job_id=asked.job_id, activation_id=committed.activation_id)

    def _run_committed(self, product: Product, reverted: Installed) -> None:
        """Let what is committed run where something else does."""
        committed, running = product.slots.committed(), self._running(product)
        if running is None or running.activation_id != reverted.activation_id:
            return
        if product.kind is InstallerKind.AGENT:
            self._end_process()
        else:
            self._call(product, committed.activation_id if committed else None)

    def _call(self, product: Product, activation_id: str | None) -> str | None:
        """Have a product run what is chosen; says why it did not."""
        if product.restart is not None:
            outcome = self._run_hook(product.restart, {"activation_id": activation_id} if activation_id else None)
            if not outcome.is_well:
                return outcome.said or f"exit code {outcome.exit_code}"
        if product.kind is InstallerKind.CONFIG and activation_id is not None:
            product.slots.declare_running(activation_id, self._host_boot_id)
        return None

    def _running(self, product: Product) -> Running | None:
        return running_now(product, self._host_boot_id)

    def _given_up(self, product: Product) -> bool:
        trial, running = product.slots.trial(), self._running(product)
        if trial is None or product.slots.attempts() < launcher.ATTEMPTS_MAX:
            return False
        return running is None or running.activation_id != trial.activation_id
