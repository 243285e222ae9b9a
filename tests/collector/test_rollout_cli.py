"""`rollout`, as an operator uses it: look, draft, start, follow."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.collector.release_office import Desk
from tests.collector.rollout_estate import CHOSEN, TARGET, estate, office
from tests.collector.rollout_words import SETTINGS

from tillwatch_collector import plans
from tillwatch_collector.__main__ import main
from tillwatch_collector.cli import rollouts
from tillwatch_collector.domain.rollout import Grant, Outcome, RolloutState, parse_settings
from tillwatch_collector.store.session import Store
from tillwatch_protocol.job import JobState

Run = Callable[..., tuple[int, str, str]]
WHY = ("--reason", "ticket 12", "--by", "person:ann")


class Operator:
    """Runs commands over a database of either kind, with an estate and a signed release."""

    def __init__(self, folder: Path, url: str, signed: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        self.plan = folder / "plan.json"
        self.plan.write_text(json.dumps(SETTINGS))
        self.url, self.signed, self._capsys = url, signed, capsys

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        code = main(["rollout", *map(str, arguments)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def created(self, *more: str | Path, **changed: Any) -> str:
        self.plan.write_text(json.dumps(SETTINGS | changed))
        code, out, err = self("create", TARGET, "--plan", self.plan, "--select", CHOSEN, *WHY, *more)
        assert (code, err) == (0, ""), err
        assert out.endswith(": draft, 19 terminals in 3 waves, 2 left out\n")
        return out.split()[1].removesuffix(":")

    def step(self, action: str, rollout: str, *more: str) -> str:
        code, out, err = self(action, rollout, *WHY, *more)
        assert code == 0, err
        return out

    def come_to(self, rollout_id: str, outcome: Outcome, stands: RolloutState, count: int = 100) -> None:
        """Let terminals and the rollout come to something, as a look would write it."""
        store = Store.open(self.url)
        try:
            with store.transaction() as repository:
                kept = repository.rollouts.get(rollout_id)
                now = datetime(2026, 11, 22, tzinfo=UTC)
                repository.rollouts.save(replace(kept, rollout=replace(kept.rollout, state=stands, wave=3)), now)
                jobs = repository.rollouts.jobs(rollout_id)[:count]
                state = {Outcome.ROLLED_BACK: JobState.ROLLED_BACK}.get(outcome)
                repository.rollouts.save_jobs(
                    [
                        replace(one, outcome=str(outcome), job=replace(one.job, state=state, grant=Grant.GO))
                        for one in jobs
                    ]
                )
        finally:
            store.close()


@pytest.fixture
def run(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Operator:
    signed = office(tmp_path)
    monkeypatch.setenv("TILLWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TILLWATCH_DATABASE_URL", database_url)
    monkeypatch.setenv("TILLWATCH_RELEASES__FOLDER", str(signed.folder))
    store = Store.open(database_url)
    try:
        store.migrate()
        estate(store)
    finally:
        store.close()
    return Operator(tmp_path, database_url, signed, capsys)


def test_the_example_is_a_plan(run: Operator) -> None:
    code, out, _ = run("example")
    assert code == 0
    parse_settings(plans.settings_text(out))


def test_a_plan_shows_who_when_and_why_not_before_anything_happens(run: Operator) -> None:
    asked = ("plan", TARGET, "--plan", run.plan, "--select", CHOSEN)
    code, out, err = run(*asked, "--limit", "100")
    assert code == 0
    assert out.splitlines()[0] == f"{TARGET} (2.1.0) to 19 terminals in 3 waves"
    told = [line.split() for line in out.splitlines()]
    assert ["installed", "1"] in told
    assert ["-", "spare", "s01", "A920", "east"] in [line[:5] for line in told]
    assert [line[-2:] for line in told].count(["Asia/Shanghai", "-"]) == 19
    assert "Nothing of this is kept" in err
    told = json.loads(run(*asked, "--json", "--limit", "3")[1])
    assert (told["terminals"], len(told["planned"]["items"]), told["planned"]["total"]) == (19, 3, 21)
    assert run("list", "--all")[2] == "(none)\n"
    assert "(18 more: see --limit)" in run(*asked, "--limit", "3")[2]


def test_a_rollout_is_drafted_started_and_approved_by_another(run: Operator) -> None:
    rollout = run.created()
    assert ": awaiting_approval, 19 terminals" in run.step("start", rollout)
    code, _, err = run("approve", rollout, *WHY)
    assert (code, "expected another than the author person:ann" in err) == (1, True)
    assert run("approve", rollout, "--reason", "read it", "--by", "person:bob")[0] == 0
    assert ": paused" in run.step("pause", rollout)
    assert ": running" in run.step("resume", rollout)
    assert json.loads(run.step("abort", rollout, "--json"))["state"] == "aborted"
    code, _, err = run("pause", rollout, *WHY)
    assert (code, "nothing, it is over" in err) == (1, True)
    listed = run("journal", rollout)[1].splitlines()
    assert [line.split()[3] for line in listed[1:]] == ["abort", "resume", "pause", "approve", "start", "draft"]
    assert "person:bob" in listed[4]


def test_a_rollout_that_waits_is_refused(run: Operator) -> None:
    rollout = run.created("--name", "receipts")
    run.step("start", rollout)
    assert ": aborted" in run.step("refuse", rollout)
    code, _, err = run("answer", rollout, *WHY)
    assert (code, "nothing, it is over" in err) == (1, True)


def test_a_plan_that_cannot_be_read_is_shown_as_it_is(run: Operator) -> None:
    rollout = run.created()
    store = Store.open(run.url)
    try:
        with store.transaction() as repository:
            repository.connection.exec_driver_sql("UPDATE rollout SET settings = '{broken'")
    finally:
        store.close()
    code, out, _ = run("show", rollout)
    assert (code, out.splitlines()[-1]) == (0, "{broken")


def test_a_rollout_is_shown_with_its_waves_and_who_is_left_out(run: Operator) -> None:
    rollout = run.created()
    run.come_to(rollout, Outcome.SUCCEEDED, RolloutState.RUNNING, 4)
    code, out, _ = run("show", rollout)
    assert code == 0
    assert f"   1 [{'#' * 40}] 4 succeeded" in out
    assert ["s00-t0", "installed"] in [line.split() for line in out.splitlines()]
    assert '    "soak_s": 3600,' in out.splitlines()
    told = json.loads(run("show", rollout, "--json")[1])
    assert told["who_is_left_out"] == [
        {"terminal_id": "s00-t0", "reason": "installed"},
        {"terminal_id": "spare", "reason": "not_live"},
    ]
    (listed,) = json.loads(run("list", "--json")[1])
    assert (listed["rollout_id"], listed["updated"]) == (rollout, 4)
    assert len(json.loads(run("jobs", rollout, "--outcome", "succeeded", "--json")[1])) == 4
    assert "s0" in run("jobs", rollout, "--wave", "2")[1]
    assert run("jobs", rollout, "--wait", "paused")[2] == "(none)\n"
    assert run("journal", rollout, "--jobs", "--json")[1].count('"draft"') == 2


def test_who_failed_is_tried_again_and_who_is_left_is_cloned(run: Operator) -> None:
    rollout = run.created(approval=False)
    run.step("start", rollout)
    code, _, err = run("retry", rollout, "--terminal", "s01-t0", *WHY)
    assert (code, "expected one that failed, was rejected or rolled back, got one that is waiting" in err) == (1, True)
    assert ": draft, 19 terminals in 3 waves" in run.step("clone", rollout, "--whom", "left")
    cloned = json.loads(run.step("clone", rollout, "--whom", "all", "--plan", str(run.plan), "--json"))
    assert (cloned["cloned_from"], cloned["author"], cloned["reason"]) == (rollout, "person:ann", "ticket 12")


def test_a_terminal_that_rolled_back_is_tried_again(run: Operator) -> None:
    rollout = run.created(approval=False)
    run.step("start", rollout)
    run.come_to(rollout, Outcome.ROLLED_BACK, RolloutState.PAUSED, 1)
    (failed,) = json.loads(run("jobs", rollout, "--outcome", "rolled_back", "--json")[1])
    assert ": paused, 19 terminals" in run.step("retry", rollout, "--terminal", failed["terminal_id"])
    (again,) = json.loads(run("jobs", rollout, "--terminal", failed["terminal_id"], "--json")[1])
    assert (again["outcome"], again["try_no"], again["wave"]) == ("waiting", 2, 3)


def test_where_nobody_is_left_out_nothing_is_said_of_it(run: Operator) -> None:
    asked = (TARGET, "--plan", str(run.plan), "--select", "store!=s00,s01")
    assert "LEFT OUT BECAUSE" not in run("plan", *asked)[1]
    rollout = json.loads(run("create", *asked, *WHY, "--json")[1])["rollout_id"]
    assert "TERMINAL_ID" not in run("show", rollout)[1]
    assert run("pause", rollout, *WHY)[0] == 1
    assert run.step("start", rollout).endswith(": awaiting_approval, 16 terminals in 3 waves\n")


def test_what_is_watched_is_drawn_until_it_completes(run: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = run.created()
    steps = [
        lambda: run.come_to(rollout, Outcome.RUNNING, RolloutState.RUNNING, 2),
        lambda: None,  # nothing changes: nothing is said
        lambda: run.come_to(rollout, Outcome.SUCCEEDED, RolloutState.RUNNING, 4),
        lambda: run.come_to(rollout, Outcome.SUCCEEDED, RolloutState.COMPLETED),
    ]
    monkeypatch.setattr(rollouts, "_never", Stepping(iter(steps)))
    code, out, err = run("watch", rollout, "--json")
    assert (code, err) == (0, "")
    told = [json.loads(line) for line in out.splitlines()]
    assert [(one["state"], one["updated"]) for one in told] == [
        ("draft", 0),
        ("running", 0),
        ("running", 4),
        ("completed", 19),
    ]
    assert told[1]["progress"][0]["outcomes"] == {"running": 2, "waiting": 2}


class Stepping:
    """Lets something happen in the place of each wait."""

    def __init__(self, steps: Any) -> None:
        self._steps = steps

    def wait(self, _s: float) -> None:
        next(self._steps)()


def test_a_screen_is_drawn_in_its_place_and_no_line_is_wider(run: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = run.created()
    over = Stepping(iter([lambda: run.come_to(rollout, Outcome.CANCELLED, RolloutState.ABORTED)]))
    monkeypatch.setattr(rollouts, "_never", over)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    code, out, err = run("watch", rollout)
    assert (code, err) == (1, f"error: expected rollout {rollout} to complete, got one that is aborted\n")
    assert out.count("\x1b[4F\x1b[J") == 1
    drawn = out.split("\x1b[J")[1].splitlines()
    assert len(drawn) == 4
    assert max(map(len, drawn)) < 60


def test_elsewhere_a_block_is_written_for_each_change(run: Operator) -> None:
    rollout = run.created()
    run.come_to(rollout, Outcome.SUCCEEDED, RolloutState.COMPLETED)
    code, out, _ = run("watch", rollout)
    assert code == 0
    legend, moment, head, *waves = out.splitlines()
    assert legend.startswith("# updated")
    assert moment.endswith(" UTC")
    assert head.endswith("completed, wave 3 of 3, 19 of 19 updated")
    assert len(waves) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "r0"), 1, "there is no rollout r0"),
        (("jobs", "r0"), 1, "there is no rollout r0"),
        (("journal", "r0"), 1, "there is no rollout r0"),
        (("watch", "r0"), 1, "there is no rollout r0"),
        (("pause", "r0", *WHY), 1, "there is no rollout r0"),
        (("pause", "r0"), 2, "Missing option '--reason'"),
        (("pause", "r0", "--reason", "x", "--by", "ann"), 1, "--by: expected kind:id, such as person:ann"),
        (("plan", TARGET, "--plan", "nothing.toml", "--select", "all"), 1, "nothing.toml: expected a readable file"),
        (("list", "--sort", "reason"), 1, "sort: expected one of rollout_id"),
        (("list", "--state", "dreaming"), 2, "'halted'"),
        (("clone", "r0", "--whom", "nobody", *WHY), 2, "'left'"),
    ],
)
def test_what_cannot_be_done_says_what_was_expected(
    run: Operator, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, _, err = run(*arguments)
    assert (ended, said in err) == (code, True), err


def test_a_collector_without_releases_says_so(run: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILLWATCH_RELEASES__FOLDER")
    code, _, err = run("plan", TARGET, "--plan", run.plan, "--select", "all")
    assert (code, "got one without [releases] folder" in err) == (1, True)
