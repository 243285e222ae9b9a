"""One process of the collector, in one of its roles: its parts joined, started in order and ended in reverse.

Threads live here, in `mqtt`, `inbox`, `courier`, `notifiers` and `releases` only: the engine's, the link's, the
courier's, the one that keeps releases current, and those in which the web server runs its routes. All roles but `serve`
name their lock and the file that tells their address after the process, so that several may share a data directory.

A change violates this when a process can end without saying `offline`, short of being killed.
"""

import fcntl
import gc
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tillwatch_collector import credentials, policies, routing, slas, web
from tillwatch_collector.api.context import Activity, Readiness, WebContext
from tillwatch_collector.broker import EmbeddedBroker
from tillwatch_collector.config import BrokerConfig, CollectorConfig, ConfigError
from tillwatch_collector.courier import Courier
from tillwatch_collector.desk import Desk
from tillwatch_collector.domain.outage import NodeKind, OutageSettings
from tillwatch_collector.engine import Clock, Engine, EngineSettings
from tillwatch_collector.errors import OperatorError, StoreUnavailable
from tillwatch_collector.flows import dispatch, epochs, notices
from tillwatch_collector.flows.driving import DrivingSettings
from tillwatch_collector.flows.judge import JudgeSettings, Rules
from tillwatch_collector.hosting import Announce, WebAddressTaken, WebHost, bound, check_tls_files
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.mqtt import BrokerLink, Endpoint
from tillwatch_collector.notifiers import Notifier
from tillwatch_collector.overview import Overview
from tillwatch_collector.releases import Refresher, Shelf
from tillwatch_collector.roles import DUTIES, Role
from tillwatch_collector.store.session import Store
from tillwatch_protocol.process import EPOCH_SALT_BITS

__all__ = ["DataDirInUse", "RolesApartUnsupported", "WebAddressTaken", "data_dir_held", "endpoint", "run", "serve"]

SERVE_FILE = "serve.json"
LOCK_FILE = "serve.lock"

ALIVE_KEEPALIVES = 2
"""A process that has said nothing for so many is held for dead; a broker has given it up after one and a half."""

ALIVE_S_MIN = 20.0
"""It speaks every five seconds, and waits fifteen for a lock."""

UNATTENDED_OF_ALIVE = 3
"""Whose share lies unread for that part of it leaves the broker, before the others stop waiting for its proofs."""

ENGINE_STALLED_S = 60.0
"""A round that takes longer hangs; readiness says so."""

ENGINE_STOP_TIMEOUT_S = 20.0
"""The round under way ends first; none takes longer than a transaction may wait."""

SWEEP_S = 30.0
"""Between two looks for cycles. Python would look in the midst of each batch, whose hundred thousand objects form none:
a third of all CPU. What survives a look (the terminals that are remembered) is not walked over again."""

_FAILING_WAIT_S_MAX = 15.0

_log = logging.getLogger(__name__)


class DataDirInUse(OperatorError):  # noqa: N818 - it names what is so
    """Another collector works in this data directory."""


class RolesApartUnsupported(OperatorError):  # noqa: N818
    """Separate roles need a database that many processes write."""


def serve(config: CollectorConfig, announce: Announce) -> None:
    """Run all roles until told to stop; raises `OperatorError` where the installation must change."""
    run(config, Role.SERVE, announce)


def run(config: CollectorConfig, role: Role, announce: Announce) -> None:
    """Run one role until told to stop; raises `OperatorError` where the installation must change."""
    check_tls_files(config.web)
    process = process_named(config, role)
    with ExitStack() as stack:
        store = stack.enter_context(_opened(config, role))
        if config.broker is not None and DUTIES[role].subscriptions:
            credentials.check(config.broker, process, datetime.now(UTC))
        stack.enter_context(data_dir_held(config.data_dir, _file(role, process, LOCK_FILE)))
        listener = stack.enter_context(bound(config.web))
        store.migrate()
        host = WebHost(config.web, listener, config.data_dir / _file(role, process, SERVE_FILE))
        collector = Collector(config, role, store, stack, give_up=host.end)
        collector.start()
        host.run(web.create(collector.web_context(), pages=DUTIES[role].pages), announce)
    if collector.fatal is not None:
        raise collector.fatal


def process_named(config: CollectorConfig, role: Role) -> str:
    """Name this process; roles alone that share one file of settings are not called alike."""
    if role is Role.SERVE or "process" in config.model_fields_set:
        return config.process
    return f"{role}.1"


class Collector:
    """The parts of one running process but its web. What `start` begins, the stack ends in reverse."""

    def __init__(
        self, config: CollectorConfig, role: Role, store: Store, stack: ExitStack, *, give_up: Callable[[], None]
    ) -> None:
        self.fatal: OperatorError | None = None
        self._config = config
        self._process = process_named(config, role)
        self._duties = DUTIES[role]
        self._store = store
        self._stack = stack
        self._metrics = Metrics()
        self._started_at = datetime.now(UTC)
        self._tell_give_up = give_up
        self._routes = routing.load(config.notify.routes_file)
        judge = _judge_settings(config, self._process)
        self._overview = Overview(
            store=store,
            started_at=self._started_at,
            unproven_s_max=(judge.canaries_missed_max + 1) * judge.canary_s,
            now=lambda: datetime.now(UTC),
        )
        self._works = self._make_works(role, judge) if self._duties.subscriptions else None

    def start(self) -> None:
        """Start link, engine and courier, where this role has them."""
        if self._duties.ticks and self._routes.route:
            self._stack.enter_context(self._courier())
        releases = self._config.releases
        if self._duties.pages and releases.folder is not None and releases.online_key_file is not None:
            refresher = Refresher(releases.folder, releases.online_key_file, now=lambda: datetime.now(UTC))
            self._stack.enter_context(refresher)
        if self._works is not None:
            self._stack.enter_context(self._works)

    def web_context(self) -> WebContext:
        """Hand over what the routes need."""
        return WebContext(
            store=self._store,
            desk=Desk(
                store=self._store,
                policy=policies.load(self._config.judge.policy_file),
                tell=lambda repository, changes, now: notices.tell(repository, changes, self._routes, now),
            ),
            registry=self._metrics.registry,
            settings=self._config.web,
            now=lambda: datetime.now(UTC),
            readiness=self._readiness,
            activity=self._activity,
            releases=Shelf(releases) if (releases := self._config.releases.folder) is not None else None,
        )

    def _make_works(self, role: Role, judge: JudgeSettings) -> "Works":
        config = self._config
        policy = policies.load(config.judge.policy_file).scaled(config.judge.hold_scale)
        keepalive_s = config.broker.keepalive_s if config.broker else 30
        settings = EngineSettings(
            process=self._process,
            role=role,
            policy=policy,
            rules=Rules(
                sla=slas.load(config.sla.file),
                routes=self._routes if self._routes.route else None,
                digest_of=Shelf(folder).digest_of if (folder := config.releases.folder) is not None else None,
            ),
            judge=judge,
            canary_s=judge.canary_s,
            tick_s=config.judge.tick_s,
            history=config.history.enabled,
            retention=config.retained,
            alive_s=max(ALIVE_S_MIN, ALIVE_KEEPALIVES * keepalive_s),
        )
        with self._store.transaction() as repository:
            epoch = epochs.begin(repository, secrets.randbits(EPOCH_SALT_BITS), self._started_at)
        broker = None if config.broker else _embedded_broker(config, self._process, self._stack)
        way = endpoint(config.broker) if config.broker else _way_to(broker, self._process)
        return Works(
            self._store, settings, way, broker=broker, epoch=epoch, metrics=self._metrics, give_up=self._give_up
        )

    def _courier(self) -> Courier:
        """Make what sends; raises `TargetUnusable` where a route's secret is not there."""
        notifier = Notifier()
        for route in self._routes.route:
            notifier.check(route)
        return Courier(
            self._store,
            self._routes,
            routing.styles(self._routes, self._config.notify.base_url),
            sender=notifier,
            metrics=self._metrics,
            now=lambda: datetime.now(UTC),
            jitter=random.random,
        )

    def _give_up(self, error: OperatorError) -> None:
        self.fatal = error
        _log.critical("%s", error)
        self._tell_give_up()

    # --- what the web asks

    def _readiness(self) -> Readiness:
        checks = {"database": self._database_answers()}
        works = self._works
        if works is not None:
            checks |= {"broker": works.connected, "engine": works.alive}
        hears = works.hears if works is not None and self._duties.takes_in else self._overview.listening
        checks["listening"] = _true_of(hears)
        if self._duties.ticks or self._duties.pages:
            checks["tick"] = _true_of(self._overview.ticking)
        return Readiness(checks=checks)

    def _database_answers(self) -> bool:
        """Whether it can be read, and took what was last written: a full disk still reads well."""
        if self._store.writing_fails:
            return False
        try:
            with self._store.reading() as connection:
                connection.exec_driver_sql("SELECT 1")
        except StoreUnavailable:
            return False
        return True

    def _activity(self) -> Activity:
        if self._works is None or not self._duties.takes_in:
            return self._overview.activity()
        return Activity(
            started_at=self._started_at, heartbeats=self._works.engine.heartbeats, listening=self._works.hears()
        )


class Works:
    """Link and engine of one process, and the thread of the engine."""

    def __init__(
        self,
        store: Store,
        settings: EngineSettings,
        way: Endpoint,
        *,
        broker: EmbeddedBroker | None,
        epoch: int,
        metrics: Metrics,
        give_up: Callable[[OperatorError], None],
    ) -> None:
        duties, process = DUTIES[settings.role], settings.process
        self._link = BrokerLink(
            way,
            process=process,
            hello=dispatch.announce(process, epoch),
            farewell=dispatch.farewell(process, epoch),
            rng=random.Random(),  # noqa: S311 - spreads retries, keeps no secret
            subscriptions=duties.subscriptions,
            unattended_s=settings.alive_s / UNATTENDED_OF_ALIVE if duties.shares else None,
        )
        self.engine = Engine(
            store,
            self._link,
            settings,
            epoch=epoch,
            metrics=metrics,
            clock=Clock(now=lambda: datetime.now(UTC), monotonic_s=time.monotonic),
        )
        self._broker = broker
        self._give_up = give_up
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine")

    def __enter__(self) -> None:
        self._link.start()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(ENGINE_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            _log.error("the engine did not end within %.0f s", ENGINE_STOP_TIMEOUT_S)
        else:
            self._end_engine()
        self._link.stop()

    @property
    def connected(self) -> bool:
        """Whether the subscriptions stand."""
        return self._link.connected

    @property
    def alive(self) -> bool:
        """Whether rounds are done."""
        age_s = time.monotonic() - self.engine.round_done_s
        return self._thread.is_alive() and age_s < ENGINE_STALLED_S

    def hears(self) -> bool:
        """Whether this process proves that it hears."""
        return self.engine.listening

    def _run(self) -> None:
        failures, sweep = 0, _Sweep()
        while not self._stopping.is_set():
            try:
                if self._broker is not None:
                    self._broker.tend()
                self.engine.round()
                sweep.work()
            except OperatorError as error:
                self._give_up(error)
                return
            except Exception as error:  # noqa: BLE001 - the outermost loop: said in the log, and tried again
                failures += 1
                self.engine.failed(error)
                _say_failure(failures, error)
                self._stopping.wait(min(_FAILING_WAIT_S_MAX, 0.25 * 2 ** min(failures, 10)))
            else:
                if failures:
                    _log.info("the engine works again, after %d failures", failures)
                failures = 0

    def _end_engine(self) -> None:
        try:
            self.engine.end()
        except StoreUnavailable as error:
            _log.warning("%s; other processes wait for this one until they hold it for dead", error)


def endpoint(broker: BrokerConfig) -> Endpoint:
    """Make an endpoint of the settings; raises `ConfigError` when the password file cannot be read."""
    return Endpoint(
        host=broker.host,
        port=broker.port_used,
        username=broker.username,
        password=_secret(broker.password_file),
        ca_file=broker.ca_file,
        cert_file=broker.cert_file,
        key_file=broker.key_file,
        keepalive_s=broker.keepalive_s,
    )


def _judge_settings(config: CollectorConfig, process: str) -> JudgeSettings:
    judge = config.judge
    return JudgeSettings(
        holder=process,
        canary_s=judge.canary_s,
        lost_hold_s=judge.lost_hold_s * judge.hold_scale,
        opening_grace_s=judge.opening_grace_s,
        closing_grace_s=judge.closing_grace_s,
        outages=OutageSettings(
            hits_min=config.outages.terminals_min,
            share_pct=config.outages.share_pct,
            share_pct_of={NodeKind.FLEET: config.outages.fleet_pct},
            span_s=config.outages.span_s,
        ),
        rollouts=DrivingSettings(look_s=config.rollouts.look_s),
    )


def _embedded_broker(config: CollectorConfig, process: str, stack: ExitStack) -> EmbeddedBroker:
    broker = EmbeddedBroker(port=config.embedded_broker.port, process=process, data_dir=config.data_dir)
    stack.enter_context(broker)
    broker.start()
    return broker


def _way_to(broker: EmbeddedBroker | None, process: str) -> Endpoint:
    assert broker is not None  # noqa: S101 - without a named broker there is an embedded one
    handover = broker.handover
    return Endpoint(host=handover.host, port=handover.port, username=process, password=handover.process_password)


def _say_failure(failures: int, error: Exception) -> None:
    if failures > 1:
        return
    if isinstance(error, StoreUnavailable):
        _log.error("%s; nothing is acknowledged until it does, terminals hold their events", error)
    else:
        _log.error("the engine failed and tries again", exc_info=error)


def _true_of(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except StoreUnavailable:
        return False


class _Sweep:
    """The cycle collector, at our time instead of its own."""

    def __init__(self) -> None:
        gc.disable()
        self._swept_s = float("-inf")

    def work(self) -> None:
        """Collect what is a cycle among the new, if it is time; what stays is held for lasting."""
        if time.monotonic() - self._swept_s >= SWEEP_S:
            gc.collect()
            gc.freeze()
            self._swept_s = time.monotonic()


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"broker.password_file: expected a readable file, got {path}: {error}") from None


def _file(role: Role, process: str, of_serve: str) -> str:
    return of_serve if role is Role.SERVE else f"{process}{Path(of_serve).suffix}"


@contextmanager
def _opened(config: CollectorConfig, role: Role) -> Iterator[Store]:
    """Open the database; raises `RolesApartUnsupported`, or `ConfigError` where processes apart lack a broker."""
    store = Store.open(config.database_url_used)
    try:
        if role is not Role.SERVE and store.one_process:
            raise RolesApartUnsupported(
                f"{role} alone: expected PostgreSQL, got SQLite, which one process writes: it runs all roles in one "
                f'`tillwatch-collector serve`; for roles apart set database_url = "postgresql://..."'
            )
        if role is not Role.SERVE and DUTIES[role].subscriptions and config.broker is None:
            raise ConfigError(f"broker: {role} alone expected the broker that all processes reach, got none")
        yield store
    finally:
        store.close()


@contextmanager
def data_dir_held(path: Path, lock_file: str = LOCK_FILE) -> Iterator[None]:
    """Make the directory and hold it, or a process's name in it, for this process alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (path / lock_file).open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"data_dir: expected a directory to write in, got {path}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = "collector" if lock_file == LOCK_FILE else f"process {Path(lock_file).stem}"
            raise DataDirInUse(f"data_dir: expected one {who} in {path}, another one runs there") from None
        yield
