"""The collector as one process: broker, link, engine and web joined, started in order and ended in reverse.

Threads live here and in `mqtt` only: the engine's, the link's, and those in which the web server runs its routes.
Whoever starts it gets `serve.json` in the data directory once it listens: `{"web_url", "pid"}`.

A change violates this when the process can end without saying `offline`, short of being killed.
"""

import fcntl
import json
import logging
import os
import random
import secrets
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from tillwatch_collector import policies, web
from tillwatch_collector.api.context import Activity, Readiness, WebContext
from tillwatch_collector.broker import EmbeddedBroker
from tillwatch_collector.config import BrokerConfig, CollectorConfig, ConfigError, WebConfig
from tillwatch_collector.domain.epoch import SALT_BITS
from tillwatch_collector.engine import Clock, Engine, EngineSettings
from tillwatch_collector.errors import OperatorError, StoreUnavailable
from tillwatch_collector.flows import dispatch, epochs
from tillwatch_collector.flows.judge import JudgeSettings
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.mqtt import BrokerLink, Endpoint
from tillwatch_collector.store.session import Store

SERVE_FILE = "serve.json"
LOCK_FILE = "serve.lock"

ENGINE_STALLED_S = 60.0
"""A round that takes longer hangs; readiness says so."""

ENGINE_STOP_TIMEOUT_S = 20.0
"""The round under way ends first; none takes longer than a transaction may wait."""

_FAILING_WAIT_S_MAX = 15.0

_log = logging.getLogger(__name__)


class DataDirInUse(OperatorError):  # noqa: N818 - it names what is so
    """Another collector works in this data directory."""


class WebAddressTaken(OperatorError):  # noqa: N818
    """The web's address cannot be bound."""


Announce = Callable[[str], None]
"""Told the web's address once it listens."""


def serve(config: CollectorConfig, announce: Announce) -> None:
    """Run all roles until told to stop; raises `OperatorError` where the installation must change."""
    check_tls_files(config.web)
    with ExitStack() as stack:
        stack.enter_context(_data_dir(config.data_dir))
        listener = stack.enter_context(_bound(config.web))
        store = Store.open(config.database_url_used)
        stack.callback(store.close)
        store.migrate()
        collector = Collector(config, store, stack)
        collector.start()
        context = collector.web_context()
        collector.run_web(web.create(context), listener, announce)
    if collector.fatal is not None:
        raise collector.fatal


class Collector:
    """The parts of one running process. What `start` begins, the stack ends in reverse."""

    def __init__(self, config: CollectorConfig, store: Store, stack: ExitStack) -> None:
        self.fatal: OperatorError | None = None
        self._config = config
        self._store = store
        self._stack = stack
        self._metrics = Metrics()
        self._stopping = threading.Event()
        self._server: uvicorn.Server | None = None
        self._started_at = datetime.now(UTC)
        settings = self._engine_settings()
        with store.transaction() as repository:
            self._epoch = epochs.begin(repository, secrets.randbits(SALT_BITS), self._started_at)
        self._broker = self._embedded_broker()
        self._link = self._make_link()
        self._engine = Engine(
            store,
            self._link,
            settings,
            epoch=self._epoch,
            metrics=self._metrics,
            clock=Clock(now=lambda: datetime.now(UTC), monotonic_s=time.monotonic),
        )
        self._engine_thread = threading.Thread(target=self._run_engine, name="engine")

    def start(self) -> None:
        """Start link and engine."""
        self._stack.enter_context(self._link)
        self._engine_thread.start()
        self._stack.callback(self._stop_engine)

    def web_context(self) -> WebContext:
        """Hand over what the routes need."""
        return WebContext(
            store=self._store,
            registry=self._metrics.registry,
            settings=self._config.web,
            now=lambda: datetime.now(UTC),
            readiness=self._readiness,
            activity=self._activity,
        )

    def run_web(self, application: ASGIApp, listener: socket.socket, announce: Announce) -> None:
        """Serve the web in this thread until a signal comes, or the engine gives up."""
        served = self._config.web
        settings = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=served.behind_proxy,
            ssl_certfile=served.tls_cert_file,
            ssl_keyfile=served.tls_key_file,
            timeout_graceful_shutdown=5,
        )
        address = web_url(served, listener)
        self._server = _Server(settings, lambda: self._listens(address, announce))
        if self.fatal is not None:
            return
        with _signals_to(self._server):
            self._server.run(sockets=[listener])

    def _listens(self, address: str, announce: Announce) -> None:
        path = self._config.data_dir / SERVE_FILE
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"web_url": address, "pid": os.getpid()}) + "\n", encoding="utf-8")
        partial.replace(path)
        self._stack.callback(path.unlink, missing_ok=True)
        announce(address)

    # --- parts

    def _embedded_broker(self) -> EmbeddedBroker | None:
        if self._config.broker is not None:
            return None
        port, process = self._config.embedded_broker.port, self._config.process
        broker = EmbeddedBroker(port=port, process=process, data_dir=self._config.data_dir)
        self._stack.enter_context(broker)
        broker.start()
        return broker

    def _make_link(self) -> BrokerLink:
        process = self._config.process
        return BrokerLink(
            self._endpoint(),
            process=process,
            hello=dispatch.announce(process, self._epoch),
            farewell=dispatch.farewell(process, self._epoch),
            rng=random.Random(),  # noqa: S311 - spreads retries, keeps no secret
        )

    def _endpoint(self) -> Endpoint:
        if self._config.broker is not None:
            return endpoint(self._config.broker)
        assert self._broker is not None  # noqa: S101 - without a named broker there is an embedded one
        handover = self._broker.handover
        return Endpoint(
            host=handover.host,
            port=handover.port,
            username=self._config.process,
            password=handover.process_password,
        )

    def _engine_settings(self) -> EngineSettings:
        judge = self._config.judge
        policy = policies.load(judge.policy_file).scaled(judge.hold_scale)
        settings = JudgeSettings(
            holder=self._config.process,
            canary_s=judge.canary_s,
            lost_hold_s=judge.lost_hold_s * judge.hold_scale,
            opening_grace_s=judge.opening_grace_s,
        )
        return EngineSettings(
            process=self._config.process,
            policy=policy,
            judge=settings,
            canary_s=judge.canary_s,
            tick_s=judge.tick_s,
        )

    # --- the engine's thread

    def _run_engine(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self._tend_broker()
                self._engine.round()
            except OperatorError as error:
                self._give_up(error)
                return
            except Exception as error:  # noqa: BLE001 - the outermost loop: said in the log, and tried again
                failures += 1
                self._engine.failed(error)
                self._say_failure(failures, error)
                self._stopping.wait(min(_FAILING_WAIT_S_MAX, 0.25 * 2 ** min(failures, 10)))
            else:
                if failures:
                    _log.info("the engine works again, after %d failures", failures)
                failures = 0

    def _tend_broker(self) -> None:
        if self._broker is not None:
            self._broker.tend()

    def _say_failure(self, failures: int, error: Exception) -> None:
        if failures > 1:
            return
        if isinstance(error, StoreUnavailable):
            _log.error("%s; nothing is acknowledged until it does, terminals hold their events", error)
        else:
            _log.error("the engine failed and tries again", exc_info=error)

    def _give_up(self, error: OperatorError) -> None:
        self.fatal = error
        _log.critical("%s", error)
        if self._server is not None:
            self._server.should_exit = True

    def _stop_engine(self) -> None:
        self._stopping.set()
        self._engine_thread.join(ENGINE_STOP_TIMEOUT_S)
        if self._engine_thread.is_alive():
            _log.error("the engine did not end within %.0f s", ENGINE_STOP_TIMEOUT_S)

    # --- what the web asks

    def _readiness(self) -> Readiness:
        age_s = time.monotonic() - self._engine.round_done_s
        return Readiness(
            checks={
                "database": self._database_answers(),
                "broker": self._link.connected,
                "engine": self._engine_thread.is_alive() and age_s < ENGINE_STALLED_S,
                "listening": self._engine.listening,
            }
        )

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
        return Activity(
            started_at=self._started_at, heartbeats=self._engine.heartbeats, listening=self._engine.listening
        )


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, listens: Callable[[], None]) -> None:
        super().__init__(config)
        self._listens = listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._listens()


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


def check_tls_files(served: WebConfig) -> None:
    """Load the files once before anything starts; raises `ConfigError`, which names them."""
    if served.tls_cert_file is None or served.tls_key_file is None:
        return
    for key, path in (("web.tls_cert_file", served.tls_cert_file), ("web.tls_key_file", served.tls_key_file)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{key}: expected a readable file, got {path}: {error.strerror}") from None
    try:
        # A key under a password would be asked for on the terminal, which a service does not have.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            served.tls_cert_file, served.tls_key_file, password=lambda: b""
        )
    except ssl.SSLError as error:
        raise ConfigError(
            f"web.tls_cert_file, web.tls_key_file: expected a certificate and its key without a password, both in PEM, "
            f"got {served.tls_cert_file} and {served.tls_key_file}: {error.reason or 'they hold something else'}"
        ) from None


def web_url(served: WebConfig, listener: socket.socket) -> str:
    """Name the address at which a browser finds it."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if served.tls else 'http'}://{shown}:{port}"


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"broker.password_file: expected a readable file, got {path}: {error}") from None


@contextmanager
def _data_dir(path: Path) -> Iterator[None]:
    """Make the directory and hold it for this process alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (path / LOCK_FILE).open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"data_dir: expected a directory to write in, got {path}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataDirInUse(f"data_dir: expected one collector in {path}, another one runs there") from None
        yield


@contextmanager
def _bound(served: WebConfig) -> Iterator[socket.socket]:
    """Bind before anything else is started: an address that is taken is the commonest mistake."""
    family = socket.AF_INET6 if ":" in served.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((served.host, served.port))
        except socket.gaierror:
            raise ConfigError(f"web.host: expected an address or a name of this machine, got {served.host!r}") from None
        except OSError as error:
            raise WebAddressTaken(
                f"web.port: expected {served.host}:{served.port} to be free, got: {error.strerror}; "
                f"choose another, 0 for any"
            ) from None
        yield listener


@contextmanager
def _signals_to(server: uvicorn.Server) -> Iterator[None]:
    """End the server on a signal; it raises the signal once more when done, and our handler lets the clean-up go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
