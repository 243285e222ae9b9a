"""Rollouts as the tick drives them, from the first offer to the end: over lost words, cuts, outages and lies."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.collector.estate import ANN, BOB, DIGEST, OLD, TARGET, Estate, J, plan
from tests.collector.shop import silent
from tests.collector.words import at

from tillwatch_collector import policies
from tillwatch_collector.errors import CollectorError
from tillwatch_collector.flows.judge import Rules
from tillwatch_collector.flows.restoring import note_restored
from tillwatch_collector.store.session import Store
from tillwatch_protocol.job import JobMessageKind, JobState

STORES = {"north": 4, "south": 4, "west": 4, "east": 4, "mid": 4}
QUICK = plan(gate={"soak_s": 300, "controls_min": 1})
WAVE = 4
ROAD_S = 600
"""Four tills download, ask, switch and confirm, a state a minute."""

K = JobMessageKind


@pytest.fixture
def estate(store: Store) -> Estate:
    return Estate(store, STORES)


def outcomes(estate: Estate, rollout_id: str, wave: int = 1) -> Counter[str]:
    return Counter(one.outcome for one in estate.jobs(rollout_id).values() if one.job.wave == wave)


def of_wave(estate: Estate, rollout_id: str, wave: int = 1) -> list[str]:
    return [name for name, one in estate.jobs(rollout_id).items() if one.job.wave == wave]


def actions(estate: Estate, rollout_id: str) -> list[str]:
    return [line.action for line in estate.lines(rollout_id) if line.action != "verdict"]


def waits(estate: Estate, rollout_id: str) -> set[str | None]:
    return {one.wait for one in estate.jobs(rollout_id).values() if one.job.wave == 1}


def reasons(estate: Estate, rollout_id: str) -> list[str]:
    verdict = estate.kept(rollout_id).verdict
    return list(verdict["reasons"]) if verdict else []


def until(estate: Estate, done: Callable[[], bool], *, span_s: float = 3600) -> None:
    end_s = estate.now_s + span_s
    while not done():
        assert estate.now_s < end_s
        estate.live(60)


# --- a good release


def test_a_good_release_ends_on_every_till_and_opens_no_ticket(estate: Estate) -> None:
    rollout_id = estate.run(settings=QUICK)
    until(estate, lambda: estate.stands(rollout_id) == "completed", span_s=7200)
    assert {agent.runs for agent in estate.agents.values()} == {DIGEST}
    assert {agent.switches for agent in estate.agents.values()} == {1}
    assert {one.outcome for one in estate.jobs(rollout_id).values()} == {"succeeded"}
    assert all(one.settled and not one.active for one in estate.jobs(rollout_id).values())
    assert actions(estate, rollout_id) == ["draft", "start", "open_wave", "open_wave", "open_wave", "complete"]
    assert estate.moves == []


def test_each_job_is_told_of_from_its_offer_to_its_end(estate: Estate) -> None:
    rollout_id = estate.run(settings=QUICK)
    estate.live(ROAD_S)
    name = of_wave(estate, rollout_id)[0]
    lines = [line for line in estate.lines(rollout_id, of_jobs=True) if line.terminal_id == name]
    assert [(line.action, line.from_state, line.to_state) for line in lines] == [
        ("offer", "planned", "offered"),
        ("go", "offered", "go"),
        ("state", "running", "succeeded"),
    ]
    assert {line.actor for line in lines} == {"machine:judge"}
    assert lines[1].evidence == {"nonce": "n1", "activation_before": "a1"}


def test_a_wave_begins_when_the_one_before_has_soaked_and_not_sooner(estate: Estate) -> None:
    rollout_id = estate.run(settings=QUICK)
    until(estate, lambda: outcomes(estate, rollout_id)["succeeded"] == WAVE)
    assert estate.kept(rollout_id).rollout.wave == 1
    assert {estate.agent(name).job_id for name in of_wave(estate, rollout_id, 2)} == {None}
    until(estate, lambda: estate.kept(rollout_id).rollout.wave == 2, span_s=420)


def test_no_more_switch_at_once_than_the_plan_allows(estate: Estate) -> None:
    narrow = plan(gate={"soak_s": 300, "controls_min": 1}, limits={"exposed_max": 2, "per_store_max": 1})
    rollout_id = estate.run(settings=narrow)
    for _ in range(60):
        estate.live(15)
        going = {name for name, agent in estate.agents.items() if agent.state in {J.SWITCHING, J.CONFIRMING}}
        assert len(going) <= 2
        assert all(count == 1 for count in Counter(estate.tills[name] for name in going).values())
    assert outcomes(estate, rollout_id)["succeeded"] == WAVE


def test_outside_the_window_it_is_staged_and_nothing_switches(estate: Estate) -> None:
    night = plan(window={"hours": {"sat": [["03:00", "04:00"]]}})
    rollout_id = estate.run(settings=night)
    until(estate, lambda: waits(estate, rollout_id) == {"outside_window"})
    estate.live(900)
    # it asks anew now and then
    assert waits(estate, rollout_id) <= {"outside_window", "preparing"}
    assert estate.told(K.GO) == []


def test_hours_that_make_no_sense_open_nothing(store: Store) -> None:
    estate = Estate(store, STORES)
    closed = plan(window={"mode": "open", "hours": None})
    rollout_id = estate.run(settings=closed)
    with store.transaction() as repository:
        repository.connection.exec_driver_sql("""UPDATE store SET opening_hours = '{"mon": "whenever"}'""")
    until(estate, lambda: waits(estate, rollout_id) == {"outside_window"})
    assert estate.told(K.GO) == []


# --- words that get lost, processes that die


def test_offers_that_are_lost_are_said_again_once_an_interval(estate: Estate) -> None:
    rollout_id = estate.run(settings=QUICK)
    estate.lost = {K.OFFER}
    estate.live(300)
    name = of_wave(estate, rollout_id)[0]
    said = [one for one in estate.told(K.OFFER) if one[0] == name]
    assert 4 <= len(said) <= 5
    assert {job_id for _, job_id in said} == {f"{estate.jobs(rollout_id)[name].job.job_id}.1"}
    estate.lost = set()
    estate.live(ROAD_S)
    assert outcomes(estate, rollout_id) == {"succeeded": WAVE}
    assert [line.action for line in estate.lines(rollout_id, of_jobs=True)].count("offer") == WAVE


def test_a_go_that_is_lost_lapses_and_comes_again_for_another_nonce(estate: Estate) -> None:
    rollout_id = estate.run(settings=QUICK)
    estate.lost = {K.GO}
    until(estate, lambda: len(estate.told(K.GO)) == WAVE)
    estate.lost = set()
    estate.live(ROAD_S)
    assert outcomes(estate, rollout_id) == {"succeeded": WAVE}
    assert {estate.agent(name).asked for name in of_wave(estate, rollout_id)} == {2}
    assert {"lapse", "go"} <= {line.action for line in estate.lines(rollout_id, of_jobs=True)}


def test_it_goes_on_after_every_cut_and_no_till_switches_twice(estate: Estate) -> None:
    """The process dies at every tick, and three times of five before its messages leave."""
    rollout_id = estate.run(settings=QUICK)
    for turn in range(120):
        estate.lost = set() if turn % 5 in {0, 2} else set(K)
        estate.live(15)
        estate.restart()
    assert outcomes(estate, rollout_id)["succeeded"] == WAVE
    assert {agent.switches for agent in estate.agents.values()} <= {0, 1}


# --- bad releases


def test_a_release_that_fails_halts_and_what_has_no_go_is_withdrawn(estate: Estate) -> None:
    rollout_id = estate.run(settings=plan(limits={"exposed_max": 2}))
    estate.fate.end_at = dict.fromkeys(estate.tills, (J.SWITCHING, J.ROLLED_BACK, "health_hook"))
    until(estate, lambda: estate.stands(rollout_id) == "halted")
    estate.live(120)
    assert outcomes(estate, rollout_id) == {"rolled_back": 2, "cancelled": 2}
    assert outcomes(estate, rollout_id, 2) == {"cancelled": 15}
    assert {agent.runs for agent in estate.agents.values()} == {OLD}
    assert Counter(kind for one in estate.sent if (kind := one.kind) is not K.OFFER) == {K.GO: 2, K.WITHDRAW: 2}
    assert all(one.settled for one in estate.jobs(rollout_id).values())


def test_a_halt_opens_one_ticket_that_says_why(estate: Estate) -> None:
    rollout_id = estate.run()
    estate.fate.end_at = dict.fromkeys(estate.tills, (J.SWITCHING, J.ROLLED_BACK, "health_hook"))
    until(estate, lambda: estate.stands(rollout_id) == "halted")
    estate.live(600)
    assert estate.moves == [("opened", ("till 2.1.0", "application:till", "rollout_halted"))]
    assert estate.rows("SELECT subject_kind, severity, ticket_id FROM ticket") == [("release", "major", 1)]
    [(reason, evidence)] = estate.journal("open")
    assert reason == f"rollout of {TARGET} halted in wave 1: failures"
    assert (evidence["rollout_id"], evidence["numbers"]["rolled_back"]) == (rollout_id, 1)
    kept = estate.kept(rollout_id)
    [line] = [line for line in estate.lines(rollout_id) if line.action == "halt"]
    assert (kept.ticket_id, kept.ended_at) == (1, line.at)
    assert (line.actor, line.reason) == ("machine:judge", "halt: failures")
    assert line.evidence["numbers"]["bad_pct"] == pytest.approx(100 / 3)


def test_another_halt_of_one_release_is_the_same_ticket(estate: Estate) -> None:
    estate.fate.end_at = dict.fromkeys(estate.tills, (J.SWITCHING, J.ROLLED_BACK, "health_hook"))
    for _ in range(2):
        rollout_id = estate.run()
        until(estate, lambda: estate.stands(rollout_id) == "halted")  # noqa: B023 - it is called in this turn
    assert [move for move, _ in estate.moves] == ["opened", "recurred"]


def test_silence_after_the_go_is_failure_and_the_ticket_of_the_silence_names_the_release(estate: Estate) -> None:
    rollout_id = estate.run()
    first, second, *_ = of_wave(estate, rollout_id)
    estate.fate.dies_on_go = {first, second}
    until(estate, lambda: estate.stands(rollout_id) == "halted")
    assert outcomes(estate, rollout_id) == {"silent": 2, "succeeded": 2}
    estate.live(300)
    [halt, *others] = estate.rows("SELECT ticket_id, subject_id, code, parent_id FROM ticket ORDER BY ticket_id")
    assert halt[2:] == ("rollout_halted", None)
    assert sorted(row[1:] for row in others) == sorted((name, "silent", halt[0]) for name in (first, second))
    [update] = [evidence["update"] for _, evidence in estate.journal("open")[1:2]]
    assert (update["rollout_id"], update["release"]) == (rollout_id, TARGET)


def test_a_planned_restart_opens_no_ticket_however_long_within_its_deadline(estate: Estate) -> None:
    rollout_id = estate.run()
    name = of_wave(estate, rollout_id)[0]
    estate.fate.dies_on_go = {name}
    until(estate, lambda: name in estate.dead)
    estate.live(600)
    assert estate.moves == []
    estate.dead.clear()
    estate.live(300)
    assert outcomes(estate, rollout_id) == {"succeeded": WAVE}
    assert estate.moves == []


def test_harm_that_no_agent_reports_halts_and_its_tickets_are_parts_of_the_halts(estate: Estate) -> None:
    rollout_id = estate.run(settings=plan(gate={"soak_s": 900}))
    until(estate, lambda: outcomes(estate, rollout_id)["succeeded"] == WAVE)
    hurt = of_wave(estate, rollout_id)
    estate.complain(hurt, "tcp_failure", "network:uplink")
    until(estate, lambda: estate.stands(rollout_id) == "halted")
    assert reasons(estate, rollout_id) == ["harm"]
    verdict = estate.kept(rollout_id).verdict
    assert verdict is not None
    numbers = verdict["numbers"]
    assert [numbers[name] for name in ("updated", "updated_harmed", "controls", "controls_harmed")] == [4, 4, 16, 0]
    [halt_id] = [row[0] for row in estate.rows("SELECT ticket_id FROM ticket WHERE code = 'rollout_halted'")]
    own = estate.rows("SELECT subject_id, parent_id FROM ticket WHERE code = 'tcp_failure' ORDER BY 1")
    assert own == [(name, halt_id) for name in sorted(hurt)]
    told = [evidence["update"] for reason, evidence in estate.journal("open") if "tcp_failure" in reason]
    assert {(one["rollout_id"], one["release"]) for one in told} == {(rollout_id, TARGET)}


def test_harm_that_all_tills_show_alike_halts_nothing(estate: Estate) -> None:
    rollout_id = estate.run(settings=plan(gate={"soak_s": 900}))
    until(estate, lambda: outcomes(estate, rollout_id)["succeeded"] == WAVE)
    estate.complain(estate.tills, "tcp_failure", "network:uplink")
    until(estate, lambda: estate.kept(rollout_id).rollout.wave == 2)


def test_who_says_it_succeeded_and_runs_what_it_ran_has_failed(estate: Estate) -> None:
    rollout_id = estate.run(settings=plan(gate={"failure_pct": 100}))
    liar = of_wave(estate, rollout_id)[0]
    estate.fate.lies = {liar}
    until(estate, lambda: estate.agent(liar).state is J.SUCCEEDED)
    estate.live(60)
    one = estate.jobs(rollout_id)[liar]
    assert (one.outcome, one.job.state, one.job.reason) == ("running", J.CONFIRMING, "unproved")
    until(estate, lambda: estate.jobs(rollout_id)[liar].outcome == "failed", span_s=1200)
    assert estate.jobs(rollout_id)[liar].job.reason == "unproved"


# --- causes that are not the release's


def test_an_outage_that_takes_others_along_is_no_failure_of_the_release(store: Store) -> None:
    estate = Estate(store, STORES, place={"carrier": "one line"})
    rollout_id = estate.run()
    until(estate, lambda: len(estate.told(K.GO)) == WAVE)
    estate.dead = set(estate.tills)
    estate.live(1500)
    assert [move for move in estate.moves if move[1][2] == "silent"] == [
        ("opened", ("one line", "agent:self", "silent"))
    ]
    assert outcomes(estate, rollout_id) == {"infrastructure": WAVE}
    assert estate.stands(rollout_id) == "running"
    assert "infrastructure" in reasons(estate, rollout_id)
    estate.dead = set()
    estate.live(ROAD_S)
    assert set(outcomes(estate, rollout_id)) <= {"succeeded", "late"}


def test_harm_that_an_outage_explains_in_both_arms_is_no_harm(store: Store) -> None:
    estate = Estate(store, STORES, place={"carrier": "one line"})
    rollout_id = estate.run(settings=plan(gate={"soak_s": 900}))
    until(estate, lambda: outcomes(estate, rollout_id)["succeeded"] == WAVE)
    hit = [*of_wave(estate, rollout_id), *of_wave(estate, rollout_id, 2)[:8]]
    estate.complain(hit)
    until(estate, lambda: estate.kept(rollout_id).rollout.looks_done == 1)
    verdict = estate.kept(rollout_id).verdict
    assert estate.rows("SELECT node_kind, terminals_hit FROM outage") == [("carrier", 12)]
    assert verdict is not None
    assert (verdict["numbers"]["updated_harmed"], verdict["numbers"]["controls_harmed"]) == (0, 0)


def test_time_in_which_nobody_listened_makes_nobody_silent(estate: Estate) -> None:
    rollout_id = estate.run()
    until(estate, lambda: len(estate.told(K.GO)) == WAVE)
    estate.live(3600, listening=False)
    assert outcomes(estate, rollout_id) == {"running": WAVE}
    estate.live(ROAD_S)
    assert set(outcomes(estate, rollout_id)) <= {"succeeded", "late"}
    assert estate.stands(rollout_id) == "running"


def test_while_there_is_no_connection_nothing_is_said(estate: Estate) -> None:
    rollout_id = estate.run()
    estate.judge.listening = estate.judge.listening.broker_lost(at(estate.now_s))
    estate.live(300, listening=False)
    assert (estate.sent, estate.kept(rollout_id).rollout.wave) == ([], 0)


def test_a_try_that_the_way_spoiled_is_tried_again_and_burns_nothing(estate: Estate) -> None:
    rollout_id = estate.run(settings=plan(gate={"soak_s": 300}, job={"back_off_s": 60}))
    name = of_wave(estate, rollout_id)[0]
    estate.fate.end_at = {name: (J.DOWNLOADING, J.FAILED, "connection_lost")}
    until(estate, lambda: estate.jobs(rollout_id)[name].job.try_no == 2)
    estate.fate.end_at = {}
    until(estate, lambda: outcomes(estate, rollout_id)["succeeded"] == WAVE)
    one = estate.jobs(rollout_id)[name].job
    assert (one.try_no, one.attempts) == (2, 1)
    [line] = [line for line in estate.lines(rollout_id, of_jobs=True) if line.action == "retry"]
    assert (line.reason, line.evidence["burns"]) == ("connection_lost", False)


# --- settings, and releases that are gone


def test_settings_that_cannot_be_read_pause_it_and_say_so_once(estate: Estate) -> None:
    rollout_id = estate.run()
    estate.live(60)
    sent = len(estate.sent)
    estate.set_rollout(rollout_id, settings=plan(gate={"failure_pct": None}))
    estate.live(300)
    assert (estate.stands(rollout_id), len(estate.sent)) == ("paused", sent)
    [line] = [line for line in estate.lines(rollout_id) if line.action == "pause"]
    assert line.reason.startswith("its settings cannot be used: gate.failure_pct: ")


class Shelf:
    """Says what a release's digest is, or raises."""

    def __init__(self) -> None:
        self.says: str | CollectorError | None = DIGEST

    def __call__(self, target: str) -> str | None:
        assert target == TARGET
        if isinstance(self.says, CollectorError):
            raise self.says
        return self.says


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (None, "got none, or a revoked one"),
        ("cd" * 32, f"expected the release with digest {DIGEST}, got cdcd"),
        (CollectorError("no such folder"), "its release cannot be looked at: no such folder"),
    ],
)
def test_a_release_that_is_no_longer_as_it_was_pauses_it(
    store: Store, says: str | CollectorError | None, reason: str
) -> None:
    shelf = Shelf()
    estate = Estate(store, STORES, rules=Rules(digest_of=shelf))
    rollout_id = estate.run()
    estate.live(120)
    assert estate.stands(rollout_id) == "running"
    shelf.says = says
    estate.live(60)
    assert estate.stands(rollout_id) == "paused"
    assert reason in estate.lines(rollout_id)[-1].reason
    estate.live(ROAD_S)
    assert estate.told(K.GO) == []


# --- people, in the midst of it


def test_what_is_paused_offers_nothing_and_lets_nothing_switch_but_hears_on(estate: Estate) -> None:
    rollout_id = estate.run(settings=plan(limits={"exposed_max": 1}, gate={"soak_s": 300}))
    until(estate, lambda: len(estate.told(K.GO)) == 1)
    estate.do("pause", rollout_id, actor=BOB)
    sent = len(estate.sent)
    estate.live(900)
    assert len(estate.sent) == sent
    assert outcomes(estate, rollout_id) == {"succeeded": 1, "waiting": 3}
    estate.do("resume", rollout_id)
    estate.live(900)
    assert outcomes(estate, rollout_id) == {"succeeded": WAVE}


def test_what_is_aborted_withdraws_until_it_is_heard_and_what_has_its_go_finishes(estate: Estate) -> None:
    rollout_id = estate.run(settings=plan(limits={"exposed_max": 1}))
    until(estate, lambda: len(estate.told(K.GO)) == 1)
    estate.do("abort", rollout_id)
    estate.lost = {K.WITHDRAW}
    estate.live(180)
    assert max(Counter(name for name, _ in estate.told(K.WITHDRAW)).values()) > 1
    estate.lost = set()
    estate.live(ROAD_S)
    assert outcomes(estate, rollout_id) == {"succeeded": 1, "cancelled": 3}
    assert Counter(agent.state for agent in estate.agents.values() if agent.job_id) == {J.SUCCEEDED: 1, J.CANCELLED: 3}
    [summary] = [line for line in estate.lines(rollout_id) if line.action == "withdraw"]
    assert (summary.reason, summary.evidence) == ("never offered", {"jobs": 16})


def test_a_person_has_a_till_tried_again_that_rolled_back(estate: Estate) -> None:
    rollout_id = estate.run(settings=plan(gate={"failure_pct": 100}))
    name = of_wave(estate, rollout_id)[0]
    estate.fate.end_at = {name: (J.SWITCHING, J.ROLLED_BACK, "health_hook")}
    until(estate, lambda: outcomes(estate, rollout_id)["rolled_back"] == 1)
    estate.fate.end_at = {}
    estate.do("retry", rollout_id, [name])
    until(estate, lambda: outcomes(estate, rollout_id) == {"succeeded": WAVE})
    assert estate.agent(name).job_id == f"{estate.jobs(rollout_id)[name].job.job_id}.2"


# --- two rollouts


def test_a_terminal_has_one_job_at_a_time_over_all_rollouts(estate: Estate) -> None:
    first = estate.run(settings=QUICK)
    second = estate.run(settings=QUICK)
    shared = set(of_wave(estate, first)) & set(of_wave(estate, second))
    assert shared
    estate.live(120)
    ahead, behind = sorted((first, second))
    assert {estate.jobs(behind)[name].wait for name in shared} == {"taken"}
    assert {estate.jobs(ahead)[name].active for name in shared} == {True}
    for _ in range(60):
        estate.live(15)
        active = estate.rows("SELECT terminal_id, count(*) FROM rollout_job WHERE active GROUP BY 1")
        assert all(count == 1 for _, count in active)
    assert outcomes(estate, ahead) == outcomes(estate, behind) == {"succeeded": WAVE}
    assert {estate.agent(name).switches for name in shared} == {2}


# --- a database that was restored from a backup


def backed_up(estate: Estate) -> dict[str, list[dict[str, Any]]]:
    """Return the rollouts' rows as they are."""
    with estate.store.reading() as connection:
        return {
            table: [dict(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table}").mappings()]
            for table in ("rollout", "rollout_job")
        }


def test_a_restored_database_pauses_all_and_commands_nothing_twice(estate: Estate) -> None:
    rollout_id = estate.run(settings=QUICK)
    estate.live(60)
    before = estate.jobs(rollout_id)
    until(estate, lambda: outcomes(estate, rollout_id) == {"succeeded": WAVE})
    with estate.store.transaction() as repository:
        repository.rollouts.save_jobs(before.values())
    sent = len(estate.sent)
    estate.restart()
    estate.judge.restored(99, at(estate.now_s))
    estate.live(120)
    assert (estate.stands(rollout_id), len(estate.sent)) == ("paused", sent)
    [line] = [line for line in estate.lines(rollout_id) if line.action == "pause"]
    assert (line.reason, line.evidence) == ("this database was restored from a backup", {"epoch_seen": 99})
    assert estate.moves[-1] == ("opened", ("collector", "collector:store", "restored_from_backup"))
    estate.do("resume", rollout_id, actor=ANN)
    estate.live(300)
    assert outcomes(estate, rollout_id) == {"succeeded": WAVE}
    assert [one for one in estate.sent[sent:] if one.terminal_id in of_wave(estate, rollout_id)] == []
    assert {estate.agent(name).switches for name in of_wave(estate, rollout_id)} == {1}


def test_who_puts_a_backup_back_pauses_all_before_anybody_is_heard(estate: Estate) -> None:
    rollout_id = estate.run(settings=QUICK)
    estate.live(60)
    sent = len(estate.sent)
    with estate.store.transaction() as repository:
        note_restored(repository, policies.load(None), made_at=at(0), salt=1, now=at(estate.now_s))
    estate.restart()
    estate.live(120)
    assert (estate.stands(rollout_id), len(estate.sent)) == ("paused", sent)
    [line] = [line for line in estate.lines(rollout_id) if line.action == "pause"]
    assert line.evidence == {"backup_made_at": at(0).isoformat()}


def test_a_job_that_is_nobodys_is_withdrawn_when_another_is_offered(estate: Estate) -> None:
    """A restored database does not know it, or its withdrawal was lost: it would be in the way for ever."""
    rollout_id = estate.run(settings=QUICK)
    name = of_wave(estate, rollout_id)[0]
    agent = estate.agent(name)
    agent.job_id, agent.state = "rlost-000001.1", JobState.STAGED
    estate.live(15 * 5)
    assert (name, "rlost-000001.1") in estate.told(K.WITHDRAW)
    estate.live(ROAD_S)
    assert outcomes(estate, rollout_id) == {"succeeded": WAVE}


def test_silence_is_a_terminals_own_ticket_where_no_update_is_to_blame(estate: Estate) -> None:
    name = next(iter(estate.tills))
    estate.dead = {name}
    estate.live(600)
    assert estate.moves == [("opened", silent(name))]
    [(_, evidence)] = estate.journal("open")
    assert "update" not in evidence
