"""The agent beside a till: threads around one core.

One thread per probe looks at devices, which may take seconds; the publisher's loop talks to the broker; the main thread
alone owns core and outbox and takes one input at a time from a queue. The queue is bounded by who may put: each probe
has one slot, in which a newer look replaces one that was not taken; the publisher wakes once for all it has.

Whatever hangs is noticed. A probe: its components become stale. The publisher's loop, or a broker that no longer
answers pings: the connection is dropped and built anew. The main thread itself: a watchdog ends the process, and the
service manager starts it again. A disk that takes nothing does not stop the watching: the outbox is then held in
memory.

A job's threads (`updates`) run only while one does, and so does the one that waits for a diagnosis's looks. SIGTERM
and SIGINT stop the agent: the event and the farewell leave first. It stops in the same way, with an exit code of its
own, when another release of itself is to be started, or a collector asks for a restart.
"""

import contextlib
import importlib.metadata
import logging
import os
import queue
import random
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tillwatch_agent import certificates, connection_note, machine
from tillwatch_agent import config as configuration
from tillwatch_agent.checks import with_modem
from tillwatch_agent.core import (
    ConnectionLost,
    Core,
    CoreSettings,
    Examine,
    Examined,
    Forget,
    Input,
    Observed,
    RestartAgent,
    Stop,
    Tick,
    Work,
    Worked,
)
from tillwatch_agent.diagnosis import Verdict, judge
from tillwatch_agent.errors import OperatorError, OutboxCorrupt, OutboxFailed
from tillwatch_agent.health import Observation
from tillwatch_agent.moment import Moment, tellable
from tillwatch_agent.network import NetworkProbe
from tillwatch_agent.outbox import MEMORY, Outbox
from tillwatch_agent.plug_watch import PlugWatch
from tillwatch_agent.probes import lines
from tillwatch_agent.publisher import Broker, Loop, Publisher
from tillwatch_agent.session import Phase

if TYPE_CHECKING:
    from tillwatch_agent.config import AgentConfig, BrokerConfig
    from tillwatch_agent.jobs import Jobs
    from tillwatch_agent.probes import Probe
    from tillwatch_agent.updates import Updates

OUTBOX_FILE = "outbox.db"

TURN_S_MAX = 5.0
"""The main thread turns at least so often: it looks after the publisher, and the watchdog sees it alive."""

STUCK_AFTER_S = 60.0
"""A turn is some milliseconds of work and a commit; a minute means a dead disk or a mistake of ours."""

QUIET_KEEPALIVES = 3
"""A broker answers a ping within one keep-alive; paho gives up after two; after three paho has not."""

FIRST_POLL_S_MAX = 2.0
"""Devices of one till are first asked spread over this, not all at once while it boots."""

POLL_GAP_S = 0.2
"""Between two polls of one device at least, however long one took."""

PROBE_STOP_S = 2.0
"""How long to wait for probes to close their devices; a probe that hangs is left to the end of the process."""

SLOW_POLL_S = 30.0
"""How long one look may take, beyond its period, before its components count as not looked at."""

EXAMINATION_S_MAX = 45.0
"""How long a diagnosis waits for its looks: the one under way may have to end first, and each takes at most 20 s."""

EXIT_STUCK = 70
EXIT_OUTBOX = 74
EXIT_RESTART = 75
"""As in sysexits.h: a mistake of the software; an error of input or output; try again, so that the launcher starts
another release of the agent, or whoever supervises it the same one."""

_logger = logging.getLogger(__name__)


def run(config: "AgentConfig", probes: "Sequence[Probe]", outbox: Outbox | None = None) -> int:
    """Watch until told to stop; the process's exit code. Raises `OperatorError` when it cannot begin."""
    runtime = Runtime(config, probes, outbox=outbox)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runtime.put(Stop()))
    return runtime.run()


def core_settings(config: "AgentConfig", probes: "Sequence[Probe]") -> CoreSettings:
    """Gather what a core is told: freshness leaves the slowest probe room for two looks that came late."""
    slowest_s = max((probe.poll_s for probe in probes), default=0.0)
    return CoreSettings(
        terminal_id=config.terminal_id,
        interval_s=config.interval_s,
        agent_version=importlib.metadata.version("tillwatch-agent"),
        host_boot_id=machine.host_boot_id(),
        stale_after_s=max(3.0 * config.interval_s, 3 * slowest_s + SLOW_POLL_S),
        components=config.components,
        lines=lines(config),
    )


def now() -> Moment:
    """Read both clocks."""
    return Moment(monotonic_s=time.monotonic(), at=tellable(datetime.now(UTC)))


def broker(config: "BrokerConfig") -> Broker:
    """Read what the connection needs from its files; raises `OperatorError`."""
    # What is wrong with the files is told now, not by each connection.
    if config.ca_file:
        _tls(config)
    password_file = config.password_file
    if password_file:
        configuration.read_secret(password_file)
    return Broker(
        host=config.host,
        port=config.port,
        keepalive_s=config.keepalive_s,
        username=config.username,
        password=partial(configuration.read_secret, password_file) if password_file else None,
        tls=partial(_tls, config) if config.ca_file else None,
        tls_timeless=(lambda: certificates.timeless(_tls(config))) if config.ca_file else None,
    )


def _tls(config: "BrokerConfig") -> ssl.SSLContext:
    """Read the files as they are now, each by itself, so that the wrong one is named; raises `OperatorError`."""
    with _telling("ca_file", config.ca_file, "certificates in PEM"):
        context = ssl.create_default_context(cafile=config.ca_file)
    if config.cert_file:
        with _telling("cert_file", config.cert_file, "a certificate in PEM"):
            ssl.create_default_context(cafile=config.cert_file)
        with _telling("key_file", config.key_file, "the key of cert_file in PEM, without a password"):
            context.load_cert_chain(config.cert_file, config.key_file, password="")
    return context


@contextlib.contextmanager
def _telling(key: str, path: Path | None, expected: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # an SSLError is one
        raise OperatorError(f"broker.{key}: expected {expected}, got {path}: {error.strerror or error}") from None


class Runtime:
    """The threads around one core; `run` is the main thread's."""

    def __init__(
        self,
        config: "AgentConfig",
        probes: "Sequence[Probe]",
        *,
        outbox: Outbox | None = None,
        end_process: Callable[[int], None] = os._exit,
        clocks: Callable[[], Moment] = now,
    ) -> None:
        """Open the outbox, unless one is given, and prepare all threads; raises `OperatorError`."""
        self._clocks = clocks
        self._terminal_id = config.terminal_id
        self._state_dir = config.state_dir
        self._noted: tuple[bool, str | None] | None = None
        self._broker = broker(config.broker)
        self._queue: queue.SimpleQueue[Input | _Watch | _Wake] = queue.SimpleQueue()
        self._outbox = alone(config) if outbox is None else outbox
        self._exit_code = 0
        settings = core_settings(config, probes)
        self._updates, jobs = self._update_threads(config, settings)
        self._core = Core(settings, self._outbox, random.SystemRandom(), clocks(), jobs)
        self._network = next((probe for probe in probes if isinstance(probe, NetworkProbe)), None)
        self._modem = config.modem.components[0] if config.modem else None
        self._watches = [_Watch(probe, self._queue.put) for probe in probes]
        self._watchdog = Watchdog(end_process)
        self._plugs = [PlugWatch(self._plugged)] if any(probe.hangs_on_plug for probe in probes) else []
        self._woken = False
        self._loop, self._publisher = self._way_out()

    def put(self, said: Input) -> None:
        """Hand an input in; from any thread and from signal handlers."""
        self._queue.put(said)

    def run(self) -> int:
        """Turn until stopped; the process's exit code."""
        for thread in (*self._watches, self._watchdog, *self._plugs):
            thread.start()
        try:
            self._turn_until_stopped()
        except OutboxCorrupt as corrupt:
            _logger.critical("the outbox broke; the next start sets it aside: %s", corrupt)
            return EXIT_OUTBOX
        finally:
            self._close()
        return self._exit_code

    def _turn_until_stopped(self) -> None:
        self._give(Tick())
        stopped = False
        while not stopped:
            self._watchdog.turned()
            for said in self._next():
                self._give(said)
                stopped = stopped or isinstance(said, Stop)
            self._look_after_publisher()
            self._note_connection()

    def _note_connection(self) -> None:
        """Say for a doctor how the connection stands, when it turned."""
        stands = self._core.phase is Phase.ONLINE, self._publisher.failure
        if stands != self._noted:
            self._noted = stands
            is_online, failure = stands
            connection_note.write(self._state_dir, is_online=is_online, since=self._clocks().at, failure=failure)

    def _next(self) -> Iterable[Input]:
        """Wait for what comes next, at most until something is due."""
        try:
            came = self._queue.get(timeout=min(self._core.next_due_s(self._clocks()), TURN_S_MAX))
        except queue.Empty:
            return [Tick()]
        if isinstance(came, _Watch):
            return [Observed(came.take())]
        if isinstance(came, _Wake):
            self._woken = False
            return self._publisher.take()
        return [came]

    def _give(self, said: Input) -> None:
        for effect in self._core.handle(said, self._clocks()):
            match effect:
                case Forget():
                    for watch in self._watches:
                        watch.forget()
                case Examine():
                    self._examine(effect.command_id)
                case RestartAgent():
                    self._restart()
                case Work():
                    if self._updates is not None:
                        self._updates.carry_out(effect.effect, effect.told_at)
                case _:
                    self._publisher.carry_out(effect)

    def _plugged(self) -> None:
        """Have all that hangs on a plug looked at now; from any thread."""
        for watch in self._watches:
            if watch.hangs_on_plug:
                watch.hurry()

    def _examine(self, command_id: str) -> None:
        """Have every probe look now; what it all means is handed in when they have, or time is over."""

        def waited() -> None:
            asked = [(watch, watch.hurry()) for watch in self._watches]
            deadline_s = time.monotonic() + EXAMINATION_S_MAX
            for watch, look_no in asked:
                watch.wait_for(look_no, max(deadline_s - time.monotonic(), 0))
            self.put(Examined(command_id, self._way_out_seen()))

        threading.Thread(target=waited, name="examination", daemon=True).start()

    def _way_out_seen(self) -> Verdict | None:
        """Judge the newest evidence of the way out; None where it is not watched, or was never looked at."""
        seen = self._network.seen if self._network else None
        looks = (look for watch in self._watches for look in watch.seen)
        return judge(with_modem(seen, looks, self._modem)) if seen else None

    def _update_threads(self, config: "AgentConfig", settings: CoreSettings) -> "tuple[Updates | None, Jobs | None]":
        """Prepare what takes jobs; nothing where no product is set up."""
        if not config.update.products:
            return None, None
        from tillwatch_agent import jobs, updates  # noqa: PLC0415 - not in memory where no job is ever taken
        from tillwatch_agent.installer.disk import Disk  # noqa: PLC0415 - as above

        source = updates.Source(
            config=config.update, folder=config.state_dir / updates.UPDATE_FOLDER, agent_version=settings.agent_version
        )
        disk = Disk()
        threads = updates.begin(
            source,
            updates.products(config.update, disk),
            host_boot_id=settings.host_boot_id,
            now_s=lambda: self._clocks().monotonic_s,
            put=lambda result: self.put(Worked(result)),
            end_process=self._restart,
        )
        store = updates.JobFile(source.folder / updates.JOB_FILE, disk)
        told = updates.settings(config, settings.host_boot_id)
        return threads, jobs.Jobs(told, store, random.SystemRandom(), self._clocks())

    def _restart(self) -> None:
        """Stop, so that the launcher, or whoever supervises it, starts it again; from any thread."""
        self._exit_code = EXIT_RESTART
        self.put(Stop())

    def _look_after_publisher(self) -> None:
        quiet_s = self._publisher.quiet_s
        if not self._loop.alive:
            _logger.error("the publisher's loop died; it is built anew")
            self._loop.stop()
            self._loop, self._publisher = self._way_out()
        elif quiet_s > QUIET_KEEPALIVES * self._broker.keepalive_s:
            _logger.warning("nothing heard of the broker for %.0f s; the connection is dropped", quiet_s)
            self._publisher.abandon()
        else:
            return
        self._give(ConnectionLost())

    def _way_out(self) -> tuple[Loop, Publisher]:
        loop = Loop()
        loop.start()
        return loop, Publisher(loop, self._broker, self._terminal_id, self._wake)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._queue.put(_Wake())

    def _close(self) -> None:
        self._watchdog.stop()
        if self._updates is not None:
            self._updates.stop()
        for watch in self._watches:
            watch.stop()
        for plugs in self._plugs:
            plugs.stop()
        self._loop.stop()
        deadline_s = time.monotonic() + PROBE_STOP_S
        for watch in self._watches:
            watch.join(max(deadline_s - time.monotonic(), 0))
        self._outbox.close()


@dataclass(frozen=True, slots=True)
class _Wake:
    """The publisher has something to take."""


class _Watch(threading.Thread):
    """Polls one probe; the newest look waits in its slot. Looks are counted from 1."""

    def __init__(self, probe: "Probe", put: Callable[["_Watch"], None]) -> None:
        super().__init__(name=f"probe-{probe.name}", daemon=True)
        self.seen: tuple[Observation, ...] = ()
        """What the newest look gave."""
        self.hangs_on_plug = probe.hangs_on_plug
        self._probe = probe
        self._put = put
        self._ended = threading.Event()
        self._hurried = threading.Event()
        self._lock = threading.Lock()
        self._looked = threading.Condition()
        self._begun = self._done = 0
        self._slot: tuple[Observation, ...] | None = None
        self._to_forget = False
        self._fails = False

    def take(self) -> tuple[Observation, ...]:
        """Empty the slot."""
        with self._lock:
            slot, self._slot = self._slot, None
        return slot or ()

    def forget(self) -> None:
        """Have the probe forget, and look anew."""
        self._to_forget = True
        self._hurried.set()

    def hurry(self) -> int:
        """Have the probe look now; return the number of the next look."""
        with self._looked:
            self._hurried.set()
            return self._begun + 1

    def wait_for(self, look_no: int, timeout_s: float) -> None:
        """Wait until a look is over."""
        with self._looked:
            self._looked.wait_for(lambda: self._done >= look_no, timeout_s)

    def stop(self) -> None:
        """End after the poll that runs."""
        self._ended.set()
        self._hurried.set()

    def run(self) -> None:
        self._hurried.wait(random.uniform(0, min(self._probe.poll_s, FIRST_POLL_S_MAX)))  # noqa: S311 - spreads only
        while not self._ended.is_set():
            began_s = time.monotonic()
            self._look()
            if not self._ended.wait(POLL_GAP_S):
                self._hurried.wait(max(began_s + self._probe.poll_s - time.monotonic(), 0))
        self._probe.close()

    def _look(self) -> None:
        with self._looked:
            self._hurried.clear()
            self._begun += 1
        self._poll()
        with self._looked:
            self._done = self._begun
            self._looked.notify_all()

    def _poll(self) -> None:
        try:
            if self._to_forget:
                self._to_forget = False
                self._probe.forget()
            observations = self._probe.poll()
        except Exception as error:  # noqa: BLE001 - the outermost loop of its thread
            self._failed(error)
            return
        self._fails = False
        self.seen = observations
        with self._lock:
            untaken, self._slot = self._slot is not None, observations
        if not untaken:
            self._put(self)

    def _failed(self, error: Exception) -> None:
        if not self._fails:
            _logger.error("probe %s fails; its components become stale", self._probe.name, exc_info=error)
        self._fails = True


class Watchdog(threading.Thread):
    """Ends the process when the main thread has not turned for too long."""

    def __init__(self, end_process: Callable[[int], None], *, stuck_after_s: float = STUCK_AFTER_S) -> None:
        """Prepare it; the main thread says `turned`."""
        super().__init__(name="watchdog", daemon=True)
        self._end_process = end_process
        self._stuck_after_s = stuck_after_s
        self._turned_at_s = time.monotonic()
        self._ended = threading.Event()

    def turned(self) -> None:
        """Take note that the main thread lives."""
        self._turned_at_s = time.monotonic()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()

    def run(self) -> None:
        """Look several times within the limit."""
        while not self._ended.wait(self._stuck_after_s / 10):
            if time.monotonic() - self._turned_at_s > self._stuck_after_s:
                _logger.critical("the main thread has not turned for %.0f s: the process ends", self._stuck_after_s)
                self._end_process(EXIT_STUCK)
                return


def alone(config: "AgentConfig") -> Outbox:
    """Open the outbox, which one agent has at a time; raises `OutboxBusy`.

    One that the disk does not take is held in memory: watching goes on, under a new stream.
    """
    try:
        return Outbox.open(config.state_dir / OUTBOX_FILE)
    except OutboxFailed as failure:
        _logger.error(  # noqa: TRY400 - the disk's word is enough, where it came from is known
            "state_dir cannot be used: events are held in memory and will not survive this start: %s", failure
        )
        return Outbox.open(MEMORY)
