"""The thread that brings messages to their routes, after the commits that wrote them.

It looks once a second, claims the first message of some routes, sends them at once, and notes what came of each. Only
processes that may tick have one; any number may run beside each other, since a claim is one process's. Who dies after
sending and before noting it has told its route once, and whoever takes over tells it once more: that is the price of
losing nothing.

A change violates this when a message is sent inside a transaction, or a route that hangs holds up the others for longer
than one attempt takes.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from tillwatch_collector.domain.delivery import Outcome, State, Verdict
from tillwatch_collector.domain.message import Style
from tillwatch_collector.domain.notification import Route, Routes
from tillwatch_collector.errors import StoreError
from tillwatch_collector.flows import notices
from tillwatch_collector.flows.notices import Outbound
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.notifiers import Letter
from tillwatch_collector.store.notifications import waiting
from tillwatch_collector.store.session import Store

LOOK_S = 1.0
"""Between two looks for what is due: nobody sees the second, and the database neither."""

SENDS_MAX = 8
"""At once: some services are slow, and a claim is long enough for all of them."""

REMIND_S = 60.0
"""Between two looks for what is to be reminded of, which is asked for in tens of minutes at least."""

STOP_TIMEOUT_S = 15.0
"""The sends under way end first; what they told is noted, and not told again."""

_NO_ROUTE = Outcome(verdict=Verdict.REFUSED, error="there is no such route any more")

_log = logging.getLogger(__name__)


class Sender(Protocol):
    """Sends one message once, from any thread; `notifiers.Notifier` is one."""

    def send(self, route: Route, letter: Letter, now: datetime, /) -> Outcome:
        """Return what came of it."""


class Courier:
    """Sends what is due; a context in which its thread runs."""

    def __init__(
        self,
        store: Store,
        routes: Routes,
        styles: dict[str, Style],
        *,
        sender: Sender,
        metrics: Metrics,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._routes = routes
        self._styles = styles
        self._sender = sender
        self._metrics = metrics
        self._now = now
        self._jitter = jitter
        self._reminds = any(route.repeat_s is not None for route in routes.route)
        self._reminded_at: datetime | None = None
        self._failing: set[str] = set()
        """Routes whose latest attempt failed: said once, and once more when it is over."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier")
        self._senders = ThreadPoolExecutor(SENDS_MAX, thread_name_prefix="courier")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)
        self.close()

    def close(self) -> None:
        """Let the threads go that send."""
        self._senders.shutdown(wait=False)

    def round(self) -> int:
        """Do what is due; returns how many messages were sent or tried. Raises `StoreError`."""
        now = self._now()
        if self._reminds and (self._reminded_at is None or (now - self._reminded_at).total_seconds() >= REMIND_S):
            with self._store.transaction() as repository:
                notices.remind(repository, self._routes, now)
            self._reminded_at = now
        with self._store.reading() as connection:
            count, due = waiting(connection, now)
        self._metrics.notifications_due.set(count)
        return self._send(now) if due else 0

    def _send(self, now: datetime) -> int:
        with self._store.transaction() as repository:
            outbound = notices.take(repository, self._routes, self._styles, now, count_max=SENDS_MAX)
        for one, outcome in zip(outbound, self._senders.map(self._attempt, outbound), strict=True):
            with self._store.transaction() as repository:
                state = notices.settle(repository, one, outcome, self._jitter(), self._now())
            self._say(one, outcome, state)
        return len(outbound)

    def _attempt(self, outbound: Outbound) -> Outcome:
        if outbound.route is None:
            return _NO_ROUTE
        letter = Letter(
            delivery_id=outbound.claimed.notification_id,
            route=outbound.route.name,
            message=outbound.message,
            created_at=outbound.claimed.created_at,
            items=outbound.claimed.items,
        )
        try:
            return self._sender.send(outbound.route, letter, self._now())
        except Exception as error:  # noqa: BLE001 - the outermost of a sending thread: said in the log, and tried again
            _log.error("route %s: sending failed", letter.route, exc_info=error)
            return Outcome(verdict=Verdict.FAILED, error=type(error).__name__)

    def _say(self, outbound: Outbound, outcome: Outcome, state: State) -> None:
        route = outbound.claimed.route
        counted = state if state is not State.DUE else "failed"
        self._metrics.notifications.labels(route, counted).inc()
        if state is State.GIVEN_UP:
            _log.error("route %s: message %d was given up: %s", route, outbound.claimed.notification_id, outcome.error)
        elif outcome.verdict is not Verdict.DELIVERED and route not in self._failing:
            _log.warning("route %s does not take messages, it is tried again: %s", route, outcome.error)
        elif outcome.verdict is Verdict.DELIVERED and route in self._failing:
            _log.info("route %s takes messages again", route)
        (self._failing.discard if outcome.verdict is Verdict.DELIVERED else self._failing.add)(route)

    def _run(self) -> None:
        failing = False
        while not self._stopping.wait(LOOK_S):
            try:
                while self.round() and not self._stopping.is_set():
                    """There may be more: as many routes are due as in a storm."""
            except StoreError as error:
                if not failing:
                    _log.warning("notification waits: %s", error)
                failing = True
            except Exception as error:  # noqa: BLE001 - the outermost loop: said in the log, and tried again
                if not failing:
                    _log.error("notification failed and tries again", exc_info=error)
                failing = True
            else:
                if failing:
                    _log.info("notification works again")
                failing = False
