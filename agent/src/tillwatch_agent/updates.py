"""What runs for a job beside the core, and only while one does: the program that fetches, and a thread that works.

The core says what to do (`job_work`), one thing at a time; what came of it is handed in as a result. Fetching is done
by a child process that a thread hears, and that is ended when it is not wanted any more or takes too long; the child of
an agent that was killed ends by itself when nobody hears it. All else is done by `worker` in one thread,
which ends with its job.

Whatever goes wrong here is a result, so that no job waits for ever. A change violates this when a thread or a process
of a job outlives it, or when two things are done at one product at a time.
"""

import hashlib
import logging
import platform
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from tillwatch_agent.errors import AgentError
from tillwatch_agent.health import Observation
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.failure import InstallFailed
from tillwatch_agent.installer.guard import CommandGuard, Guard, LockGuard, NoGuard
from tillwatch_agent.installer.hooks import Hook
from tillwatch_agent.installer.order import LINE_BYTES_MAX, Cause, Order, cause_of, command, heard
from tillwatch_agent.installer.order import Failed as NotFetched
from tillwatch_agent.installer.order import Fetched as FetchedNews
from tillwatch_agent.installer.order import Reason as FetchReason
from tillwatch_agent.installer.slots import Slots
from tillwatch_agent.job_record import Package
from tillwatch_agent.job_standing import Reason, Terms, UpdateSettings
from tillwatch_agent.job_work import Asked, CleanUp, Effect, Failed, Fetch, Fetched, Result, StopFetch, Tidy
from tillwatch_agent.worker import Product, Worker, running_now
from tillwatch_protocol.release import Release
from tillwatch_protocol.vocabulary import Health, Kind, PowerState

if TYPE_CHECKING:
    from tillwatch_agent.config import AgentConfig, ProductConfig, UpdateConfig

UPDATE_FOLDER: Final = "update"
JOB_FILE: Final = "job.json"

CHILD_GRACE_S: Final = 10.0
"""The fetching program ends between two steps; what takes longer is killed."""

CHILD_LATE_S: Final = 900.0
"""Beyond the time that a download may take: then the child itself hangs."""

POLL_S: Final = 5.0
"""What runs is read from two small files."""

NOT_INSTALLED: Final = "not_installed"
"""Why a product is absent: no release of it was ever kept here."""

_logger = logging.getLogger(__name__)

Put = Callable[[Result], None]


class JobFile:
    """The page of the newest job, on the disk."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Keep it at `path`."""
        self._path = path
        self._disk = disk

    def read(self) -> bytes | None:
        """Read it; None where there is none. Raises `DiskFailed`."""
        return self._disk.read(self._path)

    def write(self, content: bytes) -> None:
        """Write it whole; raises `DiskFailed`."""
        self._disk.make_folder(self._path.parent)
        self._disk.write(self._path, content)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where releases come from, and what they must be for."""

    config: "UpdateConfig"
    folder: Path
    """Where trusted metadata and downloads lie."""
    agent_version: str

    @property
    def downloads(self) -> Path:
        """Where archives lie until their job is over."""
        return self.folder / "downloads"

    def order(self, fetch: Fetch, *, installed_version: str | None, told_at: datetime | None) -> Order:
        """Say what is to be fetched."""
        config = self.config
        assert config.metadata_url is not None  # noqa: S101 - beside products there is one
        assert config.targets_url is not None  # noqa: S101 - as above
        return Order(
            metadata_dir=self.folder / "metadata",
            metadata_url=config.metadata_url,
            target=fetch.target,
            target_url=config.targets_url,
            target_dir=self.downloads,
            product=fetch.product,
            agent_version=self.agent_version,
            trusted_root=config.trusted_root,
            reference_at=told_at,
            ca_file=config.ca_file,
            machine=platform.machine(),
            model=config.model,
            installed_version=installed_version,
            bytes_per_s_max=config.bytes_per_s_max,
            total_s=config.download_s,
        )


class Updates:
    """The threads of the newest job. `carry_out` and `stop` are for the main thread alone."""

    def __init__(self, source: Source, products: Mapping[str, Product], worker: Worker, put: Put) -> None:
        """Prepare them; none runs before something is asked."""
        self._source = source
        self._products = products
        self._worker = worker
        self._put = put
        self._fetching: _Fetching | None = None
        self._hand: _Hand | None = None
        self._last_hand: _Hand | None = None

    def carry_out(self, effect: Effect, told_at: datetime | None) -> None:
        """Begin what a job asks for; `told_at` is the time as far as a collector told it."""
        match effect:
            case Fetch():
                self._fetching = _Fetching(effect, told_at, self._source, self._products[effect.product], self._put)
                self._fetching.start()
            case StopFetch():
                self._stop_fetch()
            case CleanUp() | Tidy():
                self._hand_for().ask(effect)
                self._hand_for().end()
                self._last_hand, self._hand = self._hand, None
            case _:
                self._hand_for().ask(effect)

    def stop(self) -> None:
        """End the child; what the thread does is left to the end of the process, after which it can be done again."""
        self._stop_fetch()

    def _stop_fetch(self) -> None:
        if self._fetching is not None:
            self._fetching.stop()
            self._fetching = None

    def _hand_for(self) -> "_Hand":
        if self._hand is None:
            self._hand = _Hand(self._worker, self._source.downloads, self._put, after=self._last_hand)
            self._hand.start()
        return self._hand


class _Hand(threading.Thread):
    """Does what one job asks for, in order."""

    def __init__(self, worker: Worker, downloads: Path, put: Put, *, after: "_Hand | None") -> None:
        super().__init__(name="update", daemon=True)
        self._worker = worker
        self._downloads = downloads
        self._put = put
        self._after = after
        self._asked: queue.SimpleQueue[Asked | CleanUp | Tidy | None] = queue.SimpleQueue()

    def ask(self, asked: Asked | CleanUp | Tidy) -> None:
        self._asked.put(asked)

    def end(self) -> None:
        self._asked.put(None)

    def run(self) -> None:
        if self._after is not None:
            self._after.join()
            self._after = None
        while (asked := self._asked.get()) is not None:
            if isinstance(asked, CleanUp | Tidy):
                self._look_after(asked)
            else:
                self._answer(asked)

    def _answer(self, asked: Asked) -> None:
        try:
            result = self._worker.do(asked)
        except Exception as error:  # noqa: BLE001 - the outermost loop of its thread
            result = _mistaken(asked, error)
        if result is not None:
            self._put(result)

    def _look_after(self, asked: CleanUp | Tidy) -> None:
        self._worker.let_go()
        try:
            for path in self._downloads.glob("*"):
                path.unlink()
            if isinstance(asked, Tidy):
                self._worker.tidy()
        except (OSError, AgentError) as error:
            _logger.warning("something of an earlier job is left: %s", error)


class _Fetching(threading.Thread):
    """Starts the fetching program, hears it, and says what came of it."""

    def __init__(self, fetch: Fetch, told_at: datetime | None, source: Source, product: Product, put: Put) -> None:
        super().__init__(name="fetch", daemon=True)
        self._fetch = fetch
        self._told_at = told_at
        self._source = source
        self._product = product
        self._put = put
        self._lock = threading.Lock()
        self._stopped = False
        self._child: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """End the program, if it runs; from any thread."""
        with self._lock:
            self._stopped = True
            child = self._child
        if child is not None:
            child.terminate()
            late = threading.Timer(CHILD_GRACE_S, child.kill)
            late.daemon = True
            late.start()

    def run(self) -> None:
        result: Result
        try:
            result = self._fetched()
        except InstallFailed as failure:
            result = self._failed(failure.reason, str(failure))
        except Exception as error:  # noqa: BLE001 - as above
            result = _mistaken(self._fetch, error)
        self._put(result)

    def _fetched(self) -> Fetched | Failed:
        committed = self._product.slots.committed()
        if committed is not None and committed.target == self._fetch.target:
            said = f"{committed.target} is installed"
            return self._failed(Reason.ALREADY_INSTALLED, said, Cause.CONSTRAINT)
        version = committed.version if committed else None
        news, exit_code = self._heard(self._source.order(self._fetch, installed_version=version, told_at=self._told_at))
        if isinstance(news, FetchedNews) and exit_code == 0:
            return self._package(news)
        if isinstance(news, NotFetched):
            return self._failed(_known(news.reason), news.said, news.cause)
        said = f"expected the fetching program to say how it ended, it ended with {exit_code}"
        return self._failed(FetchReason.CUT, said, cause_of(exit_code))

    def _heard(self, order: Order) -> tuple[FetchedNews | NotFetched | None, int]:
        """Run the program to its end; returns its last word and its exit code."""
        last: FetchedNews | NotFetched | None = None
        with subprocess.Popen(  # noqa: S603 - this interpreter, and arguments of the installation's own settings
            command(order), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        ) as child:
            late = threading.Timer(self._source.config.download_s + CHILD_LATE_S, child.kill)
            late.daemon = True
            late.start()
            with self._lock:
                self._child = child
                if self._stopped:
                    child.terminate()
            assert child.stdout is not None  # noqa: S101 - it was asked for
            while line := child.stdout.readline(LINE_BYTES_MAX):
                news = heard(line)
                if isinstance(news, FetchedNews | NotFetched):
                    last = news
            exit_code = child.wait()
            late.cancel()
            with self._lock:
                self._child = None
        return last, exit_code

    def _package(self, news: FetchedNews) -> Fetched | Failed:
        try:
            release = Release.model_validate(news.release)
        except ValidationError as error:
            said = f"expected the words of a release, got: {error.errors(include_url=False)[0]['msg']}"
            return self._failed(FetchReason.NOT_UNDERSTOOD, said, Cause.CONSTRAINT)
        package = Package(
            archive=str(news.path),
            digest=news.digests.get("sha256") or _digest(news.path),
            version=release.version,
            installer=release.installer,
            installed_bytes=release.installed_bytes,
        )
        return Fetched(job_id=self._fetch.job_id, package=package)

    def _failed(self, reason: str, said: str, cause: Cause | None = None) -> Failed:
        return Failed(job_id=self._fetch.job_id, doing=self._fetch.doing, reason=reason, said=said, cause=cause)


class ProductProbe:
    """Says what runs of one product: the facts by which a rollout knows that it succeeded."""

    poll_s = POLL_S
    hangs_on_plug = False

    def __init__(self, name: str, product: Product, host_boot_id: str) -> None:
        """Look at this product's slots; its component is `application:<name>`."""
        self.name = f"{Kind.APPLICATION}:{name}"
        self._product = product
        self._host_boot_id = host_boot_id

    def poll(self) -> tuple[Observation, ...]:
        """Look once."""
        try:
            return (self._look(),)
        except InstallFailed as failure:
            return (Observation(component=self.name, health=Health.UNKNOWN, reason=failure.reason),)

    def forget(self) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> Observation:
        slots = self._product.slots
        chosen = [one for one in (slots.trial(), slots.committed()) if one is not None]
        if not chosen:
            return Observation(component=self.name, health=Health.ABSENT, reason=NOT_INSTALLED)
        running = running_now(self._product, self._host_boot_id)
        found = next((one for one in chosen if running and one.activation_id == running.activation_id), None)
        if found is None:
            return Observation(component=self.name, health=Health.UNKNOWN, reason=Reason.NOT_STARTED)
        facts = {
            "version": found.version,
            "digest": found.digest,
            "activation_id": found.activation_id or "",
            "target": found.target,
            "slot": found.slot,
        }
        return Observation(component=self.name, health=Health.OK, power_state=PowerState.ONLINE, facts=facts)


def products(config: "UpdateConfig", disk: Disk) -> dict[str, Product]:
    """Set up every product that a configuration names; opens nothing."""
    return {
        product.name: Product(
            kind=product.installer,
            slots=Slots(product.folder.absolute(), disk),
            guard=_guard(product),
            restart=_hook(product.restart, product.restart_s),
            health=_hook(product.health, product.health_s),
        )
        for product in config.products
    }


def begin(
    source: Source,
    products: Mapping[str, Product],
    *,
    host_boot_id: str,
    now_s: Callable[[], float],
    put: Put,
    end_process: Callable[[], None],
) -> Updates:
    """Prepare the threads of one start of the agent."""
    worker = Worker(products, host_boot_id=host_boot_id, now_s=now_s, end_process=end_process)
    return Updates(source, products, worker, put)


def settings(config: "AgentConfig", host_boot_id: str) -> UpdateSettings:
    """Gather what the machine of the job is told."""
    return UpdateSettings(
        interval_s=config.interval_s,
        host_boot_id=host_boot_id,
        products={product.name: _terms(product) for product in config.update.products},
        spread_s=config.update.spread_s,
    )


def _terms(product: "ProductConfig") -> Terms:
    return Terms(
        installer=product.installer,
        busy_s_max=product.busy_s_max,
        start_s=product.start_s,
        confirm_s=product.confirm_s,
        beats=product.heartbeats,
    )


def _guard(product: "ProductConfig") -> Guard:
    if product.guard_lock is not None:
        return LockGuard(product.guard_lock)
    if product.guard_command:
        return CommandGuard(Hook(arguments=product.guard_command, timeout_s=product.guard_s))
    return NoGuard()


def _hook(arguments: tuple[str, ...], timeout_s: float) -> Hook | None:
    return Hook(arguments=arguments, timeout_s=timeout_s) if arguments else None


def _mistaken(asked: Asked, error: Exception) -> Failed:
    """Answer for a mistake of ours, and log where it was made."""
    _logger.error("%s failed", asked.doing, exc_info=error)
    return Failed(job_id=asked.job_id, doing=asked.doing, reason=Reason.AGENT_FAILED, said=repr(error))


def _known(reason: str) -> str:
    """Take the child's word for what went wrong, as far as it is one of ours."""
    return reason if reason in set(FetchReason) else FetchReason.CUT


def _digest(path: Path) -> str:
    """Hash a file that was signed by another digest only."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
