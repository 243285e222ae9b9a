"""What people do with rollouts: each step with its line in the journal, and nothing without a reason."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from tests.collector.estate import ANN, BOB, DIGEST, PLAN, TARGET, Estate, plan
from tests.collector.words import at

from tillwatch_collector.domain.rollout import (
    Cloned,
    Grant,
    Outcome,
    RolloutEventIllegal,
    RolloutRefused,
    RolloutState,
)
from tillwatch_collector.errors import ReasonMissing, RowRefused
from tillwatch_collector.flows import rollouts
from tillwatch_collector.store.rollouts import RolloutUnknown
from tillwatch_collector.store.session import Store
from tillwatch_protocol.job import JobState

S = RolloutState
STORES = {"north": 4, "south": 4, "west": 4, "east": 4, "mid": 4}
BY_TWO = plan(approval=True)


@pytest.fixture
def estate(store: Store) -> Estate:
    return Estate(store, STORES)


def test_a_draft_is_what_its_preview_showed(estate: Estate) -> None:
    drafted = estate.drafted()
    with estate.store.transaction() as repository:
        seen = rollouts.preview(repository, drafted, at(estate.now_s))
        assert repository.rollouts.count() == 0
    rollout_id = estate.draft()
    planned = {one.terminal_id: wave.number for wave in seen.waves for one in wave.terminals}
    jobs = estate.jobs(rollout_id)
    assert {name: one.job.wave for name, one in jobs.items()} == planned
    assert {one.job.grant for one in jobs.values()} == {Grant.PLANNED}
    assert sorted(one.job.job_id for one in jobs.values()) == [f"{rollout_id}-{n:06}" for n in range(1, 21)]
    assert {(one.store_id, one.region) for one in jobs.values()} == {(name, "north") for name in STORES}


def test_a_draft_is_kept_with_all_that_it_was_made_of(estate: Estate) -> None:
    rollout_id = estate.draft()
    kept = estate.kept(rollout_id)
    assert (kept.rollout.state, kept.rollout.author, kept.rollout.wave) == (S.DRAFT, ANN, 0)
    assert (kept.target, kept.digest, kept.product, kept.query) == (TARGET, DIGEST, "till", "all")
    assert kept.component == "application:till"
    assert json.loads(kept.settings) == PLAN
    [line] = estate.lines(rollout_id)
    assert (line.actor, line.action, line.to_state, line.reason) == (ANN, "draft", "draft", "ticket 12")
    assert line.evidence["waves"] == [4, 15, 1]
    assert line.evidence["left_out"] == {}


def test_who_is_in_no_wave_is_kept_with_the_reason(estate: Estate) -> None:
    estate.enter("north-00", life_cycle="spare")
    rollout_id = estate.draft()
    assert estate.rows("SELECT left_out FROM rollout") == [('[["north-00", "not_live"]]',)]
    assert "north-00" not in estate.jobs(rollout_id)
    assert estate.lines(rollout_id)[0].evidence["left_out"] == {"not_live": 1}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": " "}, "name: expected 1 to 200 characters, got 0"),
        ({"digest": "AB" * 32}, "digest: expected 64 characters of hexadecimal"),
        ({"product": "kiosk"}, "target: expected one of product kiosk, got till/"),
        ({"version": "2.1-beta"}, "version: expected one to four numbers"),
        ({"settings": "{}"}, "expected a value, got none"),
        ({"settings": "{"}, "settings: "),
    ],
)
def test_what_no_rollout_can_be_made_of_is_refused_and_nothing_is_kept(
    estate: Estate, changed: dict[str, Any], said: str
) -> None:
    drafted = replace(estate.drafted(), **changed)
    with pytest.raises(RolloutRefused, match=said), estate.store.transaction() as repository:
        rollouts.draft(repository, drafted, actor=ANN, now=at(estate.now_s))
    assert estate.rows("SELECT count(*) FROM rollout") == [(0,)]


def test_a_draft_needs_a_reason(estate: Estate) -> None:
    drafted = estate.drafted()
    drafted = replace(drafted, selection=replace(drafted.selection, reason="  "))
    with pytest.raises(ReasonMissing), estate.store.transaction() as repository:
        rollouts.draft(repository, drafted, actor=ANN, now=at(estate.now_s))


def test_there_is_a_limit_to_rollouts_that_are_not_over(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "OPEN_MAX", 2)
    first, _ = estate.draft(), estate.draft()
    with pytest.raises(RolloutRefused, match="at most 2 that are not over"):
        estate.draft()
    estate.do("abort", first)
    assert estate.draft() != first


# --- steps


@pytest.mark.parametrize(
    ("settings", "steps", "states"),
    [
        # one alone
        (plan(), [("start", ANN)], ["draft", "running"]),
        # two: the author, and another
        (BY_TWO, [("start", ANN), ("approve", BOB)], ["draft", "awaiting_approval", "running"]),
        (BY_TWO, [("start", ANN), ("refuse", BOB)], ["draft", "awaiting_approval", "aborted"]),
        # stopped, and on
        (plan(), [("start", ANN), ("pause", BOB), ("resume", ANN)], ["draft", "running", "paused", "running"]),
        (plan(), [("start", ANN), ("pause", BOB), ("abort", ANN)], ["draft", "running", "paused", "aborted"]),
        (plan(), [("abort", BOB)], ["draft", "aborted"]),
    ],
)
def test_each_step_is_a_state_and_a_line(
    estate: Estate, settings: str, steps: list[tuple[str, str]], states: list[str]
) -> None:
    rollout_id = estate.draft(settings=settings)
    for action, actor in steps:
        kept = estate.do(action, rollout_id, actor=actor)
        assert kept == estate.kept(rollout_id)
    lines = estate.lines(rollout_id)[1:]
    assert [(line.action, line.actor) for line in lines] == steps
    assert [(line.from_state, line.to_state) for line in lines] == list(pairwise(states))
    assert {line.reason for line in lines} == {"so"}


def test_nobody_approves_what_is_their_own(estate: Estate) -> None:
    rollout_id = estate.draft(settings=BY_TWO)
    estate.do("start", rollout_id)
    with pytest.raises(RolloutRefused, match="another than the author"):
        estate.do("approve", rollout_id, actor=ANN)
    assert estate.stands(rollout_id) == "awaiting_approval"


@pytest.mark.parametrize("action", ["start", "approve", "refuse", "pause", "resume", "answer"])
def test_what_is_over_takes_nothing_more(estate: Estate, action: str) -> None:
    rollout_id = estate.draft()
    estate.do("abort", rollout_id)
    before = len(estate.lines(rollout_id))
    with pytest.raises(RolloutEventIllegal):
        estate.do(action, rollout_id, actor=BOB)
    assert len(estate.lines(rollout_id)) == before


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_every_step_of_a_person_has_its_reason(estate: Estate, reason: str) -> None:
    rollout_id = estate.draft()
    with pytest.raises((ReasonMissing, RolloutRefused), match="reason"), estate.store.transaction() as repository:
        rollouts.start(repository, rollout_id, actor=ANN, reason=reason, now=at(estate.now_s))
    assert estate.stands(rollout_id) == "draft"


def test_no_card_number_is_kept_that_a_person_writes(estate: Estate) -> None:
    rollout_id = estate.draft()
    with estate.store.transaction() as repository:
        rollouts.start(repository, rollout_id, actor=ANN, reason="card 4111 1111 1111 1111", now=at(estate.now_s))
    assert "1111 1111" not in estate.lines(rollout_id)[-1].reason


def test_there_is_no_rollout_under_another_name(estate: Estate) -> None:
    with pytest.raises(RolloutUnknown, match="no rollout r0"):
        estate.do("start", "r0")


@pytest.mark.parametrize("action", ["start", "approve", "resume"])
def test_settings_that_cannot_be_read_let_nothing_go_on(estate: Estate, action: str) -> None:
    rollout_id = estate.draft()
    states = {"start": "draft", "approve": "awaiting_approval", "resume": "paused"}
    estate.set_rollout(rollout_id, state=states[action], settings=plan(gate={"alpha": 0.5}))
    with pytest.raises(RolloutRefused, match=r"gate\.alpha"):
        estate.do(action, rollout_id, actor=BOB)
    assert estate.stands(rollout_id) == states[action]


# --- answering for what the gate lacks


def verdict(*reasons: str, wave: int = 1) -> dict[str, Any]:
    return {"wave": wave, "kind": "hold", "reasons": list(reasons), "numbers": {}, "looks_done": 0, "at": "x"}


def test_a_person_answers_for_evidence_that_is_wanting(estate: Estate) -> None:
    rollout_id = estate.run()
    estate.set_rollout(rollout_id, wave=1, verdict=verdict("running", "infrastructure"))
    assert estate.do("answer", rollout_id, actor=BOB).rollout.answered == {1}
    line = estate.lines(rollout_id)[-1]
    assert (line.action, line.actor, line.evidence) == ("answer", BOB, {"wave": 1, "lacking": ["infrastructure"]})


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        # the gate was not asked, or about another wave
        (None, "one that was not asked yet"),
        (verdict("too_few_controls", wave=2), "hold for too_few_controls"),
        # time alone is wanting
        (verdict("running", "soaking"), "hold for running, soaking"),
    ],
)
def test_nobody_answers_for_what_is_not_wanting(estate: Estate, kept: dict[str, Any] | None, said: str) -> None:
    rollout_id = estate.run()
    estate.set_rollout(rollout_id, wave=1, verdict=kept)
    with pytest.raises(RolloutRefused, match=said):
        estate.do("answer", rollout_id)


# --- trying again, cloning


def set_job(estate: Estate, name: str, rollout_id: str, **changed: Any) -> None:
    one = estate.jobs(rollout_id)[name]
    with estate.store.transaction() as repository:
        repository.rollouts.save_jobs([replace(one, job=replace(one.job, **changed), settled=True)])


FAILED = {"grant": Grant.GO, "state": JobState.FAILED, "go_at": at(130), "ended_at": at(200), "offered_at": at(125)}
DONE = FAILED | {"state": JobState.SUCCEEDED}


def test_terminals_that_failed_are_tried_again_in_the_open_wave(estate: Estate) -> None:
    rollout_id = estate.run()
    name = next(iter(estate.jobs(rollout_id)))
    estate.set_rollout(rollout_id, wave=2)
    set_job(estate, name, rollout_id, **FAILED)
    estate.do("retry", rollout_id, [name], actor=BOB)
    one = estate.jobs(rollout_id)[name]
    assert (one.job.wave, one.job.try_no, one.job.attempts, one.job.grant) == (2, 2, 2, Grant.PLANNED)
    assert (one.outcome, one.settled, one.active) == ("waiting", False, False)
    line = estate.lines(rollout_id, of_jobs=True)[-1]
    assert (line.action, line.actor, line.terminal_id) == ("retry", BOB, name)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        # all of them, or none
        (["failed", "done"], "one that failed, was rejected or rolled back, got one that is succeeded"),
        (["failed", "strange"], "expected those of rollout"),
        ([], "expected at least one"),
    ],
)
def test_what_cannot_be_tried_again_leaves_all_as_it_is(estate: Estate, names: list[str], said: str) -> None:
    rollout_id = estate.run()
    known = dict(zip(("failed", "done"), estate.jobs(rollout_id), strict=False))
    set_job(estate, known["failed"], rollout_id, **FAILED)
    set_job(estate, known["done"], rollout_id, **DONE)
    before = estate.jobs(rollout_id)
    with pytest.raises(RolloutRefused, match=said):
        estate.do("retry", rollout_id, [known.get(name, name) for name in names])
    assert estate.jobs(rollout_id) == before


@pytest.mark.parametrize(("whom", "count"), [(Cloned.ALL, 20), (Cloned.LEFT, 19), (Cloned.FAILED, 1)])
def test_a_clone_is_a_draft_of_its_own_for_whom_it_names(estate: Estate, whom: Cloned, count: int) -> None:
    rollout_id = estate.run()
    failed, done, *_ = estate.jobs(rollout_id)
    set_job(estate, failed, rollout_id, **FAILED)
    set_job(estate, done, rollout_id, **DONE)
    small = plan(waves=[{"count": 1}, {"share_pct": 100}], gate={"executed_min": 1})
    clone_id = estate.do("clone", rollout_id, whom, estate.freezing(small), settings=small)
    clone, jobs = estate.kept(clone_id), estate.jobs(clone_id)
    assert (clone.rollout.state, clone.cloned_from, clone.target) == (S.DRAFT, rollout_id, TARGET)
    assert (len(jobs), done in jobs, failed in jobs) == (count, whom is Cloned.ALL, True)
    assert estate.lines(clone_id)[0].evidence["cloned_from"] == rollout_id
    assert set(jobs).issubset(estate.jobs(rollout_id))


def test_a_clone_for_nobody_is_refused(estate: Estate) -> None:
    rollout_id = estate.run()
    with pytest.raises(RolloutRefused, match="to be somebody, got nobody"):
        estate.do("clone", rollout_id, Cloned.FAILED, estate.freezing())


# --- what the database holds, whoever writes


def test_no_terminal_has_two_active_jobs(estate: Estate) -> None:
    first, second = estate.draft(), estate.draft()
    name = next(iter(estate.jobs(first)))
    set_active(estate, first, name)
    with pytest.raises(RowRefused):
        set_active(estate, second, name)


def set_active(estate: Estate, rollout_id: str, name: str) -> None:
    one = estate.jobs(rollout_id)[name]
    with estate.store.transaction() as repository:
        repository.rollouts.save_jobs([replace(one, active=True, outcome=str(Outcome.WAITING))])
