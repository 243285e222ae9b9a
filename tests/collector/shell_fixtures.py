"""A web application over a database in memory, with a clock that is set, and tokens of every scope."""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from tillwatch_collector import policies, tokens
from tillwatch_collector import web as web_application
from tillwatch_collector.api.context import Activity, Readiness, WebContext
from tillwatch_collector.config import CollectorConfig, WebConfig
from tillwatch_collector.console import cookies, csrf
from tillwatch_collector.desk import Desk
from tillwatch_collector.domain.inventory import Merchant, Store, Terminal
from tillwatch_collector.domain.permission import EVERYWHERE, Role, Within
from tillwatch_collector.domain.person import Person
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.flows.judge import Judge, JudgeSettings
from tillwatch_collector.releases import Shelf
from tillwatch_collector.store.inventory import Inventory, Token, Tokens
from tillwatch_collector.store.people import Session
from tillwatch_collector.store.session import Store as Database
from tillwatch_collector.tokens import Scope
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Event, EventBatch, SeqRange
from tillwatch_protocol.heartbeat import Connection, Heartbeat
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import Health

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ORIGIN = "http://127.0.0.1:8080"


@dataclass(kw_only=True)
class Web:
    """The web part of a collector, and what a test may turn."""

    database: Database
    now: datetime = NOW
    ready: dict[str, bool] = field(default_factory=lambda: {"database": True})
    listening: bool = True
    settings: WebConfig = field(default_factory=WebConfig)
    releases: Shelf | None = None

    @property
    def context(self) -> WebContext:
        return WebContext(
            store=self.database,
            desk=Desk(store=self.database, policy=policies.load(None)),
            registry=CollectorRegistry(),
            settings=self.settings,
            now=lambda: self.now,
            readiness=lambda: Readiness(checks=self.ready),
            activity=lambda: Activity(started_at=NOW, heartbeats=7, listening=self.listening),
            releases=self.releases,
        )

    @cached_property
    def application(self) -> ASGIApp:
        return web_application.create(self.context)

    @property
    def routes(self) -> FastAPI:
        return web_application.routes(self.context)

    def secret(self, *scopes: Scope, expires_at: datetime | None = None, within: Within = EVERYWHERE) -> str:
        secret = tokens.new_secret()
        fingerprint = tokens.fingerprint(secret)
        assert fingerprint is not None
        token = Token(
            token_id=tokens.new_token_id(),
            name="test",
            scopes=scopes,
            created_at=NOW,
            expires_at=expires_at,
            revoked_at=None,
            within=within,
        )
        with self.database.transaction() as repository:
            Tokens(repository.connection).add(token, fingerprint)
        return secret

    def client(self, *scopes: Scope, within: Within = EVERYWHERE, **headers: str) -> TestClient:
        """A caller with a token of these scopes; without any, without a token."""
        authorization = {"Authorization": f"Bearer {self.secret(*scopes, within=within)}"} if scopes else {}
        return TestClient(
            self.application, base_url=ORIGIN, headers=authorization | headers, follow_redirects=False, cookies={}
        )

    def visitor(
        self, role: Role = Role.ADMIN, *, within: Within = EVERYWHERE, person_id: str = "", language: str = "en"
    ) -> TestClient:
        """A browser in which a person of this role is signed in, and whose requests carry the token of a form."""
        secret = self.session(role, within=within, person_id=person_id, language=language)
        headers = {"Origin": ORIGIN, csrf.HEADER: csrf.issue(csrf.key_of(secret))}
        cookie = {cookies.session_name(self.settings): secret}
        return TestClient(self.application, base_url=ORIGIN, headers=headers, follow_redirects=False, cookies=cookie)

    def session(self, role: Role, *, within: Within = EVERYWHERE, person_id: str = "", language: str = "en") -> str:
        """Sign a person in, without a password; returns the session's secret."""
        secret = secrets.token_urlsafe(32)
        person = Person(person_id=person_id or f"{role}-{secrets.token_hex(3)}", name="Ann", role=role, within=within)
        with self.database.transaction() as repository:
            repository.people.add(person, None, self.now)
            repository.people.set_language(person.person_id, language)
            session = Session(
                session_id=secrets.token_hex(8),
                person_id=person.person_id,
                started_at=self.now,
                seen_at=self.now,
                address="127.0.0.1",
                user_agent="a test",
            )
            repository.people.begin(session, hashlib.sha256(secret.encode()).hexdigest())
        return secret


def describe(database: Database) -> None:
    """Two stores of one merchant, three terminals, one of them unassigned."""
    with database.transaction() as repository:
        inventory = Inventory(repository.connection)
        inventory.put_merchant(Merchant(merchant_id="m-1", name="Noodle House"), NOW)
        for store_id, region in (("s-1", "east"), ("s-2", "west")):
            store = Store(
                store_id=store_id,
                merchant_id="m-1",
                name=f"Shop {store_id}",
                region=region,
                time_zone="Asia/Shanghai",
            )
            inventory.put_store(store, NOW)
        inventory.put_terminal(Terminal(terminal_id="t-1", store_id="s-1", brand="Epson"), NOW)
        inventory.put_terminal(Terminal(terminal_id="t-2", store_id="s-2"), NOW)
        inventory.put_terminal(Terminal(terminal_id="t-3"), NOW)


STREAM = "0" * 32
TOLD_S = 300
"""Virtual seconds before `NOW` in which `tell` lets the terminals speak."""


def tell(database: Database) -> None:
    """Terminals speak, through ingest and judge: t-1's cover was opened and closed, t-2 has no paper, t-3 is silent."""
    policy = policies.load(None).scaled(0.01)
    began_at = NOW - timedelta(seconds=TOLD_S)
    with database.transaction() as repository:
        judge = Judge.load(repository, policy, JudgeSettings(), began_at)
    judge.listening = judge.listening.broker_connected(began_at)
    for passed_s in range(0, TOLD_S + 1, 5):
        at = began_at + timedelta(seconds=passed_s)
        judge.listening = judge.listening.canary_returned(at, at)
        said = list(_said(passed_s, at)) if passed_s % 10 == 0 else []
        with database.transaction() as repository:
            ingest(repository, said, at)
            judge.tick(repository, at)


def _said(passed_s: int, at: datetime) -> Iterator[Delivery]:
    yield _heard(
        topics.HEARTBEAT, _heartbeat("t-1", passed_s, at, "cover_open" if passed_s in range(20, 60) else None), at
    )
    yield _heard(topics.HEARTBEAT, _heartbeat("t-2", passed_s, at, "paper_end" if passed_s >= 100 else None), at)
    if passed_s < 200:
        yield _heard(topics.HEARTBEAT, _heartbeat("t-3", passed_s, at, None), at)
    if passed_s == 100:
        yield _heard(topics.EVENTS, _events(Event(event_seq=1, boot_epoch=1, kind="started", happened_at=at)), at)
        dropped = (SeqRange(first=2, last=3),)
        declared = Event(event_seq=5, boot_epoch=1, kind="dropped", happened_at=at, dropped=dropped)
        yield _heard(topics.EVENTS, _events(declared, oldest_seq=5), at)
        yield Delivery(topic=topics.HEARTBEAT.of("t-2"), payload=b"{,}", retained=False, received_at=at)


def _heard(topic: topics.Topic, message: Heartbeat | EventBatch, at: datetime) -> Delivery:
    return Delivery(topic=topic.of(message.terminal_id), payload=codec.encode(message), retained=False, received_at=at)


def _heartbeat(terminal_id: str, passed_s: int, at: datetime, code: str | None) -> Heartbeat:
    conditions = () if code is None else (Condition(code=code, since=at),)
    printer = Reading(
        component="pos_printer:kitchen",
        health=Health.OK if code is None else Health.FAULT,
        conditions=conditions,
        measures={},
        facts={},
    )
    return Heartbeat(
        terminal_id=terminal_id,
        connection=Connection(stream_id=STREAM, boot_epoch=1, connection_no=1),
        beat_no=passed_s + 1,
        interval_s=10,
        event_seq_last=5 if terminal_id == "t-2" and passed_s >= 100 else 0,
        sent_at=at,
        host_boot_id="boot-1",
        agent_version="0.1.0",
        components=(printer,),
    )


def _events(*events: Event, oldest_seq: int = 1) -> EventBatch:
    return EventBatch(terminal_id="t-2", stream_id=STREAM, oldest_seq=oldest_seq, events=events)


def beat(no: int, at: datetime, *, epoch_seen: int = 0, terminal_id: str = "t-1") -> Heartbeat:
    return Heartbeat(
        terminal_id=terminal_id,
        connection=Connection(stream_id=STREAM, boot_epoch=1, connection_no=1),
        beat_no=no,
        interval_s=10,
        event_seq_last=0,
        sent_at=at,
        host_boot_id="boot-1",
        agent_version="0.1.0",
        collector_epoch_seen=epoch_seen,
    )


def events(seq: int, at: datetime) -> EventBatch:
    event = Event(event_seq=seq, boot_epoch=1, kind="started", happened_at=at)
    return EventBatch(terminal_id="t-1", stream_id=STREAM, oldest_seq=1, events=(event,))


def settings(tmp_path: Path, **changes: Any) -> CollectorConfig:
    return CollectorConfig.model_validate({"data_dir": tmp_path, "web": WebConfig(port=0)} | changes)
