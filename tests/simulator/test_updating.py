"""What a job asks of a simulated terminal: the same ends as on a real one, whatever comes in between."""

from dataclasses import replace

import pytest
from pydantic import ValidationError
from tests.simulator.tills import BROKEN, GOOD, HARM, HARMFUL, OLD, PACES, SimulatedTill, software

from tillwatch_agent.installer.order import Reason as FetchReason
from tillwatch_agent.job_standing import Reason
from tillwatch_agent.job_work import Activate, Commit, Committed, Failed, Fetch, LookAtGuard, Restart, Tidy
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobState
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator.releases import Harm, Release
from tillwatch_simulator.updating import SALE, Between

S = JobState


def test_a_good_release_goes_all_the_way_and_runs_in_the_end() -> None:
    till = SimulatedTill()
    till.offer(GOOD)
    till.run_until(S.SUCCEEDED)
    assert till.states == [
        S.DOWNLOADING,
        S.VERIFIED,
        S.STAGED,
        S.READY,
        S.SWITCHING,
        S.CONFIRMING,
        S.SUCCEEDED,
    ]
    look = till.installation.look(till.now_s)
    assert (look.health, look.facts["version"], look.facts["digest"]) == (Health.OK, "2.1.0", GOOD.digest)
    assert [switch.version for switch in till.installation.switches] == ["2.1.0"]


def test_without_a_go_nothing_is_switched() -> None:
    till = SimulatedTill(goes=False)
    till.offer(GOOD)
    till.run(7_200)
    assert till.state is S.READY
    assert till.installation.switches == []
    assert till.installation.version == "2.0.0"


def test_what_does_not_start_is_rolled_back_to_what_ran() -> None:
    till = SimulatedTill()
    before = till.installation.look(0.0).facts
    till.offer(BROKEN)
    till.run_until(S.ROLLED_BACK)
    till.run(60)
    assert till.reasons[-1] == Reason.BOOT_FAILED
    assert till.installation.look(till.now_s).facts == before


def test_hidden_harm_shows_after_the_release_has_proved_itself() -> None:
    till = SimulatedTill()
    till.offer(HARMFUL)
    till.run_until(S.SUCCEEDED)
    proved_at_s = till.now_s
    assert till.installation.harm(till.now_s) is None
    till.run(900, lambda: till.installation.harm(till.now_s) is not None)
    assert till.installation.harm(till.now_s) == (HARM.component, HARM.code)
    assert till.now_s > proved_at_s


def test_harm_befalls_its_share_of_terminals_and_who_is_prone_stays_so() -> None:
    def harmed(share_pct: float) -> set[int]:
        release = HARMFUL.release.model_copy(update={"harm": HARM.model_copy(update={"share_pct": share_pct})})
        bad = replace(HARMFUL, release=release)
        installed = replace(software(), installed=bad)
        tills = (SimulatedTill(seed=seed, software=installed) for seed in range(400))
        return {till.seed for till in tills if till.installation.harm(1_000.0)}

    few, many = harmed(5.0), harmed(20.0)
    assert few < many
    assert 0.02 < len(few) / 400 < 0.09
    assert 0.15 < len(many) / 400 < 0.26
    assert harmed(0.0) == set()


@pytest.mark.parametrize("state", [S.DOWNLOADING, S.VERIFIED, S.STAGED, S.READY, S.SWITCHING, S.CONFIRMING])
def test_an_agent_that_is_killed_goes_on_where_it_was(state: JobState) -> None:
    till = SimulatedTill()
    till.offer(GOOD)
    till.run_until(state)
    till.installation.kill(till.now_s)
    till.start()
    till.run_until(S.SUCCEEDED)
    assert [switch.version for switch in till.installation.switches] == ["2.1.0"]


@pytest.mark.parametrize("state", [S.SWITCHING, S.CONFIRMING])
def test_a_machine_that_lost_its_power_starts_what_is_chosen(state: JobState) -> None:
    till = SimulatedTill()
    till.offer(GOOD)
    till.run_until(state)
    till.installation.kill(till.now_s)
    till.run(30)
    till.installation.boot(till.now_s)
    till.start("boot-2")
    till.run(3_600, lambda: till.state in {S.SUCCEEDED, S.ROLLED_BACK, S.FAILED})
    expected = "2.1.0" if till.state is S.SUCCEEDED else "2.0.0"
    assert till.installation.look(till.now_s + 60).facts["version"] == expected


def test_a_download_goes_on_after_a_kill_and_need_not_begin_anew() -> None:
    till = SimulatedTill()
    till.offer(GOOD)
    till.run_until(S.DOWNLOADING)
    till.run(90)
    till.installation.kill(till.now_s)
    till.start()
    began_s = till.now_s
    till.run_until(S.STAGED)
    # 30 s at most until the agent takes it up, 10 s of the download, 5 s to stage it
    assert till.now_s - began_s < 50


def test_a_download_over_a_cut_line_is_tried_again_and_then_given_up() -> None:
    till = SimulatedTill(line_is_up=False)
    till.offer(GOOD)
    till.run_until(S.FAILED)
    assert till.reasons[-1] == "download_interrupted"
    assert till.installation.switches == []


def test_a_release_that_nobody_signed_fails_and_one_that_runs_is_rejected() -> None:
    unknown = replace(GOOD, release=Release(product="till", version="9.9"))
    for signed, state, reason in (
        (unknown, S.FAILED, f"trust_{FetchReason.UNKNOWN_TARGET}"),
        (OLD, S.REJECTED, Reason.ALREADY_INSTALLED),
    ):
        till = SimulatedTill()
        till.offer(signed)
        till.run_until(state)
        assert till.reasons[-1] == reason


def test_a_till_with_a_sale_under_way_is_asked_again() -> None:
    till = SimulatedTill(software=software(replace(PACES, busy_pct=60.0)))
    till.offer(GOOD)
    till.run_until(S.SUCCEEDED)
    always = SimulatedTill(software=software(replace(PACES, busy_pct=100.0)))
    always.offer(GOOD)
    always.run(3_600)
    assert always.state is S.STAGED
    status = always.jobs.status()
    assert status is not None
    assert status.reason == SALE


def test_what_is_asked_too_late_or_of_nothing_is_refused() -> None:
    till = SimulatedTill()
    for until_s, reason in ((None, Reason.GO_LAPSED), (5.0, Reason.GO_LAPSED), (50.0, "not_staged")):
        till.installation.carry_out(Activate(job_id="j", product="till", until_s=until_s), 10.0, monotonic_s=10.0)
        result = till.installation.take(11.0)
        assert isinstance(result, Failed)
        assert result.reason == reason


def test_only_what_is_on_trial_is_kept_and_once() -> None:
    till = SimulatedTill()
    till.offer(GOOD)
    till.run_until(S.CONFIRMING)
    installation, activation_id = till.installation, till.installation.look(till.now_s).facts["activation_id"]
    for asked, result in (("f" * 32, Failed), (activation_id, Committed), (activation_id, Committed)):
        commit = Commit(job_id="r1-1.1", product="till", activation_id=asked)
        installation.carry_out(commit, till.now_s, monotonic_s=till.now_s)
        assert isinstance(installation.take(till.now_s + 1), result)


def test_what_is_on_trial_in_nobodys_name_is_taken_back() -> None:
    till = SimulatedTill()
    till.offer(GOOD)
    till.run_until(S.CONFIRMING)
    till.installation.carry_out(Tidy(), till.now_s, monotonic_s=till.now_s)
    assert till.installation.version == "2.0.0"
    assert [switch.version for switch in till.installation.switches] == ["2.1.0", "2.0.0"]


def test_a_restart_that_is_asked_for_again_restarts_nothing() -> None:
    till = SimulatedTill()
    till.offer(GOOD)
    till.run_until(S.CONFIRMING)
    till.installation.carry_out(
        Restart(job_id="r1-1.1", product="till", activation_id="a" * 32), till.now_s, monotonic_s=till.now_s
    )
    assert till.installation.look(till.now_s).health is Health.OK


def test_a_job_that_is_withdrawn_downloads_no_more() -> None:
    till = SimulatedTill()
    till.offer(GOOD)
    till.run_until(S.DOWNLOADING)
    till.hand(JobMessage(terminal_id="t", kind=JobMessageKind.WITHDRAW, job_id="r1-1.1"))
    till.run(600)
    assert till.state is S.CANCELLED
    assert till.installation.due_s(till.now_s) == float("inf")


def test_harm_that_was_mended_is_gone() -> None:
    till = SimulatedTill(software=replace(software(), installed=HARMFUL))
    assert till.installation.harm(0.0) is not None
    till.installation.mend()
    assert till.installation.harm(0.0) is None


def test_it_says_when_there_is_something_to_take() -> None:
    installation = SimulatedTill().installation
    assert installation.due_s(0.0) == float("inf")
    installation.carry_out(LookAtGuard(job_id="j", product="till", hold=False), 0.0, monotonic_s=0.0)
    assert installation.take(0.0) is None
    assert installation.due_s(0.0) == PACES.answer_s
    installation.carry_out(Fetch(job_id="j", product="till", target=GOOD.release.target), 1.0, monotonic_s=1.0)
    assert installation.due_s(1.0) == 101.0


def test_who_looks_is_told_when_something_turns() -> None:
    installation = SimulatedTill().installation
    assert not installation.has_turned(0.0)
    installation.look(0.0)
    assert not installation.has_turned(1.0)
    installation.boot(1.0)
    assert installation.look(1.5).health is Health.UNKNOWN
    assert not installation.has_turned(1.5)
    assert installation.due_s(1.5) == 11.0
    assert installation.has_turned(11.0)


def test_a_time_is_drawn_between_two() -> None:
    chance = SimulatedTill().rng
    drawn = [Between(2.0, 3.0).drawn(chance) for _ in range(100)]
    assert all(2.0 <= one < 3.0 for one in drawn)
    assert len(set(drawn)) == 100


def test_harm_that_ends_before_it_begins_is_no_scenario() -> None:
    with pytest.raises(ValidationError, match="expected until_s not before from_s = 5, got 4"):
        Harm(share_pct=1.0, from_s=5.0, until_s=4.0, component="pin_pad:counter", code="no_response")
