import itertools

import pytest

from tillwatch_protocol.job import JOB_FINAL, JOB_TABLE, JobInput, JobInputIllegal, JobState, step


@pytest.mark.parametrize(("state", "job_input"), [*itertools.product(JobState, JobInput)])
def test_each_state_takes_what_its_row_says_and_nothing_else(state: JobState, job_input: JobInput) -> None:
    if (state, job_input) in JOB_TABLE:
        assert step(state, job_input) is JOB_TABLE[state, job_input]
    else:
        with pytest.raises(JobInputIllegal, match=state):
            step(state, job_input)


def test_final_states_take_nothing_and_all_others_take_something() -> None:
    assert {state for state, _ in JOB_TABLE} == set(JobState) - JOB_FINAL


def test_every_state_is_reachable_from_an_offer() -> None:
    reached = {JobState.OFFERED}
    while (more := reached | {after for (before, _), after in JOB_TABLE.items() if before in reached}) != reached:
        reached = more
    assert reached == set(JobState)


def test_nothing_switches_without_a_go() -> None:
    assert [key for key, after in JOB_TABLE.items() if after is JobState.SWITCHING] == [(JobState.READY, JobInput.GO)]


def test_what_has_its_go_is_not_withdrawn() -> None:
    late = {JobState.SWITCHING, JobState.CONFIRMING, JobState.ROLLING_BACK}
    assert not any((state, JobInput.WITHDRAW) in JOB_TABLE for state in late)
