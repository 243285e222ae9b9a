"""What is due leaves after the commit, and what came of it is noted, counted and said once."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.collector import receivers
from tests.collector.databases import rows
from tests.collector.receivers import Web
from tests.collector.shell_fixtures import NOW, describe
from tests.live.stack import until

from tillwatch_collector import policies, routing
from tillwatch_collector.courier import REMIND_S, Courier, Sender
from tillwatch_collector.domain.delivery import DELIVERED, Outcome
from tillwatch_collector.domain.notification import Route, Routes
from tillwatch_collector.domain.ticket import TicketIdentity
from tillwatch_collector.flows import notices, tickets
from tillwatch_collector.flows.changes import MACHINE, Why
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.notifiers import Letter, Notifier
from tillwatch_collector.store.session import Store

WHY = Why(actor=MACHINE, reason="it lasted", evidence={})


class Post:
    """Takes letters, as it is told to."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, str]] = []
        self.breaks = False

    def send(self, route: Route, letter: Letter, _now: object) -> Outcome:
        if self.breaks:
            raise ZeroDivisionError
        self.letters.append((route.name, letter.message.title))
        return DELIVERED


class Stage:
    """A courier over a store, its clock set by the test."""

    def __init__(self, store: Store, routes: Routes, sender: Sender) -> None:
        self.store, self.routes = store, routes
        self.now = NOW
        self.metrics = Metrics()
        self.courier = Courier(
            store,
            routes,
            routing.styles(routes, None),
            sender=sender,
            metrics=self.metrics,
            now=lambda: self.now,
            jitter=lambda: 0.0,
        )

    def open(self, subject_id: str = "t-1") -> None:
        identity = TicketIdentity(subject_kind="terminal", subject_id=subject_id, component="agent:self", code="silent")
        rule = policies.load(None).rule("silent")
        with self.store.transaction() as repository:
            change = tickets.open_or_recur(repository, identity, rule, WHY, self.now)
            notices.tell(repository, (change,), self.routes, self.now)

    def round(self, after_s: float = 0.0) -> int:
        self.now += timedelta(seconds=after_s)
        return self.courier.round()

    def counted(self, outcome: str, route: str = "ops") -> float:
        return sample(self.metrics.registry, "tillwatch_notifications_total", route=route, outcome=outcome)


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


def route(name: str = "ops", **more: object) -> Route:
    return Route.model_validate({"name": name, "target": {"url_env": "OPS"}, "group_s": 0} | more)


@pytest.fixture
def web() -> Iterator[Web]:
    with receivers.web() as told:
        yield told


@pytest.fixture
def hooked(store: Store, web: Web, tmp_path: Path) -> Iterator[Stage]:
    """A courier whose route is a real webhook."""
    describe(store)
    (tmp_path / "secret").write_bytes(b"0123456789abcdef")
    target = {"webhook": web.url(), "secret_file": tmp_path / "secret"}
    stage = Stage(store, Routes(version=1, route=(route(target=target),)), Notifier({}))
    yield stage
    stage.courier.close()


def test_a_webhook_that_is_away_hears_all_when_it_is_back(
    hooked: Stage, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    web.status = 503
    hooked.open("t-1")
    assert hooked.round() == 1
    assert hooked.round(10) == 1
    hooked.open("t-2")
    assert hooked.round(5) == 0
    web.status = 200
    assert hooked.round(20) == 1
    assert hooked.round() == 1
    assert hooked.round(3600) == 0
    said = [record.getMessage() for record in caplog.records if "route ops" in record.getMessage()]
    assert said == [
        "route ops does not take messages, it is tried again: expected 2xx, got 503",
        "route ops takes messages again",
    ]
    assert (hooked.counted("failed"), hooked.counted("sent"), hooked.counted("given_up")) == (2, 2, 0)
    deliveries = [got.headers["Tillwatch-Delivery"] for got in web.got]
    assert deliveries[0] == deliveries[1] == deliveries[2] != deliveries[3]


def test_nobody_is_there_any_more(hooked: Stage, web: Web) -> None:
    web.status = 410
    hooked.open()
    hooked.round()
    assert hooked.counted("given_up") == 1
    assert rows(hooked.store, "SELECT state, error FROM notification") == [("given_up", "410 Gone")]


def test_a_receiver_that_asks_for_time_gets_it(hooked: Stage, web: Web) -> None:
    web.status, web.headers = 429, {"Retry-After": "120"}
    hooked.open()
    hooked.round()
    web.status = 200
    assert hooked.round(119) == 0
    assert hooked.round(1) == 1


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def posted(store: Store, post: Post) -> Iterator[Stage]:
    describe(store)
    stage = Stage(store, Routes(version=1, route=(route("a", repeat_s=3600), route("b"))), post)
    yield stage
    stage.courier.close()


def test_what_waits_is_shown(posted: Stage) -> None:
    posted.open()
    posted.round()
    assert sample(posted.metrics.registry, "tillwatch_notifications_due") == 2
    posted.round()
    assert sample(posted.metrics.registry, "tillwatch_notifications_due") == 0


def test_an_error_of_our_own_is_said_and_tried_again(
    posted: Stage, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    post.breaks = True
    posted.open()
    posted.round()
    assert posted.counted("failed", "a") == posted.counted("failed", "b") == 1
    assert any(record.exc_info for record in caplog.records)
    post.breaks = False
    posted.round(10)
    assert [name for name, _ in post.letters] == ["a", "b"]


def test_reminders_are_looked_for_once_a_minute(posted: Stage, post: Post) -> None:
    posted.open()
    posted.round()
    posted.round(3600)
    assert post.letters[-1] == ("a", "still open (critical): Terminal is silent")
    assert REMIND_S < 600


def test_the_message_of_a_route_that_is_no_more_is_given_up(posted: Stage, post: Post) -> None:
    posted.open()
    posted.courier.close()
    other = Stage(posted.store, Routes(version=1, route=(route("b"),)), post)
    other.round()
    other.courier.close()
    assert [name for name, _ in post.letters] == ["b"]
    assert other.counted("given_up", "a") == 1


def test_the_thread_sends_what_is_due_and_ends(posted: Stage, post: Post) -> None:
    posted.open()
    with posted.courier:
        until(lambda: len(post.letters) == 2, "both routes are told")
    assert "courier" not in {thread.name for thread in threading.enumerate()}
