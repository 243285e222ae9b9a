"""Every state and verdict of a message on its way."""

import pytest

from tillwatch_collector.domain.delivery import (
    ATTEMPTS_MAX,
    CLAIM_S,
    DELIVERED,
    RETRY_S_MAX,
    Outcome,
    State,
    Step,
    Verdict,
    step,
)

FAILED = Outcome(verdict=Verdict.FAILED, error="503")
REFUSED = Outcome(verdict=Verdict.REFUSED, error="410")


@pytest.mark.parametrize("attempts", [1, 2, ATTEMPTS_MAX])
def test_what_is_delivered_is_sent_and_what_is_refused_is_given_up_at_any_attempt(attempts: int) -> None:
    assert step(attempts, DELIVERED, 0.5) == Step(state=State.SENT)
    assert step(attempts, REFUSED, 0.5) == Step(state=State.GIVEN_UP)


@pytest.mark.parametrize(
    ("attempts", "wait_s"),
    [(1, 10), (2, 20), (3, 40), (9, 2560), (10, 3600), (ATTEMPTS_MAX - 1, 3600)],
)
def test_what_failed_waits_twice_as_long_each_time_up_to_an_hour(attempts: int, wait_s: float) -> None:
    assert step(attempts, FAILED, 0.0) == Step(state=State.DUE, wait_s=wait_s)


def test_the_last_attempt_that_fails_gives_up_after_about_a_day() -> None:
    assert step(ATTEMPTS_MAX, FAILED, 0.0) == Step(state=State.GIVEN_UP)
    waited_s = sum(step(attempts, FAILED, 0.0).wait_s for attempts in range(1, ATTEMPTS_MAX))
    assert 22 <= waited_s / 3600 <= 26


@pytest.mark.parametrize(
    ("asked_s", "wait_s"),
    [(None, 10), (0, 10), (5, 10), (90, 90), (1e6, RETRY_S_MAX)],  # none, less than ours, more, beyond all bounds
)
def test_a_receiver_says_when_to_come_again_within_bounds(asked_s: float | None, wait_s: float) -> None:
    outcome = Outcome(verdict=Verdict.FAILED, retry_after_s=asked_s)
    assert step(1, outcome, 0.0).wait_s == wait_s


def test_jitter_adds_up_to_a_quarter() -> None:
    assert step(1, FAILED, 0.5).wait_s == pytest.approx(11.25)
    assert step(1, FAILED, 0.999).wait_s < 12.5


def test_a_claim_outlasts_an_attempt() -> None:
    assert CLAIM_S >= 60
