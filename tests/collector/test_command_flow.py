"""Commands from asking to answer: the flow on both databases, the API, the command line."""

import json
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.collector.databases import rows
from tests.collector.shell_fixtures import NOW, STREAM, Web, describe

from tillwatch_collector.__main__ import main
from tillwatch_collector.domain.command import ANSWER_S, ASKED_MAX, LIFETIME_S, SAID_AGAIN_S, WAITING_MAX, Why
from tillwatch_collector.domain.command import CommandRefused as Refused
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.flows import commands, dispatch
from tillwatch_collector.flows.commands import Asker
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.store.audit import AuditFilter
from tillwatch_collector.store.command_queries import CommandQueries
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.views import CommandView
from tillwatch_collector.tokens import Scope
from tillwatch_protocol import codec, topics
from tillwatch_protocol.command import Command, CommandKind, CommandReport, Diagnosis, Finding
from tillwatch_protocol.event import Event, EventBatch, EventKind

ANN = Asker(actor="person:ann")
KIND = CommandKind.DIAGNOSE
URL = "/api/v1/terminals/t-1/commands"


@pytest.fixture
def described(store: Store) -> Store:
    describe(store)
    return store


def ask(
    store: Store, terminal_id: str = "t-1", *, by: Asker = ANN, kind: CommandKind = KIND, after_s: float = 0
) -> str:
    with store.transaction() as repository:
        return commands.ask(repository, terminal_id, kind, by, NOW + timedelta(seconds=after_s))


def turn(store: Store, after_s: float) -> list[Command]:
    with store.transaction() as repository:
        return commands.take_turn(repository, NOW + timedelta(seconds=after_s))


def answer(
    store: Store,
    command_id: str,
    *,
    terminal_id: str = "t-1",
    after_s: float = 0,
    reason: str | None = None,
    seq: int = 1,
) -> None:
    found = Finding(name="gateway", outcome="failed", codes=("gateway_unreachable",), found="4111 1111 1111 1111")
    diagnosis = None if reason else Diagnosis(failing="gateway_unreachable", confidence="proved", findings=(found,))
    event = Event(
        event_seq=seq,
        boot_epoch=1,
        kind=EventKind.COMMAND_REFUSED if reason else EventKind.COMMAND_DONE,
        happened_at=NOW,
        command=CommandReport(command_id=command_id, kind=KIND, reason=reason, diagnosis=diagnosis),
    )
    batch = EventBatch(terminal_id=terminal_id, stream_id=STREAM, oldest_seq=1, events=(event,))
    at = NOW + timedelta(seconds=after_s)
    topic = topics.EVENTS.of(terminal_id)
    with store.transaction() as repository:
        ingest(repository, [Delivery(topic=topic, payload=codec.encode(batch), retained=False, received_at=at)], at)


def shown(store: Store, command_id: str, terminal_id: str = "t-1") -> CommandView:
    with store.reading() as connection:
        found = CommandQueries(connection).one(terminal_id, command_id)
    assert found is not None
    return found


# --- the flow


def test_a_command_is_written_with_its_line_in_the_audit_log_and_then_said(described: Store) -> None:
    command_id = ask(described)
    assert shown(described, command_id).state == "waiting"
    with described.transaction() as repository:
        (line,) = repository.audit.lines(AuditFilter(), 5)
    assert (line.actor, line.action, line.subject, line.detail["kind"]) == (
        "person:ann",
        "command",
        "terminal:t-1",
        "diagnose",
    )
    (message,) = turn(described, 1)
    assert message == Command(terminal_id="t-1", command_id=command_id, kind=KIND, lifetime_s=LIFETIME_S - 1)
    assert shown(described, command_id).state == "sent"
    assert turn(described, 2) == []
    (outgoing,) = dispatch.commands([message])
    assert (outgoing.topic, outgoing.qos, outgoing.retain) == ("tillwatch/v1/t/t-1/dn/commands", 1, False)


def test_it_is_said_again_with_what_is_left_of_its_life_until_it_is_answered(described: Store) -> None:
    command_id = ask(described)
    turn(described, 0)
    (again,) = turn(described, SAID_AGAIN_S)
    assert (again.command_id, again.lifetime_s) == (command_id, LIFETIME_S - SAID_AGAIN_S)
    answer(described, command_id, after_s=20)
    assert turn(described, 45) == []


def test_an_answer_is_kept_with_its_account_scrubbed(described: Store) -> None:
    command_id = ask(described)
    turn(described, 0)
    answer(described, command_id, after_s=20)
    found = shown(described, command_id)
    assert (found.state, found.answered_at, found.reason) == ("done", NOW + timedelta(seconds=20), None)
    assert found.diagnosis is not None
    assert found.diagnosis["failing"] == "gateway_unreachable"
    assert "4111 1111" not in json.dumps(found.diagnosis)


def test_a_refusal_says_why(described: Store) -> None:
    command_id = ask(described)
    answer(described, command_id, reason="job_switching")
    assert (shown(described, command_id).state, shown(described, command_id).reason) == ("refused", "job_switching")


def test_without_an_answer_it_lapses_and_one_that_comes_late_still_counts(described: Store) -> None:
    command_id = ask(described)
    turn(described, 0)
    turn(described, LIFETIME_S + ANSWER_S)
    assert shown(described, command_id).state == "lapsed"
    answer(described, command_id, after_s=1_000)
    assert shown(described, command_id).state == "done"


def test_the_answer_of_another_terminal_changes_nothing(described: Store) -> None:
    command_id = ask(described)
    answer(described, command_id, terminal_id="t-2")
    answer(described, "c-of-another-database")
    assert shown(described, command_id).state == "waiting"
    assert rows(described, "SELECT count(*) FROM event") == [(2,)]


@pytest.mark.parametrize(
    ("by", "terminal_id", "why"),
    [
        # who may not give commands
        (Asker(actor="person:eve", may_command=False), "t-1", Why.NOT_ALLOWED),
        # a terminal that is not there, or stands where the person sees nothing
        (ANN, "t-9", Why.TERMINAL_UNKNOWN),
        (Asker(actor="person:bob", within=Within(store_ids=frozenset({"s-2"}))), "t-1", Why.TERMINAL_UNKNOWN),
    ],
)
def test_who_may_not_ask_is_refused_and_nothing_is_written(
    described: Store, by: Asker, terminal_id: str, why: Why
) -> None:
    with pytest.raises(Refused) as refused:
        ask(described, terminal_id, by=by)
    assert refused.value.why is why
    assert rows(described, "SELECT count(*) FROM command") == [(0,)]
    assert rows(described, "SELECT count(*) FROM audit") == [(0,)]


def test_so_many_wait_for_one_terminal_and_others_have_their_own(described: Store) -> None:
    asked = [ask(described) for _ in range(WAITING_MAX)]
    with pytest.raises(Refused) as refused:
        ask(described)
    assert refused.value.why is Why.TOO_MANY_WAITING
    ask(described, "t-2")
    answer(described, asked[0])
    ask(described)


def test_one_person_asks_so_often_in_a_minute(described: Store) -> None:
    for number in range(ASKED_MAX):
        answer(described, ask(described), seq=number + 1)
    with pytest.raises(Refused) as refused:
        ask(described)
    assert refused.value.why is Why.TOO_OFTEN
    ask(described, by=Asker(actor="person:bob"))
    ask(described, after_s=60)


# --- the API


@pytest.fixture
def api(described: Store) -> TestClient:
    return Web(database=described).client(Scope.READ, Scope.WRITE)


def test_the_api_asks_and_shows(api: TestClient, described: Store) -> None:
    asked = api.post(URL, json={"kind": "diagnose"})
    assert asked.status_code == HTTPStatus.CREATED
    command_id = asked.json()["command_id"]
    assert (asked.json()["state"], asked.json()["asked_by"]) == ("waiting", "token:test")
    turn(described, 0)
    answer(described, command_id)
    assert api.get(f"{URL}/{command_id}").json()["diagnosis"]["confidence"] == "proved"
    page = api.get(URL, params={"limit": 1}).json()
    assert (page["total"], page["items"][0]["state"]) == (1, "done")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        # nothing is executed that is not on the list
        (URL, {"kind": "shell"}, HTTPStatus.UNPROCESSABLE_ENTITY),
        (URL, {"kind": "report", "argument": "-rf"}, HTTPStatus.UNPROCESSABLE_ENTITY),
        (URL, {"kind": "report", "lifetime_s": 3_600}, HTTPStatus.UNPROCESSABLE_ENTITY),
        (URL.replace("t-1", "t-9"), {"kind": "report"}, HTTPStatus.NOT_FOUND),
    ],
)
def test_what_the_api_does_not_take(api: TestClient, path: str, body: dict[str, Any], status: HTTPStatus) -> None:
    assert api.post(path, json=body).status_code == status


def test_too_many_are_told_so(api: TestClient) -> None:
    for _ in range(WAITING_MAX):
        api.post(URL, json={"kind": "report"})
    refused = api.post(URL, json={"kind": "report"})
    assert refused.status_code == HTTPStatus.CONFLICT
    assert "wait for an answer" in refused.json()["detail"]


def test_who_only_reads_asks_for_nothing(described: Store) -> None:
    reader = Web(database=described).client(Scope.READ)
    assert reader.post(URL, json={"kind": "report"}).status_code == HTTPStatus.FORBIDDEN
    assert reader.get(URL).json()["items"] == []
    assert reader.get(URL.replace("t-1", "t-9")).status_code == HTTPStatus.NOT_FOUND
    assert reader.get(f"{URL}/c-none").status_code == HTTPStatus.NOT_FOUND


# --- the command line


@pytest.fixture
def installed(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TILLWATCH_DATABASE_URL", database_url)
    monkeypatch.setenv("TILLWATCH_DATA_DIR", str(tmp_path))
    store = Store.open(database_url)
    store.migrate()
    describe(store)
    return store


def test_the_command_line_asks_without_waiting(installed: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["command", "t-1", "diagnose", "--no-wait", "--by", "person:ann", "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert (asked["kind"], asked["state"], asked["asked_by"]) == ("diagnose", "waiting", "person:ann")
    assert shown(installed, asked["command_id"]).state == "waiting"
    installed.close()


def test_the_command_line_tells_what_was_found(
    installed: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.sleep", lambda _s: answer(installed, _newest(installed)))
    assert main(["command", "t-1", "diagnose"]) == 0
    said = capsys.readouterr().out
    assert "way out: gateway_unreachable (proved)" in said
    assert "gateway_unreachable" in said.splitlines()[-1]
    installed.close()


def test_the_command_line_fails_when_the_terminal_refuses(
    installed: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.sleep", lambda _s: answer(installed, _newest(installed), reason="job_switching"))
    assert main(["command", "t-1", "restart_agent"]) == 1
    assert "was not done: job_switching" in capsys.readouterr().err
    installed.close()


def _newest(store: Store) -> str:
    return str(rows(store, "SELECT command_id FROM command ORDER BY asked_at DESC")[0][0])
