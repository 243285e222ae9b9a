"""Rollouts in the full world: small estates, every rule watched."""

import json
from dataclasses import replace

import pytest
from tests.scenarios.rollouts import estate as estates
from tests.scenarios.rollouts import world as worlds
from tests.scenarios.rollouts.estate import Estate
from tests.scenarios.rollouts.rules import InsideWindow, NeverAllTills, OnlyWithGo, RightEnd
from tests.scenarios.rollouts.world import RolloutWorld
from tests.scenarios.terminal import Terminal
from tests.scenarios.watcher import RuleBroken

from tillwatch_collector.domain.rollout import RolloutState, parse_settings
from tillwatch_collector.flows.judge import JudgeEffects
from tillwatch_protocol.job import JobMessage, JobMessageKind
from tillwatch_simulator.updating import Switch

SMALL = Estate(stores=10, tills=8, first_wave=16, soak_s=2_400.0, controls_min=60, exposed_max=8)
SEED = 1


def test_a_release_with_hidden_harm_is_halted_in_its_first_wave_with_one_ticket() -> None:
    ours = RolloutWorld.of(SEED, estates.release(60, SMALL.soak_s), SMALL)
    ended = ours.run()
    assert ended.halted_in_first
    assert ended.verdict["reasons"] == ["harm"]
    assert 0 < ended.most_at_once <= SMALL.exposed_max
    rule = InsideWindow(ours.world, SMALL)
    tickets = rule.rows("SELECT subject_id, parent_id FROM ticket WHERE subject_kind = 'release'")
    assert tickets == [("till 2.1", None)]
    versions = [terminal.installation.version for terminal in ours.world.terminals.values() if terminal.installation]
    assert SMALL.first_wave / 2 < versions.count("2.1") <= SMALL.first_wave


def test_a_release_that_does_not_start_is_taken_back_by_every_till_and_halted() -> None:
    ours = RolloutWorld.of(SEED, estates.release(0, SMALL.soak_s, fails_pct=60), SMALL)
    ended = ours.run()
    assert ended.halted_in_first
    assert ended.verdict["reasons"] == ["failures"]
    assert ended.verdict["numbers"]["rolled_back"] >= 2
    for terminal in ours.world.terminals.values():
        assert terminal.installation
        assert terminal.installation.look(ours.world.clock.now_s).facts["version"] in {"2.0", "2.1"}


def test_a_good_release_passes_and_the_same_seed_gives_the_same_night() -> None:
    ended, again = (worlds.run(SEED, 0, SMALL) for _ in range(2))
    assert (ended.state, ended.wave) == (RolloutState.RUNNING, 2)
    assert ended == again


def test_a_broken_rule_says_how_to_see_it_again() -> None:
    with pytest.raises(RuleBroken, match=r"rollouts\.world --seed 1 --harm-pct 5"):
        worlds.run(SEED, 5, replace(SMALL, first_wave=79))


# --- the rules, held against what they are for


@pytest.fixture
def ours() -> RolloutWorld:
    """A world in which nothing has happened, and nobody watches."""
    made = RolloutWorld.of(SEED, estates.release(0, SMALL.soak_s), SMALL, troubles=False)
    made.world.watchers.each.clear()
    return made


def first(ours: RolloutWorld) -> Terminal:
    return ours.world.terminals["t01"]


@pytest.mark.parametrize(
    ("at_s", "is_free"),
    [
        # 22:00 at the coast, where it closes at 22:30
        (0.0, False),
        # 22:31, inside the margin after closing
        (1_860.0, False),
        # 22:33
        (1_980.0, True),
        # 23:26, near settlement at 23:30
        (5_160.0, False),
        # 23:36
        (5_760.0, True),
        # 06:59, and 07:01 with less than an hour to opening
        (8 * 3_600 + 3_540.0, True),
        (9 * 3_600 + 60.0, False),
    ],
)
def test_a_switch_outside_the_window_is_seen(ours: RolloutWorld, at_s: float, is_free: bool) -> None:
    terminal, rule = first(ours), InsideWindow(ours.world, SMALL)
    assert terminal.installation
    terminal.installation.switches.append(Switch(version="2.1", at_s=at_s, job_id="j"))
    if is_free:
        rule.handled(terminal)
    else:
        with pytest.raises(RuleBroken, match=r"began 2\.1"):
            rule.handled(terminal)


def test_a_switch_without_a_go_is_seen(ours: RolloutWorld) -> None:
    rule, terminal = OnlyWithGo(ours.world, SMALL), _switching(ours)
    with pytest.raises(RuleBroken, match="without a go"):
        rule.handled(terminal)
    go = JobMessage(terminal_id="t01", kind=JobMessageKind.GO, job_id="j.1", nonce="n", valid_for_s=60.0)
    rule.judged(JudgeEffects(tickets=(), presences=(), jobs=(go,)))
    rule.handled(terminal)


def test_too_many_tills_at_once_are_seen(ours: RolloutWorld) -> None:
    rule = NeverAllTills(ours.world, replace(SMALL, per_store_max=0))
    with pytest.raises(RuleBroken, match="1 tills of store 0 are switched at once"):
        rule.handled(_switching(ours))


def test_an_end_that_is_not_what_runs_is_seen(ours: RolloutWorld) -> None:
    with pytest.raises(RuleBroken, match="0 jobs of 80 terminals"):
        RightEnd(ours.world, SMALL).finish()


def test_the_plan_of_the_worlds_is_one_that_a_collector_takes() -> None:
    assert parse_settings(json.dumps(Estate().plan())).waves[0].count == 200


def _switching(ours: RolloutWorld) -> Terminal:
    """Start the first till on a page that says that it switches."""
    terminal = first(ours)
    page = {"job": {"job_id": "j.1", "target": "till/till-2.1.tar.gz", "product": "till", "state": "confirming"}}
    terminal.page.content = json.dumps(page).encode()
    terminal.start()
    return terminal
