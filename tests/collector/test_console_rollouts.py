"""Rollouts in the console: what would happen is seen beforehand, and nothing goes on that one person decided alone."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, update
from tests.collector import rollout_estate
from tests.collector.rollout_words import SETTINGS
from tests.collector.shell_fixtures import NOW, Web

from tillwatch_collector import plans
from tillwatch_collector.console import plan_form
from tillwatch_collector.console.pictures import progress
from tillwatch_collector.console.texts import catalogue
from tillwatch_collector.domain.gate import GateReason, VerdictKind
from tillwatch_collector.domain.granting import Wait
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.domain.rollout import (
    Cloned,
    Outcome,
    RolloutEvent,
    RolloutRefused,
    RolloutState,
    actions_of,
    parse_settings,
)
from tillwatch_collector.domain.waves import LeftOutReason
from tillwatch_collector.releases import Shelf
from tillwatch_collector.store import tables
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.job import JobState

JOB = table_of(tables.RolloutJobRow)
ROLLOUT = table_of(tables.RolloutRow)
PLAN = plan_form.typed(parse_settings(json.dumps(SETTINGS))) | {"waves": "2, 60%", "gate.executed_min": "2"}
ASKED = {"target": rollout_estate.TARGET, "query": rollout_estate.CHOSEN, "reason": "new functions"}
HTMX = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return rollout_estate.shelf(tmp_path_factory.mktemp("releases"))


@pytest.fixture
def web(store: Store, shelf: Shelf) -> Web:
    rollout_estate.estate(store)
    return Web(database=store, releases=shelf)


@pytest.fixture
def ann(web: Web) -> TestClient:
    return web.visitor(Role.OPERATOR, person_id="ann")


@pytest.fixture
def bob(web: Web) -> TestClient:
    return web.visitor(Role.APPROVER, person_id="bob")


def drafted(who: TestClient, **changes: str) -> str:
    """Keep a draft; returns its address."""
    answer = who.post("/rollouts", data=ASKED | PLAN | changes)
    assert answer.status_code == 303, said(answer.text)
    return str(answer.headers["location"])


def decide(who: TestClient, address: str, step: str, **more: Any) -> int:
    return who.post(f"{address}/steps/{step}", data={"reason": "as agreed"} | more).status_code


def running(ann: TestClient, bob: TestClient) -> str:
    address = drafted(ann)
    assert [decide(ann, address, "start"), decide(bob, address, "approve")] == [303, 303]
    return address


def said(html: str) -> str:
    """What a page tells, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def came(web: Web, address: str, outcomes: list[tuple[Outcome, JobState | None, str | None]]) -> None:
    """Let the first jobs of a rollout have come to something."""
    rollout_id = address.rpartition("/")[2]
    with web.database.transaction() as repository:
        query = JOB.select().where(JOB.c.rollout_id == rollout_id).order_by(JOB.c.job_id)
        for row, (outcome, state, reason) in zip(repository.connection.execute(query).all(), outcomes, strict=False):
            repository.connection.execute(
                update(JOB)
                .where(JOB.c.job_id == row.job_id)
                .values(outcome=outcome, state=state, reason=reason, go_at=NOW, granted="offered", ended_at=NOW)
            )
        repository.connection.execute(update(ROLLOUT).where(ROLLOUT.c.rollout_id == rollout_id).values(wave=1))


# --- a plan


def test_a_preview_says_who_when_and_who_not_and_keeps_nothing(ann: TestClient) -> None:
    shown = said(ann.post("/rollouts/preview", data=ASKED | PLAN, headers=HTMX).text)
    assert "till/till-2.1.0.tar.gz to 19 terminals in 3 waves." in shown
    assert "2 terminals are left out runs it already: 1 not in use: 1" in shown
    assert "s02-t1 s02 A920 1 2026-11-21 21:00 Asia/Shanghai" in shown
    assert "No rollout is like that." in ann.get("/rollouts?state=").text


def test_a_preview_without_a_script_is_the_form_with_it(ann: TestClient) -> None:
    page = ann.post("/rollouts/preview", data=ASKED | PLAN)
    assert page.status_code == 200
    assert 'name="csrf"' in page.text
    assert "19 terminals in 3 waves." in said(page.text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gate.soak_s": "long"}, "gate.soak_s: expected a valid number, got"),
        ({"gate.soak_s": ""}, "gate.soak_s"),
        ({"waves": ""}, "waves"),
        ({"waves": "two"}, "waves.0.count"),
        ({"window.blackouts": "Christmas"}, "window.blackouts.0.first"),
        ({"approval": "perhaps"}, "approval"),
        ({"query": "regoin=east"}, "select: "),
        ({"query": ""}, "select"),
        ({"target": "till/till-9.tar.gz"}, "target: expected a release"),
        ({"waves": "20"}, "waves"),  # more than the first may take
    ],
)
def test_what_cannot_be_rolled_out_is_told_and_what_was_typed_stays(
    ann: TestClient, changes: dict[str, str], says: str
) -> None:
    for path, status in (("/rollouts/preview", 422), ("/rollouts", 422)):
        page = ann.post(path, data=ASKED | PLAN | changes)
        assert page.status_code == status
        assert says in said(page.text)
        assert 'value="new functions"' in page.text
    part = ann.post("/rollouts/preview", data=ASKED | PLAN | changes, headers=HTMX)
    assert (part.status_code, says in said(part.text)) == (200, True)


def test_whoever_may_not_roll_out_is_told_whether_it_is_for_their_role_or_their_part_of_the_fleet(web: Web) -> None:
    mine = Within(store_ids=frozenset({"s-1"}))
    for role, within, says in (
        (Role.VIEWER, Within(), "Your role does not allow it"),
        (Role.OPERATOR, mine, "It concerns the whole fleet, and you see a part of it"),
    ):
        answer = web.visitor(role, within=within).get("/rollouts/new")
        assert answer.status_code == 403
        assert says in answer.text


def test_a_draft_needs_its_reason(ann: TestClient) -> None:
    page = ann.post("/rollouts", data=ASKED | PLAN | {"reason": " "})
    assert page.status_code == 422
    assert "expected a reason, got none" in said(page.text)


def test_the_form_begins_with_the_packaged_plan_or_with_that_of_another_rollout(ann: TestClient) -> None:
    assert 'name="waves" value="20, 10%, 30%"' in ann.get("/rollouts/new").text
    address = drafted(ann)
    page = ann.get(f"/rollouts/new?rollout={address.rpartition('/')[2]}").text
    assert 'name="waves" value="2, 60%"' in page
    assert "merchant=markt till&lt;=2.1" in page


def test_without_releases_the_form_says_so(web: Web) -> None:
    web.releases = None
    page = web.visitor(Role.OPERATOR).get("/rollouts/new")
    assert "tillwatch-collector release init" in page.text


def test_a_plan_goes_through_the_form_and_comes_out_the_same() -> None:
    week = {"mon": [["01:00", "04:00"], ["05:00", "06:00"]], "sun": [["00:00", "24:00"]]}
    for text in (
        plans.settings_text(plans.example()),
        json.dumps(SETTINGS),
        json.dumps(SETTINGS | {"window": SETTINGS["window"] | {"hours": week, "never_closed_hours": week}}),
        json.dumps(SETTINGS | {"approval": False, "waves": [{"count": 7}, {"share_pct": 2.5}]}),
    ):
        settings = parse_settings(text)
        assert parse_settings(plan_form.stated(plan_form.typed(settings))) == settings


def test_every_setting_has_a_field() -> None:
    stated = parse_settings(json.dumps(SETTINGS)).model_dump()
    known = {f"{group}.{key}" for group, members in stated.items() if isinstance(members, dict) for key in members}
    assert {field.name for field in plan_form.FIELDS} == known | {"waves", "approval"}


@pytest.mark.parametrize("number", ["1e400", "nan", "inf", "-", "0x10", "1_0" * 30])
def test_what_is_no_number_is_refused_by_the_plan(number: str) -> None:
    with pytest.raises(RolloutRefused, match=r"gate\.soak_s"):
        parse_settings(plan_form.stated(PLAN | {"gate.soak_s": number}))


# --- what people decide


def test_nobody_approves_what_they_wrote_and_a_second_person_lets_it_run(ann: TestClient, bob: TestClient) -> None:
    address = drafted(ann)
    assert decide(ann, address, "start") == 303
    assert "waits for approval" in ann.get(address).text
    assert decide(ann, address, "approve") == 403
    assert "/steps/approve" in bob.get(address).text
    assert decide(bob, address, "approve") == 303
    assert 'is-running">running' in bob.get(address).text


def test_an_approver_does_not_approve_their_own(bob: TestClient) -> None:
    address = drafted(bob)
    decide(bob, address, "start")
    page = bob.get(address).text
    assert "somebody else must approve it" in page
    assert "/steps/approve" not in page
    refused = bob.post(f"{address}/steps/approve", data={"reason": "mine"})
    assert refused.status_code == 422
    assert "expected another than the author" in said(refused.text)


def test_it_is_paused_resumed_and_aborted_each_with_its_reason(ann: TestClient, bob: TestClient) -> None:
    address = running(ann, bob)
    assert [decide(ann, address, step) for step in ("pause", "resume", "abort")] == [303, 303, 303]
    journal = said(ann.get(f"{address}/journal").text)
    for step in ("drafted", "started", "approved", "paused", "resumed", "aborted"):
        assert step in journal
    assert journal.count("as agreed Ann") == 5


def test_what_the_machine_did_is_told_in_the_readers_words(web: Web, ann: TestClient) -> None:
    address = drafted(ann)
    line = {
        "rollout_id": address.rpartition("/")[2],
        "at": NOW,
        "actor": "machine:judge",
        "action": "open_wave",
        "reason": "wave 1 of 3 begins",
        "evidence": {},
    }
    with web.database.transaction() as repository:
        repository.connection.execute(insert(table_of(tables.RolloutJournalRow)).values(line))
    assert "Wave 1 of 3 begins" in said(ann.get(f"{address}/journal").text)
    assert "第 1 批开始" in web.visitor(Role.VIEWER, language="zh-CN").get(f"{address}/journal").text


def test_every_button_asks_before_it_does_anything(ann: TestClient, bob: TestClient) -> None:
    page = ann.get(running(ann, bob)).text
    buttons = re.findall(r"<button[^>]*formaction=[^>]*>", page)
    assert len(buttons) >= 2
    assert all("data-confirm=" in button for button in buttons)


def test_a_step_that_its_state_does_not_take_is_a_conflict_and_the_reason_stays(ann: TestClient) -> None:
    address = drafted(ann)
    refused = ann.post(f"{address}/steps/pause", data={"reason": "too early"})
    assert refused.status_code == 409
    assert "a rollout that is draft takes" in said(refused.text)
    assert 'value="too early"' in refused.text


def test_who_may_only_look_has_no_buttons(web: Web, ann: TestClient) -> None:
    address = drafted(ann)
    viewer = web.visitor(Role.VIEWER)
    assert "/steps/" not in viewer.get(address).text
    assert decide(viewer, address, "start") == 403
    assert viewer.post("/rollouts", data=ASKED | PLAN).status_code == 403


def test_whoever_is_narrowed_sees_their_part_of_it(web: Web, ann: TestClient) -> None:
    address = drafted(ann)
    theirs = web.visitor(Role.APPROVER, within=Within(store_ids=frozenset({"s02"})))
    page = said(theirs.get(address).text)
    assert "0 of 2 updated" in page
    assert "/steps/" not in theirs.get(address).text
    assert "s03-t1" not in theirs.get(f"{address}/jobs").text
    assert web.visitor(Role.VIEWER, within=Within(store_ids=frozenset({"s77"}))).get(address).status_code == 404


def test_what_failed_is_told_by_cause_and_tried_again(web: Web, ann: TestClient, bob: TestClient) -> None:
    address = running(ann, bob)
    came(web, address, [(Outcome.FAILED, JobState.FAILED, "disk_full"), (Outcome.SILENT, JobState.SWITCHING, None)])
    page = ann.get(address).text
    assert "failed the disk is full failed 1" in said(page)
    assert re.search("silent since its switch . switching 1", said(page))
    (terminal_id,) = re.findall(r'name="terminals" value="([^"]+)"', page)
    assert said(ann.get(f"{address}/jobs?outcome=failed&reason=disk_full&wave=").text).count(terminal_id) == 1
    assert ann.post(f"{address}/steps/retry", data={"reason": "disk is cleaned"}).status_code == 422  # nobody chosen
    again = ann.post(f"{address}/steps/retry", data={"reason": "disk is cleaned", "terminals": [terminal_id]})
    assert again.status_code == 303, said(again.text)


def test_an_ended_one_is_drafted_anew_for_who_is_left(ann: TestClient, bob: TestClient) -> None:
    address = running(ann, bob)
    decide(ann, address, "abort")
    made = ann.post(f"{address}/steps/clone", data={"reason": "again", "whom": "left"})
    assert made.status_code == 303
    assert f'href="{address}"' in ann.get(made.headers["location"]).text


def test_a_rollout_that_is_not_there_is_not_found(ann: TestClient) -> None:
    for path in ("", "/live", "/jobs", "/left-out", "/journal"):
        assert ann.get(f"/rollouts/r000000000000{path}").status_code == 404
    assert decide(ann, "/rollouts/r000000000000", "start") == 404
    assert ann.get("/rollouts/not%20one").status_code == 422


# --- how far it is


def test_the_live_part_is_the_same_until_something_changes(web: Web, ann: TestClient, bob: TestClient) -> None:
    address = running(ann, bob)
    first = ann.get(f"{address}/live?state=running")
    again = ann.get(f"{address}/live?state=running", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    came(web, address, [(Outcome.SUCCEEDED, JobState.SUCCEEDED, None)])
    after = ann.get(f"{address}/live?state=running", headers={"If-None-Match": first.headers["etag"]})
    assert (after.status_code, "1 of 19 updated" in said(after.text)) == (200, True)


def test_a_page_whose_buttons_no_longer_fit_is_loaded_anew(ann: TestClient, bob: TestClient) -> None:
    address = running(ann, bob)
    decide(bob, address, "pause")
    assert ann.get(f"{address}/live?state=running").headers["hx-refresh"] == "true"


def test_the_gates_word_is_told_with_its_numbers(web: Web, ann: TestClient, bob: TestClient) -> None:
    address = running(ann, bob)
    verdict = {
        "at": NOW.isoformat(),
        "wave": 1,
        "kind": "hold",
        "reasons": ["too_few_controls"],
        "numbers": {"executed": 2, "bad_pct": 50.0, "p": 0.0123},
        "looks_done": 0,
    }
    came(web, address, [(Outcome.SUCCEEDED, JobState.SUCCEEDED, None)])
    with web.database.transaction() as repository:
        repository.connection.execute(update(ROLLOUT).values(verdict=verdict))
    page = ann.get(address)
    assert "There are too few comparable terminals" in page.text
    assert "went wrong 50 %" in said(page.text)
    assert "p, by chance alone 0.0123" in said(page.text)
    assert decide(ann, address, "answer") == 303


def test_the_list_is_filtered_sorted_and_told_in_chinese(web: Web, ann: TestClient) -> None:
    drafted(ann, name="First")
    web.now += timedelta(minutes=1)
    drafted(ann, name="Second")
    assert "First" not in said(ann.get("/rollouts?q=second").text)
    assert "No rollout is like that." in ann.get("/rollouts?state=halted").text
    rows = said(ann.get("/rollouts/rows?sort=created_at").text)
    assert rows.index("First") < rows.index("Second")
    assert ann.get("/rollouts?sort=nonsense").status_code == 422
    assert "版本推送" in web.visitor(Role.VIEWER, language="zh-CN").get("/rollouts").text


def test_what_a_terminal_or_a_person_writes_is_never_markup(web: Web, ann: TestClient, bob: TestClient) -> None:
    evil = "<script>alert(1)</script>"
    address = drafted(ann, name=evil, reason=evil)
    decide(ann, address, "start", reason=evil)
    decide(bob, address, "approve")
    came(web, address, [(Outcome.FAILED, JobState.FAILED, evil)])
    for path in ("", "/jobs", "/journal", "/live"):
        page = ann.get(f"{address}{path}").text
        assert evil not in page
    assert "&lt;script&gt;" in ann.get(address).text
    assert evil not in ann.get("/rollouts").text


# --- words and pictures


def test_every_code_of_a_rollout_has_words() -> None:
    numbers = {"executed", "succeeded", "failed", "rolled_back", "silent", "infrastructure", "running", "outside"}
    numbers |= {"bad_pct", "soaked_pct", "updated", "updated_harmed", "controls", "controls_harmed", "covered_pct"}
    steps = {step for state in RolloutState for step in actions_of(state)} - {"retry", "clone"}
    known: dict[str, set[str]] = {
        "rollout_states": set(RolloutState),
        "rollout_states_say": set(RolloutState),
        "rollout_outcomes": set(Outcome),
        "rollout_wait": set(Wait),
        "rollout_whom_of": set(Cloned),
        "rollout_kinds": set(progress.KINDS),
        "rollout_steps": steps,
        "rollout_steps_say": steps,
        "rollout_done": set(RolloutEvent),
        "gate_verdicts": set(VerdictKind),
        "gate_reasons": set(GateReason),
        "gate_numbers": numbers | {"look", "p", "level"},
        "left_out": set(LeftOutReason),
        "job_states": set(JobState),
        "plan_fields": {field.key for field in plan_form.FIELDS},
        "plan_hints": {field.key for field in plan_form.FIELDS},
        "plan_units": {field.unit for field in plan_form.FIELDS if field.unit},
        "plan_choices": {choice for field in plan_form.FIELDS for choice in field.choices},
    }
    for words in catalogue().values():
        for vocabulary, codes in known.items():
            assert codes <= set(words[vocabulary]), vocabulary
        assert {f"rollout_did_{step}" for step in (*steps, "retry", "clone")} <= set(words)


@pytest.mark.parametrize("outcome", [*Outcome, "something_new"])
def test_whatever_one_terminal_came_to_is_seen_in_its_bar(outcome: str) -> None:
    assert sum(progress.counts({outcome: 1}).values()) == 1
    parts = progress.segments({outcome: 1, Outcome.WAITING: 999})
    assert all(part.width > 3 for part in parts)
    assert parts[-1].x + parts[-1].width == pytest.approx(1_000, abs=0.1)
