"""Rollouts by the API: what one would do, what people decide, and how far it is."""

from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.collector.databases import rows
from tests.collector.release_office import Desk
from tests.collector.rollout_estate import CHOSEN, LEFT_OUT, TARGET, estate, office
from tests.collector.rollout_words import SETTINGS
from tests.collector.shell_fixtures import NOW, Web

from tillwatch_collector.domain.choosing import FleetFact
from tillwatch_collector.domain.rollout import Grant, Outcome, RolloutState, actions_of
from tillwatch_collector.releases import Shelf
from tillwatch_collector.store.rollouts import Line
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope
from tillwatch_protocol.job import JobState

URL = "/api/v1/rollouts"
BODY: dict[str, Any] = {"target": TARGET, "select": CHOSEN, "reason": "ticket 12", "settings": SETTINGS}


@pytest.fixture
def signed(tmp_path: Path) -> Desk:
    return office(tmp_path)


@pytest.fixture
def web(store: Store, signed: Desk) -> Web:
    estate(store)
    return Web(database=store, releases=Shelf(signed.folder))


@pytest.fixture
def client(web: Web) -> TestClient:
    return web.client(Scope.ADMIN)


def created(client: TestClient, **changed: Any) -> str:
    answer = client.post(URL, json=BODY | changed)
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    assert answer.headers["Location"] == f"{URL}/{answer.json()['rollout_id']}"
    return str(answer.json()["rollout_id"])


def act(client: TestClient, rollout_id: str, action: str, by: str = "person:ann", **more: Any) -> Any:
    body = {"reason": f"to {action}", **more}
    return client.post(f"{URL}/{rollout_id}/actions/{action}", json=body, headers={"X-Actor": by})


def running(client: TestClient, **changed: Any) -> str:
    rollout_id = created(client, settings=SETTINGS | {"approval": False}, **changed)
    assert act(client, rollout_id, "start").json()["state"] == "running"
    return rollout_id


def came_to(
    web: Web, rollout_id: str, outcome: Outcome, count: int, *, wave: int = 1, wait: str | None = None
) -> list[str]:
    """Let the first of a wave come to something, as a look would write it."""
    with web.database.transaction() as repository:
        kept = repository.rollouts.get(rollout_id)
        opened = replace(kept.rollout, wave=wave, wave_opened_at=NOW)
        repository.rollouts.save(replace(kept, rollout=opened), NOW)
        line = Line(rollout_id=rollout_id, at=NOW, actor="machine:judge", action="open_wave", reason="it is time")
        repository.rollouts.write_journal([line])
        of_wave = [one for one in repository.rollouts.jobs(rollout_id) if one.job.wave == wave][:count]
        state = JobState.FAILED if outcome is Outcome.FAILED else None
        changed = [
            replace(
                one,
                outcome=str(outcome),
                wait=wait,
                job=replace(one.job, grant=Grant.OFFERED, state=state, ended_at=NOW),
            )
            for one in of_wave
        ]
        repository.rollouts.save_jobs(changed)
    return [one.job.terminal_id for one in of_wave]


# --- what is known of the fleet


def test_facts_are_of_the_inventory_and_of_what_terminals_show(web: Web) -> None:
    with web.database.transaction() as repository:
        facts, hours = repository.fleet.facts(), repository.fleet.hours()
    assert [fact.terminal_id for fact in facts][:2] == ["s00-t0", "s00-t1"]
    assert facts[1] == FleetFact(
        terminal_id="s00-t1",
        store_id="s00",
        merchant_id="markt",
        region="east",
        model="A920",
        agent_version="1.0",
        products={"till": "2.0"},
    )
    assert hours["s09"].zone.key == "Asia/Shanghai"


# --- before anything happens


def test_a_plan_says_who_when_and_in_which_wave_and_keeps_nothing(web: Web, client: TestClient) -> None:
    found = client.post(f"{URL}/plan", json=BODY).json()
    assert [(wave["wave"], wave["terminals"], wave["stores"]) for wave in found["waves"]] == [
        (1, 4, 4),
        (2, 10, found["waves"][1]["stores"]),
        (3, 5, found["waves"][2]["stores"]),
    ]
    assert (found["terminals"], found["left_out"]) == (19, {"installed": 1, "not_live": 1})
    planned = found["planned"]["items"]
    assert len(planned) == found["planned"]["total"] == 21
    first = planned[0]
    # It is 20:00 in Shanghai: people leave for an hour.
    assert (first["wave"], first["opens_at"], first["opens_at_store"], first["time_zone"]) == (
        1,
        "2026-11-21T13:00:00Z",
        "2026-11-21 21:00",
        "Asia/Shanghai",
    )
    # The second wave waits until the first has soaked for an hour: it is 22:00 by then.
    assert [wave["opens_at"] for wave in found["waves"]] == [f"2026-11-21T{hour}:00:00Z" for hour in (13, 14, 15)]
    assert {one["terminal_id"]: one["left_out"] for one in planned[19:]} == LEFT_OUT
    page = client.post(f"{URL}/plan", json=BODY, params={"limit": 2, "offset": 18}).json()["planned"]
    assert [one["wave"] for one in page["items"]] == [3, None]
    assert rows(web.database, "SELECT count(*) FROM rollout") == [(0,)]


def test_what_is_created_is_what_was_planned(client: TestClient) -> None:
    planned = client.post(f"{URL}/plan", json=BODY, params={"limit": 500}).json()["planned"]["items"]
    rollout_id = created(client)
    jobs = client.get(f"{URL}/{rollout_id}/jobs", params={"limit": 500}).json()["items"]
    assert {(job["terminal_id"], job["wave"]) for job in jobs} == {
        (one["terminal_id"], one["wave"]) for one in planned if one["wave"]
    }
    left_out = client.get(f"{URL}/{rollout_id}/left-out").json()
    assert {one["terminal_id"]: one["reason"] for one in left_out["items"]} == LEFT_OUT
    assert client.get(f"{URL}/{rollout_id}/left-out", params={"limit": 1, "offset": 1}).json() == left_out | {
        "items": left_out["items"][1:],
        "limit": 1,
        "offset": 1,
    }


# --- what people decide


def test_a_rollout_goes_its_way_by_two_people(client: TestClient) -> None:
    rollout_id = created(client, name="receipts")
    found = client.get(f"{URL}/{rollout_id}").json()
    assert (found["state"], found["name"], found["author"]) == ("draft", "receipts", "token:test")
    assert found["actions"] == ["start", "abort", "clone"]
    way = [
        ("start", "person:ann", "awaiting_approval"),
        ("approve", "person:ann", "running"),
        ("pause", "person:ann", "paused"),
        ("resume", "person:bob", "running"),
        ("abort", "person:bob", "aborted"),
    ]
    for action, actor, state in way:
        answer = act(client, rollout_id, action, actor)
        assert (answer.status_code, answer.json()["state"]) == (HTTPStatus.OK, state)
    journal = client.get(f"{URL}/{rollout_id}/journal", params={"of_jobs": False}).json()["items"]
    assert [(line["action"], line["actor"]) for line in journal] == [
        ("draft", "token:test"),
        *((action, actor) for action, actor, _ in way),
    ]
    assert journal[1]["reason"] == "to start"
    assert client.get(f"{URL}/{rollout_id}").json()["actions"] == ["clone"]


def test_nobody_approves_what_they_planned(client: TestClient) -> None:
    answer = client.post(URL, json=BODY, headers={"X-Actor": "person:ann"})
    rollout_id = answer.json()["rollout_id"]
    act(client, rollout_id, "start")
    answer = act(client, rollout_id, "approve")
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert answer.json()["detail"] == "actor: expected another than the author person:ann, got person:ann"
    assert act(client, rollout_id, "refuse", "person:bob").json()["state"] == "aborted"


def test_a_step_that_is_not_taken_names_those_that_are(client: TestClient) -> None:
    rollout_id = created(client)
    answer = act(client, rollout_id, "pause")
    assert answer.status_code == HTTPStatus.CONFLICT
    assert answer.json()["errors"] == [{"field": "action", "expected": "one of start, abort, clone", "got": "pause"}]
    assert act(client, rollout_id, "halt").status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert act(client, rollout_id, "start", reason=" ").status_code == HTTPStatus.UNPROCESSABLE_ENTITY


def test_an_answer_needs_a_gate_that_lacks_something(client: TestClient) -> None:
    answer = act(client, running(client), "answer")
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "expected a gate that holds the open wave for want of evidence" in answer.json()["detail"]


def test_who_failed_is_tried_again(web: Web, client: TestClient) -> None:
    rollout_id = running(client)
    failed = came_to(web, rollout_id, Outcome.FAILED, 2)
    answer = act(client, rollout_id, "retry", terminals=failed[:1])
    assert answer.status_code == HTTPStatus.OK, answer.text
    assert answer.json()["progress"][0]["outcomes"] == {"failed": 1, "waiting": 3}
    answer = act(client, rollout_id, "retry", terminals=["nobody"])
    assert answer.json()["detail"] == f"terminals: expected those of rollout {rollout_id}, got nobody"


@pytest.mark.parametrize(("whom", "terminals"), [("all", 19), ("left", 15), ("failed", 0)])
def test_a_clone_is_a_draft_for_who_is_chosen(web: Web, client: TestClient, whom: str, terminals: int) -> None:
    rollout_id = running(client)
    with web.database.transaction() as repository:
        jobs = repository.rollouts.jobs(rollout_id)[:4]
        done = [
            replace(one, job=replace(one.job, state=JobState.SUCCEEDED, go_at=NOW, ended_at=NOW + timedelta(seconds=9)))
            for one in jobs
        ]
        repository.rollouts.save_jobs(done)
    small = SETTINGS | {"waves": [{"count": 3}, {"share_pct": 50}], "approval": False}
    answer = act(client, rollout_id, "clone", whom=whom, settings=small)
    if not terminals:
        assert "got nobody" in answer.json()["detail"]
        return
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    made = answer.json()
    assert answer.headers["Location"] == f"{URL}/{made['rollout_id']}"
    assert (made["state"], made["terminals"], made["cloned_from"]) == ("draft", terminals, rollout_id)
    again = act(client, rollout_id, "clone", whom="all").json()
    assert again["waves"] == 3
    assert again["reason"] == "to clone"


# --- how far it is


def test_lists_are_narrowed_by_what_is_asked(web: Web, client: TestClient) -> None:
    rollout_id = running(client)
    waiting = created(client, name="another")
    came_to(web, rollout_id, Outcome.SUCCEEDED, 3)
    came_to(web, rollout_id, Outcome.WAITING, 4, wave=2, wait="outside_window")

    def ids(**asked: Any) -> list[str]:
        return [one["rollout_id"] for one in client.get(URL, params=asked).json()["items"]]

    assert ids(state="running") == [rollout_id]
    assert ids(q="ANOTHER") == [waiting]
    assert set(ids(open=True, product="till", target=TARGET)) == {rollout_id, waiting}
    assert ids(open=False) == []
    assert client.get(URL, params={"sort": "reason"}).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    (shown,) = client.get(URL, params={"state": "running"}).json()["items"]
    assert (shown["terminals"], shown["updated"], shown["bad"], shown["wave"]) == (19, 3, 0, 2)

    def jobs(**asked: Any) -> int:
        total: int = client.get(f"{URL}/{rollout_id}/jobs", params=asked).json()["total"]
        return total

    assert (jobs(), jobs(wave=1), jobs(outcome="succeeded"), jobs(wait="outside_window")) == (19, 4, 3, 4)
    assert (jobs(store_id="s05"), jobs(terminal_id="s05-t0"), jobs(state="failed")) == (2, 1, 0)
    steps = client.get(f"{URL}/{rollout_id}/journal", params={"action": "open_wave"}).json()["items"]
    assert [step["actor"] for step in steps] == ["machine:judge"] * 2
    assert client.get(f"{URL}/{rollout_id}/journal", params={"of_jobs": True}).json()["total"] == 0
    progress = client.get(f"{URL}/{rollout_id}").json()["progress"]
    assert progress[0]["outcomes"] == {"succeeded": 3, "waiting": 1}
    assert progress[1]["waits"] == {"outside_window": 4}


def test_the_gates_last_word_is_shown(web: Web, client: TestClient) -> None:
    rollout_id = running(client)
    assert client.get(f"{URL}/{rollout_id}").json()["verdict"] is None
    verdict = {"at": "2026-11-21T12:00:00Z", "wave": 1, "kind": "hold", "reasons": ["soaking"], "looks_done": 0}
    with web.database.transaction() as repository:
        kept = repository.rollouts.get(rollout_id)
        repository.rollouts.save(replace(kept, verdict=verdict | {"numbers": {"executed": 4}}), NOW)
    shown = client.get(f"{URL}/{rollout_id}").json()["verdict"]
    assert shown == verdict | {"numbers": {"executed": 4.0}}


# --- what is refused


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": "till/till-9.tar.gz"}, "target: expected a release that `release list` shows"),
        ({"select": "regoin=east"}, "select: regoin: expected a version such as 2.1.0"),
        (
            {"select": "terminal=nobody"},
            "selection: expected at least one terminal that may be changed, got none: the query chose nobody",
        ),
        ({"settings": SETTINGS | {"waves": [{"count": 5}]}}, "waves.0: expected at most 4 terminals (20 % of 19)"),
    ],
)
def test_a_rollout_that_would_not_be_safe_is_refused(client: TestClient, changed: dict[str, Any], said: str) -> None:
    for path in (URL, f"{URL}/plan"):
        answer = client.post(path, json=BODY | changed)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert said in answer.json()["detail"]
    assert client.get(URL).json()["total"] == 0


def test_a_setting_that_is_not_stated_is_named(client: TestClient) -> None:
    gate = {key: value for key, value in SETTINGS["gate"].items() if key != "alpha"}
    answer = client.post(URL, json=BODY | {"settings": SETTINGS | {"gate": gate}})
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert answer.json()["errors"] == [{"field": "body.settings.gate.alpha", "expected": "a value", "got": "none"}]


def test_a_release_that_was_taken_back_lets_nothing_go_on(web: Web, client: TestClient, signed: Desk) -> None:
    draft, goes = created(client), running(client, name="another")
    failed = came_to(web, goes, Outcome.FAILED, 1)
    act(client, goes, "pause")
    signed.releases.revoke(TARGET, "no receipts", NOW)
    signed.sign("alice")
    signed.publish()
    said = "target: expected a release that is signed, got one taken back: no receipts"
    for answer in (
        act(client, draft, "start"),
        act(client, goes, "resume"),
        act(client, goes, "retry", terminals=failed),
        act(client, goes, "clone", whom="all"),
        client.post(URL, json=BODY),
    ):
        assert (answer.status_code, answer.json()["detail"]) == (HTTPStatus.UNPROCESSABLE_ENTITY, said)
    assert act(client, goes, "abort").json()["state"] == "aborted"


def test_a_release_that_is_another_file_lets_nothing_go_on(web: Web, client: TestClient) -> None:
    rollout_id = created(client)
    with web.database.transaction() as repository:
        repository.connection.exec_driver_sql(f"UPDATE rollout SET digest = '{'0' * 64}'")
    answer = act(client, rollout_id, "start")
    assert f"expected {TARGET} with digest {'0' * 64}, got " in answer.json()["detail"]


def test_without_releases_there_are_no_rollouts(web: Web, signed: Desk) -> None:
    without = Web(database=web.database).client(Scope.ADMIN)
    answer = without.post(URL, json=BODY)
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "got one without [releases] folder" in answer.json()["detail"]
    (signed.folder / "metadata" / "timestamp.json").write_bytes(b"{}")
    broken = web.client(Scope.ADMIN).post(URL, json=BODY)
    assert broken.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "release verify" in broken.json()["detail"]


def test_what_is_not_there_is_said_to_be_missing(web: Web, client: TestClient) -> None:
    for path in ("", "/jobs", "/left-out", "/journal"):
        assert client.get(f"{URL}/r0{path}").status_code == HTTPStatus.NOT_FOUND
    for action, more in (("pause", {}), ("start", {}), ("retry", {"terminals": ["t"]}), ("clone", {"whom": "all"})):
        assert act(client, "r0", action, **more).status_code == HTTPStatus.NOT_FOUND
    assert client.get(f"{URL}/r%00").status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    reader = web.client(Scope.READ)
    assert reader.get(URL).status_code == HTTPStatus.OK
    assert reader.post(URL, json=BODY).status_code == HTTPStatus.FORBIDDEN


def test_all_states_are_told_with_what_they_take() -> None:
    assert {state: actions_of(state) for state in RolloutState} == {
        RolloutState.DRAFT: ("start", "abort", "clone"),
        RolloutState.AWAITING_APPROVAL: ("approve", "refuse", "abort", "clone"),
        RolloutState.RUNNING: ("pause", "answer", "abort", "retry", "clone"),
        RolloutState.PAUSED: ("resume", "abort", "retry", "clone"),
        RolloutState.HALTED: ("clone",),
        RolloutState.COMPLETED: ("clone",),
        RolloutState.ABORTED: ("clone",),
    }
