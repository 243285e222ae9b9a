"""What is known of the time: the floor, what was told, by which of them certificates are judged, and a wrong clock."""

from datetime import UTC, datetime, timedelta

import pytest

from tillwatch_agent import clock
from tillwatch_agent.clock import (
    BEHIND_FOR,
    BY_NOBODY,
    BY_WALL,
    RIGHT_S,
    STORED_EVERY,
    TOLD_FOR,
    WRONG_S,
    Clock,
    JudgedBy,
    Judging,
)
from tillwatch_agent.floor import BUILT_AT
from tillwatch_agent.moment import Moment, tellable
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.vocabulary import MACHINE_CLOCK, ConditionCode, Health

TRUE = BUILT_AT + timedelta(days=100)
"""The time that it is when the monotonic clock shows 0."""
EMPTY = datetime(1970, 1, 1, tzinfo=UTC)
UNTOLD = clock.begin(None)


def moment(at: datetime, monotonic_s: float = 0.0) -> Moment:
    return Moment(monotonic_s=monotonic_s, at=at)


def right(monotonic_s: float = 0.0, *, off_s: float = 0.0) -> Moment:
    """A moment of a wall clock that is right, or off by so much."""
    return moment(TRUE + timedelta(seconds=monotonic_s + off_s), monotonic_s)


TOLD = clock.tell(UNTOLD, TRUE, right())


def test_the_floor_of_this_build_has_passed() -> None:
    assert datetime.now(UTC) > BUILT_AT


@pytest.mark.parametrize(
    ("stored_at", "floor"),
    [
        # nobody has told anything yet
        (None, BUILT_AT),
        # an older agent stored it
        (BUILT_AT - timedelta(days=300), BUILT_AT),
        (TRUE, TRUE),
    ],
)
def test_the_floor_is_the_later_of_the_build_and_what_was_stored(stored_at: datetime | None, floor: datetime) -> None:
    assert clock.begin(stored_at).floor == floor


# --- by whose time a certificate is judged


@pytest.mark.parametrize(
    ("known", "now", "judging"),
    [
        # a clock that can be right, whatever was told
        (UNTOLD, right(), BY_WALL),
        (UNTOLD, moment(BUILT_AT), BY_WALL),
        (TOLD, right(60), BY_WALL),
        # one that is ahead is judged as it stands
        (TOLD, right(60, off_s=1e9), BY_WALL),
        # one below the floor, before and after the time was told
        (UNTOLD, moment(EMPTY), BY_NOBODY),
        (UNTOLD, moment(BUILT_AT - timedelta(seconds=1)), BY_NOBODY),
        (TOLD, moment(EMPTY, 60), Judging(by=JudgedBy.TOLD, at=TRUE + timedelta(seconds=60))),
        # a day later it is asked for again
        (TOLD, moment(EMPTY, TOLD_FOR.total_seconds()), Judging(by=JudgedBy.TOLD, at=TRUE + TOLD_FOR)),
        (TOLD, moment(EMPTY, TOLD_FOR.total_seconds() + 1), BY_NOBODY),
        # it was told before: what was stored is the floor of this start
        (clock.begin(TRUE), right(off_s=-1), BY_NOBODY),
        (clock.begin(TRUE), right(off_s=+1), BY_WALL),
    ],
)
def test_a_certificate_is_judged_by_the_best_time_that_is_known(known: Clock, now: Moment, judging: Judging) -> None:
    assert clock.judging(known, now) == judging


def test_a_collector_that_is_far_ahead_for_once_makes_no_right_clock_wrong() -> None:
    assert clock.judging(clock.tell(UNTOLD, TRUE + timedelta(days=30_000), right()), right(60)) == BY_WALL


def test_a_certificate_that_has_not_begun_shows_that_the_clock_is_behind() -> None:
    behind = clock.came_too_early(UNTOLD, right())
    assert clock.judging(behind, right(1)) == BY_NOBODY
    assert clock.judging(clock.tell(behind, TRUE, right()), right(1)).by is JudgedBy.TOLD
    # a clock that was set meanwhile, or an hour that went by, and it is judged by the wall again
    assert clock.judging(behind, right(1, off_s=BEHIND_FOR.total_seconds())) == BY_WALL


def test_a_certificate_that_has_not_begun_never_lowers_the_floor() -> None:
    assert clock.came_too_early(clock.begin(TRUE), moment(EMPTY)).floor == TRUE


@pytest.mark.parametrize("sent_at", [None, EMPTY, BUILT_AT - timedelta(seconds=1)])
def test_a_collector_that_knows_no_time_tells_none(sent_at: datetime | None) -> None:
    assert clock.tell(TOLD, sent_at, right(60)) == TOLD


def test_what_is_told_later_counts() -> None:
    later = clock.tell(TOLD, TRUE + timedelta(days=2), right(60))
    assert clock.time_at(later, right(90)) == TRUE + timedelta(days=2, seconds=30)


# --- a wrong clock


@pytest.mark.parametrize(
    ("off_s", "was_wrong", "detail"),
    [
        # right, or as late as a message can be
        (0, False, None),
        (WRONG_S, False, None),
        (-WRONG_S, False, None),
        (WRONG_S + 1, False, "2 minutes ahead"),
        (-WRONG_S - 1, False, "2 minutes behind"),
        # once wrong it must be better than that
        (RIGHT_S + 1, True, "61 seconds ahead"),
        (RIGHT_S, True, None),
        (-RIGHT_S, True, None),
        # said in what a person counts by
        (-7_200, False, "2 hours behind"),
        (3 * 86_400, False, "3 days ahead"),
        ((EMPTY - TRUE).total_seconds(), False, f"{(TRUE - EMPTY).days} days behind"),
    ],
)
def test_a_clock_is_held_against_what_was_told(off_s: float, was_wrong: bool, detail: str | None) -> None:
    seen = clock.look(TOLD, right(600, off_s=off_s), was_wrong=was_wrong)
    assert seen is not None
    assert (seen.component, seen.health) == (MACHINE_CLOCK, Health.FAULT if detail else Health.OK)
    assert seen.true_codes == ({ConditionCode.CLOCK_WRONG: detail} if detail else {})


def test_nothing_is_known_of_a_clock_before_the_time_was_told() -> None:
    assert clock.look(UNTOLD, moment(EMPTY), was_wrong=False) is None


# --- what is stored


@pytest.mark.parametrize(
    ("stored_at", "sent_at", "worth"),
    [
        (None, TRUE, True),
        (TRUE, TRUE + STORED_EVERY - timedelta(seconds=1), False),
        (TRUE, TRUE + STORED_EVERY, True),
        # two processes of a collector differ a little
        (TRUE, TRUE - timedelta(seconds=5), False),
        # what was stored lies in the future: a mistake, and now it is put right
        (TRUE + timedelta(days=300), TRUE, True),
    ],
)
def test_flash_is_written_once_an_hour(stored_at: datetime | None, sent_at: datetime, worth: bool) -> None:
    assert clock.is_worth_storing(stored_at, sent_at) is worth


@pytest.mark.parametrize("year", [1, 1969, 2200, 9999])
def test_a_clock_that_was_set_to_anything_can_still_be_told(year: int) -> None:
    Heartbeat.model_validate(
        {
            "terminal_id": "till-1",
            "connection": {"stream_id": "0" * 32, "boot_epoch": 1, "connection_no": 1},
            "beat_no": 1,
            "interval_s": 60,
            "event_seq_last": 0,
            "sent_at": tellable(datetime(year, 6, 1, tzinfo=UTC)),
            "host_boot_id": "boot-1",
            "agent_version": "0.1.0",
        }
    )
    assert tellable(TRUE) == TRUE
